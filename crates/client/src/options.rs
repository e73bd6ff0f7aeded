//! What a producer asks for.

use model::{ProducerId, ValueKind};
use std::time::Duration;

/// How a producer connects and how much it keeps.
#[derive(Clone, Debug)]
pub struct Options {
    /// Names this program for ever, over its restarts; not 0, and no two programs share one.
    /// Millstream removes repeated frames by it.
    pub producer: ProducerId,
    /// Name of the `[[source]]` of kind `native` in Millstream's configuration.
    pub source: String,
    /// A name for people, shown with the connection.
    pub name: String,
    /// Whether Millstream acknowledges what is on its disk. Without, frames are fire-and-forget: what
    /// is under way when the connection breaks is lost. Default true.
    pub acks: bool,
    /// Bytes of frames that may wait for their acknowledgement; beyond it sending blocks. At least
    /// the rate in bytes/s × the time of a commit (a few ms, more on slow disks). Default 16 MiB.
    pub in_flight_bytes_max: usize,
    /// Frames are gathered up to this many bytes before they are written; `flush` writes at once.
    /// Large chunks cost the server much less per sample, small ones mean less delay. Default 64 KiB.
    pub chunk_bytes: usize,
    /// How long connecting, and each answer of the server, may take. Default 5 s.
    pub timeout: Duration,
    /// How long a call may block while there is no room or no connection. Default 60 s.
    pub patience: Duration,
    /// Pause before the connection is made again; doubles up to `pause_max`. Default 100 ms.
    pub pause_first: Duration,
    /// Longest such pause. Default 5 s.
    pub pause_max: Duration,
    /// Largest UDP datagram in bytes, for [`DatagramProducer`](crate::DatagramProducer). The default
    /// of 1,400 passes every network unfragmented; on loopback 65,000 costs less.
    pub datagram_bytes_max: usize,
}

impl Options {
    /// The defaults for a producer (its number for ever) of a source.
    #[must_use]
    pub fn new(producer: u64, source: &str) -> Options {
        Options {
            producer: ProducerId(producer),
            source: source.to_owned(),
            name: String::new(),
            acks: true,
            in_flight_bytes_max: 16 << 20,
            chunk_bytes: 64 << 10,
            timeout: Duration::from_secs(5),
            patience: Duration::from_secs(60),
            pause_first: Duration::from_millis(100),
            pause_max: Duration::from_secs(5),
            datagram_bytes_max: 1_400,
        }
    }
}

/// A tag that a producer wants to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagRequest {
    /// Path below the source's path: segments parted by `/`, without `+`, `#`, `*` or white space.
    pub name: String,
    /// What its values are; fixed once registered.
    pub kind: ValueKind,
    /// Engineering unit, e.g. `mm/s`; empty where there is none.
    pub unit: String,
}

impl TagRequest {
    /// A tag without a unit.
    #[must_use]
    pub fn new(name: impl Into<String>, kind: ValueKind) -> TagRequest {
        TagRequest { name: name.into(), kind, unit: String::new() }
    }

    /// The same tag with an engineering unit.
    #[must_use]
    pub fn unit(mut self, unit: impl Into<String>) -> TagRequest {
        self.unit = unit.into();
        self
    }
}

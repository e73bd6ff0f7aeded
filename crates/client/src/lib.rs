//! The producer's library: send telemetry to Millstream and know what is safely on its disk.
//!
//! ```no_run
//! use millstream_client::{Options, Producer, TagRequest, ValueKind};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // 4711 names this program for ever: Millstream removes repeats by it, so no two may share one.
//! let mut rig = Producer::connect("127.0.0.1:7070", Options::new(4711, "vibration-rig"))?;
//! let tags = rig.register(&[
//!     TagRequest::new("rig1/bearing1/rms", ValueKind::F64).unit("mm/s"),
//!     TagRequest::new("rig1/bearing2/rms", ValueKind::F64).unit("mm/s"),
//! ])?;
//! // One time, a run of consecutive tags. Tags that are registered together for the first time are
//! // consecutive; `runs` says so for certain.
//! let sent = rig.scan(tags[0], Some(millstream_client::now()), &[0.71, 0.83])?;
//! rig.flush()?;
//! rig.wait_acknowledged(sent, Duration::from_secs(5))?; // now it survives a power cut
//! # Ok(())
//! # }
//! ```
//!
//! What happens when the connection or the server goes away: frames that were not acknowledged are
//! kept (up to [`Options::in_flight_bytes_max`]), the connection is made again with growing pauses,
//! and sending goes on after the last frame that Millstream has on disk. What arrives twice counts
//! once. Nothing of this needs a line in your program; calls block while there is no room.
//!
//! - [`Producer`]: over TCP, acknowledged (or not, with [`Options::acks`] off).
//! - [`DatagramProducer`]: over UDP; what gets lost is seen by the server as a gap, and stays lost.
//! - [`Outbox`]: the frames that wait for an acknowledgement; no socket in it.
//!
//! Invariants
//! - C1: a frame leaves the outbox only when it is acknowledged, or, without acknowledgements, when
//!   the kernel has taken all of it.
//! - C2: on a connection frames go out whole and in order, each once.
//! - C3: sending allocates nothing per frame once the buffers have grown to what is in flight.
//!
//! It deliberately keeps nothing on disk: what a program has not got acknowledged when it dies, it has
//! to send again itself ([`Producer::acknowledged`] says from where).

#![forbid(unsafe_code)]

mod bits;
mod datagram;
mod error;
mod link;
mod options;
mod outbox;
mod producer;
mod register;
mod registry;

pub use bits::{Bits, Sample, now, runs};
pub use datagram::DatagramProducer;
pub use error::{ConnectError, RegisterError, SendError, WaitError};
pub use model::{ProducerId, Quality, Sequence, TagId, TextId, TimestampNs, ValueKind};
pub use options::{Options, TagRequest};
pub use outbox::{Outbox, OutboxError};
pub use producer::{Producer, Stats};

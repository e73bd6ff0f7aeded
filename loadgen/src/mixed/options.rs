//! What `loadgen mixed` can be asked for.

use crate::args::{Fanout, Kind, Rate, Watch, duration, rate};
use crate::connection::Shape;
use clap::ValueEnum;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// One class of work of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lane {
    /// Native scan frames
    Telemetry,
    /// Reading over HTTP: latest values, rollups, samples
    Queries,
    /// Events to many subscribers
    Events,
    /// Requests that the server hands on, and replies
    Requests,
    /// Batches made on demand
    Batch,
}

impl Lane {
    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Lane::Telemetry => "telemetry",
            Lane::Queries => "queries",
            Lane::Events => "events",
            Lane::Requests => "requests",
            Lane::Batch => "batch",
        }
    }
}

/// Drive all lanes of a running server at once; a report for people and machines
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// What is driven
    #[arg(long, value_enum, value_delimiter = ',', default_value = "telemetry,queries,events,requests,batch")]
    pub(crate) lanes: Vec<Lane>,
    /// Millstream's native address (`native` under `server`)
    #[arg(long, default_value = "127.0.0.1:7070")]
    pub(crate) address: String,
    /// Millstream's HTTP address
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub(crate) http: SocketAddr,
    /// Where loadgen listens: as every subscriber, as who replies, and as who takes the batches
    #[arg(long, default_value = "127.0.0.1:9300")]
    pub(crate) bind: SocketAddr,
    /// How long the measurement takes, after a warm-up of a tenth of it (at most 1 s)
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// Telemetry: samples per second (open loop), or max (closed loop)
    #[arg(long, default_value = "1000000", value_parser = rate)]
    pub(crate) rate: Rate,
    /// Telemetry: connections, each a producer of its own
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) connections: u32,
    /// Telemetry: tags of each connection; a frame is a scan of all of them
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) tags: u32,
    /// Queries: connections; each asks one kind of question again and again
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) queries: u32,
    /// Requests: connections
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub(crate) requests: u32,
    /// Events: subscribers
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) subscribers: u32,
    /// Events per second (open loop), or max (closed loop); each becomes a delivery to every subscriber
    #[arg(long, default_value = "max", value_parser = rate)]
    pub(crate) event_rate: Rate,
    /// Events of one call
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) event_batch: u32,
    /// How long an answer, a delivery or a document may take
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub(crate) patience: Duration,
    /// Write the sections that a Millstream configuration needs for this to a file, and end
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
    /// Telemetry's thread runs with real-time priority and sleeps between frames, so that the other lanes'
    /// load on the same core holds it up less (needs chrt and the right to)
    #[arg(long)]
    pub(crate) realtime: bool,
    #[command(flatten)]
    pub(crate) watch: Watch,
    /// Write the report as one HTML page that needs nothing else, too
    #[arg(long)]
    pub(crate) html: Option<PathBuf>,
}

/// The source that telemetry is sent for; its path is the same.
pub(super) const SOURCE: &str = "mixed";
/// Producer number of the first connection.
pub(super) const PRODUCER: u64 = 6_000_001;
/// Bytes that may wait for acknowledgement on each connection.
const IN_FLIGHT_BYTES: usize = 16 << 20;
/// Bytes gathered before a write when sending flat out.
const CHUNK_BYTES: usize = 64 << 10;
/// Events of the closed loop that are published and not everywhere yet.
const EVENTS_IN_FLIGHT: u32 = 64;
const EVENT_KEYS: u32 = 8;

impl Options {
    pub(crate) fn drives(&self, lane: Lane) -> bool {
        self.lanes.contains(&lane)
    }

    /// Telemetry's connections.
    pub(super) fn shape(&self) -> Shape {
        Shape {
            address: self.address.clone(),
            source: SOURCE.to_owned(),
            kind: Kind::Scan,
            tags: self.tags as usize,
            frame_samples: self.tags as usize,
            acks: true,
            udp: false,
            chunk_bytes: CHUNK_BYTES,
            in_flight_bytes_max: IN_FLIGHT_BYTES,
        }
    }

    /// The events' part, as `loadgen fanout` has it.
    pub(super) fn fanout(&self) -> Fanout {
        Fanout {
            http: format!("http://{}", self.http),
            event: "mixed".to_owned(),
            receivers: self.subscribers,
            bind: self.bind,
            rate: self.event_rate,
            batch: self.event_batch,
            keys: EVENT_KEYS,
            in_flight: EVENTS_IN_FLIGHT,
            seconds: self.seconds,
            patience: self.patience,
            bare: false,
            config: None,
            concurrency: 4,
            watch: Watch { json: true, ..Watch::default() },
        }
    }

    /// As the report shows them.
    pub(super) fn shown(&self) -> Value {
        let rate = |rate: Rate| match rate {
            Rate::Max => json!("max"),
            Rate::PerS(rate) => json!(rate),
        };
        json!({
            "lanes": self.lanes.iter().map(|lane| lane.name()).collect::<Vec<_>>(),
            "seconds": self.seconds,
            "rate": rate(self.rate),
            "connections": self.connections,
            "tags": self.tags,
            "queries": self.queries,
            "requests": self.requests,
            "subscribers": self.subscribers,
            "event_rate": rate(self.event_rate),
            "event_batch": self.event_batch,
            "realtime": self.realtime,
            "core": self.watch.core,
            "server_core": self.watch.server_core,
        })
    }
}

//! The command line.

use clap::{Parser, Subcommand, ValueEnum};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Makes load for Millstream, measures it, and checks that nothing is lost.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send native frames; measure samples/s and the time to their acknowledgement
    Native(Native),
    /// Send samples over HTTP, in line protocol or JSON; measure samples/s and the time to the answer
    Http(crate::ingest::Options),
    /// Send samples to a JetStream stream, for comparison
    Nats(crate::nats::Options),
    /// Publish events, be their subscribers, and measure the deliveries
    Fanout(Fanout),
    /// Drive all lanes of a server at once; a report for people, machines and a ticket
    Mixed(crate::mixed::Options),
    /// Write a known series, read it back over HTTP and compare sample by sample
    Verify(Verify),
    /// Be N Modbus TCP devices with M registers each, to be polled; measure how well
    Modbus(Modbus),
    /// Poll a Modbus TCP device with a bare client or with tokio-modbus, to compare with
    Poll(Poll),
    /// Be an OPC UA server with N devices of M variables each, to be subscribed to; measure how well
    Opcua(Opcua),
    /// Subscribe to such a server with the bare async-opcua client, to compare with
    Subscribe(crate::subscribe::Options),
}

/// What frames look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// One time, a run of consecutive tags: 8 bytes a sample
    Scan,
    /// Any tags, each sample with its own time: 24 bytes a sample
    Samples,
}

/// What is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Acks {
    /// Every frame, once it is on the server's disk
    Durable,
    /// Nothing: fire and forget
    None,
}

/// How fast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rate {
    /// As fast as it is taken (closed loop).
    Max,
    /// So many samples or events per second in all, whatever the server does (open loop).
    PerS(f64),
}

pub(crate) fn rate(text: &str) -> Result<Rate, String> {
    if text == "max" {
        return Ok(Rate::Max);
    }
    match text.replace('_', "").parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(Rate::PerS(rate)),
        _ => Err("write a rate per second, e.g. 50000000 or 5e7, or max".to_owned()),
    }
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a number and a unit, e.g. 100ms, 5s or 2m".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit_ms = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return Err(wrong()),
    };
    match number.saturating_mul(unit_ms) {
        0 => Err(wrong()),
        ms => Ok(Duration::from_millis(ms)),
    }
}

/// Where a load runs, what of the server is watched beside it, and how it is told.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Watch {
    /// Core that everything here runs on (needs taskset)
    #[arg(long)]
    pub(crate) core: Option<u32>,
    /// Core of the server: its use by others is reported; what it is compared with runs there
    #[arg(long)]
    pub(crate) server_core: Option<u32>,
    /// Process id of the server: its CPU time is reported, by thread
    #[arg(long)]
    pub(crate) server_pid: Option<u32>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Native {
    /// Millstream's native address (`native` under `server`); may be left out with --limit
    #[arg(long, required_unless_present = "limit")]
    pub(crate) address: Option<String>,
    /// The native source to send for
    #[arg(long, default_value = "vibration-rig")]
    pub(crate) source: String,
    /// Connections, each a producer of its own
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) connections: u32,
    /// Tags of each connection
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=4_000_000))]
    pub(crate) tags: u32,
    /// Samples per second in all connections together (open loop), or max (closed loop)
    #[arg(long, default_value = "max", value_parser = rate)]
    pub(crate) rate: Rate,
    /// What frames look like
    #[arg(long, value_enum, default_value_t = Kind::Scan)]
    pub(crate) kind: Kind,
    /// Samples in a frame; a scan has at most as many as a connection has tags
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=130_000))]
    pub(crate) frame: u32,
    /// What is acknowledged
    #[arg(long, value_enum, default_value_t = Acks::Durable)]
    pub(crate) acks: Acks,
    /// How long each measurement takes, after a warm-up of a tenth of it (at most 1 s)
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// Bytes gathered before a write when sending flat out
    #[arg(long, default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    pub(crate) chunk: u32,
    /// Send datagrams of whole frames instead; nothing is acknowledged then
    #[arg(long)]
    pub(crate) udp: bool,
    /// Bytes that may wait for acknowledgement on each connection
    #[arg(long, default_value_t = 16 << 20)]
    pub(crate) in_flight: usize,
    /// Measure a receiver that drops the same frames, too (in turns with --address, if given)
    #[arg(long, conflicts_with = "udp")]
    pub(crate) limit: bool,
    /// Measurements of each, taken in turns; medians are compared
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// Producer number of the first connection; the next ones count up
    #[arg(long, default_value_t = 1_000_001)]
    pub(crate) producer: u64,
    #[command(flatten)]
    pub(crate) watch: Watch,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Fanout {
    /// Millstream's HTTP address
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub(crate) http: String,
    /// Type of the events
    #[arg(long, default_value = "fan-out")]
    pub(crate) event: String,
    /// Subscribers; each has a path of its own, /r/0 and so on
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) receivers: u32,
    /// Where the subscribers listen
    #[arg(long, default_value = "127.0.0.1:9300")]
    pub(crate) bind: SocketAddr,
    /// Events per second (open loop), or max (closed loop); each becomes a delivery to every subscriber
    #[arg(long, default_value = "100", value_parser = rate)]
    pub(crate) rate: Rate,
    /// Events of one call; it leaves when the last of them is due
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) batch: u32,
    /// Keys that the events have in turn; of each, order is checked
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) keys: u32,
    /// Closed loop: events that may be published and not everywhere yet
    #[arg(long, default_value_t = 64)]
    pub(crate) in_flight: u32,
    /// How long the measurement takes, after a warm-up of a tenth of it (at most 1 s)
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// How long what was published may take to arrive, or a call to be taken
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub(crate) patience: Duration,
    /// Leave Millstream out: a loop sends every event to every subscriber over kept connections
    #[arg(long)]
    pub(crate) bare: bool,
    /// Write the subscribers as sections of a Millstream configuration to this file, and end
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
    /// Deliveries that one subscriber may have under way (goes into --config)
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) concurrency: u32,
    #[command(flatten)]
    pub(crate) watch: Watch,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Verify {
    /// Millstream's native address (`native` under `server`)
    #[arg(long, default_value = "127.0.0.1:7070")]
    pub(crate) address: String,
    /// Millstream's HTTP address
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub(crate) http: String,
    /// The native source to send for
    #[arg(long, default_value = "vibration-rig")]
    pub(crate) source: String,
    /// How long to write
    #[arg(long, default_value_t = 10.0, conflicts_with = "samples")]
    pub(crate) seconds: f64,
    /// How many samples to write, instead of for how long
    #[arg(long)]
    pub(crate) samples: Option<u64>,
    /// Tags of the series: f64, i64 and bool in turn
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) tags: u32,
    /// Samples per second, or max
    #[arg(long, default_value = "20000", value_parser = rate)]
    pub(crate) rate: Rate,
    /// Values are a function of this, the tag and the sample's number
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Producer number
    #[arg(long, default_value_t = 4_000_001)]
    pub(crate) producer: u64,
    /// How long the server may be away before this fails
    #[arg(long, default_value = "2m", value_parser = duration)]
    pub(crate) patience: Duration,
    /// File that says what was written and acknowledged so far, for whoever kills the server meanwhile
    #[arg(long)]
    pub(crate) state: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// What both kinds of fleet have.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Fleet {
    /// Devices
    #[arg(long, default_value_t = 10)]
    pub(crate) devices: usize,
    /// Tags of each device
    #[arg(long, default_value_t = 100)]
    pub(crate) tags: usize,
    /// Address to listen at
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) bind: IpAddr,
    /// Write a Millstream configuration that fits to this file
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
    /// Stop after so many seconds; else when standard input ends, or on Ctrl-C
    #[arg(long)]
    pub(crate) seconds: Option<f64>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Modbus {
    #[command(flatten)]
    pub(crate) fleet: Fleet,
    /// How often Millstream shall poll (goes into --config)
    #[arg(long, default_value = "100ms", value_parser = duration)]
    pub(crate) every: Duration,
    #[command(flatten)]
    pub(crate) polling: crate::polling::Options,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Poll {
    /// The device; with --devices the first of them, each next one has the next port
    #[arg(long)]
    pub(crate) address: SocketAddr,
    /// What polls
    #[arg(long, value_enum)]
    pub(crate) client: PollClient,
    /// Devices that the paced client polls
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(crate) devices: u16,
    /// How often the paced client polls each
    #[arg(long, default_value = "10ms", value_parser = duration)]
    pub(crate) every: Duration,
    /// Requests under way at once; tokio-modbus has one
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) depth: u16,
    /// Blocks that are read in turn, from register 0 on
    #[arg(long, default_value_t = 480, value_parser = clap::value_parser!(u16).range(1..=524))]
    pub(crate) blocks: u16,
    /// Registers of a block
    #[arg(long, default_value_t = 125, value_parser = clap::value_parser!(u16).range(1..=125))]
    pub(crate) registers: u16,
    /// Stop after so many seconds
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
}

/// A client to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PollClient {
    /// A loop over a blocking socket: requests out, answers in, nothing decoded
    Bare,
    /// The tokio-modbus crate, one request at a time
    TokioModbus,
    /// A loop over epoll that never sleeps: the first block of every device in its time, one request at
    /// a time each, nothing decoded
    Paced,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Opcua {
    #[command(flatten)]
    pub(crate) fleet: Fleet,
    /// How often every variable changes
    #[arg(long, default_value = "100ms", value_parser = duration)]
    pub(crate) every: Duration,
    /// Port to listen at; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
    #[command(flatten)]
    pub(crate) subscribing: crate::subscribing::Options,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound_and_reads_rates_and_durations() {
        Args::command().debug_assert();
        assert_eq!(rate("5e7"), Ok(Rate::PerS(5e7)));
        assert_eq!(rate("1_000"), Ok(Rate::PerS(1_000.0)));
        assert_eq!(rate("max"), Ok(Rate::Max));
        assert!(rate("0").is_err() && rate("fast").is_err() && rate("inf").is_err());
        assert_eq!(duration("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert!(["", "5", "5h", "ms", "0s"].iter().all(|text| duration(text).is_err()));
    }
}

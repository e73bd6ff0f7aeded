//! `cargo xtask bench`: the measurements of docs/performance.md, each with the goals of its part.

pub mod calls;
pub mod fanout;
pub mod intake;
pub mod isolation;
pub mod opcua;
pub mod peers;
pub mod polling;
mod rig;
pub mod scale;
pub mod steady;
mod table;
mod verdict;

use crate::shell::Story;
use serde_json::Value;
use std::process::{Command, Stdio};

/// Connections of a run, each a producer; enough that both of two shards get some.
const CONNECTIONS: &str = "8";

/// `cargo xtask bench`: what is measured, and for how long.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Bench {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    extent: Extent,
}

/// How long, and how often.
#[derive(clap::Args)]
#[command(args_override_self = true)]
pub struct Extent {
    /// Seconds of each measurement
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: u32,
    /// Rounds: each measures everything once, in turns
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Measure the binaries that are there
    #[arg(long)]
    built: bool,
}

#[derive(clap::Subcommand)]
enum What {
    /// Intake beside a discarding receiver and a bare writer: what is measured by default
    Intake(Extent),
    /// Calls that bring or show much: how long telemetry waits for their polls
    Calls {
        /// Times that each is made
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        rounds: u32,
        /// Measure the binaries that are there
        #[arg(long)]
        built: bool,
    },
    /// Fan-out of events beside telemetry, on one core
    Fanout(Extent),
    /// Telemetry beside all lower lanes, on one core
    Isolation(Extent),
    /// Tags and connections, by number
    Scale {
        /// One part of it
        #[arg(long, default_value = "all", value_parser = ["all", "tags", "connections"])]
        part: String,
        #[command(flatten)]
        extent: Extent,
    },
    /// What a frame asks of allocator and kernel in steady state
    Steady {
        /// Samples of a frame
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        frame: u32,
        /// Seconds of each measurement
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..=3_600))]
        seconds: u32,
        /// Measure the binaries that are there
        #[arg(long)]
        built: bool,
    },
    /// Modbus polling beside other clients
    Polling {
        /// One part of it
        #[arg(long, default_value = "all", value_parser = ["all", "fast", "link", "tags", "jitter", "commands"])]
        part: String,
        #[command(flatten)]
        extent: Extent,
    },
    /// OPC UA subscriptions beside the bare library
    Opcua {
        /// One part of it
        #[arg(long, default_value = "all", value_parser = ["all", "rate", "commands"])]
        part: String,
        #[command(flatten)]
        extent: Extent,
    },
    /// What one would take instead
    Peers {
        /// Which
        #[arg(value_parser = ["victoria-metrics", "influxdb", "nats"])]
        peer: String,
        #[command(flatten)]
        extent: Extent,
    },
}

impl Bench {
    /// Measures it and prints the table.
    pub fn run(&self) -> Result<(), Story> {
        match &self.what {
            None => intake::run(self.extent.seconds, self.extent.rounds, self.extent.built),
            Some(What::Intake(extent)) => intake::run(extent.seconds, extent.rounds, extent.built),
            Some(What::Calls { rounds, built }) => calls::run(*rounds, *built),
            Some(What::Fanout(extent)) => fanout::run(extent.seconds, extent.rounds, extent.built),
            Some(What::Isolation(extent)) => isolation::run(extent.seconds, extent.rounds, extent.built),
            Some(What::Scale { part, extent }) => scale::run(part, extent.seconds, extent.rounds, extent.built),
            Some(What::Steady { frame, seconds, built }) => steady::run(*frame, *seconds, *built),
            Some(What::Polling { part, extent }) => polling::run(part, extent.seconds, extent.rounds, extent.built),
            Some(What::Opcua { part, extent }) => opcua::run(part, extent.seconds, extent.rounds, extent.built),
            Some(What::Peers { peer, extent }) => peers::run(peer, extent.seconds, extent.rounds, extent.built),
        }
    }
}

/// What a load, or what it is compared with, printed.
fn report(command: &mut Command) -> Result<Value, Story> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("{name} could not be started: {error}"))?;
    serde_json::from_slice(&output.stdout).map_err(|error| format!("the answer of {name}: {error}"))
}

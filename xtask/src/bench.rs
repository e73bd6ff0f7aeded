//! `cargo xtask bench`: what one core takes in, as a ratio to a receiver that throws the same bytes
//! away, measured in turns in one run; with one shard and with two.
//!
//! Prints the table of docs/performance.md. Figures in samples a second mean nothing without the
//! machine and what else ran on it; the ratios and the CPU time a sample do.

pub mod fanout;
pub mod isolation;
pub mod opcua;
pub mod peers;
pub mod polling;
mod rig;
pub mod scale;
pub mod steady;
mod table;
mod verdict;

use crate::fault::{Guard, Site};
use crate::shell::{self, Story, binary, target};
use serde_json::Value;
use std::fs;
use std::process::{Command, Stdio};
use table::median;

/// Connections of a run, each a producer; enough that both of two shards get some.
const CONNECTIONS: &str = "8";

/// `cargo xtask bench`: what is measured, and for how long.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Bench {
    #[command(subcommand)]
    what: Option<What>,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: u32,
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
    /// Intake beside a discarding receiver, with one shard and with two: what is measured by default
    Intake {
        /// Seconds of each measurement
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=3_600))]
        seconds: u32,
    },
    /// Fan-out of events beside telemetry, on one core
    Fanout(Extent),
    /// Telemetry beside all lower lanes, on one core
    Isolation(Extent),
    /// Tags and connections, by number
    Scale(Extent),
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
            None => intake(self.seconds),
            Some(What::Intake { seconds }) => intake(*seconds),
            Some(What::Fanout(extent)) => fanout::run(extent.seconds, extent.rounds, extent.built),
            Some(What::Isolation(extent)) => isolation::run(extent.seconds, extent.rounds, extent.built),
            Some(What::Scale(extent)) => scale::run(extent.seconds, extent.rounds, extent.built),
            Some(What::Steady { frame, seconds, built }) => steady::run(*frame, *seconds, *built),
            Some(What::Polling { part, extent }) => polling::run(part, extent.seconds, extent.rounds, extent.built),
            Some(What::Opcua { part, extent }) => opcua::run(part, extent.seconds, extent.rounds, extent.built),
            Some(What::Peers { peer, extent }) => peers::run(peer, extent.seconds, extent.rounds, extent.built),
        }
    }
}

/// Runs every combination and prints the table.
fn intake(seconds: u32) -> Result<(), Story> {
    shell::build(&["millstream", "loadgen"])?;
    println!(
        "| shards | frames | samples/s | of a discarding receiver | CPU a sample | frame to acknowledged p50 / p99 |"
    );
    println!("|---:|---|---:|---:|---:|---:|");
    for shards in [1, 2] {
        for kind in ["scan", "samples"] {
            println!("{}", row(shards, kind, seconds)?);
        }
    }
    Ok(())
}

fn row(shards: u32, kind: &str, seconds: u32) -> Result<String, Story> {
    let data = target().join("fault/bench-data");
    let _ = fs::remove_dir_all(&data);
    let site = Site::new("bench", &data, "auto", rig::LOG, &format!("[cores]\ncount = {shards}\n"))?;
    let mut server = Guard(site.start()?);
    site.wait_ready(&mut server.0)?;
    let mut command = Command::new(binary("loadgen"));
    command
        .args(["native", "--source", "rig", "--tags", "1000", "--frame", "1000", "--rate", "max", "--limit", "--json"]);
    command.args(["--connections", CONNECTIONS, "--kind", kind, "--rounds", "3", "--seconds", &seconds.to_string()]);
    command.args(["--address", &site.native_address(), "--server-pid", &server.0.id().to_string()]);
    let report = report(&mut command)?;
    let runs = report["server"].as_array().ok_or("loadgen measured no server")?;
    let middle = |key: &str| median(runs.iter().filter_map(|run| run[key].as_f64()).collect());
    let latency =
        |key: &str| median(runs.iter().filter_map(|run| run["frame_to_acknowledged"][key].as_f64()).collect());
    Ok(format!(
        "| {shards} | {kind} | {:.1} million | {:.3} | {:.1} ns | {:.1} / {:.1} ms |",
        middle("samples_per_s") / 1e6,
        report["ratio"].as_f64().unwrap_or(f64::NAN),
        middle("server_cpu_ns_per_sample"),
        latency("p50_ns") / 1e6,
        latency("p99_ns") / 1e6
    ))
}

/// What a load printed.
fn report(command: &mut Command) -> Result<Value, Story> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("loadgen could not be started: {error}"))?;
    serde_json::from_slice(&output.stdout).map_err(|error| format!("loadgen's answer: {error}"))
}

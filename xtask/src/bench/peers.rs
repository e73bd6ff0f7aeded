//! `cargo xtask bench peers NAME`: Millstream beside what one would take instead, the same samples on
//! the same core in one run. The scripts in benches/peers start it.
//!
//! Each measurement has a server that was just started and a folder of its own; everything takes turns
//! (A, B, C, A, B, C, …). Server on one core, load on the other, closed loop, 10,000 tags. After each
//! measurement the server is brought to write everything to its disk, and is asked for what it holds:
//! less than what it acknowledged is a failure, so that every rate is of work that was done.

mod influx;
mod millstream;
mod nats;
mod process;
mod table;
mod victoria;

use crate::fault::Guard;
use crate::shell::{self, Story, binary, target};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;
use table::Table;

/// Core of the server, and core of the load.
const SERVER_CORE: u32 = 1;
const LOAD_CORE: u32 = 0;
/// Connections, and tags of each: 10,000 tags.
const CONNECTIONS: u32 = 20;
const TAGS_OF_EACH: u32 = 500;
/// Lines of a body of line protocol: ten samples of each tag, as many as InfluxDB's manual advises.
const BODY_LINES: u32 = 5_000;

/// Something that takes samples, as the benchmark handles it.
trait Server {
    /// What it is, and in which version.
    fn name(&self) -> String;
    /// What an acknowledgement of it says of the disk, and what it does with a sample.
    fn promise(&self) -> &'static str;
    /// How it was brought to have everything on disk.
    fn flushed(&self) -> &'static str;
    /// Starts it over an empty folder, pinned, and waits until it answers.
    fn start(&mut self, folder: &Path) -> Result<Guard, Story>;
    /// The words that loadgen is called with.
    fn load(&self) -> Vec<String>;
    /// Asks for what it holds, brings it to its disk and ends it.
    fn settle(&mut self, server: Guard, folder: &Path, report: &Value) -> Result<Settled, Story>;
}

/// What a server held at its end.
struct Settled {
    /// Samples that it answered to have, and of how many it was asked: all, or those of some tags.
    samples: u64,
    acknowledged: u64,
    /// Bytes of its files.
    bytes: u64,
    /// Samples that these bytes are of.
    written: u64,
}

/// What one measurement found.
#[derive(Clone, Copy)]
struct Figures {
    samples_per_s: f64,
    cpu_ns: f64,
    /// Share of the server's core that it used itself, and that others used.
    busy: f64,
    others: f64,
    /// Share of its own core that the load used.
    load: f64,
    resident_bytes: f64,
    disk_bytes: f64,
    samples: u64,
    acknowledged: u64,
}

/// Measures and prints; fails where something acknowledged is missing.
pub fn run(peer: &str, seconds: u32, rounds: u32, is_built: bool) -> Result<(), Story> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if cores < 2 || !shell::works("taskset", &["-V"]) {
        return Err("peers are measured with two cores, one for the server and one for the load, and taskset".into());
    }
    let mut servers = servers(peer)?;
    if !is_built {
        shell::build(&["millstream", "loadgen"])?;
    }
    let mut table = Table::new(servers.iter().map(|server| server.name()).collect());
    for round in 1..=rounds {
        for (row, server) in servers.iter_mut().enumerate() {
            let figures = measure(server.as_mut(), seconds)?;
            eprintln!(
                "round {round}/{rounds}: {}: {:.2} million samples/s",
                server.name(),
                figures.samples_per_s / 1e6
            );
            table.add(row, figures);
        }
    }
    let heading = format!("{peer}: {rounds} rounds of {seconds} s each, in turns");
    let notes: Vec<_> = servers.iter().map(|server| (server.name(), server.promise(), server.flushed())).collect();
    table.print(&heading, &notes);
    table.check()
}

/// The peer's ways in, and Millstream's.
fn servers(peer: &str) -> Result<Vec<Box<dyn Server>>, Story> {
    use millstream::{Millstream, Way};
    let scan = || Box::new(Millstream::new(Way::Scan));
    let line = |path: &'static str| Box::new(Millstream::new(Way::Line(path)));
    Ok(match peer {
        "victoria-metrics" => vec![Box::new(victoria::Victoria::new()?), line("/write?db=rig"), scan()],
        "influxdb" => vec![Box::new(influx::Influx::new()?), line("/api/v2/write?bucket=rig"), scan()],
        "nats" => {
            let mut all: Vec<Box<dyn Server>> = Vec::new();
            for one in nats::all(&[1, 10, 1_000])? {
                all.push(Box::new(one));
            }
            for samples in [1, 1_000] {
                all.push(Box::new(Millstream::new(Way::Samples(samples))));
            }
            all.push(scan());
            all
        }
        _ => return Err("which one? victoria-metrics, influxdb or nats".into()),
    })
}

fn measure(server: &mut dyn Server, seconds: u32) -> Result<Figures, Story> {
    let folder = target().join("peers/run");
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|error| format!("cannot empty {}: {error}", folder.display()))?;
    }
    fs::create_dir_all(&folder).map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
    let process = server.start(&folder)?;
    let pid = process.0.id();
    let mut command = Command::new(binary("loadgen"));
    command.args(server.load()).args(["--json", "--seconds", &seconds.to_string()]);
    command.args(["--core", &LOAD_CORE.to_string(), "--server-core", &SERVER_CORE.to_string()]);
    command.args(["--server-pid", &pid.to_string()]);
    let report = super::report(&mut command)?;
    let resident_bytes = super::scale::resident(pid)?;
    let settled = server.settle(process, &folder, &report)?;
    let _ = fs::remove_dir_all(&folder);
    let one = report["server"].get(0).unwrap_or(&report);
    if let Some(why) = one["refusal"].as_str() {
        return Err(format!("{} refused {} calls, the first because: {why}", server.name(), one["refused"]));
    }
    let number = |key: &str| one[key].as_f64().unwrap_or(f64::NAN);
    let time = number("seconds");
    Ok(Figures {
        samples_per_s: number("samples_per_s"),
        cpu_ns: number("server_cpu_ns_per_sample"),
        busy: number("server_cpu_s") / time,
        others: (number("server_core_busy_s") - number("server_cpu_s")).max(0.0) / time,
        load: number("own_cpu_s") / time,
        resident_bytes,
        disk_bytes: settled.bytes as f64 / settled.written as f64,
        samples: settled.samples,
        acknowledged: settled.acknowledged,
    })
}

/// Words for loadgen that every load shares.
fn words(command: &str, more: &[&str]) -> Vec<String> {
    let (connections, tags) = (CONNECTIONS.to_string(), TAGS_OF_EACH.to_string());
    let all = [&[command, "--connections", &connections, "--tags", &tags], more].concat();
    all.into_iter().map(str::to_owned).collect()
}

/// Words for a load in line protocol: source times are 5 ms apart, so that a peer may store them as well as it can.
fn line_words(url: &str) -> Vec<String> {
    words("http", &["--url", url, "--body", &BODY_LINES.to_string(), "--every", "5ms"])
}

/// All samples that a load had acknowledged.
fn acknowledged(report: &Value) -> Result<u64, Story> {
    report["samples_all"].as_u64().ok_or_else(|| format!("loadgen does not say what was acknowledged: {report}"))
}

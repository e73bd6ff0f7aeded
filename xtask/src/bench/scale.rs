//! `cargo xtask bench scale`: what a sample costs and a tag takes as a shard's tags grow from a
//! thousand to a million, and what a frame costs as its connections grow.
//!
//! One shard on one core, the load on another, each size with a server that was just started, sizes
//! in turns. Closed loop: CPU time means something only where the shard has no time to spin. Memory
//! is what the server holds more than before its tags were registered; what the server itself counts
//! of it (`tag_bytes` in `/v1/cores`) stands beside. The longest polls are those since the start:
//! registering, the load, and closing.
//!
//! Ten thousand connections need as many open files on both sides (`ulimit -n 20000`).

use super::rig::{LOAD_CORE, SERVER_CORE, core_of};
use super::table::median;
use super::verdict;
use crate::fault::{Guard, Site};
use crate::shell::{self, Story, binary, target};
use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Connections that share the tags.
const CONNECTIONS: u32 = 10;
const TAGS: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// Samples of a frame, where a connection has as many tags.
const FRAME: u32 = 1_000;
/// Connections, and tags of each: a frame is all of them.
const MANY: [u32; 5] = [1, 10, 100, 1_000, 10_000];
const TAGS_OF_EACH: u32 = 10;
/// Bytes that may wait for acknowledgement on all connections together: with more on each than a second takes in,
/// no acknowledgement of a frame would come within the measured time.
const IN_FLIGHT: u32 = 128 << 20;
/// CPU a sample at a million tags that P11 allows, of that at a thousand.
const COST_MAX: f64 = 1.3;
/// Bytes a tag that P11 allows.
const BYTES_MAX: f64 = 200.0;

/// What one run found.
struct Run {
    samples_per_s: f64,
    cpu_ns: f64,
    bytes: f64,
    /// What the server counts of it: definitions, latest values, rollups.
    counted: [f64; 3],
    /// The longest polls of the stages that take frames and write the log, ms.
    longest_ms: [f64; 2],
    /// From the start of the load's program to its end, less the load itself.
    around_s: f64,
}

/// Measures and prints.
pub fn run(seconds: u32, rounds: u32, is_built: bool) -> Result<(), Story> {
    if !is_built {
        shell::build(&["millstream", "loadgen"])?;
    }
    let mut by_tags: Vec<Vec<Run>> = TAGS.iter().map(|_| Vec::new()).collect();
    let mut by_connections: Vec<Vec<Run>> = MANY.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (tags, runs) in TAGS.iter().zip(&mut by_tags) {
            let each = tags / CONNECTIONS;
            runs.push(measure(CONNECTIONS, each, each.min(FRAME), seconds)?);
        }
        for (connections, runs) in MANY.iter().zip(&mut by_connections) {
            runs.push(measure(*connections, TAGS_OF_EACH, TAGS_OF_EACH, seconds)?);
        }
    }
    let middle = |runs: &[Run], of: fn(&Run) -> f64| median(runs.iter().map(of).collect());
    println!(
        "\n| tags | samples/s | CPU a sample | of that at 1,000 | memory | bytes a tag | counted: definitions + latest + rollups | longest poll: frames / log |\n|---:|---:|---:|---:|---:|---:|---:|---:|"
    );
    let first = middle(&by_tags[0], |run| run.cpu_ns);
    for (tags, runs) in TAGS.iter().zip(&by_tags) {
        let (cpu_ns, bytes) = (middle(runs, |run| run.cpu_ns), middle(runs, |run| run.bytes));
        println!(
            "| {tags} | {:.1} million | {cpu_ns:.1} ns | {:.2} | {:.0} MB | {:.0} | {} | {} |",
            middle(runs, |run| run.samples_per_s) / 1e6,
            cpu_ns / first,
            bytes / 1e6,
            bytes / f64::from(*tags),
            counted(runs, f64::from(*tags)),
            longest(runs)
        );
    }
    println!(
        "\n| connections | frames/s of {TAGS_OF_EACH} samples | CPU a frame | of that with one | opened, drained and closed in | longest poll: frames / log |\n|---:|---:|---:|---:|---:|---:|"
    );
    let frame = f64::from(TAGS_OF_EACH);
    let one = middle(&by_connections[0], |run| run.cpu_ns);
    for (connections, runs) in MANY.iter().zip(&by_connections) {
        let cpu_ns = middle(runs, |run| run.cpu_ns);
        println!(
            "| {connections} | {:.2} million | {:.0} ns | {:.2} | {:.1} s | {} |",
            middle(runs, |run| run.samples_per_s) / frame / 1e6,
            cpu_ns * frame,
            cpu_ns / one,
            middle(runs, |run| run.around_s),
            longest(runs)
        );
    }
    let most = by_tags.last().map_or(f64::NAN, |runs| middle(runs, |run| run.cpu_ns)) / first;
    let bytes = by_tags.last().map_or(f64::NAN, |runs| middle(runs, |run| run.bytes)) / 1e6;
    println!("\ngoals:");
    println!(
        "P11 CPU a sample at a million tags at most {COST_MAX} of that at a thousand: {} ({most:.2})",
        verdict::of(most <= COST_MAX)
    );
    println!("P11 at most {BYTES_MAX:.0} bytes a tag: {} ({bytes:.0})", verdict::of(bytes <= BYTES_MAX));
    Ok(())
}

fn counted(runs: &[Run], tags: f64) -> String {
    let part = |at: usize| median(runs.iter().map(|run| run.counted[at] / tags).collect());
    format!("{:.0} + {:.0} + {:.0}", part(0), part(1), part(2))
}

fn longest(runs: &[Run]) -> String {
    let of = |at: usize| median(runs.iter().map(|run| run.longest_ms[at]).collect());
    format!("{:.1} / {:.1} ms", of(0), of(1))
}

fn measure(connections: u32, tags: u32, frame: u32, seconds: u32) -> Result<Run, Story> {
    let data = target().join("fault/scale-data");
    let _ = fs::remove_dir_all(&data);
    let site = Site::new(
        "scale",
        &data,
        "auto",
        "segment = \"64MiB\"",
        "tags_max = 4_000_000\nproducers_max = 20_000\n\n[cores]\ncount = 1\n",
    )?;
    let mut server = Guard(site.start_on(SERVER_CORE)?);
    site.wait_ready(&mut server.0)?;
    let pid = server.0.id();
    let before = resident(pid)?;
    let mut command = Command::new(binary("loadgen"));
    command.args(["native", "--source", "rig", "--rate", "max", "--json", "--address", &site.native_address()]);
    command.args([
        "--connections",
        &connections.to_string(),
        "--tags",
        &tags.to_string(),
        "--frame",
        &frame.to_string(),
    ]);
    command.args(["--in-flight", &(IN_FLIGHT / connections).to_string()]);
    command.args(["--seconds", &seconds.to_string(), "--core", &LOAD_CORE.to_string()]);
    command.args(["--server-core", &SERVER_CORE.to_string(), "--server-pid", &pid.to_string()]);
    let start = Instant::now();
    let report = super::report(&mut command)?;
    let around_s = start.elapsed().as_secs_f64() - f64::from(seconds);
    let number = |key: &str| report["server"][0][key].as_f64().unwrap_or(f64::NAN);
    let bytes = resident(pid)? - before;
    // what closes is closed, and the figures are out, within half a second
    sleep(Duration::from_millis(500));
    let core = core_of(&site)?;
    let counted = ["definitions", "latest", "rollups"].map(|part| core["tag_bytes"][part].as_f64().unwrap_or(f64::NAN));
    let stages = core["stages"].as_array().map_or(&[][..], Vec::as_slice);
    let longest_ms = ["native", "log"].map(|name| {
        let stage = stages.iter().find(|stage| stage["name"] == name);
        stage.and_then(|stage| stage["max_ns"].as_f64()).unwrap_or(f64::NAN) / 1e6
    });
    let (samples_per_s, cpu_ns) = (number("samples_per_s"), number("server_cpu_ns_per_sample"));
    Ok(Run { samples_per_s, cpu_ns, bytes, counted, longest_ms, around_s })
}

/// Bytes of memory that a process holds (proc_pid_status(5), VmRSS).
pub fn resident(pid: u32) -> Result<f64, Story> {
    let text =
        fs::read_to_string(format!("/proc/{pid}/status")).map_err(|error| format!("the server is gone: {error}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<f64>().ok());
    kib.map(|kib| kib * 1024.0).ok_or_else(|| "the system does not say how much memory the server holds".into())
}

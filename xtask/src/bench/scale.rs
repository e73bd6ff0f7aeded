//! `cargo xtask bench scale`: what a sample costs and a tag takes as a shard's tags grow from a
//! thousand to a million, and what a frame costs as its connections grow.
//!
//! One shard on one core, the load on another, each size with a server that was just started, sizes
//! in turns. Closed loop: CPU time means something only where the shard has no time to spin. Memory
//! is what the server holds more than before its tags were registered, two seconds after the load; what it counts
//! of it (`tag_bytes` in `/v1/cores`) stands beside. The longest polls are those since the start:
//! registering, the load, and closing.
//!
//! Ten thousand connections need as many open files on both sides (`ulimit -n 20000`).

use super::rig::{LOAD_CORE, SERVER_CORE, core_of};
use super::table::{median, middle_of, time};
use super::verdict;
use crate::fault::{Guard, Site};
use crate::shell::{self, Story, binary, target};
use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Connections that share the tags, where each has a frame of them.
const CONNECTIONS: u32 = 10;
const TAGS: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// Samples of a frame.
const FRAME: u32 = 1_000;
/// Connections, and tags of each: a frame is all of them.
const MANY: [u32; 5] = [1, 10, 100, 1_000, 10_000];
const TAGS_OF_EACH: u32 = 10;
/// Bytes that may wait for acknowledgement on all connections together: with more on each than a second takes in,
/// no acknowledgement of a frame would come within the measured time.
const IN_FLIGHT: u32 = 128 << 20;
/// From the end of a load to when the server holds only what it keeps.
const SETTLED: Duration = Duration::from_secs(2);
/// CPU a sample at a million tags that P11 allows, of that at a thousand.
const COST_MAX: f64 = 1.3;
/// Bytes a tag that P11 allows.
const BYTES_MAX: f64 = 200.0;

/// What one run found.
struct Run {
    samples_per_s: f64,
    cpu_ns: f64,
    /// From sending a frame to its acknowledgement, p50, p99 and longest.
    acknowledged_ns: [f64; 3],
    bytes: f64,
    /// What the server counts of it: definitions, latest values, rollups.
    counted: [f64; 3],
    /// The longest polls of the stages that take frames and write the log, ms.
    longest_ms: [f64; 2],
    /// From the start of the load's program to its end, less the load itself.
    around_s: f64,
}

/// Measures one part or all, and prints.
pub fn run(part: &str, seconds: u32, rounds: u32, is_built: bool) -> Result<(), Story> {
    if !is_built {
        shell::build(&["millstream", "loadgen"])?;
    }
    let has = |name: &str| part == "all" || part == name;
    let mut by_tags: Vec<(u32, Vec<Run>)> =
        TAGS.iter().filter(|_| has("tags")).map(|tags| (*tags, Vec::new())).collect();
    let mut by_connections: Vec<(u32, Vec<Run>)> =
        MANY.iter().filter(|_| has("connections")).map(|connections| (*connections, Vec::new())).collect();
    for _ in 0..rounds {
        for (tags, runs) in &mut by_tags {
            // frames of one length in all rows, or their number would be what differs
            let connections = CONNECTIONS.min(*tags / FRAME);
            runs.push(measure(connections, *tags / connections, FRAME, seconds)?);
        }
        for (connections, runs) in &mut by_connections {
            runs.push(measure(*connections, TAGS_OF_EACH, TAGS_OF_EACH, seconds)?);
        }
    }
    print_connections(&by_connections);
    print_tags(&by_tags);
    Ok(())
}

/// The table by tags, and what P11 asks of it.
fn print_tags(rows: &[(u32, Vec<Run>)]) {
    let (Some((_, fewest)), Some((most_tags, most))) = (rows.first(), rows.last()) else { return };
    println!(
        "\n| tags | samples/s | CPU a sample | of that at 1,000 | memory | bytes a tag | counted: definitions + latest + rollups | longest poll: frames / log |\n|---:|---:|---:|---:|---:|---:|---:|---:|"
    );
    let cpu = |runs: &[Run]| middle_of(runs, |run| run.cpu_ns);
    let first = cpu(fewest);
    for (tags, runs) in rows {
        let (cpu_ns, bytes) = (cpu(runs), middle_of(runs, |run| run.bytes));
        println!(
            "| {tags} | {:.1} million | {cpu_ns:.1} ns | {:.2} | {:.0} MB | {:.0} | {} | {} |",
            middle_of(runs, |run| run.samples_per_s) / 1e6,
            cpu_ns / first,
            bytes / 1e6,
            bytes / f64::from(*tags),
            counted(runs, f64::from(*tags)),
            longest(runs)
        );
    }
    let cost = cpu(most) / first;
    let bytes = middle_of(most, |run| run.bytes) / f64::from(*most_tags);
    println!("\ngoals:");
    println!(
        "P11 CPU a sample at a million tags at most {COST_MAX} of that at a thousand: {} ({cost:.2})",
        verdict::of(cost <= COST_MAX)
    );
    println!("P11 at most {BYTES_MAX:.0} bytes a tag: {} ({bytes:.0})", verdict::of(bytes <= BYTES_MAX));
}

/// The table by connections.
fn print_connections(rows: &[(u32, Vec<Run>)]) {
    let Some((_, one)) = rows.first() else { return };
    println!(
        "\n| connections | frames/s of {TAGS_OF_EACH} samples | CPU a frame | of that with one | frame to acknowledged p50 / p99 / max | opened, drained and closed in | longest poll: frames / log |\n|---:|---:|---:|---:|---:|---:|---:|"
    );
    let frame = f64::from(TAGS_OF_EACH);
    let one = middle_of(one, |run| run.cpu_ns);
    for (connections, runs) in rows {
        let cpu_ns = middle_of(runs, |run| run.cpu_ns);
        let acknowledged = |at: usize| time(middle_of(runs, |run| run.acknowledged_ns[at]));
        println!(
            "| {connections} | {:.2} million | {:.0} ns | {:.2} | {} / {} / {} | {:.1} s | {} |",
            middle_of(runs, |run| run.samples_per_s) / frame / 1e6,
            cpu_ns * frame,
            cpu_ns / one,
            acknowledged(0),
            acknowledged(1),
            acknowledged(2),
            middle_of(runs, |run| run.around_s),
            longest(runs)
        );
    }
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
    // what closes is closed, what waited for the disk is given back, and the figures are out
    sleep(SETTLED);
    let bytes = resident(pid)? - before;
    let core = core_of(&site)?;
    let counted = ["definitions", "latest", "rollups"].map(|part| core["tag_bytes"][part].as_f64().unwrap_or(f64::NAN));
    let stages = core["stages"].as_array().map_or(&[][..], Vec::as_slice);
    let longest_ms = ["native", "log"].map(|name| {
        let stage = stages.iter().find(|stage| stage["name"] == name);
        stage.and_then(|stage| stage["max_ns"].as_f64()).unwrap_or(f64::NAN) / 1e6
    });
    let (samples_per_s, cpu_ns) = (number("samples_per_s"), number("server_cpu_ns_per_sample"));
    let latency = &report["server"][0]["frame_to_acknowledged"];
    let acknowledged_ns = ["p50_ns", "p99_ns", "max_ns"].map(|name| latency[name].as_f64().unwrap_or(f64::NAN));
    Ok(Run { samples_per_s, cpu_ns, acknowledged_ns, bytes, counted, longest_ms, around_s })
}

/// Bytes of memory that a process holds (proc_pid_status(5), VmRSS).
pub fn resident(pid: u32) -> Result<f64, Story> {
    let text =
        fs::read_to_string(format!("/proc/{pid}/status")).map_err(|error| format!("the server is gone: {error}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<f64>().ok());
    kib.map(|kib| kib * 1024.0).ok_or_else(|| "the system does not say how much memory the server holds".into())
}

//! `cargo xtask bench intake`: what one core takes in beside what bounds it, measured in turns in one
//! run; with one shard and with two.
//!
//! Two limits: a receiver that throws the same bytes away, and a bare writer of the log's bytes (P1, P2
//! ask for a share of the lower of the two). The writer is `crates/uring/examples/bare_writer.rs`: blocks as
//! long as the log's longest batches, past the page cache, into files of the same lengths that are used
//! again, in the server's folder and on its core; once as it is, which is the limit that counts, and once
//! with a sync always under way. A sample takes of it what the server's process wrote for one.
//!
//! Both limits are measured as if each had the core to itself. What receiving, one CRC32C and writing cost a core
//! that does all three, and nothing else, is measured with `crates/uring/examples/bare_intake.rs`: CPU a sample,
//! since the disk with its syncs may hold its rate back.
//!
//! With one shard, server, receiver and writer have one core and the sender the other; with two shards
//! nothing is pinned, and the sender shares the server's cores.
//!
//! Samples a second mean nothing without the machine and what else ran on it; ratios and CPU time do.

use super::CONNECTIONS;
use super::rig::{self, LOAD_CORE, SERVER_CORE};
use super::table::{middle_of, number, spread};
use super::verdict;
use crate::fault::{Guard, Site};
use crate::shell::{self, Story, target};
use serde_json::Value;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// A server needs so long to say last what it did: its figures are published every 250 ms.
const PUBLISHED: Duration = Duration::from_millis(400);
/// `bare_intake` ends by itself so long after the load should have, if the load does not end it.
const BARE_LIVES_S: u32 = 20;
/// What P1 and P2 ask for: samples a second on one core, and of the lower of the two limits.
const SCAN_PER_S_MIN: f64 = 100e6;
const SCAN_OF_LIMIT_MIN: f64 = 0.8;
const SAMPLES_PER_S_MIN: f64 = 40e6;
const SAMPLES_OF_LIMIT_MIN: f64 = 0.6;
/// What P2 asks for with chunks of 4 KB, of what the receiver alone takes of the same.
const SMALL_OF_RECEIVER_MIN: f64 = 0.8;

/// A row of the table.
struct Load {
    shards: u32,
    kind: &'static str,
    /// Samples of a frame, and bytes that the sender gathers before a write.
    frame: u32,
    chunk: u32,
}

const SCAN: Load = Load { shards: 1, kind: "scan", frame: 1_000, chunk: 64 << 10 };
const SAMPLES: Load = Load { kind: "samples", ..SCAN };
/// A frame of 160 samples has a little less than 4 KiB, and each is a write of its own.
const SMALL: Load = Load { kind: "samples", frame: 160, chunk: 3_840, ..SCAN };
const LOADS: [Load; 5] = [SCAN, SAMPLES, SMALL, Load { shards: 2, ..SCAN }, Load { shards: 2, ..SAMPLES }];

/// What one round of a row found.
struct Round {
    server: Value,
    /// Samples a second of the receiver that throws them away, and of the bare writers.
    receiver: f64,
    writer: f64,
    syncing_writer: f64,
    /// What a sample takes in the log.
    bytes: f64,
    /// CPU a sample of what receives, checks and writes alone, in nanoseconds; not a number where nothing is pinned.
    bare_cpu_ns: f64,
}

impl Round {
    fn rate(&self) -> f64 {
        number(&self.server["samples_per_s"])
    }

    fn cpu_ns(&self) -> f64 {
        number(&self.server["server_cpu_ns_per_sample"])
    }

    fn of_lower(&self) -> f64 {
        self.rate() / self.receiver.min(self.writer)
    }

    /// Share of the server's core that others took; not a number where nothing is pinned.
    fn others(&self) -> f64 {
        let used = number(&self.server["server_core_busy_s"]) - number(&self.server["server_cpu_s"]);
        used / number(&self.server["seconds"])
    }
}

/// Runs every row and prints table and verdicts.
pub fn run(seconds: u32, rounds: u32, is_built: bool) -> Result<(), Story> {
    rig::prepare("intake", true)?;
    if !is_built {
        let mut build = shell::cargo();
        build.args(["build", "--release", "--quiet", "--locked", "--package", "millstream", "--package", "loadgen"]);
        build.args(["--package", "millstream-uring", "--bins", "--example", "bare_writer"]);
        shell::run(build.args(["--example", "bare_intake"]))?;
    }
    println!(
        "| shards | frames | samples/s | of a discarding receiver | of a bare writer | of the lower | of a bare writer that syncs | bytes a sample in the log | CPU a sample | of it receiving, CRC and writing alone | frame to acknowledged p50 / p99 |"
    );
    println!("|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    let mut rows = Vec::new();
    for load in &LOADS {
        let row = measure(load, seconds, rounds)?;
        print(load, &row);
        rows.push(row);
    }
    print_limits(&rows);
    verdict::print_disturbed(rows.iter().flatten().map(Round::others).filter(|share| share.is_finite()));
    judge(&rows);
    Ok(())
}

fn measure(load: &Load, seconds: u32, rounds: u32) -> Result<Vec<Round>, Story> {
    let data = target().join("fault/bench-data");
    let _ = fs::remove_dir_all(&data);
    let site = Site::new("bench", &data, "auto", rig::LOG, &format!("[cores]\ncount = {}\n", load.shards))?;
    let core = (load.shards == 1).then_some(SERVER_CORE);
    let mut server = Guard(core.map_or_else(|| site.start(), |core| site.start_on(core))?);
    site.wait_ready(&mut server.0)?;
    let place = Place { site: &site, pid: server.0.id(), data: &data, core };
    (0..rounds).map(|n| round(load, seconds, &place, n % 2 == 1)).collect()
}

/// Where a row is measured.
struct Place<'a> {
    site: &'a Site,
    pid: u32,
    data: &'a Path,
    core: Option<u32>,
}

/// The server, the receiver and both writers, one after the other; which writer comes first changes.
fn round(load: &Load, seconds: u32, place: &Place<'_>, is_sync_first: bool) -> Result<Round, Story> {
    let mut command = sender(load, seconds, place, &place.site.native_address(), place.pid);
    command.arg("--limit");
    let before = written(place)?;
    let report = super::report(&mut command)?;
    sleep(PUBLISHED);
    let after = written(place)?;
    let bytes = (after.0 - before.0) / (after.1 - before.1);
    let writer = |words: &[&str]| writer(place, seconds, words).map(|per_s| per_s / bytes);
    let early = if is_sync_first { Some(writer(&["sync"])?) } else { None };
    let bare = writer(&[])?;
    Ok(Round {
        server: report["server"][0].clone(),
        receiver: number(&report["limit"][0]["samples_per_s"]),
        writer: bare,
        syncing_writer: early.map_or_else(|| writer(&["sync"]), Ok)?,
        bytes,
        bare_cpu_ns: place.core.map_or(Ok(f64::NAN), |core| bare_cpu_ns(load, seconds, place, core))?,
    })
}

/// What sends a row's frames.
fn sender(load: &Load, seconds: u32, place: &Place<'_>, address: &str, pid: u32) -> Command {
    let mut command = Command::new(shell::binary("loadgen"));
    command.args(["native", "--source", "rig", "--tags", "1000", "--rate", "max", "--json"]);
    command.args(["--connections", CONNECTIONS, "--rounds", "1", "--seconds", &seconds.to_string()]);
    command.args(["--kind", load.kind, "--frame", &load.frame.to_string(), "--chunk", &load.chunk.to_string()]);
    command.args(["--address", address, "--server-pid", &pid.to_string()]);
    if let Some(core) = place.core {
        command.args(["--core", &LOAD_CORE.to_string(), "--server-core", &core.to_string()]);
    }
    command
}

/// CPU a sample of `bare_intake`, which is sent the same frames.
fn bare_cpu_ns(load: &Load, seconds: u32, place: &Place<'_>, core: u32) -> Result<f64, Story> {
    let program = shell::binary("examples").join("bare_intake");
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string()]).arg(program).arg(place.data.join("bare"));
    command.args([&(seconds + BARE_LIVES_S).to_string(), "crc"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut bare = rig::start(&mut command)?;
    // kept to the end, when it says what it took
    let mut out = BufReader::new(bare.0.stdout.take().ok_or("bare_intake has no output")?);
    let mut line = String::new();
    out.read_line(&mut line).map_err(|error| format!("bare_intake said nothing: {error}"))?;
    let told: Value = serde_json::from_str(&line).map_err(|error| format!("bare_intake said {line:?}: {error}"))?;
    let address = told["address"].as_str().ok_or_else(|| format!("bare_intake said no address: {line}"))?;
    // taskset has become the program by then
    let mut command = sender(load, seconds, place, address, bare.0.id());
    let report = super::report(command.args(["--acks", "none"]))?;
    Ok(number(&report["server"][0]["server_cpu_ns_per_sample"]))
}

/// Bytes that the server has handed to the disk (proc_pid_io(5), write_bytes), and samples that it took.
fn written(place: &Place<'_>) -> Result<(f64, f64), Story> {
    let path = format!("/proc/{}/io", place.pid);
    let text = fs::read_to_string(path).map_err(|error| format!("the server is gone: {error}"))?;
    let bytes = text.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok());
    let bytes = bytes.ok_or("the system does not say how much the server wrote")?;
    Ok((bytes, samples_of(place.site)?))
}

/// Samples that all shards took.
fn samples_of(site: &Site) -> Result<f64, Story> {
    let cores = rig::cores_of(site)?;
    Ok(cores.as_array().into_iter().flatten().map(|core| number(&core["samples_total"])).sum())
}

/// Bytes a second that the bare writer brings to the disk where the server's data lies.
fn writer(place: &Place<'_>, seconds: u32, words: &[&str]) -> Result<f64, Story> {
    let program: PathBuf = shell::binary("examples").join("bare_writer");
    let mut command = match place.core {
        Some(core) => {
            let mut command = Command::new("taskset");
            command.args(["-c", &core.to_string()]).arg(program);
            command
        }
        None => Command::new(program),
    };
    command.arg(place.data.join("bare")).arg(seconds.to_string()).args(words);
    Ok(number(&super::report(&mut command)?["bytes_per_s"]))
}

fn print(load: &Load, row: &[Round]) {
    let chunk = if load.chunk < SCAN.chunk { ", chunks of 4 KB" } else { "" };
    let share = |of: fn(&Round) -> f64| spread(row, of, |ratio| format!("{ratio:.3}"));
    let acknowledged = |name: &str| middle_of(row, |round| number(&round.server["frame_to_acknowledged"][name])) / 1e6;
    println!(
        "| {} | {}{chunk} | {} | {} | {} | {} | {} | {:.2} | {:.1} ns | {} | {:.1} / {:.1} ms |",
        load.shards,
        load.kind,
        spread(row, Round::rate, |rate| format!("{:.1} million", rate / 1e6)),
        share(|round| round.rate() / round.receiver),
        share(|round| round.rate() / round.writer),
        share(Round::of_lower),
        share(|round| round.rate() / round.syncing_writer),
        middle_of(row, |round| round.bytes),
        middle_of(row, Round::cpu_ns),
        spread(row, |round| round.bare_cpu_ns / round.cpu_ns(), |ratio| format!("{ratio:.2}")),
        acknowledged("p50_ns"),
        acknowledged("p99_ns"),
    );
}

/// What the bare writer took, over all rounds.
fn print_limits(rows: &[Vec<Round>]) {
    let all: Vec<&Round> = rows.iter().flatten().collect();
    let shown = |of: fn(&Round) -> f64| spread(&all, |round| of(round), |bytes| format!("{:.0} MB/s", bytes / 1e6));
    println!(
        "\nbare writer: {}; with a sync always under way: {}",
        shown(|round| round.writer * round.bytes),
        shown(|round| round.syncing_writer * round.bytes)
    );
}

fn judge(rows: &[Vec<Round>]) {
    let [scan, samples, small, ..] = rows else { return };
    println!("\ngoals:");
    let rate = |goal: &str, row: &[Round], least: f64| {
        let found = middle_of(row, Round::rate);
        let (least_shown, found_shown) = (least / 1e6, found / 1e6);
        println!(
            "{goal} at least {least_shown:.0} million samples/s on one core: {} ({found_shown:.1})",
            verdict::of(found >= least)
        );
    };
    let share = |goal: &str, row: &[Round], of: fn(&Round) -> f64, least: f64, what: &str| {
        let found = middle_of(row, of);
        println!("{goal} at least {least} of {what}: {} ({found:.3})", verdict::of(found >= least));
    };
    rate("P1", scan, SCAN_PER_S_MIN);
    share("P1", scan, Round::of_lower, SCAN_OF_LIMIT_MIN, "the lower limit");
    rate("P2", samples, SAMPLES_PER_S_MIN);
    share("P2", samples, Round::of_lower, SAMPLES_OF_LIMIT_MIN, "the lower limit");
    let of_receiver = |round: &Round| round.rate() / round.receiver;
    share("P2", small, of_receiver, SMALL_OF_RECEIVER_MIN, "the receiver with the same chunks of 4 KB");
}

//! `cargo xtask bench steady`: what a frame asks of allocator and kernel once everything is warm.
//!
//! One shard on one core, native frames flat out and at half of that, sessions and pass apart from the
//! log. Two counters each:
//! - memory: a build of the server that counts how often each stage asks for it (feature
//!   `count-allocations`; it lies beside the ordinary binary, which is left as it was);
//! - system calls: those of receiving and acknowledging as the server counts them itself
//!   (`io_uring_enter` and its completions, `/v1/cores`), and all of the process as `strace -c` counts
//!   them for two seconds. strace makes every call some ten times slower, so the server gathers more
//!   in each: its figures say what is called, the ring's own how often.
//!
//! What is judged: no memory for a frame, and system calls for what has arrived together, not for a frame.

use super::rig::{self, LOAD_CORE, LOG, SERVER_CORE, core_of};
use super::table::number;
use super::verdict;
use crate::fault::{Guard, Site};
use crate::shell::{self, Story, binary, target};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Before anything is counted: handshakes, segments that are used again, and windows of rollups, whose
/// room doubles after 1, 2, 4, 8 and 16 seconds.
const WARM: Duration = Duration::from_secs(10);
/// How long strace looks, and how long it may take to begin.
const TRACED: Duration = Duration::from_secs(2);
const TRACE_BEGINS: Duration = Duration::from_millis(300);
/// What a server needs to say last what it did: its figures are published every 250 ms.
const PUBLISHED: Duration = Duration::from_millis(400);
/// Requests for memory a frame, of tables that grow and of what is held while the senders are paused.
const ALLOCATIONS_MAX: f64 = 0.01;
/// Calls to receive a frame flat out, where each should bring many.
const CALLS_MAX: f64 = 0.1;
/// System calls that strace found, most frequent first, that are shown.
const CALLS_SHOWN: usize = 4;

/// A server's own counters between two looks.
struct Counted {
    seconds: f64,
    frames: f64,
    calls: f64,
    completions: f64,
    allocations: f64,
    /// By stage of the telemetry lane: polls that did work, and requests for memory.
    stages: BTreeMap<String, (f64, f64)>,
    syncs: f64,
}

/// System calls a frame: all, and by name.
type Traced = (f64, Vec<(String, f64)>);

/// One load and what was found.
struct Run {
    kind: &'static str,
    is_flat_out: bool,
    counted: Counted,
    /// System calls a frame, all and by name; `None` without strace.
    traced: Option<Traced>,
}

/// Measures, prints, and fails where it does not hold.
pub fn run(frame: u32, seconds: u32, is_built: bool) -> Result<(), Story> {
    rig::prepare("steady", is_built)?;
    let counting = counting_build(is_built)?;
    if !shell::works("strace", &["-V"]) {
        println!("strace is not installed: system calls are those that the server counts itself");
    }
    let mut runs = Vec::new();
    for kind in ["scan", "samples"] {
        let flat_out = measure(&counting, kind, frame, seconds, None)?;
        let half = 0.5 * flat_out.counted.frames / flat_out.counted.seconds * f64::from(frame);
        runs.push(flat_out);
        runs.push(measure(&counting, kind, frame, seconds, Some(half))?);
    }
    print(&runs, frame);
    judge(&runs)
}

/// Builds the server with counters, puts it beside the ordinary one, and makes that the ordinary one again.
fn counting_build(is_built: bool) -> Result<PathBuf, Story> {
    let folder = target().join("fault");
    fs::create_dir_all(&folder).map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
    let counting = folder.join("millstream-counting");
    if is_built {
        return Ok(counting);
    }
    let mut build = shell::cargo();
    build.args(["build", "--release", "--quiet", "--locked", "--package", "millstream"]);
    shell::run(build.args(["--features", "count-allocations"]))?;
    fs::copy(binary("millstream"), &counting).map_err(|error| format!("cannot copy the server: {error}"))?;
    shell::build(&["millstream"])?;
    Ok(counting)
}

fn measure(
    server: &std::path::Path,
    kind: &'static str,
    frame: u32,
    seconds: u32,
    rate: Option<f64>,
) -> Result<Run, Story> {
    let data = target().join("fault/steady-data");
    let _ = fs::remove_dir_all(&data);
    let site = Site::new("steady", &data, "auto", LOG, "[cores]\ncount = 1\n")?;
    let mut server = Guard(site.start_other_on(server, SERVER_CORE)?);
    site.wait_ready(&mut server.0)?;
    let length = WARM + Duration::from_secs(u64::from(seconds)) + TRACED + 4 * PUBLISHED + 2 * TRACE_BEGINS;
    let mut command = Command::new(binary("loadgen"));
    command.args(["native", "--source", "rig", "--tags", "1000", "--connections", super::CONNECTIONS, "--json"]);
    command.args(["--address", &site.native_address(), "--kind", kind, "--frame", &frame.to_string()]);
    command.args(["--core", &LOAD_CORE.to_string(), "--seconds", &length.as_secs_f64().to_string()]);
    command.args(["--rate", &rate.map_or("max".to_owned(), |rate| format!("{rate:.0}"))]);
    let load = rig::start(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    sleep(WARM);
    let counted = count(&site, Duration::from_secs(u64::from(seconds)))?;
    let traced = trace(&site, server.0.id())?;
    drop(load);
    Ok(Run { kind, is_flat_out: rate.is_none(), counted, traced })
}

/// What the server counts in a time.
fn count(site: &Site, time: Duration) -> Result<Counted, Story> {
    let (begun, before) = (Instant::now(), core_of(site)?);
    sleep(time);
    let after = core_of(site)?;
    let seconds = begun.elapsed().as_secs_f64();
    let more = |path: &[&str]| {
        let of = |core: &Value| number(path.iter().fold(core, |value, name| &value[*name]));
        of(&after) - of(&before)
    };
    let stage = |core: &Value, name: &str, figure: &str| {
        let all = core["stages"].as_array().map_or(&[][..], Vec::as_slice);
        all.iter().find(|stage| stage["name"] == name).map_or(0.0, |stage| number(&stage[figure]))
    };
    let stages = ["native", "log"].map(|name| {
        let figure = |figure| stage(&after, name, figure) - stage(&before, name, figure);
        (name.to_owned(), (figure("polls"), figure("allocations")))
    });
    Ok(Counted {
        seconds,
        frames: more(&["receive", "frames"]),
        calls: more(&["receive", "calls"]),
        completions: more(&["receive", "completions"]),
        allocations: more(&["allocations"]),
        stages: stages.into(),
        syncs: more(&["log", "syncs"]),
    })
}

/// System calls of the process a frame, as strace counts them.
fn trace(site: &Site, pid: u32) -> Result<Option<Traced>, Story> {
    if !shell::works("strace", &["-V"]) {
        return Ok(None);
    }
    let summary = target().join("fault/steady-strace");
    let mut command = Command::new("taskset");
    command.args(["-c", &LOAD_CORE.to_string(), "strace", "-c", "-f", "-q", "-o"]).arg(&summary);
    command.args(["-p", &pid.to_string()]).stdin(Stdio::null()).stderr(Stdio::null());
    let mut strace = Guard(command.spawn().map_err(|error| format!("strace could not be started: {error}"))?);
    sleep(TRACE_BEGINS + PUBLISHED);
    let frames = |core: &Value| number(&core["receive"]["frames"]);
    let before = frames(&core_of(site)?);
    sleep(TRACED);
    let came = frames(&core_of(site)?) - before;
    // taskset became strace: an interrupt has it write its summary
    shell::run(Command::new("kill").args(["-INT", &strace.0.id().to_string()]))?;
    let _ = strace.0.wait();
    let text = fs::read_to_string(&summary).map_err(|error| format!("strace wrote no summary: {error}"))?;
    let looked = (TRACED + TRACE_BEGINS + PUBLISHED).as_secs_f64();
    let frames = came * looked / TRACED.as_secs_f64();
    let mut calls: Vec<(String, f64)> = text.lines().filter_map(counted_call).collect();
    calls.sort_by(|one, other| other.1.total_cmp(&one.1));
    let all: f64 = calls.iter().map(|(_, count)| count).sum();
    calls.iter_mut().for_each(|(_, count)| *count /= frames);
    Ok(Some((all / frames, calls)))
}

/// A line of strace's summary: share, seconds, microseconds a call, calls, errors if any, name.
fn counted_call(line: &str) -> Option<(String, f64)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let name = words.last().filter(|name| **name != "total")?;
    words.first()?.parse::<f64>().ok()?;
    Some(((*name).to_owned(), words.get(3)?.parse().ok()?))
}

fn print(runs: &[Run], frame: u32) {
    println!(
        "\n| frames of {frame} | load | frames/s | memory asked for a frame: sessions and pass / log / all of the thread | a batch of the log | frames / completions an `io_uring_enter` that receives | system calls a frame, strace |\n|---|---|---:|---:|---:|---:|---:|"
    );
    for Run { kind, is_flat_out, counted, traced } in runs {
        let load = if *is_flat_out { "flat out" } else { "half of that" };
        let stage = |name: &str| counted.stages.get(name).map_or(f64::NAN, |(_, allocations)| *allocations);
        let calls = traced.as_ref().map_or("–".to_owned(), |(all, by_name)| {
            let named = by_name.iter().take(CALLS_SHOWN).map(|(name, count)| format!("{name} {count:.3}"));
            format!("{all:.3}: {}", named.collect::<Vec<_>>().join(", "))
        });
        println!(
            "| {kind} | {load} | {:.0} | {:.5} / {:.4} / {:.4} | {:.0} | {:.1} / {:.1} | {calls} |",
            counted.frames / counted.seconds,
            stage("native") / counted.frames,
            stage("log") / counted.frames,
            counted.allocations / counted.frames,
            stage("log") / counted.syncs,
            counted.frames / counted.calls,
            counted.completions / counted.calls,
        );
    }
}

fn judge(runs: &[Run]) -> Result<(), Story> {
    // what is no number came from counters that are not there: that holds for nothing
    let worse = |one: f64, other: f64| if other <= one { one } else { other };
    let worst = |of: fn(&Run) -> f64| runs.iter().map(of).fold(0.0, worse);
    let memory = worst(|run| run.counted.stages.get("native").map_or(f64::NAN, |stage| stage.1) / run.counted.frames);
    let calls = worst(|run| run.counted.calls / run.counted.completions);
    let flat_out = worst(|run| if run.is_flat_out { run.counted.calls / run.counted.frames } else { 0.0 });
    let held = [memory <= ALLOCATIONS_MAX, calls < 1.0, flat_out <= CALLS_MAX];
    println!(
        "\nmemory for a frame, by sessions and pass, at most {ALLOCATIONS_MAX}: {} ({memory:.5})",
        verdict::of(held[0])
    );
    println!("fewer calls to receive than what they bring: {} ({calls:.3} a completion)", verdict::of(held[1]));
    println!("flat out at most {CALLS_MAX} calls to receive a frame: {} ({flat_out:.3})", verdict::of(held[2]));
    if held == [true; 3] { Ok(()) } else { Err("a frame costs what only batches may".into()) }
}

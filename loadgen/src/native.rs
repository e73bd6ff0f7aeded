//! `loadgen native`: throughput and latency of native frames, beside the limit of a receiver.

use crate::Failure;
use crate::args::{Acks, Kind, Native, Rate};
use crate::connection::{Connection, Shape};
use crate::drive::{Manner, Outcome, Wait, drive};
use crate::hiccup::{Hiccups, probe};
use crate::machine::{self, Threads};
use crate::receiver::Receiver;
use crate::report::{median, percentiles_json, percentiles_text, time, whole};
use crate::window::Window;
use serde_json::{Value, json};
use std::thread;
use std::time::Duration;

/// Connections that are opened at a time, where there are at least so many.
const OPENING: usize = 64;
/// How long the hiccup probe watches before and after a latency run.
const PROBE: Duration = Duration::from_millis(500);

/// One measurement and what the machine said meanwhile.
struct Measured {
    outcome: Outcome,
    /// CPU time of the receiving side, by thread; empty where it is not known.
    server_cpu: Vec<(String, u64)>,
    /// Time that the server's core was busy, whoever used it.
    core_busy_ns: Option<u64>,
}

impl Measured {
    fn samples_per_s(&self) -> f64 {
        self.outcome.samples as f64 / self.outcome.seconds
    }

    fn server_cpu_ns(&self) -> u64 {
        self.server_cpu.iter().map(|(_, ns)| ns).sum()
    }

    fn json(&self) -> Value {
        let outcome = &self.outcome;
        let per_sample = |ns: u64| if outcome.samples == 0 { 0.0 } else { ns as f64 / outcome.samples as f64 };
        let known = !self.server_cpu.is_empty();
        let by_thread: Vec<Value> =
            self.server_cpu.iter().map(|(name, ns)| json!({ "thread": name, "cpu_s": *ns as f64 / 1e9 })).collect();
        json!({
            "seconds": outcome.seconds,
            "samples_per_s": self.samples_per_s(),
            "frames_per_s": outcome.frames as f64 / outcome.seconds,
            "bytes_per_s": outcome.bytes as f64 / outcome.seconds,
            "samples": outcome.samples,
            "frames": outcome.frames,
            "bytes": outcome.bytes,
            "frame_to_acknowledged": percentiles_json(&outcome.latency.whole),
            "own_cpu_s": outcome.own_cpu_ns as f64 / 1e9,
            "own_cpu_ns_per_sample": per_sample(outcome.own_cpu_ns),
            "server_cpu_s": known.then(|| self.server_cpu_ns() as f64 / 1e9),
            "server_cpu_ns_per_sample": known.then(|| per_sample(self.server_cpu_ns())),
            "server_cpu_s_by_thread": by_thread,
            "server_core_busy_s": self.core_busy_ns.map(|ns| ns as f64 / 1e9),
            "unacknowledged_frames": outcome.unacknowledged_frames,
            "behind_schedule": percentiles_json(&outcome.behind),
            "reconnects": outcome.reconnects,
        })
    }
}

/// Runs the subcommand; `Ok(false)` if frames were not acknowledged.
pub(crate) fn run(options: &Native) -> Result<bool, Failure> {
    check(options)?;
    if let Some(core) = options.watch.core {
        machine::pin_this_thread(core).map_err(Failure::Failed)?;
    }
    let mut hiccups = Hiccups::none();
    let is_open_loop = options.rate != Rate::Max;
    if is_open_loop {
        hiccups.add(&probe(options.watch.server_core.or(options.watch.core), PROBE));
    }
    let (mut servers, mut limits) = (Vec::new(), Vec::new());
    let rounds = if options.limit { options.rounds } else { 1 };
    for round in 1..=rounds {
        if let Some(address) = &options.address {
            let label = if rounds > 1 { format!("server {round}/{rounds}") } else { "server".to_owned() };
            servers.push(against_server(options, address, &label)?);
        }
        if options.limit {
            limits.push(against_receiver(options, &format!("limit {round}/{rounds}"))?);
        }
    }
    if is_open_loop {
        hiccups.add(&probe(options.watch.server_core.or(options.watch.core), PROBE));
    }
    let ratio = ratio(&servers, &limits);
    if options.watch.json {
        let report = json!({
            "server": servers.iter().map(Measured::json).collect::<Vec<_>>(),
            "limit": limits.iter().map(Measured::json).collect::<Vec<_>>(),
            "ratio": ratio,
            "hiccups": hiccups.json(),
            "connections": options.connections,
            "tags": options.tags,
            "frame_samples": options.frame,
            "kind": format!("{:?}", options.kind).to_lowercase(),
            "acks": format!("{:?}", options.acks).to_lowercase(),
            "udp": options.udp,
        });
        println!("{report}");
    } else {
        show(options, &servers, &limits, ratio, &hiccups);
    }
    Ok(servers.iter().all(|m| m.outcome.unacknowledged_frames == 0))
}

fn check(options: &Native) -> Result<(), Failure> {
    let usage = |what: &str| Err(Failure::Usage(what.to_owned()));
    if options.kind == Kind::Scan && options.frame > options.tags {
        return usage("a scan frame holds each tag once: --frame may not be above --tags (or use --kind samples)");
    }
    if options.kind == Kind::Samples && options.frame as usize * frame::SAMPLE_BYTES > model::limits::FRAME_BYTES_MAX {
        return usage("a frame of samples holds at most 43,000 of them: lower --frame");
    }
    if !(options.seconds.is_finite() && options.seconds > 0.0 && options.seconds < 1e6) {
        return usage("--seconds must be above 0");
    }
    if options.udp && options.frame as usize * 24 > 60_000 {
        return usage("a datagram has at most 65,000 bytes: lower --frame");
    }
    Ok(())
}

fn shape(options: &Native, address: &str) -> Shape {
    Shape {
        address: address.to_owned(),
        source: options.source.clone(),
        kind: options.kind,
        tags: options.tags as usize,
        frame_samples: options.frame as usize,
        acks: options.acks == Acks::Durable,
        udp: options.udp,
        chunk_bytes: options.chunk as usize,
        in_flight_bytes_max: options.in_flight,
    }
}

fn against_server(options: &Native, address: &str, label: &str) -> Result<Measured, Failure> {
    let pid = options.watch.server_pid.map(|pid| pid.to_string());
    let look = || pid.as_deref().map(machine::threads_of).unwrap_or_default();
    if pid.is_some() && look().is_empty() {
        return Err(Failure::Usage(format!("there is no process {}", pid.unwrap_or_default())));
    }
    measure(options, &shape(options, address), options.rate, label, look)
}

fn against_receiver(options: &Native, label: &str) -> Result<Measured, Failure> {
    let receiver = Receiver::start(options.watch.server_core)?;
    let shape = Shape { acks: false, udp: false, ..shape(options, &receiver.address.to_string()) };
    let look = || {
        let mut threads = machine::threads_of("self");
        threads.retain(|id, _| Some(*id) == receiver.thread);
        threads
    };
    measure(options, &shape, Rate::Max, label, look)
}

fn measure(
    options: &Native,
    shape: &Shape,
    rate: Rate,
    label: &str,
    look: impl Fn() -> Threads,
) -> Result<Measured, Failure> {
    let mut connections = open_all(options, shape)?;
    let manner = Manner { rate, wait: Wait::Spin, label, is_quiet: options.watch.json };
    let busy = || options.watch.server_core.and_then(machine::core_busy_ns);
    let (cpu_before, busy_before) = (look(), busy());
    let outcome = drive(&mut connections, manner, Window::starting_now(options.seconds))?;
    let (cpu_after, busy_after) = (look(), busy());
    // The machine's figures cover warm-up and draining, too: bring them to the measured samples.
    let all: u64 = connections.iter().map(|c| c.done_samples).sum();
    let share = if all == 0 { 0.0 } else { outcome.samples as f64 / all as f64 };
    let part = |ns: u64| (ns as f64 * share) as u64;
    let server_cpu = machine::used_between(&cpu_before, &cpu_after);
    Ok(Measured {
        outcome,
        server_cpu: server_cpu.into_iter().map(|(name, ns)| (name, part(ns))).collect(),
        core_busy_ns: busy_before.zip(busy_after).map(|(before, after)| part(after.saturating_sub(before))),
    })
}

/// Opens every connection. Each waits for a sync of the server's, so with many of them so many open
/// at a time; with few, one after the other, which gives each one's tags consecutive numbers.
fn open_all(options: &Native, shape: &Shape) -> Result<Vec<Connection>, Failure> {
    let open = |i: usize| Connection::open(shape, i, options.producer + i as u64);
    let mut connections = Vec::with_capacity(options.connections as usize);
    let numbers: Vec<usize> = (0..options.connections as usize).collect();
    if numbers.len() < OPENING {
        return numbers.into_iter().map(open).collect();
    }
    for part in numbers.chunks(OPENING) {
        let opened: Vec<Result<Connection, Failure>> = thread::scope(|scope| {
            let threads: Vec<_> = part.iter().map(|i| scope.spawn(move || open(*i))).collect();
            let ended = |thread: thread::ScopedJoinHandle<'_, _>| thread.join().expect("opening does not panic");
            threads.into_iter().map(ended).collect()
        });
        for connection in opened {
            connections.push(connection?);
        }
    }
    Ok(connections)
}

/// Median of the server's samples/s over that of the receiver's.
fn ratio(servers: &[Measured], limits: &[Measured]) -> Option<f64> {
    let median_of = |all: &[Measured]| median(all.iter().map(Measured::samples_per_s).collect());
    (!servers.is_empty() && !limits.is_empty()).then(|| median_of(servers) / median_of(limits))
}

fn show(options: &Native, servers: &[Measured], limits: &[Measured], ratio: Option<f64>, hiccups: &Hiccups) {
    println!(
        "{} connections × {} tags, frames of {} ({:?}), acks {:?}{}",
        options.connections,
        options.tags,
        options.frame,
        options.kind,
        options.acks,
        if options.udp { ", UDP" } else { "" },
    );
    let rows = |name: &str, all: &[Measured]| {
        for measured in all {
            show_one(name, measured);
        }
    };
    rows("server", servers);
    rows("limit ", limits);
    if let Some(ratio) = ratio {
        println!("server / limit: {ratio:.3} (medians of {} in turns)", servers.len());
    }
    hiccups.show();
}

fn show_one(name: &str, measured: &Measured) {
    let outcome = &measured.outcome;
    let per_s = |count: u64| count as f64 / outcome.seconds;
    println!(
        "{name}  {} samples/s · {} frames/s · {:.1} MB/s · sender {:.2} s CPU",
        whole(measured.samples_per_s()),
        whole(per_s(outcome.frames)),
        per_s(outcome.bytes) / 1e6,
        outcome.own_cpu_ns as f64 / 1e9,
    );
    if !measured.server_cpu.is_empty() && outcome.samples > 0 {
        let threads: Vec<String> =
            measured.server_cpu.iter().take(4).map(|(name, ns)| format!("{name} {}", time(*ns))).collect();
        let per_sample = measured.server_cpu_ns() as f64 / outcome.samples as f64;
        println!("        receiving side: {per_sample:.2} ns CPU a sample ({})", threads.join(", "));
    }
    if let Some(busy) = measured.core_busy_ns {
        let others = busy.saturating_sub(measured.server_cpu_ns());
        println!("        its core was busy for {}, {} of it by others", time(busy), time(others));
    }
    if !outcome.latency.whole.is_empty() {
        println!("        frame to acknowledged: {}", percentiles_text(&outcome.latency.whole));
    }
    if !outcome.behind.is_empty() {
        println!("        of it the sender's own delay: {}", percentiles_text(&outcome.behind));
    }
    if outcome.unacknowledged_frames > 0 {
        println!("        {} frames were never acknowledged", outcome.unacknowledged_frames);
    }
    if outcome.reconnects > 0 {
        println!("        {} connections had to be made again", outcome.reconnects);
    }
}

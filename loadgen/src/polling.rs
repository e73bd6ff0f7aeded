//! `loadgen modbus --measure`: how well the devices are polled, seen from the devices.
//!
//! Invariants
//! - Nothing is taken from the server's own word: polls, values and intervals are what arrived.
//! - Nothing counts before every device was polled and the warm-up is over.
//!
//! Whoever polls is measured alike: Millstream, or any other client (`--server-pid`).

pub(crate) mod command;
mod device;
mod meter;
mod wire;

use crate::args::Modbus;
use crate::hiccup::{Hiccups, probe};
use crate::report::{percentiles_json, percentiles_text, whole};
use crate::{Failure, fleet, machine};
use command::{Plan, Taken};
use device::Plant;
use hdrhistogram::Histogram;
use meter::{Meter, Sums};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::task::LocalSet;

/// How long the devices may wait to be polled, every one of them.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the wait looks.
const LOOK: Duration = Duration::from_millis(20);
/// How long the hiccup probe watches before and after.
const PROBE: Duration = Duration::from_millis(200);

/// Options of the measurement.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Measure whoever polls, for --seconds: polls, values, intervals; the devices are lighter then
    #[arg(long, requires = "seconds")]
    pub(crate) measure: bool,
    /// First port of measured devices, each next one has the next. Without --measure, --config is written
    /// for these ports, and nothing is run
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
    /// Registers from one tag to the next (goes into --config)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=141))]
    pub(crate) stride: u16,
    /// Requests that may be under way at once on a connection (goes into --config); 0: left out, so that
    /// it is found out
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=16))]
    pub(crate) depth: u8,
    /// Round trip of every request to a measured device, made by the device; several may be under way
    #[arg(long, value_parser = crate::args::duration, requires = "measure")]
    pub(crate) round_trip: Option<Duration>,
    /// Time that is not measured, after every device was polled
    #[arg(long, value_parser = crate::args::duration, requires = "measure")]
    pub(crate) warm_up: Option<Duration>,
    /// Process id of whoever polls: its CPU time per value is reported, by thread
    #[arg(long, requires = "measure")]
    pub(crate) server_pid: Option<u32>,
    /// Millstream's HTTP address, for --commands
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub(crate) http: String,
    /// Write one point so many times a second meanwhile, over HTTP, and measure the answers
    #[arg(long, requires = "measure")]
    pub(crate) commands: Option<f64>,
    /// Points of the first device that may be written (--config gets a request of each); with --commands
    /// all of them are written, too, as one batch: in a row, at once, and in one call
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=command::POINTS_MAX))]
    pub(crate) points: u64,
    /// Core that the devices and commands run on (needs taskset)
    #[arg(long)]
    pub(crate) core: Option<u32>,
    /// Core of the server: its use by others is reported, and its hiccups before and after
    #[arg(long)]
    pub(crate) server_core: Option<u32>,
}

/// What was measured.
struct Outcome {
    seconds: f64,
    sums: Sums,
    asked: f64,
    missed: u64,
    deviations: Histogram<u64>,
    server_cpu: Vec<(String, u64)>,
    own_ns: u64,
    core_busy_ns: Option<u64>,
    commands: Option<Taken>,
    hiccups: Hiccups,
}

/// Looks at what is asked for, and takes this thread to its core.
pub(crate) fn prepare(seconds: f64, commands: Option<f64>, core: Option<u32>) -> Result<(), Failure> {
    if !(seconds.is_finite() && seconds > 0.0 && seconds < 1e6) {
        return Err(Failure::Usage("--measure needs --seconds above 0".to_owned()));
    }
    if commands.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
        return Err(Failure::Usage("--commands must be above 0".to_owned()));
    }
    core.map_or(Ok(()), |core| machine::pin_this_thread(core).map_err(Failure::Failed))
}

/// Runs it; writes the configuration first, where one is asked for.
pub(crate) fn run(
    options: &Modbus,
    config: impl FnOnce(&[SocketAddr]) -> Result<(), Failure>,
) -> Result<bool, Failure> {
    let (fleet, own) = (&options.fleet, &options.polling);
    let seconds = fleet.seconds.unwrap_or_default();
    prepare(seconds, own.commands, own.core)?;
    let mut hiccups = Hiccups::none();
    let mut watch = || {
        if own.server_core.is_some() {
            hiccups.add(&probe(own.server_core, PROBE));
        }
    };
    watch();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::of)?;
    let outcome = LocalSet::new().block_on(&runtime, async {
        let every_ns = u64::try_from(options.every.as_nanos()).unwrap_or(u64::MAX);
        let meter = Meter::new(fleet.devices, every_ns, own.stride);
        let (plant, addresses) =
            Plant::start((fleet.bind, own.port), meter, fleet.devices, own.round_trip.unwrap_or_default()).await?;
        config(&addresses)?;
        measure(options, &plant, Duration::from_secs_f64(seconds)).await
    })?;
    watch();
    let outcome = Outcome { hiccups, ..outcome };
    if fleet.json {
        println!("{}", report(options, &outcome));
    } else {
        show(options, &outcome);
    }
    Ok(outcome.commands.is_none_or(|taken| taken.failed == 0))
}

async fn measure(options: &Modbus, plant: &Plant, time: Duration) -> Result<Outcome, Failure> {
    let own = &options.polling;
    until_polled(options, plant).await?;
    let warm_up = own.warm_up.unwrap_or_else(|| (time / 10).min(Duration::from_secs(1)));
    tokio::time::sleep(warm_up.max(options.every)).await;
    let pid = own.server_pid.map(|pid| pid.to_string());
    let cpu = || pid.as_deref().map(machine::threads_of).unwrap_or_default();
    let busy = || own.server_core.and_then(machine::core_busy_ns);
    plant.meter.borrow_mut().reset();
    let (begin, server, own_ns, core) = (Instant::now(), cpu(), machine::own_thread_ns(), busy());
    let plan = own.commands.map(|per_s| Plan {
        http: own.http.clone(),
        per_s,
        points: own.points as usize,
        tag: fleet::REGISTER,
    });
    let commands = match &plan {
        Some(plan) => Some(command::run(plan, time).await?),
        None => {
            tokio::time::sleep(time).await;
            None
        }
    };
    let (seconds, after) = (begin.elapsed().as_secs_f64(), cpu());
    let own_ns = machine::own_thread_ns().saturating_sub(own_ns);
    let core_busy_ns = core.zip(busy()).map(|(before, after)| after.saturating_sub(before));
    let meter = plant.meter.borrow();
    let sums = meter.sums();
    Ok(Outcome {
        seconds,
        sums,
        asked: sums.blocks as f64 * seconds / options.every.as_secs_f64(),
        missed: meter.missed,
        deviations: meter.deviations.clone(),
        server_cpu: machine::used_between(&server, &after),
        own_ns,
        core_busy_ns,
        commands,
        hiccups: Hiccups::none(),
    })
}

/// Waits until every device was polled.
async fn until_polled(options: &Modbus, plant: &Plant) -> Result<(), Failure> {
    let until = Instant::now() + PATIENCE;
    loop {
        let polled = plant.meter.borrow().sums().polled;
        if polled == options.fleet.devices {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(Failure::Failed(format!(
                "{polled} of {} devices were polled within {PATIENCE:?}; start whoever polls them with the configuration \
                 of the same --port and --devices",
                options.fleet.devices
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
}

impl Outcome {
    fn server_ns(&self) -> u64 {
        self.server_cpu.iter().map(|(_, ns)| ns).sum()
    }

    /// Per value that was polled.
    fn cpu_ns_per_value(&self) -> Option<f64> {
        (self.sums.values > 0 && !self.server_cpu.is_empty()).then(|| self.server_ns() as f64 / self.sums.values as f64)
    }

    fn others(&self) -> Option<f64> {
        let busy = self.core_busy_ns.filter(|_| !self.server_cpu.is_empty())?;
        Some(busy.saturating_sub(self.server_ns()) as f64 / 1e9 / self.seconds)
    }
}

fn report(options: &Modbus, outcome: &Outcome) -> Value {
    let (sums, seconds) = (outcome.sums, outcome.seconds);
    let by_thread: Vec<Value> =
        outcome.server_cpu.iter().map(|(name, ns)| json!({ "thread": name, "cpu_s": *ns as f64 / 1e9 })).collect();
    let known = !outcome.server_cpu.is_empty();
    json!({
        "seconds": seconds,
        "devices": options.fleet.devices,
        "every_ms": options.every.as_millis() as u64,
        "blocks": sums.blocks,
        "polls_asked_per_s": outcome.asked / seconds,
        "polls_per_s": sums.reads as f64 / seconds,
        "values_per_s": sums.values as f64 / seconds,
        "writes": sums.writes,
        "cycles_missed": outcome.missed,
        "interval_deviation": percentiles_json(&outcome.deviations),
        "server_cpu_share": known.then(|| outcome.server_ns() as f64 / 1e9 / seconds),
        "server_cpu_ns_per_value": outcome.cpu_ns_per_value(),
        "server_threads": by_thread,
        "own_cpu_share": outcome.own_ns as f64 / 1e9 / seconds,
        "others_on_server_core": outcome.others(),
        "hiccups": outcome.hiccups.json(),
        "commands": outcome.commands.as_ref().map(|taken| taken.json(options.polling.points)),
    })
}

fn show(options: &Modbus, outcome: &Outcome) {
    let (sums, seconds) = (outcome.sums, outcome.seconds);
    println!(
        "{} devices, {} blocks: {} polls/s of {} asked, {} values/s, {} cycles left out",
        options.fleet.devices,
        sums.blocks,
        whole(sums.reads as f64 / seconds),
        whole(outcome.asked / seconds),
        whole(sums.values as f64 / seconds),
        outcome.missed
    );
    println!("interval, deviation from {:?}: {}", options.every, percentiles_text(&outcome.deviations));
    if let Some(ns) = outcome.cpu_ns_per_value() {
        let share = outcome.server_ns() as f64 / 1e7 / seconds;
        println!("whoever polls: {ns:.0} ns CPU per value, {share:.1} % of a core");
    }
    println!("the devices: {:.1} % of a core", outcome.own_ns as f64 / 1e7 / seconds);
    if let Some(others) = outcome.others() {
        println!("others on the server's core: {:.1} %", others * 100.0);
    }
    outcome.hiccups.show();
    if let Some(taken) = &outcome.commands {
        taken.show(options.polling.points);
    }
}

/// Requests that write the points, one by one and all in one call, as sections of a configuration.
pub(crate) fn requests(points: u64, source: &str, tag: &str) -> String {
    if points == 0 {
        return String::new();
    }
    let write = |point: u64| format!("{{ source = \"{source}\", tag = \"{tag}{point}\", range = [0, 65535] }}");
    let one = |point| format!("\n[[request]]\nname  = \"point-{point}\"\nwrite = {}\n", write(point));
    let ones: String = (0..points).map(one).collect();
    let all: String = (0..points).map(|point| format!("  {},\n", write(point))).collect();
    ones + &format!(
        "\n[[request]]\nname = \"points\"\n\n[request.write_points]\nmax_points = {points}\npoint = [\n{all}]\n"
    )
}

/// The devices' addresses, which follow from a fixed first port.
pub(crate) fn fixed_addresses(options: &Modbus) -> Result<Vec<SocketAddr>, Failure> {
    (0..options.fleet.devices).map(|index| device::address(options.fleet.bind, options.polling.port, index)).collect()
}

//! `loadgen opcua --measure`: how well the variables are subscribed to, seen between whoever
//! subscribes and the server.
//!
//! Invariants
//! - What counts is what was handed on (see [`relay`]); of the subscriber's own word only its counters
//!   of losses are shown, and beside.
//! - Nothing counts before a value of every variable came and the warm-up is over.
//! - What Millstream stored of some variables is read back and compared with what was handed on.
//!
//! Whoever subscribes is measured alike: Millstream, or any other client (`--server-pid`).

mod meter;
mod relay;
mod stored;
mod wire;

use crate::args::Opcua;
use crate::hiccup::{Hiccups, probe};
use crate::machine::{self, Usage, Used};
use crate::polling;
use crate::polling::command::{self, Plan, Taken};
use crate::report::{percentiles_json, percentiles_text, time, whole};
use crate::{Failure, fleet};
use hdrhistogram::Histogram;
use meter::{Meter, Sums};
use plant::fleet::{OpcuaFleet, OpcuaFleetOptions};
use relay::Shared;
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};
use stored::{Counters, ReadBack};

/// How long whoever subscribes may take until a value of every variable came.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often the wait looks.
const LOOK: Duration = Duration::from_millis(20);
/// How long the hiccup probe watches before and after.
const PROBE: Duration = Duration::from_millis(200);
/// Variables that change at once, at most: a larger fleet changes part by part.
const PART_VARIABLES: usize = 1_000;
/// Shortest time from part to part.
const PART_PAUSE: Duration = Duration::from_millis(5);
/// How long what was handed on may take to be read back.
const STORED_WITHIN: Duration = Duration::from_secs(5);

/// Options of the measurement.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Measure whoever subscribes, for --seconds: values, what is missing among them, intervals
    #[arg(long, requires = "seconds")]
    pub(crate) measure: bool,
    /// Write the file of --config for this --port, and end
    #[arg(long, requires = "config")]
    pub(crate) config_only: bool,
    /// Publishing interval (goes into --config); else as --every
    #[arg(long, value_parser = crate::args::duration)]
    pub(crate) publishing: Option<Duration>,
    /// Variables more that can be written, each with a request of its own in --config; with --commands all
    /// of them are written, too, as one batch: in a row, at once, and in one call
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=command::POINTS_MAX))]
    pub(crate) points: u64,
    /// Write one point so many times a second meanwhile, over HTTP, and measure the answers
    #[arg(long, requires_all = ["measure", "http"])]
    pub(crate) commands: Option<f64>,
    /// Millstream's HTTP address: for --commands, for its own counters, and to read stored values back
    #[arg(long, requires = "measure")]
    pub(crate) http: Option<String>,
    /// Variables whose stored values are compared with those that were handed on (with --http)
    #[arg(long, default_value_t = 100)]
    pub(crate) read_back: usize,
    /// Process id of whoever subscribes: its CPU time per value is reported, by thread
    #[arg(long, requires = "measure")]
    pub(crate) server_pid: Option<u32>,
    /// Core that everything here runs on (needs taskset)
    #[arg(long)]
    pub(crate) core: Option<u32>,
    /// Core of the server: its use by others is reported, and its hiccups before and after
    #[arg(long)]
    pub(crate) server_core: Option<u32>,
}

/// What was measured.
struct Outcome {
    seconds: f64,
    /// Changes of values that the server made.
    changes: u64,
    sums: Sums,
    created: usize,
    subscribed_ns: Option<u64>,
    deviations: Histogram<u64>,
    delays: Histogram<u64>,
    used: Used,
    commands: Option<Taken>,
    counters: Option<Counters>,
    stored: Option<ReadBack>,
    hiccups: Hiccups,
}

/// The fleet that these options describe, listening there.
pub(crate) fn fleet(options: &Opcua, listen: SocketAddr, named: Option<SocketAddr>) -> OpcuaFleetOptions {
    let (devices, tags_per_device) = (options.fleet.devices, options.fleet.tags);
    let variables = devices.saturating_mul(tags_per_device);
    let most = (options.every.as_nanos() / PART_PAUSE.as_nanos()) as usize;
    let parts = variables.div_ceil(PART_VARIABLES).min(most).max(1);
    let points = options.subscribing.points as usize;
    OpcuaFleetOptions { listen, named, devices, tags_per_device, points, every: options.every, parts }
}

/// Runs it; writes the configuration first, where one is asked for.
pub(crate) fn run(options: &Opcua, config: impl FnOnce(&str) -> Result<(), Failure>) -> Result<bool, Failure> {
    let own = &options.subscribing;
    let seconds = options.fleet.seconds.unwrap_or_default();
    polling::prepare(seconds, own.commands, own.core)?;
    let mut hiccups = Hiccups::none();
    let mut watch = || {
        if own.server_core.is_some() {
            hiccups.add(&probe(own.server_core, PROBE));
        }
    };
    watch();
    let asked = SocketAddr::new(options.fleet.bind, options.port);
    let listener = TcpListener::bind(asked)
        .map_err(|error| Failure::Failed(format!("cannot listen at {asked}: {error}; choose another --port")))?;
    let named = listener.local_addr().map_err(Failure::of)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::of)?;
    let outcome = runtime.block_on(async {
        let behind = TcpListener::bind(SocketAddr::new(options.fleet.bind, 0)).map_err(Failure::of)?;
        let address = behind.local_addr().map_err(Failure::of)?;
        drop(behind);
        let plant = OpcuaFleet::start(fleet(options, address, Some(named))).await.map_err(Failure::of)?;
        let every_ns = u64::try_from(options.every.as_nanos()).unwrap_or(u64::MAX);
        let meter = Shared::new(Meter::new(variables(options), own.points as usize, every_ns));
        relay::start(listener, address, own.core, meter.clone())?;
        config(plant.address())?;
        let outcome = measure(options, &plant, &meter, Duration::from_secs_f64(seconds)).await;
        plant.stop().await;
        outcome
    })?;
    watch();
    let outcome = Outcome { hiccups, ..outcome };
    if options.fleet.json {
        println!("{}", report(options, &outcome));
    } else {
        show(options, &outcome);
    }
    let are_commands_fine = outcome.commands.as_ref().is_none_or(|taken| taken.failed == 0);
    Ok(are_commands_fine && outcome.stored.as_ref().is_none_or(|stored| stored.differing == 0))
}

fn variables(options: &Opcua) -> usize {
    options.fleet.devices * options.fleet.tags
}

async fn measure(options: &Opcua, plant: &OpcuaFleet, meter: &Shared, time: Duration) -> Result<Outcome, Failure> {
    let own = &options.subscribing;
    until_subscribed(meter).await?;
    tokio::time::sleep((time / 10).min(Duration::from_secs(1)).max(options.every)).await;
    let usage = || Usage::now(own.server_pid, own.server_core);
    let counters = counters(own).await?;
    meter.lock().reset();
    let (begin, wall, before, changes) = (Instant::now(), client::now(), usage(), plant.changes());
    let commands = match (&own.http, own.commands) {
        (Some(http), Some(per_s)) => {
            let plan = Plan { http: bare(http), per_s, points: own.points as usize, tag: fleet::VARIABLE };
            Some(beside(plan, own.core, time).await?)
        }
        _ => {
            tokio::time::sleep(time).await;
            None
        }
    };
    let (seconds, after) = (begin.elapsed().as_secs_f64(), usage());
    let changes = plant.changes() - changes;
    let (sums, created, subscribed_ns, (deviations, delays)) = {
        let meter = meter.lock();
        (meter.sums(), meter.created(), meter.subscribed_ns(), meter.times())
    };
    let counters = match counters {
        Some(before) => self::counters(own).await?.map(|after| after.since(&before)),
        None => None,
    };
    let stored = match &own.http {
        Some(http) if own.read_back > 0 => Some(read_back(options, http, meter, wall).await?),
        _ => None,
    };
    Ok(Outcome {
        seconds,
        changes,
        sums,
        created,
        subscribed_ns,
        deviations,
        delays,
        used: before.until(&after),
        commands,
        counters,
        stored,
        hiccups: Hiccups::none(),
    })
}

/// Waits until a value of every variable came.
async fn until_subscribed(meter: &Shared) -> Result<(), Failure> {
    let until = Instant::now() + PATIENCE;
    while !meter.lock().is_complete() {
        if Instant::now() >= until {
            return Err(Failure::Failed(format!(
                "within {PATIENCE:?} not everything was subscribed to: {}; start whoever subscribes with the \
                 configuration of the same --port, --devices, --tags and --points",
                meter.lock().progress()
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Commands from a thread of their own, which the server of the variables does not hold up.
async fn beside(plan: Plan, core: Option<u32>, time: Duration) -> Result<Taken, Failure> {
    let work = move || {
        if let Some(core) = core {
            machine::pin_this_thread(core).map_err(Failure::Failed)?;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::of)?;
        runtime.block_on(command::run(&plan, time))
    };
    let (done, end) = tokio::sync::oneshot::channel();
    thread::spawn(move || drop(done.send(work())));
    end.await.map_err(Failure::of)?
}

/// The address without what stands before it.
fn bare(http: &str) -> String {
    http.trim_start_matches("http://").trim_end_matches('/').to_owned()
}

async fn counters(own: &Options) -> Result<Option<Counters>, Failure> {
    let Some(http) = own.http.clone() else { return Ok(None) };
    tokio::task::spawn_blocking(move || Counters::read(&http)).await.map_err(Failure::of)?.map(Some)
}

/// Compares what was stored of some variables, spread evenly, with what was handed on before now.
async fn read_back(
    options: &Opcua,
    http: &str,
    meter: &Shared,
    from: client::TimestampNs,
) -> Result<ReadBack, Failure> {
    let (tags, all) = (options.fleet.tags, variables(options));
    let step = all.div_ceil(options.subscribing.read_back);
    let wanted: Vec<(usize, String, u32)> = (0..all)
        .step_by(step.max(1))
        .map(|index| (index, format!("fleet/d{}/t{}", index / tags, index % tags), meter.lock().last_tick(index)))
        .collect();
    let http = http.to_owned();
    let read = move || stored::read_back(&http, &wanted, from, STORED_WITHIN);
    tokio::task::spawn_blocking(read).await.map_err(Failure::of)?
}

impl Outcome {
    /// Per value that was handed on.
    fn cpu_ns_per_value(&self) -> Option<f64> {
        (self.sums.values > 0 && !self.used.server.is_empty())
            .then(|| self.used.server_ns() as f64 / self.sums.values as f64)
    }

    fn others(&self) -> Option<f64> {
        let busy = self.used.core_busy_ns.filter(|_| !self.used.server.is_empty())?;
        Some(busy.saturating_sub(self.used.server_ns()) as f64 / 1e9 / self.seconds)
    }

    fn asked_per_s(&self, options: &Opcua) -> f64 {
        variables(options) as f64 / options.every.as_secs_f64()
    }
}

fn report(options: &Opcua, outcome: &Outcome) -> Value {
    let (sums, used, seconds) = (&outcome.sums, &outcome.used, outcome.seconds);
    let by_thread: Vec<Value> =
        used.server.iter().map(|(name, ns)| json!({ "thread": name, "cpu_s": *ns as f64 / 1e9 })).collect();
    let known = !used.server.is_empty();
    json!({
        "seconds": seconds,
        "variables": variables(options),
        "every_ms": options.every.as_millis() as u64,
        "items_made": outcome.created,
        "subscribed_ns": outcome.subscribed_ns,
        "values_asked_per_s": outcome.asked_per_s(options),
        "changes_per_s": outcome.changes as f64 / seconds,
        "values_per_s": sums.values as f64 / seconds,
        "messages_per_s": sums.messages as f64 / seconds,
        "message_values_max": sums.message_values_max,
        "written_values": sums.others,
        "missing": sums.missing,
        "repeated": sums.repeated,
        "overflowed": sums.overflowed,
        "interval_deviation": percentiles_json(&outcome.deviations),
        "source_to_handed_on": percentiles_json(&outcome.delays),
        "server_cpu_share": known.then(|| used.server_ns() as f64 / 1e9 / seconds),
        "server_cpu_ns_per_value": outcome.cpu_ns_per_value(),
        "server_threads": by_thread,
        "own_cpu_share": used.own_ns as f64 / 1e9 / seconds,
        "others_on_server_core": outcome.others(),
        "hiccups": outcome.hiccups.json(),
        "server_counters": outcome.counters.as_ref().map(Counters::json),
        "stored": outcome.stored.as_ref().map(ReadBack::json),
        "commands": outcome.commands.as_ref().map(|taken| taken.json(options.subscribing.points)),
    })
}

fn show(options: &Opcua, outcome: &Outcome) {
    let (sums, used, seconds) = (&outcome.sums, &outcome.used, outcome.seconds);
    println!(
        "{} variables: {} values/s handed on, {} changed, {} asked; {} messages/s, the largest with {} values",
        whole(variables(options) as f64),
        whole(sums.values as f64 / seconds),
        whole(outcome.changes as f64 / seconds),
        whole(outcome.asked_per_s(options)),
        whole(sums.messages as f64 / seconds),
        whole(sums.message_values_max as f64)
    );
    println!(
        "ticks missing {}, repeated {}; values with the overflow bit {}",
        whole(sums.missing as f64),
        whole(sums.repeated as f64),
        whole(sums.overflowed as f64)
    );
    if let Some(ns) = outcome.subscribed_ns {
        println!("{} items made; all of them {} after the connection began", outcome.created, time(ns));
    }
    println!("interval, deviation from {:?}: {}", options.every, percentiles_text(&outcome.deviations));
    println!("source time to handed on: {}", percentiles_text(&outcome.delays));
    if let Some(ns) = outcome.cpu_ns_per_value() {
        let share = used.server_ns() as f64 / 1e7 / seconds;
        println!("whoever subscribes: {ns:.0} ns CPU per value, {share:.1} % of a core");
    }
    println!("the server of the variables: {:.1} % of a core", used.own_ns as f64 / 1e7 / seconds);
    if let Some(others) = outcome.others() {
        println!("others on the server's core: {:.1} %", others * 100.0);
    }
    outcome.hiccups.show();
    if let Some(counters) = &outcome.counters {
        println!("its own counters: {}", counters.text());
    }
    if let Some(stored) = &outcome.stored {
        println!("{}", stored.text());
    }
    if let Some(taken) = &outcome.commands {
        taken.show(options.subscribing.points);
    }
}

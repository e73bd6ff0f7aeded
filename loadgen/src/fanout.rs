//! `loadgen fanout`: events published over HTTP, their subscribers, and every delivery counted.
//!
//! Publisher and subscribers are threads of this process, so both ends of a latency are read from one
//! clock.

mod ledger;
mod publisher;
mod receiver;

use crate::Failure;
use crate::args::{Fanout, Rate};
use crate::hiccup::{histogram, probe};
use crate::machine;
use crate::report::{percentiles_json, percentiles_text, time, whole};
use hdrhistogram::Histogram;
use ledger::{Delivery, Ledger};
use publisher::{Published, Way};
use receiver::Receivers;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long the hiccup probe watches before and after.
const PROBE: Duration = Duration::from_millis(500);
/// Pause between two looks at whether everything has arrived.
const LOOK: Duration = Duration::from_millis(5);

/// What publisher and subscribers share.
struct Run {
    name: String,
    start: Instant,
    receivers: u64,
    ledger: Mutex<Ledger>,
}

impl Run {
    fn new(options: &Fanout, warm_up: Duration) -> Run {
        let (receivers, keys) = (options.receivers as usize, options.keys as usize);
        Run {
            // Another run's deliveries that come late are told apart by it.
            name: format!("{:x}", client::now().0),
            start: Instant::now(),
            receivers: u64::from(options.receivers),
            ledger: Mutex::new(Ledger::new(receivers, keys, ns(warm_up))),
        }
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn now_ns(&self) -> u64 {
        ns(self.start.elapsed())
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Counters are whole after every call, so what a panicked thread left can be read.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, delivery: Option<Delivery>) {
        let now_ns = self.now_ns();
        let mut ledger = self.ledger();
        match delivery {
            Some(delivery) => ledger.note(delivery, now_ns),
            None => ledger.strangers += 1,
        }
    }

    fn set_published(&self, events: u64) {
        self.ledger().published = events;
    }

    /// Events that are published and not everywhere yet.
    fn under_way(&self) -> u64 {
        let ledger = self.ledger();
        (ledger.published * self.receivers).saturating_sub(ledger.received).div_ceil(self.receivers)
    }
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// One moment of the measurement.
struct Moment {
    at: Instant,
    received: u64,
    server: machine::Threads,
    own_ns: u64,
    core_busy_ns: Option<u64>,
}

impl Moment {
    fn now(options: &Fanout, run: &Run) -> Moment {
        let pid = options.server_pid.map(|pid| pid.to_string());
        let sum = |threads: machine::Threads| threads.values().map(|(_, ns)| ns).sum();
        Moment {
            at: Instant::now(),
            received: run.ledger().received,
            server: pid.as_deref().map(machine::threads_of).unwrap_or_default(),
            own_ns: sum(machine::threads_of("self")),
            core_busy_ns: options.server_core.and_then(machine::core_busy_ns),
        }
    }
}

/// What was measured.
struct Outcome {
    seconds: f64,
    /// Deliveries that arrived in that time.
    deliveries: u64,
    server_cpu: Vec<(String, u64)>,
    own_ns: u64,
    core_busy_ns: Option<u64>,
    published: Published,
    /// Deliveries of acknowledged events that never came.
    missing: u64,
    hiccups: Histogram<u64>,
}

impl Outcome {
    fn per_s(&self) -> f64 {
        self.deliveries as f64 / self.seconds
    }

    fn server_ns(&self) -> u64 {
        self.server_cpu.iter().map(|(_, ns)| ns).sum()
    }

    fn us_per_delivery(&self, ns: u64) -> Option<f64> {
        (self.deliveries > 0).then(|| ns as f64 / 1e3 / self.deliveries as f64)
    }
}

/// Runs the subcommand; `Ok(false)` if deliveries are missing or came out of order.
pub(crate) fn run(options: &Fanout) -> Result<bool, Failure> {
    if !(options.seconds.is_finite() && options.seconds > 0.0 && options.seconds < 1e6) {
        return Err(Failure::Usage("--seconds must be above 0".to_owned()));
    }
    if let Some(file) = &options.config {
        let wrong = |error| Failure::Failed(format!("cannot write {}: {error}", file.display()));
        return fs::write(file, subscribers(options)).map(|()| true).map_err(wrong);
    }
    if let Some(core) = options.core {
        // Threads inherit it.
        machine::pin_this_thread(core).map_err(Failure::Failed)?;
    }
    let mut hiccups = histogram();
    let mut watch = || {
        if options.server_core.is_some() {
            // Same bounds; nothing is left out.
            let _ = hiccups.add(probe(options.server_core, PROBE));
        }
    };
    watch();
    let warm_up = Duration::from_secs_f64((options.seconds / 10.0).min(1.0));
    let run = Arc::new(Run::new(options, warm_up));
    let outcome = measure(options, &run, warm_up)?;
    watch();
    let outcome = Outcome { hiccups, ..outcome };
    let ledger = run.ledger();
    if options.json {
        println!("{}", report(options, &outcome, &ledger));
    } else {
        show(options, &outcome, &ledger);
    }
    Ok(outcome.missing == 0 && ledger.reordered == 0)
}

fn measure(options: &Fanout, run: &Arc<Run>, warm_up: Duration) -> Result<Outcome, Failure> {
    let receivers = Receivers::start(options.bind, run)?;
    let mut way = match options.bare {
        true => Way::bare(receivers.address, options.receivers as usize)?,
        false => Way::millstream(options),
    };
    let measured = Duration::from_secs_f64(options.seconds);
    let (warm_up_ns, until_ns) = (ns(warm_up), ns(warm_up + measured));
    let publisher = {
        let (options, run) = (options.clone(), Arc::clone(run));
        let publish = move || publisher::publish(&options, &run, &mut way, warm_up_ns, until_ns);
        thread::Builder::new().name("publisher".to_owned()).spawn(publish).map_err(Failure::of)?
    };
    let sleep_until = |time: Duration| thread::sleep(time.saturating_sub(run.start.elapsed()));
    sleep_until(warm_up);
    let begin = Moment::now(options, run);
    sleep_until(warm_up + measured);
    let end = Moment::now(options, run);
    let published = publisher.join().map_err(|_| Failure::Failed("the publisher panicked".to_owned()))??;
    let missing = drain(run, options.patience);
    drop(receivers);
    Ok(Outcome {
        seconds: (end.at - begin.at).as_secs_f64(),
        deliveries: end.received - begin.received,
        server_cpu: machine::used_between(&begin.server, &end.server),
        own_ns: end.own_ns.saturating_sub(begin.own_ns),
        core_busy_ns: begin.core_busy_ns.zip(end.core_busy_ns).map(|(begin, end)| end.saturating_sub(begin)),
        published,
        missing,
        hiccups: histogram(),
    })
}

/// Waits for what is still on its way; answers what has not come.
fn drain(run: &Run, patience: Duration) -> u64 {
    let until = Instant::now() + patience;
    loop {
        let missing = run.ledger().missing();
        if missing == 0 || Instant::now() >= until {
            return missing;
        }
        thread::sleep(LOOK);
    }
}

/// The subscribers as sections of a configuration.
fn subscribers(options: &Fanout) -> String {
    let (bind, event, concurrency) = (options.bind, &options.event, options.concurrency);
    (0..options.receivers).fold(String::new(), |mut text, number| {
        let to = format!("{{ http = \"http://{bind}/r/{number}\", concurrency = {concurrency} }}");
        // Writing to a text cannot fail.
        let _ = write!(text, "[[subscriber]]\nname = \"fan-{number}\"\nevent = {event:?}\nto = {to}\n\n");
        text
    })
}

fn report(options: &Fanout, outcome: &Outcome, ledger: &Ledger) -> Value {
    let known = !outcome.server_cpu.is_empty();
    let by_thread: Vec<Value> =
        outcome.server_cpu.iter().map(|(name, ns)| json!({ "thread": name, "cpu_s": *ns as f64 / 1e9 })).collect();
    json!({
        "seconds": outcome.seconds,
        "deliveries": outcome.deliveries,
        "deliveries_per_s": outcome.per_s(),
        "events_published": ledger.published,
        "received": ledger.received,
        "missing": outcome.missing,
        "duplicates": ledger.duplicates,
        "reordered": ledger.reordered,
        "strangers": ledger.strangers,
        "due_to_received": percentiles_json(&ledger.latency),
        "due_to_published": percentiles_json(&outcome.published.latency),
        "calls_again": outcome.published.again,
        "behind_schedule_ns_max": outcome.published.behind_ns_max,
        "own_cpu_s": outcome.own_ns as f64 / 1e9,
        "own_cpu_us_per_delivery": outcome.us_per_delivery(outcome.own_ns),
        "server_cpu_s": known.then(|| outcome.server_ns() as f64 / 1e9),
        "server_cpu_us_per_delivery": outcome.us_per_delivery(outcome.server_ns()).filter(|_| known),
        "server_cpu_s_by_thread": by_thread,
        "server_core_busy_s": outcome.core_busy_ns.map(|ns| ns as f64 / 1e9),
        "hiccups": percentiles_json(&outcome.hiccups),
        "receivers": options.receivers,
        "keys": options.keys,
        "batch": options.batch,
        "bare": options.bare,
    })
}

fn show(options: &Fanout, outcome: &Outcome, ledger: &Ledger) {
    let (receivers, keys, batch) = (options.receivers, options.keys, options.batch);
    let way = if options.bare { "a bare loop" } else { &options.http };
    println!("{receivers} subscribers, {keys} keys, {batch} events a call, through {way}");
    println!(
        "{} deliveries/s ({} events/s) · publisher and subscribers {:.1} µs CPU a delivery",
        whole(outcome.per_s()),
        whole(outcome.per_s() / f64::from(receivers)),
        outcome.us_per_delivery(outcome.own_ns).unwrap_or(0.0),
    );
    if let Some(us) = outcome.us_per_delivery(outcome.server_ns()).filter(|_| !outcome.server_cpu.is_empty()) {
        let threads: Vec<String> =
            outcome.server_cpu.iter().take(4).map(|(name, ns)| format!("{name} {}", time(*ns))).collect();
        println!("server: {us:.1} µs CPU a delivery ({})", threads.join(", "));
    }
    if let Some(busy) = outcome.core_busy_ns {
        let others = busy.saturating_sub(outcome.server_ns());
        println!("its core was busy for {}, {} of it by others", time(busy), time(others));
    }
    let since = if options.rate == Rate::Max { "published" } else { "due" };
    println!("{since} to received: {}", percentiles_text(&ledger.latency));
    println!("{since} to acknowledged: {}", percentiles_text(&outcome.published.latency));
    println!(
        "{} events published, {} deliveries received, {} missing, {} out of order, {} came again, {} of no such run",
        whole(ledger.published as f64),
        whole(ledger.received as f64),
        outcome.missing,
        ledger.reordered,
        ledger.duplicates,
        ledger.strangers,
    );
    if outcome.published.again > 0 {
        println!("{} calls had to be made again", outcome.published.again);
    }
    if outcome.published.behind_ns_max > 1_000_000 {
        println!("the publisher itself was up to {} behind its schedule", time(outcome.published.behind_ns_max));
    }
    if !outcome.hiccups.is_empty() {
        println!("hiccups of the platform (gaps between looks at the clock): {}", percentiles_text(&outcome.hiccups));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Command};
    use clap::Parser;

    fn options(more: &[&str]) -> Fanout {
        let words = ["loadgen", "fanout", "--bind", "127.0.0.1:0"];
        match Args::parse_from(words.iter().chain(more)).command {
            Command::Fanout(options) => options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_bare_loop_reaches_every_subscriber_in_order() {
        for rate in ["200", "max"] {
            let options = options(&[
                "--bare",
                "--receivers",
                "7",
                "--keys",
                "3",
                "--rate",
                rate,
                "--batch",
                "2",
                "--seconds",
                "0.1",
            ]);
            let run = Arc::new(Run::new(&options, Duration::ZERO));
            let outcome = measure(&options, &run, Duration::ZERO).expect("measured");
            let ledger = run.ledger();
            assert!(ledger.published >= 2);
            assert_eq!((ledger.received, outcome.missing), (ledger.published * 7, 0));
            assert_eq!((ledger.duplicates, ledger.reordered, ledger.strangers), (0, 0, 0));
        }
    }

    #[test]
    fn the_configuration_names_a_path_for_each_subscriber() {
        let text = subscribers(&options(&["--receivers", "3"]));
        assert_eq!(text.matches("[[subscriber]]\n").count(), 3);
        assert!(text.contains(
            "name = \"fan-2\"\nevent = \"fan-out\"\nto = { http = \"http://127.0.0.1:0/r/2\", concurrency = 4 }"
        ));
    }
}

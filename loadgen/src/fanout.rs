//! `loadgen fanout`: events published over HTTP, their subscribers, and every delivery counted.
//!
//! Publisher and subscribers are threads of this process, so both ends of a latency are read from one
//! clock.

mod ledger;
mod publisher;
mod run;

use crate::Failure;
use crate::args::{Fanout, Rate};
use crate::hiccup::{Hiccups, probe};
use crate::listener::{Listener, Request};
use crate::machine::{self, Usage, Used};
use crate::report::{percentiles_json, percentiles_text, time, whole};
use crate::window::Window;
pub(crate) use ledger::Ledger;
pub(crate) use publisher::{Published, Way};
pub(crate) use run::Run;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long the hiccup probe watches before and after.
const PROBE: Duration = Duration::from_millis(500);
/// Pause between two looks at whether everything has arrived.
const LOOK: Duration = Duration::from_millis(5);

/// What was measured.
struct Outcome {
    seconds: f64,
    /// Deliveries that arrived in that time.
    deliveries: u64,
    used: Used,
    published: Published,
    /// Deliveries of acknowledged events that never came.
    missing: u64,
    hiccups: Hiccups,
}

impl Outcome {
    fn per_s(&self) -> f64 {
        self.deliveries as f64 / self.seconds
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
    if let Some(core) = options.watch.core {
        // Threads inherit it.
        machine::pin_this_thread(core).map_err(Failure::Failed)?;
    }
    let mut hiccups = Hiccups::none();
    let mut watch = || {
        if options.watch.server_core.is_some() {
            hiccups.add(&probe(options.watch.server_core, PROBE));
        }
    };
    watch();
    let run = Arc::new(Run::new(options, Window::starting_now(options.seconds)));
    let outcome = measure(options, &run)?;
    watch();
    let outcome = Outcome { hiccups, ..outcome };
    let ledger = run.ledger();
    if options.watch.json {
        println!("{}", report(options, &outcome, &ledger));
    } else {
        show(options, &outcome, &ledger);
    }
    Ok(outcome.missing == 0 && ledger.reordered == 0)
}

fn measure(options: &Fanout, run: &Arc<Run>) -> Result<Outcome, Failure> {
    let handler = {
        let run = Arc::clone(run);
        Arc::new(move |request: &Request<'_>| run.take(request))
    };
    let receivers = Listener::start(options.bind, handler)?;
    let way = match options.bare {
        true => Way::bare(receivers.address, options.receivers as usize)?,
        false => Way::millstream(options),
    };
    let publisher = publish(options, run, way)?;
    let look =
        || (Instant::now(), run.ledger().received, Usage::now(options.watch.server_pid, options.watch.server_core));
    run.window.sleep_until(run.window.begin_ns);
    let begin = look();
    run.window.sleep_until(run.window.end_ns);
    let end = look();
    let published = publisher.join().map_err(|_| Failure::Failed("the publisher panicked".to_owned()))??;
    let missing = drain(run, options.patience);
    drop(receivers);
    Ok(Outcome {
        seconds: (end.0 - begin.0).as_secs_f64(),
        deliveries: end.1 - begin.1,
        used: begin.2.until(&end.2),
        published,
        missing,
        hiccups: Hiccups::none(),
    })
}

/// Starts publishing, on a thread of its own, until the window ends.
pub(crate) fn publish(
    options: &Fanout,
    run: &Arc<Run>,
    mut way: Way,
) -> Result<thread::JoinHandle<Result<Published, Failure>>, Failure> {
    let (options, run) = (options.clone(), Arc::clone(run));
    let publish = move || publisher::publish(&options, &run, &mut way);
    thread::Builder::new().name("publisher".to_owned()).spawn(publish).map_err(Failure::of)
}

/// Waits for what is still on its way; answers what has not come.
pub(crate) fn drain(run: &Run, patience: Duration) -> u64 {
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
pub(crate) fn subscribers(options: &Fanout) -> String {
    let (bind, event, concurrency) = (options.bind, &options.event, options.concurrency);
    (0..options.receivers).fold(String::new(), |mut text, number| {
        let to = format!("{{ http = \"http://{bind}/r/{number}\", concurrency = {concurrency} }}");
        // Writing to a text cannot fail.
        let _ = write!(text, "[[subscriber]]\nname = \"fan-{number}\"\nevent = {event:?}\nto = {to}\n\n");
        text
    })
}

fn report(options: &Fanout, outcome: &Outcome, ledger: &Ledger) -> Value {
    let known = !outcome.used.server.is_empty();
    let by_thread: Vec<Value> =
        outcome.used.server.iter().map(|(name, ns)| json!({ "thread": name, "cpu_s": *ns as f64 / 1e9 })).collect();
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
        "due_to_received": percentiles_json(&ledger.latency.whole),
        "due_to_published": percentiles_json(&outcome.published.latency),
        "calls_again": outcome.published.again,
        "behind_schedule_ns_max": outcome.published.behind_ns_max,
        "own_cpu_s": outcome.used.own_ns as f64 / 1e9,
        "own_cpu_us_per_delivery": outcome.us_per_delivery(outcome.used.own_ns),
        "server_cpu_s": known.then(|| outcome.used.server_ns() as f64 / 1e9),
        "server_cpu_us_per_delivery": outcome.us_per_delivery(outcome.used.server_ns()).filter(|_| known),
        "server_cpu_s_by_thread": by_thread,
        "server_core_busy_s": outcome.used.core_busy_ns.map(|ns| ns as f64 / 1e9),
        "hiccups": outcome.hiccups.json(),
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
        outcome.us_per_delivery(outcome.used.own_ns).unwrap_or(0.0),
    );
    if let Some(us) = outcome.us_per_delivery(outcome.used.server_ns()).filter(|_| !outcome.used.server.is_empty()) {
        let threads: Vec<String> =
            outcome.used.server.iter().take(4).map(|(name, ns)| format!("{name} {}", time(*ns))).collect();
        println!("server: {us:.1} µs CPU a delivery ({})", threads.join(", "));
    }
    if let Some(busy) = outcome.used.core_busy_ns {
        let others = busy.saturating_sub(outcome.used.server_ns());
        println!("its core was busy for {}, {} of it by others", time(busy), time(others));
    }
    let since = if options.rate == Rate::Max { "published" } else { "due" };
    println!("{since} to received: {}", percentiles_text(&ledger.latency.whole));
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
    outcome.hiccups.show();
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
            let run = Arc::new(Run::new(&options, Window::starting_now(options.seconds)));
            let outcome = measure(&options, &run).expect("measured");
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

//! Workers on threads of their own for a while, and what the machine said meanwhile.
//!
//! Invariants
//! - W1: what is counted was acknowledged within the measured time; warm-up and draining are not in it.
//! - W2: every acknowledged sample is in `samples_all`, so that whoever asks the server for them afterwards
//!   knows how many there must be.

use crate::Failure;
use crate::args::{Rate, Watch};
use crate::hiccup::histogram;
use crate::machine;
use crate::report::{percentiles_json, percentiles_text, time, whole};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// From the start of the threads to the first call: all of them are there then.
const GATHER: Duration = Duration::from_millis(20);

/// How a load is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Measure {
    /// How long the measurement takes, after a warm-up of a tenth of it (at most 1 s)
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    #[command(flatten)]
    pub(crate) watch: Watch,
}

/// When a measurement begins and ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    start: Instant,
    begin: Instant,
    end: Instant,
}

impl Span {
    fn new(seconds: f64) -> Span {
        let start = Instant::now() + GATHER;
        let begin = start + Duration::from_secs_f64((seconds / 10.0).min(1.0));
        Span { start, begin, end: begin + Duration::from_secs_f64(seconds) }
    }

    /// Whether the load goes on.
    pub(crate) fn is_on(&self) -> bool {
        Instant::now() < self.end
    }

    /// Waits until the load may begin.
    pub(crate) fn wait_start(&self) {
        thread::sleep(self.start.saturating_duration_since(Instant::now()));
    }
}

/// When each call is due; shared by the workers, so that one that is held up delays no other.
pub(crate) struct Schedule {
    /// Between two calls; `None` in the closed loop.
    interval: Option<Duration>,
    calls: Mutex<u32>,
}

impl Schedule {
    /// Calls of so many samples each.
    pub(crate) fn new(rate: Rate, samples_per_call: u32) -> Schedule {
        let interval = match rate {
            Rate::Max => None,
            Rate::PerS(rate) => Some(Duration::from_secs_f64(f64::from(samples_per_call) / rate)),
        };
        Schedule { interval, calls: Mutex::new(0) }
    }

    /// Waits for the next call's time and answers it; `None` if it lies behind the end.
    pub(crate) fn next(&self, span: &Span) -> Option<Instant> {
        let Some(interval) = self.interval else { return span.is_on().then(Instant::now) };
        let due = {
            // The count is whole after every call, whatever became of the thread that made it.
            let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            let due = span.start + interval * *calls;
            *calls += 1;
            due
        };
        if due >= span.end {
            return None;
        }
        thread::sleep(due.saturating_duration_since(Instant::now()));
        Some(due)
    }
}

/// What a worker counted.
pub(crate) struct Tally {
    /// Within the measured time.
    samples: u64,
    calls: u64,
    bytes: u64,
    latency: Histogram<u64>,
    /// From the first call to the last.
    samples_all: u64,
    refused: u64,
    refusal: Option<String>,
}

impl Default for Tally {
    fn default() -> Tally {
        let latency = histogram();
        Tally { samples: 0, calls: 0, bytes: 0, latency, samples_all: 0, refused: 0, refusal: None }
    }
}

impl Tally {
    /// A call that was due at a time is acknowledged now.
    pub(crate) fn acknowledged(&mut self, span: &Span, due: Instant, samples: u64, bytes: u64) {
        let now = Instant::now();
        self.samples_all += samples;
        if now >= span.begin && now < span.end {
            self.samples += samples;
            self.calls += 1;
            self.bytes += bytes;
            let waited = u64::try_from((now - due).as_nanos()).unwrap_or(u64::MAX);
            self.latency.saturating_record(waited.max(1));
        }
    }

    /// A call was not taken; the first reason is kept.
    pub(crate) fn refused(&mut self, why: impl FnOnce() -> String) {
        self.refused += 1;
        self.refusal.get_or_insert_with(why);
    }

    fn add(&mut self, other: Tally) {
        self.samples += other.samples;
        self.calls += other.calls;
        self.bytes += other.bytes;
        self.samples_all += other.samples_all;
        self.refused += other.refused;
        self.refusal = self.refusal.take().or(other.refusal);
        // Same bounds; nothing is left out.
        let _ = self.latency.add(other.latency);
    }
}

/// One connection's load.
pub(crate) trait Worker: Send {
    /// Loads the server as long as the span is on, and waits for what is under way.
    fn drive(&mut self, span: Span) -> Result<Tally, Failure>;
}

/// What the machine says at one moment.
struct Moment {
    at: Instant,
    server: machine::Threads,
    server_ns: u64,
    own_ns: u64,
    core_busy_ns: Option<u64>,
}

impl Moment {
    fn now(measure: &Measure) -> Moment {
        let pid = measure.watch.server_pid.map(|pid| pid.to_string());
        Moment {
            at: Instant::now(),
            server: pid.as_deref().map(machine::threads_of).unwrap_or_default(),
            server_ns: pid.as_deref().and_then(machine::process_ns).unwrap_or(0),
            own_ns: machine::process_ns("self").unwrap_or(0),
            core_busy_ns: measure.watch.server_core.and_then(machine::core_busy_ns),
        }
    }
}

/// What was measured.
pub(crate) struct Outcome {
    seconds: f64,
    tally: Tally,
    server_cpu: Vec<(String, u64)>,
    server_ns: u64,
    own_ns: u64,
    core_busy_ns: Option<u64>,
}

/// Runs the workers, each on a thread.
pub(crate) fn run<W: Worker>(workers: &mut [W], measure: &Measure) -> Result<Outcome, Failure> {
    let span = Span::new(measure.seconds);
    thread::scope(|scope| {
        let started: Vec<_> = workers.iter_mut().map(|worker| scope.spawn(move || worker.drive(span))).collect();
        thread::sleep(span.begin.saturating_duration_since(Instant::now()));
        let before = Moment::now(measure);
        thread::sleep(span.end.saturating_duration_since(Instant::now()));
        let after = Moment::now(measure);
        let mut tally = Tally::default();
        for worker in started {
            let counted = worker.join().map_err(|_| Failure::Failed("a thread of the load panicked".to_owned()))?;
            tally.add(counted?);
        }
        Ok(Outcome {
            seconds: (span.end - span.begin).as_secs_f64().max((after.at - before.at).as_secs_f64()),
            tally,
            server_cpu: machine::used_between(&before.server, &after.server),
            server_ns: after.server_ns.saturating_sub(before.server_ns),
            own_ns: after.own_ns.saturating_sub(before.own_ns),
            core_busy_ns: before.core_busy_ns.zip(after.core_busy_ns).map(|(a, b)| b.saturating_sub(a)),
        })
    })
}

/// Pins the calling thread and those that it starts, and looks whether the measurement can be made.
pub(crate) fn prepare(measure: &Measure) -> Result<(), Failure> {
    if !(measure.seconds.is_finite() && measure.seconds > 0.0 && measure.seconds < 1e6) {
        return Err(Failure::Usage("--seconds must be above 0".to_owned()));
    }
    if let Some(pid) = measure.watch.server_pid.filter(|pid| machine::process_ns(&pid.to_string()).is_none()) {
        return Err(Failure::Usage(format!("there is no process {pid}")));
    }
    measure.watch.core.map_or(Ok(()), machine::pin_this_thread).map_err(Failure::Failed)
}

impl Outcome {
    fn samples_per_s(&self) -> f64 {
        self.tally.samples as f64 / self.seconds
    }

    fn per_sample(&self, ns: u64) -> Option<f64> {
        (self.tally.samples > 0).then(|| ns as f64 / self.tally.samples as f64)
    }

    /// Prints it, with `about` in front; whether everything that was sent was taken.
    pub(crate) fn print(&self, measure: &Measure, about: &str, details: Value) -> bool {
        if measure.watch.json {
            println!("{}", self.json(measure, details));
        } else {
            self.show(measure, about);
        }
        self.tally.refused == 0 && self.tally.samples_all > 0
    }

    fn json(&self, measure: &Measure, mut report: Value) -> Value {
        let by_thread: Vec<Value> =
            self.server_cpu.iter().map(|(name, ns)| json!({ "thread": name, "cpu_s": *ns as f64 / 1e9 })).collect();
        let server = measure.watch.server_pid.map(|_| self.server_ns);
        let figures = json!({
            "seconds": self.seconds,
            "samples_per_s": self.samples_per_s(),
            "calls_per_s": self.tally.calls as f64 / self.seconds,
            "bytes_per_s": self.tally.bytes as f64 / self.seconds,
            "samples": self.tally.samples,
            "samples_all": self.tally.samples_all,
            "due_to_acknowledged": percentiles_json(&self.tally.latency),
            "own_cpu_s": self.own_ns as f64 / 1e9,
            "own_cpu_ns_per_sample": self.per_sample(self.own_ns),
            "server_cpu_s": server.map(|ns| ns as f64 / 1e9),
            "server_cpu_ns_per_sample": server.and_then(|ns| self.per_sample(ns)),
            "server_cpu_s_by_thread": by_thread,
            "server_core_busy_s": self.core_busy_ns.map(|ns| ns as f64 / 1e9),
            "refused": self.tally.refused,
            "refusal": self.tally.refusal,
        });
        if let (Value::Object(report), Value::Object(figures)) = (&mut report, figures) {
            report.extend(figures);
        }
        report
    }

    fn show(&self, measure: &Measure, about: &str) {
        let per_s = |count: u64| count as f64 / self.seconds;
        println!("{about}");
        println!(
            "{} samples/s · {} calls/s · {:.1} MB/s · sender {:.2} s CPU",
            whole(self.samples_per_s()),
            whole(per_s(self.tally.calls)),
            per_s(self.tally.bytes) / 1e6,
            self.own_ns as f64 / 1e9
        );
        println!("        due to acknowledged: {}", percentiles_text(&self.tally.latency));
        if let (Some(_), Some(each)) = (measure.watch.server_pid, self.per_sample(self.server_ns)) {
            let threads: Vec<String> =
                self.server_cpu.iter().take(4).map(|(name, ns)| format!("{name} {}", time(*ns))).collect();
            println!("        server: {each:.1} ns CPU a sample ({})", threads.join(", "));
        }
        if let Some(busy) = self.core_busy_ns {
            let others = busy.saturating_sub(self.server_ns);
            println!("        its core was busy for {}, {} of it by others", time(busy), time(others));
        }
        if let Some(why) = &self.tally.refusal {
            println!("        {} calls were not taken, the first because: {why}", self.tally.refused);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_acknowledged_within_the_time_counts() {
        let now = Instant::now();
        let hour = Duration::from_secs(3_600);
        let within = Span { start: now, begin: now, end: now + hour };
        let later = Span { start: now, begin: now + hour, end: now + hour };
        let mut tally = Tally::default();
        tally.acknowledged(&within, now, 10, 100);
        tally.acknowledged(&later, now, 5, 50);
        tally.refused(|| "first".to_owned());
        tally.refused(|| "second".to_owned());
        let mut sum = Tally::default();
        sum.add(tally);
        assert_eq!((sum.samples, sum.samples_all, sum.calls, sum.bytes, sum.latency.len()), (10, 15, 1, 100, 1));
        assert_eq!((sum.refused, sum.refusal.as_deref()), (2, Some("first")));
    }

    #[test]
    fn due_times_follow_from_the_rate_alone() {
        let now = Instant::now();
        let span = Span { start: now, begin: now, end: now + Duration::from_millis(3) };
        let schedule = Schedule::new(Rate::PerS(1e6), 1_000);
        let due: Vec<_> = std::iter::from_fn(|| schedule.next(&span)).map(|due| (due - now).as_millis()).collect();
        assert_eq!(due, [0, 1, 2]);
    }
}

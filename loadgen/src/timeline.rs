//! Latencies of a measured time: all of them, and second by second.
//!
//! Invariants
//! - The whole holds what was due in the measured time, whenever it was done: what takes longest is
//!   not left out because time ran out.
//! - A second holds what was done in it, and nothing of the warm-up or of what came after the end.

use crate::hiccup::histogram;
use crate::report::percentiles_json;
use crate::window::Window;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// Seconds that are told apart; what comes later counts in the whole alone.
const SECONDS_MAX: usize = 3_600;

/// What was done in one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Second {
    /// How much: samples, calls, deliveries.
    pub(crate) done: u64,
    /// Of what was done in it; `None` where that is nothing.
    pub(crate) p99_ns: Option<u64>,
}

/// Latencies of one thing that is measured.
pub(crate) struct Timeline {
    window: Window,
    /// All latencies, nanoseconds.
    pub(crate) whole: Histogram<u64>,
    /// How much was done in the measured time.
    pub(crate) done: u64,
    seconds: Vec<Second>,
    /// Of the second that runs.
    recent: Histogram<u64>,
    recent_done: u64,
}

impl Timeline {
    pub(crate) fn new(window: Window) -> Timeline {
        Timeline { window, whole: histogram(), done: 0, seconds: Vec::new(), recent: histogram(), recent_done: 0 }
    }

    /// `amount` was due at `due_ns` and done at `now_ns`, of the window's clock. Answers whether it
    /// was due in the measured time.
    pub(crate) fn record(&mut self, due_ns: u64, now_ns: u64, amount: u64) -> bool {
        let latency_ns = now_ns.saturating_sub(due_ns).max(1);
        let counts = self.window.holds(due_ns);
        if counts {
            self.whole.saturating_record(latency_ns);
        }
        if !self.window.holds(now_ns) {
            return counts;
        }
        let second = (now_ns - self.window.begin_ns) / 1_000_000_000;
        while (self.seconds.len() as u64) < second && self.seconds.len() < SECONDS_MAX {
            self.close();
        }
        self.recent.saturating_record(latency_ns);
        self.recent_done += amount;
        self.done += amount;
        counts
    }

    /// Second by second; those in which nothing was done are there, too.
    pub(crate) fn seconds(&mut self) -> &[Second] {
        while self.seconds.len() < self.window.seconds().min(SECONDS_MAX) {
            self.close();
        }
        &self.seconds
    }

    /// As lists for a report.
    pub(crate) fn json(&mut self) -> Value {
        let latency = percentiles_json(&self.whole);
        let seconds = self.seconds();
        json!({
            "latency": latency,
            "done_by_second": seconds.iter().map(|second| second.done).collect::<Vec<_>>(),
            "p99_ns_by_second": seconds.iter().map(|second| second.p99_ns).collect::<Vec<_>>(),
        })
    }

    fn close(&mut self) {
        let p99_ns = (!self.recent.is_empty()).then(|| self.recent.value_at_percentile(99.0));
        self.seconds.push(Second { done: std::mem::take(&mut self.recent_done), p99_ns });
        self.recent.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_hold_what_was_done_in_them_and_the_whole_what_was_due() {
        let window = Window::starting_now(3.0);
        let at = |ms: u64| window.begin_ns + ms * 1_000_000;
        let mut timeline = Timeline::new(window);
        timeline.record(at(0) - 5, at(0) - 1, 100);
        timeline.record(at(0) - 5_000_000, at(1), 10);
        timeline.record(at(100), at(900), 20);
        timeline.record(at(2_100), at(2_200), 30);
        timeline.record(at(2_900), at(3_500), 40);
        let done: Vec<u64> = timeline.seconds().iter().map(|second| second.done).collect();
        assert_eq!((done, timeline.done), (vec![30, 0, 30], 60));
        assert_eq!(timeline.whole.len(), 3);
        assert!(timeline.whole.max() >= 600_000_000);
        let p99 = timeline.seconds().iter().map(|second| second.p99_ns.map(|ns| ns / 1_000_000));
        assert_eq!(p99.collect::<Vec<_>>(), [Some(800), None, Some(100)]);
    }
}

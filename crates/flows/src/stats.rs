//! What is counted and timed of one flow.

use hdrhistogram::Histogram;
use model::TimestampNs;
use std::collections::VecDeque;

/// Longest latency that is told apart, in µs: one day.
const LATENCY_US_MAX: u64 = 86_400_000_000;
/// Seconds of rate that are kept.
const SECONDS_MAX: usize = 60;
/// Points of the spark: each stands for a few seconds.
const SPARK_POINTS: usize = 20;

/// Counts and times of one flow since the start.
#[derive(Clone, Debug)]
pub struct FlowStats {
    latency_us: Histogram<u64>,
    seconds: VecDeque<u32>,
    second: i64,
    /// Deliveries that succeeded.
    pub delivered: u64,
    /// Attempts that failed.
    pub attempts_failed: u64,
    /// Deliveries that became dead letters.
    pub dead: u64,
    /// Deliveries that expired.
    pub expired: u64,
    /// Deliveries that a newer one of their key replaced.
    pub superseded: u64,
    /// Messages that the flow's condition left out.
    pub skipped: u64,
    /// When something last went well.
    pub last_success: Option<TimestampNs>,
    /// When something last went wrong, and what.
    pub last_error: Option<(TimestampNs, String)>,
}

impl Default for FlowStats {
    fn default() -> FlowStats {
        FlowStats {
            // 1 µs to a day with two digits always fits
            latency_us: Histogram::new_with_bounds(1, LATENCY_US_MAX, 2).unwrap_or_else(|_| unbounded()),
            seconds: VecDeque::with_capacity(SECONDS_MAX),
            second: 0,
            delivered: 0,
            attempts_failed: 0,
            dead: 0,
            expired: 0,
            superseded: 0,
            skipped: 0,
            last_success: None,
            last_error: None,
        }
    }
}

fn unbounded() -> Histogram<u64> {
    match Histogram::new(2) {
        Ok(histogram) => histogram,
        Err(error) => unreachable!("two significant digits are allowed: {error}"),
    }
}

impl FlowStats {
    /// Something went well, so long after it was published.
    pub fn on_success(&mut self, published: TimestampNs, now: TimestampNs) {
        self.delivered += 1;
        self.last_success = Some(now);
        let us = u64::try_from((now.0 - published.0) / 1_000).unwrap_or(0).clamp(1, LATENCY_US_MAX);
        self.latency_us.saturating_record(us);
        self.roll(now);
        if let Some(last) = self.seconds.back_mut() {
            *last = last.saturating_add(1);
        }
    }

    /// An attempt went wrong.
    pub fn on_failure(&mut self, what: String, now: TimestampNs) {
        self.attempts_failed += 1;
        self.last_error = Some((now, what));
    }

    /// Moves the seconds on.
    fn roll(&mut self, now: TimestampNs) {
        let second = now.0.div_euclid(1_000_000_000);
        let steps = (second - self.second).clamp(0, SECONDS_MAX as i64);
        if second < self.second {
            return; // the clock went back; counted into the newest second
        }
        for _ in 0..steps {
            if self.seconds.len() == SECONDS_MAX {
                self.seconds.pop_front();
            }
            self.seconds.push_back(0);
        }
        self.second = second;
    }

    /// Successes a second over the last minute.
    #[must_use]
    pub fn rate(&mut self, now: TimestampNs) -> f64 {
        self.roll(now);
        let sum: u64 = self.seconds.iter().map(|count| u64::from(*count)).sum();
        sum as f64 / SECONDS_MAX as f64
    }

    /// Successes a second, oldest first, each point over a few seconds of the last minute.
    #[must_use]
    pub fn spark(&mut self, now: TimestampNs) -> Vec<f64> {
        self.roll(now);
        let width = SECONDS_MAX / SPARK_POINTS;
        let missing = SECONDS_MAX - self.seconds.len();
        let at = |second: usize| second.checked_sub(missing).and_then(|i| self.seconds.get(i)).copied().unwrap_or(0);
        let point = |i: usize| (0..width).map(|j| f64::from(at(i * width + j))).sum::<f64>() / width as f64;
        (0..SPARK_POINTS).map(point).collect()
    }

    /// A quantile of the time from publication to success, in ms; `None` before the first.
    #[must_use]
    pub fn quantile_ms(&self, quantile: f64) -> Option<f64> {
        (!self.latency_us.is_empty()).then(|| self.latency_us.value_at_quantile(quantile) as f64 / 1_000.0)
    }

    /// How many successes took longer than the bound before and at most this one, ms; the last bound
    /// is infinite.
    #[must_use]
    pub fn buckets(&self, bounds_ms: &[f64]) -> Vec<u64> {
        let mut counts = vec![0; bounds_ms.len() + 1];
        for value in self.latency_us.iter_recorded() {
            let ms = value.value_iterated_to() as f64 / 1_000.0;
            let at = bounds_ms.partition_point(|bound| *bound < ms);
            counts[at] += value.count_at_value();
        }
        counts
    }

    /// Sum of all latencies, ms.
    #[must_use]
    pub fn sum_ms(&self) -> f64 {
        self.latency_us.mean() * self.latency_us.len() as f64 / 1_000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    #[test]
    fn the_rate_is_of_the_last_minute() {
        let mut stats = FlowStats::default();
        for second in 0..120_i64 {
            for _ in 0..6 {
                stats.on_success(TimestampNs(second * S), TimestampNs(second * S + 5_000_000));
            }
        }
        assert!((stats.rate(TimestampNs(119 * S)) - 6.0).abs() < 1e-9);
        assert_eq!(stats.spark(TimestampNs(119 * S)), vec![6.0; SPARK_POINTS]);
        assert!((stats.rate(TimestampNs(149 * S)) - 3.0).abs() < 1e-9);
        assert_eq!(stats.rate(TimestampNs(500 * S)), 0.0);
        assert_eq!(stats.buckets(&[1.0, 10.0]), vec![0, 720, 0]);
        assert!((stats.quantile_ms(0.5).unwrap() - 5.0).abs() < 0.1);
    }

    #[test]
    fn a_clock_that_goes_back_breaks_nothing() {
        let mut stats = FlowStats::default();
        stats.on_success(TimestampNs(100 * S), TimestampNs(100 * S));
        stats.on_success(TimestampNs(100 * S), TimestampNs(50 * S));
        assert_eq!(stats.delivered, 2);
        assert!(stats.rate(TimestampNs(100 * S)) > 0.0);
    }
}

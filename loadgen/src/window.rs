//! When a measurement runs, on one clock for everything that takes part in it.

use std::thread;
use std::time::{Duration, Instant};

/// A warm-up of a tenth of the measured time takes no longer than this.
const WARM_UP_MAX: Duration = Duration::from_secs(1);

/// A clock that starts at 0, and the part of it that is measured: behind a warm-up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    start: Instant,
    /// When the warm-up is over, nanoseconds of this clock.
    pub(crate) begin_ns: u64,
    /// When nothing more is begun, nanoseconds of this clock.
    pub(crate) end_ns: u64,
}

impl Window {
    /// Starts the clock: a warm-up of a tenth, at most a second, then as long as asked.
    pub(crate) fn starting_now(seconds: f64) -> Window {
        let measured = Duration::from_secs_f64(seconds);
        let warm_up = (measured / 10).min(WARM_UP_MAX);
        Window { start: Instant::now(), begin_ns: ns(warm_up), end_ns: ns(warm_up + measured) }
    }

    /// Nanoseconds since its start.
    pub(crate) fn now_ns(&self) -> u64 {
        ns(self.start.elapsed())
    }

    /// Waits for a moment of this clock, unless it is over.
    pub(crate) fn sleep_until(&self, at_ns: u64) {
        thread::sleep(Duration::from_nanos(at_ns.saturating_sub(self.now_ns())));
    }

    /// Whether something at this moment belongs to what is measured.
    pub(crate) fn holds(&self, at_ns: u64) -> bool {
        (self.begin_ns..self.end_ns).contains(&at_ns)
    }

    /// Measured seconds that were begun.
    pub(crate) fn seconds(&self) -> usize {
        usize::try_from((self.end_ns - self.begin_ns).div_ceil(1_000_000_000)).unwrap_or(usize::MAX)
    }
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warm_up_is_a_tenth_and_at_most_a_second() {
        let short = Window::starting_now(2.0);
        assert_eq!((short.begin_ns, short.end_ns, short.seconds()), (200_000_000, 2_200_000_000, 2));
        let long = Window::starting_now(60.5);
        assert_eq!((long.begin_ns, long.seconds()), (1_000_000_000, 61));
        assert!(!long.holds(999_999_999) && long.holds(1_000_000_000) && !long.holds(long.end_ns));
    }
}

//! What a shard owes its helper (S6).
//!
//! Purpose: the helper has idle priority, so beside a thread that never sleeps it gets a few thousandths
//! of the core. While it has work, a debt of a thirty-second part of the time builds up; what the thread
//! sleeps pays it, and where it does not sleep by itself it naps.

/// The helper's part of the time.
const PART: u64 = 32;
/// A shorter nap is mostly two changes of threads.
const NAP_NS_MIN: u64 = 50_000;
/// Lower lanes, and what the disk has done meanwhile, wait for a nap.
const NAP_NS_MAX: u64 = 200_000;
/// A thread that could not nap for long owes no more than this.
const OWED_NS_MAX: u64 = 5_000_000;

/// The debt. Times are monotonic, in ns.
#[derive(Debug, Default)]
pub(crate) struct Debt {
    owed_ns: u64,
    /// Up to when it is counted; `None` while the helper has nothing to do.
    since_ns: Option<u64>,
}

impl Debt {
    /// Counts up to now; answers how long to nap, if that is due.
    pub(crate) fn count(&mut self, has_work: bool, now_ns: u64) -> Option<u64> {
        if !has_work {
            *self = Debt::default();
            return None;
        }
        let since_ns = self.since_ns.unwrap_or(now_ns);
        // only whole parts are counted, so that short steps add up
        let parts = now_ns.saturating_sub(since_ns) / PART;
        self.since_ns = Some(since_ns + parts * PART);
        self.owed_ns = (self.owed_ns + parts).min(OWED_NS_MAX);
        (self.owed_ns >= NAP_NS_MIN).then(|| self.owed_ns.min(NAP_NS_MAX))
    }

    /// The thread slept so long.
    pub(crate) fn pay(&mut self, slept_ns: u64) {
        self.owed_ns = self.owed_ns.saturating_sub(slept_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_helper_gets_its_part_of_the_time_and_no_more() {
        let (mut debt, mut napped, mut now) = (Debt::default(), 0, 0);
        while now < 1_000_000_000 {
            now += 10_001;
            if let Some(nap) = debt.count(true, now) {
                assert!((NAP_NS_MIN..=NAP_NS_MAX).contains(&nap));
                // telemetry cuts it short
                now += nap / 3;
                napped += nap / 3;
                debt.pay(nap / 3);
            }
        }
        let part = napped as f64 / now as f64 * PART as f64;
        assert!((0.95..=1.0).contains(&part), "{part}");
    }

    #[test]
    fn who_sleeps_or_has_nothing_to_do_owes_nothing() {
        let mut debt = Debt::default();
        for step in 0..1_000 {
            assert_eq!(debt.count(true, step * 1_000_000), None);
            debt.pay(500_000);
        }
        assert_eq!(debt.count(true, u64::MAX / 2), Some(NAP_NS_MAX));
        assert_eq!(debt.count(false, u64::MAX / 2), None);
        assert_eq!(debt.count(true, u64::MAX / 2 + 1), None);
    }
}

//! Whether the thread has time to spare.
//!
//! Purpose: some work is worth doing early where the core would only look for work instead, and must
//! wait for company where somebody else needs the core. Told apart by the part of the recent past in
//! which nothing was found to do.

/// How long a stretch is judged at once: short against what a person or a sender notices, long against a poll.
const STRETCH_NS: u64 = 2_000_000;
/// The thread has time once at least this part of a stretch was free, and until less than the other was.
const BEGINS: f64 = 0.6;
const ENDS: f64 = 0.5;

/// The judgement. Times are monotonic, in ns.
#[derive(Debug, Default)]
pub(crate) struct Leisure {
    /// Up to when time is counted, and since when the present stretch lasts; 0 before the first.
    counted_ns: u64,
    began_ns: u64,
    busy_ns: u64,
    has_time: bool,
}

impl Leisure {
    /// So much of the time since the last call was spent on something; no more than all of it counts.
    pub(crate) fn count(&mut self, now_ns: u64, busy_ns: u64) {
        let past_ns = now_ns.saturating_sub(self.counted_ns);
        self.counted_ns = now_ns;
        if self.began_ns == 0 {
            self.began_ns = now_ns;
            return;
        }
        self.busy_ns += busy_ns.min(past_ns);
        let stretch_ns = now_ns.saturating_sub(self.began_ns);
        if stretch_ns >= STRETCH_NS {
            let free = 1.0 - self.busy_ns as f64 / stretch_ns as f64;
            self.has_time = free >= if self.has_time { ENDS } else { BEGINS };
            (self.began_ns, self.busy_ns) = (now_ns, 0);
        }
    }

    /// Whether there was time to spare lately.
    pub(crate) const fn has_time(&self) -> bool {
        self.has_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Half a second in steps of 10 us, of which these out of twenty are free; answers whether there is time.
    fn lives(leisure: &mut Leisure, now_ns: &mut u64, free: u64) -> bool {
        for step in 0..50_000 {
            *now_ns += 10_000;
            leisure.count(*now_ns, if step % 20 < free { 0 } else { u64::MAX });
        }
        leisure.has_time()
    }

    #[test]
    fn who_is_free_for_three_fifths_of_the_time_has_some_until_less_than_half_are_free() {
        let (mut leisure, mut now_ns) = (Leisure::default(), 1);
        assert!(!leisure.has_time(), "nothing is known yet");
        let mut after = |free| lives(&mut leisure, &mut now_ns, free);
        assert!(!after(0));
        assert!(!after(11), "not enough to begin");
        assert!(after(13));
        assert!(after(11), "and enough to go on");
        assert!(!after(9));
        assert!(after(20));
        assert!(!after(0));
    }

    #[test]
    fn one_long_sleep_counts_at_once() {
        let mut leisure = Leisure::default();
        leisure.count(1, u64::MAX);
        leisure.count(250_000_001, 100_000_000);
        assert!(leisure.has_time());
        leisure.count(500_000_001, 240_000_000);
        assert!(!leisure.has_time());
    }
}

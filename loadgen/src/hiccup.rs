//! The platform's own hiccups: a loop that does nothing but read the clock sees how long it was away.

use crate::machine;
use hdrhistogram::Histogram;
use std::thread;
use std::time::{Duration, Instant};

/// Longest gap that is told apart, ns.
const GAP_NS_MAX: u64 = 10_000_000_000;

/// Gaps between two looks at the clock, in nanoseconds, seen for a while on a core (or wherever the
/// kernel puts the thread). Every latency percentile is to be read beside these.
pub(crate) fn probe(core: Option<u32>, time: Duration) -> Histogram<u64> {
    let watch = move || {
        if let Some(core) = core
            && let Err(why) = machine::pin_this_thread(core)
        {
            eprintln!("loadgen: the hiccup probe is not pinned: {why}");
        }
        let mut gaps = histogram();
        let start = Instant::now();
        let mut last = start;
        while last - start < time {
            let now = Instant::now();
            gaps.saturating_record(u64::try_from((now - last).as_nanos()).unwrap_or(u64::MAX));
            last = now;
        }
        gaps
    };
    thread::spawn(watch).join().unwrap_or_else(|_| histogram())
}

/// Three digits, up to ten seconds; what is longer counts as that.
pub(crate) fn histogram() -> Histogram<u64> {
    match Histogram::new_with_bounds(1, GAP_NS_MAX, 3) {
        Ok(histogram) => histogram,
        Err(_) => unreachable!("these constant bounds are sound"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_gaps_for_the_time_asked() {
        let gaps = probe(None, Duration::from_millis(5));
        assert!(gaps.len() > 10 && gaps.max() < GAP_NS_MAX);
    }
}

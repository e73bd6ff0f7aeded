//! The platform's own hiccups: a loop that does nothing but read the clock sees how long it was away.

use crate::machine;
use crate::report::{percentiles_json, percentiles_text};
use hdrhistogram::Histogram;
use serde_json::Value;
use std::thread;
use std::time::{Duration, Instant};

/// Longest gap that is told apart, ns.
const GAP_NS_MAX: u64 = 10_000_000_000;

/// One comes so often to whom the probe should answer, ns.
const COMES_EVERY_NS: u64 = 1_000;

/// What the platform does of itself to a thread that does nothing else than look at the clock.
#[derive(Clone)]
pub(crate) struct Hiccups {
    /// Gaps between two looks, ns. One of 3 ms is one among the tens of millions of a second, as it is among a
    /// server's looks at its sockets.
    pub(crate) gaps: Histogram<u64>,
    /// How late somebody is heard who comes at a fixed time, ns: a gap of 3 ms makes all wait that come in it.
    /// What a latency in open loop is to be compared with, which counts in the same way.
    pub(crate) late: Histogram<u64>,
}

impl Hiccups {
    /// Nothing was watched.
    pub(crate) fn none() -> Hiccups {
        Hiccups { gaps: histogram(), late: histogram() }
    }

    /// These, too.
    pub(crate) fn add(&mut self, more: &Hiccups) {
        // The same bounds; nothing is left out.
        let _ = self.gaps.add(&more.gaps);
        let _ = self.late.add(&more.late);
    }

    /// Percentiles of the gaps, and of how late one is heard under `late`; null where nothing was watched.
    pub(crate) fn json(&self) -> Value {
        let mut shown = percentiles_json(&self.gaps);
        if let Some(shown) = shown.as_object_mut() {
            shown.insert("late".to_owned(), percentiles_json(&self.late));
        }
        shown
    }

    /// Prints them; nothing where nothing was watched.
    pub(crate) fn show(&self) {
        if self.gaps.is_empty() {
            return;
        }
        println!("hiccups of the platform, gaps between looks at the clock: {}", percentiles_text(&self.gaps));
        println!("how late it hears who comes at a fixed time: {}", percentiles_text(&self.late));
    }
}

/// The platform's hiccups, seen for a while on a core (or wherever the kernel puts the thread). Every
/// latency percentile is to be read beside these.
pub(crate) fn probe(core: Option<u32>, time: Duration) -> Hiccups {
    let watch = move || {
        if let Some(core) = core
            && let Err(why) = machine::pin_this_thread(core)
        {
            eprintln!("loadgen: the hiccup probe is not pinned: {why}");
        }
        let mut seen = Hiccups::none();
        let start = Instant::now();
        let since = |now: Instant| u64::try_from((now - start).as_nanos()).unwrap_or(u64::MAX);
        let (mut last_ns, mut comes_ns, until_ns) = (0, COMES_EVERY_NS, time.as_nanos() as u64);
        while last_ns < until_ns {
            let now_ns = since(Instant::now());
            seen.gaps.saturating_record(now_ns - last_ns);
            last_ns = now_ns;
            let waited = comes_ns + COMES_EVERY_NS < now_ns;
            while comes_ns <= now_ns {
                seen.late.saturating_record(now_ns - comes_ns);
                comes_ns += COMES_EVERY_NS;
            }
            if waited {
                // counting those that waited takes time itself, which is nobody's delay
                last_ns = since(Instant::now());
                comes_ns = last_ns + COMES_EVERY_NS;
            }
        }
        seen
    };
    thread::spawn(watch).join().unwrap_or_else(|_| Hiccups::none())
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
        let seen = probe(None, Duration::from_millis(5));
        assert!(seen.gaps.len() > 10 && seen.gaps.max() < GAP_NS_MAX);
        assert!(!seen.late.is_empty() && seen.late.max() <= seen.gaps.max(), "nobody waits longer than a gap");
    }

    #[test]
    fn both_are_added_and_shown_and_nothing_where_nothing_was_watched() {
        let mut all = Hiccups::none();
        assert!(all.json().is_null());
        let some = probe(None, Duration::from_millis(2));
        all.add(&some);
        all.add(&some);
        assert_eq!((all.gaps.len(), all.late.len()), (2 * some.gaps.len(), 2 * some.late.len()));
        assert_eq!(all.json()["late"]["count"], all.late.len());
    }
}

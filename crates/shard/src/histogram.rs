//! A distribution of times as it grows: counts in buckets that are 1.6 % wide.
//!
//! Purpose: to be written millions of times a second on the thread that it measures, and read four times a
//! second by the same thread within a few microseconds. A value has one bucket, found by shifts; what is read
//! is one pass over the buckets between the shortest and the longest time so far. (hdrhistogram, which the
//! tests compare with, took three times as long to write, and 25 to 40 µs to read: telemetry waited for it.)
//!
//! It knows no time and no name.

use crate::stats::{BUCKETS_NS, Distribution};

/// Buckets of one power of two.
const PARTS: usize = 1 << PARTS_LOG2;
const PARTS_LOG2: u32 = 6;
/// Times of this power of two ns and more (69 s) count as the longest.
const POWERS: u32 = 36;
/// Below twice [`PARTS`] each value has a bucket; from there on each power of two has [`PARTS`].
const BUCKETS: usize = 2 * PARTS + (POWERS - PARTS_LOG2 - 1) as usize * PARTS;
/// Ten-thousandths of all that may lie above a mark: p50, p90, p99, p99.9, p99.99.
const ABOVE: [u128; 5] = [5_000, 1_000, 100, 10, 1];

pub(crate) struct Histogram {
    counts: Box<[u64; BUCKETS]>,
    count: u64,
    sum_ns: u64,
    max_ns: u64,
    /// Every bucket before it is empty.
    first: usize,
}

impl Histogram {
    pub(crate) fn new() -> Histogram {
        Histogram { counts: Box::new([0; BUCKETS]), count: 0, sum_ns: 0, max_ns: 0, first: BUCKETS }
    }

    pub(crate) fn record(&mut self, ns: u64) {
        let bucket = bucket(ns);
        self.counts[bucket] += 1;
        self.count += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
        self.max_ns = self.max_ns.max(ns);
        self.first = self.first.min(bucket);
    }

    /// What was recorded so far; a mark is the longest time of its bucket, and no longer than the longest of all.
    pub(crate) fn snapshot(&self) -> Distribution {
        if self.count == 0 {
            return Distribution::default();
        }
        let mut marks = [self.max_ns; ABOVE.len()];
        let (mut seen, mut next, mut shown) = (0, 0, 0);
        let mut buckets = [0; BUCKETS_NS.len()];
        for at in self.first..=bucket(self.max_ns) {
            let here = self.counts[at];
            if here == 0 {
                continue;
            }
            let ns = longest(at).min(self.max_ns);
            while BUCKETS_NS[shown] < ns {
                shown += 1;
            }
            buckets[shown] += here;
            seen += here;
            let above = u128::from(self.count - seen) * 10_000;
            while next < ABOVE.len() && above <= u128::from(self.count) * ABOVE[next] {
                marks[next] = ns;
                next += 1;
            }
        }
        let [p50_ns, p90_ns, p99_ns, p999_ns, p9999_ns] = marks;
        let (count, max_ns, sum_ns) = (self.count, self.max_ns, self.sum_ns);
        Distribution { count, p50_ns, p90_ns, p99_ns, p999_ns, p9999_ns, max_ns, sum_ns, buckets }
    }
}

/// The bucket of a time.
fn bucket(ns: u64) -> usize {
    if ns < 2 * PARTS as u64 {
        return ns as usize;
    }
    let power = ns.ilog2().min(POWERS - 1);
    let part = (ns >> (power - PARTS_LOG2)).min(2 * PARTS as u64 - 1) as usize - PARTS;
    2 * PARTS + (power - PARTS_LOG2 - 1) as usize * PARTS + part
}

/// The longest time of a bucket.
fn longest(bucket: usize) -> u64 {
    if bucket < 2 * PARTS {
        return bucket as u64;
    }
    if bucket == BUCKETS - 1 {
        return u64::MAX;
    }
    let (power, part) = ((bucket - 2 * PARTS) / PARTS, (bucket - 2 * PARTS) % PARTS);
    (((PARTS + part + 1) as u64) << (power + 1)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_lies_in_its_bucket_and_no_bucket_is_wider_than_a_sixty_fourth() {
        let mut seed = 7_u64;
        let mut last = 0;
        for at in 0..BUCKETS - 1 {
            assert!(longest(at) > last || at == 0, "bucket {at} ends behind the one before");
            last = longest(at);
        }
        for _ in 0..100_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let ns = seed >> (seed % 64);
            let at = bucket(ns);
            assert!(ns <= longest(at), "{ns} is in a bucket up to {}", longest(at));
            assert!(at == 0 || ns > longest(at - 1), "{ns} is not in the bucket up to {}", longest(at - 1));
            if at < BUCKETS - 1 {
                assert!(longest(at) - ns <= ns / 64 + 1);
            }
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn a_snapshot_agrees_with_another_histogram() {
        let mut ours = Histogram::new();
        assert_eq!(ours.snapshot(), Distribution::default());
        let mut other = hdrhistogram::Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).expect("valid bounds");
        let (mut seed, mut sum, mut below) = (1_u64, 0, 0);
        for _ in 0..200_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let ns = 1 + (seed >> 40 >> (seed % 24));
            ours.record(ns);
            other.saturating_record(ns);
            sum += ns;
            below += u64::from(ns <= 1_000);
        }
        let seen = ours.snapshot();
        assert_eq!((seen.count, seen.sum_ns), (200_000, sum));
        assert_eq!(seen.buckets.iter().sum::<u64>(), seen.count);
        // a bucket that straddles 1,000 ns counts to the next
        assert!(seen.buckets[0].abs_diff(below) * 50 <= below, "{} of {below}", seen.buckets[0]);
        for (ours, quantile) in [
            (seen.p50_ns, 0.5),
            (seen.p90_ns, 0.9),
            (seen.p99_ns, 0.99),
            (seen.p999_ns, 0.999),
            (seen.p9999_ns, 0.9999),
            (seen.max_ns, 1.0),
        ] {
            let theirs = other.value_at_quantile(quantile);
            assert!(ours.abs_diff(theirs) * 50 <= theirs, "{quantile}: {ours}, and {theirs} there");
        }
    }
}

//! The values of the last while, for rates of change.
//!
//! A fast tag has more samples in a window than may be kept. So the time is cut into buckets, a
//! sixteenth of the window each, and of each bucket its lowest, highest and last value are kept:
//! nothing that a rate depends on is lost, and the window's begin is exact to a bucket.

use std::collections::VecDeque;

use model::TimestampNs;

/// Buckets in a window; one more is kept while its end slides out.
pub const BUCKETS: i64 = 16;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    /// Start of the bucket divided by its width.
    index: i64,
    low: f64,
    high: f64,
    last: f64,
}

/// Values of the last `over_ns`, and the one that held when they began.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Window {
    buckets: VecDeque<Bucket>,
    /// The value at the window's begin.
    held: Option<f64>,
}

impl Window {
    /// The newest value.
    fn newest(&self) -> Option<f64> {
        self.buckets.back().map(|bucket| bucket.last).or(self.held)
    }

    /// Adds a value. Times must not go back by more than the samples of one call.
    pub(super) fn add(&mut self, time: TimestampNs, value: f64, over_ns: u64) {
        let index = time.0.div_euclid(width(over_ns));
        match self.buckets.back_mut().filter(|bucket| bucket.index >= index) {
            Some(bucket) => {
                bucket.low = bucket.low.min(value);
                bucket.high = bucket.high.max(value);
                bucket.last = value;
            }
            None => self.buckets.push_back(Bucket { index, low: value, high: value, last: value }),
        }
        self.forget(time, over_ns);
    }

    /// Lets go of what lies before the window that ends now.
    pub(super) fn forget(&mut self, now: TimestampNs, over_ns: u64) {
        let first = first_index(now, over_ns);
        while let Some(bucket) = self.buckets.front().filter(|bucket| bucket.index < first) {
            self.held = Some(bucket.last);
            self.buckets.pop_front();
        }
    }

    /// Greatest difference between the newest value and any in the window.
    pub(super) fn change(&self) -> f64 {
        let Some(newest) = self.newest() else { return 0.0 };
        let seen = self.buckets.iter().flat_map(|bucket| [bucket.low, bucket.high]).chain(self.held);
        seen.map(|value| (newest - value).abs()).fold(0.0, f64::max)
    }

    /// When the window next loses a value, so that its change may become less.
    pub(super) fn next_loss(&self, over_ns: u64) -> Option<TimestampNs> {
        // The value that is held goes when the first bucket is wholly inside; a bucket goes when it is wholly outside.
        let oldest = self.buckets.front()?;
        let gone = (oldest.index + 1).saturating_mul(width(over_ns));
        Some(TimestampNs(gone.saturating_add(i64::try_from(over_ns).unwrap_or(i64::MAX))))
    }

    /// Moves all times by so many buckets, when the clock was set back.
    pub(super) fn set_back(&mut self, by_ns: i64, over_ns: u64) {
        let buckets = by_ns.div_euclid(width(over_ns));
        self.buckets.iter_mut().for_each(|bucket| bucket.index -= buckets);
    }
}

/// Nanoseconds of a bucket.
fn width(over_ns: u64) -> i64 {
    (i64::try_from(over_ns).unwrap_or(i64::MAX) / BUCKETS).max(1)
}

fn first_index(now: TimestampNs, over_ns: u64) -> i64 {
    let from = now.0.saturating_sub(i64::try_from(over_ns).unwrap_or(i64::MAX));
    from.div_euclid(width(over_ns))
}

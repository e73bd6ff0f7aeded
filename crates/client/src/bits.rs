//! Values and samples as frames carry them.

use frame::StoredSample;
use model::{Quality, TagId, TextId, TimestampNs};
use std::time::{SystemTime, UNIX_EPOCH};

/// A value that fits the 64 bits of a frame. Send what the tag's kind says: a tag of kind `F64` takes
/// `f64`, one of kind `I64` takes `i64`, `Bool` takes `bool`, `Text` the number of a registered text.
pub trait Bits: Copy {
    /// The 64 bits.
    fn bits(self) -> u64;
}

impl Bits for f64 {
    fn bits(self) -> u64 {
        self.to_bits()
    }
}

impl Bits for i64 {
    fn bits(self) -> u64 {
        self as u64
    }
}

impl Bits for bool {
    fn bits(self) -> u64 {
        u64::from(self)
    }
}

impl Bits for TextId {
    fn bits(self) -> u64 {
        u64::from(self.0)
    }
}

/// One value of one tag at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample(pub(crate) StoredSample);

impl Sample {
    /// A good value. Time: when it was, or `None` where only its arrival is known.
    #[must_use]
    pub fn new<V: Bits>(tag: TagId, time: Option<TimestampNs>, value: V) -> Sample {
        let source_time_ns = time_ns(time);
        Sample(StoredSample { source_time_ns, value: value.bits(), tag: tag.0, quality: Quality::GOOD.0 })
    }

    /// The same sample with another quality (OPC UA StatusCode).
    #[must_use]
    pub const fn quality(mut self, quality: Quality) -> Sample {
        self.0.quality = quality.0;
        self
    }
}

pub(crate) fn time_ns(time: Option<TimestampNs>) -> i64 {
    time.map_or(i64::MIN, |time| time.0)
}

/// This computer's time, nanoseconds since 1970 UTC.
#[must_use]
pub fn now() -> TimestampNs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampNs(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// Cuts tag numbers into runs of consecutive ones, each the first number and how many: what a
/// [`scan`](crate::Producer::scan) may hold.
#[must_use]
pub fn runs(tags: &[TagId]) -> Vec<(TagId, usize)> {
    let mut runs: Vec<(TagId, usize)> = Vec::new();
    for tag in tags {
        match runs.last_mut() {
            Some((first, count)) if u64::from(first.0) + *count as u64 == u64::from(tag.0) => *count += 1,
            _ => runs.push((*tag, 1)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_maximal_and_cover_all() {
        let tags = [3, 4, 5, 9, 8, 7, u32::MAX].map(TagId);
        let found = runs(&tags);
        assert_eq!(found, [(TagId(3), 3), (TagId(9), 1), (TagId(8), 1), (TagId(7), 1), (TagId(u32::MAX), 1)]);
        assert!(runs(&[]).is_empty());
    }
}

//! The known series: every value and time follows from the seed, the tag and the sample's number.

use client::{Bits, TagRequest, TimestampNs, ValueKind};
use serde_json::Value;

/// Source times of two samples of a tag are so far apart; their difference from the start is the
/// sample's number times this.
pub(crate) const STEP_NS: i64 = 1_000;

/// A series of several tags, from a start on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Series {
    /// Source time of number 0, nanoseconds.
    pub(crate) start_ns: i64,
    /// What the values come from.
    pub(crate) seed: u64,
}

/// A value's bits, whatever its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Raw(pub(crate) u64);

impl Bits for Raw {
    fn bits(self) -> u64 {
        self.0
    }
}

/// What a tag's values are.
pub(crate) fn kind_of(tag: usize) -> ValueKind {
    [ValueKind::F64, ValueKind::I64, ValueKind::Bool][tag % 3]
}

/// The tag's name below the source's path.
pub(crate) fn request(tag: usize) -> TagRequest {
    TagRequest::new(format!("verify/t{tag}-{}", kind_of(tag).name()), kind_of(tag))
}

impl Series {
    /// Source time of a sample.
    pub(crate) fn time(&self, index: u64) -> TimestampNs {
        TimestampNs(self.start_ns.saturating_add(i64::try_from(index).unwrap_or(i64::MAX).saturating_mul(STEP_NS)))
    }

    /// The sample's number; `None` for a time that no sample of this series has.
    pub(crate) fn index(&self, time: TimestampNs) -> Option<u64> {
        let since = time.0.checked_sub(self.start_ns)?;
        (since >= 0 && since % STEP_NS == 0).then_some((since / STEP_NS) as u64)
    }

    /// The value's bits.
    pub(crate) fn bits(&self, tag: usize, index: u64) -> Raw {
        let mixed = mix(mix(self.seed ^ (tag as u64) << 40) ^ index);
        // 40 bits and eighths: few enough digits that JSON brings them back to the last bit.
        let small = (mixed >> 24) as i64 - (1 << 39);
        Raw(match kind_of(tag) {
            ValueKind::F64 => (small as f64 / 8.0).to_bits(),
            ValueKind::I64 => small as u64,
            ValueKind::Bool | ValueKind::Text => mixed & 1,
        })
    }

    /// Whether what came back is the value.
    pub(crate) fn is_value(&self, tag: usize, index: u64, value: &Value) -> bool {
        let Raw(bits) = self.bits(tag, index);
        match kind_of(tag) {
            ValueKind::F64 => value.as_f64().is_some_and(|v| v == f64::from_bits(bits)),
            ValueKind::I64 => value.as_i64() == Some(bits as i64),
            ValueKind::Bool | ValueKind::Text => value.as_bool() == Some(bits == 1),
        }
    }

    /// The value as a person reads it.
    pub(crate) fn shown(&self, tag: usize, index: u64) -> String {
        let Raw(bits) = self.bits(tag, index);
        match kind_of(tag) {
            ValueKind::F64 => f64::from_bits(bits).to_string(),
            ValueKind::I64 => (bits as i64).to_string(),
            ValueKind::Bool | ValueKind::Text => (bits == 1).to_string(),
        }
    }
}

/// splitmix64's finisher (Steele, Lea and Flood 2014).
const fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn json_brings_every_value_back(seed: u64, tag in 0_usize..6, index in 0_u64..1 << 40) {
            let series = Series { start_ns: 0, seed };
            let Raw(bits) = series.bits(tag, index);
            let text = match kind_of(tag) {
                ValueKind::F64 => serde_json::to_string(&f64::from_bits(bits)),
                ValueKind::I64 => serde_json::to_string(&(bits as i64)),
                _ => serde_json::to_string(&(bits == 1)),
            }.expect("numbers");
            let value: Value = serde_json::from_str(&text).expect("JSON");
            prop_assert!(series.is_value(tag, index, &value), "{text}");
            // A whole number may lose its ".0" on the way.
            let value: Value = serde_json::from_str(text.trim_end_matches(".0")).expect("JSON");
            prop_assert!(series.is_value(tag, index, &value), "{text}");
        }

        #[test]
        fn a_time_gives_its_number_back(start_ns in 0_i64..1 << 60, index in 0_u64..1 << 40, off in 1_i64..STEP_NS) {
            let series = Series { start_ns, seed: 1 };
            prop_assert_eq!(series.index(series.time(index)), Some(index));
            prop_assert_eq!(series.index(series.time(index).plus_ns(off)), None);
            prop_assert_eq!(series.index(TimestampNs(start_ns - off)), None);
        }
    }
}

//! Times in snapshots and journals: nanoseconds as a whole number.

use model::TimestampNs;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(super) fn serialize<S: Serializer>(time: &TimestampNs, out: S) -> Result<S::Ok, S::Error> {
    time.0.serialize(out)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<TimestampNs, D::Error> {
    i64::deserialize(from).map(TimestampNs)
}

/// Of a time that may be missing.
pub(super) mod maybe {
    use super::*;

    pub(in crate::alarm) fn serialize<S: Serializer>(time: &Option<TimestampNs>, out: S) -> Result<S::Ok, S::Error> {
        time.map(|time| time.0).serialize(out)
    }

    pub(in crate::alarm) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<TimestampNs>, D::Error> {
        Ok(Option::<i64>::deserialize(from)?.map(TimestampNs))
    }
}

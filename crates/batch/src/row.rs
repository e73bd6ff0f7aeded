//! What goes into a batch: rows, figures, the head of a run, and what the configuration asks for.

use model::TimestampNs;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// One business document, in one version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Name of the record, `labour`.
    pub record: String,
    /// The document's id, unique within its record.
    pub id: String,
    /// Its version, from 1; a higher one replaces a lower one.
    pub version: u64,
    /// When it was published.
    #[serde(with = "time_text")]
    pub time: TimestampNs,
    /// Its position in the journal.
    pub offset: u64,
    /// The document; columns and sums come from the members of an object, whatever else it is has none.
    pub body: Value,
}

/// One aggregate of one tag over the period.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Path of the tag.
    pub tag: String,
    /// Engineering unit; empty where there is none.
    pub unit: String,
    /// Which aggregate, `delta`.
    pub aggregate: String,
    /// Its value; `None` where the period has no usable data. What is not finite counts as none.
    pub value: Option<f64>,
    /// How much of the period had good data, 0 to 100; `None` where unknown.
    pub percent_good: Option<f64>,
}

/// Format of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// RFC 4180, one table; see [`crate::FIXED_COLUMNS`].
    Csv,
    /// One JSON document (RFC 8259).
    Json,
}

/// What the configuration asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Name of the batch.
    pub name: String,
    /// Records that go in; rows of others are an error.
    pub records: Vec<String>,
    /// Top-level fields by which rows are grouped and summed up.
    pub group_by: Vec<String>,
    /// Fields to sum, `hours` or `labour.hours`; decimal texts in them count, too. Empty: every
    /// top-level field that holds JSON numbers, but for those of `group_by`.
    pub totals: Vec<String>,
    /// Format of the document.
    pub format: Format,
    /// Whether it is packed (RFC 1952).
    pub gzip: bool,
}

/// What a run says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Stable id of the run.
    pub run_id: String,
    /// Name of the batch.
    pub batch: String,
    /// Label of the period, `2026-03-29 night`.
    pub label: String,
    /// First instant of the period.
    #[serde(with = "time_text")]
    pub from: TimestampNs,
    /// First instant after it.
    #[serde(with = "time_text")]
    pub to: TimestampNs,
    /// The run's number within its batch, ascending.
    pub sequence: u64,
    /// `schedule`, `catch-up`, `manual` or `correction`.
    pub cause: String,
    /// Id of the run that this one corrects.
    pub correction_of: Option<String>,
    /// When the run was decided on; part of the body, so it must not change between tries.
    #[serde(with = "time_text")]
    pub created: TimestampNs,
}

/// Of each document the newest version (B2), ascending by record and id.
pub(crate) fn newest<'a>(rows: impl Iterator<Item = &'a Row>) -> BTreeMap<(&'a str, &'a str), &'a Row> {
    let mut newest: BTreeMap<(&str, &str), &Row> = BTreeMap::new();
    for row in rows {
        let place = newest.entry((&row.record, &row.id)).or_insert(row);
        if (row.version, row.offset) > (place.version, place.offset) {
            *place = row;
        }
    }
    newest
}

/// RFC 3339 in UTC without needless zeros: `2026-03-29T04:00:00Z`.
pub(crate) fn shown(time: TimestampNs) -> String {
    let text = time.to_string();
    let digits = text.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
    // a trimmed second is one of its own zeros: `…:00` is longer than `…:`
    let seconds = text.find('.').unwrap_or(digits.len());
    format!("{}Z", &text[..digits.len().max(seconds)])
}

/// Times as RFC 3339 in JSON.
pub(crate) mod time_text {
    use model::TimestampNs;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(time: &TimestampNs, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::shown(*time))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TimestampNs, D::Error> {
        let text = String::deserialize(deserializer)?;
        TimestampNs::parse_rfc3339(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is no RFC 3339 time")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short_and_read_back() {
        for (ns, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (500_000_000, "1970-01-01T00:00:00.5Z"),
            (10, "1970-01-01T00:00:00.00000001Z"),
            (3_600_000_000_000, "1970-01-01T01:00:00Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
        ] {
            assert_eq!(shown(TimestampNs(ns)), expected);
            assert_eq!(TimestampNs::parse_rfc3339(expected), Some(TimestampNs(ns)));
        }
    }
}

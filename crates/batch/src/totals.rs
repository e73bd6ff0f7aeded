//! Control totals: what a receiver needs to see that nothing is missing.

use crate::{decimal::Decimal, row::Figure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The hash total is counted modulo 2^53, so that it is exact in a binary64, too.
const HASH_MODULUS: u64 = 1 << 53;
/// Bits of one hash: 13 hexadecimal digits.
const HASH_BITS: u32 = 52;

/// Control totals of a document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Rows.
    pub rows: u64,
    /// Lines of a CSV document behind its first, of every kind; in JSON the rows again.
    pub lines: u64,
    /// Rows of each record; 0 for those that have none.
    pub records: BTreeMap<String, u64>,
    /// Sums, by `record.field`.
    pub sums: BTreeMap<String, Sum>,
    /// Sum of [`hash_of`] over all rows, modulo 2^53.
    pub hash: u64,
    /// Hash totals of each record, in the same way.
    pub hashes: BTreeMap<String, u64>,
    /// Rows and sums by group, ascending by key, then by record; empty without `group_by`.
    pub groups: Vec<Group>,
    /// Figures, ascending by tag and aggregate.
    pub figures: Vec<Figure>,
}

/// Sum of one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// The sum as decimal text; with `exact: false` the nearest binary64, `inf` where beyond it.
    pub sum: String,
    /// How many numbers were added.
    pub count: u64,
    /// How many rows have something else than a number there.
    pub skipped: u64,
    /// Whether the sum is exact.
    pub exact: bool,
}

/// Rows and sums of one record with one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Values of the `group_by` fields as text; `None` where a row has none.
    pub key: BTreeMap<String, Option<String>>,
    /// Name of the record.
    pub record: String,
    /// How many rows.
    pub rows: u64,
    /// Sums by field.
    pub sums: BTreeMap<String, Sum>,
}

/// The hash of a document's id: the first 13 hexadecimal digits of SHA-256 (FIPS 180-4) over
/// `record/id` in UTF-8, as a number.
#[must_use]
pub fn hash_of(record: &str, id: &str) -> u64 {
    let digest = Sha256::new().chain_update(record).chain_update("/").chain_update(id).finalize();
    let first = digest.iter().take(8).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    first >> (u64::BITS - HASH_BITS)
}

/// Adds two hash totals.
pub(crate) fn add_hash(a: u64, b: u64) -> u64 {
    (a + b) % HASH_MODULUS
}

/// One field being summed.
#[derive(Clone, Debug)]
pub(crate) struct Adder {
    exact: Option<Decimal>,
    near: f64,
    count: u64,
    skipped: u64,
}

impl Adder {
    pub(crate) fn new() -> Adder {
        Adder { exact: Some(Decimal::ZERO), near: 0.0, count: 0, skipped: 0 }
    }

    /// Takes a field's value; decimal texts only where `texts` says so. Null is nothing.
    pub(crate) fn take(&mut self, value: &Value, texts: bool) {
        match value {
            Value::Null => {}
            Value::Number(number) => self.add(&number.to_string()),
            Value::String(text) if texts => self.add(text),
            _ => self.skipped += 1,
        }
    }

    fn add(&mut self, text: &str) {
        let decimal = Decimal::parse(text);
        let near = match decimal {
            Some(decimal) => decimal.to_f64(),
            None => text.parse().ok().filter(|number: &f64| number.is_finite()).unwrap_or(f64::NAN),
        };
        if near.is_nan() {
            self.skipped += 1;
            return;
        }
        self.exact = self.exact.zip(decimal).and_then(|(sum, more)| sum.plus(more));
        self.near += near;
        self.count += 1;
    }

    /// Whether any number came.
    pub(crate) fn is_numeric(&self) -> bool {
        self.count > 0
    }

    pub(crate) fn sum(&self) -> Sum {
        let text = self.exact.map_or_else(|| format!("{:e}", self.near), |sum| sum.to_string());
        Sum { sum: text, count: self.count, skipped: self.skipped, exact: self.exact.is_some() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sums_are_exact_where_decimals_fit_and_say_so_where_not() {
        let sum = |values: &[Value], texts| {
            let mut adder = Adder::new();
            values.iter().for_each(|value| adder.take(value, texts));
            adder.sum()
        };
        let whole = |text: &str, count, skipped, exact| Sum { sum: text.to_owned(), count, skipped, exact };
        assert_eq!(sum(&[json!(0.1), json!(0.2)], false), whole("0.3", 2, 0, true));
        assert_eq!(sum(&[json!(i64::MAX), json!(u64::MAX)], false), whole("27670116110564327422", 2, 0, true));
        assert_eq!(sum(&[json!("12.50"), json!(0.5), json!("x")], true), whole("13", 2, 1, true));
        assert_eq!(sum(&[json!("12.50"), json!(true), json!(null)], false), whole("0", 0, 2, true));
        assert_eq!(sum(&[json!(1e300), json!(1)], false), whole("1e300", 2, 0, false));
        assert_eq!(sum(&[json!(1e308), json!(1e308)], false), whole("inf", 2, 0, false));
        assert_eq!(sum(&[json!("1e999"), json!("NaN")], true), whole("0", 0, 2, true));
    }

    /// The number is from coreutils: the first 13 digits of `printf labour/4711 | sha256sum`.
    #[test]
    fn the_hash_is_what_the_docs_say() {
        assert_eq!(hash_of("labour", "4711"), 318_102_589_609_900);
        assert!(hash_of("labour", "4711") < 1 << HASH_BITS);
        assert_eq!(add_hash(HASH_MODULUS - 1, 3), 2);
    }
}

//! Our control totals against what the receiver answered.
//!
//! An answer is a JSON object. What it may hold, all of it optional; the rest is not looked at:
//!
//! ```json
//! {"rows": 12, "hash": 7150923401,
//!  "totals": {"rows": 12, "hash": 7150923401,
//!             "records": {"labour": 8, "yield": 4},
//!             "sums": {"labour.hours": "61.5", "yield.pieces": 412},
//!             "labour.hours": 61.5}}
//! ```
//!
//! Invariants
//! - K1: `matched` only where the answer held at least one total and none differs.
//! - K2: `rows` is right with the number of rows, or with that of all lines of a CSV document:
//!   simple receivers count those, and they too are then complete.
//! - K3: a sum in decimal text must be equal; one that came as a JSON number may differ by
//!   [`FLOAT_TOLERANCE`], as receivers add in binary64.

use crate::{
    decimal::Decimal,
    totals::{Sum, Totals},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Relative difference that sums in binary64 may show.
pub const FLOAT_TOLERANCE: f64 = 1e-12;
/// Differences named one by one; more are counted.
pub const DIFFERENCES_MAX: usize = 100;
/// Longest text of an answer that a difference shows, in characters.
const SHOWN_CHARS_MAX: usize = 100;

/// Whether the receiver has what we sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReconciliationState {
    /// Every total that it answered is ours.
    Matched,
    /// At least one is not.
    Differs,
    /// It answered none.
    Unconfirmed,
}

/// One total that is not ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Which, `rows` or `totals.sums.labour.hours`.
    pub what: String,
    /// What we sent; empty where we sent no such total.
    pub sent: String,
    /// What it answered.
    pub answered: String,
}

/// Outcome of a comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconciliation {
    /// The verdict.
    pub state: ReconciliationState,
    /// How many totals were compared.
    pub compared: u64,
    /// What differs; the first [`DIFFERENCES_MAX`].
    pub differences: Vec<Difference>,
    /// How many more differ.
    pub more: u64,
}

/// Compares; see the module's head for the shape of an answer. `None` is an answer without a body
/// or with one that is no JSON.
#[must_use]
pub fn reconcile(sent: &Totals, answered: Option<&Value>) -> Reconciliation {
    let mut check = Check { sent, compared: 0, differences: Vec::new(), more: 0 };
    if let Some(Value::Object(answer)) = answered {
        check.counts("", answer);
        if let Some(Value::Object(totals)) = answer.get("totals") {
            check.totals(totals);
        }
    }
    let state = match (check.compared, check.differences.is_empty()) {
        (0, _) => ReconciliationState::Unconfirmed,
        (_, true) => ReconciliationState::Matched,
        (_, false) => ReconciliationState::Differs,
    };
    Reconciliation { state, compared: check.compared, differences: check.differences, more: check.more }
}

struct Check<'a> {
    sent: &'a Totals,
    compared: u64,
    differences: Vec<Difference>,
    more: u64,
}

impl Check<'_> {
    fn counts(&mut self, at: &str, answer: &Map<String, Value>) {
        if let Some(value) = given(answer, "rows") {
            let count = count_of(value);
            let equal = count == Some(self.sent.rows) || count == Some(self.sent.lines);
            self.verdict(format!("{at}rows"), self.sent.rows.to_string(), value, equal);
        }
        if let Some(value) = given(answer, "hash") {
            self.verdict(
                format!("{at}hash"),
                self.sent.hash.to_string(),
                value,
                count_of(value) == Some(self.sent.hash),
            );
        }
    }

    fn totals(&mut self, totals: &Map<String, Value>) {
        self.counts("totals.", totals);
        for (member, ours) in [("records", &self.sent.records), ("hashes", &self.sent.hashes)] {
            if let Some(Value::Object(records)) = totals.get(member) {
                self.by_record(member, ours, records);
            }
        }
        if let Some(Value::Object(sums)) = totals.get("sums") {
            for (name, value) in sums.iter().filter(|(_, value)| !value.is_null()) {
                self.sum(format!("totals.sums.{name}"), self.sent.sums.get(name), value);
            }
        }
        for (name, ours) in &self.sent.sums {
            if let Some(value) = given(totals, name).filter(|value| !value.is_object()) {
                self.sum(format!("totals.{name}"), Some(ours), value);
            }
        }
    }

    fn by_record(&mut self, member: &str, ours: &BTreeMap<String, u64>, records: &Map<String, Value>) {
        for (record, value) in records.iter().filter(|(_, value)| !value.is_null()) {
            let ours = ours.get(record).copied();
            let shown = ours.map(|count| count.to_string()).unwrap_or_default();
            let equal = ours.is_some() && count_of(value) == ours;
            self.verdict(format!("totals.{member}.{record}"), shown, value, equal);
        }
    }

    fn sum(&mut self, what: String, ours: Option<&Sum>, value: &Value) {
        // our own shape, as it stands in the document, is an answer, too
        let value = value.get("sum").unwrap_or(value);
        let equal = ours.is_some_and(|ours| same_sum(ours, value));
        self.verdict(what, ours.map(|ours| ours.sum.clone()).unwrap_or_default(), value, equal);
    }

    fn verdict(&mut self, what: String, sent: String, value: &Value, equal: bool) {
        self.compared += 1;
        if equal {
            return;
        }
        if self.differences.len() == DIFFERENCES_MAX {
            self.more += 1;
            return;
        }
        let answered = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let answered = answered.chars().take(SHOWN_CHARS_MAX).collect();
        self.differences.push(Difference { what: what.chars().take(SHOWN_CHARS_MAX).collect(), sent, answered });
    }
}

/// A member that is there and not null.
fn given<'a>(object: &'a Map<String, Value>, member: &str) -> Option<&'a Value> {
    object.get(member).filter(|value| !value.is_null())
}

/// A count, as a number (also `12.0`, as some systems have no other) or as text.
fn count_of(value: &Value) -> Option<u64> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => return None,
    };
    Decimal::parse(&text).and_then(|count| count.to_string().parse().ok())
}

fn same_sum(ours: &Sum, value: &Value) -> bool {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => return false,
    };
    let exact = Decimal::parse(&ours.sum).filter(|_| ours.exact);
    if exact.is_some() && Decimal::parse(&text) == exact {
        return true;
    }
    let (Ok(ours_near), Ok(theirs)) = (ours.sum.parse::<f64>(), text.parse::<f64>()) else { return false };
    let near = (ours_near - theirs).abs() <= FLOAT_TOLERANCE * ours_near.abs().max(1.0);
    ours_near == theirs && exact.is_none() || near && (value.is_number() || exact.is_none())
}

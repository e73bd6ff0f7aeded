//! Comparing both sides: what our records of a key add up to, and what the other system says.
//!
//! Invariants
//! - J19: a key is compared only when nothing of it is under way and its newest record has had time
//!   to arrive; else it is left for the next time.
//! - J20: a difference is reported, and on request the key's records are sent again under the
//!   idempotency keys that they had; our own side is never changed.
//!
//! Ours is reckoned over the records that the journal still keeps, so `sum` suits a receiver that
//! was empty when they began, or whose answer covers the same time.

use crate::entry::EntryKind;
use crate::journal;
use crate::message::{Message, MessageKind};
use crate::spec::{Definition, Ours, Reconcile};
use delivery::Offset;
use env::disk::Storage;
use log::Span;
use model::TimestampNs;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Keys of one comparison.
pub const KEYS_MAX: usize = 10_000;
/// Records of one key that are sent again.
pub const RESENT_MAX: usize = 1_000;
/// Differences that one report lists.
pub const DIFFERENCES_MAX: usize = 100;

/// What we have of one key.
#[derive(Clone, Debug, PartialEq)]
pub struct OurSide {
    /// Our figure.
    pub value: Value,
    /// When its newest record was published.
    pub newest: TimestampNs,
    /// Its records, oldest first, at most [`RESENT_MAX`] of the newest.
    pub offsets: Vec<Offset>,
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The flow.
    pub flow: String,
    /// When, ns since 1970 UTC.
    pub time_ns: i64,
    /// Keys that were compared.
    pub compared: u64,
    /// Keys that were left for the next time.
    pub left: u64,
    /// Keys on which the other side gave no usable answer.
    pub unanswered: u64,
    /// Keys that differ.
    pub differ: u64,
    /// The first of them.
    pub differences: Vec<KeyDifference>,
    /// Deliveries that were ordered again.
    pub resent: u64,
    /// What went wrong last, where something did.
    pub error: Option<String>,
}

/// One key that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyDifference {
    /// The key.
    pub key: String,
    /// What we have.
    pub ours: Value,
    /// What the other side has.
    pub theirs: Value,
}

/// Adds up our side of every key; blocks.
///
/// # Errors
/// A sentence: the journal cannot be read, or an expression fails.
pub fn gather(
    storage: &dyn Storage,
    spans: &[Span],
    entity: &str,
    definition: &Definition,
    told: &Reconcile,
) -> Result<BTreeMap<String, OurSide>, String> {
    let stream = MessageKind::Record.stream(entity);
    let mut sides: BTreeMap<String, OurSide> = BTreeMap::new();
    // of several versions of a document only the newest counts
    let mut newest: BTreeMap<String, (String, f64)> = BTreeMap::new();
    let mut failed = None;
    journal::read(storage, spans, &mut |stored| {
        if stored.kind != EntryKind::Message || stored.stream() != stream {
            return ControlFlow::Continue(());
        }
        let Some(message) = Message::read(&stored) else { return ControlFlow::Continue(()) };
        match add(&mut sides, &mut newest, &message, definition, told) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    failed.map_or(Ok(sides), Err)
}

fn add(
    sides: &mut BTreeMap<String, OurSide>,
    newest: &mut BTreeMap<String, (String, f64)>,
    message: &Message,
    definition: &Definition,
    told: &Reconcile,
) -> Result<(), String> {
    if !definition.is_wanted(message).map_err(|error| error.what)? {
        return Ok(());
    }
    let key = definition.key(message).map_err(|error| error.what)?;
    if sides.len() >= KEYS_MAX && !sides.contains_key(&key) {
        return Ok(());
    }
    let record = message.object();
    let variables = [("record", record)];
    let side =
        sides.entry(key).or_insert_with(|| OurSide { value: Value::Null, newest: message.time, offsets: Vec::new() });
    match &told.ours {
        Ours::Last(last) => side.value = last.eval(&variables).map_err(|error| error.to_string())?,
        Ours::Sum(sum) => {
            let adds = sum.eval_number(&variables).map_err(|error| error.to_string())?;
            let id = message.body.get("id").and_then(Value::as_str).unwrap_or(&message.id).to_owned();
            let before = newest.insert(id, (String::new(), adds)).map_or(0.0, |(_, before)| before);
            side.value = json!(side.value.as_f64().unwrap_or(0.0) + adds - before);
        }
    }
    side.newest = side.newest.max(message.time);
    if side.offsets.len() == RESENT_MAX {
        side.offsets.remove(0);
    }
    side.offsets.push(message.offset);
    Ok(())
}

/// Whether both sides are the same: numbers within the tolerance, anything else to the letter.
#[must_use]
pub fn is_same(ours: &Value, theirs: &Value, tolerance: f64) -> bool {
    match (ours.as_f64(), theirs.as_f64()) {
        // a tolerance of nothing still forgives what binary fractions lose in a sum
        (Some(ours), Some(theirs)) => (ours - theirs).abs() <= tolerance.max(ours.abs().max(theirs.abs()) * 1e-9),
        _ => ours == theirs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_same_within_the_tolerance() {
        assert!(is_same(&json!(0.1 + 0.2), &json!(0.3), 0.0));
        assert!(is_same(&json!(10), &json!(10.4), 0.5));
        assert!(!is_same(&json!(10), &json!(10.6), 0.5));
        assert!(is_same(&json!("running"), &json!("running"), 0.0));
        assert!(!is_same(&json!(1), &json!("1"), 0.0));
    }
}

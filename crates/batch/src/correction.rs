//! What changed in a period after it was sent.

use crate::row::{Row, newest};
use serde::{Deserialize, Serialize};

/// The difference between what was sent and what is known now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Correction {
    /// Rows that came late.
    pub added: Vec<Row>,
    /// Rows that have a newer version or another body, as they are now.
    pub changed: Vec<Row>,
    /// Rows that are no longer of the period, as they were sent.
    pub removed: Vec<Row>,
}

impl Correction {
    /// Whether nothing changed: no correction is due.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }

    /// How many rows it names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.added.len() + self.changed.len() + self.removed.len()
    }
}

/// Compares the rows of a period as they were sent with those of now, each ascending by record and
/// id. Of several versions of a document the newest counts; where it stands in the journal does not.
#[must_use]
pub fn diff(before: &[Row], now: &[Row]) -> Correction {
    let (before, now) = (newest(before.iter()), newest(now.iter()));
    let mut correction = Correction::default();
    for (document, row) in &now {
        match before.get(document) {
            None => correction.added.push((*row).clone()),
            Some(old) if old.version != row.version || old.body != row.body => correction.changed.push((*row).clone()),
            Some(_) => {}
        }
    }
    let gone = before.iter().filter(|(document, _)| !now.contains_key(*document));
    correction.removed.extend(gone.map(|(_, row)| (*row).clone()));
    correction
}

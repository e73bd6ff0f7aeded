//! Values that go back by themselves.
//!
//! Life of a revert: scheduled → due (given out once) → settled, or again scheduled where the write
//! failed; or cancelled by a newer write at any time.
//!
//! Invariants
//! - T1: of a tag at most one revert is held, the one of the newest write; so an old timer never
//!   undoes a newer write.
//! - T2: a temporary value over a temporary value goes back to what was there before both.
//! - T3: at most [`REVERTS_MAX`]; one more is refused before its write, not forgotten after it.
//! - T4: what was given out and not settled before a crash is given out again. It is written only
//!   where the temporary value is still there ([`Revert::wanted`]), so twice is once.
//!
//! A revert passes the envelope as every write does; its owner says so where that refuses it.

use crate::{
    envelope::Wanted,
    value::{kept, same, time},
};
use model::{TimestampNs, Value};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// Reverts held at once.
pub const REVERTS_MAX: usize = 256;

/// One value that goes back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Revert {
    /// Path of the tag.
    pub tag: String,
    /// Name of the request that wrote.
    pub request: String,
    /// When.
    #[serde(with = "time")]
    pub at: TimestampNs,
    /// The temporary value.
    #[serde(with = "kept")]
    pub written: Value,
    /// The value to write again.
    #[serde(with = "kept")]
    pub old: Value,
}

impl Revert {
    /// The write that takes it back: only where the temporary value is still there, and for good.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        Wanted { value: self.old.clone(), expected: Some(self.written.clone()), revert_after_ns: None }
    }
}

/// There is no room for one more revert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevertsFull;

impl fmt::Display for RevertsFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{REVERTS_MAX} values already wait to go back by themselves; write without, or wait for one")
    }
}

impl std::error::Error for RevertsFull {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Held {
    #[serde(flatten)]
    revert: Revert,
    /// Given out, and not settled; not kept, so that a crash gives it out again.
    #[serde(skip)]
    out: bool,
}

/// All that goes back. Kept in the journal, and read from it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reverts {
    held: BTreeMap<String, Held>,
}

impl Reverts {
    /// Schedules a revert, before its write is sent. It takes the place of the one that its tag has;
    /// where that one's temporary value is what this one found, the value of before both goes back.
    ///
    /// # Errors
    /// [`RevertsFull`]: then the write must not be made.
    pub fn schedule(&mut self, revert: Revert) -> Result<(), RevertsFull> {
        let before = self.held.get(&revert.tag);
        if before.is_none() && self.held.len() >= REVERTS_MAX {
            return Err(RevertsFull);
        }
        let first = before.filter(|held| same(&held.revert.written, &revert.old, 0.0));
        let old = first.map_or_else(|| revert.old.clone(), |held| held.revert.old.clone());
        let revert = Revert { old, ..revert };
        self.held.insert(revert.tag.clone(), Held { revert, out: false });
        Ok(())
    }

    /// Whether so many more tags can be scheduled: those of these tags that are not held yet.
    #[must_use]
    pub fn has_room<'t>(&self, tags: impl Iterator<Item = &'t str>) -> bool {
        self.held.len() + tags.filter(|tag| !self.held.contains_key(*tag)).count() <= REVERTS_MAX
    }

    /// A newer write to a tag was made, which stays: nothing goes back. Answers what was cancelled.
    pub fn cancel(&mut self, tag: &str) -> Option<Revert> {
        self.held.remove(tag).map(|held| held.revert)
    }

    /// Those whose time has come, in order of time; each is given out once.
    pub fn due(&mut self, now: TimestampNs) -> Vec<Revert> {
        let ready = self.held.values_mut().filter(|held| !held.out && held.revert.at <= now);
        let mut due: Vec<Revert> = ready
            .map(|held| {
                held.out = true;
                held.revert.clone()
            })
            .collect();
        due.sort_by(|a, b| (a.at, &a.tag).cmp(&(b.at, &b.tag)));
        due
    }

    /// A revert that was given out is over: written, or given up. One that took its place since
    /// stays.
    pub fn settle(&mut self, revert: &Revert) {
        if self.held.get(&revert.tag).is_some_and(|held| held.revert == *revert) {
            self.held.remove(&revert.tag);
        }
    }

    /// A revert that was given out could not be written and is to be given out again, at `at`.
    pub fn postpone(&mut self, revert: &Revert, at: TimestampNs) {
        if let Some(held) = self.held.get_mut(&revert.tag).filter(|held| held.revert == *revert) {
            held.revert.at = at;
            held.out = false;
        }
    }

    /// When the next one is due that is not given out.
    #[must_use]
    pub fn next_due(&self) -> Option<TimestampNs> {
        self.held.values().filter(|held| !held.out).map(|held| held.revert.at).min()
    }

    /// All that are held, by tag.
    pub fn iter(&self) -> impl Iterator<Item = &Revert> {
        self.held.values().map(|held| &held.revert)
    }

    /// How many are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

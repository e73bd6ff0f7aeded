//! What a system remembers: requests, effects, and the answers to idempotency keys.
//!
//! Invariant: at most [`ENTRIES_MAX`] entries and [`BYTES_MAX`] bytes of bodies per journal
//! (two journals and five systems: at most 640 MiB of bodies, and in a demo a few kilobytes);
//! the oldest entry goes first. At most [`KEYS_MAX`] keys.

use std::collections::{HashMap, VecDeque};

use serde::Serialize;
use serde_json::Value;

use super::desk::Answer;
use super::faults::FaultMode;

/// Entries that a journal keeps.
const ENTRIES_MAX: usize = 10_000;
/// Bytes of bodies that a journal keeps.
const BYTES_MAX: usize = 64 << 20;
/// Idempotency keys that a system remembers.
const KEYS_MAX: usize = 50_000;

/// A request as it reached a system.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Request {
    /// Number of the request at this system, from 1.
    pub(crate) seq: u64,
    /// When it arrived, ms since the Unix epoch.
    pub(crate) time_unix_ms: u64,
    /// HTTP method.
    pub(crate) method: String,
    /// Path, without the query.
    pub(crate) path: String,
    /// Query, without the question mark.
    pub(crate) query: Option<String>,
    /// `Idempotency-Key`.
    pub(crate) idempotency_key: Option<String>,
    /// `Authorization`.
    pub(crate) authorization: Option<String>,
    /// `Content-Type`.
    pub(crate) content_type: Option<String>,
    /// The body: JSON as JSON, other text as a string, other bytes as `{"hex": …}`.
    pub(crate) body: Value,
    /// Length of the body, bytes.
    pub(crate) body_bytes: usize,
    /// How the system behaved.
    pub(crate) fault: FaultMode,
    /// The status that it decided to answer; none if it never will.
    pub(crate) status: Option<u16>,
    /// Whether the answer repeats an earlier one.
    pub(crate) replayed: bool,
    /// Hash of the body's bytes.
    #[serde(skip)]
    pub(crate) body_hash: u64,
}

/// Something that changed a system.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Effect {
    /// Number of the effect at this system, from 1.
    pub(crate) seq: u64,
    /// The request that caused it.
    pub(crate) request_seq: u64,
    /// When, ms since the Unix epoch.
    pub(crate) time_unix_ms: u64,
    /// HTTP method.
    pub(crate) method: String,
    /// Path, without the query.
    pub(crate) path: String,
    /// `Idempotency-Key`.
    pub(crate) idempotency_key: Option<String>,
    /// The body, as in [`Request`].
    pub(crate) body: Value,
    /// The answer's body.
    pub(crate) answer: Value,
}

/// An entry of a journal.
pub(crate) trait Entry {
    /// Gives the entry its number.
    fn set_seq(&mut self, seq: u64);
    /// The path that it is about.
    fn path(&self) -> &str;
}

impl Entry for Request {
    fn set_seq(&mut self, seq: u64) {
        self.seq = seq;
    }

    fn path(&self) -> &str {
        &self.path
    }
}

impl Entry for Effect {
    fn set_seq(&mut self, seq: u64) {
        self.seq = seq;
    }

    fn path(&self) -> &str {
        &self.path
    }
}

/// A bounded list of numbered entries.
#[derive(Debug)]
pub(crate) struct Journal<T> {
    entries: VecDeque<(T, usize)>,
    bytes: usize,
    total: u64,
}

impl<T: Entry> Journal<T> {
    /// Empty.
    pub(crate) fn new() -> Self {
        Self { entries: VecDeque::new(), bytes: 0, total: 0 }
    }

    /// Adds an entry that is about a body of `bytes` bytes; answers its number.
    pub(crate) fn push(&mut self, mut entry: T, bytes: usize) -> u64 {
        self.total += 1;
        entry.set_seq(self.total);
        self.entries.push_back((entry, bytes));
        self.bytes += bytes;
        while self.entries.len() > ENTRIES_MAX || (self.bytes > BYTES_MAX && self.entries.len() > 1) {
            if let Some((_, gone)) = self.entries.pop_front() {
                self.bytes -= gone;
            }
        }
        self.total
    }

    /// Entries ever added.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// An entry that is still kept.
    pub(crate) fn get_mut(&mut self, seq: u64) -> Option<&mut T> {
        let index = usize::try_from(seq.checked_sub(self.first_seq())?).ok()?;
        self.entries.get_mut(index).map(|(entry, _)| entry)
    }

    /// The kept entries after a number, oldest first, on a path if one is given.
    pub(crate) fn after<'a>(&'a self, seq: u64, path: Option<&'a str>) -> impl Iterator<Item = &'a T> {
        let skip = seq.saturating_add(1).saturating_sub(self.first_seq());
        self.entries
            .iter()
            .skip(usize::try_from(skip).unwrap_or(usize::MAX))
            .map(|(entry, _)| entry)
            .filter(move |entry| path.is_none_or(|path| entry.path() == path))
    }

    fn first_seq(&self) -> u64 {
        self.total - self.entries.len() as u64 + 1
    }
}

/// What an idempotency key stands for.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    /// Hash of method, path and body.
    pub(crate) fingerprint: u64,
    /// The answer that every repeat gets.
    pub(crate) answer: Answer,
}

/// The idempotency keys that a system remembers.
#[derive(Debug)]
pub(crate) struct Book {
    kept: HashMap<String, Kept>,
    order: VecDeque<String>,
}

impl Book {
    /// Empty.
    pub(crate) fn new() -> Self {
        Self { kept: HashMap::new(), order: VecDeque::new() }
    }

    /// What a key stands for.
    pub(crate) fn get(&self, key: &str) -> Option<&Kept> {
        self.kept.get(key)
    }

    /// Remembers a key, and forgets the oldest if there are too many.
    pub(crate) fn keep(&mut self, key: &str, kept: Kept) {
        if self.kept.insert(key.to_owned(), kept).is_none() {
            self.order.push_back(key.to_owned());
        }
        while self.order.len() > KEYS_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.kept.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Line(u64, String);

    impl Entry for Line {
        fn set_seq(&mut self, seq: u64) {
            self.0 = seq;
        }

        fn path(&self) -> &str {
            &self.1
        }
    }

    #[test]
    fn a_journal_keeps_the_newest_and_still_finds_them_by_number() {
        let mut journal = Journal::new();
        for index in 0..ENTRIES_MAX + 5 {
            journal.push(Line(0, format!("/{}", index % 2)), 1);
        }
        assert_eq!(journal.total(), ENTRIES_MAX as u64 + 5);
        assert_eq!(journal.after(0, None).next().map(|line| line.0), Some(6));
        assert!(journal.get_mut(5).is_none());
        assert_eq!(journal.get_mut(6).map(|line| line.0), Some(6));
        let newest: Vec<u64> = journal.after(ENTRIES_MAX as u64, Some("/1")).map(|line| line.0).collect();
        assert_eq!(newest, [10_002, 10_004]);
    }

    #[test]
    fn a_journal_is_bounded_in_bytes() {
        let mut journal = Journal::new();
        for _ in 0..10 {
            journal.push(Line(0, String::new()), BYTES_MAX / 4);
        }
        assert_eq!(journal.after(0, None).count(), 4);
    }
}

//! Entries: what one line of the journal is.
//!
//! An entry's header fields (kind, stream, id, key, time) are what the journal is searched by without
//! reading a body; the body is JSON. [`EntryKind`] is the list that `docs/format.md` shows.
//!
//! Invariant J1: entries carry states, not steps ("alarm X is now …", "attempt 3"), so that folding
//! one twice changes nothing. A snapshot may therefore speak of entries that are folded again.

use delivery::Offset;
use frame::{ArchivedEntry, Entry};
use model::TimestampNs;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EntryKind {
    /// Something was published: an event, a record, a tag's change, a batch's document.
    Message = 1,
    /// A delivery has ended; `key` is the message's offset.
    Settled = 2,
    /// An attempt of a delivery failed; `key` is the message's offset.
    Attempt = 3,
    /// A dead letter as it is now; `key` is the message's offset.
    Letter = 4,
    /// A delivery that was ordered again; `key` is the message's offset.
    Replay = 5,
    /// An alarm as it is now, and what changed it.
    Alarm = 6,
    /// Who did what.
    Audit = 7,
    /// A flow was begun, paused or resumed.
    Control = 8,
    /// How a flow maps messages from here on.
    Definition = 9,
    /// A run of a batch as it is now.
    Run = 10,
    /// What a comparison of both sides found.
    Reconciliation = 11,
    /// A part of what held when a segment began; only in prologues.
    Snapshot = 32,
}

impl EntryKind {
    /// Every kind, with its meaning for the format's document.
    pub const ALL: [(EntryKind, &'static str); 12] = [
        (EntryKind::Message, "something was published: an event, a record, a tag's change, a batch's document"),
        (EntryKind::Settled, "a delivery has ended; `key` is the message's offset"),
        (EntryKind::Attempt, "an attempt of a delivery failed; `key` is the message's offset"),
        (EntryKind::Letter, "a dead letter as it is now; `key` is the message's offset"),
        (EntryKind::Replay, "a delivery that was ordered again; `key` is the message's offset"),
        (EntryKind::Alarm, "an alarm as it is now, and what changed it"),
        (EntryKind::Audit, "who did what"),
        (EntryKind::Control, "a flow was begun, paused or resumed"),
        (EntryKind::Definition, "how a flow maps messages from here on"),
        (EntryKind::Run, "a run of a batch as it is now"),
        (EntryKind::Reconciliation, "what a comparison of both sides found"),
        (EntryKind::Snapshot, "a part of what held when a segment began; only in prologues"),
    ];

    /// Whether it says how a delivery went: a crash that forgets it has the delivery made again.
    #[must_use]
    pub const fn is_of_delivery(self) -> bool {
        matches!(self, EntryKind::Settled | EntryKind::Attempt)
    }

    /// The kind of a stored number; `None` where a later release wrote it.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<EntryKind> {
        Self::ALL.iter().map(|(kind, _)| *kind).find(|kind| *kind as u8 == number)
    }
}

/// The entry kinds as a Markdown table, for `docs/format.md`.
#[must_use]
pub fn markdown() -> String {
    let rows = EntryKind::ALL.iter().map(|(kind, meaning)| format!("| {} | {kind:?} | {meaning} |\n", *kind as u8));
    format!("| kind | name | meaning |\n|---:|---|---|\n{}", rows.collect::<String>())
}

/// Room that a body is made in: most fit.
const BODY_BYTES: usize = 1024;

/// An entry that is about to be written.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What it says.
    pub kind: EntryKind,
    /// When it happened.
    pub time: TimestampNs,
    /// What orders it, or the offset that it speaks of.
    pub key: u64,
    /// What it belongs to.
    pub stream: String,
    /// Its own name; empty where it has none.
    pub id: String,
    /// JSON.
    pub body: Vec<u8>,
}

impl Draft {
    /// An entry with a body that serializes.
    pub fn new(
        kind: EntryKind,
        time: TimestampNs,
        key: u64,
        stream: impl Into<String>,
        body: &impl Serialize,
    ) -> Draft {
        // plain structs and JSON values always serialize; what could not would be an empty body, which reads as absent
        let mut bytes = Vec::with_capacity(BODY_BYTES);
        let body = serde_json::to_writer(&mut bytes, body).map(|()| bytes).unwrap_or_default();
        Draft { kind, time, key, stream: stream.into(), id: String::new(), body }
    }

    /// The same with a name.
    #[must_use]
    pub fn named(mut self, id: impl Into<String>) -> Draft {
        self.id = id.into();
        self
    }

    /// Lends it as the frame's payload: nothing is copied.
    pub fn with_payload<T>(&mut self, on: impl FnOnce(&Entry) -> T) -> T {
        let entry = Entry {
            time_ns: self.time.0,
            key: self.key,
            kind: self.kind as u8,
            stream: std::mem::take(&mut self.stream),
            id: std::mem::take(&mut self.id),
            body: std::mem::take(&mut self.body),
        };
        let done = on(&entry);
        (self.stream, self.id, self.body) = (entry.stream, entry.id, entry.body);
        done
    }
}

/// An entry as it is read back, in place.
#[derive(Clone, Copy)]
pub struct Stored<'a> {
    /// What it says.
    pub kind: EntryKind,
    /// Its offset: the journal's position behind it.
    pub offset: Offset,
    /// The journal's position before it.
    pub(crate) begins: Offset,
    entry: &'a ArchivedEntry,
}

impl<'a> Stored<'a> {
    /// The entry of a frame's payload; `None` for kinds of a later release.
    #[must_use]
    pub fn new(entry: &'a ArchivedEntry, offset: Offset) -> Option<Stored<'a>> {
        EntryKind::from_u8(entry.kind).map(|kind| Stored { kind, offset, begins: offset, entry })
    }

    /// The same, of so many bytes.
    #[must_use]
    pub(crate) fn of_bytes(self, bytes: usize) -> Stored<'a> {
        Stored { begins: Offset(self.offset.0.saturating_sub(bytes as u64)), ..self }
    }

    /// When it happened.
    #[must_use]
    pub fn time(&self) -> TimestampNs {
        TimestampNs(self.entry.time_ns.to_native())
    }

    /// What orders it, or the offset that it speaks of.
    #[must_use]
    pub fn key(&self) -> u64 {
        self.entry.key.to_native()
    }

    /// What it belongs to.
    #[must_use]
    pub fn stream(&self) -> &'a str {
        self.entry.stream.as_str()
    }

    /// Its own name.
    #[must_use]
    pub fn id(&self) -> &'a str {
        self.entry.id.as_str()
    }

    /// The body's bytes.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.entry.body.as_slice()
    }

    /// The body as a type; `None` where it is not one (written by a later release, and left alone).
    #[must_use]
    pub fn read<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(self.bytes()).ok()
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        self.read().unwrap_or(Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_by_their_number_and_stand_in_the_document() {
        for (kind, _) in EntryKind::ALL {
            assert_eq!(EntryKind::from_u8(kind as u8), Some(kind));
            assert!(markdown().contains(&format!("{kind:?}")));
        }
        assert_eq!(EntryKind::from_u8(200), None);
    }
}

//! What a segment begins with, so that older ones may go.
//!
//! Every part is an entry of its own and far below the longest frame, however much there is.
//!
//! What is owed to the journal is a part, too: the state that a snapshot speaks of has it already, and
//! a crash before it is written would else lose a dead letter or an alarm's event for good.

use super::recover::ReplayBody;
use super::{Desk, Ordered};
use crate::entry::{Draft, EntryKind, Stored};
use crate::outlet::{Outlet, Pause};
use crate::runs::Book;
use crate::spec::DefinitionText;
use crate::trail::AttemptLine;
use delivery::{DeliveryId, Offset, Snapshot};
use frame::Builder;
use model::{ProducerId, Sequence, TimestampNs};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Offsets or attempts in one part.
const PER_PART: usize = 5_000;

/// A flow in a snapshot; what may be many of it are parts of their own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct KeptFlow {
    pub(super) consumer: Snapshot,
    pub(super) paused: Option<Pause>,
}

/// A definition, and from which offset on it holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct KeptDefinition {
    pub(super) from: u64,
    pub(super) text: DefinitionText,
}

/// Attempts that were told of one delivery.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct KeptLines {
    pub(super) id: DeliveryId,
    pub(super) lines: Vec<AttemptLine>,
}

/// An entry that is owed to the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct OwedEntry {
    kind: u8,
    time_ns: i64,
    key: u64,
    stream: String,
    id: String,
    body: Value,
}

impl OwedEntry {
    fn of(draft: &Draft) -> OwedEntry {
        let body = serde_json::from_slice(&draft.body).unwrap_or(Value::Null);
        let (stream, id) = (draft.stream.clone(), draft.id.clone());
        OwedEntry { kind: draft.kind as u8, time_ns: draft.time.0, key: draft.key, stream, id, body }
    }

    /// The draft that it was; `None` for kinds of a later release.
    pub(super) fn draft(self) -> Option<Draft> {
        let kind = EntryKind::from_u8(self.kind)?;
        let draft = Draft::new(kind, TimestampNs(self.time_ns), self.key, self.stream, &self.body);
        Some(draft.named(self.id))
    }
}

/// A part as it was read.
pub(super) struct Part {
    pub(super) stream: String,
    pub(super) id: String,
    pub(super) time: TimestampNs,
    body: Vec<u8>,
}

impl Part {
    /// A part in a snapshot, or in an entry whose stream has `prefix` before it.
    pub(super) fn of(stored: &Stored<'_>, prefix: &str) -> Part {
        let stream = stored.stream().strip_prefix(prefix).unwrap_or_default().to_owned();
        Part { stream, id: stored.id().to_owned(), time: stored.time(), body: stored.bytes().to_vec() }
    }

    /// The body as a type; `None` where it is not one.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.body).ok()
    }
}

fn part(time: TimestampNs, stream: String, id: &str, body: &impl Serialize) -> Draft {
    Draft::new(EntryKind::Snapshot, time, 0, stream, body).named(id)
}

/// The parts of one flow; the first is the flow itself.
pub(super) fn flow(outlet: &Outlet, ordered: &[&ReplayBody], tell: &mut dyn FnMut(Draft)) {
    let (zero, name) = (TimestampNs(0), &outlet.spec.name);
    let snapshot = outlet.consumer.snapshot();
    let consumer = Snapshot { low: snapshot.low, paused: snapshot.paused, settled: Vec::new(), attempts: Vec::new() };
    let kept = KeptFlow { consumer, paused: outlet.paused().cloned() };
    tell(part(zero, format!("flow/{name}"), "", &kept));
    for settled in snapshot.settled.chunks(PER_PART) {
        tell(part(zero, format!("settled/{name}"), "", &settled));
    }
    for attempts in snapshot.attempts.chunks(PER_PART) {
        tell(part(zero, format!("attempts/{name}"), "", &attempts));
    }
    for (id, lines) in outlet.tried() {
        tell(part(zero, format!("lines/{name}"), "", &KeptLines { id, lines }));
    }
    for (from, definition) in outlet.live_definitions(ordered.iter().map(|replay| Offset(replay.at))) {
        let kept = KeptDefinition { from: from.0, text: definition.text().clone() };
        tell(part(zero, format!("definition/{name}"), "", &kept));
    }
    for replay in outlet.replays().iter().chain(ordered.iter().copied()) {
        tell(part(zero, format!("replay/{name}"), "", replay));
    }
}

/// The parts of one batch.
pub(super) fn batch(book: &Book, tell: &mut dyn FnMut(Draft)) {
    let (runs, decided) = book.to_keep();
    for run in runs {
        tell(part(TimestampNs(run.created_ns), "run/".to_owned(), &run.id, run));
    }
    if let Some(decided) = decided {
        tell(part(decided, format!("decided/{}", book.spec.spec.name), "", &json!(null)));
    }
}

/// What a segment begins with.
pub(super) fn write(builder: &mut Builder, desk: &DeskParts<'_>) {
    let zero = TimestampNs(0);
    let mut tell = |mut draft: Draft| {
        if draft.with_payload(|entry| builder.entry(ProducerId::SELF, Sequence(0), entry).is_err()) {
            tracing::error!(stream = draft.stream, "a part of a snapshot is too long for the journal and is left out");
        }
    };
    tell(part(zero, "begin/".to_owned(), "", &json!(null)));
    for (place, outlet) in desk.outlets.iter().enumerate() {
        let ordered = desk.ordered.iter().filter(|ordered| ordered.flow == place && ordered.at.is_some());
        flow(outlet, &ordered.map(|ordered| &ordered.replay).collect::<Vec<_>>(), &mut tell);
    }
    for (id, body) in desk.alarms.to_keep() {
        tell(part(zero, "alarm/".to_owned(), id, &body));
    }
    for book in desk.batches.books() {
        batch(book, &mut tell);
    }
    tell(part(zero, "reverts/".to_owned(), "", desk.reverts));
    for (path, text) in desk.tags {
        tell(part(zero, "tag/".to_owned(), path, text));
    }
    for (place, draft) in desk.owed.iter().enumerate() {
        tell(part(zero, "owed/".to_owned(), &place.to_string(), &OwedEntry::of(draft)));
    }
}

/// What a snapshot speaks of.
pub(super) struct DeskParts<'a> {
    pub(super) outlets: &'a [Outlet],
    pub(super) ordered: &'a std::collections::VecDeque<Ordered>,
    pub(super) alarms: &'a crate::alarm_book::AlarmBook,
    pub(super) batches: &'a crate::runs::BatchBook,
    pub(super) tags: &'a std::collections::HashMap<String, String>,
    pub(super) reverts: &'a request::Reverts,
    pub(super) owed: &'a std::collections::VecDeque<Draft>,
}

impl Desk {
    pub(super) fn poll_journal(&mut self, now_ns: u64, now: TimestampNs, disk: &mut dyn env::disk::Disk) -> usize {
        let Desk { journal, outlets, ordered, alarms, batches, tags, reverts, owed, .. } = self;
        journal.poll(now_ns, now, disk, &mut |builder| {
            write(builder, &DeskParts { outlets, ordered, alarms, batches, tags, reverts, owed });
        })
    }
}

/// Offsets of one part.
pub(super) fn offsets(body: Option<Vec<u64>>) -> impl Iterator<Item = Offset> {
    body.unwrap_or_default().into_iter().map(Offset)
}

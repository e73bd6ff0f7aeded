//! Reading the journal back, and what a segment begins with so that older ones may go.
//!
//! A snapshot speaks of the journal as it was when its segment was begun; whoever reads on from there
//! folds entries that it may speak of already, which changes nothing (J1). So only the snapshot of
//! the oldest segment is read: behind it, the entries say everything.

use super::{Desk, Ids, Settings};
use crate::alarm_book::AlarmBook;
use crate::entry::{Draft, EntryKind, Stored};
use crate::journal::Journal;
use crate::letters::{Letter, Letters};
use crate::message::{Message, MessageKind};
use crate::outlet::{AttemptBody, Outlet, Pause, SettledBody, Wants};
use crate::records::RecordBook;
use crate::runs::{BatchBook, Run};
use crate::spec::{Begin, Definition, DefinitionText};
use delivery::{Consumer, DeliveryId, Offset, Snapshot};
use frame::Builder;
use model::{ProducerId, Sequence, TimestampNs};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// A flow in a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct KeptFlow {
    consumer: Snapshot,
    paused: Option<Pause>,
    replays: Vec<ReplayBody>,
}

/// A definition, and from which offset on it holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct KeptDefinition {
    from: u64,
    text: DefinitionText,
}

/// The body of a control entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ControlBody {
    /// `begin`, `pause` or `resume`.
    pub(crate) what: String,
    /// Where a flow begins.
    pub(crate) offset: Option<u64>,
    /// Who paused it.
    pub(crate) pause: Option<Pause>,
}

/// The body of a replay's entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ReplayBody {
    /// Which delivery.
    pub(crate) id: DeliveryId,
    /// The letter that it is of.
    pub(crate) letter: String,
    /// The corrected body.
    pub(crate) corrected: Option<Value>,
}

/// What is known while the journal is read back.
pub struct Recovery {
    settings: Settings,
    outlets: Vec<Outlet>,
    known: Vec<bool>,
    offsets: Vec<VecDeque<u64>>,
    replays: Vec<BTreeMap<DeliveryId, ReplayBody>>,
    begun: HashMap<String, TimestampNs>,
    letters: Letters,
    records: RecordBook,
    ids: Ids,
    tags: HashMap<String, String>,
    last_event: Offset,
    /// Whether anything but a snapshot was read.
    read_any: bool,
    /// Entries that were read.
    pub entries: u64,
    /// Flows that the journal knows and the configuration does not.
    pub strangers: std::collections::BTreeSet<String>,
}

impl Recovery {
    /// Before anything was read.
    ///
    /// # Errors
    /// A flow's definition does not compile; a sentence.
    pub fn new(settings: Settings) -> Result<Recovery, String> {
        let mut outlets = Vec::with_capacity(settings.flows.len());
        for (index, spec) in settings.flows.iter().enumerate() {
            let definition = Definition::compile(spec.definition.clone())
                .map_err(|error| format!("the flow {} cannot be used: {error}", spec.name))?;
            let consumer = Consumer::new(spec.policy.clone(), settings.seed ^ index as u64);
            outlets.push(Outlet::new(index, spec.clone(), consumer, definition));
        }
        let count = outlets.len();
        Ok(Recovery {
            settings,
            outlets,
            known: vec![false; count],
            offsets: vec![VecDeque::new(); count],
            replays: vec![BTreeMap::new(); count],
            begun: HashMap::new(),
            letters: Letters::default(),
            records: RecordBook::default(),
            ids: Ids::default(),
            tags: HashMap::new(),
            last_event: Offset(0),
            read_any: false,
            entries: 0,
            strangers: std::collections::BTreeSet::new(),
        })
    }

    fn flow(&mut self, stream: &str, prefix: &str) -> Option<usize> {
        let name = stream.strip_prefix(prefix)?;
        let found = self.outlets.iter().position(|outlet| outlet.spec.name == name);
        if found.is_none() {
            self.strangers.insert(name.to_owned());
        }
        found
    }

    /// Takes in the next entry.
    pub fn fold(&mut self, stored: Stored<'_>) {
        if stored.kind == EntryKind::Snapshot {
            if !self.read_any {
                self.fold_snapshot(&stored);
            }
            return;
        }
        self.read_any = true;
        self.entries += 1;
        match stored.kind {
            EntryKind::Message => self.fold_message(&stored),
            EntryKind::Settled => self.fold_settled(&stored),
            EntryKind::Attempt => {
                if let (Some(flow), Some(body)) = (self.flow(stored.stream(), "flow/"), stored.read::<AttemptBody>()) {
                    self.outlets[flow].fold_attempt(&body);
                }
            }
            EntryKind::Letter => {
                if let Some(letter) = stored.read::<Letter>() {
                    self.letters.put(letter, stored.offset, stored.bytes().len());
                }
            }
            EntryKind::Replay => {
                if let (Some(flow), Some(body)) = (self.flow(stored.stream(), "flow/"), stored.read::<ReplayBody>()) {
                    self.replays[flow].insert(body.id, body);
                }
            }
            EntryKind::Alarm => self.settings.alarms.fold(&stored),
            EntryKind::Control => self.fold_control(&stored),
            EntryKind::Definition => self.fold_definition(&stored, stored.offset.0),
            EntryKind::Run => {
                if let Some(run) = stored.read::<Run>() {
                    self.settings.batches.put(run);
                }
            }
            EntryKind::Audit | EntryKind::Reconciliation | EntryKind::Snapshot => {}
        }
    }

    fn fold_message(&mut self, stored: &Stored<'_>) {
        let (stream, offset) = (stored.stream(), stored.offset);
        self.ids.put(stream, stored.id(), offset);
        for (outlet, offsets) in self.outlets.iter().zip(&mut self.offsets) {
            if outlet.spec.wanted.takes(stream) {
                offsets.push_back(offset.0);
            }
        }
        match MessageKind::of(stream) {
            Some((MessageKind::Event, _)) => self.last_event = offset,
            Some((MessageKind::Tag, path)) => {
                let body = stored.json();
                let quality = body.get("quality").and_then(Value::as_str).unwrap_or_default().to_owned();
                self.tags.insert(path.to_owned(), format!("{}/{quality}", body.get("value").unwrap_or(&Value::Null)));
            }
            Some((MessageKind::Record, entity)) => {
                let body = stored.json();
                let (id, version) = (body.get("id").and_then(Value::as_str), body.get("version").and_then(Value::as_u64));
                if let (Some(id), Some(version), Some(record)) = (id, version, body.get("record")) {
                    self.records.put(entity, id, version, record, offset);
                }
            }
            _ => {}
        }
    }

    fn fold_settled(&mut self, stored: &Stored<'_>) {
        if let (Some(flow), Some(body)) = (self.flow(stored.stream(), "flow/"), stored.read::<SettledBody>()) {
            self.replays[flow].remove(&body.settled.id);
            self.outlets[flow].fold_settled(body);
        }
    }

    fn fold_control(&mut self, stored: &Stored<'_>) {
        let (Some(flow), Some(body)) = (self.flow(stored.stream(), "flow/"), stored.read::<ControlBody>()) else { return };
        match body.what.as_str() {
            "begin" => {
                self.known[flow] = true;
                self.begun.insert(self.outlets[flow].spec.name.clone(), stored.time());
                self.outlets[flow].begin_at(Offset(body.offset.unwrap_or(0)));
            }
            _ => self.outlets[flow].set_paused(body.pause),
        }
    }

    fn fold_definition(&mut self, stored: &Stored<'_>, from: u64) {
        let (Some(flow), Some(text)) = (self.flow(stored.stream(), "flow/"), stored.read::<DefinitionText>()) else { return };
        if let Ok(definition) = Definition::compile(text) {
            self.outlets[flow].fold_definition(Offset(from), definition);
        }
    }

    fn fold_snapshot(&mut self, stored: &Stored<'_>) {
        let Some((part, _)) = stored.stream().split_once('/') else { return };
        match part {
            "flow" => {
                let Some(flow) = self.flow(stored.stream(), "flow/") else { return };
                let Some(kept) = stored.read::<KeptFlow>() else { return };
                let policy = self.outlets[flow].spec.policy.clone();
                let consumer = Consumer::restore(&kept.consumer, policy, self.settings.seed ^ flow as u64);
                self.outlets[flow].restore(consumer);
                self.outlets[flow].set_paused(kept.paused);
                self.replays[flow] = kept.replays.into_iter().map(|body| (body.id, body)).collect();
                self.known[flow] = true;
            }
            "definition" => {
                let Some(flow) = self.flow(stored.stream(), "definition/") else { return };
                let Some(kept) = stored.read::<KeptDefinition>() else { return };
                if let Ok(definition) = Definition::compile(kept.text) {
                    self.outlets[flow].fold_definition(Offset(kept.from), definition);
                }
            }
            "alarm" => self.settings.alarms.fold(stored),
            "run" => {
                if let Some(run) = stored.read::<Run>() {
                    self.settings.batches.put(run);
                }
            }
            "decided" => {
                let name = stored.stream().trim_start_matches("decided/").to_owned();
                self.settings.batches.begin(&name, stored.time());
                self.begun.insert(name, stored.time());
            }
            "tag" => {
                if let Some(text) = stored.read::<String>() {
                    self.tags.insert(stored.id().to_owned(), text);
                }
            }
            _ => {}
        }
    }

    /// The desk over what was read; `end` is where the journal ends.
    #[must_use]
    pub fn finish(mut self, journal: Journal, now: TimestampNs) -> Desk {
        let (end, oldest) = (journal.end(), journal.oldest());
        let mut owed = VecDeque::new();
        for flow in 0..self.outlets.len() {
            self.begin(flow, end, oldest, now, &mut owed);
        }
        for (name, at) in &self.begun {
            self.settings.batches.begin(name, *at);
        }
        self.settings.batches.started(now);
        let count = self.outlets.len();
        let mut desk = Desk {
            journal,
            outlets: self.outlets,
            letters: self.letters,
            records: self.records,
            entities: self.settings.entities,
            alarms: self.settings.alarms,
            batches: self.settings.batches,
            ids: self.ids,
            tags: self.tags,
            uncommitted: VecDeque::new(),
            recent: VecDeque::new(),
            recent_bytes: 0,
            committed: end,
            dropped: end,
            owed,
            wants: Wants::default(),
            next_fed: 0,
            ready: VecDeque::new(),
            is_ready: vec![false; count],
            backlog_bytes: self.settings.backlog_bytes,
            tidied: now,
            last_event: self.last_event,
            event_waiters: Vec::new(),
            closing: false,
            published: 0,
        };
        for (flow, replays) in self.replays.into_iter().enumerate() {
            for body in replays.into_values() {
                if let Some(letter) = desk.letters.get(&body.letter).cloned() {
                    desk.outlets[flow].replay(&letter, body.id.replay, body.corrected, now);
                    desk.mark(flow);
                }
            }
        }
        desk
    }

    /// Begins a flow that the journal does not know, and counts what waits for one that it does.
    fn begin(&mut self, flow: usize, end: Offset, oldest: Offset, now: TimestampNs, owed: &mut VecDeque<Draft>) {
        let outlet = &mut self.outlets[flow];
        let stream = format!("flow/{}", outlet.spec.name);
        if !self.known[flow] {
            let at = match outlet.spec.begin {
                Begin::Now => end,
                Begin::Earliest => oldest,
                Begin::After(offset) => offset.max(oldest),
            };
            outlet.begin_at(at);
            let body = ControlBody { what: "begin".to_owned(), offset: Some(at.0), pause: None };
            owed.push_back(Draft::new(EntryKind::Control, now, 0, &*stream, &body));
            self.begun.insert(outlet.spec.name.clone(), now);
        }
        if outlet.take_definition(end) {
            owed.push_back(Draft::new(EntryKind::Definition, now, 0, stream, outlet.definition().text()));
        }
        let low = outlet.scanned().0;
        outlet.set_unscanned(self.offsets[flow].iter().filter(|offset| **offset > low).count() as u64);
    }
}

/// What a segment begins with.
pub(super) fn snapshot(
    builder: &mut Builder,
    outlets: &[Outlet],
    alarms: &AlarmBook,
    batches: &BatchBook,
    tags: &HashMap<String, String>,
) {
    let mut put = |time: TimestampNs, stream: String, id: &str, body: &dyn erased::Body| {
        let draft = Draft { kind: EntryKind::Snapshot, time, key: 0, stream, id: id.to_owned(), body: body.json() };
        // one part is far below the longest frame; what were longer would be left to the entries
        let _ = builder.entry(ProducerId::SELF, Sequence(0), &draft.payload());
    };
    let zero = TimestampNs(0);
    for outlet in outlets {
        let kept = KeptFlow {
            consumer: outlet.consumer.snapshot(),
            paused: outlet.paused().cloned(),
            replays: outlet.replays().collect(),
        };
        put(zero, format!("flow/{}", outlet.spec.name), "", &kept);
        for (from, definition) in outlet.live_definitions() {
            let kept = KeptDefinition { from: from.0, text: definition.text().clone() };
            put(zero, format!("definition/{}", outlet.spec.name), "", &kept);
        }
    }
    for (id, body) in alarms.to_keep() {
        put(zero, "alarm/".to_owned(), id, &body);
    }
    for book in batches.books() {
        let (runs, decided) = book.to_keep();
        for run in runs {
            put(zero, "run/".to_owned(), &run.id, run);
        }
        if let Some(decided) = decided {
            put(decided, format!("decided/{}", book.spec.spec.name), "", &json!(null));
        }
    }
    for (path, text) in tags {
        put(zero, "tag/".to_owned(), path, text);
    }
}

/// Bodies of different types behind one call.
mod erased {
    use serde::Serialize;

    pub(super) trait Body {
        fn json(&self) -> Vec<u8>;
    }

    impl<T: Serialize> Body for T {
        fn json(&self) -> Vec<u8> {
            serde_json::to_vec(self).unwrap_or_default()
        }
    }
}

/// A letter as an entry.
pub(super) fn letter_draft(letter: &Letter, now: TimestampNs) -> Draft {
    Draft::new(EntryKind::Letter, now, letter.offset, format!("flow/{}", letter.flow), letter).named(&*letter.id)
}

impl Desk {
    /// An entry that was owed is written.
    pub(super) fn note_written(&mut self, draft: Draft, offset: Offset) {
        match draft.kind {
            EntryKind::Message => self.note_message(draft, offset),
            EntryKind::Letter => {
                if let Ok(letter) = serde_json::from_slice::<Letter>(&draft.body) {
                    self.letters.put(letter, offset, draft.body.len());
                }
            }
            _ => {}
        }
    }

    /// The messages of a journal's entries, for whoever reads them elsewhere.
    #[must_use]
    pub fn message_of(stored: &Stored<'_>) -> Option<Message> {
        Message::read(stored)
    }
}

//! Reading the journal back.
//!
//! A snapshot speaks of the journal as it was when its segment was begun; whoever reads on from there
//! folds entries that it may speak of already, which changes nothing (J1). It is read only where the
//! entries before it are missing: else they say everything, and it may even speak of some that a crash
//! took. What was away for some time (a flow, the alarms of a rule) stands in no snapshot of that
//! time; when it is back, entries say how it is, so that it is found again when the older segments are
//! gone.

use super::gate::Gate;
use super::snapshot::{KeptDefinition, KeptFlow, KeptLines, OwedEntry, Part, offsets};
use super::{Desk, Ids, Ordered, Settings, snapshot};
use crate::entry::{Draft, EntryKind, Stored};
use crate::journal::Journal;
use crate::letters::{Letter, Letters};
use crate::message::{Message, MessageKind};
use crate::outlet::{AttemptBody, Outlet, Pause, SettledBody, Wants};
use crate::records::RecordBook;
use crate::runs::Run;
use crate::spec::{Begin, Definition, DefinitionText};
use delivery::{Attempted, Carried, Consumer, DeliveryId, End, Offset, Settled};
use model::TimestampNs;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// Stream of the entries that say which values go back by themselves.
pub(super) const REVERTS: &str = "reverts";
/// Before the stream of entries that say how something is that was away.
const BACK: &str = "back/";

/// An alarm among the things that a snapshot speaks of.
fn alarm_name(id: &str) -> String {
    format!("alarm/{id}")
}

/// The body of a control entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ControlBody {
    /// `begin`, `passed`, `pause` or `resume`.
    pub(crate) what: String,
    /// Where a flow begins, or up to where nothing is left to do.
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
    /// The offset of the entry that says so; in that entry itself 0.
    #[serde(default)]
    pub(crate) at: u64,
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
    reverts: request::Reverts,
    event_streams: BTreeSet<String>,
    last_event: Offset,
    /// What the newest snapshot speaks of.
    spoken: BTreeSet<String>,
    /// The newest snapshot, until an entry comes behind it.
    snapshot: Vec<Part>,
    /// Where the last entry ends.
    last: Offset,
    /// What some snapshot did not speak of, so that entries must say that it is back.
    away: BTreeSet<String>,
    /// The flow that is told to be back.
    returns: Option<usize>,
    /// What was owed to the journal when the oldest segment began, and was not found in it yet.
    owed: VecDeque<Draft>,
    /// Entries that were read.
    pub entries: u64,
    /// Flows that the journal knows and the configuration does not.
    pub strangers: BTreeSet<String>,
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
            reverts: request::Reverts::default(),
            event_streams: BTreeSet::new(),
            last_event: Offset(0),
            spoken: BTreeSet::new(),
            snapshot: Vec::new(),
            last: Offset(0),
            away: BTreeSet::new(),
            returns: None,
            owed: VecDeque::new(),
            entries: 0,
            strangers: BTreeSet::new(),
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
            self.note_snapshot(&stored);
            return;
        }
        self.go_on(stored.begins);
        self.last = stored.offset;
        self.entries += 1;
        if self.owed.front().is_some_and(|owed| is_written(owed, &stored)) {
            self.owed.pop_front();
        }
        match stored.kind {
            EntryKind::Message => self.fold_message(&stored),
            EntryKind::Settled => self.fold_settled(&stored),
            EntryKind::Attempt => {
                if let (Some(flow), Some(body)) = (self.flow(stored.stream(), "flow/"), stored.read::<AttemptBody>()) {
                    self.outlets[flow].fold_attempt(body);
                }
            }
            EntryKind::Letter => {
                if let Some(letter) = stored.read::<Letter>() {
                    self.letters.put(letter, stored.offset, stored.bytes().len());
                }
            }
            EntryKind::Replay => {
                if let (Some(flow), Some(body)) = (self.flow(stored.stream(), "flow/"), stored.read::<ReplayBody>()) {
                    self.replays[flow].insert(body.id, ReplayBody { at: stored.offset.0, ..body });
                }
            }
            EntryKind::Alarm => {
                self.away.remove(&alarm_name(stored.id()));
                self.settings.alarms.fold(stored.json());
            }
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
        super::note_stream(&mut self.event_streams, stream);
        for (outlet, offsets) in self.outlets.iter().zip(&mut self.offsets) {
            if outlet.spec.wanted.takes(stream) {
                offsets.push_back(offset.0);
            }
        }
        match MessageKind::of(stream) {
            Some((MessageKind::Event, _)) => self.last_event = offset,
            // its own entry comes behind it, or was lost with the end of the journal
            Some((MessageKind::Batch, name)) => {
                if let Some(run) = Run::of_message(name, stored.id(), offset, &stored.json()) {
                    self.settings.batches.put_new(run);
                }
            }
            Some((MessageKind::Tag, path)) => {
                let body = stored.json();
                let quality = body.get("quality").and_then(Value::as_str).unwrap_or_default().to_owned();
                self.tags.insert(path.to_owned(), format!("{}/{quality}", body.get("value").unwrap_or(&Value::Null)));
            }
            Some((MessageKind::Record, entity)) => {
                let body = stored.json();
                let (id, version) =
                    (body.get("id").and_then(Value::as_str), body.get("version").and_then(Value::as_u64));
                if let (Some(id), Some(version), Some(record)) = (id, version, body.get("record")) {
                    self.records.put(entity, id, version, record, offset);
                }
            }
            _ => {}
        }
    }

    fn fold_settled(&mut self, stored: &Stored<'_>) {
        if let (Some(flow), Some(body)) = (self.flow(stored.stream(), "flow/"), stored.read::<SettledBody>()) {
            if let Some(replay) = self.replays[flow].remove(&body.settled.id) {
                self.letters.release(&replay.letter);
            }
            self.outlets[flow].fold_settled(body);
        }
    }

    fn fold_control(&mut self, stored: &Stored<'_>) {
        if stored.stream() == REVERTS {
            self.reverts = stored.read().unwrap_or_default();
            return;
        }
        if let Some(part) = stored.stream().strip_prefix(BACK) {
            return self.fold_back(part, stored);
        }
        let (Some(flow), Some(body)) = (self.flow(stored.stream(), "flow/"), stored.read::<ControlBody>()) else {
            return;
        };
        match body.what.as_str() {
            "passed" => {
                let low = body.offset.unwrap_or(0);
                self.outlets[flow].begin_at(Offset(low));
                while self.offsets[flow].pop_front_if(|offset| *offset <= low).is_some() {}
            }
            "begin" => {
                self.known[flow] = true;
                self.away.remove(stored.stream());
                self.begun.insert(self.outlets[flow].spec.name.clone(), stored.time());
                self.outlets[flow].begin_at(Offset(body.offset.unwrap_or(0)));
            }
            _ => self.outlets[flow].set_paused(body.pause),
        }
    }

    fn fold_definition(&mut self, stored: &Stored<'_>, from: u64) {
        let (Some(flow), Some(text)) = (self.flow(stored.stream(), "flow/"), stored.read::<DefinitionText>()) else {
            return;
        };
        if let Ok(definition) = Definition::compile(text) {
            self.outlets[flow].fold_definition(Offset(from), definition);
        }
    }

    /// Keeps account of what snapshots speak of.
    fn note_snapshot(&mut self, stored: &Stored<'_>) {
        match stored.stream().split_once('/') {
            Some(("begin", _)) => {
                self.end_snapshot();
                self.snapshot.clear();
            }
            Some(("flow", _)) => drop(self.spoken.insert(stored.stream().to_owned())),
            Some(("alarm", _)) => drop(self.spoken.insert(alarm_name(stored.id()))),
            _ => {}
        }
        self.snapshot.push(Part::of(stored, ""));
    }

    /// An entry begins at a position. Where it does not follow the one before, as behind the start that
    /// retention removed, the snapshot in between says what came to pass. Where it does, the entries
    /// say everything, and the snapshot may speak of some that never came to the disk.
    fn go_on(&mut self, begins: Offset) {
        let snapshot = std::mem::take(&mut self.snapshot);
        if begins > self.last {
            snapshot.iter().for_each(|part| self.fold_snapshot(part));
        }
    }

    /// What is known and the newest snapshot does not speak of was away when that was written.
    fn end_snapshot(&mut self) {
        let spoken = std::mem::take(&mut self.spoken);
        if self.entries == 0 {
            return; // nothing is known but what it says
        }
        let flows = self.outlets.iter().zip(&self.known).filter(|(_, known)| **known);
        let flows = flows.map(|(outlet, _)| format!("flow/{}", outlet.spec.name));
        let alarms = self.settings.alarms.iter().map(|alarm| alarm_name(alarm.id()));
        self.away.extend(flows.chain(alarms).filter(|name| !spoken.contains(name)));
    }

    /// A flow was away and is back, as it was: told by the parts of a snapshot as entries.
    fn fold_back(&mut self, part: &str, stored: &Stored<'_>) {
        if let Some(flow) = part.strip_prefix("flow/").and_then(|_| self.flow(part, "flow/")) {
            self.away.remove(part);
            if self.known[flow] {
                self.returns = None; // the entries before have said everything
                return;
            }
            self.returns = Some(flow);
        }
        let name = part.split_once('/').map_or("", |(_, name)| name);
        if self.returns.is_some_and(|flow| self.outlets[flow].spec.name == name) {
            self.fold_snapshot(&Part::of(stored, BACK));
        }
    }

    fn fold_snapshot(&mut self, stored: &Part) {
        let stream = stored.stream.as_str();
        let Some((part, _)) = stream.split_once('/') else { return };
        match part {
            "flow" => {
                let Some(flow) = self.flow(stream, "flow/") else { return };
                let Some(kept) = stored.read::<KeptFlow>() else { return };
                let policy = self.outlets[flow].spec.policy.clone();
                let consumer = Consumer::restore(&kept.consumer, policy, self.settings.seed ^ flow as u64);
                self.outlets[flow].restore(consumer);
                self.outlets[flow].set_paused(kept.paused);
                self.replays[flow].clear();
                self.known[flow] = true;
            }
            "settled" | "attempts" | "lines" | "replay" => self.fold_part(part, stored),
            "owed" => {
                self.owed.extend(stored.read::<OwedEntry>().and_then(OwedEntry::draft));
            }
            "definition" => {
                let Some(flow) = self.flow(stream, "definition/") else { return };
                let Some(kept) = stored.read::<KeptDefinition>() else { return };
                if let Ok(definition) = Definition::compile(kept.text) {
                    self.outlets[flow].fold_definition(Offset(kept.from), definition);
                }
            }
            "alarm" => {
                if let Some(body) = stored.read() {
                    self.settings.alarms.fold(body);
                }
            }
            "reverts" => self.reverts = stored.read().unwrap_or_default(),
            "run" => {
                if let Some(run) = stored.read::<Run>() {
                    self.settings.batches.put(run);
                }
            }
            "decided" => {
                let name = stream.trim_start_matches("decided/").to_owned();
                self.settings.batches.begin(&name, stored.time);
                self.begun.insert(name, stored.time);
            }
            "tag" => {
                if let Some(text) = stored.read::<String>() {
                    self.tags.insert(stored.id.clone(), text);
                }
            }
            _ => {}
        }
    }

    fn fold_part(&mut self, part: &str, stored: &Part) {
        let Some(flow) = self.flow(&stored.stream, &format!("{part}/")) else { return };
        let outlet = &mut self.outlets[flow];
        match part {
            "settled" => {
                for offset in offsets(stored.read()) {
                    let id = DeliveryId { offset, replay: 0 };
                    outlet.consumer.fold_settled(&Settled { id, end: End::Skipped });
                }
            }
            "attempts" => {
                for Carried { id, attempts, counted, in_doubt } in stored.read::<Vec<Carried>>().unwrap_or_default() {
                    outlet.consumer.fold_attempted(&Attempted { id, attempt: attempts, counted, in_doubt, next_ns: 0 });
                }
            }
            "lines" => {
                if let Some(kept) = stored.read::<KeptLines>() {
                    outlet.fold_lines(kept.id, kept.lines);
                }
            }
            _ => {
                if let Some(body) = stored.read::<ReplayBody>() {
                    self.replays[flow].insert(body.id, body);
                }
            }
        }
    }

    /// The desk over what was read; `end` is where the journal ends.
    #[must_use]
    pub fn finish(mut self, journal: Journal, now: TimestampNs) -> Desk {
        let (end, oldest) = (journal.end(), journal.oldest());
        self.go_on(end);
        let mut owed = std::mem::take(&mut self.owed);
        self.end_snapshot();
        self.come_back(now, &mut owed);
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
            groups: [0; 2],
            tags: self.tags,
            reverts: self.reverts,
            event_streams: self.event_streams,
            uncommitted: VecDeque::new(),
            recent: VecDeque::new(),
            recent_bytes: 0,
            committed: end,
            recovered: end,
            dropped: end,
            owed,
            ordered: VecDeque::new(),
            wants: Wants::default(),
            gate: Gate::default(),
            next_fed: 0,
            paid_alone: false,
            turn: 0,
            unscanned: 0,
            ready: VecDeque::new(),
            is_ready: vec![false; count],
            backlog_bytes: self.settings.backlog_bytes,
            tidied: now,
            resends: 0,
            last_event: self.last_event,
            event_waiters: Vec::new(),
            closing: false,
            published: 0,
        };
        let awaited = self.replays.iter().flat_map(|replays| replays.values().map(|body| body.letter.clone()));
        desk.letters.await_only(&awaited.collect());
        for (flow, replays) in self.replays.into_iter().enumerate() {
            for replay in replays.into_values() {
                if let Some(letter) = desk.letters.get(&replay.letter).cloned() {
                    desk.ordered.push_back(Ordered { at: Some(end), flow, letter, replay });
                }
            }
        }
        desk
    }

    /// Says of what was away how it is, before any entry speaks of it.
    fn come_back(&self, now: TimestampNs, owed: &mut VecDeque<Draft>) {
        for (flow, outlet) in self.outlets.iter().enumerate() {
            let name = &outlet.spec.name;
            if !self.known[flow] || !self.away.contains(&format!("flow/{name}")) {
                continue;
            }
            let replays: Vec<&ReplayBody> = self.replays[flow].values().collect();
            let mut tell = |part: Draft| {
                owed.push_back(Draft {
                    kind: EntryKind::Control,
                    time: now,
                    stream: format!("{BACK}{}", part.stream),
                    ..part
                })
            };
            snapshot::flow(outlet, &replays, &mut tell);
            for book in self.settings.batches.books().iter().filter(|book| book.spec.spec.name == *name) {
                snapshot::batch(book, &mut |part| {
                    let kind = if part.stream.starts_with("run/") { EntryKind::Run } else { EntryKind::Control };
                    let stream =
                        if kind == EntryKind::Run { format!("batch/{name}") } else { format!("{BACK}{}", part.stream) };
                    owed.push_back(Draft { kind, stream, ..part });
                });
            }
        }
        for alarm in self.settings.alarms.iter().filter(|alarm| self.away.contains(&alarm_name(alarm.id()))) {
            let body = serde_json::json!({ "alarm": alarm });
            let stream = format!("alarm/{}", alarm.rule());
            owed.push_back(Draft::new(EntryKind::Alarm, now, 0, stream, &body).named(alarm.id()));
        }
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

/// Whether an entry is the one that was owed.
fn is_written(owed: &Draft, stored: &Stored<'_>) -> bool {
    (owed.kind, owed.time, owed.key) == (stored.kind, stored.time(), stored.key())
        && (owed.stream.as_str(), owed.id.as_str()) == (stored.stream(), stored.id())
        && serde_json::from_slice::<Value>(&owed.body).ok() == stored.read()
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
            EntryKind::Replay => {
                if let Some(ordered) = self.ordered.iter_mut().find(|ordered| ordered.at.is_none()) {
                    (ordered.at, ordered.replay.at) = (Some(offset), offset.0);
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

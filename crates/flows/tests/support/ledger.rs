//! What the journal held, read from outside as soon as it was durable, and kept for ever: retention
//! takes nothing from it.

use delivery::{End, Offset, Settled};
use env::disk::Storage;
use flows::desk::AuditLine;
use flows::entry::{EntryKind, Stored};
use flows::journal::{self, Journal};
use flows::letters::Letter;
use flows::runs::Run;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;

/// A message that was durable.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    pub stream: String,
    pub id: String,
    pub time_ns: i64,
    pub body: Value,
}

/// Everything that was durable.
#[derive(Default)]
pub struct Ledger {
    pub read_to: Offset,
    /// What lies behind this was kept when it was last read.
    pub oldest: Offset,
    pub messages: BTreeMap<u64, Known>,
    pub names: HashMap<(String, String), u64>,
    /// Ends by flow, offset and replay.
    pub ends: BTreeMap<(String, u64, u32), End>,
    pub letters: BTreeMap<String, Letter>,
    /// Where a flow was begun last, and how often.
    pub begun: BTreeMap<String, (u64, u32)>,
    pub paused: BTreeMap<String, bool>,
    pub alarms: BTreeMap<String, Value>,
    pub runs: BTreeMap<String, Run>,
    pub audits: Vec<AuditLine>,
    /// Replays that were ordered: flow, offset, replay.
    pub replays: BTreeSet<(String, u64, u32)>,
    pub objections: Vec<String>,
    /// Nothing is read: for very many messages.
    pub is_off: bool,
}

impl Ledger {
    /// Reads what has become durable since the last time.
    pub fn read(&mut self, journal: &Journal, storage: &dyn Storage) {
        self.oldest = self.oldest.max(journal.oldest());
        if self.is_off || journal.durable() <= self.read_to {
            return;
        }
        let spans = journal.spans_after(self.read_to, u64::MAX);
        let oldest = self.oldest;
        let read = journal::read(storage, &spans, &mut |stored| {
            self.take(&stored, oldest);
            ControlFlow::Continue(())
        });
        assert_eq!(read, Ok(0), "the journal is whole");
        self.read_to = journal.durable();
    }

    /// An entry that was read in recovery: it is known already, or it is new.
    pub fn recovered(&mut self, stored: &Stored<'_>) {
        if self.is_off {
            return;
        }
        if stored.kind != EntryKind::Message || stored.offset > self.read_to {
            self.take(stored, self.oldest);
            return;
        }
        let known = self.messages.get(&stored.offset.0).map(|known| (known.stream.as_str(), known.id.as_str()));
        if known != Some((stored.stream(), stored.id())) {
            self.objections.push(format!(
                "offset {} was {known:?} and is {} {}",
                stored.offset,
                stored.stream(),
                stored.id()
            ));
        }
    }

    fn take(&mut self, stored: &Stored<'_>, oldest: Offset) {
        if stored.offset <= self.read_to || stored.kind == EntryKind::Snapshot {
            return;
        }
        match stored.kind {
            EntryKind::Message => self.message(stored, oldest),
            EntryKind::Settled => {
                let body = stored.json();
                let settled: Settled = serde_json::from_value(body["settled"].clone()).expect("an end");
                let flow = flow_of(stored);
                let name = (flow, settled.id.offset.0, settled.id.replay);
                if let Some(before) = self.ends.insert(name.clone(), settled.end.clone()) {
                    self.objections
                        .push(format!("{name:?} ended twice: {before:?}, then {:?} at {}", settled.end, stored.offset));
                }
            }
            EntryKind::Letter => {
                let letter: Letter = stored.read().expect("a letter");
                self.letters.insert(letter.id.clone(), letter);
            }
            EntryKind::Replay => {
                let body = stored.json();
                let number = |field: &str| body["id"][field].as_u64().expect("a number");
                self.replays.insert((flow_of(stored), number("offset"), number("replay") as u32));
            }
            EntryKind::Control => self.control(stored),
            EntryKind::Alarm => {
                self.alarms.insert(stored.id().to_owned(), stored.json()["alarm"].clone());
            }
            EntryKind::Run => {
                let run: Run = stored.read().expect("a run");
                self.runs.insert(run.id.clone(), run);
            }
            EntryKind::Audit => self.audits.push(stored.read().expect("a line")),
            _ => {}
        }
    }

    fn message(&mut self, stored: &Stored<'_>, oldest: Offset) {
        let known = Known {
            stream: stored.stream().to_owned(),
            id: stored.id().to_owned(),
            time_ns: stored.time().0,
            body: stored.json(),
        };
        let name = (known.stream.clone(), known.id.clone());
        let before = self.names.insert(name.clone(), stored.offset.0);
        // what retention has taken may come again; a tag's changes are told apart by their time alone
        if before.is_some_and(|before| before > oldest.0) && !name.0.starts_with("tag/") {
            self.objections.push(format!("{name:?} stands twice in the journal, at {before:?} and {}", stored.offset));
        }
        self.messages.insert(stored.offset.0, known);
    }

    fn control(&mut self, stored: &Stored<'_>) {
        if !stored.stream().starts_with("flow/") {
            return;
        }
        let (flow, body) = (flow_of(stored), stored.json());
        match body["what"].as_str() {
            Some("begin") => {
                let at = body["offset"].as_u64().expect("where it begins");
                let begun = self.begun.entry(flow.clone()).or_insert((at, 0));
                *begun = (at, begun.1 + 1);
                // begun anew: what it had not done when it was taken away is nobody's
                self.replays.retain(|(of, ..)| *of != flow);
                self.paused.remove(&flow);
                self.ends.retain(|(of, offset, _), _| *of != flow || *offset <= at);
            }
            Some("pause") => drop(self.paused.insert(flow, true)),
            Some("resume") => drop(self.paused.insert(flow, false)),
            _ => {}
        }
    }

    /// The letters that nobody has seen to.
    pub fn open_letters(&self) -> impl Iterator<Item = &Letter> {
        self.letters.values().filter(|letter| letter.state == flows::letters::LetterState::Open)
    }
}

fn flow_of(stored: &Stored<'_>) -> String {
    stored.stream().trim_start_matches("flow/").to_owned()
}

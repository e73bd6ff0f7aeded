//! One flow: its deliveries in the engine, the messages that they are of, and what is known of each.
//!
//! Purpose: glue between messages and the delivery engine. A message is offered once it is durable;
//! the engine says what to start; what came back is told to the engine; what must survive a restart
//! becomes entries.
//!
//! Invariants
//! - J7: `scanned` only moves on, and only over messages that were offered, left out by the flow's
//!   condition, or not of the flow's streams. What lies behind it is read from the journal later.
//! - J8: at most a window's worth of messages is held, however long the backlog is.

mod definitions;
mod recovery;
mod rows;

use crate::entry::{Draft, EntryKind};
use crate::letters::{Letter, SentRequest};
use crate::message::Message;
use crate::spec::{Definition, FlowSpec, MappingError, Payload, Rendered, order};
use crate::stats::FlowStats;
use crate::trail::{self, AttemptLine, Report};
use delivery::{Action, Attempted, Consumer, DeliveryId, End, Item, Offset, Outcome, Settled};
use model::TimestampNs;
pub(crate) use rows::{AttemptBody, SettledBody};
pub use rows::{Look, Row};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// A call that is to be made now.
#[derive(Clone, Debug)]
pub struct Send {
    /// Which flow, by its place in the configuration.
    pub flow: usize,
    /// Which delivery.
    pub id: DeliveryId,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Whether it asks if an earlier attempt took effect.
    pub probe: bool,
    /// The call.
    pub call: Rendered,
    /// Deadline of the attempt, ns from its start.
    pub timeout_ns: u64,
}

/// A delivery that is not settled.
struct Pending {
    message: Arc<Message>,
    key: String,
    attempts: Vec<AttemptLine>,
    number: u32,
    mapping: Option<MappingError>,
    /// Replays only: the letter, the corrected body, what the letter's delivery had sent, and the
    /// offset of its order: the definition of then holds for every try of it.
    letter: String,
    corrected: Option<Value>,
    before: Option<SentRequest>,
    ordered_at: Offset,
    /// What the receiver knows it by, once it was rendered.
    sent_as: Option<String>,
}

/// Who paused a flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pause {
    /// Who.
    pub by: String,
    /// What they wrote.
    pub comment: Option<String>,
    /// When, ns.
    pub at_ns: i64,
}

/// What became of a message that was shown to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Taken, left out, or not the flow's.
    Scanned,
    /// There is no room; show it again later.
    Full,
}

/// What a flow wants done.
pub struct Wants {
    /// Called between two pieces of work ([`crate::desk::Desk::set_pause`]).
    pub(crate) pause: fn(),
    /// Calls to make.
    pub sends: Vec<Send>,
    /// Entries to write.
    pub drafts: Vec<Draft>,
    /// Letters whose replay has ended.
    pub replayed: Vec<String>,
    /// Flows and keys of which something ended that was not delivered: what comes next of them waits
    /// until that is durable.
    pub ended: Vec<(usize, u64)>,
}

impl Default for Wants {
    fn default() -> Wants {
        Wants { pause: || {}, sends: Vec::new(), drafts: Vec::new(), replayed: Vec::new(), ended: Vec::new() }
    }
}

/// One flow.
pub struct Outlet {
    /// What it was told.
    pub spec: FlowSpec,
    /// What is counted of it.
    pub stats: FlowStats,
    pub(crate) consumer: Consumer,
    index: usize,
    definitions: Vec<(Offset, Definition)>,
    /// Definitions that the journal holds, while it is read back.
    history: Vec<(Offset, Definition)>,
    pending: HashMap<DeliveryId, Pending>,
    recent: VecDeque<(DeliveryId, Row)>,
    /// Attempts that the journal holds of what is not offered yet.
    past: HashMap<DeliveryId, Vec<AttemptLine>>,
    /// How far it has come, as it was last written down.
    pub(crate) noted: Offset,
    /// Messages of its streams that were committed, and those of them that it has scanned.
    arrived: u64,
    taken: u64,
    scanned: Offset,
    /// A read of the journal is under way for it.
    pub(crate) reading: bool,
    paused: Option<Pause>,
    /// Set while there is no room for more dead letters.
    pub(crate) stopped: bool,
    /// What the last comparison of both sides found.
    pub compared: Option<crate::reconcile::Comparison>,
    /// Since when its state word holds.
    pub(crate) since: (String, TimestampNs),
    actions: Vec<Action>,
}

impl Outlet {
    /// A flow over an engine that begins behind an offset.
    pub(crate) fn new(index: usize, spec: FlowSpec, consumer: Consumer, definition: Definition) -> Outlet {
        let scanned = consumer.low();
        Outlet {
            stats: FlowStats::default(),
            index,
            definitions: vec![(Offset(0), definition)],
            history: Vec::new(),
            pending: HashMap::new(),
            recent: VecDeque::new(),
            past: HashMap::new(),
            noted: Offset(0),
            arrived: 0,
            taken: 0,
            scanned,
            reading: false,
            paused: None,
            stopped: false,
            compared: None,
            since: (String::new(), TimestampNs(0)),
            actions: Vec::new(),
            consumer,
            spec,
        }
    }

    /// Everything up to here was looked at.
    #[must_use]
    pub const fn scanned(&self) -> Offset {
        self.scanned
    }

    /// A message of its streams was committed.
    pub(crate) fn on_arrival(&mut self) {
        self.arrived += 1;
    }

    /// Messages that wait, in the window or behind it.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        self.arrived.saturating_sub(self.taken) + self.pending.len() as u64
    }

    /// What orders a delivery.
    pub(crate) fn key_of(&self, id: DeliveryId) -> Option<u64> {
        self.pending.get(&id).map(|pending| order(&pending.key))
    }

    /// Deliveries that are held in memory.
    #[must_use]
    pub fn held(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn set_unscanned(&mut self, messages: u64) {
        self.arrived = self.taken + messages;
    }

    /// Shows it the next message; the caller keeps the order of offsets.
    pub(crate) fn show(&mut self, message: &Arc<Message>, now: TimestampNs) -> Shown {
        if message.offset <= self.scanned {
            return Shown::Scanned;
        }
        if !self.spec.wanted.takes(&message.stream) {
            self.scanned = message.offset;
            return Shown::Scanned;
        }
        if self.consumer.room() == 0 {
            return Shown::Full;
        }
        let definition = self.definition_at(message.offset);
        let wanted = definition.is_wanted(message).and_then(|wanted| Ok((wanted, definition.key(message)?)));
        let (key, mapping) = match wanted {
            Ok((false, _)) => {
                self.stats.skipped += 1;
                self.pass(message.offset);
                return Shown::Scanned;
            }
            Ok((true, key)) => (key, None),
            Err(error) => (message.id.clone(), Some(error)),
        };
        let item = Item { offset: message.offset, key: order(&key), time: message.time, bytes: message.bytes };
        if self.consumer.offer(item, now).is_err() {
            return Shown::Full;
        }
        let id = DeliveryId { offset: message.offset, replay: 0 };
        if self.consumer.is_pending(id) {
            self.hold(id, Arc::clone(message), key, mapping, None);
        }
        self.taken += 1;
        self.scanned = message.offset;
        Shown::Scanned
    }

    fn pass(&mut self, offset: Offset) {
        self.taken += 1;
        self.scanned = offset;
    }

    fn hold(
        &mut self,
        id: DeliveryId,
        message: Arc<Message>,
        key: String,
        mapping: Option<MappingError>,
        corrected: Option<Value>,
    ) {
        let letter = String::new();
        let (attempts, number, sent_as) = (self.past.remove(&id).unwrap_or_default(), 0, None);
        let (before, ordered_at) = (None, Offset(0));
        let pending =
            Pending { message, key, attempts, number, mapping, letter, corrected, before, ordered_at, sent_as };
        self.pending.insert(id, pending);
    }

    /// Everything up to here was shown.
    pub(crate) fn scanned_to(&mut self, offset: Offset) {
        self.scanned = self.scanned.max(offset);
        self.consumer.skip_to(self.scanned);
        if !self.past.is_empty() {
            let scanned = self.scanned;
            self.past.retain(|id, _| id.replay > 0 || id.offset > scanned); // what was not offered is not tried
        }
    }

    /// Orders a dead letter's delivery again.
    pub(crate) fn replay(&mut self, letter: &Letter, order: crate::desk::ReplayBody, now: TimestampNs) {
        let (message, id) = (Arc::new(letter.to_message()), order.id);
        let key = crate::spec::order(&letter.key);
        let item = Item { offset: message.offset, key, time: now, bytes: message.bytes };
        self.consumer.offer_again(item, id.replay);
        if self.consumer.is_pending(id) && !self.pending.contains_key(&id) {
            self.hold(id, message, letter.key.clone(), None, order.corrected);
            if let Some(pending) = self.pending.get_mut(&id) {
                pending.before.clone_from(&letter.request);
                pending.letter.clone_from(&letter.id);
                pending.ordered_at = Offset(order.at);
            }
        }
    }

    /// Sends a message again under its own idempotency key.
    pub(crate) fn resend(&mut self, message: Message, number: u32, now: TimestampNs) {
        let id = DeliveryId { offset: message.offset, replay: number };
        let Ok(key) = self.definition_at(message.offset).key(&message) else { return };
        let item = Item { offset: message.offset, key: order(&key), time: now, bytes: message.bytes };
        self.consumer.offer_again(item, number);
        if self.consumer.is_pending(id) {
            self.hold(id, Arc::new(message), key, None, None);
        }
    }

    /// Runs the engine: what is due is started, what is over ends.
    pub(crate) fn poll(&mut self, now: TimestampNs, wants: &mut Wants) {
        let mut actions = std::mem::take(&mut self.actions);
        if !self.stopped {
            self.consumer.poll(now, &mut actions);
        }
        self.act(&mut actions, None, now, wants);
        self.actions = actions;
    }

    /// When [`poll`](Self::poll) must run again.
    #[must_use]
    pub(crate) fn deadline(&self, now: TimestampNs) -> Option<TimestampNs> {
        if self.stopped { None } else { self.consumer.deadline(now) }
    }

    /// What a call came to.
    pub(crate) fn on_report(
        &mut self,
        id: DeliveryId,
        probe: bool,
        report: &Report,
        now: TimestampNs,
        wants: &mut Wants,
    ) {
        let outcome = self.judge(probe, report);
        let Some(pending) = self.pending.get_mut(&id) else { return };
        let line = AttemptLine::new(pending.number, probe, report, &outcome, now);
        // an attempt that ends its delivery stands in the delivery's own entry
        let failed = (!matches!(outcome, Outcome::Delivered | Outcome::ProbeDone)).then(|| line.clone());
        if let Some(line) = &failed {
            self.stats.on_failure(line.sentence(), now);
        }
        trail::push(&mut pending.attempts, line);
        let mut actions = std::mem::take(&mut self.actions);
        self.consumer.on_outcome(id, outcome, now, &mut actions);
        self.act(&mut actions, failed.as_ref(), now, wants);
        self.actions = actions;
    }

    /// What a report means, with the flow's own expressions over the answer.
    fn judge(&self, probe: bool, report: &Report) -> Outcome {
        let status = json!(report.status);
        let variables = [("status", &status), ("answer", &report.answer)];
        if probe {
            let Some(settings) = &self.spec.probe else { return Outcome::ProbeUnknown };
            return match (report.status, settings.done.eval_bool(&variables)) {
                (Some(_), Ok(true)) => Outcome::ProbeDone,
                (Some(status), Ok(false)) if status < 500 && status != 429 => Outcome::ProbeNotDone,
                _ => Outcome::ProbeUnknown,
            };
        }
        match (&report.outcome, &self.spec.success) {
            (Outcome::Delivered, Some(success)) if success.eval_bool(&variables) != Ok(true) => {
                Outcome::Failed { retry_after_ns: None }
            }
            (outcome, _) => outcome.clone(),
        }
    }

    /// Carries out what the engine asks; a start that cannot be mapped is told to it at once.
    fn act(&mut self, actions: &mut Vec<Action>, line: Option<&AttemptLine>, now: TimestampNs, wants: &mut Wants) {
        let mut at = 0;
        while at < actions.len() {
            (wants.pause)();
            match actions[at].clone() {
                Action::Start { id, attempt, probe, .. } => match self.start(id, attempt, probe) {
                    Ok(send) => wants.sends.push(send),
                    Err(error) => {
                        self.stats.on_failure(error.what.clone(), now);
                        if let Some(pending) = self.pending.get_mut(&id) {
                            trail::push(&mut pending.attempts, AttemptLine::unmapped(attempt, &error.what, now));
                            pending.mapping = Some(error);
                        }
                        self.consumer.on_outcome(id, Outcome::Unmapped, now, actions);
                    }
                },
                Action::Attempted(attempted) => self.attempted(&attempted, line, now, wants),
                Action::Settled(settled) => self.settled(&settled, now, wants),
            }
            at += 1;
        }
        actions.clear();
    }

    fn start(&mut self, id: DeliveryId, attempt: u32, probe: bool) -> Result<Send, MappingError> {
        let Some(pending) = self.pending.get(&id) else {
            let what = "the message of this delivery is not there".to_owned();
            return Err(MappingError { expression: String::new(), input: String::new(), what });
        };
        if let Some(error) = &pending.mapping {
            return Err(error.clone());
        }
        let call = if probe { self.render_probe(pending)? } else { self.render(id, pending)? };
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.number = attempt;
            if !probe {
                pending.sent_as = Some(call.idempotency_key.clone());
            }
        }
        let timeout_ns = self.spec.policy.timeout_ns;
        Ok(Send { flow: self.index, id, attempt, probe, call, timeout_ns })
    }

    fn render(&self, id: DeliveryId, pending: &Pending) -> Result<Rendered, MappingError> {
        let (flow, message) = (&self.spec.name, &*pending.message);
        if id.replay == 0 || pending.letter.is_empty() {
            return self.definition_at(message.offset).render(flow, message, None);
        }
        // a replay goes by the definition that held when it was ordered; the body that its letter had
        // sent goes under the key that it had, and another body is another request
        let corrected = pending.corrected.as_ref().map(|body| (body, id.replay));
        let mut call = self.definition_at(pending.ordered_at).render(flow, message, corrected)?;
        if let (None, Some(before)) = (corrected, &pending.before) {
            if before.sha256 != rows::digest(&call.body) {
                call.idempotency_key = crate::message::idempotency_key(flow, &message.identity(), Some(id.replay));
            } else if !before.idempotency_key.is_empty() {
                call.idempotency_key.clone_from(&before.idempotency_key);
            }
        }
        Ok(call)
    }

    fn render_probe(&self, pending: &Pending) -> Result<Rendered, MappingError> {
        let Some(probe) = &self.spec.probe else {
            let what = "there is no probe".to_owned();
            return Err(MappingError { expression: String::new(), input: String::new(), what });
        };
        let message = &*pending.message;
        Ok(Rendered {
            method: probe.method.clone(),
            address: crate::spec::fill(&probe.address, "probe.http", message)?,
            content_type: String::new(),
            body: Payload::Bytes(bytes::Bytes::new()),
            idempotency_key: String::new(),
            message: message.id.clone(),
            file_name: None,
        })
    }

    fn attempted(&mut self, attempted: &Attempted, line: Option<&AttemptLine>, now: TimestampNs, wants: &mut Wants) {
        let Some(line) = line else { return };
        let body = AttemptBody { attempted: attempted.clone(), line: line.clone() };
        wants.drafts.push(self.draft(EntryKind::Attempt, attempted.id, now, &body));
    }

    fn draft(&self, kind: EntryKind, id: DeliveryId, now: TimestampNs, body: &impl Serialize) -> Draft {
        Draft::new(kind, now, id.offset.0, format!("flow/{}", self.spec.name), body)
    }

    fn settled(&mut self, settled: &Settled, now: TimestampNs, wants: &mut Wants) {
        let Some(pending) = self.pending.remove(&settled.id) else { return };
        if !pending.letter.is_empty() {
            wants.replayed.push(pending.letter.clone());
        }
        if settled.end != End::Delivered {
            wants.ended.push((self.index, order(&pending.key)));
        }
        let state = match &settled.end {
            End::Delivered => {
                self.stats.on_success(pending.message.time, now);
                "delivered"
            }
            End::Dead { .. } => {
                self.stats.dead += 1;
                "dead"
            }
            End::Expired => {
                self.stats.expired += 1;
                "expired"
            }
            End::Superseded { .. } => {
                self.stats.superseded += 1;
                "superseded"
            }
            End::Skipped => "skipped",
        };
        if matches!(settled.end, End::Dead { .. } | End::Expired) {
            let letter = self.letter(settled, &pending, now);
            let draft = self.draft(EntryKind::Letter, settled.id, now, &letter).named(letter.id);
            wants.drafts.push(draft);
        }
        let row = self.row(settled.id, pending, state, now, None);
        let body = SettledBody { settled: settled.clone(), row };
        wants.drafts.push(self.draft(EntryKind::Settled, settled.id, now, &body));
        self.remember(settled.id, body.row);
    }

    /// Who paused it, if somebody did.
    #[must_use]
    pub const fn paused(&self) -> Option<&Pause> {
        self.paused.as_ref()
    }

    pub(crate) fn set_paused(&mut self, pause: Option<Pause>) {
        match pause {
            Some(_) => self.consumer.pause(),
            None => self.consumer.resume(),
        }
        self.paused = pause;
    }

    /// Unsettled deliveries of a key, newest message last: what a comparison must wait for.
    pub(crate) fn is_pending_key(&self, key: &str) -> bool {
        self.pending.values().any(|pending| pending.key == key)
    }
}

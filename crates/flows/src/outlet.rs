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

use crate::entry::{Draft, EntryKind};
use crate::letters::{Letter, LetterState, SentRequest, delivery_name};
use crate::message::Message;
use crate::spec::{Definition, FlowSpec, MappingError, Payload, Rendered, order};
use crate::stats::FlowStats;
use crate::trail::{self, AttemptLine, Report};
use delivery::{Action, Attempted, Consumer, DeadReason, DeliveryId, End, Item, Offset, Outcome, Settled};
use model::TimestampNs;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Deliveries that have ended and are still shown.
const RECENT_MAX: usize = 200;
/// Deliveries whose attempts a snapshot tells, and how many of each.
const TRIED_MAX: usize = 128;
const TRIED_LINES_MAX: usize = 5;
/// Longest request body that a dead letter shows, in bytes.
const SHOWN_BYTES_MAX: usize = 64 << 10;

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
    request: Option<SentRequest>,
}

/// A delivery as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// `<flow>@<offset>[.<replay>]`
    pub id: String,
    /// The message's offset.
    pub offset: u64,
    /// The message's id.
    pub message: String,
    /// The message's stream.
    pub stream: String,
    /// What orders it.
    pub key: String,
    /// One word.
    pub state: String,
    /// When the message was published, ns.
    pub created_ns: i64,
    /// When something last happened, ns.
    pub updated_ns: i64,
    /// When it is tried next, ns.
    pub next_ns: Option<i64>,
    /// What the receiver knows it by.
    pub idempotency_key: String,
    /// Every attempt that is kept.
    pub attempts: Vec<AttemptLine>,
}

/// The body of a settled entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SettledBody {
    /// What the engine said.
    pub(crate) settled: Settled,
    /// The row, for answers after a restart.
    pub(crate) row: Row,
}

/// The body of an attempt's entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AttemptBody {
    /// What the engine said.
    pub(crate) attempted: Attempted,
    /// The attempt.
    pub(crate) line: AttemptLine,
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
#[derive(Default)]
pub struct Wants {
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
    recent: VecDeque<Row>,
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

    /// Sets where scanning goes on: everything up to here is none of its business.
    pub(crate) fn begin_at(&mut self, offset: Offset) {
        self.consumer.skip_to(offset);
        self.scanned = self.scanned.max(offset);
        self.noted = self.scanned;
    }

    /// An engine that was restored.
    pub(crate) fn restore(&mut self, consumer: Consumer) {
        self.scanned = consumer.low();
        self.noted = self.scanned;
        self.history.clear();
        self.past.clear();
        self.consumer = consumer;
    }

    /// A definition that the journal holds, from an offset on; they come in order.
    pub(crate) fn fold_definition(&mut self, from: Offset, definition: Definition) {
        self.history.push((from, definition));
    }

    /// The journal was read up to an offset: the configured definition holds behind it, and what the
    /// journal holds before. Answers whether it is another than the last one, and must be journalled.
    pub(crate) fn take_definition(&mut self, end: Offset) -> bool {
        let (_, configured) = self.definitions[0].clone();
        let mut history = std::mem::take(&mut self.history);
        let is_other = history.last().is_none_or(|(_, last)| last.text() != configured.text());
        if is_other {
            let from = if history.is_empty() { Offset(0) } else { end };
            history.push((from, configured));
        }
        self.definitions = history;
        is_other
    }

    /// The definition of today.
    #[must_use]
    pub fn definition(&self) -> &Definition {
        &self.definitions[self.definitions.len() - 1].1
    }

    /// The definitions that what is unsettled may need, with where each begins.
    pub(crate) fn live_definitions(&self) -> impl Iterator<Item = (Offset, &Definition)> {
        let replayed =
            self.pending.values().filter(|pending| !pending.letter.is_empty()).map(|pending| pending.ordered_at);
        let low = replayed.chain([self.consumer.low()]).min().unwrap_or_default();
        let first = self.definitions.iter().rposition(|(from, _)| *from <= low).unwrap_or(0);
        self.definitions[first..].iter().map(|(from, definition)| (*from, definition))
    }

    fn definition_at(&self, offset: Offset) -> &Definition {
        // what ends where a definition begins was published before it
        let held = self.definitions.iter().rev().find(|(from, _)| *from < offset);
        held.map_or_else(|| self.definition(), |(_, definition)| definition)
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
        let (attempts, number, sent_as, request) = (self.past.remove(&id).unwrap_or_default(), 0, None, None);
        let (before, ordered_at) = (None, Offset(0));
        let pending = Pending {
            message,
            key,
            attempts,
            number,
            mapping,
            letter,
            corrected,
            before,
            ordered_at,
            sent_as,
            request,
        };
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
                pending.request.clone_from(&letter.request);
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
        if !matches!(outcome, Outcome::Delivered | Outcome::ProbeDone) {
            self.stats.on_failure(line.sentence(), now);
        }
        trail::push(&mut pending.attempts, line.clone());
        let mut actions = std::mem::take(&mut self.actions);
        self.consumer.on_outcome(id, outcome, now, &mut actions);
        self.act(&mut actions, Some(&line), now, wants);
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
            match actions[at].clone() {
                Action::Start { id, attempt, probe, .. } => match self.start(id, attempt, probe) {
                    Ok(send) => wants.sends.push(send),
                    Err(error) => {
                        self.stats.on_failure(error.what.clone(), now);
                        if let Some(pending) = self.pending.get_mut(&id) {
                            trail::push(&mut pending.attempts, AttemptLine::unmapped(attempt, &error.what, now));
                            pending.mapping = Some(error);
                        }
                        self.consumer.on_outcome(id, Outcome::Rejected, now, actions);
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
        let request = (!probe).then(|| shown(&call));
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.number = attempt;
            if !probe {
                pending.sent_as = Some(call.idempotency_key.clone());
            }
            pending.request = request.or(pending.request.take());
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
            if before.sha256 != digest(&call.body) {
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
            body: Payload::Bytes(Vec::new()),
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
        let row = self.row(settled.id, &pending, state, now, None);
        let body = SettledBody { settled: settled.clone(), row };
        wants.drafts.push(self.draft(EntryKind::Settled, settled.id, now, &body));
        self.remember(body.row);
    }

    fn remember(&mut self, row: Row) {
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(row);
    }

    fn letter(&self, settled: &Settled, pending: &Pending, now: TimestampNs) -> Letter {
        let message = &pending.message;
        let reason = match (&settled.end, &pending.mapping) {
            (End::Expired, _) => "expired",
            (_, Some(_)) => "mapping",
            (End::Dead { reason: DeadReason::Attempts { .. } }, _) => "attempts",
            _ => "rejected",
        };
        // after a restart it may end without a try, and still was sent before
        let unsent = || pending.mapping.is_none().then(|| self.render(settled.id, pending).ok()).flatten();
        let request = pending.request.clone().or_else(|| unsent().map(|call| shown(&call)));
        Letter {
            id: delivery_name(&self.spec.name, settled.id),
            flow: self.spec.name.clone(),
            offset: settled.id.offset.0,
            replay: settled.id.replay,
            message: message.id.clone(),
            stream: message.stream.clone(),
            key: pending.key.clone(),
            published_ns: message.time.0,
            time_ns: now.0,
            reason: reason.to_owned(),
            request,
            message_body: message.body.clone(),
            attempts: pending.attempts.clone(),
            expression: pending.mapping.as_ref().map(|error| error.expression.clone()),
            input: pending.mapping.as_ref().map(|error| error.input.clone()),
            state: LetterState::Open,
            replays: Vec::new(),
            by: None,
        }
    }

    fn row(&self, id: DeliveryId, pending: &Pending, state: &str, now: TimestampNs, next: Option<TimestampNs>) -> Row {
        let message = &pending.message;
        let key = || crate::message::idempotency_key(&self.spec.name, &message.identity(), None);
        Row {
            id: delivery_name(&self.spec.name, id),
            offset: id.offset.0,
            message: message.id.clone(),
            stream: message.stream.clone(),
            key: pending.key.clone(),
            state: state.to_owned(),
            created_ns: message.time.0,
            updated_ns: pending.attempts.last().map_or(now.0, |line| line.at_ns),
            next_ns: next.map(|time| time.0),
            idempotency_key: pending.sent_as.clone().unwrap_or_else(key),
            attempts: pending.attempts.clone(),
        }
    }

    /// Deliveries, those that are not settled first, then the newest that have ended.
    #[must_use]
    pub fn rows(&self, limit: usize) -> Vec<Row> {
        let views = self.consumer.items().filter_map(|view| {
            let pending = self.pending.get(&view.id)?;
            Some(self.row(view.id, pending, view.state.word(), pending.message.time, view.next))
        });
        views.chain(self.recent.iter().rev().cloned()).take(limit).collect()
    }

    // ---- control -------------------------------------------------------------------------------

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

    /// Replays that have not ended, with what a restart needs of them.
    pub(crate) fn replays(&self) -> Vec<crate::desk::ReplayBody> {
        let ordered = self.pending.iter().filter(|(id, pending)| id.replay > 0 && !pending.letter.is_empty());
        let replay = |(id, pending): (&DeliveryId, &Pending)| crate::desk::ReplayBody {
            id: *id,
            letter: pending.letter.clone(),
            corrected: pending.corrected.clone(),
            at: pending.ordered_at.0,
        };
        ordered.map(replay).collect()
    }

    /// The newest attempts of some deliveries that were tried and have not ended.
    pub(crate) fn tried(&self) -> Vec<(DeliveryId, Vec<AttemptLine>)> {
        let lines = self.pending.iter().map(|(id, pending)| (id, &pending.attempts)).chain(&self.past);
        let tried = lines.filter(|(_, lines)| !lines.is_empty()).take(TRIED_MAX);
        tried.map(|(id, lines)| (*id, lines[lines.len().saturating_sub(TRIED_LINES_MAX)..].to_vec())).collect()
    }

    /// Unsettled deliveries of a key, newest message last: what a comparison must wait for.
    pub(crate) fn is_pending_key(&self, key: &str) -> bool {
        self.pending.values().any(|pending| pending.key == key)
    }

    // ---- recovery ------------------------------------------------------------------------------

    pub(crate) fn fold_settled(&mut self, body: SettledBody) {
        self.consumer.fold_settled(&body.settled);
        self.past.remove(&body.settled.id);
        self.remember(body.row);
    }

    pub(crate) fn fold_attempt(&mut self, body: AttemptBody) {
        self.consumer.fold_attempted(&body.attempted);
        let lines = self.past.entry(body.attempted.id).or_default();
        // a snapshot may speak of it already
        if !lines.contains(&body.line) {
            trail::push(lines, body.line);
        }
    }

    pub(crate) fn fold_lines(&mut self, id: DeliveryId, lines: Vec<AttemptLine>) {
        self.past.insert(id, lines);
    }
}

/// What was sent, for a person to look at.
fn shown(call: &Rendered) -> SentRequest {
    let body = match &call.body {
        Payload::Bytes(bytes) => {
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES_MAX)]);
            if bytes.len() > SHOWN_BYTES_MAX { format!("{text}…") } else { text.into_owned() }
        }
        Payload::Document { sha256 } => format!("document {sha256}"),
    };
    SentRequest {
        method: call.method.clone(),
        url: call.address.clone(),
        content_type: call.content_type.clone(),
        body,
        sha256: digest(&call.body),
        idempotency_key: call.idempotency_key.clone(),
    }
}

fn digest(body: &Payload) -> String {
    match body {
        Payload::Document { sha256 } => sha256.clone(),
        Payload::Bytes(bytes) => {
            let digit = |four: u8| char::from_digit(u32::from(four), 16).unwrap_or('0');
            Sha256::digest(bytes).iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
        }
    }
}

//! The desk: the journal and everything that is a fold over it, driven in small steps.
//!
//! Purpose: what is published is written, and once it is durable it is shown to every flow that
//! wants it; what the flows' engines say is carried out by whoever drives the desk, and what came of
//! it is told back. The desk itself does no I/O but through the disk that is passed in.
//!
//! Invariants
//! - J11: a flow is shown only what is durable; a delivery's end may be forgotten by a crash, its
//!   message never.
//! - J12: what the engines want journalled is written in their order, before anything else of
//!   theirs starts; while the journal takes nothing, nothing starts. What follows something of its
//!   key that was given up starts when that is durable, so that a crash turns no order
//!   around.
//! - J13: one step does a bounded amount of work and says whether there is more; so does each part of a call
//!   that publishes much ([`Group`]) or of a list ([`DeliveryList`]).

mod actions;
mod feed;
mod gate;
mod gather;
mod list;
mod publish;
mod recover;
mod show;
mod snapshot;

pub use actions::{ActionError, AuditLine};
pub use feed::{ReadWanted, Reading};
pub use gather::Group;
pub use list::{DeliveryFilter, DeliveryList, Place};
pub use publish::{Event, PublishError, Published, Written};
pub use recover::Recovery;
pub(crate) use recover::ReplayBody;
pub use show::{FlowRow, LATENCY_BOUNDS_MS};

use crate::alarm_book::AlarmBook;
use crate::entry::Draft;
use crate::journal::Journal;
use crate::letters::Letters;
use crate::message::{Message, hash128};
use crate::newest::Newest;
use crate::outlet::{Outlet, Send, Wants};
use crate::records::{EntitySpec, RecordBook};
use crate::runs::BatchBook;
use crate::spec::FlowSpec;
use crate::trail::Report;
use delivery::{DeliveryId, Offset};
use env::disk::{Disk, FileNumber};
use gate::Gate;
use model::{LogPosition, Refused, TimestampNs};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

/// Messages that become recent in one step.
const COMMITTED_PER_STEP: usize = 4;
/// Flows whose engines run in one step.
const FLOWS_PER_STEP: usize = 4;
/// Calls at which no further engine runs in one step: each is rendered in it.
const SENDS_PER_STEP: usize = 2;
/// Kinds of work that take turns.
const TURNS: u8 = 5;
/// Steps between two looks at every flow's deadline while there are flows that have something to do.
const STEPS_PER_SCAN: u32 = 16;
/// Newest messages that are held for flows that are a little behind, by count and bytes.
const RECENT_MAX: usize = 4_096;
const RECENT_BYTES_MAX: usize = 16 << 20;
/// Entries that wait for a journal that takes nothing; while there are any, nothing starts.
const OWED_PER_APPEND: usize = 512;
/// So many are written beside other work; more are a step of their own, but no two in a row.
const PAID_BESIDE: usize = 8;
/// Their bytes, likewise; far below what may wait for the disk.
const OWED_BYTES_PER_APPEND: usize = 4 << 20;
/// Message ids that duplicates are known by: the newest.
pub const IDS_MAX: usize = 1_000_000;
/// Ids of messages, and of documents, that retention took and one step forgets.
const FORGOTTEN_PER_STEP: usize = 64;
/// How often letters are carried forward and the hold is moved, ns.
const TIDY_NS: i64 = 1_000_000_000;
/// A flow that has come so far is written down, bytes of the journal.
const PASSED_BYTES: u64 = 128 << 10;
/// Letters that are written again in one tidying.
const CARRIED_MAX: usize = 64;

/// What the desk is told when it is made.
pub struct Settings {
    /// The flows, in the order of the configuration.
    pub flows: Vec<FlowSpec>,
    /// The kinds of documents.
    pub entities: Vec<EntitySpec>,
    /// Rules and batches.
    pub alarms: AlarmBook,
    /// Batches and their schedules.
    pub batches: BatchBook,
    /// Bytes that flows may hold back before new messages are refused.
    pub backlog_bytes: u64,
    /// Seed of every engine's jitter.
    pub seed: u64,
}

/// The journal and everything that is a fold over it.
pub struct Desk {
    pub(crate) journal: Journal,
    pub(crate) outlets: Vec<Outlet>,
    pub(crate) letters: Letters,
    pub(crate) records: RecordBook,
    pub(crate) entities: Vec<EntitySpec>,
    pub(crate) alarms: AlarmBook,
    pub(crate) batches: BatchBook,
    pub(crate) ids: Ids,
    /// Groups of events, and of documents, that were written.
    groups: [u64; 2],
    /// Values of devices that go back by themselves.
    pub(crate) reverts: request::Reverts,
    /// Streams of events that were seen.
    pub(crate) event_streams: BTreeSet<String>,
    /// Last published value of a tag, by path.
    pub(crate) tags: HashMap<String, String>,
    uncommitted: VecDeque<Arc<Message>>,
    recent: VecDeque<Arc<Message>>,
    recent_bytes: usize,
    /// Every message up to here was put to the recent ones and counted.
    committed: Offset,
    /// Where the journal ended when it was read back.
    recovered: Offset,
    owed: VecDeque<Draft>,
    /// Replays that go to their flows once their order is durable.
    ordered: VecDeque<Ordered>,
    wants: Wants,
    gate: Gate,
    /// Every message behind this one is among the recent ones.
    dropped: Offset,
    next_fed: usize,
    /// The last step did nothing but write what was owed.
    paid_alone: bool,
    /// Whose turn it was last.
    turn: u8,
    /// Steps since every flow's deadline was looked at.
    unscanned: u32,
    /// Flows whose engines have something to do, each once.
    ready: VecDeque<usize>,
    is_ready: Vec<bool>,
    backlog_bytes: u64,
    tidied: TimestampNs,
    /// Times that a comparison sent something again.
    resends: u32,
    last_event: Offset,
    event_waiters: Vec<(Offset, Waker)>,
    closing: bool,
    /// Messages that were published since the start.
    pub published: u64,
}

/// A replay that was ordered: it starts when that is durable, so that a number never names two.
pub(crate) struct Ordered {
    /// The offset of its entry; `None` while that is owed.
    at: Option<Offset>,
    flow: usize,
    letter: crate::letters::Letter,
    replay: ReplayBody,
}

/// Message ids that duplicates are known by.
#[derive(Default)]
pub(crate) struct Ids(Newest<Offset>);

impl Ids {
    pub(crate) fn find(&self, stream: &str, id: &str) -> Option<Offset> {
        self.find_name(id_name(stream, id))
    }

    fn find_name(&self, name: u128) -> Option<Offset> {
        self.0.get(name).copied()
    }

    pub(crate) fn put(&mut self, stream: &str, id: &str, offset: Offset) {
        self.put_name(id_name(stream, id), offset);
    }

    fn put_name(&mut self, name: u128, offset: Offset) {
        if self.0.get(name).is_some() {
            self.0.replace(name, offset);
            return;
        }
        self.0.put(name, offset, offset);
        if self.0.len() > IDS_MAX {
            self.0.take_first(|_, _| true);
        }
    }

    /// Forgets what is not behind `oldest`, and no more than `most`; answers how many.
    fn forget_until(&mut self, oldest: Offset, most: usize) -> usize {
        let mut forgotten = 0;
        while forgotten < most && self.0.first().is_some_and(|(_, offset)| offset <= oldest) {
            self.0.take_first(|_, _| true);
            forgotten += 1;
        }
        forgotten
    }
}

/// What a message's id is known by.
fn id_name(stream: &str, id: &str) -> u128 {
    hash128(&[stream.as_bytes(), id.as_bytes()])
}

/// Types of events by which a message is looked for.
const EVENT_STREAMS_MAX: usize = 4_096;

/// Remembers the stream of an event.
pub(crate) fn note_stream(streams: &mut BTreeSet<String>, stream: &str) {
    if stream.starts_with("event/") && streams.len() < EVENT_STREAMS_MAX && !streams.contains(stream) {
        streams.insert(stream.to_owned());
    }
}

impl Desk {
    /// Has something called between two pieces of a step, each of which cannot be divided: somebody else may have
    /// its turn on the thread. It must not use the desk.
    pub fn set_pause(&mut self, pause: fn()) {
        self.wants.pause = pause;
    }

    fn pause(&self) {
        (self.wants.pause)();
    }

    /// One step; answers whether there is more to do now.
    pub fn step(&mut self, now_ns: u64, now: TimestampNs, disk: &mut dyn Disk) -> bool {
        // what is owed is written first, so that a snapshot does not speak of what is not
        let paid = self.pay(now);
        // what the disk is given, and much that is owed, are a step each: telemetry is looked at in between
        let is_much = paid > PAID_BESIDE || (paid > 0 && self.journal.deadline_ns().is_some_and(|due| due <= now_ns));
        if is_much && !std::mem::replace(&mut self.paid_alone, true) {
            return true;
        }
        self.paid_alone = false;
        let polled = self.poll_journal(now_ns, now, disk) > 0;
        self.pause();
        polled || paid + self.take_turn(now) > 0
    }

    /// Does one kind of work, the next one that there is: a step stays short whatever else waits.
    fn take_turn(&mut self, now: TimestampNs) -> usize {
        for _ in 0..TURNS {
            self.turn = (self.turn + 1) % TURNS;
            let may_start = self.owed.is_empty() && !self.closing;
            self.pause();
            let done = match self.turn {
                0 => self.commit(now),
                1 => self.feed(now),
                2 if may_start => self.run_flows(now),
                3 if may_start => self.run_alarms(now),
                4 => self.tidy(now),
                _ => 0,
            };
            if done > 0 {
                return done;
            }
        }
        0
    }

    /// Writes what is owed to the journal, in order (J12).
    fn pay(&mut self, now: TimestampNs) -> usize {
        let mut paid = 0;
        while !self.owed.is_empty() {
            let mut bytes = 0;
            let fits = self.owed.iter().take(OWED_PER_APPEND).take_while(|draft| {
                bytes += draft.body.len();
                bytes <= OWED_BYTES_PER_APPEND
            });
            let count = fits.count().max(1);
            let mut drafts: Vec<Draft> = self.owed.drain(..count).collect();
            let unhurried = drafts.iter().all(|draft| draft.kind.is_of_delivery()) && !self.gate.is_closed();
            let appended = match unhurried {
                true => self.journal.append_unhurried(&mut drafts, now),
                false => self.journal.append(&mut drafts, now),
            };
            if appended.is_err() {
                drafts.drain(..).rev().for_each(|draft| self.owed.push_front(draft));
            }
            match appended {
                Ok(offsets) => {
                    self.gate.note_written(count, offsets.last().copied());
                    for (draft, offset) in drafts.into_iter().zip(offsets) {
                        self.note_written(draft, offset);
                    }
                    paid += count;
                }
                Err(Refused::Limit) => self.drop_too_long(count),
                Err(_) => break,
            }
        }
        paid
    }

    /// What is too long for a frame could never be written, and would hold up all that comes behind.
    fn drop_too_long(&mut self, count: usize) {
        let behind = self.owed.split_off(count);
        let before = self.owed.len();
        self.owed.retain_mut(|draft| {
            let mut probe = frame::Builder::new();
            let fits =
                draft.with_payload(|entry| probe.entry(model::ProducerId::SELF, model::Sequence(0), entry).is_ok());
            if !fits {
                let (kind, stream, bytes) = (draft.kind, &draft.stream, draft.body.len());
                tracing::error!(?kind, stream, bytes, "an entry is too long for the journal and is left out");
            }
            fits
        });
        self.gate.note_written(before - self.owed.len(), None);
        self.owed.extend(behind);
    }

    /// Whether the journal takes nothing, so that something is owed to it.
    pub(crate) fn is_owing(&self) -> bool {
        !self.owed.is_empty()
    }

    /// Adds entries behind what is owed already.
    pub(crate) fn owe(&mut self, drafts: impl IntoIterator<Item = Draft>) {
        self.owed.extend(drafts);
    }

    /// What was published and is durable now goes to the flows (J11).
    fn commit(&mut self, now: TimestampNs) -> usize {
        let durable = self.journal.durable();
        let mut done = self.gate.open(durable);
        while done < COMMITTED_PER_STEP {
            let Some(message) = self.uncommitted.pop_front_if(|message| message.offset <= durable) else { break };
            self.committed = message.offset;
            for outlet in &mut self.outlets {
                if outlet.spec.wanted.takes(&message.stream) {
                    outlet.on_arrival();
                }
            }
            if message.kind() == crate::message::MessageKind::Event {
                self.last_event = message.offset;
                self.wake_events();
            }
            self.recent_bytes += message.bytes;
            self.recent.push_back(message);
            while self.recent.len() > RECENT_MAX || self.recent_bytes > RECENT_BYTES_MAX {
                let Some(oldest) = self.recent.pop_front() else { break };
                self.recent_bytes -= oldest.bytes;
                self.dropped = oldest.offset;
            }
            self.pause();
            done += 1;
        }
        if self.uncommitted.front().is_none_or(|message| message.offset > durable) {
            self.committed = self.committed.max(durable); // entries that are no messages are nobody's
        }
        while let Some(ordered) = self.ordered.pop_front_if(|ordered| ordered.at.is_some_and(|at| at <= durable)) {
            self.outlets[ordered.flow].replay(&ordered.letter, ordered.replay, now);
            self.mark(ordered.flow);
            done += 1;
        }
        done
    }

    fn wake_events(&mut self) {
        let last = self.last_event;
        self.event_waiters.retain(|(from, waker)| {
            let wait = *from > last;
            if !wait {
                waker.wake_by_ref();
            }
            wait
        });
    }

    /// Ready once an event stands at an offset or behind it.
    pub fn poll_event(&mut self, from: Offset, cx: &mut Context<'_>) -> Poll<()> {
        if self.last_event >= from || self.closing {
            return Poll::Ready(());
        }
        if !self.event_waiters.iter().any(|(at, waker)| *at == from && waker.will_wake(cx.waker())) {
            self.event_waiters.push((from, cx.waker().clone()));
        }
        Poll::Pending
    }

    /// A flow's engine has something to do.
    pub(crate) fn mark(&mut self, flow: usize) {
        if let Some(marked) = self.is_ready.get_mut(flow)
            && !std::mem::replace(marked, true)
        {
            self.ready.push_back(flow);
        }
    }

    /// Runs some engines that have something to do.
    fn run_flows(&mut self, now: TimestampNs) -> usize {
        let full = self.letters.is_full();
        self.unscanned += 1;
        if self.ready.is_empty() || self.unscanned >= STEPS_PER_SCAN {
            self.scan(full, now);
        }
        let mut ran = 0;
        while ran < FLOWS_PER_STEP && self.wants.sends.len() < SENDS_PER_STEP {
            let Some(flow) = self.ready.pop_front() else { break };
            self.is_ready[flow] = false;
            let outlet = &mut self.outlets[flow];
            outlet.stopped = full;
            outlet.poll(now, &mut self.wants);
            self.pause();
            ran += 1;
        }
        self.take_wants();
        ran
    }

    /// Looks for flows whose time has come.
    fn scan(&mut self, full: bool, now: TimestampNs) {
        self.unscanned = 0;
        for flow in 0..self.outlets.len() {
            let outlet = &self.outlets[flow];
            if !self.is_ready[flow] && (outlet.stopped != full || outlet.deadline(now).is_some_and(|due| due <= now)) {
                self.mark(flow);
            }
        }
    }

    /// What the engines want journalled is owed.
    fn take_wants(&mut self) {
        self.owed.extend(self.wants.drafts.drain(..));
        self.gate.note_ended(self.wants.ended.drain(..), self.owed.len());
        for send in self.wants.sends.drain(..) {
            let key = self.outlets[send.flow].key_of(send.id);
            self.gate.put(send, key);
        }
        for letter in self.wants.replayed.drain(..) {
            self.letters.release(&letter);
        }
    }

    fn run_alarms(&mut self, now: TimestampNs) -> usize {
        let changes = self.alarms.on_time(now);
        let count = changes.len();
        for change in changes {
            self.alarm_changed(change, now);
        }
        count
    }

    /// Calls that are to be made now.
    pub fn drain_sends(&mut self) -> Vec<Send> {
        self.gate.drain()
    }

    /// What a call came to.
    pub fn on_report(&mut self, flow: usize, id: DeliveryId, probe: bool, report: &Report, now: TimestampNs) {
        let Some(outlet) = self.outlets.get_mut(flow) else { return };
        let delivered = outlet.stats.delivered;
        outlet.on_report(id, probe, report, now, &mut self.wants);
        let is_batch = outlet.spec.pattern == crate::spec::Pattern::Batch && outlet.stats.delivered > delivered;
        self.take_wants();
        if is_batch {
            self.reconcile_run(id.offset, report, now);
        }
        self.mark(flow);
    }

    /// When [`step`](Self::step) must be called again even if nothing happens: wall time of the
    /// engines, monotonic ns of the journal.
    #[must_use]
    pub fn deadlines(&self, now: TimestampNs) -> (Option<TimestampNs>, Option<u64>) {
        if self.is_owing() {
            return (None, self.journal.deadline_ns()); // nothing starts before the journal takes more
        }
        let flows = self.outlets.iter().filter_map(|outlet| outlet.deadline(now)).min();
        let all = [flows, self.alarms.deadline(), self.batches.deadline()];
        (all.into_iter().flatten().min(), self.journal.deadline_ns())
    }

    /// A file of the journal that should be made ahead, where it may block; [`prepared`](Self::prepared) takes
    /// the answer.
    pub fn wants_prepared(&mut self) -> Option<FileNumber> {
        self.journal.wants_prepared()
    }

    /// It is there, or could not be made.
    pub fn prepared(&mut self, file: FileNumber, made: bool) {
        self.journal.prepared(file, made);
    }

    /// Carries letters forward, moves the hold, and forgets what retention took.
    fn tidy(&mut self, now: TimestampNs) -> usize {
        let oldest = self.journal.oldest();
        let forgotten =
            self.ids.forget_until(oldest, FORGOTTEN_PER_STEP) + self.records.forget_until(oldest, FORGOTTEN_PER_STEP);
        if forgotten > 0 || (now.0 - self.tidied.0 < TIDY_NS && now >= self.tidied) {
            return forgotten;
        }
        self.tidied = now;
        let low = self.low();
        // letters in the older half of what is kept move to the front, so that they hold nothing back
        let middle = Offset(oldest.0 + (self.journal.end().0 - oldest.0) / 2);
        let kept = self.journal.end().0 - oldest.0;
        // where letters are most of what is kept, writing them again would make room for nothing
        let is_worth = self.letters.bytes() as u64 * 2 < kept;
        if is_worth && self.journal.segments() > 2 && self.owed.is_empty() {
            for letter in self.letters.before(middle, CARRIED_MAX) {
                let draft = recover::letter_draft(&letter, now);
                self.owed.push_back(draft);
            }
        }
        self.note_passed(now);
        self.journal.hold(self.letters.needed_behind().map_or(low, |needed| needed.min(low)));
        1
    }

    /// Writes down how far flows have come, so that a restart reads no more than it must.
    fn note_passed(&mut self, now: TimestampNs) {
        for outlet in &mut self.outlets {
            let low = outlet.consumer.low();
            if low.0 - outlet.noted.0 < PASSED_BYTES {
                continue;
            }
            outlet.noted = low;
            let body = recover::ControlBody { what: "passed".to_owned(), offset: Some(low.0), pause: None };
            let stream = format!("flow/{}", outlet.spec.name);
            self.owed.push_back(Draft::new(crate::entry::EntryKind::Control, now, 0, stream, &body));
        }
    }

    /// Every flow has settled everything up to here.
    #[must_use]
    pub fn low(&self) -> Offset {
        self.outlets.iter().map(|outlet| outlet.consumer.low()).min().unwrap_or(self.committed)
    }

    /// Whether flows hold back more than they may, so that nothing new is taken.
    #[must_use]
    pub fn is_backlog_full(&self) -> bool {
        self.journal.end().0.saturating_sub(self.low().0) > self.backlog_bytes
    }

    /// Appends messages and keeps them until they are durable.
    ///
    /// What is owed comes first: nothing overtakes it, so that a definition or an alarm's event stands
    /// before everything that was published after it.
    fn append(&mut self, mut drafts: Vec<Draft>, now: TimestampNs) -> Result<Vec<Offset>, Refused> {
        self.settle_owed(now)?;
        let offsets = self.journal.append(&mut drafts, now)?;
        for (draft, offset) in drafts.into_iter().zip(&offsets) {
            self.note_written(draft, *offset);
        }
        Ok(offsets)
    }

    /// Writes what is owed before something new.
    fn settle_owed(&mut self, now: TimestampNs) -> Result<(), Refused> {
        if self.closing {
            return Err(Refused::Closed);
        }
        self.pay(now);
        if self.is_owing() { Err(Refused::Busy) } else { Ok(()) }
    }

    fn note_message(&mut self, draft: Draft, offset: Offset) {
        let body = serde_json::from_slice(&draft.body).unwrap_or(serde_json::Value::Null);
        let bytes = draft.body.len();
        let name = id_name(&draft.stream, &draft.id);
        let (id, stream, time, envelope) = (draft.id, draft.stream, draft.time, OnceLock::new());
        self.note_named(name, Arc::new(Message { offset, id, stream, time, body, bytes, envelope }));
    }

    /// A message was written; `name` is what its id is known by.
    fn note_named(&mut self, name: u128, message: Arc<Message>) {
        self.ids.put_name(name, message.offset);
        note_stream(&mut self.event_streams, &message.stream);
        self.published += 1;
        self.uncommitted.push_back(message);
    }

    /// Ready once everything up to an offset is durable.
    pub fn poll_durable(&mut self, offset: Offset, cx: &mut Context<'_>) -> Poll<Result<(), model::CommitError>> {
        self.journal.poll_durable(offset, cx)
    }

    /// The journal.
    #[must_use]
    pub const fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The flows, in the order of the configuration.
    #[must_use]
    pub fn outlets(&self) -> &[Outlet] {
        &self.outlets
    }

    /// Takes nothing more; what was taken is written and synced.
    pub fn close(&mut self, now: TimestampNs) {
        self.pay(now);
        self.closing = true;
        self.journal.close();
        let waiters = std::mem::take(&mut self.event_waiters);
        waiters.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// Whether the journal is closed and synced.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.journal.is_closed()
    }

    /// A position of the journal's log as an offset.
    #[must_use]
    pub const fn offset_of(position: LogPosition) -> Offset {
        Offset(position.0)
    }
}

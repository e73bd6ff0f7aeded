//! The second port: what HTTP asks of the flows, and nothing else.
//!
//! Purpose: the wiring implements [`Flows`] over the journal and its engines, a test implements it
//! over a few vectors, and neither side sees the other's types.
//!
//! Invariants
//! - U1: whatever takes something in ([`Flows::publish`], [`Flows::put_records`], every action)
//!   resolves to `Ok` only once it is durable, and takes all of it or nothing.
//! - U2: what is answered is bounded by the query's `limit`; the rest is had with `next`. A page
//!   is bounded by [`PAGE_BYTES_MAX`](crate::limits::PAGE_BYTES_MAX), too, but holds at least one row.
//! - U3: a future that is dropped (the caller went away) leaves nothing half done: either the
//!   action happens as a whole, or it does not.
//! - U4: no call waits for a target but [`Flows::request`].
//!
//! It deliberately knows no HTTP but the status that a failed request is answered with: no header,
//! no media type, no percent-encoding.

mod shapes;
mod words;

pub use shapes::{
    Alarm, AlarmLine, Attempt, AuditLine, Batch, DeadLetter, Delivery, Event, Flow, FlowDetail, LastError,
    LatencyBucket, Message, Period, Record, Run, SentRequest, Shelved, Step, Trace,
};
pub use words::{
    AlarmState, Breaker, DeadState, DeliveryState, FlowState, MessageKind, Noun, Pattern, Priority, RunCause,
    ShelveKind,
};

use crate::backend::Word;
use futures_util::future::BoxFuture;
use model::{Glob, TimestampNs};
use serde_json::{Map, Value};
use std::{fmt, time::Duration};

/// What every call of the port answers.
pub type FlowAnswer<T> = BoxFuture<'static, Result<T, FlowError>>;

/// One place that is wrong in what was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongPlace {
    /// Which of several documents or events, 0-based.
    pub item: Option<usize>,
    /// Where in it, as a JSON pointer (RFC 6901); empty for the whole.
    pub path: String,
    /// What is wrong, and what would be right.
    pub text: String,
}

/// Why nothing is taken in now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too much waits for the disk; try again in a moment.
    Busy,
    /// The disk is full or failing; goes on by itself when that is mended.
    Disk,
    /// A flow's backlog is at its limit; goes on when its target takes something.
    BacklogFull,
    /// Shutting down.
    Closed,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Busy => "too much waits for the disk; slow down and try again",
            Refusal::Disk => "the disk is full or failing; free space or replace it, Millstream goes on by itself",
            Refusal::BacklogFull => "a backlog is at its limit; GET /v1/flows says which target takes nothing",
            Refusal::Closed => "Millstream is shutting down",
        })
    }
}

/// A request that a system did not answer as it should, or that was kept from it.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestFailure {
    /// HTTP status for the caller: 400 to 599.
    pub status: u16,
    /// A stable name: `timeout`, `circuit-open`, `upstream-error`, `interlock`, `out-of-range`, …:
    /// lower-case letters, digits and hyphens.
    pub kind: Word,
    /// What happened, which system is at fault, and what to do.
    pub detail: String,
    /// The system at fault: a host, a source.
    pub system: String,
    /// What was called of it: method and URL, a tag, a method's name.
    pub target: String,
    /// The flow's name.
    pub flow: String,
    /// Milliseconds since the request came.
    pub elapsed_ms: u64,
    /// How often it was tried; 0 where it was not.
    pub attempt: u32,
    /// Seconds after which to try again, where that is known.
    pub retry_after: Option<u32>,
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq)]
pub enum FlowError {
    /// There is nothing of that name.
    NotFound {
        /// What was looked for.
        what: Noun,
        /// The name that was given.
        name: String,
        /// A known name that looks like it.
        nearest: Option<String>,
    },
    /// What was sent cannot be taken; nothing of it was.
    Invalid {
        /// What is wrong as a whole.
        detail: String,
        /// Each wrong place.
        errors: Vec<WrongPlace>,
    },
    /// It cannot be done in the state that the thing is in.
    Conflict {
        /// Which state that is, and what to do.
        detail: String,
    },
    /// Nothing is taken in now.
    Refused(Refusal),
    /// The caller may not do this.
    Forbidden {
        /// What it would need.
        detail: String,
    },
    /// A request failed at a system, or was kept from it.
    Request(Box<RequestFailure>),
    /// Too many calls wait; try again.
    Busy,
    /// The journal could not be read or written; what happened, in words.
    Failed(String),
    /// Millstream is shutting down.
    Closed,
}

impl fmt::Display for FlowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FlowError::NotFound { what, name, nearest: Some(near) } => {
                write!(f, "there is no {what} {name:?}; did you mean {near:?}?")
            }
            FlowError::NotFound { what, name, nearest: None } => write!(f, "there is no {what} {name:?}"),
            FlowError::Invalid { detail, .. } | FlowError::Conflict { detail } | FlowError::Forbidden { detail } => {
                f.write_str(detail)
            }
            FlowError::Refused(refusal) => refusal.fmt(f),
            FlowError::Request(failure) => f.write_str(&failure.detail),
            FlowError::Busy => f.write_str("too many calls wait for an answer; try again in a second"),
            FlowError::Failed(reason) => write!(f, "the journal could not be read or written: {reason}"),
            FlowError::Closed => f.write_str("Millstream is shutting down; try again when it is back"),
        }
    }
}

impl std::error::Error for FlowError {}

/// Who acts, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Who; `anonymous` where nobody said.
    pub by: String,
    /// What they wrote about it.
    pub comment: Option<String>,
}

/// Rows, and where to go on.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// What `after` is for the next page: text of the port's own, of letters, digits and `-._~@`;
    /// `None` at the end.
    pub next: Option<String>,
}

/// Which deliveries are wanted: newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveriesQuery {
    /// Of this flow.
    pub flow: Option<String>,
    /// In one of these states; empty for any.
    pub states: Vec<DeliveryState>,
    /// With this key.
    pub key: Option<String>,
    /// Of the message with this id.
    pub message: Option<String>,
    /// At most so many.
    pub limit: usize,
    /// Go on behind this place ([`Page::next`]).
    pub after: Option<String>,
}

/// Which dead letters are wanted: newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLettersQuery {
    /// Of this flow.
    pub flow: Option<String>,
    /// In this state.
    pub state: Option<DeadState>,
    /// At most so many.
    pub limit: usize,
    /// Go on behind this place ([`Page::next`]).
    pub after: Option<String>,
}

/// Which open dead letters to replay: all that fit; at least one of the three is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadFilter {
    /// Of this flow.
    pub flow: Option<String>,
    /// With this reason.
    pub reason: Option<String>,
    /// With this key.
    pub key: Option<String>,
}

/// Which alarms are wanted: most urgent first (priority, then unacknowledged, then newest).
#[derive(Clone, Debug)]
pub struct AlarmsQuery {
    /// In one of these states; empty for any.
    pub states: Vec<AlarmState>,
    /// Whose tag matches one of these; empty for any.
    pub globs: Vec<Glob>,
    /// At most so many.
    pub limit: usize,
}

/// What a person does to an alarm (ISA-18.2, OPC 10000-9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlarmAction {
    /// It was seen.
    Acknowledge,
    /// It was dealt with.
    Confirm,
    /// Set it aside for so long from now.
    ShelveFor(Duration),
    /// Set it aside until this time.
    ShelveUntil(TimestampNs),
    /// Set it aside until it clears.
    ShelveOnce,
    /// Take it off the shelf.
    Unshelve,
    /// Suppress it by hand.
    Suppress,
    /// No longer suppress it.
    Unsuppress,
    /// Take it out of service.
    OutOfService,
    /// Put it back into service.
    InService,
    /// Release it where it is latched.
    Reset,
}

/// Which lines of a journal are wanted: newest first, time in `[from, to)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinesQuery {
    /// Of this alarm; the audit has no such filter.
    pub id: Option<String>,
    /// From this time on.
    pub from: TimestampNs,
    /// Until just before this time.
    pub to: TimestampNs,
    /// At most so many, the newest.
    pub limit: usize,
}

/// Where to begin with events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventsFrom {
    /// At the oldest that is kept.
    Earliest,
    /// With what comes from now on.
    Now,
    /// At this offset, included.
    Offset(u64),
}

/// Which events are wanted: in the order of their offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventsQuery {
    /// Where to begin.
    pub from: EventsFrom,
    /// At most so many.
    pub limit: usize,
    /// Of this type only.
    pub kind: Option<String>,
}

/// Events that retention took before they were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventsGap {
    /// The offset that was asked for.
    pub from: u64,
    /// The oldest offset that is kept.
    pub to: u64,
}

/// Events, and where to go on.
#[derive(Clone, Debug, PartialEq)]
pub struct EventsPage {
    /// In the order of their offsets.
    pub events: Vec<Event>,
    /// Ask with this offset next. It moves on over entries that are no events or of another type,
    /// so it may move though no event is here; it stands still only where all has been read.
    pub next: u64,
    /// Set where the asked offset is older than what is kept.
    pub gap: Option<EventsGap>,
}

/// An event to be published.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// Its publisher's id; `None`: the port makes one.
    pub id: Option<String>,
    /// Where it happened.
    pub source: String,
    /// What happened.
    pub kind: String,
    /// What it is about.
    pub subject: Option<String>,
    /// When it happened; `None` means now.
    pub time: Option<TimestampNs>,
    /// 1 to 1000.
    pub severity: Option<u16>,
    /// Other attributes: names of lower-case letters and digits; texts, numbers or truth values.
    pub extensions: Map<String, Value>,
    /// What is known of it.
    pub data: Value,
}

/// What became of a published event.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Published {
    /// Its id.
    pub id: String,
    /// Its place in the journal; of a duplicate, that of the first.
    pub offset: u64,
    /// Whether it was there already (same source and id).
    pub duplicate: bool,
}

/// A request as it came in.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestCall {
    /// Name of the flow.
    pub name: String,
    /// What is asked.
    pub body: Value,
    /// The caller waits for so long; `None` means the flow's own time.
    pub wait: Option<Duration>,
    /// What makes a repetition recognisable.
    pub idempotency_key: Option<String>,
    /// Who asks.
    pub actor: Actor,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The mapped answer.
    pub body: Value,
    /// Id of the request's message, by which it can be traced.
    pub message: String,
    /// Set where the answer is a stored one: its age.
    pub stale: Option<Duration>,
}

/// Business documents to be taken in: all or none.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRecords {
    /// What they are.
    pub entity: String,
    /// The documents.
    pub documents: Vec<Value>,
    /// What makes a repetition of the whole recognisable.
    pub idempotency_key: Option<String>,
    /// Who sent them.
    pub actor: Actor,
}

/// What became of one document.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Written {
    /// What it is.
    pub entity: String,
    /// Which one.
    pub id: String,
    /// Its version; of a duplicate, that which was there.
    pub version: u64,
    /// Its place in the journal; of a duplicate, that of the first.
    pub offset: u64,
    /// Whether it was there already.
    pub duplicate: bool,
}

/// Which records are wanted: in the order of their offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordsQuery {
    /// What they are.
    pub entity: String,
    /// Which one.
    pub id: Option<String>,
    /// With this key.
    pub key: Option<String>,
    /// Taken in from this time on.
    pub from: Option<TimestampNs>,
    /// Taken in until just before this time.
    pub to: Option<TimestampNs>,
    /// Every version; else the latest of each id.
    pub all_versions: bool,
    /// At most so many.
    pub limit: usize,
    /// Go on behind this place ([`Page::next`]).
    pub after: Option<String>,
}

/// A run that a person asks for; the batch's last whole period where no time is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunBatch {
    /// Name of the batch.
    pub name: String,
    /// From this time on.
    pub from: Option<TimestampNs>,
    /// Until just before this time.
    pub to: Option<TimestampNs>,
    /// Who asks.
    pub actor: Actor,
}

/// Alarms in short.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlarmSummary {
    /// How many are in each state; states without any may be left out.
    pub states: Vec<(AlarmState, u64)>,
    /// How many of each priority are active or unacknowledged, those that are set aside left out.
    pub priorities: Vec<(Priority, u64)>,
    /// The most urgent that are not normal.
    pub list: Vec<Alarm>,
}

/// A flow as the metrics show it.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowMeasure {
    /// The flow.
    pub flow: Flow,
    /// How long its deliveries took since the start; by bound, the unbounded one last.
    pub latency: Vec<LatencyBucket>,
    /// All of them together, in milliseconds.
    pub latency_sum_ms: f64,
}

/// The journal as the metrics show it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalMeasure {
    /// Bytes on disk.
    pub bytes: u64,
    /// Segment files.
    pub segments: u64,
    /// The oldest offset that is kept.
    pub first: u64,
    /// The offset that the next entry gets.
    pub next: u64,
    /// Everything before this offset is settled for every flow.
    pub settled: u64,
}

/// Everything that the metrics show of the flows, seen at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measures {
    /// Every flow of the port.
    pub flows: Vec<FlowMeasure>,
    /// How many alarms are in each state.
    pub alarms: Vec<(AlarmState, u64)>,
    /// The journal.
    pub journal: JournalMeasure,
}

/// What HTTP asks of the flows. One for the process; its calls come from any shard. Every call may
/// end with [`FlowError::Busy`], [`FlowError::Failed`] or [`FlowError::Closed`]; what else may
/// happen stands with each.
pub trait Flows: Send + Sync + 'static {
    /// Every flow but telemetry, in the order of the configuration.
    fn flows(&self) -> FlowAnswer<Vec<Flow>>;

    /// One flow. [`FlowError::NotFound`].
    fn flow(&self, name: String) -> FlowAnswer<FlowDetail>;

    /// Stops a flow's deliveries; what comes waits. A flow that is paused already stays so.
    /// [`FlowError::NotFound`], [`FlowError::Conflict`].
    fn pause(&self, name: String, actor: Actor) -> FlowAnswer<Flow>;

    /// Lets a flow go on. [`FlowError::NotFound`], [`FlowError::Conflict`].
    fn resume(&self, name: String, actor: Actor) -> FlowAnswer<Flow>;

    /// Deliveries. [`FlowError::NotFound`] where the flow is unknown.
    fn deliveries(&self, query: DeliveriesQuery) -> FlowAnswer<Page<Delivery>>;

    /// Dead letters. [`FlowError::NotFound`] where the flow is unknown.
    fn dead_letters(&self, query: DeadLettersQuery) -> FlowAnswer<Page<DeadLetter>>;

    /// One dead letter. [`FlowError::NotFound`].
    fn dead_letter(&self, id: String) -> FlowAnswer<DeadLetter>;

    /// Delivers a dead letter again with the present configuration, with another message body
    /// where one is given; answers it as it is then. [`FlowError::NotFound`],
    /// [`FlowError::Conflict`] where it is discarded or its replay is under way,
    /// [`FlowError::Invalid`] for the body.
    fn replay(&self, id: String, body: Option<Value>, actor: Actor) -> FlowAnswer<DeadLetter>;

    /// Delivers all that fit again; answers how many. [`FlowError::NotFound`] where the flow is
    /// unknown.
    fn replay_all(&self, filter: DeadFilter, actor: Actor) -> FlowAnswer<u64>;

    /// Puts a dead letter away. [`FlowError::NotFound`], [`FlowError::Conflict`].
    fn discard(&self, id: String, actor: Actor) -> FlowAnswer<DeadLetter>;

    /// A message by its id. [`FlowError::NotFound`].
    fn trace(&self, message: String) -> FlowAnswer<Trace>;

    /// Every batch with its latest runs, in the order of the configuration.
    fn batches(&self) -> FlowAnswer<Vec<Batch>>;

    /// Runs a batch now. [`FlowError::NotFound`], [`FlowError::Conflict`] (one is running),
    /// [`FlowError::Invalid`] (the time).
    fn run_batch(&self, run: RunBatch) -> FlowAnswer<Run>;

    /// Alarms.
    fn alarms(&self, query: AlarmsQuery) -> FlowAnswer<Vec<Alarm>>;

    /// Counts of alarms, and the `top` most urgent.
    fn alarm_summary(&self, top: usize) -> FlowAnswer<AlarmSummary>;

    /// Does something to an alarm; answers it as it is then. [`FlowError::NotFound`],
    /// [`FlowError::Conflict`] where its state does not allow it, [`FlowError::Invalid`] for a
    /// shelf that lasts too long.
    fn act(&self, id: String, action: AlarmAction, actor: Actor) -> FlowAnswer<Alarm>;

    /// Lines of the alarm journal. [`FlowError::NotFound`] where the alarm is unknown.
    fn alarm_journal(&self, query: LinesQuery) -> FlowAnswer<Vec<AlarmLine>>;

    /// Events by offset.
    fn events(&self, query: EventsQuery) -> FlowAnswer<EventsPage>;

    /// Resolves once an event may stand at `next` ([`EventsPage::next`]) or behind it; at once
    /// where one does already. May resolve without one.
    fn wait_events(&self, next: u64) -> FlowAnswer<()>;

    /// Publishes events: all or none; one answer for each, in order. The pair of source and id
    /// makes an event once in effect. [`FlowError::Invalid`], [`FlowError::Refused`].
    fn publish(&self, events: Vec<NewEvent>, actor: Actor) -> FlowAnswer<Vec<Published>>;

    /// Asks a system, or reads or writes a device, and waits for the answer.
    /// [`FlowError::NotFound`], [`FlowError::Invalid`], [`FlowError::Forbidden`],
    /// [`FlowError::Request`], [`FlowError::Refused`].
    fn request(&self, call: RequestCall) -> FlowAnswer<Reply>;

    /// Takes documents in: all or none; one answer for each, in order. [`FlowError::NotFound`]
    /// where the entity is unknown, [`FlowError::Invalid`] with each place that breaks the schema,
    /// [`FlowError::Conflict`] where the idempotency key stood for other documents,
    /// [`FlowError::Refused`].
    fn put_records(&self, records: NewRecords) -> FlowAnswer<Vec<Written>>;

    /// Documents. [`FlowError::NotFound`] where the entity is unknown.
    fn records(&self, query: RecordsQuery) -> FlowAnswer<Page<Record>>;

    /// Who did what.
    fn audit(&self, query: LinesQuery) -> FlowAnswer<Vec<AuditLine>>;

    /// What the metrics show.
    fn measures(&self) -> FlowAnswer<Measures>;
}

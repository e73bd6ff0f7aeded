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

mod asks;
mod shapes;
mod words;

pub use asks::{
    Actor, AlarmAction, AlarmSummary, AlarmsQuery, DeadFilter, DeadLettersQuery, DeliveriesQuery, EventsFrom,
    EventsGap, EventsPage, EventsQuery, FlowMeasure, JournalMeasure, LinesQuery, Measures, NewEvent, NewRecords, Page,
    Published, RecordsQuery, Reply, RequestCall, RunBatch, Written,
};
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
use serde_json::Value;
use std::fmt;

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
    /// Further members of the problem, by name: what came of each point of a write, say.
    pub more: Vec<(&'static str, serde_json::Value)>,
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

    /// Delivers a dead letter again with the present configuration; a `body` goes out as it stands,
    /// in place of what the mapping would make. Answers it as it is then. [`FlowError::NotFound`],
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
    /// [`FlowError::Refused`]. A document's own id makes it once in effect.
    fn put_records(&self, records: NewRecords) -> FlowAnswer<Vec<Written>>;

    /// Documents. [`FlowError::NotFound`] where the entity is unknown.
    fn records(&self, query: RecordsQuery) -> FlowAnswer<Page<Record>>;

    /// Who did what.
    fn audit(&self, query: LinesQuery) -> FlowAnswer<Vec<AuditLine>>;

    /// Has a business system of the demo's plant behave in a way; answers what it says to that.
    /// [`FlowError::NotFound`] where there is no such system, or no demo.
    fn demo(&self, system: String, _order: Value) -> FlowAnswer<Value> {
        Box::pin(async move { Err(FlowError::NotFound { what: Noun::System, name: system, nearest: None }) })
    }

    /// What the metrics show.
    fn measures(&self) -> FlowAnswer<Measures>;
}

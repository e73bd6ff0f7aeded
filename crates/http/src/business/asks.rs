//! What the flows are asked, and what they answer in pages and sums.

use super::{
    shapes::{Alarm, Event, Flow, LatencyBucket},
    words::{AlarmState, DeadState, DeliveryState, Priority},
};
use model::{Glob, TimestampNs};
use serde::Serialize;
use serde_json::{Map, Value};
use std::time::Duration;

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

/// Offsets that are not kept: retention took them before they were read. An asked offset beyond
/// the journal's end belongs to another journal (a restored one, say): that is a gap, too, with
/// `from` above `to`, and what is kept follows from its start.
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
    /// Set where the asked offset is not kept.
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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

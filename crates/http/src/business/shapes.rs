//! What the flows' calls answer: plain data whose fields are those of the API's JSON.
//!
//! Times are written in RFC 3339 and `null` where unknown; a body is whatever JSON it was.

use super::words::{
    AlarmState, Breaker, DeadState, DeliveryState, FlowState, MessageKind, Pattern, Priority, RunCause, ShelveKind,
};
use crate::backend::Word;
use model::TimestampNs;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

fn time<S: Serializer>(time: &TimestampNs, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

fn maybe<S: Serializer>(time: &Option<TimestampNs>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(time),
        None => serializer.serialize_none(),
    }
}

/// Something that went wrong, and when.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LastError {
    /// When.
    #[serde(serialize_with = "time")]
    pub time: TimestampNs,
    /// What happened and what to look at.
    pub text: String,
}

/// A flow and how it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Flow {
    /// Its name, unique over all patterns.
    pub name: String,
    /// What it does.
    pub pattern: Pattern,
    /// How it is.
    pub state: FlowState,
    /// Why it is so, in words; empty while it runs.
    pub reason: String,
    /// Since when it is so.
    #[serde(serialize_with = "maybe")]
    pub since: Option<TimestampNs>,
    /// Where it delivers to, or is met.
    pub target: String,
    /// Deliveries (samples, for telemetry) in a second, over the last minute.
    pub rate: Option<f64>,
    /// Half of the deliveries took at most so many milliseconds.
    pub p50_ms: Option<f64>,
    /// 99 % took at most so many.
    pub p99_ms: Option<f64>,
    /// The longest.
    pub max_ms: Option<f64>,
    /// Deliveries that are not settled.
    pub backlog: u64,
    /// Of them, those that are being tried.
    pub in_flight: u64,
    /// Of them, those that wait for another try.
    pub retrying: u64,
    /// Of them, those of which nobody knows whether they took effect.
    pub in_doubt: u64,
    /// When the oldest of them was published.
    #[serde(serialize_with = "maybe")]
    pub oldest: Option<TimestampNs>,
    /// Delivered so far.
    pub delivered: u64,
    /// Attempts that failed so far.
    pub attempts_failed: u64,
    /// Dead letters that nobody has seen to.
    pub dead: u64,
    /// Expired so far.
    pub expired: u64,
    /// Superseded so far.
    pub superseded: u64,
    /// Its circuit breaker, where it has one.
    pub breaker: Option<Breaker>,
    /// What went wrong last.
    pub last_error: Option<LastError>,
    /// When a delivery last succeeded.
    #[serde(serialize_with = "maybe")]
    pub last_success: Option<TimestampNs>,
    /// Who paused it, while it is paused.
    pub paused_by: Option<String>,
    /// Rates of the last minutes, oldest first.
    pub spark: Vec<f64>,
}

/// One bucket of a latency histogram.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LatencyBucket {
    /// Its upper bound in milliseconds; `None` for what is longer than all others.
    pub le_ms: Option<f64>,
    /// How many lie in this bucket alone.
    pub count: u64,
}

/// A flow with everything about it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FlowDetail {
    /// The flow.
    #[serde(flatten)]
    pub flow: Flow,
    /// Its definition as configured, without secrets.
    pub definition: Value,
    /// How long deliveries took, from publication to success; by bound, the unbounded one last.
    pub latency: Vec<LatencyBucket>,
    /// Its newest deliveries and those that are not settled, newest first; at most
    /// [`DELIVERIES_SHOWN_MAX`](crate::limits::DELIVERIES_SHOWN_MAX).
    pub deliveries: Vec<Delivery>,
}

/// One try of a delivery.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Attempt {
    /// 1 for the first.
    pub number: u32,
    /// When it began.
    #[serde(serialize_with = "time")]
    pub at: TimestampNs,
    /// Milliseconds until its outcome was known.
    pub took_ms: Option<f64>,
    /// How it ended, in a word or two, e.g. `delivered`, `503`, `timeout`.
    pub outcome: Word,
    /// An excerpt of the other side's answer.
    pub answer: Option<String>,
    /// What went wrong, in words.
    pub error: Option<String>,
    /// What was sent: method and URL, or a topic.
    pub sent: String,
    /// Whether it asked if an earlier try took effect, instead of sending again.
    pub probe: bool,
}

/// One message to one flow's target.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Delivery {
    /// `flow@offset`, or `flow@offset.replay`.
    pub id: String,
    /// Its flow.
    pub flow: String,
    /// Id of its message.
    pub message: String,
    /// The message's place in the journal.
    pub offset: u64,
    /// What the message belongs to: an event's type, a record's entity, a tag, a batch.
    pub stream: String,
    /// What orders it.
    pub key: Option<String>,
    /// Where it stands.
    pub state: DeliveryState,
    /// When its message was published.
    #[serde(serialize_with = "time")]
    pub created: TimestampNs,
    /// When it last changed.
    #[serde(serialize_with = "time")]
    pub updated: TimestampNs,
    /// When it is tried again.
    #[serde(serialize_with = "maybe")]
    pub next_attempt: Option<TimestampNs>,
    /// What the target recognises it by, the same on every try.
    pub idempotency_key: String,
    /// Its tries, oldest first.
    pub attempts: Vec<Attempt>,
}

/// What was sent to a target, as it can be shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SentRequest {
    /// Method, or what stands for it.
    pub method: String,
    /// URL or topic, without secrets.
    pub url: String,
    /// Media type of the body.
    pub content_type: String,
    /// The body: JSON as it is, anything else as text.
    pub body: Value,
}

/// A delivery that was given up.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeadLetter {
    /// Id of the delivery: `flow@offset`, or `flow@offset.replay`.
    pub id: String,
    /// Its flow.
    pub flow: String,
    /// Id of its message.
    pub message: String,
    /// The message's place in the journal.
    pub offset: u64,
    /// What the message belongs to.
    pub stream: String,
    /// What orders it.
    pub key: Option<String>,
    /// When it was given up.
    #[serde(serialize_with = "time")]
    pub time: TimestampNs,
    /// Why, e.g. `rejected`, `attempts`, `expired`, `mapping`.
    pub reason: String,
    /// What was sent last, where anything was.
    pub request: Option<SentRequest>,
    /// The message's body.
    pub message_body: Value,
    /// All tries, oldest first.
    pub attempts: Vec<Attempt>,
    /// The expression that failed, where a mapping did.
    pub expression: Option<String>,
    /// What it was given.
    pub input: Option<Value>,
    /// What became of it.
    pub state: DeadState,
    /// Ids of the deliveries that repeated it.
    pub replays: Vec<String>,
    /// Who decided on it.
    pub by: Option<String>,
}

/// How an alarm is shelved.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shelved {
    /// In which way.
    pub kind: ShelveKind,
    /// Until when; a one-shot shelf has its longest time here.
    #[serde(serialize_with = "maybe")]
    pub until: Option<TimestampNs>,
    /// By whom.
    pub by: String,
}

/// An alarm (ISA-18.2, OPC 10000-9).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alarm {
    /// `rule/tag path`: holds slashes.
    pub id: String,
    /// The rule that raises it.
    pub rule: String,
    /// The tag that it looks at.
    pub tag: String,
    /// Type of the event that it publishes.
    pub event: String,
    /// 1 to 1000 (OPC 10000-9 section 5.2).
    pub severity: u16,
    /// How soon it needs a person.
    pub priority: Priority,
    /// The state that it is shown in.
    pub state: AlarmState,
    /// Whether its condition holds.
    pub active: bool,
    /// Whether a person has seen it.
    pub acknowledged: bool,
    /// Whether a person has confirmed that it was dealt with.
    pub confirmed: bool,
    /// Whether it stays active until it is reset.
    pub latched: bool,
    /// Its shelf, where it is shelved.
    pub shelved: Option<Shelved>,
    /// Whether it is suppressed.
    pub suppressed: bool,
    /// Whether it is out of service.
    pub out_of_service: bool,
    /// The value that raised it.
    pub value: Value,
    /// What it says.
    pub message: String,
    /// Since when it is active; of one that is not, since when it last was.
    #[serde(serialize_with = "maybe")]
    pub since: Option<TimestampNs>,
    /// When it cleared.
    #[serde(serialize_with = "maybe")]
    pub cleared: Option<TimestampNs>,
    /// How often it became active.
    pub count: u64,
    /// When it last changed in any way.
    #[serde(serialize_with = "time")]
    pub last_change: TimestampNs,
    /// Who last acted on it.
    pub by: Option<String>,
    /// What that person wrote.
    pub comment: Option<String>,
}

/// One line of the alarm journal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlarmLine {
    /// When.
    #[serde(serialize_with = "time")]
    pub time: TimestampNs,
    /// Its place in the journal.
    pub offset: u64,
    /// Which alarm.
    pub id: String,
    /// Its rule.
    pub rule: String,
    /// Its tag.
    pub tag: String,
    /// What happened, e.g. `activated`, `cleared`, `acknowledged`, `shelved`.
    pub what: Word,
    /// The state after it.
    pub state: AlarmState,
    /// The value at that time.
    pub value: Value,
    /// Who did it; `None` where the plant did.
    pub by: Option<String>,
    /// What that person wrote.
    pub comment: Option<String>,
}

/// An event as CloudEvents 1.0 JSON; `offset` and `severity` are extension attributes of ours.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// `1.0`.
    pub specversion: &'static str,
    /// Unique together with the source.
    pub id: String,
    /// Where it happened.
    pub source: String,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When it happened.
    #[serde(serialize_with = "time")]
    pub time: TimestampNs,
    /// `application/json`.
    pub datacontenttype: &'static str,
    /// Its place in the journal.
    pub offset: u64,
    /// 1 to 1000, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<u16>,
    /// Other attributes that its publisher gave to it.
    #[serde(flatten)]
    pub extensions: Map<String, Value>,
    /// What is known of it.
    pub data: Value,
}

/// A version of a business document.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Record {
    /// What it is.
    pub entity: String,
    /// Which one.
    pub id: String,
    /// 1 for the first.
    pub version: u64,
    /// When it was taken in.
    #[serde(serialize_with = "time")]
    pub time: TimestampNs,
    /// Its place in the journal.
    pub offset: u64,
    /// What orders it.
    pub key: Option<String>,
    /// The document.
    pub body: Value,
}

/// The time that a batch covers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Period {
    /// From here on.
    #[serde(serialize_with = "time")]
    pub from: TimestampNs,
    /// Until just before this.
    #[serde(serialize_with = "time")]
    pub to: TimestampNs,
    /// What people call it, e.g. `2026-01-31 early`.
    pub label: String,
}

/// One run of a batch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// Its batch.
    pub batch: String,
    /// What it covers.
    pub period: Period,
    /// Why it ran.
    pub cause: RunCause,
    /// The run that it corrects.
    pub correction_of: Option<String>,
    /// Counts the batch's documents; the receiver sees a gap by it.
    pub sequence: u64,
    /// When it was made.
    #[serde(serialize_with = "time")]
    pub created: TimestampNs,
    /// Rows of its document.
    pub rows: u64,
    /// Control totals: sums by column.
    pub totals: Map<String, Value>,
    /// Bytes of its document.
    pub bytes: u64,
    /// SHA-256 of its document, hexadecimal.
    pub sha256: String,
    /// Id of its delivery.
    pub delivery: Option<String>,
    /// Where that delivery stands.
    pub state: Option<DeliveryState>,
    /// What was compared, and what did not agree.
    pub reconciliation: Value,
}

/// A batch and its runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Batch {
    /// Its name.
    pub name: String,
    /// When it runs, as configured.
    pub at: String,
    /// When it runs next.
    #[serde(serialize_with = "maybe")]
    pub next: Option<TimestampNs>,
    /// Entities whose records it holds.
    pub records: Vec<String>,
    /// Rollups that it holds, as configured.
    pub rollups: Vec<Value>,
    /// `csv` or `json`.
    pub format: String,
    /// Where it goes.
    pub target: String,
    /// How it is.
    pub state: FlowState,
    /// Its latest runs, newest first; at most [`RUNS_SHOWN_MAX`](crate::limits::RUNS_SHOWN_MAX).
    pub runs: Vec<Run>,
}

/// A message as it was published.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// Its place in the journal.
    pub offset: u64,
    /// What it belongs to.
    pub stream: String,
    /// What it is.
    pub kind: MessageKind,
    /// What orders it.
    pub key: Option<String>,
    /// When it was published.
    #[serde(serialize_with = "time")]
    pub time: TimestampNs,
    /// Where it came from.
    pub source: String,
    /// What it says.
    pub body: Value,
}

/// Something that happened to a message.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// When.
    #[serde(serialize_with = "time")]
    pub time: TimestampNs,
    /// What, in a word or two, e.g. `accepted`, `committed`, `matched`.
    pub what: Word,
    /// More about it, in words.
    pub detail: String,
}

/// A message from its arrival to every delivery.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trace {
    /// The message.
    pub message: Message,
    /// What happened to it, oldest first.
    pub steps: Vec<Step>,
    /// Its deliveries, by flow.
    pub deliveries: Vec<Delivery>,
}

/// Who did what.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AuditLine {
    /// When.
    #[serde(serialize_with = "time")]
    pub time: TimestampNs,
    /// Who.
    pub who: String,
    /// What, e.g. `pause`, `replay`, `device write`, `acknowledge`.
    pub what: Word,
    /// On which flow, where it was one.
    pub flow: Option<String>,
    /// On what else: a tag, an alarm, a delivery.
    pub target: Option<String>,
    /// How it was.
    pub before: Value,
    /// How it became.
    pub after: Value,
    /// `done`, or why not.
    pub outcome: String,
}

//! Runtime types of deliveries: subscribers, synchronisation, forwarding, and how they are tried.
//!
//! Expressions are CEL (Common Expression Language) and stay text here; they were compiled once to
//! see that they can be.

use std::time::Duration;

use crate::Target;

/// `[[subscriber]]`: one receiver of an event, with a cursor of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscriber {
    /// Name, unique among flows.
    pub name: String,
    /// Name of the event.
    pub event: String,
    /// Where a new subscriber begins. Default: now.
    pub from: StartAt,
    /// Only events for which this expression over `event` is true.
    pub when: Option<String>,
    /// Expression over `event` whose value orders deliveries: order is kept per key. Default
    /// `event.source`.
    pub key: String,
    /// Receiver.
    pub to: Target,
    /// Expression over `event` that makes the body; without it the whole event is sent.
    pub body: Option<String>,
    /// How a delivery is tried again.
    pub retry: Retry,
    /// Circuit breaker of the receiver.
    pub breaker: Breaker,
    /// Deadline of one try. Default 10 s.
    pub timeout: Duration,
    /// Age at which an undelivered event goes to the dead letters; `None`: never by age. Longer
    /// than `timeout`.
    pub expire: Option<Duration>,
    /// Most deliveries of the backlog that begin per second, 1 to 100,000. Default 1000.
    pub drain_rate: u32,
    /// Deliveries that are held in memory at once, 64 to 65,536; what is beyond waits in the
    /// journal. Default 4096.
    pub window: u32,
}

/// Where a cursor begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// With the next event.
    Now,
    /// With the oldest event that is still kept.
    Earliest,
    /// With the event of this offset.
    Offset(u64),
}

/// How a delivery is tried again: waits double from `first` to `max`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Most tries before the dead letters. Default 12.
    pub attempts: u32,
    /// Wait after the first failure. Default 500 ms.
    pub first: Duration,
    /// Longest wait. Default 1 min.
    pub max: Duration,
}

/// When a circuit opens, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    /// Failures in a row that open it. Default 5.
    pub failures: u32,
    /// Time that it stays open before one call tries. Default 10 s.
    pub open: Duration,
    /// The longest that this time grows to while the calls that try fail; it doubles each time.
    /// Default 5 min, or `open` where that is longer.
    pub open_max: Duration,
}

/// `[[sync]]`: keeps another system in step with records, tags or events.
#[derive(Debug, Clone, PartialEq)]
pub struct Sync {
    /// Name, unique among flows.
    pub name: String,
    /// What sets it off. Its expressions are over `record`, over `tag`, `value`, `quality` and
    /// `time`, or over `event`.
    pub on: SyncOn,
    /// Expression whose value orders deliveries: order is kept per key. `None`: the record's `key`
    /// field (or else its id), the tag, or the event's source.
    pub key: Option<String>,
    /// Does only the newest state of a key go out? Default false.
    pub coalesce: bool,
    /// Only where this expression is true.
    pub when: Option<String>,
    /// Receiver.
    pub to: Target,
    /// Expression that makes the body.
    pub body: Option<String>,
    /// How a delivery is tried again.
    pub retry: Retry,
    /// Circuit breaker of the receiver.
    pub breaker: Breaker,
    /// Deadline of one try. Default 10 s.
    pub timeout: Duration,
    /// Age at which what is undelivered goes to the dead letters. Longer than `timeout`.
    pub expire: Option<Duration>,
    /// Most deliveries of the backlog that begin per second, 1 to 100,000. Default 1000.
    pub drain_rate: u32,
    /// Deliveries that are held in memory at once, 64 to 65,536. Default 4096.
    pub window: u32,
    /// How a delivery that was sent and not answered is settled; `None`: by sending it again. Only
    /// with an HTTP target.
    pub probe: Option<Probe>,
    /// Regular comparison of both sides. Only with `on = { record = … }`.
    pub reconcile: Option<Reconcile>,
}

/// What sets a sync off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyncOn {
    /// A document of this record.
    Record(String),
    /// A new value of the tags that this glob matches.
    Tag(String),
    /// An event of this name.
    Event(String),
}

/// The question whether something that was sent and not answered took effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Template of the URL over the message: the fields of the record or event, or `tag`, `value`,
    /// `quality` and `time`.
    pub url: String,
    /// GET (default), HEAD or POST.
    pub method: String,
    /// Expression over `status` and `answer` that is true when it took effect.
    pub done: String,
}

/// Regular comparison of what was sent with what the other side has, per key.
#[derive(Debug, Clone, PartialEq)]
pub struct Reconcile {
    /// How often. Default 1 h.
    pub every: Duration,
    /// Template of the URL that is asked with GET; its one field is `{key}`.
    pub url: String,
    /// Expression over `answer` that makes what the other side has.
    pub theirs: String,
    /// What this side has.
    pub ours: Ours,
    /// Difference of two numbers up to which they are the same. Default 0.
    pub tolerance: f64,
    /// What happens with a difference. Default: it is reported.
    pub repair: Repair,
    /// Keys with a delivery under way, or one younger than this, are left for the next time.
    /// Default 1 min.
    pub settle: Duration,
}

/// What this side has of a key, as an expression over `record`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ours {
    /// The sum of this number over all records of the key.
    Sum(String),
    /// This value of the key's newest record.
    Last(String),
}

/// What happens with a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// It is reported.
    Report,
    /// It is reported, and the key's records are sent again under the idempotency keys that they had.
    Resend,
}

/// `[[forward]]`: frames and events to a site above this one.
#[derive(Debug, Clone, PartialEq)]
pub struct Forward {
    /// Unique name among forwards.
    pub name: String,
    /// Which tags. Default: all.
    pub match_: String,
    /// Are events forwarded, too? Default true.
    pub events: bool,
    /// NATS or MQTT.
    pub to: Target,
}

//! Runtime types of the business side: events, requests, records, synchronisation, batch, shifts
//! and forwarding.
//!
//! Expressions are CEL (Common Expression Language) and stay text here.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::problem::Invalid;
use crate::{Aggregate, Target};

/// `[[subscriber]]`: one receiver of an event, with a cursor of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscriber {
    /// Unique name among subscribers.
    pub name: String,
    /// Name of the event.
    pub event: String,
    /// Where a new subscriber begins. Default: now.
    pub from: StartAt,
    /// Only events for which this expression over `event` is true.
    pub when: Option<String>,
    /// Receiver.
    pub to: Target,
    /// Expression that makes the body; without it the whole event is sent.
    pub body: Option<String>,
    /// How a delivery is tried again.
    pub retry: Retry,
    /// Deadline of one try. Default 10 s.
    pub timeout: Duration,
    /// Age at which an undelivered event goes to the dead letters; `None`: never by age.
    pub expire: Option<Duration>,
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
}

/// `[[request]]`: request/reply, to a system or to a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Unique name among requests; `POST /v1/requests/{name}`.
    pub name: String,
    /// What a call does.
    pub action: RequestAction,
    /// Longest time for an answer. Default 5 s.
    pub timeout: Duration,
    /// Calls that may be under way at once. Default 64.
    pub max_in_flight: u32,
    /// Circuit breaker.
    pub breaker: Breaker,
    /// Least role that may call. Default: operator.
    pub role: Role,
    /// Expression that makes the body; without it the caller's body is passed on.
    pub body: Option<String>,
    /// An answer up to this old may stand in, marked as such, while the other side is down;
    /// `None`: never.
    pub cache: Option<Duration>,
}

/// What a request does.
#[derive(Debug, Clone, PartialEq)]
pub enum RequestAction {
    /// Asks a system.
    Call(Target),
    /// Writes to a device.
    Write(DeviceWrite),
}

/// A write to one tag of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceWrite {
    /// Name of the source.
    pub source: String,
    /// The tag, relative to the source's path: `setpoint`, or `meter1/limit` with units.
    pub tag: String,
    /// Lowest and highest value that may be written; `None` only for bool and text.
    pub range: Option<[f64; 2]>,
    /// Read back within this time and compare; `None`: don't.
    pub read_back: Option<Duration>,
}

/// Roles, from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Reads.
    Viewer,
    /// Acknowledges, requests.
    Operator,
    /// Configures flows, replays.
    Engineer,
    /// Everything.
    Admin,
}

/// `[[record]]`: a kind of business document.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Unique name among records; `POST /v1/records/{name}`.
    pub name: String,
    /// Field whose value identifies a document.
    pub id: String,
    /// JSON Schema that documents must satisfy.
    pub schema: Option<serde_json::Value>,
}

/// `[[sync]]`: keeps another system in step with records or tags.
#[derive(Debug, Clone, PartialEq)]
pub struct Sync {
    /// Unique name among syncs.
    pub name: String,
    /// What sets it off.
    pub on: SyncOn,
    /// Expression whose value orders deliveries: order is kept per key. `None`: the record's id,
    /// or the tag.
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
    /// Deadline of one try. Default 10 s.
    pub timeout: Duration,
    /// Age at which what is undelivered goes to the dead letters.
    pub expire: Option<Duration>,
}

/// What sets a sync off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyncOn {
    /// A document of this record.
    Record(String),
    /// A new value of the tags that this glob matches.
    Tag(String),
}

/// `[[batch]]`: what gathered over a time goes out as one document.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Unique name among batches.
    pub name: String,
    /// When it runs.
    pub at: BatchAt,
    /// Wait after that time for late records. Default 0.
    pub delay: Duration,
    /// Records that go in.
    pub records: Vec<String>,
    /// Rollup figures that go in.
    pub rollups: Vec<BatchRollup>,
    /// Fields by which rows are summed up.
    pub group_by: Vec<String>,
    /// Format of the document. Default CSV.
    pub format: BatchFormat,
    /// Receiver.
    pub to: Target,
    /// How a delivery is tried again.
    pub retry: Retry,
    /// Deadline of one try. Default 1 min.
    pub timeout: Duration,
}

/// When a batch runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchAt {
    /// At the end of each `[[shift]]`.
    ShiftEnd,
    /// A cron expression of five fields, in the server's time zone.
    Cron(String),
}

/// Figures of a batch that come from rollups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRollup {
    /// Which tags.
    pub match_: String,
    /// Which figure.
    pub aggregate: Aggregate,
}

/// Format of a batch's document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchFormat {
    /// RFC 4180.
    Csv,
    /// One JSON document.
    Json,
    /// Apache Parquet.
    Parquet,
}

/// `[[shift]]`: a part of the working day, in the server's time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shift {
    /// Unique name among shifts.
    pub name: String,
    /// Wall-clock time at which it begins.
    pub start: TimeOfDay,
    /// Wall-clock time at which it ends, on the next day if not after `start`.
    pub end: TimeOfDay,
    /// Days on which it begins. Default: every day.
    pub days: Vec<Day>,
}

/// Wall-clock time, `HH:MM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay {
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
}

/// Day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Day {
    /// Monday
    Mon,
    /// Tuesday
    Tue,
    /// Wednesday
    Wed,
    /// Thursday
    Thu,
    /// Friday
    Fri,
    /// Saturday
    Sat,
    /// Sunday
    Sun,
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

impl FromStr for TimeOfDay {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let two = |part: &str| {
            let digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
            if digits { part.parse::<u8>().ok() } else { None }
        };
        let time = text.split_once(':').and_then(|(hour, minute)| Some((two(hour)?, two(minute)?)));
        match time {
            Some((hour, minute)) if hour < 24 && minute < 60 => Ok(Self { hour, minute }),
            _ => Err(Invalid::new(format!("{text:?} is no time of day"), "write HH:MM, \"00:00\" to \"23:59\"")),
        }
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.hour, self.minute)
    }
}

/// The fields of a cron expression: name, lowest, highest, words from the lowest on.
const CRON: [(&str, u8, u8, &[&str]); 5] = [
    ("minute", 0, 59, &[]),
    ("hour", 0, 23, &[]),
    ("day of the month", 1, 31, &[]),
    ("month", 1, 12, &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
    ("day of the week", 0, 7, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
];

impl FromStr for BatchAt {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text == "shift-end" {
            return Ok(Self::ShiftEnd);
        }
        let right = "write \"shift-end\", or five cron fields (minute hour day month weekday), for instance \"0 6 * * mon-fri\"";
        let bad = |what: String| Err(Invalid::new(format!("{text:?} {what}"), right));
        let fields: Vec<&str> = text.split_ascii_whitespace().take(CRON.len() + 1).collect();
        if fields.len() != CRON.len() {
            return bad("is neither shift-end nor a cron expression of five fields".to_owned());
        }
        for (field, (name, low, high, words)) in fields.iter().zip(CRON) {
            if !field.split(',').all(|part| cron_part(part, low, high, words)) {
                return bad(format!("has {field:?} as {name}, which is {low} to {high}"));
            }
        }
        Ok(Self::Cron(fields.join(" ")))
    }
}

/// `*`, `5`, `1-5`, each with an optional `/step`.
fn cron_part(part: &str, low: u8, high: u8, words: &[&str]) -> bool {
    let (span, step) = match part.split_once('/') {
        Some((span, step)) => (span, Some(step)),
        None => (part, None),
    };
    let number = |text: &str| -> Option<u8> {
        let word = words.iter().position(|word| word.eq_ignore_ascii_case(text));
        let value = match word {
            Some(index) => low + u8::try_from(index).ok()?,
            None if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok()?,
            None => return None,
        };
        (low..=high).contains(&value).then_some(value)
    };
    let steps =
        |text: &str| text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u8>().is_ok_and(|n| n > 0 && n <= high);
    let whole = match span.split_once('-') {
        _ if span == "*" => true,
        Some((from, to)) => matches!((number(from), number(to)), (Some(from), Some(to)) if from <= to),
        None => number(span).is_some() && step.is_none(),
    };
    whole && step.is_none_or(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_read() {
        for right in ["shift-end", "0 6 * * *", "*/15 * * * mon-fri", "0,30 6-22/2 1 JAN 0"] {
            assert!(right.parse::<BatchAt>().is_ok(), "{right}");
        }
        for wrong in [
            "",
            "shift",
            "60 * * * *",
            "* * * *",
            "* * * * * *",
            "5-1 * * * *",
            "*/0 * * * *",
            "x * * * *",
            "+5 * * * *",
        ] {
            assert!(wrong.parse::<BatchAt>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_of_day_are_read() {
        assert_eq!("06:30".parse(), Ok(TimeOfDay { hour: 6, minute: 30 }));
        for wrong in ["", "6:30", "24:00", "12:60", "12-30", "+1:00", "12:30:00"] {
            assert!(wrong.parse::<TimeOfDay>().is_err(), "{wrong}");
        }
    }
}

//! Runtime types of business documents and of what gathers them: records, batches and shifts.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::problem::Invalid;
use crate::{Aggregate, Breaker, Retry, Target};

/// `[[record]]`: a kind of business document.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Unique name among records; `POST /v1/records/{name}`.
    pub name: String,
    /// Field whose value identifies a document.
    pub id: String,
    /// Field by which documents belong together, read back by `key=` and keeping order in syncs;
    /// `None`: each document by itself.
    pub key: Option<String>,
    /// Field with the business time, RFC 3339; `None`: `time` where a document has it, else the time of arrival.
    pub time: Option<String>,
    /// JSON Schema that documents must satisfy.
    pub schema: Option<serde_json::Value>,
}

/// `[[batch]]`: what gathered over a time goes out as one document.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Name, unique among flows.
    pub name: String,
    /// When it runs.
    pub at: BatchAt,
    /// Wait after that time for late records. Default 0.
    pub delay: Duration,
    /// Records that come later still, up to this long after the batch's time, make a correction.
    /// Default 24 h; 0: never.
    pub correct: Duration,
    /// Records that go in.
    pub records: Vec<String>,
    /// Rollup figures that go in.
    pub rollups: Vec<BatchRollup>,
    /// Fields by which rows are summed up.
    pub group_by: Vec<String>,
    /// Fields whose sums are control totals, beside the row count.
    pub totals: Vec<String>,
    /// Format of the document. Default CSV.
    pub format: BatchFormat,
    /// Compression of the document. Default none.
    pub compress: Compress,
    /// Receiver.
    pub to: Target,
    /// How a delivery is tried again.
    pub retry: Retry,
    /// Circuit breaker of the receiver.
    pub breaker: Breaker,
    /// Deadline of one try. Default 1 min.
    pub timeout: Duration,
}

/// When a batch runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchAt {
    /// At the end of each `[[shift]]`.
    ShiftEnd,
    /// Only when it is asked to.
    Manual,
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
    /// Apache Parquet. Not made yet: see [`crate::Config::inactive`].
    Parquet,
}

/// Compression of a batch's document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compress {
    /// None.
    None,
    /// RFC 1952.
    Gzip,
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
    /// Dates that differ; each date once.
    pub except: Vec<ShiftException>,
}

/// A date on which a shift is not as usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShiftException {
    /// The date on which the shift would begin.
    pub date: Date,
    /// When it begins and ends on that date, whatever `days` says; `None`: not at all.
    pub hours: Option<(TimeOfDay, TimeOfDay)>,
}

/// Wall-clock time, `HH:MM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay {
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
}

/// A date of the Gregorian calendar, `YYYY-MM-DD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Date {
    /// 1970 to 9999.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31, one that the month has.
    pub day: u8,
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

/// Days of the months of a year that is no leap year.
const MONTH_DAYS: [u8; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

impl FromStr for Date {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let bad =
            |what: &str| Invalid::new(format!("{text:?} {what}"), "write YYYY-MM-DD, for instance \"2026-12-25\"");
        let parts: Vec<&str> = text.split('-').take(4).collect();
        let digits = |part: &str, length: usize| part.len() == length && part.bytes().all(|b| b.is_ascii_digit());
        let [year, month, day] = parts[..] else { return Err(bad("is no date")) };
        if !(digits(year, 4) && digits(month, 2) && digits(day, 2)) {
            return Err(bad("is no date"));
        }
        let read = (year.parse::<u16>(), month.parse::<u8>(), day.parse::<u8>());
        let (Ok(year), Ok(month), Ok(day)) = read else { return Err(bad("is no date")) };
        if year < 1970 {
            return Err(bad("is before 1970"));
        }
        let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let last = match (usize::from(month).checked_sub(1).and_then(|index| MONTH_DAYS.get(index)), leap && month == 2)
        {
            (None, _) => return Err(bad("has a month that is not 01 to 12")),
            (Some(_), true) => 29,
            (Some(days), false) => *days,
        };
        if day < 1 || day > last {
            return Err(bad("has a day that the month does not have"));
        }
        Ok(Self { year, month, day })
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// Longest cron expression, in bytes.
const CRON_BYTES_MAX: usize = 512;

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
        match text {
            "shift-end" => return Ok(Self::ShiftEnd),
            "manual" => return Ok(Self::Manual),
            _ => {}
        }
        let right = "write \"shift-end\", \"manual\", or five cron fields (minute hour day month weekday), for instance \"0 6 * * mon-fri\"";
        let bad = |what: String| Err(Invalid::new(format!("{text:?} {what}"), right));
        let fields: Vec<&str> = text.split_ascii_whitespace().take(CRON.len() + 1).collect();
        if fields.len() != CRON.len() {
            return bad("is neither shift-end nor manual nor a cron expression of five fields".to_owned());
        }
        if text.len() > CRON_BYTES_MAX {
            return bad(format!("is longer than {CRON_BYTES_MAX} bytes"));
        }
        for (field, (name, low, high, words)) in fields.iter().zip(CRON) {
            if !field.split(',').all(|part| cron_part(part, low, high, words)) {
                return bad(format!("has {field:?} as {name}, which is {low} to {high}"));
            }
        }
        if never(fields[2], fields[3], fields[4]) {
            return bad("asks for days that its months do not have: no date ever matches".to_owned());
        }
        Ok(Self::Cron(fields.join(" ")))
    }
}

/// Is every day too late for every month, as on 30 February? The weekday is another way to match,
/// unless day or weekday begins with `*` (POSIX crontab).
fn never(day: &str, month: &str, weekday: &str) -> bool {
    if day.starts_with('*') || !weekday.starts_with('*') || month.contains(['*', '-']) {
        return false;
    }
    let firsts = |field: &str, low: u8, words: &[&str]| -> Vec<u8> {
        let spans = field.split(',').map(|part| part.split(['/', '-']).next().unwrap_or(part));
        spans.filter_map(|first| cron_number(first, low, words)).collect()
    };
    let day = firsts(day, 1, CRON[2].3).into_iter().min().unwrap_or(1);
    let last = |month: &u8| match month {
        2 => 29,
        _ => usize::from(*month).checked_sub(1).and_then(|index| MONTH_DAYS.get(index)).copied().unwrap_or(31),
    };
    firsts(month, 1, CRON[3].3).iter().all(|month| last(month) < day)
}

/// A number, or a word that stands for one.
fn cron_number(text: &str, low: u8, words: &[&str]) -> Option<u8> {
    match words.iter().position(|word| word.eq_ignore_ascii_case(text)) {
        Some(index) => Some(low + u8::try_from(index).ok()?),
        None if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
        None => None,
    }
}

/// `*`, `5`, `1-5`; the first and the last with an optional `/step`.
fn cron_part(part: &str, low: u8, high: u8, words: &[&str]) -> bool {
    let (span, step) = match part.split_once('/') {
        Some((span, step)) => (span, Some(step)),
        None => (part, None),
    };
    let number = |text: &str| cron_number(text, low, words).filter(|value| (low..=high).contains(value));
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
        for right in [
            "shift-end",
            "manual",
            "0 6 * * *",
            "*/15 * * * mon-fri",
            "0,30 6-22/2 1 JAN 0",
            "0 0 29 2 *",
            "0 0 30,1 feb *",
            "0 0 31 2 mon",
        ] {
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
            "0 0 30 2 *",
            "0 0 31 feb,4,6 *",
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

    #[test]
    fn dates_are_read() {
        for right in ["2026-12-25", "2028-02-29", "2000-02-29", "1970-01-01"] {
            assert_eq!(right.parse::<Date>().map(|date| date.to_string()), Ok(right.to_owned()));
        }
        for wrong in [
            "",
            "2026-2-1",
            "2026-02-29",
            "2100-02-29",
            "2026-13-01",
            "2026-00-10",
            "2026-04-31",
            "2026-01-00",
            "1969-12-31",
            "+026-01-01",
            "2026-01-01-",
        ] {
            assert!(wrong.parse::<Date>().is_err(), "{wrong}");
        }
    }
}

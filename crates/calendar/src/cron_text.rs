//! Reading a cron expression: five fields, as POSIX `crontab` has them, with names and steps.
//!
//! `minute hour day-of-month month day-of-week`; each `*`, a number, a name (`jan`, `mon`), a range
//! `a-b`, a list of these parted by commas; `*` and ranges may have a step, `*/15`, `8-18/2`.
//! Sunday is 0 and 7.

use std::fmt;

/// Longest expression, in bytes: every minute of the hour, written out, and as much again.
pub const CRON_TEXT_BYTES_MAX: usize = 512;

/// A field: its name, lowest and highest number, and words for the numbers from the lowest on.
struct Field {
    name: &'static str,
    low: u8,
    high: u8,
    words: &'static [&'static str],
}

/// The five, in order.
const FIELDS: [Field; 5] = [
    Field { name: "minute", low: 0, high: 59, words: &[] },
    Field { name: "hour", low: 0, high: 23, words: &[] },
    Field { name: "day of the month", low: 1, high: 31, words: &[] },
    Field {
        name: "month",
        low: 1,
        high: 12,
        words: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    },
    Field { name: "day of the week", low: 0, high: 7, words: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] },
];

/// Days of each month, in a leap year.
const DAYS_IN_MONTH: [u8; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// What is wrong with a cron expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CronError {
    /// It has not five fields.
    Fields {
        /// How many it has.
        count: usize,
    },
    /// A field cannot be read.
    Field {
        /// The field's name.
        name: &'static str,
        /// What stands there.
        text: String,
        /// Its lowest number.
        low: u8,
        /// Its highest number.
        high: u8,
    },
    /// No date ever matches, as on 30 February.
    Never,
    /// Longer than [`CRON_TEXT_BYTES_MAX`].
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
}

impl fmt::Display for CronError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CronError::Fields { count } => write!(
                f,
                "a cron expression has five fields, this has {count}; write minute hour day month weekday, \
                 for instance \"0 6 * * mon-fri\""
            ),
            CronError::Field { name, text, low, high } => write!(
                f,
                "{text:?} cannot be the {name}; write *, numbers of {low} to {high}, ranges a-b or lists of these, \
                 with a step as in */5 or a-b/5"
            ),
            CronError::Never => f.write_str("no date ever matches this cron expression; change its day or its month"),
            CronError::TooLong { bytes } => {
                write!(f, "the cron expression has {bytes} bytes; at most {CRON_TEXT_BYTES_MAX} are allowed")
            }
        }
    }
}

impl std::error::Error for CronError {}

/// A field as a set of numbers; a bit for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Set(u64);

impl Set {
    /// Whether a number is in it.
    pub(crate) const fn has(self, number: i8) -> bool {
        number >= 0 && self.0 >> number & 1 == 1
    }
}

/// A cron expression, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sets {
    pub(crate) minutes: Set,
    pub(crate) hours: Set,
    pub(crate) days: Set,
    pub(crate) months: Set,
    /// Sunday is 0 only.
    pub(crate) weekdays: Set,
    /// Whether either of day and weekday is enough: both are restricted, that is, neither begins
    /// with `*` (POSIX crontab).
    pub(crate) either: bool,
}

/// Reads an expression.
pub(crate) fn read(text: &str) -> Result<Sets, CronError> {
    if text.len() > CRON_TEXT_BYTES_MAX {
        return Err(CronError::TooLong { bytes: text.len() });
    }
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields[..] else {
        return Err(CronError::Fields { count: fields.len() });
    };
    let weekdays = FIELDS[4].read(weekday)?.0;
    let sets = Sets {
        minutes: FIELDS[0].read(minute)?,
        hours: FIELDS[1].read(hour)?,
        days: FIELDS[2].read(day)?,
        months: FIELDS[3].read(month)?,
        weekdays: Set(weekdays & 0x7F | weekdays >> 7 & 1),
        either: !day.starts_with('*') && !weekday.starts_with('*'),
    };
    let exists = |month: u8| (1..=DAYS_IN_MONTH[usize::from(month - 1)]).any(|day| sets.days.has(day.cast_signed()));
    let some = sets.either || (1..=12_u8).any(|month| sets.months.has(month.cast_signed()) && exists(month));
    if some { Ok(sets) } else { Err(CronError::Never) }
}

impl Field {
    fn read(&self, text: &str) -> Result<Set, CronError> {
        let bad = || CronError::Field { name: self.name, text: text.to_owned(), low: self.low, high: self.high };
        let mut set = 0_u64;
        for part in text.split(',') {
            let (from, to, step) = self.part(part).ok_or_else(bad)?;
            for number in (from..=to).step_by(usize::from(step)) {
                set |= 1 << number;
            }
        }
        Ok(Set(set))
    }

    /// `*`, `5`, `1-5`; the first and the last with an optional `/step`.
    fn part(&self, part: &str) -> Option<(u8, u8, u8)> {
        let (span, step) = match part.split_once('/') {
            Some((span, step)) => (span, Some(number(step).filter(|step| (1..=self.high).contains(step))?)),
            None => (part, None),
        };
        let (from, to) = match span.split_once('-') {
            _ if span == "*" => (self.low, self.high),
            Some((from, to)) => (self.number(from)?, self.number(to)?),
            None if step.is_none() => (self.number(span)?, self.number(span)?),
            None => return None,
        };
        (from <= to).then_some((from, to, step.unwrap_or(1)))
    }

    /// A number or a word of this field.
    fn number(&self, text: &str) -> Option<u8> {
        let word = self.words.iter().position(|word| word.eq_ignore_ascii_case(text));
        let value = match word {
            Some(index) => self.low + u8::try_from(index).ok()?,
            None => number(text)?,
        };
        (self.low..=self.high).contains(&value).then_some(value)
    }
}

/// Digits only: no sign, no space.
fn number(text: &str) -> Option<u8> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

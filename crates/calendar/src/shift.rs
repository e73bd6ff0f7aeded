//! What a shift is: its wall-clock times, its days, its exceptions; and the period that it makes.

use crate::zone::Zone;
use jiff::civil::Date;
use model::TimestampNs;
use std::fmt;

/// Shifts of one calendar: three a day for each of twenty lines.
pub const SHIFTS_MAX: usize = 64;
/// Exceptions of one shift: more than ten years in which every day is one.
pub const EXCEPTIONS_MAX: usize = 4096;
/// Longest name of a shift, in bytes; it stands in labels and file names.
pub const SHIFT_NAME_BYTES_MAX: usize = 64;

/// A part of the working day, in wall-clock time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shift {
    /// Unique within its calendar, at most [`SHIFT_NAME_BYTES_MAX`] bytes.
    pub name: String,
    /// Hour and minute at which it begins.
    pub start: (u8, u8),
    /// Hour and minute at which it ends, on the next day if not after `start`.
    pub end: (u8, u8),
    /// Weekdays on which it begins, Monday first.
    pub days: [bool; 7],
    /// Dates on which it is different; at most [`EXCEPTIONS_MAX`].
    pub except: Vec<Exception>,
}

/// One date on which a shift is different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Year, month and day on which the shift would begin.
    pub date: (i16, i8, i8),
    /// What is different.
    pub what: Change,
}

/// What is different on a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The shift does not take place.
    Off,
    /// It takes place at these times, also on a weekday on which it else does not.
    Times {
        /// Hour and minute at which it begins.
        start: (u8, u8),
        /// Hour and minute at which it ends, on the next day if not after `start`.
        end: (u8, u8),
    },
}

/// One period: half-open, `[from, to)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Period {
    /// Name of the shift, or of what has the schedule.
    pub name: String,
    /// Unique and readable, `2026-03-29 night`: the date on which it begins, and the name.
    pub label: String,
    /// First instant of it.
    pub from: TimestampNs,
    /// First instant after it.
    pub to: TimestampNs,
}

/// What is wrong with a calendar's shifts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShiftError {
    /// More than [`SHIFTS_MAX`].
    TooMany {
        /// How many.
        count: usize,
    },
    /// A name is empty, longer than [`SHIFT_NAME_BYTES_MAX`], or holds control characters.
    Name {
        /// That name.
        name: String,
    },
    /// Two shifts have one name.
    Twice {
        /// That name.
        name: String,
    },
    /// A time is not between 00:00 and 23:59.
    Time {
        /// Name of the shift.
        name: String,
        /// Hour and minute.
        time: (u8, u8),
    },
    /// A shift begins on no weekday and has no exception that makes it take place.
    NoDay {
        /// Name of the shift.
        name: String,
    },
    /// An exception's date does not exist, or has an exception already.
    Date {
        /// Name of the shift.
        name: String,
        /// Year, month, day.
        date: (i16, i8, i8),
        /// Whether it stands there twice.
        twice: bool,
    },
    /// More than [`EXCEPTIONS_MAX`] exceptions.
    TooManyExceptions {
        /// Name of the shift.
        name: String,
        /// How many.
        count: usize,
    },
}

impl fmt::Display for ShiftError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShiftError::TooMany { count } => write!(f, "there are {count} shifts; at most {SHIFTS_MAX} are allowed"),
            ShiftError::Name { name } => write!(
                f,
                "{name:?} cannot be a shift's name; write 1 to {SHIFT_NAME_BYTES_MAX} bytes without control characters"
            ),
            ShiftError::Twice { name } => write!(f, "two shifts are called {name:?}; give each its own name"),
            ShiftError::Time { name, time } => write!(
                f,
                "shift {name:?} has the time {:02}:{:02}; write an hour of 0 to 23 and a minute of 0 to 59",
                time.0, time.1
            ),
            ShiftError::NoDay { name } => write!(f, "shift {name:?} takes place on no day; name at least one weekday"),
            ShiftError::Date { name, date: (year, month, day), twice } => {
                let what = if *twice { "has two exceptions; keep one" } else { "does not exist; write a real date" };
                write!(f, "shift {name:?}: the date {year:04}-{month:02}-{day:02} {what}")
            }
            ShiftError::TooManyExceptions { name, count } => {
                write!(f, "shift {name:?} has {count} exceptions; at most {EXCEPTIONS_MAX} are allowed, drop past ones")
            }
        }
    }
}

impl std::error::Error for ShiftError {}

/// A checked shift.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    name: String,
    start: (u8, u8),
    end: (u8, u8),
    days: [bool; 7],
    /// Ascending by date.
    except: Vec<(Date, Change)>,
}

impl Pattern {
    /// Checks one shift.
    pub(crate) fn new(shift: Shift) -> Result<Pattern, ShiftError> {
        let Shift { name, start, end, days, except } = shift;
        if name.trim().is_empty() || name.len() > SHIFT_NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(ShiftError::Name { name });
        }
        if except.len() > EXCEPTIONS_MAX {
            return Err(ShiftError::TooManyExceptions { name, count: except.len() });
        }
        let changed = except.iter().filter_map(|exception| match exception.what {
            Change::Off => None,
            Change::Times { start, end } => Some([start, end]),
        });
        let times: Vec<(u8, u8)> = changed.flatten().collect();
        let takes_place = days.contains(&true) || !times.is_empty();
        if let Some(time) = [start, end].into_iter().chain(times).find(|(hour, minute)| *hour > 23 || *minute > 59) {
            return Err(ShiftError::Time { name, time });
        }
        if !takes_place {
            return Err(ShiftError::NoDay { name });
        }
        let mut dates = Vec::with_capacity(except.len());
        for Exception { date, what } in except {
            let Ok(known) = Date::new(date.0, date.1, date.2) else {
                return Err(ShiftError::Date { name, date, twice: false });
            };
            dates.push((known, what));
        }
        dates.sort_by_key(|(date, _)| *date);
        if let Some(pair) = dates.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let date = (pair[0].0.year(), pair[0].0.month(), pair[0].0.day());
            return Err(ShiftError::Date { name, date, twice: true });
        }
        Ok(Pattern { name, start, end, days, except: dates })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The period that begins on a date; `None` where the shift does not take place, or a clock
    /// change skips all of it.
    pub(crate) fn period(&self, zone: &Zone, date: Date) -> Option<Period> {
        let exception = self.except.binary_search_by_key(&date, |(date, _)| *date);
        let (start, end) = match exception.map(|index| self.except[index].1) {
            Ok(Change::Off) => return None,
            Ok(Change::Times { start, end }) => (start, end),
            Err(_) if self.days[usize::from(date.weekday().to_monday_zero_offset().unsigned_abs())] => {
                (self.start, self.end)
            }
            Err(_) => return None,
        };
        let end_date = if end > start { date } else { date.tomorrow().ok()? };
        let from = zone.instant(on(date, start))?;
        let to = zone.instant(on(end_date, end))?;
        (from < to).then(|| Period { name: self.name.clone(), label: format!("{date} {}", self.name), from, to })
    }
}

/// A checked wall-clock time on a date.
fn on(date: Date, (hour, minute): (u8, u8)) -> jiff::civil::DateTime {
    date.at(hour.cast_signed(), minute.cast_signed(), 0, 0)
}

//! Shifts and cron schedules in a time zone, days of 23 and 25 hours included.
//!
//! Purpose: say which shift or schedule period ended when, as instants in UTC, from wall-clock times
//! of a named zone. The time is always passed in.
//!
//! Invariants
//! - C1: one rule makes an instant of a wall-clock time ([`Zone`]): a time that a clock change skips
//!   is the first instant after the gap, a time that comes twice is its first occurrence. The rule
//!   never turns order round, so adjoining shifts leave no hole and no overlap, on any day.
//! - C2: periods are half-open, `[from, to)`, never empty, and their labels are unique within one
//!   calendar: the date on which they begin and the shift's name.
//! - C3: every answer is bounded ([`PERIODS_MAX`], [`SEARCH_DAYS_MAX`]); who wants more asks again
//!   from the last end.
//!
//! It deliberately knows no clock, and keeps nothing between calls: what ran already is the
//! journal's to know.

#![forbid(unsafe_code)]

mod cron;
mod cron_text;
mod shift;
mod shift_calendar;
mod zone;

pub use cron::Cron;
pub use cron_text::{CRON_TEXT_BYTES_MAX, CronError};
pub use shift::{Change, EXCEPTIONS_MAX, Exception, Period, SHIFT_NAME_BYTES_MAX, SHIFTS_MAX, Shift, ShiftError};
pub use shift_calendar::{PERIODS_MAX, SEARCH_DAYS_MAX, ShiftCalendar};
pub use zone::{Zone, ZoneError};

//! When a cron expression runs, in a zone.
//!
//! Invariants
//! - R1: a run is the instant of a wall-clock minute that matches (C1): one whose time a clock
//!   change skips runs once, right after the gap; one whose time comes twice runs the first time.
//! - R2: [`Cron::next`] is strictly after, [`Cron::previous`] at or before; both look at most at
//!   [`YEARS_BETWEEN`] years, which is longer than any two runs lie apart.

use crate::{
    cron_text::{self, CronError, Sets},
    shift::Period,
    shift_calendar::PERIODS_MAX,
    zone::Zone,
};
use jiff::civil::{Date, DateTime};
use model::TimestampNs;

/// A given weekday falls on 29 February once in 28 years, in 40 where a century year is none.
const YEARS_BETWEEN: usize = 41;
/// The same in days, leap days included.
const DAYS_BETWEEN: usize = YEARS_BETWEEN * 366;

/// A cron expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    text: String,
    sets: Sets,
    /// Hours and minutes of a day at which it runs, ascending.
    times: Vec<(i8, i8)>,
}

impl Cron {
    /// Reads an expression of five fields, for instance `0 6 * * mon-fri`.
    ///
    /// # Errors
    /// [`CronError`] says which field is wrong.
    pub fn parse(text: &str) -> Result<Cron, CronError> {
        let sets = cron_text::read(text)?;
        let hours = (0..24_i8).filter(|hour| sets.hours.has(*hour));
        let times = hours.flat_map(|hour| (0..60_i8).map(move |minute| (hour, minute)));
        let times = times.filter(|(_, minute)| sets.minutes.has(*minute)).collect();
        Ok(Cron { text: text.split_ascii_whitespace().collect::<Vec<_>>().join(" "), sets, times })
    }

    /// The expression, its fields parted by single spaces.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The first run after an instant; `None` past the year 2262.
    #[must_use]
    pub fn next(&self, zone: &Zone, after: TimestampNs) -> Option<TimestampNs> {
        let wall = zone.wall(after);
        // an earlier wall-clock time than the one shown gives no later instant
        let passed = |at: &DateTime| *at < minute_of(wall);
        let dates = std::iter::successors(Some(wall.date()), |date| date.tomorrow().ok()).take(DAYS_BETWEEN);
        let mut runs = dates.filter(|date| self.on(*date)).flat_map(|date| self.times_of(date));
        runs.find_map(|run| if passed(&run) { None } else { zone.instant(run).filter(|at| *at > after) })
    }

    /// The last run at or before an instant; `None` before the year 1677.
    #[must_use]
    pub fn previous(&self, zone: &Zone, at: TimestampNs) -> Option<TimestampNs> {
        // one day on: in a time that comes twice, the clock shows less than what was already run
        let last = zone.wall(at).date().tomorrow().ok()?;
        let dates = std::iter::successors(Some(last), |date| date.yesterday().ok()).take(DAYS_BETWEEN);
        let mut runs = dates.filter(|date| self.on(*date)).flat_map(|date| self.times_of(date).rev());
        runs.find_map(|run| zone.instant(run).filter(|run| *run <= at))
    }

    /// Periods from run to run that ended after `after` and not after `until`, ascending; at most
    /// [`PERIODS_MAX`], and the last end continues. `name` names them; labels are
    /// `2026-03-29 06:00 name`, the wall clock at their begin.
    #[must_use]
    pub fn periods_ending(&self, zone: &Zone, name: &str, after: TimestampNs, until: TimestampNs) -> Vec<Period> {
        let mut found = Vec::new();
        let mut from = self.previous(zone, after);
        while found.len() < PERIODS_MAX {
            let Some(to) = self.next(zone, from.unwrap_or(after)).filter(|to| *to <= until) else { break };
            if let Some(from) = from {
                let wall = minute_of(zone.wall(from));
                let label = format!("{} {:02}:{:02} {name}", wall.date(), wall.hour(), wall.minute());
                found.push(Period { name: name.to_owned(), label, from, to });
            }
            from = Some(to);
        }
        found
    }

    /// Whether it runs on a date.
    fn on(&self, date: Date) -> bool {
        let day = self.sets.days.has(date.day());
        let weekday = self.sets.weekdays.has(date.weekday().to_sunday_zero_offset());
        let days = if self.sets.either { day || weekday } else { day && weekday };
        days && self.sets.months.has(date.month())
    }

    fn times_of(&self, date: Date) -> impl DoubleEndedIterator<Item = DateTime> {
        self.times.iter().map(move |(hour, minute)| date.at(*hour, *minute, 0, 0))
    }
}

/// The whole minute that a wall-clock time lies in.
fn minute_of(wall: DateTime) -> DateTime {
    wall.date().at(wall.hour(), wall.minute(), 0, 0)
}

//! Which shifts ended in a span of time, which are under way, which ends next.
//!
//! A shift lasts at most a day of the wall clock, so a period is found from the date on which it
//! begins, looking a few days back; nothing is stored per day.

use crate::{
    shift::{Pattern, Period, SHIFTS_MAX, Shift, ShiftError},
    zone::Zone,
};
use jiff::{ToSpan, civil::Date};
use model::TimestampNs;

/// Periods of one answer, and those that end together with the last of them: three shifts a day for
/// more than three years.
pub const PERIODS_MAX: usize = 4096;
/// Days that one call looks at: a hundred years.
pub const SEARCH_DAYS_MAX: u32 = 36_600;
/// Days that a period can begin before one in which it ends: its own length of one, and two for
/// zones that once left out or repeated a whole day.
const DAYS_BACK: i64 = 3;

/// The shifts of a plant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShiftCalendar {
    zone: Zone,
    shifts: Vec<Pattern>,
}

impl ShiftCalendar {
    /// A calendar of shifts, which may overlap or leave times without any.
    ///
    /// # Errors
    /// [`ShiftError`] says which shift cannot be, and why.
    pub fn new(zone: Zone, shifts: Vec<Shift>) -> Result<ShiftCalendar, ShiftError> {
        if shifts.len() > SHIFTS_MAX {
            return Err(ShiftError::TooMany { count: shifts.len() });
        }
        let shifts = shifts.into_iter().map(Pattern::new).collect::<Result<Vec<_>, _>>()?;
        let mut names: Vec<&str> = shifts.iter().map(Pattern::name).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(ShiftError::Twice { name: pair[0].to_owned() });
        }
        Ok(ShiftCalendar { zone, shifts })
    }

    /// The zone of its wall clock.
    #[must_use]
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Periods that ended after `after` and not after `until`, ascending by end, then by begin.
    ///
    /// At most [`PERIODS_MAX`] and those that end at the same instant as the last; it looks at most
    /// [`SEARCH_DAYS_MAX`] days. A full answer is continued from the end of its last period.
    #[must_use]
    pub fn periods_ending(&self, after: TimestampNs, until: TimestampNs) -> Vec<Period> {
        let mut found = Vec::new();
        for date in self.dates(after) {
            let Some(day) = self.zone.instant(date.at(0, 0, 0, 0)) else { continue };
            // what begins on this date or later ends after its midnight: all else is found
            if day >= until || complete(&found, day) > PERIODS_MAX {
                break;
            }
            found.extend(self.beginning(date).filter(|period| period.to > after && period.to <= until));
        }
        found.sort_by_key(|period: &Period| (period.to, period.from));
        if let Some(last) = found.get(PERIODS_MAX - 1).map(|period| period.to) {
            found.retain(|period| period.to <= last);
        }
        found
    }

    /// The period that ends first after an instant, the one that began first where several do.
    #[must_use]
    pub fn next_end(&self, after: TimestampNs) -> Option<Period> {
        let mut best: Option<Period> = None;
        for date in self.dates(after) {
            let Some(day) = self.zone.instant(date.at(0, 0, 0, 0)) else { continue };
            if best.as_ref().is_some_and(|best| best.to <= day) {
                break;
            }
            let ending = self.beginning(date).filter(|period| period.to > after);
            best = best.into_iter().chain(ending).min_by_key(|period| (period.to, period.from));
        }
        best
    }

    /// The periods that an instant lies in, ascending by begin; none between shifts.
    #[must_use]
    pub fn current(&self, at: TimestampNs) -> Vec<Period> {
        let days = self.dates(at).take(usize::try_from(2 * DAYS_BACK).unwrap_or(usize::MAX));
        let mut found: Vec<Period> =
            days.flat_map(|date| self.beginning(date)).filter(|period| period.from <= at && at < period.to).collect();
        found.sort_by_key(|period| (period.from, period.to));
        found
    }

    /// Dates on which a period can begin that ends after an instant, ascending.
    fn dates(&self, after: TimestampNs) -> impl Iterator<Item = Date> {
        let first = self.zone.wall(after).date().saturating_sub(DAYS_BACK.days());
        std::iter::successors(Some(first), |date| date.tomorrow().ok()).take(SEARCH_DAYS_MAX as usize)
    }

    /// Periods that begin on a date.
    fn beginning(&self, date: Date) -> impl Iterator<Item = Period> {
        self.shifts.iter().filter_map(move |shift| shift.period(&self.zone, date))
    }
}

/// How many were found that end no later than `day`: nothing that is looked at later can come
/// before these. Counted only when it can matter.
fn complete(found: &[Period], day: TimestampNs) -> usize {
    if found.len() > PERIODS_MAX { found.iter().filter(|period| period.to <= day).count() } else { 0 }
}

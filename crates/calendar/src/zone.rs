//! A time zone by its IANA name, and the one rule that makes an instant of a wall-clock time.
//!
//! Invariants
//! - Z1: [`Zone::instant`] is monotone: of two wall-clock times the later never gives the earlier
//!   instant. (RFC 5545's rule would break that: it moves 02:30 in a gap to 03:30, past 03:15.)
//! - Z2: every instant that it gives is the first at which the wall clock shows that time or has
//!   passed it.
//!
//! It reads no file itself: `jiff` finds the zone data, the system's where there is one.

use jiff::{
    Timestamp,
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone},
};
use model::TimestampNs;
use std::fmt;

/// Zone changes looked at between the two readings of one wall-clock time; more than one only
/// where a zone changed its name and its offset close together.
const CHANGES_MAX: usize = 4;

/// A named time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

/// Why there is no such zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ZoneError {
    /// The name is not in the zone data.
    Unknown {
        /// That name.
        name: String,
        /// What the zone data's reader says.
        what: String,
    },
}

impl fmt::Display for ZoneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ZoneError::Unknown { name, what } = self;
        write!(
            f,
            "time zone {name:?} is not known ({what}); write a name of the IANA database such as \
             \"Europe/Amsterdam\" or \"UTC\"; if it is one, install the system's zone data (package tzdata)"
        )
    }
}

impl std::error::Error for ZoneError {}

impl Zone {
    /// The zone of an IANA name, such as `Europe/Amsterdam` or `UTC`; case does not matter.
    ///
    /// # Errors
    /// [`ZoneError`] where the zone data has no such name.
    pub fn new(name: &str) -> Result<Zone, ZoneError> {
        let zone = TimeZone::get(name)
            .map_err(|error| ZoneError::Unknown { name: name.to_owned(), what: error.to_string() })?;
        let name = zone.iana_name().unwrap_or(name).to_owned();
        Ok(Zone { name, zone })
    }

    /// Its name, as the IANA database writes it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What clocks on the wall show at an instant.
    pub(crate) fn wall(&self, at: TimestampNs) -> DateTime {
        let at = Timestamp::from_nanosecond(i128::from(at.0)).expect("64-bit nanoseconds are the years 1677 to 2262");
        self.zone.to_datetime(at)
    }

    /// The instant of a wall-clock time (C1); `None` outside the years 1677 to 2262.
    pub(crate) fn instant(&self, wall: DateTime) -> Option<TimestampNs> {
        let at = match self.zone.to_ambiguous_timestamp(wall).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(wall),
            // the clock is set back: with the offset before that, the time comes first
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(wall),
            AmbiguousOffset::Gap { before, after } => {
                // the change lies between the two readings of the time that was skipped
                let (early, late) = (after.to_timestamp(wall).ok()?, before.to_timestamp(wall).ok()?);
                let mut changes = self.zone.following(early).take(CHANGES_MAX);
                let change = changes.find(|change| change.offset() == after && change.timestamp() <= late);
                Ok(change.map_or(late, |change| change.timestamp()))
            }
        };
        at.ok().and_then(|at| i64::try_from(at.as_nanosecond()).ok()).map(TimestampNs)
    }
}

//! Which readings are worth storing.

use model::{Quality, TimestampNs};

/// The deadband of one tag and what was stored last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deadband {
    width: f64,
    heartbeat_ns: i64,
    last: f64,
    last_at: TimestampNs,
    last_quality: Quality,
    stored: bool,
}

impl Default for Deadband {
    fn default() -> Deadband {
        Deadband::new(0.0, 0)
    }
}

impl Deadband {
    /// Changes of less than `width` (engineering units) are not stored, but at the latest every
    /// `heartbeat_ns` one is; 0 stores everything, or never repeats.
    #[must_use]
    pub const fn new(width: f64, heartbeat_ns: i64) -> Deadband {
        Deadband {
            width,
            heartbeat_ns,
            last: f64::NAN,
            last_at: TimestampNs(i64::MIN),
            last_quality: Quality::GOOD,
            stored: false,
        }
    }

    /// Whether a reading is to be stored. Changes nothing: the log may still refuse it.
    #[must_use]
    pub fn passes(&self, at: TimestampNs, value: Option<f64>, quality: Quality) -> bool {
        if self.width <= 0.0 || !self.stored || quality != self.last_quality {
            return true;
        }
        if self.heartbeat_ns > 0 && at.0.saturating_sub(self.last_at.0) >= self.heartbeat_ns {
            return true;
        }
        let change = value.map_or(f64::NAN, |value| (value - self.last).abs());
        change.is_nan() || change >= self.width
    }

    /// A reading was stored.
    pub fn stored(&mut self, at: TimestampNs, value: Option<f64>, quality: Quality) {
        self.stored = true;
        self.last_at = at;
        self.last_quality = quality;
        self.last = value.unwrap_or(f64::NAN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_changes_wait_for_the_heartbeat_and_quality_never_waits() {
        let mut band = Deadband::new(0.5, 1_000);
        assert!(band.passes(TimestampNs(0), Some(1.0), Quality::GOOD));
        band.stored(TimestampNs(0), Some(1.0), Quality::GOOD);
        assert!(!band.passes(TimestampNs(10), Some(1.4), Quality::GOOD));
        assert!(band.passes(TimestampNs(10), Some(1.5), Quality::GOOD));
        assert!(band.passes(TimestampNs(1_000), Some(1.0), Quality::GOOD));
        assert!(band.passes(TimestampNs(10), Some(1.0), Quality::BAD_TIMEOUT));
        assert!(band.passes(TimestampNs(10), Some(f64::NAN), Quality::GOOD));
    }
}

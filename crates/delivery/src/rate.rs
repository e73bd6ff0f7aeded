//! The drain rate: how fast a backlog may leave.

use model::TimestampNs;

/// An item older than this belongs to a backlog: ten seconds.
pub const BACKLOG_AGE_NS: i64 = 10_000_000_000;

/// A token bucket that holds a tenth of a second's worth.
#[derive(Clone, Debug)]
pub struct Bucket {
    per_s: u32,
    /// Tokens in billionths.
    level: u128,
    filled: TimestampNs,
}

const WHOLE: u128 = 1_000_000_000;

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub fn new(per_s: u32) -> Bucket {
        let mut bucket = Bucket { per_s: per_s.max(1), level: 0, filled: TimestampNs(i64::MIN) };
        bucket.level = bucket.capacity();
        bucket
    }

    fn capacity(&self) -> u128 {
        (u128::from(self.per_s) / 10).max(1) * WHOLE
    }

    fn fill(&mut self, now: TimestampNs) {
        if self.filled.0 != i64::MIN && now > self.filled {
            let passed = u128::from(now.0.abs_diff(self.filled.0));
            self.level = self.capacity().min(self.level + passed * u128::from(self.per_s));
        }
        self.filled = now;
    }

    /// Takes a token.
    ///
    /// # Errors
    /// When the next one is there.
    pub fn take(&mut self, now: TimestampNs) -> Result<(), TimestampNs> {
        self.fill(now);
        if self.level >= WHOLE {
            self.level -= WHOLE;
            return Ok(());
        }
        let wait = (WHOLE - self.level).div_ceil(u128::from(self.per_s));
        Err(now.plus_ns(i64::try_from(wait).unwrap_or(i64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_leaves_than_the_rate_and_a_tenth_of_a_second() {
        let mut bucket = Bucket::new(100);
        let mut now = TimestampNs(0);
        let mut taken = 0;
        while now.0 < 10_000_000_000 {
            match bucket.take(now) {
                Ok(()) => taken += 1,
                Err(then) => now = then,
            }
        }
        assert!((1_000..=1_011).contains(&taken), "{taken}");
    }
}

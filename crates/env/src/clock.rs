//! Time and randomness.

use model::TimestampNs;

/// Two clocks: one that people read, one that never goes back.
pub trait Clock {
    /// Nanoseconds since 1970 UTC. May jump either way.
    fn wall(&self) -> TimestampNs;

    /// Nanoseconds since some start. Never goes back; timers and durations use it.
    fn monotonic_ns(&self) -> u64;
}

/// A source of randomness for jitter and identifiers; not for secrets.
pub trait Random {
    /// 64 random bits.
    fn next_u64(&mut self) -> u64;
}

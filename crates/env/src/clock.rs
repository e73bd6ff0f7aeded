//! Time and randomness.

use model::TimestampNs;
use std::task::{Context, Poll};

/// Two clocks: one that people read, one that never goes back.
pub trait Clock {
    /// Nanoseconds since 1970 UTC. May jump either way.
    fn wall(&self) -> TimestampNs;

    /// Nanoseconds since some start. Never goes back; timers and durations use it.
    fn monotonic_ns(&self) -> u64;

    /// A timer of this clock; `None` where the runtime's own have to do.
    fn timer(&self) -> Option<Box<dyn Timer>> {
        None
    }
}

/// Waits for a time, more closely than to the millisecond.
pub trait Timer {
    /// Ready once [`Clock::monotonic_ns`] has reached `at_ns`. Another time than before replaces it.
    fn poll_at(&mut self, at_ns: u64, context: &mut Context<'_>) -> Poll<()>;
}

/// A source of randomness for jitter and identifiers; not for secrets.
pub trait Random {
    /// 64 random bits.
    fn next_u64(&mut self) -> u64;
}

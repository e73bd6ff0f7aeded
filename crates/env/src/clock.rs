//! Time and randomness.

use model::TimestampNs;
use std::task::Waker;

/// Two clocks: one that people read, one that never goes back.
pub trait Clock {
    /// Nanoseconds since 1970 UTC. May jump either way.
    fn wall(&self) -> TimestampNs;

    /// Nanoseconds since some start. Never goes back; timers and durations use it.
    fn monotonic_ns(&self) -> u64;
}

/// Wakes tasks of one thread at times of its monotonic clock, many of them with one timer.
pub trait Alarms {
    /// A new one, not set.
    fn alarm(&self) -> Box<dyn Alarm>;
}

/// An alarm of one task; it is over when it is dropped.
pub trait Alarm {
    /// Has the task woken once, soon after `at_ns` of the monotonic clock, at once where that has
    /// passed. Replaces what was set.
    fn set(&mut self, at_ns: u64, waker: &Waker);
}

/// A source of randomness for jitter and identifiers; not for secrets.
pub trait Random {
    /// 64 random bits.
    fn next_u64(&mut self) -> u64;
}

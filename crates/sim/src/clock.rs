//! Time that moves only when it is told to.

use env::Clock;
use model::TimestampNs;
use std::cell::Cell;

/// A wall clock and a monotonic clock, both set by the test.
#[derive(Debug, Default)]
pub struct SimClock {
    monotonic_ns: Cell<u64>,
    wall_ns: Cell<i64>,
}

impl SimClock {
    /// A clock that starts at a wall time and at monotonic 0.
    #[must_use]
    pub fn new(wall: TimestampNs) -> SimClock {
        SimClock { monotonic_ns: Cell::new(0), wall_ns: Cell::new(wall.0) }
    }

    /// Time passes on both clocks.
    pub fn advance(&self, ns: u64) {
        self.monotonic_ns.set(self.monotonic_ns.get().saturating_add(ns));
        self.jump(ns as i64);
    }

    /// The wall clock jumps, either way; the monotonic one does not.
    pub fn jump(&self, ns: i64) {
        self.wall_ns.set(self.wall_ns.get().saturating_add(ns));
    }
}

impl Clock for SimClock {
    fn wall(&self) -> TimestampNs {
        TimestampNs(self.wall_ns.get())
    }

    fn monotonic_ns(&self) -> u64 {
        self.monotonic_ns.get()
    }
}

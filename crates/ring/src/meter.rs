//! Numbers that one thread writes and any thread reads: counters, gauges, flags.
//!
//! Invariants
//! - C1: one writer each. [`Counter::add`] is a load and a store, not a locked addition, so that it
//!   costs the telemetry path nothing; a second writer would lose counts.
//! - C2: they order nothing: whoever needs to see data that belongs to a number needs another way.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A number that only grows; one thread adds, all may read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A counter at zero.
    #[must_use]
    pub const fn new() -> Counter {
        Counter(AtomicU64::new(0))
    }

    /// Adds; to be called by the one writing thread only (C1).
    pub fn add(&self, count: u64) {
        // Relaxed twice: publishes this number and nothing else (C2).
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// What was counted so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        // Relaxed: reads this number and nothing else (C2).
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down; one thread sets, all may read.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// A gauge at zero.
    #[must_use]
    pub const fn new() -> Gauge {
        Gauge(AtomicU64::new(0))
    }

    /// Sets the number.
    pub fn set(&self, to: u64) {
        // Relaxed: publishes this number and nothing else (C2).
        self.0.store(to, Ordering::Relaxed);
    }

    /// Keeps the larger of the number and `to`; by the one writing thread only (C1).
    pub fn raise(&self, to: u64) {
        if to > self.get() {
            self.set(to);
        }
    }

    /// The number.
    #[must_use]
    pub fn get(&self) -> u64 {
        // Relaxed: reads this number and nothing else (C2).
        self.0.load(Ordering::Relaxed)
    }
}

/// Yes or no, and what was written before a "yes".
#[derive(Debug, Default)]
pub struct Flag(AtomicBool);

impl Flag {
    /// A flag that says no.
    #[must_use]
    pub const fn new() -> Flag {
        Flag(AtomicBool::new(false))
    }

    /// Sets it.
    pub fn set(&self, to: bool) {
        // Release: publishes all that this thread wrote before, to a thread that reads this value.
        self.0.store(to, Ordering::Release);
    }

    /// Reads it.
    #[must_use]
    pub fn get(&self) -> bool {
        // Acquire: sees all that the setter wrote before it set this value.
        self.0.load(Ordering::Acquire)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn count_raise_and_flag() {
        let counter = Counter::new();
        counter.add(2);
        counter.add(3);
        assert_eq!(counter.get(), 5);

        let gauge = Gauge::new();
        gauge.raise(7);
        gauge.raise(3);
        assert_eq!(gauge.get(), 7);
        gauge.set(1);
        assert_eq!(gauge.get(), 1);

        let flag = Flag::new();
        assert!(!flag.get());
        flag.set(true);
        assert!(flag.get());
    }

    #[test]
    fn one_writer_loses_no_count_beside_readers() {
        let counter = Counter::new();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut last = 0;
                while last < 10_000 {
                    let now = counter.get();
                    assert!(now >= last, "a counter went back");
                    last = now;
                }
            });
            for _ in 0..10_000 {
                counter.add(1);
            }
            reader.join().expect("the reader saw the counter grow");
        });
    }
}

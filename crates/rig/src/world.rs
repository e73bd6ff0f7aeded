//! What a scenario runs: a system with its clock, disk, producers and oracle.

use crate::driver::Driver;
use crate::system::{Setup, System};
use sim::{Crash, SimClock, SimDisk};
use std::collections::BTreeMap;

/// Who sends, and how much at a time.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// Producers with acknowledgements.
    pub durable: usize,
    /// Producers without.
    pub loose: usize,
    /// Largest number of values of a frame.
    pub values_max: u64,
}

/// A system under test and everything round it.
pub trait World: Sized {
    /// A fresh system on an empty disk.
    ///
    /// # Errors
    /// It does not start.
    fn new(seed: u64, setup: Setup, crowd: Crowd) -> Result<Self, String>;

    /// The clocks.
    fn clock(&self) -> &SimClock;

    /// The disk under the running system.
    fn disk(&mut self) -> &mut SimDisk;

    /// Time passes, producers send with a chance of `send_ppm` each, the system has a duty cycle.
    ///
    /// # Errors
    /// A broken promise.
    fn step(&mut self, ns: u64, send_ppm: u32) -> Result<(), String>;

    /// Holds what a query reads against what was promised.
    ///
    /// # Errors
    /// A broken promise.
    fn query(&mut self) -> Result<(), String>;

    /// Crashes and starts again; that many starts are first cut short themselves.
    ///
    /// # Errors
    /// It does not start, or what it found breaks a promise.
    fn crash(&mut self, crash: Crash, interrupted: u64) -> Result<(), String>;

    /// Closes in order.
    ///
    /// # Errors
    /// It does not end.
    fn close(&mut self) -> Result<(), String>;

    /// The end of a run: all is healed, sent, durable; then a power cut, recovery, and the last
    /// check.
    ///
    /// # Errors
    /// A broken promise.
    fn finish(&mut self) -> Result<(), String>;

    /// Frames sent, each counted once.
    fn frames(&self) -> u64;

    /// What else was met, by name: a promise that nothing came near to break is not tested.
    fn met(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::new()
    }
}

impl<S: System> World for Driver<S> {
    fn new(seed: u64, setup: Setup, crowd: Crowd) -> Result<Self, String> {
        Driver::new(seed, setup, crowd.durable, crowd.loose, crowd.values_max)
    }

    fn clock(&self) -> &SimClock {
        Driver::clock(self)
    }

    fn disk(&mut self) -> &mut SimDisk {
        self.system().disk()
    }

    fn step(&mut self, ns: u64, send_ppm: u32) -> Result<(), String> {
        Driver::step(self, ns, send_ppm)
    }

    fn query(&mut self) -> Result<(), String> {
        Driver::query(self, false)
    }

    fn crash(&mut self, crash: Crash, interrupted: u64) -> Result<(), String> {
        Driver::crash(self, crash, interrupted, None)
    }

    fn close(&mut self) -> Result<(), String> {
        Driver::close(self)
    }

    fn finish(&mut self) -> Result<(), String> {
        Driver::finish(self)
    }

    fn frames(&self) -> u64 {
        self.oracle().sent_count() as u64
    }
}

//! What the telemetry lane is made of.

use std::os::fd::RawFd;

/// One part of a shard's telemetry work, polled in the order of the list it was built in.
///
/// `poll` is called in every duty cycle, and between the polls of lower-lane tasks. It never
/// blocks and is never called from within itself.
pub trait Stage {
    /// The name in metrics and logs.
    fn name(&self) -> &'static str;

    /// Does up to `budget` pieces of work; answers how many it did. Zero lets the thread sleep.
    fn poll(&mut self, budget: usize) -> usize;

    /// Whether work waits: a look at memory, no system call.
    fn pending(&self) -> bool;

    /// When to be polled again even if nothing happens, in nanoseconds of the monotonic clock.
    fn deadline_ns(&self) -> Option<u64> {
        None
    }

    /// Descriptors that become readable when there is work; asked once, after the stages were
    /// built.
    fn wake_fds(&self) -> Vec<RawFd> {
        Vec::new()
    }

    /// Called before the thread sleeps: what comes after it makes a descriptor readable, what came
    /// before it is seen by [`pending`](Self::pending).
    fn arm(&mut self) {}

    /// The gate: take nothing new from now on, finish what is there.
    fn close(&mut self);

    /// Whether everything is finished; asked after [`close`](Self::close).
    fn drained(&self) -> bool;
}

//! Measuring polls: one histogram for each stage and kind of task.
//!
//! A snapshot walks a histogram, which takes microseconds. So that it never becomes the overrun
//! that it looks for, the histograms are walked one a cycle, and the result is published when all
//! are through.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use model::ShardId;

use crate::{
    histogram::Histogram,
    lane::Lane,
    stats::{Distribution, StageStats},
};

/// At most one line a second in the log about one stage's overruns.
const WARN_EVERY_NS: u64 = 1_000_000_000;

/// A distribution as it grows.
pub(crate) struct Meter(RefCell<Histogram>);

impl Meter {
    pub(crate) fn new() -> Meter {
        Meter(RefCell::new(Histogram::new()))
    }

    pub(crate) fn record(&self, ns: u64) {
        self.0.borrow_mut().record(ns);
    }

    /// One walk through the histogram.
    pub(crate) fn snapshot(&self) -> Distribution {
        self.0.borrow().snapshot()
    }
}

/// The measure of one stage or kind of task.
pub(crate) struct StageMeter {
    name: &'static str,
    lane: Lane,
    poll: Meter,
    overruns: Cell<u64>,
    warned_ns: Cell<Option<u64>>,
    overruns_warned: Cell<u64>,
    allocations: Cell<u64>,
}

impl StageMeter {
    fn new(lane: Lane, name: &'static str) -> StageMeter {
        StageMeter {
            name,
            lane,
            poll: Meter::new(),
            overruns: Cell::new(0),
            warned_ns: Cell::new(None),
            overruns_warned: Cell::new(0),
            allocations: Cell::new(0),
        }
    }

    /// Records a poll that ended at `now_ns`, and says so in the log if it overran.
    pub(crate) fn record(&self, shard: ShardId, took_ns: u64, quantum_ns: u64, now_ns: u64) {
        self.poll.record(took_ns);
        if took_ns <= quantum_ns {
            return;
        }
        self.overruns.set(self.overruns.get() + 1);
        if self.warned_ns.get().is_some_and(|at| now_ns < at + WARN_EVERY_NS) {
            return;
        }
        let more = self.overruns.get() - self.overruns_warned.get() - 1;
        self.warned_ns.set(Some(now_ns));
        self.overruns_warned.set(self.overruns.get());
        tracing::warn!(
            shard = shard.0,
            stage = self.name,
            lane = self.lane.name(),
            took_us = took_ns / 1_000,
            quantum_us = quantum_ns / 1_000,
            unreported = more,
            "a stage overran its quantum; telemetry waited for it"
        );
    }

    /// Notes that a poll has ended which began when the thread had asked for memory so often
    /// ([`ring::allocations`]).
    pub(crate) fn allocated_since(&self, before: u64) {
        self.allocations.set(self.allocations.get() + (ring::allocations() - before));
    }

    fn snapshot(&self) -> StageStats {
        StageStats {
            name: self.name,
            lane: self.lane,
            poll: self.poll.snapshot(),
            overruns: self.overruns.get(),
            allocations: self.allocations.get(),
        }
    }
}

/// All measures of a shard, and the walk through them.
#[derive(Default)]
pub(crate) struct Meters {
    all: RefCell<Vec<Rc<StageMeter>>>,
    walked: RefCell<Vec<StageStats>>,
}

impl Meters {
    /// The measure of a name in a lane; the same for all that share them.
    pub(crate) fn of(&self, lane: Lane, name: &'static str) -> Rc<StageMeter> {
        let mut all = self.all.borrow_mut();
        // a name is nearly always the same constant, so where it stands is asked before what it says
        let same = |meter: &&Rc<StageMeter>| meter.lane == lane && std::ptr::eq(meter.name, name);
        let equal = |meter: &&Rc<StageMeter>| meter.lane == lane && meter.name == name;
        if let Some(found) = all.iter().find(same).or_else(|| all.iter().find(equal)) {
            return found.clone();
        }
        let meter = Rc::new(StageMeter::new(lane, name));
        all.push(meter.clone());
        meter
    }

    /// A snapshot of each, at once.
    pub(crate) fn all(&self) -> Vec<StageStats> {
        self.all.borrow().iter().map(|meter| meter.snapshot()).collect()
    }

    /// Takes the next snapshot; all of them once the last is taken.
    pub(crate) fn walk(&self) -> Option<Vec<StageStats>> {
        let all = self.all.borrow();
        let mut walked = self.walked.borrow_mut();
        if let Some(next) = all.get(walked.len()) {
            walked.push(next.snapshot());
        }
        (walked.len() == all.len()).then(|| std::mem::take(&mut *walked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_walk_takes_one_at_a_time_and_ends_with_all() {
        let meters = Meters::default();
        assert_eq!(meters.walk(), Some(Vec::new()));
        meters.of(Lane::Batch, "a").record(ShardId(0), 5, 10, 0);
        let again = meters.of(Lane::Batch, "a");
        again.record(ShardId(0), 11, 10, 0);
        meters.of(Lane::Event, "a");
        assert_eq!(meters.walk(), None);
        let all = meters.walk().expect("both walked");
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].poll.count, all[0].overruns), (2, 1));
    }
}

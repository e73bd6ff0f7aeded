//! The telemetry stages of a shard, and a look at them.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    os::fd::RawFd,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
};

use env::Clock;
use model::ShardId;
use uring::{IoMode, clock::SystemClock};

use crate::{
    lane::Lane,
    meter::{Meter, Meters, StageMeter},
    stage::Stage,
};

/// Which stages a look polls.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// All: a duty cycle's own.
    All,
    /// Those that say they have work, or whose time has come: between lower-lane polls.
    Pending,
}

struct Entry {
    stage: Box<dyn Stage>,
    meter: Rc<StageMeter>,
}

/// The stages, in the order in which they are polled.
pub(crate) struct Stages {
    shard: ShardId,
    quantum_ns: u64,
    /// With epoll, work that the kernel holds is not seen in memory: then every look polls.
    always: bool,
    entries: RefCell<Vec<Entry>>,
    looked_ns: Cell<u64>,
    /// The duty cycle sleeps: the thread may have slept since the last look, and is nobody's delay then.
    asleep: Cell<bool>,
    /// What lower-lane polls took since the last look.
    busy_ns: Cell<u64>,
    interval: Meter,
    /// What a stage's panic said; the duty cycle goes on with it (S4).
    panic: RefCell<Option<Box<dyn Any + Send>>>,
}

impl Stages {
    pub(crate) fn new(shard: ShardId, quantum_ns: u64, mode: IoMode) -> Stages {
        Stages {
            shard,
            quantum_ns,
            always: mode == IoMode::Epoll,
            entries: RefCell::default(),
            looked_ns: Cell::new(SystemClock.monotonic_ns()),
            asleep: Cell::new(false),
            busy_ns: Cell::new(0),
            interval: Meter::new(),
            panic: RefCell::default(),
        }
    }

    pub(crate) fn install(&self, stages: Vec<Box<dyn Stage>>, meters: &Meters) {
        let entry = |stage: Box<dyn Stage>| Entry { meter: meters.of(Lane::Telemetry, stage.name()), stage };
        *self.entries.borrow_mut() = stages.into_iter().map(entry).collect();
    }

    /// Polls the stages in order, from `at_ns` on, which is now; answers the work done and when it was.
    /// Never panics: see [`Self::panicked`].
    pub(crate) fn look(&self, which: Look, budget: usize, mut at_ns: u64) -> (usize, u64) {
        // A stage that is being polled may run code that looks again: once is enough.
        let Ok(mut entries) = self.entries.try_borrow_mut() else { return (0, at_ns) };
        if self.has_panicked() {
            return (0, at_ns);
        }
        let busy_ns = self.busy_ns.take();
        let since_ns = if self.asleep.get() { busy_ns } else { at_ns.saturating_sub(self.looked_ns.get()) };
        self.interval.record(since_ns);
        let mut work = 0;
        for Entry { stage, meter } in entries.iter_mut() {
            let due = || stage.deadline_ns().is_some_and(|deadline_ns| deadline_ns <= at_ns);
            if which == Look::Pending && !self.always && !stage.pending() && !due() {
                continue;
            }
            let allocated = ring::allocations();
            let done = match catch_unwind(AssertUnwindSafe(|| stage.poll(budget))) {
                Ok(done) => done,
                Err(panic) => {
                    *self.panic.borrow_mut() = Some(panic);
                    break;
                }
            };
            meter.allocated_since(allocated);
            let from_ns = std::mem::replace(&mut at_ns, SystemClock.monotonic_ns());
            let took_ns = at_ns.saturating_sub(from_ns);
            // Polls that found nothing would drown those that did something.
            if done > 0 || took_ns > self.quantum_ns {
                meter.record(self.shard, took_ns, self.quantum_ns, at_ns);
            }
            work += done;
        }
        self.looked_ns.set(at_ns);
        (work, at_ns)
    }

    /// A lower-lane task was polled for so long.
    pub(crate) fn busy(&self, ns: u64) {
        self.busy_ns.set(self.busy_ns.get().saturating_add(ns));
    }

    /// Until [`Self::slept`] only the time that tasks took counts between two looks.
    pub(crate) fn sleeps(&self) {
        self.asleep.set(true);
    }

    /// The duty cycle is awake again: what it slept is nobody's delay.
    pub(crate) fn slept(&self) {
        self.asleep.set(false);
        let busy_ns = self.busy_ns.take();
        self.looked_ns.set(SystemClock.monotonic_ns().saturating_sub(busy_ns));
    }

    pub(crate) fn interval(&self) -> &Meter {
        &self.interval
    }

    pub(crate) fn panicked(&self) -> Option<Box<dyn Any + Send>> {
        self.panic.borrow_mut().take()
    }

    pub(crate) fn has_panicked(&self) -> bool {
        self.panic.borrow().is_some()
    }

    pub(crate) fn pending(&self) -> bool {
        self.entries.try_borrow().is_ok_and(|entries| entries.iter().any(|entry| entry.stage.pending()))
    }

    pub(crate) fn deadline_ns(&self) -> Option<u64> {
        self.entries.borrow().iter().filter_map(|entry| entry.stage.deadline_ns()).min()
    }

    pub(crate) fn wake_fds(&self) -> Vec<RawFd> {
        self.entries.borrow().iter().flat_map(|entry| entry.stage.wake_fds()).collect()
    }

    pub(crate) fn arm(&self) {
        self.entries.borrow_mut().iter_mut().for_each(|entry| entry.stage.arm());
    }

    pub(crate) fn close(&self) {
        self.entries.borrow_mut().iter_mut().for_each(|entry| entry.stage.close());
    }

    /// Names of the stages that are not finished.
    pub(crate) fn undrained(&self) -> Vec<&'static str> {
        let entries = self.entries.borrow();
        entries.iter().filter(|entry| !entry.stage.drained()).map(|entry| entry.stage.name()).collect()
    }

    pub(crate) fn drop_all(&self) {
        let entries = std::mem::take(&mut *self.entries.borrow_mut());
        drop(entries);
    }
}

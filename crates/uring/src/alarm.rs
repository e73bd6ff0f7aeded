//! Alarms: one kernel timer for all tasks of a thread that wait for a time.
//!
//! The runtime's own timers round up to the next millisecond, and its wait for the kernel does so
//! again; a device that is to be polled every 10 ms is polled up to 2 ms late by them.
//!
//! Invariants
//! - A1: the kernel's timer is set to the earliest time that a task waits for, or to an earlier one.
//! - A2: a timer has at most one entry, and none after it was dropped.

use crate::clock::SystemClock;
use crate::wake::TimerFd;
use env::clock::{Clock, Timer};
use model::TimestampNs;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// The alarms of a thread. Somebody has to [`run`](Alarms::run) them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Alarms(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    fd: TimerFd,
    waiting: RefCell<BTreeMap<(u64, u64), Waker>>,
    /// What the kernel's timer is set to; `u64::MAX`: to nothing.
    armed_ns: Cell<u64>,
    timers: Cell<u64>,
}

impl Alarms {
    /// None yet.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Alarms> {
        Ok(Alarms(Rc::new(Inner {
            fd: TimerFd::new()?,
            waiting: RefCell::default(),
            armed_ns: Cell::new(u64::MAX),
            timers: Cell::new(0),
        })))
    }

    /// Wakes whose time has come; never ends. To be polled on the alarms' own thread.
    ///
    /// # Errors
    /// The runtime cannot watch the timer.
    pub async fn run(self) -> io::Result<()> {
        let listener = self.0.fd.listen()?;
        loop {
            listener.clear();
            self.ring(SystemClock.monotonic_ns());
            listener.ready().await;
        }
    }

    fn ring(&self, now_ns: u64) {
        let (due, next_ns) = {
            let mut waiting = self.0.waiting.borrow_mut();
            let later = waiting.split_off(&(now_ns.saturating_add(1), 0));
            let next_ns = later.keys().next().map(|(at_ns, _)| *at_ns);
            (std::mem::replace(&mut *waiting, later), next_ns)
        };
        self.0.armed_ns.set(u64::MAX);
        if let Some(at_ns) = next_ns {
            self.0.arm(at_ns);
        }
        // Not while it is borrowed: a waker may run any code.
        due.into_values().for_each(Waker::wake);
    }
}

impl Inner {
    fn arm(&self, at_ns: u64) {
        if at_ns < self.armed_ns.get() {
            self.armed_ns.set(at_ns);
            self.fd.set(at_ns);
        }
    }
}

/// The machine's clocks, with timers of their own.
impl Clock for Alarms {
    fn wall(&self) -> TimestampNs {
        SystemClock.wall()
    }

    fn monotonic_ns(&self) -> u64 {
        SystemClock.monotonic_ns()
    }

    fn timer(&self) -> Option<Box<dyn Timer>> {
        let number = self.0.timers.get();
        self.0.timers.set(number + 1);
        Some(Box::new(AlarmTimer { alarms: Rc::clone(&self.0), number, entry_ns: None }))
    }
}

struct AlarmTimer {
    alarms: Rc<Inner>,
    number: u64,
    entry_ns: Option<u64>,
}

impl AlarmTimer {
    fn cancel(&mut self) {
        if let Some(at_ns) = self.entry_ns.take() {
            let taken = self.alarms.waiting.borrow_mut().remove(&(at_ns, self.number));
            // Not while it is borrowed: the last that knows of a task drops it here.
            drop(taken);
        }
    }
}

impl Timer for AlarmTimer {
    fn poll_at(&mut self, at_ns: u64, context: &mut Context<'_>) -> Poll<()> {
        if self.entry_ns != Some(at_ns) {
            self.cancel();
        }
        if SystemClock.monotonic_ns() >= at_ns {
            self.cancel();
            return Poll::Ready(());
        }
        let replaced = self.alarms.waiting.borrow_mut().insert((at_ns, self.number), context.waker().clone());
        drop(replaced);
        self.entry_ns = Some(at_ns);
        self.alarms.arm(at_ns);
        Poll::Pending
    }
}

impl Drop for AlarmTimer {
    fn drop(&mut self) {
        self.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    fn with_alarms(test: impl AsyncFnOnce(Alarms)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let alarms = Alarms::new().expect("a descriptor");
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let ringing = tokio::task::spawn_local(alarms.clone().run());
            test(alarms).await;
            ringing.abort();
        });
    }

    #[test]
    fn each_wakes_at_its_time_and_not_before() {
        with_alarms(async |alarms| {
            let start_ns = alarms.monotonic_ns();
            let mut order = Vec::new();
            let (mut late, mut soon) = (alarms.timer().expect("one"), alarms.timer().expect("one"));
            let (late_ns, soon_ns) = (start_ns + 3_000_000, start_ns + 1_000_000);
            let mut late_done = false;
            while order.len() < 2 {
                poll_fn(|cx| {
                    if !order.contains(&"soon") && soon.poll_at(soon_ns, cx).is_ready() {
                        order.push("soon");
                        return Poll::Ready(());
                    }
                    if !late_done && late.poll_at(late_ns, cx).is_ready() {
                        late_done = true;
                        order.push("late");
                        return Poll::Ready(());
                    }
                    Poll::Pending
                })
                .await;
            }
            assert_eq!(order, ["soon", "late"]);
            assert!(alarms.monotonic_ns() >= late_ns && alarms.0.waiting.borrow().is_empty());
        });
    }

    #[test]
    fn a_time_that_moves_leaves_nothing_behind_and_so_does_a_dropped_timer() {
        with_alarms(async |alarms| {
            let mut timer = alarms.timer().expect("one");
            let far_ns = alarms.monotonic_ns() + 3_600_000_000_000;
            let mut cx = Context::from_waker(Waker::noop());
            for moved in [0, 5, 3] {
                assert!(timer.poll_at(far_ns + moved, &mut cx).is_pending());
                assert_eq!(alarms.0.waiting.borrow().len(), 1);
            }
            assert_eq!(alarms.0.armed_ns.get(), far_ns);
            assert!(timer.poll_at(1, &mut cx).is_ready());
            assert_eq!(alarms.0.waiting.borrow().len(), 0);
            assert!(timer.poll_at(far_ns, &mut cx).is_pending());
            drop(timer);
            assert_eq!(alarms.0.waiting.borrow().len(), 0);
        });
    }
}

//! Alarms of a shard's tasks, all on the duty cycle's own timer.
//!
//! Purpose: a task that must be woken at a time costs an entry here, no timer and no system call of its
//! own; one look at the clock wakes all whose time has come.
//!
//! Invariants
//! - M1: an alarm that is set goes off once, at the first look at the clock after its time; the duty
//!   cycle looks in each cycle, and does not sleep past the earliest ([`Alarms::earliest_ns`]).
//! - M2: one entry an alarm, so that they are as many as the tasks that have one.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    task::Waker,
};

use env::clock::{Alarm, Alarms as Seam};

use crate::context::ShardContext;

/// The alarms that are set, by time.
#[derive(Default)]
pub(crate) struct Alarms {
    set: RefCell<BTreeMap<(u64, u64), Waker>>,
    next: Cell<u64>,
    /// When the sleeping duty cycle wakes by itself; 0 while it is awake.
    asleep_until_ns: Cell<u64>,
}

impl Alarms {
    /// Wakes all whose time has come; answers how many.
    pub(crate) fn fire(&self, now_ns: u64) -> usize {
        let mut fired = 0;
        loop {
            // Not held while waking: a waker may drop a task, and the task its alarm.
            let due = {
                let mut set = self.set.borrow_mut();
                let first = set.first_entry().filter(|first| first.key().0 <= now_ns);
                first.map(|first| first.remove())
            };
            let Some(waker) = due else { return fired };
            waker.wake();
            fired += 1;
        }
    }

    /// When the next goes off.
    pub(crate) fn earliest_ns(&self) -> Option<u64> {
        self.set.borrow().first_key_value().map(|((at_ns, _), _)| *at_ns)
    }

    /// The duty cycle sleeps until then; 0: it is awake.
    pub(crate) fn asleep_until(&self, at_ns: u64) {
        self.asleep_until_ns.set(at_ns);
    }
}

/// One alarm of a shard's task.
struct ShardAlarm {
    context: ShardContext,
    number: u64,
    at_ns: Option<u64>,
}

impl Seam for ShardContext {
    fn alarm(&self) -> Box<dyn Alarm> {
        let alarms = &self.inner.alarms;
        let number = alarms.next.replace(alarms.next.get() + 1);
        Box::new(ShardAlarm { context: self.clone(), number, at_ns: None })
    }
}

impl Alarm for ShardAlarm {
    fn set(&mut self, at_ns: u64, waker: &Waker) {
        let alarms = &self.context.inner.alarms;
        // Dropped outside the borrow: it may be the last of a task, which may have alarms.
        let replaced = {
            let mut set = alarms.set.borrow_mut();
            let old = self.at_ns.replace(at_ns).and_then(|old_ns| set.remove(&(old_ns, self.number)));
            let (waker, replaced) = match old {
                Some(old) if old.will_wake(waker) => (old, None),
                old => (waker.clone(), old),
            };
            set.insert((at_ns, self.number), waker);
            replaced
        };
        drop(replaced);
        if at_ns < alarms.asleep_until_ns.get() {
            self.context.kick();
        }
    }
}

impl Drop for ShardAlarm {
    fn drop(&mut self) {
        let old = self.at_ns.and_then(|at_ns| self.context.inner.alarms.set.borrow_mut().remove(&(at_ns, self.number)));
        drop(old);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        sync::{Arc, Mutex},
        task::{Poll, Wake},
    };

    use env::Clock;
    use model::ShardId;
    use uring::{IoMode, clock::SystemClock};

    use super::*;
    use crate::{Lane, Settings, spawn_thread};

    /// Notes that it was woken.
    struct Task(u32, Arc<Mutex<Vec<u32>>>);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.1.lock().expect("no test panics here").push(self.0);
        }
    }

    #[test]
    fn all_whose_time_has_come_go_off_once_in_the_order_of_their_times() {
        let woken = Arc::<Mutex<Vec<u32>>>::default();
        let waker = |number| Waker::from(Arc::new(Task(number, Arc::clone(&woken))));
        let alarms = Alarms::default();
        for (number, at_ns) in [(0, 30), (1, 10), (2, 20), (3, 40)] {
            alarms.set.borrow_mut().insert((at_ns, u64::from(number)), waker(number));
        }
        assert_eq!((alarms.fire(9), alarms.earliest_ns()), (0, Some(10)));
        assert_eq!((alarms.fire(30), alarms.fire(30), alarms.earliest_ns()), (3, 0, Some(40)));
        assert_eq!(*woken.lock().expect("no test panics here"), [1, 2, 0]);
    }

    /// A shard that sleeps is woken for the earliest, also where that was set while it slept, and an
    /// alarm that is set again or dropped goes off no more.
    #[test]
    fn a_task_is_woken_at_its_time_and_not_before() {
        for mode in [IoMode::Epoll, IoMode::Uring] {
            if mode == IoMode::Uring && uring::probe().is_err() {
                continue;
            }
            let (told, heard) = std::sync::mpsc::channel();
            let shard = spawn_thread(Settings::new(ShardId(0), mode), move |context| {
                let mut alarm = context.alarm();
                drop({
                    let mut dropped = context.alarm();
                    dropped.set(1, Waker::noop());
                    dropped
                });
                let mut left = [3_000_000, 200_000, 0].into_iter();
                let mut due_ns = None;
                context.spawn(
                    Lane::Telemetry,
                    "alarmed",
                    poll_fn(move |cx| {
                        let now_ns = SystemClock.monotonic_ns();
                        if let Some(due_ns) = due_ns {
                            told.send(now_ns >= due_ns).expect("the test listens");
                        }
                        let Some(after_ns) = left.next() else { return Poll::Ready(()) };
                        alarm.set(u64::MAX, cx.waker());
                        alarm.set(now_ns + after_ns, cx.waker());
                        due_ns = Some(now_ns + after_ns);
                        Poll::Pending
                    }),
                );
                Ok(Vec::new())
            })
            .expect("a thread");
            let woken: Vec<bool> = heard.iter().collect();
            assert_eq!(woken, [true; 3], "{mode}");
            shard.sender().close();
            shard.join().expect("a clean end");
        }
    }
}

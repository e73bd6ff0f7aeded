//! A shard's inbox: bounded, many senders, one receiver that may sleep.
//!
//! Invariants
//! - I1: an item is in the queue before its sender looks whether to ring (R3).
//! - I2: the bell rings only for a receiver that announced its sleep, and once per sleep.
//! - I3: a full inbox refuses; it never blocks and never drops what it took.
//! - I4: an item is taken by the receiver or dropped, also when the receiver goes (loom test in
//!   `bell`).
//!
//! What ringing means (an eventfd) is given by the owner; this crate knows no descriptor.

use std::{fmt, marker::PhantomData, sync::Arc};

use crossbeam_queue::ArrayQueue;
use crossbeam_utils::CachePadded;

use crate::bell::Bell;

struct Shared<T> {
    queue: ArrayQueue<T>,
    bell: CachePadded<Bell>,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl<T> Shared<T> {
    fn empty(&self) {
        while self.queue.pop().is_some() {}
    }
}

/// The receiving end; owned by one thread. When it goes, what waits is dropped, and so is what is
/// pushed afterwards.
pub struct Inbox<T> {
    shared: Arc<Shared<T>>,
    /// One receiver: may be moved to its thread, but not be used by two.
    one_thread: PhantomData<std::cell::Cell<()>>,
}

/// A sending end; as many as wanted.
pub struct InboxSender<T> {
    shared: Arc<Shared<T>>,
}

/// A new inbox for up to `capacity` items; `wake` is called by a sender whose item finds the
/// receiver asleep, on the sender's thread.
#[must_use]
pub fn inbox<T>(capacity: usize, wake: impl Fn() + Send + Sync + 'static) -> (InboxSender<T>, Inbox<T>) {
    let shared = Arc::new(Shared {
        queue: ArrayQueue::new(capacity),
        bell: CachePadded::new(Bell::new()),
        wake: Box::new(wake),
    });
    (InboxSender { shared: shared.clone() }, Inbox { shared, one_thread: PhantomData })
}

impl<T> InboxSender<T> {
    /// Puts an item into the inbox and wakes the receiver if it sleeps.
    ///
    /// # Errors
    /// The item, when the inbox is full (I3).
    pub fn push(&self, item: T) -> Result<(), T> {
        self.shared.queue.push(item)?;
        if self.shared.bell.must_ring() {
            (self.shared.wake)();
        }
        if self.shared.bell.is_retired() {
            self.shared.empty();
        }
        Ok(())
    }

    /// Items that wait at this moment.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.queue.len()
    }
}

impl<T> Clone for InboxSender<T> {
    fn clone(&self) -> Self {
        InboxSender { shared: self.shared.clone() }
    }
}

impl<T> fmt::Debug for InboxSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboxSender").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}

impl<T> Inbox<T> {
    /// The next item, if one is there.
    #[must_use]
    pub fn pop(&self) -> Option<T> {
        self.shared.queue.pop()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shared.queue.is_empty()
    }

    /// Announces sleep. `false` when something waits: then don't sleep.
    #[must_use]
    pub fn lie_down(&self) -> bool {
        self.shared.bell.lie_down(|| self.shared.queue.is_empty())
    }

    /// To be called when awake again after [`lie_down`](Self::lie_down) said `true`.
    pub fn get_up(&self) {
        self.shared.bell.get_up();
    }
}

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        self.shared.bell.retire();
        self.shared.empty();
    }
}

impl<T> fmt::Debug for Inbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("waiting", &self.shared.queue.len()).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn rings_only_for_a_sleeper_and_once() {
        let (bell, rung) = mpsc::channel();
        let (sender, inbox) = inbox(4, move || bell.send(()).expect("the test listens"));
        sender.push(1).expect("room");
        assert!(rung.try_recv().is_err(), "rang although nobody slept");
        assert!(!inbox.lie_down(), "slept over an item");
        assert_eq!(inbox.pop(), Some(1));
        assert!(inbox.lie_down());
        sender.push(2).expect("room");
        sender.push(3).expect("room");
        assert!(rung.try_recv().is_ok() && rung.try_recv().is_err(), "one ring a sleep");
        inbox.get_up();
        assert_eq!((inbox.pop(), inbox.pop(), inbox.pop()), (Some(2), Some(3), None));
    }

    #[test]
    fn nothing_is_kept_for_a_receiver_that_is_gone() {
        let (sender, inbox) = inbox(4, || {});
        let item = Arc::new(());
        sender.push(item.clone()).expect("room");
        drop(inbox);
        sender.push(item.clone()).expect("taken and dropped");
        assert_eq!(Arc::strong_count(&item), 1);
    }

    #[test]
    fn a_full_inbox_hands_the_item_back() {
        let (sender, inbox) = inbox(2, || {});
        sender.push("a").expect("room");
        sender.push("b").expect("room");
        assert_eq!(sender.push("c"), Err("c"));
        assert_eq!(inbox.pop(), Some("a"));
        sender.push("c").expect("room again");
        assert_eq!(sender.waiting(), 2);
    }

    /// Four threads send 10,000 items each to a receiver that sleeps whenever it may: all arrive,
    /// in order per sender.
    #[test]
    fn sleeping_receiver_misses_nothing() {
        const SENDERS: usize = 4;
        const ITEMS: usize = 10_000;
        let (bell, rung) = mpsc::channel();
        let (sender, inbox) = inbox(64, move || bell.send(()).expect("the test listens"));
        std::thread::scope(|scope| {
            for number in 0..SENDERS {
                let sender = sender.clone();
                scope.spawn(move || {
                    for item in 0..ITEMS {
                        let mut next = (number, item);
                        while let Err(back) = sender.push(next) {
                            next = back;
                            std::thread::yield_now();
                        }
                    }
                });
            }
            let mut seen = [0; SENDERS];
            while seen.iter().sum::<usize>() < SENDERS * ITEMS {
                match inbox.pop() {
                    Some((number, item)) => {
                        assert_eq!(seen[number], item);
                        seen[number] += 1;
                    }
                    None if inbox.lie_down() => {
                        rung.recv().expect("somebody rings");
                        inbox.get_up();
                    }
                    None => {}
                }
            }
        });
    }
}

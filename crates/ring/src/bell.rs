//! Who wakes a sleeping receiver, exactly once, and never for nothing while it is awake.
//!
//! The question is Dekker's: the sender writes *queue* and reads *sleeping*, the receiver writes
//! *sleeping* and reads *queue*. A sequentially consistent fence between write and read on both
//! sides makes it impossible that both read the old value: the sender sees the sleeper, or the
//! receiver sees the item.

use crate::atomic::{AtomicBool, Ordering, fence};

/// The flag between one receiver and its senders.
#[derive(Debug)]
pub(crate) struct Bell {
    sleeping: AtomicBool,
    retired: AtomicBool,
}

impl Bell {
    pub(crate) fn new() -> Bell {
        Bell { sleeping: AtomicBool::new(false), retired: AtomicBool::new(false) }
    }

    /// Sender, after its item is in the queue: whether this sender has to wake the receiver.
    pub(crate) fn must_ring(&self) -> bool {
        // SeqCst: puts the push before the look at the flag in the one order that all threads
        // agree on; pairs with the fence in `lie_down`.
        fence(Ordering::SeqCst);
        // Relaxed look first, so that senders to a receiver that is awake share the line read-only.
        // AcqRel swap: of several senders one wins; it takes over what the receiver did before it
        // lay down, and publishes its push with the answer.
        self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::AcqRel)
    }

    /// Sender, after [`must_ring`](Self::must_ring): whether the receiver is gone for good, so that
    /// what is in the queue is the senders' to drop.
    pub(crate) fn is_retired(&self) -> bool {
        // Relaxed: the fence in `must_ring` put the push before this look.
        self.retired.load(Ordering::Relaxed)
    }

    /// Receiver, when it goes for good, before it empties the queue.
    pub(crate) fn retire(&self) {
        // Relaxed store: the fence below orders it before the emptying of the queue.
        self.retired.store(true, Ordering::Relaxed);
        // SeqCst: a push that the emptying misses is followed by a look that sees the flag; pairs
        // with the fence in `must_ring`.
        fence(Ordering::SeqCst);
    }

    /// Receiver, before it sleeps: whether it may, given a look at its queue made after the flag
    /// was set.
    pub(crate) fn lie_down(&self, queue_is_empty: impl FnOnce() -> bool) -> bool {
        // Relaxed store: the fence below orders it before the look at the queue.
        self.sleeping.store(true, Ordering::Relaxed);
        // SeqCst: puts the flag before the look at the queue; pairs with the fence in `must_ring`.
        fence(Ordering::SeqCst);
        if queue_is_empty() {
            return true;
        }
        self.get_up();
        false
    }

    /// Receiver, when it is up again, whatever woke it.
    pub(crate) fn get_up(&self) {
        // Relaxed: a sender that still sees the sleeper rings once for nothing, no more.
        self.sleeping.store(false, Ordering::Relaxed);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::atomic::AtomicU64;
    use loom::{sync::Arc, thread};

    /// An item that is pushed while the receiver goes is dropped by one of the two.
    #[test]
    fn no_item_is_left_behind_a_receiver_that_goes() {
        loom::model(|| {
            let bell = Arc::new(Bell::new());
            let queue = Arc::new(AtomicU64::new(0));
            let sender = {
                let (bell, queue) = (bell.clone(), queue.clone());
                thread::spawn(move || {
                    queue.store(1, Ordering::Release);
                    let _ = bell.must_ring();
                    if bell.is_retired() {
                        queue.store(0, Ordering::Release);
                    }
                })
            };
            bell.retire();
            // A swap reads the newest value, as a pop from a queue does.
            queue.swap(0, Ordering::AcqRel);
            sender.join().expect("the sender ends");
            assert_eq!(queue.load(Ordering::Acquire), 0, "an item was left behind");
        });
    }

    /// R3: with two senders and one receiver that lies down, an item is seen or the bell is rung.
    #[test]
    fn no_item_is_slept_over() {
        // Three preemptions suffice for any two of these threads to overtake each other at each of
        // their two accesses; without a bound the run takes minutes.
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let bell = Arc::new(Bell::new());
            let queue = Arc::new(AtomicU64::new(0));
            let rung = Arc::new(AtomicU64::new(0));
            let senders: Vec<_> = (0..2)
                .map(|_| {
                    let (bell, queue, rung) = (bell.clone(), queue.clone(), rung.clone());
                    thread::spawn(move || {
                        queue.fetch_add(1, Ordering::Release);
                        if bell.must_ring() {
                            rung.fetch_add(1, Ordering::Relaxed);
                        }
                    })
                })
                .collect();
            let slept = bell.lie_down(|| queue.load(Ordering::Acquire) == 0);
            for sender in senders {
                sender.join().expect("a sender ends");
            }
            if slept {
                assert_eq!(rung.load(Ordering::Relaxed), 1, "asleep over an item, or rung twice");
            }
        });
    }
}

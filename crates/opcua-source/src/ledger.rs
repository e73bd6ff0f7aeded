//! Which messages may be acknowledged: those whose readings are durable.
//!
//! Invariants
//! - L1: a number is handed out for acknowledgement only after the log position of its readings was
//!   reported durable (or it carried nothing to keep).
//! - L2: at most [`UNACKED_MAX`] messages wait; then no further Publish request goes out and the
//!   server keeps what is new (back pressure).
//! - L3: an acknowledgement whose request failed is handed out again; the server answers a repeat
//!   with BadSequenceNumberUnknown, which harms nothing (OPC 10000-4, 5.14.5).
//!
//! What it does not do: it waits for nothing and sends nothing.

use model::LogPosition;
use std::collections::VecDeque;

/// Messages taken but not durable yet, at most. A server must keep at least twice as many unacknowledged
/// messages as it takes Publish requests (OPC 10000-4, 5.14.1.2), and takes 2 or more of those per
/// subscription; small servers keep no more than 8.
pub(crate) const UNACKED_MAX: usize = 8;
/// Acknowledgements of one Publish request, at most: far above [`UNACKED_MAX`], so that one is enough.
pub(crate) const ACKS_PER_PUBLISH_MAX: usize = 64;

/// One message of one subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ack {
    /// The subscription's id, as the server gave it.
    pub(crate) subscription: u32,
    /// The message's sequence number.
    pub(crate) number: u32,
}

/// Messages between "taken" and "acknowledged".
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    waiting: VecDeque<(Ack, LogPosition)>,
    ready: VecDeque<Ack>,
}

impl Ledger {
    /// A message's readings were taken; they are durable when the log is, up to this position.
    pub(crate) fn taken(&mut self, ack: Ack, position: LogPosition) {
        self.waiting.push_back((ack, position));
    }

    /// A message carried nothing to keep.
    pub(crate) fn empty(&mut self, ack: Ack) {
        self.ready.push_back(ack);
    }

    /// The position that is waited for next.
    pub(crate) fn front(&self) -> Option<LogPosition> {
        self.waiting.front().map(|(_, position)| *position)
    }

    /// The log is durable up to this position.
    pub(crate) fn durable(&mut self, position: LogPosition) {
        while let Some((ack, at)) = self.waiting.front().copied() {
            if at > position {
                break;
            }
            self.waiting.pop_front();
            self.ready.push_back(ack);
        }
    }

    /// How many messages are not durable yet.
    pub(crate) fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    /// Whether something can be acknowledged.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes acknowledgements for one Publish request.
    pub(crate) fn take(&mut self) -> Vec<Ack> {
        let count = self.ready.len().min(ACKS_PER_PUBLISH_MAX);
        self.ready.drain(..count).collect()
    }

    /// The request that carried these failed.
    pub(crate) fn give_back(&mut self, acks: Vec<Ack>) {
        for ack in acks.into_iter().rev() {
            self.ready.push_front(ack);
        }
    }

    /// Forgets everything: the subscriptions are gone, so nobody wants their acknowledgements.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
        self.ready.clear();
    }
}

/// How many Publish requests to keep at the server.
#[derive(Debug)]
pub(crate) struct Window {
    target: usize,
}

/// Requests that are kept outstanding at any time, where the server allows it.
const OUTSTANDING_MIN: usize = 2;
/// Requests outstanding at most: one more, which waits for an acknowledgement to carry.
const OUTSTANDING_MAX: usize = 3;

impl Window {
    /// The window of a new session.
    pub(crate) const fn new() -> Window {
        Window { target: OUTSTANDING_MAX }
    }

    /// The server said BadTooManyPublishRequests: one less from now on, never none.
    pub(crate) const fn shrink(&mut self) {
        if self.target > 1 {
            self.target -= 1;
        }
    }

    /// Whether one more request should go out now. The first [`OUTSTANDING_MIN`] go at once; the
    /// last goes when it has an acknowledgement to carry, or when none is to be expected soon.
    pub(crate) fn wants(&self, outstanding: usize, ledger: &Ledger) -> bool {
        if outstanding >= self.target || ledger.waiting_count() >= UNACKED_MAX {
            return false;
        }
        outstanding < OUTSTANDING_MIN || ledger.has_ready() || ledger.waiting_count() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(number: u32) -> Ack {
        Ack { subscription: 7, number }
    }

    #[test]
    fn nothing_is_acknowledged_before_it_is_durable() {
        let mut ledger = Ledger::default();
        ledger.taken(ack(1), LogPosition(100));
        ledger.taken(ack(2), LogPosition(200));
        assert!(!ledger.has_ready() && ledger.take().is_empty());
        assert_eq!(ledger.front(), Some(LogPosition(100)));
        ledger.durable(LogPosition(199));
        assert_eq!(ledger.take(), vec![ack(1)]);
        ledger.durable(LogPosition(200));
        assert_eq!(ledger.take(), vec![ack(2)]);
        assert_eq!((ledger.front(), ledger.waiting_count()), (None, 0));
    }

    #[test]
    fn a_failed_request_gives_its_acknowledgements_back_in_order() {
        let mut ledger = Ledger::default();
        for number in 1..=3 {
            ledger.empty(ack(number));
        }
        let acks = ledger.take();
        ledger.empty(ack(4));
        ledger.give_back(acks);
        assert_eq!(ledger.take(), vec![ack(1), ack(2), ack(3), ack(4)]);
    }

    #[test]
    fn two_requests_go_at_once_and_the_third_waits_for_something_to_acknowledge() {
        let (mut window, mut ledger) = (Window::new(), Ledger::default());
        assert!(window.wants(0, &ledger) && window.wants(1, &ledger) && window.wants(2, &ledger));
        assert!(!window.wants(3, &ledger));
        ledger.taken(ack(1), LogPosition(1));
        assert!(window.wants(1, &ledger) && !window.wants(2, &ledger));
        ledger.durable(LogPosition(1));
        assert!(window.wants(2, &ledger));
        for _ in 0..5 {
            window.shrink();
        }
        assert!(window.wants(0, &ledger) && !window.wants(1, &ledger));
    }

    #[test]
    fn too_many_undurable_messages_stop_publishing() {
        let (window, mut ledger) = (Window::new(), Ledger::default());
        for number in 1..=UNACKED_MAX as u32 {
            ledger.taken(ack(number), LogPosition(u64::from(number)));
        }
        assert!(!window.wants(0, &ledger));
        ledger.durable(LogPosition(1));
        assert!(window.wants(0, &ledger));
    }
}

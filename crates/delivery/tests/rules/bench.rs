//! A consumer at a bench: items go in by hand, answers too, and time stands still until it is moved.

use delivery::{Action, Attempted, BreakerPolicy, Consumer, DeliveryId, End, Item, Offset, Outcome, Policy};
use model::TimestampNs;

/// One millisecond, ns.
pub const MS: i64 = 1_000_000;
/// One second, ns.
pub const S: i64 = 1_000 * MS;

pub const DOWN: Outcome = Outcome::Unavailable { retry_after_ns: None };
pub const FAILED: Outcome = Outcome::Failed { retry_after_ns: None };

/// A policy without a rate, whose breaker stays closed.
pub fn policy() -> Policy {
    let breaker = BreakerPolicy { failures: u32::MAX, open_ns: 10 * S as u64, open_max_ns: 40 * S as u64 };
    Policy { attempts: 3, concurrency: 100, rate_per_s: None, breaker, ..Policy::default() }
}

/// The same with a breaker of so many failures.
pub fn with_breaker(failures: u32) -> Policy {
    let policy = policy();
    Policy { breaker: BreakerPolicy { failures, ..policy.breaker }, ..policy }
}

pub fn first(offset: u64) -> DeliveryId {
    DeliveryId { offset: Offset(offset), replay: 0 }
}

pub struct Bench {
    pub consumer: Consumer,
    pub now: i64,
    last: u64,
    /// All ends so far.
    pub ends: Vec<(DeliveryId, End)>,
    /// All failed attempts so far.
    pub attempted: Vec<Attempted>,
}

impl Bench {
    pub fn new(policy: Policy) -> Bench {
        let consumer = Consumer::new(policy, 42);
        Bench { consumer, now: 1_000_000 * S, last: 0, ends: Vec::new(), attempted: Vec::new() }
    }

    pub fn time(&self) -> TimestampNs {
        TimestampNs(self.now)
    }

    pub fn item(&self, offset: u64, key: u64) -> Item {
        Item { offset: Offset(offset), key, time: self.time(), bytes: 100 }
    }

    /// Offers the next item, published now.
    pub fn offer(&mut self, key: u64) -> DeliveryId {
        self.last += 1;
        let item = self.item(self.last, key);
        self.consumer.offer(item, self.time()).expect("there is room");
        first(self.last)
    }

    fn sort(&mut self, actions: Vec<Action>) -> Vec<(DeliveryId, bool)> {
        let mut starts = Vec::new();
        for action in actions {
            match action {
                Action::Start { id, probe, .. } => starts.push((id, probe)),
                Action::Settled(settled) => self.ends.push((settled.id, settled.end)),
                Action::Attempted(attempted) => self.attempted.push(attempted),
            }
        }
        starts
    }

    /// Polls; answers what starts, and whether as a probe.
    pub fn poll(&mut self) -> Vec<(DeliveryId, bool)> {
        let mut actions = Vec::new();
        self.consumer.poll(self.time(), &mut actions);
        let due = self.consumer.deadline(self.time());
        assert!(due.is_none_or(|due| due > self.time()), "a poll asks for another at once: {due:?}");
        self.sort(actions)
    }

    /// Polls; answers the offsets of what starts.
    pub fn starts(&mut self) -> Vec<u64> {
        self.poll().into_iter().map(|(id, _)| id.offset.0).collect()
    }

    pub fn answer(&mut self, id: DeliveryId, outcome: Outcome) {
        let mut actions = Vec::new();
        self.consumer.on_outcome(id, outcome, self.time(), &mut actions);
        assert_eq!(self.sort(actions), [], "an answer starts nothing");
    }

    /// Moves the time to the deadline; answers it.
    pub fn wait(&mut self) -> i64 {
        let due = self.consumer.deadline(self.time()).expect("something is due");
        self.now = self.now.max(due.0);
        self.now
    }

    /// Polls at deadlines until something starts.
    pub fn until_start(&mut self) -> Vec<u64> {
        for _ in 0..1_000 {
            let starts = self.starts();
            if !starts.is_empty() {
                return starts;
            }
            self.wait();
        }
        panic!("nothing starts");
    }

    pub fn end_of(&self, id: DeliveryId) -> Option<&End> {
        self.ends.iter().find(|(ended, _)| *ended == id).map(|(_, end)| end)
    }
}

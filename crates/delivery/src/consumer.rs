//! One flow's deliveries.
//!
//! Purpose: the state of a consumer, and what survives a restart. What goes in stands in `offer`,
//! what is started in `start`, what comes back in `answer`, what can be seen in `look`.
//!
//! Each key has a queue; its head may start when it is not under way and its wait is over. Keys
//! whose head may start have a turn in `ready`; waits and expiries stand in order of time. What ends
//! leaves all of them at once. So a poll costs what is due and what starts, not what is held, and
//! nothing is kept of what has ended.

mod answer;
mod look;
mod offer;
mod start;

use crate::breaker::Breaker;
use crate::end::{Action, Attempted, End, Settled};
use crate::policy::{DeliveryId, Item, Offset, Policy};
use crate::random::SplitMix64;
use crate::rate::Bucket;
use crate::restore::{Carried, Snapshot};
use crate::view::Counts;
use model::TimestampNs;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

#[derive(Clone, Debug)]
struct Held {
    item: Item,
    attempts: u32,
    counted: u32,
    /// Failures in a row, for the back-off.
    failures: u32,
    in_flight: bool,
    in_doubt: bool,
    probing: bool,
    /// When its wait is over; it stands in `waits` meanwhile.
    next: Option<TimestampNs>,
    /// When it expires; it stands in `expiries` while it is not under way.
    expires: Option<TimestampNs>,
    /// How many the target had delivered at the end of the attempt before (E4).
    seen_delivered: Option<u64>,
}

impl Held {
    const fn is_retrying(&self) -> bool {
        !self.in_flight && self.attempts > 0
    }
}

#[derive(Clone, Debug, Default)]
struct Key {
    queue: VecDeque<DeliveryId>,
    /// Its turn in `ready`.
    turn: Option<u64>,
}

/// One flow's deliveries to one target.
#[derive(Clone, Debug)]
pub struct Consumer {
    policy: Policy,
    random: SplitMix64,
    breaker: Breaker,
    bucket: Option<Bucket>,
    held: HashMap<DeliveryId, Held>,
    keys: HashMap<u64, Key>,
    /// Keys whose head may start, by turn.
    ready: BTreeMap<u64, u64>,
    turns: u64,
    /// Heads that wait for another attempt, by when the wait is over.
    waits: BTreeSet<(TimestampNs, u64)>,
    /// What may expire now, by when it does.
    expiries: BTreeSet<(TimestampNs, DeliveryId)>,
    /// Keys in which the next poll looks for what a newer item replaces.
    crowded: BTreeSet<u64>,
    /// First deliveries that have not ended.
    unsettled: BTreeSet<Offset>,
    /// Ends above the low mark, and carried attempts: what a snapshot holds.
    settled_above: BTreeSet<Offset>,
    carried: BTreeMap<DeliveryId, Carried>,
    low: Offset,
    scanned: Offset,
    bytes: usize,
    in_flight: u32,
    in_doubt: u64,
    retrying: u64,
    /// Until when the rate holds what is ready back.
    throttled: Option<TimestampNs>,
    last_failed: Option<u64>,
    /// What is under way as the breaker's trial.
    trial: Option<DeliveryId>,
    paused: bool,
    counts: Counts,
}

impl Consumer {
    /// An empty one that begins behind offset 0.
    #[must_use]
    pub fn new(policy: Policy, seed: u64) -> Consumer {
        Consumer {
            breaker: Breaker::new(policy.breaker),
            bucket: policy.rate_per_s.map(Bucket::new),
            policy,
            random: SplitMix64::new(seed),
            held: HashMap::new(),
            keys: HashMap::new(),
            ready: BTreeMap::new(),
            turns: 0,
            waits: BTreeSet::new(),
            expiries: BTreeSet::new(),
            crowded: BTreeSet::new(),
            unsettled: BTreeSet::new(),
            settled_above: BTreeSet::new(),
            carried: BTreeMap::new(),
            low: Offset(0),
            scanned: Offset(0),
            bytes: 0,
            in_flight: 0,
            in_doubt: 0,
            retrying: 0,
            throttled: None,
            last_failed: None,
            trial: None,
            paused: false,
            counts: Counts::default(),
        }
    }

    /// One that goes on where a snapshot was taken; entries behind it are folded in next, then items
    /// are offered again from [`low`](Self::low) on.
    #[must_use]
    pub fn restore(snapshot: &Snapshot, policy: Policy, seed: u64) -> Consumer {
        let mut consumer = Consumer::new(policy, seed);
        consumer.low = snapshot.low;
        consumer.scanned = snapshot.low;
        consumer.settled_above = snapshot.settled.iter().copied().filter(|offset| *offset > snapshot.low).collect();
        consumer.carried = snapshot.attempts.iter().map(|carried| (carried.id, *carried)).collect();
        consumer.paused = snapshot.paused;
        consumer
    }

    /// What must survive a restart. An attempt under way may have taken effect by the time that the
    /// snapshot is read, so it is in doubt there.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let tried = self.held.iter().filter(|(_, held)| held.attempts > 0 || held.in_doubt);
        let mut attempts: Vec<Carried> = tried
            .map(|(id, held)| Carried {
                id: *id,
                attempts: held.attempts,
                counted: held.counted,
                in_doubt: held.in_doubt || held.in_flight,
            })
            .chain(self.carried.values().copied())
            .collect();
        attempts.sort_by_key(|carried| carried.id);
        Snapshot { low: self.low, settled: self.settled_above.iter().copied().collect(), attempts, paused: self.paused }
    }

    /// An end that the journal holds. Entries are folded before anything is offered.
    pub fn fold_settled(&mut self, settled: &Settled) {
        self.carried.remove(&settled.id);
        if settled.id.replay == 0 && settled.id.offset > self.low {
            self.settled_above.insert(settled.id.offset);
        }
    }

    /// An attempt that the journal holds.
    pub fn fold_attempted(&mut self, attempted: &Attempted) {
        if attempted.id.replay == 0 && !self.is_new(attempted.id.offset) {
            return;
        }
        let Attempted { id, attempt, counted, in_doubt, .. } = *attempted;
        let carried = self.carried.entry(id).or_insert(Carried { id, attempts: 0, counted: 0, in_doubt: false });
        if attempt >= carried.attempts {
            *carried = Carried { id, attempts: attempt, counted: counted.max(carried.counted), in_doubt };
        }
    }

    fn is_new(&self, offset: Offset) -> bool {
        offset > self.low && !self.settled_above.contains(&offset)
    }

    /// Other settings, from the next poll on; they hold for what is held already, too.
    pub fn set_policy(&mut self, policy: Policy) {
        self.breaker.set_policy(policy.breaker);
        if policy.rate_per_s != self.policy.rate_per_s {
            self.bucket = policy.rate_per_s.map(Bucket::new);
            self.throttled = None;
        }
        self.policy = policy;
        self.expiries.clear();
        for (id, held) in &mut self.held {
            held.expires = expires(&self.policy, &held.item);
            self.expiries.extend(held.expires.filter(|_| !held.in_flight).map(|due| (due, *id)));
        }
        self.crowded = if self.policy.coalesce { self.keys.keys().copied().collect() } else { BTreeSet::new() };
    }

    /// Ends an item and tells so.
    fn end(&mut self, id: DeliveryId, end: End, out: &mut Vec<Action>) {
        let Some(held) = self.held.remove(&id) else { return };
        self.bytes -= held.item.bytes;
        self.in_doubt -= u64::from(held.in_doubt);
        self.retrying -= u64::from(held.is_retrying());
        if let Some(next) = held.next {
            self.waits.remove(&(next, held.item.key));
        }
        if let Some(due) = held.expires {
            self.expiries.remove(&(due, id));
        }
        match end {
            End::Delivered => self.counts.delivered += 1,
            End::Dead { .. } => self.counts.dead += 1,
            End::Expired => self.counts.expired += 1,
            End::Superseded { .. } => self.counts.superseded += 1,
            End::Skipped => {}
        }
        out.push(Action::Settled(Settled { id, end }));
        if id.replay == 0 {
            self.unsettled.remove(&id.offset);
            self.settled_above.insert(id.offset);
            self.settle_low();
        }
        self.leave_queue(held.item.key, id);
    }

    fn leave_queue(&mut self, key: u64, id: DeliveryId) {
        let Some(entry) = self.keys.get_mut(&key) else { return };
        if let Some(place) = entry.queue.iter().position(|other| *other == id) {
            entry.queue.remove(place);
        }
        self.give_turn(key);
        if self.keys.get(&key).is_some_and(|entry| entry.queue.is_empty()) {
            self.keys.remove(&key);
            self.crowded.remove(&key);
        }
    }

    /// Gives a key a turn if its head may start, and takes it away if not.
    fn give_turn(&mut self, key: u64) {
        let Some(entry) = self.keys.get_mut(&key) else { return };
        let head = entry.queue.front().and_then(|id| self.held.get(id));
        let may = head.is_some_and(|held| !held.in_flight && held.next.is_none());
        match entry.turn {
            None if may => {
                entry.turn = Some(self.turns);
                self.ready.insert(self.turns, key);
                self.turns += 1;
                // it may be new enough to pass the rate
                self.throttled = None;
            }
            Some(turn) if !may => {
                entry.turn = None;
                self.ready.remove(&turn);
            }
            _ => {}
        }
    }

    fn settle_low(&mut self) {
        let low = match self.unsettled.first() {
            Some(first) => Offset(first.0.saturating_sub(1)),
            None => self.scanned,
        };
        self.low = self.low.max(low.min(self.scanned));
        while self.settled_above.first().is_some_and(|first| *first <= self.low) {
            self.settled_above.pop_first();
        }
    }
}

fn expires(policy: &Policy, item: &Item) -> Option<TimestampNs> {
    policy.expire_ns.map(|ns| item.time.plus_ns(i64::try_from(ns).unwrap_or(i64::MAX)))
}

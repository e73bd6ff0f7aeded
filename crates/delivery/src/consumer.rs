//! One flow's deliveries.
//!
//! Each key has a queue; its head may start when it is not under way and its wait is over. Heads
//! that may start stand in `ready`, each once; waits stand in a heap. So a poll costs what is due
//! and what starts, not what is held.

use crate::backoff::backoff_ns;
use crate::breaker::{Breaker, BreakerState};
use crate::end::{Action, Attempted, DeadReason, End, Outcome, Settled};
use crate::policy::{DeliveryId, Full, Item, Offset, Policy};
use crate::random::SplitMix64;
use crate::rate::{BACKLOG_AGE_NS, Bucket};
use crate::restore::{Carried, Snapshot};
use crate::view::{Counts, ItemState, ItemView};
use model::TimestampNs;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, VecDeque};

/// Keys that one poll looks at while the rate holds backlog back.
const THROTTLED_LOOKS_MAX: usize = 64;

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
    next: Option<TimestampNs>,
    /// How many the target had delivered at the end of the attempt before (E4).
    seen_delivered: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct Key {
    queue: VecDeque<DeliveryId>,
    is_ready: bool,
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
    ready: VecDeque<u64>,
    waits: BinaryHeap<Reverse<(TimestampNs, u64)>>,
    expiries: BinaryHeap<Reverse<(TimestampNs, DeliveryId)>>,
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
    /// Ends that no poll has told yet.
    untold: Vec<Settled>,
    /// Until when the rate holds what is ready back.
    throttled: Option<TimestampNs>,
    last_failed: Option<u64>,
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
            ready: VecDeque::new(),
            waits: BinaryHeap::new(),
            expiries: BinaryHeap::new(),
            unsettled: BTreeSet::new(),
            settled_above: BTreeSet::new(),
            carried: BTreeMap::new(),
            low: Offset(0),
            scanned: Offset(0),
            bytes: 0,
            in_flight: 0,
            in_doubt: 0,
            retrying: 0,
            untold: Vec::new(),
            throttled: None,
            last_failed: None,
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
        consumer.settled_above = snapshot.settled.iter().copied().collect();
        consumer.carried = snapshot.attempts.iter().map(|carried| (carried.id, *carried)).collect();
        consumer.paused = snapshot.paused;
        consumer
    }

    /// What must survive a restart.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let tried = self.held.iter().filter(|(_, held)| held.attempts > 0);
        let mut attempts: Vec<Carried> = tried
            .map(|(id, held)| Carried {
                id: *id,
                attempts: held.attempts,
                counted: held.counted,
                in_doubt: held.in_doubt,
            })
            .chain(self.carried.values().copied())
            .collect();
        attempts.sort_by_key(|carried| carried.id);
        Snapshot {
            low: self.low(),
            settled: self.settled_above.iter().copied().filter(|offset| *offset > self.low()).collect(),
            attempts,
            paused: self.paused,
        }
    }

    /// An end that the journal holds.
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

    /// Other settings, from the next poll on.
    pub fn set_policy(&mut self, policy: Policy) {
        self.breaker.set_policy(policy.breaker);
        if policy.rate_per_s != self.policy.rate_per_s {
            self.bucket = policy.rate_per_s.map(Bucket::new);
        }
        self.policy = policy;
    }

    /// How many more items it would take; 0 where the bytes are at their limit, too.
    #[must_use]
    pub fn room(&self) -> usize {
        if self.bytes >= self.policy.window_bytes && !self.held.is_empty() {
            return 0;
        }
        (self.policy.window as usize).saturating_sub(self.held.len())
    }

    /// Whether the window is full of what waits behind keys that are held up (E6).
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.room() == 0 && self.in_flight == 0 && self.ready.is_empty()
    }

    /// Offers the next item, in the order of offsets. What has ended already is passed over.
    ///
    /// # Errors
    /// [`Full`]: it was not taken.
    pub fn offer(&mut self, item: Item, now: TimestampNs) -> Result<(), Full> {
        let _ = now;
        if item.offset <= self.scanned {
            return Ok(());
        }
        if !self.is_new(item.offset) {
            self.scanned = item.offset;
            return Ok(());
        }
        if self.room() == 0 {
            return Err(Full);
        }
        self.scanned = item.offset;
        self.unsettled.insert(item.offset);
        let id = DeliveryId { offset: item.offset, replay: 0 };
        if self.policy.coalesce {
            self.supersede(item.key, item.offset);
        }
        self.hold(id, item);
        Ok(())
    }

    /// Orders a delivery again: it goes behind what waits for its key, and takes room even where
    /// there is none, since a person asked for it.
    pub fn offer_again(&mut self, item: Item, replay: u32) {
        let id = DeliveryId { offset: item.offset, replay };
        if replay > 0 && !self.held.contains_key(&id) {
            self.hold(id, item);
        }
    }

    /// Everything up to here that was not offered is none of this consumer's.
    pub fn skip_to(&mut self, offset: Offset) {
        self.scanned = self.scanned.max(offset);
        self.settle_low();
    }

    fn hold(&mut self, id: DeliveryId, item: Item) {
        let carried = self.carried.remove(&id);
        let held = Held {
            item,
            attempts: carried.map_or(0, |carried| carried.attempts),
            counted: carried.map_or(0, |carried| carried.counted),
            failures: 0,
            in_flight: false,
            in_doubt: carried.is_some_and(|carried| carried.in_doubt),
            probing: false,
            next: None,
            seen_delivered: None,
        };
        self.bytes += item.bytes;
        self.in_doubt += u64::from(held.in_doubt);
        if let Some(expire) = self.policy.expire_ns {
            self.expiries.push(Reverse((item.time.plus_ns(i64::try_from(expire).unwrap_or(i64::MAX)), id)));
        }
        self.held.insert(id, held);
        let key = self.keys.entry(item.key).or_default();
        key.queue.push_back(id);
        if key.queue.len() == 1 && !key.is_ready {
            key.is_ready = true;
            self.ready.push_back(item.key);
        }
    }

    /// Older items of a key that are not under way end: a newer one goes out instead.
    fn supersede(&mut self, key: u64, by: Offset) {
        let Some(queue) = self.keys.get(&key).map(|key| key.queue.clone()) else { return };
        for id in queue {
            if id.replay == 0 && self.held.get(&id).is_some_and(|held| !held.in_flight) {
                self.end(id, End::Superseded { by });
            }
        }
    }

    /// Ends an item; the end is told by the next poll.
    fn end(&mut self, id: DeliveryId, end: End) {
        let Some(held) = self.held.remove(&id) else { return };
        self.bytes -= held.item.bytes;
        self.in_doubt -= u64::from(held.in_doubt);
        self.retrying -= u64::from(is_retrying(&held));
        match end {
            End::Delivered => self.counts.delivered += 1,
            End::Dead { .. } => self.counts.dead += 1,
            End::Expired => self.counts.expired += 1,
            End::Superseded { .. } => self.counts.superseded += 1,
            End::Skipped => {}
        }
        self.untold.push(Settled { id, end });
        if id.replay == 0 {
            self.unsettled.remove(&id.offset);
            self.settled_above.insert(id.offset);
            self.settle_low();
        }
        self.leave_queue(held.item.key, id);
    }

    fn leave_queue(&mut self, key: u64, id: DeliveryId) {
        let Some(entry) = self.keys.get_mut(&key) else { return };
        if entry.queue.front() == Some(&id) {
            entry.queue.pop_front();
        } else {
            entry.queue.retain(|other| *other != id);
        }
        if entry.queue.is_empty() && !entry.is_ready {
            self.keys.remove(&key);
        } else {
            self.wake(key);
        }
    }

    /// Puts a key among the ready ones, if its head may start.
    fn wake(&mut self, key: u64) {
        let Some(entry) = self.keys.get_mut(&key) else { return };
        let head = entry.queue.front().and_then(|id| self.held.get(id));
        let may = head.is_some_and(|held| !held.in_flight && held.next.is_none());
        if may && !entry.is_ready {
            entry.is_ready = true;
            self.ready.push_back(key);
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

    /// Says what to do now.
    pub fn poll(&mut self, now: TimestampNs, out: &mut Vec<Action>) {
        self.expire(now);
        while let Some(Reverse((due, key))) = self.waits.peek().copied().filter(|Reverse((due, _))| *due <= now) {
            self.waits.pop();
            self.wait_is_over(key, due);
        }
        if !self.paused {
            self.start(now, out);
        }
        self.tell(out);
    }

    fn tell(&mut self, out: &mut Vec<Action>) {
        out.extend(self.untold.drain(..).map(Action::Settled));
    }

    fn wait_is_over(&mut self, key: u64, due: TimestampNs) {
        let head = self.keys.get(&key).and_then(|entry| entry.queue.front().copied());
        if let Some(held) = head.and_then(|id| self.held.get_mut(&id))
            && held.next.is_some_and(|next| next <= due)
        {
            held.next = None;
            self.wake(key);
        }
    }

    fn expire(&mut self, now: TimestampNs) {
        while let Some(Reverse((_, id))) = self.expiries.peek().copied().filter(|Reverse((due, _))| *due <= now) {
            self.expiries.pop();
            // what is under way is judged when its answer is there
            if self.held.get(&id).is_some_and(|held| !held.in_flight) {
                self.end(id, End::Expired);
            }
        }
    }

    fn start(&mut self, now: TimestampNs, out: &mut Vec<Action>) {
        self.throttled = None;
        let (mut looks, mut held_back) = (0, VecDeque::new());
        while self.in_flight < self.policy.concurrency && looks < THROTTLED_LOOKS_MAX {
            if self.breaker.blocked_until(now).is_some() {
                break;
            }
            let Some((key, id)) = self.next_ready() else { break };
            let time = self.held.get(&id).map_or(now, |held| held.item.time);
            if now.0.saturating_sub(time.0) > BACKLOG_AGE_NS
                && let Some(Err(until)) = self.bucket.as_mut().map(|bucket| bucket.take(now))
            {
                self.throttled = Some(until);
                held_back.push_back(key);
                looks += 1;
                continue;
            }
            if self.breaker.try_start(now).is_err() {
                held_back.push_back(key);
                break;
            }
            self.start_one(key, id, out);
        }
        // what was held back keeps its turn
        while let Some(key) = held_back.pop_back() {
            self.ready.push_front(key);
        }
    }

    /// The next key whose head may start; in a trial, another than the one that failed last.
    fn next_ready(&mut self) -> Option<(u64, DeliveryId)> {
        let is_trial = !matches!(self.breaker.state(), BreakerState::Closed);
        if is_trial && self.ready.len() > 1 && self.ready.front().copied() == self.last_failed {
            self.ready.rotate_left(1);
        }
        while let Some(key) = self.ready.pop_front() {
            let head = self.keys.get(&key).and_then(|entry| entry.queue.front().copied());
            match head {
                Some(id) if self.held.get(&id).is_some_and(|held| !held.in_flight && held.next.is_none()) => {
                    return Some((key, id));
                }
                // it ended meanwhile, or waits
                Some(_) => {
                    if let Some(entry) = self.keys.get_mut(&key) {
                        entry.is_ready = false;
                    }
                }
                None => drop(self.keys.remove(&key)),
            }
        }
        None
    }

    fn start_one(&mut self, key: u64, id: DeliveryId, out: &mut Vec<Action>) {
        if let Some(entry) = self.keys.get_mut(&key) {
            entry.is_ready = false;
        }
        let Some(held) = self.held.get_mut(&id) else { return };
        self.retrying -= u64::from(is_retrying(held));
        held.in_flight = true;
        held.attempts += 1;
        held.probing = held.in_doubt && self.policy.probe;
        let (attempt, probe, timeout_ns) = (held.attempts, held.probing, self.policy.timeout_ns);
        self.in_flight += 1;
        out.push(Action::Start { id, attempt, probe, timeout_ns });
    }

    /// Takes what came of an attempt. An answer to what is not under way is ignored.
    pub fn on_outcome(&mut self, id: DeliveryId, outcome: Outcome, now: TimestampNs, out: &mut Vec<Action>) {
        let Some(held) = self.held.get_mut(&id).filter(|held| held.in_flight) else { return };
        held.in_flight = false;
        let key = held.item.key;
        self.in_flight -= 1;
        match outcome {
            Outcome::Delivered | Outcome::ProbeDone => {
                self.breaker.on_success();
                self.end(id, End::Delivered);
            }
            Outcome::Rejected => {
                self.breaker.on_neutral();
                self.end(id, End::Dead { reason: DeadReason::Rejected });
            }
            Outcome::ProbeNotDone => {
                self.breaker.on_success();
                self.doubt(id, false);
                self.wake(key);
            }
            Outcome::Failed { retry_after_ns } => self.failed(id, retry_after_ns, true, false, now, out),
            Outcome::Unavailable { retry_after_ns } => self.failed(id, retry_after_ns, false, false, now, out),
            Outcome::InDoubt => self.failed(id, None, false, true, now, out),
            Outcome::ProbeUnknown => self.failed(id, None, false, true, now, out),
        }
        self.tell(out);
    }

    fn doubt(&mut self, id: DeliveryId, in_doubt: bool) {
        if let Some(held) = self.held.get_mut(&id) {
            self.in_doubt = self.in_doubt + u64::from(in_doubt) - u64::from(held.in_doubt);
            held.in_doubt = in_doubt;
        }
    }

    fn failed(
        &mut self,
        id: DeliveryId,
        retry_after_ns: Option<u64>,
        is_answer: bool,
        in_doubt: bool,
        now: TimestampNs,
        out: &mut Vec<Action>,
    ) {
        self.counts.failed_attempts += 1;
        self.breaker.on_failure(now);
        let delivered = self.counts.delivered;
        // a probe that failed leaves in doubt what was; an answer settles the doubt: it has failed
        let was = self.held.get(&id).is_some_and(|held| held.in_doubt && held.probing);
        self.doubt(id, in_doubt || was);
        let Some(held) = self.held.get_mut(&id) else { return };
        let key = held.item.key;
        self.last_failed = Some(key);
        let others_came_through = held.seen_delivered.is_some_and(|seen| delivered > seen);
        held.counted += u32::from(is_answer || others_came_through);
        held.seen_delivered = Some(delivered);
        held.failures += 1;
        let expires = self.policy.expire_ns.map(|ns| held.item.time.plus_ns(i64::try_from(ns).unwrap_or(i64::MAX)));
        if held.counted >= self.policy.attempts {
            let reason = DeadReason::Attempts { counted: held.counted };
            return self.end(id, End::Dead { reason });
        }
        if expires.is_some_and(|expires| expires <= now) {
            return self.end(id, End::Expired);
        }
        let Policy { first_ns, max_ns, .. } = self.policy;
        let wait_ns = backoff_ns(held.failures, first_ns, max_ns, retry_after_ns, &mut self.random);
        let next = now.plus_ns(i64::try_from(wait_ns).unwrap_or(i64::MAX).max(1));
        held.next = Some(next);
        let (attempt, counted, in_doubt) = (held.attempts, held.counted, held.in_doubt);
        self.retrying += u64::from(is_retrying(held));
        self.waits.push(Reverse((next, key)));
        out.push(Action::Attempted(Attempted { id, attempt, counted, in_doubt, next_ns: next.0 }));
    }

    /// Gives an attempt up without an answer, as at a shutdown: the item waits again, uncounted.
    pub fn abandon(&mut self, id: DeliveryId) {
        let Some(held) = self.held.get_mut(&id).filter(|held| held.in_flight) else { return };
        held.in_flight = false;
        held.attempts = held.attempts.saturating_sub(1);
        let key = held.item.key;
        self.retrying += u64::from(is_retrying(held));
        self.in_flight -= 1;
        self.breaker.abandon();
        self.wake(key);
    }

    /// When [`poll`](Self::poll) must run again even if nothing happens; `None`: not at all.
    #[must_use]
    pub fn deadline(&self, now: TimestampNs) -> Option<TimestampNs> {
        if !self.untold.is_empty() {
            return Some(now);
        }
        let expiry = self.expiries.peek().map(|Reverse((due, _))| *due);
        let wait = self.waits.peek().map(|Reverse((due, _))| *due);
        let may_start = !self.paused && !self.ready.is_empty() && self.in_flight < self.policy.concurrency;
        let start = may_start.then(|| {
            let blocked = self.breaker.blocked_until(now);
            blocked.into_iter().chain(self.throttled.filter(|until| *until > now)).max().unwrap_or(now)
        });
        [expiry, wait, start].into_iter().flatten().min()
    }

    /// Starts nothing until it is resumed; what is under way goes on.
    pub const fn pause(&mut self) {
        self.paused = true;
    }

    /// Goes on.
    pub const fn resume(&mut self) {
        self.paused = false;
    }

    /// Whether it is paused.
    #[must_use]
    pub const fn is_paused(&self) -> bool {
        self.paused
    }

    /// Everything up to here has ended, or was none of ours (E5).
    #[must_use]
    pub const fn low(&self) -> Offset {
        self.low
    }

    /// Everything up to here was offered or passed over.
    #[must_use]
    pub const fn scanned(&self) -> Offset {
        self.scanned
    }

    /// Whether a delivery is held.
    #[must_use]
    pub fn is_pending(&self, id: DeliveryId) -> bool {
        self.held.contains_key(&id)
    }

    /// Items that are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// How many are, and ended, how.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let in_flight = u64::from(self.in_flight);
        let waiting = (self.held.len() as u64).saturating_sub(in_flight + self.retrying);
        Counts { waiting, in_flight, retrying: self.retrying, in_doubt: self.in_doubt, ..self.counts }
    }

    /// When the oldest held item was published.
    #[must_use]
    pub fn oldest(&self) -> Option<TimestampNs> {
        let first = self.unsettled.first().map(|offset| DeliveryId { offset: *offset, replay: 0 });
        first.and_then(|id| self.held.get(&id)).map(|held| held.item.time)
    }

    /// How the breaker is.
    #[must_use]
    pub const fn breaker(&self) -> BreakerState {
        self.breaker.state()
    }

    /// What is held, in no order.
    pub fn items(&self) -> impl Iterator<Item = ItemView> {
        self.held.iter().map(|(id, held)| ItemView {
            id: *id,
            key: held.item.key,
            time: held.item.time,
            state: match held {
                Held { in_flight: true, .. } => ItemState::InFlight,
                Held { in_doubt: true, .. } => ItemState::InDoubt,
                Held { attempts: 0, .. } => ItemState::Waiting,
                _ => ItemState::Retrying,
            },
            attempts: held.attempts,
            next: held.next,
        })
    }
}

const fn is_retrying(held: &Held) -> bool {
    !held.in_flight && held.attempts > 0
}

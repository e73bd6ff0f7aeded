//! What must hold of a consumer, whatever happens: a model that sees what goes in and what comes
//! out, and objects.
//!
//! It is written from the promises, not from the engine: it keeps queues, counts, doubts and a rate
//! of its own, and never asks the engine what it may do next.

use delivery::{
    Action, Attempted, BACKLOG_AGE_NS, Consumer, DeadReason, DeliveryId, End, Item, Outcome, Policy, Settled,
};
use model::TimestampNs;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

/// What it objects to.
pub type Verdict = Result<(), String>;

macro_rules! demand {
    ($holds:expr, $($what:tt)*) => {
        if !$holds {
            return Err(format!($($what)*));
        }
    };
}

/// An item in this life of the consumer.
#[derive(Default)]
struct Life {
    attempts: u32,
    counted: u32,
    /// What the target had delivered when its attempt before ended.
    seen: Option<u64>,
    not_before: Option<i64>,
    /// `None`: a crash left it unknown.
    in_doubt: Option<bool>,
    /// Under way, and whether as a probe.
    in_flight: Option<bool>,
}

/// What is on record of an item when a consumer is restored.
#[derive(Clone, Copy)]
pub struct Record {
    /// Attempts that counted.
    pub counted: u32,
}

pub struct Judge {
    policy: Policy,
    items: HashMap<DeliveryId, Item>,
    ended: HashMap<DeliveryId, (End, usize)>,
    /// Published first deliveries that have not ended: all, and by key.
    unended: BTreeSet<u64>,
    of_key: HashMap<u64, BTreeSet<u64>>,
    live: HashMap<DeliveryId, Life>,
    queues: HashMap<u64, VecDeque<DeliveryId>>,
    records: HashMap<DeliveryId, Record>,
    effects: HashMap<DeliveryId, u32>,
    last_effect: HashMap<u64, u64>,
    /// Ends without an effect that a crash forgot: they may take effect late.
    excused: HashSet<DeliveryId>,
    /// Sent in a life that a crash ended: may be sent twice.
    sent_before: HashSet<DeliveryId>,
    in_flight: u32,
    trial: Option<DeliveryId>,
    delivered: u64,
    ends: u64,
    /// Failures in a row, and when the last one opened the breaker.
    streak: u32,
    opened: i64,
    paused: bool,
    low: u64,
    tokens: i128,
    filled: i64,
    pub starts: u64,
    pub dead: u64,
    pub expired: u64,
    pub superseded: u64,
    pub repeated: u64,
}

impl Judge {
    pub fn new(policy: Policy) -> Judge {
        Judge {
            policy,
            items: HashMap::new(),
            ended: HashMap::new(),
            unended: BTreeSet::new(),
            of_key: HashMap::new(),
            live: HashMap::new(),
            queues: HashMap::new(),
            records: HashMap::new(),
            effects: HashMap::new(),
            last_effect: HashMap::new(),
            excused: HashSet::new(),
            sent_before: HashSet::new(),
            in_flight: 0,
            trial: None,
            delivered: 0,
            ends: 0,
            streak: 0,
            opened: i64::MIN,
            paused: false,
            low: 0,
            tokens: i128::MAX,
            filled: 0,
            starts: 0,
            dead: 0,
            expired: 0,
            superseded: 0,
            repeated: 0,
        }
    }

    pub fn on_published(&mut self, item: Item) {
        self.items.insert(DeliveryId { offset: item.offset, replay: 0 }, item);
        self.unended.insert(item.offset.0);
        self.of_key.entry(item.key).or_default().insert(item.offset.0);
    }

    /// It was offered and not refused.
    pub fn on_taken(&mut self, id: DeliveryId, item: Item) {
        if self.live.contains_key(&id) || self.ended.contains_key(&id) {
            return;
        }
        self.items.insert(id, item);
        let counted = self.records.get(&id).map_or(0, |record| record.counted);
        let in_doubt = if self.sent_before.contains(&id) { None } else { Some(false) };
        self.live.insert(id, Life { counted, in_doubt, ..Life::default() });
        self.queues.entry(item.key).or_default().push_back(id);
    }

    pub fn on_pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    pub fn on_action(&mut self, action: &Action, at: usize, now: TimestampNs) -> Verdict {
        match action {
            Action::Start { id, probe, attempt, .. } => self.on_start(*id, *attempt, *probe, now),
            Action::Settled(settled) => self.on_settled(settled, at, now),
            Action::Attempted(attempted) => self.on_attempted(attempted),
        }
    }

    fn on_start(&mut self, id: DeliveryId, attempt: u32, probe: bool, now: TimestampNs) -> Verdict {
        demand!(!self.paused, "{id:?} started while paused");
        demand!(self.in_flight < self.policy.concurrency, "{id:?} is one too many under way");
        let item = *self.items.get(&id).ok_or(format!("{id:?} started and was never published"))?;
        let queue = self.queues.get(&item.key).ok_or(format!("{id:?} started and is not held"))?;
        let ahead = queue.front().and_then(|first| self.live.get(first));
        demand!(ahead.is_none_or(|life| life.in_flight.is_none()), "two of key {} under way", item.key);
        demand!(queue.front() == Some(&id), "{id:?} started out of order: {:?} is first", queue.front());
        let lower = self.of_key.get(&item.key).and_then(BTreeSet::first);
        demand!(
            id.replay > 0 || lower == Some(&id.offset.0),
            "{id:?} started out of order: {lower:?} of its key has not ended"
        );
        self.check_rate(id, &item, now)?;
        let is_trial = self.streak >= self.policy.breaker.failures;
        if is_trial {
            demand!(self.trial.is_none(), "{id:?} is a second trial at once");
            let open = i64::try_from(self.policy.breaker.open_ns).unwrap_or(i64::MAX);
            demand!(now.0 >= self.opened.saturating_add(open), "{id:?} started while the breaker is open");
            self.trial = Some(id);
        }
        let life = self.live.get_mut(&id).ok_or(format!("{id:?} started and has ended"))?;
        demand!(life.not_before.is_none_or(|then| now.0 >= then), "{id:?} started before its wait was over");
        demand!(attempt > life.attempts, "{id:?} has attempt {attempt} after {}", life.attempts);
        let probes = life.in_doubt.map(|in_doubt| in_doubt && self.policy.probe);
        demand!(probes.is_none_or(|probes| probes == probe), "{id:?} probe: {probe}, in doubt: {:?}", life.in_doubt);
        life.attempts = attempt;
        life.in_flight = Some(probe);
        self.in_flight += 1;
        self.starts += 1;
        Ok(())
    }

    /// A bucket of a tenth of a second's worth, that begins full.
    fn check_rate(&mut self, id: DeliveryId, item: &Item, now: TimestampNs) -> Verdict {
        let Some(rate) = self.policy.rate_per_s else { return Ok(()) };
        if now.0 - item.time.0 <= BACKLOG_AGE_NS {
            return Ok(());
        }
        const WHOLE: i128 = 1_000_000_000;
        let most = i128::from((rate / 10).max(1)) * WHOLE;
        let earned = i128::from(now.0 - self.filled) * i128::from(rate);
        self.tokens = self.tokens.saturating_add(earned).min(most);
        self.filled = now.0;
        demand!(self.tokens >= WHOLE, "{id:?} left faster than the drain rate");
        self.tokens -= WHOLE;
        Ok(())
    }

    /// A call reached the target, and it had an effect, or would have but for its idempotency key.
    pub fn on_effect(&mut self, id: DeliveryId) -> Verdict {
        let key = self.items[&id].key;
        let count = self.effects.entry(id).or_default();
        *count += 1;
        if *count > 1 {
            self.repeated += 1;
            demand!(self.sent_before.contains(&id), "{id:?} was sent again although it had arrived");
            return Ok(());
        }
        if id.replay == 0 {
            let last = self.last_effect.entry(key).or_default();
            let is_excused = self.excused.contains(&id);
            demand!(*last < id.offset.0 || is_excused, "{id:?} took effect behind {last} of its key");
            *last = (*last).max(id.offset.0);
        }
        Ok(())
    }

    /// What the target said, before the engine hears it.
    pub fn on_outcome(&mut self, id: DeliveryId, outcome: &Outcome, now: TimestampNs) {
        let delivered = self.delivered;
        let Some(life) = self.live.get_mut(&id) else { return };
        let Some(was_probe) = life.in_flight.take() else { return };
        self.in_flight -= 1;
        let was_trial = self.trial == Some(id);
        self.trial = self.trial.filter(|trial| *trial != id);
        let (asked, is_answer, in_doubt) = match outcome {
            Outcome::Delivered | Outcome::ProbeDone => {
                self.delivered += 1;
                return self.alive();
            }
            Outcome::Rejected => return self.alive(),
            Outcome::Unmapped => return, // it says nothing of the target
            Outcome::ProbeNotDone => {
                (life.in_doubt, life.not_before) = (Some(false), None);
                return self.alive();
            }
            Outcome::Failed { retry_after_ns } => {
                (*retry_after_ns, true, if was_probe { life.in_doubt } else { Some(false) })
            }
            Outcome::Unavailable { retry_after_ns } => (*retry_after_ns, false, life.in_doubt),
            Outcome::InDoubt | Outcome::ProbeUnknown => (None, false, Some(true)),
        };
        life.in_doubt = in_doubt;
        if in_doubt == Some(true) && !self.policy.probe {
            // it is sent again, as it may
            self.sent_before.insert(id);
        }
        let asked = asked.unwrap_or(0).min(delivery::RETRY_AFTER_MAX_NS);
        life.not_before = Some(now.0.saturating_add(i64::try_from(asked).unwrap_or(i64::MAX)));
        life.counted += u32::from(is_answer || life.seen.is_some_and(|seen| delivered > seen));
        life.seen = Some(delivered);
        self.streak += 1;
        if self.streak == self.policy.breaker.failures || was_trial {
            self.opened = now.0;
        }
    }

    fn alive(&mut self) {
        (self.streak, self.trial) = (0, None);
    }

    pub fn on_abandoned(&mut self, id: DeliveryId) {
        let Some(life) = self.live.get_mut(&id).filter(|life| life.in_flight.is_some()) else { return };
        life.in_flight = None;
        life.attempts -= 1;
        life.in_doubt = Some(true);
        life.not_before = None;
        self.in_flight -= 1;
        self.trial = self.trial.filter(|trial| *trial != id);
        if !self.policy.probe {
            self.sent_before.insert(id);
        }
    }

    fn on_attempted(&mut self, attempted: &Attempted) -> Verdict {
        let Attempted { id, attempt, counted, in_doubt, next_ns } = *attempted;
        let life = self.live.get_mut(&id).ok_or(format!("{id:?} has an attempt and is not held"))?;
        demand!(life.in_flight.is_none(), "{id:?} failed and is under way");
        demand!(attempt == life.attempts, "{id:?} says attempt {attempt}, it is {}", life.attempts);
        demand!(counted == life.counted, "{id:?} counts {counted} attempts, it is {}", life.counted);
        demand!(counted < self.policy.attempts, "{id:?} goes on beyond its limit of attempts");
        demand!(life.in_doubt.is_none_or(|known| known == in_doubt), "{id:?} in doubt: {in_doubt}");
        demand!(life.not_before.is_some_and(|floor| next_ns >= floor), "{id:?} does not wait as it was asked to");
        life.not_before = Some(next_ns);
        Ok(())
    }

    fn on_settled(&mut self, settled: &Settled, at: usize, now: TimestampNs) -> Verdict {
        let Settled { id, ref end } = *settled;
        demand!(!self.ended.contains_key(&id), "{id:?} ended twice");
        let life = self.live.remove(&id).ok_or(format!("{id:?} ended and was not held"))?;
        demand!(life.in_flight.is_none(), "{id:?} ended while it was under way");
        let item = self.items[&id];
        match end {
            End::Delivered => demand!(self.effects.contains_key(&id), "{id:?} was not delivered"),
            End::Dead { reason: DeadReason::Rejected } => self.dead += 1,
            End::Dead { reason: DeadReason::Attempts { counted } } => {
                self.dead += 1;
                let right = *counted == life.counted && *counted == self.policy.attempts;
                demand!(right, "{id:?} died of {counted} attempts, {} counted", life.counted);
            }
            End::Expired => {
                self.expired += 1;
                let age = u64::try_from(now.0 - item.time.0).unwrap_or(0);
                demand!(
                    self.policy.expire_ns.is_some_and(|expire| age >= expire),
                    "{id:?} expired at the age of {age}"
                );
            }
            End::Superseded { by } => {
                self.superseded += 1;
                let newer = self.items.get(&DeliveryId { offset: *by, replay: 0 });
                let right = self.policy.coalesce && newer.is_some_and(|newer| newer.key == item.key) && *by > id.offset;
                demand!(right, "{id:?} superseded by {by}");
            }
            End::Skipped => return Err(format!("{id:?} was skipped and nobody asked")),
        }
        self.ends += 1;
        self.ended.insert(id, (end.clone(), at));
        if id.replay == 0 {
            self.unended.remove(&id.offset.0);
            if let Some(offsets) = self.of_key.get_mut(&item.key) {
                offsets.remove(&id.offset.0);
            }
        }
        if let Some(queue) = self.queues.get_mut(&item.key) {
            queue.retain(|other| *other != id);
        }
        Ok(())
    }

    /// The consumer is gone, and so is what was written from `cut` on.
    pub fn on_crash(&mut self, cut: usize, records: HashMap<DeliveryId, Record>) {
        let forgotten: Vec<DeliveryId> =
            self.ended.iter().filter(|(_, (_, at))| *at >= cut).map(|(id, _)| *id).collect();
        for id in forgotten {
            let ended = self.ended.remove(&id);
            self.sent_before.insert(id);
            if ended.is_some_and(|(end, _)| end != End::Delivered) {
                self.excused.insert(id);
            }
            if id.replay == 0 {
                self.unended.insert(id.offset.0);
                self.of_key.entry(self.items[&id].key).or_default().insert(id.offset.0);
            }
        }
        let was_sent = |life: &Life| life.attempts > 0 || life.in_doubt != Some(false);
        self.sent_before.extend(self.live.iter().filter(|(_, life)| was_sent(life)).map(|(id, _)| *id));
        self.sent_before.extend(records.keys());
        self.records = records;
        self.live.clear();
        self.queues.clear();
        (self.in_flight, self.trial, self.streak, self.opened) = (0, None, 0, i64::MIN);
        (self.delivered, self.ends, self.low, self.tokens) = (0, 0, 0, i128::MAX);
    }

    /// What holds after every step.
    pub fn check(&mut self, consumer: &Consumer, low: u64, replays: usize) -> Verdict {
        demand!(low >= self.low, "low went back from {} to {low}", self.low);
        self.low = low;
        let first = self.unended.first().copied();
        demand!(first.is_none_or(|first| low < first), "low {low} leads: {first:?} has not ended");
        demand!(low <= consumer.scanned().0, "low {low} leads what was scanned");
        let window = self.policy.window as usize;
        demand!(consumer.len() <= window + replays, "{} items are held, the window is {window}", consumer.len());
        demand!(consumer.len() == self.live.len(), "{} items are held, not {}", consumer.len(), self.live.len());
        demand!(consumer.counts().in_flight == u64::from(self.in_flight), "under way: {:?}", consumer.counts());
        Ok(())
    }

    /// What holds after every step, and costs as much as is held.
    pub fn check_all(&self, consumer: &Consumer, bytes_of_one: usize) -> Verdict {
        let counts = consumer.counts();
        let (mut retrying, mut in_doubt, mut bytes) = (0, 0, 0);
        for view in consumer.items() {
            let life = self.live.get(&view.id).ok_or(format!("{:?} is held and should not be", view.id))?;
            retrying += u64::from(life.in_flight.is_none() && view.attempts > 0);
            in_doubt += u64::from(life.in_doubt == Some(true));
            bytes += if view.id.replay == 0 { self.items[&view.id].bytes } else { 0 };
        }
        let held = counts.waiting + counts.in_flight + counts.retrying;
        demand!(held == consumer.len() as u64, "the counts say {counts:?} of {}", consumer.len());
        demand!(counts.retrying == retrying, "retrying: {counts:?}, not {retrying}");
        demand!(counts.in_doubt >= in_doubt && counts.in_doubt <= held, "in doubt: {counts:?}, not {in_doubt}");
        let ends = counts.delivered + counts.dead + counts.expired + counts.superseded;
        demand!(ends == self.ends, "{} have ended, the counts say {counts:?}", self.ends);
        let most = self.policy.window_bytes.saturating_add(bytes_of_one);
        demand!(bytes <= most, "{bytes} bytes are held, the window is {}", self.policy.window_bytes);
        Ok(())
    }

    /// What holds when the target was up for long enough.
    pub fn check_end(&self, consumer: &Consumer) -> Verdict {
        demand!(self.unended.is_empty(), "lost: {:?}", self.unended.iter().take(5).collect::<Vec<_>>());
        demand!(consumer.is_empty(), "held for ever: {:?}", consumer.items().next());
        Ok(())
    }

    /// First deliveries that were given up, of which one may be ordered again.
    pub fn letters(&self) -> impl Iterator<Item = (DeliveryId, Item)> {
        let given_up = |end: &End| matches!(end, End::Dead { .. } | End::Expired);
        self.ended.iter().filter(move |(_, (end, _))| given_up(end)).map(|(id, _)| (*id, self.items[id]))
    }

    /// Published and not ended.
    pub fn backlog(&self) -> usize {
        self.unended.len()
    }

    pub fn has_ended(&self, id: DeliveryId) -> bool {
        self.ended.contains_key(&id)
    }

    pub fn has_arrived(&self, id: DeliveryId) -> bool {
        self.effects.contains_key(&id)
    }
}

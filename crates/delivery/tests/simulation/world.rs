//! A consumer, its journal, its target and its clock, driven by a seed, and watched by the judge.

use crate::judge::{Judge, Record, Verdict};
use crate::target::{Call, MS, Mode, S, Target};
use delivery::{
    Action, Attempted, BreakerPolicy, Consumer, DeliveryId, Item, Offset, Outcome, Policy, Settled, Snapshot,
    SplitMix64,
};
use model::TimestampNs;
use std::collections::{BTreeMap, HashMap, HashSet};

/// What the world does wrong on purpose, so that the judge can be seen to object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    LosesAnItem,
    EndsTwice,
    StartsTwoOfAKey,
    ForgetsTheOrder,
    CountsOutages,
    IgnoresThePause,
    StartsTooMany,
    LowLeads,
    HoldsTooMany,
    HasNoBreaker,
    IgnoresRetryAfter,
    ForgetsTheDoubt,
    HasNoRate,
    ExpiresEarly,
    SupersedesUnasked,
}

enum Entry {
    Settled(Settled),
    Attempted(Attempted),
    Ordered(DeliveryId, Item),
}

pub struct World {
    pub random: SplitMix64,
    pub now: i64,
    pub policy: Policy,
    pub judge: Judge,
    pub steps: u64,
    pub polls: u64,
    pub crashes: u64,
    fault: Fault,
    consumer: Consumer,
    target: Target,
    messages: Vec<Item>,
    head: u64,
    keys: u64,
    log: Vec<Entry>,
    synced: usize,
    kept: Vec<(Snapshot, usize)>,
    calls: BTreeMap<(i64, DeliveryId), Call>,
    under_way: HashMap<DeliveryId, i64>,
    replays: HashMap<Offset, u32>,
    held_replays: HashSet<DeliveryId>,
    actions: Vec<Action>,
}

fn policy(random: &mut SplitMix64) -> Policy {
    let mut pick = |choices: &[u64]| choices[random.up_to(choices.len() as u64 - 1) as usize];
    Policy {
        attempts: pick(&[1, 2, 4, 8]) as u32,
        first_ns: pick(&[0, 10, 500]) * MS as u64,
        max_ns: pick(&[500, 5_000, 60_000]) * MS as u64,
        timeout_ns: pick(&[200, 2_000, 10_000]) * MS as u64,
        expire_ns: Some(pick(&[0, 0, 15, 60, 600]) * S as u64).filter(|expire| *expire > 0),
        concurrency: pick(&[1, 2, 4, 8]) as u32,
        window: pick(&[4, 16, 64, 256]) as u32,
        window_bytes: pick(&[2_000, 20_000, 16 << 20]) as usize,
        coalesce: pick(&[0, 0, 1]) == 1,
        rate_per_s: Some(pick(&[0, 5, 50, 1_000]) as u32).filter(|rate| *rate > 0),
        breaker: BreakerPolicy {
            failures: pick(&[1, 3, 5, 20]) as u32,
            open_ns: pick(&[100, 1_000, 10_000]) * MS as u64,
            open_max_ns: pick(&[10_000, 60_000]) * MS as u64,
        },
        probe: pick(&[0, 1]) == 1,
    }
}

/// What the engine is told instead, under a fault.
fn told(policy: &Policy, fault: Fault) -> Policy {
    let mut told = policy.clone();
    match fault {
        Fault::StartsTooMany => told.concurrency += 1,
        Fault::HoldsTooMany => told.window *= 2,
        Fault::HasNoBreaker => told.breaker.failures = u32::MAX,
        Fault::HasNoRate => told.rate_per_s = None,
        Fault::ExpiresEarly => told.expire_ns = Some(told.expire_ns.unwrap_or(u64::MAX) / 2),
        Fault::SupersedesUnasked => told.coalesce = true,
        _ => {}
    }
    told
}

const BYTES_MAX: u64 = 400;

impl World {
    pub fn new(seed: u64, fault: Fault) -> World {
        let mut random = SplitMix64::new(seed);
        let policy = policy(&mut random);
        World {
            consumer: Consumer::new(told(&policy, fault), random.next()),
            judge: Judge::new(policy.clone()),
            target: Target { mode: Mode::Up, mode_until: 0, is_cured: false },
            now: 1_700_000_000 * S,
            keys: [1, 3, 20, 1_000][random.up_to(3) as usize],
            random,
            policy,
            steps: 0,
            polls: 0,
            crashes: 0,
            fault,
            messages: Vec::new(),
            head: 0,
            log: Vec::new(),
            synced: 0,
            kept: vec![(Snapshot::default(), 0)],
            calls: BTreeMap::new(),
            under_way: HashMap::new(),
            replays: HashMap::new(),
            held_replays: HashSet::new(),
            actions: Vec::new(),
        }
    }

    fn time(&self) -> TimestampNs {
        TimestampNs(self.now)
    }

    fn chance(&mut self, of_10_000: u64) -> bool {
        self.random.up_to(9_999) < of_10_000
    }

    pub fn published(&self) -> usize {
        self.messages.len()
    }

    pub fn run(&mut self, steps: u64) -> Verdict {
        for _ in 0..steps {
            self.step()?;
        }
        self.drain()
    }

    fn step(&mut self) -> Verdict {
        self.steps += 1;
        self.target.turn(self.now, &mut self.random);
        match self.random.up_to(99) {
            0..25 => self.publish(),
            25..90 => self.pass_time(),
            90..92 => self.chaos()?,
            _ => {}
        }
        self.settle()
    }

    /// What is due happens, what there is room for is offered, and the engine runs.
    fn settle(&mut self) -> Verdict {
        self.answer()?;
        self.feed();
        self.poll()?;
        let low = self.consumer.low().0 + u64::from(self.fault == Fault::LowLeads);
        self.judge.check(&self.consumer, low, self.held_replays.len())?;
        if self.steps.is_multiple_of(64) {
            self.judge.check_all(&self.consumer, BYTES_MAX as usize)?;
        }
        Ok(())
    }

    fn publish(&mut self) {
        let most = self.policy.window as usize * 3;
        if self.messages.len() > most && self.judge.backlog() > most {
            return;
        }
        for _ in 0..=self.random.up_to(4) {
            self.head += 1 + self.random.up_to(1);
            let item = Item {
                offset: Offset(self.head),
                key: self.random.up_to(self.keys - 1),
                time: self.time(),
                bytes: self.random.up_to(BYTES_MAX) as usize,
            };
            self.messages.push(item);
            self.judge.on_published(item);
        }
        // what follows is not of this consumer
        self.head += self.random.up_to(2);
    }

    /// To what happens next, or not so far.
    fn pass_time(&mut self) {
        let due = self.consumer.deadline(self.time()).map(|due| due.0);
        let answer = self.calls.first_key_value().map(|((at, _), _)| *at);
        let next = due.into_iter().chain(answer).min().unwrap_or(self.now + S);
        let some = self.now + self.random.up_to(2_000) as i64 * MS;
        self.now = if self.chance(7_000) { next.max(self.now) } else { some.min(next.max(self.now)) };
    }

    fn chaos(&mut self) -> Verdict {
        match self.random.up_to(99) {
            0..15 => self.pause(true),
            15..40 => self.pause(false),
            40..55 => self.replay(),
            55..65 => self.keep(),
            65..70 => self.abandon(),
            70..85 => self.stray(),
            85..88 => self.crash()?,
            88..92 => self.now += self.random.up_to(900) as i64 * S,
            _ => self.synced = self.log.len(),
        }
        Ok(())
    }

    fn pause(&mut self, paused: bool) {
        self.judge.on_pause(paused);
        match paused {
            true if self.fault == Fault::IgnoresThePause => {}
            true => self.consumer.pause(),
            false => self.consumer.resume(),
        }
    }

    /// Somebody orders a dead letter's delivery again.
    fn replay(&mut self) {
        // the order in a map is not the seed's
        let draw = |id: &DeliveryId| SplitMix64::new(id.offset.0 ^ self.steps).next();
        let first = self.judge.letters().filter(|(id, _)| id.replay == 0).min_by_key(|(id, _)| draw(id));
        let Some((letter, item)) = first else { return };
        let replay = self.replays.entry(letter.offset).or_default();
        *replay += 1;
        let id = DeliveryId { offset: letter.offset, replay: *replay };
        let item = Item { time: self.time(), ..item };
        self.log.push(Entry::Ordered(id, item));
        self.offer_again(id, item);
    }

    fn offer_again(&mut self, id: DeliveryId, item: Item) {
        self.consumer.offer_again(item, id.replay);
        self.judge.on_taken(id, item);
        self.held_replays.insert(id);
    }

    fn keep(&mut self) {
        let json = serde_json::to_string(&self.consumer.snapshot()).expect("a snapshot is JSON");
        self.kept.push((serde_json::from_str(&json).expect("it is read back"), self.log.len()));
        if self.kept.len() > 8 {
            self.kept.remove(1);
        }
    }

    fn abandon(&mut self) {
        let Some(id) = self.under_way.keys().min().copied() else { return };
        if let Some(at) = self.under_way.remove(&id) {
            self.calls.remove(&(at, id));
        }
        self.judge.on_abandoned(id);
        self.consumer.abandon(id);
    }

    /// An answer that comes too late, or twice, to something that is not under way.
    fn stray(&mut self) {
        let offset = Offset(self.random.up_to(self.head));
        let id = DeliveryId { offset, replay: self.random.up_to(1) as u32 };
        if !self.under_way.contains_key(&id) {
            let outcomes = [Outcome::Delivered, Outcome::Rejected, Outcome::InDoubt, Outcome::ProbeNotDone];
            let outcome = outcomes[self.random.up_to(3) as usize].clone();
            let mut actions = Vec::new();
            self.consumer.on_outcome(id, outcome, self.time(), &mut actions);
            assert_eq!(actions, [], "an answer to {id:?}, which is not under way");
        }
    }

    fn feed(&mut self) {
        loop {
            let scanned = self.consumer.scanned();
            let at = self.messages.partition_point(|item| item.offset <= scanned);
            let Some(item) = self.messages.get(at).copied() else { break };
            let key = if self.fault == Fault::ForgetsTheOrder { item.offset.0 } else { item.key };
            let has_room = self.consumer.room() > 0;
            let is_known = self.judge.has_ended(DeliveryId { offset: item.offset, replay: 0 });
            let taken = self.consumer.offer(Item { key, ..item }, self.time()).is_ok();
            assert_eq!(taken, has_room || is_known, "room() and offer() disagree");
            if !taken {
                return;
            }
            self.judge.on_taken(DeliveryId { offset: item.offset, replay: 0 }, item);
        }
        self.consumer.skip_to(Offset(self.head));
    }

    fn poll(&mut self) -> Verdict {
        self.polls += 1;
        let mut actions = std::mem::take(&mut self.actions);
        self.consumer.poll(self.time(), &mut actions);
        self.act(&mut actions)?;
        self.actions = actions;
        match self.consumer.deadline(self.time()) {
            Some(due) if due <= self.time() => Err(format!("a poll at {} asks for another at {due}", self.time())),
            _ => Ok(()),
        }
    }

    fn act(&mut self, actions: &mut Vec<Action>) -> Verdict {
        for action in actions.drain(..) {
            let is_tampered = self.fault != Fault::None && self.random.up_to(20) == 0;
            let is_end = matches!(action, Action::Settled(_));
            if self.fault == Fault::LosesAnItem && is_tampered && is_end {
                continue;
            }
            self.judge.on_action(&action, self.log.len(), TimestampNs(self.now))?;
            if self.fault == Fault::EndsTwice && is_tampered && is_end {
                self.judge.on_action(&action, self.log.len(), TimestampNs(self.now))?;
            }
            match action {
                Action::Start { id, attempt, probe, timeout_ns } => {
                    assert_eq!(timeout_ns, self.policy.timeout_ns);
                    self.send(id, probe)?;
                    if self.fault == Fault::StartsTwoOfAKey && is_tampered {
                        let again = Action::Start { id, attempt: attempt + 1, probe, timeout_ns };
                        self.judge.on_action(&again, self.log.len(), TimestampNs(self.now))?;
                    }
                }
                Action::Settled(settled) => {
                    self.held_replays.remove(&settled.id);
                    self.log.push(Entry::Settled(settled));
                }
                Action::Attempted(attempted) => self.log.push(Entry::Attempted(attempted)),
            }
        }
        Ok(())
    }

    fn send(&mut self, id: DeliveryId, probe: bool) -> Verdict {
        let timeout = self.policy.timeout_ns as i64;
        let arrived = self.judge.has_arrived(id);
        let call = self.target.call(id, probe, arrived, timeout, self.now, &mut self.random);
        if call.arrives == Some(true) {
            self.judge.on_effect(id)?;
        }
        self.under_way.insert(id, call.answer_at);
        self.calls.insert((call.answer_at, id), call);
        Ok(())
    }

    fn answer(&mut self) -> Verdict {
        while let Some(((at, id), call)) = self.calls.pop_first() {
            if at > self.now {
                self.calls.insert((at, id), call);
                break;
            }
            self.under_way.remove(&id);
            if call.arrives == Some(false) {
                self.judge.on_effect(id)?;
            }
            self.judge.on_outcome(id, &call.outcome, self.time());
            let told = match (self.fault, call.outcome) {
                (Fault::CountsOutages, Outcome::Unavailable { retry_after_ns }) => Outcome::Failed { retry_after_ns },
                (Fault::IgnoresRetryAfter, Outcome::Unavailable { .. }) => {
                    Outcome::Unavailable { retry_after_ns: None }
                }
                (Fault::ForgetsTheDoubt, Outcome::InDoubt) => Outcome::Unavailable { retry_after_ns: None },
                (_, outcome) => outcome,
            };
            let mut actions = std::mem::take(&mut self.actions);
            self.consumer.on_outcome(id, told.clone(), TimestampNs(self.now), &mut actions);
            // the same answer once more changes nothing
            let heard = actions.len();
            self.consumer.on_outcome(id, told, TimestampNs(self.now), &mut actions);
            assert_eq!(actions.len(), heard, "an answer was taken twice");
            self.act(&mut actions)?;
            self.actions = actions;
        }
        Ok(())
    }

    /// The process dies: what was not synced may be lost, and what was under way is.
    fn crash(&mut self) -> Verdict {
        self.crashes += 1;
        let unsynced = (self.log.len() - self.synced) as u64;
        let cut = self.synced + self.random.up_to(unsynced) as usize;
        self.log.truncate(cut);
        self.synced = cut;
        self.kept.retain(|(_, at)| *at <= cut);
        let (snapshot, at) = self.kept[self.random.up_to(self.kept.len() as u64 - 1) as usize].clone();
        self.calls.clear();
        self.under_way.clear();
        self.held_replays.clear();
        self.consumer = Consumer::restore(&snapshot, told(&self.policy, self.fault), self.random.next());
        // entries that the snapshot knows already are read again, too
        let from = at - self.random.up_to(at.min(100) as u64) as usize;
        for entry in &self.log[from..] {
            match entry {
                Entry::Settled(settled) => self.consumer.fold_settled(settled),
                Entry::Attempted(attempted) => self.consumer.fold_attempted(attempted),
                Entry::Ordered(..) => {}
            }
        }
        let mut records = HashMap::new();
        let mut ordered = Vec::new();
        for entry in &self.log {
            match entry {
                Entry::Attempted(attempted) => {
                    records.insert(attempted.id, Record { counted: attempted.counted });
                }
                Entry::Ordered(id, item) => ordered.push((*id, *item)),
                Entry::Settled(_) => {}
            }
        }
        self.judge.on_crash(cut, records);
        self.judge.on_pause(self.consumer.is_paused());
        for (id, item) in ordered {
            if !self.judge.has_ended(id) {
                self.offer_again(id, item);
            }
        }
        let low = self.consumer.low().0;
        self.judge.check(&self.consumer, low, self.held_replays.len())
    }

    /// All is well from now on: everything must end.
    fn drain(&mut self) -> Verdict {
        self.pause(false);
        (self.target.mode, self.target.mode_until, self.target.is_cured) = (Mode::Up, i64::MAX, true);
        for _ in 0..2_000_000 {
            self.steps += 1;
            self.settle()?;
            let due = self.consumer.deadline(self.time()).map(|due| due.0);
            let answer = self.calls.first_key_value().map(|((at, _), _)| *at);
            match due.into_iter().chain(answer).min() {
                Some(next) => self.now = self.now.max(next),
                // the last poll may have made room for more
                None if self.consumer.scanned().0 >= self.head => break,
                None => {}
            }
        }
        self.judge.check_all(&self.consumer, BYTES_MAX as usize)?;
        self.judge.check_end(&self.consumer)
    }
}

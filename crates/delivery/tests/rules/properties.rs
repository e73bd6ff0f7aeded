//! What holds after any operations in any order.

use crate::bench::{S, policy};
use delivery::{
    Action, BreakerPolicy, BreakerState, Consumer, Counts, DeliveryId, Item, ItemState, Offset, Outcome, Policy,
    Snapshot,
};
use model::TimestampNs;
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};

#[derive(Clone, Debug)]
enum Op {
    Offer { key: u64, gap: u64, bytes: usize },
    Again { back: u64, replay: u32 },
    Skip(u64),
    Poll,
    Wait(i64),
    Answer { which: usize, outcome: Outcome },
    Stray { offset: u64, outcome: Outcome },
    Abandon(usize),
    Pause(bool),
    Restore,
    Change(Box<Policy>),
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    let asked = prop_oneof![Just(None), any::<u64>().prop_map(Some), (0..5 * S as u64).prop_map(Some)];
    prop_oneof![
        4 => Just(Outcome::Delivered),
        1 => Just(Outcome::Rejected),
        1 => Just(Outcome::Unmapped),
        2 => asked.clone().prop_map(|retry_after_ns| Outcome::Failed { retry_after_ns }),
        2 => asked.prop_map(|retry_after_ns| Outcome::Unavailable { retry_after_ns }),
        1 => Just(Outcome::InDoubt),
        1 => Just(Outcome::ProbeDone),
        1 => Just(Outcome::ProbeNotDone),
        1 => Just(Outcome::ProbeUnknown),
    ]
}

prop_compose! {
    fn policies()(
        (attempts, concurrency, window, failures) in (0..5_u32, 1..4_u32, 1..12_u32, 0..4_u32),
        window_bytes in 1..400_usize,
        (first_ns, max_ns) in (prop_oneof![Just(0), Just(u64::MAX), 1..S as u64], prop_oneof![Just(u64::MAX), 1..9 * S as u64]),
        expire_ns in prop_oneof![2 => Just(None), 1 => (0..30 * S as u64).prop_map(Some), 1 => Just(Some(u64::MAX))],
        rate_per_s in prop_oneof![Just(None), (0..20_u32).prop_map(Some)],
        (coalesce, probe) in any::<(bool, bool)>(),
        (open_ns, open_max_ns) in (0..20 * S as u64, 0..60 * S as u64),
    ) -> Policy {
        let breaker = BreakerPolicy { failures, open_ns, open_max_ns };
        Policy { attempts, concurrency, window, window_bytes, first_ns, max_ns, expire_ns, rate_per_s, coalesce, probe, breaker, ..policy() }
    }
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        8 => (0..4_u64, 1..3_u64, 0..90_usize).prop_map(|(key, gap, bytes)| Op::Offer { key, gap, bytes }),
        1 => (0..9_u64, 0..3_u32).prop_map(|(back, replay)| Op::Again { back, replay }),
        1 => (0..3_u64).prop_map(Op::Skip),
        8 => Just(Op::Poll),
        4 => prop_oneof![Just(0), 0..S, 0..60 * S].prop_map(Op::Wait),
        8 => (any::<usize>(), outcomes()).prop_map(|(which, outcome)| Op::Answer { which, outcome }),
        1 => (0..40_u64, outcomes()).prop_map(|(offset, outcome)| Op::Stray { offset, outcome }),
        1 => any::<usize>().prop_map(Op::Abandon),
        1 => any::<bool>().prop_map(Op::Pause),
        1 => Just(Op::Restore),
        1 => policies().prop_map(|policy| Op::Change(Box::new(policy))),
    ];
    proptest::collection::vec(op, 0..120)
}

/// What stands between operations.
struct Rig {
    consumer: Consumer,
    policy: Policy,
    now: TimestampNs,
    head: u64,
    taken: Vec<Item>,
    ended: HashSet<DeliveryId>,
    under_way: Vec<DeliveryId>,
    replays: HashMap<DeliveryId, Item>,
}

impl Rig {
    fn hear(&mut self, out: &mut Vec<Action>) -> Result<(), TestCaseError> {
        for action in out.drain(..) {
            match action {
                Action::Start { id, .. } => {
                    prop_assert!(!self.ended.contains(&id) && !self.under_way.contains(&id));
                    self.under_way.push(id);
                }
                Action::Settled(settled) => {
                    prop_assert!(self.ended.insert(settled.id), "{:?} ended twice", settled.id);
                    prop_assert!(!self.under_way.contains(&settled.id));
                }
                Action::Attempted(attempted) => prop_assert!(attempted.next_ns > self.now.0),
            }
        }
        Ok(())
    }

    fn apply(&mut self, op: Op) -> Result<(), TestCaseError> {
        let mut out = Vec::new();
        match op {
            Op::Offer { key, gap, bytes } => {
                let item = Item { offset: Offset(self.head + gap), key, time: self.now, bytes };
                // behind a restart into a smaller window, what has ended is offered again
                let is_known = self.ended.contains(&DeliveryId { offset: item.offset, replay: 0 });
                let is_taken = self.consumer.room() > 0 || is_known;
                prop_assert_eq!(self.consumer.offer(item, self.now).is_ok(), is_taken);
                if is_taken {
                    self.head += gap;
                    self.taken.push(item);
                }
            }
            Op::Again { back, replay } => {
                let item =
                    Item { offset: Offset(self.head.saturating_sub(back)), key: back % 4, time: self.now, bytes: 3 };
                let id = DeliveryId { offset: item.offset, replay };
                if replay > 0 && !self.ended.contains(&id) {
                    self.replays.entry(id).or_insert(item);
                }
                if !self.ended.contains(&id) {
                    self.consumer.offer_again(self.replays.get(&id).copied().unwrap_or(item), replay);
                }
            }
            Op::Skip(gap) => {
                self.head += gap;
                self.consumer.skip_to(Offset(self.head));
            }
            Op::Poll => self.poll()?,
            Op::Wait(ns) => self.now = self.now.plus_ns(ns),
            Op::Answer { which, outcome } => {
                if !self.under_way.is_empty() {
                    let id = self.under_way.swap_remove(which % self.under_way.len());
                    self.consumer.on_outcome(id, outcome, self.now, &mut out);
                    self.hear(&mut out)?;
                }
            }
            Op::Stray { offset, outcome } => {
                let id = DeliveryId { offset: Offset(offset), replay: 0 };
                if !self.under_way.contains(&id) {
                    self.consumer.on_outcome(id, outcome, self.now, &mut out);
                    prop_assert_eq!(out, []);
                }
            }
            Op::Abandon(which) => {
                if !self.under_way.is_empty() {
                    let id = self.under_way.swap_remove(which % self.under_way.len());
                    self.consumer.abandon(id);
                }
            }
            Op::Pause(true) => self.consumer.pause(),
            Op::Pause(false) => self.consumer.resume(),
            Op::Restore => self.restore()?,
            Op::Change(policy) => {
                self.policy = *policy;
                self.consumer.set_policy(self.policy.clone());
            }
        }
        self.check()
    }

    fn poll(&mut self) -> Result<(), TestCaseError> {
        let (before, paused) = (self.consumer.breaker(), self.consumer.is_paused());
        let idle = self.policy.concurrency.saturating_sub(self.consumer.counts().in_flight as u32) as usize;
        let mut out = Vec::new();
        self.consumer.poll(self.now, &mut out);
        let starts = out.iter().filter(|action| matches!(action, Action::Start { .. })).count();
        let most = match before {
            _ if paused => 0,
            BreakerState::Open { until } if until > self.now => 0,
            BreakerState::Open { .. } | BreakerState::HalfOpen => 1,
            BreakerState::Closed => idle,
        };
        prop_assert!(starts <= most.min(idle), "{} starts, {:?}", starts, before);
        prop_assert!(self.consumer.deadline(self.now).is_none_or(|due| due > self.now));
        self.hear(&mut out)
    }

    /// A restart without a loss: the snapshot was the last that was written.
    fn restore(&mut self) -> Result<(), TestCaseError> {
        let text = serde_json::to_string(&self.consumer.snapshot()).expect("JSON");
        let snapshot: Snapshot = serde_json::from_str(&text).expect("JSON");
        prop_assert_eq!(&snapshot, &self.consumer.snapshot());
        let scanned = self.consumer.scanned();
        self.consumer = Consumer::restore(&snapshot, self.policy.clone(), 3);
        self.under_way.clear();
        let held: Vec<Item> = self.taken.iter().copied().filter(|item| item.offset > snapshot.low).collect();
        for item in held {
            // the window may be smaller by now: what has no room is offered later
            if self.consumer.offer(item, self.now).is_err() {
                self.head = self.consumer.scanned().0;
                self.taken.retain(|item| item.offset.0 <= self.head);
                break;
            }
        }
        if self.head == scanned.0 {
            self.consumer.skip_to(scanned);
        }
        for (id, item) in self.replays.iter().filter(|(id, _)| !self.ended.contains(id)) {
            self.consumer.offer_again(*item, id.replay);
        }
        Ok(())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let consumer = &self.consumer;
        let held: HashMap<DeliveryId, ItemState> = consumer.items().map(|view| (view.id, view.state)).collect();
        for item in &self.taken {
            let id = DeliveryId { offset: item.offset, replay: 0 };
            prop_assert!(held.contains_key(&id) != self.ended.contains(&id), "{:?} is lost, or held and ended", id);
            prop_assert!(!held.contains_key(&id) || consumer.low() < id.offset, "low leads");
        }
        for id in self.replays.keys() {
            prop_assert!(held.contains_key(id) != self.ended.contains(id));
        }
        let mut keys = HashSet::new();
        for view in consumer.items().filter(|view| view.state == ItemState::InFlight) {
            prop_assert!(keys.insert(view.key), "two of key {}", view.key);
            prop_assert!(self.under_way.contains(&view.id));
        }
        prop_assert_eq!(keys.len(), self.under_way.len());
        let count = |wanted: &dyn Fn(&ItemState) -> bool| held.values().filter(|state| wanted(state)).count() as u64;
        let Counts { waiting, in_flight, retrying, in_doubt, .. } = consumer.counts();
        prop_assert_eq!(in_flight, count(&|state| *state == ItemState::InFlight));
        prop_assert_eq!(waiting + retrying, count(&|state| *state != ItemState::InFlight));
        prop_assert!(retrying >= count(&|state| *state == ItemState::Retrying));
        prop_assert!(in_doubt >= count(&|state| *state == ItemState::InDoubt) && in_doubt <= held.len() as u64);
        prop_assert!(consumer.low() <= consumer.scanned());
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_no_rule_is_broken(policy in policies(), ops in ops()) {
        let mut rig = Rig {
            consumer: Consumer::new(policy.clone(), 5),
            policy,
            now: TimestampNs(1_000 * S),
            head: 0,
            taken: Vec::new(),
            ended: HashSet::new(),
            under_way: Vec::new(),
            replays: HashMap::new(),
        };
        for op in ops {
            rig.apply(op)?;
        }
    }

    #[test]
    fn a_snapshot_of_what_was_restored_is_the_snapshot(
        low in 0..100_u64,
        settled in proptest::collection::btree_set(101..200_u64, 0..20),
        paused in any::<bool>(),
    ) {
        let settled = settled.into_iter().map(Offset).collect();
        let snapshot = Snapshot { low: Offset(low), settled, attempts: Vec::new(), paused };
        prop_assert_eq!(Consumer::restore(&snapshot, policy(), 1).snapshot(), snapshot);
    }
}

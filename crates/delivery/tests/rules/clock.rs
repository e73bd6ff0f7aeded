//! `deadline` asks for no busy loop, and nothing is kept of what has ended.

use crate::bench::{DOWN, FAILED, MS, S};
use delivery::{Action, BreakerPolicy, Consumer, Item, Offset, Outcome, Policy, SplitMix64};
use model::TimestampNs;

/// A driver that does only what it is told: it polls at deadlines and when an answer is there.
/// Answers the polls without a start, an end, or a later deadline.
fn idle_polls(policy: Policy, seed: u64, items: u64) -> (u64, u64) {
    let mut random = SplitMix64::new(seed);
    let mut consumer = Consumer::new(policy, seed);
    let (mut now, mut next, mut polls, mut idle) = (1_000 * S, 1, 0, 0);
    let mut calls = Vec::new();
    let mut out = Vec::new();
    while next <= items || !consumer.is_empty() {
        while next <= items && consumer.room() > 0 {
            let time = TimestampNs(now - random.up_to(20 * S as u64) as i64);
            let item = Item { offset: Offset(next), key: random.up_to(30), time, bytes: 1 };
            consumer.offer(item, TimestampNs(now)).expect("there is room");
            next += 1;
        }
        let before = consumer.deadline(TimestampNs(now));
        consumer.poll(TimestampNs(now), &mut out);
        polls += 1;
        let after = consumer.deadline(TimestampNs(now));
        idle += u64::from(out.is_empty() && after.is_some() && after <= before.filter(|due| due.0 <= now));
        assert!(after.is_none_or(|due| due.0 > now), "at {now} it asks for {after:?}");
        calls.extend(out.drain(..).filter_map(|action| match action {
            Action::Start { id, .. } => Some((now + random.up_to(300) as i64 * MS, id)),
            _ => None,
        }));
        calls.sort_unstable();
        calls.reverse();
        let answer = calls.last().map(|(at, _)| *at);
        let Some(at) = answer.into_iter().chain(after.map(|due| due.0)).min() else {
            assert!(consumer.is_empty() || next <= items, "nothing is due and {} are held", consumer.len());
            continue;
        };
        now = now.max(at);
        while let Some((_, id)) = calls.pop_if(|(at, _)| *at <= now) {
            let outcome = match random.up_to(9) {
                0 => DOWN,
                1 => FAILED,
                2 => Outcome::InDoubt,
                _ => Outcome::Delivered,
            };
            consumer.on_outcome(id, outcome, TimestampNs(now), &mut out);
        }
        out.clear();
    }
    assert_eq!(consumer.deadline(TimestampNs(now)), None, "nothing is kept of what has ended");
    (polls, idle)
}

#[test]
fn polls_at_deadlines_always_come_to_something() {
    for seed in 0..24 {
        let policy = Policy {
            attempts: 4,
            window: 64,
            concurrency: 1 + seed as u32 % 7,
            rate_per_s: (seed % 2 == 0).then_some(40),
            coalesce: seed % 3 == 0,
            probe: seed % 5 == 0,
            expire_ns: (seed % 4 == 0).then_some(60 * S as u64),
            breaker: BreakerPolicy { failures: 3, open_ns: S as u64, open_max_ns: 10 * S as u64 },
            ..Policy::default()
        };
        let (polls, idle) = idle_polls(policy, seed, 2_000);
        assert_eq!(idle, 0, "of {polls} polls with seed {seed}");
        // each is due to an answer, a start, a wait, an expiry, the breaker or the rate
        assert!(polls < 2_000 * 12, "{polls} polls with seed {seed}");
    }
}

/// A consumer that is paused for long while items come and expire, or are replaced, keeps nothing
/// of them: its printed state, which shows all that it keeps, does not grow.
#[test]
fn nothing_is_kept_of_what_has_ended() {
    for coalesce in [false, true] {
        let policy = Policy { expire_ns: Some(S as u64), coalesce, window: 16, ..Policy::default() };
        let mut consumer = Consumer::new(policy, 1);
        consumer.pause();
        let mut sizes = Vec::new();
        let mut out = Vec::new();
        for n in 1..=4_000_u64 {
            let now = TimestampNs(n as i64 * 300 * MS);
            let key = if coalesce { n % 3 } else { n };
            consumer.offer(Item { offset: Offset(n), key, time: now, bytes: 1 }, now).expect("there is room");
            consumer.poll(now, &mut out);
            out.clear();
            if n.is_multiple_of(1_000) {
                sizes.push(format!("{consumer:?}").len());
            }
        }
        let (least, most) = (sizes.iter().min().expect("sizes"), sizes.iter().max().expect("sizes"));
        assert!(most - least < 1_000, "{sizes:?}");
    }
}

/// Delivered items leave no expiry behind, however far away it was.
#[test]
fn what_is_delivered_leaves_no_expiry_behind() {
    let mut consumer = Consumer::new(Policy { expire_ns: Some(7 * 86_400 * S as u64), ..Policy::default() }, 1);
    let mut out = Vec::new();
    for n in 1..=1_000_u64 {
        let now = TimestampNs(n as i64);
        consumer.offer(Item { offset: Offset(n), key: 1, time: now, bytes: 1 }, now).expect("there is room");
        consumer.poll(now, &mut out);
        let id = delivery::DeliveryId { offset: Offset(n), replay: 0 };
        consumer.on_outcome(id, Outcome::Delivered, now, &mut out);
    }
    assert_eq!(consumer.deadline(TimestampNs(1_000)), None);
    assert_eq!(consumer.low(), Offset(1_000));
}

/// As many polls as items, over as many held items: work that grew with what is held would be
/// forty thousand million steps and not end.
#[test]
fn a_poll_costs_what_starts_and_not_what_is_held() {
    const ITEMS: u64 = 200_000;
    for keys in [1, ITEMS] {
        let policy = Policy { window: u32::MAX, concurrency: 1, rate_per_s: Some(1_000_000), ..Policy::default() };
        let mut consumer = Consumer::new(policy, 1);
        for n in 1..=ITEMS {
            let item = Item { offset: Offset(n), key: n % keys, time: TimestampNs(0), bytes: 1 };
            consumer.offer(item, TimestampNs(0)).expect("there is room");
        }
        let (mut out, mut ended, mut now) = (Vec::new(), 0, TimestampNs(0));
        while let Some(due) = consumer.deadline(now) {
            now = due.max(now.plus_ns(S));
            consumer.poll(now, &mut out);
            for action in std::mem::take(&mut out) {
                if let Action::Start { id, .. } = action {
                    consumer.on_outcome(id, Outcome::Delivered, now, &mut out);
                    ended += 1;
                    assert_eq!(id.offset, Offset(ended), "in order of what was offered");
                }
            }
        }
        assert_eq!((ended, consumer.low()), (ITEMS, Offset(ITEMS)));
    }
}

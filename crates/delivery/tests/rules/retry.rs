//! Attempts, waits, abandoning, expiry.

use crate::bench::{Bench, DOWN, FAILED, MS, S, first, policy, with_breaker};
use delivery::{Attempted, Counts, DeadReason, End, ItemState, Outcome, Policy, RETRY_AFTER_MAX_NS};
use model::TimestampNs;

#[test]
fn what_the_target_fails_ends_after_its_attempts() {
    for attempts in [0, 1, 3, 12] {
        let mut bench = Bench::new(Policy { attempts, ..policy() });
        let id = bench.offer(1);
        let mut starts = 0;
        while bench.consumer.is_pending(id) {
            assert_eq!(bench.until_start(), [1]);
            starts += 1;
            bench.answer(id, FAILED);
        }
        let counted = attempts.max(1);
        assert_eq!(starts, counted);
        assert_eq!(bench.ends, [(id, End::Dead { reason: DeadReason::Attempts { counted } })]);
        let told: Vec<(u32, u32)> = bench.attempted.iter().map(|one| (one.attempt, one.counted)).collect();
        assert_eq!(told, (1..counted).map(|n| (n, n)).collect::<Vec<_>>());
    }
}

#[test]
fn a_lone_poison_message_ends_although_the_breaker_opens() {
    let mut bench = Bench::new(Policy { attempts: 12, ..with_breaker(5) });
    let id = bench.offer(1);
    while bench.consumer.is_pending(id) {
        bench.until_start();
        bench.answer(id, FAILED);
    }
    assert_eq!(bench.ends, [(id, End::Dead { reason: DeadReason::Attempts { counted: 12 } })]);
}

#[test]
fn waits_grow_to_their_limit_and_are_kept() {
    let mut bench = Bench::new(Policy { attempts: 1_000, first_ns: 100 * MS as u64, max_ns: 5 * S as u64, ..policy() });
    let id = bench.offer(1);
    let mut longest = 0;
    for n in 0..200_u32 {
        assert_eq!(bench.until_start(), [1]);
        bench.answer(id, FAILED);
        let Attempted { next_ns, .. } = *bench.attempted.last().expect("it failed");
        let cap = ((100 * MS) << n.min(10)).min(5 * S);
        assert!(next_ns > bench.now && next_ns <= bench.now + cap, "failure {n}: {}", next_ns - bench.now);
        assert_eq!(bench.consumer.deadline(bench.time()), Some(TimestampNs(next_ns)));
        let view = bench.consumer.items().next().expect("it is held");
        assert_eq!((view.state, view.next, view.attempts), (ItemState::Retrying, Some(TimestampNs(next_ns)), n + 1));
        longest = longest.max(next_ns - bench.now);
        bench.now = next_ns - 1;
        assert_eq!(bench.starts(), [0; 0], "not before its time");
        bench.now = next_ns;
    }
    assert!(longest > 4 * S);
}

#[test]
fn what_the_receiver_asks_for_is_a_floor_up_to_an_hour() {
    for (asked, floor) in [(7 * S as u64, 7 * S), (u64::MAX, RETRY_AFTER_MAX_NS as i64)] {
        let asked = Some(asked);
        for outcome in [Outcome::Unavailable { retry_after_ns: asked }, Outcome::Failed { retry_after_ns: asked }] {
            let mut bench = Bench::new(policy());
            let id = bench.offer(1);
            bench.starts();
            bench.answer(id, outcome);
            let wait = bench.attempted[0].next_ns - bench.now;
            assert!(wait >= floor && wait <= floor + 500 * MS, "{wait}");
        }
    }
}

#[test]
fn a_short_floor_does_not_shorten_the_back_off() {
    let mut bench = Bench::new(Policy { attempts: 100, ..policy() });
    let id = bench.offer(1);
    let mut waits = Vec::new();
    for _ in 0..60 {
        bench.until_start();
        bench.answer(id, Outcome::Failed { retry_after_ns: Some(S as u64) });
        waits.push(bench.attempted[bench.attempted.len() - 1].next_ns - bench.now);
    }
    assert!(waits.iter().all(|wait| *wait >= S));
    assert!(waits[10..].iter().sum::<i64>() / 50 > 15 * S, "a minute's cap, half of it on average: {waits:?}");
}

#[test]
fn what_is_abandoned_waits_again_uncounted() {
    let mut bench = Bench::new(Policy { concurrency: 1, ..policy() });
    let id = bench.offer(1);
    bench.offer(2);
    assert_eq!(bench.starts(), [1]);
    bench.consumer.abandon(id);
    bench.consumer.abandon(id);
    bench.consumer.abandon(first(2));
    bench.consumer.abandon(first(77));
    assert_eq!(bench.consumer.counts(), Counts { waiting: 2, in_doubt: 1, ..Counts::default() });
    assert_eq!((bench.ends.len(), bench.attempted.len()), (0, 0));
    assert_eq!(bench.starts(), [2], "others had their turn before");
    bench.answer(id, Outcome::Delivered);
    assert_eq!(bench.ends, [], "its answer comes too late");
    bench.answer(first(2), Outcome::Delivered);
    assert_eq!(bench.starts(), [1]);
    bench.answer(id, FAILED);
    assert_eq!((bench.attempted[0].attempt, bench.attempted[0].counted), (1, 1));
}

#[test]
fn what_is_too_old_ends_even_while_paused_or_waiting() {
    let expiring = Policy { expire_ns: Some(60 * S as u64), ..policy() };
    let mut bench = Bench::new(expiring);
    let begin = bench.now;
    let waits = bench.offer(1);
    bench.starts();
    bench.answer(waits, Outcome::Unavailable { retry_after_ns: Some(3_000 * S as u64) });
    bench.consumer.pause();
    let idle = bench.offer(2);
    assert_eq!(bench.wait(), begin + 60 * S);
    bench.now -= 1;
    bench.poll();
    assert_eq!(bench.ends, []);
    bench.now += 1;
    assert_eq!(bench.starts(), [0; 0]);
    assert_eq!(bench.ends, [(waits, End::Expired), (idle, End::Expired)]);
    assert_eq!(bench.consumer.deadline(bench.time()), None);
    assert_eq!(bench.consumer.counts(), Counts { expired: 2, failed_attempts: 1, ..Counts::default() });
}

#[test]
fn what_is_under_way_expires_when_its_answer_is_no() {
    let expiring = Policy { expire_ns: Some(60 * S as u64), probe: true, ..policy() };
    for (outcome, end) in [
        (Outcome::Delivered, End::Delivered),
        (FAILED, End::Expired),
        (DOWN, End::Expired),
        (Outcome::InDoubt, End::Expired),
        (Outcome::Rejected, End::Dead { reason: DeadReason::Rejected }),
        (Outcome::Unmapped, End::Dead { reason: DeadReason::Rejected }),
    ] {
        let mut bench = Bench::new(expiring.clone());
        let id = bench.offer(1);
        bench.starts();
        assert_eq!(bench.consumer.deadline(bench.time()), None, "nothing is due while it is under way");
        bench.now += 61 * S;
        assert_eq!(bench.starts(), [0; 0]);
        assert_eq!(bench.ends, []);
        bench.answer(id, outcome);
        assert_eq!(bench.ends, [(id, end)]);
    }
}

#[test]
fn what_is_too_old_is_not_sent_after_a_probe_or_an_abandoned_attempt() {
    for is_probe in [true, false] {
        let mut bench = Bench::new(Policy { expire_ns: Some(60 * S as u64), probe: true, ..policy() });
        let id = bench.offer(1);
        bench.starts();
        bench.answer(id, Outcome::InDoubt);
        bench.until_start();
        bench.now += 61 * S;
        bench.poll();
        if is_probe {
            bench.answer(id, Outcome::ProbeNotDone);
        } else {
            bench.consumer.abandon(id);
        }
        assert_eq!(bench.starts(), [0; 0]);
        assert_eq!(bench.ends, [(id, End::Expired)]);
    }
}

#[test]
fn another_limit_of_age_holds_for_what_is_held() {
    let mut bench = Bench::new(policy());
    let id = bench.offer(1);
    bench.consumer.pause();
    bench.now += 100 * S;
    bench.poll();
    bench.consumer.set_policy(Policy { expire_ns: Some(200 * S as u64), ..policy() });
    bench.wait();
    bench.poll();
    assert_eq!(bench.ends, [(id, End::Expired)]);
    let kept = bench.offer(1);
    bench.consumer.set_policy(policy());
    assert_eq!(bench.consumer.deadline(bench.time()), None);
    bench.now += 1_000 * S;
    bench.poll();
    assert!(bench.consumer.is_pending(kept));
}

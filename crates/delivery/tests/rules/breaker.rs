//! E3: the breaker, pause and concurrency.

use crate::bench::{Bench, DOWN, FAILED, S, first, policy, with_breaker};
use delivery::{BreakerState, DeliveryId, Outcome, Policy};
use model::TimestampNs;

/// A consumer whose breaker has just opened, with ten keys that wait.
fn opened() -> Bench {
    let mut bench = Bench::new(Policy { attempts: 1_000, max_ns: S as u64, ..with_breaker(3) });
    for key in 0..10 {
        bench.offer(key);
    }
    bench.starts();
    for offset in 1..=3 {
        assert_eq!(bench.consumer.breaker(), BreakerState::Closed);
        bench.answer(first(offset), DOWN);
    }
    bench
}

/// The same, with nothing under way.
fn open_and_idle() -> Bench {
    let mut bench = opened();
    (4..=10).for_each(|offset| bench.answer(first(offset), DOWN));
    bench
}

fn until(bench: &Bench) -> i64 {
    match bench.consumer.breaker() {
        BreakerState::Open { until } => until.0,
        other => panic!("it is {}", other.word()),
    }
}

#[test]
fn failures_in_a_row_open_it_and_nothing_starts() {
    let mut bench = open_and_idle();
    let until = until(&bench);
    assert_eq!(until, bench.now + 10 * S);
    bench.offer(99);
    while bench.now < until - 1 {
        assert_eq!(bench.starts(), [0; 0]);
        bench.now = bench.consumer.deadline(bench.time()).map_or(until, |due| due.0).min(until - 1);
    }
    assert_eq!(bench.starts(), [0; 0]);
    bench.now = until;
    assert_eq!(bench.starts().len(), 1, "one trial");
    assert_eq!(bench.consumer.breaker(), BreakerState::HalfOpen);
}

#[test]
fn a_success_or_a_refusal_in_between_keeps_it_closed() {
    for outcome in [Outcome::Delivered, Outcome::Rejected, Outcome::ProbeDone, Outcome::ProbeNotDone] {
        let mut bench = Bench::new(with_breaker(3));
        for key in 0..9 {
            bench.offer(key);
        }
        bench.starts();
        for offset in 1..=9 {
            bench.answer(first(offset), if offset % 3 == 0 { outcome.clone() } else { FAILED });
            assert_eq!(bench.consumer.breaker(), BreakerState::Closed);
        }
    }
}

#[test]
fn trials_that_fail_double_the_time_up_to_its_limit() {
    let mut bench = open_and_idle();
    let mut open = 10;
    for _ in 0..6 {
        bench.now = until(&bench);
        let trial = bench.starts();
        assert_eq!(trial.len(), 1);
        assert_eq!(bench.starts(), [0; 0], "one at a time");
        bench.now += S;
        bench.answer(first(trial[0]), DOWN);
        open = (open * 2).min(40);
        assert_eq!(until(&bench), bench.now + open * S);
    }
    bench.now = until(&bench);
    let trial = bench.starts();
    bench.answer(first(trial[0]), Outcome::Delivered);
    assert_eq!(bench.consumer.breaker(), BreakerState::Closed);
    assert_eq!(bench.starts().len(), 9, "all others at once");
    for offset in (1..=10).filter(|offset| *offset != trial[0]).take(3) {
        bench.answer(first(offset), DOWN);
    }
    assert_eq!(until(&bench), bench.now + 10 * S, "it begins anew");
}

#[test]
fn a_trial_is_of_another_key_than_the_last_that_failed() {
    let mut bench = open_and_idle();
    let mut tried = Vec::new();
    for _ in 0..10 {
        bench.now = until(&bench) + S;
        let trial = bench.starts();
        assert_ne!(tried.last(), Some(&trial[0]));
        tried.push(trial[0]);
        bench.answer(first(trial[0]), DOWN);
    }
    tried.sort_unstable();
    tried.dedup();
    assert_eq!(tried.len(), 10, "all keys have their turn");
}

#[test]
fn a_lone_key_is_tried_again() {
    let mut bench = Bench::new(Policy { attempts: 1_000, ..with_breaker(1) });
    let id = bench.offer(1);
    for _ in 0..20 {
        assert_eq!(bench.until_start(), [1]);
        bench.answer(id, FAILED);
    }
}

#[test]
fn what_was_under_way_before_says_nothing_of_the_trial() {
    let mut bench = opened();
    bench.now = until(&bench);
    let trial = bench.starts();
    assert_eq!(trial.len(), 1);
    bench.answer(first(4), DOWN);
    assert_eq!(bench.consumer.breaker(), BreakerState::HalfOpen);
    bench.consumer.abandon(first(5));
    bench.now += 5 * S;
    assert_eq!(bench.starts(), [0; 0], "the trial is still under way");
    bench.answer(first(6), Outcome::Delivered);
    assert_eq!(bench.consumer.breaker(), BreakerState::Closed, "the target is alive");
    bench.answer(first(trial[0]), DOWN);
    assert_eq!(bench.consumer.breaker(), BreakerState::Closed, "one failure of three");
}

#[test]
fn a_trial_that_is_given_up_makes_way_for_another() {
    let mut bench = open_and_idle();
    bench.now = until(&bench);
    let trial = bench.starts();
    bench.consumer.abandon(first(trial[0]));
    assert_eq!(bench.starts().len(), 1);
    assert_eq!(bench.starts().len(), 0);
}

/// The story: a target is down, and the next message has no field that its mapping asks for.
#[test]
fn what_was_never_sent_says_nothing_of_the_target() {
    let mut bench = open_and_idle();
    bench.now = until(&bench);
    let trial = bench.starts();
    bench.answer(first(trial[0]), Outcome::Unmapped);
    assert_eq!(bench.consumer.breaker(), BreakerState::HalfOpen, "it is not known to be alive");
    let again = bench.starts();
    assert_eq!(again.len(), 1, "the next one is the trial");
    bench.answer(first(again[0]), DOWN);
    assert!(matches!(bench.consumer.breaker(), BreakerState::Open { .. }));

    let mut bench = Bench::new(with_breaker(3));
    for key in 0..9 {
        bench.offer(key);
    }
    bench.starts();
    for (offset, outcome) in (1..).zip([FAILED, FAILED, Outcome::Unmapped, FAILED]) {
        assert_eq!(bench.consumer.breaker(), BreakerState::Closed);
        bench.answer(first(offset), outcome);
    }
    assert!(matches!(bench.consumer.breaker(), BreakerState::Open { .. }), "three failures in a row");
}

#[test]
fn a_trial_that_nobody_answers_does_not_wedge_it() {
    let mut bench = open_and_idle();
    bench.now = until(&bench);
    let (lost, since) = (bench.starts(), bench.now);
    let again = bench.until_start();
    assert_ne!(lost, again);
    assert_eq!(bench.now, since + 600 * S);
    bench.answer(first(lost[0]), DOWN);
    assert_eq!(bench.consumer.breaker(), BreakerState::HalfOpen, "the lost one is not the trial any more");
    bench.answer(first(again[0]), Outcome::Delivered);
    assert_eq!(bench.consumer.breaker(), BreakerState::Closed);
}

#[test]
fn pausing_starts_nothing_and_lets_what_is_under_way_end() {
    let mut bench = Bench::new(Policy { concurrency: 2, ..policy() });
    for key in 0..4 {
        bench.offer(key);
    }
    assert_eq!(bench.starts(), [1, 2]);
    bench.consumer.pause();
    assert!(bench.consumer.is_paused());
    bench.answer(first(1), Outcome::Delivered);
    bench.answer(first(2), FAILED);
    assert_eq!(bench.ends.len(), 1);
    bench.wait();
    assert_eq!(bench.starts(), [0; 0]);
    assert_eq!(bench.consumer.deadline(bench.time()), None, "nothing is due while paused");
    bench.consumer.resume();
    assert_eq!(bench.consumer.deadline(bench.time()), Some(bench.time()));
    assert_eq!(bench.starts(), [3, 4]);
}

#[test]
fn concurrency_is_a_limit_also_when_it_shrinks() {
    let mut bench = Bench::new(Policy { concurrency: 5, ..policy() });
    for key in 0..20 {
        bench.offer(key);
    }
    assert_eq!(bench.starts(), [1, 2, 3, 4, 5]);
    bench.consumer.set_policy(Policy { concurrency: 2, ..policy() });
    for offset in 1..=3 {
        bench.answer(first(offset), Outcome::Delivered);
        assert_eq!(bench.starts(), [0; 0]);
    }
    bench.answer(first(4), Outcome::Delivered);
    assert_eq!(bench.starts(), [6]);
    assert_eq!(bench.consumer.counts().in_flight, 2);
}

#[test]
fn a_replay_can_be_the_trial() {
    let mut bench = Bench::new(with_breaker(1));
    let id = bench.offer(1);
    bench.starts();
    bench.answer(id, DOWN);
    bench.consumer.offer_again(bench.item(1, 2), 1);
    bench.now = until(&bench);
    assert_eq!(bench.poll(), [(DeliveryId { replay: 1, ..id }, false)], "of another key");
    assert_eq!(bench.consumer.deadline(bench.time()), Some(TimestampNs(bench.now + 600 * S)));
}

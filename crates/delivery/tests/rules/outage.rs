//! E4: an outage never makes a dead letter.

use crate::bench::{Bench, DOWN, FAILED, first, policy, with_breaker};
use delivery::{DeadReason, End, Outcome, Policy};

#[test]
fn what_was_not_answered_does_not_count() {
    for outcome in [DOWN, Outcome::InDoubt] {
        let mut bench = Bench::new(policy());
        for key in 0..10 {
            bench.offer(key);
        }
        for _ in 0..1_000 {
            for offset in bench.until_start() {
                bench.answer(first(offset), outcome.clone());
            }
        }
        assert_eq!(bench.ends, []);
        assert!(bench.attempted.iter().all(|attempted| attempted.counted == 0));
        assert!(bench.attempted.iter().any(|attempted| attempted.attempt > 50));
    }
}

#[test]
fn it_counts_when_the_target_delivered_others_since_the_attempt_before() {
    for outcome in [DOWN, Outcome::InDoubt] {
        let mut bench = Bench::new(policy());
        let id = bench.offer(0);
        let counted_after = |bench: &mut Bench, others: u64| {
            for n in 0..others {
                let other = bench.offer(10 + n);
                let starts = bench.starts();
                assert!(starts.contains(&other.offset.0));
                bench.answer(other, Outcome::Delivered);
                if starts.contains(&id.offset.0) {
                    return None;
                }
            }
            bench.until_start();
            bench.answer(id, outcome.clone());
            bench.attempted.last().map(|attempted| attempted.counted)
        };
        assert_eq!(counted_after(&mut bench, 0), Some(0), "the first attempt has none before it");
        assert_eq!(counted_after(&mut bench, 0), Some(0));
        // the wait is random: others are delivered before it is over
        assert_eq!(counted_after(&mut bench, 1), Some(1));
        assert_eq!(counted_after(&mut bench, 0), Some(1), "the same delivery does not count twice");
        assert_eq!(counted_after(&mut bench, 2), Some(2), "nor do two in one go");
        assert_eq!(counted_after(&mut bench, 1), Some(2), "it has ended");
        assert_eq!(bench.end_of(id), Some(&End::Dead { reason: DeadReason::Attempts { counted: 3 } }));
    }
}

#[test]
fn answers_and_outages_add_up_and_outages_alone_do_not_end_it() {
    let mut bench = Bench::new(policy());
    let id = bench.offer(1);
    for outcome in [FAILED, DOWN, FAILED, DOWN, DOWN] {
        bench.until_start();
        bench.answer(id, outcome);
    }
    assert_eq!(bench.attempted.iter().map(|one| one.counted).collect::<Vec<_>>(), [1, 1, 2, 2, 2]);
    bench.until_start();
    // fewer attempts are allowed from now on; what does not count still ends nothing
    bench.consumer.set_policy(Policy { attempts: 2, ..policy() });
    bench.answer(id, DOWN);
    assert_eq!(bench.ends, []);
    bench.until_start();
    bench.answer(id, FAILED);
    assert_eq!(bench.ends, [(id, End::Dead { reason: DeadReason::Attempts { counted: 3 } })]);
}

#[test]
fn an_outage_behind_a_breaker_burns_few_attempts() {
    let mut bench = Bench::new(Policy { concurrency: 4, ..with_breaker(5) });
    for key in 0..1_000 {
        bench.offer(key);
    }
    let (begin, mut starts) = (bench.now, 0);
    while bench.now < begin + 3_600 * crate::bench::S {
        for offset in bench.until_start() {
            starts += 1;
            bench.answer(first(offset), DOWN);
        }
    }
    // five, and a trial each after 10, 20, 40, 40, … s
    assert!((90..110).contains(&starts), "{starts}");
    assert_eq!(bench.ends, []);
}

//! What may have taken effect is asked for before it is sent again.

use crate::bench::{Bench, DOWN, FAILED, policy};
use delivery::{Counts, End, ItemState, Outcome, Policy};

fn bench(probe: bool) -> (Bench, delivery::DeliveryId) {
    let mut bench = Bench::new(Policy { attempts: 100, probe, ..policy() });
    let id = bench.offer(1);
    assert_eq!(bench.poll(), [(id, false)], "the first attempt sends");
    bench.answer(id, Outcome::InDoubt);
    assert_eq!(bench.consumer.items().next().map(|view| view.state), Some(ItemState::InDoubt));
    assert_eq!(bench.consumer.counts(), Counts { retrying: 1, in_doubt: 1, failed_attempts: 1, ..Counts::default() });
    assert!(bench.attempted[0].in_doubt);
    (bench, id)
}

fn next_is_probe(bench: &mut Bench) -> bool {
    bench.wait();
    let starts = bench.poll();
    assert_eq!(starts.len(), 1);
    starts[0].1
}

#[test]
fn a_probe_that_finds_it_done_ends_it() {
    let (mut bench, id) = bench(true);
    assert!(next_is_probe(&mut bench));
    bench.answer(id, Outcome::ProbeDone);
    assert_eq!(bench.ends, [(id, End::Delivered)]);
    assert_eq!(bench.consumer.counts(), Counts { delivered: 1, failed_attempts: 1, ..Counts::default() });
}

#[test]
fn a_probe_that_finds_it_not_done_sends_it_at_once() {
    let (mut bench, id) = bench(true);
    assert!(next_is_probe(&mut bench));
    bench.answer(id, Outcome::ProbeNotDone);
    assert_eq!(bench.consumer.counts(), Counts { retrying: 1, failed_attempts: 1, ..Counts::default() });
    assert_eq!(bench.poll(), [(id, false)]);
    bench.answer(id, Outcome::Delivered);
    assert_eq!(bench.ends, [(id, End::Delivered)]);
}

#[test]
fn a_probe_that_does_not_know_or_fails_leaves_the_doubt() {
    let (mut bench, id) = bench(true);
    for outcome in [Outcome::ProbeUnknown, DOWN, FAILED, Outcome::InDoubt, Outcome::ProbeUnknown] {
        assert!(next_is_probe(&mut bench), "{outcome:?}");
        bench.answer(id, outcome);
        assert_eq!(bench.consumer.counts().in_doubt, 1);
        assert!(bench.attempted.last().is_some_and(|attempted| attempted.in_doubt));
    }
    assert!(next_is_probe(&mut bench));
}

#[test]
fn without_probes_it_is_sent_again_and_an_answer_settles_the_doubt() {
    let (mut bench, id) = bench(false);
    assert!(!next_is_probe(&mut bench));
    bench.answer(id, DOWN);
    assert_eq!(bench.consumer.counts().in_doubt, 1, "nobody answered: the first one may still have arrived");
    assert!(!next_is_probe(&mut bench));
    bench.answer(id, FAILED);
    assert_eq!(bench.consumer.counts().in_doubt, 0);
    assert!(!next_is_probe(&mut bench));
}

#[test]
fn an_attempt_that_was_given_up_is_asked_for() {
    let mut bench = Bench::new(Policy { probe: true, ..policy() });
    let id = bench.offer(1);
    bench.poll();
    bench.consumer.abandon(id);
    assert_eq!(bench.poll(), [(id, true)]);
}

//! E5, E7: snapshots and folds.

use crate::bench::{Bench, DOWN, FAILED, first, policy};
use delivery::{
    Action, Attempted, Carried, Consumer, Counts, DeliveryId, End, Offset, Outcome, Policy, Settled, Snapshot,
};

fn settled(offset: u64) -> Settled {
    Settled { id: first(offset), end: End::Delivered }
}

fn attempted(offset: u64, attempt: u32, counted: u32) -> Attempted {
    Attempted { id: first(offset), attempt, counted, in_doubt: attempt == 2, next_ns: 0 }
}

#[test]
fn a_snapshot_goes_on_where_it_was_taken() {
    let mut bench = Bench::new(Policy { probe: true, ..policy() });
    for key in 1..=6 {
        bench.offer(key);
    }
    bench.starts();
    for (offset, outcome) in [(1, Outcome::Delivered), (3, Outcome::Delivered), (2, FAILED), (4, Outcome::InDoubt)] {
        bench.answer(first(offset), outcome);
    }
    bench.consumer.abandon(first(5));
    bench.consumer.pause();
    let snapshot = bench.consumer.snapshot();
    let carried = |offset, attempts, counted, in_doubt| Carried { id: first(offset), attempts, counted, in_doubt };
    let expected = Snapshot {
        low: Offset(1),
        settled: vec![Offset(3)],
        // what was given up, and what is under way, may have taken effect
        attempts: vec![carried(2, 1, 1, false), carried(4, 1, 0, true), carried(5, 0, 0, true), carried(6, 1, 0, true)],
        paused: true,
    };
    assert_eq!(snapshot, expected);
    let text = serde_json::to_string(&snapshot).expect("JSON");
    let read: Snapshot = serde_json::from_str(&text).expect("JSON");
    assert_eq!(read, snapshot);

    bench.consumer = Consumer::restore(&read, Policy { probe: true, ..policy() }, 1);
    assert_eq!((bench.consumer.low(), bench.consumer.scanned()), (Offset(1), Offset(1)));
    assert_eq!(bench.consumer.snapshot(), snapshot, "nothing is lost before items are offered again");
    for offset in 1..=6 {
        bench.consumer.offer(bench.item(offset, offset), bench.time()).expect("there is room");
    }
    assert_eq!(bench.consumer.counts(), Counts { waiting: 1, retrying: 3, in_doubt: 3, ..Counts::default() });
    assert_eq!(bench.consumer.snapshot(), snapshot);
    assert!(bench.consumer.is_paused());
    bench.consumer.resume();
    assert_eq!(bench.poll(), [(first(2), false), (first(4), true), (first(5), true), (first(6), true)]);
    bench.answer(first(2), FAILED);
    let last = bench.attempted.last().expect("it failed");
    assert_eq!((last.attempt, last.counted), (2, 2), "it goes on counting");
}

#[test]
fn a_fold_twice_is_a_fold_once() {
    let entries = |consumer: &mut Consumer| {
        consumer.fold_attempted(&attempted(7, 1, 1));
        consumer.fold_attempted(&attempted(8, 1, 0));
        consumer.fold_settled(&settled(5));
        consumer.fold_attempted(&attempted(7, 2, 2));
        consumer.fold_settled(&settled(7));
        consumer.fold_attempted(&attempted(9, 2, 1));
        consumer.fold_settled(&Settled { id: DeliveryId { replay: 1, ..first(2) }, end: End::Delivered });
    };
    let mut once = Consumer::new(policy(), 1);
    once.skip_to(Offset(3));
    entries(&mut once);
    let expected = Snapshot {
        low: Offset(3),
        settled: vec![Offset(5), Offset(7)],
        attempts: vec![
            Carried { id: first(8), attempts: 1, counted: 0, in_doubt: false },
            Carried { id: first(9), attempts: 2, counted: 1, in_doubt: true },
        ],
        paused: false,
    };
    assert_eq!(once.snapshot(), expected);
    entries(&mut once);
    assert_eq!(once.snapshot(), expected);
    let mut restored = Consumer::restore(&expected, policy(), 1);
    entries(&mut restored);
    assert_eq!(restored.snapshot(), expected);
}

#[test]
fn what_has_ended_is_passed_over_and_low_follows() {
    let mut bench = Bench::new(policy());
    for offset in [1, 2, 4] {
        bench.consumer.fold_settled(&settled(offset));
    }
    assert_eq!(bench.consumer.low(), Offset(0));
    for (offset, low) in [(1, 1), (2, 2), (3, 2), (4, 2)] {
        bench.consumer.offer(bench.item(offset, 1), bench.time()).expect("there is room");
        assert_eq!(bench.consumer.low(), Offset(low));
    }
    assert_eq!(bench.starts(), [3]);
    bench.answer(first(3), Outcome::Delivered);
    assert_eq!(bench.consumer.low(), Offset(4));
    assert_eq!(bench.consumer.snapshot(), Snapshot { low: Offset(4), ..Snapshot::default() });
}

#[test]
fn what_is_no_longer_offered_is_not_carried_for_ever() {
    let mut consumer = Consumer::new(policy(), 1);
    consumer.fold_attempted(&attempted(3, 1, 1));
    consumer.fold_attempted(&attempted(9, 1, 1));
    consumer.skip_to(Offset(5));
    assert_eq!(consumer.snapshot().attempts.iter().map(|one| one.id).collect::<Vec<_>>(), [first(9)]);
}

#[test]
fn an_outage_before_a_restart_does_not_count_behind_it() {
    let mut bench = Bench::new(policy());
    let id = bench.offer(1);
    bench.offer(2);
    bench.starts();
    bench.answer(id, DOWN);
    bench.answer(first(2), Outcome::Delivered);
    bench.consumer = Consumer::restore(&bench.consumer.snapshot(), policy(), 1);
    for offset in [1, 2] {
        bench.consumer.offer(bench.item(offset, offset), bench.time()).expect("there is room");
    }
    assert_eq!(bench.starts(), [1]);
    bench.answer(id, DOWN);
    assert_eq!(bench.attempted.last().map(|one| (one.attempt, one.counted)), Some((2, 0)));
}

#[test]
fn ends_are_told_before_what_they_let_start() {
    let mut bench = Bench::new(Policy { expire_ns: Some(5), ..policy() });
    bench.consumer.pause();
    bench.offer(1);
    bench.now += 3;
    bench.offer(1);
    bench.consumer.resume();
    bench.now += 2;
    let mut actions = Vec::new();
    bench.consumer.poll(bench.time(), &mut actions);
    assert!(matches!(actions[..], [Action::Settled(_), Action::Start { .. }]), "{actions:?}");
}

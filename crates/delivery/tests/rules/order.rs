//! E1, E2: order per key, poison, coalescing, replays.

use crate::bench::{Bench, DOWN, FAILED, S, first, policy};
use delivery::{Counts, DeadReason, DeliveryId, End, Item, ItemState, Offset, Outcome, Policy};

fn coalescing() -> Bench {
    Bench::new(Policy { coalesce: true, ..policy() })
}

#[test]
fn one_of_a_key_is_under_way_and_the_next_starts_when_it_has_ended() {
    let mut bench = Bench::new(policy());
    for key in [7, 7, 8, 7] {
        bench.offer(key);
    }
    assert_eq!(bench.starts(), [1, 3]);
    assert_eq!(bench.starts(), [0; 0]);
    bench.answer(first(1), Outcome::Delivered);
    assert_eq!(bench.starts(), [2]);
    bench.answer(first(3), Outcome::Delivered);
    assert_eq!(bench.starts(), [0; 0], "the last one waits for its key");
    bench.answer(first(2), FAILED);
    assert_eq!(bench.starts(), [0; 0], "a failure does not let the next one pass");
    assert_eq!(bench.until_start(), [2]);
    bench.answer(first(2), Outcome::Delivered);
    assert_eq!(bench.starts(), [4]);
}

#[test]
fn poison_holds_its_key_only() {
    let mut bench = Bench::new(policy());
    for n in 0..50 {
        bench.offer(if n % 5 == 0 { 0 } else { n });
    }
    let mut poison_starts = 0;
    while !bench.consumer.is_empty() {
        for offset in bench.until_start() {
            let is_poison = offset == 1;
            poison_starts += u32::from(is_poison);
            bench.answer(first(offset), if is_poison { FAILED } else { Outcome::Delivered });
        }
    }
    assert_eq!(poison_starts, 3);
    let dead: Vec<_> = bench.ends.iter().filter(|(_, end)| *end != End::Delivered).collect();
    assert_eq!(dead, [&(first(1), End::Dead { reason: DeadReason::Attempts { counted: 3 } })]);
    let of_key: Vec<u64> = bench.ends.iter().map(|(id, _)| id.offset.0).filter(|offset| offset % 5 == 1).collect();
    assert_eq!(of_key, [1, 6, 11, 16, 21, 26, 31, 36, 41, 46]);
    let others = bench.ends.iter().position(|(id, _)| id.offset.0 == 1).expect("it ended");
    assert_eq!(others, 40, "all other keys went on meanwhile");
}

#[test]
fn a_refused_item_ends_at_once_and_its_key_goes_on() {
    let mut bench = Bench::new(policy());
    let id = bench.offer(1);
    bench.offer(1);
    bench.poll();
    bench.answer(id, Outcome::Rejected);
    assert_eq!(bench.ends, [(id, End::Dead { reason: DeadReason::Rejected })]);
    assert_eq!(bench.starts(), [2]);
}

#[test]
fn a_newer_item_replaces_those_that_wait() {
    let mut bench = coalescing();
    for key in [1, 1, 2, 1] {
        bench.offer(key);
    }
    assert_eq!(bench.starts(), [4, 3], "its key keeps its turn");
    assert_eq!(bench.ends, [1, 2].map(|offset| (first(offset), End::Superseded { by: Offset(4) })));
    assert_eq!(bench.consumer.counts(), Counts { in_flight: 2, superseded: 2, ..Counts::default() });
}

#[test]
fn what_is_under_way_is_not_replaced_until_it_fails() {
    let mut bench = coalescing();
    let old = bench.offer(1);
    assert_eq!(bench.starts(), [1]);
    let middle = bench.offer(1);
    bench.offer(1);
    assert_eq!(bench.starts(), [0; 0]);
    assert_eq!(bench.end_of(middle), Some(&End::Superseded { by: Offset(3) }));
    assert_eq!(bench.end_of(old), None);
    bench.answer(old, DOWN);
    assert_eq!(bench.starts(), [3], "the newest goes at once: the wait was the old one's");
    assert_eq!(bench.end_of(old), Some(&End::Superseded { by: Offset(3) }));
    bench.answer(first(3), Outcome::Delivered);
    assert!(bench.consumer.is_empty());
    assert_eq!(bench.consumer.deadline(bench.time()), None, "nothing is left of the wait");
}

#[test]
fn coalescing_that_is_switched_on_reaches_what_is_held() {
    let mut bench = Bench::new(policy());
    for _ in 0..100 {
        bench.offer(1);
    }
    bench.starts();
    bench.consumer.set_policy(Policy { coalesce: true, ..policy() });
    bench.starts();
    assert_eq!(bench.ends.len(), 98);
    assert_eq!(bench.consumer.len(), 2);
}

#[test]
fn a_superseded_item_that_is_not_told_yet_is_not_settled() {
    let mut bench = coalescing();
    bench.offer(1);
    bench.offer(1);
    assert_eq!(bench.consumer.low(), Offset(0));
    assert_eq!(bench.consumer.snapshot().settled, []);
    bench.poll();
    assert_eq!(bench.consumer.low(), Offset(1));
}

#[test]
fn a_replay_goes_behind_what_waits_for_its_key() {
    let mut bench = Bench::new(policy());
    let dead = bench.offer(1);
    bench.starts();
    bench.answer(dead, Outcome::Rejected);
    bench.offer(1);
    bench.offer(1);
    assert_eq!(bench.starts(), [2]);
    let replayed = DeliveryId { replay: 1, ..dead };
    bench.consumer.offer_again(bench.item(1, 1), 1);
    bench.consumer.offer_again(bench.item(1, 1), 1);
    bench.consumer.offer_again(bench.item(1, 1), 0);
    assert_eq!(bench.consumer.len(), 3, "it is held once, and a first delivery is not ordered again");
    assert!(bench.consumer.is_pending(replayed));
    bench.offer(1);
    for offset in [2, 3] {
        bench.answer(first(offset), Outcome::Delivered);
        bench.poll();
    }
    assert_eq!(
        bench.consumer.items().find(|view| view.id == replayed).map(|view| view.state),
        Some(ItemState::InFlight)
    );
    bench.answer(replayed, Outcome::Delivered);
    assert_eq!(bench.starts(), [4]);
    assert_eq!(bench.end_of(replayed), Some(&End::Delivered));
    assert_eq!(bench.consumer.low(), Offset(3), "a replay does not hold the low mark");
}

#[test]
fn a_replay_is_not_replaced_and_takes_room_beyond_the_window() {
    let mut bench = Bench::new(Policy { coalesce: true, window: 1, ..policy() });
    bench.offer(1);
    assert_eq!(bench.consumer.room(), 0);
    bench.consumer.offer_again(Item { offset: Offset(1), ..bench.item(1, 1) }, 2);
    assert_eq!((bench.consumer.len(), bench.consumer.room()), (2, 0));
    bench.starts();
    assert_eq!(bench.ends, []);
    bench.answer(first(1), Outcome::Delivered);
    assert_eq!(bench.poll(), [(DeliveryId { offset: Offset(1), replay: 2 }, false)]);
    assert_eq!(bench.consumer.oldest(), Some(bench.time()), "only a replay is held");
    bench.now += S;
    assert_eq!(bench.consumer.low(), Offset(1));
}

#[test]
fn late_and_repeated_answers_are_ignored() {
    let mut bench = Bench::new(policy());
    let id = bench.offer(1);
    let never = first(99);
    for outcome in [Outcome::Delivered, FAILED, Outcome::ProbeNotDone, Outcome::Rejected] {
        bench.answer(id, outcome.clone());
        bench.answer(never, outcome);
    }
    assert_eq!(bench.consumer.counts(), Counts { waiting: 1, ..Counts::default() });
    bench.starts();
    bench.answer(id, FAILED);
    bench.answer(id, FAILED);
    assert_eq!(bench.attempted.len(), 1);
    assert_eq!(bench.consumer.counts(), Counts { retrying: 1, failed_attempts: 1, ..Counts::default() });
    bench.until_start();
    bench.answer(id, Outcome::Delivered);
    bench.answer(id, Outcome::Rejected);
    assert_eq!(bench.ends, [(id, End::Delivered)]);
    assert_eq!(bench.consumer.counts(), Counts { delivered: 1, failed_attempts: 1, ..Counts::default() });
}

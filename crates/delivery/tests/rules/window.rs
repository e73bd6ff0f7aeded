//! E6: the window, and the drain rate.

use crate::bench::{Bench, DOWN, MS, S, first, policy};
use delivery::{BACKLOG_AGE_NS, Full, Item, Offset, Outcome, Policy};

#[test]
fn the_window_is_a_limit_of_items() {
    let mut bench = Bench::new(Policy { window: 3, ..policy() });
    for room in [3, 2, 1] {
        assert_eq!(bench.consumer.room(), room);
        bench.offer(0);
    }
    assert_eq!(bench.consumer.room(), 0);
    assert_eq!(bench.consumer.offer(bench.item(4, 0), bench.time()), Err(Full));
    assert_eq!(bench.consumer.scanned(), Offset(3), "what was refused was not scanned");
    bench.starts();
    bench.answer(first(1), Outcome::Delivered);
    assert_eq!(bench.consumer.room(), 1);
    assert_eq!(bench.consumer.offer(bench.item(4, 0), bench.time()), Ok(()));
}

#[test]
fn the_window_is_a_limit_of_bytes_and_one_item_is_always_taken() {
    let mut bench = Bench::new(Policy { window_bytes: 1_000, ..policy() });
    let offer = |bench: &mut Bench, offset, bytes| {
        let item = Item { bytes, ..bench.item(offset, offset) };
        bench.consumer.offer(item, bench.time())
    };
    assert_eq!(offer(&mut bench, 1, 50_000), Ok(()));
    assert_eq!((bench.consumer.room(), offer(&mut bench, 2, 0)), (0, Err(Full)));
    bench.starts();
    bench.answer(first(1), Outcome::Delivered);
    assert_eq!(offer(&mut bench, 2, 999), Ok(()));
    assert_eq!(offer(&mut bench, 3, 999), Ok(()));
    assert_eq!(offer(&mut bench, 4, 1), Err(Full));
    bench.starts();
    bench.answer(first(2), Outcome::Rejected);
    assert_eq!(offer(&mut bench, 4, 1), Ok(()));
    assert_eq!(offer(&mut bench, 5, 1), Err(Full));
}

#[test]
fn an_offset_that_was_scanned_is_passed_over() {
    let mut bench = Bench::new(policy());
    bench.consumer.skip_to(Offset(10));
    for offset in [1, 9, 10] {
        assert_eq!(bench.consumer.offer(bench.item(offset, 1), bench.time()), Ok(()));
    }
    assert!(bench.consumer.is_empty());
    assert_eq!(bench.consumer.low(), Offset(10));
}

#[test]
fn low_is_behind_the_first_that_has_not_ended() {
    let mut bench = Bench::new(policy());
    for offset in [5, 9, 12, 20] {
        bench.consumer.offer(bench.item(offset, offset), bench.time()).expect("there is room");
    }
    assert_eq!(bench.consumer.low(), Offset(4));
    bench.starts();
    bench.answer(first(12), Outcome::Delivered);
    bench.answer(first(9), Outcome::Delivered);
    assert_eq!(bench.consumer.low(), Offset(4));
    assert_eq!(bench.consumer.snapshot().settled, [Offset(9), Offset(12)]);
    bench.answer(first(5), Outcome::Delivered);
    assert_eq!(bench.consumer.low(), Offset(19));
    bench.consumer.skip_to(Offset(40));
    assert_eq!(bench.consumer.low(), Offset(19));
    bench.answer(first(20), Outcome::Delivered);
    assert_eq!(bench.consumer.low(), Offset(40));
    assert_eq!(bench.consumer.scanned(), Offset(40));
    bench.consumer.skip_to(Offset(30));
    assert_eq!(bench.consumer.low(), Offset(40), "never back");
}

#[test]
fn the_oldest_is_the_first_that_has_not_ended() {
    let mut bench = Bench::new(policy());
    assert_eq!(bench.consumer.oldest(), None);
    let begin = bench.time();
    bench.offer(1);
    bench.now += S;
    let second = bench.time();
    bench.offer(2);
    assert_eq!(bench.consumer.oldest(), Some(begin));
    bench.starts();
    bench.answer(first(1), Outcome::Delivered);
    assert_eq!(bench.consumer.oldest(), Some(second));
}

#[test]
fn a_window_full_of_one_key_that_waits_is_stalled() {
    let mut bench = Bench::new(Policy { window: 4, ..policy() });
    for _ in 0..4 {
        assert!(!bench.consumer.is_stalled());
        bench.offer(1);
    }
    assert!(!bench.consumer.is_stalled(), "its head may start");
    bench.starts();
    assert!(!bench.consumer.is_stalled(), "its head is under way");
    bench.answer(first(1), DOWN);
    assert!(bench.consumer.is_stalled());
    bench.until_start();
    bench.answer(first(1), Outcome::Delivered);
    assert!(!bench.consumer.is_stalled());
}

#[test]
fn a_backlog_drains_at_its_rate_and_what_is_new_passes_it() {
    let mut bench = Bench::new(Policy { rate_per_s: Some(100), ..policy() });
    for key in 0..1_000 {
        bench.offer(key);
    }
    bench.now += BACKLOG_AGE_NS + 1;
    let begin = bench.now;
    assert_eq!(bench.starts().len(), 10, "a tenth of a second's worth at once");
    bench.now += 5 * MS;
    let fresh = bench.offer(5_000);
    // behind 64 keys that are held back it has to wait for a look, and not longer
    let mut left = 10;
    let mut fresh_at = None;
    while left < 1_000 {
        for offset in bench.until_start() {
            bench.answer(first(offset), Outcome::Delivered);
            if offset == fresh.offset.0 {
                fresh_at = Some(bench.now);
            } else {
                left += 1;
            }
        }
        let most = 10 + (bench.now - begin) / (10 * MS);
        assert!(left <= most, "{left} after {} ns", bench.now - begin);
    }
    assert!(bench.now - begin <= 9_910 * MS, "no slower than the rate: {}", bench.now - begin);
    assert!(fresh_at.is_some_and(|at| at <= begin + 9_910 * MS));
}

#[test]
fn what_is_new_does_not_wait_for_the_rate() {
    let mut bench = Bench::new(Policy { rate_per_s: Some(1), ..policy() });
    for key in 0..20 {
        bench.offer(key);
    }
    bench.now += BACKLOG_AGE_NS + 1;
    assert_eq!(bench.starts().len(), 1);
    for key in 100..150 {
        bench.offer(key);
        assert_eq!(bench.consumer.deadline(bench.time()), Some(bench.time()), "it may start at once");
        assert_eq!(bench.starts().len(), 1);
    }
    bench.consumer.set_policy(policy());
    assert_eq!(bench.starts().len(), 19, "no rate, no wait");
}

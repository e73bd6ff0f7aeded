//! Several points in one call: all or none.

use model::{Quality, TimestampNs, Value};
use proptest::prelude::*;
use request::{
    Envelope, EnvelopeRefusal, Failure, Live, PointEnd, PointFault, PointWanted, Rate, System, Tally, Wanted,
    WriteHistory, judge_all,
};
use std::cell::RefCell;

fn envelope(tag: usize, writes: u32) -> Envelope {
    Envelope {
        tag: format!("plant/{tag}"),
        range: Some([0.0, 100.0]),
        step_max: None,
        rate: Some(Rate { writes, per_ns: 1_000 }),
        interlock: None,
        expect: false,
        live_max_age_ns: 1_000,
        read_back_ns: None,
        tolerance: 0.0,
        revert_ns: None,
    }
}

fn live(_: &str) -> Option<Live> {
    Some(Live { value: Some(Value::I64(1)), quality: Quality::GOOD, age_ns: 0 })
}

proptest! {
    /// P1 and P2, and the sameness of both ways: a call passes exactly where each of its points would
    /// pass by itself; the refused ones are all named; and only a call that passes uses up rates.
    #[test]
    fn a_call_passes_where_each_point_would(
        calls in prop::collection::vec((prop::collection::vec(-50..200_i64, 1..8), any::<bool>(), 0..400_i64), 1..30),
        writes in 1..4_u32
    ) {
        let envelopes: Vec<Envelope> = (0..8).map(|tag| envelope(tag, writes)).collect();
        let histories: Vec<RefCell<WriteHistory>> = (0..8).map(|_| RefCell::default()).collect();
        let mut now = TimestampNs(0);
        for (values, refused_elsewhere, wait) in calls {
            now = now.plus_ns(wait);
            let wanted: Vec<Wanted> = values
                .iter()
                .map(|value| Wanted { value: Value::I64(*value), expected: None, revert_after_ns: None })
                .collect();
            let before = histories.clone();
            let alone: Vec<Result<_, EnvelopeRefusal>> = wanted
                .iter()
                .enumerate()
                .map(|(at, wanted)| envelopes[at].judge(wanted, &live, &mut before[at].borrow_mut(), now))
                .collect();
            let points: Vec<PointWanted<'_>> = wanted
                .iter()
                .enumerate()
                .map(|(at, wanted)| PointWanted { envelope: &envelopes[at], history: &histories[at], wanted })
                .collect();
            let noted = |histories: &[RefCell<WriteHistory>]| -> Vec<bool> {
                // whether as many writes as may be are in each history
                let one = Wanted { value: Value::I64(1), expected: None, revert_after_ns: None };
                let full = |at: usize| {
                    envelopes[at].judge(&one, &live, &mut histories[at].borrow().clone(), now).is_err()
                };
                (0..8).map(full).collect()
            };
            let full_before = noted(&histories);
            match judge_all(&points, &live, refused_elsewhere, now) {
                Ok(plans) => {
                    prop_assert!(!refused_elsewhere);
                    let alone: Result<Vec<_>, _> = alone.into_iter().collect();
                    prop_assert_eq!(Some(plans), alone.ok());
                }
                Err(refused) => {
                    let expected: Vec<_> =
                        alone.into_iter().enumerate().filter_map(|(at, one)| Some((at, one.err()?))).collect();
                    prop_assert!(refused_elsewhere || !expected.is_empty());
                    prop_assert_eq!(refused, expected);
                    prop_assert_eq!(noted(&histories), full_before, "what is refused uses up no rate");
                }
            }
        }
    }
}

fn unknown() -> PointEnd {
    PointEnd::Unknown { what: "no answer".to_owned() }
}

fn failed() -> PointEnd {
    PointEnd::Failed { what: "refused with 02".to_owned() }
}

#[test]
fn what_became_of_all_is_one_word_or_the_counts() {
    let read = || PointEnd::Verified { read: Value::I64(1) };
    let mismatch = || PointEnd::Mismatch { what: "7 was read".to_owned(), read: Some(Value::I64(7)) };
    for (ends, words, fine, none) in [
        (vec![read(), read()], "verified", true, false),
        (vec![PointEnd::Done, read()], "partial: 1 verified, 1 done", true, false),
        (vec![failed(), failed()], "failed", false, true),
        (vec![unknown()], "unknown", false, false),
        (
            vec![read(), mismatch(), failed(), unknown(), PointEnd::Done],
            "partial: 1 verified, 1 done, 1 mismatch, 1 failed, 1 unknown",
            false,
            false,
        ),
    ] {
        let tally = Tally::of(ends.iter());
        assert_eq!(
            (tally.to_string().as_str(), tally.is_fine(), tally.is_none_written(), tally.points() as usize),
            (words, fine, none, ends.len())
        );
    }
    assert_eq!((unknown().to_string(), read().to_string()), ("unknown: no answer".to_owned(), "verified".to_owned()));
    assert_eq!((mismatch().read(), mismatch().is_fine()), (Some(&Value::I64(7)), false));
}

fn fault(point: &str, reason: &'static str, status: u16, retry_after_ns: Option<u64>) -> PointFault {
    let what = "100 lies outside".to_owned();
    PointFault { point: point.to_owned(), tag: format!("plant/{point}"), reason, status, what, retry_after_ns }
}

#[test]
fn a_refused_call_has_the_status_that_its_points_share() {
    let status = |faults: Vec<PointFault>| {
        let problem = Failure::PointsRefused { points: 9, faults }.problem();
        assert_eq!(problem.kind, "points-refused");
        (problem.status, problem.retry_after_s)
    };
    let fast = |ns| fault("a", "too-fast", 429, Some(ns));
    assert_eq!(status(vec![fault("a", "interlock-false", 403, None)]), (403, None));
    assert_eq!(status(vec![fast(1), fast(3_000_000_000)]), (429, Some(3)));
    assert_eq!(status(vec![fast(1), fault("b", "not-live", 409, None)]), (422, None));
    let told = Failure::PointsRefused { points: 2, faults: vec![fast(1)] }.to_string();
    assert_eq!(told, "1 of 2 points may not be written, so none was; the first, a: 100 lies outside");
}

#[test]
fn a_call_that_fails_in_part_says_so_and_names_the_first() {
    let ends = [PointEnd::Done, failed(), unknown()];
    let system = System { name: "press1".to_owned(), address: String::new() };
    let first = Box::new(("speed".to_owned(), "refused with 02".to_owned()));
    let problem = Failure::PointsFailed { system, tally: Tally::of(ends.iter()), first }.problem();
    assert_eq!((problem.kind, problem.status), ("points-failed", 502));
    assert!(problem.detail.contains("of 3 points partial: 1 done, 1 failed, 1 unknown"), "{}", problem.detail);
    assert!(problem.detail.contains("speed: refused with 02"), "{}", problem.detail);
    let many = Failure::TooManyPoints { points: 101, most: 100 }.problem();
    assert_eq!((many.kind, many.status, many.detail.contains("101")), ("too-many-points", 413, true));
}

//! Values that go back by themselves.

use model::{TimestampNs, Value};
use proptest::prelude::*;
use request::{REVERTS_MAX, Revert, Reverts, RevertsFull, Wanted};
use std::collections::BTreeMap;

fn revert(tag: &str, at: i64, written: f64, old: f64) -> Revert {
    Revert {
        tag: tag.to_owned(),
        request: "oven-setpoint".to_owned(),
        at: TimestampNs(at),
        written: Value::F64(written),
        old: Value::F64(old),
    }
}

#[test]
fn each_is_due_once_in_order_of_time() {
    let mut reverts = Reverts::default();
    for (tag, at) in [("b", 20), ("a", 30), ("c", 10)] {
        reverts.schedule(revert(tag, at, 190.0, 180.0)).expect("room");
    }
    assert_eq!(reverts.next_due(), Some(TimestampNs(10)));
    assert_eq!(reverts.due(TimestampNs(9)), []);
    let due = reverts.due(TimestampNs(20));
    assert_eq!(due.iter().map(|revert| revert.tag.as_str()).collect::<Vec<_>>(), ["c", "b"]);
    assert_eq!(reverts.due(TimestampNs(25)), [], "given out once");
    assert_eq!(reverts.next_due(), Some(TimestampNs(30)));
    // one is written, the other one could not be
    reverts.settle(&due[0]);
    reverts.postpone(&due[1], TimestampNs(40));
    assert_eq!((reverts.len(), reverts.next_due()), (2, Some(TimestampNs(30))));
    assert_eq!(reverts.due(TimestampNs(40)).len(), 2);
    // only where the temporary value is still there
    let expected = Wanted { value: Value::F64(180.0), expected: Some(Value::F64(190.0)), revert_after_ns: None };
    assert_eq!(due[0].wanted(), expected);
}

/// A set point: 1. it goes from 180 to 190 for a while. 2. Before that is over, somebody sets it to
/// 200 for good: nothing goes back, and the old timer is gone.
#[test]
fn a_newer_write_cancels_the_timer() {
    let mut reverts = Reverts::default();
    reverts.schedule(revert("a", 10, 190.0, 180.0)).expect("room");
    assert_eq!(reverts.cancel("a").map(|revert| revert.old), Some(Value::F64(180.0)));
    assert_eq!((reverts.due(TimestampNs(99)), reverts.cancel("a")), (vec![], None));
}

/// A set point: 1. from 180 to 190 for a while. 2. From 190 to 200 for a while: then back to 180, not to 190.
/// 3. Somebody at the device set 150 in between: then back to that.
#[test]
fn a_temporary_value_over_another_goes_back_to_what_was_before_both() {
    let mut reverts = Reverts::default();
    reverts.schedule(revert("a", 10, 190.0, 180.0)).expect("room");
    reverts.schedule(revert("a", 20, 200.0, 190.0)).expect("room");
    assert_eq!(reverts.iter().collect::<Vec<_>>(), [&revert("a", 20, 200.0, 180.0)]);
    reverts.schedule(revert("a", 30, 210.0, 150.0)).expect("room");
    assert_eq!(reverts.due(TimestampNs(30)), [revert("a", 30, 210.0, 150.0)]);
}

#[test]
fn what_took_its_place_is_not_settled_with_it() {
    let mut reverts = Reverts::default();
    reverts.schedule(revert("a", 10, 190.0, 180.0)).expect("room");
    let due = reverts.due(TimestampNs(10)).remove(0);
    reverts.schedule(revert("a", 50, 200.0, 150.0)).expect("room");
    reverts.settle(&due);
    reverts.postpone(&due, TimestampNs(11));
    assert_eq!(reverts.next_due(), Some(TimestampNs(50)));
}

#[test]
fn a_crash_gives_out_again_what_was_not_settled() {
    let mut reverts = Reverts::default();
    reverts.schedule(revert("a", 10, 190.0, 180.0)).expect("room");
    reverts.schedule(revert("b", 99, 190.0, 180.0)).expect("room");
    let due = reverts.due(TimestampNs(10));
    let kept = serde_json::to_string(&reverts).expect("JSON");
    let mut after: Reverts = serde_json::from_str(&kept).expect("own JSON");
    assert_eq!(after.due(TimestampNs(10)), due);
    assert_eq!(after.next_due(), Some(TimestampNs(99)));
}

#[test]
fn there_is_a_last_one() {
    let mut reverts = Reverts::default();
    for i in 0..REVERTS_MAX {
        reverts.schedule(revert(&i.to_string(), 10, 190.0, 180.0)).expect("room");
    }
    assert_eq!(reverts.schedule(revert("x", 10, 190.0, 180.0)), Err(RevertsFull));
    assert_eq!(reverts.schedule(revert("0", 20, 190.0, 180.0)), Ok(()), "in the place of its own");
    assert_eq!(reverts.len(), REVERTS_MAX);
    reverts.cancel("1");
    assert_eq!(reverts.schedule(revert("x", 10, 190.0, 180.0)), Ok(()));
}

proptest! {
    /// Against a map of what is pending: nothing is given out before its time, twice, or after a
    /// newer write; and at the end all that is pending has been given out.
    #[test]
    fn the_newest_write_decides(steps in prop::collection::vec((0..3_u8, 0..4_u8, 1..30_i64), 1..80)) {
        let mut reverts = Reverts::default();
        let mut pending: BTreeMap<String, i64> = BTreeMap::new();
        let mut now = 0;
        for (number, (what, tag, time)) in steps.into_iter().enumerate() {
            let tag = tag.to_string();
            match what {
                0 => {
                    // every old value is new, so nothing is taken over
                    let value = number as f64 * 2.0;
                    reverts.schedule(revert(&tag, now + time, value, value + 1.0)).expect("room");
                    pending.insert(tag, now + time);
                }
                1 => {
                    let cancelled = reverts.cancel(&tag).map(|revert| revert.at.0);
                    prop_assert_eq!(cancelled, pending.remove(&tag));
                }
                _ => now += time,
            }
            for due in reverts.due(TimestampNs(now)) {
                prop_assert_eq!(pending.remove(&due.tag), Some(due.at.0));
                prop_assert!(due.at.0 <= now);
                reverts.settle(&due);
            }
            prop_assert!(pending.values().all(|at| *at > now));
            prop_assert_eq!(reverts.next_due().map(|at| at.0), pending.values().min().copied());
        }
    }
}

//! The machine of an alarm: every state with every input, and what must hold in any order.

use alarms::alarm::{BY_CHARS_MAX, COMMENT_CHARS_MAX, SHELF_NS_MAX};
use alarms::{Alarm, Input, Options, Priority, Refused, State, Transition, What};
use model::TimestampNs;
use proptest::prelude::*;
use serde_json::json;

const S: i64 = 1_000_000_000;

fn at(seconds: i64) -> TimestampNs {
    TimestampNs(seconds * S)
}

fn options() -> Options {
    Options { severity: 700, latch: false, confirm: false, re_alarm_ns: None, event: Some("machine-fault".into()) }
}

fn by() -> String {
    "ana".to_owned()
}

/// The inputs of the table, in the order of its columns.
fn inputs(now: TimestampNs) -> [Input; 13] {
    let comment = Some("seen".to_owned());
    [
        Input::Active { at: now, value: Some(json!(181.5)), text: "hot".into() },
        Input::Normal { at: now, value: Some(json!(170)) },
        Input::Acknowledge { by: by(), comment: comment.clone() },
        Input::Confirm { by: by(), comment: comment.clone() },
        Input::Shelve { by: by(), until: now.plus_ns(600 * S), comment: comment.clone() },
        Input::ShelveOnce { by: by(), comment: comment.clone() },
        Input::Unshelve { by: by() },
        Input::Suppress { by: by(), comment: comment.clone() },
        Input::Unsuppress { by: by() },
        Input::OutOfService { by: by(), comment },
        Input::InService { by: by() },
        Input::Reset { by: by() },
        Input::Time,
    ]
}

/// Each row: how the alarm came to its state (letters are columns), the state that it is shown
/// in, and for each input what comes of it: the state after it with `!` where somebody is to be
/// told, `.` where it was so already, `x` where it is refused.
const TABLE: &[(&str, &str, &str, [&str; 13])] = &[
    //                                        active  normal ack  conf shelve once unsh supp unsu oos  ins  reset time
    ("plain", "", "N", ["U!", ".", "x", "x", "S", "S", "x", "D", "x", "O", "x", "x", "."]),
    ("plain", "a", "U", [".", "C", "A", "x", "S", "S", "x", "D", "x", "O", "x", "x", "."]),
    ("plain", "ak", "A", [".", "N", "x", "x", "S", "S", "x", "D", "x", "O", "x", "x", "."]),
    ("plain", "an", "C", ["U!", ".", "N", "x", "S", "S", "x", "D", "x", "O", "x", "x", "."]),
    ("plain", "ank", "N", ["U!", ".", "x", "x", "S", "S", "x", "D", "x", "O", "x", "x", "."]),
    ("plain", "s", "S", ["S", ".", "x", "x", "S", "S", "N", "D", "x", "O", "x", "x", "."]),
    ("plain", "as", "S", [".", "S", "S", "x", "S", "S", "U", "D", "x", "O", "x", "x", "."]),
    ("plain", "sa", "S", [".", "S", "S", "x", "S", "S", "U!", "D", "x", "O", "x", "x", "."]),
    ("plain", "sak", "S", [".", "S", "x", "x", "S", "S", "A", "D", "x", "O", "x", "x", "."]),
    ("plain", "san", "S", ["S", ".", "S", "x", "S", "S", "C", "D", "x", "O", "x", "x", "."]),
    ("plain", "o", "S", ["S", ".", "x", "x", "S", ".", "N", "D", "x", "O", "x", "x", "."]),
    ("plain", "ao", "S", [".", "C", "S", "x", "S", ".", "U", "D", "x", "O", "x", "x", "."]),
    ("plain", "ako", "S", [".", "N", "x", "x", "S", ".", "A", "D", "x", "O", "x", "x", "."]),
    ("plain", "oa", "S", [".", "C", "S", "x", "S", ".", "U!", "D", "x", "O", "x", "x", "."]),
    ("plain", "d", "D", ["D", ".", "x", "x", "D", "D", "x", ".", "N", "O", "x", "x", "."]),
    ("plain", "da", "D", [".", "D", "D", "x", "D", "D", "x", ".", "U!", "O", "x", "x", "."]),
    ("plain", "ad", "D", [".", "D", "D", "x", "D", "D", "x", ".", "U", "O", "x", "x", "."]),
    ("plain", "m", "O", ["O", ".", "x", "x", "O", "O", "x", "O", "x", ".", "N", "x", "."]),
    ("plain", "ma", "O", [".", "O", "O", "x", "O", "O", "x", "O", "x", ".", "U!", "x", "."]),
    ("plain", "mda", "O", [".", "O", "O", "x", "O", "O", "x", ".", "O", ".", "D", "x", "."]),
    ("plain", "sma", "O", [".", "O", "O", "x", "O", "O", "O", "O", "x", ".", "S", "x", "."]),
    ("confirm", "a", "U", [".", "C", "A", "x", "S", "S", "x", "D", "x", "O", "x", "x", "."]),
    ("confirm", "ak", "A", [".", "A", "x", "A", "S", "S", "x", "D", "x", "O", "x", "x", "."]),
    ("confirm", "akc", "A", [".", "N", "x", "x", "S", "S", "x", "D", "x", "O", "x", "x", "."]),
    ("confirm", "akn", "A", ["U!", ".", "x", "N", "S", "S", "x", "D", "x", "O", "x", "x", "."]),
    ("confirm", "ank", "A", ["U!", ".", "x", "N", "S", "S", "x", "D", "x", "O", "x", "x", "."]),
    ("confirm", "akna", "U", [".", "C", "A", "x", "S", "S", "x", "D", "x", "O", "x", "x", "."]),
    ("latch", "a", "U", [".", "U", "A", "x", "S", "S", "x", "D", "x", "O", "x", "x", "."]),
    ("latch", "an", "U", ["U!", ".", "A", "x", "S", "S", "x", "D", "x", "O", "x", "x", "."]),
    ("latch", "ak", "A", [".", "A", "x", "x", "S", "S", "x", "D", "x", "O", "x", "x", "."]),
    ("latch", "akn", "A", ["U!", ".", "x", "x", "S", "S", "x", "D", "x", "O", "x", "N", "."]),
    ("latch", "ank", "A", ["U!", ".", "x", "x", "S", "S", "x", "D", "x", "O", "x", "N", "."]),
    ("latch", "aknr", "N", ["U!", ".", "x", "x", "S", "S", "x", "D", "x", "O", "x", "x", "."]),
    ("latch", "akns", "S", ["S", ".", "x", "x", "S", "S", "A", "D", "x", "O", "x", "S", "."]),
    ("latch+confirm", "akn", "A", ["U!", ".", "x", "A", "S", "S", "x", "D", "x", "O", "x", "x", "."]),
    ("latch+confirm", "aknc", "A", ["U!", ".", "x", "x", "S", "S", "x", "D", "x", "O", "x", "N", "."]),
];

/// Columns of the table as letters of a way.
const LETTERS: &str = "ankcsoudxmirt";

fn letter(state: State) -> &'static str {
    match state {
        State::Normal => "N",
        State::Unacknowledged => "U",
        State::Acknowledged => "A",
        State::ClearedUnacknowledged => "C",
        State::Shelved => "S",
        State::Suppressed => "D",
        State::OutOfService => "O",
    }
}

#[test]
fn every_state_with_every_input() {
    for (kind, way, shown, expected) in TABLE {
        let options = Options { latch: kind.contains("latch"), confirm: kind.contains("confirm"), ..options() };
        let mut alarm = Alarm::new("r/t", "r", "t", &options, at(0));
        for (step, letter) in way.chars().enumerate() {
            let now = at(1 + step as i64);
            let column = LETTERS.find(letter).expect("a letter of a column");
            alarm.apply(&inputs(now)[column], &options, now).expect("the way to a state is free");
        }
        assert_eq!(letter(alarm.state()), *shown, "{kind} {way}");
        for (column, wanted) in expected.iter().enumerate() {
            let now = at(100);
            let input = &inputs(now)[column];
            let mut after = alarm.clone();
            let said = match after.apply(input, &options, now) {
                Err(_) => "x".to_owned(),
                Ok(None) => ".".to_owned(),
                Ok(Some(transition)) => {
                    assert_eq!(
                        (transition.from, transition.to),
                        (alarm.state(), after.state()),
                        "{kind} {way} {input:?}"
                    );
                    format!("{}{}", letter(transition.to), if transition.notify { "!" } else { "" })
                }
            };
            assert_eq!(said, *wanted, "{kind} {way} then {input:?}");
            if said == "x" || said == "." {
                assert_eq!(after, alarm, "{kind} {way}: {input:?} changed something");
            }
        }
    }
}

#[test]
fn refusals_say_what_is_missing() {
    let options = Options { latch: true, confirm: true, ..options() };
    let mut alarm = Alarm::new("r/t", "r", "t", &options, at(0));
    let [active, normal, ack, confirm, .., reset, _] = inputs(at(1));
    let mut apply = |input: &Input| alarm.apply(input, &options, at(1)).map(|transition| transition.map(|t| t.what));
    assert_eq!(apply(&ack), Err(Refused::NotUnacknowledged));
    assert_eq!(apply(&reset), Err(Refused::NotLatched));
    assert_eq!(apply(&active), Ok(Some(What::Activated)));
    assert_eq!(apply(&confirm), Err(Refused::NotYetAcknowledged));
    assert_eq!(apply(&reset), Err(Refused::StillActive));
    assert_eq!(apply(&normal), Ok(Some(What::Cleared)));
    assert_eq!(apply(&reset), Err(Refused::NotYetAcknowledged));
    assert_eq!(apply(&ack), Ok(Some(What::Acknowledged)));
    assert_eq!(apply(&reset), Err(Refused::NotYetConfirmed));
    assert_eq!(apply(&confirm), Ok(Some(What::Confirmed)));
    assert_eq!(apply(&confirm), Err(Refused::NothingToConfirm));
    assert_eq!(apply(&reset), Ok(Some(What::Reset)));
    let shelve = |until| Input::Shelve { by: by(), until, comment: None };
    assert_eq!(apply(&shelve(at(1))), Err(Refused::ShelfInPast));
    assert_eq!(apply(&shelve(TimestampNs(S + SHELF_NS_MAX + 1))), Err(Refused::ShelfTooLong));
    assert_eq!(apply(&shelve(TimestampNs(S + SHELF_NS_MAX))), Ok(Some(What::Shelved)));
    assert_eq!(apply(&Input::Reset { by: " ".into() }), Err(Refused::Nobody));
    assert_eq!(apply(&Input::Reset { by: "x".repeat(BY_CHARS_MAX + 1) }), Err(Refused::NameTooLong));
    let comment = Some("x".repeat(COMMENT_CHARS_MAX + 1));
    assert_eq!(apply(&Input::Suppress { by: by(), comment }), Err(Refused::CommentTooLong));
    assert!(Refused::ShelfTooLong.to_string().contains("7 days"));
}

#[test]
fn a_timed_shelf_ends_by_itself_and_tells_of_what_is_there_still() {
    let options = options();
    let mut alarm = Alarm::new("r/t", "r", "t", &options, at(0));
    let shelve = Input::Shelve { by: by(), until: at(60), comment: Some("noise".into()) };
    alarm.apply(&shelve, &options, at(1)).expect("free");
    assert_eq!(alarm.deadline(&options), Some(at(60)));
    let active = Input::Active { at: at(5), value: None, text: "hot".into() };
    let raised = alarm.apply(&active, &options, at(5)).expect("free").expect("a transition");
    assert!(!raised.notify && raised.to == State::Shelved && raised.count == 1);
    assert_eq!(alarm.apply(&Input::Time, &options, at(59)), Ok(None));
    let ended = alarm.apply(&Input::Time, &options, at(60)).expect("free").expect("a transition");
    assert_eq!((ended.what, ended.to, ended.notify, ended.by), (What::ShelfEnded, State::Unacknowledged, true, None));
    assert_eq!(alarm.apply(&Input::Time, &options, at(60)), Ok(None));
    assert_eq!((alarm.deadline(&options), alarm.by(), alarm.comment()), (None, Some("ana"), Some("noise")));
}

#[test]
fn an_input_after_the_end_of_a_shelf_finds_it_ended() {
    let options = options();
    let mut alarm = Alarm::new("r/t", "r", "t", &options, at(0));
    alarm.apply(&Input::Shelve { by: by(), until: at(60), comment: None }, &options, at(1)).expect("free");
    let mut other = alarm.clone();
    let active = Input::Active { at: at(61), value: None, text: "hot".into() };
    let raised = alarm.apply(&active, &options, at(61)).expect("free").expect("a transition");
    assert_eq!((raised.from, raised.to, raised.notify), (State::Shelved, State::Unacknowledged, true));
    let same = other.apply(&Input::Normal { at: at(61), value: None }, &options, at(61)).expect("free");
    assert_eq!(same.map(|t| (t.what, t.to)), Some((What::ShelfEnded, State::Normal)));
}

#[test]
fn what_is_acknowledged_and_stays_active_asks_again() {
    let options = Options { re_alarm_ns: Some(30 * S as u64), ..options() };
    let mut alarm = Alarm::new("r/t", "r", "t", &options, at(0));
    let apply = |alarm: &mut Alarm, input: &Input, now: i64| alarm.apply(input, &options, at(now)).expect("free");
    let ack = Input::Acknowledge { by: by(), comment: None };
    apply(&mut alarm, &Input::Active { at: at(1), value: None, text: String::new() }, 1);
    assert_eq!(alarm.deadline(&options), None, "it asks already");
    apply(&mut alarm, &ack, 10);
    assert_eq!(alarm.deadline(&options), Some(at(40)));
    assert_eq!(apply(&mut alarm, &Input::Time, 39), None);
    let again = apply(&mut alarm, &Input::Time, 41).expect("a transition");
    assert_eq!((again.what, again.to, again.notify, again.count), (What::ReAlarmed, State::Unacknowledged, true, 1));
    // set aside it waits, and asks when it is back
    apply(&mut alarm, &ack, 50);
    apply(&mut alarm, &Input::Shelve { by: by(), until: at(200), comment: None }, 60);
    assert_eq!(alarm.deadline(&options), Some(at(200)));
    assert_eq!(apply(&mut alarm, &Input::Time, 100), None);
    let ended = apply(&mut alarm, &Input::Time, 200).expect("a transition");
    assert_eq!((ended.what, ended.notify), (What::ShelfEnded, false));
    assert_eq!(apply(&mut alarm, &Input::Time, 200).map(|t| (t.what, t.notify)), Some((What::ReAlarmed, true)));
    // what has cleared does not
    apply(&mut alarm, &ack, 210);
    apply(&mut alarm, &Input::Normal { at: at(211), value: None }, 211);
    assert_eq!(alarm.deadline(&options), None);
    assert_eq!(apply(&mut alarm, &Input::Time, 900), None);
}

#[test]
fn the_interface_shows_it_whole() {
    let options = Options { severity: 900, ..options() };
    let mut alarm = Alarm::new("hot/a/b", "hot", "a/b", &options, at(0));
    let active = Input::Active { at: at(2), value: Some(json!(181.5)), text: "hot: 181.5, above 180".into() };
    alarm.apply(&active, &options, at(3)).expect("free");
    alarm
        .apply(&Input::Shelve { by: by(), until: at(60), comment: Some("known".into()) }, &options, at(4))
        .expect("free");
    assert_eq!(
        alarm.to_json(),
        json!({
            "id": "hot/a/b", "rule": "hot", "tag": "a/b", "event": "machine-fault", "severity": 900,
            "priority": "critical", "state": "shelved", "active": true, "acknowledged": false, "confirmed": true,
            "latched": false,
            "shelved": {"kind": "timed", "until": "1970-01-01T00:01:00.000000000Z", "by": "ana"},
            "suppressed": false, "out_of_service": false, "value": 181.5, "message": "hot: 181.5, above 180",
            "since": "1970-01-01T00:00:02.000000000Z", "cleared": null, "count": 1,
            "last_change": "1970-01-01T00:00:04.000000000Z", "by": "ana", "comment": "known",
        })
    );
    for state in State::ALL {
        assert_eq!(serde_json::to_value(state).expect("a word"), json!(state.word()));
    }
    let priorities = [1, 399, 400, 699, 700, 899, 900, 1000].map(Priority::of).map(Priority::word);
    assert_eq!(priorities, ["low", "low", "medium", "medium", "high", "high", "critical", "critical"]);
}

fn input() -> impl Strategy<Value = (usize, i64)> {
    // which input, and how many seconds pass before it
    (0..13_usize, prop_oneof![0..5_i64, 0..900_i64])
}

fn kind() -> impl Strategy<Value = Options> {
    (any::<bool>(), any::<bool>(), prop::option::of(1..600_u64), 0..2000_u16).prop_map(
        |(latch, confirm, re_alarm, severity)| Options {
            severity,
            latch,
            confirm,
            re_alarm_ns: re_alarm.map(|s| s * S as u64),
            event: None,
        },
    )
}

fn holds(before: &Alarm, after: &Alarm, made: Option<&Transition>, options: &Options) {
    assert!((1..=1000).contains(&after.severity()));
    assert!(after.count() >= before.count() && after.count() <= before.count() + 1);
    assert!(!matches!(after.state(), State::Unacknowledged) || !after.is_acknowledged());
    assert!(after.is_confirmed() || after.is_acknowledged(), "only what is acknowledged waits for confirmation");
    assert!(after.state() != State::Normal || (!after.is_active() && after.is_acknowledged() && !after.is_set_aside()));
    assert_eq!(after.since().is_some(), after.count() > 0);
    assert!(!after.is_active() || after.cleared().is_none());
    if let Some(shelf) = after.shelved() {
        assert!(after.deadline(options).is_some_and(|deadline| deadline <= shelf.until), "a shelf ends");
    }
    match made {
        None => assert_eq!(before, after),
        Some(transition) => {
            assert_eq!((transition.from, transition.to), (before.state(), after.state()));
            assert_eq!(transition.count, after.count());
            if transition.notify {
                assert!(!after.is_set_aside() && after.is_active() && !after.is_acknowledged());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn in_any_order(options in kind(), steps in prop::collection::vec(input(), 1..60)) {
        let mut alarm = Alarm::new("r/t", "r", "t", &options, at(0));
        let (mut now, mut told, mut activated) = (0, 0, 0);
        for (column, wait) in steps {
            now += wait;
            let input = &inputs(at(now))[column];
            let before = alarm.clone();
            let made = alarm.apply(input, &options, at(now));
            match &made {
                Ok(made) => holds(&before, &alarm, made.as_ref(), &options),
                Err(_) => prop_assert_eq!(&before, &alarm),
            }
            if let Ok(Some(transition)) = &made {
                told += u64::from(transition.notify);
                activated += u64::from(matches!(transition.what, What::Activated | What::ReAlarmed));
            }
            prop_assert!(told <= activated, "each activation is told once at most");

            // once more is nothing more
            let once = alarm.clone();
            let again = alarm.apply(input, &options, at(now));
            if *input == Input::Time {
                if let Ok(made) = &again { holds(&once, &alarm, made.as_ref(), &options); }
            } else {
                prop_assert!(!matches!(again, Ok(Some(_))), "{:?} twice: {:?}", input, again);
                prop_assert_eq!(&once, &alarm);
            }
            if let Ok(Some(transition)) = &again {
                told += u64::from(transition.notify);
                activated += u64::from(transition.what == What::ReAlarmed);
            }

            let kept = serde_json::to_string(&alarm).expect("JSON");
            prop_assert_eq!(&serde_json::from_str::<Alarm>(&kept).expect("JSON"), &alarm);
            let journalled = serde_json::to_string(&(input, &made.ok().flatten())).expect("JSON");
            let (read, transition): (Input, Option<Transition>) = serde_json::from_str(&journalled).expect("JSON");
            prop_assert_eq!(&read, input);
            prop_assert!(transition.is_none_or(|t| t.at <= at(now)));
        }
        // time alone takes it off every shelf
        let mut rounds = 0;
        while let Some(deadline) = alarm.deadline(&options).filter(|_| alarm.shelved().is_some()) {
            alarm.apply(&Input::Time, &options, deadline.max(at(now))).expect("time is never refused");
            rounds += 1;
            prop_assert!(rounds < 5);
        }
        prop_assert!(alarm.shelved().is_none());
    }
}

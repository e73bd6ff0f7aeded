//! The safety envelope, rule by rule.

use expr::Expr;
use model::{Quality, TimestampNs, Value};
use request::{
    Audit, AuditOutcome, Envelope, EnvelopeError, EnvelopeRefusal as Refusal, Interlock, LIVE_MAX_AGE_NS, Live, Plan,
    REVERT_MAX_NS, Rate, Unsure, Wanted, WriteHistory,
};
use serde_json::json;

const SECOND: u64 = 1_000_000_000;
const NOW: TimestampNs = TimestampNs(1_000 * SECOND as i64);
const OVEN: &str = "riverside/paint/line1/oven/setpoint";
const DOOR: &str = "riverside/paint/line1/oven/door";

fn oven() -> Envelope {
    Envelope {
        tag: OVEN.to_owned(),
        range: Some([20.0, 240.0]),
        step_max: None,
        rate: None,
        interlock: None,
        expect: false,
        live_max_age_ns: LIVE_MAX_AGE_NS,
        read_back_ns: Some(SECOND),
        tolerance: 0.0,
        revert_ns: None,
    }
}

fn interlock(when: &str) -> Option<Interlock> {
    let tags = vec![("door_closed".to_owned(), DOOR.to_owned())];
    Some(Interlock { when: Expr::compile(when).expect(when), tags, max_age_ns: 2 * SECOND })
}

fn good(value: Value) -> Option<Live> {
    Some(Live { value: Some(value), quality: Quality::GOOD, age_ns: 0 })
}

/// The plant: the oven at 180, its door as given.
fn plant(door: Option<Live>) -> impl Fn(&str) -> Option<Live> {
    move |path| match path {
        OVEN => good(Value::F64(180.0)),
        DOOR => door.clone(),
        _ => None,
    }
}

fn wanted(value: Value) -> Wanted {
    Wanted { value, expected: None, revert_after_ns: None }
}

fn judge(envelope: &Envelope, wanted: &Wanted, live: &dyn Fn(&str) -> Option<Live>) -> Result<Plan, Refusal> {
    envelope.judge(wanted, live, &mut WriteHistory::default(), NOW)
}

#[test]
fn numbers_pass_within_the_range_only() {
    let live = plant(None);
    let out = |value: Value| Refusal::OutOfRange { value, low: 20.0, high: 240.0 };
    for (value, expected) in [
        (Value::F64(20.0), Ok(Value::F64(20.0))),
        (Value::F64(240.0), Ok(Value::F64(240.0))),
        // a whole number becomes the tag's kind
        (Value::I64(200), Ok(Value::F64(200.0))),
        (Value::F64(240.000001), Err(out(Value::F64(240.000001)))),
        (Value::F64(-20.0), Err(out(Value::F64(-20.0)))),
        (Value::F64(f64::NAN), Err(Refusal::NotFinite)),
        (Value::F64(f64::INFINITY), Err(Refusal::NotFinite)),
        (Value::Bool(true), Err(Refusal::WrongKind { value: Value::Bool(true), kind: model::ValueKind::F64 })),
    ] {
        assert_eq!(judge(&oven(), &wanted(value.clone()), &live).map(|plan| plan.write), expected, "{value}");
    }
    let text = Value::Text("200".into());
    // the tag's kind is not known yet: still no text where a range is
    assert_eq!(judge(&oven(), &wanted(text.clone()), &|_| None), Err(Refusal::NotANumber { value: text }));
    let error = judge(&oven(), &wanted(Value::I64(300)), &live).expect_err("too hot");
    assert_eq!(error.to_string(), "300 lies outside 20 to 240; send a value within");
}

#[test]
fn kinds_are_those_of_the_tag() {
    let whole = |path: &str| (path == OVEN).then(|| good(Value::I64(3)).expect("some"));
    assert_eq!(judge(&oven(), &wanted(Value::F64(30.0)), &whole).map(|plan| plan.write), Ok(Value::I64(30)));
    assert!(matches!(judge(&oven(), &wanted(Value::F64(30.5)), &whole), Err(Refusal::WrongKind { .. })));
    let free = Envelope { range: None, ..oven() };
    let switch = |_: &str| good(Value::Bool(false));
    assert_eq!(judge(&free, &wanted(Value::Bool(true)), &switch).map(|plan| plan.write), Ok(Value::Bool(true)));
    assert_eq!(judge(&free, &wanted(Value::F64(1.0)), &|_| None), Err(Refusal::NoRange));
    let long = Value::Text("x".repeat(1_025).as_str().into());
    assert_eq!(judge(&free, &wanted(long), &|_| None), Err(Refusal::TextTooLong { bytes: 1_025 }));
}

#[test]
fn an_interlock_must_be_true_over_values_that_are_known_good_and_fresh() {
    let envelope = Envelope { interlock: interlock("door_closed && value <= 200"), ..oven() };
    let closed = |flag| good(Value::Bool(flag));
    let unsure = |why| Err(Refusal::InterlockUnsure { tag: DOOR.to_owned(), why });
    let to = |value: f64, door: Option<Live>| {
        judge(&envelope, &wanted(Value::F64(value)), &plant(door)).map(|plan| plan.write)
    };
    assert_eq!(to(190.0, closed(true)), Ok(Value::F64(190.0)));
    let old = Live { age_ns: 2 * SECOND, ..closed(true).expect("some") };
    assert_eq!(to(190.0, Some(old.clone())), Ok(Value::F64(190.0)), "just fresh enough");
    let too_old = Live { age_ns: 2 * SECOND + 1, ..old.clone() };
    assert_eq!(to(190.0, Some(too_old)), unsure(Unsure::TooOld { age_ns: 2 * SECOND + 1, max_age_ns: 2 * SECOND }));
    let bad = Live { quality: Quality::BAD_TIMEOUT, ..old.clone() };
    assert_eq!(to(190.0, Some(bad)), unsure(Unsure::Bad { quality: Quality::BAD_TIMEOUT }));
    let doubtful = Live { quality: Quality::UNCERTAIN_LAST_USABLE, ..old.clone() };
    assert_eq!(to(190.0, Some(doubtful)), unsure(Unsure::Bad { quality: Quality::UNCERTAIN_LAST_USABLE }));
    assert_eq!(to(190.0, Some(Live { value: None, ..old })), unsure(Unsure::NoValue));
    assert_eq!(to(190.0, good(Value::F64(f64::NAN))), unsure(Unsure::NotFinite));
    assert_eq!(to(190.0, None), unsure(Unsure::Unknown));
    let refused = to(190.0, closed(false)).expect_err("the door is open");
    assert_eq!((refused.reason(), refused.status()), ("interlock-false", 403));
    assert_eq!(
        refused.to_string(),
        "the interlock `door_closed && value <= 200` is false with value = 190.0, door_closed = false"
    );
    assert_eq!(to(201.0, closed(true)).map_err(|refused| refused.reason()), Err("interlock-false"));
    // an expression without a result is no yes
    assert_eq!(to(190.0, good(Value::Text("yes".into()))).map_err(|refused| refused.reason()), Err("interlock-error"));
    let number = Envelope { interlock: interlock("value"), ..oven() };
    let refused = judge(&number, &wanted(Value::F64(190.0)), &plant(closed(true))).map_err(|refused| refused.reason());
    assert_eq!(refused, Err("interlock-error"));
}

#[test]
fn compare_and_set_goes_by_a_live_value() {
    let envelope = Envelope { expect: true, tolerance: 0.5, ..oven() };
    let expecting = |expected| Wanted { expected, ..wanted(Value::F64(190.0)) };
    assert_eq!(judge(&envelope, &expecting(None), &plant(None)), Err(Refusal::ExpectedMissing));
    let plan = judge(&envelope, &expecting(Some(Value::F64(180.4))), &plant(None)).expect("within the tolerance");
    assert_eq!(plan.before, Some(Value::F64(180.0)));
    assert_eq!(plan.read_back_ns, Some(SECOND));
    let differs = Refusal::ExpectedDiffers { expected: Value::F64(181.0), actual: Value::F64(180.0) };
    assert_eq!(judge(&envelope, &expecting(Some(Value::F64(181.0))), &plant(None)), Err(differs.clone()));
    assert_eq!(
        (differs.status(), differs.to_string().as_str()),
        (409, "180 is there, not 181; look again before writing")
    );
    // whoever says it is held to it, also where it is not asked for
    assert!(judge(&oven(), &expecting(Some(Value::F64(181.0))), &plant(None)).is_err());
    let old = |_: &str| Some(Live { age_ns: LIVE_MAX_AGE_NS + 1, ..good(Value::F64(180.0)).expect("some") });
    let refused = judge(&envelope, &expecting(Some(Value::F64(180.0))), &old);
    assert_eq!(
        refused,
        Err(Refusal::NotLive { why: Unsure::TooOld { age_ns: LIVE_MAX_AGE_NS + 1, max_age_ns: LIVE_MAX_AGE_NS } })
    );
    // no rule looks at it: an old value does not stop a write, but is not what was there either
    assert_eq!(judge(&oven(), &wanted(Value::F64(190.0)), &old).map(|plan| plan.before), Ok(None));
}

#[test]
fn steps_are_no_larger_than_allowed() {
    let envelope = Envelope { step_max: Some(10.0), ..oven() };
    assert!(judge(&envelope, &wanted(Value::F64(190.0)), &plant(None)).is_ok());
    assert!(judge(&envelope, &wanted(Value::F64(170.0)), &plant(None)).is_ok());
    let refused = judge(&envelope, &wanted(Value::F64(190.5)), &plant(None)).expect_err("too far");
    assert_eq!(
        refused.to_string(),
        "from 180 to 190.5 is more than 10, the largest change at once; go in smaller steps"
    );
    assert_eq!(judge(&envelope, &wanted(Value::F64(180.0)), &|_| None), Err(Refusal::NotLive { why: Unsure::Unknown }));
}

#[test]
fn writes_that_pass_use_up_the_rate_and_others_do_not() {
    let envelope = Envelope { rate: Some(Rate { writes: 2, per_ns: 60 * SECOND }), ..oven() };
    let mut history = WriteHistory::default();
    let mut write = |value: f64, seconds: i64| {
        let now = NOW.plus_ns(seconds * SECOND as i64);
        envelope.judge(&wanted(Value::F64(value)), &plant(None), &mut history, now).map(|_| ())
    };
    assert_eq!(write(100.0, 0), Ok(()));
    assert!(write(1_000.0, 1).is_err());
    assert_eq!(write(110.0, 10), Ok(()));
    let refused = write(120.0, 20).expect_err("too fast");
    assert_eq!(refused, Refusal::TooFast { writes: 2, per_ns: 60 * SECOND, retry_after_ns: 40 * SECOND });
    assert_eq!((refused.status(), refused.retry_after_ns()), (429, Some(40 * SECOND)));
    assert_eq!(write(120.0, 60), Ok(()));
    assert!(write(130.0, 69).is_err());
    assert_eq!(write(130.0, 70), Ok(()));
    // the clock is set back by an hour: as if no time had passed, and it goes on from there
    let refused = write(140.0, 70 - 3_600).expect_err("too fast");
    assert_eq!(refused.retry_after_ns(), Some(50 * SECOND));
    assert_eq!(write(140.0, 120 - 3_600), Ok(()));
    // a restart does not forget what the journal knows
    let mut again = WriteHistory::default();
    [60, 70].iter().for_each(|seconds| again.note(NOW.plus_ns(seconds * SECOND as i64)));
    assert!(
        envelope.judge(&wanted(Value::F64(140.0)), &plant(None), &mut again, NOW.plus_ns(71 * SECOND as i64)).is_err()
    );
}

#[test]
fn a_value_can_be_made_to_go_back() {
    let envelope = Envelope { revert_ns: Some(600 * SECOND), ..oven() };
    let after = |after_ns: Option<u64>| Wanted { revert_after_ns: after_ns, ..wanted(Value::F64(190.0)) };
    let back_at = |envelope: &Envelope, after_ns| {
        let plan = judge(envelope, &after(after_ns), &plant(None)).expect("fine");
        plan.revert.map(|(at, old)| ((at.0 - NOW.0) as u64 / SECOND, old))
    };
    let old = || Value::F64(180.0);
    assert_eq!(back_at(&envelope, None), Some((600, old())));
    assert_eq!(back_at(&envelope, Some(60 * SECOND)), Some((60, old())));
    assert_eq!(back_at(&envelope, Some(6_000 * SECOND)), Some((600, old())), "only ever sooner");
    assert_eq!(back_at(&oven(), Some(60 * SECOND)), Some((60, old())));
    assert_eq!(back_at(&oven(), None), None);
    let refused = judge(&oven(), &after(Some(REVERT_MAX_NS + 1)), &plant(None));
    assert_eq!(refused, Err(Refusal::RevertTooLate { after_ns: REVERT_MAX_NS + 1 }));
    assert_eq!(judge(&envelope, &after(None), &|_| None), Err(Refusal::NotLive { why: Unsure::Unknown }));
    let hot = |_: &str| good(Value::F64(260.0));
    assert_eq!(judge(&envelope, &after(None), &hot), Err(Refusal::RevertOutOfRange { old: Value::F64(260.0) }));
}

#[test]
fn what_is_read_back_must_be_what_was_written() {
    let near = Envelope { tolerance: 0.05, ..oven() };
    assert_eq!(near.verify(&Value::F64(180.3), &Value::F64(180.34)), Ok(()));
    let error = near.verify(&Value::F64(180.3), &Value::F64(180.4)).expect_err("too far");
    assert_eq!(
        error.to_string(),
        "180.3 was written and 180.4 read back, where they may differ by 0.05; the device limits or ignores what \
         is written, or something else writes to it"
    );
    assert!(near.verify(&Value::F64(180.3), &Value::F64(f64::NAN)).is_err());
    // a device with single precision needs no tolerance
    assert_eq!(oven().verify(&Value::F64(180.3), &Value::F64(f64::from(180.3_f32))), Ok(()));
    assert!(oven().verify(&Value::Bool(true), &Value::Bool(false)).is_err());
}

#[test]
fn a_wrong_envelope_is_found_when_it_is_configured_and_refuses_in_any_case() {
    assert_eq!(oven().check(), Ok(()));
    assert_eq!(Envelope { interlock: interlock("door_closed && value < 200"), ..oven() }.check(), Ok(()));
    let nan = [f64::NAN, 240.0];
    let range = Envelope { range: Some(nan), ..oven() };
    assert!(matches!(range.check(), Err(EnvelopeError::Range(_))));
    assert!(judge(&range, &wanted(Value::F64(100.0)), &plant(None)).is_err());
    let turned = Envelope { range: Some([240.0, 20.0]), ..oven() };
    assert!(turned.check().is_err() && judge(&turned, &wanted(Value::F64(100.0)), &plant(None)).is_err());
    let step = Envelope { step_max: Some(f64::NAN), ..oven() };
    assert!(step.check().is_err() && judge(&step, &wanted(Value::F64(180.0)), &plant(None)).is_err());
    let none = Rate { writes: 0, per_ns: SECOND };
    let rate = Envelope { rate: Some(none), ..oven() };
    assert_eq!(rate.check(), Err(EnvelopeError::Rate(none)));
    assert!(judge(&rate, &wanted(Value::F64(180.0)), &plant(None)).is_err());
    assert!(Envelope { rate: Some(Rate { writes: 1_001, per_ns: SECOND }), ..oven() }.check().is_err());
    assert_eq!(Envelope { tolerance: -1.0, ..oven() }.check(), Err(EnvelopeError::Tolerance(-1.0)));
    assert!(Envelope { revert_ns: Some(u64::MAX), ..oven() }.check().is_err());
    let stranger = Envelope { interlock: interlock("dor_closed"), ..oven() };
    assert_eq!(stranger.check(), Err(EnvelopeError::Variable("dor_closed".to_owned())));
    assert!(judge(&stranger, &wanted(Value::F64(180.0)), &plant(good(Value::Bool(true)))).is_err());
    let mut twice = interlock("door_closed").expect("some");
    twice.tags.push(twice.tags[0].clone());
    assert!(matches!(Envelope { interlock: Some(twice.clone()), ..oven() }.check(), Err(EnvelopeError::Alias(_))));
    twice.tags[1].0 = "value".to_owned();
    assert!(matches!(Envelope { interlock: Some(twice.clone()), ..oven() }.check(), Err(EnvelopeError::Alias(_))));
    twice.tags = (0..33).map(|i| (format!("a{i}"), DOOR.to_owned())).collect();
    assert!(matches!(Envelope { interlock: Some(twice), ..oven() }.check(), Err(EnvelopeError::TooManyTags(33))));
}

#[test]
fn audit_lines_read_back() {
    let line = Audit {
        time: NOW,
        who: "ann".to_owned(),
        request: "oven-setpoint".to_owned(),
        target: OVEN.to_owned(),
        before: Some(json!(180.0)),
        wanted: Some(json!(190.0)),
        after: None,
        outcome: AuditOutcome::Intended,
        detail: String::new(),
    };
    let text = serde_json::to_string(&line).expect("JSON");
    assert!(text.contains(r#""time":"1970-01-01T00:16:40.000000000Z""#) && text.contains(r#""outcome":"intended""#));
    assert_eq!(serde_json::from_str::<Audit>(&text).expect("own JSON"), line);
}

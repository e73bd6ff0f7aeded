//! What must hold whatever is asked, whatever the plant says.

use delivery::{BreakerPolicy, BreakerState};
use expr::Expr;
use model::{Quality, TimestampNs, Value};
use proptest::prelude::*;
use request::{Envelope, Gate, GateOutcome, GatePolicy, Interlock, Live, Rate, System, Ticket, Wanted, WriteHistory};
use std::time::Duration;

fn outcomes() -> impl Strategy<Value = GateOutcome> {
    use GateOutcome::{Abandoned, Answered, BadAnswer, Failed, NotSent, Refused, TimedOut, Unreachable};
    prop::sample::select(vec![Answered, Refused, Failed, Unreachable, TimedOut, BadAnswer, NotSent, Abandoned])
}

#[derive(Clone, Debug)]
enum Step {
    Enter { asked_ms: Option<u64> },
    Leave { which: prop::sample::Index, outcome: GateOutcome },
    Wait { ms: i64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => prop::option::of(0..10_000_u64).prop_map(|asked_ms| Step::Enter { asked_ms }),
        3 => (any::<prop::sample::Index>(), outcomes()).prop_map(|(which, outcome)| Step::Leave { which, outcome }),
        1 => (0..20_000_i64).prop_map(|ms| Step::Wait { ms }),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #[test]
    fn a_gate_is_never_overfull_and_no_deadline_is_moved(steps in steps(), limit in 1..6_u32, timeout_ms in 1..5_000_u64) {
        let breaker = BreakerPolicy { failures: 2, open_ns: 1_000_000_000, open_max_ns: 8_000_000_000 };
        let policy = GatePolicy { timeout_ns: timeout_ms * 1_000_000, max_in_flight: limit, breaker };
        let mut gate = Gate::new(policy, System { name: "wms".to_owned(), address: String::new() });
        let mut inside: Vec<Ticket> = Vec::new();
        let (mut now, mut asked_for, mut ended) = (TimestampNs(0), 0_u64, 0_u64);
        for step in steps {
            match step {
                Step::Wait { ms } => now = now.plus_ns(ms * 1_000_000),
                Step::Leave { which, outcome } if !inside.is_empty() => {
                    let ticket = inside.remove(which.index(inside.len()));
                    gate.leave(ticket, outcome, now);
                    ended += 1;
                }
                Step::Leave { .. } => {}
                Step::Enter { asked_ms } => {
                    asked_for += 1;
                    let open = matches!(gate.breaker(), BreakerState::Open { until } if now < until);
                    let Ok(ticket) = gate.enter(now, asked_ms.map(Duration::from_millis)) else { continue };
                    prop_assert!(!open, "nothing passes an open circuit");
                    let time = ticket.remaining(now).expect("some time");
                    prop_assert!(time <= Duration::from_millis(timeout_ms));
                    prop_assert!(time <= asked_ms.map_or(Duration::MAX, Duration::from_millis));
                    inside.push(ticket);
                }
            }
            prop_assert_eq!(gate.in_flight() as usize, inside.len());
            prop_assert!(gate.in_flight() <= limit);
        }
        let counts = gate.counts();
        let refused_here = counts.busy + counts.open + counts.no_time;
        prop_assert_eq!(asked_for, refused_here + ended + inside.len() as u64);
    }
}

fn numbers() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), -300.0..300.0, Just(f64::NAN), Just(f64::INFINITY), Just(20.0), Just(240.0)]
}

fn values() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => numbers().prop_map(Value::F64),
        2 => prop_oneof![any::<i64>(), -300..300_i64].prop_map(Value::I64),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => "[a-z0-9]{0,4}".prop_map(|text| Value::Text(text.as_str().into())),
    ]
}

fn lives() -> impl Strategy<Value = Option<Live>> {
    let quality = prop_oneof![3 => Just(Quality::GOOD), 1 => any::<u32>().prop_map(Quality)];
    let live = (prop::option::weighted(0.9, values()), quality, prop_oneof![0..4_000_u64, any::<u64>()])
        .prop_map(|(value, quality, age_ns)| Live { value, quality, age_ns });
    prop::option::weighted(0.9, live)
}

#[derive(Clone, Debug)]
struct Case {
    envelope: Envelope,
    wanted: Wanted,
    present: Option<Live>,
    safe: Option<Live>,
}

fn cases() -> impl Strategy<Value = Case> {
    let range = prop::option::weighted(0.8, prop_oneof![3 => Just([20.0, 240.0]), 1 => [numbers(), numbers()]]);
    let limits = (
        range,
        prop::option::of(numbers()),
        any::<bool>(),
        prop_oneof![0.0..5.0, numbers()],
        prop::option::of(any::<u64>()),
    );
    let wanted = (values(), prop::option::of(values()), prop::option::of(any::<u64>()));
    let interlock = any::<bool>();
    (limits, wanted, interlock, lives(), lives()).prop_map(|(limits, wanted, locked, present, safe)| {
        let (range, step_max, expect, tolerance, revert_ns) = limits;
        let interlock = locked.then(|| Interlock {
            when: Expr::compile("safe == true && value != 77").expect("compiles"),
            tags: vec![("safe".to_owned(), "plant/safe".to_owned())],
            max_age_ns: 2_000,
        });
        let envelope = Envelope {
            tag: "plant/setpoint".to_owned(),
            range,
            step_max,
            rate: None,
            interlock,
            expect,
            live_max_age_ns: 1_000,
            read_back_ns: None,
            tolerance,
            revert_ns,
        };
        let (value, expected, revert_after_ns) = wanted;
        Case { envelope, wanted: Wanted { value, expected, revert_after_ns }, present, safe }
    })
}

/// Whether a live value is there, Good and no older.
fn sure(live: Option<&Live>, max_age_ns: u64) -> Option<&Value> {
    live.filter(|live| live.quality.is_good() && live.age_ns <= max_age_ns).and_then(|live| live.value.as_ref())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_096, ..ProptestConfig::default() })]
    #[test]
    fn nothing_unsafe_passes_the_envelope(case in cases()) {
        let Case { envelope, wanted, present, safe } = case;
        let live = |path: &str| match path {
            "plant/setpoint" => present.clone(),
            "plant/safe" => safe.clone(),
            _ => None,
        };
        let now = TimestampNs(1_000_000);
        let judged = envelope.judge(&wanted, &live, &mut WriteHistory::default(), now);
        let Ok(plan) = judged else { return Ok(()) };
        let within = |value: &Value| match (value, envelope.range) {
            (Value::F64(_) | Value::I64(_), Some([low, high])) => {
                value.as_f64().is_some_and(|number| number.is_finite() && low <= number && number <= high)
            }
            (Value::F64(_) | Value::I64(_), None) => false,
            (_, range) => range.is_none(),
        };
        prop_assert!(within(&plan.write), "{:?}", &plan.write);
        prop_assert_eq!(plan.write.as_f64(), wanted.value.as_f64(), "another number than was wanted");
        if envelope.interlock.is_some() {
            prop_assert_eq!(sure(safe.as_ref(), 2_000), Some(&Value::Bool(true)));
            prop_assert!(plan.write.as_f64() != Some(77.0));
        }
        let there = sure(present.as_ref(), 1_000);
        prop_assert_eq!(plan.before.as_ref(), there.filter(|value| value.as_f64().is_none_or(f64::is_finite)));
        if envelope.expect || wanted.expected.is_some() {
            prop_assert!(there.is_some() && wanted.expected.is_some());
        }
        if let Some(step) = envelope.step_max {
            let from = there.and_then(Value::as_f64).expect("looked at");
            prop_assert!((plan.write.as_f64().expect("a number") - from).abs() <= step);
        }
        if let Some((at, old)) = &plan.revert {
            prop_assert!(within(old) && Some(old) == there && *at >= now);
        }
        let asked = wanted.revert_after_ns.into_iter().chain(envelope.revert_ns).min();
        prop_assert_eq!(plan.revert.map(|(at, _)| (at.0 - now.0) as u64), asked);
    }

    #[test]
    fn no_window_has_more_writes_than_its_rate(
        gaps in prop::collection::vec(prop_oneof![3 => 0..30_i64, 1 => -50..200_i64], 1..100), writes in 1..6_u32, per_ns in 1..100_u64
    ) {
        let envelope = Envelope {
            tag: "plant/setpoint".to_owned(), range: Some([0.0, 1.0]), step_max: None, rate: Some(Rate { writes, per_ns }),
            interlock: None, expect: false, live_max_age_ns: 1, read_back_ns: None, tolerance: 0.0, revert_ns: None,
        };
        let wanted = Wanted { value: Value::F64(0.5), expected: None, revert_after_ns: None };
        let mut history = WriteHistory::default();
        let mut passed: Vec<i64> = Vec::new();
        // `now` is what the clock shows; `elapsed` leaves out that it is set back
        let (mut now, mut elapsed) = (0_i64, 0_i64);
        for gap in gaps {
            now += gap;
            elapsed += gap.max(0);
            match envelope.judge(&wanted, &|_| None, &mut history, TimestampNs(now)) {
                Ok(_) => passed.push(elapsed),
                Err(refused) => {
                    let wait = i64::try_from(refused.retry_after_ns().expect("only the rate refuses")).expect("short");
                    let try_after = |ns| envelope.judge(&wanted, &|_| None, &mut history.clone(), TimestampNs(now + ns));
                    prop_assert!(wait > 0 && try_after(wait).is_ok() && try_after(wait - 1).is_err());
                }
            }
        }
        for from in &passed {
            let inside = passed.iter().filter(|at| (from..&(from + per_ns as i64)).contains(at)).count();
            prop_assert!(inside <= writes as usize, "{inside} writes from {from} on");
        }
    }
}

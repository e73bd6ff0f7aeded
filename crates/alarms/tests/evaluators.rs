//! Evaluators against a slow model that counts ticks, and by example.

use std::sync::Arc;

use alarms::rules::{BUCKETS, FAILURES_MAX};
use alarms::{Condition, Edge, Evaluator, Input, Rule, Sample};
use expr::Expr;
use model::{Quality, TimestampNs, Value};
use proptest::prelude::*;

/// A tick of these tests, in nanoseconds.
const TICK: i64 = 1_000_000;

fn at(tick: i64) -> TimestampNs {
    TimestampNs(tick * TICK)
}

const fn ns(ticks: i64) -> u64 {
    (ticks * TICK) as u64
}

fn rule(condition: Condition, on: i64, off: i64) -> Arc<Rule> {
    Arc::new(Rule { name: "r".into(), condition, on_delay_ns: ns(on), off_delay_ns: ns(off) })
}

fn evaluator(condition: Condition, on: i64, off: i64) -> Evaluator {
    Evaluator::new(&rule(condition, on, off), "a/b".into())
}

fn good(tick: i64, value: impl Into<f64>) -> Sample {
    Sample { time: at(tick), value: Some(Value::F64(value.into())), quality: Quality::GOOD }
}

fn bad(tick: i64) -> Sample {
    Sample { time: at(tick), value: None, quality: Quality::BAD_TIMEOUT }
}

/// An edge without its words: active or not, and its tick.
fn brief(edge: &Edge) -> Option<(bool, i64)> {
    match edge {
        Edge::Active { at, .. } => Some((true, at.0 / TICK)),
        Edge::Normal { at, .. } => Some((false, at.0 / TICK)),
        Edge::Failed { .. } => None,
    }
}

/// All that is to be told up to a time.
fn drain(evaluator: &mut Evaluator, now: TimestampNs, edges: &mut Vec<Edge>) {
    for _ in 0..10_000 {
        if evaluator.deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        edges.extend(evaluator.on_time(now));
    }
    panic!("there is always more to tell: {evaluator:?}");
}

/// A sample and all that it makes due.
fn feed(evaluator: &mut Evaluator, sample: &Sample) -> Vec<Edge> {
    let mut edges: Vec<Edge> = evaluator.on_sample(sample, sample.time).into_iter().collect();
    drain(evaluator, sample.time, &mut edges);
    edges
}

fn text_of(edges: &[Edge]) -> &str {
    match edges {
        [Edge::Active { text, .. }, ..] => text,
        other => panic!("not active: {other:?}"),
    }
}

/// How the time is told to an evaluator.
#[derive(Clone, Copy, Debug)]
enum Clock {
    /// At each tick.
    Ticks,
    /// When it asks for it.
    Deadlines,
    /// Only after samples, and at the end.
    Samples,
}

fn run(condition: Condition, on: i64, off: i64, samples: &[Sample], end: i64, clock: Clock) -> Vec<(bool, i64)> {
    let mut evaluator = evaluator(condition, on, off);
    let mut edges = Vec::new();
    edges.extend(evaluator.on_time(at(0)));
    let mut tick = 0;
    for sample in samples {
        let until = sample.time.0 / TICK;
        match clock {
            Clock::Ticks => (tick..=until).for_each(|tick| drain(&mut evaluator, at(tick), &mut edges)),
            Clock::Deadlines => {
                while let Some(deadline) = evaluator.deadline().filter(|deadline| *deadline <= sample.time) {
                    edges.extend(evaluator.on_time(deadline.max(at(tick))));
                }
            }
            Clock::Samples => {}
        }
        tick = until;
        edges.extend(feed(&mut evaluator, sample));
    }
    drain(&mut evaluator, at(end), &mut edges);
    edges.iter().filter_map(brief).collect()
}

/// What a condition is without its delays, as the slow model sees it.
trait Raw {
    /// By time alone, at a tick before its samples.
    fn by_time(&mut self, tick: i64, raw: Option<bool>) -> Option<bool>;
    /// After a sample; `None`: as before.
    fn by_sample(&mut self, tick: i64, value: Option<f64>) -> Verdict;
}

enum Verdict {
    Is(bool),
    AsBefore,
    Broken,
}

/// Counts how many ticks a state has held, and tells it when those are enough.
fn model(raw_of: &mut dyn Raw, on: i64, off: i64, samples: &[Sample], end: i64) -> Vec<(bool, i64)> {
    let mut edges: Vec<(bool, i64)> = Vec::new();
    let (mut told, mut raw, mut held): (Option<bool>, Option<bool>, i64) = (None, None, 0);
    for tick in 0..=end {
        let mut tell = |raw: Option<bool>, held: i64, told: &mut Option<bool>| {
            if let Some(state) = raw.filter(|state| *told != Some(*state) && held >= if *state { on } else { off }) {
                *told = Some(state);
                edges.push((state, tick));
            }
        };
        tell(raw, held, &mut told);
        let turned = raw_of.by_time(tick, raw);
        if turned != raw {
            (raw, held) = (turned, 0);
        }
        tell(raw, held, &mut told);
        for sample in samples.iter().filter(|sample| sample.time == at(tick)) {
            let value = sample.value.as_ref().and_then(Value::as_f64);
            let next = match raw_of.by_sample(tick, value) {
                Verdict::Is(state) => Some(state),
                Verdict::AsBefore => raw.or(Some(false)),
                Verdict::Broken => told,
            };
            if next != raw {
                (raw, held) = (next, 0);
            }
            tell(raw, held, &mut told);
        }
        held += 1;
    }
    edges
}

struct Level {
    limit: f64,
    clear: f64,
    low: bool,
}

impl Raw for Level {
    fn by_time(&mut self, _: i64, raw: Option<bool>) -> Option<bool> {
        raw
    }

    fn by_sample(&mut self, _: i64, value: Option<f64>) -> Verdict {
        let Some(value) = value else { return Verdict::Broken };
        let (value, limit, clear) =
            if self.low { (-value, -self.limit, -self.clear) } else { (value, self.limit, self.clear) };
        if value > limit {
            Verdict::Is(true)
        } else if value <= clear {
            Verdict::Is(false)
        } else {
            Verdict::AsBefore
        }
    }
}

struct Silence {
    after: i64,
    last: i64,
}

impl Raw for Silence {
    fn by_time(&mut self, tick: i64, raw: Option<bool>) -> Option<bool> {
        if tick - self.last >= self.after { Some(true) } else { raw }
    }

    fn by_sample(&mut self, tick: i64, _: Option<f64>) -> Verdict {
        self.last = tick;
        Verdict::Is(false)
    }
}

/// Keeps every value there ever was.
struct Speed {
    limit: f64,
    over: i64,
    all: Vec<(i64, f64)>,
    bad: bool,
}

impl Speed {
    fn is_fast(&self, tick: i64) -> bool {
        let width = (self.over * TICK / BUCKETS).max(1);
        let first = ((tick - self.over) * TICK).div_euclid(width);
        let inside = |(tick, _): &&(i64, f64)| (tick * TICK).div_euclid(width) >= first;
        let before = self.all.iter().rfind(|value| !inside(value));
        let window: Vec<f64> = self.all.iter().filter(inside).chain(before).map(|(_, value)| *value).collect();
        let newest = self.all.last().map_or(0.0, |(_, value)| *value);
        let change = window.iter().map(|value| (newest - value).abs()).fold(0.0, f64::max);
        change > self.limit * (self.over * TICK) as f64 / 1e9
    }
}

impl Raw for Speed {
    fn by_time(&mut self, tick: i64, raw: Option<bool>) -> Option<bool> {
        if raw == Some(true) && !self.bad { Some(self.is_fast(tick)) } else { raw }
    }

    fn by_sample(&mut self, tick: i64, value: Option<f64>) -> Verdict {
        self.bad = value.is_none();
        let Some(value) = value else { return Verdict::Broken };
        self.all.push((tick, value));
        Verdict::Is(self.is_fast(tick))
    }
}

/// Samples with the ticks that pass before each; some bad, some at the same time.
fn train() -> impl Strategy<Value = Vec<Sample>> {
    let step = (prop_oneof![0..4_i64, 0..40_i64], prop::option::weighted(0.9, -10..30_i32));
    prop::collection::vec(step, 1..60).prop_map(|steps| {
        let mut tick = 0;
        let sample = |(wait, value): (i64, Option<i32>)| {
            tick += wait;
            value.map_or_else(|| bad(tick), |value| good(tick, value))
        };
        steps.into_iter().map(sample).collect()
    })
}

fn end_of(samples: &[Sample]) -> i64 {
    samples.last().map_or(0, |sample| sample.time.0 / TICK) + 300
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn levels_and_delays_are_those_of_the_slow_model(
        samples in train(), limit in 0..20_i32, band in 0..8_i32, low in any::<bool>(), on in 0..30_i64, off in 0..30_i64,
    ) {
        let limit = f64::from(limit);
        let clear = if low { limit + f64::from(band) } else { limit - f64::from(band) };
        let condition = if low { Condition::Low { limit, clear } } else { Condition::High { limit, clear } };
        let end = end_of(&samples);
        let expected = model(&mut Level { limit, clear, low }, on, off, &samples, end);
        for clock in [Clock::Ticks, Clock::Deadlines, Clock::Samples] {
            prop_assert_eq!(&run(condition.clone(), on, off, &samples, end, clock), &expected, "{:?}", clock);
        }
    }

    #[test]
    fn silence_is_that_of_the_slow_model(
        samples in train(), after in 1..40_i64, on in 0..20_i64, off in 0..20_i64,
    ) {
        let end = end_of(&samples);
        let expected = model(&mut Silence { after, last: 0 }, on, off, &samples, end);
        for clock in [Clock::Ticks, Clock::Deadlines] {
            let condition = Condition::Stale { after_ns: ns(after) };
            prop_assert_eq!(&run(condition, on, off, &samples, end, clock), &expected, "{:?}", clock);
        }
    }

    #[test]
    fn rates_are_those_of_the_slow_model(
        samples in train(), limit in 1..40_i32, over in 16..80_i64, on in 0..20_i64, off in 0..20_i64,
    ) {
        // a sixteenth of the window is whole ticks, so that the model's ticks see each change
        let over = over / BUCKETS * BUCKETS;
        let limit = f64::from(limit) * 10.0;
        let end = end_of(&samples);
        let expected = model(&mut Speed { limit, over, all: Vec::new(), bad: false }, on, off, &samples, end);
        let condition = Condition::Rate { limit, over_ns: ns(over) };
        for clock in [Clock::Ticks, Clock::Deadlines] {
            prop_assert_eq!(&run(condition.clone(), on, off, &samples, end, clock), &expected, "{:?}", clock);
        }
    }

    #[test]
    fn within_the_band_nothing_changes(values in prop::collection::vec(5.1..10.0_f64, 1..100), active in any::<bool>()) {
        let mut evaluator = evaluator(Condition::High { limit: 10.0, clear: 5.0 }, 0, 0);
        let first = feed(&mut evaluator, &good(0, if active { 11.0 } else { 4.0 }));
        prop_assert_eq!(first.iter().filter_map(brief).collect::<Vec<_>>(), vec![(active, 0)]);
        for (tick, value) in values.into_iter().enumerate() {
            prop_assert_eq!(feed(&mut evaluator, &good(1 + tick as i64, value)), vec![]);
        }
    }

    #[test]
    fn edges_alternate_whatever_comes(
        condition in any_condition(), on in 0..10_i64, off in 0..10_i64,
        calls in prop::collection::vec((-5..20_i64, -3..3_i64, any_value(), 0..4_u8, any::<bool>()), 1..80),
    ) {
        let mut evaluator = evaluator(condition, on, off);
        let (mut now, mut told, mut failed) = (100, None, 0);
        for (wait, skew, value, quality, is_sample) in calls {
            now += wait;
            let quality = [Quality::GOOD, Quality::GOOD, Quality::UNCERTAIN_LAST_USABLE, Quality::BAD][quality as usize];
            let mut edges = Vec::new();
            if is_sample {
                edges.extend(evaluator.on_sample(&Sample { time: at(now + skew), value, quality }, at(now)));
            } else {
                edges.extend(evaluator.on_time(at(now)));
            }
            drain(&mut evaluator, at(now), &mut edges);
            for edge in edges {
                match brief(&edge) {
                    Some((state, tick)) => {
                        prop_assert_ne!(told, Some(state), "{:?}", edge);
                        prop_assert!(tick <= now, "{:?} at {}", edge, now);
                        told = Some(state);
                        let active = matches!(edge.input(), Some(Input::Active { .. }));
                        prop_assert_eq!(active, state);
                    }
                    None => failed += 1,
                }
            }
            prop_assert_eq!(evaluator.is_active(), told);
        }
        prop_assert!(failed <= FAILURES_MAX);
    }
}

fn any_condition() -> impl Strategy<Value = Condition> {
    let when = ["value > 5", "quality == 'Bad'", "value", "tag == 'a/b' && value != null", "1 / int(value) > 0"];
    prop_oneof![
        Just(Condition::High { limit: 10.0, clear: 5.0 }),
        Just(Condition::Low { limit: 0.0, clear: 0.0 }),
        Just(Condition::Deviation { setpoint: 5.0, limit: 5.0, clear: 3.0 }),
        Just(Condition::Rate { limit: 100.0, over_ns: ns(16) }),
        Just(Condition::Rate { limit: 0.0, over_ns: 0 }),
        Just(Condition::Change),
        Just(Condition::Bit { bit: 1, state: true }),
        Just(Condition::Bit { bit: 63, state: false }),
        Just(Condition::Stale { after_ns: ns(7) }),
        Just(Condition::Stale { after_ns: 0 }),
        prop::sample::select(when.to_vec())
            .prop_map(|when| Condition::Expression { when: Expr::compile(when).expect("an expression") }),
    ]
}

fn any_value() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        (-20..30_i64).prop_map(|v| Some(Value::F64(v as f64 / 2.0))),
        (-3..20_i64).prop_map(|v| Some(Value::I64(v))),
        any::<bool>().prop_map(|v| Some(Value::Bool(v))),
        Just(Some(Value::Text("on".into()))),
        Just(Some(Value::F64(f64::NAN))),
        Just(Some(Value::F64(f64::INFINITY))),
        Just(None),
    ]
}

#[test]
fn the_first_evaluation_tells_which_of_the_two_it_is() {
    let high = Condition::High { limit: 180.0, clear: 175.0 };
    let mut cold = evaluator(high.clone(), 0, 0);
    assert_eq!(feed(&mut cold, &good(1, 20)), [Edge::Normal { at: at(1), value: Some(Value::F64(20.0)) }]);
    let mut hot = evaluator(high.clone(), 0, 0);
    let edges = feed(&mut hot, &good(1, 181.5));
    assert_eq!(text_of(&edges), "r: 181.5, above 180");
    // bad tells nothing yet
    let mut unknown = evaluator(high.clone(), 0, 0);
    assert_eq!(feed(&mut unknown, &bad(1)), []);
    assert_eq!(unknown.is_active(), None);
    // within the band it is what it was before the restart
    for active in [true, false] {
        let mut restarted = evaluator(high.clone(), 0, 0).assuming(active);
        assert_eq!(feed(&mut restarted, &good(1, 178)).iter().filter_map(brief).collect::<Vec<_>>(), [(active, 1)]);
    }
}

#[test]
fn a_level_that_returns_to_its_limit_is_over() {
    let mut errors = evaluator(Condition::High { limit: 0.0, clear: 0.0 }, 0, 0);
    let told: Vec<_> = [0, 3, 0].iter().enumerate().flat_map(|(t, v)| feed(&mut errors, &good(t as i64, *v))).collect();
    assert_eq!(told.iter().filter_map(brief).collect::<Vec<_>>(), [(false, 0), (true, 1), (false, 2)]);
}

#[test]
fn a_sample_within_the_delay_cancels_it_and_one_at_its_end_does_not() {
    let high = Condition::High { limit: 180.0, clear: 175.0 };
    let hot = |back: i64| [good(0, 20), good(10, 181), good(back, 20)];
    assert_eq!(run(high.clone(), 20, 0, &hot(29), 100, Clock::Samples), [(false, 0)]);
    assert_eq!(run(high.clone(), 20, 0, &hot(30), 100, Clock::Samples), [(false, 0), (true, 30), (false, 30)]);
    // a bad sample breaks the delay, and the next good one begins it anew
    let broken = [good(0, 20), good(10, 181), bad(20), good(25, 181)];
    assert_eq!(run(high.clone(), 20, 0, &broken, 100, Clock::Deadlines), [(false, 0), (true, 45)]);
    // and keeps what is active
    let kept = [good(0, 181), bad(5), good(10, 20), bad(15)];
    assert_eq!(run(high, 0, 20, &kept, 100, Clock::Deadlines), [(true, 0)]);
}

#[test]
fn a_clock_that_is_set_back_stretches_no_delay() {
    let mut evaluator = evaluator(Condition::High { limit: 180.0, clear: 175.0 }, 20, 0);
    assert_eq!(evaluator.on_sample(&good(1000, 181), at(1000)), None);
    assert_eq!(evaluator.on_time(at(1005)), None);
    assert_eq!(evaluator.on_time(at(205)), None, "the clock went back by 800");
    assert_eq!(evaluator.deadline(), Some(at(220)));
    assert!(matches!(evaluator.on_time(at(220)), Some(Edge::Active { at: TimestampNs(220_000_000), .. })));
    let mut silent = self::evaluator(Condition::Stale { after_ns: ns(50) }, 0, 0);
    assert_eq!(silent.on_sample(&good(1000, 1), at(1000)).as_ref().and_then(brief), Some((false, 1000)));
    assert_eq!(silent.on_time(at(200)), None);
    assert_eq!(silent.deadline(), Some(at(250)));
}

#[test]
fn each_change_is_a_pair() {
    let mut on_off = evaluator(Condition::Change, 0, 0);
    let told: Vec<Edge> =
        [1, 1, 2, 2, 3, 1].iter().enumerate().flat_map(|(t, v)| feed(&mut on_off, &good(t as i64, *v))).collect();
    let expected = [(false, 0), (true, 2), (false, 2), (true, 4), (false, 4), (true, 5), (false, 5)];
    assert_eq!(told.iter().filter_map(brief).collect::<Vec<_>>(), expected);
    assert_eq!(text_of(&told[1..]), "r: changed from 1 to 2");
    // within the off-delay it is one, that lasts longer
    let samples = [good(0, 1), good(10, 2), good(15, 3), good(50, 4)];
    for clock in [Clock::Ticks, Clock::Deadlines, Clock::Samples] {
        let told = run(Condition::Change, 0, 10, &samples, 100, clock);
        assert_eq!(told, [(false, 10), (true, 10), (false, 25), (true, 50), (false, 60)], "{clock:?}");
    }
    // a bad sample and what comes back after it is no change
    let told = run(Condition::Change, 0, 0, &[good(0, 1), bad(5), good(10, 1)], 20, Clock::Ticks);
    assert_eq!(told, [(false, 0)]);
}

#[test]
fn each_kind_says_what_it_saw() {
    let first = |condition: Condition, samples: &[Sample]| {
        let mut evaluator = evaluator(condition, 0, 0);
        let edges: Vec<Edge> = samples.iter().flat_map(|sample| feed(&mut evaluator, sample)).collect();
        text_of(&edges[edges.len() - 1..]).to_owned()
    };
    let whole = |value: i64| Sample { value: Some(Value::I64(value)), ..good(0, 0) };
    assert_eq!(first(Condition::Low { limit: 5.0, clear: 6.0 }, &[good(0, 4)]), "r: 4, below 5");
    let deviation = Condition::Deviation { setpoint: 80.0, limit: 10.0, clear: 5.0 };
    assert_eq!(first(deviation, &[good(0, 95)]), "r: 95, which is 15 from 80, more than 10");
    let rate = Condition::Rate { limit: 5.0, over_ns: 10_000_000_000 };
    let rise = [good(0, 0), good(1000, 60)];
    assert_eq!(first(rate, &rise), "r: 60, changed by 60 within 10 s, more than 5 a second");
    assert_eq!(first(Condition::Bit { bit: 3, state: true }, &[whole(12)]), "r: 12, bit 3 is set");
    assert_eq!(first(Condition::Bit { bit: 0, state: false }, &[whole(12)]), "r: 12, bit 0 is clear");
    assert_eq!(first(Condition::Bit { bit: 63, state: true }, &[whole(-1)]), "r: -1, bit 63 is set");
    let fault = Sample { value: Some(Value::Bool(true)), ..good(0, 0) };
    let when = Expr::compile("value == true").expect("an expression");
    assert_eq!(first(Condition::Expression { when }, &[fault]), "r: true, `value == true` is true");
    let mut silent = evaluator(Condition::Stale { after_ns: 5_000_000_000 }, 0, 0);
    feed(&mut silent, &good(0, 7));
    let mut edges = Vec::new();
    drain(&mut silent, at(5000), &mut edges);
    assert_eq!(text_of(&edges), "r: no sample for 5 s; last value 7");
}

#[test]
fn what_was_never_heard_becomes_stale() {
    let mut silent = evaluator(Condition::Stale { after_ns: ns(50) }, 0, 0);
    assert!(silent.deadline().is_some_and(|deadline| deadline <= at(0)), "it wants to know when it began");
    assert_eq!(silent.on_time(at(10)), None);
    assert_eq!(silent.deadline(), Some(at(60)));
    assert_eq!(silent.on_time(at(60)).as_ref().and_then(brief), Some((true, 60)));
    assert_eq!(silent.deadline(), None);
    // a bad sample is a sign of life
    assert_eq!(silent.on_sample(&bad(70), at(70)).as_ref().and_then(brief), Some((false, 70)));
}

#[test]
fn expressions_see_value_quality_tag_and_time() {
    let run = |when: &str, samples: &[Sample]| -> Vec<Edge> {
        let mut evaluator = evaluator(Condition::Expression { when: Expr::compile(when).expect(when) }, 0, 0);
        samples.iter().flat_map(|sample| feed(&mut evaluator, sample)).collect()
    };
    let told = |edges: &[Edge]| edges.iter().filter_map(brief).map(|(state, _)| state).collect::<Vec<_>>();
    let both = [good(0, 200), bad(1), good(2, 100)];
    assert_eq!(told(&run("value > 180", &both)), [true, false]);
    assert_eq!(told(&run("quality == 'Bad'", &both)), [false, true, false]);
    assert_eq!(told(&run("quality == 'Bad' || value > 180", &both)), [true, false]);
    assert_eq!(told(&run("tag == 'a/b' && time == '1970-01-01T00:00:00.000000000Z'", &both)), [true, false]);
}

#[test]
fn what_cannot_be_evaluated_is_told_once_and_changes_nothing() {
    let text = |tick: i64| Sample { value: Some(Value::Text("on".into())), ..good(tick, 0) };
    let mut high = evaluator(Condition::High { limit: 10.0, clear: 5.0 }, 0, 0);
    feed(&mut high, &good(0, 20));
    let said = feed(&mut high, &text(1));
    assert_eq!(
        said,
        [Edge::Failed { what: "rule r over a/b: the value is a text, and the rule needs a number".into() }]
    );
    assert_eq!(feed(&mut high, &text(2)), []);
    assert_eq!(high.is_active(), Some(true));
    // each distinct error once, and a bounded number of them
    let when = Expr::compile("{'0': true}[string(value)]").expect("an expression");
    let mut many = evaluator(Condition::Expression { when }, 0, 0);
    let failed = (1..50).flat_map(|n| feed(&mut many, &Sample { value: Some(Value::I64(n % 20)), ..good(n, 0) }));
    assert_eq!(failed.filter(|edge| matches!(edge, Edge::Failed { .. })).count(), FAILURES_MAX);
}

#[test]
fn an_evaluator_is_small() {
    assert!(size_of::<Evaluator>() <= 200, "{}", size_of::<Evaluator>());
}

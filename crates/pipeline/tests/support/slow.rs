//! The nine aggregates said plainly: sample by sample, in order, without any of the code under test.

use super::S;
use millstream_pipeline::query::{AggregateRow, FoundSample};
use millstream_pipeline::rollup::stretch::Aggregates;
use model::TimestampNs;

/// The number of a sample, if it has one.
fn number(sample: &FoundSample) -> Option<f64> {
    let value = sample.value.as_ref().filter(|_| !sample.quality.is_bad());
    value.and_then(model::Value::as_f64).filter(|number| !number.is_nan())
}

/// The aggregates of `[from, to)` by all samples of a tag in order.
pub fn aggregates(all: &[FoundSample], from: TimestampNs, to: TimestampNs) -> Aggregates {
    let known: Vec<&FoundSample> = all.iter().filter(|s| s.place.time.0 >= from.0.saturating_sub(86_400 * S)).collect();
    let inside = || known.iter().filter(|s| from <= s.place.time && s.place.time < to);
    let values = || inside().filter_map(|s| number(s));
    let timed = || inside().filter(|s| number(s).is_some()).map(|s| s.place.time);
    let (mut area, mut covered, mut good) = (0.0, 0, 0);
    for (at, sample) in known.iter().enumerate() {
        let ends = known.get(at + 1).map_or(to, |next| next.place.time.min(to));
        let ns = ends.0.saturating_sub(sample.place.time.max(from).0).max(0);
        good += if sample.quality.is_bad() { 0 } else { ns };
        if let Some(number) = number(sample) {
            area += number * ns as f64;
            covered += ns;
        }
    }
    let base = known.iter().filter(|s| s.place.time < from).filter_map(|s| number(s)).next_back();
    let chain: Vec<f64> = base.into_iter().chain(values()).collect();
    let steps = chain.windows(2).map(|pair| if pair[1] < pair[0] { pair[1] } else { pair[1] - pair[0] });
    Aggregates {
        count: inside().filter(|s| !s.quality.is_bad()).count() as u64,
        min: values().reduce(f64::min),
        max: values().reduce(f64::max),
        average: values().next().map(|_| values().sum::<f64>() / values().count() as f64),
        time_average: (covered > 0).then(|| area / covered as f64),
        first: values().next(),
        last: values().next_back(),
        delta: (!chain.is_empty()).then(|| steps.sum()),
        percent_good: (to > from).then(|| 100.0 * good as f64 / (to.0 - from.0) as f64),
        first_time: timed().next(),
        last_time: timed().next_back(),
    }
}

/// The rows of windows in `[from, to)` that hold a sample.
pub fn rows(all: &[FoundSample], from: TimestampNs, to: TimestampNs, every_ns: i64) -> Vec<AggregateRow> {
    let inside = all.iter().map(|s| s.place.time).filter(|time| from <= *time && *time < to);
    let mut starts: Vec<TimestampNs> = inside.map(|time| time.window_start(every_ns)).collect();
    starts.dedup();
    let row = |start: &TimestampNs| AggregateRow {
        start: *start,
        aggregates: aggregates(all, (*start).max(from), start.plus_ns(every_ns).min(to)),
        revision: None,
    };
    starts.iter().map(row).collect()
}

fn near(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-7 * b.abs().max(1.0),
        (a, b) => a == b,
    }
}

/// Equal but for how sums were rounded.
pub fn assert_same(ours: &Aggregates, slow: &Aggregates, what: &str) {
    let exact = |a: &Aggregates| (a.count, a.min, a.max, a.first, a.last, a.first_time, a.last_time);
    let sums = |a: &Aggregates| [a.average, a.time_average, a.delta, a.percent_good];
    let same = exact(ours) == exact(slow) && sums(ours).into_iter().zip(sums(slow)).all(|(a, b)| near(a, b));
    assert!(same, "{what}: {ours:?}, its samples say {slow:?}");
}

/// The same of rows.
pub fn assert_rows(ours: &[AggregateRow], slow: &[AggregateRow], what: &str) {
    let starts = |rows: &[AggregateRow]| rows.iter().map(|row| row.start).collect::<Vec<_>>();
    assert_eq!(starts(ours), starts(slow), "{what}");
    let pairs = ours.iter().zip(slow);
    pairs.for_each(|(a, b)| assert_same(&a.aggregates, &b.aggregates, &format!("{what}, window of {}", a.start)));
}

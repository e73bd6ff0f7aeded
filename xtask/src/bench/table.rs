//! Figures of reports, for tables.

use serde_json::Value;

/// Stages that are listed, longest poll first.
const STAGES_SHOWN: usize = 10;

/// A number of a report; not a number where there is none.
pub fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

/// A time with three digits that matter.
pub fn time(ns: f64) -> String {
    match ns {
        ns if ns.abs() < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.1} µs", ns / 1e3),
        ns if ns < 1e9 => format!("{:.2} ms", ns / 1e6),
        ns => format!("{:.2} s", ns / 1e9),
    }
}

/// Percentiles by their names in a report.
pub fn times(percentiles: &Value, names: &[&str]) -> String {
    if percentiles.is_null() {
        return "–".to_owned();
    }
    names.iter().map(|name| time(number(&percentiles[name]))).collect::<Vec<_>>().join(" / ")
}

/// The middle one; the mean of the middle two.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => (values[count / 2 - 1] + values[count / 2]) / 2.0,
    }
}

/// The middle of one figure of several runs.
pub fn middle_of<T>(all: &[T], of: impl Fn(&T) -> f64) -> f64 {
    median(all.iter().map(of).collect())
}

/// The middle of one figure of several runs, and in brackets the lowest and the highest.
pub fn spread<T>(all: &[T], of: impl Fn(&T) -> f64, shown: impl Fn(f64) -> String) -> String {
    let mut values: Vec<f64> = all.iter().map(of).filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    match (values.first(), values.last()) {
        (Some(low), Some(high)) if values.len() > 1 => {
            format!("{} ({}–{})", shown(median(values.clone())), shown(*low), shown(*high))
        }
        (Some(only), _) => shown(*only),
        _ => "–".to_owned(),
    }
}

/// A stage of a shard, and where its percentiles stand.
pub struct Stage<'a> {
    pub of: &'a Value,
    pub times: &'a Value,
}

/// The longest polls of some runs, the worst of each stage.
pub fn print_stages<'a>(title: &str, stages: impl Iterator<Item = Stage<'a>>) {
    let mut worst: Vec<(String, f64, f64, f64)> = Vec::new();
    for stage in stages {
        let word = |name: &str| stage.of[name].as_str().unwrap_or("");
        let name = format!("{} {}", word("lane"), word("name"));
        let [p50, p999, max] = ["p50_ns", "p999_ns", "max_ns"].map(|name| number(&stage.times[name]));
        match worst.iter_mut().find(|known| known.0 == name) {
            Some(known) => *known = (name, known.1.max(p50), known.2.max(p999), known.3.max(max)),
            None => worst.push((name, p50, p999, max)),
        }
    }
    worst.sort_by(|one, other| other.3.total_cmp(&one.3));
    println!("\n{title}, worst of the rounds (p50 / p99.9 / max):");
    for (name, p50, p999, max) in worst.into_iter().take(STAGES_SHOWN) {
        println!("  {name}: {} / {} / {}", time(p50), time(p999), time(max));
    }
}

//! Figures for people and for machines.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// The percentiles that are shown.
const PERCENTILES: [(&str, f64); 6] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9), ("p99.99", 99.99), ("max", 100.0)];

/// Percentiles in nanoseconds, with the count; `null` without any.
pub(crate) fn percentiles_json(histogram: &Histogram<u64>) -> Value {
    if histogram.is_empty() {
        return Value::Null;
    }
    let mut shown = serde_json::Map::new();
    for (name, percentile) in PERCENTILES {
        shown.insert(format!("{}_ns", name.replace('.', "_")), json!(histogram.value_at_percentile(percentile)));
    }
    shown.insert("count".to_owned(), json!(histogram.len()));
    Value::Object(shown)
}

/// Percentiles in one line.
pub(crate) fn percentiles_text(histogram: &Histogram<u64>) -> String {
    if histogram.is_empty() {
        return "none".to_owned();
    }
    let shown: Vec<String> = PERCENTILES
        .iter()
        .map(|(name, percentile)| format!("{name} {}", time(histogram.value_at_percentile(*percentile))))
        .collect();
    shown.join(" · ")
}

/// A time with three digits that matter.
pub(crate) fn time(ns: u64) -> String {
    let ns = ns as f64;
    match ns {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.1} µs", ns / 1e3),
        ns if ns < 1e9 => format!("{:.2} ms", ns / 1e6),
        ns => format!("{:.2} s", ns / 1e9),
    }
}

/// A whole number with its thousands apart.
pub(crate) fn whole(number: f64) -> String {
    let digits = format!("{:.0}", number.max(0.0));
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The middle one; the mean of the middle two; 0 of none.
pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    match numbers.len() {
        0 => 0.0,
        n if n % 2 == 1 => numbers[n / 2],
        n => (numbers[n / 2 - 1] + numbers[n / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!(whole(1_234_567.4), "1,234,567");
        assert_eq!((whole(999.0), whole(0.0)), ("999".to_owned(), "0".to_owned()));
        assert_eq!((time(999), time(1_500), time(2_500_000)), ("999 ns".into(), "1.5 µs".into(), "2.50 ms".into()));
        assert_eq!((median(vec![]), median(vec![3.0, 1.0, 2.0]), median(vec![4.0, 1.0])), (0.0, 2.0, 2.5));
    }

    #[test]
    fn percentiles_have_names() {
        let mut histogram = crate::hiccup::histogram();
        assert_eq!((percentiles_json(&histogram), percentiles_text(&histogram)), (Value::Null, "none".to_owned()));
        histogram.record(1_000).expect("in bounds");
        assert_eq!(percentiles_json(&histogram)["p99_9_ns"], json!(1_000));
        assert!(percentiles_text(&histogram).starts_with("p50 1.0 µs"));
    }
}

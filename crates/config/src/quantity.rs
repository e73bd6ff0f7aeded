//! Durations and sizes as people write them: `"100ms"`, `"1h30m"`, `"64MiB"`.

use std::time::Duration;

use crate::problem::Invalid;

/// Units of durations, longest first, with their nanoseconds.
const TIMES: [(&str, u128); 8] = [
    ("w", 604_800_000_000_000),
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Units of sizes with their bytes.
const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

const DURATION_RIGHT: &str = "write a number and a unit, for instance \"100ms\", \"5s\", \"2m\", \"1h30m\" or \"7d\"";
const SIZE_RIGHT: &str = "write a whole number and a unit, for instance \"64MiB\", \"512KiB\" or \"1GB\"";

/// Reads a duration: numbers, each with a unit, longer units first; a number may have a fraction.
pub(crate) fn duration(text: &str) -> Result<Duration, Invalid> {
    let bad = |what: &str| Invalid::new(format!("{text:?} is no duration: {what}"), DURATION_RIGHT);
    let mut total: u128 = 0;
    let mut unit_before = u128::MAX;
    let mut rest = text;
    if rest.is_empty() {
        return Err(bad("it is empty"));
    }
    while !rest.is_empty() {
        let (number, after) = split_number(rest).ok_or_else(|| bad("a number is missing"))?;
        let word_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (word, after) = after.split_at(word_end);
        let unit = TIMES.iter().find(|(name, _)| *name == word).map(|(_, ns)| *ns);
        let unit = unit.ok_or_else(|| {
            bad(if word.is_empty() { "its unit is missing" } else { "its unit is none of ms, s, m, h, d" })
        })?;
        if unit >= unit_before {
            return Err(bad("its units are not from long to short"));
        }
        unit_before = unit;
        let part = scaled(number, unit).ok_or_else(|| bad("a number is too large or too fine"))?;
        total = total.checked_add(part).ok_or_else(|| bad("a number is too large or too fine"))?;
        rest = after;
    }
    u64::try_from(total).map(Duration::from_nanos).map_err(|_| bad("it is longer than 584 years"))
}

/// Splits the leading number off: digits, and at most one point with digits on both sides.
fn split_number(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let mut parts = number.split('.');
    let well = parts.by_ref().take(2).all(|part| !part.is_empty());
    if well && parts.next().is_none() { Some((number, rest)) } else { None }
}

/// `number` × `unit` where that is a whole number of nanoseconds.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction = fraction.trim_end_matches('0');
    if whole.len() > 18 || fraction.len() > 18 {
        return None;
    }
    let mut value = whole.parse::<u128>().ok()? * unit;
    if !fraction.is_empty() {
        let divisor = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
        let part = fraction.parse::<u128>().ok()? * unit;
        if !part.is_multiple_of(divisor) {
            return None;
        }
        value += part / divisor;
    }
    Some(value)
}

/// Reads a size in bytes.
pub(crate) fn size(text: &str) -> Result<u64, Invalid> {
    let bad = |what: &str| Invalid::new(format!("{text:?} is no size: {what}"), SIZE_RIGHT);
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, word) = text.split_at(end);
    let number: u64 = number.parse().map_err(|_| bad("a whole number is missing, or too large"))?;
    let unit = SIZES.iter().find(|(name, _)| *name == word).map(|(_, bytes)| *bytes);
    let unit = unit.ok_or_else(|| {
        bad(if word.is_empty() {
            "its unit is missing"
        } else {
            "its unit is none of KiB, MiB, GiB, TiB, kB, MB, GB, TB, B"
        })
    })?;
    number.checked_mul(unit).ok_or_else(|| bad("it is too large"))
}

/// A duration as people write it.
pub(crate) fn show_duration(duration: Duration) -> String {
    let mut rest = duration.as_nanos();
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    for (name, unit) in TIMES.iter().filter(|(name, _)| *name != "w") {
        if rest >= *unit {
            out.push_str(&format!("{}{name}", rest / unit));
            rest %= unit;
        }
    }
    out
}

/// A size as people write it.
pub(crate) fn show_size(bytes: u64) -> String {
    let binary = SIZES.iter().filter(|(name, unit)| *unit == 1 || name.ends_with("iB"));
    for (name, unit) in binary {
        if bytes >= *unit && bytes.is_multiple_of(*unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, ns) in [
            ("100ms", 100_000_000_u64),
            ("5s", 5_000_000_000),
            ("2m", 120_000_000_000),
            ("1h", 3_600_000_000_000),
            ("7d", 604_800_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1.5s", 1_500_000_000),
            ("0s", 0),
            ("250us", 250_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_nanos(ns)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for wrong in [
            "",
            "5",
            "s",
            "5 s",
            "-5s",
            "+5s",
            "5x",
            "1m1h",
            "1s1s",
            "1..5s",
            ".5s",
            "5.s",
            "1.5.s",
            "1e3s",
            "٣s",
            "99999999999999999999d",
            "999999999999999d",
            "0.1ns",
            "1sec",
            "1S",
        ] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn sizes_are_read_and_shown() {
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert_eq!(size("1GB"), Ok(1_000_000_000));
        assert_eq!(size("512KiB"), Ok(512 << 10));
        for wrong in ["", "64", "MiB", "64 MiB", "1.5GiB", "-1B", "99999999999TiB", "64mib", "64M"] {
            assert!(size(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(show_size(64 << 20), "64MiB");
        assert_eq!(show_size(1_000), "1000B");
        assert_eq!(show_duration(Duration::from_millis(5_400_001)), "1h30m1ms");
    }
}

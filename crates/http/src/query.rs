//! Query parameters: read, checked against the route's own list, and turned into types.
//!
//! Invariant: a parameter that the route does not know is an error that names the nearest known
//! one, so that a typing error never quietly widens a query.

use crate::{
    limits::{GLOB_BYTES_MAX, GLOBS_MAX},
    problem::{Problem, short},
    routes::{Parameter, Place, Route},
};
use axum::http::StatusCode;
use model::{Glob, TimestampNs};

/// The parameters of one request, decoded.
#[derive(Debug)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads a query string against what the route takes.
    ///
    /// # Errors
    /// A [`Problem`] where a parameter is unknown, or stands twice and may not.
    pub(crate) fn read(route: &Route, query: Option<&str>) -> Result<Params, Problem> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for part in query.unwrap_or("").split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            let Some(known) = in_query(route).find(|known| known.name == name) else {
                return Err(unknown(route, &name));
            };
            if !known.repeats && pairs.iter().any(|(other, _)| *other == name) {
                return Err(Problem::parameter(format!("{name:?} stands twice; give it once")));
            }
            pairs.push((name, value));
        }
        Ok(Params(pairs))
    }

    /// The value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter that may stand several times.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that must be there.
    ///
    /// # Errors
    /// A [`Problem`] where it is missing or empty.
    pub(crate) fn required(&self, name: &str, example: &str) -> Result<&str, Problem> {
        self.get(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            Problem::parameter(format!("the query parameter {name:?} is missing; write e.g. {name}={example}"))
        })
    }

    /// A whole number within `1..=max` (or `0..=max`, by `min`).
    ///
    /// # Errors
    /// A [`Problem`] where it is not one.
    pub(crate) fn number(&self, name: &str, default: usize, min: usize, max: usize) -> Result<usize, Problem> {
        let Some(text) = self.get(name) else { return Ok(default) };
        match text.parse::<usize>() {
            Ok(number) if (min..=max).contains(&number) => Ok(number),
            _ => {
                Err(Problem::parameter(format!("{name}={} is not a whole number between {min} and {max}", short(text)))
                    .with("maximum", max))
            }
        }
    }

    /// A time: RFC 3339, relative to `now` (`now`, `-15m`, `now-15m`), or nanoseconds since 1970.
    ///
    /// # Errors
    /// A [`Problem`] where it is none of these.
    pub(crate) fn time(&self, name: &str, now: TimestampNs, default: TimestampNs) -> Result<TimestampNs, Problem> {
        let Some(text) = self.get(name) else { return Ok(default) };
        time(text, now).ok_or_else(|| {
            Problem::parameter(format!(
                "{name}={} is not a time; write RFC 3339 (2026-01-31T12:00:00Z), a time before now (-15m) \
                 or nanoseconds since 1970",
                short(text)
            ))
        })
    }

    /// `from` and `to`, the last 15 minutes where nothing is said.
    ///
    /// # Errors
    /// A [`Problem`] where one is no time, or they stand the wrong way round.
    pub(crate) fn range(&self, now: TimestampNs) -> Result<(TimestampNs, TimestampNs), Problem> {
        const DEFAULT_NS: i64 = 15 * 60 * 1_000_000_000;
        let to = self.time("to", now, now)?;
        let from = self.time("from", now, to.plus_ns(-DEFAULT_NS))?;
        if from > to {
            return Err(Problem::parameter(format!("from ({from}) lies after to ({to}); exchange them")));
        }
        Ok((from, to))
    }

    /// The globs of `match`; `None` where none is given.
    ///
    /// # Errors
    /// A [`Problem`] where one is too long, or there are too many.
    pub(crate) fn globs(&self) -> Result<Option<Vec<Glob>>, Problem> {
        let globs: Vec<&str> = self.all("match").collect();
        if globs.len() > GLOBS_MAX || globs.iter().any(|glob| glob.len() > GLOB_BYTES_MAX) {
            return Err(Problem::parameter(format!(
                "at most {GLOBS_MAX} globs of {GLOB_BYTES_MAX} bytes each are taken; ask with fewer or shorter ones"
            )));
        }
        Ok((!globs.is_empty()).then(|| globs.into_iter().map(Glob::new).collect()))
    }
}

/// Reads a time as the interface takes it.
pub(crate) fn time(text: &str, now: TimestampNs) -> Option<TimestampNs> {
    let text = text.trim();
    let relative = text.strip_prefix("now").unwrap_or(text);
    if relative.is_empty() {
        return text.starts_with("now").then_some(now);
    }
    if let Some(before) = relative.strip_prefix('-')
        && let Some(ns) = duration_ns(before)
    {
        return Some(now.plus_ns(-ns));
    }
    if let Ok(ns) = text.parse::<i64>() {
        return Some(TimestampNs(ns));
    }
    // A '+' of an offset that was not percent-encoded arrives as a space.
    let zoned = match text.rfind(' ') {
        Some(at) if at > 10 => format!("{}+{}", &text[..at], &text[at + 1..]),
        _ => text.to_owned(),
    };
    TimestampNs::parse_rfc3339(&zoned)
}

/// Reads a duration (`250ms`, `1s`, `15m`, `8h`, `7d`, `2w`) as nanoseconds.
pub(crate) fn duration_ns(text: &str) -> Option<i64> {
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let unit: i64 = match &text[at..] {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        "w" => 7 * 86_400_000_000_000,
        _ => return None,
    };
    text[..at].parse::<i64>().ok()?.checked_mul(unit)
}

fn in_query(route: &Route) -> impl Iterator<Item = &Parameter> {
    route.parameters.iter().filter(|known| known.place == Place::Query)
}

fn unknown(route: &Route, name: &str) -> Problem {
    let names: Vec<&str> = in_query(route).map(|known| known.name).collect();
    let advice = match (nearest(name, &names), names.is_empty()) {
        (Some(near), _) => format!("did you mean {near:?}?"),
        (None, true) => "it takes none".to_owned(),
        (None, false) => format!("it takes {}", names.join(", ")),
    };
    Problem::new(
        StatusCode::BAD_REQUEST,
        "unknown-parameter",
        "A query parameter is unknown",
        format!("{} knows no query parameter {}; {advice}", route.path, short(name)),
    )
    .with("known", names)
}

/// The known name that looks most like a given one, if any is near enough to be meant.
pub(crate) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let best = known.iter().map(|other| (distance(name, other), *other)).min()?;
    (best.0 <= 1 + best.1.len() / 3).then_some(best.1)
}

/// Levenshtein's distance, of what is short enough to be worth it.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.iter().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let here = row[j + 1];
            row[j + 1] = (here + 1).min(row[j] + 1).min(before + usize::from(ca != cb));
            before = here;
        }
    }
    row[b.len()]
}

/// Decodes `%41` and `+` (application/x-www-form-urlencoded).
fn decode(text: &str) -> Result<String, Problem> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) => {
                let hex = |b: u8| char::from(b).to_digit(16);
                let (Some(high), Some(low)) = (hex(*high), hex(*low)) else {
                    return Err(Problem::parameter(format!("{} holds a '%' without two hex digits", short(text))));
                };
                bytes.push((high * 16 + low) as u8);
                rest = after;
            }
            (b'%', _) => {
                return Err(Problem::parameter(format!("{} holds a '%' without two hex digits", short(text))));
            }
            (other, _) => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).map_err(|_| Problem::parameter(format!("{} is not UTF-8", short(text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_form() {
        let now = TimestampNs(1_790_000_000_000_000_000);
        for (text, expected) in [
            ("now", Some(now.0)),
            ("-15m", Some(now.0 - 900_000_000_000)),
            ("now-1h", Some(now.0 - 3_600_000_000_000)),
            ("1790000000000000000", Some(now.0)),
            ("-5", Some(-5)),
            ("1970-01-01T00:00:01Z", Some(1_000_000_000)),
            ("1970-01-01T01:00:01 01:00", Some(1_000_000_000)),
            ("yesterday", None),
            ("", None),
            ("-15x", None),
            ("-99999999999999999w", None),
        ] {
            assert_eq!(time(text, now).map(|t| t.0), expected, "{text}");
        }
    }

    #[test]
    fn decodes_and_refuses_broken_escapes() {
        assert_eq!(decode("a%2Fb+c%C3%A9").ok().as_deref(), Some("a/b cé"));
        assert!(decode("%").is_err() && decode("%g0").is_err() && decode("%ff").is_err());
    }

    #[test]
    fn the_nearest_name_is_near() {
        assert_eq!(nearest("mach", &["match", "limit"]), Some("match"));
        assert_eq!(nearest("xyzzy", &["match", "limit"]), None);
    }
}

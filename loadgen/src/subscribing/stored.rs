//! What Millstream says of itself, and what it stored of what was handed on to it.
//!
//! Invariant: a variable is called differing only by its stored values: a tick that is not there, or
//! there twice, or a value that is none of its own, up to the last tick that was handed on.

use crate::Failure;
use crate::http::Reader;
use client::TimestampNs;
use plant::fleet::OpcuaFleet;
use serde_json::{Map, Value, json};
use std::thread;
use std::time::{Duration, Instant};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause before it is looked again for what is not there yet.
const PAUSE: Duration = Duration::from_millis(50);
/// The source's counters of losses and of its own work that are shown.
const SHOWN: [&str; 8] =
    ["samples", "notifications", "overflows", "sequence_gaps", "republished", "shed", "publish_errors", "reconnects"];

/// The counters of the source.
#[derive(Clone, Debug)]
pub(crate) struct Counters(Vec<(&'static str, u64)>);

impl Counters {
    /// Reads them; a source that counts nothing yet has zeros.
    ///
    /// # Errors
    /// There is no source of that name, or no answer.
    pub(crate) fn read(http: &str) -> Result<Counters, Failure> {
        let sources = Reader::new(http, PATIENCE).json("/v1/sources")?;
        let source = sources.as_array().and_then(|all| all.iter().find(|source| source["name"] == "fleet"));
        let source = source.ok_or_else(|| Failure::Failed(format!("{http} has no source named fleet")))?;
        Ok(Counters(SHOWN.map(|name| (name, source["counters"][name].as_u64().unwrap_or(0))).to_vec()))
    }

    /// What was counted after an earlier look.
    pub(crate) fn since(&self, before: &Counters) -> Counters {
        let both = self.0.iter().zip(&before.0);
        Counters(both.map(|((name, after), (_, before))| (*name, after.saturating_sub(*before))).collect())
    }

    pub(crate) fn json(&self) -> Value {
        Value::Object(self.0.iter().map(|(name, count)| ((*name).to_owned(), json!(count))).collect::<Map<_, _>>())
    }

    pub(crate) fn text(&self) -> String {
        self.0.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
    }
}

/// What became of reading back.
#[derive(Debug, Default)]
pub(crate) struct ReadBack {
    /// Variables read.
    variables: usize,
    /// Their values.
    values: u64,
    /// Variables that differ.
    pub(crate) differing: usize,
    /// The first of them, and how.
    first: Option<String>,
}

impl ReadBack {
    pub(crate) fn json(&self) -> Value {
        json!({
            "variables": self.variables,
            "values": self.values,
            "differing": self.differing,
            "first_difference": self.first,
        })
    }

    pub(crate) fn text(&self) -> String {
        let end = self.first.as_ref().map_or_else(
            || "all as handed on".to_owned(),
            |first| format!("{} of them DIFFER, the first: {first}", self.differing),
        );
        format!("stored: {} values of {} variables read back, {end}", self.values, self.variables)
    }
}

/// Reads the values of variables (number, path, last tick that was handed on) that came after a time.
///
/// # Errors
/// There is no answer.
pub(crate) fn read_back(
    http: &str,
    wanted: &[(usize, String, u32)],
    from: TimestampNs,
    within: Duration,
) -> Result<ReadBack, Failure> {
    let (reader, until) = (Reader::new(http, PATIENCE), Instant::now() + within);
    let mut found = ReadBack { variables: wanted.len(), ..ReadBack::default() };
    for (index, path, last) in wanted {
        let mut ticks = Vec::new();
        loop {
            ticks.clear();
            let to = client::now().plus_ns(1_000_000_000);
            reader.samples(path, from, to, |sample| ticks.push(tick(sample, *index)))?;
            if ticks.last().is_some_and(|tick| tick.is_some_and(|tick| tick >= *last)) || Instant::now() >= until {
                break;
            }
            thread::sleep(PAUSE);
        }
        found.values += ticks.len() as u64;
        if let Some(why) = difference(&ticks, *last) {
            found.differing += 1;
            found.first.get_or_insert_with(|| format!("{path}: {why}"));
        }
    }
    Ok(found)
}

/// The tick of a stored sample, if it is a value of that variable.
fn tick(sample: &Value, index: usize) -> Option<u32> {
    let value = sample["value"].as_f64()?;
    let tick = value - OpcuaFleet::value(u32::try_from(index).ok()?, 0);
    (tick >= 0.0 && tick <= f64::from(u32::MAX) && tick.fract() == 0.0).then_some(tick as u32)
}

fn difference(ticks: &[Option<u32>], last: u32) -> Option<String> {
    let mut before: Option<u32> = None;
    for tick in ticks {
        match (tick, before) {
            (None, _) => return Some("a value that is none of its own".to_owned()),
            (Some(tick), Some(before)) if *tick != before + 1 => {
                return Some(format!("tick {tick} comes after {before}"));
            }
            _ => before = *tick,
        }
    }
    match before {
        Some(tick) if tick >= last => None,
        Some(tick) => Some(format!("it ends with tick {tick}, and {last} was handed on")),
        None => Some(format!("nothing is there, and tick {last} was handed on")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_left_out_or_twice_or_strange_is_a_difference() {
        let some = |ticks: &[u32]| ticks.iter().map(|tick| Some(*tick)).collect::<Vec<_>>();
        assert_eq!(difference(&some(&[3, 4, 5]), 5), None);
        for (ticks, last) in [(&[3, 5][..], 5), (&[3, 3], 3), (&[4, 3], 3), (&[3, 4], 5), (&[], 1)] {
            assert!(difference(&some(ticks), last).is_some(), "{ticks:?}");
        }
        assert!(difference(&[Some(1), None], 1).is_some());
        let sample = |value: f64| json!({ "value": value });
        assert_eq!(tick(&sample(OpcuaFleet::value(3, 17)), 3), Some(17));
        assert_eq!((tick(&sample(OpcuaFleet::value(2, 17)), 3), tick(&sample(0.5), 0)), (None, None));
        assert_eq!(tick(&json!({ "value": null }), 0), None);
    }
}

//! How fast the sources bring samples, out of counters that only grow.
//!
//! Invariant: what is remembered is bounded by [`POINTS_MAX`] a source, and the lock is held for
//! one look at all sources, never over an await.
//!
//! It deliberately has no timer: it learns whenever somebody asks, so that nobody's asking costs
//! nothing; the first answer has no rate.

use crate::backend::SourceInfo;
use model::TimestampNs;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

/// Points that are kept of a source.
const POINTS_MAX: usize = 61;
/// Two points lie at least so far apart, in nanoseconds.
const STEP_NS: i64 = 1_000_000_000;
/// Points older than this are forgotten, in nanoseconds.
const WINDOW_NS: i64 = 60 * STEP_NS;

/// Counters of all sources, lately.
#[derive(Default)]
pub(crate) struct Paces(Mutex<HashMap<String, VecDeque<(TimestampNs, u64)>>>);

/// How fast one source is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Pace {
    /// Samples in a second over the last minute; `None` until two looks lie a second apart.
    pub(crate) rate: Option<f64>,
    /// The rates between the looks, oldest first.
    pub(crate) spark: Vec<f64>,
}

impl Paces {
    /// Looks at the sources' counters and answers the pace of each, in their order.
    pub(crate) fn look(&self, now: TimestampNs, sources: &[SourceInfo]) -> Vec<Pace> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|name, _| sources.iter().any(|source| source.name == *name));
        let pace = |source: &SourceInfo| {
            let count = samples(source);
            let points = all.entry(source.name.clone()).or_default();
            // A counter or a clock that went back: what was remembered means nothing any more.
            if points.back().is_some_and(|(time, last)| *last > count || *time > now) {
                points.clear();
            }
            if points.back().is_none_or(|(time, _)| now.0.saturating_sub(time.0) >= STEP_NS) {
                points.push_back((now, count));
            }
            while points.len() > POINTS_MAX
                || points.front().is_some_and(|(time, _)| now.0.saturating_sub(time.0) > WINDOW_NS)
            {
                points.pop_front();
            }
            pace_of(points)
        };
        sources.iter().map(pace).collect()
    }
}

/// What a source counts as taken.
pub(crate) fn samples(source: &SourceInfo) -> u64 {
    source.counters.iter().find(|(name, _)| name == "samples").map_or(0, |(_, count)| *count)
}

fn pace_of(points: &VecDeque<(TimestampNs, u64)>) -> Pace {
    let rate = |(from, first): (TimestampNs, u64), (to, last): (TimestampNs, u64)| {
        let seconds = (to.0 - from.0) as f64 / 1e9;
        (((last - first) as f64 / seconds) * 10.0).round() / 10.0
    };
    let spark: Vec<f64> = points.iter().zip(points.iter().skip(1)).map(|(a, b)| rate(*a, *b)).collect();
    let rate = points.front().zip(points.back()).filter(|_| points.len() > 1).map(|(a, b)| rate(*a, *b));
    Pace { rate, spark }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(count: u64) -> SourceInfo {
        SourceInfo {
            name: "press1".to_owned(),
            kind: "modbus".into(),
            path: String::new(),
            address: String::new(),
            shard: 0,
            state: "running".into(),
            reason: String::new(),
            since: TimestampNs(0),
            last_data: None,
            tags: 1,
            counters: vec![("samples".to_owned(), count)],
            figures: Vec::new(),
        }
    }

    #[test]
    fn rates_come_from_what_was_counted_between_two_looks() {
        let paces = Paces::default();
        let look = |second: i64, count: u64| paces.look(TimestampNs(second * STEP_NS), &[source(count)]).remove(0);
        assert_eq!(look(0, 100), Pace::default(), "one look has no rate");
        assert_eq!(look(2, 300), Pace { rate: Some(100.0), spark: vec![100.0] });
        assert_eq!(look(4, 900), Pace { rate: Some(200.0), spark: vec![100.0, 300.0] });
        assert_eq!(look(5, 10), Pace::default(), "a counter that went back starts anew");
        assert_eq!(look(100, 20), Pace::default(), "what is older than a minute is forgotten");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let paces = Paces::default();
        for second in 0..500 {
            paces.look(TimestampNs(second * STEP_NS), &[source(second as u64)]);
        }
        let pace = paces.look(TimestampNs(500 * STEP_NS), &[source(500)]).remove(0);
        assert_eq!(pace.rate, Some(1.0));
        assert!(pace.spark.len() < POINTS_MAX);
        assert!(paces.look(TimestampNs(501 * STEP_NS), &[]).is_empty());
        assert!(paces.0.lock().expect("lock").is_empty(), "sources that are gone are forgotten");
    }
}

//! What the HTTP side counts of itself.
//!
//! Invariant: the lock is held for one addition or one copy, never over an await, and never by the
//! telemetry path, which does not know that it exists.

use hdrhistogram::Histogram;
use std::{collections::BTreeMap, sync::Mutex, time::Duration};

/// Longest request that is told apart, in microseconds; longer ones count as this: ten minutes.
const DURATION_US_MAX: u64 = 600_000_000;

/// The sums since the start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sums {
    /// Requests by route pattern and status.
    pub(crate) requests: BTreeMap<(String, u16), u64>,
    /// Microseconds until the head of the answer, by route pattern.
    pub(crate) durations: BTreeMap<String, Histogram<u64>>,
    /// How often each limit was hit.
    pub(crate) limits: BTreeMap<&'static str, u64>,
    /// Connections taken.
    pub(crate) connections: u64,
    /// Connections open now.
    pub(crate) connections_open: u64,
    /// Samples taken in over HTTP and committed.
    pub(crate) ingest_samples: u64,
    /// Bytes of ingest bodies.
    pub(crate) ingest_bytes: u64,
    /// Event streams open now.
    pub(crate) streams_open: u64,
}

/// [`Sums`] behind a lock.
#[derive(Debug, Default)]
pub(crate) struct Counters(Mutex<Sums>);

impl Counters {
    /// Adds something. A panic elsewhere while it was held leaves the sums usable.
    pub(crate) fn add(&self, change: impl FnOnce(&mut Sums)) {
        change(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    /// A limit was hit.
    pub(crate) fn limit(&self, name: &'static str) {
        self.add(|sums| *sums.limits.entry(name).or_default() += 1);
    }

    /// A request was answered.
    pub(crate) fn request(&self, route: &str, status: u16, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(DURATION_US_MAX).clamp(1, DURATION_US_MAX);
        self.add(|sums| {
            *sums.requests.entry((route.to_owned(), status)).or_default() += 1;
            if !sums.durations.contains_key(route)
                && let Ok(histogram) = Histogram::new_with_max(DURATION_US_MAX, 2)
            {
                sums.durations.insert(route.to_owned(), histogram);
            }
            if let Some(histogram) = sums.durations.get_mut(route) {
                histogram.saturating_record(us);
            }
        });
    }

    /// A copy of all sums.
    pub(crate) fn sums(&self) -> Sums {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

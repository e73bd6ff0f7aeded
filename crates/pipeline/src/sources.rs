//! How the sources of one shard are: states with reasons, counters.

use crate::directory::SourceStatus;
use model::{SourceId, SourceState, TimestampNs};
use std::collections::BTreeMap;
use std::sync::Arc;

/// States and counters of the sources that run now.
#[derive(Default)]
pub struct SourceBook {
    known: Vec<(SourceId, SourceStatus)>,
}

impl SourceBook {
    fn entry(&mut self, id: SourceId, name: &str, now: TimestampNs) -> &mut SourceStatus {
        let at = match self.known.iter().position(|(known, _)| *known == id) {
            Some(at) => at,
            None => {
                let state = SourceState::Starting { doing: "starting".into() };
                let (name, counters, figures) = (Arc::from(name), BTreeMap::new(), BTreeMap::new());
                self.known.push((id, SourceStatus { name, state, since: now, last_data: None, counters, figures }));
                self.known.len() - 1
            }
        };
        &mut self.known[at].1
    }

    /// Makes a source known.
    pub fn open(&mut self, id: SourceId, name: &str, now: TimestampNs) {
        self.entry(id, name, now);
    }

    /// Sets a state; answers whether the word changed (then it is worth a line in the log file).
    pub fn set(&mut self, id: SourceId, name: &str, state: SourceState, now: TimestampNs) -> bool {
        let known = self.entry(id, name, now);
        let changed = known.state.word() != state.word();
        if changed {
            known.since = now;
        }
        known.state = state;
        changed
    }

    /// Adds to a counter.
    pub fn count(&mut self, id: SourceId, name: &str, counter: &'static str, by: u64, now: TimestampNs) {
        *self.entry(id, name, now).counters.entry(counter).or_default() += by;
    }

    /// Sets a figure.
    pub fn figure(&mut self, id: SourceId, name: &str, figure: &'static str, value: u64, now: TimestampNs) {
        self.entry(id, name, now).figures.insert(figure, value);
    }

    /// All sources with when each last had data, and how many samples it brought.
    #[must_use]
    pub fn snapshot(&self, data: impl Fn(SourceId) -> (Option<TimestampNs>, u64)) -> Vec<SourceStatus> {
        let status = |(id, known): &(SourceId, SourceStatus)| {
            let mut known = known.clone();
            let (last_data, samples) = data(*id);
            known.last_data = last_data;
            known.counters.insert("samples", samples);
            known
        };
        self.known.iter().map(status).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_keeps_its_since_while_only_the_reason_changes() {
        let mut book = SourceBook::default();
        let id = SourceId(0);
        book.open(id, "press1", TimestampNs(1));
        assert!(book.set(id, "press1", SourceState::Down { reason: "no answer".into() }, TimestampNs(5)));
        assert!(!book.set(id, "press1", SourceState::Down { reason: "refused".into() }, TimestampNs(9)));
        book.count(id, "press1", "polls", 2, TimestampNs(9));
        book.count(id, "press1", "polls", 3, TimestampNs(9));
        book.figure(id, "press1", "depth", 4, TimestampNs(9));
        book.figure(id, "press1", "depth", 2, TimestampNs(9));
        let shown = book.snapshot(|_| (None, 7));
        assert_eq!(shown[0].figures["depth"], 2);
        assert_eq!((shown[0].since, shown[0].state.reason()), (TimestampNs(5), "refused"));
        assert_eq!((shown[0].counters["polls"], shown[0].counters["samples"]), (5, 7));
    }
}

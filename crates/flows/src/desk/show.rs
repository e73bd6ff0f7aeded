//! What is shown of the flows.

use super::Desk;
use crate::letters::{Letter, LetterPlace};
use crate::outlet::{Outlet, Pause};
use crate::spec::Pattern;
use delivery::BreakerState;
use model::TimestampNs;

/// Upper bounds of the buckets that latencies are shown in, ms; the last is unbounded.
pub const LATENCY_BOUNDS_MS: [f64; 13] =
    [1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 10e3, 30e3, 100e3, 300e3, 3600e3];

/// A flow as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowRow {
    /// Its name.
    pub name: String,
    /// Its pattern.
    pub pattern: Pattern,
    /// `running`, `paused`, `degraded` or `stopped`.
    pub state: &'static str,
    /// What happened and what to do; empty while it runs.
    pub reason: String,
    /// Since when it is so.
    pub since: TimestampNs,
    /// Its target in words.
    pub target: String,
    /// Deliveries a second, over the last minute.
    pub rate: f64,
    /// Half of its deliveries took at most this from publication, ms.
    pub p50_ms: Option<f64>,
    /// 99 % took at most this.
    pub p99_ms: Option<f64>,
    /// The longest.
    pub max_ms: Option<f64>,
    /// Messages that wait.
    pub backlog: u64,
    /// Deliveries under way.
    pub in_flight: u64,
    /// Deliveries that wait for another attempt.
    pub retrying: u64,
    /// Deliveries that may have taken effect.
    pub in_doubt: u64,
    /// When the oldest that waits was published.
    pub oldest: Option<TimestampNs>,
    /// Delivered since the start.
    pub delivered: u64,
    /// Attempts that failed since the start.
    pub attempts_failed: u64,
    /// Open dead letters.
    pub dead: u64,
    /// Expired since the start.
    pub expired: u64,
    /// Superseded since the start.
    pub superseded: u64,
    /// How the breaker is.
    pub breaker: BreakerState,
    /// What went wrong last.
    pub last_error: Option<(TimestampNs, String)>,
    /// When something last went well.
    pub last_success: Option<TimestampNs>,
    /// Who paused it.
    pub paused: Option<Pause>,
    /// Deliveries a second of the last minute, oldest first.
    pub spark: Vec<f64>,
}

impl Desk {
    /// Every flow.
    pub fn rows(&mut self, now: TimestampNs) -> Vec<FlowRow> {
        (0..self.outlets.len()).filter_map(|at| self.row(at, now)).collect()
    }

    /// One flow, by its place in the configuration.
    pub fn row(&mut self, at: usize, now: TimestampNs) -> Option<FlowRow> {
        let outlet = self.outlets.get_mut(at)?;
        let dead = self.letters.open_of(&outlet.spec.name) as u64;
        Some(row(outlet, dead, now))
    }

    /// Dead letters, newest first.
    pub fn letters(&self) -> impl Iterator<Item = &Letter> {
        self.letters.iter()
    }

    /// Dead letters behind a place, newest first; see [`Letters::behind`](crate::letters::Letters::behind).
    pub fn letters_behind(&self, place: Option<&LetterPlace>) -> impl Iterator<Item = (&LetterPlace, &Letter)> {
        self.letters.behind(place)
    }

    /// Where a dead letter stands in the list.
    #[must_use]
    pub fn letter_place(&self, id: &str) -> Option<LetterPlace> {
        self.letters.place_of(id)
    }

    /// One dead letter.
    #[must_use]
    pub fn letter(&self, id: &str) -> Option<&Letter> {
        self.letters.get(id)
    }

    /// The alarms.
    #[must_use]
    pub const fn alarms(&self) -> &crate::alarm_book::AlarmBook {
        &self.alarms
    }

    /// The batches.
    #[must_use]
    pub const fn batches(&self) -> &crate::runs::BatchBook {
        &self.batches
    }

    /// What is known of business documents.
    #[must_use]
    pub const fn records(&self) -> &crate::records::RecordBook {
        &self.records
    }

    /// The kinds of documents.
    #[must_use]
    pub fn entities(&self) -> &[crate::records::EntitySpec] {
        &self.entities
    }

    /// Where a message of a stream and id stands, if it is among those that duplicates are known by.
    #[must_use]
    pub fn find(&self, stream: &str, id: &str) -> Option<delivery::Offset> {
        self.ids.find(stream, id)
    }

    /// Where a message stands, by its id alone.
    #[must_use]
    pub fn find_message(&self, id: &str) -> Option<delivery::Offset> {
        let named = |kind: crate::message::MessageKind, name: &str| self.ids.find(&kind.stream(name), id);
        use crate::message::MessageKind::{Batch, Record, Tag};
        let entity = || self.entities.iter().find_map(|spec| named(Record, &spec.name));
        let batch = || self.outlets.iter().find_map(|outlet| named(Batch, &outlet.spec.name));
        let tag = || id.rsplit_once('#').and_then(|(path, _)| named(Tag, path));
        let event = || self.event_streams.iter().find_map(|stream| self.ids.find(stream, id));
        entity().or_else(batch).or_else(tag).or_else(event)
    }

    /// The highest offset that an event has.
    #[must_use]
    pub const fn last_event(&self) -> delivery::Offset {
        self.last_event
    }
}

fn row(outlet: &mut Outlet, dead: u64, now: TimestampNs) -> FlowRow {
    let (state, reason) = state(outlet, now);
    if outlet.since.0 != state {
        outlet.since = (state.to_owned(), now);
    }
    let counts = outlet.consumer.counts();
    FlowRow {
        name: outlet.spec.name.clone(),
        pattern: outlet.spec.pattern,
        state,
        reason,
        since: outlet.since.1,
        target: outlet.spec.target.clone(),
        rate: outlet.stats.rate(now),
        p50_ms: outlet.stats.quantile_ms(0.5),
        p99_ms: outlet.stats.quantile_ms(0.99),
        max_ms: outlet.stats.quantile_ms(1.0),
        backlog: outlet.backlog(),
        in_flight: counts.in_flight,
        retrying: counts.retrying,
        in_doubt: counts.in_doubt,
        oldest: outlet.consumer.oldest(),
        delivered: outlet.stats.delivered,
        attempts_failed: outlet.stats.attempts_failed,
        dead,
        expired: outlet.stats.expired,
        superseded: outlet.stats.superseded,
        breaker: outlet.consumer.breaker(),
        last_error: outlet.stats.last_error.clone(),
        last_success: outlet.stats.last_success,
        paused: outlet.paused().cloned(),
        spark: outlet.stats.spark(now),
    }
}

/// The state word of a flow and its reason.
fn state(outlet: &Outlet, now: TimestampNs) -> (&'static str, String) {
    if outlet.stopped {
        let reason = "there is no room for more dead letters; look at them, replay or discard some, and it goes on";
        return ("stopped", reason.to_owned());
    }
    if let Some(pause) = outlet.paused() {
        return ("paused", format!("paused by {}; what comes waits", pause.by));
    }
    let error = || outlet.stats.last_error.as_ref().map_or_else(String::new, |(_, what)| what.clone());
    match outlet.consumer.breaker() {
        BreakerState::Open { until } => {
            let seconds = (until.0.saturating_sub(now.0)).max(0) / 1_000_000_000 + 1;
            return ("degraded", format!("the target fails; it is tried again in {seconds} s. Last: {}", error()));
        }
        BreakerState::HalfOpen => {
            return ("degraded", format!("the target failed and is being tried. Last: {}", error()));
        }
        BreakerState::Closed => {}
    }
    let counts = outlet.consumer.counts();
    if outlet.consumer.is_stalled() {
        return (
            "degraded",
            "everything that may be held waits behind keys that fail; see its dead letters and deliveries".to_owned(),
        );
    }
    if counts.retrying + counts.in_doubt > 0 {
        return (
            "degraded",
            format!("{} deliveries wait for another attempt. Last: {}", counts.retrying.max(counts.in_doubt), error()),
        );
    }
    ("running", String::new())
}

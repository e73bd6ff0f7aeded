//! The flows' part: counters and latencies by flow, alarms by state, the journal.

use super::Text;
use crate::{
    business::{AlarmState, Breaker, FlowMeasure, FlowState, JournalMeasure, Measures},
    state::App,
};
use model::TimestampNs;
use std::time::Duration;

/// The flows' shard is waited for so long; the other metrics must not hang on it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks for the measures; `None` where they did not come.
pub(super) async fn measures(app: &App) -> Option<Measures> {
    match tokio::time::timeout(PATIENCE, app.flows.measures()).await {
        Ok(Ok(measures)) => Some(measures),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the metrics come without the flows");
            None
        }
        Err(_) => {
            tracing::warn!("the metrics come without the flows, which did not answer in time");
            None
        }
    }
}

pub(super) fn write(out: &mut Text, measures: Option<&Measures>, now: TimestampNs) {
    out.family("millstream_flows_answered", "gauge", "1 where the flows answered for this text.");
    out.sample("millstream_flows_answered", &[], f64::from(u8::from(measures.is_some())));
    let Some(measures) = measures else { return };
    states(out, &measures.flows);
    numbers(out, &measures.flows);
    ages(out, &measures.flows, now);
    latencies(out, &measures.flows);
    out.family("millstream_alarms", "gauge", "Alarms by state.");
    for state in AlarmState::ALL {
        let count: u64 = measures.alarms.iter().filter(|(other, _)| other == state).map(|(_, count)| count).sum();
        out.sample("millstream_alarms", &[("state", state.word())], count as f64);
    }
    journal(out, &measures.journal);
}

fn labels(measure: &FlowMeasure) -> [(&'static str, &str); 2] {
    [("flow", &measure.flow.name), ("pattern", measure.flow.pattern.word())]
}

fn states(out: &mut Text, flows: &[FlowMeasure]) {
    out.family("millstream_flow_state", "gauge", "1 for the state that a flow is in.");
    for measure in flows {
        for state in FlowState::ALL {
            let [flow, pattern] = labels(measure);
            let here = f64::from(u8::from(measure.flow.state == *state));
            out.sample("millstream_flow_state", &[flow, pattern, ("state", state.word())], here);
        }
    }
    out.family("millstream_flow_breaker", "gauge", "1 for the state that a flow's circuit breaker is in.");
    for (measure, breaker) in flows.iter().filter_map(|measure| Some((measure, measure.flow.breaker?))) {
        for state in Breaker::ALL {
            let [flow, pattern] = labels(measure);
            let here = f64::from(u8::from(breaker == *state));
            out.sample("millstream_flow_breaker", &[flow, pattern, ("state", state.word())], here);
        }
    }
}

/// A number of each flow: name, type, help, and how it is read.
type Family = (&'static str, &'static str, &'static str, fn(&FlowMeasure) -> u64);

const FAMILIES: [Family; 9] = [
    ("millstream_flow_delivered_total", "counter", "Deliveries that the target took.", |one| one.flow.delivered),
    ("millstream_flow_attempts_failed_total", "counter", "Tries that failed.", |one| one.flow.attempts_failed),
    ("millstream_flow_dead_letters_open", "gauge", "Dead letters that nobody has seen to.", |one| one.flow.dead),
    ("millstream_flow_expired_total", "counter", "Deliveries that expired.", |one| one.flow.expired),
    ("millstream_flow_superseded_total", "counter", "Deliveries that a newer one replaced.", |one| one.flow.superseded),
    ("millstream_flow_backlog", "gauge", "Deliveries that are not settled.", |one| one.flow.backlog),
    ("millstream_flow_in_flight", "gauge", "Deliveries that are being tried.", |one| one.flow.in_flight),
    ("millstream_flow_retrying", "gauge", "Deliveries that wait for another try.", |one| one.flow.retrying),
    ("millstream_flow_in_doubt", "gauge", "Deliveries that may have taken effect.", |one| one.flow.in_doubt),
];

fn numbers(out: &mut Text, flows: &[FlowMeasure]) {
    for (name, kind, help, read) in FAMILIES {
        out.family(name, kind, help);
        for measure in flows {
            out.sample(name, &labels(measure), read(measure) as f64);
        }
    }
}

fn ages(out: &mut Text, flows: &[FlowMeasure], now: TimestampNs) {
    const NAME: &str = "millstream_flow_oldest_age_seconds";
    out.family(NAME, "gauge", "Age of the oldest delivery that is not settled; 0 where none is.");
    for measure in flows {
        let age = measure.flow.oldest.map_or(0, |oldest| now.0.saturating_sub(oldest.0).max(0));
        out.sample(NAME, &labels(measure), age as f64 / 1e9);
    }
}

fn latencies(out: &mut Text, flows: &[FlowMeasure]) {
    const NAME: &str = "millstream_flow_delivery_seconds";
    out.family(NAME, "histogram", "Time from a message's publication to its delivery.");
    for measure in flows {
        let [flow, pattern] = labels(measure);
        let mut below = 0;
        for (upper_ms, count) in measure.latency.iter().filter_map(|bucket| Some((bucket.le_ms?, bucket.count))) {
            below += count;
            let le = (upper_ms / 1e3).to_string();
            out.sample(&format!("{NAME}_bucket"), &[flow, pattern, ("le", &le)], below as f64);
        }
        let all: u64 = measure.latency.iter().map(|bucket| bucket.count).sum();
        out.sample(&format!("{NAME}_bucket"), &[flow, pattern, ("le", "+Inf")], all as f64);
        out.sample(&format!("{NAME}_sum"), &[flow, pattern], measure.latency_sum_ms / 1e3);
        out.sample(&format!("{NAME}_count"), &[flow, pattern], all as f64);
    }
}

fn journal(out: &mut Text, journal: &JournalMeasure) {
    for (name, kind, help, value) in [
        ("millstream_journal_bytes", "gauge", "Bytes of the flows' journal on disk.", journal.bytes),
        ("millstream_journal_segments", "gauge", "Segment files of the flows' journal.", journal.segments),
        ("millstream_journal_first_offset", "counter", "The oldest offset that is kept.", journal.first),
        ("millstream_journal_next_offset", "counter", "The offset that the next entry gets.", journal.next),
        ("millstream_journal_settled_offset", "counter", "All before it is settled for every flow.", journal.settled),
    ] {
        out.family(name, kind, help);
        out.sample(name, &[], value as f64);
    }
}

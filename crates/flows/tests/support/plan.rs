//! What desks are told in tests.

use super::{MS, S};
use calendar::{Shift, ShiftCalendar, Zone};
use delivery::{BreakerPolicy, Policy};
use flows::Settings;
use flows::alarm_book::{AlarmBook, AlarmRule};
use flows::desk::Event;
use flows::records::EntitySpec;
use flows::runs::{BatchBook, BatchSpec, Schedule};
use flows::spec::{Begin, DefinitionText, FlowSpec, Pattern, Wanted};
use model::TimestampNs;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// A policy whose waits are short.
pub fn policy() -> Policy {
    Policy {
        attempts: 4,
        first_ns: 100 * MS,
        max_ns: 2 * S,
        timeout_ns: S,
        concurrency: 3,
        window: 32,
        rate_per_s: None,
        breaker: BreakerPolicy { failures: 4, open_ns: 500 * MS, open_max_ns: 4 * S },
        ..Policy::default()
    }
}

/// A flow that takes everything of a stream as it is.
pub fn flow(name: &str, pattern: Pattern, wanted: Wanted) -> FlowSpec {
    FlowSpec {
        name: name.to_owned(),
        pattern,
        wanted,
        begin: Begin::Now,
        definition: DefinitionText {
            method: "POST".to_owned(),
            address: format!("http://simulated/{name}"),
            ..DefinitionText::default()
        },
        success: None,
        probe: None,
        reconcile: None,
        policy: policy(),
        target: format!("POST http://simulated/{name}"),
    }
}

/// A subscriber to events of a type.
pub fn subscriber(name: &str, event: &str) -> FlowSpec {
    let mut flow = flow(name, Pattern::Event, Wanted::Stream(format!("event/{event}")));
    flow.definition.key = Some("event.source".to_owned());
    flow
}

/// A sync of a kind of document.
pub fn sync(name: &str, entity: &str) -> FlowSpec {
    flow(name, Pattern::Sync, Wanted::Stream(format!("record/{entity}")))
}

/// The flow of a batch.
pub fn batch_flow(name: &str) -> FlowSpec {
    flow(name, Pattern::Batch, Wanted::Stream(format!("batch/{name}")))
}

/// What a desk is told, with no rules and no batches.
pub fn settings(flows: Vec<FlowSpec>) -> Settings {
    Settings {
        flows,
        entities: vec![entity("receipt", None)],
        alarms: AlarmBook::new(HashMap::new()),
        batches: batches(Vec::new()),
        backlog_bytes: u64::MAX,
        seed: 7,
    }
}

/// A kind of document whose id is in `id`, its group in `line`, its time in `at`.
pub fn entity(name: &str, schema: Option<&Value>) -> EntitySpec {
    EntitySpec::new(name, "id", Some("line".to_owned()), Some("at".to_owned()), schema).expect("a schema")
}

/// Batches in Berlin, with a night, an early and a late shift.
pub fn batches(specs: Vec<BatchSpec>) -> BatchBook {
    let zone = Zone::new("Europe/Berlin").expect("a zone");
    let shift = |name: &str, start, end| Shift {
        name: name.to_owned(),
        start: (start, 0),
        end: (end, 0),
        days: [true; 7],
        except: Vec::new(),
    };
    let shifts = vec![shift("early", 6, 14), shift("late", 14, 22), shift("night", 22, 6)];
    let calendar = ShiftCalendar::new(zone.clone(), shifts).expect("shifts");
    BatchBook::new(zone, Some(calendar), specs)
}

/// A batch over receipts.
pub fn batch_spec(name: &str, schedule: Schedule, delay_ns: u64, correct_ns: u64) -> BatchSpec {
    BatchSpec {
        spec: batch::Spec {
            name: name.to_owned(),
            records: vec!["receipt".to_owned()],
            group_by: vec!["line".to_owned()],
            totals: vec!["q".to_owned()],
            format: batch::Format::Json,
            gzip: false,
        },
        schedule,
        delay_ns: delay_ns as i64,
        correct_ns: correct_ns as i64,
        figures: Vec::new(),
    }
}

/// A rule that publishes `event` when it becomes active.
pub fn rules(names: &[&str], event: &str) -> AlarmBook {
    let rule = |event: &str| AlarmRule {
        options: alarms::Options {
            severity: 700,
            latch: false,
            confirm: false,
            re_alarm_ns: None,
            event: Some(event.to_owned()),
        },
        message: None,
        limit: None,
    };
    AlarmBook::new(names.iter().map(|name| ((*name).to_owned(), rule(event))).collect())
}

/// An event.
pub fn event(kind: &str, id: &str, source: &str, time: TimestampNs, severity: Option<u16>, data: Value) -> Event {
    Event {
        id: id.to_owned(),
        source: source.to_owned(),
        kind: kind.to_owned(),
        subject: None,
        time,
        severity,
        message: None,
        extensions: Map::new(),
        data,
    }
}

/// A receipt.
pub fn receipt(id: &str, line: &str, quantity: u64, at: TimestampNs) -> Value {
    json!({ "id": id, "line": line, "q": quantity, "at": at.to_string() })
}

//! What the flows' crates say, in the shapes of the HTTP port.

use config::{BatchAt, Config};
use flows::desk::{FlowRow, LATENCY_BOUNDS_MS};
use flows::entry::{EntryKind, Stored};
use flows::letters::Letter;
use flows::message::Message;
use flows::outlet::Row;
use flows::runs::{Book, Run};
use flows::stats::FlowStats;
use flows::trail::AttemptLine;
use http::{
    Alarm, AlarmLine, AlarmState, Attempt, AuditLine, Batch, Breaker, DeadLetter, DeadState, Delivery, DeliveryState,
    Event, Flow, FlowState, LastError, LatencyBucket, MessageKind, Pattern, Period, Priority, Record, RunCause,
    SentRequest, ShelveKind, Shelved,
};
use model::TimestampNs;
use serde_json::{Map, Value, json};

/// A flow.
pub fn flow(row: FlowRow) -> Flow {
    Flow {
        name: row.name,
        pattern: Pattern::parse(row.pattern.word()).unwrap_or(Pattern::Event),
        state: FlowState::parse(row.state).unwrap_or(FlowState::Running),
        reason: row.reason,
        since: Some(row.since),
        target: row.target,
        rate: Some(row.rate),
        p50_ms: row.p50_ms,
        p99_ms: row.p99_ms,
        max_ms: row.max_ms,
        backlog: row.backlog,
        in_flight: row.in_flight,
        retrying: row.retrying,
        in_doubt: row.in_doubt,
        oldest: row.oldest,
        delivered: row.delivered,
        attempts_failed: row.attempts_failed,
        dead: row.dead,
        expired: row.expired,
        superseded: row.superseded,
        breaker: Breaker::parse(row.breaker.word()),
        last_error: row.last_error.map(|(time, text)| LastError { time, text }),
        last_success: row.last_success,
        paused_by: row.paused.map(|pause| pause.by),
        spark: row.spark,
    }
}

/// A latency histogram.
pub fn latency(stats: &FlowStats) -> Vec<LatencyBucket> {
    let bounds = LATENCY_BOUNDS_MS.iter().copied().map(Some).chain([None]);
    bounds.zip(stats.buckets(&LATENCY_BOUNDS_MS)).map(|(le_ms, count)| LatencyBucket { le_ms, count }).collect()
}

fn attempt(line: &AttemptLine) -> Attempt {
    let outcome = line.status.map_or_else(|| line.outcome.clone(), |status| format!("{} {status}", line.outcome));
    Attempt {
        number: line.number,
        at: TimestampNs(line.at_ns),
        took_ms: Some(line.took_ms),
        outcome: outcome.into(),
        answer: Some(line.answer.clone()).filter(|answer| !answer.is_empty()),
        error: line.error.clone(),
        sent: line.sent.clone(),
        probe: line.probe,
    }
}

/// A delivery.
pub fn delivery(flow: &str, row: &Row) -> Delivery {
    Delivery {
        id: row.id.clone(),
        flow: flow.to_owned(),
        message: row.message.clone(),
        offset: row.offset,
        stream: row.stream.clone(),
        key: Some(row.key.clone()),
        state: DeliveryState::parse(&row.state).unwrap_or(DeliveryState::Waiting),
        created: TimestampNs(row.created_ns),
        updated: TimestampNs(row.updated_ns),
        next_attempt: row.next_ns.map(TimestampNs),
        idempotency_key: row.idempotency_key.clone(),
        attempts: row.attempts.iter().map(attempt).collect(),
    }
}

/// JSON where a text is JSON, else the text.
fn as_json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}

/// A dead letter.
pub fn letter(letter: &Letter) -> DeadLetter {
    DeadLetter {
        id: letter.id.clone(),
        flow: letter.flow.clone(),
        message: letter.message.clone(),
        offset: letter.offset,
        stream: letter.stream.clone(),
        key: Some(letter.key.clone()),
        time: TimestampNs(letter.time_ns),
        reason: letter.reason.clone(),
        request: letter.request.as_ref().map(|request| SentRequest {
            method: request.method.clone(),
            url: request.url.clone(),
            content_type: request.content_type.clone(),
            body: as_json(&request.body),
        }),
        message_body: letter.message_body.clone(),
        attempts: letter.attempts.iter().map(attempt).collect(),
        expression: letter.expression.clone(),
        input: letter.input.as_deref().map(as_json),
        state: DeadState::parse(letter.state.word()).unwrap_or(DeadState::Open),
        replays: letter.replays.clone(),
        by: letter.by.clone(),
    }
}

/// An alarm.
pub fn alarm(alarm: &alarms::Alarm) -> Alarm {
    let shelved = alarm.shelved().map(|shelved| Shelved {
        kind: if shelved.one_shot { ShelveKind::OneShot } else { ShelveKind::Timed },
        until: Some(shelved.until),
        by: shelved.by.clone(),
    });
    Alarm {
        id: alarm.id().to_owned(),
        rule: alarm.rule().to_owned(),
        tag: alarm.tag().to_owned(),
        event: alarm.event().unwrap_or_default().to_owned(),
        severity: alarm.severity(),
        priority: priority(alarm.priority()),
        state: alarm_state(alarm.state().word()),
        active: alarm.is_active(),
        acknowledged: alarm.is_acknowledged(),
        confirmed: alarm.is_confirmed(),
        latched: alarm.is_latched(),
        shelved,
        suppressed: alarm.is_suppressed(),
        out_of_service: alarm.is_out_of_service(),
        value: alarm.value().cloned().unwrap_or(Value::Null),
        message: alarm.message().to_owned(),
        since: alarm.since(),
        cleared: alarm.cleared(),
        count: alarm.count(),
        last_change: alarm.last_change(),
        by: alarm.by().map(str::to_owned),
        comment: alarm.comment().map(str::to_owned),
    }
}

/// A priority as it is shown.
pub fn priority(priority: alarms::Priority) -> Priority {
    Priority::parse(priority.word()).unwrap_or(Priority::Low)
}

/// A state as it is shown, by its word.
pub fn alarm_state(word: &str) -> AlarmState {
    AlarmState::parse(word).unwrap_or(AlarmState::Normal)
}

/// A line of the alarm journal.
pub fn alarm_line(stored: &Stored<'_>) -> Option<AlarmLine> {
    if stored.kind != EntryKind::Alarm {
        return None;
    }
    let body = stored.json();
    let alarm: alarms::Alarm = serde_json::from_value(body.get("alarm")?.clone()).ok()?;
    let transition: alarms::Transition = serde_json::from_value(body.get("transition")?.clone()).ok()?;
    Some(AlarmLine {
        time: transition.at,
        offset: stored.offset.0,
        id: alarm.id().to_owned(),
        rule: alarm.rule().to_owned(),
        tag: alarm.tag().to_owned(),
        what: transition.what.word().into(),
        state: alarm_state(transition.to.word()),
        value: alarm.value().cloned().unwrap_or(Value::Null),
        by: transition.by,
        comment: transition.comment,
    })
}

/// A line of the audit.
pub fn audit_line(stored: &Stored<'_>) -> Option<AuditLine> {
    if stored.kind != EntryKind::Audit {
        return None;
    }
    let line: flows::desk::AuditLine = stored.read()?;
    let is_flow = line.what.ends_with("flow") || line.what.starts_with("request") || line.what == "run batch";
    let outcome = match line.comment {
        Some(comment) if !comment.is_empty() => format!("{} ({comment})", line.outcome),
        _ => line.outcome,
    };
    Some(AuditLine {
        time: TimestampNs(line.time_ns),
        who: line.who,
        what: line.what.into(),
        flow: is_flow.then(|| line.target.clone()),
        target: (!is_flow).then_some(line.target),
        before: line.before,
        after: line.after,
        outcome,
    })
}

/// Attributes of an event that have a place of their own.
const ATTRIBUTES: [&str; 8] = ["id", "source", "type", "subject", "time", "severity", "data", "message"];

/// An event.
pub fn event(message: &Message) -> Event {
    let text = |name: &str| message.body.get(name).and_then(Value::as_str).map(str::to_owned);
    let mut extensions: Map<String, Value> = message.body.as_object().cloned().unwrap_or_default();
    ATTRIBUTES.iter().for_each(|name| drop(extensions.remove(*name)));
    if let Some(text) = text("message") {
        extensions.insert("message".to_owned(), Value::from(text));
    }
    let severity = message.body.get("severity").and_then(Value::as_u64);
    Event {
        specversion: "1.0",
        id: text("id").unwrap_or_default(),
        source: text("source").unwrap_or_default(),
        kind: message.name().to_owned(),
        subject: text("subject"),
        time: message.time,
        datacontenttype: "application/json",
        offset: message.offset.0,
        severity: severity.and_then(|severity| u16::try_from(severity).ok()),
        extensions,
        data: message.body.get("data").cloned().unwrap_or(Value::Null),
    }
}

/// A version of a record.
pub fn record(message: &Message) -> Record {
    let text = |name: &str| message.body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    Record {
        entity: text("entity"),
        id: text("id"),
        version: message.body.get("version").and_then(Value::as_u64).unwrap_or(1),
        time: message.time,
        offset: message.offset.0,
        key: key_text(message.body.get("key")),
        body: message.object().clone(),
    }
}

/// A key as text; `None` where there is none.
pub fn key_text(key: Option<&Value>) -> Option<String> {
    match key {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    }
}

/// A message, for its trace.
pub fn message(message: &Message) -> http::Message {
    let body = &message.body;
    let source = ["source", "entity", "tag", "batch"].iter().find_map(|name| body.get(*name).and_then(Value::as_str));
    http::Message {
        id: message.id.clone(),
        offset: message.offset.0,
        stream: message.stream.clone(),
        kind: MessageKind::parse(message.kind().word()).unwrap_or(MessageKind::Event),
        key: key_text(body.get("key")),
        time: message.time,
        source: source.unwrap_or_default().to_owned(),
        body: body.clone(),
    }
}

/// A run, with where its delivery stands.
pub fn run(run: &Run, state_of: &dyn Fn(&str) -> DeliveryState) -> http::Run {
    let delivery = (run.offset > 0).then(|| format!("{}@{}", run.batch, run.offset));
    let state = delivery.as_deref().map(state_of);
    let totals = match json!(run.totals) {
        Value::Object(totals) => totals,
        _ => Map::new(),
    };
    http::Run {
        id: run.id.clone(),
        batch: run.batch.clone(),
        period: Period { from: TimestampNs(run.from_ns), to: TimestampNs(run.to_ns), label: run.label.clone() },
        cause: RunCause::parse(run.cause.word()).unwrap_or(RunCause::Schedule),
        correction_of: run.correction_of.clone(),
        sequence: run.sequence,
        created: TimestampNs(run.created_ns),
        rows: run.totals.as_ref().map_or(0, |totals| totals.rows),
        totals,
        bytes: run.bytes,
        sha256: run.sha256.clone(),
        delivery,
        state,
        reconciliation: json!(run.reconciliation),
    }
}

/// A batch with its newest runs.
pub fn batch(config: &Config, book: &Book, next: Option<TimestampNs>, state: FlowState, runs: Vec<http::Run>) -> Batch {
    let spec = &book.spec.spec;
    let told = config.batches.iter().find(|batch| batch.name == spec.name);
    Batch {
        name: spec.name.clone(),
        at: told.map_or_else(String::new, |told| match &told.at {
            BatchAt::ShiftEnd => "shift-end".to_owned(),
            BatchAt::Manual => "manual".to_owned(),
            BatchAt::Cron(text) => text.clone(),
        }),
        next,
        records: spec.records.clone(),
        rollups: book.spec.figures.iter().map(|f| json!({ "match": f.match_, "aggregate": f.aggregate })).collect(),
        format: if spec.format == batch::Format::Json { "json".to_owned() } else { "csv".to_owned() },
        target: told.map_or_else(String::new, |told| flows::configure::describe(&told.to)),
        state,
        runs,
    }
}

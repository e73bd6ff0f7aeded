//! What the fake flows begin with: a plant on an ordinary bad day.

use super::SECOND;
use millstream_http::*;
use model::TimestampNs;
use serde_json::{Map, Value as Json, json};

pub const PRESS_FAULT: &str = "press-faults/riverside/press/line1/press1/fault";
pub const OVERHEATS: &str = "press-overheats/riverside/press/line1/press2/temperature";
pub const DEAD: &str = "goods-receipt-to-erp@103";
pub const DEAD_AGAIN: &str = "goods-receipt-to-erp@97.1";

fn ago(now: TimestampNs, seconds: i64) -> TimestampNs {
    now.plus_ns(-seconds * SECOND)
}

fn flow(name: &str, pattern: Pattern, target: &str, now: TimestampNs) -> Flow {
    let f = name.len() as f64;
    Flow {
        name: name.to_owned(),
        pattern,
        state: FlowState::Running,
        reason: String::new(),
        since: Some(ago(now, 7_200)),
        target: target.to_owned(),
        rate: Some(0.5 + f / 10.0),
        p50_ms: Some(4.0 + f),
        p99_ms: Some(30.0 + f),
        max_ms: Some(180.0 + f),
        backlog: 0,
        in_flight: 0,
        retrying: 0,
        in_doubt: 0,
        oldest: None,
        delivered: 1_200 + name.len() as u64,
        attempts_failed: 3,
        dead: 0,
        expired: 0,
        superseded: 0,
        breaker: Some(Breaker::Closed),
        last_error: None,
        last_success: Some(ago(now, 3)),
        paused_by: None,
        spark: (0..30).map(|n| 0.5 + f / 10.0 + f64::from(n % 5) / 10.0).collect(),
    }
}

pub fn flows(now: TimestampNs) -> Vec<Flow> {
    let mut flows = vec![
        flow("material-availability", Pattern::Request, "GET http://127.0.0.1:9102/stock/{material}", now),
        flow("oven-setpoint", Pattern::Request, "oven: setpoint", now),
        flow("cmms-ticket", Pattern::Event, "POST http://127.0.0.1:9104/tickets", now),
        flow("erp-replan", Pattern::Event, "POST http://127.0.0.1:9101/plan/changes", now),
        flow("portal-delay", Pattern::Event, "POST http://127.0.0.1:9105/delays", now),
        flow("goods-receipt-to-erp", Pattern::Sync, "POST http://127.0.0.1:9101/stock/receipts", now),
        flow("oven-state-to-mes", Pattern::Sync, "PUT http://127.0.0.1:9103/machines/oven", now),
        flow("shift-report", Pattern::Batch, "POST http://127.0.0.1:9101/batches", now),
    ];
    let cmms = &mut flows[2];
    cmms.state = FlowState::Degraded;
    cmms.reason = "the breaker is open: 127.0.0.1:9104 refuses connections; 42 deliveries wait".to_owned();
    cmms.breaker = Some(Breaker::Open);
    (cmms.backlog, cmms.retrying, cmms.attempts_failed) = (42, 1, 17);
    cmms.oldest = Some(ago(now, 600));
    cmms.last_error = Some(LastError { time: ago(now, 5), text: "connection refused".to_owned() });
    let sync = &mut flows[5];
    (sync.dead, sync.expired) = (1, 1);
    sync.last_error = Some(LastError { time: ago(now, 900), text: "422: material M-9 is unknown".to_owned() });
    flows[6].superseded = 8;
    flows
}

pub fn attempt(number: u32, at: TimestampNs, outcome: &'static str, answer: &str) -> Attempt {
    let good = outcome == "delivered";
    Attempt {
        number,
        at,
        took_ms: Some(12.5),
        outcome: outcome.into(),
        answer: Some(answer.to_owned()),
        error: (!good).then(|| format!("the ERP answered {outcome}")),
        sent: "POST http://127.0.0.1:9101/stock/receipts".to_owned(),
        probe: false,
    }
}

pub fn delivery(flow: &str, message: &str, offset: u64, state: DeliveryState, at: TimestampNs) -> Delivery {
    let attempts = match state {
        DeliveryState::Delivered => vec![attempt(1, at, "delivered", "{\"ok\":true}")],
        DeliveryState::Retrying => vec![attempt(1, at, "503", "down")],
        _ => Vec::new(),
    };
    Delivery {
        id: format!("{flow}@{offset}"),
        flow: flow.to_owned(),
        message: message.to_owned(),
        offset,
        stream: message.split('/').next().unwrap_or("").to_owned(),
        key: Some(format!("M-100{}", offset % 3)),
        state,
        created: at,
        updated: at,
        next_attempt: (state == DeliveryState::Retrying).then(|| at.plus_ns(4 * SECOND)),
        idempotency_key: format!("{flow}:{message}"),
        attempts,
    }
}

pub fn deliveries(now: TimestampNs) -> Vec<Delivery> {
    let mut all: Vec<Delivery> = (104..=123)
        .map(|offset| {
            let at = ago(now, 130 - offset as i64);
            let message = format!("goods-receipt/GR-{offset}/1");
            delivery("goods-receipt-to-erp", &message, offset, DeliveryState::Delivered, at)
        })
        .collect();
    let fault = "riverside/press/line1/press1/1";
    all.push(delivery("cmms-ticket", fault, 124, DeliveryState::Retrying, ago(now, 600)));
    all.push(delivery("erp-replan", fault, 124, DeliveryState::Delivered, ago(now, 600)));
    all
}

fn letter(id: &str, offset: u64, material: &str, reason: &str, at: TimestampNs) -> DeadLetter {
    let body = json!({ "receipt_id": format!("GR-{offset}"), "material": material, "quantity": 5 });
    DeadLetter {
        id: id.to_owned(),
        flow: "goods-receipt-to-erp".to_owned(),
        message: format!("goods-receipt/GR-{offset}/1"),
        offset,
        stream: "goods-receipt".to_owned(),
        key: Some(material.to_owned()),
        time: at,
        reason: reason.to_owned(),
        request: Some(SentRequest {
            method: "POST".to_owned(),
            url: "http://127.0.0.1:9101/stock/receipts".to_owned(),
            content_type: "application/json".to_owned(),
            body: json!({ "material": material, "quantity": 5, "receipt": format!("GR-{offset}") }),
        }),
        message_body: body,
        attempts: vec![attempt(1, at, "422", "{\"error\":\"material is unknown\"}")],
        expression: None,
        input: None,
        state: DeadState::Open,
        replays: Vec::new(),
        by: None,
    }
}

pub fn dead_letters(now: TimestampNs) -> Vec<DeadLetter> {
    vec![letter(DEAD, 103, "M-9", "rejected", ago(now, 900)), letter(DEAD_AGAIN, 97, "M-8", "expired", ago(now, 5_000))]
}

pub fn run(batch: &str, sequence: u64, from: TimestampNs, to: TimestampNs, cause: RunCause, now: TimestampNs) -> Run {
    let mut totals = Map::new();
    totals.insert("quantity".to_owned(), json!(4_711.5));
    Run {
        id: format!("{batch}/{sequence}"),
        batch: batch.to_owned(),
        period: Period { from, to, label: format!("run {sequence}") },
        cause,
        correction_of: None,
        sequence,
        created: now,
        rows: 128,
        totals,
        bytes: 9_004,
        sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
        delivery: Some(format!("{batch}@{}", 90 + sequence)),
        state: Some(DeliveryState::Delivered),
        reconciliation: json!({ "agree": true, "differences": [] }),
    }
}

pub fn batches(now: TimestampNs) -> Vec<Batch> {
    let shift = 8 * 3_600;
    let runs = (1..=3)
        .rev()
        .map(|n| {
            let to = ago(now, shift * (4 - n as i64));
            run("shift-report", n, to.plus_ns(-shift * SECOND), to, RunCause::Schedule, to)
        })
        .collect();
    vec![Batch {
        name: "shift-report".to_owned(),
        at: "shift-end".to_owned(),
        next: Some(now.plus_ns(3_600 * SECOND)),
        records: ["labour", "consumption", "yield"].map(str::to_owned).to_vec(),
        rollups: vec![json!({ "match": "riverside/utilities/energy/*/energy", "aggregate": "delta" })],
        format: "csv".to_owned(),
        target: "POST http://127.0.0.1:9101/batches".to_owned(),
        state: FlowState::Running,
        runs,
    }]
}

fn alarm(id: &str, severity: u16, priority: Priority, state: AlarmState, value: Json, now: TimestampNs) -> Alarm {
    let (rule, tag) = id.split_once('/').expect("rule/tag");
    Alarm {
        id: id.to_owned(),
        rule: rule.to_owned(),
        tag: tag.to_owned(),
        event: "machine-fault".to_owned(),
        severity,
        priority,
        state,
        active: matches!(state, AlarmState::Unacknowledged | AlarmState::Acknowledged),
        acknowledged: !matches!(state, AlarmState::Unacknowledged | AlarmState::ClearedUnacknowledged),
        confirmed: false,
        latched: false,
        shelved: None,
        suppressed: false,
        out_of_service: false,
        value,
        message: format!("{rule} at {tag}"),
        since: Some(ago(now, 600)),
        cleared: None,
        count: 3,
        last_change: ago(now, 600),
        by: None,
        comment: None,
    }
}

pub fn alarms(now: TimestampNs) -> Vec<Alarm> {
    let silent = "device-silent/riverside/press/line1/press3/temperature";
    let energy = "device-silent/riverside/utilities/energy/meter7/power";
    vec![
        alarm(PRESS_FAULT, 900, Priority::Critical, AlarmState::Unacknowledged, json!(true), now),
        alarm(OVERHEATS, 700, Priority::High, AlarmState::Acknowledged, json!(184.2), now),
        alarm(silent, 500, Priority::Medium, AlarmState::ClearedUnacknowledged, json!(160.0), now),
        alarm(energy, 500, Priority::Medium, AlarmState::Normal, json!(41.0), now),
    ]
}

pub fn event(offset: u64, id: &str, kind: &str, now: TimestampNs) -> Event {
    Event {
        specversion: "1.0",
        id: id.to_owned(),
        source: "riverside/press/line1/press1".to_owned(),
        kind: kind.to_owned(),
        subject: None,
        time: now,
        datacontenttype: "application/json",
        offset,
        severity: Some(900),
        extensions: Map::new(),
        data: json!({ "tag": "riverside/press/line1/press1/fault", "value": true }),
    }
}

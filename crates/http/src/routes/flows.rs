//! The calls of the flows: deliveries, dead letters, alarms, events, requests, records, batches.

use super::{Answer, LIMIT, MATCH, Parameter, Payload, Route, header, in_path, optional};
use crate::{alarms, batches, deliveries, events, flows, records, requests};
use axum::routing::{get, post};

const FLOW_NAME: Parameter = in_path("name", "The flow's name", "goods-receipt-to-erp");
const OF_FLOW: Parameter = optional("flow", "Of this flow", "goods-receipt-to-erp");
const KEY: Parameter = optional("key", "With this key", "M-1001");
const AFTER: Parameter = optional("after", "Go on behind this place: `after` of the Link header before", "1");
const FROM_TIME: Parameter = optional("from", "From this time on; RFC 3339, relative or ns", "-24h");
const TO_TIME: Parameter = optional("to", "Until just before this time", "now");
const IDEMPOTENCY_KEY: Parameter =
    header("Idempotency-Key", "Makes a repetition recognisable", "8e03978e-40d5-43dd-bc93-6894a57f9324");
const DEAD_ID: Parameter = in_path("id", "`flow@offset`, or `flow@offset.replay`", "goods-receipt-to-erp@103");
const ENTITY: Parameter = in_path("entity", "What the documents are", "goods-receipt");
/// Who acts and why, where a body may say it.
const ACTOR: Option<Payload> = Some(Payload {
    types: &[("application/json", "Actor")],
    example: r#"{"by":"M. Jansen","comment":"line 1 is down"}"#,
    required: false,
});

pub(crate) static FLOWS: Route = Route {
    method: "get",
    path: "/v1/flows",
    summary: "Every flow with its state, rate, latency, backlog and last error; telemetry's sources first",
    parameters: &[],
    body: None,
    answer: Answer::List("Flow"),
    handler: || get(flows::flows),
};

pub(crate) static FLOW: Route = Route {
    method: "get",
    path: "/v1/flows/{name}",
    summary: "One flow with its definition, latencies and newest deliveries",
    parameters: &[FLOW_NAME],
    body: None,
    answer: Answer::Json("FlowDetail"),
    handler: || get(flows::flow),
};

pub(crate) static FLOW_PAUSE: Route = Route {
    method: "post",
    path: "/v1/flows/{name}/pause",
    summary: "Stops a flow's deliveries; what comes waits",
    parameters: &[FLOW_NAME],
    body: ACTOR,
    answer: Answer::Json("Flow"),
    handler: || post(flows::pause),
};

pub(crate) static FLOW_RESUME: Route = Route {
    method: "post",
    path: "/v1/flows/{name}/resume",
    summary: "Lets a flow go on",
    parameters: &[FLOW_NAME],
    body: ACTOR,
    answer: Answer::Json("Flow"),
    handler: || post(flows::resume),
};

pub(crate) static DELIVERIES: Route = Route {
    method: "get",
    path: "/v1/deliveries",
    summary: "Deliveries with their tries and the other side's answers, newest first",
    parameters: &[
        OF_FLOW,
        optional(
            "state",
            "In one of these states (parted by commas): waiting, in-flight, retrying, in-doubt, delivered, dead, expired, superseded, skipped",
            "delivered",
        ),
        KEY,
        optional("message", "Of the message with this id", "riverside/press/line1/press1/1"),
        LIMIT,
        AFTER,
    ],
    body: None,
    answer: Answer::List("Delivery"),
    handler: || get(deliveries::deliveries),
};

pub(crate) static DEAD_LETTERS: Route = Route {
    method: "get",
    path: "/v1/dead-letters",
    summary: "Deliveries that were given up, newest first",
    parameters: &[OF_FLOW, optional("state", "open, replayed or discarded", "open"), LIMIT, AFTER],
    body: None,
    answer: Answer::List("DeadLetter"),
    handler: || get(deliveries::dead_letters),
};

pub(crate) static DEAD_LETTERS_REPLAY: Route = Route {
    method: "post",
    path: "/v1/dead-letters/replay",
    summary: "Delivers all open dead letters again that fit; at least one filter is given",
    parameters: &[OF_FLOW, optional("reason", "With this reason", "rejected"), KEY],
    body: ACTOR,
    answer: Answer::Json("Replayed"),
    handler: || post(deliveries::replay_all),
};

pub(crate) static DEAD_LETTER: Route = Route {
    method: "get",
    path: "/v1/dead-letters/{id}",
    summary: "One dead letter: what was sent, and what came back",
    parameters: &[DEAD_ID],
    body: None,
    answer: Answer::Json("DeadLetter"),
    handler: || get(deliveries::dead_letter),
};

pub(crate) static DEAD_LETTER_REPLAY: Route = Route {
    method: "post",
    path: "/v1/dead-letters/{id}/replay",
    summary: "Delivers a dead letter again, with the present configuration or with a corrected body",
    parameters: &[DEAD_ID],
    body: Some(Payload {
        types: &[("application/json", "Replay")],
        example: r#"{"body":{"material":"M-1001","quantity":5},"by":"M. Jansen"}"#,
        required: false,
    }),
    answer: Answer::Json("DeadLetter"),
    handler: || post(deliveries::replay),
};

pub(crate) static DEAD_LETTER_DISCARD: Route = Route {
    method: "post",
    path: "/v1/dead-letters/{id}/discard",
    summary: "Puts a dead letter away; it is kept, and never delivered",
    parameters: &[DEAD_ID],
    body: ACTOR,
    answer: Answer::Json("DeadLetter"),
    handler: || post(deliveries::discard),
};

pub(crate) static TRACE: Route = Route {
    method: "get",
    path: "/v1/trace/{*id}",
    summary: "One message from its arrival to every delivery",
    parameters: &[in_path("id", "The message's id; may hold slashes", "goods-receipt/GR-1#1")],
    body: None,
    answer: Answer::Json("Trace"),
    handler: || get(deliveries::trace),
};

pub(crate) static BATCHES: Route = Route {
    method: "get",
    path: "/v1/batches",
    summary: "Every batch with its latest runs and their control totals",
    parameters: &[],
    body: None,
    answer: Answer::List("Batch"),
    handler: || get(batches::batches),
};

pub(crate) static BATCH_RUN: Route = Route {
    method: "post",
    path: "/v1/batches/{name}/run",
    summary: "Runs a batch now: over the time that is given, or its last whole period",
    parameters: &[in_path("name", "The batch's name", "shift-report")],
    body: Some(Payload {
        types: &[("application/json", "RunBatch")],
        example: r#"{"from":"2026-01-31T05:00:00Z","to":"2026-01-31T13:00:00Z","by":"M. Jansen"}"#,
        required: false,
    }),
    answer: Answer::Accepted("Run"),
    handler: || post(batches::run),
};

pub(crate) static ALARMS: Route = Route {
    method: "get",
    path: "/v1/alarms",
    summary: "Alarms, the most urgent first",
    parameters: &[
        optional(
            "state",
            "In one of these states (parted by commas): unacknowledged, acknowledged, cleared-unacknowledged, normal, shelved, suppressed, out-of-service",
            "unacknowledged",
        ),
        MATCH,
        LIMIT,
    ],
    body: None,
    answer: Answer::List("Alarm"),
    handler: || get(alarms::alarms),
};

pub(crate) static ALARM_JOURNAL: Route = Route {
    method: "get",
    path: "/v1/alarms/journal",
    summary: "What happened to alarms, newest first",
    parameters: &[
        optional("id", "Of this alarm", "press-faults/riverside/press/line1/press1/fault"),
        FROM_TIME,
        TO_TIME,
        LIMIT,
    ],
    body: None,
    answer: Answer::List("AlarmLine"),
    handler: || get(alarms::journal),
};

pub(crate) static ALARM_ACTION: Route = Route {
    method: "post",
    path: "/v1/alarms/{id}/{action}",
    summary: "What an operator does to an alarm (ISA-18.2); the id's slashes are percent-encoded",
    parameters: &[
        in_path("id", "`rule/tag path`, percent-encoded", "press-faults/riverside/press/line1/press1/fault"),
        in_path(
            "action",
            "ack, confirm, shelve, unshelve, suppress, unsuppress, out-of-service, in-service or reset",
            "shelve",
        ),
    ],
    body: Some(Payload {
        types: &[("application/json", "AlarmAction")],
        example: r#"{"by":"M. Jansen","comment":"sensor is being replaced","for":"15m"}"#,
        required: false,
    }),
    answer: Answer::Json("Alarm"),
    handler: || post(alarms::act),
};

pub(crate) static EVENTS: Route = Route {
    method: "get",
    path: "/v1/events",
    summary: "Events by offset; with `Accept: text/event-stream` live, each with its offset as id",
    parameters: &[
        optional("from", "earliest, now, or an offset; earliest where nothing is said, now for a stream", "earliest"),
        LIMIT,
        optional("type", "Of this type", "machine-fault"),
        header("Last-Event-ID", "For a stream: go on behind this offset", "1"),
    ],
    body: None,
    answer: Answer::Events("Events"),
    handler: || get(events::read),
};

pub(crate) static EVENTS_PUBLISH: Route = Route {
    method: "post",
    path: "/v1/events",
    summary: "Publishes events: one, an array, or CloudEvents (structured, batched, or binary with ce- headers); once in effect by source and id",
    parameters: &[IDEMPOTENCY_KEY],
    body: Some(Payload {
        types: &[
            ("application/json", "NewEvents"),
            ("application/cloudevents+json", "NewEvent"),
            ("application/cloudevents-batch+json", "NewEventList"),
        ],
        example: r#"[{"id":"b-1","source":"mes/line1","type":"order-late","subject":"WO-7","severity":300,"data":{"minutes":12}}]"#,
        required: true,
    }),
    answer: Answer::AcceptedList("Published"),
    handler: || post(events::publish),
};

pub(crate) static REQUEST: Route = Route {
    method: "post",
    path: "/v1/requests/{name}",
    summary: "Asks a system, or reads or writes a device; failures name the system at fault",
    parameters: &[
        in_path("name", "The request's name", "material-availability"),
        header("Prefer", "wait=SECONDS: how long the caller waits", "wait=2"),
        IDEMPOTENCY_KEY,
    ],
    body: Some(Payload {
        types: &[("application/json", "Anything")],
        example: r#"{"material":"M-1001","quantity":5}"#,
        required: false,
    }),
    answer: Answer::Json("Anything"),
    handler: || post(requests::request),
};

pub(crate) static RECORDS: Route = Route {
    method: "get",
    path: "/v1/records/{entity}",
    summary: "Business documents, in the order in which they came",
    parameters: &[
        ENTITY,
        optional("id", "With this id", "GR-1"),
        KEY,
        FROM_TIME,
        TO_TIME,
        optional("version", "latest (default) or all", "all"),
        LIMIT,
        AFTER,
    ],
    body: None,
    answer: Answer::List("Record"),
    handler: || get(records::read),
};

pub(crate) static RECORDS_WRITE: Route = Route {
    method: "post",
    path: "/v1/records/{entity}",
    summary: "Business documents in: one, an array, or NDJSON; all or none; answered once all of them are on disk",
    parameters: &[ENTITY, IDEMPOTENCY_KEY],
    body: Some(Payload {
        types: &[("application/json", "Documents"), ("application/x-ndjson", "Document")],
        example: r#"{"receipt_id":"GR-7","material":"M-1001","quantity":5}"#,
        required: true,
    }),
    answer: Answer::Written("Written"),
    handler: || post(records::write),
};

pub(crate) static AUDIT: Route = Route {
    method: "get",
    path: "/v1/audit",
    summary: "Who did what, newest first",
    parameters: &[FROM_TIME, TO_TIME, LIMIT],
    body: None,
    answer: Answer::List("AuditLine"),
    handler: || get(batches::audit),
};

pub(crate) static DEMO: Route = Route {
    method: "post",
    path: "/v1/demo/{system}",
    summary: "Breaks or mends a business system of the demo's plant; 404 where this is no demo",
    parameters: &[in_path("system", "erp, wms, mes, cmms or portal", "wms")],
    body: Some(Payload { types: &[("application/json", "Document")], example: r#"{"mode":"down"}"#, required: true }),
    answer: Answer::Json("Document"),
    handler: || post(requests::demo),
};

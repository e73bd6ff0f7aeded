//! Schemas of the flows, one line a member.
//!
//! A member's kind is a word: `text`, `time`, `number`, `integer`, `bool`, `any`, the name of a
//! schema, or a list of either (`[text]`); with `?` behind it, it may be `null`.

use serde_json::{Map, Value, json};

/// Name of a schema and its members.
type Shape = (&'static str, &'static [(&'static str, &'static str)]);

const SHAPES: &[Shape] = &[
    (
        "Flow",
        &[
            ("name", "text"),
            ("pattern", "Pattern"),
            ("state", "FlowState"),
            ("reason", "text"),
            ("since", "time?"),
            ("target", "text"),
            ("rate", "number?"),
            ("p50_ms", "number?"),
            ("p99_ms", "number?"),
            ("max_ms", "number?"),
            ("backlog", "integer"),
            ("in_flight", "integer"),
            ("retrying", "integer"),
            ("in_doubt", "integer"),
            ("oldest", "time?"),
            ("delivered", "integer"),
            ("attempts_failed", "integer"),
            ("dead", "integer"),
            ("expired", "integer"),
            ("superseded", "integer"),
            ("breaker", "Breaker?"),
            ("last_error", "LastError?"),
            ("last_success", "time?"),
            ("paused_by", "text?"),
            ("spark", "[number]"),
        ],
    ),
    ("LastError", &[("time", "time"), ("text", "text")]),
    ("LatencyBucket", &[("le_ms", "number?"), ("count", "integer")]),
    ("FlowMore", &[("definition", "any"), ("latency", "[LatencyBucket]"), ("deliveries", "[Delivery]")]),
    (
        "Attempt",
        &[
            ("number", "integer"),
            ("at", "time"),
            ("took_ms", "number?"),
            ("outcome", "text"),
            ("answer", "text?"),
            ("error", "text?"),
            ("sent", "text"),
            ("probe", "bool"),
        ],
    ),
    (
        "Delivery",
        &[
            ("id", "text"),
            ("flow", "text"),
            ("message", "text"),
            ("offset", "integer"),
            ("stream", "text"),
            ("key", "text?"),
            ("state", "DeliveryState"),
            ("created", "time"),
            ("updated", "time"),
            ("next_attempt", "time?"),
            ("idempotency_key", "text"),
            ("attempts", "[Attempt]"),
        ],
    ),
    ("SentRequest", &[("method", "text"), ("url", "text"), ("content_type", "text"), ("body", "any")]),
    (
        "DeadLetter",
        &[
            ("id", "text"),
            ("flow", "text"),
            ("message", "text"),
            ("offset", "integer"),
            ("stream", "text"),
            ("key", "text?"),
            ("time", "time"),
            ("reason", "text"),
            ("request", "SentRequest?"),
            ("message_body", "any"),
            ("attempts", "[Attempt]"),
            ("expression", "text?"),
            ("input", "any"),
            ("state", "DeadState"),
            ("replays", "[text]"),
            ("by", "text?"),
        ],
    ),
    ("Replayed", &[("replayed", "integer")]),
    ("Shelved", &[("kind", "ShelveKind"), ("until", "time?"), ("by", "text")]),
    (
        "Alarm",
        &[
            ("id", "text"),
            ("rule", "text"),
            ("tag", "text"),
            ("event", "text"),
            ("severity", "integer"),
            ("priority", "Priority"),
            ("state", "AlarmState"),
            ("active", "bool"),
            ("acknowledged", "bool"),
            ("confirmed", "bool"),
            ("latched", "bool"),
            ("shelved", "Shelved?"),
            ("suppressed", "bool"),
            ("out_of_service", "bool"),
            ("value", "any"),
            ("message", "text"),
            ("since", "time?"),
            ("cleared", "time?"),
            ("count", "integer"),
            ("last_change", "time"),
            ("by", "text?"),
            ("comment", "text?"),
        ],
    ),
    (
        "AlarmLine",
        &[
            ("time", "time"),
            ("offset", "integer"),
            ("id", "text"),
            ("rule", "text"),
            ("tag", "text"),
            ("what", "text"),
            ("state", "AlarmState"),
            ("value", "any"),
            ("by", "text?"),
            ("comment", "text?"),
        ],
    ),
    (
        "Event",
        &[
            ("specversion", "text"),
            ("id", "text"),
            ("source", "text"),
            ("type", "text"),
            ("subject", "text"),
            ("time", "time"),
            ("datacontenttype", "text"),
            ("offset", "integer"),
            ("severity", "integer"),
            ("data", "any"),
        ],
    ),
    ("Gone", &[("from", "integer"), ("to", "integer")]),
    ("Events", &[("events", "[Event]"), ("next", "integer"), ("gap", "Gone?")]),
    ("Published", &[("id", "text"), ("offset", "integer"), ("duplicate", "bool")]),
    (
        "Record",
        &[
            ("entity", "text"),
            ("id", "text"),
            ("version", "integer"),
            ("time", "time"),
            ("offset", "integer"),
            ("key", "text?"),
            ("body", "any"),
        ],
    ),
    (
        "Written",
        &[("entity", "text"), ("id", "text"), ("version", "integer"), ("offset", "integer"), ("duplicate", "bool")],
    ),
    ("Period", &[("from", "time"), ("to", "time"), ("label", "text")]),
    (
        "Run",
        &[
            ("id", "text"),
            ("batch", "text"),
            ("period", "Period"),
            ("cause", "RunCause"),
            ("correction_of", "text?"),
            ("sequence", "integer"),
            ("created", "time"),
            ("rows", "integer"),
            ("totals", "any"),
            ("bytes", "integer"),
            ("sha256", "text"),
            ("delivery", "text?"),
            ("state", "DeliveryState?"),
            ("reconciliation", "any"),
        ],
    ),
    (
        "Batch",
        &[
            ("name", "text"),
            ("at", "text"),
            ("next", "time?"),
            ("records", "[text]"),
            ("rollups", "[any]"),
            ("format", "text"),
            ("target", "text"),
            ("state", "FlowState"),
            ("runs", "[Run]"),
        ],
    ),
    (
        "Message",
        &[
            ("id", "text"),
            ("offset", "integer"),
            ("stream", "text"),
            ("kind", "MessageKind"),
            ("key", "text?"),
            ("time", "time"),
            ("source", "text"),
            ("body", "any"),
        ],
    ),
    ("Step", &[("time", "time"), ("what", "text"), ("detail", "text")]),
    ("Trace", &[("message", "Message"), ("steps", "[Step]"), ("deliveries", "[Delivery]")]),
    (
        "AuditLine",
        &[
            ("time", "time"),
            ("who", "text"),
            ("what", "text"),
            ("flow", "text?"),
            ("target", "text?"),
            ("before", "any"),
            ("after", "any"),
            ("outcome", "text"),
        ],
    ),
    ("Actor", &[("by", "text"), ("comment", "text")]),
    ("Replay", &[("body", "any"), ("by", "text"), ("comment", "text")]),
    ("RunBatch", &[("from", "time"), ("to", "time"), ("by", "text"), ("comment", "text")]),
    ("AlarmAction", &[("by", "text"), ("comment", "text"), ("for", "text"), ("until", "time"), ("once", "bool")]),
    (
        "NewEvent",
        &[
            ("specversion", "text"),
            ("id", "text"),
            ("source", "text"),
            ("type", "text"),
            ("subject", "text"),
            ("time", "time"),
            ("datacontenttype", "text"),
            ("severity", "integer"),
            ("data", "any"),
        ],
    ),
];

pub(super) fn all() -> Value {
    let mut all = Map::new();
    for (name, members) in SHAPES {
        let properties: Map<String, Value> =
            members.iter().map(|(member, kind)| ((*member).to_owned(), schema(kind))).collect();
        all.insert((*name).to_owned(), json!({ "type": "object", "properties": properties }));
    }
    let one = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let list = |name: &str| json!({ "type": "array", "items": one(name) });
    all.insert("FlowDetail".to_owned(), json!({ "allOf": [one("Flow"), one("FlowMore")] }));
    all.insert("NewEventList".to_owned(), list("NewEvent"));
    all.insert("NewEvents".to_owned(), json!({ "oneOf": [one("NewEvent"), list("NewEvent")] }));
    all.insert("Document".to_owned(), json!({ "type": "object" }));
    all.insert("Documents".to_owned(), json!({ "oneOf": [one("Document"), list("Document")] }));
    all.insert("Anything".to_owned(), json!({}));
    all["NewEvent"]["required"] = json!(["source", "type"]);
    all.extend(vocabularies());
    Value::Object(all)
}

fn schema(kind: &str) -> Value {
    if let Some(kind) = kind.strip_suffix('?') {
        return json!({ "oneOf": [schema(kind), { "type": "null" }] });
    }
    if let Some(kind) = kind.strip_prefix('[').and_then(|kind| kind.strip_suffix(']')) {
        return json!({ "type": "array", "items": schema(kind) });
    }
    match kind {
        "text" => json!({ "type": "string" }),
        "time" => json!({ "type": "string", "format": "date-time" }),
        "number" => json!({ "type": "number" }),
        "integer" => json!({ "type": "integer" }),
        "bool" => json!({ "type": "boolean" }),
        "any" => json!({}),
        name => json!({ "$ref": format!("#/components/schemas/{name}") }),
    }
}

/// The closed vocabularies, from the port's own lists.
fn vocabularies() -> Map<String, Value> {
    use crate::business::{
        AlarmState, Breaker, DeadState, DeliveryState, FlowState, MessageKind, Pattern, Priority, RunCause, ShelveKind,
    };
    let lists = [
        ("Pattern", json!(Pattern::ALL)),
        ("FlowState", json!(FlowState::ALL)),
        ("Breaker", json!(Breaker::ALL)),
        ("DeliveryState", json!(DeliveryState::ALL)),
        ("DeadState", json!(DeadState::ALL)),
        ("Priority", json!(Priority::ALL)),
        ("AlarmState", json!(AlarmState::ALL)),
        ("ShelveKind", json!(ShelveKind::ALL)),
        ("RunCause", json!(RunCause::ALL)),
        ("MessageKind", json!(MessageKind::ALL)),
    ];
    lists.into_iter().map(|(name, words)| (name.to_owned(), json!({ "type": "string", "enum": words }))).collect()
}

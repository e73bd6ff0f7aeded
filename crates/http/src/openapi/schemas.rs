//! Schemas of what is asked and answered, by name.

use serde_json::{Map, Value, json};

mod flows;

/// Every schema, by name.
pub(super) fn all() -> Value {
    let mut all = telemetry();
    if let (Some(all), Value::Object(more)) = (all.as_object_mut(), flows::all()) {
        all.extend(more);
    }
    all
}

fn telemetry() -> Value {
    let list = |of: &str| json!({ "type": "array", "items": { "$ref": format!("#/components/schemas/{of}") } });
    let text = || json!({ "type": "string" });
    let time = || json!({ "type": "string", "format": "date-time" });
    let value = || json!({ "type": ["number", "boolean", "string", "null"] });
    let object = |properties: Value| json!({ "type": "object", "properties": properties });
    let mut problem = object(json!({
        "type": text(), "title": text(), "status": { "type": "integer" }, "detail": text(), "instance": text(),
    }));
    problem["required"] = json!(["type", "title", "status", "detail", "instance"]);
    let mut sample = object(json!({
        "tag": text(),
        "time": { "type": ["string", "integer"], "description": "RFC 3339 or nanoseconds since 1970; now if absent" },
        "value": { "type": ["number", "boolean", "string"] },
        "quality": { "type": ["string", "integer"], "description": "OPC UA StatusCode, by name or number" },
    }));
    sample["required"] = json!(["tag", "value"]);
    sample["additionalProperties"] = json!(false);
    let numbers = |names: &[&str]| -> Map<String, Value> {
        names.iter().map(|name| ((*name).to_owned(), json!({ "type": "number" }))).collect()
    };
    let mut rollup = numbers(&["count", "min", "max", "avg", "last"]);
    rollup.insert("time".to_owned(), time());
    json!({
        "Problem": problem,
        "IngestSample": sample,
        "IngestSamples": list("IngestSample"),
        "Tag": object(json!({
            "tag": text(), "kind": { "enum": ["f64", "i64", "bool", "text"] }, "unit": text(),
            "range": { "type": ["array", "null"], "items": { "type": "number" } },
            "source": text(), "shard": { "type": "integer" },
        })),
        "Latest": object(json!({
            "tag": text(), "time": time(), "source_time": time(), "value": value(), "quality": text(),
            "unit": text(), "seen": time(), "kind": text(), "source": text(),
            "range": { "type": "array", "items": { "type": "number" } }, "stale_after_ms": { "type": "integer" },
        })),
        "Sample": object(json!({ "time": time(), "source_time": time(), "value": value(), "quality": text() })),
        "Gap": object(json!({
            "source": text(), "from": time(), "to": time(), "reason": text(), "count": { "type": ["integer", "null"] },
        })),
        "Samples": object(json!({
            "tag": text(), "from": time(), "to": time(), "samples": list("Sample"), "gaps": list("Gap"),
            "next": { "type": ["string", "null"] },
        })),
        "Rollup": object(Value::Object(rollup)),
        "Rollups": object(json!({
            "tag": text(), "from": time(), "to": time(), "every_ms": { "type": "integer" },
            "rollups": list("Rollup"), "gaps": list("Gap"),
        })),
        "Status": object(json!({
            "status": text(), "reasons": { "type": "array", "items": text() }, "version": text(), "now": time(),
            "time_zone": text(), "inactive": { "type": "array", "items": text() },
            "demo": { "type": ["object", "null"] },
        })),
        "Sources": { "type": "array", "items": { "type": "object" } },
        "Cores": { "type": "array", "items": { "type": "object" } },
    })
}

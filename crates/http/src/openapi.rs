//! `/openapi.json`: OpenAPI 3.1, made from the table of routes.

use crate::{
    encode,
    problem::Problem,
    query::Params,
    routes::{self, Answer, Parameter, ROUTES, Route},
    state::App,
};
use axum::{
    extract::{RawQuery, State},
    response::Response,
};
use serde_json::{Map, Value, json};

/// `GET /openapi.json`.
pub(crate) async fn document(State(app): State<App>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    Params::read(&routes::OPENAPI, query.as_deref())?;
    Ok(encode::json(&describe(app.backend.version())))
}

/// The whole document.
pub(crate) fn describe(version: &str) -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Millstream",
            "version": version,
            "description": "Telemetry of a plant: latest values, history, live events, and samples in. \
                Times are RFC 3339 in UTC; a time that is asked for may also be relative (-15m) or nanoseconds \
                since 1970. Errors are problem details (RFC 9457).",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": { "schemas": schemas() },
    })
}

fn operation(route: &Route) -> Value {
    let (status, answer) = match &route.answer {
        Answer::Rows(schema) => {
            let json = json!({ "schema": { "$ref": reference(schema, true) } });
            let content = json!({ "application/json": json, "text/csv": { "schema": { "type": "string" } } });
            ("200", json!({ "description": "The rows", "content": content }))
        }
        Answer::Json(schema) => {
            let content = json!({ "application/json": { "schema": { "$ref": reference(schema, false) } } });
            ("200", json!({ "description": "The answer", "content": content }))
        }
        Answer::Media(media) => ("200", json!({ "description": "The answer", "content": { *media: {} } })),
        Answer::Nothing => ("204", json!({ "description": "Everything is on disk" })),
    };
    let problem = json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } });
    let mut operation = json!({
        "summary": route.summary,
        "operationId": format!("{}{}", route.method, route.path.replace(['/', '.'], "_")),
        "parameters": route.parameters.iter().map(parameter).collect::<Vec<_>>(),
        "responses": { status: answer, "default": { "description": "What went wrong, and what to do", "content": problem } },
    });
    if let Some((types, example)) = route.body {
        let content: Map<String, Value> = types.iter().map(|kind| ((*kind).to_owned(), body(kind, example))).collect();
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    operation
}

fn body(kind: &str, example: &str) -> Value {
    match kind {
        "application/json" => json!({
            "schema": { "type": "array", "items": { "$ref": "#/components/schemas/IngestSample" } },
            "example": serde_json::from_str::<Value>(example).unwrap_or_default(),
        }),
        "application/x-ndjson" => json!({ "schema": { "$ref": "#/components/schemas/IngestSample" } }),
        _ => json!({ "schema": { "type": "string" }, "example": example }),
    }
}

fn parameter(parameter: &Parameter) -> Value {
    let text = json!({ "type": "string" });
    json!({
        "name": parameter.name,
        "in": "query",
        "description": parameter.about,
        "required": parameter.required,
        "example": parameter.example,
        "schema": if parameter.repeats { json!({ "type": "array", "items": text }) } else { text },
    })
}

/// Lists of rows that come as a plain array have a schema of their own, named in the plural.
fn reference(schema: &str, rows: bool) -> String {
    let list = if rows && matches!(schema, "Tag" | "Latest") { "List" } else { "" };
    format!("#/components/schemas/{schema}{list}")
}

fn schemas() -> Value {
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
        "Tag": object(json!({
            "tag": text(), "kind": { "enum": ["f64", "i64", "bool", "text"] }, "unit": text(),
            "range": { "type": ["array", "null"], "items": { "type": "number" } },
            "source": text(), "shard": { "type": "integer" },
        })),
        "TagList": list("Tag"),
        "Latest": object(json!({
            "tag": text(), "time": time(), "source_time": time(), "value": value(), "quality": text(),
            "unit": text(), "seen": time(), "kind": text(), "source": text(),
            "range": { "type": "array", "items": { "type": "number" } }, "stale_after_ms": { "type": "integer" },
        })),
        "LatestList": list("Latest"),
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
        "Status": object(json!({ "status": text(), "version": text(), "inactive": { "type": "array", "items": text() } })),
        "Sources": { "type": "array", "items": { "type": "object" } },
        "Cores": { "type": "array", "items": { "type": "object" } },
    })
}

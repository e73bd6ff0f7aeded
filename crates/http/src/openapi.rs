//! `/openapi.json`: OpenAPI 3.1, made from the table of routes.

use crate::{
    encode,
    problem::Problem,
    query::Params,
    routes::{self, Answer, Parameter, Payload, Place, ROUTES, Route},
    state::App,
};
use axum::{
    body::Bytes,
    extract::{RawQuery, State},
    response::Response,
};
use serde_json::{Map, Value, json};

mod schemas;

/// `GET /openapi.json`.
pub(crate) async fn document(State(app): State<App>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    Params::read(&routes::OPENAPI, query.as_deref())?;
    Ok(encode::json_text(app.openapi.clone()))
}

/// The document as it is answered; made once, because it is long.
pub(crate) fn text(version: &str) -> Bytes {
    let mut text = Vec::new();
    encode::to_json(&describe(version), &mut text);
    text.into()
}

/// The whole document.
pub(crate) fn describe(version: &str) -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        // A wildcard is a parameter like others here: OpenAPI knows no other kind.
        let path = paths.entry(route.path.replace("{*", "{")).or_insert_with(|| json!({}));
        path[route.method] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Millstream",
            "version": version,
            "description": "Telemetry of a plant: latest values, history, live events, and samples in; and the \
                flows of its business systems: requests, events, documents, batches and their deliveries. \
                Times are RFC 3339 in UTC; a time that is asked for may also be relative (-15m) or nanoseconds \
                since 1970. Errors are problem details (RFC 9457).",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": { "schemas": schemas::all() },
    })
}

fn operation(route: &Route) -> Value {
    let problem = json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } });
    let mut responses = answers(&route.answer);
    responses
        .insert("default".to_owned(), json!({ "description": "What went wrong, and what to do", "content": problem }));
    let mut operation = json!({
        "summary": route.summary,
        "operationId": format!("{}{}", route.method, route.path.replace(['/', '.', '{', '}', '*', '-'], "_")),
        "parameters": route.parameters.iter().map(parameter).collect::<Vec<_>>(),
        "responses": responses,
    });
    if let Some(payload) = &route.body {
        operation["requestBody"] = json!({ "required": payload.required, "content": body(payload) });
    }
    operation
}

/// Statuses of what goes well, and what they bring.
fn answers(answer: &Answer) -> Map<String, Value> {
    let one = |schema: &str| json!({ "$ref": format!("#/components/schemas/{schema}") });
    let list = |schema: &str| json!({ "type": "array", "items": one(schema) });
    let json_of = |schema: Value| json!({ "application/json": { "schema": schema } });
    let rows = |schema: Value| json!({ "application/json": { "schema": schema }, "text/csv": { "schema": { "type": "string" } } });
    let (statuses, about, content): (&[&str], &str, Value) = match answer {
        Answer::Rows(schema) => (&["200"], "The rows", rows(one(schema))),
        Answer::List(schema) => (&["200"], "The rows", rows(list(schema))),
        Answer::Events(schema) => {
            let mut content = rows(one(schema));
            content["text/event-stream"] = json!({});
            (&["200"], "The events", content)
        }
        Answer::Json(schema) => (&["200"], "The answer", json_of(one(schema))),
        Answer::Accepted(schema) => (&["202"], "It is on disk and goes its way", json_of(one(schema))),
        Answer::AcceptedList(schema) => (&["202"], "They are on disk and go their way", json_of(list(schema))),
        Answer::Written(schema) => (&["200", "201"], "Everything is on disk", json_of(list(schema))),
        Answer::Media(media) => (&["200"], "The answer", json!({ *media: {} })),
        Answer::Nothing => (&["204"], "Everything is on disk", Value::Null),
    };
    let mut described = json!({ "description": about });
    if !content.is_null() {
        described["content"] = content;
    }
    statuses.iter().map(|status| ((*status).to_owned(), described.clone())).collect()
}

/// The media types of a body; the first has the example.
fn body(payload: &Payload) -> Map<String, Value> {
    let mut content = Map::new();
    for (at, (media, schema)) in payload.types.iter().enumerate() {
        let mut described = match *schema {
            "" => json!({ "schema": { "type": "string" } }),
            schema => json!({ "schema": { "$ref": format!("#/components/schemas/{schema}") } }),
        };
        if at == 0 {
            let text = || Value::String(payload.example.to_owned());
            described["example"] = serde_json::from_str(payload.example).unwrap_or_else(|_| text());
        }
        content.insert((*media).to_owned(), described);
    }
    content
}

fn parameter(parameter: &Parameter) -> Value {
    let text = json!({ "type": "string" });
    json!({
        "name": parameter.name,
        "in": match parameter.place {
            Place::Query => "query",
            Place::Path => "path",
            Place::Header => "header",
        },
        "description": parameter.about,
        "required": parameter.required,
        "example": parameter.example,
        "schema": if parameter.repeats { json!({ "type": "array", "items": text }) } else { text },
    })
}

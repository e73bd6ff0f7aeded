//! The API's description against the API: every call that it names answers as it says.

mod fake;

use fake::client::{Answer, Rig};
use serde_json::{Map, Value as Json};

/// What a description says of one call, ready to be asked.
struct Call {
    method: String,
    address: String,
    media: Option<String>,
    body: String,
    responses: Map<String, Json>,
}

fn text(value: &Json) -> &str {
    value.as_str().expect("text")
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// Every call of the description but the endless one.
fn calls(document: &Json) -> Vec<Call> {
    let mut calls = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let mut address = path.clone();
            let mut query: Vec<String> = Vec::new();
            for parameter in operation["parameters"].as_array().expect("parameters") {
                let (name, example) = (text(&parameter["name"]), encoded(text(&parameter["example"])));
                match text(&parameter["in"]) {
                    "path" => address = address.replace(&format!("{{{name}}}"), &example),
                    "query" if parameter["required"] == true => query.push(format!("{name}={example}")),
                    _ => {}
                }
            }
            if path.ends_with("write") {
                query.push("db=vibration-rig".to_owned());
            }
            if path == "/v1/dead-letters/replay" {
                query.push("flow=goods-receipt-to-erp".to_owned());
            }
            if path == "/v1/stream" {
                continue;
            }
            assert!(!address.contains('{'), "{address} has names without an example");
            let content = operation["requestBody"]["content"].as_object();
            let sent = content.and_then(|content| content.iter().find(|(_, one)| !one["example"].is_null()));
            let body = sent.map(|(_, one)| match &one["example"] {
                Json::String(text) => text.clone(),
                other => other.to_string(),
            });
            calls.push(Call {
                method: method.to_uppercase(),
                address: format!("{address}?{}", query.join("&")),
                media: sent.map(|(media, _)| media.clone()),
                body: body.unwrap_or_default(),
                responses: operation["responses"].as_object().expect("responses").clone(),
            });
        }
    }
    calls
}

async fn ask(call: &Call) -> Answer {
    // A plant of its own for each call: what one changes does not stand in another's way.
    let rig = Rig::start().await;
    let media: Vec<(&str, &str)> = call.media.iter().map(|media| ("Content-Type", media.as_str())).collect();
    rig.call(&call.method, &call.address, &media, &call.body).await
}

#[tokio::test]
async fn every_route_of_the_description_answers() {
    let document = Rig::start().await.get("/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut walked = 0;
    for call in calls(&document) {
        let (method, address) = (&call.method, &call.address);
        let answer = ask(&call).await;
        let described = call.responses.get(&answer.status.to_string());
        let described = described.unwrap_or_else(|| panic!("{method} {address}: {} {}", answer.status, answer.body));
        if let Some(content) = described["content"].as_object() {
            let told = &answer.headers["content-type"];
            assert!(content.keys().any(|kind| told.starts_with(kind.as_str())), "{address} answers {told}");
            if let Some(json) = content.get("application/json").filter(|_| told == "application/json") {
                compare(&document, &json["schema"], &answer.json(), address);
            }
        }
        walked += 1;
    }
    assert!(walked >= 36, "only {walked} routes were walked");
}

/// Checks that a description names every member that an answer has, and that both have the same shape.
fn compare(document: &Json, schema: &Json, answer: &Json, place: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().expect("a name");
        return compare(document, &document["components"]["schemas"][name], answer, place);
    }
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(answer), "{place} is {answer}, which is none of {words:?}");
        return;
    }
    if let Some(one) = schema["oneOf"].as_array() {
        let fits = one.iter().find(|one| (one["type"] == "null") == answer.is_null());
        return compare(document, fits.expect("one of them"), answer, place);
    }
    if let Some(all) = schema["allOf"].as_array() {
        let parts: Vec<&Json> = all
            .iter()
            .map(|part| &document["components"]["schemas"][text(&part["$ref"]).rsplit('/').next().expect("a name")])
            .collect();
        for (name, value) in answer.as_object().expect("an object") {
            let part = parts.iter().find(|part| !part["properties"][name].is_null());
            let part = part.unwrap_or_else(|| panic!("{place}.{name} is not described"));
            compare(document, &part["properties"][name], value, &format!("{place}.{name}"));
        }
        return;
    }
    match schema["type"].as_str() {
        Some("array") => {
            for one in answer.as_array().unwrap_or_else(|| panic!("{place} is no list: {answer}")) {
                compare(document, &schema["items"], one, &format!("{place}[]"));
            }
        }
        Some("object") => {
            let answer = answer.as_object().unwrap_or_else(|| panic!("{place} is no object: {answer}"));
            let Some(known) = schema["properties"].as_object() else { return };
            for (name, value) in answer {
                let schema = known.get(name).unwrap_or_else(|| panic!("{place}.{name} is not described"));
                compare(document, schema, value, &format!("{place}.{name}"));
            }
        }
        Some("string") => assert!(answer.is_string(), "{place} is {answer}"),
        Some("number") => assert!(answer.is_number(), "{place} is {answer}"),
        Some("integer") => assert!(answer.is_u64() || answer.is_i64(), "{place} is {answer}"),
        Some("boolean") => assert!(answer.is_boolean(), "{place} is {answer}"),
        _ => {}
    }
}

#[tokio::test]
async fn every_reference_of_the_description_leads_somewhere() {
    let document = Rig::start().await.get("/openapi.json").await;
    let schemas = document.json()["components"]["schemas"].clone();
    for reference in document.body.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().expect("a name");
        assert!(schemas.get(name).is_some(), "{name} is not described");
    }
    let mut ids: Vec<String> = Vec::new();
    for methods in document.json()["paths"].as_object().expect("paths").values() {
        for operation in methods.as_object().expect("methods").values() {
            let id = text(&operation["operationId"]).to_owned();
            assert!(!ids.contains(&id), "{id} stands twice");
            ids.push(id);
        }
    }
}

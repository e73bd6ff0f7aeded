//! `/v1/requests/{name}`: asks a system, or reads or writes a device, and answers within the
//! caller's time.
//!
//! Invariant: an answer is what the system said, or a stored one that says so in its headers
//! (`Millstream-Stale`, `Age`), or a problem that names the system at fault; never a guess.

use crate::{
    body::{self, Places},
    business::RequestCall,
    encode, failure,
    limits::{REQUEST_BODY_BYTES_MAX, REQUEST_WAIT_MAX},
    named::Named,
    problem::{Problem, short},
    query::Params,
    routes,
    state::App,
};
use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use serde_json::{Map, Value};
use std::time::Duration;

/// The port has so much longer than the caller's time to say itself what went wrong.
const GRACE: Duration = Duration::from_secs(2);
const STALE: HeaderName = HeaderName::from_static("millstream-stale");
const MESSAGE: HeaderName = HeaderName::from_static("millstream-message");
const APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// `POST /v1/requests/{name}`.
pub(crate) async fn request(
    State(app): State<App>,
    Named(name): Named<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    Params::read(&routes::REQUEST, query.as_deref())?;
    let wait = wait(&headers)?;
    let idempotency_key = body::idempotency_key(&headers)?;
    let held = body::text(&app, &headers, body, REQUEST_BODY_BYTES_MAX, "request-body-bytes").await?;
    let body = match held.text.trim() {
        "" => Value::Object(Map::new()),
        text => serde_json::from_str(text).map_err(|error| Problem::body(format!("the body is no JSON: {error}")))?,
    };
    drop(held);
    let actor = body::anonymous();
    let call = RequestCall { name: name.clone(), body, wait, idempotency_key, actor };
    let limit = wait.unwrap_or(REQUEST_WAIT_MAX) + GRACE;
    let Ok(outcome) = tokio::time::timeout(limit, app.flows.request(call)).await else {
        return Err(failure::unanswered(&app, &name, limit));
    };
    let reply = outcome.map_err(|error| failure::problem(&app, error, &Places::One))?;
    let mut response = encode::json(&reply.body);
    let headers = response.headers_mut();
    if let Ok(message) = HeaderValue::from_str(&reply.message) {
        headers.insert(MESSAGE, message);
    }
    if let Some(age) = reply.stale {
        headers.insert(header::AGE, HeaderValue::from(age.as_secs()));
        if let Ok(stale) = HeaderValue::from_str(&format!("age={}", age.as_secs())) {
            headers.insert(STALE, stale);
        }
    }
    if let Some(applied) = wait.and_then(|wait| HeaderValue::from_str(&format!("wait={}", wait.as_secs())).ok()) {
        headers.insert(APPLIED, applied);
    }
    Ok(response)
}

/// `POST /v1/demo/{system}`.
pub(crate) async fn demo(
    State(app): State<App>,
    Named(system): Named<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    Params::read(&routes::DEMO, query.as_deref())?;
    let held = body::text(&app, &headers, body, REQUEST_BODY_BYTES_MAX, "request-body-bytes").await?;
    let order =
        serde_json::from_str(&held.text).map_err(|error| Problem::body(format!("the body is no JSON: {error}")))?;
    drop(held);
    let answer = failure::ask(&app, app.flows.demo(system, order)).await?;
    Ok(encode::json(&answer))
}

/// `Prefer: wait=SECONDS` (RFC 7240 section 4.3); other preferences are not for us.
fn wait(headers: &HeaderMap) -> Result<Option<Duration>, Problem> {
    for value in headers.get_all("prefer") {
        let text = value.to_str().unwrap_or("");
        for preference in text.split([',', ';']).map(str::trim) {
            let Some((name, seconds)) = preference.split_once('=') else { continue };
            if !name.trim().eq_ignore_ascii_case("wait") {
                continue;
            }
            let seconds = seconds.trim().trim_matches('"');
            let wait = seconds.parse::<u64>().ok().map(Duration::from_secs);
            return match wait.filter(|wait| !wait.is_zero() && *wait <= REQUEST_WAIT_MAX) {
                Some(wait) => Ok(Some(wait)),
                None => Err(Problem::new(
                    StatusCode::BAD_REQUEST,
                    "bad-header",
                    "A header is not understood",
                    format!(
                        "Prefer: wait={} is not taken; write whole seconds from 1 to {}",
                        short(seconds),
                        REQUEST_WAIT_MAX.as_secs()
                    ),
                )),
            };
        }
    }
    Ok(None)
}

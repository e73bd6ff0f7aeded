//! Asking a business system.

use super::{Failed, Good, Route};
use crate::server::flows::FlowShard;
use crate::server::flows::drive;
use crate::server::flows::targets::FlowTarget;
use bytes::Bytes;
use connect::{Call, CallError, Reply};
use http::RequestCall;
use request::{Answer, CacheKey, Failure, GateOutcome, Ticket};
use serde_json::Value;

/// Beginning of a wrong answer that is shown, in characters.
const EXCERPT_CHARS: usize = 300;

/// What is sent, and where.
struct Asked {
    method: String,
    url: String,
    body: Vec<u8>,
}

fn asked(route: &Route, template: &expr::Template, call: &RequestCall) -> Result<Asked, Failed> {
    let config::RequestAction::To(config::Target { kind: config::TargetKind::Http(http), .. }) = &route.told.action
    else {
        return Err(Failed::mapping("this request asks no system"));
    };
    let url = template.fill(&call.body).map_err(Failed::mapping)?;
    let body = match &route.body {
        Some(body) => body.eval(&[("request", &call.body)]).map_err(Failed::mapping)?,
        None => call.body.clone(),
    };
    let has_body = !matches!(http.method.as_str(), "GET" | "HEAD" | "DELETE");
    let body = if has_body { body.to_string().into_bytes() } else { Vec::new() };
    Ok(Asked { method: http.method.clone(), url, body })
}

/// What a call's answer is stored under; `None` where none is.
pub(super) fn cache_key(route: &Route, call: &RequestCall) -> Option<CacheKey> {
    let (_, template) = route.target.as_ref()?;
    let asked = asked(route, template, call).ok()?;
    route.cache.as_ref()?.borrow().key(&asked.method, &asked.url, &asked.body)
}

pub(super) async fn call(
    route: &Route,
    target: &FlowTarget,
    template: &expr::Template,
    call: &RequestCall,
    ticket: &Ticket,
    id: &str,
) -> Result<Good, Failed> {
    let began = FlowShard::now();
    let timed_out = || Failed::new(route.gate.borrow().timeout(ticket, began), GateOutcome::TimedOut);
    let asked = asked(route, template, call)?;
    let timeout = ticket.remaining(began).ok_or_else(timed_out)?;
    let key = route.cache.as_ref().and_then(|cache| cache.borrow().key(&asked.method, &asked.url, &asked.body));
    let exchange = target
        .target
        .call(Call {
            method: asked.method,
            to: asked.url,
            // the deadline goes on to the system, which need not work longer than somebody waits
            headers: vec![("Prefer".to_owned(), format!("wait={}", timeout.as_secs().max(1)))],
            content_type: if asked.body.is_empty() { String::new() } else { "application/json".to_owned() },
            body: Bytes::from(asked.body),
            idempotency_key: call.idempotency_key.clone(),
            id: id.to_owned(),
            timeout,
        })
        .await;
    let system = route.gate.borrow().system().clone();
    let report = drive::report(exchange.clone(), target.conflict, true);
    match exchange.result {
        Ok(Reply::Answered { status, retry_after, ref body, ref content_type, complete }) => {
            if !(200..300).contains(&status) {
                let retry_after_ns = retry_after.map(super::ns);
                let outcome = match status {
                    408 | 425 | 429 | 500.. => GateOutcome::Failed,
                    _ => GateOutcome::Refused,
                };
                let failure =
                    Failure::UpstreamError { system, status, excerpt: exchange.excerpt.clone(), retry_after_ns };
                return Err(Failed::new(failure, outcome));
            }
            let bad =
                |what: String| Failed::new(Failure::BadAnswer { system: system.clone(), what }, GateOutcome::BadAnswer);
            if !complete {
                return Err(bad("it is longer than may be read, or did not end".to_owned()));
            }
            let answer: Value = if body.is_empty() {
                Value::Null
            } else {
                serde_json::from_slice(body).map_err(|error| {
                    let excerpt: String = exchange.excerpt.chars().take(EXCERPT_CHARS).collect();
                    bad(format!("it is not JSON ({error}): {excerpt}"))
                })?
            };
            let body_out = route.mapped(answer, Some(status), &call.body)?;
            if let (Some(key), Some(cache)) = (key, &route.cache) {
                let content_type = content_type.clone().unwrap_or_default();
                cache.borrow_mut().put(key, Answer { status, content_type, body: body.to_vec() }, FlowShard::now());
            }
            Ok(Good { body: body_out, stale_ns: None })
        }
        Ok(Reply::Acked { .. }) => Ok(Good { body: Value::Null, stale_ns: None }),
        Err(CallError::Timeout { .. }) => Err(timed_out()),
        Err(ref error) => {
            let what = report.error.unwrap_or_else(|| error.to_string());
            Err(Failed::new(Failure::UpstreamUnreachable { system, what }, GateOutcome::Unreachable))
        }
    }
}

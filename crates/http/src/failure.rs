//! What the flows' port refuses, in HTTP's words; and how long it is waited for.

use crate::{
    body::Places,
    business::{FlowAnswer, FlowError, Noun, Refusal, RequestFailure, WrongPlace},
    limits::WRONG_PLACES_MAX,
    problem::{Problem, short},
    state::App,
};
use axum::http::StatusCode;
use serde_json::{Value, json};
use std::time::Duration;

/// Waits for an answer that only reads.
///
/// # Errors
/// A [`Problem`] where there is none, or none in time.
pub(crate) async fn ask<T>(app: &App, answer: FlowAnswer<T>) -> Result<T, Problem> {
    let limit = app.limits.query_timeout;
    let Ok(answer) = tokio::time::timeout(limit, answer).await else {
        app.counters.limit("query-time");
        return Err(Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "query-timeout",
            "The query took too long",
            format!("no answer within {} s; ask for less, or again", limit.as_secs()),
        ));
    };
    answer.map_err(|error| problem(app, error, &Places::Elements))
}

/// Waits until something is done and durable.
///
/// # Errors
/// A [`Problem`] where it was not done, or where nobody knows.
pub(crate) async fn commit<T>(app: &App, answer: FlowAnswer<T>, places: &Places) -> Result<T, Problem> {
    let limit = app.limits.commit_timeout;
    let Ok(answer) = tokio::time::timeout(limit, answer).await else {
        app.counters.limit("commit-time");
        return Err(Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "commit-timeout",
            "The commit took too long",
            format!(
                "the disk did not confirm within {} s; whether it was done is not known: look, or send it again \
                 with the same ids",
                limit.as_secs()
            ),
        ));
    };
    answer.map_err(|error| problem(app, error, places))
}

/// A port's error as a problem.
pub(crate) fn problem(app: &App, error: FlowError, places: &Places) -> Problem {
    match error {
        FlowError::NotFound { what, name, nearest } => {
            let (kind, title, list) = absent(what);
            let advice = match nearest {
                Some(near) => format!("did you mean {}?", short(&near)),
                None => list.to_owned(),
            };
            let detail = format!("there is no {what} {}; {advice}", short(&name));
            Problem::new(StatusCode::NOT_FOUND, kind, title, detail)
        }
        FlowError::Invalid { detail, errors } => invalid(&detail, &errors, places),
        FlowError::Conflict { detail } => {
            Problem::new(StatusCode::CONFLICT, "conflict", "Its state does not allow this", detail)
        }
        FlowError::Refused(refusal) => refused(app, refusal),
        FlowError::Forbidden { detail } => {
            Problem::new(StatusCode::FORBIDDEN, "forbidden", "This is not allowed", detail)
        }
        FlowError::Request(failure) => failed_request(app, *failure),
        FlowError::Busy => {
            app.counters.limit("flow-calls");
            let detail = FlowError::Busy.to_string();
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Too many calls wait", detail).retry_after(1)
        }
        FlowError::Failed(reason) => {
            tracing::error!(%reason, "a call of the flows failed");
            let title = "The journal could not be read or written";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "journal-failed", title, reason)
        }
        FlowError::Closed => refused(app, Refusal::Closed),
    }
}

/// Slug, title and where to look, of what is not there.
fn absent(what: Noun) -> (&'static str, &'static str, &'static str) {
    match what {
        Noun::Flow => ("unknown-flow", "The flow is unknown", "GET /v1/flows lists the known ones"),
        Noun::DeadLetter => {
            ("unknown-dead-letter", "The dead letter is unknown", "GET /v1/dead-letters lists the known ones")
        }
        Noun::Message => (
            "unknown-message",
            "The message is unknown",
            "it was never published, or is older than what is kept; GET /v1/deliveries shows the newest ids",
        ),
        Noun::System => ("unknown-system", "There is no such system", "GET /v1/status names those of the demo"),
        Noun::Batch => ("unknown-batch", "The batch is unknown", "GET /v1/batches lists the known ones"),
        Noun::Alarm => ("unknown-alarm", "The alarm is unknown", "GET /v1/alarms lists the known ones"),
        Noun::Request => (
            "unknown-request",
            "The request is unknown",
            "GET /v1/flows lists the known ones, with the pattern \"request\"",
        ),
        Noun::Entity => (
            "unknown-entity",
            "The record entity is unknown",
            "the configuration's [[record]] sections name the known ones",
        ),
    }
}

fn invalid(detail: &str, errors: &[WrongPlace], places: &Places) -> Problem {
    let shown: Vec<Value> = errors
        .iter()
        .take(WRONG_PLACES_MAX)
        .map(|error| {
            let mut shown = json!({ "path": error.path, "text": error.text });
            if let Some((word, number)) = error.item.and_then(|item| places.of(item)) {
                shown[word] = json!(number);
            }
            shown
        })
        .collect();
    let title = "What was sent cannot be taken";
    let mut problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", title, detail).with("errors", shown);
    if errors.len() > WRONG_PLACES_MAX {
        problem = problem.with("errors_total", errors.len());
    }
    problem
}

fn refused(app: &App, refusal: Refusal) -> Problem {
    let (status, kind, limit, retry_s) = match refusal {
        Refusal::Busy => (StatusCode::TOO_MANY_REQUESTS, "busy", "journal-back-pressure", 1),
        Refusal::Disk => (StatusCode::SERVICE_UNAVAILABLE, "disk", "journal-disk", 30),
        Refusal::BacklogFull => (StatusCode::SERVICE_UNAVAILABLE, "backlog-full", "journal-backlog", 30),
        Refusal::Closed => (StatusCode::SERVICE_UNAVAILABLE, "stopping", "journal-closed", 5),
    };
    app.counters.limit(limit);
    Problem::new(status, kind, "Nothing is taken now", refusal.to_string()).retry_after(retry_s)
}

/// A failed request names the system at fault (RFC 9457, with members of our own).
fn failed_request(app: &App, failure: RequestFailure) -> Problem {
    if failure.kind.as_ref() == "too-many-points" {
        app.counters.limit("request-points");
    }
    let status = StatusCode::from_u16(failure.status).ok().filter(|status| status.as_u16() >= 400);
    let problem = Problem::new(
        status.unwrap_or(StatusCode::BAD_GATEWAY),
        failure.kind,
        "The request was not answered",
        failure.detail,
    )
    .with("system", failure.system)
    .with("target", failure.target)
    .with("flow", failure.flow)
    .with("elapsed_ms", failure.elapsed_ms)
    .with("attempt", failure.attempt)
    .with("retry_after", json!(failure.retry_after));
    let problem = failure.more.into_iter().fold(problem, |problem, (name, value)| problem.with(name, value));
    failure.retry_after.into_iter().fold(problem, Problem::retry_after)
}

/// 504 where the port itself did not answer a request; the system at fault is then Millstream.
pub(crate) fn unanswered(app: &App, name: &str, waited: Duration) -> Problem {
    app.counters.limit("request-time");
    Problem::new(
        StatusCode::GATEWAY_TIMEOUT,
        "timeout",
        "The request was not answered",
        format!("{} got no answer within {} s; whether it took effect is not known", short(name), waited.as_secs()),
    )
    .with("system", "millstream")
    .with("flow", name)
    .with("elapsed_ms", u64::try_from(waited.as_millis()).unwrap_or(u64::MAX))
}

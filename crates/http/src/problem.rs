//! Refusals and failures as RFC 9457 problem details.
//!
//! Invariants
//! - P1: `detail` says what happened, where, and what to do; it repeats no more than a short piece
//!   of what the caller sent.
//! - P2: the body is written in one place, [`render`], which also knows the request's address.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// A refusal or failure.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    /// Last part of the type's URN; also the stable name that a machine looks at.
    kind: Cow<'static, str>,
    title: &'static str,
    detail: String,
    retry_after_s: Option<u32>,
    more: Map<String, Value>,
}

impl Problem {
    /// A problem of a type.
    pub(crate) fn new(
        status: StatusCode,
        kind: impl Into<Cow<'static, str>>,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Problem {
        Problem { status, kind: kind.into(), title, detail: detail.into(), retry_after_s: None, more: Map::new() }
    }

    /// 400 for a query parameter.
    pub(crate) fn parameter(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "bad-parameter", "A query parameter is not understood", detail)
    }

    /// 413 for a body.
    pub(crate) fn too_large(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "The body is too large", detail)
    }

    /// 400 for a body.
    pub(crate) fn body(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "bad-body", "The body is not understood", detail)
    }

    /// Says when to try again.
    pub(crate) fn retry_after(mut self, seconds: u32) -> Problem {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Adds a member of its own (RFC 9457 section 3.2).
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Problem {
        self.more.insert(name.to_owned(), value.into());
        self
    }
}

impl IntoResponse for Problem {
    /// Status and headers; [`render`] writes the body on the way out.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes the body of a [`Problem`] that an answer carries; leaves other answers alone.
pub(crate) fn render(uri: &Uri, mut response: Response) -> Response {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    let mut body = json!({
        "type": format!("urn:millstream:problem:{}", problem.kind),
        "title": problem.title,
        "status": problem.status.as_u16(),
        "detail": problem.detail,
        "instance": uri.path(),
    });
    if let Some(object) = body.as_object_mut() {
        object.extend(problem.more);
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.remove(header::CONTENT_LENGTH);
    *response.body_mut() = Body::from(body.to_string());
    response
}

/// A piece of what a caller sent, short enough to repeat.
pub(crate) fn short(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    match text.char_indices().nth(CHARS_MAX) {
        Some((at, _)) => format!("{:?}…", &text[..at]),
        None => format!("{text:?}"),
    }
}

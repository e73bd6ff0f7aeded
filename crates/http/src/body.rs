//! Bodies: read within their limits, and turned into JSON.
//!
//! Invariants
//! - Y1: memory is bounded before a body is read: by its own limit, and by that of all bodies
//!   together. Compressed bodies are refused, so that a small one cannot become a large one.
//! - Y2: a long body is parsed in pieces that yield between them, and one wrong piece is named by
//!   its place.

use crate::{
    business::Actor,
    limits::{
        ACTION_BODY_BYTES_MAX, ATTRIBUTE_BYTES_MAX, BY_CHARS_MAX, COMMENT_CHARS_MAX, DOCUMENT_BYTES_MAX, DOCUMENTS_MAX,
    },
    problem::{Problem, short},
    state::{App, PERMIT_BYTES},
};
use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
};
use futures_util::StreamExt as _;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

/// Permits that are taken at once: 64 KiB, about what one read brings.
const PERMITS_AT_ONCE: usize = 64;

/// So much is parsed in one poll, and the rest of the document that passes it.
const PARSED_PER_POLL: usize = 4 << 10;

/// A body, and its share of the memory of all bodies until it is dropped.
pub(crate) struct Held {
    pub(crate) text: String,
    _permits: Vec<OwnedSemaphorePermit>,
}

/// Reads a body as text, within its limits; `limit` is the name that its length is counted under.
///
/// # Errors
/// A [`Problem`] where it is compressed, too long, too slow, broken off, or no UTF-8.
pub(crate) async fn text(
    app: &App,
    headers: &HeaderMap,
    body: Body,
    max: usize,
    limit: &'static str,
) -> Result<Held, Problem> {
    tokio::task::yield_now().await; // finding the way here and reading are a poll each
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING).filter(|value| *value != "identity") {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "compressed-body",
            "A compressed body is not taken",
            format!("Content-Encoding is {encoding:?}; send the body uncompressed (content_encoding = \"identity\")"),
        ));
    }
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    let too_long = || {
        app.counters.limit(limit);
        Problem::too_large(format!("the body is longer than {max} bytes; send it in several parts"))
            .with("maximum", max)
    };
    if announced.is_some_and(|bytes| bytes > max) {
        return Err(too_long());
    }
    let mut held = Vec::new();
    let mut permitted = 0;
    let mut bytes: Vec<u8> = Vec::new();
    let reading = async {
        let mut pieces = body.into_data_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| Problem::body(format!("the body broke off: {error}; send it again")))?;
            if bytes.len() + piece.len() > max {
                return Err(too_long());
            }
            while permitted < bytes.len() + piece.len() {
                if permitted > 0 {
                    tokio::task::yield_now().await; // one that is there already would be read in one poll
                }
                held.push(permit(app)?);
                permitted += PERMIT_BYTES * PERMITS_AT_ONCE;
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(())
    };
    let patience = app.limits.body_timeout;
    tokio::time::timeout(patience, reading).await.unwrap_or_else(|_| {
        app.counters.limit("body-time");
        Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "slow-body",
            "The body came too slowly",
            format!("the body was not complete within {} s; send it in smaller parts", patience.as_secs()),
        ))
    })?;
    app.pause();
    let text = String::from_utf8(bytes).map_err(|error| {
        Problem::body(format!("byte {} of the body is not UTF-8; send UTF-8", error.utf8_error().valid_up_to()))
    })?;
    Ok(Held { text, _permits: held })
}

fn permit(app: &App) -> Result<OwnedSemaphorePermit, Problem> {
    let semaphore: &Arc<Semaphore> = &app.bodies;
    semaphore.clone().try_acquire_many_owned(PERMITS_AT_ONCE as u32).map_err(|error| {
        let (TryAcquireError::NoPermits | TryAcquireError::Closed) = error;
        app.counters.limit("ingest-bytes-in-flight");
        Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "busy",
            "Too many bodies are being taken in",
            "the bodies that are being taken in fill their memory; send again in a second, with fewer at a time",
        )
        .retry_after(1)
    })
}

/// serde_json's words without its position, which counts within the element.
pub(crate) fn json_error(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).chars().take(200).collect()
}

/// Reads a small body of known members; an empty one is `{}`.
///
/// # Errors
/// A [`Problem`] where it is too long, no JSON, or has a member that is not known.
pub(crate) async fn members<T: DeserializeOwned>(
    app: &App,
    headers: &HeaderMap,
    body: Body,
    max: usize,
) -> Result<T, Problem> {
    let held = text(app, headers, body, max, "action-body-bytes").await?;
    let text = if held.text.trim().is_empty() { "{}" } else { &held.text };
    serde_json::from_str(text).map_err(|error| Problem::body(format!("the body is wrong: {error}")))
}

/// Who acts and why, as it stands in a body.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ActorBody {
    #[serde(default)]
    by: Option<String>,
    #[serde(default)]
    comment: Option<String>,
}

/// Somebody who said nothing about themselves.
pub(crate) fn anonymous() -> Actor {
    Actor { by: "anonymous".to_owned(), comment: None }
}

/// Checks a name and a comment.
///
/// # Errors
/// A [`Problem`] where one is too long or no line of text.
pub(crate) fn actor(by: Option<String>, comment: Option<String>) -> Result<Actor, Problem> {
    let given = |name: &str, text: Option<String>, max: usize| match text.map(|text| text.trim().to_owned()) {
        Some(text) if text.chars().count() > max => {
            Err(Problem::body(format!("{name} is longer than {max} characters; shorten it")))
        }
        Some(text) if text.contains(|c: char| c.is_control() && c != '\n' && c != '\t') => {
            Err(Problem::body(format!("{name} holds control characters; write text")))
        }
        other => Ok(other.filter(|text| !text.is_empty())),
    };
    let by = given("by", by, BY_CHARS_MAX)?;
    Ok(Actor { by: by.unwrap_or(anonymous().by), comment: given("comment", comment, COMMENT_CHARS_MAX)? })
}

/// Reads a body that says no more than who acts and why; it may be left out.
///
/// # Errors
/// A [`Problem`] that says what is wrong with it.
pub(crate) async fn actor_of(app: &App, headers: &HeaderMap, body: Body) -> Result<Actor, Problem> {
    let ActorBody { by, comment } = members(app, headers, body, ACTION_BODY_BYTES_MAX).await?;
    actor(by, comment)
}

/// The `Idempotency-Key` header (draft-ietf-httpapi-idempotency-key-header), with or without quotes.
///
/// # Errors
/// A [`Problem`] where it is empty, too long, or not printable ASCII.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().unwrap_or("").trim();
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if bare.is_empty() || bare.len() > ATTRIBUTE_BYTES_MAX {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "bad-header",
            "A header is not understood",
            format!("Idempotency-Key is empty, no ASCII, or longer than {ATTRIBUTE_BYTES_MAX} bytes; send e.g. a UUID"),
        ));
    }
    Ok(Some(bare.to_owned()))
}

/// Documents of a body, and the place of each.
pub(crate) struct Documents {
    pub(crate) values: Vec<Value>,
    pub(crate) places: Places,
}

/// How the documents of a body are called in a refusal.
pub(crate) enum Places {
    /// There is only one.
    One,
    /// Elements of an array.
    Elements,
    /// Lines, by their 1-based numbers.
    Lines(Vec<usize>),
}

impl Places {
    /// What one is called, and its 1-based number.
    pub(crate) fn of(&self, item: usize) -> Option<(&'static str, usize)> {
        match self {
            Places::One => None,
            Places::Elements => Some(("element", item + 1)),
            Places::Lines(numbers) => numbers.get(item).map(|number| ("line", *number)),
        }
    }

    /// 400 for what is wrong with one.
    pub(crate) fn wrong(&self, item: usize, reason: &str) -> Problem {
        const ADVICE: &str = "Nothing of the body was taken; correct it and send all again";
        match self.of(item) {
            Some((word, number)) => Problem::body(format!("{word} {number}: {reason}. {ADVICE}")).with(word, number),
            None => Problem::body(format!("{reason}. Nothing was taken; correct it and send it again")),
        }
    }
}

/// Reads one JSON value, an array of them, or one a line (NDJSON).
///
/// # Errors
/// A [`Problem`] that names the document that is no JSON, too long, or one too many.
pub(crate) async fn documents(app: &App, text: &str) -> Result<Documents, Problem> {
    let trimmed = text.trim_start();
    if trimmed.is_empty() {
        return Err(Problem::body("the body is empty; send JSON"));
    }
    match trimmed.strip_prefix('[') {
        Some(rest) => elements(app, rest).await,
        None => lines(app, text).await,
    }
}

/// What is wrong with one more document of so many bytes.
fn check(app: &App, places: &Places, item: usize, bytes: usize) -> Result<(), Problem> {
    if item >= DOCUMENTS_MAX {
        app.counters.limit("documents");
        return Err(Problem::too_large(format!(
            "the body holds more than {DOCUMENTS_MAX} documents; send it in several parts"
        ))
        .with("maximum", DOCUMENTS_MAX));
    }
    if bytes > DOCUMENT_BYTES_MAX {
        app.counters.limit("document-bytes");
        let reason = format!("it has {bytes} bytes; at most {DOCUMENT_BYTES_MAX} are taken");
        return Err(places.wrong(item, &reason));
    }
    Ok(())
}

/// Where in a body the present poll began to parse.
#[derive(Default)]
struct Turn(usize);

impl Turn {
    /// So much of the body is parsed: lets telemetry be looked at where it is enough for a poll.
    async fn after(&mut self, parsed: usize) {
        if parsed - self.0 >= PARSED_PER_POLL {
            self.0 = parsed;
            tokio::task::yield_now().await;
        }
    }
}

async fn elements(app: &App, text: &str) -> Result<Documents, Problem> {
    let places = Places::Elements;
    let mut values = Vec::new();
    let mut turn = Turn::default();
    let mut rest = text.trim_start();
    if let Some(end) = rest.strip_prefix(']') {
        return trailing(end).map(|()| Documents { values, places });
    }
    loop {
        let item = values.len();
        let mut parsed = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        let value = match parsed.next() {
            Some(Ok(value)) => value,
            Some(Err(error)) => return Err(places.wrong(item, &json_error(&error))),
            None => return Err(places.wrong(item, "the array has no end; write ']'")),
        };
        check(app, &places, item, parsed.byte_offset())?;
        rest = rest.get(parsed.byte_offset()..).unwrap_or("").trim_start();
        values.push(value);
        if let Some(end) = rest.strip_prefix(']') {
            return trailing(end).map(|()| Documents { values, places });
        }
        rest = match rest.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None => return Err(places.wrong(item, "neither ',' nor ']' follows")),
        };
        turn.after(text.len() - rest.len()).await;
    }
}

fn trailing(end: &str) -> Result<(), Problem> {
    if end.trim().is_empty() {
        return Ok(());
    }
    Err(Problem::body(format!("{} follows the end of the array; send one array", short(end.trim()))))
}

/// Values one behind the other. One value over several lines is one document, too.
async fn lines(app: &App, text: &str) -> Result<Documents, Problem> {
    let mut values: Vec<Value> = Vec::new();
    let mut numbers: Vec<usize> = Vec::new();
    let mut rest = text;
    let mut turn = Turn::default();
    let mut number = 1;
    loop {
        let start = rest.trim_start();
        number += rest[..rest.len() - start.len()].matches('\n').count();
        if start.is_empty() {
            break;
        }
        let item = values.len();
        numbers.push(number);
        let places = Places::Lines(std::mem::take(&mut numbers));
        let mut parsed = serde_json::Deserializer::from_str(start).into_iter::<Value>();
        match parsed.next() {
            Some(Ok(value)) => values.push(value),
            Some(Err(error)) => return Err(places.wrong(item, &json_error(&error))),
            None => break,
        }
        let read = parsed.byte_offset();
        check(app, &places, item, read)?;
        if let Places::Lines(kept) = places {
            numbers = kept;
        }
        number += start[..read].matches('\n').count();
        rest = &start[read..];
        turn.after(text.len() - rest.len()).await;
    }
    let places = if values.len() == 1 { Places::One } else { Places::Lines(numbers) };
    Ok(Documents { values, places })
}

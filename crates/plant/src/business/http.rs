//! The HTTP side of a business system.
//!
//! Invariant: paths that begin with `/_` are the simulation's own: not journalled, not subject
//! to faults other than `down`.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Extension, Query, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::faults::{FaultMode, FaultOrder};
use super::feed::outbox::PostingState;
use super::journal::{Entry, Journal, Request};
use super::{BusinessSystem, Verdict, now_unix_ms, problem};
use crate::web::HangUp;

/// Largest body that a system takes, bytes; a shift's batch is far below.
const BODY_BYTES_MAX: usize = 16 << 20;

type System = Arc<BusinessSystem>;

/// The router of a system.
pub(crate) fn router(system: System) -> Router {
    Router::new()
        .route("/_received", get(received))
        .route("/_effects", get(effects))
        .route("/_faults", get(fault).post(set_fault))
        .route("/_posted", get(posted))
        .route("/_asked", get(asked))
        .fallback(serve)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(system)
}

/// Which part of a journal is wanted.
#[derive(Debug, Deserialize)]
struct Page {
    after: Option<u64>,
    path: Option<String>,
    limit: Option<usize>,
}

async fn received(State(system): State<System>, Query(page): Query<Page>) -> Json<Value> {
    let books = system.books.lock();
    Json(listing(&system, &books.received, "requests", &page))
}

async fn effects(State(system): State<System>, Query(page): Query<Page>) -> Json<Value> {
    let books = system.books.lock();
    Json(listing(&system, &books.effects, "effects", &page))
}

async fn posted(State(system): State<System>, Query(page): Query<Page>) -> Json<Value> {
    let books = system.books.lock();
    Json(listing(&system, books.desk.outbox.journal(), "posted", &page))
}

/// The questions that the ERP asked, each with whether its work order is released: there is an
/// answer, and it names as much as is needed.
async fn asked(State(system): State<System>, Query(page): Query<Page>) -> Json<Value> {
    let books = system.books.lock();
    let questions = books.desk.outbox.journal().after(page.after.unwrap_or(0), None);
    let questions = questions.filter(|posting| posting.kind == "material-availability");
    let asked: Vec<Value> = questions
        .take(page.limit.unwrap_or(usize::MAX))
        .map(|posting| {
            let available = find(&posting.answer, "available", 3).and_then(Value::as_f64);
            let needed = posting.body.get("quantity").and_then(Value::as_f64);
            let answered = posting.state == PostingState::Acknowledged;
            json!({
                "seq": posting.seq, "work_order": posting.id, "material": posting.body.get("material"),
                "quantity": needed, "status": posting.status, "answer": posting.answer, "tries": posting.tries,
                "error": posting.error, "available": available,
                "released": answered && available.zip(needed).is_some_and(|(there, needed)| there >= needed),
            })
        })
        .collect();
    let total = books.desk.outbox.journal().total();
    Json(json!({ "system": system.name(), "total": total, "asked": asked }))
}

/// A field of an answer, wherever it stands, at most so many objects deep.
fn find<'v>(value: &'v Value, field: &str, depth: u32) -> Option<&'v Value> {
    let object = value.as_object()?;
    object.get(field).or_else(|| {
        let deeper = depth.checked_sub(1)?;
        object.values().find_map(|inner| find(inner, field, deeper))
    })
}

fn listing<T: Entry + Serialize>(system: &BusinessSystem, journal: &Journal<T>, field: &str, page: &Page) -> Value {
    let entries: Vec<&T> =
        journal.after(page.after.unwrap_or(0), page.path.as_deref()).take(page.limit.unwrap_or(usize::MAX)).collect();
    json!({ "system": system.name(), "total": journal.total(), field: entries })
}

async fn fault(State(system): State<System>) -> Json<FaultOrder> {
    Json(system.fault())
}

async fn set_fault(State(system): State<System>, body: Bytes) -> Response {
    order(&system, &body)
}

/// Gives a system an order that came as JSON; the answer is the order as understood.
pub(crate) fn order(system: &BusinessSystem, body: &[u8]) -> Response {
    match FaultOrder::parse(body) {
        Ok(order) => {
            system.set_fault(order.clone());
            Json(order).into_response()
        }
        Err(error) => {
            let body = problem("order not understood", &error.to_string());
            (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
        }
    }
}

async fn serve(
    State(system): State<System>,
    Extension(hang_up): Extension<HangUp>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let request = request(&method, &uri, &headers, &body);
    let (seq, verdict) = system.take_in(request, &body);
    let mut response = match verdict {
        Verdict::Answer { answer, replayed, delay } => {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            let status = StatusCode::from_u16(answer.status).unwrap_or_default();
            let mut response = (status, Json(answer.body)).into_response();
            if replayed {
                let yes = HeaderValue::from_static("true");
                response.headers_mut().insert("idempotency-replayed", yes);
            }
            response
        }
        Verdict::Refuse { status, retry_after_s } => {
            let status = StatusCode::from_u16(status).unwrap_or_default();
            let text = status.canonical_reason().unwrap_or("refused");
            let body = problem(text, "this system was told to answer so; POST /_faults ends it");
            let mut response = (status, Json(body)).into_response();
            if let Some(seconds) = retry_after_s {
                let seconds = HeaderValue::from(seconds);
                response.headers_mut().insert(header::RETRY_AFTER, seconds);
            }
            response
        }
        Verdict::Reset => {
            hang_up.now();
            std::future::pending().await
        }
        // The connection's cut ends the wait.
        Verdict::Hang => std::future::pending().await,
    };
    let headers = response.headers_mut();
    headers.insert("x-request-seq", HeaderValue::from(seq));
    response
}

fn request(method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Request {
    let text = |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let content_type = text("content-type");
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    Request {
        seq: 0,
        time_unix_ms: now_unix_ms(),
        method: method.to_string(),
        path: uri.path().to_owned(),
        query: uri.query().map(str::to_owned),
        idempotency_key: text("idempotency-key"),
        authorization: text("authorization"),
        body: readable(body, content_type.as_deref()),
        body_bytes: body.len(),
        content_type,
        fault: FaultMode::Ok,
        status: None,
        replayed: false,
        body_hash: hasher.finish(),
    }
}

/// The body as a person or a test wants to see it.
fn readable(body: &[u8], content_type: Option<&str>) -> Value {
    if body.is_empty() {
        return Value::Null;
    }
    if content_type.is_none_or(|kind| kind.contains("json"))
        && let Ok(value) = serde_json::from_slice(body)
    {
        return value;
    }
    match std::str::from_utf8(body) {
        Ok(text) => Value::from(text),
        Err(_) => {
            let mut hex = String::with_capacity(body.len() * 2);
            for byte in body {
                // Writing to a String can't fail.
                let _written = write!(hex, "{byte:02x}");
            }
            json!({ "hex": hex })
        }
    }
}

//! `/v1/events`: read by offset, followed live, and published.

use crate::{
    body::{self, Places},
    business::{EventsFrom, EventsQuery},
    cloudevent::{self, Mode},
    encode::{Format, Frame},
    event_stream, failure,
    limits::{DOCUMENT_BYTES_MAX, DOCUMENTS_BODY_BYTES_MAX},
    lists,
    problem::{Problem, short},
    query::Params,
    routes,
    state::App,
};
use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use serde_json::json;

const PUBLISHED_COLUMNS: &str = "id,offset,duplicate";
const COLUMNS: &str = "offset,time,type,source,id,subject,severity,data";

/// `GET /v1/events`: a page, or a stream where the caller accepts one.
pub(crate) async fn read(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let params = Params::read(&routes::EVENTS, query.as_deref())?;
    let kind = lists::text(&params, "type")?;
    let accepts = |value: &header::HeaderValue| value.to_str().is_ok_and(|text| text.contains("text/event-stream"));
    if headers.get_all(header::ACCEPT).iter().any(accepts) {
        let from = match headers.get("last-event-id").filter(|value| !value.is_empty()) {
            Some(last) => behind(last.to_str().unwrap_or("?"))?,
            None => from(params.get("from"))?.unwrap_or(EventsFrom::Now),
        };
        return event_stream::follow(app, from, kind);
    }
    let format = Format::of(&headers)?;
    let from = from(params.get("from"))?.unwrap_or(EventsFrom::Earliest);
    let asked = EventsQuery { from, limit: lists::limit(&params)?, kind };
    let page = failure::ask(&app, app.flows.events(asked)).await?;
    let gap = page.gap.map(|gap| json!({ "from": gap.from, "to": gap.to }));
    let frame = Frame {
        json_head: "{\"events\":[".to_owned(),
        json_tail: format!("],\n\"next\":{},\"gap\":{}}}\n", page.next, json!(gap)),
        csv_head: COLUMNS.to_owned(),
    };
    Ok(lists::framed(format, frame, COLUMNS, page.events))
}

fn from(text: Option<&str>) -> Result<Option<EventsFrom>, Problem> {
    match text {
        None => Ok(None),
        Some("earliest") => Ok(Some(EventsFrom::Earliest)),
        Some("now") => Ok(Some(EventsFrom::Now)),
        Some(text) => match text.parse() {
            Ok(offset) => Ok(Some(EventsFrom::Offset(offset))),
            Err(_) => {
                Err(Problem::parameter(format!("from={} is unknown; write earliest, now or an offset", short(text))))
            }
        },
    }
}

/// Behind the event that a reader got last; it stands over `from`, because a browser that
/// reconnects asks with both.
fn behind(last: &str) -> Result<EventsFrom, Problem> {
    let offset = last.trim().parse::<u64>().map_err(|_| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "bad-header",
            "A header is not understood",
            format!("Last-Event-ID {} is no offset of this server; leave it out, or ask with from=", short(last)),
        )
    })?;
    Ok(EventsFrom::Offset(offset.saturating_add(1)))
}

/// `POST /v1/events`.
pub(crate) async fn publish(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    Params::read(&routes::EVENTS_PUBLISH, query.as_deref())?;
    let mode = Mode::of(&headers)?;
    let key = body::idempotency_key(&headers)?;
    let max = if mode == Mode::Binary { DOCUMENT_BYTES_MAX } else { DOCUMENTS_BODY_BYTES_MAX };
    let held = body::text(&app, &headers, body, max, "documents-body-bytes").await?;
    tokio::task::yield_now().await; // and so is making events of it
    let (events, places) = match mode {
        Mode::Binary => (vec![cloudevent::binary(&headers, &held.text, key)?], Places::One),
        _ => {
            let documents = body::documents(&app, &held.text).await?;
            app.pause();
            let places = if matches!(documents.places, Places::One) { Places::One } else { Places::Elements };
            (cloudevent::events(mode, documents, key.as_deref()).await?, places)
        }
    };
    tokio::task::yield_now().await; // reading and publishing are a poll each
    let answer = match events.is_empty() {
        true => Vec::new(),
        false => failure::commit(&app, app.flows.publish(events, body::anonymous()), &places).await?,
    };
    drop(held);
    app.pause();
    let mut response = lists::all(Format::Json, PUBLISHED_COLUMNS, answer);
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

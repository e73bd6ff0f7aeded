//! Deliveries with their tries, dead letters and what a person does with them, and one message's
//! way from its arrival to every delivery.

use crate::{
    body::{self, Places},
    business::{DeadFilter, DeadLettersQuery, DeadState, DeliveriesQuery, DeliveryState, Page},
    encode::{self, Format},
    failure,
    flows::is_source,
    limits::REQUEST_BODY_BYTES_MAX,
    lists,
    named::Named,
    problem::Problem,
    query::Params,
    routes,
    state::App,
};
use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, Uri},
    response::Response,
};
use serde::Deserialize;
use serde_json::{Value, json};

const DELIVERY_COLUMNS: &str =
    "id,flow,message,offset,stream,key,state,created,updated,next_attempt,idempotency_key,attempts";
const DEAD_COLUMNS: &str = "id,flow,message,offset,stream,key,time,reason,state,by,expression,request,attempts";

/// `GET /v1/deliveries`.
pub(crate) async fn deliveries(
    State(app): State<App>,
    uri: Uri,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let format = Format::of(&headers)?;
    let params = Params::read(&routes::DELIVERIES, query.as_deref())?;
    let asked = DeliveriesQuery {
        flow: lists::text(&params, "flow")?,
        states: lists::words(&params, "state", DeliveryState::ALL, DeliveryState::word)?,
        key: lists::text(&params, "key")?,
        message: lists::text(&params, "message")?,
        limit: lists::limit(&params)?,
        after: lists::text(&params, "after")?,
    };
    let page = match asked.flow.as_ref().is_some_and(|flow| is_source(&app, flow)) {
        true => Page { rows: Vec::new(), next: None },
        false => failure::ask(&app, app.flows.deliveries(asked)).await?,
    };
    Ok(lists::page(format, DELIVERY_COLUMNS, page, &uri))
}

/// `GET /v1/dead-letters`.
pub(crate) async fn dead_letters(
    State(app): State<App>,
    uri: Uri,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let format = Format::of(&headers)?;
    let params = Params::read(&routes::DEAD_LETTERS, query.as_deref())?;
    let state = lists::words(&params, "state", DeadState::ALL, DeadState::word)?;
    if state.len() > 1 {
        return Err(Problem::parameter("state holds several words; ask for one, or for none to see all"));
    }
    let asked = DeadLettersQuery {
        flow: lists::text(&params, "flow")?,
        state: state.first().copied(),
        limit: lists::limit(&params)?,
        after: lists::text(&params, "after")?,
    };
    let page = match asked.flow.as_ref().is_some_and(|flow| is_source(&app, flow)) {
        true => Page { rows: Vec::new(), next: None },
        false => failure::ask(&app, app.flows.dead_letters(asked)).await?,
    };
    Ok(lists::page(format, DEAD_COLUMNS, page, &uri))
}

/// `GET /v1/dead-letters/{id}`.
pub(crate) async fn dead_letter(
    State(app): State<App>,
    Named(id): Named<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    Params::read(&routes::DEAD_LETTER, query.as_deref())?;
    Ok(encode::json(&failure::ask(&app, app.flows.dead_letter(id)).await?))
}

/// The body of a replay.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplayBody {
    /// Goes out in place of what the mapping would make.
    #[serde(default)]
    body: Option<Value>,
    #[serde(default)]
    by: Option<String>,
    #[serde(default)]
    comment: Option<String>,
}

/// `POST /v1/dead-letters/{id}/replay`.
pub(crate) async fn replay(
    State(app): State<App>,
    Named(id): Named<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    Params::read(&routes::DEAD_LETTER_REPLAY, query.as_deref())?;
    let given: ReplayBody = body::members(&app, &headers, body, REQUEST_BODY_BYTES_MAX).await?;
    let actor = body::actor(given.by, given.comment)?;
    let letter = failure::commit(&app, app.flows.replay(id, given.body, actor), &Places::One).await?;
    Ok(encode::json(&letter))
}

/// `POST /v1/dead-letters/{id}/discard`.
pub(crate) async fn discard(
    State(app): State<App>,
    Named(id): Named<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    Params::read(&routes::DEAD_LETTER_DISCARD, query.as_deref())?;
    let actor = body::actor_of(&app, &headers, body).await?;
    Ok(encode::json(&failure::commit(&app, app.flows.discard(id, actor), &Places::One).await?))
}

/// `POST /v1/dead-letters/replay`.
pub(crate) async fn replay_all(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let params = Params::read(&routes::DEAD_LETTERS_REPLAY, query.as_deref())?;
    let filter = DeadFilter {
        flow: lists::text(&params, "flow")?,
        reason: lists::text(&params, "reason")?,
        key: lists::text(&params, "key")?,
    };
    if filter == DeadFilter::default() {
        return Err(Problem::parameter("say which dead letters to replay: give flow, reason or key"));
    }
    let actor = body::actor_of(&app, &headers, body).await?;
    let replayed = failure::commit(&app, app.flows.replay_all(filter, actor), &Places::One).await?;
    Ok(encode::json(&json!({ "replayed": replayed })))
}

/// `GET /v1/trace/{*id}`.
pub(crate) async fn trace(
    State(app): State<App>,
    Named(id): Named<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    Params::read(&routes::TRACE, query.as_deref())?;
    Ok(encode::json(&failure::ask(&app, app.flows.trace(id)).await?))
}

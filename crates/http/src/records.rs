//! `/v1/records/{entity}`: business documents in, all or none, after the commit; and out.

use crate::{
    body::{self, Documents},
    business::{NewRecords, RecordsQuery},
    encode::{self, Format},
    failure,
    limits::DOCUMENTS_BODY_BYTES_MAX,
    lists,
    named::Named,
    problem::{Problem, short},
    query::Params,
    routes,
    state::App,
};
use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use model::TimestampNs;

const WRITTEN_COLUMNS: &str = "entity,id,version,offset,duplicate";
const COLUMNS: &str = "entity,id,version,time,offset,key,body";

/// `POST /v1/records/{entity}`: 201 where at least one is new, 200 where all were there.
pub(crate) async fn write(
    State(app): State<App>,
    Named(entity): Named<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    Params::read(&routes::RECORDS_WRITE, query.as_deref())?;
    let idempotency_key = body::idempotency_key(&headers)?;
    let held = body::text(&app, &headers, body, DOCUMENTS_BODY_BYTES_MAX, "documents-body-bytes").await?;
    let Documents { values, places } = body::documents(&app, &held.text).await?;
    if let Some(item) = values.iter().position(|value| !value.is_object()) {
        return Err(places.wrong(item, "a document is an object; write { … }"));
    }
    if values.is_empty() {
        return Ok(encode::json(&values));
    }
    let actor = body::anonymous();
    let records = NewRecords { entity, documents: values, idempotency_key, actor };
    let written = failure::commit(&app, app.flows.put_records(records), &places).await?;
    drop(held);
    let is_new = written.iter().any(|one| !one.duplicate);
    let mut response = lists::all(Format::Json, WRITTEN_COLUMNS, written);
    if is_new {
        *response.status_mut() = StatusCode::CREATED;
    }
    Ok(response)
}

/// `GET /v1/records/{entity}`.
pub(crate) async fn read(
    State(app): State<App>,
    Named(entity): Named<String>,
    uri: Uri,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let format = Format::of(&headers)?;
    let params = Params::read(&routes::RECORDS, query.as_deref())?;
    let now = app.backend.now();
    let time = |name: &str| -> Result<Option<TimestampNs>, Problem> {
        params.get(name).map(|_| params.time(name, now, now)).transpose()
    };
    let (from, to) = (time("from")?, time("to")?);
    if let Some((from, to)) = from.zip(to).filter(|(from, to)| from > to) {
        return Err(Problem::parameter(format!("from ({from}) lies after to ({to}); exchange them")));
    }
    let all_versions = match params.get("version") {
        None | Some("latest") => false,
        Some("all") => true,
        Some(other) => {
            return Err(Problem::parameter(format!("version={} is unknown; write latest or all", short(other))));
        }
    };
    let asked = RecordsQuery {
        entity,
        id: lists::text(&params, "id")?,
        key: lists::text(&params, "key")?,
        from,
        to,
        all_versions,
        limit: lists::limit(&params)?,
        after: lists::text(&params, "after")?,
    };
    let page = failure::ask(&app, app.flows.records(asked)).await?;
    Ok(lists::page(format, COLUMNS, page, &uri))
}

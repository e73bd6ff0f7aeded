//! `/v1/batches`: runs with their control totals, and a run on demand; and `/v1/audit`.

use crate::{
    body::{self, Places},
    business::{LinesQuery, RunBatch},
    encode::{self, Format},
    failure,
    limits::ACTION_BODY_BYTES_MAX,
    lists,
    named::Named,
    problem::{Problem, short},
    query::{self, Params},
    routes,
    state::App,
};
use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use model::TimestampNs;
use serde::Deserialize;

const BATCH_COLUMNS: &str = "name,at,next,records,rollups,format,target,state,runs";
const AUDIT_COLUMNS: &str = "time,who,what,flow,target,before,after,outcome";

/// `GET /v1/batches`.
pub(crate) async fn batches(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let format = Format::of(&headers)?;
    Params::read(&routes::BATCHES, query.as_deref())?;
    Ok(lists::all(format, BATCH_COLUMNS, failure::ask(&app, app.flows.batches()).await?))
}

/// The body that asks for a run.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunBody {
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    to: Option<String>,
    #[serde(default)]
    by: Option<String>,
    #[serde(default)]
    comment: Option<String>,
}

/// `POST /v1/batches/{name}/run`.
pub(crate) async fn run(
    State(app): State<App>,
    Named(name): Named<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    Params::read(&routes::BATCH_RUN, query.as_deref())?;
    let given: RunBody = body::members(&app, &headers, body, ACTION_BODY_BYTES_MAX).await?;
    let now = app.backend.now();
    let (from, to) = (moment("from", given.from, now)?, moment("to", given.to, now)?);
    match (from, to) {
        (Some(from), Some(to)) if from >= to => {
            return Err(Problem::body(format!("from ({from}) lies not before to ({to}); exchange them")));
        }
        (None, Some(_)) => return Err(Problem::body("to stands without from; give both, or from alone (until now)")),
        _ => {}
    }
    let run = RunBatch { name, from, to, actor: body::actor(given.by, given.comment)? };
    let run = failure::commit(&app, app.flows.run_batch(run), &Places::One).await?;
    let mut response = encode::json(&run);
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

/// A time in a body, as the interface takes it anywhere.
pub(crate) fn moment(name: &str, text: Option<String>, now: TimestampNs) -> Result<Option<TimestampNs>, Problem> {
    let Some(text) = text else { return Ok(None) };
    query::time(&text, now).map(Some).ok_or_else(|| {
        Problem::body(format!("{name} {} is not a time; write RFC 3339 (2026-01-31T12:00:00Z) or -8h", short(&text)))
    })
}

/// Which lines of a journal are asked for.
pub(crate) fn lines(app: &App, params: &Params, id: Option<String>) -> Result<LinesQuery, Problem> {
    let now = app.backend.now();
    let from = params.time("from", now, TimestampNs(i64::MIN))?;
    let to = params.time("to", now, TimestampNs(i64::MAX))?;
    if from > to {
        return Err(Problem::parameter(format!("from ({from}) lies after to ({to}); exchange them")));
    }
    Ok(LinesQuery { id, from, to, limit: lists::limit(params)? })
}

/// `GET /v1/audit`.
pub(crate) async fn audit(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let format = Format::of(&headers)?;
    let params = Params::read(&routes::AUDIT, query.as_deref())?;
    let asked = lines(&app, &params, None)?;
    Ok(lists::all(format, AUDIT_COLUMNS, failure::ask(&app, app.flows.audit(asked)).await?))
}

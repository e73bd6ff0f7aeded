//! `/v1/flows`: every flow with its state, telemetry's sources first; pause and resume.

use crate::{
    backend::SourceInfo,
    body::{self, Places},
    business::{Flow, FlowDetail, FlowState, LastError, Pattern},
    encode::{self, Format},
    failure, lists,
    named::Named,
    pace::{Pace, samples},
    problem::{Problem, short},
    query::Params,
    routes,
    state::App,
};
use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};

const COLUMNS: &str = "name,pattern,state,reason,since,target,rate,p50_ms,p99_ms,max_ms,backlog,in_flight,retrying,\
     in_doubt,oldest,delivered,attempts_failed,dead,expired,superseded,breaker,last_error,last_success,paused_by";

/// `GET /v1/flows`.
pub(crate) async fn flows(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let format = Format::of(&headers)?;
    Params::read(&routes::FLOWS, query.as_deref())?;
    Ok(lists::all(format, COLUMNS, every(&app).await?))
}

/// Every flow, telemetry first.
pub(crate) async fn every(app: &App) -> Result<Vec<Flow>, Problem> {
    let mut flows = telemetry(app);
    flows.extend(failure::ask(app, app.flows.flows()).await?);
    Ok(flows)
}

fn telemetry(app: &App) -> Vec<Flow> {
    let sources = app.backend.sources();
    let paces = app.paces.look(app.backend.now(), &sources);
    sources.iter().zip(paces).map(|(source, pace)| of_source(source, pace)).collect()
}

/// A source as a flow. What waits of it waits in its device or producer, so it has no backlog here.
fn of_source(source: &SourceInfo, pace: Pace) -> Flow {
    let state = match &*source.state {
        "running" => FlowState::Running,
        "down" => FlowState::Stopped,
        _ => FlowState::Degraded,
    };
    let reason = match (state, source.reason.as_str()) {
        (FlowState::Degraded, "") => source.state.to_string(),
        (_, reason) => reason.to_owned(),
    };
    let last_error = (!source.reason.is_empty()).then(|| LastError { time: source.since, text: source.reason.clone() });
    Flow {
        name: source.name.clone(),
        pattern: Pattern::Telemetry,
        state,
        reason,
        since: Some(source.since),
        target: if source.address.is_empty() { source.path.clone() } else { source.address.clone() },
        rate: pace.rate,
        p50_ms: None,
        p99_ms: None,
        max_ms: None,
        backlog: 0,
        in_flight: 0,
        retrying: 0,
        in_doubt: 0,
        oldest: None,
        delivered: samples(source),
        attempts_failed: 0,
        dead: 0,
        expired: 0,
        superseded: 0,
        breaker: None,
        last_error,
        last_success: source.last_data,
        paused_by: None,
        spark: pace.spark,
    }
}

/// `GET /v1/flows/{name}`.
pub(crate) async fn flow(
    State(app): State<App>,
    Named(name): Named<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    Params::read(&routes::FLOW, query.as_deref())?;
    if let Some(flow) = telemetry(&app).into_iter().find(|flow| flow.name == name) {
        let source = app.backend.sources().into_iter().find(|source| source.name == name);
        let definition = source.map(|source| crate::system::source_json(&source)).unwrap_or_default();
        return Ok(encode::json(&FlowDetail { flow, definition, latency: Vec::new(), deliveries: Vec::new() }));
    }
    Ok(encode::json(&failure::ask(&app, app.flows.flow(name)).await?))
}

/// `POST /v1/flows/{name}/pause`.
pub(crate) async fn pause(
    State(app): State<App>,
    Named(name): Named<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    Params::read(&routes::FLOW_PAUSE, query.as_deref())?;
    let actor = body::actor_of(&app, &headers, body).await?;
    no_source(&app, &name)?;
    Ok(encode::json(&failure::commit(&app, app.flows.pause(name, actor), &Places::One).await?))
}

/// `POST /v1/flows/{name}/resume`.
pub(crate) async fn resume(
    State(app): State<App>,
    Named(name): Named<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    Params::read(&routes::FLOW_RESUME, query.as_deref())?;
    let actor = body::actor_of(&app, &headers, body).await?;
    no_source(&app, &name)?;
    Ok(encode::json(&failure::commit(&app, app.flows.resume(name, actor), &Places::One).await?))
}

/// Whether a name is that of a source, which has no deliveries.
pub(crate) fn is_source(app: &App, name: &str) -> bool {
    app.backend.sources().iter().any(|source| source.name == name)
}

/// Telemetry goes on whatever happens; nobody stops it over HTTP.
fn no_source(app: &App, name: &str) -> Result<(), Problem> {
    if !is_source(app, name) {
        return Ok(());
    }
    let detail = format!(
        "{} is a source of telemetry, which is never paused; take it out of the configuration to stop it",
        short(name)
    );
    Err(Problem::new(StatusCode::CONFLICT, "conflict", "Its state does not allow this", detail))
}

//! How Millstream itself is: liveness, readiness, status, sources, cores, metrics.

use crate::{
    backend::{CoreInfo, SourceInfo, StageInfo},
    encode, metrics,
    problem::Problem,
    query::Params,
    routes::{self, Route},
    state::App,
};
use axum::{
    extract::{RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

fn no_parameters(route: &Route, query: Option<String>) -> Result<(), Problem> {
    Params::read(route, query.as_deref()).map(drop)
}

/// `GET /healthz`.
pub(crate) async fn healthz(State(app): State<App>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    no_parameters(&routes::HEALTHZ, query)?;
    Ok(encode::json(&json!({ "status": "ok", "version": app.backend.version() })))
}

/// `GET /readyz`.
pub(crate) async fn readyz(State(app): State<App>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    no_parameters(&routes::READYZ, query)?;
    match app.backend.ready() {
        Ok(()) => Ok(encode::json(&json!({ "status": "ready" }))),
        Err(reasons) => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not-ready",
            "Millstream cannot do all of its work",
            reasons.join("; "),
        )
        .with("reasons", reasons)
        .retry_after(5)),
    }
}

/// `GET /metrics`.
pub(crate) async fn metrics(State(app): State<App>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    no_parameters(&routes::METRICS, query)?;
    let text = metrics::text(&app).await;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

/// `GET /v1/status`.
pub(crate) async fn status(State(app): State<App>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    no_parameters(&routes::STATUS, query)?;
    Ok(encode::json(&status_json(&app)))
}

/// `GET /v1/sources`.
pub(crate) async fn sources(State(app): State<App>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    no_parameters(&routes::SOURCES, query)?;
    Ok(encode::json(&sources_json(&app)))
}

/// `GET /v1/cores`.
pub(crate) async fn cores(State(app): State<App>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    no_parameters(&routes::CORES, query)?;
    Ok(encode::json(&cores_json(&app)))
}

pub(crate) fn status_json(app: &App) -> Value {
    let backend = &app.backend;
    let reasons = backend.ready().err().unwrap_or_default();
    json!({
        "status": if reasons.is_empty() { "ready" } else { "not-ready" },
        "reasons": reasons,
        "version": backend.version(),
        "now": backend.now().to_string(),
        "time_zone": backend.time_zone(),
        "inactive": backend.inactive(),
        "demo": backend.demo(),
    })
}

pub(crate) fn sources_json(app: &App) -> Value {
    app.backend.sources().iter().map(source_json).collect()
}

pub(crate) fn source_json(source: &SourceInfo) -> Value {
    let counters: Map<String, Value> = source.counters.iter().map(|(name, n)| (name.clone(), json!(n))).collect();
    let figures: Map<String, Value> = source.figures.iter().map(|(name, n)| (name.clone(), json!(n))).collect();
    json!({
        "name": source.name,
        "kind": source.kind,
        "path": source.path,
        "address": source.address,
        "shard": source.shard,
        "state": source.state,
        "reason": source.reason,
        "since": source.since.to_string(),
        "last_data": source.last_data.map(|time| time.to_string()),
        "tags": source.tags,
        "counters": counters,
        "figures": figures,
    })
}

pub(crate) fn cores_json(app: &App) -> Value {
    app.backend.cores().iter().map(core_json).collect()
}

fn core_json(core: &CoreInfo) -> Value {
    let rate = |value: f64| if value.is_finite() { (value * 10.0).round() / 10.0 } else { 0.0 };
    let receive = core.receive;
    let frames_per_call = receive.frames as f64 / receive.calls.max(1) as f64;
    let mut shown = json!({
        "shard": core.shard,
        "core": core.core,
        "io": core.io,
        "samples_per_second": rate(core.samples_per_second),
        "frames_per_second": rate(core.frames_per_second),
        "bytes_per_second": rate(core.bytes_per_second),
        "samples_total": core.samples_total,
        "tag_bytes": core.tag_bytes,
        "log": {
            "health": core.log.health,
            "reason": core.log.reason,
            "durable": core.log.durable,
            "end": core.log.end,
            "segments": core.log.segments,
            "bytes": core.log.bytes,
            "syncs": core.log.syncs,
        },
        "receive": {
            "frames": receive.frames,
            "calls": receive.calls,
            "completions": receive.completions,
            "frames_per_call": rate(frames_per_call),
        },
        "stages": core.stages.iter().map(stage_json).collect::<Vec<_>>(),
        "cycle": stage_json(&core.cycle),
        "frame_to_visible": stage_json(&core.frame_to_visible),
    });
    show_allocations(&mut shown, core.allocations);
    shown
}

/// A program that was not built to count them says nothing of them.
fn show_allocations(shown: &mut Value, count: Option<u64>) {
    if let Some(count) = count {
        shown["allocations"] = json!(count);
    }
}

fn stage_json(stage: &StageInfo) -> Value {
    let buckets: Vec<Value> = stage
        .buckets
        .iter()
        .map(|(upper, count)| json!([if *upper == u64::MAX { Value::Null } else { json!(upper) }, count]))
        .collect();
    let mut shown = json!({
        "lane": stage.lane,
        "name": stage.name,
        "polls": stage.polls,
        "p50_ns": stage.p50_ns,
        "p90_ns": stage.p90_ns,
        "p99_ns": stage.p99_ns,
        "p999_ns": stage.p999_ns,
        "p9999_ns": stage.p9999_ns,
        "max_ns": stage.max_ns,
        "sum_ns": stage.sum_ns,
        "buckets": buckets,
    });
    show_allocations(&mut shown, stage.allocations);
    shown
}

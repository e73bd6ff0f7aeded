//! The fault switches: one HTTP server from which every part can be broken and mended.
//!
//! | call | body | does |
//! |---|---|---|
//! | `GET /` | | overview of all devices and systems with addresses and present faults |
//! | `POST /press/{1..4}` | `{"mode": "ok\|fault\|drop\|exception\|garbage\|silent\|stop"}` | a press; `fault` raises its hydraulic fault bit |
//! | `POST /meters` | the same | the meters' gateway; `fault` makes every unit answer exception 0B |
//! | `POST /oven` | `{"mode": "ok\|fault\|stop"}` | the oven; `stop` shuts its OPC UA server down |
//! | `POST /system/{name}` | as a system's `/_faults` | a business system, also while it is down |
//! | `GET /feeds`, `POST /feeds` | `{"to": "http://127.0.0.1:8080", "period_ms": 1000}` | where business systems post by themselves, and how often; `to` null: to nobody; `period_ms` 0: only what they are told to |
//! | `POST /spontaneous` | `{"mode": "ok\|off"}` | whether presses have faults of their own |
//!
//! Invariant: this server has no faults; the way back is always open.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::business::{FeedTarget, order, problem};
use crate::controls::Controls;
use crate::modbus::DeviceMode;
use crate::oven_unit::OvenMode;

type Plant = Arc<Controls>;

/// The router of the switches.
pub(crate) fn router(plant: Plant) -> Router {
    Router::new()
        .route("/", get(overview))
        .route("/press/{number}", post(press))
        .route("/meters", post(meters))
        .route("/oven", post(oven))
        .route("/system/{name}", post(system))
        .route("/feeds", get(feeds).post(set_feeds))
        .route("/spontaneous", post(spontaneous))
        .fallback(unknown)
        .with_state(plant)
}

#[derive(Deserialize)]
struct Order<M> {
    mode: M,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum SpontaneousMode {
    Ok,
    Off,
}

async fn overview(State(plant): State<Plant>) -> Json<Value> {
    Json(plant.overview().await)
}

async fn press(State(plant): State<Plant>, Path(number): Path<String>, body: Bytes) -> Response {
    let index = number.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
    let mode: DeviceMode = match parse(&body) {
        Ok(mode) => mode,
        Err(answer) => return answer,
    };
    let done = match index {
        Some(index) => plant.set_press(index, mode).await,
        None => None,
    };
    match done {
        Some(Ok(())) => Json(json!({ "press": index.map(|i| i + 1), "mode": mode })).into_response(),
        Some(Err(error)) => stuck(&error),
        None => absent(&format!("there is no press {number}; presses are 1 to 4")),
    }
}

async fn meters(State(plant): State<Plant>, body: Bytes) -> Response {
    let mode: DeviceMode = match parse(&body) {
        Ok(mode) => mode,
        Err(answer) => return answer,
    };
    match plant.set_meters(mode).await {
        Ok(()) => Json(json!({ "meters": true, "mode": mode })).into_response(),
        Err(error) => stuck(&error),
    }
}

async fn oven(State(plant): State<Plant>, body: Bytes) -> Response {
    let mode: OvenMode = match parse(&body) {
        Ok(mode) => mode,
        Err(answer) => return answer,
    };
    match plant.set_oven(mode).await {
        Ok(()) => Json(json!({ "oven": true, "mode": mode })).into_response(),
        Err(error) => stuck(&error),
    }
}

async fn system(State(plant): State<Plant>, Path(name): Path<String>, body: Bytes) -> Response {
    match plant.system(&name) {
        Some(system) => order(system, &body),
        None => absent(&format!("there is no system {name}; systems are erp, wms, mes, cmms, portal")),
    }
}

async fn feeds(State(plant): State<Plant>) -> Json<Option<FeedTarget>> {
    Json(plant.feeds.borrow().clone())
}

async fn set_feeds(State(plant): State<Plant>, body: Bytes) -> Response {
    match FeedTarget::parse(&body) {
        Ok(target) => {
            plant.feeds.send_replace(target.clone());
            Json(target).into_response()
        }
        Err(detail) => {
            let body = problem("order not understood", &detail);
            (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
        }
    }
}

async fn spontaneous(State(plant): State<Plant>, body: Bytes) -> Response {
    match parse::<SpontaneousMode>(&body) {
        Ok(mode) => {
            let allowed = matches!(mode, SpontaneousMode::Ok);
            plant.set_spontaneous(allowed);
            Json(json!({ "spontaneous_faults": allowed })).into_response()
        }
        Err(answer) => answer,
    }
}

async fn unknown() -> Response {
    absent(
        "GET / lists the plant; POST /press/{1..4}, /meters, /oven, /system/{name}, /feeds, \
         /spontaneous set a mode",
    )
}

/// The mode of a JSON order, or the answer that explains what is wrong with it.
#[expect(clippy::result_large_err, reason = "the error is the response itself, made once per mistake")]
fn parse<M: DeserializeOwned>(body: &[u8]) -> Result<M, Response> {
    serde_json::from_slice::<Order<M>>(body).map(|order| order.mode).map_err(|error| {
        let detail = format!("{error}; send {{\"mode\": \"ok\"}}");
        let body = problem("order not understood", &detail);
        (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
    })
}

fn absent(detail: &str) -> Response {
    (StatusCode::NOT_FOUND, Json(problem("no such switch", detail))).into_response()
}

fn stuck(error: &dyn std::error::Error) -> Response {
    let body = problem("it did not start again", &error.to_string());
    (StatusCode::CONFLICT, Json(body)).into_response()
}

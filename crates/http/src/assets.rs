//! The dashboard's files, built into the binary: no build step, nothing from elsewhere.

use crate::state::App;
use axum::{
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// One file.
pub(crate) struct Asset {
    pub(crate) path: &'static str,
    pub(crate) content_type: &'static str,
    pub(crate) content: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! asset {
    ($path:literal, $content_type:expr, $file:literal) => {
        Asset { path: $path, content_type: $content_type, content: include_str!(concat!("../dashboard/", $file)) }
    };
}

/// Every file, `/` being the page itself.
pub(crate) static ASSETS: &[Asset] = &[
    asset!("/", HTML, "index.html"),
    asset!("/style.css", CSS, "style.css"),
    asset!("/favicon.svg", SVG, "favicon.svg"),
    asset!("/js/alarmpieces.js", SCRIPT, "js/alarmpieces.js"),
    asset!("/js/app.js", SCRIPT, "js/app.js"),
    asset!("/js/ask.js", SCRIPT, "js/ask.js"),
    asset!("/js/attempts.js", SCRIPT, "js/attempts.js"),
    asset!("/js/demo.js", SCRIPT, "js/demo.js"),
    asset!("/js/dom.js", SCRIPT, "js/dom.js"),
    asset!("/js/draw.js", SCRIPT, "js/draw.js"),
    asset!("/js/facts.js", SCRIPT, "js/facts.js"),
    asset!("/js/flowpieces.js", SCRIPT, "js/flowpieces.js"),
    asset!("/js/format.js", SCRIPT, "js/format.js"),
    asset!("/js/history.js", SCRIPT, "js/history.js"),
    asset!("/js/keys.js", SCRIPT, "js/keys.js"),
    asset!("/js/operator.js", SCRIPT, "js/operator.js"),
    asset!("/js/panel.js", SCRIPT, "js/panel.js"),
    asset!("/js/pieces.js", SCRIPT, "js/pieces.js"),
    asset!("/js/route.js", SCRIPT, "js/route.js"),
    asset!("/js/rows.js", SCRIPT, "js/rows.js"),
    asset!("/js/spark.js", SCRIPT, "js/spark.js"),
    asset!("/js/store.js", SCRIPT, "js/store.js"),
    asset!("/js/table.js", SCRIPT, "js/table.js"),
    asset!("/js/trend.js", SCRIPT, "js/trend.js"),
    asset!("/js/views/alarm.js", SCRIPT, "js/views/alarm.js"),
    asset!("/js/views/alarms.js", SCRIPT, "js/views/alarms.js"),
    asset!("/js/views/audit.js", SCRIPT, "js/views/audit.js"),
    asset!("/js/views/batches.js", SCRIPT, "js/views/batches.js"),
    asset!("/js/views/cores.js", SCRIPT, "js/views/cores.js"),
    asset!("/js/views/dead.js", SCRIPT, "js/views/dead.js"),
    asset!("/js/views/flow.js", SCRIPT, "js/views/flow.js"),
    asset!("/js/views/flows.js", SCRIPT, "js/views/flows.js"),
    asset!("/js/views/letter.js", SCRIPT, "js/views/letter.js"),
    asset!("/js/views/overview.js", SCRIPT, "js/views/overview.js"),
    asset!("/js/views/sources.js", SCRIPT, "js/views/sources.js"),
    asset!("/js/views/tags.js", SCRIPT, "js/views/tags.js"),
    asset!("/js/views/trace.js", SCRIPT, "js/views/trace.js"),
    asset!("/js/views/trend.js", SCRIPT, "js/views/trend.js"),
];

/// Serves one file; a browser that has it already gets 304.
pub(crate) fn handler(asset: &'static Asset) -> MethodRouter<App> {
    let mut hasher = DefaultHasher::new();
    asset.content.hash(&mut hasher);
    let tag = format!("\"{:016x}\"", hasher.finish());
    get(move |headers: HeaderMap| std::future::ready(answer(asset, &tag, &headers)))
}

fn answer(asset: &'static Asset, tag: &str, headers: &HeaderMap) -> Response {
    let fixed = [
        (header::CONTENT_TYPE, asset.content_type.to_owned()),
        (header::CACHE_CONTROL, "no-cache".to_owned()),
        (header::ETAG, tag.to_owned()),
    ];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known == tag) {
        return (StatusCode::NOT_MODIFIED, fixed).into_response();
    }
    (fixed, asset.content).into_response()
}

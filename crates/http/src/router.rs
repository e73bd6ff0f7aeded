//! The router, made from the table of routes and the dashboard's files.

use crate::{
    assets,
    backend::Backend,
    business::Flows,
    guard,
    limits::Limits,
    problem::Problem,
    routes::ROUTES,
    state::{App, Shared},
};
use axum::{
    extract::MatchedPath,
    http::{Method, StatusCode, Uri},
    middleware,
};
use std::sync::Arc;

/// A router and what its connections share. Make one for the process and clone it for each shard:
/// the limits then hold for all of them together, and a stop of one stops the streams of all.
#[derive(Clone)]
pub struct Service {
    /// The router itself.
    pub router: axum::Router,
    pub(crate) app: App,
}

/// Makes the API and the dashboard over the two ports.
pub fn router(backend: Arc<dyn Backend>, flows: Arc<dyn Flows>, limits: Limits) -> Service {
    let app = Shared::new(backend, flows, limits);
    let mut router = axum::Router::new();
    for route in ROUTES {
        router = router.route(route.path, (route.handler)());
    }
    for asset in assets::ASSETS {
        router = router.route(asset.path, assets::handler(asset));
    }
    let router = router
        .fallback(unknown)
        .method_not_allowed_fallback(not_allowed)
        .layer(middleware::from_fn_with_state(app.clone(), guard::guard))
        .with_state(app.clone());
    Service { router, app }
}

async fn unknown(uri: Uri) -> Problem {
    let known: Vec<&str> = ROUTES.iter().map(|route| route.path).collect();
    let advice = match crate::query::nearest(uri.path(), &known) {
        Some(near) => format!("did you mean {near}?"),
        None => "GET /openapi.json lists all calls".to_owned(),
    };
    let detail = format!("there is nothing at {}; {advice}", crate::problem::short(uri.path()));
    Problem::new(StatusCode::NOT_FOUND, "not-found", "There is nothing here", detail)
}

async fn not_allowed(method: Method, path: Option<MatchedPath>, uri: Uri) -> Problem {
    let pattern = path.as_ref().map_or(uri.path(), MatchedPath::as_str);
    let taken: Vec<String> =
        ROUTES.iter().filter(|route| route.path == pattern).map(|route| route.method.to_uppercase()).collect();
    let taken = if taken.is_empty() { "GET".to_owned() } else { taken.join(", ") };
    let at = crate::problem::short(uri.path());
    let detail = format!("{at} takes {taken}, not {method}; GET /openapi.json lists all calls");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", "The method is not taken here", detail)
}

//! Names in a path, decoded; ids may hold `@`, dots and (percent-encoded) slashes.

use crate::{problem::Problem, state::App};
use axum::{
    extract::{FromRequestParts, Path, rejection::PathRejection},
    http::{StatusCode, request::Parts},
};
use serde::de::DeserializeOwned;

/// The names of a path: one text, or a pair.
pub(crate) struct Named<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Named<T>, Problem> {
        let read = Path::<T>::from_request_parts(parts, app).await;
        read.map(|Path(names)| Named(names)).map_err(|error: PathRejection| {
            let detail = format!("the path cannot be read: {}; percent-encode names as UTF-8", error.body_text());
            Problem::new(StatusCode::BAD_REQUEST, "bad-path", "The path is not understood", detail)
        })
    }
}

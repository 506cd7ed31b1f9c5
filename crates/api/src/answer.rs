//! How answers are written: JSON, with the headers that every answer carries.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use tracing::error;

use crate::refusal::Refusal;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// An answer of a type of ours.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => json_bytes(status, bytes),
        Err(error) => {
            error!(%error, "an answer could not be written");
            Refusal::Fault.into_response()
        }
    }
}

/// An answer that shows a secret: no cache may keep it.
pub(crate) fn secret_json(status: StatusCode, body: &impl Serialize) -> Response {
    let mut response = json(status, body);
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    response
}

/// An answer whose bytes are JSON already.
pub(crate) fn json_bytes(status: StatusCode, bytes: impl Into<Body>) -> Response {
    typed(status, JSON, bytes)
}

/// An answer of any type.
pub(crate) fn typed(status: StatusCode, kind: HeaderValue, bytes: impl Into<Body>) -> Response {
    let mut response = Response::new(bytes.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    response
}

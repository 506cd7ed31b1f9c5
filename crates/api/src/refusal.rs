//! Every way in which a request is turned down, and the one place that writes it.
//!
//! A refusal is `{"detail": "..."}` with its status; nothing of the store's own words and nothing
//! secret is in it.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::header::{CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use posthaste_ports::PortError;
use serde::Serialize;
use thiserror::Error;
use tracing::{error, warn};
use utoipa::ToSchema;

use crate::answer;

/// When to come back after a fault that usually passes within a second.
const RETRY_SOON_S: u64 = 1;
/// When to come back after a fault that takes a restart.
const RETRY_LATER_S: u64 = 5;
/// Details quote what the client sent; a long quotation helps nobody.
const DETAIL_CHARS_MAX: usize = 300;

/// An error, as every route tells it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct ErrorBody {
    /// What is wrong, for a person.
    #[schema(example = "limit must be 1 to 100")]
    detail: String,
}

/// Why a request is turned down.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Refusal {
    /// 400: a value is not lawful, or the bytes are not JSON.
    #[error("{0}")]
    BadValue(Cow<'static, str>),
    /// 401: no key, or none that is good.
    #[error("{0}")]
    Unauthorized(&'static str),
    /// 403: a good key, but not for this.
    #[error("{0}")]
    Forbidden(&'static str),
    /// 404.
    #[error("{0}")]
    NotFound(&'static str),
    /// 405.
    #[error("method not allowed")]
    MethodNotAllowed,
    /// 408: the body took too long.
    #[error("the body did not arrive in time")]
    Slow,
    /// 409.
    #[error("{0}")]
    Conflict(&'static str),
    /// 413.
    #[error("{0}")]
    TooLarge(Cow<'static, str>),
    /// 415: a compressed body could not be delivered byte for byte.
    #[error("a body with Content-Encoding is not accepted")]
    Encoded,
    /// 422: JSON, but not of the shape that is expected.
    #[error("{0}")]
    Shape(Cow<'static, str>),
    /// 429: the tenant's quota is used up.
    #[error("more events than the tenant's quota allows")]
    OverQuota {
        /// The `Retry-After` header, in seconds.
        retry_after_s: u64,
    },
    /// 500: a fault of ours that a retry will not mend.
    #[error("internal fault")]
    Fault,
    /// 503: cannot be done now.
    #[error("{detail}")]
    Unavailable {
        /// What is not to be had.
        detail: &'static str,
        /// The `Retry-After` header, in seconds.
        retry_after_s: u64,
    },
    /// 507: the disk is too full to promise anything.
    #[error("storage is too full to accept events")]
    DiskFull,
}

impl Refusal {
    /// 400 with a detail.
    pub(crate) fn bad_value(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::BadValue(detail.into())
    }

    /// 422 with a detail.
    pub(crate) fn shape(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::Shape(detail.into())
    }

    /// 413 for a body.
    pub(crate) fn body_too_large(bytes_max: usize) -> Self {
        Self::TooLarge(format!("the body is longer than {bytes_max} bytes").into())
    }

    /// 503 that usually passes within a second.
    pub(crate) const fn busy(detail: &'static str) -> Self {
        Self::Unavailable { detail, retry_after_s: RETRY_SOON_S }
    }

    /// The status of the answer.
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::BadValue(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Encoded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Shape(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::OverQuota { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Fault => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
        }
    }

    /// The detail of the answer.
    pub(crate) fn detail(&self) -> String {
        let detail = self.to_string();
        match detail.char_indices().nth(DETAIL_CHARS_MAX) {
            Some((end, _)) => format!("{}…", &detail[..end]),
            None => detail,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = ErrorBody { detail: self.detail() };
        // A struct of one string always serialises.
        let bytes = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = answer::json_bytes(self.status(), bytes);
        let headers = response.headers_mut();
        match self {
            Self::Unauthorized(_) => {
                let challenge = HeaderValue::from_static("Bearer realm=\"posthaste\"");
                headers.insert(WWW_AUTHENTICATE, challenge);
            }
            Self::OverQuota { retry_after_s } | Self::Unavailable { retry_after_s, .. } => {
                headers.insert(RETRY_AFTER, HeaderValue::from(retry_after_s));
            }
            // The rest of the body is not worth waiting for.
            Self::Slow => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Self::BadValue(_)
            | Self::Forbidden(_)
            | Self::NotFound(_)
            | Self::MethodNotAllowed
            | Self::Conflict(_)
            | Self::TooLarge(_)
            | Self::Encoded
            | Self::Shape(_)
            | Self::Fault
            | Self::DiskFull => {}
        }
        response
    }
}

impl From<PortError> for Refusal {
    /// A store's failure is never the client's fault: 503 or 507, and never 401.
    fn from(error: PortError) -> Self {
        match error {
            PortError::Permanent(_) => {
                error!(%error, "the store has failed");
                let detail = "storage has failed and is being recovered";
                Self::Unavailable { detail, retry_after_s: RETRY_LATER_S }
            }
            PortError::Transient(_) => {
                // The client cannot mend it, and is not told what it is.
                warn!(%error, "a request got a 503");
                Self::busy("storage is not available now")
            }
            PortError::Throttled { retry_after_ms } => {
                let retry_after_s = retry_after_ms.div_ceil(1000).max(RETRY_SOON_S);
                Self::Unavailable { detail: "storage is busy", retry_after_s }
            }
            PortError::Full => Self::DiskFull,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For all store errors: the client is told to come back, or that the disk is full.
    #[test]
    fn store_errors_are_503_with_a_time_or_507() {
        let retry_after = |error: PortError| {
            let response = Refusal::from(error).into_response();
            let after = response.headers().get(RETRY_AFTER);
            (response.status().as_u16(), after.map(|value| value.to_str().unwrap().to_owned()))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(retry_after(PortError::Transient("x".into())), (503, some("1")));
        assert_eq!(retry_after(PortError::Permanent("x".into())), (503, some("5")));
        for (retry_after_ms, seconds) in [(0, "1"), (1000, "1"), (1001, "2")] {
            let error = PortError::Throttled { retry_after_ms };
            assert_eq!(retry_after(error), (503, some(seconds)));
        }
        assert_eq!(retry_after(PortError::Full), (507, None));
    }

    #[test]
    fn a_long_quotation_is_cut_between_characters() {
        let detail = Refusal::bad_value("ü".repeat(1000)).detail();
        assert_eq!(detail.chars().count(), DETAIL_CHARS_MAX + 1);
    }
}

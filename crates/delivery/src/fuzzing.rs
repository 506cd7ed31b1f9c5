//! What reads an endpoint's words, for the fuzz targets: no part of the crate's surface, and
//! there only with the feature `fuzzing`.

use http::HeaderValue;
use posthaste_domain::Timestamp;

/// For how many milliseconds a `Retry-After` of this value asks, at this time.
#[must_use]
pub fn retry_after(value: &HeaderValue, wall: Timestamp) -> Option<u64> {
    crate::retry_after::parse(value, wall)
}

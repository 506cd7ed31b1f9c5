//! Query strings: every parameter is known, comes once, and has a lawful value; else 400.

use axum::extract::Query;
use http::Uri;
use serde::de::DeserializeOwned;

use crate::refusal::Refusal;

/// The parameters of a query string. `T` denies unknown fields; serde refuses duplicates.
pub(crate) fn parse<T: DeserializeOwned>(uri: &Uri) -> Result<T, Refusal> {
    let parsed = Query::try_from_uri(uri);
    parsed
        .map(|Query(params)| params)
        .map_err(|rejection| Refusal::bad_value(rejection.body_text()))
}

/// Refuses any parameter, on routes where one that is ignored would do harm.
pub(crate) fn refuse_any(uri: &Uri) -> Result<(), Refusal> {
    match uri.query() {
        None | Some("") => Ok(()),
        Some(_) => Err(Refusal::bad_value("this route takes no query parameters")),
    }
}

/// A page limit from 1 to `max`.
pub(crate) fn limit(given: Option<u32>, max: u32, default: u32) -> Result<usize, Refusal> {
    let limit = given.unwrap_or(default);
    if (1..=max).contains(&limit) {
        Ok(limit as usize)
    } else {
        Err(Refusal::bad_value(format!("limit must be 1 to {max}")))
    }
}

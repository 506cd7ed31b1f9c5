//! `POST /v1/events/batch`: many events, one durable step, one answer for each in order.
//!
//! An entry's bytes are delivered as they stand in the request. What is wrong with an entry is
//! told in its place and harms no other; only a document that is no batch at all is refused whole.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use posthaste_domain::TenantId;
use posthaste_ports::{Idempotency, NewEvent};
use serde::Serialize;
use utoipa::ToSchema;

use super::ingest::{EventAccepted, accepted, idempotency_key, sha256};
use crate::answer;
use crate::app::App;
use crate::body::refuse_encoding;
use crate::documented::{BodyRefusals, KeyRefusals, QuotaRefusals};
use crate::json::{Entry, split_batch};
use crate::refusal::Refusal;

/// A batch, in either form.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes to OpenAPI what split_batch reads")]
pub(crate) enum BatchRequest {
    /// The events.
    List(Vec<serde_json::Map<String, serde_json::Value>>),
    /// The events under a name.
    Named(NamedBatch),
}

/// A batch under the one name that it may have.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes to OpenAPI what split_batch reads")]
pub(crate) struct NamedBatch {
    /// The events.
    #[schema(min_items = 1)]
    events: Vec<serde_json::Map<String, serde_json::Value>>,
}

/// What came of each entry, in order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchAnswer {
    results: Vec<BatchResult>,
}

/// What came of one entry.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum BatchResult {
    /// It is durable.
    Accepted(EventAccepted),
    /// It was not taken.
    Refused {
        /// Why not.
        error: BatchError,
    },
}

/// Why an entry was not taken.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchError {
    /// The status that the entry alone would have got.
    #[schema(example = 422)]
    status: u16,
    /// What is wrong, for a person.
    #[schema(example = "not a JSON object")]
    detail: String,
}

impl From<Refusal> for BatchResult {
    fn from(refusal: Refusal) -> Self {
        let (status, detail) = (refusal.status().as_u16(), refusal.detail());
        Self::Refused { error: BatchError { status, detail } }
    }
}

/// Accept many events
///
/// Up to 500 events and 5 MiB in all, as an array or as `{"events": [..]}`; each event follows
/// the rules of a single one. An `Idempotency-Key` covers the batch: sent again, each entry gets
/// its first answer, and an entry that has changed is a 409 of its own.
#[utoipa::path(
    post,
    path = "/v1/events/batch",
    tag = "events",
    params(("Idempotency-Key" = Option<String>, Header,
        description = "1 to 255 visible ASCII characters.", min_length = 1, max_length = 255)),
    request_body(content = BatchRequest, example = json!([{"order": 17}, {"order": 18}])),
    responses(
        (status = 207, description = "One result for each entry.", body = BatchAnswer),
        KeyRefusals,
        BodyRefusals,
        QuotaRefusals,
    ),
    security(("tenant_key" = [])),
)]
pub(crate) async fn create_batch(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let tenant = app.tenant(&parts).await?;
    let key = idempotency_key(&parts.headers)?;
    refuse_encoding(&parts.headers)?;
    let (batch, _share) = app.read_body(body, app.settings.batch_bytes_max).await?;
    let entries = split_batch(&batch, app.settings.batch_events_max)?;
    if entries.is_empty() {
        return Err(Refusal::bad_value("the batch has no events"));
    }
    app.within_quota(&tenant, entries.len())?;
    let checked = entries.iter().map(|entry| check(&app, entry)).collect::<Vec<_>>();
    let events = new_events(&app, &tenant, key, &batch, (&entries, &checked));
    drop(batch);
    let answers =
        if events.is_empty() { vec![] } else { app.stores.events.accept_each(events).await? };
    let mut answers = answers.into_iter();
    let results = checked
        .into_iter()
        .map(|checked| checked.and_then(|()| accepted(answers.next().transpose()?)))
        .map(|result| result.map_or_else(BatchResult::from, BatchResult::Accepted))
        .collect();
    Ok(answer::json(StatusCode::MULTI_STATUS, &BatchAnswer { results }))
}

fn check(app: &App, entry: &Entry) -> Result<(), Refusal> {
    entry.checked?;
    let bytes_max = app.settings.body_bytes_max;
    if entry.range.len() > bytes_max {
        return Err(Refusal::TooLarge(format!("longer than {bytes_max} bytes").into()));
    }
    Ok(())
}

/// The events of the entries that can be events, each with bytes of its own: one that waits long
/// must not keep the whole batch in memory.
fn new_events(
    app: &App,
    tenant: &TenantId,
    key: Option<&HeaderValue>,
    batch: &Bytes,
    (entries, checked): (&[Entry], &[Result<(), Refusal>]),
) -> Vec<NewEvent> {
    let now = app.clock.now();
    let lawful = entries.iter().zip(checked).enumerate();
    lawful
        .filter(|(_, (_, checked))| checked.is_ok())
        .map(|(index, (entry, _))| {
            let payload = Bytes::copy_from_slice(&batch[entry.range.clone()]);
            let idempotency = key.map(|key| Idempotency {
                // A NUL cannot be in a key, so no single event has the same hash.
                key: sha256(&[b"batch\0", &index.to_be_bytes(), key.as_bytes()]),
                body: sha256(&[&payload]),
            });
            NewEvent { tenant: tenant.clone(), id: app.event_id(now), payload, idempotency }
        })
        .collect()
}

//! Looking at events: pages, one event with its attempts, and the retry that starts a new round.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use posthaste_domain::{ErrorClass, EventId, EventStatus, TenantId, Verdict};
use posthaste_ports::{EventDetail, EventSummary, ListQuery, LoggedAttempt, Retried};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tracing::error;
use utoipa::ToSchema;

use crate::answer;
use crate::app::App;
use crate::documented::{KeyRefusals, NameRefusals, QueryRefusals};
use crate::query;
use crate::refusal::{ErrorBody, Refusal};
use crate::wire::{StatusName, time};

/// Events on a page at most.
const LIMIT_MAX: u32 = 100;
/// Events on a page where nobody says how many.
const LIMIT_DEFAULT: u32 = 50;
/// What a page token is for, and its layout: expiry in Unix ms, then event id, big-endian.
const TOKEN_PURPOSE: &str = "events-page/1";
const TOKEN_PAYLOAD_BYTES: usize = 8 + 16;
/// An answer of 410 has no error class: the event is over.
const GONE: &str = "gone";

/// Which page of events.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// Only events that stand here.
    #[param(inline)]
    status: Option<StatusName>,
    /// Events on the page at most.
    #[param(minimum = 1, maximum = 100, default = 50)]
    limit: Option<u32>,
    /// The `next_token` of the page before, with the same `status`; good for 24 h.
    next_token: Option<String>,
}

/// A page of events, newest first; full unless it is the last.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventListAnswer {
    events: Vec<EventListItem>,
    /// Leads to the next page; null on the last.
    next_token: Option<String>,
    /// Events on this page.
    total_count: usize,
}

/// An event in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventListItem {
    #[schema(example = "evt_01KAV2W8C0T6Q5N9J4E8D7B3ZX")]
    event_id: String,
    status: StatusName,
    /// RFC 3339, UTC.
    #[schema(example = "2026-11-24T08:56:00.123Z")]
    created_at: String,
    /// Attempts that the current round has finished.
    attempts: u32,
    /// When the last attempt started.
    last_attempt_at: Option<String>,
}

/// One event.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventAnswer {
    event: EventBody,
}

/// Everything about an event.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventBody {
    #[schema(example = "evt_01KAV2W8C0T6Q5N9J4E8D7B3ZX")]
    event_id: String,
    status: StatusName,
    #[schema(example = "2026-11-24T08:56:00.123Z")]
    created_at: String,
    /// The event as it was posted.
    #[schema(value_type = Object)]
    payload: Box<RawValue>,
    /// Where the tenant's events go now.
    #[schema(example = "https://example.com/webhooks")]
    target_url: String,
    /// Attempts that the current round has finished.
    attempts: u32,
    last_attempt_at: Option<String>,
    /// What went wrong at last.
    error_message: Option<String>,
    /// When the next attempt is due, where one waits.
    next_attempt_at: Option<String>,
    /// All attempts of all rounds, oldest first.
    attempt_log: Vec<AttemptBody>,
}

/// One HTTP request to the endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AttemptBody {
    /// 0 at first, one more with each retry or requeue by hand.
    round: u32,
    /// Which attempt of its round, from 1.
    number: u32,
    /// When it started.
    #[schema(example = "2026-11-24T08:56:00.123Z")]
    at: String,
    /// The endpoint's answer, where there was one.
    #[schema(example = 503)]
    status_code: Option<u16>,
    duration_ms: u32,
    /// The kind of failure; null for a delivery.
    #[schema(example = "server_error")]
    error_class: Option<&'static str>,
    /// What went wrong, in one line.
    error: Option<String>,
    /// The first 1 KiB of the answer's body; what is not UTF-8 is replaced by U+FFFD.
    response: String,
}

/// List events
///
/// Newest first. A page is full unless it is the last; `total_count` counts this page.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "events",
    params(ListParams),
    responses(
        (status = 200, description = "A page.", body = EventListAnswer),
        KeyRefusals,
        QueryRefusals,
    ),
    security(("tenant_key" = [])),
)]
pub(crate) async fn list_events(
    State(app): State<Arc<App>>,
    parts: Parts,
) -> Result<Response, Refusal> {
    let tenant = app.tenant(&parts).await?;
    let params: ListParams = query::parse(&parts.uri)?;
    let limit = query::limit(params.limit, LIMIT_MAX, LIMIT_DEFAULT)?;
    let status = params.status.map(EventStatus::from);
    let context = [TOKEN_PURPOSE, tenant.as_str(), status.map_or("", EventStatus::as_str)];
    let now = app.clock.now();
    let before = match &params.next_token {
        Some(token) => Some(open_token(&app, &context, token).await?),
        None => None,
    };
    let page = app.stores.events.list(&tenant, ListQuery { status, before, limit, now }).await?;
    let next_token = match page.next {
        Some(id) => {
            let expires = now.plus_millis(app.settings.page_token_ms).as_millis();
            let payload = [&expires.to_be_bytes()[..], &id.as_u128().to_be_bytes()].concat();
            Some(app.sealer().await?.seal(&context, &payload))
        }
        None => None,
    };
    let events: Vec<_> = page.events.into_iter().map(list_item).collect();
    let total_count = events.len();
    Ok(answer::json(StatusCode::OK, &EventListAnswer { events, next_token, total_count }))
}

async fn open_token(app: &App, context: &[&str], token: &str) -> Result<EventId, Refusal> {
    let payload = app.sealer().await?.open(context, token);
    let payload: Option<[u8; TOKEN_PAYLOAD_BYTES]> = payload.and_then(|p| p.try_into().ok());
    let refused = || Refusal::bad_value("next_token is not one of ours, for this query");
    let payload = payload.ok_or_else(refused)?;
    let number = payload.iter().skip(8).fold(0_u128, |n, byte| (n << 8) | u128::from(*byte));
    let expires = payload.iter().take(8).fold(0_u64, |n, byte| (n << 8) | u64::from(*byte));
    if app.clock.now().as_millis() >= expires {
        return Err(Refusal::bad_value("next_token has expired"));
    }
    Ok(EventId::from_u128(number))
}

/// Look at an event
#[utoipa::path(
    get,
    path = "/v1/events/{event_id}",
    tag = "events",
    params(("event_id" = String, Path, example = "evt_01KAV2W8C0T6Q5N9J4E8D7B3ZX")),
    responses(
        (status = 200, description = "The event and its attempts.", body = EventAnswer),
        KeyRefusals,
        NameRefusals,
    ),
    security(("tenant_key" = [])),
)]
pub(crate) async fn event(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    parts: Parts,
) -> Result<Response, Refusal> {
    let tenant = app.tenant(&parts).await?;
    let id = event_id(path)?;
    detail(&app, &tenant, id).await
}

/// Retry an event
///
/// Starts a fresh round of attempts for a FAILED or DLQ event, due at once; its earlier attempts
/// stay in its log.
#[utoipa::path(
    post,
    path = "/v1/events/{event_id}/retry",
    tag = "events",
    params(("event_id" = String, Path, example = "evt_01KAV2W8C0T6Q5N9J4E8D7B3ZX")),
    responses(
        (status = 200, description = "The event, PENDING.", body = EventAnswer),
        (status = 400, description = "The event is neither FAILED nor in the DLQ.",
            body = ErrorBody),
        KeyRefusals,
        NameRefusals,
    ),
    security(("tenant_key" = [])),
)]
pub(crate) async fn retry_event(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    parts: Parts,
) -> Result<Response, Refusal> {
    let tenant = app.tenant(&parts).await?;
    let id = event_id(path)?;
    match app.stores.events.retry(&tenant, id, app.clock.now()).await? {
        Retried::Requeued => detail(&app, &tenant, id).await,
        Retried::NotFound => Err(no_such_event()),
        Retried::NotRetryable(status) => Err(Refusal::bad_value(format!(
            "only FAILED and DLQ events can be retried; this one is {}",
            status.as_str()
        ))),
    }
}

/// An id that cannot be is an event that does not exist.
fn event_id(path: Result<Path<String>, PathRejection>) -> Result<EventId, Refusal> {
    path.ok().and_then(|Path(text)| text.parse().ok()).ok_or_else(no_such_event)
}

const fn no_such_event() -> Refusal {
    Refusal::NotFound("no such event")
}

async fn detail(app: &App, tenant: &TenantId, id: EventId) -> Result<Response, Refusal> {
    let detail = app.stores.events.event(tenant, id, app.clock.now()).await?;
    let detail = detail.ok_or_else(no_such_event)?;
    let record = app.stores.tenants.tenant(tenant).await?;
    let record = record.ok_or(Refusal::NotFound("no such tenant"))?;
    let event = event_body(detail, record.target.as_str())?;
    Ok(answer::json(StatusCode::OK, &EventAnswer { event }))
}

fn list_item(summary: EventSummary) -> EventListItem {
    EventListItem {
        event_id: summary.id.to_string(),
        status: summary.status.into(),
        created_at: summary.id.created_at().to_rfc3339(),
        attempts: summary.attempts,
        last_attempt_at: time(summary.last_attempt_at),
    }
}

fn event_body(detail: EventDetail, target_url: &str) -> Result<EventBody, Refusal> {
    let text = String::from_utf8_lossy(&detail.payload).into_owned();
    let payload = RawValue::from_string(text).map_err(|error| {
        error!(event = %detail.summary.id, %error, "a stored payload is not JSON");
        Refusal::Fault
    })?;
    let item = list_item(detail.summary);
    Ok(EventBody {
        event_id: item.event_id,
        status: item.status,
        created_at: item.created_at,
        payload,
        target_url: target_url.to_owned(),
        attempts: item.attempts,
        last_attempt_at: item.last_attempt_at,
        error_message: detail.error.map(Into::into),
        next_attempt_at: time(detail.next_attempt_at),
        attempt_log: detail.log.into_iter().map(attempt_body).collect(),
    })
}

fn attempt_body(logged: LoggedAttempt) -> AttemptBody {
    let attempt = logged.attempt;
    let error_class = match attempt.verdict {
        Verdict::Delivered => None,
        Verdict::Gone => Some(GONE),
        Verdict::Failed { class, .. } | Verdict::NotCharged { class } => {
            Some(ErrorClass::as_str(class))
        }
    };
    AttemptBody {
        round: logged.round,
        number: attempt.number,
        at: attempt.at.to_rfc3339(),
        status_code: attempt.status_code,
        duration_ms: attempt.duration_ms,
        error_class,
        error: attempt.error.map(Into::into),
        response: String::from_utf8_lossy(&attempt.response).into_owned(),
    }
}

//! The built-in receiver: takes webhooks that were signed with a tenant's secret.
//!
//! Every failure gets the same answer at the same cost: an unknown tenant is verified against a
//! key that nobody knows, and as many digests are computed for a tenant with one secret as for one
//! that is changing its secret. What is signed is the body as it came, whatever its type or
//! encoding. A message that was seen before gets the same 200 and is not processed again.

mod replays;
mod verify;

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use posthaste_domain::{EventId, TenantId, Timestamp};
use serde::Serialize;
use tracing::info;
use utoipa::ToSchema;

pub(crate) use replays::Replays;

use crate::answer;
use crate::app::App;
use crate::documented::KeyRefusals;
use crate::refusal::{ErrorBody, Refusal};
use crate::settings::ReceivedWebhook;

/// Somebody has switched the receiver off on purpose; it will not be on again in a second.
const DISABLED: Refusal =
    Refusal::Unavailable { detail: "webhook reception is disabled", retry_after_s: 60 };
const NOT_VERIFIED: Refusal = Refusal::Unauthorized("the webhook could not be verified");
const ATTEMPT: &str = "webhook-attempt";

/// A webhook was taken.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReceivedAnswer {
    #[schema(example = "received")]
    status: &'static str,
    #[schema(example = "acme")]
    tenant_id: String,
}

/// The switch has been set.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SwitchAnswer {
    webhook_reception: Reception,
    message: &'static str,
}

/// Where the switch stands.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReceptionAnswer {
    webhook_reception: Reception,
    accepts_webhooks: bool,
}

/// The switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Reception {
    /// Webhooks are taken.
    Enabled,
    /// Webhooks get 503.
    Disabled,
}

/// The receiver runs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HealthAnswer {
    #[schema(example = "healthy")]
    status: &'static str,
    #[schema(example = "webhook-receiver")]
    service: &'static str,
}

/// Receive a webhook
///
/// Verified by `Stripe-Signature` against the tenant's live secrets; its time may be 300 s from
/// now, either way.
#[utoipa::path(
    post,
    path = "/receiver/{tenant_id}/webhook",
    tag = "receiver",
    params(
        ("tenant_id" = String, Path, example = "acme"),
        ("Stripe-Signature" = String, Header, description = "`t=<unix s>,v1=<hex>[,v1=<hex>]`"),
        ("webhook-id" = Option<String>, Header, description = "The event's id."),
        ("webhook-timestamp" = Option<String>, Header),
        ("webhook-signature" = Option<String>, Header, description = "`v1,<base64>[ v1,…]`"),
        ("webhook-attempt" = Option<u32>, Header),
    ),
    request_body(content = Object, description = "Any bytes, up to 1 MiB."),
    responses(
        (status = 200, description = "Verified.", body = ReceivedAnswer),
        (status = 401, description = "Not verified, for whatever reason.",
            body = ErrorBody),
        (status = 408, description = "The body did not arrive in time.",
            body = ErrorBody),
        (status = 413, description = "The body is over the limit.",
            body = ErrorBody),
        (status = 503, description = "Reception is disabled; see `Retry-After`.",
            body = ErrorBody),
    ),
)]
pub(crate) async fn receive_webhook(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    if !app.stores.tenants.reception_enabled().await? {
        return Err(DISABLED);
    }
    let (parts, body) = request.into_parts();
    let (body, _share) = app.read_body(body, app.settings.receiver_body_bytes_max).await?;
    let tenant = path.ok().and_then(|Path(text)| TenantId::try_new(&text).ok());
    let record = match &tenant {
        Some(tenant) => app.stores.tenants.tenant(tenant).await?,
        None => None,
    };
    let at = app.clock.wall();
    let secrets = record.as_deref().map(|record| &record.secrets);
    let verified = verify::verify(secrets, &app.decoy, &parts.headers, &body, at);
    let (Some(tenant), Some(verified)) = (tenant, verified) else {
        return Err(NOT_VERIFIED);
    };
    if app.replays.admit(&verified.identity(&tenant, &body), at) {
        observe(&app, &tenant, &parts.headers, body, at);
    }
    let answer = ReceivedAnswer { status: "received", tenant_id: tenant.to_string() };
    Ok(answer::json(StatusCode::OK, &answer))
}

fn observe(app: &App, tenant: &TenantId, headers: &HeaderMap, body: Bytes, at: Timestamp) {
    let Some(observer) = &app.receiver_observer else { return };
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let event: Option<EventId> = text(verify::WEBHOOK_ID).and_then(|text| text.parse().ok());
    let attempt = text(ATTEMPT).and_then(|text| text.parse().ok());
    observer(ReceivedWebhook { tenant: tenant.clone(), event, attempt, body, at });
}

/// Switch reception on
#[utoipa::path(
    post,
    path = "/receiver/enable",
    tag = "receiver",
    responses(
        (status = 200, description = "Webhooks are taken from now on.", body = SwitchAnswer),
        KeyRefusals,
    ),
    security(("admin_key" = [])),
)]
pub(crate) async fn enable(State(app): State<Arc<App>>, parts: Parts) -> Result<Response, Refusal> {
    switch(&app, &parts, Reception::Enabled, "webhooks are accepted").await
}

/// Switch reception off
///
/// Stored; survives restarts.
#[utoipa::path(
    post,
    path = "/receiver/disable",
    tag = "receiver",
    responses(
        (status = 200, description = "Webhooks get 503 from now on.", body = SwitchAnswer),
        KeyRefusals,
    ),
    security(("admin_key" = [])),
)]
pub(crate) async fn disable(
    State(app): State<Arc<App>>,
    parts: Parts,
) -> Result<Response, Refusal> {
    switch(&app, &parts, Reception::Disabled, "webhooks are refused with 503").await
}

async fn switch(
    app: &App,
    parts: &Parts,
    webhook_reception: Reception,
    message: &'static str,
) -> Result<Response, Refusal> {
    app.admin(parts).await?;
    let enabled = webhook_reception == Reception::Enabled;
    app.stores.tenants.set_reception_enabled(enabled).await?;
    info!(enabled, "webhook reception switched");
    Ok(answer::json(StatusCode::OK, &SwitchAnswer { webhook_reception, message }))
}

/// Where the switch stands
#[utoipa::path(
    get,
    path = "/receiver/status",
    tag = "receiver",
    responses(
        (status = 200, description = "Where the switch stands.", body = ReceptionAnswer),
        (status = 503, description = "The store cannot answer now; see `Retry-After`.",
            body = ErrorBody),
    ),
)]
pub(crate) async fn status(State(app): State<Arc<App>>) -> Result<Response, Refusal> {
    let accepts_webhooks = app.stores.tenants.reception_enabled().await?;
    let webhook_reception = if accepts_webhooks { Reception::Enabled } else { Reception::Disabled };
    Ok(answer::json(StatusCode::OK, &ReceptionAnswer { webhook_reception, accepts_webhooks }))
}

/// Whether the receiver runs
#[utoipa::path(
    get,
    path = "/receiver/health",
    tag = "receiver",
    responses((status = 200, description = "It runs.", body = HealthAnswer)),
)]
pub(crate) async fn health() -> Response {
    let answer = HealthAnswer { status: "healthy", service: "webhook-receiver" };
    answer::json(StatusCode::OK, &answer)
}

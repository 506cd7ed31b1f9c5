//! Tenants: created, looked at, changed; their keys are in [`keys`], how their events are delivered
//! in [`delivery`].
//!
//! A secret is shown only in the answer that creates it. Everything is refused that deliveries
//! could not use: a target URL is parsed and vetted before it is kept.

mod delivery;
pub(crate) mod keys;

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use posthaste_domain::{
    ApiKey, DeliveryOptions, OptionsChange, Part, TargetUrl, TenantId, Timestamp, WebhookSecret,
};
use posthaste_ports::{Created, NewTenant, TenantChange, TenantRecord};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use self::delivery::{DeliveryBody, Wanted};
use crate::answer;
use crate::app::App;
use crate::auth::Caller;
use crate::documented::{BodyRefusals, KeyRefusals, NameRefusals};
use crate::refusal::{ErrorBody, Refusal};
use crate::settings::Trouble;

/// The plan of a tenant for whom nobody says otherwise.
const PLAN_DEFAULT: &str = "standard";

const NO_SUCH_TENANT: Refusal = Refusal::NotFound("no such tenant");

/// A tenant to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateTenant {
    /// 3 to 50 characters of a-z, 0-9 and '-'.
    #[schema(pattern = "^[a-z0-9-]{3,50}$", example = "acme")]
    tenant_id: String,
    /// Where the tenant's events go.
    #[schema(pattern = "^https?://", example = "https://example.com/webhooks")]
    target_url: String,
    /// What signs the deliveries; made by us where it is left out.
    #[schema(min_length = 8, max_length = 256, example = "a-secret-of-your-choice")]
    webhook_secret: Option<String>,
    /// How its events are delivered, where that is not as the operator has it.
    delivery: Option<Wanted>,
}

/// A tenant that exists now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CreatedTenant {
    #[schema(example = "acme")]
    tenant_id: String,
    /// The tenant's first key. Shown only here.
    #[schema(example = "phk_…")]
    api_key: String,
    #[schema(example = "https://example.com/webhooks")]
    target_url: String,
    /// Shown only here.
    #[schema(example = "whsec_…")]
    webhook_secret: String,
    #[schema(example = "2026-11-24T08:56:00.123Z")]
    created_at: String,
    message: &'static str,
}

/// A tenant.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TenantAnswer {
    tenant: TenantBody,
}

/// A tenant, without its secret and the values of its headers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TenantBody {
    #[schema(example = "acme")]
    tenant_id: String,
    #[schema(example = "https://example.com/webhooks")]
    target_url: String,
    #[schema(example = "2026-11-24T08:56:00.123Z")]
    created_at: String,
    #[schema(example = "2026-11-24T08:56:00.123Z")]
    updated_at: String,
    delivery: DeliveryBody,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<TroubleBody>,
}

/// That the endpoint is not attempted as usual. Its events wait and lose no attempt by it.
///
/// Left out where all is well, and on AWS, where the operator sees it at the daemons. Beyond a
/// thousand endpoints in trouble at a time those that came last are left out, too.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TroubleBody {
    /// `tripped`: left alone since it failed too often in a row. `probing`: one attempt is made to
    /// see whether it is well again. `ramp`: it gets more and more attempts. `given_up`: it has not
    /// answered for so long that attempts count again. `paused`: by its options.
    #[schema(pattern = "^(paused|tripped|probing|ramp|given_up)$", example = "tripped")]
    health: &'static str,
    #[schema(example = "2026-11-24T08:56:00.123Z")]
    since: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "2026-11-24T08:57:00.123Z")]
    next_attempt_at: Option<String>,
}

impl TroubleBody {
    fn of(trouble: &Trouble) -> Self {
        Self {
            health: trouble.health,
            since: trouble.since.to_rfc3339(),
            next_attempt_at: trouble.next_attempt_at.map(Timestamp::to_rfc3339),
        }
    }
}

/// What to change; at least one field.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(min_properties = 1)]
pub(crate) struct ChangeTenant {
    /// Where events go from now on, waiting ones included.
    #[schema(pattern = "^https?://", example = "https://example.com/webhooks")]
    target_url: Option<String>,
    /// What signs from now on; the old secret signs beside it for 24 h.
    #[schema(min_length = 8, max_length = 256)]
    webhook_secret: Option<String>,
    /// How events are delivered from now on, waiting ones included.
    delivery: Option<Wanted>,
}

/// A tenant that has changed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChangedTenant {
    #[schema(example = "acme")]
    tenant_id: String,
    #[schema(example = "https://example.com/webhooks")]
    target_url: String,
    #[schema(example = "2026-11-24T08:56:00.123Z")]
    updated_at: String,
    message: String,
}

/// A tenant whose deliveries are tried again now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LiftedTenant {
    #[schema(example = "acme")]
    tenant_id: String,
    #[schema(example = "2026-11-24T08:56:00.123Z")]
    lifted_at: String,
    message: &'static str,
}

/// Create a tenant
///
/// Takes an admin key, unless the operator has opened creation to everybody.
#[utoipa::path(
    post,
    path = "/v1/tenants",
    tag = "tenants",
    request_body = CreateTenant,
    responses(
        (status = 201, description = "The tenant, its first key and its secret.",
            body = CreatedTenant),
        (status = 409, description = "The tenant exists already.",
            body = ErrorBody),
        KeyRefusals,
        BodyRefusals,
    ),
    security(("admin_key" = [])),
)]
pub(crate) async fn create_tenant(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    if !app.settings.open_tenant_creation {
        app.admin(&parts).await?;
    }
    let wanted: CreateTenant = app.read_json(&parts.headers, body).await?;
    let id = TenantId::try_new(&wanted.tenant_id)
        .map_err(|error| Refusal::bad_value(error.to_string()))?;
    let target = target(&app, &wanted.target_url)?;
    let secret = match &wanted.webhook_secret {
        Some(text) => secret(text)?,
        None => WebhookSecret::from_entropy(&app.chance()),
    };
    let options = match wanted.delivery {
        Some(wanted) => DeliveryOptions::default().changed(wanted.change()?),
        None => DeliveryOptions::default(),
    };
    let key = ApiKey::from_entropy(&app.chance());
    let new = NewTenant {
        id,
        shard_key: target.shard_key(),
        target,
        secret: secret.clone(),
        plan: PLAN_DEFAULT.into(),
        options: Arc::new(options),
        key: key.hash(),
        at: app.clock.now(),
    };
    match app.stores.tenants.create(new).await? {
        Created::AlreadyExists => Err(Refusal::Conflict("the tenant exists already")),
        Created::Created(record) => {
            app.auth_cache.invalidate(&key.hash());
            Ok(answer::secret_json(StatusCode::CREATED, &created(&record, &key, &secret)))
        }
    }
}

fn created(record: &TenantRecord, key: &ApiKey, secret: &WebhookSecret) -> CreatedTenant {
    CreatedTenant {
        tenant_id: record.id.to_string(),
        api_key: key.expose().to_owned(),
        target_url: record.target.as_str().to_owned(),
        webhook_secret: secret.expose().to_owned(),
        created_at: record.created_at.to_rfc3339(),
        message: "keep the API key and the webhook secret now: they are not shown again",
    }
}

/// Look at a tenant
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant_id}",
    tag = "tenants",
    params(("tenant_id" = String, Path, example = "acme")),
    responses(
        (status = 200, description = "The tenant, without its secrets.", body = TenantAnswer),
        KeyRefusals,
        NameRefusals,
    ),
    security(("tenant_key" = []), ("admin_key" = [])),
)]
pub(crate) async fn tenant(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    parts: Parts,
) -> Result<Response, Refusal> {
    let caller = app.caller(&parts).await?;
    let id = permitted(&caller, path.ok().map(|Path(text)| text).as_deref())?;
    let record = app.stores.tenants.tenant(&id).await?.ok_or(NO_SUCH_TENANT)?;
    let trouble = app.endpoint_health.as_ref().and_then(|health| health(&id));
    let tenant = TenantBody {
        trouble: trouble.as_ref().map(TroubleBody::of),
        tenant_id: record.id.to_string(),
        target_url: record.target.as_str().to_owned(),
        created_at: record.created_at.to_rfc3339(),
        updated_at: record.updated_at.to_rfc3339(),
        delivery: DeliveryBody::of(&record.options),
    };
    Ok(answer::json(StatusCode::OK, &TenantAnswer { tenant }))
}

/// Change a tenant
///
/// A new target takes waiting events along. A new secret signs at once, and the old one beside
/// it for 24 h, so that receivers can change over without a failure. Of the delivery options, what
/// is left out stays as it is, and `null` is the operator's setting again.
#[utoipa::path(
    patch,
    path = "/v1/tenants/{tenant_id}",
    tag = "tenants",
    params(("tenant_id" = String, Path, example = "acme")),
    request_body = ChangeTenant,
    responses(
        (status = 200, description = "The tenant has changed.", body = ChangedTenant),
        KeyRefusals,
        NameRefusals,
        BodyRefusals,
    ),
    security(("tenant_key" = []), ("admin_key" = [])),
)]
pub(crate) async fn change_tenant(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let caller = app.caller_now(&parts).await?;
    let id = permitted(&caller, path.ok().map(|Path(text)| text).as_deref())?;
    let wanted: ChangeTenant = app.read_json(&parts.headers, body).await?;
    let overlap_ms = app.settings.secret_overlap_ms;
    let target = wanted.target_url.as_deref().map(|text| target(&app, text)).transpose()?;
    let secret = wanted.webhook_secret.as_deref().map(secret).transpose()?;
    let options = wanted.delivery.map_or(Ok(OptionsChange::NOTHING), Wanted::change)?;
    let change = TenantChange {
        target,
        secret: secret.map(|secret| (secret, overlap_ms)),
        options,
        at: app.clock.now(),
    };
    let message = told(&change)?;
    let record = app.stores.tenants.update(&id, change).await?.ok_or(NO_SUCH_TENANT)?;
    let changed = ChangedTenant {
        tenant_id: record.id.to_string(),
        target_url: record.target.as_str().to_owned(),
        updated_at: record.updated_at.to_rfc3339(),
        message,
    };
    Ok(answer::json(StatusCode::OK, &changed))
}

/// What a change is, in words; a refusal where it is none.
fn told(change: &TenantChange) -> Result<String, Refusal> {
    let parts = [
        ("target_url", change.target.is_some()),
        ("webhook_secret", change.secret.is_some()),
        ("delivery", !change.options.is_nothing()),
    ];
    let names: Vec<_> = parts.iter().filter(|(_, changed)| *changed).map(|part| part.0).collect();
    if names.is_empty() {
        return Err(Refusal::bad_value(
            "give at least one of target_url, webhook_secret, delivery",
        ));
    }
    let about_secret = match &change.secret {
        None => "",
        Some((_, 0)) => "; the old secret is void",
        Some(_) => "; the old secret signs beside the new one for a while",
    };
    Ok(format!("{} changed{about_secret}", names.join(" and ")))
}

/// Try again now
///
/// Says that the endpoint works again: what kept attempts back because it did not is over, and
/// waiting events are tried at once, as fast as the limits allow; on AWS within two minutes. A
/// pause stays a pause.
#[utoipa::path(
    post,
    path = "/v1/tenants/{tenant_id}/lift",
    tag = "tenants",
    params(("tenant_id" = String, Path, example = "acme")),
    responses(
        (status = 200, description = "Deliveries are tried again.", body = LiftedTenant),
        KeyRefusals,
        NameRefusals,
    ),
    security(("tenant_key" = []), ("admin_key" = [])),
)]
pub(crate) async fn lift_tenant(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    parts: Parts,
) -> Result<Response, Refusal> {
    let caller = app.caller_now(&parts).await?;
    let id = permitted(&caller, path.ok().map(|Path(text)| text).as_deref())?;
    let at = app.clock.now();
    let options = OptionsChange { lifted_at: Part::Set(at), ..OptionsChange::NOTHING };
    let change = TenantChange { target: None, secret: None, options, at };
    app.stores.tenants.update(&id, change).await?.ok_or(NO_SUCH_TENANT)?;
    let lifted = LiftedTenant {
        tenant_id: id.to_string(),
        lifted_at: at.to_rfc3339(),
        message: "waiting events are tried again as soon as this is heard of",
    };
    Ok(answer::json(StatusCode::OK, &lifted))
}

/// The tenant that a path names, where the caller may see it. A tenant's key gets the same answer
/// for every other tenant, whether it exists or not.
fn permitted(caller: &Caller, text: Option<&str>) -> Result<TenantId, Refusal> {
    let id = text.and_then(|text| TenantId::try_new(text).ok());
    caller.may_see(id.as_ref())?;
    id.ok_or(NO_SUCH_TENANT)
}

fn target(app: &App, text: &str) -> Result<TargetUrl, Refusal> {
    TargetUrl::parse(text, &app.settings.address_policy)
        .map_err(|error| Refusal::bad_value(format!("target_url: {error}")))
}

fn secret(text: &str) -> Result<WebhookSecret, Refusal> {
    WebhookSecret::try_new(text)
        .map_err(|error| Refusal::bad_value(format!("webhook_secret: {error}")))
}

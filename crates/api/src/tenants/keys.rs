//! A tenant's keys: made (shown once), listed by name, revoked at once.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use posthaste_domain::ApiKey;
use posthaste_ports::KeyRecord;
use serde::Serialize;
use utoipa::ToSchema;

use super::{NO_SUCH_TENANT, permitted};
use crate::answer;
use crate::app::App;
use crate::documented::{KeyRefusals, NameRefusals};
use crate::refusal::{ErrorBody, Refusal};

/// A new key.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CreatedKey {
    /// Names the key in lists and when it is revoked.
    #[schema(example = "9f86d081884c")]
    key_id: String,
    /// Shown only here.
    #[schema(example = "phk_…")]
    api_key: String,
    #[schema(example = "2026-11-24T08:56:00.123Z")]
    created_at: String,
    message: &'static str,
}

/// A tenant's keys, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeyListAnswer {
    keys: Vec<KeyBody>,
}

/// A key, without itself.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeyBody {
    #[schema(example = "9f86d081884c")]
    key_id: String,
    /// False once it has been revoked.
    active: bool,
    #[schema(example = "2026-11-24T08:56:00.123Z")]
    created_at: String,
}

/// A key that is refused from now on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RevokedKey {
    #[schema(example = "9f86d081884c")]
    key_id: String,
    active: bool,
    message: &'static str,
}

/// Make another key
#[utoipa::path(
    post,
    path = "/v1/tenants/{tenant_id}/keys",
    tag = "tenants",
    params(("tenant_id" = String, Path, example = "acme")),
    responses(
        (status = 201, description = "The key; shown only here.", body = CreatedKey),
        (status = 409, description = "The tenant has as many live keys as it may.",
            body = ErrorBody),
        KeyRefusals,
        NameRefusals,
    ),
    security(("tenant_key" = []), ("admin_key" = [])),
)]
pub(crate) async fn create_key(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    parts: Parts,
) -> Result<Response, Refusal> {
    let caller = app.caller_now(&parts).await?;
    let id = permitted(&caller, path.ok().map(|Path(text)| text).as_deref())?;
    let live = app.stores.tenants.keys(&id).await?.iter().filter(|key| key.active).count();
    if live >= app.settings.keys_per_tenant_max {
        return Err(Refusal::Conflict("too many live keys: revoke one first"));
    }
    let key = ApiKey::from_entropy(&app.chance());
    let now = app.clock.now();
    if !app.stores.tenants.add_key(&id, key.hash(), now).await? {
        return Err(NO_SUCH_TENANT);
    }
    app.auth_cache.invalidate(&key.hash());
    let created = CreatedKey {
        key_id: key.hash().key_id(),
        api_key: key.expose().to_owned(),
        created_at: now.to_rfc3339(),
        message: "keep the API key now: it is not shown again",
    };
    Ok(answer::secret_json(StatusCode::CREATED, &created))
}

/// List keys
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant_id}/keys",
    tag = "tenants",
    params(("tenant_id" = String, Path, example = "acme")),
    responses(
        (status = 200, description = "The tenant's keys, oldest first.", body = KeyListAnswer),
        KeyRefusals,
        NameRefusals,
    ),
    security(("tenant_key" = []), ("admin_key" = [])),
)]
pub(crate) async fn list_keys(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    parts: Parts,
) -> Result<Response, Refusal> {
    let caller = app.caller(&parts).await?;
    let id = permitted(&caller, path.ok().map(|Path(text)| text).as_deref())?;
    app.stores.tenants.tenant(&id).await?.ok_or(NO_SUCH_TENANT)?;
    let keys = app.stores.tenants.keys(&id).await?;
    let body = |key: KeyRecord| KeyBody {
        key_id: key.hash.key_id(),
        active: key.active,
        created_at: key.created_at.to_rfc3339(),
    };
    let answer = KeyListAnswer { keys: keys.into_iter().map(body).collect() };
    Ok(answer::json(StatusCode::OK, &answer))
}

/// Revoke a key
///
/// In effect when the answer leaves. A key may revoke itself; the admin can make a new one.
#[utoipa::path(
    delete,
    path = "/v1/tenants/{tenant_id}/keys/{key_id}",
    tag = "tenants",
    params(
        ("tenant_id" = String, Path, example = "acme"),
        ("key_id" = String, Path, example = "9f86d081884c"),
    ),
    responses(
        (status = 200, description = "The key is refused from now on.", body = RevokedKey),
        KeyRefusals,
        NameRefusals,
    ),
    security(("tenant_key" = []), ("admin_key" = [])),
)]
pub(crate) async fn revoke_key(
    State(app): State<Arc<App>>,
    path: Result<Path<(String, String)>, PathRejection>,
    parts: Parts,
) -> Result<Response, Refusal> {
    let caller = app.caller_now(&parts).await?;
    let no_such_key = || Refusal::NotFound("no such key");
    // What is not UTF-8 names no key, whoever asks.
    let Path((tenant, key_id)) = path.map_err(|_| no_such_key())?;
    let id = permitted(&caller, Some(&tenant))?;
    let keys = app.stores.tenants.keys(&id).await?;
    let key = keys.iter().find(|key| key.hash.key_id() == key_id).ok_or_else(no_such_key)?;
    let known = app.stores.tenants.revoke_key(&id, &key.hash).await?;
    app.auth_cache.invalidate(&key.hash);
    if !known {
        return Err(no_such_key());
    }
    let revoked = RevokedKey { key_id, active: false, message: "the key is refused from now on" };
    Ok(answer::json(StatusCode::OK, &revoked))
}

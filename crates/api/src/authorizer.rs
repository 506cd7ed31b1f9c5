//! The authorizer of an API gateway: whose key it is, asked once for all the gateway's routes.
//!
//! ```text
//! token ─► malformed ──────────────────────────► Unauthorized (401), nothing asked
//!      ├─► admin key (by hash, constant time) ─► Allow, nothing asked
//!      ├─► guessable key of earlier versions ──► Deny (403), nothing asked
//!      └─► look-up ─► active ──────────────────► Allow
//!                  ├► unknown, not active ─────► Deny (403)
//!                  └► throttled, failed ───────► error (500): never Allow, and not remembered
//! ```
//!
//! The gateway remembers an answer by its token for up to five minutes, whichever route it was
//! asked for; so an Allow names the whole stage of the API that asked, and nothing beyond it. What
//! a caller may do there is decided by the routes.
//!
//! Keys are compared by their SHA-256: what a comparison's time could tell is no part of a key.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use posthaste_domain::{ApiKey, KeyHash, TenantId};
use posthaste_ports::{Identity, PortError};
use thiserror::Error;

use crate::auth::{Caller, hash, is_among};

/// Our keys have 53 characters; an admin key that an operator chose may be longer.
const TOKEN_BYTES_MAX: usize = 512;
/// The longest ARN of a method that makes sense: a path may have 8 KiB.
const METHOD_ARN_BYTES_MAX: usize = 16 * 1024;
/// Who the admin is in a policy and its context. No tenant can have this name.
const ADMIN: &str = "__ADMIN__";
const ACTIVE: &str = "active";
const ADMIN_PLAN: &str = "admin";

/// Finds out who a key belongs to.
#[async_trait]
pub trait KeyLookup: Send + Sync {
    /// By the key itself, as the last acknowledged write left it.
    async fn identity_of(&self, key: &str) -> Result<Option<Identity>, PortError>;
}

/// What a token is before anything is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presented {
    /// An admin key.
    Admin,
    /// It looks like a key of ours and is none: mistyped.
    Malformed,
    /// A key that follows from its tenant's name, as earlier versions had them.
    Guessable,
    /// Perhaps somebody's.
    Key,
}

/// What to make of a token.
pub(crate) fn presented(token: &str, admin_keys: &[KeyHash]) -> Presented {
    if is_among(admin_keys, &hash(token)) {
        return Presented::Admin;
    }
    if token.starts_with(ApiKey::PREFIX) {
        let is_key = ApiKey::parse(token).is_ok();
        return if is_key { Presented::Key } else { Presented::Malformed };
    }
    let name = token.strip_prefix("tenant_").and_then(|rest| rest.strip_suffix("_key"));
    if name.is_some() { Presented::Guessable } else { Presented::Key }
}

/// The token of an `Authorization` header: `Bearer`, one space, visible ASCII.
pub(crate) fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let lawful = scheme.eq_ignore_ascii_case("bearer")
        && (1..=TOKEN_BYTES_MAX).contains(&token.len())
        && token.bytes().all(|byte| byte.is_ascii_graphic());
    lawful.then_some(token)
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AuthorizerError {
    /// No key that could be anybody's: the client gets a 401.
    #[error("Unauthorized")]
    Unauthorized,
    /// The gateway asks for something that is no method of an API: a 500.
    #[error("the gateway's methodArn is none")]
    MethodArn,
    /// The key cannot be looked up now: a 500, which the gateway does not remember.
    #[error("keys cannot be looked up now")]
    Store(#[source] PortError),
}

/// Whom a key belongs to, as the gateway hands it on to the routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The tenant's id, or a name that no tenant has for the admin.
    pub tenant_id: String,
    /// `active`.
    pub status: &'static str,
    /// The plan.
    pub plan: String,
}

impl Principal {
    fn of(identity: Identity) -> Self {
        Self { tenant_id: identity.tenant.to_string(), status: ACTIVE, plan: identity.plan.into() }
    }

    fn admin() -> Self {
        Self { tenant_id: ADMIN.to_owned(), status: ACTIVE, plan: ADMIN_PLAN.to_owned() }
    }

    /// The caller that a context's `tenantId` and `status` stand for; none where they are not of
    /// our making.
    #[must_use]
    pub fn caller(tenant_id: &str, status: &str) -> Option<Caller> {
        if status != ACTIVE {
            return None;
        }
        if tenant_id == ADMIN {
            return Some(Caller::Admin);
        }
        TenantId::try_new(tenant_id).ok().map(Caller::Tenant)
    }
}

/// The authorizer's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorized {
    /// The key is good.
    Allow {
        /// Whose it is.
        principal: Principal,
        /// Every method of the stage that asked.
        resource: String,
    },
    /// The key is nobody's, or not good any more.
    Deny {
        /// Every method of the stage that asked.
        resource: String,
    },
}

/// Answers an API gateway.
#[derive(Clone)]
pub struct Authorizer {
    admin_keys: Vec<KeyHash>,
    keys: Arc<dyn KeyLookup>,
}

impl Authorizer {
    /// With the SHA-256 of each admin key.
    #[must_use]
    pub fn new(admin_keys: Vec<KeyHash>, keys: Arc<dyn KeyLookup>) -> Self {
        Self { admin_keys, keys }
    }

    /// Who may do what by an `Authorization` header, which was sent to a method.
    ///
    /// # Errors
    /// [`AuthorizerError`]; none of them lets anybody in.
    pub async fn authorize(
        &self,
        authorization: &str,
        method_arn: &str,
    ) -> Result<Authorized, AuthorizerError> {
        let resource = stage_of(method_arn).ok_or(AuthorizerError::MethodArn)?;
        let token = bearer(authorization).ok_or(AuthorizerError::Unauthorized)?;
        let principal = match presented(token, &self.admin_keys) {
            Presented::Malformed => return Err(AuthorizerError::Unauthorized),
            Presented::Guessable => None,
            Presented::Admin => Some(Principal::admin()),
            Presented::Key => {
                let found = self.keys.identity_of(token).await.map_err(AuthorizerError::Store)?;
                found.filter(|identity| identity.active).map(Principal::of)
            }
        };
        Ok(match principal {
            Some(principal) => Authorized::Allow { principal, resource },
            None => Authorized::Deny { resource },
        })
    }
}

impl fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.admin_keys.len();
        f.debug_struct("Authorizer").field("admin_keys", &keys).finish_non_exhaustive()
    }
}

/// Every method of the stage that an ARN names:
/// `arn:<partition>:execute-api:<region>:<account>:<api>/<stage>/*`.
fn stage_of(method_arn: &str) -> Option<String> {
    if method_arn.len() > METHOD_ARN_BYTES_MAX {
        return None;
    }
    let mut parts = method_arn.splitn(6, ':');
    let head: [&str; 5] = std::array::from_fn(|_| parts.next().unwrap_or_default());
    let [arn, partition, service, region, account] = head;
    let mut path = parts.next()?.split('/');
    let (api, stage, method) = (path.next()?, path.next()?, path.next()?);
    // A wildcard of the caller's would reach beyond the API.
    let is_name = |text: &str| {
        let mut bytes = text.bytes();
        !text.is_empty() && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let lawful = arn == "arn"
        && service == "execute-api"
        && [partition, region, account, api, stage].into_iter().all(is_name)
        && !method.is_empty();
    lawful.then(|| format!("arn:{partition}:execute-api:{region}:{account}:{api}/{stage}/*"))
}

#[cfg(test)]
mod tests;

//! Who sent a request: a tenant, or the admin.
//!
//! A key is hashed as it comes; a known hash is one look-up in memory. Only an unknown one is
//! parsed (form and checksum) and then asked of the store, so that mistyped keys cost the store
//! nothing. Whether a key was mistyped, revoked or never made, the answer is the same. A fault of
//! the store is a 503, never a 401.
//!
//! Behind a gateway ([`crate::gateway`]) the key was checked before: who sent the request stands in
//! its extensions, put there by whoever read the gateway's event, and nothing that a client sends
//! gets there. Routes that change or destroy ask the store all the same, because the gateway may
//! remember an answer for five minutes.

mod cache;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use posthaste_domain::{ApiKey, KeyHash, TenantId};
use ring::digest;
use tracing::error;

pub use cache::AuthCache;
use cache::{Known, Lookup};

use crate::app::App;
use crate::authorizer::{KeyLookup, Presented, bearer, presented};
use crate::constant_time;
use crate::refusal::Refusal;

const NO_KEY: Refusal = Refusal::Unauthorized("an API key is needed: Authorization: Bearer <key>");
const BAD_KEY: Refusal = Refusal::Unauthorized("the API key is not valid");

/// Who sent a request. Behind a gateway: who the gateway's authorizer says it was, as an extension
/// of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The holder of one of this tenant's keys.
    Tenant(TenantId),
    /// The holder of an admin key.
    Admin,
}

impl Caller {
    /// Refuses everybody but this tenant and the admin.
    pub(crate) fn may_see(&self, tenant: Option<&TenantId>) -> Result<(), Refusal> {
        match self {
            Self::Admin => Ok(()),
            Self::Tenant(own) if Some(own) == tenant => Ok(()),
            Self::Tenant(_) => Err(Refusal::Forbidden("this key belongs to another tenant")),
        }
    }
}

impl App {
    /// Who sent a request; an answer up to five minutes old is good enough.
    pub(crate) async fn caller(&self, parts: &Parts) -> Result<Caller, Refusal> {
        if self.gateway.is_some() {
            return vouched(parts);
        }
        let token = bearer_token(&parts.headers)?;
        let hash = hash(token);
        if is_among(&self.admin_keys, &hash) {
            return Ok(Caller::Admin);
        }
        match self.auth_cache.lookup(&hash, self.clock.now()) {
            Lookup::Hit(known) => caller_of(known),
            Lookup::Miss(before) => self.ask(token, hash, before).await,
        }
    }

    /// Who sent a request, asked of the store: for routes that change or destroy.
    pub(crate) async fn caller_now(&self, parts: &Parts) -> Result<Caller, Refusal> {
        if let Some(keys) = &self.gateway {
            return self.confirmed(vouched(parts)?, keys.as_ref(), &parts.headers).await;
        }
        let token = bearer_token(&parts.headers)?;
        let hash = hash(token);
        if is_among(&self.admin_keys, &hash) {
            return Ok(Caller::Admin);
        }
        self.ask(token, hash, self.auth_cache.before_read(&hash)).await
    }

    /// The tenant that sent a request; the admin has no events.
    pub(crate) async fn tenant(&self, parts: &Parts) -> Result<TenantId, Refusal> {
        match self.caller(parts).await? {
            Caller::Tenant(tenant) => Ok(tenant),
            Caller::Admin => Err(Refusal::Forbidden("this route takes a tenant's key")),
        }
    }

    /// Refuses everybody but the admin.
    pub(crate) async fn admin(&self, parts: &Parts) -> Result<(), Refusal> {
        match self.caller(parts).await? {
            Caller::Admin => Ok(()),
            Caller::Tenant(_) => Err(Refusal::Forbidden("this route takes an admin key")),
        }
    }

    /// Whether the key that the gateway passed on is still good, and whose it is said to be.
    async fn confirmed(
        &self,
        caller: Caller,
        keys: &dyn KeyLookup,
        headers: &HeaderMap,
    ) -> Result<Caller, Refusal> {
        let token = bearer_token(headers)?;
        let found = match presented(token, &self.admin_keys) {
            Presented::Admin => Some(Caller::Admin),
            Presented::Malformed | Presented::Guessable => None,
            Presented::Key => {
                let identity = keys.identity_of(token).await?.filter(|identity| identity.active);
                identity.map(|identity| Caller::Tenant(identity.tenant))
            }
        };
        if found.as_ref() == Some(&caller) { Ok(caller) } else { Err(BAD_KEY) }
    }

    async fn ask(&self, token: &str, hash: KeyHash, before: u64) -> Result<Caller, Refusal> {
        if ApiKey::parse(token).is_err() {
            return Err(BAD_KEY);
        }
        let identity = self.stores.tenants.identity(&hash).await?;
        let (known, keep_ms) = match identity {
            Some(identity) if identity.active => {
                (Known::Tenant(identity.tenant), self.settings.auth_cache_ms)
            }
            _ => (Known::Refused, self.settings.auth_refusal_cache_ms),
        };
        let expires = self.clock.now().plus_millis(keep_ms);
        self.auth_cache.remember(hash, known.clone(), expires, before);
        caller_of(known)
    }
}

/// Compares with every key in constant time.
pub(crate) fn is_among(keys: &[KeyHash], presented: &KeyHash) -> bool {
    keys.iter().fold(false, |found, key| {
        found | constant_time::equal(key.as_bytes(), presented.as_bytes())
    })
}

/// Who the gateway says has sent a request. A route that the gateway passes on without asking its
/// authorizer is open to nobody.
fn vouched(parts: &Parts) -> Result<Caller, Refusal> {
    parts.extensions.get().cloned().ok_or_else(|| {
        error!("a request came without the authorizer's context: is the route behind it?");
        NO_KEY
    })
}

fn caller_of(known: Known) -> Result<Caller, Refusal> {
    match known {
        Known::Tenant(tenant) => Ok(Caller::Tenant(tenant)),
        Known::Refused => Err(BAD_KEY),
    }
}

/// The one `Authorization` header's token: `Bearer`, one space, visible ASCII.
fn bearer_token(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(NO_KEY)?;
    if values.next().is_some() {
        return Err(BAD_KEY);
    }
    let text = value.to_str().map_err(|_| BAD_KEY)?;
    bearer(text).ok_or(BAD_KEY)
}

pub(crate) fn hash(token: &str) -> KeyHash {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    KeyHash::from_bytes(bytes)
}

//! Who sent a request: a tenant, or the admin.
//!
//! A key is hashed as it comes; a known hash is one look-up in memory. Only an unknown one is
//! parsed (form and checksum) and then asked of the store, so that mistyped keys cost the store
//! nothing. Whether a key was mistyped, revoked or never made, the answer is the same. A fault of
//! the store is a 503, never a 401.

mod cache;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use posthaste_domain::{ApiKey, KeyHash, TenantId};
use ring::digest;

pub use cache::AuthCache;
use cache::{Known, Lookup};

use crate::app::App;
use crate::constant_time;
use crate::refusal::Refusal;

/// Our keys have 53 characters; an admin key that an operator chose may be longer.
const TOKEN_BYTES_MAX: usize = 512;

const NO_KEY: Refusal = Refusal::Unauthorized("an API key is needed: Authorization: Bearer <key>");
const BAD_KEY: Refusal = Refusal::Unauthorized("the API key is not valid");

/// Who sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
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
    pub(crate) async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let token = bearer_token(headers)?;
        let hash = hash(token);
        if self.is_admin_key(&hash) {
            return Ok(Caller::Admin);
        }
        match self.auth_cache.lookup(&hash, self.clock.now()) {
            Lookup::Hit(known) => caller_of(known),
            Lookup::Miss(before) => self.ask(token, hash, before).await,
        }
    }

    /// Who sent a request, asked of the store: for routes that change or destroy.
    pub(crate) async fn caller_now(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let token = bearer_token(headers)?;
        let hash = hash(token);
        if self.is_admin_key(&hash) {
            return Ok(Caller::Admin);
        }
        self.ask(token, hash, self.auth_cache.before_read(&hash)).await
    }

    /// The tenant that sent a request; the admin has no events.
    pub(crate) async fn tenant(&self, headers: &HeaderMap) -> Result<TenantId, Refusal> {
        match self.caller(headers).await? {
            Caller::Tenant(tenant) => Ok(tenant),
            Caller::Admin => Err(Refusal::Forbidden("this route takes a tenant's key")),
        }
    }

    /// Refuses everybody but the admin.
    pub(crate) async fn admin(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        match self.caller(headers).await? {
            Caller::Admin => Ok(()),
            Caller::Tenant(_) => Err(Refusal::Forbidden("this route takes an admin key")),
        }
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

    /// Compares with every admin key in constant time.
    fn is_admin_key(&self, presented: &KeyHash) -> bool {
        self.admin_keys.iter().fold(false, |found, key| {
            found | constant_time::equal(key.as_bytes(), presented.as_bytes())
        })
    }
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
    let (scheme, token) = text.split_once(' ').ok_or(BAD_KEY)?;
    let lawful = scheme.eq_ignore_ascii_case("bearer")
        && (1..=TOKEN_BYTES_MAX).contains(&token.len())
        && token.bytes().all(|byte| byte.is_ascii_graphic());
    if lawful { Ok(token) } else { Err(BAD_KEY) }
}

fn hash(token: &str) -> KeyHash {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    KeyHash::from_bytes(bytes)
}

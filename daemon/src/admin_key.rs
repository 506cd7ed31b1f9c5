//! The admin key: from the configuration, or made at the first start and shown once.
//!
//! Only its SHA-256 is kept. A key from the configuration replaces one that was made before; when
//! the configuration names none any more, the one that was made holds again.

use std::io;

use posthaste_domain::{ApiKey, KeyHash};
use posthaste_ports::{PortError, TenantStore};
use thiserror::Error;

use crate::chance::Chance;

/// Where the hash of the key that was made is kept.
const SETTING: &str = "admin-key-sha256";

/// Why there is no admin key.
#[derive(Debug, Error)]
pub enum AdminKeyError {
    /// The store could not be asked.
    #[error("cannot read or keep the admin key")]
    Store(#[from] PortError),
    /// What is kept is no hash.
    #[error("what the store keeps as the admin key is no SHA-256; set auth.admin-key instead")]
    Damaged,
    /// The new key could not be shown, so nobody would ever know it.
    #[error("cannot print the admin key")]
    Show(#[source] io::Error),
}

/// The admin keys that hold. A new key goes to `show` before its hash is kept: if the process ends
/// in between, the next start makes another one, while a key that was kept but never seen would
/// lock everybody out.
///
/// # Errors
/// [`AdminKeyError`].
pub(crate) async fn settle(
    store: &dyn TenantStore,
    configured: Option<&ApiKey>,
    show: impl FnOnce(&ApiKey) -> io::Result<()>,
) -> Result<Vec<KeyHash>, AdminKeyError> {
    if let Some(key) = configured {
        return Ok(vec![key.hash()]);
    }
    if let Some(kept) = store.setting(SETTING).await? {
        let bytes = kept.try_into().map_err(|_| AdminKeyError::Damaged)?;
        return Ok(vec![KeyHash::from_bytes(bytes)]);
    }
    let key = ApiKey::from_entropy(&Chance.key());
    show(&key).map_err(AdminKeyError::Show)?;
    let hash = key.hash();
    store.set_setting(SETTING, hash.as_bytes()).await?;
    Ok(vec![hash])
}

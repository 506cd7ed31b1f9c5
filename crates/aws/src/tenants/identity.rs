//! The rows of API keys: `sha256:<hex of the key>`, and the bare keys of earlier versions.

use aws_sdk_dynamodb::types::AttributeValue as Value;
use posthaste_domain::{KeyHash, TenantId, Timestamp};
use posthaste_ports::Identity;
use ring::digest;

use super::record::PLAN;
use crate::item::{Item, text};

/// The partition key: how a key is stored.
pub(super) const KEY: &str = "apiKey";
pub(super) const TENANT: &str = "tenantId";
pub(super) const STATUS: &str = "status";
pub(super) const PLAN_NAME: &str = "plan";
const CREATED_AT: &str = "createdAt";

/// What the stored form of a key begins with.
const HASHED: &str = "sha256:";
const ACTIVE: &str = "active";
/// The status of a key that is live no more.
pub(super) const REVOKED: &str = "revoked";

/// Under which name a key's row is stored.
pub(super) fn stored_name(key: &KeyHash) -> String {
    format!("{HASHED}{key}")
}

/// Under which names the row of a presented key may be stored, the likelier one first. A text
/// that looks like a stored name is no bare key: who has read the table must not get in with it.
pub(super) fn names_of(key: &str) -> (String, Option<String>) {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, key.as_bytes()).as_ref());
    let hashed = stored_name(&KeyHash::from_bytes(hash));
    let bare = (!key.is_empty() && !key.starts_with(HASHED)).then(|| key.to_owned());
    (hashed, bare)
}

/// The row of a live key.
pub(super) fn item(key: &KeyHash, tenant: &TenantId, plan: &str, at: Timestamp) -> Item {
    Item::from([
        (KEY.to_owned(), Value::S(stored_name(key))),
        (TENANT.to_owned(), Value::S(tenant.as_str().to_owned())),
        (STATUS.to_owned(), Value::S(ACTIVE.to_owned())),
        (PLAN_NAME.to_owned(), Value::S(plan.to_owned())),
        (CREATED_AT.to_owned(), Value::S(at.as_secs().to_string())),
    ])
}

/// Who a row belongs to; none where it names no tenant. A row without a status is not active: a
/// key must not become good by a mistake in its row.
pub(super) fn identity(item: &Item) -> Option<Identity> {
    Some(Identity {
        tenant: TenantId::try_new(text(item, TENANT)?).ok()?,
        active: text(item, STATUS) == Some(ACTIVE),
        plan: text(item, PLAN_NAME).unwrap_or(PLAN).into(),
    })
}

#[cfg(test)]
mod tests {
    use posthaste_domain::ApiKey;

    use super::*;

    #[test]
    fn a_key_has_one_stored_name() {
        let key = ApiKey::from_entropy(&[7; 32]);
        let (hashed, bare) = names_of(key.expose());
        assert_eq!(hashed, stored_name(&key.hash()));
        assert_eq!(bare.as_deref(), Some(key.expose()));
    }

    /// Who knows a hash does not know the key.
    #[test]
    fn a_stored_name_is_no_key() {
        let stored = stored_name(&ApiKey::from_entropy(&[7; 32]).hash());
        let (hashed, bare) = names_of(&stored);
        assert_eq!(bare, None);
        assert_ne!(hashed, stored);
        assert_eq!(names_of("").1, None);
    }

    #[test]
    fn only_a_live_row_is_active() {
        let tenant = TenantId::try_new("acme").unwrap();
        let mut row = item(&KeyHash::from_bytes([1; 32]), &tenant, "gold", Timestamp::ZERO);
        assert_eq!(identity(&row), Some(Identity { tenant, active: true, plan: "gold".into() }));
        for status in [Value::S("suspended".to_owned()), Value::Bool(true)] {
            row.insert(STATUS.to_owned(), status);
            assert!(!identity(&row).unwrap().active);
        }
        row.remove(STATUS);
        assert!(!identity(&row).unwrap().active);
        row.insert(TENANT.to_owned(), Value::S("Not A Tenant".to_owned()));
        assert_eq!(identity(&row), None);
    }
}

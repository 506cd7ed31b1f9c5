//! A tenant's configuration row: its attributes, and a record read from one.
//!
//! People and earlier versions write these rows too, so nothing is taken for granted: what makes
//! no record is a typed error that names the tenant and the attribute, and never repeats a secret
//! or a URL.
//!
//! Versions grow with every change of ours, and with `lastUpdated` where somebody else changed the
//! row: a version is a time in milliseconds wherever that is the larger number.

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue as Value;
use posthaste_domain::{
    DeliveryOptions, SecretError, SigningSecrets, TargetError, TargetUrl, TenantId, Timestamp,
    WebhookSecret,
};
use posthaste_ports::{NewTenant, PortError, TenantChange, TenantRecord};
use thiserror::Error;

use super::options;
use crate::item::{Item, text};

/// The names of attributes.
pub(super) mod name {
    pub(in crate::tenants) const TENANT: &str = "tenantId";
    pub(in crate::tenants) const TARGET: &str = "targetUrl";
    pub(in crate::tenants) const SECRET: &str = "webhookSecret";
    pub(in crate::tenants) const PREVIOUS: &str = "previousSecrets";
    pub(in crate::tenants) const LAST_UPDATED: &str = "lastUpdated";
    pub(in crate::tenants) const UPDATED_AT: &str = "updatedAt";
    pub(in crate::tenants) const CREATED_AT: &str = "createdAt";
    pub(in crate::tenants) const PLAN: &str = "plan";
    pub(in crate::tenants) const SHARD_KEY: &str = "shardKey";
    pub(in crate::tenants) const VERSION: &str = "version";
}

/// The plan of a tenant whose row names none.
pub(super) const PLAN: &str = "standard";
/// Within an element of `previousSecrets`.
const PREVIOUS_SECRET: &str = "secret";
/// Within an element of `previousSecrets`: the end of its overlap, in milliseconds.
const PREVIOUS_UNTIL: &str = "until";

/// Why a configuration row makes no tenant to deliver to. A person must correct the row (or set
/// target or secret through the API); until then nothing is delivered, and no attempt is charged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TenantRowError {
    /// There is no target.
    #[error("tenant {0} has no targetUrl in its configuration row: set one")]
    TargetMissing(TenantId),
    /// The target is refused.
    #[error("tenant {tenant} has a targetUrl in its configuration row that is refused: {error}")]
    Target {
        /// Whose.
        tenant: TenantId,
        /// What is wrong with it.
        error: TargetError,
    },
    /// There is no secret to sign with.
    #[error("tenant {0} has no webhookSecret in its configuration row: set one")]
    SecretMissing(TenantId),
    /// The secret is refused.
    #[error(
        "tenant {tenant} has a webhookSecret in its configuration row that is refused: {error}"
    )]
    Secret {
        /// Whose.
        tenant: TenantId,
        /// What is wrong with it.
        error: SecretError,
    },
}

/// Passing: the row is correct as soon as somebody has corrected it, without a restart.
impl From<TenantRowError> for PortError {
    fn from(error: TenantRowError) -> Self {
        Self::Transient(error.to_string())
    }
}

/// What a row says, right or wrong.
#[derive(Debug)]
pub(super) struct Stored {
    id: TenantId,
    target: Result<TargetUrl, TenantRowError>,
    secrets: Result<SigningSecrets, TenantRowError>,
    pub(super) plan: Box<str>,
    shard_key: Option<u32>,
    options: DeliveryOptions,
    /// What is wrong with the options; deliveries go on without those.
    pub(super) option_faults: Vec<options::Fault>,
    created_at: Timestamp,
    updated_at: Timestamp,
    pub(super) version: u64,
}

impl Stored {
    /// Reads a row.
    pub(super) fn of(id: &TenantId, item: &Item) -> Self {
        let updated_at = updated_at(item);
        let version: u64 = number(item, name::VERSION).unwrap_or(0);
        let (options, option_faults) = options::read(item);
        Self {
            id: id.clone(),
            target: target(id, item),
            secrets: secrets(id, item),
            plan: text(item, name::PLAN).unwrap_or(PLAN).into(),
            shard_key: number(item, name::SHARD_KEY),
            options,
            option_faults,
            created_at: number(item, name::CREATED_AT).map_or(updated_at, Timestamp::from_millis),
            updated_at,
            version: version.max(updated_at.as_millis()),
        }
    }

    /// The record.
    ///
    /// # Errors
    /// [`TenantRowError`] where target or secret are missing or refused.
    pub(super) fn record(self) -> Result<TenantRecord, TenantRowError> {
        let target = self.target?;
        let shard_key = self.shard_key.unwrap_or_else(|| target.shard_key());
        Ok(TenantRecord {
            id: self.id,
            target,
            secrets: self.secrets?,
            plan: self.plan,
            shard_key,
            options: Arc::new(self.options),
            created_at: self.created_at,
            updated_at: self.updated_at,
            version: self.version,
        })
    }

    /// The record after a change, which may mend what was wrong.
    ///
    /// # Errors
    /// [`TenantRowError`] where the change leaves something wrong.
    pub(super) fn changed(mut self, change: &TenantChange) -> Result<TenantRecord, TenantRowError> {
        // A shard is a tenant's for ever: it is the old target's, where that makes sense.
        if let (None, Ok(before)) = (self.shard_key, &self.target) {
            self.shard_key = Some(before.shard_key());
        }
        if let Some(target) = &change.target {
            self.target = Ok(target.clone());
        }
        if let Some((new, overlap_ms)) = &change.secret {
            self.secrets = Ok(match self.secrets {
                Ok(before) => before.rotated(new.clone(), change.at, *overlap_ms),
                Err(_) => SigningSecrets::new(new.clone()),
            });
        }
        if !change.options.is_nothing() {
            self.options = self.options.changed(change.options.clone());
        }
        self.version = self.version.saturating_add(1).max(change.at.as_millis());
        self.updated_at = change.at;
        self.record()
    }
}

/// The record of a tenant that is created.
pub(super) fn created(new: NewTenant) -> TenantRecord {
    TenantRecord {
        id: new.id,
        target: new.target,
        secrets: SigningSecrets::new(new.secret),
        plan: new.plan,
        shard_key: new.shard_key,
        options: new.options,
        created_at: new.at,
        updated_at: new.at,
        version: new.at.as_millis(),
    }
}

/// The attributes of a record, its key and its options aside.
pub(super) fn attributes(record: &TenantRecord) -> Vec<(&'static str, Value)> {
    let secrets = &record.secrets;
    vec![
        (name::TARGET, Value::S(record.target.as_str().to_owned())),
        (name::SECRET, Value::S(secrets.current().expose().to_owned())),
        (name::PREVIOUS, Value::L(secrets.previous().iter().map(previous_value).collect())),
        (name::LAST_UPDATED, Value::S(record.updated_at.as_secs().to_string())),
        (name::UPDATED_AT, Value::N(record.updated_at.to_string())),
        (name::CREATED_AT, Value::N(record.created_at.to_string())),
        (name::PLAN, Value::S(record.plan.to_string())),
        (name::SHARD_KEY, Value::N(record.shard_key.to_string())),
        (name::VERSION, Value::N(record.version.to_string())),
    ]
}

fn target(id: &TenantId, item: &Item) -> Result<TargetUrl, TenantRowError> {
    let Some(text) = text(item, name::TARGET) else {
        return Err(TenantRowError::TargetMissing(id.clone()));
    };
    TargetUrl::parse_stored(text)
        .map_err(|error| TenantRowError::Target { tenant: id.clone(), error })
}

fn secrets(id: &TenantId, item: &Item) -> Result<SigningSecrets, TenantRowError> {
    let Some(text) = text(item, name::SECRET) else {
        return Err(TenantRowError::SecretMissing(id.clone()));
    };
    let current = WebhookSecret::try_new(text)
        .map_err(|error| TenantRowError::Secret { tenant: id.clone(), error })?;
    let previous = match item.get(name::PREVIOUS) {
        Some(Value::L(previous)) => previous.as_slice(),
        _ => &[],
    };
    // An older secret that makes no sense signs nothing; the current one still does.
    Ok(SigningSecrets::from_parts(current, previous.iter().filter_map(previous_secret)))
}

fn previous_value((secret, until): &(WebhookSecret, Timestamp)) -> Value {
    let secret = Value::S(secret.expose().to_owned());
    let until = Value::N(until.to_string());
    Value::M(HashMap::from([
        (PREVIOUS_SECRET.to_owned(), secret),
        (PREVIOUS_UNTIL.to_owned(), until),
    ]))
}

fn previous_secret(value: &Value) -> Option<(WebhookSecret, Timestamp)> {
    let entry = value.as_m().ok()?;
    let secret = WebhookSecret::try_new(text(entry, PREVIOUS_SECRET)?).ok()?;
    Some((secret, Timestamp::from_millis(number(entry, PREVIOUS_UNTIL)?)))
}

/// `updatedAt` has the milliseconds of the last change of ours; a later `lastUpdated` is somebody
/// else's.
fn updated_at(item: &Item) -> Timestamp {
    let seconds: u64 = number(item, name::LAST_UPDATED).unwrap_or(0);
    match number::<u64>(item, name::UPDATED_AT) {
        Some(millis) if millis / 1000 >= seconds => Timestamp::from_millis(millis),
        _ => Timestamp::from_millis(seconds.saturating_mul(1000)),
    }
}

/// A number, or a text that is one; none for anything else.
pub(super) fn number<T: std::str::FromStr>(item: &Item, name: &str) -> Option<T> {
    match item.get(name)? {
        Value::N(text) | Value::S(text) => text.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use posthaste_domain::OptionsChange;

    use super::*;

    fn item(attributes: &[(&str, Value)]) -> Item {
        attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    fn text(text: &str) -> Value {
        Value::S(text.to_owned())
    }

    fn acme() -> TenantId {
        TenantId::try_new("acme").unwrap()
    }

    fn read(attributes: &[(&str, Value)]) -> Result<TenantRecord, TenantRowError> {
        Stored::of(&acme(), &item(attributes)).record()
    }

    const TARGET: &str = "https://example.com/hook";

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let secret = |text| WebhookSecret::try_new(text).unwrap();
        let at = Timestamp::from_millis(1_800_000_000_123);
        let record = TenantRecord {
            id: acme(),
            target: TargetUrl::parse_stored(TARGET).unwrap(),
            secrets: SigningSecrets::new(secret("first-secret")).rotated(
                secret("second-secret"),
                at,
                5_000,
            ),
            plan: "gold".into(),
            shard_key: u32::MAX,
            options: Arc::default(),
            created_at: Timestamp::from_millis(1_700_000_000_001),
            updated_at: at,
            version: at.as_millis() + 7,
        };
        assert_eq!(read(&attributes(&record)), Ok(record));
    }

    /// A row with the contract's attributes only, as earlier versions and people write it.
    #[test]
    fn an_older_row_is_a_tenant() {
        let row = [
            (name::TARGET, text(TARGET)),
            (name::SECRET, text("whsec_secret")),
            (name::LAST_UPDATED, text("1700000000")),
            ("maxAttempts", Value::N("9".to_owned())),
        ];
        let record = read(&row).unwrap();
        assert_eq!(record.updated_at.as_millis(), 1_700_000_000_000);
        assert_eq!((record.version, &*record.plan), (1_700_000_000_000, PLAN));
        assert_eq!(record.shard_key, record.target.shard_key());
    }

    /// For all changes of others that set `lastUpdated`: caches see a newer version.
    #[test]
    fn a_change_by_others_is_a_newer_version() {
        let at = |seconds: u64| {
            let ours = Value::N("1700000000900".to_owned());
            let row = [
                (name::TARGET, text(TARGET)),
                (name::SECRET, text("whsec_secret")),
                (name::UPDATED_AT, ours.clone()),
                (name::VERSION, ours),
                (name::LAST_UPDATED, text(&seconds.to_string())),
            ];
            read(&row).unwrap().version
        };
        assert_eq!(at(1_700_000_000), 1_700_000_000_900);
        assert_eq!(at(1_700_000_001), 1_700_000_001_000);
    }

    #[test]
    fn what_is_wrong_with_a_row_is_told_in_one_line() {
        let good = [(name::TARGET, text(TARGET)), (name::SECRET, text("whsec_secret"))];
        assert!(read(&good).is_ok());
        let without = |missing: &str| read(&[good[usize::from(missing == name::TARGET)].clone()]);
        assert_eq!(without(name::SECRET), Err(TenantRowError::SecretMissing(acme())));
        assert_eq!(without(name::TARGET), Err(TenantRowError::TargetMissing(acme())));
        let refused = read(&[(name::TARGET, text("ftp://a/?token=t0p")), good[1].clone()]);
        let line = refused.unwrap_err().to_string();
        assert!(line.contains("acme") && line.contains("http") && !line.contains("t0p"), "{line}");
        let short = read(&[good[0].clone(), (name::SECRET, text("s3cret"))]).unwrap_err();
        assert!(!short.to_string().contains("s3cret"), "{short}");
        // Not even the right types.
        let odd = [(name::TARGET, Value::Bool(true)), (name::SECRET, Value::L(Vec::new()))];
        assert_eq!(read(&odd), Err(TenantRowError::TargetMissing(acme())));
        assert!(matches!(PortError::from(short), PortError::Transient(_)));
    }

    /// A change through the API mends a row: a secret that was missing, a target that was refused.
    #[test]
    fn a_change_mends_a_row() {
        let at = Timestamp::from_millis(5);
        let secret = Some((WebhookSecret::try_new("new-secret").unwrap(), 1_000));
        let target = Some(TargetUrl::parse_stored(TARGET).unwrap());
        let row = item(&[(name::TARGET, text("nonsense"))]);
        let change = TenantChange { target, secret, options: OptionsChange::NOTHING, at };
        let mended = Stored::of(&acme(), &row).changed(&change).unwrap();
        assert!(mended.secrets.previous().is_empty());
        let half = TenantChange { secret: None, ..change };
        let left = Stored::of(&acme(), &row).changed(&half);
        assert_eq!(left, Err(TenantRowError::SecretMissing(acme())));
    }
}

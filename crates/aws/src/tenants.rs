//! Tenants, their API keys and the global switch, in two tables (CONTRACT §5).
//!
//! ```text
//! TenantIdentity       apiKey S = sha256:<hex>, or a bare key of an earlier version
//!                      tenantId S, status S, plan S, createdAt S (seconds)
//! TenantWebhookConfig  tenantId S
//!                      targetUrl S, webhookSecret S, previousSecrets L of {secret S, until N},
//!                      lastUpdated S (seconds), updatedAt N, createdAt N (ms), plan S, shardKey N,
//!                      version N, deliveryOptions M (see [`options`]);
//!                      key#<hex> N (ms): a key of this tenant, and when it was made
//!                      __GLOBAL_CONFIG__: webhookReceptionEnabled BOOL, setting#<name> B
//! ```
//!
//! The list of a tenant's keys is in its configuration row, not in an index on `tenantId`: an
//! index lags, so that a key that was just made or revoked might not be seen, and it would be
//! written with every change of a key's row. Whether a key is live is said in one place only, its
//! own row. A key that was put into the table by hand is honoured, but not in the list.
//!
//! Every read is consistent: the API keeps its own caches, and what is read here goes into them.
//!
//! Invariant: a tenant has a configuration row and the row of its first key, or neither.

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod identity;
mod options;
mod record;

pub use record::TenantRowError;

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue as Value, Put, TransactWriteItem, Update};
use posthaste_domain::{KeyHash, TenantId, Timestamp};
use posthaste_ports::{
    Created, Identity, KeyRecord, NewTenant, PortError, TenantChange, TenantRecord, TenantStore,
};

use self::options::Told;
use self::record::{Stored, name};
use crate::error::Call;
use crate::events::batch_get;
use crate::item::Item;
use crate::{Client, Error, Resource};

/// The row of what is everybody's; no tenant can have this name.
const GLOBAL: &str = "__GLOBAL_CONFIG__";
const RECEPTION: &str = "webhookReceptionEnabled";
const SETTING_PREFIX: &str = "setting#";
const KEY_PREFIX: &str = "key#";

/// A write that was refused because others write the same rows is tried again so often: each time
/// one of them has got through.
const TRIES_MAX: usize = 8;

/// Tenants in DynamoDB. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DynamoTenants {
    client: Client,
    configs: Resource,
    identities: Resource,
    told: Arc<Told>,
}

/// What came of a transaction.
enum Transacted {
    Done,
    /// The condition of the n-th write does not hold.
    Refused(usize),
}

impl DynamoTenants {
    /// The tenants of these tables.
    #[must_use]
    pub fn new(client: Client) -> Self {
        let configs = client.table_named(&client.names().tenants);
        let identities = client.table_named(&client.names().identities);
        Self { client, configs, identities, told: Arc::default() }
    }

    /// Who a key belongs to, by the key itself: the one way that also finds the bare keys of
    /// earlier versions. [`TenantStore::identity`] knows only a key's hash. For a key that is
    /// stored under its hash it costs one read, for any other two.
    ///
    /// # Errors
    /// Where the table cannot be read.
    pub async fn identity_of(&self, key: &str) -> Result<Option<Identity>, Error> {
        let (hashed, bare) = identity::names_of(key);
        let found = self.identity_named(hashed).await?;
        match bare {
            Some(bare) if found.is_none() => self.identity_named(bare).await,
            _ => Ok(found),
        }
    }

    async fn identity_named(&self, stored_name: String) -> Result<Option<Identity>, Error> {
        let call = Call { action: "dynamodb:GetItem", resource: &self.identities };
        let read = self
            .client
            .table()
            .get_item()
            .table_name(self.identities.name())
            .key(identity::KEY, Value::S(stored_name))
            .consistent_read(true)
            // The authorizer may see no more than this.
            .projection_expression("#t, #s, #p")
            .expression_attribute_names("#t", identity::TENANT)
            .expression_attribute_names("#s", identity::STATUS)
            .expression_attribute_names("#p", identity::PLAN_NAME)
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        Ok(read.item().and_then(identity::identity))
    }

    /// The configuration row of this name.
    async fn config(&self, id: &str) -> Result<Option<Item>, Error> {
        self.read_config(id, None).await
    }

    /// Whether there is such a tenant, in whatever state its row is. Of the row only the name
    /// travels: who takes events in has no use for secrets.
    pub(crate) async fn exists(&self, id: &TenantId) -> Result<bool, Error> {
        Ok(self.read_config(id.as_str(), Some(name::TENANT)).await?.is_some())
    }

    async fn read_config(&self, id: &str, only: Option<&str>) -> Result<Option<Item>, Error> {
        let call = Call { action: "dynamodb:GetItem", resource: &self.configs };
        let read = self
            .client
            .table()
            .get_item()
            .table_name(self.configs.name())
            .key(name::TENANT, Value::S(id.to_owned()))
            .set_projection_expression(only.map(str::to_owned))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        Ok(read.item)
    }

    /// Writes a changed record over the row that was seen; false where it is another row by now.
    async fn replace(
        &self,
        seen: &Item,
        record: &TenantRecord,
        change: &TenantChange,
    ) -> Result<bool, Error> {
        let call = Call { action: "dynamodb:UpdateItem", resource: &self.configs };
        let mut update = self
            .client
            .table()
            .update_item()
            .table_name(self.configs.name())
            .key(name::TENANT, Value::S(record.id.as_str().to_owned()));
        let mut sets = Vec::new();
        for (index, (attribute, value)) in record::attributes(record).into_iter().enumerate() {
            // What is not changed keeps its own form.
            let unchanged = match attribute {
                name::TARGET => change.target.is_none(),
                name::SECRET | name::PREVIOUS => change.secret.is_none(),
                _ => false,
            };
            if unchanged {
                continue;
            }
            sets.push(format!("#n{index} = :v{index}"));
            update = update
                .expression_attribute_names(format!("#n{index}"), attribute)
                .expression_attribute_values(format!(":v{index}"), value);
        }
        if !change.options.is_nothing() {
            let before = seen.get(options::OPTIONS);
            let value = options::changed(before, &record.options, &change.options);
            sets.push("#options = :options".to_owned());
            update = update
                .expression_attribute_names("#options", options::OPTIONS)
                .expression_attribute_values(":options", value);
        }
        // Earlier versions, and people, say that they changed a row by `lastUpdated` alone.
        let mut wants = vec!["attribute_exists(#tenant)".to_owned()];
        update = update.expression_attribute_names("#tenant", name::TENANT);
        for (index, attribute) in [name::VERSION, name::LAST_UPDATED].into_iter().enumerate() {
            update = update.expression_attribute_names(format!("#w{index}"), attribute);
            wants.push(match seen.get(attribute) {
                Some(value) => {
                    update =
                        update.expression_attribute_values(format!(":w{index}"), value.clone());
                    format!("#w{index} = :w{index}")
                }
                None => format!("attribute_not_exists(#w{index})"),
            });
        }
        let written = update
            .update_expression(format!("SET {}", sets.join(", ")))
            .condition_expression(wants.join(" AND "))
            .send()
            .await;
        match written {
            Ok(_) => Ok(true),
            Err(error) if is_refused(&error) => Ok(false),
            Err(error) => Err(call.failed(&error)),
        }
    }

    /// Writes all or nothing. Sending it again after a lost reply does it once: the SDK gives each
    /// call a token of its own.
    async fn transact(&self, writes: Vec<TransactWriteItem>) -> Result<Transacted, Error> {
        let call = Call { action: "dynamodb:TransactWriteItems", resource: &self.configs };
        for _ in 0..TRIES_MAX {
            let done = self
                .client
                .table()
                .transact_write_items()
                .set_transact_items(Some(writes.clone()))
                .send()
                .await;
            let Err(error) = done else { return Ok(Transacted::Done) };
            let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
                error.as_service_error()
            else {
                return Err(call.failed(&error));
            };
            let codes: Vec<_> = cancelled
                .cancellation_reasons()
                .iter()
                .map(|reason| (reason.code().unwrap_or_default(), reason.message()))
                .collect();
            if let Some(index) = codes.iter().position(|(code, _)| *code == CONDITION_FAILED) {
                return Ok(Transacted::Refused(index));
            }
            // Any other reason is a fault, but for another transaction in the way.
            let fault = codes.iter().find(|(code, _)| !matches!(*code, "" | "None" | CONFLICT));
            if let Some((code, message)) = fault {
                return Err(call.answered(code, message.unwrap_or_default()));
            }
        }
        Err(call.answered(CONFLICT_ERROR, "others write the same rows"))
    }

    fn put_key(&self, item: Item) -> Result<TransactWriteItem, Error> {
        self.put_new(&self.identities, identity::KEY, item)
    }

    fn put_new(&self, table: &Resource, key: &str, item: Item) -> Result<TransactWriteItem, Error> {
        let put = Put::builder()
            .table_name(table.name())
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(#key)")
            .expression_attribute_names("#key", key)
            .build();
        let put = put.map_err(|error| self.incomplete(&error))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// A request that lacks a part would be a fault of ours.
    fn incomplete(&self, error: &dyn std::error::Error) -> Error {
        let call = Call { action: "dynamodb:TransactWriteItems", resource: &self.configs };
        call.answered("ValidationException", &error.to_string())
    }

    /// Sets one attribute of a configuration row, and makes the row where there is none.
    async fn set_global(&self, attribute: &str, value: Value) -> Result<(), Error> {
        let call = Call { action: "dynamodb:UpdateItem", resource: &self.configs };
        self.client
            .table()
            .update_item()
            .table_name(self.configs.name())
            .key(name::TENANT, Value::S(GLOBAL.to_owned()))
            .update_expression("SET #n = :v")
            .expression_attribute_names("#n", attribute)
            .expression_attribute_values(":v", value)
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        Ok(())
    }
}

const CONDITION_FAILED: &str = "ConditionalCheckFailed";
const CONFLICT: &str = "TransactionConflict";
const CONFLICT_ERROR: &str = "TransactionConflictException";

/// Whether a condition did not hold.
fn is_refused<E: ProvideErrorMetadata, R>(error: &aws_sdk_dynamodb::error::SdkError<E, R>) -> bool {
    error.code() == Some("ConditionalCheckFailedException")
}

fn key_attribute(key: &KeyHash) -> String {
    format!("{KEY_PREFIX}{key}")
}

fn key_of_attribute(attribute: &str) -> Option<KeyHash> {
    let digits = attribute.strip_prefix(KEY_PREFIX)?;
    let mut hash = [0; 32];
    if digits.len() != 2 * hash.len() || !digits.is_ascii() {
        return None;
    }
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(KeyHash::from_bytes(hash))
}

#[async_trait]
impl TenantStore for DynamoTenants {
    async fn create(&self, new: NewTenant) -> Result<Created, PortError> {
        let key = identity::item(&new.key, &new.id, &new.plan, new.at);
        let (first_key, at) = (new.key, new.at);
        let record = record::created(new);
        let mut config: Item = record::attributes(&record)
            .into_iter()
            .map(|(attribute, value)| (attribute.to_owned(), value))
            .collect();
        config.insert(name::TENANT.to_owned(), Value::S(record.id.as_str().to_owned()));
        if !record.options.is_default() {
            config.insert(options::OPTIONS.to_owned(), options::value(&record.options));
        }
        config.insert(key_attribute(&first_key), Value::N(at.to_string()));
        let writes = vec![self.put_new(&self.configs, name::TENANT, config)?, self.put_key(key)?];
        match self.transact(writes).await? {
            Transacted::Done => Ok(Created::Created(Arc::new(record))),
            Transacted::Refused(0) => Ok(Created::AlreadyExists),
            Transacted::Refused(_) => Err(taken()),
        }
    }

    async fn tenant(&self, id: &TenantId) -> Result<Option<Arc<TenantRecord>>, PortError> {
        let Some(item) = self.config(id.as_str()).await? else { return Ok(None) };
        let stored = Stored::of(id, &item);
        self.told.tell(id, stored.version, &stored.option_faults);
        Ok(Some(Arc::new(stored.record()?)))
    }

    async fn update(
        &self,
        id: &TenantId,
        change: TenantChange,
    ) -> Result<Option<Arc<TenantRecord>>, PortError> {
        for _ in 0..TRIES_MAX {
            let Some(item) = self.config(id.as_str()).await? else { return Ok(None) };
            let record = Stored::of(id, &item).changed(&change)?;
            if self.replace(&item, &record, &change).await? {
                return Ok(Some(Arc::new(record)));
            }
        }
        Err(PortError::Transient(format!("tenant {id} is changed by others all the time")))
    }

    async fn identity(&self, key: &KeyHash) -> Result<Option<Identity>, PortError> {
        Ok(self.identity_named(identity::stored_name(key)).await?)
    }

    async fn add_key(&self, id: &TenantId, key: KeyHash, at: Timestamp) -> Result<bool, PortError> {
        let Some(config) = self.config(id.as_str()).await? else { return Ok(false) };
        let plan = Stored::of(id, &config).plan;
        let listed = Update::builder()
            .table_name(self.configs.name())
            .key(name::TENANT, Value::S(id.as_str().to_owned()))
            .update_expression("SET #k = :at")
            .condition_expression("attribute_exists(#t)")
            .expression_attribute_names("#k", key_attribute(&key))
            .expression_attribute_names("#t", name::TENANT)
            .expression_attribute_values(":at", Value::N(at.to_string()))
            .build()
            .map_err(|error| self.incomplete(&error))?;
        let listed = TransactWriteItem::builder().update(listed).build();
        let writes = vec![listed, self.put_key(identity::item(&key, id, &plan, at))?];
        match self.transact(writes).await? {
            Transacted::Done => Ok(true),
            Transacted::Refused(0) => Ok(false),
            Transacted::Refused(_) => Err(taken()),
        }
    }

    async fn keys(&self, id: &TenantId) -> Result<Vec<KeyRecord>, PortError> {
        let Some(config) = self.config(id.as_str()).await? else { return Ok(Vec::new()) };
        let listed = config.keys().filter_map(|attribute| {
            let hash = key_of_attribute(attribute)?;
            let created_at = Timestamp::from_millis(record::number(&config, attribute)?);
            Some((hash, created_at))
        });
        let mut keys: Vec<_> = listed.collect();
        keys.sort_unstable_by_key(|(hash, created_at)| (*created_at, *hash));
        let names = keys.iter().map(|(hash, _)| {
            Item::from([(identity::KEY.to_owned(), Value::S(identity::stored_name(hash)))])
        });
        let rows = batch_get(&self.client, &self.identities, names.collect()).await?;
        let is_active = |row: &Item| identity::identity(row).is_some_and(|key| key.active);
        Ok(keys
            .into_iter()
            .zip(rows)
            .map(|((hash, created_at), row)| KeyRecord {
                hash,
                active: row.as_ref().is_some_and(is_active),
                created_at,
            })
            .collect())
    }

    async fn revoke_key(&self, id: &TenantId, key: &KeyHash) -> Result<bool, PortError> {
        let call = Call { action: "dynamodb:UpdateItem", resource: &self.identities };
        let written = self
            .client
            .table()
            .update_item()
            .table_name(self.identities.name())
            .key(identity::KEY, Value::S(identity::stored_name(key)))
            .update_expression("SET #s = :revoked")
            .condition_expression("#t = :tenant")
            .expression_attribute_names("#s", identity::STATUS)
            .expression_attribute_names("#t", identity::TENANT)
            .expression_attribute_values(":revoked", Value::S(identity::REVOKED.to_owned()))
            .expression_attribute_values(":tenant", Value::S(id.as_str().to_owned()))
            .send()
            .await;
        match written {
            Ok(_) => Ok(true),
            Err(error) if is_refused(&error) => Ok(false),
            Err(error) => Err(call.failed(&error).into()),
        }
    }

    async fn reception_enabled(&self) -> Result<bool, PortError> {
        let global = self.config(GLOBAL).await?.unwrap_or_default();
        // On, unless it clearly says otherwise.
        Ok(!matches!(global.get(RECEPTION), Some(Value::Bool(false))))
    }

    async fn set_reception_enabled(&self, enabled: bool) -> Result<(), PortError> {
        Ok(self.set_global(RECEPTION, Value::Bool(enabled)).await?)
    }

    async fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, PortError> {
        let global = self.config(GLOBAL).await?.unwrap_or_default();
        let value = global.get(&format!("{SETTING_PREFIX}{name}"));
        Ok(value.and_then(|value| value.as_b().ok()).map(|blob| blob.as_ref().to_vec()))
    }

    async fn set_setting(&self, name: &str, value: &[u8]) -> Result<(), PortError> {
        let attribute = format!("{SETTING_PREFIX}{name}");
        Ok(self.set_global(&attribute, Value::B(Blob::new(value))).await?)
    }
}

/// A key is 256 bits of chance: whoever brings one that is there has made it badly.
fn taken() -> PortError {
    PortError::Transient("this API key belongs to somebody already: make another one".to_owned())
}

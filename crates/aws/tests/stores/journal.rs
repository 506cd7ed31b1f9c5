//! What is owed, read and settled through the rows: enough of a daemon to bring events into every
//! state that the suite of the ports asks for.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use dynoxide::Database;
use posthaste_aws::{DynamoRows, DynamoTenants};
use posthaste_domain::{
    DeliveryKey, EndpointId, EventId, EventStatus, InstanceId, Owed, OwedAs, Resolution, Row,
    RowChange, RowKey, RowWrite, Settlement, TenantId, TimerPosition, Timestamp,
};
use posthaste_ports::{
    Backlog, CLAIM_KEPT_MS, Expiry, Journal, OwedEndpoint, PortError, Rows as _, Settled,
    ShardSpec, TenantStore as _, TimerPage, Written,
};
use posthaste_protocol::{Owner, outcome_write};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::harness::{Dynamo, EVENTS};

/// A journal without a memory of its own.
pub(crate) struct RowsJournal {
    pub(crate) dynamo: Arc<Dynamo>,
    pub(crate) rows: DynamoRows,
    pub(crate) tenants: DynamoTenants,
    /// A dead letter is two writes; the suite takes it for one.
    pub(crate) one_at_a_time: Mutex<()>,
}

impl RowsJournal {
    /// Everything that is owed, by key.
    async fn owed(&self) -> Result<Vec<Owed>, PortError> {
        let mut keys = self.dynamo.row_keys();
        keys.sort_unstable();
        let stored = self.rows.read(&keys).await?;
        let rows = keys.into_iter().zip(stored);
        Ok(rows.filter_map(|(key, stored)| owed(key, &stored?.row)).collect())
    }

    async fn owed_in(&self, shard: ShardSpec) -> Result<Vec<Owed>, PortError> {
        let mut owned = Vec::new();
        for owed in self.owed().await? {
            let tenant = self.tenants.tenant(&owed.key.tenant).await?;
            if tenant.is_some_and(|tenant| shard.owns(tenant.shard_key)) {
                owned.push(owed);
            }
        }
        Ok(owned)
    }

    async fn settle_one(&self, settlement: Settlement) -> Result<Settled, PortError> {
        let (tenant, event) = (settlement.key.tenant.clone(), settlement.key.event);
        let key = RowKey { tenant, event };
        let read = self.rows.read(std::slice::from_ref(&key)).await?.remove(0);
        let Some(row) = read.map(|stored| stored.row) else { return Ok(Settled::Superseded) };
        let held = owed(key.clone(), &row);
        let made = u32::from(settlement.attempt.is_some());
        let follows = held.is_some_and(|held| {
            held.key == settlement.key
                && held.round == settlement.round
                && held.owed_as == settlement.owed_as
                && held.attempts + made == settlement.attempts
        });
        if !follows {
            return Ok(Settled::Superseded);
        }
        let instance = InstanceId::try_new("the-suite").expect("the name is not empty");
        let lease = row.lease.as_ref().filter(|lease| lease.owner.is_some());
        let epoch = lease.map_or(0, |lease| lease.epoch);
        let owner = Owner { instance: &instance, epoch };
        let write = outcome_write(&settlement, owner, (settlement.at, 0));
        if self.write(write).await? != Written::Done {
            return Ok(Settled::Superseded);
        }
        if let Resolution::DeadLettered { .. } = settlement.resolution {
            let (epoch, attempts, at) = (epoch.max(1), settlement.attempts, settlement.at);
            let change = RowChange::Die { owner: instance, epoch, attempts, at };
            let died = self.write(RowWrite { key, round: settlement.round, change }).await?;
            assert_eq!(died, Written::Done, "nobody else writes");
        }
        Ok(Settled::Settled)
    }

    async fn write(&self, write: RowWrite) -> Result<Written, PortError> {
        self.rows.write(vec![write]).await.remove(0)
    }
}

/// How a row is owed; none where it is not.
pub(crate) fn owed(key: RowKey, row: &Row) -> Option<Owed> {
    let owed_as = match (row.status, row.next_attempt_at) {
        (EventStatus::Pending, _) => OwedAs::Fresh,
        (EventStatus::Failed, Some(due)) if row.cause.is_none() => OwedAs::Timer(due),
        _ => return None,
    };
    let RowKey { tenant, event } = key;
    let key = DeliveryKey { tenant, event, endpoint: EndpointId::DEFAULT };
    let (round, attempts, interrupted) = (row.round, row.attempts, row.interrupted);
    Some(Owed { key, round, attempts, interrupted, owed_as, payload: None })
}

#[async_trait]
impl Journal for RowsJournal {
    async fn settle(&self, settlements: Vec<Settlement>) -> Result<Vec<Settled>, PortError> {
        let _alone = self.one_at_a_time.lock().await;
        let mut answers = Vec::with_capacity(settlements.len());
        for settlement in settlements {
            answers.push(self.settle_one(settlement).await?);
        }
        Ok(answers)
    }

    async fn backlog(
        &self,
        tenant: &TenantId,
        endpoint: EndpointId,
        from: EventId,
        max: usize,
    ) -> Result<Backlog, PortError> {
        let fresh = |owed: &Owed| {
            owed.key.tenant == *tenant
                && owed.key.endpoint == endpoint
                && owed.owed_as == OwedAs::Fresh
                && owed.key.event >= from
        };
        let mut owed: Vec<_> = self.owed().await?.into_iter().filter(fresh).collect();
        let exhausted = owed.len() <= max;
        owed.truncate(max);
        Ok(Backlog { owed, exhausted })
    }

    async fn timers(
        &self,
        shard: ShardSpec,
        from: TimerPosition,
        until: Timestamp,
        max: usize,
    ) -> Result<TimerPage, PortError> {
        let place = |owed: &Owed| TimerPosition { due: owed.due(), key: Some(owed.key.clone()) };
        let mut timers: Vec<_> = self
            .owed_in(shard)
            .await?
            .into_iter()
            .filter(|owed| matches!(owed.owed_as, OwedAs::Timer(due) if due <= until))
            .filter(|owed| place(owed) > from)
            .collect();
        timers.sort_by_key(place);
        let more = timers.len() > max;
        timers.truncate(max);
        let last = timers.last().map_or(from, place);
        Ok(TimerPage { owed: timers, next: more.then_some(last) })
    }

    async fn payloads(&self, keys: &[DeliveryKey]) -> Result<Vec<Option<Bytes>>, PortError> {
        let row_key = |key: &DeliveryKey| RowKey { tenant: key.tenant.clone(), event: key.event };
        let keys: Vec<_> = keys.iter().map(row_key).collect();
        let stored = self.rows.read(&keys).await?;
        Ok(stored.into_iter().map(|stored| stored?.payload).collect())
    }

    async fn owed_endpoints(&self, shard: ShardSpec) -> Result<Vec<OwedEndpoint>, PortError> {
        let mut oldest = BTreeMap::new();
        for owed in self.owed_in(shard).await? {
            if owed.owed_as == OwedAs::Fresh {
                oldest.entry(owed.key.tenant).or_insert(owed.key.event);
            }
        }
        let endpoint = EndpointId::DEFAULT;
        let endpoints = oldest.into_iter();
        Ok(endpoints.map(|(tenant, first)| OwedEndpoint { tenant, endpoint, first }).collect())
    }
}

/// DynamoDB's expiry at a time of the suite's choosing.
pub(crate) struct TtlExpiry {
    pub(crate) dynamo: Arc<Dynamo>,
    pub(crate) rows: DynamoRows,
}

#[async_trait]
impl Expiry for TtlExpiry {
    async fn sweep(&self, now: Timestamp, max: usize) -> Result<u64, PortError> {
        let mut expired = Vec::new();
        let keys = self.dynamo.row_keys();
        for (key, stored) in keys.iter().zip(self.rows.read(&keys).await?) {
            let Some(ends) = stored.and_then(|stored| stored.row.expires_at) else { continue };
            if ends <= now {
                expired.push((key.tenant.to_string(), key.event.to_string()));
            }
        }
        for item in self.dynamo.items(EVENTS) {
            let text = |name: &str| item[name]["S"].as_str().map(ToOwned::to_owned);
            let claimant = text("claimant").and_then(|id| id.parse::<EventId>().ok());
            let ends = claimant.map(|id| id.created_at().plus_millis(CLAIM_KEPT_MS));
            if ends.is_some_and(|ends| ends <= now) {
                expired.push((text("tenantId").unwrap(), text("eventId").unwrap()));
            }
        }
        expired.truncate(max);
        for (tenant, event) in &expired {
            remove(&self.dynamo.database, tenant, event);
            remove(&self.dynamo.database, tenant, &format!("body#{event}"));
        }
        Ok(expired.len() as u64)
    }
}

fn remove(database: &Database, tenant: &str, event: &str) {
    let key: Value = json!({ "tenantId": { "S": tenant }, "eventId": { "S": event } });
    let request = json!({ "TableName": EVENTS, "Key": key });
    database.delete_item(serde_json::from_value(request).unwrap()).unwrap();
}

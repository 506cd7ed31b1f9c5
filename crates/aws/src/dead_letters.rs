//! The DLQ as people see it: the rows whose status is DLQ, by the sparse `standing` index.
//!
//! The queue of that name is for machines (alarms, the requeue function). It is not read here:
//! reading a queue hides what it shows, and a queue knows neither tenants nor order.
//!
//! One tenant's dead letters are a range of the index. Everybody's (the admin's view) are found by
//! a scan of the index, in some segments side by side: it holds only FAILED, DLQ and PURGED rows,
//! so that it is small while things are well. An index for the admin would be a second write with
//! each death and each requeue, in one partition for all tenants; going from tenant to tenant
//! would take a request for each, and miss those whose tenant is gone.
//!
//! The index may lag and only names rows: what is shown and changed is what the rows say.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue as Value;
use futures_util::future::try_join_all;
use posthaste_domain::{DeadLetterCause, EventId, EventStatus, Row, RowKey, TenantId, Timestamp};
use posthaste_ports::{DeadLetter, DeadLetters, PortError, Queue, Requeued, Rows, Scope, Written};
use posthaste_protocol::purge;
use tracing::warn;

use crate::error::Call;
use crate::events::{Requeuer, batch_get, died_at, error_of};
use crate::item::{self, Item, key_of, name, row_key, standing};
use crate::{Client, Error, Resource};

/// Keys that are looked for at once.
const KEYS_MAX: usize = 1_000;
/// Rows that are purged at once.
const PURGE_BATCH: usize = 100;
/// Parts of the index that a scan reads side by side.
const SEGMENTS: usize = 4;

/// The DLQ in DynamoDB. Cheap to clone.
#[derive(Clone)]
pub struct DynamoDeadLetters {
    client: Client,
    table: Resource,
    pub(crate) requeuer: Requeuer,
}

impl DynamoDeadLetters {
    /// The dead letters of this table. `rows` writes its rows, `queue` is the main queue.
    #[must_use]
    pub fn new(client: Client, rows: Arc<dyn Rows>, queue: Arc<dyn Queue>) -> Self {
        let table = client.table_named(&client.names().events);
        Self { client, table, requeuer: Requeuer::new(rows, queue) }
    }

    /// The oldest dead rows after a key, at most `max`.
    pub(crate) async fn dead_rows(
        &self,
        scope: &Scope,
        after: Option<RowKey>,
        max: usize,
    ) -> Result<Vec<(RowKey, Row, Item)>, Error> {
        let mut dead = Vec::new();
        let mut after = after;
        while dead.len() < max {
            let wanted = (max - dead.len()).min(KEYS_MAX);
            let keys = self.keys(scope, after.as_ref(), wanted).await?;
            let is_last = keys.len() < wanted;
            let items =
                batch_get(&self.client, &self.table, keys.iter().map(row_key).collect()).await?;
            after = keys.last().cloned();
            for (key, item) in keys.into_iter().zip(items) {
                let Some(item) = item else { continue };
                match self.row(&item) {
                    Ok(row) if row.status == EventStatus::Dlq => dead.push((key, row, item)),
                    Ok(_) => {}
                    // It must not stand before all the others: whoever reads the log mends it.
                    Err(error) => warn!(event = %key.event, %error, "a dead row is passed over"),
                }
            }
            if is_last {
                break;
            }
        }
        Ok(dead)
    }

    /// What the index names after a key: the first `max`, by tenant and age.
    async fn keys(
        &self,
        scope: &Scope,
        after: Option<&RowKey>,
        max: usize,
    ) -> Result<Vec<RowKey>, Error> {
        match scope {
            Scope::Tenant(tenant) => self.keys_of(tenant, after, max).await,
            Scope::All => {
                let segments = (0..SEGMENTS).map(|segment| self.segment(segment, after, max));
                let mut keys: Vec<_> =
                    try_join_all(segments).await?.into_iter().flatten().collect();
                keys.sort_unstable();
                keys.truncate(max);
                Ok(keys)
            }
        }
    }

    async fn keys_of(
        &self,
        tenant: &TenantId,
        after: Option<&RowKey>,
        max: usize,
    ) -> Result<Vec<RowKey>, Error> {
        let call = Call { action: "dynamodb:Query", resource: &self.table };
        let mut keys = Vec::new();
        let mut start = None;
        let after = after.map_or_else(|| EventId::PREFIX.to_owned(), |key| key.event.to_string());
        loop {
            let read = self
                .client
                .table()
                .query()
                .table_name(self.table.name())
                .index_name(name::STANDING_INDEX)
                .key_condition_expression("#s = :s AND #e > :after")
                .expression_attribute_names("#s", name::STANDING)
                .expression_attribute_names("#e", name::EVENT)
                .expression_attribute_values(":s", Value::S(standing(tenant, EventStatus::Dlq)))
                .expression_attribute_values(":after", Value::S(after.clone()))
                .limit(i32::try_from(max - keys.len()).unwrap_or(i32::MAX))
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(|error| call.failed(&error))?;
            keys.extend(read.items.unwrap_or_default().iter().filter_map(key_of));
            start = read.last_evaluated_key;
            if start.is_none() || keys.len() >= max {
                return Ok(keys);
            }
        }
    }

    /// What one segment of the index names after a key: the first `max`.
    async fn segment(
        &self,
        segment: usize,
        after: Option<&RowKey>,
        max: usize,
    ) -> Result<BTreeSet<RowKey>, Error> {
        let call = Call { action: "dynamodb:Scan", resource: &self.table };
        let mut keys = BTreeSet::new();
        let mut start = None;
        loop {
            let read = self
                .client
                .table()
                .scan()
                .table_name(self.table.name())
                .index_name(name::STANDING_INDEX)
                .segment(i32::try_from(segment).unwrap_or(0))
                .total_segments(i32::try_from(SEGMENTS).unwrap_or(1))
                .filter_expression("contains(#s, :dead)")
                .expression_attribute_names("#s", name::STANDING)
                .expression_attribute_values(":dead", Value::S(dead_suffix()))
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(|error| call.failed(&error))?;
            for key in read.items.unwrap_or_default().iter().filter_map(key_of) {
                if after.is_none_or(|after| key > *after) {
                    keys.insert(key);
                }
                // Bounded, however many there are.
                if keys.len() > max {
                    keys.pop_last();
                }
            }
            start = read.last_evaluated_key;
            if start.is_none() {
                return Ok(keys);
            }
        }
    }

    fn row(&self, item: &Item) -> Result<Row, Error> {
        let call = Call { action: "dynamodb:BatchGetItem", resource: &self.table };
        item::row(item).map_err(|reason| call.unreadable(reason))
    }
}

/// What the `standing` of every dead row has in it, and no other.
fn dead_suffix() -> String {
    format!("#{}", EventStatus::Dlq.as_str())
}

impl fmt::Debug for DynamoDeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoDeadLetters").field("table", &self.table).finish_non_exhaustive()
    }
}

#[async_trait]
impl DeadLetters for DynamoDeadLetters {
    async fn list(&self, scope: &Scope, limit: usize) -> Result<Vec<DeadLetter>, PortError> {
        let dead = self.dead_rows(scope, None, limit).await?;
        let letters = dead.into_iter().map(|(key, row, item)| DeadLetter {
            // Rows of earlier versions say no cause; there was but one.
            cause: row.cause.unwrap_or(DeadLetterCause::AttemptsExhausted),
            attempts: row.attempts,
            round: row.round,
            error: error_of(&item),
            at: died_at(key.event, &row),
            tenant: key.tenant,
            event: key.event,
        });
        Ok(letters.collect())
    }

    async fn requeue(
        &self,
        scope: &Scope,
        batch: usize,
        max: usize,
        at: Timestamp,
    ) -> Result<Requeued, PortError> {
        let oldest = self.dead_rows(scope, None, max).await?;
        let mut done = Requeued::default();
        for step in oldest.chunks(batch.max(1)) {
            let seen = step.iter().map(|(key, row, _)| (key.clone(), row.round)).collect();
            let began = self.requeuer.requeue(seen, posthaste_protocol::Requeued::Dead, at).await;
            let mut fault = None;
            for began in began {
                match began {
                    Ok(Written::Done) => done.requeued += 1,
                    // Others requeued or purged what this call has found.
                    Ok(Written::Refused(_)) => done.failed += 1,
                    Err(error) => fault = Some(error),
                }
            }
            if let Some(error) = fault {
                return Err(error);
            }
        }
        Ok(done)
    }

    async fn purge(&self, scope: &Scope, at: Timestamp) -> Result<u64, PortError> {
        let mut purged = 0;
        let mut after = None;
        loop {
            let dead = self.dead_rows(scope, after, KEYS_MAX).await?;
            for step in dead.chunks(PURGE_BATCH) {
                let writes = step.iter().map(|(key, row, _)| purge(key, row.round, at)).collect();
                for written in self.requeuer.rows().write(writes).await {
                    // A refused one is not in the DLQ any more: requeued or purged by others.
                    purged += u64::from(written? == Written::Done);
                }
            }
            if dead.len() < KEYS_MAX {
                return Ok(purged);
            }
            after = dead.into_iter().last().map(|(key, ..)| key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For all tenants and statuses: the filter of the scan finds the dead rows, and only those.
    #[test]
    fn the_filter_tells_dead_rows_from_others() {
        for name in ["acme", "dlq", "a-dlq-b"] {
            let tenant = TenantId::try_new(name).unwrap();
            for status in EventStatus::ALL {
                let found = standing(&tenant, status).contains(&dead_suffix());
                assert_eq!(found, status == EventStatus::Dlq);
            }
        }
    }
}

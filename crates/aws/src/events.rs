//! Events as tenants see them, over the events table and the main queue.
//!
//! | call     | requests                                                                        |
//! |----------|---------------------------------------------------------------------------------|
//! | `accept` | claims, bodies, rows, messages, in this order; each as one batch (`accepting`)   |
//! | `event`  | one read of the row, one of the body where it has its own item                   |
//! | `list`   | the table backwards, or the `standing` index and the rows it names (`listing`)   |
//! | `retry`  | a read, the requeue write, one message (`requeueing`)                            |
//!
//! There is no [`posthaste_ports::ArrivalSink`] here: who delivers hears of an event from the
//! queue, or finds its row in the work index.
//!
//! Invariant: an answer of `accept` is given when the queue holds the event's message, or its row
//! is final or in the work index. Whatever fails before is an error, and the client's retry with
//! its key goes on from there.

mod accepting;
mod batches;
mod claims;
mod listing;
mod requeueing;
mod sending;
mod view;

pub(crate) use batches::batch_get;
pub(crate) use requeueing::Requeuer;
pub(crate) use view::{died_at, error as error_of};

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use posthaste_domain::{EventId, EventStatus, Row, RowKey, TenantId, Timestamp};
use posthaste_ports::{
    Acceptance, EventDetail, EventPage, EventStore, ListQuery, NewEvent, PortError, Queue, Retried,
    Rows, Written,
};
use posthaste_protocol::Requeued;

use crate::error::Call;
use crate::item::{self, Item, body_key, row_key};
use crate::{Client, DynamoTenants, Error, Resource};

/// How many rows one list reads at most, whatever it is looking for: about a second's work, and
/// 2,500 read units where rows have 1 KiB.
const LISTED_ROWS_MAX: usize = 20_000;
/// How many tenants are known to exist without another look.
const KNOWN_TENANTS_MAX: usize = 10_000;
/// A row that others change between our reading and writing is looked at again so often.
const RETRY_TRIES_MAX: usize = 4;

/// Events in DynamoDB and SQS. Cheap to clone.
#[derive(Clone)]
pub struct DynamoEvents {
    client: Client,
    table: Resource,
    tenants: DynamoTenants,
    queue: Arc<dyn Queue>,
    requeuer: Requeuer,
    /// Tenants that exist. None is ever deleted through the ports, and one that an operator
    /// deletes has its events dead-lettered where they are delivered; so what is known stays so.
    known: Arc<Mutex<BTreeSet<TenantId>>>,
    listed_rows_max: usize,
}

impl DynamoEvents {
    /// The events of this table. `rows` writes its rows, `queue` is the main queue.
    #[must_use]
    pub fn new(client: Client, rows: Arc<dyn Rows>, queue: Arc<dyn Queue>) -> Self {
        Self {
            table: client.table_named(&client.names().events),
            tenants: DynamoTenants::new(client.clone()),
            requeuer: Requeuer::new(rows, Arc::clone(&queue)),
            client,
            queue,
            known: Arc::default(),
            listed_rows_max: LISTED_ROWS_MAX,
        }
    }

    /// The same, with a list reading no more than so many rows.
    #[must_use]
    pub fn listing_at_most(self, rows: usize) -> Self {
        Self { listed_rows_max: rows.max(1), ..self }
    }

    /// Whether there is such a tenant.
    async fn exists(&self, tenant: &TenantId) -> Result<bool, PortError> {
        if self.known().contains(tenant) {
            return Ok(true);
        }
        let exists = self.tenants.exists(tenant).await?;
        if exists {
            let mut known = self.known();
            if known.len() >= KNOWN_TENANTS_MAX {
                known.clear();
            }
            known.insert(tenant.clone());
        }
        Ok(exists)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeSet<TenantId>> {
        // A set of names is whole whatever happened to its last user.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One item, as the last acknowledged write left it.
    async fn item(&self, key: Item) -> Result<Option<Item>, Error> {
        let call = Call { action: "dynamodb:GetItem", resource: &self.table };
        let read = self
            .client
            .table()
            .get_item()
            .table_name(self.table.name())
            .set_key(Some(key))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        Ok(read.item)
    }

    /// What a row's item says.
    fn row(&self, item: &Item) -> Result<Row, Error> {
        let call = Call { action: "dynamodb:GetItem", resource: &self.table };
        item::row(item).map_err(|reason| call.unreadable(reason))
    }

    async fn payload(&self, key: &RowKey, row: &Item) -> Result<Option<Bytes>, Error> {
        if let Some(payload) = item::payload(row) {
            return Ok(Some(payload));
        }
        let body = self.item(body_key(key)).await?;
        Ok(body.as_ref().and_then(item::payload))
    }
}

impl fmt::Debug for DynamoEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoEvents").field("table", &self.table).finish_non_exhaustive()
    }
}

#[async_trait]
impl EventStore for DynamoEvents {
    /// One error fails the call: a client that comes again with its key gets what was accepted as a
    /// replay.
    async fn accept(&self, events: Vec<NewEvent>) -> Result<Vec<Acceptance>, PortError> {
        self.accept_apart(events).await.into_iter().collect()
    }

    async fn accept_each(
        &self,
        events: Vec<NewEvent>,
    ) -> Result<Vec<Result<Acceptance, PortError>>, PortError> {
        let answers = self.accept_apart(events).await;
        match answers.first() {
            Some(Err(error)) if answers.iter().all(Result::is_err) => Err(error.clone()),
            _ => Ok(answers),
        }
    }

    async fn event(
        &self,
        tenant: &TenantId,
        id: EventId,
        now: Timestamp,
    ) -> Result<Option<EventDetail>, PortError> {
        let key = RowKey { tenant: tenant.clone(), event: id };
        let Some(item) = self.item(row_key(&key)).await? else { return Ok(None) };
        let row = self.row(&item)?;
        let payload = self.payload(&key, &item).await?;
        Ok(Some(view::detail(id, &item, &row, payload, now)))
    }

    async fn list(&self, tenant: &TenantId, query: ListQuery) -> Result<EventPage, PortError> {
        Ok(self.page(tenant, query).await?)
    }

    async fn retry(
        &self,
        tenant: &TenantId,
        id: EventId,
        at: Timestamp,
    ) -> Result<Retried, PortError> {
        let key = RowKey { tenant: tenant.clone(), event: id };
        let Some(item) = self.item(row_key(&key)).await? else { return Ok(Retried::NotFound) };
        let mut row = self.row(&item)?;
        for _ in 0..RETRY_TRIES_MAX {
            let status = view::status(&row, at);
            if !matches!(status, EventStatus::Failed | EventStatus::Dlq) {
                return Ok(Retried::NotRetryable(status));
            }
            let seen = vec![(key.clone(), row.round)];
            let began = self.requeuer.requeue(seen, Requeued::DeadOrFailed, at).await;
            match began.into_iter().next().unwrap_or(Ok(Written::Refused(None)))? {
                Written::Done => return Ok(Retried::Requeued),
                Written::Refused(None) => return Ok(Retried::NotFound),
                Written::Refused(Some(now)) => row = now,
            }
        }
        Err(PortError::Transient(format!("event {id} is changed by others all the time")))
    }
}

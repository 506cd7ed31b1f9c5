//! The table of events behind the port `Rows`.
//!
//! Writes go out by one of two strategies ([`WriteStrategy`]): statements cost us 16 µs a row,
//! updates 140 µs (ADR 0009; `measured` says how that was found).
//! `TransactWriteItems` was measured as well and is not offered: it costs twice the write units,
//! and one refused condition undoes all the other writes of its request.
//!
//! Reads are strongly consistent. A payload that is not in its row costs a second read.

#[cfg(test)]
mod measured;
mod statements;
mod updates;

use std::collections::HashMap;

use async_trait::async_trait;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::AttributeValue as Value;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use posthaste_domain::{RowChange, RowKey, RowWrite, Timestamp};
use posthaste_ports::{PortError, Readable, Rows, StoredEvent, Written};

use crate::error::Call;
use crate::item::{self, Edit, Item, NewItems, name};
use crate::{Client, Error, Resource, WriteStrategy, reading};

/// Requests of one call that are under way at a time.
const REQUESTS_AT_ONCE_MAX: usize = 8;

/// An event to put into the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRow {
    /// Whose, and which.
    pub key: RowKey,
    /// The bytes to deliver.
    pub payload: Bytes,
    /// Where they go, for people who look at the table.
    pub target_url: Option<Box<str>>,
}

/// The table of events.
#[derive(Clone, Debug)]
pub struct DynamoRows {
    client: Client,
    table: Resource,
}

impl DynamoRows {
    /// The table that the client's settings name.
    #[must_use]
    pub fn new(client: &Client) -> Self {
        let table = client.table_named(&client.names().events);
        Self { client: client.clone(), table }
    }

    /// Puts a new event: the body item where there is one, then the row. False where the row was
    /// there before; it stays as it is. May be repeated.
    ///
    /// # Errors
    /// What AWS says. Whether it was done is unknown then.
    pub async fn insert(&self, new: &NewRow) -> Result<bool, Error> {
        let NewItems { body, row } = item::new_items(new);
        let call = self.call("dynamodb:PutItem");
        let put = || self.client.table().put_item().table_name(self.table.name());
        if let Some(body) = body {
            put().set_item(Some(body)).send().await.map_err(|error| call.failed(&error))?;
        }
        let request = put().set_item(Some(row)).condition_expression("attribute_not_exists(#e)");
        match request.expression_attribute_names("#e", name::EVENT).send().await {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(_)) => Ok(false),
                _ => Err(call.failed(&error)),
            },
        }
    }

    pub(crate) fn call(&self, action: &'static str) -> Call<'_> {
        Call { action, resource: &self.table }
    }

    /// Keeps the body of a requeued event from expiring before its new round can end. Before the
    /// row's write, so that a row in a new round has its payload for sure.
    async fn keep_body(&self, key: &RowKey, until: Timestamp) -> Result<(), Error> {
        let call = self.call("dynamodb:UpdateItem");
        let ttl = until.plus_millis(item::BODY_KEPT_MS).as_secs();
        let request = self.client.table().update_item().table_name(self.table.name());
        let answer = request
            .set_key(Some(item::body_key(key)))
            .update_expression("SET #t = :t")
            .condition_expression("attribute_exists(#e)")
            .expression_attribute_names("#t", name::TTL)
            .expression_attribute_names("#e", name::EVENT)
            .expression_attribute_values(":t", Value::N(ttl.to_string()))
            .send()
            .await;
        match answer {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                // The payload is in the row.
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(()),
                _ => Err(call.failed(&error)),
            },
        }
    }

    /// Keeps the bodies of what is to be requeued; the writes that go on, with their places, and
    /// the answers of those that cannot.
    async fn prepare(
        &self,
        writes: Vec<RowWrite>,
    ) -> (Vec<(usize, RowWrite)>, Vec<Result<Written, PortError>>) {
        let prepared = writes.into_iter().map(|write| async {
            if let RowChange::Requeue { until, .. } = write.change {
                self.keep_body(&write.key, until).await.map(|()| write)
            } else {
                Ok(write)
            }
        });
        let prepared: Vec<_> = prepared.collect();
        let mut going = Vec::with_capacity(prepared.len());
        let mut answers = Vec::with_capacity(prepared.len());
        let mut prepared = stream::iter(prepared).buffered(REQUESTS_AT_ONCE_MAX).enumerate();
        while let Some((index, prepared)) = prepared.next().await {
            match prepared {
                Ok(write) => {
                    going.push((index, write));
                    answers.push(Err(PortError::Transient("not written yet".to_owned())));
                }
                Err(error) => answers.push(Err(passing(error.into()))),
            }
        }
        (going, answers)
    }

    /// Writes by the strategy of the settings; one answer for each in order.
    async fn execute(&self, edits: Vec<(RowKey, Edit)>) -> Vec<Answer> {
        match self.client.writes() {
            WriteStrategy::Statements => self.execute_statements(edits).await,
            WriteStrategy::Updates => self.execute_updates(edits).await,
        }
    }

    /// What an answer says about the row. What is refused for another reason than the row itself
    /// is not the row's fault, so it is told as something that passes.
    fn written(&self, answer: Answer) -> Result<Written, PortError> {
        let old = match answer.map_err(passing)? {
            Executed::Done => return Ok(Written::Done),
            Executed::Refused(old) => old,
        };
        let row = old.as_ref().map(item::row).transpose();
        let row = row.map_err(|reason| self.call("dynamodb:UpdateItem").unreadable(reason));
        Ok(Written::Refused(row?))
    }
}

/// The same as something that passes.
fn passing(error: PortError) -> PortError {
    match error {
        PortError::Permanent(line) => PortError::Transient(line),
        error => error,
    }
}

/// What became of one conditional write.
enum Executed {
    Done,
    /// With the item as it is; none where there is no such row.
    Refused(Option<Item>),
}

type Answer = Result<Executed, PortError>;

#[async_trait]
impl Rows for DynamoRows {
    async fn write(&self, writes: Vec<RowWrite>) -> Vec<Result<Written, PortError>> {
        let (going, mut answers) = self.prepare(writes).await;
        let edits = going.iter().map(|(_, write)| (write.key.clone(), Edit::of(write))).collect();
        let executed = self.execute(edits).await;
        let mut older = Vec::new();
        for ((place, write), answer) in going.into_iter().zip(executed) {
            if let Ok(Executed::Refused(Some(old))) = &answer
                && let Some(edit) = Edit::of(&write).for_older(old)
            {
                older.push((place, (write.key, edit)));
            }
            answers[place] = self.written(answer);
        }
        // Rows of earlier versions: a second request, once in their lives.
        if !older.is_empty() {
            let (places, edits): (Vec<_>, Vec<_>) = older.into_iter().unzip();
            for (place, answer) in places.into_iter().zip(self.execute(edits).await) {
                answers[place] = self.written(answer);
            }
        }
        answers
    }

    async fn read(&self, keys: &[RowKey]) -> Result<Vec<Option<StoredEvent>>, PortError> {
        self.read_each(keys).await?.into_iter().collect()
    }

    async fn read_each(&self, keys: &[RowKey]) -> Result<Vec<Readable>, PortError> {
        let call = self.call("dynamodb:BatchGetItem");
        let mut wanted: Vec<_> = keys.to_vec();
        wanted.sort_unstable();
        wanted.dedup();
        let items = reading::items(
            &self.client,
            &self.table,
            &wanted.iter().map(item::row_key).collect::<Vec<_>>(),
        )
        .await?;
        let mut found: HashMap<RowKey, Result<StoredEvent, PortError>> =
            HashMap::with_capacity(items.len());
        let mut bodies = Vec::new();
        for item in &items {
            let Some(key) = item::key_of(item) else { continue };
            let row = match item::row(item) {
                Ok(row) => row,
                Err(reason) => {
                    found.insert(key, Err(call.unreadable(reason).into()));
                    continue;
                }
            };
            let payload = item::payload(item);
            if payload.is_none() {
                bodies.push(key.clone());
            }
            found.insert(key, Ok(StoredEvent { row, payload }));
        }
        let held = reading::items(
            &self.client,
            &self.table,
            &bodies.iter().map(item::body_key).collect::<Vec<_>>(),
        )
        .await?;
        let mut held: HashMap<_, _> = held
            .iter()
            .filter_map(|item| {
                let tenant = item::text(item, name::TENANT)?.to_owned();
                let event = item::text(item, name::EVENT)?.to_owned();
                Some(((tenant, event), item::payload(item)?))
            })
            .collect();
        for key in bodies {
            let body = (key.tenant.as_str().to_owned(), item::body_sort_key(&key));
            if let (Some(Ok(event)), Some(payload)) = (found.get_mut(&key), held.remove(&body)) {
                event.payload = Some(payload);
            }
        }
        Ok(keys.iter().map(|key| found.get(key).cloned().transpose()).collect())
    }

    async fn owed(
        &self,
        partition: u8,
        before: Timestamp,
        max: usize,
    ) -> Result<Vec<RowKey>, PortError> {
        let call = self.call("dynamodb:Query");
        let mut owed = Vec::new();
        let mut start = None;
        while owed.len() < max {
            let request = self.client.table().query().table_name(self.table.name());
            let limit = i32::try_from(max - owed.len()).unwrap_or(i32::MAX);
            let answer = request
                .index_name(name::WORK_INDEX)
                .key_condition_expression("#wk = :wk AND #due < :before")
                .expression_attribute_names("#wk", name::PARTITION)
                .expression_attribute_names("#due", name::DUE)
                .expression_attribute_values(":wk", Value::N(partition.to_string()))
                .expression_attribute_values(":before", Value::N(before.as_millis().to_string()))
                .limit(limit)
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(|error| call.failed(&error))?;
            owed.extend(answer.items.unwrap_or_default().iter().filter_map(item::key_of));
            start = answer.last_evaluated_key.filter(|key| !key.is_empty());
            if start.is_none() {
                break;
            }
        }
        Ok(owed)
    }
}

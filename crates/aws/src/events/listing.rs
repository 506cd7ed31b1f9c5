//! Pages of a tenant's events, newest first.
//!
//! | asked for              | read                                                              |
//! |------------------------|-------------------------------------------------------------------|
//! | everything             | the tenant's rows backwards, as many as are shown                 |
//! | FAILED, DLQ, PURGED    | the `standing` index backwards, and the rows that it names        |
//! | PENDING, DELIVERED     | the tenant's rows backwards, until enough of them match           |
//!
//! An index for PENDING and DELIVERED would be written twice in each event's life, to make a list
//! quick that is read seldom. The index may lag, so it only names rows; what is shown is what the
//! rows say. FAILED rows whose retry is due are PENDING, so both look into all FAILED rows.
//!
//! A call reads a bounded number of rows. Where that is not enough (a status that hardly any of
//! very many rows has), the page is shorter than was asked for, perhaps empty, and its `next` is
//! where reading stopped: the next page goes on from there, and nothing is left out. This is the
//! one case in which a page that is not the last is not full.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue as Value;
use posthaste_domain::{EventId, EventStatus, TenantId};
use posthaste_ports::{EventPage, EventSummary, ListQuery};
use tracing::warn;

use super::DynamoEvents;
use super::batches::batch_get;
use super::view;
use crate::Error;
use crate::error::Call;
use crate::item::{Item, key_of, name, row_key, standing, text};

/// The first read of a filtered list asks for so many rows a wanted event, and each further one
/// for so many times as many: a status that most rows have costs little, and one that few have
/// does not take a request a row.
const GROWTH: usize = 4;
/// Rows that an index names, read at once.
const NAMED_ROWS_MAX: usize = 100;

/// A page in the making.
struct Page {
    query: ListQuery,
    found: Vec<EventSummary>,
    /// Rows that may still be read.
    rows_left: usize,
    /// The oldest id that was looked at, where there may be more.
    position: Option<EventId>,
}

impl Page {
    /// Takes in a row, where it is to be shown.
    fn offer(&mut self, event: EventSummary) {
        let wanted = self.query.status.is_none_or(|status| status == event.status);
        if wanted && self.found.len() <= self.query.limit {
            self.found.push(event);
        }
    }

    /// Whether it is known what to answer: one event more than is shown tells that there is more.
    fn is_complete(&self) -> bool {
        self.found.len() > self.query.limit
    }

    fn finish(mut self) -> EventPage {
        let next = if self.is_complete() {
            self.found.truncate(self.query.limit);
            self.found.last().map(|last| last.id)
        } else {
            self.position
        };
        EventPage { events: self.found, next }
    }
}

impl DynamoEvents {
    /// One page.
    pub(super) async fn page(
        &self,
        tenant: &TenantId,
        query: ListQuery,
    ) -> Result<EventPage, Error> {
        let mut page = Page {
            query,
            found: Vec::with_capacity(query.limit + 1),
            rows_left: self.listed_rows_max,
            position: None,
        };
        let Some(mut newest) = newest(&query) else { return Ok(page.finish()) };
        let mut rows = query.limit + 1;
        while page.rows_left > 0 {
            let by_index = query.status.filter(|status| is_indexed(*status));
            let once_max = if by_index.is_some() { NAMED_ROWS_MAX } else { usize::MAX };
            let asked = rows.min(page.rows_left).min(once_max);
            let (read, stopped_at) = match by_index {
                Some(status) => self.named_rows(tenant, status, newest, asked).await?,
                None => self.rows(tenant, &query, newest, asked).await?,
            };
            for (id, item) in read {
                match self.row(&item) {
                    Ok(row) => page.offer(view::summary(id, &item, &row, query.now)),
                    // Whoever asks for it by its id is told.
                    Err(error) => warn!(event = %id, %error, "a row is left out of a list"),
                }
            }
            page.rows_left -= asked;
            let older = stopped_at.and_then(|id| id.as_u128().checked_sub(1));
            page.position = stopped_at.filter(|_| older.is_some());
            match older {
                Some(older) if !page.is_complete() => newest = EventId::from_u128(older),
                _ => break,
            }
            rows = rows.saturating_mul(GROWTH);
        }
        Ok(page.finish())
    }

    /// At most so many of a tenant's rows from `newest` on, those that cannot match left out; and
    /// where reading stopped, unless there was nothing more.
    async fn rows(
        &self,
        tenant: &TenantId,
        query: &ListQuery,
        newest: EventId,
        max: usize,
    ) -> Result<(Vec<(EventId, Item)>, Option<EventId>), Error> {
        let mut request = self
            .backwards(max)
            .consistent_read(true)
            .key_condition_expression("#t = :t AND #e BETWEEN :oldest AND :newest")
            .expression_attribute_names("#t", name::TENANT)
            .expression_attribute_values(":t", Value::S(tenant.as_str().to_owned()));
        request = between(request, newest);
        request = match query.status {
            Some(EventStatus::Pending) => request
                .filter_expression("#s = :pending OR #s = :failed")
                .expression_attribute_names("#s", name::STATUS)
                .expression_attribute_values(":pending", status(EventStatus::Pending))
                .expression_attribute_values(":failed", status(EventStatus::Failed)),
            Some(wanted) => request
                .filter_expression("#s = :wanted")
                .expression_attribute_names("#s", name::STATUS)
                .expression_attribute_values(":wanted", status(wanted)),
            None => request,
        };
        let (items, stopped_at) = self.read(request).await?;
        let known = |item: Item| key_of(&item).map(|key| (key.event, item));
        Ok((items.into_iter().filter_map(known).collect(), stopped_at))
    }

    /// The same by the index of a status.
    async fn named_rows(
        &self,
        tenant: &TenantId,
        status: EventStatus,
        newest: EventId,
        max: usize,
    ) -> Result<(Vec<(EventId, Item)>, Option<EventId>), Error> {
        let request = self
            .backwards(max)
            .index_name(name::STANDING_INDEX)
            .key_condition_expression("#t = :t AND #e BETWEEN :oldest AND :newest")
            .expression_attribute_names("#t", name::STANDING)
            .expression_attribute_values(":t", Value::S(standing(tenant, status)));
        let (named, stopped_at) = self.read(between(request, newest)).await?;
        let keys: Vec<_> = named.iter().filter_map(key_of).collect();
        let items =
            batch_get(&self.client, &self.table, keys.iter().map(row_key).collect()).await?;
        let found = keys.into_iter().zip(items);
        let rows = found.filter_map(|(key, item)| Some((key.event, item?))).collect();
        Ok((rows, stopped_at))
    }

    fn backwards(&self, max: usize) -> QueryFluentBuilder {
        self.client
            .table()
            .query()
            .table_name(self.table.name())
            .scan_index_forward(false)
            .limit(i32::try_from(max).unwrap_or(i32::MAX))
    }

    async fn read(
        &self,
        request: QueryFluentBuilder,
    ) -> Result<(Vec<Item>, Option<EventId>), Error> {
        let call = Call { action: "dynamodb:Query", resource: &self.table };
        let read = request.send().await.map_err(|error| call.failed(&error))?;
        let stopped_at = read.last_evaluated_key.as_ref().and_then(id_of);
        Ok((read.items.unwrap_or_default(), stopped_at))
    }
}

/// Whether the `standing` index holds rows of this status, and only those.
const fn is_indexed(status: EventStatus) -> bool {
    matches!(status, EventStatus::Failed | EventStatus::Dlq | EventStatus::Purged)
}

/// The newest id that may be shown; none where nothing can be older.
fn newest(query: &ListQuery) -> Option<EventId> {
    match query.before {
        None => Some(EventId::MAX),
        Some(before) => before.as_u128().checked_sub(1).map(EventId::from_u128),
    }
}

/// Bodies and claims have sort keys that stand before every event's.
fn between(request: QueryFluentBuilder, newest: EventId) -> QueryFluentBuilder {
    request
        .expression_attribute_names("#e", name::EVENT)
        .expression_attribute_values(":oldest", Value::S(EventId::MIN.to_string()))
        .expression_attribute_values(":newest", Value::S(newest.to_string()))
}

fn id_of(key: &HashMap<String, Value>) -> Option<EventId> {
    text(key, name::EVENT)?.parse().ok()
}

fn status(status: EventStatus) -> Value {
    Value::S(status.as_str().to_owned())
}

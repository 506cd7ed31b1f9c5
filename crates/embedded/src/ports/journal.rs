//! What the engine's driver needs: settling, and reading what is owed.

use std::ops::Bound;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bytes::Bytes;
use posthaste_domain::{
    DeliveryKey, EndpointId, EventId, Owed, Settlement, TenantId, TimerPosition, Timestamp,
};
use posthaste_ports::{Backlog, Journal, OwedEndpoint, PortError, Settled, ShardSpec, TimerPage};

use crate::codec::{FreshRow, TimerRow};
use crate::keys;
use crate::ledger::Ledger;
use crate::shared::Shared;
use crate::tables::{
    ReadError, TIDE_KEY, Table, decoded, foreign_key, key_of, pair_of, unless_damaged,
};
use crate::writer::Operation;

#[async_trait]
impl Journal for Ledger {
    async fn settle(&self, settlements: Vec<Settlement>) -> Result<Vec<Settled>, PortError> {
        self.ask(|done| Operation::Settle { settlements, done }).await
    }

    async fn backlog(
        &self,
        tenant: &TenantId,
        endpoint: EndpointId,
        from: EventId,
        max: usize,
    ) -> Result<Backlog, PortError> {
        let tenant = tenant.clone();
        self.read(move |shared| backlog(shared, &tenant, endpoint, from, max)).await
    }

    async fn timers(
        &self,
        shard: ShardSpec,
        from: TimerPosition,
        until: Timestamp,
        max: usize,
    ) -> Result<TimerPage, PortError> {
        let query = TimerQuery { shard, from, until, max };
        self.read(move |shared| timer_page(shared, &EVENT_TIMERS, query)).await
    }

    async fn payloads(&self, keys: &[DeliveryKey]) -> Result<Vec<Option<Bytes>>, PortError> {
        let keys = keys.to_vec();
        self.read(move |shared| keys.iter().map(|key| payload(shared, key)).collect()).await
    }

    async fn owed_endpoints(&self, shard: ShardSpec) -> Result<Vec<OwedEndpoint>, PortError> {
        self.read(move |shared| owed_endpoints(shared, shard)).await
    }
}

fn payload(shared: &Shared, key: &DeliveryKey) -> Result<Option<Bytes>, ReadError> {
    if key.endpoint != EndpointId::DEFAULT {
        return Ok(None);
    }
    // A damaged one can be delivered no more, and must not hold up those that are read with it.
    let read = shared.tables.payload(&keys::event(&key.tenant, key.event));
    unless_damaged(read, &key.event, shared).map(Option::flatten)
}

fn backlog(
    shared: &Shared,
    tenant: &TenantId,
    endpoint: EndpointId,
    from: EventId,
    max: usize,
) -> Result<Backlog, ReadError> {
    let first = keys::fresh(tenant, endpoint, from);
    let last = keys::fresh(tenant, endpoint, EventId::MAX);
    let view = shared.tables.view();
    let mut owed = Vec::new();
    for guard in view.range(Table::Fresh, first..=last) {
        if owed.len() == max {
            return Ok(Backlog { owed, exhausted: false });
        }
        let (key, bytes) = pair_of(Table::Fresh, guard)?;
        let row = decoded::<FreshRow>(Table::Fresh, &bytes);
        match (keys::parse_fresh(&key), row) {
            (Some(key), Ok(row)) => owed.push(row.owed(key)),
            (None, _) => shared.damaged(&foreign_key(Table::Fresh), tenant),
            (_, Err(error)) => shared.damaged(&error, tenant),
        }
    }
    Ok(Backlog { owed, exhausted: true })
}

/// What a page of timers is asked for by.
pub(super) struct TimerQuery {
    pub(super) shard: ShardSpec,
    pub(super) from: TimerPosition,
    pub(super) until: Timestamp,
    pub(super) max: usize,
}

/// Where timers stand, and how their keys are made and read.
pub(super) struct TimerRows {
    pub(super) table: Table,
    pub(super) after: fn(&TimerPosition) -> Vec<u8>,
    pub(super) end: &'static [u8],
    pub(super) parse: fn(&[u8]) -> Option<(Timestamp, DeliveryKey)>,
}

const EVENT_TIMERS: TimerRows = TimerRows {
    table: Table::Timers,
    after: keys::timer_position,
    end: TIDE_KEY,
    parse: keys::parse_timer,
};

/// The timers of one table, from a place on.
pub(super) fn timer_page(
    shared: &Shared,
    rows: &TimerRows,
    query: TimerQuery,
) -> Result<TimerPage, ReadError> {
    let TimerQuery { shard, from, until, max } = query;
    let view = shared.tables.view();
    // The watermark is read after the view is taken: it is lowered before a commit can be seen.
    let low = Timestamp::from_millis(shared.timers_low.load(Ordering::SeqCst));
    let from = from.max(TimerPosition { due: low, key: None });
    let range = (Bound::Excluded((rows.after)(&from)), Bound::Excluded(rows.end.to_vec()));
    let mut last = from;
    let mut owed: Vec<Owed> = Vec::new();
    for guard in view.range(rows.table, range) {
        let (key, bytes) = pair_of(rows.table, guard)?;
        let Some((due, key)) = (rows.parse)(&key) else {
            shared.damaged(&foreign_key(rows.table), &"a timer");
            continue;
        };
        if due > until {
            break;
        }
        let row: TimerRow = match decoded(rows.table, &bytes) {
            Ok(row) => row,
            Err(error) => {
                shared.damaged(&error, &key.event);
                continue;
            }
        };
        if !shard.owns(row.shard_key) {
            continue;
        }
        if owed.len() == max {
            return Ok(TimerPage { owed, next: Some(last) });
        }
        last = TimerPosition { due, key: Some(key.clone()) };
        owed.push(row.owed(due, key));
    }
    Ok(TimerPage { owed, next: None })
}

/// One step for each endpoint, not for each delivery: from an endpoint's first row to behind its
/// last possible one.
fn owed_endpoints(shared: &Shared, shard: ShardSpec) -> Result<Vec<OwedEndpoint>, ReadError> {
    let view = shared.tables.view();
    let mut found = Vec::new();
    let mut from = Bound::Unbounded;
    while let Some(guard) = view.from(Table::Fresh, from).next() {
        let key = key_of(Table::Fresh, guard)?;
        let Some(DeliveryKey { tenant, event, endpoint }) = keys::parse_fresh(&key) else {
            shared.damaged(&foreign_key(Table::Fresh), &"a fresh delivery");
            from = Bound::Excluded(key.to_vec());
            continue;
        };
        from = Bound::Excluded(keys::fresh(&tenant, endpoint, EventId::MAX));
        // One that is damaged holds up nobody else. Its deliveries stay owed, and are told of at
        // the first start after it is mended.
        let record = unless_damaged(shared.tenant(&tenant), &tenant, shared)?.flatten();
        if record.is_some_and(|record| shard.owns(record.shard_key)) {
            found.push(OwedEndpoint { tenant, endpoint, first: event });
        }
    }
    Ok(found)
}

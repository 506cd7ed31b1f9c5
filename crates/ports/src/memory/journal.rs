//! What is owed: settling it, and reading it back.

use std::collections::BTreeMap;
use std::ops::Bound;

use async_trait::async_trait;
use bytes::Bytes;
use posthaste_domain::{
    DeliveryKey, EndpointId, EventId, Owed, OwedAs, Settlement, TenantId, TimerPosition, Timestamp,
};

use super::{MemoryStore, State};
use crate::{Backlog, Journal, OwedEndpoint, PortError, Settled, ShardSpec, TimerPage};

#[async_trait]
impl Journal for MemoryStore {
    async fn settle(&self, settlements: Vec<Settlement>) -> Result<Vec<Settled>, PortError> {
        let mut state = self.lock();
        Ok(settlements.into_iter().map(|settlement| state.settle(settlement)).collect())
    }

    async fn backlog(
        &self,
        tenant: &TenantId,
        endpoint: EndpointId,
        from: EventId,
        max: usize,
    ) -> Result<Backlog, PortError> {
        let state = self.lock();
        let mut fresh = state.owed_by(tenant).filter(|owed| {
            owed.owed_as == OwedAs::Fresh && owed.key.endpoint == endpoint && owed.key.event >= from
        });
        let owed = fresh.by_ref().take(max).collect();
        Ok(Backlog { owed, exhausted: fresh.next().is_none() })
    }

    async fn timers(
        &self,
        shard: ShardSpec,
        from: TimerPosition,
        until: Timestamp,
        max: usize,
    ) -> Result<TimerPage, PortError> {
        let state = self.lock();
        let timers: BTreeMap<TimerPosition, Owed> = state
            .owed_in(shard)
            .filter(|owed| matches!(owed.owed_as, OwedAs::Timer(due) if due <= until))
            .map(|owed| (TimerPosition { due: owed.due(), key: Some(owed.key.clone()) }, owed))
            .collect();
        let after = (Bound::Excluded(from.clone()), Bound::Unbounded);
        let mut following = timers.range(after);
        let page: Vec<_> = following.by_ref().take(max).collect();
        let more = following.next().is_some();
        let last = page.last().map_or(from, |(position, _)| (*position).clone());
        let owed = page.into_iter().map(|(_, owed)| owed.clone()).collect();
        Ok(TimerPage { owed, next: more.then_some(last) })
    }

    async fn payloads(&self, keys: &[DeliveryKey]) -> Result<Vec<Option<Bytes>>, PortError> {
        let state = self.lock();
        let payload = |key| state.delivery(key).map(|row| row.payload.clone());
        Ok(keys.iter().map(payload).collect())
    }

    async fn owed_endpoints(&self, shard: ShardSpec) -> Result<Vec<OwedEndpoint>, PortError> {
        let state = self.lock();
        let mut oldest = BTreeMap::new();
        for owed in state.owed_in(shard).filter(|owed| owed.owed_as == OwedAs::Fresh) {
            // Rows come in the order of their ids, so the first one is the oldest.
            oldest.entry((owed.key.tenant, owed.key.endpoint)).or_insert(owed.key.event);
        }
        let endpoint = |((tenant, endpoint), first)| OwedEndpoint { tenant, endpoint, first };
        Ok(oldest.into_iter().map(endpoint).collect())
    }
}

impl State {
    fn settle(&mut self, settlement: Settlement) -> Settled {
        let key = &settlement.key;
        let row = self.events.get_mut(&(key.tenant.clone(), key.event));
        match row.filter(|_| key.endpoint == EndpointId::DEFAULT) {
            Some(row) => row.settle(settlement),
            None => Settled::Superseded,
        }
    }

    /// Everything that one tenant's events owe, in event-id order.
    fn owed_by(&self, tenant: &TenantId) -> impl Iterator<Item = Owed> {
        self.rows_of(tenant).filter_map(|(event, row)| row.owed(tenant, event))
    }

    /// Everything that a shard's tenants are owed.
    fn owed_in(&self, shard: ShardSpec) -> impl Iterator<Item = Owed> {
        let own = move |id: &TenantId| self.shard_key(id).is_some_and(|key| shard.owns(key));
        self.tenants.keys().filter(move |id| own(id)).flat_map(|id| self.owed_by(id))
    }
}

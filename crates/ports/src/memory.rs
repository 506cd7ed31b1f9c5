//! The reference adapter: every port on plain maps behind one lock.
//!
//! It is the executable specification. Where a trait's words leave a doubt, this code decides,
//! and the suite in [`crate::contract`] holds every other adapter to it. So it is written to be
//! read: an event's row says in one value where the event stands (`row::Standing`), and every
//! view (lists, backlogs, timers, dead letters) is computed from the rows when it is asked for.
//! A delivery cannot be owed twice, because there is no second place that could say so.
//!
//! Refuses to be fast: a view reads all rows of its scope. Keeps nothing beyond the process.
//!
//! Invariant: arrivals are told under the lock, so the [`ArrivalSink`] hears of a delivery before
//! anybody can settle it, and of all deliveries in the order in which they became owed.

mod dead_letters;
mod events;
mod expiry;
mod faults;
mod jobs;
mod journal;
mod queue;
mod row;
mod rows;
mod sinks;
mod tenants;

pub use faults::{Clock, Fault, Faults, NoFaults, Operation};
pub use jobs::MemoryJobs;
pub use queue::MemoryQueue;
pub use rows::MemoryRows;
pub use sinks::{NullSink, RecordingSink};

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use posthaste_domain::{DeliveryKey, EndpointId, EventId, KeyHash, Owed, TenantId};

use crate::{Arrival, ArrivalSink, TenantRecord};
use row::Row;

/// Every port in memory. Clones share one store.
#[derive(Clone)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    sink: Arc<dyn ArrivalSink>,
}

impl MemoryStore {
    /// An empty store that tells `sink` what becomes owed.
    ///
    /// The sink is called under the store's lock: it must not call the store.
    #[must_use]
    pub fn new(sink: Arc<dyn ArrivalSink>) -> Self {
        Self { state: Arc::default(), sink }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two writes that belong together, so a poisoned state is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the sink what has become owed; the caller still holds the lock that stored it.
    fn announce(&self, state: &State, ids: &[(TenantId, EventId)]) {
        let arrivals: Vec<_> = ids.iter().filter_map(|id| state.arrival(id)).collect();
        if !arrivals.is_empty() {
            self.sink.arrived(arrivals);
        }
    }
}

impl Default for MemoryStore {
    /// An empty store that nobody listens to.
    fn default() -> Self {
        Self::new(Arc::new(NullSink))
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryStore")
    }
}

#[derive(Default)]
struct State {
    tenants: BTreeMap<TenantId, Arc<TenantRecord>>,
    keys: BTreeMap<KeyHash, tenants::Key>,
    events: BTreeMap<(TenantId, EventId), Row>,
    claims: BTreeMap<(TenantId, [u8; 32]), events::Claim>,
    settings: BTreeMap<String, Vec<u8>>,
    /// Inverted, so that a new store has the receiver switched on.
    reception_disabled: bool,
}

impl State {
    /// A tenant's events, oldest first.
    fn rows_of(&self, tenant: &TenantId) -> impl DoubleEndedIterator<Item = (EventId, &Row)> {
        let all = (tenant.clone(), EventId::MIN)..=(tenant.clone(), EventId::MAX);
        self.events.range(all).map(|((_, event), row)| (*event, row))
    }

    fn shard_key(&self, tenant: &TenantId) -> Option<u32> {
        self.tenants.get(tenant).map(|record| record.shard_key)
    }

    /// What the sink hears of a delivery that has just become owed, payload included.
    fn arrival(&self, id: &(TenantId, EventId)) -> Option<Arrival> {
        let shard_key = self.shard_key(&id.0)?;
        let row = self.events.get(id)?;
        let owed = Owed { payload: Some(row.payload.clone()), ..row.owed(&id.0, id.1)? };
        Some(Arrival { shard_key, owed })
    }

    /// The row behind a delivery; none for endpoints that do not exist, which is all but one.
    fn delivery(&self, key: &DeliveryKey) -> Option<&Row> {
        let row = self.events.get(&(key.tenant.clone(), key.event));
        row.filter(|_| key.endpoint == EndpointId::DEFAULT)
    }
}

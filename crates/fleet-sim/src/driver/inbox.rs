//! The hand-over of deliveries from the courier to the shards: full, it remembers from where on to
//! read, as the daemon's does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use posthaste_domain::{EndpointId, EventId, Owed, TenantId};
use posthaste_ports::{Arrival, ArrivalSink};
use tokio::sync::Notify;

/// What waits for a shard's next turn.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    pub(crate) arrived: Vec<Owed>,
    pub(crate) behind: BTreeMap<(TenantId, EndpointId), EventId>,
}

/// One shard's inbox.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inbox {
    state: Arc<Mutex<Waiting>>,
    wake: Arc<Notify>,
    max: usize,
}

impl Inbox {
    pub(crate) fn take(&self) -> Waiting {
        std::mem::take(&mut *self.lock())
    }

    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    pub(crate) fn behind(&self, tenant: TenantId, endpoint: EndpointId, from: EventId) {
        self.lock().note(tenant, endpoint, from);
        self.wake();
    }

    fn push(&self, owed: Owed) {
        let mut waiting = self.lock();
        if waiting.arrived.len() < self.max {
            waiting.arrived.push(owed);
        } else {
            waiting.note(owed.key.tenant, owed.key.endpoint, owed.key.event);
        }
        drop(waiting);
        self.wake();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn note(&mut self, tenant: TenantId, endpoint: EndpointId, from: EventId) {
        let first = self.behind.entry((tenant, endpoint)).or_insert(from);
        *first = (*first).min(from);
    }
}

/// The inboxes of all shards of a daemon.
#[derive(Clone, Debug)]
pub(crate) struct Inboxes(pub(crate) Vec<Inbox>);

impl Inboxes {
    pub(crate) fn new(count: u32, max: usize) -> Self {
        Self((0..count).map(|_| Inbox { max, ..Inbox::default() }).collect())
    }
}

impl ArrivalSink for Inboxes {
    fn arrived(&self, arrivals: Vec<Arrival>) {
        for Arrival { shard_key, owed } in arrivals {
            self.0[shard_key as usize % self.0.len()].push(owed);
        }
    }
}

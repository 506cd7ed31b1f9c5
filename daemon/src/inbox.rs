//! The hand-over of new deliveries from the store's writer to the shards.
//!
//! The writer must never wait for a shard, and a shard's memory must stay bounded, so an inbox
//! that is full forgets the delivery and only remembers from which event on its endpoint has more
//! in the store. Nothing is lost by that: the store is the truth, and the engine reads it there.
//! What is remembered is bounded by the number of endpoints.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use posthaste_domain::{EndpointId, EventId, Owed, TenantId};
use posthaste_ports::{Arrival, ArrivalSink, ShardSpec};
use tokio::sync::Notify;

/// Deliveries that wait for a shard's next turn at most; a turn takes well under a millisecond.
const ARRIVALS_MAX: usize = 8_192;
/// Payload bytes that wait for a shard's next turn at most.
const PAYLOAD_BYTES_MAX: usize = 32 << 20;

/// One shard's inbox. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Inbox {
    state: Arc<Mutex<Waiting>>,
    wake: Arc<Notify>,
}

/// What waits for the shard's next turn.
#[derive(Debug, Default)]
pub struct Waiting {
    /// New deliveries, with their payloads.
    pub arrived: Vec<Owed>,
    /// Endpoints that have more in the store, and from which event on.
    pub behind: BTreeMap<(TenantId, EndpointId), EventId>,
    payload_bytes: usize,
}

impl Inbox {
    /// Takes everything that waits.
    #[must_use]
    pub fn take(&self) -> Waiting {
        std::mem::take(&mut *self.lock())
    }

    /// Resolves when something waits, or when somebody called [`Inbox::wake`].
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Gives the shard a turn.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Remembers that the store has fresh deliveries of this endpoint from `from` on.
    pub fn behind(&self, tenant: TenantId, endpoint: EndpointId, from: EventId) {
        self.lock().note(tenant, endpoint, from);
        self.wake();
    }

    fn push(&self, owed: impl IntoIterator<Item = Owed>) {
        let mut waiting = self.lock();
        for owed in owed {
            if waiting.has_room() {
                waiting.payload_bytes += owed.payload.as_ref().map_or(0, Bytes::len);
                waiting.arrived.push(owed);
            } else {
                waiting.note(owed.key.tenant, owed.key.endpoint, owed.key.event);
            }
        }
        drop(waiting);
        self.wake();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // A panic while the lock was held leaves a whole value behind: every step is one push.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.arrived.is_empty() && self.behind.is_empty()
    }

    const fn has_room(&self) -> bool {
        self.arrived.len() < ARRIVALS_MAX && self.payload_bytes < PAYLOAD_BYTES_MAX
    }

    fn note(&mut self, tenant: TenantId, endpoint: EndpointId, from: EventId) {
        let first = self.behind.entry((tenant, endpoint)).or_insert(from);
        *first = (*first).min(from);
    }
}

/// The inboxes of all shards, as the store's writer sees them.
#[derive(Clone, Debug)]
pub struct Inboxes(Vec<Inbox>);

impl Inboxes {
    /// Inboxes for `count` shards.
    #[must_use]
    pub fn new(count: u32) -> Self {
        Self((0..count).map(|_| Inbox::default()).collect())
    }

    /// The shards with their inboxes.
    pub fn shards(&self) -> impl Iterator<Item = (ShardSpec, Inbox)> {
        let count = self.count();
        (0..count)
            .zip(&self.0)
            .map(move |(index, inbox)| (ShardSpec { index, count }, inbox.clone()))
    }

    fn count(&self) -> u32 {
        u32::try_from(self.0.len()).expect("made from a u32")
    }
}

impl ArrivalSink for Inboxes {
    fn arrived(&self, arrivals: Vec<Arrival>) {
        if let [only] = self.0.as_slice() {
            only.push(arrivals.into_iter().map(|arrival| arrival.owed));
            return;
        }
        let mut by_shard: Vec<Vec<Owed>> = vec![Vec::new(); self.0.len()];
        for Arrival { shard_key, owed } in arrivals {
            by_shard[(shard_key % self.count()) as usize].push(owed);
        }
        for (inbox, owed) in self.0.iter().zip(by_shard) {
            if !owed.is_empty() {
                inbox.push(owed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use posthaste_domain::{DeliveryKey, OwedAs, Timestamp};

    use super::*;

    fn arrival(shard_key: u32, event: u64) -> Arrival {
        let key = DeliveryKey {
            tenant: TenantId::try_new("acme").unwrap(),
            event: EventId::from_parts(Timestamp::from_millis(event), 0),
            endpoint: EndpointId::DEFAULT,
        };
        let owed = Owed {
            key,
            round: 0,
            attempts: 0,
            interrupted: 0,
            owed_as: OwedAs::Fresh,
            payload: None,
        };
        Arrival { shard_key, owed }
    }

    /// For all overflows: what is not handed over is covered by the remembered first event.
    #[test]
    fn a_full_inbox_remembers_the_oldest_that_it_forgot() {
        let inboxes = Inboxes::new(1);
        let max = ARRIVALS_MAX as u64;
        inboxes.arrived((100..100 + max).map(|n| arrival(0, n)).collect());
        inboxes.arrived(vec![arrival(0, 90_000), arrival(0, 7), arrival(0, 80_000)]);
        let (_, inbox) = inboxes.shards().next().unwrap();
        let waiting = inbox.take();
        assert_eq!(waiting.arrived.len(), ARRIVALS_MAX);
        let first = waiting.behind.values().next().unwrap();
        assert_eq!(first.created_at(), Timestamp::from_millis(7));
        assert!(inbox.take().is_empty());
    }

    #[test]
    fn arrivals_go_to_the_shard_that_owns_their_key() {
        let inboxes = Inboxes::new(3);
        inboxes.arrived((0..9).map(|n| arrival(n, u64::from(n))).collect());
        for (shard, inbox) in inboxes.shards() {
            let times: Vec<_> =
                inbox.take().arrived.iter().map(|o| o.key.event.created_at().as_millis()).collect();
            assert_eq!(times, [0, 3, 6].map(|n| n + u64::from(shard.index)));
        }
    }
}

//! What the engine's driver needs: settling, reading what is owed, and hearing of arrivals.
//!
//! The store is the truth; what the engine holds in memory is a window on it. Every delivery that
//! is owed is held by the store either as *fresh* (readable by endpoint, in event-id order) or as
//! a *timer* (readable by shard, in due order), never both, until it is settled.

use async_trait::async_trait;
use bytes::Bytes;
use posthaste_domain::{
    DeliveryKey, EndpointId, EventId, Owed, Settlement, TenantId, TimerPosition, Timestamp,
};

use crate::PortError;

/// What came of one settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Durable (or, for a delivered mark, on its way: losing it in a crash costs a duplicate).
    Settled,
    /// The outcome was dropped: the store holds another round or a final status, or it does not
    /// hold the delivery in the way that the settlement says, or with another number of attempts,
    /// or not at all.
    Superseded,
}

/// One shard of `count`: owns the tenants whose `shard_key % count == index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardSpec {
    /// From 0.
    pub index: u32,
    /// At least 1.
    pub count: u32,
}

impl ShardSpec {
    /// Whether this shard owns a tenant with this shard key.
    #[must_use]
    pub const fn owns(self, shard_key: u32) -> bool {
        shard_key % self.count == self.index
    }
}

/// Fresh deliveries of one endpoint, in event-id order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// The deliveries, without payload.
    pub owed: Vec<Owed>,
    /// Whether there was nothing more after the last one when this was read.
    pub exhausted: bool,
}

/// Timers in due order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimerPage {
    /// The deliveries, without payload.
    pub owed: Vec<Owed>,
    /// The place of the last one, where `max` cut the page; none where everything up to `until`
    /// was read.
    pub next: Option<TimerPosition>,
}

/// An endpoint that has fresh deliveries in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwedEndpoint {
    /// Whose.
    pub tenant: TenantId,
    /// Which endpoint.
    pub endpoint: EndpointId,
    /// The oldest fresh delivery.
    pub first: EventId,
}

/// A delivery that has just become owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Decides the shard.
    pub shard_key: u32,
    /// The delivery, with its payload where it was at hand.
    pub owed: Owed,
}

/// Hears of deliveries that have just become owed, after they are durable.
///
/// Called by the store's writer, in the order in which the deliveries became owed, and before any
/// settlement of theirs is answered; must not block, and must not call the store. A sink that has
/// no room forgets the delivery but remembers that its endpoint has one at that id in the store
/// (the store still has it).
pub trait ArrivalSink: Send + Sync {
    /// These are owed now.
    fn arrived(&self, arrivals: Vec<Arrival>);
}

/// The durable truth about what is owed.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Makes outcomes durable, each atomically, all in one batch; one answer for each in order.
    /// They take effect in that order, so that one may follow from another of the same batch.
    async fn settle(&self, settlements: Vec<Settlement>) -> Result<Vec<Settled>, PortError>;
    /// Fresh deliveries of one endpoint from event `from` on (inclusive), at most `max`.
    async fn backlog(
        &self,
        tenant: &TenantId,
        endpoint: EndpointId,
        from: EventId,
        max: usize,
    ) -> Result<Backlog, PortError>;
    /// A shard's timers after `from` (exclusive) with due times up to `until` (inclusive), at most
    /// `max`: by due time, then tenant by tenant, then by event id. The order of tenants is the
    /// store's own; `from` need not name a timer that exists.
    async fn timers(
        &self,
        shard: ShardSpec,
        from: TimerPosition,
        until: Timestamp,
        max: usize,
    ) -> Result<TimerPage, PortError>;
    /// Payloads, one answer for each in order; none where the event is gone.
    async fn payloads(&self, keys: &[DeliveryKey]) -> Result<Vec<Option<Bytes>>, PortError>;
    /// A shard's endpoints that have fresh deliveries, in any order; read once at start.
    async fn owed_endpoints(&self, shard: ShardSpec) -> Result<Vec<OwedEndpoint>, PortError>;
}

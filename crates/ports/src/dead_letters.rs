//! The dead-letter queue: a view of the rows whose status is DLQ.

use async_trait::async_trait;
use posthaste_domain::{DeadLetterCause, EventId, TenantId, Timestamp};

use crate::PortError;

/// Whose dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One tenant's.
    Tenant(TenantId),
    /// Everybody's; for the admin.
    All,
}

/// A dead letter. Looking at it hides and deletes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Whose event.
    pub tenant: TenantId,
    /// Which event.
    pub event: EventId,
    /// Why it is dead.
    pub cause: DeadLetterCause,
    /// Attempts of its last round.
    pub attempts: u32,
    /// Its round; a requeue raises it.
    pub round: u32,
    /// The last attempt's error.
    pub error: Option<Box<str>>,
    /// When it was dead-lettered.
    pub at: Timestamp,
}

/// What came of a requeue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requeued {
    /// Events in a fresh round, due at once.
    pub requeued: u64,
    /// Events that were not in the DLQ any more when their turn came.
    pub failed: u64,
}

/// The DLQ.
#[async_trait]
pub trait DeadLetters: Send + Sync {
    /// The oldest dead letters, at most `limit`: by event id within a tenant, and with
    /// [`Scope::All`] tenant by tenant, in the order of their ids.
    async fn list(&self, scope: &Scope, limit: usize) -> Result<Vec<DeadLetter>, PortError>;
    /// Requeues the oldest, at most `max`, `batch` at a time (one durable step each). Each starts
    /// a fresh round as with [`crate::EventStore::retry`], and the [`crate::ArrivalSink`] has
    /// heard of it when the call returns.
    async fn requeue(
        &self,
        scope: &Scope,
        batch: usize,
        max: usize,
        at: Timestamp,
    ) -> Result<Requeued, PortError>;
    /// Makes everything in the scope's DLQ PURGED, row by row; says how many. A purged event stays
    /// readable until it expires.
    async fn purge(&self, scope: &Scope, at: Timestamp) -> Result<u64, PortError>;
}

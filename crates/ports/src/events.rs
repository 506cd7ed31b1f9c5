//! Events as tenants see them.

use async_trait::async_trait;
use bytes::Bytes;
use posthaste_domain::{Attempt, EventId, EventStatus, TenantId, Timestamp};

use crate::PortError;

/// An event to accept.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Whose.
    pub tenant: TenantId,
    /// Its id, made by the caller; carries the time of acceptance. The caller answers for its
    /// being new: no adapter looks.
    pub id: EventId,
    /// The bytes to deliver.
    pub payload: Bytes,
    /// The client's claim that it may have sent this event before.
    pub idempotency: Option<Idempotency>,
}

/// An `Idempotency-Key`, as the store sees it. A claim holds for [`crate::CLAIM_KEPT_MS`] from
/// its first use, by the creation times of the ids; then the key may be used afresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// SHA-256 of the header's value; the store scopes it by tenant.
    pub key: [u8; 32],
    /// SHA-256 of the body.
    pub body: [u8; 32],
}

/// What came of one [`NewEvent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// Stored, durable.
    Accepted(EventId),
    /// The same key and body came before, in an earlier call or earlier in this one; this was its
    /// event.
    Replayed(EventId),
    /// The same key came before with another body.
    Conflict,
    /// No such tenant.
    UnknownTenant,
}

/// An event in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventSummary {
    /// Its id.
    pub id: EventId,
    /// Its status at the time of the call.
    pub status: EventStatus,
    /// Attempts that the current round has finished.
    pub attempts: u32,
    /// When the last attempt started, in whichever round.
    pub last_attempt_at: Option<Timestamp>,
}

/// An attempt with the round it was made in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedAttempt {
    /// 0 at first, one more with each requeue.
    pub round: u32,
    /// The attempt.
    pub attempt: Attempt,
}

/// Everything about one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventDetail {
    /// What lists show.
    pub summary: EventSummary,
    /// The bytes as received.
    pub payload: Bytes,
    /// The last attempt's error, in one line; none after a success, or before any attempt.
    pub error: Option<Box<str>>,
    /// When the retry that the event waits for is (or was) due; none where it waits for none.
    pub next_attempt_at: Option<Timestamp>,
    /// All attempts of all rounds, oldest first.
    pub log: Vec<LoggedAttempt>,
}

/// Which events to list.
#[derive(Clone, Copy, Debug)]
pub struct ListQuery {
    /// Only those with this status.
    pub status: Option<EventStatus>,
    /// Only those older than this one; none begins with the newest.
    pub before: Option<EventId>,
    /// At most this many, 1 to 100.
    pub limit: usize,
    /// The time for which FAILED or PENDING is decided: a FAILED event whose retry is due at or
    /// before `now` counts as PENDING.
    pub now: Timestamp,
}

/// One page, newest first; full unless it is the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPage {
    /// The events.
    pub events: Vec<EventSummary>,
    /// Where the next page begins ([`ListQuery::before`]): the last id of this one; none where
    /// nothing follows.
    pub next: Option<EventId>,
}

/// What came of [`EventStore::retry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retried {
    /// A fresh round has begun; the event is PENDING.
    Requeued,
    /// This tenant has no such event.
    NotFound,
    /// The event is neither FAILED nor DLQ but this, as a view at the same time shows it: a retry
    /// that is due is PENDING.
    NotRetryable(EventStatus),
}

/// Keeps events. A tenant never sees another tenant's.
#[async_trait]
pub trait EventStore: Send + Sync {
    /// Accepts events, one answer for each in order. When the call returns they are durable, and
    /// the deliveries have been handed to the [`crate::ArrivalSink`].
    async fn accept(&self, events: Vec<NewEvent>) -> Result<Vec<Acceptance>, PortError>;
    /// The same where some may be accepted and others not: an error of the call says that none
    /// was. A store that takes all or none has nothing to add.
    async fn accept_each(
        &self,
        events: Vec<NewEvent>,
    ) -> Result<Vec<Result<Acceptance, PortError>>, PortError> {
        Ok(self.accept(events).await?.into_iter().map(Ok).collect())
    }
    /// One event; none where this tenant has no such event.
    async fn event(
        &self,
        tenant: &TenantId,
        id: EventId,
        now: Timestamp,
    ) -> Result<Option<EventDetail>, PortError>;
    /// A page of a tenant's events.
    async fn list(&self, tenant: &TenantId, query: ListQuery) -> Result<EventPage, PortError>;
    /// Starts a fresh round for a FAILED or DLQ event: the next round's number, no attempts, no
    /// interruptions, fresh and due at once, no end. When the call returns it is durable, and the
    /// delivery has been handed to the [`crate::ArrivalSink`].
    async fn retry(
        &self,
        tenant: &TenantId,
        id: EventId,
        at: Timestamp,
    ) -> Result<Retried, PortError>;
}

//! An event's row: the one place that says where an event stands, and the steps between.
//!
//! ```text
//!  accept                                  ┌─ Delivered   final
//!  ──────► Fresh ─┐           ┌────────────┤
//!            ▲    ├─ settle ──┼─► Timer ─┐ └─ Dead ── purge ──► Purged   final
//!            │    │           │          │      │
//!            │    └───────────┼──────────┘      │
//!            └── retry, requeue: next round ◄───┘ (from Timer while it is not due)
//! ```
//!
//! Invariant: `attempts` and `interrupted` count the current round; the log keeps all rounds.

use bytes::Bytes;
use posthaste_domain::{
    DeadLetterCause, DeliveryKey, EndpointId, EventId, EventStatus, Owed, OwedAs, Resolution,
    Settlement, TenantId, Timestamp,
};

use crate::{DEAD_KEPT_MS, DELIVERED_KEPT_MS, EventDetail, EventSummary, LoggedAttempt, Settled};

/// Where an event stands.
#[derive(Clone, Copy)]
pub(super) enum Standing {
    /// Owed at once.
    Fresh,
    /// Owed when the retry is due.
    Timer { due: Timestamp },
    /// A 2xx was seen.
    Delivered { at: Timestamp },
    /// In the DLQ.
    Dead { cause: DeadLetterCause, at: Timestamp },
    /// Purged from the DLQ.
    Purged { at: Timestamp },
}

impl Standing {
    /// The status as the API tells it at `now`: FAILED is over when the retry is due.
    pub(super) fn status(self, now: Timestamp) -> EventStatus {
        match self {
            Self::Fresh => EventStatus::Pending,
            Self::Timer { due } if due <= now => EventStatus::Pending,
            Self::Timer { .. } => EventStatus::Failed,
            Self::Delivered { .. } => EventStatus::Delivered,
            Self::Dead { .. } => EventStatus::Dlq,
            Self::Purged { .. } => EventStatus::Purged,
        }
    }

    /// How the delivery is owed; none where it is not.
    const fn owed_as(self) -> Option<OwedAs> {
        match self {
            Self::Fresh => Some(OwedAs::Fresh),
            Self::Timer { due } => Some(OwedAs::Timer(due)),
            Self::Delivered { .. } | Self::Dead { .. } | Self::Purged { .. } => None,
        }
    }

    /// The first millisecond in which the event has expired; none where it never does.
    pub(super) const fn expires_at(self) -> Option<Timestamp> {
        match self {
            Self::Fresh | Self::Timer { .. } => None,
            Self::Delivered { at } => Some(at.plus_millis(DELIVERED_KEPT_MS)),
            Self::Dead { at, .. } | Self::Purged { at } => Some(at.plus_millis(DEAD_KEPT_MS)),
        }
    }
}

/// An event with everything that is known of it.
pub(super) struct Row {
    pub(super) payload: Bytes,
    pub(super) standing: Standing,
    pub(super) round: u32,
    pub(super) attempts: u32,
    interrupted: u8,
    log: Vec<LoggedAttempt>,
}

impl Row {
    /// A row that has just been accepted.
    pub(super) const fn accepted(payload: Bytes) -> Self {
        let standing = Standing::Fresh;
        Self { payload, standing, round: 0, attempts: 0, interrupted: 0, log: Vec::new() }
    }

    /// The delivery as it is owed, without its payload; none where it is not owed.
    pub(super) fn owed(&self, tenant: &TenantId, event: EventId) -> Option<Owed> {
        let key = DeliveryKey { tenant: tenant.clone(), event, endpoint: EndpointId::DEFAULT };
        let (round, attempts, interrupted) = (self.round, self.attempts, self.interrupted);
        let owed_as = self.standing.owed_as()?;
        Some(Owed { key, round, attempts, interrupted, owed_as, payload: None })
    }

    /// Takes in an outcome, or drops it where it does not follow from where the event stands.
    pub(super) fn settle(&mut self, settlement: Settlement) -> Settled {
        let made = u32::from(settlement.attempt.is_some());
        let follows = self.round == settlement.round
            && self.standing.owed_as() == Some(settlement.owed_as)
            && self.attempts.saturating_add(made) == settlement.attempts;
        if !follows {
            return Settled::Superseded;
        }
        self.attempts = settlement.attempts;
        self.interrupted = settlement.interrupted;
        let round = self.round;
        self.log.extend(settlement.attempt.map(|attempt| LoggedAttempt { round, attempt }));
        self.standing = match settlement.resolution {
            Resolution::Delivered => Standing::Delivered { at: settlement.at },
            Resolution::Retry { due } => Standing::Timer { due },
            Resolution::DeadLettered { cause } => Standing::Dead { cause, at: settlement.at },
        };
        Settled::Settled
    }

    /// Begins a fresh round: owed at once, nothing attempted, nothing held against it.
    pub(super) const fn begin_round(&mut self) {
        self.round = self.round.saturating_add(1);
        self.attempts = 0;
        self.interrupted = 0;
        self.standing = Standing::Fresh;
    }

    /// The last attempt's error, whichever round it was in.
    pub(super) fn error(&self) -> Option<Box<str>> {
        self.log.last().and_then(|last| last.attempt.error.clone())
    }

    pub(super) fn summary(&self, id: EventId, now: Timestamp) -> EventSummary {
        EventSummary {
            id,
            status: self.standing.status(now),
            attempts: self.attempts,
            last_attempt_at: self.log.last().map(|last| last.attempt.at),
        }
    }

    pub(super) fn detail(&self, id: EventId, now: Timestamp) -> EventDetail {
        let next_attempt_at = match self.standing {
            Standing::Timer { due } => Some(due),
            _ => None,
        };
        EventDetail {
            summary: self.summary(id, now),
            payload: self.payload.clone(),
            error: self.error(),
            next_attempt_at,
            log: self.log.clone(),
        }
    }
}

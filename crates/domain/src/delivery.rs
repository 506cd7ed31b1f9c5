//! A delivery: one event to one endpoint, the unit of all work.
//!
//! What is owed, how it is held, and what an outcome makes of it. Values only: the engine decides
//! which of them follow each other, the stores refuse what does not.

use bytes::Bytes;

use crate::{Attempt, EndpointId, EventId, TenantId, Timestamp};

/// Names a delivery.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryKey {
    /// Whose event.
    pub tenant: TenantId,
    /// Which event.
    pub event: EventId,
    /// To which of the tenant's endpoints.
    pub endpoint: EndpointId,
}

/// Where an event stands, as the API tells it.
///
/// ```text
///            2xx
/// PENDING ─────────────► DELIVERED
///  │  ▲ ▲                    ▲
///  │  │ └─ due (a view) ─┐   │ 2xx
///  │  │                  │   │
///  └──┼─── failure ───► FAILED ── last failure, 410, poison ──► DLQ ── purge ──► PURGED
///     └───────────────── requeue ─────────────────────────────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventStatus {
    /// Accepted, and an attempt is due or running.
    Pending,
    /// A 2xx was seen. Final.
    Delivered,
    /// The last attempt failed and the next one is not due yet.
    Failed,
    /// All attempts failed, or a named cause ended them.
    Dlq,
    /// Purged from the DLQ. Final.
    Purged,
}

impl EventStatus {
    /// Every status, in the order of the declaration.
    pub const ALL: [Self; 5] =
        [Self::Pending, Self::Delivered, Self::Failed, Self::Dlq, Self::Purged];

    /// The status as the API spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Delivered => "DELIVERED",
            Self::Failed => "FAILED",
            Self::Dlq => "DLQ",
            Self::Purged => "PURGED",
        }
    }

    /// The status that the API spells `text`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// Why a delivery ended in the DLQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeadLetterCause {
    /// All attempts of the round failed.
    AttemptsExhausted,
    /// The endpoint answered 410.
    Gone,
    /// Our own crashes cut it off too often.
    Poison,
    /// The tenant is gone.
    TenantGone,
}

impl DeadLetterCause {
    /// Every cause, in the order of the declaration.
    pub const ALL: [Self; 4] =
        [Self::AttemptsExhausted, Self::Gone, Self::Poison, Self::TenantGone];

    /// The cause's stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AttemptsExhausted => "attempts_exhausted",
            Self::Gone => "gone",
            Self::Poison => "poison",
            Self::TenantGone => "tenant_gone",
        }
    }

    /// The cause whose stable name is `text`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == text)
    }
}

/// How the store holds a delivery that is still owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwedAs {
    /// Accepted or requeued; no attempt of this round has failed yet.
    Fresh,
    /// Waiting for the retry that is due at this time.
    Timer(Timestamp),
}

/// A delivery that is owed, as it enters the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    /// Which delivery.
    pub key: DeliveryKey,
    /// The round: 0 at first, one more with each requeue.
    pub round: u32,
    /// Attempts that this round has finished.
    pub attempts: u32,
    /// How often a crash of ours cut this delivery off.
    pub interrupted: u8,
    /// How the store holds it.
    pub owed_as: OwedAs,
    /// The payload, where it is still in memory.
    pub payload: Option<Bytes>,
}

impl Owed {
    /// The earliest time of the next attempt; [`Timestamp::ZERO`] for a fresh delivery.
    #[must_use]
    pub const fn due(&self) -> Timestamp {
        match self.owed_as {
            OwedAs::Fresh => Timestamp::ZERO,
            OwedAs::Timer(due) => due,
        }
    }
}

/// What becomes of a delivery after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Delivered. Final.
    Delivered,
    /// Try again at `due`.
    Retry {
        /// The earliest time of the next attempt.
        due: Timestamp,
    },
    /// Into the DLQ.
    DeadLettered {
        /// Why.
        cause: DeadLetterCause,
    },
}

/// An outcome to be made durable: one atomic step from how a delivery was owed to what it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Which delivery.
    pub key: DeliveryKey,
    /// The round it was attempted in. A store that holds a later round refuses the settlement.
    pub round: u32,
    /// Attempts that this round has finished, this one included.
    pub attempts: u32,
    /// How the store held it until now.
    pub owed_as: OwedAs,
    /// How often a crash of ours cut this delivery off.
    pub interrupted: u8,
    /// When it is settled.
    pub at: Timestamp,
    /// The attempt's record; none where no attempt was made (poison, tenant gone).
    pub attempt: Option<Attempt>,
    /// What it is now.
    pub resolution: Resolution,
}

/// A place in the due order of timers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerPosition {
    /// Due time.
    pub due: Timestamp,
    /// The delivery at that time; none stands before all of them.
    pub key: Option<DeliveryKey>,
}

impl TimerPosition {
    /// Before every timer.
    pub const START: Self = Self { due: Timestamp::ZERO, key: None };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_causes_are_their_names() {
        for status in EventStatus::ALL {
            assert_eq!(EventStatus::parse(status.as_str()), Some(status));
        }
        for cause in DeadLetterCause::ALL {
            assert_eq!(DeadLetterCause::parse(cause.as_str()), Some(cause));
        }
        for foreign in ["", "pending", "DEAD", " PENDING"] {
            assert_eq!(EventStatus::parse(foreign), None);
            assert_eq!(DeadLetterCause::parse(foreign), None);
        }
    }

    /// For all timers: the start of the order is before them, and they are ordered by due time
    /// first.
    #[test]
    fn timers_are_ordered_by_due_time_then_key() {
        let key = |event| DeliveryKey {
            tenant: TenantId::try_new("abc").unwrap(),
            event: EventId::from_u128(event),
            endpoint: EndpointId::DEFAULT,
        };
        let at =
            |due, event| TimerPosition { due: Timestamp::from_millis(due), key: Some(key(event)) };
        let order = [TimerPosition::START, at(0, 0), at(0, 9), at(1, 0), at(2, 5)];
        assert!(order.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn a_fresh_delivery_is_due_at_once() {
        let owed = |owed_as| Owed {
            key: DeliveryKey {
                tenant: TenantId::try_new("abc").unwrap(),
                event: EventId::MIN,
                endpoint: EndpointId::DEFAULT,
            },
            round: 0,
            attempts: 0,
            interrupted: 0,
            owed_as,
            payload: None,
        };
        let due = Timestamp::from_millis(5);
        assert_eq!(owed(OwedAs::Fresh).due(), Timestamp::ZERO);
        assert_eq!(owed(OwedAs::Timer(due)).due(), due);
    }
}

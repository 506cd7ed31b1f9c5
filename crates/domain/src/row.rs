//! The row of an event where a shared table holds the truth (AWS mode), and the writes to it.
//!
//! Values, and what each write demands and changes: [`RowWrite::apply`] is the meaning of a write,
//! to which every store that holds rows is compared. Who writes what, and when, is the protocol's
//! business (`posthaste-protocol`).
//!
//! ```text
//!                    Fail (k < max)           Fail (last), send to the DLQ, Die
//!  ingest ─► PENDING ─────────────► FAILED ──────────────────────────────────► DLQ ─► PURGED
//!               │ ▲                  │  │ ▲                                     │
//!               │ │      Requeue     │  └─┘ Fail, Claim, Extend                 │
//!               │ └──────────────────┴──────────────────────────────────────────┘
//!               └──────────► DELIVERED ◄── Deliver from PENDING and FAILED
//! ```

use std::fmt;
use std::sync::Arc;

use crate::{Attempt, DeadLetterCause, EventId, EventStatus, TenantId, Timestamp};

/// How long a DELIVERED row is kept, in milliseconds from its delivery (CONTRACT §4).
const DELIVERED_KEPT_MS: u64 = 30 * 24 * 60 * 60 * 1000;
/// How long a DLQ or PURGED row is kept, in milliseconds (CONTRACT §4).
const DEAD_KEPT_MS: u64 = 14 * 24 * 60 * 60 * 1000;

/// Names a row. An event has one row, whatever number of endpoints it will go to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    /// Whose event.
    pub tenant: TenantId,
    /// Which event.
    pub event: EventId,
}

/// Names a daemon's ledger: what one directory on one disk owns. Not empty. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(Arc<str>);

impl InstanceId {
    /// The instance of this name; none where the name is empty.
    #[must_use]
    pub fn try_new(name: &str) -> Option<Self> {
        (!name.is_empty()).then(|| Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who owes a row's next attempt, and until when nobody else may take it.
///
/// The pair of the row's round and `epoch` only grows, and has one owner for ever: it is the token
/// by which late writes are recognised.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// Who; none after a requeue, until somebody takes the row.
    pub owner: Option<InstanceId>,
    /// How often the row changed its owner in this round; 0 while nobody has owned it.
    pub epoch: u64,
    /// From here on others may claim the row.
    pub until: Timestamp,
}

/// What a row says about an event, payload and attempt log aside.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    /// The status as it is stored: a FAILED row whose retry is due is still FAILED here.
    pub status: EventStatus,
    /// The round, `gen` in the table: 0 at first, one more with each requeue.
    pub round: u32,
    /// Attempts that this round has finished.
    pub attempts: u32,
    /// How often crashes of ours cut it off in this round.
    pub interrupted: u8,
    /// The lease. Invariant: a row has one exactly while it is in the work index, which is from
    /// the first failed attempt, or a requeue, until a final status.
    pub lease: Option<Lease>,
    /// When the next attempt is due, while there is to be one.
    pub next_attempt_at: Option<Timestamp>,
    /// Set with the last failure: there will be no further attempt in this round, only the DLQ.
    pub cause: Option<DeadLetterCause>,
    /// When the row may be forgotten.
    pub expires_at: Option<Timestamp>,
}

impl Row {
    /// The row of an event that has just been accepted.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            status: EventStatus::Pending,
            round: 0,
            attempts: 0,
            interrupted: 0,
            lease: None,
            next_attempt_at: None,
            cause: None,
            expires_at: None,
        }
    }

    /// Whether nothing is owed any more.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self.status, EventStatus::Delivered | EventStatus::Dlq | EventStatus::Purged)
    }
}

impl Default for Row {
    fn default() -> Self {
        Self::new()
    }
}

/// A conditional write of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowWrite {
    /// Which row.
    pub key: RowKey,
    /// The round that it must be in.
    pub round: u32,
    /// What else must hold, and what changes.
    pub change: RowChange,
}

/// What a write changes, and under which further conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowChange {
    /// A 2xx was seen: DELIVERED, out of the work index, whoever owns the row, since it is a fact.
    /// Wants PENDING or FAILED.
    Deliver {
        /// Attempts that the round has finished, this one included.
        attempts: u32,
        /// When.
        at: Timestamp,
        /// For the attempt log.
        attempt: Option<Box<Attempt>>,
    },
    /// An attempt failed: FAILED, in the work index, owned by `owner`. Wants PENDING or FAILED,
    /// `attempts - 1` attempts (or `attempts`, where no attempt was made: poison, tenant gone),
    /// and the owner and epoch of `seen`: nobody yet, or us.
    Fail {
        /// Attempts that the round has finished, this one included.
        attempts: u32,
        /// Attempts that the row must show: `attempts`, or one less.
        attempts_seen: u32,
        /// Cut off by our crashes so often.
        interrupted: u8,
        /// Who writes.
        owner: InstanceId,
        /// The writer's epoch; 0 where nobody owned the row. It becomes 1 then, and stays else.
        epoch_seen: u64,
        /// When the next attempt is due.
        next_attempt_at: Timestamp,
        /// The end of the lease.
        until: Timestamp,
        /// With the last failure: why there will be no further attempt.
        cause: Option<DeadLetterCause>,
        /// When the attempt started (or, without one, when this was decided).
        at: Timestamp,
        /// For the attempt log.
        attempt: Option<Box<Attempt>>,
    },
    /// A sweep, or an owner that was late, takes a row over: the epoch grows by one. Wants the
    /// row in the work index with this epoch and this end of its lease.
    Claim {
        /// Who takes it.
        owner: InstanceId,
        /// The epoch that was seen.
        epoch_seen: u64,
        /// The end of the lease that was seen.
        until_seen: Timestamp,
        /// The end of the new lease.
        until: Timestamp,
    },
    /// The owner moves the end of its lease: further off to keep the row, to now to give it away.
    /// Wants owner and epoch.
    Extend {
        /// Who owns it.
        owner: InstanceId,
        /// At which epoch.
        epoch: u64,
        /// The new end.
        until: Timestamp,
    },
    /// The DLQ has the message of this round: DLQ, out of the work index. Wants FAILED with a
    /// cause, owner, epoch and attempts.
    Die {
        /// Who owns it.
        owner: InstanceId,
        /// At which epoch.
        epoch: u64,
        /// Attempts of the round.
        attempts: u32,
        /// When.
        at: Timestamp,
    },
    /// A fresh round: PENDING, the round one higher, no attempts, in the work index without an
    /// owner, no end. Wants DLQ, or FAILED where `failed_too`.
    Requeue {
        /// Whether a FAILED event may begin a fresh round as well (its tenant asks for it).
        failed_too: bool,
        /// From here on a sweep takes it, where its message is lost.
        until: Timestamp,
    },
    /// PURGED. Wants DLQ.
    Purge {
        /// When.
        at: Timestamp,
    },
}

/// Why [`RowWrite::apply`] changed nothing: a condition does not hold. What the row says is in the
/// caller's hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

impl RowWrite {
    /// What the write makes of a row.
    ///
    /// # Errors
    /// [`Refused`] where a condition does not hold; the row stays as it is. A row that does not
    /// exist refuses every write.
    pub fn apply(&self, row: &Row) -> Result<Row, Refused> {
        if row.round != self.round || !self.change.is_allowed(row) {
            return Err(Refused);
        }
        Ok(self.change.changed(row))
    }
}

impl RowChange {
    /// Whether the row meets the write's conditions, the round aside.
    fn is_allowed(&self, row: &Row) -> bool {
        let open = matches!(row.status, EventStatus::Pending | EventStatus::Failed);
        match self {
            Self::Deliver { .. } => open,
            Self::Fail { attempts_seen, owner, epoch_seen, .. } => {
                open && row.attempts == *attempts_seen
                    && row.cause.is_none()
                    && match &row.lease {
                        None => *epoch_seen == 0,
                        Some(lease) if lease.owner.is_none() => *epoch_seen == 0,
                        Some(lease) => lease.is_of(owner, *epoch_seen),
                    }
            }
            Self::Claim { epoch_seen, until_seen, .. } => row
                .lease
                .as_ref()
                .is_some_and(|lease| lease.epoch == *epoch_seen && lease.until == *until_seen),
            Self::Extend { owner, epoch, .. } => is_of(row, owner, *epoch),
            Self::Die { owner, epoch, attempts, .. } => {
                row.status == EventStatus::Failed
                    && row.cause.is_some()
                    && row.attempts == *attempts
                    && is_of(row, owner, *epoch)
            }
            Self::Requeue { failed_too, .. } => {
                row.status == EventStatus::Dlq || (*failed_too && row.status == EventStatus::Failed)
            }
            Self::Purge { .. } => row.status == EventStatus::Dlq,
        }
    }

    fn changed(&self, row: &Row) -> Row {
        let mut row = row.clone();
        match self {
            Self::Deliver { attempts, at, .. } => {
                row.attempts = *attempts;
                row.end(EventStatus::Delivered, at.plus_millis(DELIVERED_KEPT_MS));
            }
            Self::Fail { attempts, interrupted, owner, epoch_seen, until, .. } => {
                row.status = EventStatus::Failed;
                row.attempts = *attempts;
                row.interrupted = *interrupted;
                let epoch = (*epoch_seen).max(1);
                row.lease = Some(Lease { owner: Some(owner.clone()), epoch, until: *until });
                if let Self::Fail { next_attempt_at, cause, .. } = self {
                    row.next_attempt_at = Some(*next_attempt_at);
                    row.cause = *cause;
                }
            }
            Self::Claim { owner, epoch_seen, until, .. } => {
                let epoch = epoch_seen.saturating_add(1);
                row.lease = Some(Lease { owner: Some(owner.clone()), epoch, until: *until });
            }
            Self::Extend { until, .. } => {
                if let Some(lease) = &mut row.lease {
                    lease.until = *until;
                }
            }
            Self::Die { at, .. } => row.end(EventStatus::Dlq, at.plus_millis(DEAD_KEPT_MS)),
            Self::Requeue { until, .. } => {
                let lease = Lease { owner: None, epoch: 0, until: *until };
                row = Row { round: row.round.saturating_add(1), ..Row::new() };
                row.lease = Some(lease);
            }
            Self::Purge { at } => row.end(EventStatus::Purged, at.plus_millis(DEAD_KEPT_MS)),
        }
        row
    }
}

impl Lease {
    /// Whether this instance owns the row at this epoch.
    #[must_use]
    pub fn is_of(&self, owner: &InstanceId, epoch: u64) -> bool {
        self.owner.as_ref() == Some(owner) && self.epoch == epoch
    }
}

fn is_of(row: &Row, owner: &InstanceId, epoch: u64) -> bool {
    row.lease.as_ref().is_some_and(|lease| lease.is_of(owner, epoch))
}

impl Row {
    /// A final status: out of the work index. The cause stays, where there is one.
    fn end(&mut self, status: EventStatus, expires_at: Timestamp) {
        self.status = status;
        self.lease = None;
        self.next_attempt_at = None;
        self.expires_at = Some(expires_at);
        if status == EventStatus::Delivered {
            self.cause = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn instance(name: &str) -> InstanceId {
        InstanceId::try_new(name).unwrap()
    }

    fn write(round: u32, change: RowChange) -> RowWrite {
        let tenant = TenantId::try_new("acme").unwrap();
        RowWrite { key: RowKey { tenant, event: EventId::MIN }, round, change }
    }

    fn fail(owner: &str, epoch_seen: u64, attempts: u32, last: bool) -> RowWrite {
        let change = RowChange::Fail {
            attempts,
            attempts_seen: attempts - 1,
            interrupted: 0,
            owner: instance(owner),
            epoch_seen,
            next_attempt_at: at(1_000),
            until: at(2_000),
            cause: last.then_some(DeadLetterCause::AttemptsExhausted),
            at: at(500),
            attempt: None,
        };
        write(0, change)
    }

    fn die(owner: &str, epoch: u64, attempts: u32) -> RowWrite {
        write(0, RowChange::Die { owner: instance(owner), epoch, attempts, at: at(9) })
    }

    #[test]
    fn a_life_from_failure_to_a_fresh_round() {
        let row = fail("a", 0, 1, false).apply(&Row::new()).unwrap();
        assert_eq!(row.status, EventStatus::Failed);
        assert_eq!(row.lease.as_ref().map(|lease| lease.epoch), Some(1));
        // Another daemon, or the same one at another epoch, or a repeat, is refused.
        for refused in [fail("b", 1, 2, true), fail("a", 2, 2, true), fail("a", 1, 1, false)] {
            assert_eq!(refused.apply(&row), Err(Refused));
        }
        // No death without the last failure, and none of the wrong owner.
        assert_eq!(die("a", 1, 1).apply(&row), Err(Refused));
        let row = fail("a", 1, 2, true).apply(&row).unwrap();
        assert_eq!(die("b", 1, 2).apply(&row), Err(Refused));
        let dead = die("a", 1, 2).apply(&row).unwrap();
        assert!(dead.is_final() && dead.lease.is_none());
        assert_eq!(dead.cause, Some(DeadLetterCause::AttemptsExhausted));
        let requeue = write(0, RowChange::Requeue { failed_too: false, until: at(7) });
        let fresh = requeue.apply(&dead).unwrap();
        assert_eq!((fresh.round, fresh.attempts, fresh.cause), (1, 0, None));
        assert_eq!(requeue.apply(&row), Err(Refused));
        // The old round's writes come too late.
        assert_eq!(fail("a", 0, 1, false).apply(&fresh), Err(Refused));
    }

    #[test]
    fn a_claim_wants_what_was_seen() {
        let row = fail("a", 0, 1, false).apply(&Row::new()).unwrap();
        let claim = |epoch_seen, until_seen| {
            let until = at(5_000);
            let owner = instance("b");
            write(0, RowChange::Claim { owner, epoch_seen, until_seen: at(until_seen), until })
        };
        assert_eq!(claim(1, 1_999).apply(&row), Err(Refused));
        assert_eq!(claim(0, 2_000).apply(&row), Err(Refused));
        let taken = claim(1, 2_000).apply(&row).unwrap();
        assert!(taken.lease.as_ref().unwrap().is_of(&instance("b"), 2));
        assert_eq!(claim(1, 2_000).apply(&taken), Err(Refused));
        // A 2xx is a fact, whoever owns the row; a failure is not.
        let deliver =
            |round| write(round, RowChange::Deliver { attempts: 2, at: at(3), attempt: None });
        assert!(deliver(0).apply(&taken).is_ok());
        assert_eq!(deliver(1).apply(&taken), Err(Refused));
        assert_eq!(fail("a", 1, 2, false).apply(&taken), Err(Refused));
    }

    #[test]
    fn what_is_delivered_or_purged_never_changes() {
        let delivered = write(0, RowChange::Deliver { attempts: 1, at: at(3), attempt: None });
        let row = delivered.apply(&Row::new()).unwrap();
        let requeue = write(0, RowChange::Requeue { failed_too: true, until: at(7) });
        let purge = write(0, RowChange::Purge { at: at(7) });
        for refused in [&delivered, &requeue, &purge, &fail("a", 0, 2, false)] {
            assert_eq!(refused.apply(&row), Err(Refused));
        }
    }
}

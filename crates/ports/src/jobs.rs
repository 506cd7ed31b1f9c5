//! What an instance keeps on its own disk about what it owes in AWS mode: a cache and an outbox.
//!
//! Losing all of it costs time, never an event: the rows and the queue hold the truth.

use async_trait::async_trait;
use bytes::Bytes;
use posthaste_domain::{DeadLetterCause, DeliveryKey, Settlement, TimerPosition, Timestamp};

use crate::{PortError, ShardSpec, TimerPage};

/// A delivery that this instance has taken upon itself. One at a time for each delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Which delivery.
    pub key: DeliveryKey,
    /// Its round.
    pub round: u32,
    /// Decides its shard.
    pub shard_key: u32,
    /// Cut off by our crashes so often.
    pub interrupted: u8,
    /// This instance's epoch in the row; 0 while it owns nothing of it.
    pub epoch: u64,
    /// The end of the lease as last written, 0 while there is none.
    pub lease_until: Timestamp,
    /// What is to be done.
    pub state: JobState,
    /// The bytes to deliver, where they are at hand; a state that needs none keeps none.
    pub payload: Option<Bytes>,
}

/// What is to be done about a job.
///
/// ```text
///  (attempt) ─► Unwritten ─── row written ──► Waiting ── due, attempt ─► Unwritten
///                  │ │  final: job removed
///                  │ └── last failure ──► Dying ── DLQ has it, row written: job removed
///  (sweep) ──────► Waiting or Dying
///  (crash) ──────► CutOff ── its message comes again
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobState {
    /// An attempt has ended and its outcome is not in the row yet. In the outbox.
    Unwritten(Box<Settlement>),
    /// The row says when the next attempt is due; this instance owes it. Has a timer.
    Waiting {
        /// The earliest time of the next attempt.
        due: Timestamp,
        /// Attempts that the round has finished.
        attempts: u32,
    },
    /// The row holds the last failure; the DLQ may not have the message yet. In the outbox.
    Dying {
        /// Why there is no further attempt.
        cause: DeadLetterCause,
        /// Attempts that the round has finished.
        attempts: u32,
        /// The last attempt's error, in one line.
        error: Option<Box<str>>,
    },
    /// Crashes of ours cut off attempts of a delivery that only the queue holds. Nothing is owed
    /// by it: it only carries the count until the message comes again.
    CutOff {
        /// When it was noted; forgotten a day later.
        at: Timestamp,
    },
}

/// One change of the store of jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobChange {
    /// This is the job of its delivery now, unless there is one of a later round: what comes late
    /// says nothing about a round that has begun since.
    Put(Box<Job>),
    /// There is no job of this delivery any more that is of this round, or of an earlier one.
    End(DeliveryKey, u32),
    /// There is no job of this delivery any more, of whatever round.
    Remove(DeliveryKey),
}

/// An instance's jobs.
#[async_trait]
pub trait JobStore: Send + Sync {
    /// Whether so little room is left that nothing is to be taken on that need not be; what is
    /// owed already goes on, and is written. A look into memory, to be taken often.
    fn is_full(&self) -> bool;
    /// Makes changes, in order, all or none. When the call returns they outlive the process; a
    /// power cut may lose the last ones.
    async fn apply(&self, changes: Vec<JobChange>) -> Result<(), PortError>;
    /// Jobs, one answer for each in order.
    async fn jobs(&self, keys: &[DeliveryKey]) -> Result<Vec<Option<Job>>, PortError>;
    /// A shard's waiting jobs after `from` (exclusive) with due times up to `until` (inclusive),
    /// at most `max`: in the order of [`crate::Journal::timers`], and owed as timers.
    async fn timers(
        &self,
        shard: ShardSpec,
        from: TimerPosition,
        until: Timestamp,
        max: usize,
    ) -> Result<TimerPage, PortError>;
    /// Jobs in the outbox whose delivery comes after `after`, in the order of their deliveries, at
    /// most `max`.
    async fn outbox(&self, after: Option<DeliveryKey>, max: usize) -> Result<Vec<Job>, PortError>;
    /// Forgets [`JobState::CutOff`] records noted before `before`, at most `max`; says how many.
    async fn forget_cut_off(&self, before: Timestamp, max: usize) -> Result<u64, PortError>;
}

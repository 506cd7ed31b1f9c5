//! The records of jobs, and whose directory it is. Version 1, under the rules of
//! [`super::records`].

use bincode::{Decode, Encode};
use bytes::Bytes;
use posthaste_domain::{DeliveryKey, OwedAs, Resolution, Settlement, Timestamp};
use posthaste_ports::{Job, JobState};
use xxhash_rust::xxh3::xxh3_128;

use super::{CodecError, LogRow, cause_number, cause_of};

/// Whose directory it is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct IdentityRow {
    /// Drawn when the directory was made, or found to be a clone.
    pub store: u128,
    /// Whose cache it is, in AWS mode.
    pub instance: Option<String>,
    /// Whose cache it was when it was cloned, until all of it has been claimed anew.
    pub cloned_from: Option<String>,
}

/// What makes the key of an index entry one that was never written before: the commit that wrote
/// it, and which of that commit's entries it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Place {
    /// The commit's number.
    pub commit: u64,
    /// From 0.
    pub n: u32,
}

/// What a payload is told from another by, so that it is not written again with every change of
/// its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PayloadMark {
    bytes: u64,
    hash: u128,
}

impl PayloadMark {
    /// The mark of these bytes.
    pub fn of(payload: &[u8]) -> Self {
        Self { bytes: payload.len() as u64, hash: xxh3_128(payload) }
    }
}

/// A job; its payload has a row of its own.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct JobRow {
    /// As in [`Job`].
    pub round: u32,
    /// As in [`Job`].
    pub shard_key: u32,
    /// As in [`Job`].
    pub interrupted: u8,
    /// As in [`Job`].
    pub epoch: u64,
    /// As in [`Job`].
    pub lease_until: u64,
    /// As in [`Job`].
    pub state: JobStateRow,
    /// The job's entry in the index.
    pub place: Place,
    /// Its payload, where it has one.
    pub payload: Option<PayloadMark>,
}

/// As [`JobState`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum JobStateRow {
    /// An outcome that is not in the row yet.
    Unwritten(Box<OutcomeRow>),
    /// A retry.
    Waiting {
        /// When it is due.
        due: u64,
        /// Attempts that the round has finished.
        attempts: u32,
    },
    /// A last failure that may not be in the DLQ yet.
    Dying {
        /// The place in `DeadLetterCause::ALL`.
        cause: u8,
        /// Attempts that the round has finished.
        attempts: u32,
        /// The last attempt's error.
        error: Option<String>,
    },
    /// A count of what our crashes cut off.
    CutOff {
        /// When it was noted.
        at: u64,
    },
}

/// As [`Settlement`], whose delivery is its job's.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct OutcomeRow {
    round: u32,
    /// Attempts that the round has finished.
    pub attempts: u32,
    /// Of a timer, when it was due; none for a fresh delivery.
    owed_since: Option<u64>,
    /// How often a crash of ours cut the delivery off.
    pub interrupted: u8,
    at: u64,
    attempt: Option<LogRow>,
    resolution: ResolutionRow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
enum ResolutionRow {
    Delivered,
    Retry { due: u64 },
    DeadLettered { cause: u8 },
}

impl JobRow {
    /// What is stored of a job, apart from its payload.
    pub fn of(job: &Job, place: Place) -> Self {
        let state = match &job.state {
            JobState::Unwritten(settlement) => {
                debug_assert_eq!(settlement.key, job.key, "an outcome of another delivery");
                JobStateRow::Unwritten(Box::new(OutcomeRow::of(settlement)))
            }
            JobState::Waiting { due, attempts } => {
                JobStateRow::Waiting { due: due.as_millis(), attempts: *attempts }
            }
            JobState::Dying { cause, attempts, error } => JobStateRow::Dying {
                cause: cause_number(*cause),
                attempts: *attempts,
                error: error.as_deref().map(str::to_owned),
            },
            JobState::CutOff { at } => JobStateRow::CutOff { at: at.as_millis() },
        };
        Self {
            round: job.round,
            shard_key: job.shard_key,
            interrupted: job.interrupted,
            epoch: job.epoch,
            lease_until: job.lease_until.as_millis(),
            state,
            place,
            payload: job.payload.as_deref().map(PayloadMark::of),
        }
    }

    /// The job.
    ///
    /// # Errors
    /// [`CodecError::Fields`] where a part is not what a job has.
    pub fn job(self, key: DeliveryKey, payload: Option<Bytes>) -> Result<Job, CodecError> {
        let state = match self.state {
            JobStateRow::Unwritten(outcome) => {
                JobState::Unwritten(Box::new(outcome.settlement(key.clone())?))
            }
            JobStateRow::Waiting { due, attempts } => {
                JobState::Waiting { due: Timestamp::from_millis(due), attempts }
            }
            JobStateRow::Dying { cause, attempts, error } => JobState::Dying {
                cause: cause_of(cause).ok_or(CodecError::Fields)?,
                attempts,
                error: error.map(String::into_boxed_str),
            },
            JobStateRow::CutOff { at } => JobState::CutOff { at: Timestamp::from_millis(at) },
        };
        Ok(Job {
            key,
            round: self.round,
            shard_key: self.shard_key,
            interrupted: self.interrupted,
            epoch: self.epoch,
            lease_until: Timestamp::from_millis(self.lease_until),
            state,
            payload,
        })
    }
}

impl OutcomeRow {
    fn of(settlement: &Settlement) -> Self {
        let Settlement { key: _, round, attempts, owed_as, interrupted, at, attempt, resolution } =
            settlement;
        Self {
            round: *round,
            attempts: *attempts,
            owed_since: match owed_as {
                OwedAs::Fresh => None,
                OwedAs::Timer(due) => Some(due.as_millis()),
            },
            interrupted: *interrupted,
            at: at.as_millis(),
            attempt: attempt.as_ref().map(|attempt| LogRow::of(*round, attempt)),
            resolution: match resolution {
                Resolution::Delivered => ResolutionRow::Delivered,
                Resolution::Retry { due } => ResolutionRow::Retry { due: due.as_millis() },
                Resolution::DeadLettered { cause } => {
                    ResolutionRow::DeadLettered { cause: cause_number(*cause) }
                }
            },
        }
    }

    fn settlement(self, key: DeliveryKey) -> Result<Settlement, CodecError> {
        let attempt = self.attempt.map(LogRow::attempt).transpose()?;
        Ok(Settlement {
            key,
            round: self.round,
            attempts: self.attempts,
            owed_as: match self.owed_since {
                None => OwedAs::Fresh,
                Some(due) => OwedAs::Timer(Timestamp::from_millis(due)),
            },
            interrupted: self.interrupted,
            at: Timestamp::from_millis(self.at),
            attempt: attempt.map(|logged| logged.attempt),
            resolution: match self.resolution {
                ResolutionRow::Delivered => Resolution::Delivered,
                ResolutionRow::Retry { due } => {
                    Resolution::Retry { due: Timestamp::from_millis(due) }
                }
                ResolutionRow::DeadLettered { cause } => {
                    Resolution::DeadLettered { cause: cause_of(cause).ok_or(CodecError::Fields)? }
                }
            },
        })
    }
}

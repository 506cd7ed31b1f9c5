//! The records of version 1, and what they are in the words of the domain; a tenant's are in
//! [`super::tenant`].
//!
//! Fields are in the order in which they are stored; none may be moved, added or taken away. A
//! change is a version 2 beside this one. Times are Unix milliseconds.

use bincode::{Decode, Encode};
use bytes::Bytes;
use posthaste_domain::{
    Attempt, DeadLetterCause, DeliveryKey, ErrorClass, EventStatus, Owed, OwedAs, PhaseTimings,
    Timestamp, Verdict,
};
use posthaste_ports::LoggedAttempt;

use super::CodecError;

/// Where an event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Standing {
    /// Owed at once.
    Fresh,
    /// Owed when the retry is due.
    Timer {
        /// When.
        due: u64,
    },
    /// A 2xx was seen; the row goes when it ends.
    Delivered {
        /// The first millisecond in which the row has expired.
        ends: u64,
    },
    /// In the DLQ; the row goes when it ends.
    Dead {
        /// The place in [`DeadLetterCause::ALL`]; see [`cause_of`].
        cause: u8,
        /// Since when.
        at: u64,
        /// As for [`Standing::Delivered`].
        ends: u64,
    },
    /// Purged from the DLQ; the row goes when it ends.
    Purged {
        /// As for [`Standing::Delivered`].
        ends: u64,
    },
}

impl Standing {
    /// The status as the API tells it at `now`: FAILED is over when the retry is due.
    pub const fn status(self, now: Timestamp) -> EventStatus {
        match self {
            Self::Fresh => EventStatus::Pending,
            Self::Timer { due } if due <= now.as_millis() => EventStatus::Pending,
            Self::Timer { .. } => EventStatus::Failed,
            Self::Delivered { .. } => EventStatus::Delivered,
            Self::Dead { .. } => EventStatus::Dlq,
            Self::Purged { .. } => EventStatus::Purged,
        }
    }

    /// How the delivery is owed; none where it is not.
    pub const fn owed_as(self) -> Option<OwedAs> {
        match self {
            Self::Fresh => Some(OwedAs::Fresh),
            Self::Timer { due } => Some(OwedAs::Timer(Timestamp::from_millis(due))),
            Self::Delivered { .. } | Self::Dead { .. } | Self::Purged { .. } => None,
        }
    }

    /// The first millisecond in which the row has expired; none where it never does.
    pub const fn ends(self) -> Option<Timestamp> {
        match self {
            Self::Fresh | Self::Timer { .. } => None,
            Self::Delivered { ends } | Self::Dead { ends, .. } | Self::Purged { ends } => {
                Some(Timestamp::from_millis(ends))
            }
        }
    }
}

/// A cause as it is stored.
pub fn cause_number(cause: DeadLetterCause) -> u8 {
    place(&DeadLetterCause::ALL, &cause)
}

/// The cause that a number stands for.
pub fn cause_of(number: u8) -> Option<DeadLetterCause> {
    DeadLetterCause::ALL.get(usize::from(number)).copied()
}

/// An event: where it stands and what is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct EventRow {
    /// Where it stands.
    pub standing: Standing,
    /// 0 at first, one more with each requeue.
    pub round: u32,
    /// Attempts that this round has finished.
    pub attempts: u32,
    /// How often a crash of ours cut this round off.
    pub interrupted: u8,
    /// Whether a row that owes it may have been written before under the key that the row has now:
    /// once true, always true. Such a row is never taken away weakly.
    pub rewritten: bool,
    /// Lines in its log, over all rounds.
    pub logged: u32,
    /// When the last attempt started, in whichever round.
    pub last_attempt_at: Option<u64>,
}

impl EventRow {
    /// A row that has just been accepted.
    pub const fn accepted() -> Self {
        Self {
            standing: Standing::Fresh,
            round: 0,
            attempts: 0,
            interrupted: 0,
            rewritten: false,
            logged: 0,
            last_attempt_at: None,
        }
    }
}

/// A fresh delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FreshRow {
    /// As in [`EventRow`].
    pub round: u32,
    /// As in [`EventRow`].
    pub interrupted: u8,
}

impl FreshRow {
    /// The delivery, without its payload.
    pub const fn owed(self, key: DeliveryKey) -> Owed {
        Owed {
            key,
            round: self.round,
            attempts: 0,
            interrupted: self.interrupted,
            owed_as: OwedAs::Fresh,
            payload: None,
        }
    }
}

/// A waiting retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct TimerRow {
    /// The tenant's, so that a shard knows its own without looking the tenant up.
    pub shard_key: u32,
    /// As in [`EventRow`].
    pub round: u32,
    /// As in [`EventRow`].
    pub attempts: u32,
    /// As in [`EventRow`].
    pub interrupted: u8,
}

impl TimerRow {
    /// The delivery, without its payload.
    pub const fn owed(self, due: Timestamp, key: DeliveryKey) -> Owed {
        Owed {
            key,
            round: self.round,
            attempts: self.attempts,
            interrupted: self.interrupted,
            owed_as: OwedAs::Timer(due),
            payload: None,
        }
    }
}

/// The first use of an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ClaimRow {
    /// SHA-256 of the body.
    pub body: [u8; 32],
    /// The event that it made.
    pub event: u128,
    /// The first millisecond in which it holds no more.
    pub ends: u64,
}

/// An API key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct KeyRow {
    /// Whose it is.
    pub tenant: String,
    /// Whether it opens anything.
    pub active: bool,
    /// When it was made.
    pub created_at: u64,
}

/// Written with every commit: what the witness is compared with, and where scans begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct CommitRow {
    /// One more with each commit.
    pub number: u64,
    /// Events accepted since the directory was made.
    pub accepted: u64,
    /// No timer is due earlier than this.
    pub timers_low: u64,
    /// No row expires earlier than this.
    pub expiry_low: u64,
}

/// What an attempt came to; classes are places in [`ErrorClass::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
enum VerdictRow {
    Delivered,
    Failed { class: u8, retry_after_ms: Option<u64> },
    Gone,
    NotCharged { class: u8 },
}

impl VerdictRow {
    fn of(verdict: Verdict) -> Self {
        let number = |class| place(&ErrorClass::ALL, &class);
        match verdict {
            Verdict::Delivered => Self::Delivered,
            Verdict::Failed { class, retry_after_ms } => {
                Self::Failed { class: number(class), retry_after_ms }
            }
            Verdict::Gone => Self::Gone,
            Verdict::NotCharged { class } => Self::NotCharged { class: number(class) },
        }
    }

    fn verdict(self) -> Result<Verdict, CodecError> {
        let class = |number: u8| {
            ErrorClass::ALL.get(usize::from(number)).copied().ok_or(CodecError::Fields)
        };
        Ok(match self {
            Self::Delivered => Verdict::Delivered,
            Self::Failed { class: number, retry_after_ms } => {
                Verdict::Failed { class: class(number)?, retry_after_ms }
            }
            Self::Gone => Verdict::Gone,
            Self::NotCharged { class: number } => Verdict::NotCharged { class: class(number)? },
        })
    }
}

/// One line of an event's log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LogRow {
    round: u32,
    number: u32,
    at: u64,
    duration_ms: u32,
    status_code: Option<u16>,
    verdict: VerdictRow,
    error: Option<String>,
    response: Vec<u8>,
    /// Queue, DNS, connect, TLS, first byte, total.
    phases_us: [u32; 6],
    reused: bool,
}

impl LogRow {
    /// What is stored of an attempt.
    pub fn of(round: u32, attempt: &Attempt) -> Self {
        let PhaseTimings { queue_us, dns_us, connect_us, tls_us, first_byte_us, total_us, reused } =
            attempt.phases;
        Self {
            round,
            number: attempt.number,
            at: attempt.at.as_millis(),
            duration_ms: attempt.duration_ms,
            status_code: attempt.status_code,
            verdict: VerdictRow::of(attempt.verdict),
            error: attempt.error.as_deref().map(str::to_owned),
            response: attempt.response.to_vec(),
            phases_us: [queue_us, dns_us, connect_us, tls_us, first_byte_us, total_us],
            reused,
        }
    }

    /// The attempt.
    ///
    /// # Errors
    /// [`CodecError::Fields`] where its verdict is none.
    pub fn attempt(self) -> Result<LoggedAttempt, CodecError> {
        let [queue_us, dns_us, connect_us, tls_us, first_byte_us, total_us] = self.phases_us;
        let reused = self.reused;
        let attempt = Attempt {
            number: self.number,
            at: Timestamp::from_millis(self.at),
            duration_ms: self.duration_ms,
            status_code: self.status_code,
            verdict: self.verdict.verdict()?,
            error: self.error.map(String::into_boxed_str),
            response: Bytes::from(self.response),
            phases: PhaseTimings {
                queue_us,
                dns_us,
                connect_us,
                tls_us,
                first_byte_us,
                total_us,
                reused,
            },
        };
        Ok(LoggedAttempt { round: self.round, attempt })
    }

    /// The error line alone.
    pub fn error(self) -> Option<Box<str>> {
        self.error.map(String::into_boxed_str)
    }
}

fn place<T: PartialEq>(all: &[T], one: &T) -> u8 {
    let place = all.iter().position(|known| known == one);
    // `ALL` names every variant, and there are fewer than 256.
    place.and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX)
}

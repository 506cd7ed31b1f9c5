//! The records of version 1, and what they are in the words of the domain.
//!
//! Fields are in the order in which they are stored; none may be moved, added or taken away. A
//! change is a version 2 beside this one.

use bincode::{Decode, Encode};
use bytes::Bytes;
use posthaste_domain::{
    Attempt, DeadLetterCause, DeliveryKey, ErrorClass, EventStatus, Owed, OwedAs, PhaseTimings,
    SigningSecrets, TargetUrl, TenantId, Timestamp, Verdict, WebhookSecret,
};
use posthaste_ports::{LoggedAttempt, TenantRecord};

use super::CodecError;

/// Where an event stands; times are Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Standing {
    /// Owed at once.
    Fresh,
    /// Owed when the retry is due.
    Timer { due: u64 },
    /// A 2xx was seen; the row goes when it ends.
    Delivered { ends: u64 },
    /// In the DLQ since `at`; the row goes when it ends. `cause` is the place in
    /// [`DeadLetterCause::ALL`].
    Dead { cause: u8, at: u64, ends: u64 },
    /// Purged from the DLQ; the row goes when it ends.
    Purged { ends: u64 },
}

impl Standing {
    /// The status as the API tells it at `now`: FAILED is over when the retry is due.
    pub(crate) const fn status(self, now: Timestamp) -> EventStatus {
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
    pub(crate) const fn owed_as(self) -> Option<OwedAs> {
        match self {
            Self::Fresh => Some(OwedAs::Fresh),
            Self::Timer { due } => Some(OwedAs::Timer(Timestamp::from_millis(due))),
            Self::Delivered { .. } | Self::Dead { .. } | Self::Purged { .. } => None,
        }
    }

    /// The first millisecond in which the row has expired; none where it never does.
    pub(crate) const fn ends(self) -> Option<Timestamp> {
        match self {
            Self::Fresh | Self::Timer { .. } => None,
            Self::Delivered { ends } | Self::Dead { ends, .. } | Self::Purged { ends } => {
                Some(Timestamp::from_millis(ends))
            }
        }
    }
}

/// A cause as it is stored.
pub(crate) fn cause_number(cause: DeadLetterCause) -> u8 {
    place(&DeadLetterCause::ALL, &cause)
}

/// The cause that a number stands for.
pub(crate) fn cause_of(number: u8) -> Option<DeadLetterCause> {
    DeadLetterCause::ALL.get(usize::from(number)).copied()
}

/// An event: where it stands and what is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct EventRow {
    /// Where it stands.
    pub(crate) standing: Standing,
    /// 0 at first, one more with each requeue.
    pub(crate) round: u32,
    /// Attempts that this round has finished.
    pub(crate) attempts: u32,
    /// How often a crash of ours cut this round off.
    pub(crate) interrupted: u8,
    /// Whether a row that owes it may have been written before under the key that the row has now:
    /// once true, always true. Such a row is never taken away weakly.
    pub(crate) rewritten: bool,
    /// Lines in its log, over all rounds.
    pub(crate) logged: u32,
    /// When the last attempt started, in whichever round.
    pub(crate) last_attempt_at: Option<u64>,
}

impl EventRow {
    /// A row that has just been accepted.
    pub(crate) const fn accepted() -> Self {
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
pub(crate) struct FreshRow {
    pub(crate) round: u32,
    pub(crate) interrupted: u8,
}

impl FreshRow {
    /// The delivery, without its payload.
    pub(crate) const fn owed(self, key: DeliveryKey) -> Owed {
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
pub(crate) struct TimerRow {
    /// The tenant's, so that a shard knows its own without looking the tenant up.
    pub(crate) shard_key: u32,
    pub(crate) round: u32,
    pub(crate) attempts: u32,
    pub(crate) interrupted: u8,
}

impl TimerRow {
    /// The delivery, without its payload.
    pub(crate) const fn owed(self, due: Timestamp, key: DeliveryKey) -> Owed {
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
pub(crate) struct ClaimRow {
    /// SHA-256 of the body.
    pub(crate) body: [u8; 32],
    /// The event that it made.
    pub(crate) event: u128,
    /// The first millisecond in which it holds no more.
    pub(crate) ends: u64,
}

/// An API key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct KeyRow {
    pub(crate) tenant: String,
    pub(crate) active: bool,
    pub(crate) created_at: u64,
}

/// Written with every commit: what the witness is compared with, and where scans begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(crate) struct CommitRow {
    /// One more with each commit.
    pub(crate) number: u64,
    /// Events accepted since the directory was made.
    pub(crate) accepted: u64,
    /// No timer is due earlier than this.
    pub(crate) timers_low: u64,
    /// No row expires earlier than this.
    pub(crate) expiry_low: u64,
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct TenantRow {
    target: String,
    secret: String,
    /// Older secrets, newest first, with the times at which they end.
    previous: Vec<(String, u64)>,
    plan: String,
    shard_key: u32,
    created_at: u64,
    updated_at: u64,
    version: u64,
}

impl TenantRow {
    /// What is stored of a tenant.
    pub(crate) fn of(record: &TenantRecord) -> Self {
        let older = record.secrets.previous().iter();
        Self {
            target: record.target.as_str().to_owned(),
            secret: record.secrets.current().expose().to_owned(),
            previous: older
                .map(|(secret, ends)| (secret.expose().to_owned(), ends.as_millis()))
                .collect(),
            plan: record.plan.to_string(),
            shard_key: record.shard_key,
            created_at: record.created_at.as_millis(),
            updated_at: record.updated_at.as_millis(),
            version: record.version,
        }
    }

    /// The tenant.
    pub(crate) fn record(self, id: TenantId) -> Result<TenantRecord, CodecError> {
        let secret = |text: &str| WebhookSecret::try_new(text).map_err(|_| CodecError::Fields);
        let previous = self
            .previous
            .iter()
            .map(|(text, ends)| Ok((secret(text)?, Timestamp::from_millis(*ends))))
            .collect::<Result<Vec<_>, CodecError>>()?;
        Ok(TenantRecord {
            id,
            target: TargetUrl::parse_stored(&self.target).map_err(|_| CodecError::Fields)?,
            secrets: SigningSecrets::from_parts(secret(&self.secret)?, previous),
            plan: self.plan.into(),
            shard_key: self.shard_key,
            created_at: Timestamp::from_millis(self.created_at),
            updated_at: Timestamp::from_millis(self.updated_at),
            version: self.version,
        })
    }
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
pub(crate) struct LogRow {
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
    pub(crate) fn of(round: u32, attempt: &Attempt) -> Self {
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
    pub(crate) fn attempt(self) -> Result<LoggedAttempt, CodecError> {
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
    pub(crate) fn error(self) -> Option<Box<str>> {
        self.error.map(String::into_boxed_str)
    }
}

fn place<T: PartialEq>(all: &[T], one: &T) -> u8 {
    let place = all.iter().position(|known| known == one);
    // `ALL` names every variant, and there are fewer than 256.
    place.and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX)
}

//! How one tenant wants its events delivered, where that is not as the process does it.
//!
//! Parsed once: each part is lawful from then on.
//!
//! Invariant: an option only narrows what the process allows, but for the retry schedule, which
//! replaces the process's.

mod headers;

use std::sync::Arc;

use thiserror::Error;

use crate::{RetrySchedule, ScheduleError, Timestamp};

pub use headers::{ExtraHeaders, HeaderError};

/// A number out of its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{value} is outside of {min} to {max}")]
pub struct OutOfBounds {
    /// What was given.
    pub value: u64,
    /// The least that is lawful.
    pub min: u32,
    /// The most that is lawful.
    pub max: u32,
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bounded<const MIN: u32, const MAX: u32>(
    // Invariant: MIN..=MAX.
    u32,
);

impl<const MIN: u32, const MAX: u32> Bounded<MIN, MAX> {
    /// The least lawful number.
    pub const MIN: u32 = MIN;
    /// The largest lawful number.
    pub const MAX: u32 = MAX;

    /// Takes a number.
    ///
    /// # Errors
    /// [`OutOfBounds`] where it is less than `MIN` or more than `MAX`.
    pub fn try_new(value: u64) -> Result<Self, OutOfBounds> {
        match u32::try_from(value) {
            Ok(number) if (MIN..=MAX).contains(&number) => Ok(Self(number)),
            _ => Err(OutOfBounds { value, min: MIN, max: MAX }),
        }
    }

    /// The number.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }
}

/// The deadline of a whole attempt, in milliseconds.
pub type TimeoutMs = Bounded<1_000, 60_000>;
/// Attempts a second.
pub type RatePerS = Bounded<1, 100_000>;
/// Attempts at the same time.
pub type InFlightMax = Bounded<1, 10_000>;

/// Why a retry option makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
pub enum RetryOptionError {
    /// It says nothing.
    #[error("give delays_ms, attempts_max or both")]
    Nothing,
    /// More delays than there can be retries.
    #[error("{0} delays are more than {max}", max = RetryOption::DELAYS_MAX)]
    TooMany(usize),
    /// A part that no schedule can have.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
}

/// A tenant's own retry schedule; what it leaves open is the process's, and so is the jitter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryOption {
    // Invariant: at least one of the two is there, and each is what a schedule can have.
    delays_ms: Option<Arc<[u64]>>,
    attempts_max: Option<u32>,
}

impl RetryOption {
    /// More delays than attempts would never be used.
    pub const DELAYS_MAX: usize = 100;

    /// Takes delays (after failure 1, 2, …; the last one repeats) and the limit of attempts.
    ///
    /// # Errors
    /// [`RetryOptionError`] where both are missing or one is out of its range.
    pub fn try_new(
        delays_ms: Option<&[u64]>,
        attempts_max: Option<u32>,
    ) -> Result<Self, RetryOptionError> {
        match delays_ms {
            None if attempts_max.is_none() => return Err(RetryOptionError::Nothing),
            Some(delays) if delays.len() > Self::DELAYS_MAX => {
                return Err(RetryOptionError::TooMany(delays.len()));
            }
            _ => {}
        }
        let fill = attempts_max.unwrap_or(1);
        RetrySchedule::try_new(delays_ms.unwrap_or(&[1]), 0.0, fill)?;
        Ok(Self { delays_ms: delays_ms.map(Into::into), attempts_max })
    }

    /// The delays, in milliseconds; none where they are the process's.
    #[must_use]
    pub fn delays_ms(&self) -> Option<&[u64]> {
        self.delays_ms.as_deref()
    }

    /// The limit of attempts; none where it is the process's.
    #[must_use]
    pub const fn attempts_max(&self) -> Option<u32> {
        self.attempts_max
    }

    /// The schedule that follows, where the process has `process`.
    #[must_use]
    pub fn schedule(&self, process: &RetrySchedule) -> RetrySchedule {
        let delays = self.delays_ms().unwrap_or_else(|| process.delays_ms());
        let attempts_max = self.attempts_max.unwrap_or_else(|| process.attempts_max());
        RetrySchedule::try_new(delays, process.jitter(), attempts_max)
            .expect("each part has been part of a lawful schedule")
    }
}

/// How a tenant wants its events delivered. What is absent is as the process has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryOptions {
    /// The deadline of an attempt, where the process's is not shorter.
    pub timeout: Option<TimeoutMs>,
    /// Its own retry schedule.
    pub retry: Option<RetryOption>,
    /// At most so many attempts a second.
    pub rate: Option<RatePerS>,
    /// At most so many attempts at the same time.
    pub in_flight: Option<InFlightMax>,
    /// Headers beside ours.
    pub headers: ExtraHeaders,
    /// Whether deliveries wait until somebody says otherwise. Events are taken in all the same.
    pub paused: bool,
    /// When somebody last said that the endpoint works again: what kept attempts back before then
    /// is over.
    pub lifted_at: Option<Timestamp>,
}

impl DeliveryOptions {
    /// Whether all is as the process has it.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The retry schedule, where the process has `process`.
    #[must_use]
    pub fn schedule(&self, process: &RetrySchedule) -> RetrySchedule {
        self.retry.as_ref().map_or_else(|| process.clone(), |own| own.schedule(process))
    }

    /// These options after a change.
    #[must_use]
    pub fn changed(&self, change: OptionsChange) -> Self {
        let OptionsChange { timeout, retry, rate, in_flight, headers, paused, lifted_at } = change;
        Self {
            timeout: timeout.over(self.timeout),
            retry: retry.over(self.retry.clone()),
            rate: rate.over(self.rate),
            in_flight: in_flight.over(self.in_flight),
            headers: headers.over(Some(self.headers.clone())).unwrap_or_default(),
            paused: paused.over(Some(self.paused)).unwrap_or_default(),
            lifted_at: lifted_at.over(self.lifted_at),
        }
    }
}

/// What becomes of one option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<T> {
    /// It stays as it is.
    Leave,
    /// It is this from now on.
    Set(T),
    /// It is the process's again.
    Reset,
}

impl<T> Part<T> {
    fn over(self, before: Option<T>) -> Option<T> {
        match self {
            Self::Leave => before,
            Self::Set(new) => Some(new),
            Self::Reset => None,
        }
    }

    const fn is_leave(&self) -> bool {
        matches!(self, Self::Leave)
    }
}

/// A change of options, each on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionsChange {
    /// See [`DeliveryOptions::timeout`].
    pub timeout: Part<TimeoutMs>,
    /// See [`DeliveryOptions::retry`].
    pub retry: Part<RetryOption>,
    /// See [`DeliveryOptions::rate`].
    pub rate: Part<RatePerS>,
    /// See [`DeliveryOptions::in_flight`].
    pub in_flight: Part<InFlightMax>,
    /// See [`DeliveryOptions::headers`]; all of them together.
    pub headers: Part<ExtraHeaders>,
    /// See [`DeliveryOptions::paused`].
    pub paused: Part<bool>,
    /// See [`DeliveryOptions::lifted_at`].
    pub lifted_at: Part<Timestamp>,
}

impl OptionsChange {
    /// Everything stays as it is.
    pub const NOTHING: Self = Self {
        timeout: Part::Leave,
        retry: Part::Leave,
        rate: Part::Leave,
        in_flight: Part::Leave,
        headers: Part::Leave,
        paused: Part::Leave,
        lifted_at: Part::Leave,
    };
    /// Everything is as the process has it, but for what somebody has lifted.
    pub const RESET: Self = Self {
        timeout: Part::Reset,
        retry: Part::Reset,
        rate: Part::Reset,
        in_flight: Part::Reset,
        headers: Part::Reset,
        paused: Part::Reset,
        lifted_at: Part::Leave,
    };

    /// Whether it leaves all as it is.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        let Self { timeout, retry, rate, in_flight, headers, paused, lifted_at } = self;
        timeout.is_leave()
            && retry.is_leave()
            && rate.is_leave()
            && in_flight.is_leave()
            && headers.is_leave()
            && paused.is_leave()
            && lifted_at.is_leave()
    }
}

#[cfg(test)]
mod tests;

//! What endpoints do to requests. Decided by the plan, the time and chance; knows no daemon.

use posthaste_domain::{ErrorClass, Verdict};
use posthaste_protocol::ATTEMPT_MS_MAX;

use posthaste_sim::Chance;

/// How an endpoint behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Answers 200, within so many milliseconds.
    Healthy {
        /// The slowest answer.
        slowest_ms: u64,
    },
    /// Fails the first so many attempts of each round, then answers 200.
    FailsFirst(u32),
    /// Refuses connections until this time.
    DownUntil(u64),
    /// Never answers until this time.
    SilentUntil(u64),
    /// Answers 410.
    Gone,
    /// Fails always.
    Dead,
    /// Until calm, wants to be left alone in so many of a thousand cases.
    Throttling {
        /// Of a thousand.
        permille: u64,
        /// For how long.
        retry_after_ms: u64,
    },
    /// Until calm, answers 200 and is not heard in so many of a thousand cases.
    LosesAnswers {
        /// Of a thousand.
        permille: u64,
    },
    /// Until calm, fails so many of a thousand attempts.
    Shaky {
        /// Of a thousand.
        permille: u64,
    },
}

/// What an attempt will come to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fate {
    /// From start to verdict, in milliseconds.
    pub(crate) takes_ms: u64,
    /// What it comes to.
    pub(crate) verdict: Verdict,
    /// Whether the endpoint sees the request.
    pub(crate) reaches: bool,
}

impl Fate {
    const fn failed(takes_ms: u64, class: ErrorClass, reaches: bool) -> Self {
        let verdict = Verdict::Failed { class, retry_after_ms: None };
        Self { takes_ms, verdict, reaches }
    }
}

impl Behaviour {
    /// What an attempt comes to: at `ms`, the so-manieth of its round, `calm` or not.
    pub(crate) fn meet(self, (ms, number, calm): (u64, u32, bool), chance: &mut Chance) -> Fate {
        let takes_ms = chance.within((1, 50));
        let taken = Fate { takes_ms, verdict: Verdict::Delivered, reaches: true };
        let server_error = Fate::failed(takes_ms, ErrorClass::ServerError, true);
        match self {
            Self::Healthy { slowest_ms } => {
                Fate { takes_ms: chance.within((1, slowest_ms.max(1))), ..taken }
            }
            Self::FailsFirst(failures) if number <= failures => server_error,
            Self::DownUntil(until) if ms < until => {
                Fate::failed(takes_ms, ErrorClass::ConnectFailed, false)
            }
            Self::SilentUntil(until) if ms < until => {
                Fate::failed(ATTEMPT_MS_MAX, ErrorClass::Timeout, true)
            }
            Self::Gone => Fate { verdict: Verdict::Gone, ..taken },
            Self::Dead => server_error,
            Self::Throttling { permille, retry_after_ms } if !calm && chance.permille(permille) => {
                let class = ErrorClass::ClientError;
                let verdict = Verdict::Failed { class, retry_after_ms: Some(retry_after_ms) };
                Fate { verdict, ..taken }
            }
            Self::LosesAnswers { permille } if !calm && chance.permille(permille) => {
                Fate::failed(takes_ms, ErrorClass::ConnectionClosed, true)
            }
            Self::Shaky { permille } if !calm && chance.permille(permille) => server_error,
            Self::FailsFirst(_)
            | Self::DownUntil(_)
            | Self::SilentUntil(_)
            | Self::Throttling { .. }
            | Self::LosesAnswers { .. }
            | Self::Shaky { .. } => taken,
        }
    }

    /// Whether a round must end delivered, where the behaviour alone decides that.
    pub(crate) const fn must_deliver(self, attempts_max: u32) -> Option<bool> {
        match self {
            Self::Healthy { .. } => Some(true),
            Self::FailsFirst(failures) => Some(failures < attempts_max),
            Self::Gone | Self::Dead => Some(false),
            Self::DownUntil(_)
            | Self::SilentUntil(_)
            | Self::Throttling { .. }
            | Self::LosesAnswers { .. }
            | Self::Shaky { .. } => None,
        }
    }
}

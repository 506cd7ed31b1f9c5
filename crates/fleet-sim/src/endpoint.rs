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
    /// Answers 200 after so many milliseconds, for ever.
    Sluggish {
        /// How long each answer takes.
        takes_ms: u64,
    },
    /// Until calm, has had enough (429) in so many of a thousand cases.
    Throttling {
        /// Of a thousand.
        permille: u64,
        /// For how long it wants to be left alone, where it says so.
        retry_after_ms: Option<u64>,
    },
    /// Until calm, has something against so many of a thousand attempts (400).
    Picky {
        /// Of a thousand.
        permille: u64,
    },
    /// Until calm, up and down in turn, for so many milliseconds each.
    Flapping {
        /// Half a period.
        half_ms: u64,
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
    /// The status of the answer, where there is one.
    pub(crate) status: Option<u16>,
    /// Whether the endpoint sees the request.
    pub(crate) reaches: bool,
}

impl Fate {
    const fn failed(takes_ms: u64, class: ErrorClass, reaches: bool) -> Self {
        let verdict = Verdict::Failed { class, retry_after_ms: None };
        let status = match class {
            ErrorClass::ServerError => Some(500),
            ErrorClass::ClientError => Some(400),
            _ => None,
        };
        Self { takes_ms, verdict, status, reaches }
    }

    /// The name under which it is counted.
    pub(crate) const fn name(&self) -> &'static str {
        match (self.verdict, self.status) {
            (Verdict::Delivered, _) if self.takes_ms >= 20_000 => "answer 2xx after 20 s and more",
            (Verdict::Delivered, _) => "answer 2xx",
            (Verdict::Gone, _) => "answer 410",
            (Verdict::NotCharged { .. }, _) => "answer none: our own fault",
            (Verdict::Failed { retry_after_ms, .. }, Some(429)) => match retry_after_ms {
                None => "answer 429",
                Some(0) => "answer 429, Retry-After 0",
                Some(3_600_000..) => "answer 429, Retry-After of an hour",
                Some(180_000..) => "answer 429, Retry-After beyond a lease",
                Some(_) => "answer 429, Retry-After",
            },
            (Verdict::Failed { .. }, Some(500..)) => "answer 5xx",
            (Verdict::Failed { .. }, Some(_)) => "answer 4xx",
            (Verdict::Failed { class: ErrorClass::Timeout, .. }, None) => "answer none for 30 s",
            (Verdict::Failed { class: ErrorClass::ConnectFailed, .. }, None) => {
                "answer none: refused"
            }
            (Verdict::Failed { .. }, None) => "answer lost",
        }
    }
}

impl Behaviour {
    /// What an attempt comes to: at `ms`, the so-manieth of its round, `calm` or not.
    pub(crate) fn meet(self, (ms, number, calm): (u64, u32, bool), chance: &mut Chance) -> Fate {
        let takes_ms = chance.within((1, 50));
        let taken =
            Fate { takes_ms, verdict: Verdict::Delivered, status: Some(200), reaches: true };
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
            Self::Gone => Fate { verdict: Verdict::Gone, status: Some(410), ..taken },
            Self::Sluggish { takes_ms } => Fate { takes_ms, ..taken },
            Self::Dead => server_error,
            Self::Throttling { permille, retry_after_ms } if !calm && chance.permille(permille) => {
                let class = ErrorClass::ClientError;
                let verdict = Verdict::Failed { class, retry_after_ms };
                Fate { verdict, status: Some(429), ..taken }
            }
            Self::Picky { permille } if !calm && chance.permille(permille) => {
                Fate::failed(takes_ms, ErrorClass::ClientError, true)
            }
            Self::Flapping { half_ms } if !calm && ms / half_ms % 2 == 1 => server_error,
            Self::LosesAnswers { permille } if !calm && chance.permille(permille) => {
                Fate::failed(takes_ms, ErrorClass::ConnectionClosed, true)
            }
            Self::Shaky { permille } if !calm && chance.permille(permille) => server_error,
            Self::FailsFirst(_)
            | Self::DownUntil(_)
            | Self::SilentUntil(_)
            | Self::Throttling { .. }
            | Self::Picky { .. }
            | Self::Flapping { .. }
            | Self::LosesAnswers { .. }
            | Self::Shaky { .. } => taken,
        }
    }

    /// Whether a round must end delivered, where the behaviour alone decides that.
    pub(crate) const fn must_deliver(self, attempts_max: u32) -> Option<bool> {
        match self {
            Self::Healthy { .. } | Self::Sluggish { .. } => Some(true),
            Self::FailsFirst(failures) => Some(failures < attempts_max),
            Self::Gone | Self::Dead => Some(false),
            Self::DownUntil(_)
            | Self::SilentUntil(_)
            | Self::Throttling { .. }
            | Self::Picky { .. }
            | Self::Flapping { .. }
            | Self::LosesAnswers { .. }
            | Self::Shaky { .. } => None,
        }
    }
}

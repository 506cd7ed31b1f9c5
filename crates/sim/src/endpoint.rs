//! What endpoints do to requests. Decided by the plan, the time and chance; knows no engine.

use posthaste_domain::{ErrorClass, Timestamp, Verdict};

use crate::chance::Chance;

/// The longest that an attempt may take, in milliseconds (CONTRACT §3).
pub const ATTEMPT_MS_MAX: u64 = 30_000;

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
    /// Fails the first so many attempts that it gets, of whichever delivery, then answers 200.
    RecoversAfter(u64),
    /// Refuses connections until this time.
    DownUntil(Timestamp),
    /// Never answers until this time.
    SilentUntil(Timestamp),
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
    /// Until calm, has something against so many of a thousand events (400).
    Picky {
        /// Of a thousand.
        permille: u64,
    },
    /// Until calm, up and down in turn, for so many milliseconds each.
    Flapping {
        /// Half a period.
        half_ms: u64,
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
            _ => None,
        };
        Self { takes_ms, verdict, status, reaches }
    }

    /// A failure that is ours.
    pub(crate) fn not_charged(chance: &mut Chance) -> Self {
        let class = chance.pick(&[ErrorClass::DnsUnavailable, ErrorClass::LocalResource]);
        let verdict = Verdict::NotCharged { class };
        Self { takes_ms: chance.within((0, 20)), verdict, status: None, reaches: false }
    }
}

/// When an attempt is made, and which one of its round it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Try {
    pub(crate) now: Timestamp,
    pub(crate) number: u32,
    /// How many the endpoint has had before, of whichever delivery.
    pub(crate) before: u64,
    /// Whether the time of faults is over.
    pub(crate) calm: bool,
}

impl Behaviour {
    /// What an attempt comes to.
    pub(crate) fn meet(self, attempt: Try, chance: &mut Chance) -> Fate {
        let Try { now, number, before, calm } = attempt;
        let quick = chance.within((1, 50));
        let status = Some(200);
        let delivered =
            Fate { takes_ms: quick, verdict: Verdict::Delivered, status, reaches: true };
        let server_error = Fate::failed(quick, ErrorClass::ServerError, true);
        match self {
            Self::Healthy { slowest_ms } => {
                Fate { takes_ms: chance.within((1, slowest_ms.max(1))), ..delivered }
            }
            Self::FailsFirst(failures) if number <= failures => server_error,
            Self::RecoversAfter(failures) if before < failures => server_error,
            Self::DownUntil(until) if now < until => {
                Fate::failed(quick, ErrorClass::ConnectFailed, false)
            }
            Self::SilentUntil(until) if now < until => {
                Fate::failed(ATTEMPT_MS_MAX, ErrorClass::Timeout, true)
            }
            Self::Gone => Fate { verdict: Verdict::Gone, status: Some(410), ..delivered },
            Self::Sluggish { takes_ms } => Fate { takes_ms, ..delivered },
            Self::Dead => server_error,
            Self::Throttling { permille, retry_after_ms } if !calm && chance.permille(permille) => {
                let class = ErrorClass::ClientError;
                let verdict = Verdict::Failed { class, retry_after_ms };
                Fate { verdict, status: Some(429), ..delivered }
            }
            Self::Picky { permille } if !calm && chance.permille(permille) => {
                let class = ErrorClass::ClientError;
                let verdict = Verdict::Failed { class, retry_after_ms: None };
                Fate { verdict, status: Some(400), ..delivered }
            }
            Self::Flapping { half_ms } if !calm && now.as_millis() / half_ms % 2 == 1 => {
                Fate::failed(quick, ErrorClass::ConnectionClosed, true)
            }
            Self::Shaky { permille } if !calm && chance.permille(permille) => server_error,
            Self::FailsFirst(_)
            | Self::RecoversAfter(_)
            | Self::DownUntil(_)
            | Self::SilentUntil(_)
            | Self::Throttling { .. }
            | Self::Picky { .. }
            | Self::Flapping { .. }
            | Self::Shaky { .. } => delivered,
        }
    }

    /// Whether the last round of a delivery must end delivered, where the behaviour alone decides
    /// that; with this many attempts in a round.
    pub(crate) const fn must_deliver(self, attempts_max: u32) -> Option<bool> {
        match self {
            Self::Healthy { .. } | Self::Sluggish { .. } => Some(true),
            Self::FailsFirst(failures) => Some(failures < attempts_max),
            Self::Gone | Self::Dead => Some(false),
            Self::RecoversAfter(_)
            | Self::DownUntil(_)
            | Self::SilentUntil(_)
            | Self::Throttling { .. }
            | Self::Picky { .. }
            | Self::Flapping { .. }
            | Self::Shaky { .. } => None,
        }
    }
}

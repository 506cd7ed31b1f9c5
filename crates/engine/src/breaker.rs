//! The breaker of one endpoint: what its outcomes say about it, and what follows.
//!
//! ```text
//!            so many failures in a row             hold over
//!  Healthy ──────────────────────────► Tripped ───────────────► Probing
//!     ▲                                 ▲ ▲  │                   │  │ │
//!     │ 10 s                            │ │  └── an answer ──┐   │  │ └─ fails, for so long
//!     │        a few failures in a row  │ └────── fails ─────┼───┘  │    that we give up
//!   Ramp ───────────────────────────────┘                    │      │        │
//!     ▲▲                                                     │      │        ▼
//!     │└──────────────── an answer, lifted, resumed ─────────┴──────┘     GivenUp
//!     └──────────────────────────── an answer, lifted ───────────────────────┘
//! ```
//!
//! * *Tripped*: nothing is attempted. The hold doubles from trip to trip; chance only adds to it.
//! * *Probing*: one attempt at a time, a real one that is charged as any other.
//! * *Ramp*: in flight from one on, and a rate that doubles each second.
//! * *Given up*: an endpoint that has answered nothing for a day is attempted by the schedule
//!   again, so that what it is owed ends in the dead letters instead of waiting for ever.
//!
//! A ramp stands a few failures in a row, not one: an endpoint that fails one request in twenty
//! would else never leave it. What was in flight before a change says nothing about what follows
//! it, unless it got through.

use posthaste_domain::{Attempt, ErrorClass, Timestamp, Verdict};

use crate::Settings;
use crate::pace::Pace;

/// How long a ramp lasts, in milliseconds: from 50/s it has come to 25,600/s by then.
pub(crate) const RAMP_MS: u64 = 10_000;
/// Chance adds up to a tenth to a hold, so that those which tripped together do not probe so.
const JITTER_DIVISOR: u64 = 10;
/// A ramp trips after this part of the failures that trip a healthy endpoint.
const RAMP_FAILURES_DIVISOR: u32 = 4;

/// What an attempt says about its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// It works.
    Well,
    /// It does not.
    Ill,
    /// It answers, and has something against this event.
    Answers,
    /// It has said itself for how long it wants to be left alone.
    Busy,
    /// Nothing: the fault was ours.
    Silent,
}

impl Sign {
    /// What this attempt says.
    pub(crate) fn of(attempt: &Attempt) -> Self {
        match attempt.verdict {
            Verdict::Delivered => Self::Well,
            Verdict::Gone => Self::Answers,
            Verdict::NotCharged { .. } => Self::Silent,
            Verdict::Failed { retry_after_ms: Some(1..), .. } => Self::Busy,
            // Too slow for the endpoint's own taste, or too much: that is about all of them.
            Verdict::Failed { class: ErrorClass::ClientError, .. } => match attempt.status_code {
                Some(408 | 429) => Self::Ill,
                _ => Self::Answers,
            },
            Verdict::Failed { .. } => Self::Ill,
        }
    }
}

/// What is known of an endpoint's health.
#[derive(Clone, Debug)]
pub(crate) enum Breaker {
    /// It has failed so often in a row.
    Healthy { failures: u32 },
    /// It is, or has lately been, out of order.
    Troubled(Box<Trouble>),
}

/// What is known of an endpoint that is out of order.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    /// Since when nothing has got through.
    pub(crate) since: Timestamp,
    /// How often it has tripped since it was last healthy.
    pub(crate) trips: u32,
    /// Failures in a row on its ramp.
    failures: u32,
    /// What is done about it.
    pub(crate) stage: Stage,
}

/// What is done about an endpoint that is out of order.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    /// Nothing is attempted before `until`.
    Tripped { until: Timestamp },
    /// One attempt at a time, since `from`.
    Probing { from: Timestamp },
    /// More and more, since `from`.
    Ramp { from: Timestamp, pace: Pace },
    /// As the schedule says.
    GivenUp,
}

/// What has changed for an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing is to be attempted before this time.
    Trips(Timestamp),
    /// It is taken up again, slowly.
    Ramps,
    /// It will not be waited for any longer.
    GivesUp,
}

/// When an attempt started and ended, and what chance says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) started: Timestamp,
    pub(crate) now: Timestamp,
    pub(crate) chance: u64,
}

impl Breaker {
    /// Of an endpoint that nothing bad is known of.
    pub(crate) const HEALTHY: Self = Self::Healthy { failures: 0 };

    /// What is done about the endpoint, if it is out of order.
    pub(crate) fn stage(&self) -> Option<&Stage> {
        match self {
            Self::Healthy { .. } => None,
            Self::Troubled(trouble) => Some(&trouble.stage),
        }
    }

    /// Whether one attempt at a time is made.
    pub(crate) fn is_probing(&self) -> bool {
        matches!(self.stage(), Some(Stage::Probing { .. }))
    }

    /// Takes in what an attempt says.
    pub(crate) fn hear(
        &mut self,
        sign: Sign,
        moment: Moment,
        settings: &Settings,
    ) -> Option<Change> {
        let trouble = match self {
            Self::Healthy { failures } => {
                match sign {
                    Sign::Well => *failures = 0,
                    Sign::Ill => *failures = failures.saturating_add(1),
                    Sign::Answers | Sign::Busy | Sign::Silent => {}
                }
                let most = settings.breaker_failures;
                let trips = most > 0 && *failures >= most;
                return trips.then(|| self.trip(moment, settings));
            }
            Self::Troubled(trouble) => trouble,
        };
        match (trouble.stage, sign) {
            (_, Sign::Busy | Sign::Silent) => None,
            (Stage::Ramp { .. }, Sign::Well) => {
                trouble.failures = 0;
                None
            }
            (_, Sign::Well) => Some(self.ramp(moment.now)),
            (Stage::Probing { from }, Sign::Answers) if moment.started >= from => {
                Some(self.ramp(moment.now))
            }
            (Stage::Probing { from }, Sign::Ill) if moment.started >= from => {
                if moment.now.millis_since(trouble.since) >= settings.breaker_give_up_ms {
                    trouble.stage = Stage::GivenUp;
                    return Some(Change::GivesUp);
                }
                Some(self.trip(moment, settings))
            }
            (Stage::Ramp { from, .. }, Sign::Ill) if moment.started >= from => {
                trouble.failures += 1;
                let most = (settings.breaker_failures / RAMP_FAILURES_DIVISOR).max(1);
                let trips = settings.breaker_failures > 0 && trouble.failures >= most;
                if !trips {
                    return None;
                }
                // It had answered, so it has not been silent since the first trip.
                trouble.since = moment.now;
                Some(self.trip(moment, settings))
            }
            (_, Sign::Ill | Sign::Answers) => None,
        }
    }

    fn trip(&mut self, moment: Moment, settings: &Settings) -> Change {
        let Moment { now, chance, .. } = moment;
        let (since, trips) = match self {
            Self::Healthy { .. } => (now, 1),
            Self::Troubled(trouble) => (trouble.since, trouble.trips.saturating_add(1)),
        };
        let hold = settings.breaker_hold;
        let doubled = hold.first_ms.saturating_mul(1 << (trips - 1).min(32));
        let least = doubled.min(hold.most_ms).max(1);
        let until = now.plus_millis(least + chance % (least / JITTER_DIVISOR + 1));
        let stage = Stage::Tripped { until };
        *self = Self::Troubled(Box::new(Trouble { since, trips, failures: 0, stage }));
        Change::Trips(until)
    }

    /// The endpoint is taken up again.
    pub(crate) fn ramp(&mut self, now: Timestamp) -> Change {
        let trips = match self {
            Self::Healthy { .. } => 0,
            Self::Troubled(trouble) => trouble.trips,
        };
        let stage = Stage::Ramp { from: now, pace: Pace::default() };
        *self = Self::Troubled(Box::new(Trouble { since: now, trips, failures: 0, stage }));
        Change::Ramps
    }

    /// Lets time pass: a hold that is over makes way for a probe. Says whether it did.
    pub(crate) fn end_hold(&mut self, now: Timestamp) -> bool {
        if let Self::Troubled(trouble) = self
            && let Stage::Tripped { until } = trouble.stage
            && until <= now
        {
            trouble.stage = Stage::Probing { from: now };
            return true;
        }
        false
    }

    /// Lets time pass: a ramp that is over ends in health. Says whether it did.
    pub(crate) fn end_ramp(&mut self, now: Timestamp) -> bool {
        let over = matches!(self.stage(),
            Some(Stage::Ramp { from, .. }) if now.millis_since(*from) >= RAMP_MS);
        if over {
            *self = Self::HEALTHY;
        }
        over
    }

    /// The end of the wait for the next attempt of the ramp, where one has to wait.
    pub(crate) fn ramp_lasts(&self, now: Timestamp) -> Option<Timestamp> {
        match self.stage()? {
            Stage::Ramp { pace, .. } => pace.lasts(now),
            Stage::Tripped { .. } | Stage::Probing { .. } | Stage::GivenUp => None,
        }
    }

    /// An attempt starts.
    pub(crate) fn ramp_take(&mut self, now: Timestamp, first_per_s: u32) {
        if let Self::Troubled(trouble) = self
            && let Stage::Ramp { from, pace } = &mut trouble.stage
        {
            pace.take(now, ramp_interval_us(now.millis_since(*from), first_per_s));
        }
    }
}

/// How far attempts are apart so long after the ramp began: it doubles each second.
fn ramp_interval_us(ms: u64, first_per_s: u32) -> u64 {
    let per_s = u64::from(first_per_s.max(1)) << (ms / 1_000).min(20);
    1_000_000_u64.div_ceil(per_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        let now = Timestamp::from_millis(1_000_000 + ms);
        Moment { started: now, now, chance: 0 }
    }

    fn settings() -> Settings {
        Settings { breaker_give_up_ms: 100_000, ..Settings::default() }
    }

    /// A breaker that has just tripped for the first time, at 0.
    fn tripped() -> Breaker {
        let mut breaker = Breaker::HEALTHY;
        for failure in 1..=20 {
            let change = breaker.hear(Sign::Ill, at(0), &settings());
            assert_eq!(change.is_some(), failure == 20, "{failure}");
        }
        breaker
    }

    /// Fails one probe after the other; says how long each hold was.
    fn holds(breaker: &mut Breaker, times: u32) -> Vec<u64> {
        let mut held = Vec::new();
        let mut now = 0;
        for _ in 0..times {
            let Some(&Stage::Tripped { until }) = breaker.stage() else { break };
            held.push(until.as_millis() - 1_000_000 - now);
            now = until.as_millis() - 1_000_000;
            assert!(!breaker.end_hold(Timestamp::from_millis(until.as_millis() - 1)));
            assert!(breaker.end_hold(until));
            breaker.hear(Sign::Ill, at(now), &settings());
        }
        held
    }

    #[test]
    fn a_success_between_keeps_it_healthy() {
        let mut breaker = Breaker::HEALTHY;
        for _ in 0..5 {
            (0..19).for_each(|_| assert_eq!(breaker.hear(Sign::Ill, at(0), &settings()), None));
            breaker.hear(Sign::Answers, at(0), &settings());
            breaker.hear(Sign::Busy, at(0), &settings());
            breaker.hear(Sign::Well, at(0), &settings());
        }
        let never = Settings { breaker_failures: 0, ..settings() };
        (0..1_000).for_each(|_| assert_eq!(breaker.hear(Sign::Ill, at(0), &never), None));
    }

    #[test]
    fn what_is_neither_counts_nor_resets() {
        let mut breaker = Breaker::HEALTHY;
        for _ in 0..19 {
            for sign in [Sign::Ill, Sign::Answers, Sign::Busy, Sign::Silent] {
                assert_eq!(breaker.hear(sign, at(0), &settings()), None);
            }
        }
        let change = breaker.hear(Sign::Ill, at(0), &settings());
        assert_eq!(change, Some(Change::Trips(at(1_000).now)));
    }

    #[test]
    fn holds_double_up_to_a_minute_until_we_give_up() {
        let mut breaker = tripped();
        let held = holds(&mut breaker, 10);
        assert_eq!(held, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000]);
        assert!(matches!(breaker.stage(), Some(Stage::GivenUp)), "{breaker:?}");
        assert_eq!(breaker.hear(Sign::Ill, at(200_000), &settings()), None);
        assert_eq!(breaker.hear(Sign::Well, at(200_000), &settings()), Some(Change::Ramps));
    }

    #[test]
    fn chance_only_adds_a_tenth_at_most() {
        for chance in [0, 1, 99, 100, 101, u64::MAX] {
            let mut breaker = Breaker::Healthy { failures: 19 };
            let moment = Moment { chance, ..at(0) };
            let Some(Change::Trips(until)) = breaker.hear(Sign::Ill, moment, &settings()) else {
                panic!("twenty in a row")
            };
            assert!((1_000..=1_100).contains(&until.millis_since(moment.now)));
        }
    }

    /// What was in flight when it tripped neither lengthens the hold nor fails the probe, but a
    /// success of it is one.
    #[test]
    fn what_was_in_flight_before_counts_only_where_it_got_through() {
        let mut breaker = tripped();
        assert_eq!(breaker.hear(Sign::Ill, at(10), &settings()), None);
        assert!(breaker.end_hold(at(1_000).now));
        let late = Moment { started: at(0).now, ..at(1_500) };
        assert_eq!(breaker.hear(Sign::Ill, late, &settings()), None);
        assert_eq!(breaker.hear(Sign::Answers, late, &settings()), None);
        assert!(breaker.is_probing());
        assert_eq!(breaker.hear(Sign::Well, late, &settings()), Some(Change::Ramps));
        assert_eq!(tripped().hear(Sign::Well, at(10), &settings()), Some(Change::Ramps));
    }

    #[test]
    fn a_probe_that_is_answered_begins_the_ramp() {
        for sign in [Sign::Well, Sign::Answers] {
            let mut breaker = tripped();
            breaker.end_hold(at(1_000).now);
            assert_eq!(breaker.hear(Sign::Busy, at(1_001), &settings()), None);
            assert!(breaker.is_probing(), "it has asked for a hold of its own");
            assert_eq!(breaker.hear(sign, at(1_002), &settings()), Some(Change::Ramps));
            assert!(!breaker.end_ramp(at(11_001).now));
            assert!(breaker.end_ramp(at(11_002).now));
            assert!(breaker.stage().is_none());
        }
    }

    #[test]
    fn a_ramp_stands_single_failures_and_trips_for_longer_after_five_in_a_row() {
        let mut breaker = tripped();
        breaker.end_hold(at(1_000).now);
        breaker.hear(Sign::Well, at(1_000), &settings());
        for _ in 0..10 {
            (0..4).for_each(|_| assert_eq!(breaker.hear(Sign::Ill, at(2_000), &settings()), None));
            breaker.hear(Sign::Well, at(2_000), &settings());
        }
        (0..4).for_each(|_| assert_eq!(breaker.hear(Sign::Ill, at(3_000), &settings()), None));
        let change = breaker.hear(Sign::Ill, at(3_000), &settings());
        assert_eq!(change, Some(Change::Trips(at(5_000).now)), "the second trip");
    }

    /// For all first rates: the attempts of each second are at most twice those of the second
    /// before, and the first second has its rate and the burst.
    #[test]
    fn a_ramp_doubles_each_second() {
        for first in [1, 50, 1_000] {
            let mut breaker = Breaker::HEALTHY;
            breaker.ramp(at(0).now);
            let mut most = u64::from(first);
            for second in 0..5 {
                let mut count = 0;
                for ms in 0..1_000 {
                    let now = at(second * 1_000 + ms).now;
                    while breaker.ramp_lasts(now).is_none() {
                        breaker.ramp_take(now, first);
                        count += 1;
                    }
                }
                assert!(count <= most + most / 100 + 1, "{count} of {most} in second {second}");
                assert!(count + 2 >= most * 99 / 100, "{count} of {most} in second {second}");
                most *= 2;
            }
        }
    }

    #[test]
    fn only_what_speaks_of_the_endpoint_is_a_sign() {
        let attempt = |verdict, status_code| Attempt {
            number: 1,
            at: Timestamp::ZERO,
            duration_ms: 0,
            status_code,
            verdict,
            error: None,
            response: bytes::Bytes::new(),
            phases: posthaste_domain::PhaseTimings::default(),
        };
        let failed = |class, retry_after_ms| Verdict::Failed { class, retry_after_ms };
        for (verdict, status, sign) in [
            (Verdict::Delivered, Some(204), Sign::Well),
            (Verdict::Gone, Some(410), Sign::Answers),
            (failed(ErrorClass::ClientError, None), Some(400), Sign::Answers),
            (failed(ErrorClass::ClientError, None), Some(408), Sign::Ill),
            (failed(ErrorClass::ClientError, None), Some(429), Sign::Ill),
            (failed(ErrorClass::ClientError, Some(0)), Some(429), Sign::Ill),
            (failed(ErrorClass::ClientError, Some(7)), Some(429), Sign::Busy),
            (failed(ErrorClass::ServerError, Some(7)), Some(503), Sign::Busy),
            (failed(ErrorClass::ServerError, None), Some(500), Sign::Ill),
            (failed(ErrorClass::Timeout, None), None, Sign::Ill),
            (failed(ErrorClass::ConnectFailed, None), None, Sign::Ill),
            (failed(ErrorClass::ProtocolError, None), Some(200), Sign::Ill),
            (Verdict::NotCharged { class: ErrorClass::LocalResource }, None, Sign::Silent),
        ] {
            assert_eq!(Sign::of(&attempt(verdict, status)), sign, "{verdict:?}");
        }
    }
}

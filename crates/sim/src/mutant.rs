//! Deliberate faults of the driver and the store: the controls that show that the checks can fail.
//!
//! A mutant stands between the engine and the world, so the engine under test is the real one.

use posthaste_engine::Invariant;

/// A deliberate fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Outcomes are acknowledged before their commit.
    AckBeforeCommit,
    /// An inbox without room forgets the delivery and the mark.
    ForgetBehind,
    /// At start nobody says which endpoints have fresh deliveries.
    ForgetBacklogAtStart,
    /// Timers come out of the store with due times a second too early.
    EarlyTimers,
    /// A page of timers that was cut says that there were no more.
    UncutPages,
    /// A backlog that goes on says that there was nothing more.
    ShortBacklogs,
    /// Answers to reads are sometimes the ones of the read before.
    OldAnswers,
    /// A commit that failed is acknowledged.
    AckFailedCommit,
    /// The engine does not hear that the drain has begun.
    DeafToDrain,
    /// The engine believes in caps that are one higher.
    HigherCaps,
    /// Arrivals are handed over once more after their delivery was settled.
    LateArrivals,
    /// A crash takes back an event that was acknowledged.
    LoseAccepted,
    /// The endpoint's wish to be left alone does not reach the engine.
    DeafToRetryAfter,
    /// One order in twenty is carried out twice.
    AttemptTwice,
    /// Orders for all tenants but one wait until that one has nothing in flight.
    FavourOneTenant,
    /// Failures reach the engine as the event's fault.
    DeafToFailures,
    /// The engine does not hear that an endpoint is paused.
    ForgetPauses,
    /// The engine hears of rates that are twice as high.
    FasterRates,
    /// The engine hears that nobody shares a host.
    HostsApart,
    /// Endpoints are lifted although nobody has asked for it.
    LiftUnasked,
    /// The engine believes that slow endpoints may have everything.
    SlowMayHaveAll,
    /// The engine believes in ramps that are fifty times as steep.
    SteepRamps,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::AckBeforeCommit,
        Self::ForgetBehind,
        Self::ForgetBacklogAtStart,
        Self::EarlyTimers,
        Self::UncutPages,
        Self::ShortBacklogs,
        Self::OldAnswers,
        Self::AckFailedCommit,
        Self::DeafToDrain,
        Self::HigherCaps,
        Self::LateArrivals,
        Self::LoseAccepted,
        Self::DeafToRetryAfter,
        Self::AttemptTwice,
        Self::FavourOneTenant,
        Self::DeafToFailures,
        Self::ForgetPauses,
        Self::FasterRates,
        Self::HostsApart,
        Self::LiftUnasked,
        Self::SlowMayHaveAll,
        Self::SteepRamps,
    ];

    /// The promise that it breaks first. What is seen of it may be another one's consequence: an
    /// outcome that is let go too early is found to be forgotten.
    #[must_use]
    pub const fn breaks(self) -> Invariant {
        match self {
            Self::AckBeforeCommit | Self::AckFailedCommit => Invariant::DurableFirst,
            Self::ForgetBehind | Self::UncutPages | Self::ShortBacklogs | Self::OldAnswers => {
                Invariant::NothingForgotten
            }
            Self::EarlyTimers | Self::DeafToRetryAfter => Invariant::NeverEarly,
            Self::HigherCaps | Self::HostsApart => Invariant::WithinCaps,
            Self::AttemptTwice => Invariant::OnePlace,
            Self::DeafToDrain => Invariant::NoAttemptAfterDrain,
            Self::ForgetBacklogAtStart | Self::LateArrivals | Self::LoseAccepted => {
                Invariant::ExactRecovery
            }
            Self::FavourOneTenant => Invariant::FairTurns,
            Self::FasterRates | Self::SteepRamps => Invariant::KeptPace,
            Self::DeafToFailures | Self::ForgetPauses | Self::LiftUnasked => Invariant::LeftAlone,
            Self::SlowMayHaveAll => Invariant::RoomForTheQuick,
        }
    }

    /// The mutant's name on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AckBeforeCommit => "ack-before-commit",
            Self::ForgetBehind => "forget-behind",
            Self::ForgetBacklogAtStart => "forget-backlog-at-start",
            Self::EarlyTimers => "early-timers",
            Self::UncutPages => "uncut-pages",
            Self::ShortBacklogs => "short-backlogs",
            Self::OldAnswers => "old-answers",
            Self::AckFailedCommit => "ack-failed-commit",
            Self::DeafToDrain => "deaf-to-drain",
            Self::HigherCaps => "higher-caps",
            Self::LateArrivals => "late-arrivals",
            Self::LoseAccepted => "lose-accepted",
            Self::DeafToRetryAfter => "deaf-to-retry-after",
            Self::AttemptTwice => "attempt-twice",
            Self::FavourOneTenant => "favour-one-tenant",
            Self::DeafToFailures => "deaf-to-failures",
            Self::ForgetPauses => "forget-pauses",
            Self::FasterRates => "faster-rates",
            Self::HostsApart => "hosts-apart",
            Self::LiftUnasked => "lift-unasked",
            Self::SlowMayHaveAll => "slow-may-have-all",
            Self::SteepRamps => "steep-ramps",
        }
    }

    /// The mutant of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mutant| mutant.as_str() == name)
    }
}

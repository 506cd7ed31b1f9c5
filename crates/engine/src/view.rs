//! What operators and tenants see of endpoints that are not attempted as usual.

use posthaste_domain::{EndpointId, TenantId, Timestamp};

use crate::Engine;
use crate::breaker::{Breaker, Stage};

/// How an endpoint is, as far as it is not attempted as usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// Its tenant has paused it.
    Paused,
    /// It has failed too often in a row, and is left alone.
    Tripped,
    /// One attempt at a time is made, to see whether it is well again.
    Probing,
    /// It gets more and more attempts.
    Ramp,
    /// It has not answered for so long that it is attempted by the schedule again, so that what it
    /// is owed ends in the dead letters.
    GivenUp,
}

impl Health {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Paused, Self::Tripped, Self::Probing, Self::Ramp, Self::GivenUp];

    /// The state's stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Tripped => "tripped",
            Self::Probing => "probing",
            Self::Ramp => "ramp",
            Self::GivenUp => "given_up",
        }
    }
}

/// An endpoint that is not attempted as usual.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointView {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub endpoint: EndpointId,
    /// How it is.
    pub health: Health,
    /// Since when: of the first trip without an answer since, of the ramp, or of the pause.
    pub since: Timestamp,
    /// When it is tried next, where that is known.
    pub next_attempt_at: Option<Timestamp>,
    /// How often it has tripped in a row.
    pub trips: u32,
    /// Attempts in flight.
    pub in_flight: u64,
    /// Deliveries in memory.
    pub held: u64,
    /// Whether the store has more.
    pub behind: bool,
}

impl Engine {
    /// Up to `max` endpoints that are not attempted as usual, those in trouble for longest first.
    #[must_use]
    pub fn troubled(&self, max: usize) -> Vec<EndpointView> {
        self.directory.troubled.iter().take(max).map(|(_, it)| self.view(*it)).collect()
    }

    fn view(&self, endpoint: u32) -> EndpointView {
        let known = &self.directory[endpoint];
        let (stage, trips) = match &known.breaker {
            Breaker::Healthy { .. } => (None, 0),
            Breaker::Troubled(trouble) => (Some(trouble.stage), trouble.trips),
        };
        let health = match stage {
            _ if known.paused => Health::Paused,
            Some(Stage::Tripped { .. }) => Health::Tripped,
            Some(Stage::Probing { .. }) => Health::Probing,
            Some(Stage::GivenUp) => Health::GivenUp,
            Some(Stage::Ramp { .. }) | None => Health::Ramp,
        };
        let held = known.held_fresh + known.held_retries + known.waiting;
        EndpointView {
            tenant: self.directory.tenant(known.tenant).id.clone(),
            endpoint: known.id,
            health,
            since: known.troubled_since,
            next_attempt_at: (!known.paused && known.hold_until > self.now)
                .then_some(known.hold_until),
            trips,
            in_flight: known.in_flight as u64,
            held: held as u64,
            behind: known.behind_from.is_some() || known.overdue_pass.is_some(),
        }
    }
}

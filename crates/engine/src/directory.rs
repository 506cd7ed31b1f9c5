//! The tenants and endpoints that the engine knows of, by number, with what it knows of each.
//!
//! An endpoint is known while it has deliveries in memory, more in the store, or a hold; a small
//! stock of idle ones is kept, since most of them come back at once. So memory follows the
//! endpoints that have work, not those that ever had any.
//!
//! Invariant: a number is given to another endpoint only after nothing refers to it any more.

use std::collections::{BTreeSet, HashMap, VecDeque};

use foldhash::fast::FixedState;
use posthaste_domain::{EndpointId, EventId, RetrySchedule, TenantId, Timestamp};
use slab::Slab;

use crate::breaker::{Breaker, Stage};
use crate::congestion::Congestion;
use crate::guard::Guard;
use crate::hosts::Hosts;
use crate::list::List;
use crate::pace::Pace;
use crate::pause::Pause;
use crate::table::{Lane, NOWHERE};
use crate::{Rate, WEIGHT_MAX};

/// Idle endpoints that are kept; at about 250 bytes each.
const IDLE_KEPT_MAX: usize = 1_024;

/// For how long an endpoint is remembered that was slow or failing when it was last attempted, in
/// milliseconds: its first retries come within that time, and events of a quiet tenant do.
const TROUBLE_KEPT_MS: u64 = 10 * 60 * 1000;
/// Unless so many are known.
const TROUBLED_KEPT_MAX: usize = 16 * IDLE_KEPT_MAX;

/// Where a tenant stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rank {
    /// Nowhere: none of its endpoints has a turn to wait for.
    Off,
    /// In the order of turns.
    Quick,
    /// In the order of those that only have turns of slow endpoints to wait for.
    Slow,
    /// It has as many attempts in flight as it may.
    Full,
    /// It waits for its rate.
    Paced,
}

/// Where an endpoint stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nowhere: it could not be attempted, or has more in flight than is free.
    Off,
    /// In its tenant's order of turns.
    Turns,
    /// In its tenant's order of slow endpoints' turns.
    SlowTurns,
    /// Among those that wait for their host.
    Host,
}

/// A tenant with work.
#[derive(Debug)]
pub(crate) struct Tenant {
    /// Its name.
    pub(crate) id: TenantId,
    /// Its endpoints that could be given an attempt, in the order of their turns.
    pub(crate) turns: VecDeque<u32>,
    /// The same for those that are slow.
    pub(crate) slow_turns: VecDeque<u32>,
    /// Where it stands in the engine's own order of turns.
    pub(crate) rank: Rank,
    /// Since when, by a number that grows with each who comes.
    pub(crate) stamp: u64,
    /// How many attempts it gets at its turn.
    pub(crate) weight: u32,
    /// How many of them are left.
    pub(crate) quantum: u32,
    /// Whether the next turn is a slow endpoint's, where both wait.
    pub(crate) slow_next: bool,
    /// The latest attempt that may be given to others before this tenant's next one (I8).
    pub(crate) turn_by: u64,
    /// Attempts in flight, or whose payload is being read.
    pub(crate) in_flight: usize,
    /// How often its attempts start.
    pub(crate) rate: Option<Rate>,
    /// How far those that have started reach.
    pub(crate) pace: Pace,
    /// The end of its wait for its rate.
    pub(crate) paced_until: Timestamp,
    /// Places that hosts keep for its endpoints.
    pub(crate) kept: usize,
    endpoints: Vec<(EndpointId, u32)>,
}

impl Tenant {
    fn new(id: TenantId) -> Self {
        Self {
            id,
            turns: VecDeque::new(),
            slow_turns: VecDeque::new(),
            rank: Rank::Off,
            stamp: 0,
            weight: 1,
            quantum: 0,
            slow_next: false,
            turn_by: 0,
            in_flight: 0,
            rate: None,
            pace: Pace::default(),
            paced_until: Timestamp::ZERO,
            kept: 0,
            endpoints: Vec::with_capacity(1),
        }
    }

    /// How much it weighs from now on, in the limits of what makes sense; says by how many
    /// attempts that shortens the turn which it waits for or has.
    pub(crate) fn weigh(&mut self, weight: u32) -> u32 {
        self.weight = weight.clamp(1, WEIGHT_MAX);
        let shorter = self.quantum.saturating_sub(self.weight);
        self.quantum -= shorter;
        shorter
    }

    /// Whether an endpoint of it has a turn to wait for.
    pub(crate) fn has_turns(&self) -> bool {
        !self.turns.is_empty() || !self.slow_turns.is_empty()
    }
}

/// Whether the options of an endpoint are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asking {
    /// They are not.
    Not,
    /// They are going to be.
    Queued,
    /// They are.
    Ordered,
}

/// What few endpoints have: options that are not the usual ones.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    pub(crate) in_flight_max: Option<usize>,
    pub(crate) rate: Option<Rate>,
    /// How far the attempts that have started reach, at the rate.
    pub(crate) pace: Pace,
    pub(crate) schedule: Option<RetrySchedule>,
    /// When somebody last said that it is well again.
    pub(crate) lifted_at: Timestamp,
}

/// An endpoint with work.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Whose, by number.
    pub(crate) tenant: u32,
    /// Which of the tenant's endpoints.
    pub(crate) id: EndpointId,
    /// Ready deliveries that have not failed yet.
    pub(crate) fresh: List,
    /// Ready deliveries that are due again.
    pub(crate) retries: List,
    /// Deliveries in memory that count for the fresh lane, wherever they are.
    pub(crate) held_fresh: usize,
    /// Deliveries in memory that count for the retry lane and are not waiting.
    pub(crate) held_retries: usize,
    /// Deliveries that wait for their due time.
    pub(crate) waiting: usize,
    /// Deliveries whose payload is being read for an attempt, or whose attempt is in flight.
    pub(crate) in_flight: usize,
    /// No attempt before this time; [`Timestamp::ZERO`] where there is no hold.
    pub(crate) hold_until: Timestamp,
    /// The part of it that the endpoint or we have asked for, the breaker's own aside.
    pub(crate) asked_until: Timestamp,
    /// Whether the hold is so long that its deliveries wait in the store.
    pub(crate) parked: bool,
    /// The pause after failures that were ours.
    pub(crate) local: Pause,
    /// Fresh deliveries that went before waiting retries, since the last retry.
    pub(crate) fresh_in_a_row: u8,
    /// Where it waits for its turn.
    pub(crate) standing: Standing,
    /// Whether its turn came to nothing since it had as much in flight as was free for others. It
    /// gets another look when an attempt has ended.
    pub(crate) crowded: bool,
    /// Whether a host keeps a place for it.
    pub(crate) kept: bool,
    /// Whether its options are known; it gets no attempt before.
    pub(crate) told: bool,
    /// Whether its options are asked for.
    pub(crate) asking: Asking,
    /// Whether nothing is to be attempted.
    pub(crate) paused: bool,
    /// Whether its attempts take long.
    pub(crate) slow: bool,
    /// Whether somebody looks after a while whether it has ended an attempt.
    pub(crate) watched: bool,
    /// Whether its options will be asked for again after a while.
    pub(crate) refreshing: bool,
    /// How many alarms are set for it.
    pub(crate) alarms: u32,
    /// The next alarm for its pace; [`Timestamp::ZERO`] where there is none.
    pub(crate) pace_alarm: Timestamp,
    /// Who shares its receiver, by number; [`NOWHERE`] where nobody does.
    pub(crate) host: u32,
    /// Its place among those that wait for the host; 0 where it has none.
    pub(crate) ticket: u64,
    /// When an attempt last ended, or the first of several started.
    pub(crate) stirred_at: Timestamp,
    /// Since when it is among the troubled; [`Timestamp::ZERO`] where it is not.
    pub(crate) troubled_since: Timestamp,
    /// What its outcomes say about it.
    pub(crate) breaker: Breaker,
    /// How many attempts at a time it stands.
    pub(crate) congestion: Congestion,
    /// What its options limit, where they do.
    pub(crate) limits: Option<Box<Limits>>,
    /// The store has fresh deliveries from this event on that are not in memory.
    pub(crate) behind_from: Option<EventId>,
    /// Whether it waits for its backlog to be read.
    pub(crate) in_backlog_queue: bool,
    /// The read of its backlog that is under way.
    pub(crate) backlog_read: Option<Box<BacklogRead>>,
    /// The store has overdue retries that did not fit; the pass in which the last one did not.
    pub(crate) overdue_pass: Option<u32>,
}

/// A read of an endpoint's backlog that is under way.
#[derive(Debug, Default)]
pub(crate) struct BacklogRead {
    /// The smallest event that was left in the store since the read was ordered; the answer may
    /// be too old to have it.
    pub(crate) left_from: Option<EventId>,
    /// What the answer must not be believed about.
    pub(crate) guard: Guard<EventId>,
}

impl Endpoint {
    fn new(tenant: u32, id: EndpointId, in_flight_first: u32) -> Self {
        Self {
            tenant,
            id,
            fresh: List::EMPTY,
            retries: List::EMPTY,
            held_fresh: 0,
            held_retries: 0,
            waiting: 0,
            in_flight: 0,
            hold_until: Timestamp::ZERO,
            asked_until: Timestamp::ZERO,
            parked: false,
            local: Pause::default(),
            fresh_in_a_row: 0,
            standing: Standing::Off,
            crowded: false,
            kept: false,
            told: false,
            asking: Asking::Queued,
            paused: false,
            slow: false,
            watched: false,
            refreshing: false,
            alarms: 0,
            pace_alarm: Timestamp::ZERO,
            host: NOWHERE,
            ticket: 0,
            stirred_at: Timestamp::ZERO,
            troubled_since: Timestamp::ZERO,
            breaker: Breaker::HEALTHY,
            congestion: Congestion::new(in_flight_first),
            limits: None,
            behind_from: None,
            in_backlog_queue: false,
            backlog_read: None,
            overdue_pass: None,
        }
    }

    /// The deliveries that count for a lane.
    pub(crate) const fn held(&self, lane: Lane) -> usize {
        match lane {
            Lane::Fresh => self.held_fresh,
            Lane::Retry => self.held_retries,
        }
    }

    /// The same, to change it.
    pub(crate) const fn held_mut(&mut self, lane: Lane) -> &mut usize {
        match lane {
            Lane::Fresh => &mut self.held_fresh,
            Lane::Retry => &mut self.held_retries,
        }
    }

    /// The queue of a lane.
    pub(crate) const fn lane_mut(&mut self, lane: Lane) -> &mut List {
        match lane {
            Lane::Fresh => &mut self.fresh,
            Lane::Retry => &mut self.retries,
        }
    }

    /// Whether something is ready.
    pub(crate) const fn has_ready(&self) -> bool {
        !self.fresh.is_empty() || !self.retries.is_empty()
    }

    /// Whether it owes anything, in memory or in the store, as far as is known.
    pub(crate) const fn owes(&self) -> bool {
        self.held_fresh > 0
            || self.held_retries > 0
            || self.waiting > 0
            || self.behind_from.is_some()
            || self.overdue_pass.is_some()
    }

    /// Whether neither a rate nor a ramp spreads its attempts, as with nearly all.
    pub(crate) const fn has_no_pace(&self) -> bool {
        self.limits.is_none() && matches!(self.breaker, Breaker::Healthy { .. })
    }

    /// Whether it gets no attempt, or only one to see, for some time to come: what it owes is
    /// better kept by the store.
    pub(crate) fn is_shut(&self) -> bool {
        let waits = matches!(self.breaker.stage(), Some(Stage::Probing { .. }));
        self.paused || waits
    }

    /// When somebody last said that it is well again, as far as is known.
    pub(crate) fn lifted_at(&self) -> Timestamp {
        self.limits.as_ref().map_or(Timestamp::ZERO, |limits| limits.lifted_at)
    }

    /// From when on nothing is to be remembered of its pace.
    fn paced_until(&self) -> Timestamp {
        self.limits.as_ref().map_or(Timestamp::ZERO, |limits| limits.pace.end())
    }

    /// Whether it is known for something that the next attempt should know of.
    const fn is_troubled(&self) -> bool {
        self.slow || !matches!(self.breaker, Breaker::Healthy { failures: 0 })
    }

    fn is_idle(&self) -> bool {
        !self.owes()
            && self.hold_until.as_millis() == 0
            && self.standing == Standing::Off
            && matches!(self.asking, Asking::Not)
            && self.alarms == 0
            && !self.in_backlog_queue
            && self.backlog_read.is_none()
    }
}

/// All tenants and endpoints that are known at the moment.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    tenants: Slab<Tenant>,
    by_name: HashMap<TenantId, u32, FixedState>,
    endpoints: Slab<Endpoint>,
    /// Endpoints that had nothing left when somebody looked.
    idle: Vec<u32>,
    /// Endpoints whose options are to be asked for, in the order they came.
    pub(crate) askers: VecDeque<u32>,
    /// Receivers that endpoints share.
    pub(crate) hosts: Hosts,
    /// Endpoints that are paused, left alone or on their ramp, by the time since when.
    pub(crate) troubled: BTreeSet<(Timestamp, u32)>,
    /// How many attempts a new endpoint may have in flight.
    in_flight_first: u32,
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("memory ends long before 2^32 endpoints")
}

impl Directory {
    /// An empty one, whose endpoints begin with so many attempts in flight.
    pub(crate) fn new(in_flight_first: usize) -> Self {
        let in_flight_first = u32::try_from(in_flight_first).unwrap_or(u32::MAX);
        Self { in_flight_first, ..Self::default() }
    }

    /// How many endpoints are known.
    pub(crate) fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// The number of an endpoint, which is made known if it was not.
    pub(crate) fn intern(&mut self, tenant: &TenantId, endpoint: EndpointId) -> u32 {
        let owner = self.by_name.get(tenant).copied().unwrap_or_else(|| {
            let owner = number(self.tenants.insert(Tenant::new(tenant.clone())));
            self.by_name.insert(tenant.clone(), owner);
            owner
        });
        let known = &mut self.tenants[owner as usize].endpoints;
        if let Some((_, found)) = known.iter().find(|(id, _)| *id == endpoint) {
            return *found;
        }
        let new = Endpoint::new(owner, endpoint, self.in_flight_first);
        let made = number(self.endpoints.insert(new));
        known.push((endpoint, made));
        self.askers.push_back(made);
        made
    }

    /// The number of an endpoint, if it is known.
    pub(crate) fn find(&self, tenant: &TenantId, endpoint: EndpointId) -> Option<u32> {
        let owner = self.by_name.get(tenant)?;
        let known = &self.tenants[*owner as usize].endpoints;
        known.iter().find(|(id, _)| *id == endpoint).map(|(_, found)| *found)
    }

    /// The tenant of this number.
    pub(crate) fn tenant(&self, tenant: u32) -> &Tenant {
        &self.tenants[tenant as usize]
    }

    /// The same, to change it.
    pub(crate) fn tenant_mut(&mut self, tenant: u32) -> &mut Tenant {
        &mut self.tenants[tenant as usize]
    }

    /// An endpoint of this number, if there is one.
    pub(crate) fn find_endpoint(&mut self, endpoint: u32) -> Option<&mut Endpoint> {
        self.endpoints.get_mut(endpoint as usize)
    }

    /// A tenant of this number, if there is one.
    pub(crate) fn find_tenant(&mut self, tenant: u32) -> Option<&mut Tenant> {
        self.tenants.get_mut(tenant as usize)
    }

    /// Notes that an endpoint may have nothing left. It stays known until
    /// [`Directory::release_idle`], so that a step under way may still use its number. Says when
    /// to note it again, where it is idle but for its pace or its tenant's, or for its trouble.
    pub(crate) fn note_idle(&mut self, endpoint: u32, now: Timestamp) -> Option<Timestamp> {
        if self.endpoints.len() <= IDLE_KEPT_MAX || !self[endpoint].is_idle() {
            return None;
        }
        let kept_until = self.kept_until(endpoint);
        if kept_until > now {
            return Some(kept_until);
        }
        self.idle.push(endpoint);
        None
    }

    /// From when on nothing is to be remembered of it.
    fn kept_until(&self, endpoint: u32) -> Timestamp {
        let known = &self[endpoint];
        let paced_until = known.paced_until().max(self.tenant(known.tenant).pace.end());
        if !known.is_troubled() || self.endpoints.len() > TROUBLED_KEPT_MAX {
            return paced_until;
        }
        paced_until.max(known.stirred_at.plus_millis(TROUBLE_KEPT_MS))
    }

    /// Forgets endpoints that have nothing left, unless few are known; with them their tenants.
    pub(crate) fn release_idle(&mut self, now: Timestamp) {
        while let Some(endpoint) = self.idle.pop() {
            // It may be gone by now, or known again, or somebody else's number.
            let idle = self.endpoints.get(endpoint as usize).is_some_and(Endpoint::is_idle);
            if !idle || self.endpoints.len() <= IDLE_KEPT_MAX || self.kept_until(endpoint) > now {
                continue;
            }
            let gone = self.endpoints.remove(endpoint as usize);
            self.hosts.leave(gone.host);
            self.troubled.remove(&(gone.troubled_since, endpoint));
            let tenant = &mut self.tenants[gone.tenant as usize];
            tenant.endpoints.retain(|(id, _)| *id != gone.id);
            // An idle endpoint waits for no turn, so a tenant without endpoints does not either.
            if tenant.endpoints.is_empty() {
                let tenant = self.tenants.remove(gone.tenant as usize);
                self.by_name.remove(&tenant.id);
            }
        }
    }

    /// All endpoints, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Endpoint)> {
        self.endpoints.iter().map(|(index, endpoint)| (number(index), endpoint))
    }

    /// All tenants, by number.
    pub(crate) fn tenants(&self) -> impl Iterator<Item = (u32, &Tenant)> {
        self.tenants.iter().map(|(index, tenant)| (number(index), tenant))
    }
}

impl std::ops::Index<u32> for Directory {
    type Output = Endpoint;

    fn index(&self, endpoint: u32) -> &Endpoint {
        &self.endpoints[endpoint as usize]
    }
}

impl std::ops::IndexMut<u32> for Directory {
    fn index_mut(&mut self, endpoint: u32) -> &mut Endpoint {
        &mut self.endpoints[endpoint as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A million endpoints with work must stay below half a gigabyte.
    #[test]
    fn an_endpoint_and_its_tenant_are_small() {
        let (endpoint, tenant) = (size_of::<Endpoint>(), size_of::<Tenant>());
        assert!(endpoint <= 256 && tenant <= 192, "{endpoint} and {tenant} bytes");
    }
}

//! Whose turn it is: deficit round robin over the tenants that have ready work, by their weight,
//! then over the tenant's endpoints in turn, fresh deliveries before retries but for every fourth.
//!
//! A tenant stands in the order of turns exactly while one of its endpoints could be given an
//! attempt. At its turn it gets as many as it weighs, then it goes to the back; so between two of
//! its turns every other tenant gets at most as many as that one weighs (I8). Finding the next
//! costs the same with ten tenants and with ten thousand.
//!
//! Tenants that only have slow endpoints to attempt stand in an order of their own, which is
//! passed over while slow endpoints have all that they may (see `places`); else whoever has waited
//! for longest goes first, whichever order that is in.
//!
//! An attempt whose payload must be read first takes its place within the caps already.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use posthaste_domain::Timestamp;

use super::Engine;
use super::admit::due_of;
use crate::breaker::Stage;
use crate::directory::{Rank, Standing};
use crate::pause::Pause;
use crate::table::{Lane, Place};
use crate::{Effect, Invariant};

/// Fresh deliveries that go before a retry while both wait: a quarter is for retries.
const FRESH_IN_A_ROW_MAX: u8 = 3;
/// When attempts to so many endpoints fail by our own fault and none gets through in between, it
/// is the process that is ill (no resolver, no egress): attempts pause, and then go out one at a
/// time until one gets through. One endpoint alone, whose name server is broken, never gets there.
const LOCAL_FAULTS_MAX: usize = 20;

/// The order of turns.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// Tenants with an endpoint that could be given an attempt.
    pub(crate) ring: VecDeque<u32>,
    /// Tenants whose endpoints that could be given one are all slow, by their stamp.
    pub(crate) slow: BTreeMap<u64, u32>,
    /// The stamp of the last who came.
    stamp: u64,
    /// Attempts given so far.
    pub(crate) given: u64,
    /// Attempts that those in either order, or being served, have left of their turns.
    pub(crate) queued: u64,
    /// Endpoints whose attempts have failed by our own fault since the last one got through.
    pub(crate) local_faults: BTreeSet<u32>,
    /// While the process is ill.
    pub(crate) pause: Pause,
}

impl Engine {
    /// Gives out attempts while the caps allow.
    pub(super) fn dispatch(&mut self) {
        while self.may_start_one() {
            let Some(tenant) = self.next_tenant() else { return };
            self.give_tenant_turn(tenant);
        }
    }

    fn may_start_one(&self) -> bool {
        self.levels.in_flight + self.levels.loading < self.in_flight_limit()
            && self.levels.settling < self.settings.settling_max
            && self.turns.pause.lasts(self.now).is_none()
    }

    fn in_flight_limit(&self) -> usize {
        let ill = self.turns.local_faults.len() >= LOCAL_FAULTS_MAX;
        if ill { 1 } else { self.settings.in_flight_max }
    }

    /// Takes whoever has waited for longest out of the order of turns.
    fn next_tenant(&mut self) -> Option<u32> {
        let quick = self.turns.ring.front().copied();
        let slow = if self.turns.slow.is_empty() || !self.slow_is_open() {
            None
        } else {
            self.turns.slow.first_key_value().map(|(stamp, tenant)| (*stamp, *tenant))
        };
        let tenant = match (quick, slow) {
            (Some(quick), Some((stamp, _))) if self.directory.tenant(quick).stamp < stamp => quick,
            (_, Some((stamp, tenant))) => {
                self.turns.slow.remove(&stamp);
                self.take_off(tenant);
                return Some(tenant);
            }
            (Some(quick), None) => quick,
            (None, None) => return None,
        };
        self.turns.ring.pop_front();
        self.take_off(tenant);
        Some(tenant)
    }

    /// A tenant is in no order any more; it counts as if it were while it is served.
    fn take_off(&mut self, tenant: u32) {
        let known = self.directory.tenant_mut(tenant);
        if known.rank == Rank::Slow {
            // The order of slow endpoints is passed over at times, so nothing is promised there.
            known.turn_by = u64::MAX;
        }
        known.rank = Rank::Quick;
    }

    /// One attempt for a tenant that has been taken out of the order; then it queues up again.
    fn give_tenant_turn(&mut self, tenant: u32) {
        if self.set_aside(tenant) {
            return;
        }
        let mut given = false;
        while !given {
            let Some(endpoint) = self.next_endpoint(tenant) else { break };
            given = self.give_endpoint_turn(endpoint);
        }
        let known = self.directory.tenant_mut(tenant);
        known.rank = Rank::Off;
        if !known.has_turns() {
            self.turns.queued -= u64::from(std::mem::take(&mut known.quantum));
        } else if given && known.quantum > 0 {
            // Nobody but those with slow endpoints, who could not go for a while, comes before it.
            known.turn_by = self.turns.given + self.turns.queued - u64::from(known.quantum);
            self.go_on(tenant);
        } else {
            self.queue_tenant(tenant);
        }
    }

    /// The next of a tenant's endpoints; a slow one only while there is a place for it.
    fn next_endpoint(&mut self, tenant: u32) -> Option<u32> {
        let open = self.slow_is_open();
        let known = self.directory.tenant_mut(tenant);
        let slow =
            open && !known.slow_turns.is_empty() && (known.slow_next || known.turns.is_empty());
        known.slow_next = !slow;
        let turns = if slow { &mut known.slow_turns } else { &mut known.turns };
        turns.pop_front()
    }

    /// One attempt for an endpoint whose turn it is, if it still can be made; says whether.
    fn give_endpoint_turn(&mut self, endpoint: u32) -> bool {
        self.directory[endpoint].standing = Standing::Off;
        let able = self.is_able(endpoint) && !self.waits_for_pace(endpoint);
        if !able || self.waits_for_place(endpoint) {
            if !able {
                self.directory[endpoint].ticket = 0;
                self.refresh_shut(endpoint);
            }
            self.give_back_place(endpoint);
            self.note_idle(endpoint);
            return false;
        }
        let tenant = self.directory[endpoint].tenant;
        let known = self.directory.tenant_mut(tenant);
        known.quantum -= 1;
        self.turns.queued -= 1;
        let in_time = self.turns.given <= known.turn_by;
        self.observe(Invariant::FairTurns, in_time);
        self.turns.given += 1;
        self.give_turn(endpoint);
        self.join_turns(endpoint);
        self.note_idle(endpoint);
        true
    }

    /// To the back of the order, with a full turn to come.
    pub(super) fn queue_tenant(&mut self, tenant: u32) {
        self.turns.stamp += 1;
        let (stamp, turn_by) = (self.turns.stamp, self.turns.given + self.turns.queued);
        let known = self.directory.tenant_mut(tenant);
        let left = u64::from(known.quantum);
        (known.stamp, known.turn_by, known.quantum) = (stamp, turn_by, known.weight);
        self.turns.queued = self.turns.queued - left + u64::from(known.quantum);
        if known.turns.is_empty() {
            known.rank = Rank::Slow;
            self.turns.slow.insert(stamp, tenant);
        } else {
            known.rank = Rank::Quick;
            self.turns.ring.push_back(tenant);
        }
    }

    /// To the front of the order, with the rest of its turn.
    fn go_on(&mut self, tenant: u32) {
        let known = self.directory.tenant_mut(tenant);
        if known.turns.is_empty() {
            known.rank = Rank::Slow;
            self.turns.slow.insert(known.stamp, tenant);
        } else {
            known.rank = Rank::Quick;
            self.turns.ring.push_front(tenant);
        }
    }

    /// Puts an endpoint in its tenant's order of turns, and the tenant into that of all.
    pub(super) fn stand_in_turns(&mut self, endpoint: u32) {
        let known = &mut self.directory[endpoint];
        let (number, slow) = (known.tenant, known.slow);
        known.standing = if slow { Standing::SlowTurns } else { Standing::Turns };
        let tenant = self.directory.tenant_mut(number);
        let turns = if slow { &mut tenant.slow_turns } else { &mut tenant.turns };
        turns.push_back(endpoint);
        match tenant.rank {
            Rank::Off => self.queue_tenant(number),
            Rank::Slow if !slow => {
                self.turns.slow.remove(&tenant.stamp);
                self.queue_tenant(number);
            }
            Rank::Quick | Rank::Slow | Rank::Full | Rank::Paced => {}
        }
    }

    /// How many attempts an endpoint may have in flight at the moment.
    pub(super) fn in_flight_limit_of(&self, endpoint: u32) -> usize {
        let known = &self.directory[endpoint];
        let most = self.settings.in_flight_per_endpoint_max;
        let wanted = known.limits.as_ref().and_then(|limits| limits.in_flight_max);
        let most = wanted.map_or(most, |wanted| wanted.clamp(1, most));
        match known.breaker.stage() {
            None | Some(Stage::Ramp { .. }) => most.min(known.congestion.limit() as usize),
            Some(Stage::Tripped { .. }) => 0,
            Some(Stage::Probing { .. }) => 1,
            Some(Stage::GivenUp) => most.min(self.settings.in_flight_first),
        }
    }

    /// Whether an endpoint could be given an attempt now, as far as it alone is concerned.
    pub(crate) fn is_able(&self, endpoint: u32) -> bool {
        let known = &self.directory[endpoint];
        known.has_ready()
            && known.told
            && !known.paused
            && known.hold_until <= self.now
            && known.in_flight < self.in_flight_limit_of(endpoint)
    }

    /// Whether an endpoint could be given an attempt now, caps of the process aside.
    pub(crate) fn could_start(&self, endpoint: u32) -> bool {
        let known = &self.directory[endpoint];
        let tenant = self.directory.tenant(known.tenant);
        self.is_able(endpoint)
            && !known.crowded
            && known.standing != Standing::Host
            && self.pace_end(endpoint).is_none()
            && !matches!(tenant.rank, Rank::Full | Rank::Paced)
            && (!known.slow || self.slow_is_open())
    }

    /// Puts an endpoint where it waits for its turn, if it could be given an attempt.
    pub(super) fn join_turns(&mut self, endpoint: u32) {
        if self.directory[endpoint].standing != Standing::Off {
            return;
        }
        if !self.is_able(endpoint) {
            return self.refresh_shut(endpoint);
        }
        if self.waits_for_pace(endpoint) || self.waits_for_host(endpoint) {
            return;
        }
        self.stand_in_turns(endpoint);
    }

    /// Starts the next delivery of an endpoint, or the reading of its payload.
    fn give_turn(&mut self, endpoint: u32) {
        self.enter_flight(endpoint);
        let lane = self.next_lane(endpoint);
        let known = &mut self.directory[endpoint];
        let slot = known.lane_mut(lane).pop_front(&mut self.table);
        let slot = slot.expect("next_lane names a lane that is not empty");
        self.levels.ready -= 1;
        if self.table[slot].payload.is_some() {
            self.start_attempt(slot);
        } else {
            self.table[slot].place = Place::Loading;
            self.levels.loading += 1;
            let (delivery, key) = (self.table.handle(slot), self.key(slot));
            self.effects.push_back(Effect::LoadPayload { delivery, key });
        }
    }

    fn next_lane(&mut self, endpoint: u32) -> Lane {
        let known = &mut self.directory[endpoint];
        match (known.fresh.is_empty(), known.retries.is_empty()) {
            (false, true) => Lane::Fresh,
            (true, _) => Lane::Retry,
            (false, false) if known.fresh_in_a_row >= FRESH_IN_A_ROW_MAX => {
                known.fresh_in_a_row = 0;
                Lane::Retry
            }
            (false, false) => {
                known.fresh_in_a_row += 1;
                Lane::Fresh
            }
        }
    }

    /// Starts the attempt of a delivery that has its payload and its place within the caps.
    pub(super) fn start_attempt(&mut self, slot: u32) {
        self.levels.in_flight += 1;
        self.counted.attempts += 1;
        let entry = &mut self.table[slot];
        entry.place = Place::InFlight;
        let (due, endpoint, round) = (due_of(entry), entry.endpoint, entry.round);
        let ready_at = std::mem::replace(&mut entry.since, self.now);
        let number = entry.attempts.saturating_add(1);
        let payload = entry.payload.clone().expect("the caller has seen the payload");
        let hold_until = self.directory[endpoint].hold_until;
        self.observe(Invariant::NeverEarly, due <= self.now && hold_until <= self.now);
        self.observe(Invariant::NoAttemptAfterDrain, !self.draining);
        self.observe(Invariant::LeftAlone, self.may_be_attempted(endpoint));
        self.keep_pace(endpoint);
        self.watch(endpoint);
        let (delivery, key) = (self.table.handle(slot), self.key(slot));
        self.effects.push_back(Effect::Attempt { delivery, key, round, number, payload, ready_at });
    }

    /// Whether an endpoint whose attempt has a place may have it.
    fn may_be_attempted(&self, endpoint: u32) -> bool {
        let known = &self.directory[endpoint];
        match known.breaker.stage() {
            _ if known.paused => false,
            Some(Stage::Tripped { .. }) => false,
            Some(Stage::Probing { .. }) => known.in_flight == 1,
            Some(Stage::Ramp { .. } | Stage::GivenUp) | None => true,
        }
    }

    /// Whether an attempt whose payload has just been read may still start.
    pub(super) fn may_go_on(&self, endpoint: u32) -> bool {
        let known = &self.directory[endpoint];
        !self.draining
            && known.hold_until <= self.now
            // It has its place, unless it may have fewer by now.
            && known.in_flight <= self.in_flight_limit_of(endpoint)
            && (!known.slow || !self.slow_have_too_many())
            && self.may_be_attempted(endpoint)
            && self.pace_end(endpoint).is_none()
            && self.tenant_pace_end(known.tenant).is_none()
            && self.turns.pause.lasts(self.now).is_none()
    }

    /// When turns go on, where only a pause keeps them.
    pub(super) fn turns_wakeup(&self) -> Option<Timestamp> {
        let waits = !self.turns.ring.is_empty() || !self.turns.slow.is_empty();
        self.turns.pause.lasts(self.now).filter(|_| waits)
    }

    /// Notes a failure that was ours, at this endpoint and in the process.
    pub(super) fn note_local_fault(&mut self, endpoint: u32) {
        self.hold_after_local_fault(endpoint);
        let backoff = self.settings.not_charged_backoff;
        if self.turns.local_faults.len() < LOCAL_FAULTS_MAX {
            self.turns.local_faults.insert(endpoint);
        }
        if self.turns.local_faults.len() >= LOCAL_FAULTS_MAX {
            self.turns.pause.failed(self.now, backoff);
        }
    }

    /// No attempt to this endpoint for a while, since what we know of it was no use.
    pub(super) fn hold_after_local_fault(&mut self, endpoint: u32) {
        let backoff = self.settings.not_charged_backoff;
        let until = self.directory[endpoint].local.failed(self.now, backoff);
        self.set_hold(endpoint, until);
    }

    /// Notes that an attempt got through to an answer that is the endpoint's.
    pub(super) fn note_no_local_fault(&mut self, endpoint: u32) {
        self.directory[endpoint].local.worked();
        if !self.turns.local_faults.is_empty() {
            self.turns.local_faults.clear();
            self.turns.pause.worked();
        }
    }
}

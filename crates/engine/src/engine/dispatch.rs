//! Whose turn it is: attempts go round over the tenants that have ready work, then over the
//! tenant's endpoints, fresh deliveries before retries but for every fourth.
//!
//! A tenant stands in the order of turns exactly while one of its endpoints could be given an
//! attempt, and at the back after each one, so between two of its attempts every other tenant gets
//! at most one (I8). Finding the next costs the same with ten tenants and with ten thousand.
//! An attempt whose payload must be read first takes its place within the caps already.

use std::collections::{BTreeSet, VecDeque};

use posthaste_domain::Timestamp;

use super::Engine;
use super::admit::due_of;
use crate::pause::Pause;
use crate::table::{Lane, Place};
use crate::{Effect, Invariant};

/// Fresh deliveries that go before a retry while both wait: a quarter is for retries.
const FRESH_IN_A_ROW_MAX: u8 = 3;
/// When attempts to so many endpoints fail by our own fault and none gets through in between, it
/// is the process that is ill (no resolver, no egress): attempts pause, and then go out one at a
/// time until one gets through. One endpoint alone, whose name server is broken, never gets there.
const LOCAL_FAULTS_MAX: usize = 20;

/// A hold that lasts so long, in milliseconds, is worth reading again afterwards what its endpoint
/// had in memory; a shorter one ends before somebody misses the room.
const PARKED_MS_MIN: u64 = 10_000;

/// The order of turns.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// Tenants with an endpoint that could be given an attempt.
    pub(crate) ring: VecDeque<u32>,
    /// Attempts given so far.
    pub(crate) given: u64,
    /// Endpoints whose attempts have failed by our own fault since the last one got through.
    pub(crate) local_faults: BTreeSet<u32>,
    /// While the process is ill.
    pub(crate) pause: Pause,
}

impl Engine {
    /// Gives out attempts while the caps allow.
    pub(super) fn dispatch(&mut self) {
        while self.may_start_one() {
            let Some(tenant) = self.turns.ring.pop_front() else { return };
            self.give_tenant_turn(tenant);
        }
    }

    fn may_start_one(&self) -> bool {
        self.levels.in_flight + self.levels.loading < self.in_flight_limit()
            && self.levels.settling < self.settings.settling_max
            && !self.turns.ring.is_empty()
            && self.turns.pause.lasts(self.now).is_none()
    }

    fn in_flight_limit(&self) -> usize {
        let ill = self.turns.local_faults.len() >= LOCAL_FAULTS_MAX;
        if ill { 1 } else { self.settings.in_flight_max }
    }

    /// One attempt for a tenant that has been taken off the ring; then it queues up again.
    fn give_tenant_turn(&mut self, tenant: u32) {
        while let Some(endpoint) = self.directory.tenant_mut(tenant).turns.pop_front() {
            self.directory[endpoint].on_ring = false;
            let able = self.could_start(endpoint);
            if able {
                let in_time = self.turns.given <= self.directory.tenant(tenant).turn_by;
                self.observe(Invariant::FairTurns, in_time);
                self.turns.given += 1;
                self.give_turn(endpoint);
                self.join_turns(endpoint);
            }
            self.directory.note_idle(endpoint);
            if able {
                break;
            }
        }
        let queue_up = !self.directory.tenant(tenant).turns.is_empty();
        self.directory.tenant_mut(tenant).on_ring = queue_up;
        if queue_up {
            self.queue_tenant(tenant);
        }
    }

    fn queue_tenant(&mut self, tenant: u32) {
        self.directory.tenant_mut(tenant).turn_by = self.turns.given + self.turns.ring.len() as u64;
        self.turns.ring.push_back(tenant);
    }

    /// Whether an endpoint could be given an attempt now, caps of the process aside.
    pub(crate) fn could_start(&self, endpoint: u32) -> bool {
        let known = &self.directory[endpoint];
        known.has_ready()
            && known.in_flight < self.settings.in_flight_per_endpoint_max
            && known.hold_until <= self.now
    }

    /// Puts an endpoint in the order of turns if it could be given an attempt.
    pub(super) fn join_turns(&mut self, endpoint: u32) {
        if self.directory[endpoint].on_ring || !self.could_start(endpoint) {
            return;
        }
        self.directory[endpoint].on_ring = true;
        let number = self.directory[endpoint].tenant;
        let tenant = self.directory.tenant_mut(number);
        tenant.turns.push_back(endpoint);
        if !std::mem::replace(&mut tenant.on_ring, true) {
            self.queue_tenant(number);
        }
    }

    /// Starts the next delivery of an endpoint, or the reading of its payload.
    fn give_turn(&mut self, endpoint: u32) {
        let lane = self.next_lane(endpoint);
        let known = &mut self.directory[endpoint];
        let slot = known.lane_mut(lane).pop_front(&mut self.table);
        let slot = slot.expect("next_lane names a lane that is not empty");
        known.in_flight += 1;
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
        let due = due_of(entry);
        let (round, ready_at) = (entry.round, entry.ready_at);
        let number = entry.attempts.saturating_add(1);
        let hold_until = self.directory[entry.endpoint].hold_until;
        let payload = entry.payload.clone().expect("the caller has seen the payload");
        self.observe(Invariant::NeverEarly, due <= self.now && hold_until <= self.now);
        self.observe(Invariant::NoAttemptAfterDrain, !self.draining);
        let (delivery, key) = (self.table.handle(slot), self.key(slot));
        self.effects.push_back(Effect::Attempt { delivery, key, round, number, payload, ready_at });
    }

    /// Whether an attempt whose payload has just been read may still start.
    pub(super) fn may_go_on(&self, endpoint: u32) -> bool {
        !self.draining
            && self.directory[endpoint].hold_until <= self.now
            && self.turns.pause.lasts(self.now).is_none()
    }

    /// No attempt to this endpoint before `until`.
    pub(super) fn set_hold(&mut self, endpoint: u32, until: Timestamp) {
        let known = &mut self.directory[endpoint];
        if until <= known.hold_until.max(self.now) {
            return;
        }
        self.holds.remove(&(known.hold_until, endpoint));
        known.hold_until = until;
        self.holds.insert((until, endpoint));
        if until.millis_since(self.now) >= PARKED_MS_MIN {
            self.park(endpoint);
        }
    }

    /// Ends the holds whose time has come.
    pub(super) fn end_holds(&mut self) {
        while let Some((until, endpoint)) = self.holds.first().copied()
            && until <= self.now
        {
            self.holds.remove(&(until, endpoint));
            self.directory[endpoint].hold_until = Timestamp::ZERO;
            self.join_turns(endpoint);
            if std::mem::take(&mut self.directory[endpoint].parked) {
                self.look_again(endpoint);
            }
            self.directory.note_idle(endpoint);
        }
    }

    /// An endpoint may hold more again, although nothing has come in.
    fn look_again(&mut self, endpoint: u32) {
        self.queue_backlog_when_low(endpoint);
        self.backlogs.unseen = self.backlogs.queue.len();
        self.overdue.stirred = true;
    }

    /// When turns go on, where only a pause keeps them.
    pub(super) fn turns_wakeup(&self) -> Option<Timestamp> {
        let waits = !self.turns.ring.is_empty();
        self.turns.pause.lasts(self.now).filter(|_| waits)
    }

    /// Notes a failure that was ours, at this endpoint and in the process.
    pub(super) fn note_local_fault(&mut self, endpoint: u32) {
        let backoff = self.settings.not_charged_backoff;
        let until = self.directory[endpoint].local.failed(self.now, backoff);
        self.set_hold(endpoint, until);
        if self.turns.local_faults.len() < LOCAL_FAULTS_MAX {
            self.turns.local_faults.insert(endpoint);
        }
        if self.turns.local_faults.len() >= LOCAL_FAULTS_MAX {
            self.turns.pause.failed(self.now, backoff);
        }
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

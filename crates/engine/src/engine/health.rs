//! What an endpoint's options and outcomes make of it: paused, left alone, tried, taken up again.
//!
//! A hold, whatever it is for, keeps what the endpoint is owed; where it lasts, all but the first
//! of each lane is kept by the store alone. Options are asked for once when an endpoint becomes
//! known, and again now and then while it is shut, so that nobody who resumes or lifts one has to
//! wait until the engine hears of it by another way.

use posthaste_domain::{Attempt, EndpointId, TenantId, Timestamp};

use super::Engine;
use super::places::Alarm;
use crate::breaker::{Breaker, Change, Moment, RAMP_MS, Sign, Stage};
use crate::directory::{Asking, Limits};
use crate::{Effect, Options};

/// A hold that lasts so long, in milliseconds, is worth reading again afterwards what its endpoint
/// had in memory; a shorter one ends before somebody misses the room.
const PARKED_MS_MIN: u64 = 10_000;

impl Engine {
    /// Orders reads of options for endpoints that wait for them, while there is room.
    pub(super) fn order_options_reads(&mut self) {
        while self.options_reads < self.settings.options_reads_max
            && let Some(endpoint) = self.directory.askers.pop_front()
        {
            // It may have been told in the meantime.
            let Some(known) = self.directory.find_endpoint(endpoint) else { continue };
            if known.asking != Asking::Queued {
                continue;
            }
            known.asking = Asking::Ordered;
            self.options_reads += 1;
            let known = &self.directory[endpoint];
            let tenant = self.directory.tenant(known.tenant).id.clone();
            self.effects.push_back(Effect::ReadOptions { tenant, endpoint: known.id });
        }
    }

    fn ask_options(&mut self, endpoint: u32) {
        if self.directory[endpoint].asking == Asking::Not {
            self.directory[endpoint].asking = Asking::Queued;
            self.directory.askers.push_back(endpoint);
        }
    }

    /// The options could not be read for now. Only this endpoint waits for that: it may be a row
    /// of its own that is wrong.
    pub(super) fn options_read_failed(&mut self, endpoint: u32) {
        if self.directory[endpoint].asking == Asking::Ordered {
            self.end_options_read(endpoint);
            self.counted.store_failures += 1;
            let backoff = self.settings.store_backoff;
            let until = self.directory[endpoint].local.failed(self.now, backoff);
            self.refresh_options_at(endpoint, until);
        }
    }

    /// Ends the read of options that is under way, where one is.
    pub(super) fn end_options_read(&mut self, endpoint: u32) {
        let asking = std::mem::replace(&mut self.directory[endpoint].asking, Asking::Not);
        self.options_reads -= usize::from(asking == Asking::Ordered);
    }

    /// Takes in how an endpoint is to be attempted from now on.
    pub(super) fn options_read(
        &mut self,
        tenant: &TenantId,
        endpoint: EndpointId,
        options: Options,
    ) {
        let Some(endpoint) = self.directory.find(tenant, endpoint) else { return };
        self.end_options_read(endpoint);
        self.move_to_host(endpoint, options.host);
        let owner = self.directory[endpoint].tenant;
        let known = self.directory.tenant_mut(owner);
        self.turns.queued -= u64::from(known.weigh(options.weight));
        if known.rate != options.tenant_rate {
            known.rate = options.tenant_rate;
            known.pace.hasten(self.now, options.tenant_rate);
            self.end_tenant_pace(owner);
        }
        let (paused, lifted_at) = (options.paused, options.lifted_at);
        let known = &mut self.directory[endpoint];
        if !std::mem::replace(&mut known.told, true) {
            known.local.worked();
        }
        let lifted_before = known.lifted_at();
        set_limits(&mut known.limits, options, self.now);
        let was_paused = std::mem::replace(&mut known.paused, paused);
        if paused && !was_paused {
            self.park(endpoint);
        }
        if was_paused && !paused {
            self.directory[endpoint].breaker.ramp(self.now);
            self.change(endpoint, Change::Ramps);
        } else if lifted_at > lifted_before {
            self.lift_since(endpoint, lifted_at);
        }
        self.note_trouble(endpoint);
        self.join_turns(endpoint);
        self.note_idle(endpoint);
    }

    /// An endpoint shares its receiver with others from now on.
    fn move_to_host(&mut self, endpoint: u32, name: u64) {
        let known = &mut self.directory[endpoint];
        let (old, in_flight) = (known.host, known.in_flight);
        if self.directory.hosts.name(old) == name {
            return;
        }
        self.give_back_place(endpoint);
        self.stop_waiting_for_host(endpoint);
        if let Some(host) = self.directory.hosts.find_mut(old) {
            host.in_flight -= in_flight;
        }
        self.call_waiting(old);
        self.directory.hosts.leave(old);
        let new = self.directory.hosts.join(name);
        self.directory[endpoint].host = new;
        if let Some(host) = self.directory.hosts.find_mut(new) {
            host.in_flight += in_flight;
        }
    }

    /// Lifts the breaker of an endpoint, if it has tripped.
    pub(super) fn lift(&mut self, endpoint: u32) {
        let trips = matches!(
            self.directory[endpoint].breaker.stage(),
            Some(Stage::Tripped { .. } | Stage::Probing { .. } | Stage::GivenUp)
        );
        if trips {
            self.directory[endpoint].breaker.ramp(self.now);
            self.change(endpoint, Change::Ramps);
            self.join_turns(endpoint);
        }
    }

    fn lift_since(&mut self, endpoint: u32, lifted_at: Timestamp) {
        if let Breaker::Troubled(trouble) = &self.directory[endpoint].breaker
            && lifted_at > trouble.since
        {
            self.lift(endpoint);
        }
    }

    /// Takes in what an attempt says about its endpoint, of which `in_flight` were in flight.
    pub(super) fn note_outcome(
        &mut self,
        endpoint: u32,
        attempt: &Attempt,
        started: Timestamp,
        in_flight: usize,
    ) {
        let (now, sign) = (self.now, Sign::of(attempt));
        let us = attempt.phases.total_us.max(attempt.duration_ms.saturating_mul(1_000));
        let known = &mut self.directory[endpoint];
        known.stirred_at = now;
        // A failure that comes quickly says nothing about how long an answer takes.
        if sign == Sign::Well || us >= known.congestion.latency_us() {
            known.congestion.took(us);
        }
        match sign {
            Sign::Well => {
                let number = |count| u32::try_from(count).unwrap_or(u32::MAX);
                let most = number(self.settings.in_flight_per_endpoint_max);
                known.congestion.well(number(in_flight), most, started, now);
            }
            Sign::Ill | Sign::Busy => known.congestion.ill(started, now),
            Sign::Answers | Sign::Silent => {}
        }
        let slow = u64::from(known.congestion.latency_us()) >= self.settings.slow_ms * 1_000;
        if slow != known.slow {
            self.set_slow(endpoint, slow);
        }
        let known = &mut self.directory[endpoint];
        // Nothing to decide, as after nearly all attempts: chance is drawn only where it matters.
        if sign == Sign::Well && matches!(known.breaker, Breaker::Healthy { failures: 0 }) {
            return;
        }
        let moment = Moment { started, now, chance: self.chance.draw() };
        if let Some(change) = known.breaker.hear(sign, moment, &self.settings) {
            self.change(endpoint, change);
        }
    }

    /// Acts on what has changed for an endpoint.
    fn change(&mut self, endpoint: u32, change: Change) {
        match change {
            Change::Trips(until) => {
                self.counted.trips += 1;
                self.raise_hold(endpoint, until);
                self.refresh_options_later(endpoint);
            }
            Change::Ramps => {
                self.directory[endpoint].congestion.restart(self.now);
                self.set_alarm(endpoint, Alarm::Ramp, self.now.plus_millis(RAMP_MS));
                self.end_breakers_hold(endpoint);
                self.unpark(endpoint);
            }
            Change::GivesUp => self.unpark(endpoint),
        }
        self.note_trouble(endpoint);
    }

    /// A ramp may be over.
    pub(super) fn end_ramp(&mut self, endpoint: u32) {
        if self.directory[endpoint].breaker.end_ramp(self.now) {
            self.note_trouble(endpoint);
            self.join_turns(endpoint);
        }
    }

    /// Keeps the list of those in trouble.
    fn note_trouble(&mut self, endpoint: u32) {
        let known = &mut self.directory[endpoint];
        let before = known.troubled_since;
        let since = match &known.breaker {
            Breaker::Troubled(trouble) => trouble.since,
            Breaker::Healthy { .. } if !known.paused => Timestamp::ZERO,
            Breaker::Healthy { .. } if before == Timestamp::ZERO => self.now,
            Breaker::Healthy { .. } => before,
        };
        known.troubled_since = since;
        if since != before {
            self.directory.troubled.remove(&(before, endpoint));
            if since != Timestamp::ZERO {
                self.directory.troubled.insert((since, endpoint));
            }
        }
    }

    /// Sees to it that the options of an endpoint that is left alone are asked for again, and those
    /// that could not be read; to be called whenever it is found to owe something.
    pub(super) fn refresh_shut(&mut self, endpoint: u32) {
        let known = &self.directory[endpoint];
        if known.is_shut() || matches!(known.breaker.stage(), Some(Stage::Tripped { .. })) {
            self.refresh_options_later(endpoint);
        } else if !known.told && !known.refreshing {
            self.ask_options(endpoint);
        }
    }

    fn refresh_options_later(&mut self, endpoint: u32) {
        self.refresh_options_at(endpoint, self.now.plus_millis(self.settings.options_refresh_ms));
    }

    fn refresh_options_at(&mut self, endpoint: u32, at: Timestamp) {
        if !std::mem::replace(&mut self.directory[endpoint].refreshing, true) {
            self.set_alarm(endpoint, Alarm::Refresh, at);
        }
    }

    pub(super) fn refresh_options(&mut self, endpoint: u32) {
        let known = &mut self.directory[endpoint];
        known.refreshing = false;
        let (told, owes) = (known.told, known.owes());
        let waits = known.paused || known.breaker.stage().is_some();
        if owes && (waits || !told) {
            self.ask_options(endpoint);
        }
        if owes && waits {
            self.refresh_options_later(endpoint);
        }
    }

    /// No attempt to this endpoint before `until`, as it or we have asked for.
    pub(super) fn set_hold(&mut self, endpoint: u32, until: Timestamp) {
        let known = &mut self.directory[endpoint];
        known.asked_until = known.asked_until.max(until);
        self.raise_hold(endpoint, until);
    }

    fn raise_hold(&mut self, endpoint: u32, until: Timestamp) {
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

    /// The breaker holds an endpoint no longer; what it or we have asked for goes on.
    fn end_breakers_hold(&mut self, endpoint: u32) {
        let known = &mut self.directory[endpoint];
        self.holds.remove(&(known.hold_until, endpoint));
        known.hold_until = Timestamp::ZERO;
        let asked_until = known.asked_until;
        self.raise_hold(endpoint, asked_until);
    }

    /// Ends the holds whose time has come.
    pub(super) fn end_holds(&mut self) {
        while let Some((until, endpoint)) = self.holds.first().copied()
            && until <= self.now
        {
            self.holds.remove(&(until, endpoint));
            let known = &mut self.directory[endpoint];
            (known.hold_until, known.asked_until) = (Timestamp::ZERO, Timestamp::ZERO);
            known.breaker.end_hold(self.now);
            self.unpark(endpoint);
            self.join_turns(endpoint);
            self.note_idle(endpoint);
        }
    }

    /// An endpoint may hold more again, although nothing has come in; while it is shut, one more
    /// only.
    fn unpark(&mut self, endpoint: u32) {
        let known = &mut self.directory[endpoint];
        if !known.parked {
            return;
        }
        known.parked = known.is_shut() || known.hold_until > self.now;
        self.queue_backlog_when_low(endpoint);
        self.backlogs.unseen = self.backlogs.queue.len();
        self.overdue.stirred = true;
    }
}

/// Keeps what is limited, if anything is.
fn set_limits(limits: &mut Option<Box<Limits>>, options: Options, now: Timestamp) {
    let Options { in_flight_max, rate, schedule, lifted_at, .. } = options;
    let usual = in_flight_max.is_none() && rate.is_none() && schedule.is_none();
    if usual && lifted_at == Timestamp::ZERO {
        *limits = None;
        return;
    }
    let limits = limits.get_or_insert_default();
    if limits.rate != rate {
        limits.pace.hasten(now, rate);
    }
    (limits.in_flight_max, limits.rate) = (in_flight_max, rate);
    (limits.schedule, limits.lifted_at) = (schedule, lifted_at);
}

//! Who may have another attempt in flight: caps of hosts, tenants and the process, rates, and the
//! share of those that are slow.
//!
//! * An endpoint never has more in flight than what it leaves free in the process, so one alone
//!   takes half at most.
//! * Of the last places, those beyond the share of slow ones, an endpoint gets a second one only
//!   while it has just ended an attempt. So it takes hundreds that hang, all at once and before
//!   they are known to be slow, to leave nothing for one that is quick.
//! * Slow endpoints together have at most their share.
//! * Who waits for its host is called in order, and its place is kept until its turn. A place is
//!   kept for nobody who could not take it: whose tenant waits, or who is slow while slow ones
//!   have their share. So one tenant's limits cost the others of its host nothing.
//!
//! Invariant: a wait ends by something that is sure to come, and nobody looks for who could go on:
//! an attempt that ends calls the next of its host and its tenant, an alarm those that keep a pace.

use std::collections::{BTreeSet, VecDeque};

use posthaste_domain::Timestamp;

use super::Engine;
use crate::Invariant;
use crate::directory::{Rank, Standing};

/// What wakes an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Alarm {
    /// Its pace allows another attempt.
    Pace,
    /// Its ramp is over.
    Ramp,
    /// Its options are to be asked for again.
    Refresh,
}

/// Who waits for what.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// Attempts in flight of slow endpoints.
    pub(crate) slow_in_flight: usize,
    /// Endpoints that had as much in flight as was free, by how much that is: who has the least is
    /// the first that may go on.
    pub(crate) crowded: BTreeSet<(usize, u32)>,
    /// Slow endpoints that a host keeps a place for.
    slow_kept: BTreeSet<u32>,
    /// Endpoints to be looked at, whether they have ended an attempt since: in order, since all of
    /// them are looked at after the same time.
    watched: VecDeque<(Timestamp, u32)>,
    /// What wakes endpoints.
    pub(crate) alarms: BTreeSet<(Timestamp, u32, Alarm)>,
    /// When tenants may go on at their rate.
    tenant_alarms: BTreeSet<(Timestamp, u32)>,
}

impl Engine {
    /// Whether slow endpoints may have another attempt in flight.
    pub(crate) fn slow_is_open(&self) -> bool {
        self.places.slow_in_flight < self.slow_in_flight_max()
    }

    /// Whether slow endpoints have more in flight than they may, since some of what is in flight
    /// was not known to be slow.
    pub(super) fn slow_have_too_many(&self) -> bool {
        self.places.slow_in_flight > self.slow_in_flight_max()
    }

    fn slow_in_flight_max(&self) -> usize {
        (self.settings.in_flight_max * self.settings.slow_percent_max / 100)
            .clamp(1, self.settings.in_flight_max)
    }

    /// An attempt of an endpoint, or the reading of its payload, takes its place.
    pub(super) fn enter_flight(&mut self, endpoint: u32) {
        self.end_crowded(endpoint);
        let known = &mut self.directory[endpoint];
        known.in_flight += 1;
        known.ticket = 0;
        let kept = std::mem::take(&mut known.kept);
        let (tenant, host, slow) = (known.tenant, known.host, known.slow);
        let tenant = self.directory.tenant_mut(tenant);
        tenant.in_flight += 1;
        tenant.kept -= usize::from(kept);
        let mut within = tenant.in_flight <= self.settings.in_flight_per_tenant_max;
        if let Some(host) = self.directory.hosts.find_mut(host) {
            host.in_flight += 1;
            host.kept -= usize::from(kept);
            within &= host.in_flight + host.kept <= self.settings.in_flight_per_host_max;
        }
        self.observe(Invariant::WithinCaps, within);
        if slow {
            self.observe(Invariant::RoomForTheQuick, self.slow_is_open());
            self.places.slow_in_flight += 1;
            self.places.slow_kept.remove(&endpoint);
            self.close_slow();
        }
    }

    /// An attempt, or the reading of a payload, has ended: whoever waits for its place is called.
    pub(super) fn leave_flight(&mut self, endpoint: u32) {
        self.end_crowded(endpoint);
        let known = &mut self.directory[endpoint];
        known.in_flight -= 1;
        let (number, host, slow) = (known.tenant, known.host, known.slow);
        self.places.slow_in_flight -= usize::from(slow);
        let tenant = self.directory.tenant_mut(number);
        tenant.in_flight -= 1;
        if tenant.rank == Rank::Full {
            tenant.rank = Rank::Off;
            self.queue_tenant(number);
        }
        if let Some(host) = self.directory.hosts.find_mut(host) {
            host.in_flight -= 1;
        }
        self.call_waiting(host);
        self.call_crowded();
    }

    fn end_crowded(&mut self, endpoint: u32) {
        let known = &mut self.directory[endpoint];
        if std::mem::take(&mut known.crowded) {
            self.places.crowded.remove(&(known.in_flight, endpoint));
        }
    }

    /// Gives the next that had as much in flight as was free another look, where more is free now.
    fn call_crowded(&mut self) {
        let free = self.free_places();
        while let Some((in_flight, endpoint)) = self.places.crowded.first().copied()
            && in_flight < free
        {
            self.places.crowded.pop_first();
            self.directory[endpoint].crowded = false;
            self.join_turns(endpoint);
            if self.directory[endpoint].standing != Standing::Off {
                return;
            }
        }
    }

    /// Slow endpoints have their share: no host keeps a place for one that cannot take it.
    fn close_slow(&mut self) {
        if self.slow_is_open() {
            return;
        }
        for endpoint in std::mem::take(&mut self.places.slow_kept) {
            self.give_back_place(endpoint);
        }
    }

    /// Sets a tenant aside that waits for an attempt of its own to end, or for its rate.
    pub(super) fn set_aside(&mut self, tenant: u32) -> bool {
        let until = self.tenant_pace_end(tenant);
        let known = self.directory.tenant_mut(tenant);
        if known.in_flight >= self.settings.in_flight_per_tenant_max {
            known.rank = Rank::Full;
        } else if let Some(until) = until {
            known.rank = Rank::Paced;
            known.paced_until = until;
            self.places.tenant_alarms.insert((until, tenant));
        } else {
            return false;
        }
        self.turns.queued -= u64::from(std::mem::take(&mut known.quantum));
        if known.kept > 0 {
            let endpoints = known.turns.iter().chain(&known.slow_turns);
            let endpoints: Vec<u32> = endpoints.copied().collect();
            endpoints.into_iter().for_each(|endpoint| self.give_back_place(endpoint));
        }
        true
    }

    /// The end of a tenant's wait for its rate, where it has to wait.
    pub(super) fn tenant_pace_end(&self, tenant: u32) -> Option<Timestamp> {
        let known = self.directory.tenant(tenant);
        known.rate.and_then(|_| known.pace.lasts(self.now))
    }

    /// A tenant that waits for its rate need not do so any more.
    pub(super) fn end_tenant_pace(&mut self, tenant: u32) {
        let known = self.directory.tenant_mut(tenant);
        if known.rank == Rank::Paced {
            known.rank = Rank::Off;
            known.paced_until = Timestamp::ZERO;
            self.queue_tenant(tenant);
        }
    }

    /// The end of an endpoint's wait for its rate or its ramp, where it has to wait.
    pub(crate) fn pace_end(&self, endpoint: u32) -> Option<Timestamp> {
        let known = &self.directory[endpoint];
        if known.has_no_pace() {
            return None;
        }
        let limits = known.limits.as_ref().filter(|limits| limits.rate.is_some());
        let rate = limits.and_then(|limits| limits.pace.lasts(self.now));
        rate.max(known.breaker.ramp_lasts(self.now))
    }

    /// Sets an alarm for an endpoint that has to wait for its pace; says whether it has.
    pub(super) fn waits_for_pace(&mut self, endpoint: u32) -> bool {
        let Some(until) = self.pace_end(endpoint) else { return false };
        self.set_pace_alarm(endpoint, until);
        true
    }

    pub(super) fn set_pace_alarm(&mut self, endpoint: u32, at: Timestamp) {
        let known = &mut self.directory[endpoint];
        if known.pace_alarm == Timestamp::ZERO || at < known.pace_alarm {
            known.pace_alarm = at;
            self.set_alarm(endpoint, Alarm::Pace, at);
        }
    }

    pub(super) fn set_alarm(&mut self, endpoint: u32, alarm: Alarm, at: Timestamp) {
        if self.places.alarms.insert((at, endpoint, alarm)) {
            self.directory[endpoint].alarms += 1;
        }
    }

    /// Counts an attempt that starts where something has a pace.
    pub(super) fn keep_pace(&mut self, endpoint: u32) {
        let known = &self.directory[endpoint];
        if known.has_no_pace() && self.directory.tenant(known.tenant).rate.is_none() {
            return;
        }
        let waits = self.pace_end(endpoint).is_some();
        let (now, first_per_s) = (self.now, self.settings.ramp_first_per_s);
        let known = &mut self.directory[endpoint];
        known.breaker.ramp_take(now, first_per_s);
        if let Some(limits) = &mut known.limits
            && let Some(rate) = limits.rate
        {
            limits.pace.take(now, rate.interval_us());
        }
        let tenant = known.tenant;
        let tenant_waits = self.tenant_pace_end(tenant).is_some();
        let known = self.directory.tenant_mut(tenant);
        if let Some(rate) = known.rate {
            known.pace.take(now, rate.interval_us());
        }
        self.observe(Invariant::KeptPace, !waits && !tenant_waits);
    }

    /// Whether an endpoint whose turn it is must do without: it is slow and slow ones have their
    /// share, it has more in flight than is free, or its host has no place.
    pub(super) fn waits_for_place(&mut self, endpoint: u32) -> bool {
        let free = self.free_places();
        if self.directory[endpoint].slow && !self.slow_is_open() {
            self.stand_in_turns(endpoint);
            return true;
        }
        let scarce = free <= self.settings.in_flight_max - self.slow_in_flight_max();
        if self.directory[endpoint].in_flight >= free || (scarce && !self.is_lively(endpoint)) {
            // One of those that it has in flight is sure to end; maybe another does before.
            let known = &mut self.directory[endpoint];
            known.crowded = true;
            self.places.crowded.insert((known.in_flight, endpoint));
            return true;
        }
        self.waits_for_host(endpoint)
    }

    /// How many more attempts the process may have in flight.
    const fn free_places(&self) -> usize {
        let in_flight = self.levels.in_flight + self.levels.loading;
        self.settings.in_flight_max.saturating_sub(in_flight)
    }

    /// Whether an endpoint is sure to give its next place back soon, or has none yet.
    fn is_lively(&self, endpoint: u32) -> bool {
        let known = &self.directory[endpoint];
        let just_ended = self.now.millis_since(known.stirred_at) <= self.settings.slow_ms / 8;
        known.in_flight == 0 || (known.congestion.latency_us() > 0 && just_ended)
    }

    /// Puts an endpoint among those that wait for its host, where that has no place for it.
    pub(super) fn waits_for_host(&mut self, endpoint: u32) -> bool {
        let known = &self.directory[endpoint];
        let most = self.settings.in_flight_per_host_max;
        let Some(host) = self.directory.hosts.find(known.host) else { return false };
        // A place that was kept is there no more where others have moved in with theirs.
        let has_place = known.kept && host.in_flight + host.kept <= most;
        if has_place || (host.in_flight + host.kept < most && host.waiting.is_empty()) {
            return false;
        }
        let (number, ticket) = (known.host, known.ticket);
        let ticket = match ticket {
            0 => self.directory.hosts.ticket(),
            ticket => ticket,
        };
        let known = &mut self.directory[endpoint];
        (known.ticket, known.standing) = (ticket, Standing::Host);
        if let Some(host) = self.directory.hosts.find_mut(number) {
            host.waiting.insert((ticket, endpoint));
        }
        true
    }

    /// A place that a host keeps for an endpoint goes to the next who waits.
    pub(super) fn give_back_place(&mut self, endpoint: u32) {
        let known = &mut self.directory[endpoint];
        if !std::mem::take(&mut known.kept) {
            return;
        }
        let (tenant, number) = (known.tenant, known.host);
        self.places.slow_kept.remove(&endpoint);
        self.directory.tenant_mut(tenant).kept -= 1;
        if let Some(host) = self.directory.hosts.find_mut(number) {
            host.kept -= 1;
        }
        self.call_waiting(number);
    }

    /// Takes an endpoint out of those that wait for its host; its next turn may be elsewhere.
    pub(super) fn stop_waiting_for_host(&mut self, endpoint: u32) {
        let known = &mut self.directory[endpoint];
        let (number, ticket) = (known.host, std::mem::take(&mut known.ticket));
        if known.standing == Standing::Host {
            known.standing = Standing::Off;
            if let Some(host) = self.directory.hosts.find_mut(number) {
                host.waiting.remove(&(ticket, endpoint));
            }
        }
    }

    /// Calls those that wait for a host, while it has places.
    pub(super) fn call_waiting(&mut self, number: u32) {
        let most = self.settings.in_flight_per_host_max;
        while let Some(host) = self.directory.hosts.find_mut(number)
            && host.in_flight + host.kept < most
            && let Some((_, endpoint)) = host.waiting.pop_first()
        {
            self.directory[endpoint].standing = Standing::Off;
            if !self.is_able(endpoint) || self.waits_for_pace(endpoint) {
                self.directory[endpoint].ticket = 0;
                self.refresh_shut(endpoint);
                self.note_idle(endpoint);
                continue;
            }
            let known = &self.directory[endpoint];
            let (tenant, slow) = (known.tenant, known.slow);
            let waits = matches!(self.directory.tenant(tenant).rank, Rank::Full | Rank::Paced);
            if !waits && (!slow || self.slow_is_open()) {
                self.directory[endpoint].kept = true;
                self.directory.tenant_mut(tenant).kept += 1;
                if let Some(host) = self.directory.hosts.find_mut(number) {
                    host.kept += 1;
                }
                if slow {
                    self.places.slow_kept.insert(endpoint);
                }
            }
            self.stand_in_turns(endpoint);
        }
    }

    /// Sees to it that an endpoint with an attempt in flight is looked at after a while.
    pub(super) fn watch(&mut self, endpoint: u32) {
        let (now, slow_ms) = (self.now, self.settings.slow_ms);
        let known = &mut self.directory[endpoint];
        if known.in_flight <= 1 || !known.watched {
            known.stirred_at = now;
        }
        if !std::mem::replace(&mut known.watched, true) {
            self.places.watched.push_back((now.plus_millis(slow_ms), endpoint));
        }
    }

    /// Looks at those whose time has come: who has attempts in flight and has not ended any for so
    /// long is slow. It makes a difference only to what is decided next, so it wakes nobody.
    pub(super) fn look_for_slow(&mut self) {
        while let Some((at, endpoint)) = self.places.watched.front().copied()
            && at <= self.now
        {
            self.places.watched.pop_front();
            let Some(known) = self.directory.find_endpoint(endpoint) else { continue };
            known.watched = false;
            if known.in_flight == 0 {
                continue;
            }
            if self.now.millis_since(known.stirred_at) >= self.settings.slow_ms {
                self.set_slow(endpoint, true);
            } else {
                known.watched = true;
                let again = self.now.plus_millis(self.settings.slow_ms);
                self.places.watched.push_back((again, endpoint));
            }
        }
    }

    /// Says whether an endpoint is slow.
    pub(super) fn set_slow(&mut self, endpoint: u32, slow: bool) {
        let known = &mut self.directory[endpoint];
        if std::mem::replace(&mut known.slow, slow) == slow {
            return;
        }
        let (in_flight, kept) = (known.in_flight, known.kept);
        if slow {
            self.places.slow_in_flight += in_flight;
            if kept {
                self.places.slow_kept.insert(endpoint);
            }
            self.close_slow();
        } else {
            self.places.slow_in_flight -= in_flight;
            self.places.slow_kept.remove(&endpoint);
            self.leave_slow_turns(endpoint);
        }
    }

    /// An endpoint that is slow no longer waits with those that are no longer.
    fn leave_slow_turns(&mut self, endpoint: u32) {
        let known = &self.directory[endpoint];
        if known.standing == Standing::SlowTurns {
            let tenant = self.directory.tenant_mut(known.tenant);
            tenant.slow_turns.retain(|other| *other != endpoint);
            self.stand_in_turns(endpoint);
        }
    }

    /// Wakes whose time has come.
    pub(super) fn ring_alarms(&mut self) {
        while let Some((at, tenant)) = self.places.tenant_alarms.first().copied()
            && at <= self.now
        {
            self.places.tenant_alarms.pop_first();
            if self.directory.find_tenant(tenant).is_some_and(|it| it.paced_until == at) {
                self.end_tenant_pace(tenant);
            }
        }
        while let Some((at, endpoint, alarm)) = self.places.alarms.first().copied()
            && at <= self.now
        {
            self.places.alarms.pop_first();
            self.directory[endpoint].alarms -= 1;
            match alarm {
                Alarm::Pace => {
                    let known = &mut self.directory[endpoint];
                    if known.pace_alarm == at {
                        known.pace_alarm = Timestamp::ZERO;
                    }
                    self.join_turns(endpoint);
                }
                Alarm::Ramp => self.end_ramp(endpoint),
                Alarm::Refresh => self.refresh_options(endpoint),
            }
            self.note_idle(endpoint);
        }
    }

    /// When the next alarm rings.
    pub(super) fn alarms_wakeup(&self) -> Option<Timestamp> {
        let endpoints = self.places.alarms.first().map(|(at, _, _)| *at);
        let tenants = self.places.tenant_alarms.first().map(|(at, _)| *at);
        endpoints.into_iter().chain(tenants).min()
    }
}

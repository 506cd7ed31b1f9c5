//! The engine's promises (DESIGN §4), each a named predicate.
//!
//! Debug builds stop where one is broken, the simulator asks for all of them after every step,
//! and production counts ([`Stats::invariant_violations`](crate::Stats)). The cheap ones are asked
//! after every step everywhere; those that look at everything only where somebody asks.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use posthaste_domain::{EndpointId, Owed, OwedAs, TenantId, TimerPosition};

use crate::directory::{Asking, Rank, Standing};
use crate::engine::due_of;
use crate::table::{Lane, NOWHERE, Place};
use crate::{Effect, Engine};

/// A promise of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// I1: no outcome is let go before it is durable.
    DurableFirst,
    /// I2: every delivery that is owed is in memory, or a mark says where to read it.
    NothingForgotten,
    /// I3: no attempt before its due time, nor while its endpoint is on hold.
    NeverEarly,
    /// I4: no cap is ever exceeded.
    WithinCaps,
    /// I5: a delivery is in exactly one place.
    OnePlace,
    /// I6: after the drain has begun no attempt starts.
    NoAttemptAfterDrain,
    /// I7: recovery from any crash point rebuilds exactly the unsettled set.
    ExactRecovery,
    /// I8: no tenant with ready work waits while another gets more than twice what it weighs.
    FairTurns,
    /// I9: attempts start at the pace that is set for an endpoint, its tenant or its ramp.
    KeptPace,
    /// I10: no attempt to an endpoint that is paused or has tripped, one at a time to one that is
    /// tried.
    LeftAlone,
    /// I11: slow endpoints leave places for the others.
    RoomForTheQuick,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::DurableFirst,
        Self::NothingForgotten,
        Self::NeverEarly,
        Self::WithinCaps,
        Self::OnePlace,
        Self::NoAttemptAfterDrain,
        Self::ExactRecovery,
        Self::FairTurns,
        Self::KeptPace,
        Self::LeftAlone,
        Self::RoomForTheQuick,
    ];

    /// The invariant's number and its promise.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DurableFirst => "I1: an outcome is let go only when it is durable",
            Self::NothingForgotten => "I2: what is owed is in memory or marked to be read",
            Self::NeverEarly => "I3: an attempt never starts before its due time",
            Self::WithinCaps => "I4: no cap is exceeded",
            Self::OnePlace => "I5: a delivery is in exactly one place",
            Self::NoAttemptAfterDrain => "I6: no attempt starts after the drain has begun",
            Self::ExactRecovery => "I7: recovery rebuilds exactly the unsettled set",
            Self::FairTurns => "I8: nobody waits while another gets twice its share",
            Self::KeptPace => "I9: attempts start at the pace that is set",
            Self::LeftAlone => "I10: who is shut gets no attempt, who is tried one at a time",
            Self::RoomForTheQuick => "I11: slow endpoints leave places for the others",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An invariant that does not hold, and where that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which one.
    pub invariant: Invariant,
    /// What is wrong.
    pub what: &'static str,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

type Checked = Result<(), Broken>;

const fn holds(invariant: Invariant, condition: bool, what: &'static str) -> Checked {
    if condition { Ok(()) } else { Err(Broken { invariant, what }) }
}

impl Engine {
    /// Whether the engine accounts for something that the store owes (I2, I7): holds it, or will
    /// come upon it by reading on from one of its marks.
    ///
    /// What the engine has not been told of yet is for its driver to account for.
    #[must_use]
    pub fn accounts_for(&self, owed: &Owed) -> bool {
        let endpoint = self.directory.find(&owed.key.tenant, owed.key.endpoint);
        let slot = endpoint.and_then(|endpoint| self.table.find(endpoint, owed.key.event));
        if slot.is_some_and(|slot| self.table[slot].latest_round() >= owed.round) {
            return true;
        }
        match owed.owed_as {
            OwedAs::Fresh => endpoint.is_some_and(|endpoint| {
                self.directory[endpoint].behind_from.is_some_and(|from| from <= owed.key.event)
            }),
            OwedAs::Timer(due) => {
                let place = TimerPosition { due, key: Some(owed.key.clone()) };
                let left = self.overdue.from.as_ref().is_some_and(|from| *from < place);
                let marked = endpoint.is_some_and(|it| self.directory[it].overdue_pass.is_some());
                place > self.timers.horizon || (left && marked)
            }
        }
    }

    /// Whether the engine knows of an endpoint at the moment. News about others' options is
    /// ignored: they are asked for when somebody has something for them.
    #[must_use]
    pub fn knows(&self, tenant: &TenantId, endpoint: EndpointId) -> bool {
        self.directory.find(tenant, endpoint).is_some()
    }

    /// Whether an endpoint has a delivery in memory that could be given an attempt now, were it not
    /// for the caps of the process (I8).
    #[must_use]
    pub fn could_go(&self, tenant: &TenantId, endpoint: EndpointId) -> bool {
        self.directory.find(tenant, endpoint).is_some_and(|endpoint| self.could_start(endpoint))
    }

    /// All invariants that can be seen from inside, by looking at everything. For tests and the
    /// simulator: the cost grows with what is held.
    ///
    /// # Errors
    /// The first that does not hold.
    pub fn check(&self) -> Checked {
        self.quick_check()?;
        self.every_delivery_is_where_it_says()?;
        self.every_endpoint_is_within_its_caps()?;
        self.everybody_who_could_go_has_a_turn()?;
        self.every_place_is_counted()?;
        self.every_backlog_will_be_read()?;
        let starts = |effect: &Effect| matches!(effect, Effect::Attempt { .. });
        let quiet = !self.draining || !self.effects.iter().any(starts);
        holds(Invariant::NoAttemptAfterDrain, quiet, "an attempt is ordered after the drain began")
    }

    /// The invariants that one look at some sums can see.
    pub(crate) fn quick_check(&self) -> Checked {
        let (levels, limits) = (&self.levels, &self.settings);
        let in_flight = levels.in_flight + levels.loading;
        holds(Invariant::WithinCaps, in_flight <= limits.in_flight_max, "in flight in all")?;
        let waiting = self.calendar.len();
        holds(Invariant::WithinCaps, waiting <= limits.timers_held_max, "waiting for due times")?;
        holds(Invariant::WithinCaps, self.held() <= limits.held_max, "held in all")?;
        let placed = levels.ready + in_flight + levels.settling + waiting;
        holds(Invariant::OnePlace, placed == self.table.len(), "places do not add up")?;
        let unsettled = self.unsettled.len() <= levels.settling;
        holds(Invariant::DurableFirst, unsettled, "more outcomes kept than settling")
    }

    fn every_delivery_is_where_it_says(&self) -> Checked {
        let one_place = |condition, what| holds(Invariant::OnePlace, condition, what);
        let (mut loading, mut in_flight, mut settling, mut bytes) = (0, 0, 0, 0);
        for (_, entry) in self.table.iter() {
            bytes += entry.payload.as_ref().map_or(0, bytes::Bytes::len);
            let linked = entry.links.before != NOWHERE || entry.links.after != NOWHERE;
            let settles = matches!(entry.place, Place::Settling(_) | Place::Unsettled(_));
            one_place(settles || entry.lane == Lane::of(entry.owed_as), "in the wrong lane")?;
            match entry.place {
                Place::Waiting | Place::Ready => continue,
                Place::Loading => loading += 1,
                Place::InFlight => in_flight += 1,
                Place::Settling(_) | Place::Unsettled(_) => settling += 1,
            }
            one_place(!linked, "in a queue and elsewhere")?;
        }
        one_place(loading == self.levels.loading, "loading")?;
        one_place(in_flight == self.levels.in_flight, "in flight")?;
        one_place(settling == self.levels.settling, "settling")?;
        one_place(bytes == self.levels.payload_bytes, "payload bytes")?;
        let mut waiting = 0;
        for (due, slot) in self.calendar.iter(&self.table) {
            let entry = &self.table[slot];
            waiting += 1;
            one_place(matches!(entry.place, Place::Waiting), "in the calendar and elsewhere")?;
            one_place(due == entry.since, "in the calendar at another time")?;
            holds(Invariant::NeverEarly, due >= due_of(entry), "wakes before it is due")?;
            let fired = due > self.now || self.draining;
            holds(Invariant::NothingForgotten, fired, "due and still waiting")?;
        }
        one_place(waiting == self.calendar.len(), "waiting")?;
        self.every_lane_is_what_it_says()
    }

    fn every_lane_is_what_it_says(&self) -> Checked {
        let mut ready = 0;
        for (number, endpoint) in self.directory.iter() {
            for (lane, list) in [(Lane::Fresh, endpoint.fresh), (Lane::Retry, endpoint.retries)] {
                let mut len = 0;
                for slot in list.iter(&self.table) {
                    let entry = &self.table[slot];
                    len += 1;
                    let here = matches!(entry.place, Place::Ready)
                        && entry.endpoint == number
                        && entry.lane == lane;
                    holds(Invariant::OnePlace, here, "in a lane and elsewhere")?;
                    holds(Invariant::NeverEarly, due_of(entry) <= self.now, "ready too early")?;
                }
                holds(Invariant::OnePlace, len == list.len(), "a lane's length")?;
                ready += len;
            }
        }
        holds(Invariant::OnePlace, ready == self.levels.ready, "ready")
    }

    fn every_endpoint_is_within_its_caps(&self) -> Checked {
        let mut counts = BTreeMap::<u32, [usize; 4]>::new();
        for (_, entry) in self.table.iter() {
            let count = counts.entry(entry.endpoint).or_default();
            match (&entry.place, entry.lane) {
                (Place::Waiting, _) => count[0] += 1,
                (_, Lane::Fresh) => count[1] += 1,
                (_, Lane::Retry) => count[2] += 1,
            }
            count[3] += usize::from(matches!(entry.place, Place::Loading | Place::InFlight));
        }
        for (number, it) in self.directory.iter() {
            let says = [it.waiting, it.held_fresh, it.held_retries, it.in_flight];
            let has = counts.remove(&number).unwrap_or_default();
            holds(Invariant::OnePlace, says == has, "an endpoint's sums")?;
            let (in_flight, held) = (it.in_flight, it.held_fresh + it.held_retries);
            let limits = &self.settings;
            let caps = in_flight <= limits.in_flight_per_endpoint_max;
            holds(Invariant::WithinCaps, caps, "in flight of an endpoint")?;
            let caps = held <= limits.held_per_endpoint_max;
            holds(Invariant::WithinCaps, caps, "held of an endpoint")?;
        }
        holds(Invariant::OnePlace, counts.is_empty(), "held for an endpoint that is not known")
    }

    fn everybody_who_could_go_has_a_turn(&self) -> Checked {
        let fair = |condition, what| holds(Invariant::FairTurns, condition, what);
        for (number, endpoint) in self.directory.iter() {
            let waits = endpoint.standing != Standing::Off || endpoint.crowded;
            let able = self.is_able(number) && self.pace_end(number).is_none();
            fair(waits || !able || self.draining, "an endpoint could go and has no turn")?;
            let listed = self.places.crowded.contains(&(endpoint.in_flight, number));
            fair(listed == endpoint.crowded, "an endpoint that had as much as was free")?;
            let stuck = able && endpoint.standing == Standing::Off && endpoint.in_flight == 0;
            fair(!stuck || self.draining, "an endpoint waits for an end of nothing")?;
            let tenant = self.directory.tenant(endpoint.tenant);
            let slow = endpoint.slow || endpoint.standing != Standing::SlowTurns;
            fair(slow, "a quick endpoint waits with slow ones")?;
            let times = |turns: &VecDeque<u32>| turns.iter().filter(|it| **it == number).count();
            let stands = [Standing::Turns, Standing::SlowTurns].map(|it| it == endpoint.standing);
            let turns = [times(&tenant.turns), times(&tenant.slow_turns)];
            fair(turns == stands.map(usize::from), "an endpoint's turns")?;
        }
        let mut queued = 0;
        for (number, tenant) in self.directory.tenants() {
            let times = self.turns.ring.iter().filter(|other| **other == number).count();
            fair(times == usize::from(tenant.rank == Rank::Quick), "a tenant's turns")?;
            let slow = self.turns.slow.get(&tenant.stamp) == Some(&number);
            fair(slow == (tenant.rank == Rank::Slow), "a tenant's turns of slow endpoints")?;
            let waits = tenant.rank != Rank::Off;
            fair(waits == tenant.has_turns(), "a tenant waits for nothing")?;
            let quick = tenant.rank != Rank::Slow || tenant.turns.is_empty();
            fair(quick, "a quick endpoint waits for slow ones")?;
            if matches!(tenant.rank, Rank::Quick | Rank::Slow) {
                queued += u64::from(tenant.quantum);
            }
        }
        fair(queued == self.turns.queued, "attempts that are to come")
    }

    /// Hosts, tenants and slow endpoints have in flight what their endpoints have, and whoever
    /// waits for a host waits for something that will come.
    fn every_place_is_counted(&self) -> Checked {
        let caps = |condition, what| holds(Invariant::WithinCaps, condition, what);
        let mut of_tenants = BTreeMap::<u32, [usize; 2]>::new();
        let mut of_hosts = BTreeMap::<u64, [usize; 3]>::new();
        let mut slow = 0;
        for (_, it) in self.directory.iter() {
            let tenant = of_tenants.entry(it.tenant).or_default();
            let host = of_hosts.entry(self.directory.hosts.name(it.host)).or_default();
            (tenant[0], host[0]) = (tenant[0] + it.in_flight, host[0] + it.in_flight);
            let kept = usize::from(it.kept);
            (tenant[1], host[1]) = (tenant[1] + kept, host[1] + kept);
            host[2] += usize::from(it.standing == Standing::Host);
            slow += if it.slow { it.in_flight } else { 0 };
            let waits = matches!(it.standing, Standing::Turns | Standing::SlowTurns);
            caps(!it.kept || waits, "a place is kept for who waits for no turn")?;
        }
        caps(slow == self.places.slow_in_flight, "in flight of slow endpoints")?;
        for (number, tenant) in self.directory.tenants() {
            let says = [tenant.in_flight, tenant.kept];
            caps(of_tenants.get(&number) == Some(&says), "a tenant's places")?;
            let kept = tenant.kept == 0 || !matches!(tenant.rank, Rank::Full | Rank::Paced);
            caps(kept, "places are kept for a tenant that waits")?;
        }
        for host in self.directory.hosts.iter() {
            let says = [host.in_flight, host.kept, host.waiting.len()];
            caps(of_hosts.get(&host.name()) == Some(&says), "a host's places")?;
            let full = host.in_flight + host.kept >= self.settings.in_flight_per_host_max;
            caps(full || host.waiting.is_empty(), "waiting for a host that has a place")?;
        }
        Ok(())
    }

    fn every_backlog_will_be_read(&self) -> Checked {
        let read = |condition, what| holds(Invariant::NothingForgotten, condition, what);
        let (mut behind, mut reads) = (0, 0);
        for (number, endpoint) in self.directory.iter() {
            behind += usize::from(endpoint.behind_from.is_some());
            reads += usize::from(endpoint.backlog_read.is_some());
            let (parked, probing) = (endpoint.parked, endpoint.breaker.is_probing());
            let low = if parked { 0 } else { self.low_water() };
            let comes = endpoint.in_backlog_queue
                || endpoint.backlog_read.is_some()
                || (parked && !probing)
                || endpoint.held_fresh > low;
            read(endpoint.behind_from.is_none() || comes, "behind, and nobody reads on")?;
            let ends = self.holds.contains(&(endpoint.hold_until, number));
            read(ends || endpoint.is_shut() || !parked, "parked for ever")?;
            let asks = endpoint.refreshing || endpoint.asking != Asking::Not;
            let left = endpoint.behind_from.is_some() || endpoint.overdue_pass.is_some();
            let waits = endpoint.has_ready() || left;
            let asks = asks || !waits || endpoint.standing != Standing::Off || self.draining;
            read(asks || !endpoint.paused, "paused for ever")?;
            read(asks || endpoint.told, "nobody asks for its options")?;
            let listed = self.overdue.endpoints.contains(&number);
            read(listed == endpoint.overdue_pass.is_some(), "overdue, and not listed")?;
        }
        read(behind == self.backlogs.behind, "endpoints behind")?;
        read(reads == self.backlogs.reads, "backlog reads")?;
        let looked_for = self.overdue.from.is_some() || self.overdue.endpoints.is_empty();
        read(looked_for, "overdue, and nobody looks")
    }
}

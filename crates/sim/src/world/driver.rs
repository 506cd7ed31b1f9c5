//! The driver's turns: inputs into the engine, orders out of it, each judged as it comes.

use posthaste_domain::{Attempt, DeliveryKey, OwedAs, PhaseTimings, TenantId, Timestamp, Verdict};
use posthaste_engine::{Delivery, Effect, Input, Invariant};

use super::{World, Wrong};
use crate::endpoint::{Fate, Try};
use crate::mutant::Mutant;
use crate::process::{Happening, Hold, Op, Order, Process, Read};
use crate::store::Status;
use crate::trace::Step;

/// An engine that wants so many turns in a row at one time, with nothing new, spins.
const IDLE_TURNS_MAX: u64 = 200;

/// An attempt that takes so long is slow, in milliseconds.
const SLOW_MS: u64 = 1_000;

/// A delivery that crashes of ours cut off so often is set aside (CONTRACT §4).
const INTERRUPTIONS_MAX: u8 = 3;

impl World<'_> {
    /// One turn of the driver.
    pub(super) fn turn(&mut self) -> Result<(), Wrong> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.turn_at = None;
        process.turns += 1;
        self.counts.turns += 1;
        let news = self.feed(&mut process);
        self.trace.note(self.now, Step::Turn, None, [news, 0]);
        process.idle_turns = if news == 0 { process.idle_turns + 1 } else { 0 };
        let carried_out = self.carry_out(process)?;
        if carried_out {
            return self.finish_drain();
        }
        Ok(())
    }

    /// Hands everything that waits to the engine; says how much that was.
    fn feed(&mut self, process: &mut Process) -> u64 {
        let now = self.now;
        let Process { engine, inbox, answers, told, .. } = process;
        let arrived = std::mem::take(&mut inbox.arrived);
        told.extend(arrived.iter().filter(|it| it.round > 0).map(|it| (it.key.clone(), it.round)));
        let mut news = arrived.len() as u64 + answers.len() as u64 + inbox.behind.len() as u64;
        if !arrived.is_empty() {
            engine.handle(now, Input::Arrived(arrived));
        }
        while let Some(((tenant, endpoint), from)) = inbox.behind.pop_first() {
            engine.handle(now, Input::Behind { tenant, endpoint, from });
        }
        for input in std::mem::take(&mut process.answers) {
            if let Input::PayloadLoaded { delivery, .. } = &input {
                process.loaded.insert(*delivery);
            }
            let input = self.hear(process, input);
            let now = self.clock(process, now);
            process.engine.handle(now, input);
            // Whoever has to wait for something else, if only for this moment, has lost its place.
            let queued = std::mem::take(&mut process.queued).into_iter();
            process.queued = queued.filter(|(site, _)| process.could_go(site)).collect();
        }
        let engine = &mut process.engine;
        if engine.next_wakeup().is_some_and(|at| at <= now) {
            news += u64::from(engine.next_wakeup() < Some(now));
            engine.on_wakeup(now);
        }
        news
    }

    /// Carries out what the engine orders; says whether the process has drained.
    fn carry_out(&mut self, mut process: Process) -> Result<bool, Wrong> {
        let mut orders = 0;
        let mut writes = Vec::new();
        while let Some(effect) = process.engine.poll_effect() {
            orders += 1;
            match effect {
                Effect::Attempt { delivery, key, round, number, payload, .. } => {
                    let order = Order { delivery, key, round, number, payload };
                    self.obey(&mut process, order)?;
                }
                Effect::Settle { delivery, settlement } => {
                    if self.is_mutant(Mutant::AckBeforeCommit) {
                        process.register.remove(&settlement.key);
                        process.answers.push_back(Input::Settled { delivery });
                    }
                    writes.push(Op::Settle { delivery, settlement });
                }
                Effect::LoadPayload { delivery, key } => {
                    self.trace.note(self.now, Step::Load, Some(&key), [0, 0]);
                    judge_turn(&mut process, &key.tenant)?;
                    self.order(Read::Payload { delivery, key });
                }
                Effect::ReadOptions { tenant, endpoint } => {
                    self.trace.note(self.now, Step::ReadOptions, None, [0, 0]);
                    self.order(Read::Options { site: (tenant, endpoint) });
                }
                Effect::ReadBacklog { tenant, endpoint, from, max } => {
                    self.trace.note(self.now, Step::ReadBacklog, None, [max as u64, 0]);
                    self.order(Read::Backlog { site: (tenant, endpoint), from, max });
                }
                Effect::ReadTimers { from, until, max } => {
                    let numbers = [from.due.as_millis(), until.as_millis()];
                    self.trace.note(self.now, Step::ReadTimers, None, numbers);
                    self.order(Read::Timers { from, until, max });
                }
            }
        }
        if orders > 0 {
            process.idle_turns = 0;
        }
        if process.idle_turns > IDLE_TURNS_MAX {
            return Err(format!("the engine spins: {:?}", process.engine.stats()));
        }
        self.obey_what_was_set_aside(&mut process)?;
        self.note_who_could_go(&mut process);
        self.check(&process)?;
        let drained = process.draining && process.engine.is_drained();
        let wakeup = process.engine.next_wakeup();
        let answered = !process.answers.is_empty();
        let later = wakeup.is_none_or(|at| at > self.now);
        process.idle_turns = if later { 0 } else { process.idle_turns };
        self.process = Some(process);
        writes.into_iter().for_each(|op| self.write(op));
        if answered {
            self.wake(self.now.plus_millis(1));
        }
        if let Some(at) = wakeup {
            self.wake(at);
        }
        Ok(drained)
    }

    /// Notes which endpoints could be given an attempt and are not; they wait for others' turns.
    fn note_who_could_go(&self, process: &mut Process) {
        process.loaded.clear();
        for place in &self.plan.places {
            let site = (place.tenant.clone(), place.endpoint);
            if process.could_go(&site) {
                process.queued.entry(site).or_default();
            } else {
                process.queued.remove(&site);
            }
        }
    }

    /// What the engine promises, after a turn.
    fn check(&self, process: &Process) -> Result<(), Wrong> {
        let engine = &process.engine;
        let violations = engine.stats().invariant_violations;
        if violations > 0 {
            return Err(format!("the engine counts {violations} broken invariants"));
        }
        if !process.turns.is_multiple_of(self.plan.check_every) {
            return Ok(());
        }
        engine.check().map_err(|broken| broken.to_string())?;
        let lost = self.store.all_owed().find(|owed| {
            !engine.accounts_for(owed)
                && !process.inbox.accounts_for(owed)
                && !process.is_announced(owed)
        });
        match lost {
            Some(owed) => Err(format!("{}: forgotten: {owed:?}", Invariant::NothingForgotten)),
            None => Ok(()),
        }
    }

    /// Carries out an order to attempt, as well as this driver does.
    fn obey(&mut self, process: &mut Process, order: Order) -> Result<(), Wrong> {
        if self.is_mutant(Mutant::FavourOneTenant) && order.key.tenant != self.plan.places[0].tenant
        {
            process.set_aside.push_back(order);
            return Ok(());
        }
        if self.is_mutant(Mutant::AttemptTwice) && self.chance.permille(50) {
            self.start_attempt(process, order.clone())?;
        }
        self.start_attempt(process, order)
    }

    /// The unfair driver's orders have their turn when the favourite has nothing in flight.
    fn obey_what_was_set_aside(&mut self, process: &mut Process) -> Result<(), Wrong> {
        let favourite = &self.plan.places[0].tenant;
        let busy = process.flights.keys().any(|key| key.tenant == *favourite);
        if busy || process.draining {
            return Ok(());
        }
        for order in std::mem::take(&mut process.set_aside) {
            self.start_attempt(process, order)?;
        }
        Ok(())
    }

    fn start_attempt(&mut self, process: &mut Process, order: Order) -> Result<(), Wrong> {
        self.judge_order(process, &order)?;
        if !process.loaded.contains(&order.delivery) {
            judge_turn(process, &order.key.tenant)?;
        }
        let Order { delivery, key, round, number, .. } = order;
        let site = (key.tenant.clone(), key.endpoint);
        if self.is_gone(self.accepted[&key]) {
            self.trace.note(self.now, Step::Unmade, Some(&key), [round.into(), number.into()]);
            self.counts.unmade += 1;
            self.store.gone.insert(key.tenant);
            let (life, input) = (process.life, Input::TenantGone { delivery });
            self.after(1, Happening::Give { life, input });
            return Ok(());
        }
        let flight = process.isolation.start(&site, self.now, &self.plan.settings);
        let flight = flight.map_err(|(invariant, what)| {
            format!("{invariant}: {what}: attempt {number} of round {round} of {key:?}")
        })?;
        self.counts.attempts += 1;
        self.trace.note(self.now, Step::Attempt, Some(&key), [round.into(), number.into()]);
        *process.flights_of.entry(site).or_default() += 1;
        process.flights.insert(key.clone(), flight);
        process.register.insert(key.clone(), (round, number));
        let fate = self.draw_fate(&key, number);
        self.counts.slow += u64::from(fate.takes_ms >= SLOW_MS);
        match fate.verdict {
            Verdict::Delivered => {}
            Verdict::Failed { .. } | Verdict::Gone => self.counts.failed += 1,
            Verdict::NotCharged { .. } => self.counts.not_charged += 1,
        }
        let life = process.life;
        if fate.reaches {
            let ms = self.chance.within((0, fate.takes_ms.min(50)));
            let survives = self.chance.permille(500);
            self.after(ms, Happening::Reach { life, survives, key: key.clone(), round, number });
        }
        let attempt = Attempt {
            number,
            at: self.now,
            duration_ms: u32::try_from(fate.takes_ms).expect("an attempt ends in time"),
            status_code: fate.status,
            verdict: fate.verdict,
            error: None,
            response: bytes::Bytes::new(),
            phases: PhaseTimings::default(),
        };
        self.after(fate.takes_ms, Happening::End { life, delivery, key, attempt });
        Ok(())
    }

    fn draw_fate(&mut self, key: &DeliveryKey, number: u32) -> Fate {
        let now = self.now;
        let ill = |(from, until): &(Timestamp, Timestamp)| *from <= now && now < *until;
        if !self.is_calm() && self.plan.local_faults.iter().any(ill) {
            return Fate::not_charged(&mut self.chance);
        }
        let calm = self.is_calm();
        let place = *self.accepted.get(key).expect("only what was accepted is attempted");
        let before = self.attempts_of[place];
        self.attempts_of[place] += 1;
        let attempt = Try { now, number, before, calm };
        let fate = self.plan.places[place].behaviour.meet(attempt, &mut self.chance);
        match fate.verdict {
            Verdict::Failed { .. } => {
                self.failing.insert(place);
            }
            Verdict::Delivered if self.failing.remove(&place) => {
                self.recovered.insert(place);
            }
            Verdict::Delivered | Verdict::Gone | Verdict::NotCharged { .. } => {}
        }
        fate
    }

    /// Whether this attempt may start now, as the store and the world see it.
    fn judge_order(&mut self, process: &Process, order: &Order) -> Result<(), Wrong> {
        let Order { key, round, number, payload, .. } = order;
        let named = |invariant: Invariant, what: &str| {
            Err(format!("{invariant}: {what}: attempt {number} of round {round} of {key:?}"))
        };
        if process.draining {
            return named(Invariant::NoAttemptAfterDrain, "started");
        }
        if process.flights.contains_key(key) {
            return named(Invariant::OnePlace, "already in flight");
        }
        let settings = &self.plan.settings;
        let site = (key.tenant.clone(), key.endpoint);
        let of_site = process.flights_of.get(&site).copied().unwrap_or(0);
        if process.flights.len() >= settings.in_flight_max
            || of_site >= settings.in_flight_per_endpoint_max
        {
            return named(Invariant::WithinCaps, "one too many in flight");
        }
        let Some(row) = self.store.rows.get(key) else {
            return named(Invariant::ExactRecovery, "not in the store");
        };
        if payload != &row.payload {
            return named(Invariant::ExactRecovery, "another payload");
        }
        if row.round > *round {
            if process.told.get(key).is_some_and(|told| told > round) {
                return named(Invariant::ExactRecovery, "the engine was told of a later round");
            }
            self.counts.overtaken += 1;
            return Ok(());
        }
        let Status::Owed(owed_as) = row.status else {
            return named(Invariant::ExactRecovery, "settled already");
        };
        if (row.round, row.attempts + 1) != (*round, *number) {
            return named(Invariant::ExactRecovery, "not the next one");
        }
        if row.interrupted >= INTERRUPTIONS_MAX {
            return named(Invariant::ExactRecovery, "cut off too often to be attempted");
        }
        let due = match owed_as {
            OwedAs::Timer(due) => due,
            OwedAs::Fresh => Timestamp::ZERO,
        };
        self.counts.retries += u64::from(due > Timestamp::ZERO);
        let hold = process.holds.get(&site).filter(|hold| hold.turn < process.turns);
        let hold_until = hold.map_or(Timestamp::ZERO, |hold| hold.until);
        if self.now < due.max(hold_until) {
            return named(Invariant::NeverEarly, "too early");
        }
        self.judge_lateness(process, due.max(hold_until), order)
    }

    fn judge_lateness(
        &self,
        process: &Process,
        due: Timestamp,
        order: &Order,
    ) -> Result<(), Wrong> {
        let since = due.max(process.started_at);
        let late = self.now.millis_since(since);
        match self.plan.late_ms_max {
            Some(most) if due > Timestamp::ZERO && late > most => {
                Err(format!("{late} ms late: attempt {} of {:?}", order.number, order.key))
            }
            _ => Ok(()),
        }
    }

    /// A request has reached its endpoint.
    pub(super) fn reach(&mut self, key: DeliveryKey, round: u32, number: u32) -> Result<(), Wrong> {
        self.trace.note(self.now, Step::Reached, Some(&key), [round.into(), number.into()]);
        let seen = self.seen.entry(key.clone()).or_default();
        let Some(found) = seen.iter_mut().find(|it| (it.0, it.1) == (round, number)) else {
            seen.push((round, number, 1));
            return Ok(());
        };
        found.2 += 1;
        self.counts.duplicates += 1;
        match self.excused.get_mut(&(key.clone(), round, number)) {
            Some(times) if *times > 0 => {
                *times -= 1;
                Ok(())
            }
            _ => Err(format!("repeated without a crash: {number} of round {round} of {key:?}")),
        }
    }

    /// An attempt has ended; the engine hears of it in the next turn.
    pub(super) fn end(&mut self, delivery: Delivery, key: &DeliveryKey, mut attempt: Attempt) {
        let deaf = self.is_mutant(Mutant::DeafToRetryAfter);
        let Some(process) = &mut self.process else { return };
        self.trace.note(self.now, Step::Attempted, Some(key), [attempt.number.into(), 0]);
        let site = (key.tenant.clone(), key.endpoint);
        if let Some(flight) = process.flights.remove(key) {
            process.isolation.land(&site, flight);
        }
        if let Some(flights) = process.flights_of.get_mut(&site) {
            *flights -= 1;
        }
        if let Verdict::NotCharged { .. } = attempt.verdict {
            process.register.remove(key);
        }
        if let Verdict::Failed { retry_after_ms: Some(wanted), class } = attempt.verdict {
            let until = self.now.plus_millis(wanted);
            let hold = Hold { until, turn: process.turns + 1 };
            let known = process.holds.entry(site.clone()).or_insert(hold);
            if known.until < until {
                *known = hold;
            }
            if deaf {
                attempt.verdict = Verdict::Failed { retry_after_ms: None, class };
            }
        }
        process.landed.insert(delivery, site);
        process.answers.push_back(Input::Attempted { delivery, attempt });
        let at = self.now.plus_millis(self.chance.within((0, 1)));
        self.wake(at);
    }
}

/// A tenant is given a turn: nobody who has waited ever since may have seen it given three of
/// them, which would be more than twice its own share (I8).
fn judge_turn(process: &mut Process, tenant: &TenantId) -> Result<(), Wrong> {
    process.queued.retain(|(other, _), _| other != tenant);
    let weight = process.isolation.weight(tenant);
    for ((other, _), given) in &mut process.queued {
        let turns = given.entry(tenant.clone()).or_default();
        *turns += 1;
        if *turns > 2 * weight {
            let fair = Invariant::FairTurns;
            return Err(format!("{fair}: {tenant} has had {turns} turns while {other} waits"));
        }
    }
    Ok(())
}

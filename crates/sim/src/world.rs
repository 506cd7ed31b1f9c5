//! The event loop: what happens next, and what it does to the store and to the process.

mod changes;
mod driver;
pub(crate) mod isolation;
mod judge;
mod storage;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use posthaste_domain::{DeliveryKey, EventId, Owed, OwedAs, Timestamp};
use posthaste_engine::{Engine, Input, Invariant, Options, Settings};

use crate::chance::Chance;
use crate::mutant::Mutant;
use crate::plan::{Millis, Plan, START};
use crate::process::{Happening, Op, Process, Site, Written};
use crate::report::Counts;
use crate::store::{Status, Store};
use crate::trace::{Step, Trace};

/// A world that goes on for so long after calm owes something for ever.
const AFTER_CALM_MS_MAX: u64 = 400 * 24 * 3_600_000;
/// A world in which more happens than this goes round in circles.
const HAPPENINGS_MAX: u64 = 20_000_000;
/// How long a process may take to drain.
const DRAIN_MS_MAX: u64 = 35_000;
/// Payloads are cut from this many bytes.
const PAYLOADS_LEN: u64 = 4_096;
/// The largest payload, in bytes.
const PAYLOAD_LEN_MAX: u64 = 2_000;

/// What went wrong.
pub(crate) type Wrong = String;

/// A world.
#[derive(Debug)]
pub(crate) struct World<'plan> {
    pub(crate) plan: &'plan Plan,
    pub(crate) chance: Chance,
    pub(crate) now: Timestamp,
    pub(crate) trace: Trace,
    pub(crate) counts: Counts,
    pub(crate) store: Store,
    pub(crate) process: Option<Process>,
    /// What each delivery's attempts did at the endpoint: round, number, requests seen.
    pub(crate) seen: BTreeMap<DeliveryKey, Vec<(u32, u32, u32)>>,
    /// Attempts that may be repeated, since a crash cut them off.
    pub(crate) excused: BTreeMap<(DeliveryKey, u32, u32), u32>,
    /// Events that got their promise, and where they go.
    pub(crate) accepted: BTreeMap<DeliveryKey, usize>,
    /// What the register on disk says was in flight when the process died.
    register: BTreeMap<DeliveryKey, (u32, u32)>,
    happenings: BTreeMap<(Timestamp, u64), Happening>,
    happened: u64,
    scheduled: u64,
    /// How many attempts each place has had.
    pub(crate) attempts_of: Vec<u64>,
    /// Places that have failed and have not delivered since.
    pub(crate) failing: BTreeSet<usize>,
    /// Places that delivered after they had failed.
    pub(crate) recovered: BTreeSet<usize>,
    life: u64,
    commits: u64,
    to_post: u64,
    payloads: Bytes,
    old_answers: BTreeMap<Site, (Vec<Owed>, bool)>,
    /// How each place is to be attempted at the moment.
    options: Vec<Options>,
}

impl<'plan> World<'plan> {
    /// A world before anything has happened.
    pub(crate) fn new(plan: &'plan Plan, text: bool) -> Self {
        let mut chance = Chance::new(plan.seed ^ 0x5eed);
        let payloads = (0..PAYLOADS_LEN / 8).flat_map(|_| chance.draw().to_le_bytes()).collect();
        let mut world = Self {
            plan,
            chance,
            now: START,
            trace: Trace::new(text),
            counts: Counts::default(),
            store: Store::new(plan.settings.schedule.clone(), changes::schedules(plan)),
            process: None,
            seen: BTreeMap::new(),
            excused: BTreeMap::new(),
            accepted: BTreeMap::new(),
            register: BTreeMap::new(),
            happenings: BTreeMap::new(),
            happened: 0,
            scheduled: 0,
            attempts_of: vec![0; plan.places.len()],
            failing: BTreeSet::new(),
            recovered: BTreeSet::new(),
            life: 0,
            commits: 0,
            to_post: plan.deliveries,
            payloads,
            old_answers: BTreeMap::new(),
            options: plan.places.iter().map(|place| place.options.clone()).collect(),
        };
        world.schedule_all();
        world
    }

    fn schedule_all(&mut self) {
        self.after(0, Happening::Start);
        let mut at = 0;
        for _ in 0..self.plan.deliveries {
            if !self.chance.permille(self.plan.burst_permille) {
                at = self.chance.within((0, self.plan.post_ms));
            }
            let place = self.draw_place();
            self.after(at, Happening::Post { place });
        }
        let span = self.plan.calm_at.millis_since(START);
        for _ in 0..self.plan.operations {
            let at = self.chance.within((0, span));
            self.after(at, Happening::Operate);
        }
        for _ in 0..self.plan.changes {
            let at = self.chance.within((0, span));
            self.after(at, Happening::Change);
        }
        for at in &self.plan.jumps {
            self.after(at.millis_since(START), Happening::Jump);
        }
        self.after(span, Happening::Calm);
    }

    fn draw_place(&mut self) -> usize {
        let weights = self.plan.places.iter().map(|place| place.weight);
        let mut at = self.chance.within((0, weights.clone().sum::<u64>() - 1));
        for (index, weight) in weights.enumerate() {
            match at.checked_sub(weight) {
                None => return index,
                Some(rest) => at = rest,
            }
        }
        0
    }

    /// Whether the time of faults is over.
    pub(crate) fn is_calm(&self) -> bool {
        self.now >= self.plan.calm_at
    }

    pub(crate) fn is_mutant(&self, mutant: Mutant) -> bool {
        self.plan.mutant == Some(mutant)
    }

    /// Makes something happen in so many milliseconds.
    pub(crate) fn after(&mut self, ms: u64, happening: Happening) {
        self.scheduled += 1;
        self.happenings.insert((self.now.plus_millis(ms), self.scheduled), happening);
    }

    fn draw_ms(&mut self, until_calm: Millis, calm: Millis) -> u64 {
        self.chance.within(if self.is_calm() { calm } else { until_calm })
    }

    /// Runs until everything that was accepted is settled.
    ///
    /// # Errors
    /// The first thing that went wrong.
    pub(crate) fn run(&mut self) -> Result<(), Wrong> {
        while !self.is_done() {
            let Some(((at, _), happening)) = self.happenings.pop_first() else {
                return Err(format!("nothing happens, and {} are owed", self.store.owed_count()));
            };
            // What was to happen while the clock jumped happens now.
            self.now = at.max(self.now);
            self.happened += 1;
            let late = at.millis_since(self.plan.calm_at) > AFTER_CALM_MS_MAX;
            if late || self.happened > HAPPENINGS_MAX {
                return Err(self.tell_what_is_left());
            }
            self.happen(happening)?;
        }
        if let Some(process) = self.process.take() {
            self.count_life(&process);
        }
        self.counts.recovered = self.recovered.len() as u64;
        self.counts.world_ms = self.now.millis_since(START);
        self.judge_everything()
    }

    fn tell_what_is_left(&self) -> Wrong {
        let (owed, happened) = (self.store.owed_count(), self.happened);
        let first = self.store.all_owed().next();
        let engine = self.process.as_ref().map(|process| &process.engine);
        let (troubled, stats) = engine.map(|it| (it.troubled(3), it.stats())).unwrap_or_default();
        format!(
            "{owed} still owed after {happened} happenings, the first {first:?}; \
             {troubled:?} {stats:?}"
        )
    }

    fn is_done(&self) -> bool {
        let ours = self.process.as_ref();
        self.is_calm()
            && self.to_post == 0
            && self.store.owed_count() == 0
            && ours.is_some_and(|it| it.register.is_empty() && it.engine.stats().held == 0)
    }

    fn happen(&mut self, happening: Happening) -> Result<(), Wrong> {
        if self.is_of_the_past(&happening) {
            return Ok(());
        }
        match happening {
            Happening::Post { place } => self.post(place),
            Happening::Operate => self.operate(),
            Happening::Retry { key } => self.write(Op::Requeue { key }),
            Happening::Start => self.start()?,
            Happening::Crash { .. } => self.crash(),
            Happening::Drain { .. } => self.drain(),
            Happening::DrainDeadline { .. } => self.end_process(),
            Happening::Turn { .. } => return self.turn(),
            Happening::Apply { .. } => return self.apply(),
            Happening::Acknowledge { .. } => self.acknowledge(),
            Happening::Take { life, read } => self.take(life, read),
            Happening::Give { input, .. } => self.give(input),
            Happening::Reach { key, round, number, .. } => return self.reach(key, round, number),
            Happening::End { delivery, key, attempt, .. } => self.end(delivery, &key, attempt),
            Happening::Change => self.change_options(),
            Happening::Jump => self.jump(),
            Happening::Calm => self.calm(),
        }
        Ok(())
    }

    /// Whether it was to happen in a process that is gone.
    fn is_of_the_past(&self, happening: &Happening) -> bool {
        let current = self.process.as_ref().map(|process| process.life);
        match happening {
            Happening::Reach { life, survives, .. } => !survives && current != Some(*life),
            Happening::Crash { life }
            | Happening::Drain { life }
            | Happening::DrainDeadline { life }
            | Happening::Apply { life }
            | Happening::Acknowledge { life }
            | Happening::Take { life, .. }
            | Happening::Give { life, .. }
            | Happening::End { life, .. } => current != Some(*life),
            Happening::Turn { life } => {
                current != Some(*life)
                    || self.process.as_ref().is_some_and(|it| it.turn_at != Some(self.now))
            }
            Happening::Post { .. }
            | Happening::Operate
            | Happening::Retry { .. }
            | Happening::Start
            | Happening::Change
            | Happening::Jump
            | Happening::Calm => false,
        }
    }

    fn post(&mut self, place: usize) {
        let ready = self.process.as_ref().is_some_and(|process| !process.draining);
        if !ready {
            let later = self.chance.within((500, 2_000));
            return self.after(later, Happening::Post { place });
        }
        // The id is made before the event waits for its commit, so ids come in out of order.
        let made_at = self.now.as_millis() - self.chance.within((0, 20));
        let place = if self.is_gone(place) { 0 } else { place };
        let entropy = u128::from(self.chance.draw());
        let event = EventId::from_parts(Timestamp::from_millis(made_at), entropy);
        let whose = &self.plan.places[place];
        let (tenant, endpoint) = (whose.tenant.clone(), whose.endpoint);
        let key = DeliveryKey { tenant, event, endpoint };
        let len = self.chance.within((2, PAYLOAD_LEN_MAX));
        let from = self.chance.within((0, PAYLOADS_LEN - len));
        let cut = |at: u64| usize::try_from(at).expect("below a few thousand");
        let payload = self.payloads.slice(cut(from)..cut(from + len));
        self.trace.note(self.now, Step::Posted, Some(&key), [len, 0]);
        self.write(Op::Accept { key, payload, place });
    }

    fn operate(&mut self) {
        let dead: fn(Status) -> bool = |status| matches!(status, Status::Dead(_));
        let waits: fn(Status) -> bool = |status| matches!(status, Status::Owed(OwedAs::Timer(_)));
        let wanted = if self.chance.permille(500) { dead } else { waits };
        let rows = self.store.rows.iter().filter(|(_, row)| wanted(row.status));
        let candidates: Vec<&DeliveryKey> = rows.map(|(key, _)| key).collect();
        if candidates.is_empty() || self.process.is_none() {
            return;
        }
        let key = candidates[self.chance.index(candidates.len())].clone();
        match self.store.rows[&key].status {
            Status::Dead(_) if self.chance.permille(300) => self.write(Op::Purge { key }),
            // In the last moment, so that the engine may not have heard of it when it is due.
            Status::Owed(OwedAs::Timer(due)) if self.chance.permille(700) => {
                let early = self.chance.within((0, 100));
                let wait = due.millis_since(self.now).saturating_sub(early);
                self.after(wait, Happening::Retry { key });
            }
            _ => self.write(Op::Requeue { key }),
        }
    }

    fn calm(&mut self) {
        self.trace.note(self.now, Step::Calm, None, [0, 0]);
        self.resume_all();
        if self.process.is_none() {
            return;
        }
        // Whoever died while things were bad gets another chance, if somebody asks for it.
        if self.plan.operations > 0 {
            let dead = |status| matches!(status, Status::Dead(_));
            let keys: Vec<_> = self.store.rows.iter().filter(|(_, row)| dead(row.status)).collect();
            let keys: Vec<_> = keys.into_iter().map(|(key, _)| key.clone()).collect();
            keys.into_iter().for_each(|key| self.write(Op::Requeue { key }));
        }
    }

    fn start(&mut self) -> Result<(), Wrong> {
        self.life += 1;
        for (key, (round, _)) in std::mem::take(&mut self.register) {
            self.store.interrupt(&key, round);
        }
        let engine = Engine::new(self.engine_settings(), self.chance.draw());
        let mut process = Process::new(self.life, self.now, engine);
        if !self.is_mutant(Mutant::ForgetBacklogAtStart) {
            for (tenant, endpoint, first) in self.store.owed_endpoints() {
                process.inbox.note((tenant, endpoint), first);
            }
        }
        let owed = self.store.owed_count() as u64;
        self.trace.note(self.now, Step::Started, None, [self.life, owed]);
        let lost = self
            .store
            .all_owed()
            .find(|owed| !process.engine.accounts_for(owed) && !process.inbox.accounts_for(owed))
            .cloned();
        self.process = Some(process);
        self.wake(self.now);
        let life = self.life;
        for (every, happening) in [
            (self.plan.process.crash_every_ms, Happening::Crash { life }),
            (self.plan.process.drain_every_ms, Happening::Drain { life }),
        ] {
            if let (Some(every), false) = (every, self.is_calm()) {
                let ms = self.chance.within(every);
                self.after(ms, happening);
            }
        }
        match lost {
            Some(owed) => {
                Err(format!("{}: not found at start: {owed:?}", Invariant::ExactRecovery))
            }
            None => Ok(()),
        }
    }

    fn engine_settings(&self) -> Settings {
        let mut settings = self.plan.settings.clone();
        if self.is_mutant(Mutant::HigherCaps) {
            settings.in_flight_max += 1;
            settings.in_flight_per_endpoint_max += 1;
        }
        if self.is_mutant(Mutant::SlowMayHaveAll) {
            settings.slow_percent_max = 100;
        }
        if self.is_mutant(Mutant::SteepRamps) {
            settings.ramp_first_per_s *= 50;
        }
        settings
    }

    fn crash(&mut self) {
        if !self.is_calm() {
            self.kill();
        }
    }

    /// Ends the process where it stands.
    pub(crate) fn kill(&mut self) {
        let power = self.chance.permille(self.plan.process.power_cuts_permille);
        self.end_process();
        self.counts.crashes += 1;
        self.counts.power_cuts += u64::from(power);
        if power {
            self.trace.note(self.now, Step::PowerCut, None, [0, 0]);
            for (key, round, number) in self.store.cut_power() {
                self.counts.cut_off += 1;
                *self.excused.entry((key, round, number)).or_default() += 1;
            }
        }
        if self.is_mutant(Mutant::LoseAccepted) {
            let lost = self.store.all_owed().next().map(|owed| owed.key.clone());
            lost.into_iter().for_each(|key| self.store.lose(&key));
        }
    }

    /// The process is gone, with everything in its memory.
    fn end_process(&mut self) {
        let Some(process) = self.process.take() else { return };
        self.trace.note(self.now, Step::Crashed, None, [process.register.len() as u64, 0]);
        self.count_life(&process);
        for (key, (round, number)) in &process.register {
            let row = &self.store.rows.get(key);
            let uncommitted = row.is_some_and(|row| {
                matches!(row.status, Status::Owed(_))
                    && row.round == *round
                    && row.attempts < *number
            });
            if uncommitted {
                self.counts.cut_off += 1;
                *self.excused.entry((key.clone(), *round, *number)).or_default() += 1;
            }
        }
        self.register = process.register;
        let durable = process.batch.iter().flat_map(|batch| &batch.written);
        let durable = durable.filter(|written| !matches!(written, Written::Failed));
        self.counts.lost_acks += durable.count() as u64;
        let unanswered = process.batch.into_iter().flat_map(|batch| batch.ops);
        for op in unanswered.chain(process.waiting) {
            let Op::Accept { key, place, .. } = op else { continue };
            if self.accepted.contains_key(&key) {
                // It is there, although its client will never know.
                self.to_post -= 1;
            } else {
                let later = self.chance.within((500, 5_000));
                self.after(later, Happening::Post { place });
            }
        }
        let down = self.chance.within(self.plan.process.down_ms);
        self.after(down, Happening::Start);
    }

    fn count_life(&mut self, process: &Process) {
        let stats = process.engine.stats();
        self.counts.refused += stats.refused;
        self.counts.trips += stats.trips;
        self.counts.spread += stats.spread;
    }

    fn drain(&mut self) {
        if self.is_calm() {
            return;
        }
        let deaf = self.is_mutant(Mutant::DeafToDrain);
        let Some(process) = &mut self.process else { return };
        if process.draining {
            return;
        }
        process.draining = true;
        let life = process.life;
        if !deaf {
            // Anywhere among what waits, so that some orders are not given out yet.
            let at = self.chance.index(process.answers.len() + 1);
            process.answers.insert(at, Input::Drain);
        }
        self.after(DRAIN_MS_MAX, Happening::DrainDeadline { life });
        self.wake(self.now);
    }

    /// The process has drained, and ends.
    pub(crate) fn finish_drain(&mut self) -> Result<(), Wrong> {
        let Some(process) = &self.process else { return Ok(()) };
        if !process.flights.is_empty() || !process.register.is_empty() {
            return Err(format!("drained with {} attempts in flight", process.flights.len()));
        }
        self.counts.drains += 1;
        self.trace.note(self.now, Step::Drained, None, [0, 0]);
        self.end_process();
        Ok(())
    }

    /// Gives the driver a turn, at this time or soon.
    pub(crate) fn wake(&mut self, at: Timestamp) {
        let Some(process) = &mut self.process else { return };
        let at = at.max(self.now);
        if process.turn_at.is_none_or(|turn_at| at < turn_at) {
            process.turn_at = Some(at);
            let life = process.life;
            self.after(at.millis_since(self.now), Happening::Turn { life });
        }
    }
}

//! Watches a running instance for its supervisor: says how it is once a second, pings while every
//! part makes progress, and asks for time while it drains.

use std::sync::Arc;
use std::time::Duration;

use posthaste_courier::Courier;
use posthaste_domain::Timestamp;
use posthaste_ports::Expiry;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info};

use super::notify::State;
use super::pulse::{CourierSeen, Pulse, Stuck};
use super::{Service, TICK};
use crate::admin::Admin;
use crate::clock::Clock;
use crate::lifecycle::{Fatal, Phase, spawn};

/// Looks at least so often within the supervisor's patience.
const LOOKS_PER_PATIENCE: u32 = 8;
/// A loop may stand still for this part of the supervisor's patience: the last ping before that
/// buys the whole patience, so that nothing shorter than it ends the process.
const PATIENCE_PER_LOOP: u32 = 2;
/// What a shard's work may take beyond one attempt: asking whose it is and where it goes, which
/// waits for DynamoDB as long as the SDK does.
const WORK_EXTRA: Duration = Duration::from_mins(2);
/// How much time a drain asks for at once: several looks, should one be late.
const DRAIN_ASKS: Duration = Duration::from_secs(10);
/// What a drain may take beyond its own limit: requests in progress, the courier, the ledger's
/// last sync. Whatever takes longer hangs, and is the supervisor's.
const DRAIN_EXTRA: Duration = Duration::from_mins(1);

/// What is watched.
pub(super) struct Watch {
    pub(super) service: Arc<Service>,
    pub(super) watched: Admin,
    pub(super) clock: Clock,
}

/// What is told; the last status is not repeated.
#[derive(Default)]
struct Told {
    status: String,
    stuck: Vec<Stuck>,
}

impl Watch {
    /// Watches until the instance has stopped.
    pub(super) async fn run(mut self) {
        let mut told = Told::default();
        self.while_running(&mut told).await;
        self.while_draining(&mut told).await;
    }

    async fn while_running(&mut self, told: &mut Told) {
        let patience = self.service.notifier.watchdog();
        let every = patience.map_or(TICK, |patience| TICK.min(patience / LOOKS_PER_PATIENCE));
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut vigil = patience.map(|patience| Vigil::begin(patience, &self.watched, &self.clock));
        let mut phase = self.watched.phase.clone();
        while *phase.borrow_and_update() == Phase::Running {
            if let Some(vigil) = &mut vigil {
                self.judge(vigil, told);
            }
            self.tell(told, &serving(&self.watched));
            tokio::select! {
                _ = ticks.tick() => {}
                changed = phase.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Pings where every part makes progress; says once which does not.
    fn judge(&self, vigil: &mut Vigil, told: &mut Told) {
        let stuck = vigil.look(&self.watched, &self.clock, self.service.attempt_max());
        if stuck.is_empty() {
            self.service.notifier.send(&[State::Watchdog]);
        }
        if stuck == told.stuck {
            return;
        }
        let named: Vec<_> = stuck.iter().map(Stuck::to_string).collect();
        let parts = named.join("; ");
        if stuck.is_empty() {
            info!("every part makes progress again");
        } else {
            error!(parts, "no progress: the supervisor ends this process if it lasts");
        }
        told.stuck = stuck;
    }

    async fn while_draining(&mut self, told: &mut Told) {
        let began_us = self.clock.monotonic_us();
        let drain_max = self.service.drain_max() + self.service.release_max() + DRAIN_EXTRA;
        let mut ticks = interval(TICK);
        let mut phase = self.watched.phase.clone();
        self.service.notifier.send(&[State::Stopping]);
        while *phase.borrow_and_update() == Phase::Draining {
            let took = Duration::from_micros(self.clock.monotonic_us() - began_us);
            if took < drain_max {
                self.service.notifier.send(&[State::Extend(DRAIN_ASKS)]);
            }
            self.tell(told, &draining(&self.watched));
            tokio::select! {
                _ = ticks.tick() => {}
                changed = phase.changed() => if changed.is_err() { return },
            }
        }
        self.tell(told, "stopped");
    }

    fn tell(&self, told: &mut Told, status: &str) {
        let status = self.service.with_note(status);
        if status != told.status {
            self.service.notifier.send(&[State::Status(&status)]);
            told.status = status;
        }
    }
}

/// The watch for progress.
struct Vigil {
    pulse: Pulse,
    /// The empty order that is on its way to the writer.
    asked: Option<JoinHandle<()>>,
    answers: u64,
}

impl Vigil {
    fn begin(patience: Duration, watched: &Admin, clock: &Clock) -> Self {
        let loop_max = patience / PATIENCE_PER_LOOP;
        let loop_us_max = u64::try_from(loop_max.as_micros()).unwrap_or(u64::MAX);
        let pulse = Pulse::new(loop_us_max, clock.monotonic_us());
        let mut vigil = Self { pulse, asked: None, answers: 0 };
        vigil.ask_writer(watched);
        vigil
    }

    fn look(&mut self, watched: &Admin, clock: &Clock, attempt_max: Duration) -> Vec<Stuck> {
        if self.asked.as_ref().is_none_or(JoinHandle::is_finished) {
            self.answers += 1;
            self.ask_writer(watched);
        }
        let work_max = attempt_max + WORK_EXTRA;
        let mut seen = watched.metrics.seen();
        seen.writer_answers = self.answers;
        seen.courier =
            watched.opened.get().and_then(|opened| opened.courier.as_deref()).map(seen_of);
        seen.work_us_max = u64::try_from(work_max.as_micros()).unwrap_or(u64::MAX);
        self.pulse.look(clock.monotonic_us(), &seen)
    }

    /// Sends an order that does nothing through the writer's queue. It is answered with the batch
    /// that it falls into, so a sync that hangs holds it too.
    fn ask_writer(&mut self, watched: &Admin) {
        let Some(ledger) = watched.opened.get().map(|opened| opened.ledger.clone()) else { return };
        self.asked = Some(spawn("the writer's watch", &watched.fatal, async move {
            // An error is an answer: what it means is told by those who need the writer.
            drop(Expiry::sweep(&ledger, Timestamp::ZERO, 0).await);
        }));
    }
}

fn seen_of(courier: &Courier) -> CourierSeen {
    let stats = courier.stats();
    CourierSeen {
        intake_rounds: stats.intake_rounds,
        has_unwritten: stats.unwritten > 0,
        writes: stats.outcomes_written
            + stats.outcomes_dropped
            + stats.throttled
            + stats.write_failures,
    }
}

fn serving(watched: &Admin) -> String {
    let metrics = &watched.metrics;
    let [delivered, put_off, dead] = metrics.settled();
    let courier = watched.opened.get().and_then(|opened| opened.courier.as_ref());
    let came = match courier {
        Some(courier) => format!("{} taken from the queue", courier.stats().taken),
        None => format!("{} accepted", metrics.accepted()),
    };
    let (held, in_flight) = (metrics.held(), metrics.in_flight());
    let counts = format!(
        "{came}, {delivered} delivered, {put_off} put off, {dead} dead-lettered; {held} held, \
         {in_flight} in flight"
    );
    let reasons = watched.reasons();
    if reasons.is_empty() {
        format!("serving: {counts}")
    } else {
        format!("not ready ({}): {counts}", reasons.join("; "))
    }
}

fn draining(watched: &Admin) -> String {
    let metrics = &watched.metrics;
    format!("draining: {} in flight, {} held", metrics.in_flight(), metrics.held())
}

/// Runs a watch as a task of its own.
pub(super) fn begin(watch: Watch, fatal: &Fatal) {
    drop(spawn("the service's watch", fatal, watch.run()));
}

//! A world from its beginning until everything in it is settled.

use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use posthaste_domain::{EventStatus, RowKey};
use posthaste_ports::{Job, JobState};
use tokio::task::LocalSet;
use tokio::time::sleep;

use crate::clients::{Operators, Senders, change};
use crate::daemon::{Control, Daemon};
use crate::endpoint::Fate;
use crate::jobs::Disk;
use crate::judge::Request;
use crate::plan::Plan;
use crate::report::Report;
use crate::trace::Who;
use crate::world::{State, World};
use posthaste_sim::Chance;

/// After so long in calm everything must be settled, in milliseconds: an hour for a clock that was
/// an hour ahead when it wrote a lease and one more for one that was set back and judges none,
/// one that an endpoint asked for, and some leases.
const SETTLED_WITHIN_MS: u64 = 5 * 3_600_000;
/// How often somebody looks whether all is settled.
const LOOK_EVERY: Duration = Duration::from_secs(2);

type Disks = Rc<Vec<Arc<Mutex<Disk>>>>;

/// Runs a world; gives what went wrong, and when.
pub(crate) fn run(plan: Plan, aloud: bool) -> Result<Report, (u64, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|error| (0, format!("no runtime: {error}")))?;
    LocalSet::new().block_on(&runtime, run_here(plan, aloud))
}

async fn run_here(plan: Plan, aloud: bool) -> Result<Report, (u64, String)> {
    let world = World::new(plan, aloud);
    let daemons = world.plan.fleet.daemons;
    let disks: Disks = Rc::new((0..daemons).map(|_| Arc::default()).collect());
    let controls: Vec<Rc<Control>> = (0..daemons).map(|_| Control::new()).collect();
    for (index, control) in controls.iter().enumerate() {
        let (world, disks) = (Arc::clone(&world), Rc::clone(&disks));
        let daemon = Daemon { world, index, control: Rc::clone(control), disks };
        tokio::task::spawn_local(daemon.live());
    }
    let senders = Senders::new(&world);
    tokio::task::spawn_local(senders.clone().post_all());
    tokio::task::spawn_local(Operators::new(&world).work());
    tokio::task::spawn_local(change(Arc::clone(&world)));
    let end = Ending { world: &world, controls: &controls, disks: &disks, senders: &senders };
    tokio::select! {
        biased;
        () = world.wrong.notified() => {}
        () = script(&world, &controls) => {}
        () = end.come() => {}
    }
    world.lock().report()
}

/// Lets happen what the plan says. Never ends.
async fn script(world: &World, controls: &[Rc<Control>]) {
    for fault in &world.plan.faults {
        let now = world.ms();
        if fault.at_ms > now {
            sleep(Duration::from_millis(fault.at_ms - now)).await;
        }
        controls[fault.daemon].happen(world, fault.daemon, fault.what);
    }
    std::future::pending().await
}

/// How a world ends.
struct Ending<'a> {
    world: &'a World,
    controls: &'a [Rc<Control>],
    disks: &'a Disks,
    senders: &'a Senders,
}

impl Ending<'_> {
    async fn come(&self) {
        let calm_ms = self.world.plan.calm_ms;
        loop {
            sleep(LOOK_EVERY).await;
            let ms = self.world.ms();
            if ms < calm_ms {
                continue;
            }
            self.world.lock().fuses.clear();
            let Some(unsettled) = self.unsettled() else {
                let mut state = self.world.lock();
                state.counts.settled_ms = ms - calm_ms;
                state.counts.world_ms = ms;
                return;
            };
            if ms > calm_ms + SETTLED_WITHIN_MS {
                return self.world.fail(format!("P5: not settled: {unsettled}"));
            }
        }
    }

    /// Something that is not settled.
    fn unsettled(&self) -> Option<String> {
        if self.senders.left.get() > 0 {
            return Some("events are not posted yet".to_owned());
        }
        for (index, control) in self.controls.iter().enumerate() {
            let courier = control.courier.borrow();
            let Some(courier) = courier.as_ref() else { return Some(format!("{index} is down")) };
            let stats = courier.stats();
            if stats.held > 0 || stats.unwritten > 0 {
                return Some(format!("daemon {index} holds {stats:?}"));
            }
            let disk = self.disks[index].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let state = self.world.lock();
            if let Some(job) = disk.all().into_iter().find(|job| state.is_owed(job)) {
                return Some(format!("daemon {index} has a job: {job:?}"));
            }
        }
        let state = self.world.lock();
        let is_open = |key: &&RowKey| match state.table.row(key) {
            Some(row) => !row.is_final(),
            None => !state.judge.expired.contains_key(*key),
        };
        if let Some(key) = state.judge.promised().find(is_open) {
            return Some(format!("{key:?} is {:?}", state.table.row(key)));
        }
        let left = state.mail[0].len();
        (left > 0).then(|| format!("{left} messages in the main queue"))
    }
}

impl State {
    /// What a request comes to at its endpoint.
    pub(crate) fn meet(
        &mut self,
        (ms, calm): (u64, bool),
        plan: &Plan,
        request: &Request<'_>,
    ) -> Fate {
        let tenant = plan.tenants.iter().find(|tenant| tenant.id == request.key.tenant);
        let tenant = tenant.expect("only tenants of the plan have events");
        let chance: &mut Chance = &mut self.chance;
        tenant.behaviour.meet((ms, request.number, calm), chance)
    }

    /// Whether a job has to come to an end. A timer of a row that is not its daemon's any more may
    /// stay until the next start, where a full inbox kept it from the engine.
    fn is_owed(&self, job: &Job) -> bool {
        match job.state {
            JobState::CutOff { .. } => false,
            JobState::Unwritten(_) | JobState::Dying { .. } => true,
            JobState::Waiting { .. } => {
                let (tenant, event) = (job.key.tenant.clone(), job.key.event);
                let row = self.table.row(&RowKey { tenant, event });
                let lease = row.filter(|row| row.round == job.round);
                let lease = lease.and_then(|row| row.lease.as_ref());
                lease.is_some_and(|lease| lease.epoch == job.epoch)
            }
        }
    }

    /// Whether an attempt of this event ends the daemon that makes it.
    pub(crate) fn is_killer(&self, key: &RowKey) -> bool {
        self.killer.as_ref() == Some(key)
    }

    fn report(&mut self) -> Result<Report, (u64, String)> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        if let Some(what) = self.coverage.unlisted() {
            return Err((self.counts.world_ms, format!("came to what no list has: {what}")));
        }
        let mut counts = self.counts;
        for key in self.judge.promised() {
            let status = self.table.row(key).map(|row| row.status);
            match status.or_else(|| self.judge.expired.get(key).copied()) {
                Some(EventStatus::Delivered) => counts.delivered += 1,
                Some(EventStatus::Dlq) => counts.dead_lettered += 1,
                Some(EventStatus::Purged) => counts.purged += 1,
                _ => {}
            }
        }
        (counts.duplicates, counts.excused) = (self.judge.duplicates, self.judge.excused);
        self.trace.note(counts.world_ms, Who::World, "settled", (None, [counts.turns, 0]));
        let (coverage, per_second) = (self.coverage.clone(), self.per_second.clone());
        let (hits, trace_hash) = (self.extras.hits, self.trace.hash());
        Ok(Report { counts, coverage, per_second, hits, trace_hash })
    }
}

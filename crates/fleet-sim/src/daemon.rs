//! A daemon: the real courier and real engines, started, run, paused, killed and drained.

mod control;
mod pausing;

pub(crate) use control::Control;

use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use posthaste_courier::{
    CachedTenants, Clock as _, Courier, Disk as Whose, Ports, Settings, Stats,
};
use posthaste_domain::{InstanceId, RowKey};
use posthaste_ports::{JobState, ShardSpec, TenantStore};
use posthaste_protocol::{AtStart, Local, at_start};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use self::pausing::Pausing;
use crate::clock::DaemonClock;
use crate::cloud::{DEAD, Line, MAIN, QueuePort, RowsPort};
use crate::driver::{Inboxes, Order, Shard, Tools};
use crate::failpoint::{Site, Step};
use crate::jobs::{Disk, DiskPort};
use crate::plan::{DiskFate, FaultKind};
use crate::tenants::Tenants;
use crate::trace::Who;
use crate::world::World;

/// How long a drain waits for attempts, in milliseconds.
const DRAIN_MS: u64 = 35_000;
/// How long a stop waits for outcomes to be written, in milliseconds.
const FINISH_MS: u64 = 5_000;
/// What it may take to give away its leases, in milliseconds.
const RELEASE_MS: u64 = 480_000;
/// How often somebody looks whether memory is bounded.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// One daemon through all its lives.
pub(crate) struct Daemon {
    pub(crate) world: Arc<World>,
    pub(crate) index: usize,
    pub(crate) control: Rc<Control>,
    /// The disks of the whole fleet: one may come back as a copy of another.
    pub(crate) disks: Rc<Vec<Arc<Mutex<Disk>>>>,
}

impl Daemon {
    fn name(&self) -> InstanceId {
        let number =
            if self.world.plan.fleet.same_name && self.index == 1 { 0 } else { self.index };
        InstanceId::try_new(&format!("daemon-{number}")).expect("not empty")
    }

    fn who(&self) -> Who {
        Who::Daemon(self.index)
    }

    /// Lives, dies and lives again, for ever.
    pub(crate) async fn live(self) {
        let mut life = 0_u64;
        loop {
            life += 1;
            self.world.note(self.who(), "starts", None, [life, 0]);
            let ended = tokio::select! {
                biased;
                killed = self.control.killed(&self.world, self.index) => killed,
                ended = Pausing::new(Box::pin(self.run(life)), self.index, &self.world) => ended,
            };
            self.world.note(self.who(), "ends", None, [life, 0]);
            self.control.courier.take();
            {
                let mut state = self.world.lock();
                state.judge.ended(self.index);
                state.fuses.remove(&self.index);
            }
            self.lose(ended.0);
            sleep(Duration::from_millis(self.down_ms(ended.1))).await;
        }
    }

    /// In calm nobody stays away for long.
    fn down_ms(&self, wanted: u64) -> u64 {
        let until_calm = self.world.plan.calm_ms.saturating_sub(self.world.ms());
        wanted.min(until_calm.max(10))
    }

    /// What becomes of the disk.
    fn lose(&self, fate: DiskFate) {
        let ms = self.world.ms();
        let mut disk = self.port().lock().take_out();
        let mut state = self.world.lock();
        match fate {
            DiskFate::Kept => {}
            DiskFate::PowerCut(lost_ms) | DiskFate::Torn(lost_ms) => {
                state.counts.lost_disks += 1;
                let since = ms.saturating_sub(lost_ms);
                let is_torn = matches!(fate, DiskFate::Torn(_));
                let lost = match is_torn {
                    true => disk.tear_since(since, &mut state.chance),
                    false => disk.lose_since(since),
                };
                if !lost.is_empty() {
                    let kind = if is_torn { FaultKind::Torn } else { FaultKind::PowerCut };
                    state.coverage.hit(kind);
                }
                for key in lost {
                    state.judge.forgotten(&RowKey { tenant: key.tenant, event: key.event });
                }
            }
            DiskFate::Lost => {
                state.counts.lost_disks += 1;
                if !disk.all().is_empty() {
                    state.coverage.hit(FaultKind::LostDisk);
                }
                disk = Disk::default();
            }
            DiskFate::CopyOf(other) if other == self.index => {}
            DiskFate::CopyOf(other) => {
                state.counts.copied_disks += 1;
                state.coverage.hit(FaultKind::CopiedDisk);
                let source = DiskPort { disk: Arc::clone(&self.disks[other]), ..self.port() };
                disk = source.lock().copied();
                if disk.owner.as_ref() == Some(&self.name()) {
                    for job in disk.all() {
                        let key = RowKey { tenant: job.key.tenant, event: job.key.event };
                        state.judge.copied(&key);
                    }
                }
            }
        }
        drop(state);
        self.port().lock().put_back(disk);
    }

    fn port(&self) -> DiskPort {
        let (world, disk) = (Arc::clone(&self.world), Arc::clone(&self.disks[self.index]));
        DiskPort { world, daemon: self.index, disk }
    }

    fn settings(&self, life: u64) -> Settings {
        let fleet = &self.world.plan.fleet;
        Settings {
            intake_polls: fleet.intake_polls,
            held_max: fleet.held_max,
            held_per_tenant_max: fleet.held_per_tenant_max,
            held_bytes_max: fleet.held_bytes_max,
            sweep_pause_ms: fleet.sweep_pause_ms,
            poll_wait_ms: fleet.poll_wait_ms,
            row_writers: fleet.row_writers,
            row_batch_max: fleet.row_batch_max,
            seed: self.world.plan.seed.wrapping_mul(31).wrapping_add(life * 7 + self.index as u64),
            ..Settings::new(self.name())
        }
    }

    fn tools(&self, life: u64, inboxes: &Inboxes) -> Tools {
        let line = Line { world: Arc::clone(&self.world), who: self.who() };
        let clock = DaemonClock { world: Arc::clone(&self.world), daemon: self.index };
        let tenants: Arc<dyn TenantStore> = Arc::new(CachedTenants::new(
            Arc::new(Tenants { line: line.clone() }),
            Arc::new(clock.clone()),
        ));
        let disk = self.port();
        let ports = Ports {
            rows: Arc::new(RowsPort { line: line.clone(), name: Some(self.name()) }),
            queue: Arc::new(QueuePort { line: line.clone(), which: MAIN }),
            dead: Arc::new(QueuePort { line, which: DEAD }),
            jobs: Arc::new(disk.clone()),
            tenants: Arc::clone(&tenants),
            arrivals: Arc::new(inboxes.clone()),
            clock: Arc::new(clock.clone()),
        };
        let courier = Arc::new(Courier::new(self.settings(life), ports));
        let (world, daemon) = (Arc::clone(&self.world), self.index);
        Tools { world, daemon, courier, tenants, disk, clock }
    }

    /// One life, until it is told to stop; gives what becomes of the disk, and for how long it
    /// stays away.
    async fn run(&self, life: u64) -> (DiskFate, u64) {
        let fleet = &self.world.plan.fleet;
        let inboxes = Inboxes::new(fleet.shards, fleet.inbox_max);
        self.begin();
        let tools = self.tools(life, &inboxes);
        *self.control.courier.borrow_mut() = Some(Arc::clone(&tools.courier));
        if life > 1 && tools.line().at(Site::Before(Step::Open), None).await.is_err() {
            return (DiskFate::Kept, 1_000);
        }
        let whose = self.open_disk(&tools);
        if let Err(error) = tools.courier.start(whose).await {
            if tools.disk.lock().is_broken {
                return (DiskFate::Kept, 1_000);
            }
            self.world.fail(format!("a courier cannot start: {error}"));
        }
        let (order, orders) = watch::channel(Order::Run);
        let (stop, stopped) = watch::channel(false);
        let mut parts: FuturesUnordered<_> = tools.courier.parts(&stopped).into_iter().collect();
        let mut shards = FuturesUnordered::new();
        for (index, inbox) in (0..).zip(inboxes.0) {
            let spec = ShardSpec { index, count: fleet.shards };
            let seed = self.world.plan.seed ^ (life << 8) ^ u64::from(index);
            shards.push(Shard::new(spec, tools.clone(), inbox).work(seed, orders.clone()));
        }
        let working = async { while parts.next().await.is_some() {} };
        let script = async {
            let told = tokio::select! {
                biased;
                told = Control::told_to_stop(&self.world, self.index) => told,
                () = self.watch(&tools.courier) => (DiskFate::Kept, 0),
                () = async { while shards.next().await.is_some() {} } => (DiskFate::Kept, 0),
            };
            self.world.note(self.who(), "drains", None, [0; 2]);
            stop.send_replace(true);
            order.send_replace(Order::Drain);
            let drained = async { while shards.next().await.is_some() {} };
            // What is not over by then is cut off.
            drop(timeout(Duration::from_millis(DRAIN_MS), drained).await);
            shards.clear();
            tools.courier.finish(FINISH_MS).await;
            if told.0 == DiskFate::Lost {
                // What is not given away waits for the end of its lease.
                drop(tools.courier.release_leases(RELEASE_MS).await);
            }
            let mut state = self.world.lock();
            state.counts.drains += 1;
            let is_replaced = told.0 == DiskFate::Lost;
            state.coverage.hit(if is_replaced { FaultKind::Replace } else { FaultKind::Drain });
            drop(state);
            told
        };
        tokio::pin!(working, script);
        let mut works = true;
        loop {
            tokio::select! {
                biased;
                told = &mut script => return told,
                () = &mut working, if works => works = false,
            }
        }
    }

    fn begin(&self) {
        let ms = self.world.ms();
        let mut state = self.world.lock();
        state.clocks.start(self.index, ms);
        state.judge.started(self.index, &self.name());
    }

    /// Opens the disk: whose it is, and what the last end cut off.
    fn open_disk(&self, tools: &Tools) -> Whose {
        let (ms, now) = (self.world.ms(), tools.clock.now());
        let mut disk = tools.disk.lock();
        let own = disk.owner.as_ref().is_none_or(|owner| *owner == self.name());
        let whose = if own { Whose::Own } else { Whose::Foreign };
        disk.owner = Some(self.name());
        disk.is_broken = false;
        let cut_off = disk.count_cut_off(ms, now);
        let noted = cut_off.iter().filter(|(_, is_new)| *is_new).count() as u64;
        let mut state = self.world.lock();
        state.coverage.saw("job none to cut off", noted);
        for (key, _) in cut_off {
            state.judge.cut_off(&RowKey { tenant: key.tenant, event: key.event });
        }
        for job in disk.all() {
            let round = job.round;
            let local = match job.state {
                JobState::Unwritten(_) => Local::Unwritten { round },
                JobState::Waiting { .. } => Local::Waiting { round },
                JobState::Dying { .. } => Local::Dying { round },
                JobState::CutOff { .. } => Local::Unknown,
            };
            let decision = match at_start(local, whose) {
                AtStart::Replay => "at_start replay",
                AtStart::Schedule => "at_start schedule",
                AtStart::Forget => "at_start forget",
                AtStart::Keep => "at_start keep",
            };
            state.coverage.saw(decision, 1);
        }
        whose
    }

    /// Memory is bounded, and what was decided is counted.
    async fn watch(&self, courier: &Courier) {
        let mut seen = Stats::default();
        let fleet = &self.world.plan.fleet;
        let held_max = fleet.held_max + 10 * fleet.intake_polls;
        let unwritten_max = held_max + fleet.engine.settling_max * fleet.shards as usize;
        loop {
            sleep(LOOK_EVERY).await;
            let stats = courier.stats();
            self.count(&seen, &stats);
            seen = stats;
            if stats.held > held_max as u64 {
                self.world.fail(format!("{} messages held, {held_max} at most", stats.held));
            }
            if stats.unwritten > unwritten_max as u64 {
                self.world.fail(format!("{} unwritten, {unwritten_max} at most", stats.unwritten));
            }
        }
    }

    fn count(&self, before: &Stats, now: &Stats) {
        let mut state = self.world.lock();
        let cover = &mut state.coverage;
        cover.saw("on_receive deliver", now.taken - before.taken);
        cover.saw("on_receive read_row", now.rows_read - before.rows_read);
        cover.saw("on_receive delete", now.copies_deleted - before.copies_deleted);
        cover.saw("on_receive leave", now.left_alone - before.left_alone);
        cover.saw("on_receive renew", now.copies_renewed - before.copies_renewed);
        cover.saw("permit renewed lease", now.reclaimed - before.reclaimed);
    }
}

//! What the script says to a daemon.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use posthaste_courier::Courier;
use tokio::sync::Notify;

use crate::plan::{DiskFate, FaultKind, Happening};
use crate::world::World;

/// How long a daemon stays away that a fuse or an event has killed, in milliseconds.
const KILLED_MS: u64 = 1_000;

/// Orders to one daemon.
#[derive(Default)]
pub(crate) struct Control {
    crash: Cell<Option<(DiskFate, u64)>>,
    /// What becomes of the disk when the fuse blows.
    fuse: Cell<Option<DiskFate>>,
    rung: Notify,
    /// The courier of the present life.
    pub(crate) courier: RefCell<Option<Arc<Courier>>>,
}

impl Control {
    pub(crate) fn new() -> Rc<Self> {
        Rc::default()
    }

    /// Lets something happen to the daemon, if it lives.
    pub(crate) fn happen(&self, world: &World, daemon: usize, what: Happening) {
        if self.courier.borrow().is_none() {
            return;
        }
        match what {
            Happening::Crash(disk, down_ms) => {
                if disk == DiskFate::Kept {
                    world.hit(FaultKind::Crash);
                }
                self.crash.set(Some((disk, down_ms)));
                self.rung.notify_one();
            }
            Happening::Fuse(disk, steps) => {
                self.fuse.set(Some(disk));
                world.lock().fuses.insert(daemon, steps);
            }
            Happening::Pause(lasts_ms) => world.stall(daemon, lasts_ms),
            Happening::Drain(down_ms) => self.stop(world, daemon, (DiskFate::Kept, down_ms)),
            Happening::Replace(down_ms) => self.stop(world, daemon, (DiskFate::Lost, down_ms)),
            Happening::Step(off_ms) => {
                world.hit(FaultKind::ClockSteps);
                world.lock().clocks.step(daemon, off_ms);
            }
        }
    }

    #[expect(clippy::unused_self, reason = "an order to this daemon")]
    fn stop(&self, world: &World, daemon: usize, how: (DiskFate, u64)) {
        world.lock().extras.stops.insert(daemon, how);
        world.told[daemon].notify_one();
    }

    /// Resolves when the daemon dies.
    pub(super) async fn killed(&self, world: &World, daemon: usize) -> (DiskFate, u64) {
        self.crash.set(None);
        let killed = tokio::select! {
            biased;
            killed = self.crashed() => killed,
            () = world.blown[daemon].notified() => {
                let by_failpoint = world.lock().extras.ends.remove(&daemon);
                let fused = self.fuse.take();
                if fused == Some(DiskFate::Kept) && by_failpoint.is_none() {
                    world.hit(FaultKind::Fuse);
                }
                by_failpoint.unwrap_or_else(|| (fused.unwrap_or(DiskFate::Kept), KILLED_MS))
            }
        };
        world.lock().counts.crashes += 1;
        killed
    }

    async fn crashed(&self) -> (DiskFate, u64) {
        loop {
            if let Some(crash) = self.crash.take() {
                return crash;
            }
            self.rung.notified().await;
        }
    }

    /// Resolves when the daemon is told to stop.
    pub(super) async fn told_to_stop(world: &World, daemon: usize) -> (DiskFate, u64) {
        loop {
            let told = world.lock().extras.stops.remove(&daemon);
            if let Some(told) = told {
                return told;
            }
            world.told[daemon].notified().await;
        }
    }
}

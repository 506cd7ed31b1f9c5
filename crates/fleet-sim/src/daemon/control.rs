//! What the script says to a daemon.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use posthaste_courier::Courier;
use tokio::sync::Notify;

use crate::plan::{DiskFate, Happening};
use crate::trace::Who;
use crate::world::World;

/// How long a daemon stays away that a fuse or an event has killed, in milliseconds.
const KILLED_MS: u64 = 1_000;

/// Orders to one daemon.
#[derive(Default)]
pub(crate) struct Control {
    crash: Cell<Option<(DiskFate, u64)>>,
    /// What becomes of the disk when the fuse blows.
    fuse: Cell<Option<DiskFate>>,
    /// What becomes of the disk, and for how long it stays away.
    drain: Cell<Option<(DiskFate, u64)>>,
    rung: Notify,
    told: Notify,
    /// Until when it stands still.
    pub(crate) paused_until_ms: Cell<u64>,
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
        let ms = world.ms();
        match what {
            Happening::Crash(disk, down_ms) => {
                world.lock().counts.crashes += 1;
                self.crash.set(Some((disk, down_ms)));
                self.rung.notify_one();
            }
            Happening::Fuse(disk, steps) => {
                self.fuse.set(Some(disk));
                world.lock().fuses.insert(daemon, steps);
            }
            Happening::Pause(lasts_ms) => {
                self.paused_until_ms.set(ms + lasts_ms);
                world.note(Who::Daemon(daemon), "pauses", None, [lasts_ms, 0]);
                let mut state = world.lock();
                state.counts.pauses += 1;
                state.judge.paused(daemon, (ms, lasts_ms));
            }
            Happening::Drain(down_ms) => {
                self.drain.set(Some((DiskFate::Kept, down_ms)));
                self.told.notify_one();
            }
            Happening::Replace(down_ms) => {
                self.drain.set(Some((DiskFate::Lost, down_ms)));
                self.told.notify_one();
            }
            Happening::Step(off_ms) => world.lock().clocks.step(daemon, off_ms),
        }
    }

    /// Resolves when the daemon dies.
    pub(super) async fn killed(&self, world: &World, daemon: usize) -> (DiskFate, u64) {
        self.crash.set(None);
        loop {
            tokio::select! {
                biased;
                () = self.rung.notified() => {
                    if let Some(crash) = self.crash.take() {
                        return crash;
                    }
                }
                () = world.blown[daemon].notified() => {
                    world.lock().counts.crashes += 1;
                    return (self.fuse.take().unwrap_or(DiskFate::Kept), KILLED_MS);
                }
            }
        }
    }

    /// Resolves when the daemon is told to stop.
    pub(super) async fn told_to_stop(&self) -> (DiskFate, u64) {
        loop {
            if let Some(told) = self.drain.take() {
                return told;
            }
            self.told.notified().await;
        }
    }
}

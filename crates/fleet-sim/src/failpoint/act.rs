//! What happens when a failpoint is come to.

use std::collections::BTreeMap;
use std::time::Duration;

use posthaste_domain::RowKey;
use posthaste_ports::PortError;
use tokio::time::sleep;

use super::{Act, Site};
use crate::clients::Operators;
use crate::cloud::{Kind, Line, lost};
use crate::plan::{DiskFate, Window};
use crate::trace::Who;
use crate::world::World;

/// How long a service is out, in milliseconds.
const OUT_MS: u64 = 300_000;

/// What failpoints have begun, beside what the plan says.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    /// How often the failpoint's place was come to.
    seen: u64,
    /// How often something happened there.
    pub(crate) hits: u64,
    /// Daemons that are to end: their disk, and for how long they are down.
    pub(crate) ends: BTreeMap<usize, (DiskFate, u64)>,
    /// Daemons that are told to stop.
    pub(crate) stops: BTreeMap<usize, (DiskFate, u64)>,
    /// Until when daemons stand still.
    pub(crate) stalled_until_ms: BTreeMap<usize, u64>,
    /// Until when disks are full.
    pub(crate) full_until_ms: BTreeMap<usize, u64>,
    /// Until when attempts fail by our own fault.
    pub(crate) ours_until_ms: u64,
    /// When a service is out.
    pub(crate) windows: Vec<(Kind, Window)>,
}

impl Line {
    /// Somebody comes to a place in the order of writes.
    ///
    /// # Errors
    /// Where the step fails, or nobody hears that it was done.
    pub(crate) async fn at(&self, site: Site, key: Option<&RowKey>) -> Result<(), PortError> {
        match self.world.come_to(self.who, site, key) {
            None => Ok(()),
            Some(act) => self.act(act, key).await,
        }
    }

    async fn act(&self, act: Act, key: Option<&RowKey>) -> Result<(), PortError> {
        let mut act = act;
        loop {
            act = match act {
                Act::Requeue(then) => {
                    let operators = Operators::new(&self.world);
                    tokio::task::spawn_local(async move { operators.requeue_one().await });
                    *then
                }
                Act::Expire(then) => {
                    if let Some(key) = key {
                        self.world.lock().expire(key);
                    }
                    *then
                }
                act => return self.end_with(act, key).await,
            };
        }
    }

    async fn end_with(&self, act: Act, key: Option<&RowKey>) -> Result<(), PortError> {
        let ms = self.world.ms();
        let Who::Daemon(daemon) = self.who else {
            return match act {
                Act::End(..) | Act::Fail => Err(lost()),
                Act::Take(takes_ms) => {
                    sleep(Duration::from_millis(takes_ms)).await;
                    Ok(())
                }
                _ => Ok(()),
            };
        };
        match act {
            Act::End(disk, down_ms) => {
                self.world.lock().extras.ends.insert(daemon, (disk, down_ms));
                self.world.blown[daemon].notify_one();
                std::future::pending().await
            }
            Act::Fail => return Err(lost()),
            Act::Take(takes_ms) => sleep(Duration::from_millis(takes_ms)).await,
            Act::Stall(lasts_ms) => {
                self.world.stall(daemon, lasts_ms);
                if let Some(key) = key {
                    self.world.lock().judge.stood_still(key);
                }
                // The process is looked at again when it goes on.
                tokio::task::yield_now().await;
            }
            Act::Clock(off_ms) => self.world.lock().clocks.step(daemon, off_ms),
            Act::Out(kind, passes_permille) => {
                let window = Window { from_ms: ms, until_ms: ms + OUT_MS, passes_permille };
                self.world.lock().extras.windows.push((kind, window));
            }
            Act::Fill(lasts_ms) => {
                self.world.lock().extras.full_until_ms.insert(daemon, ms + lasts_ms);
            }
            Act::Ours(lasts_ms) => self.world.lock().extras.ours_until_ms = ms + lasts_ms,
            Act::Stop(disk, down_ms) => {
                self.world.lock().extras.stops.insert(daemon, (disk, down_ms));
                self.world.told[daemon].notify_one();
            }
            Act::DeleteTenant => {
                if let Some(key) = key {
                    self.world.lock().judge.tenant_deleted(&key.tenant, ms);
                }
            }
            Act::Requeue(_) | Act::Expire(_) => {}
        }
        Ok(())
    }
}

impl World {
    /// Whether something happens here now, and what.
    fn come_to(&self, who: Who, site: Site, key: Option<&RowKey>) -> Option<Act> {
        let failpoint = self.plan.failpoint?;
        let (place, act) = failpoint.place();
        if place != site || !failpoint.is_for(who, site) {
            return None;
        }
        let ms = self.ms();
        let mut state = self.lock();
        let is_final = key.and_then(|key| state.table.row(key)).is_some_and(|row| row.is_final());
        if matches!(act, Act::Expire(_)) && !is_final {
            return None;
        }
        // A poison event is one event, each time.
        let is_poison = self.plan.clients.killer.is_some();
        let is_killer = key.is_some_and(|key| state.is_killer(key));
        if is_poison && !is_killer {
            return None;
        }
        state.extras.seen += 1;
        if state.extras.seen != failpoint.nth && !is_poison {
            return None;
        }
        state.extras.hits += 1;
        let numbers = [u64::from(failpoint.row), failpoint.how as u64];
        state.trace.note(ms, who, "comes to the failpoint", (key, numbers));
        Some(act)
    }

    /// A daemon stands still from now on.
    pub(crate) fn stall(&self, daemon: usize, lasts_ms: u64) {
        let ms = self.ms();
        self.note(Who::Daemon(daemon), "pauses", None, [lasts_ms, 0]);
        let mut state = self.lock();
        state.extras.stalled_until_ms.insert(daemon, ms + lasts_ms);
        state.counts.pauses += 1;
        state.judge.paused(daemon, (ms, lasts_ms));
    }
}

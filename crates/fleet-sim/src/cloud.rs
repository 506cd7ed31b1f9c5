//! The cloud: a table and two queues, behind calls that take time and fail as the plan says.
//!
//! What a row write means is [`posthaste_domain::RowWrite::apply`]; what is seen of it, and when,
//! is decided here.

mod mail;
mod queue;
mod rows;
mod table;

pub(crate) use mail::{Mail, Shown};
pub(crate) use queue::QueuePort;
pub(crate) use rows::RowsPort;
pub(crate) use table::Table;

use std::sync::Arc;
use std::time::Duration;

use posthaste_domain::Timestamp;
use posthaste_ports::PortError;
use tokio::time::sleep;

use crate::clock::date;
use crate::plan::{FaultKind, Service};
use crate::trace::Who;
use crate::world::World;

/// The main queue's place among the two.
pub(crate) const MAIN: usize = 0;
/// The DLQ's.
pub(crate) const DEAD: usize = 1;

/// What becomes of a call, or of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Luck {
    /// It is done, and says so.
    Works,
    /// Nothing is done.
    Fails(PortError),
    /// It is done, and does not say so.
    LosesReply,
}

/// An answer of the table on its way: its date, and when what it answers was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dated {
    date: Timestamp,
    sent_ms: u64,
}

/// A caller's way to the cloud.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) world: Arc<World>,
    pub(crate) who: Who,
}

/// A service of the cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Rows,
    Queue,
}

impl Kind {
    /// What it is when calls fail, and when replies get lost.
    const fn call_faults(self) -> (FaultKind, FaultKind) {
        match self {
            Self::Rows => (FaultKind::RowsFail, FaultKind::RowsAmbiguous),
            Self::Queue => (FaultKind::QueueFails, FaultKind::QueueLosesReplies),
        }
    }

    /// What it is when it is throttled, when it is out, and when entries fail.
    const fn entry_faults(self) -> (FaultKind, FaultKind, FaultKind) {
        match self {
            Self::Rows => (FaultKind::RowsThrottled, FaultKind::RowsOut, FaultKind::RowsEntries),
            Self::Queue => {
                (FaultKind::QueueThrottled, FaultKind::QueueOut, FaultKind::QueueEntries)
            }
        }
    }
}

impl Line {
    pub(crate) fn service(&self, kind: Kind) -> &Service {
        match kind {
            Kind::Rows => &self.world.plan.rows,
            Kind::Queue => &self.world.plan.queue,
        }
    }

    /// The way there, or back.
    pub(crate) async fn travel(&self, kind: Kind) {
        self.world.count_busy();
        self.burn_fuse().await;
        let spared = self.who == Who::Client && self.world.plan.clients.spared;
        let latency = if spared { (0, 0) } else { self.service(kind).latency_ms };
        let ms = self.world.lock().chance.within(latency);
        if ms > 0 {
            sleep(Duration::from_millis(ms)).await;
        }
    }

    /// A fuse that is at its end ends the daemon at this very step.
    async fn burn_fuse(&self) {
        if let Who::Daemon(daemon) = self.who
            && self.is_fuse_at_its_end(daemon)
        {
            self.world.blown[daemon].notify_one();
            std::future::pending().await
        }
    }

    fn is_fuse_at_its_end(&self, daemon: usize) -> bool {
        let mut state = self.world.lock();
        let Some(left) = state.fuses.get_mut(&daemon) else { return false };
        *left = left.saturating_sub(1);
        let is_at_its_end = *left == 0;
        if is_at_its_end {
            state.fuses.remove(&daemon);
        }
        is_at_its_end
    }

    /// The table answers now what was sent then.
    pub(crate) fn dated(&self, sent_ms: u64) -> Dated {
        Dated { date: date(self.world.ms()), sent_ms }
    }

    /// The way back from the table, of an answer that bears its date, unless it gets lost.
    pub(crate) async fn come_back(&self, luck: &Luck, Dated { date, sent_ms }: Dated) {
        self.travel(Kind::Rows).await;
        if let (Who::Daemon(daemon), Luck::Works) = (self.who, luck) {
            let ms = self.world.ms();
            self.world.lock().clocks.hear(daemon, date, (sent_ms, ms));
        }
    }

    /// What becomes of a call.
    pub(crate) fn call_luck(&self, kind: Kind) -> Luck {
        let (fails, lost) = {
            let service = self.service(kind);
            (service.fails_permille, service.lost_permille)
        };
        if self.is_spared() {
            return Luck::Works;
        }
        let mut state = self.world.lock();
        let (of_fails, of_lost) = kind.call_faults();
        if state.chance.permille(fails) {
            state.coverage.hit(of_fails);
            return Luck::Fails(PortError::Transient("refused".to_owned()));
        }
        if state.chance.permille(lost) {
            state.coverage.hit(of_lost);
            return Luck::LosesReply;
        }
        Luck::Works
    }

    /// What becomes of an entry of a call that works.
    pub(crate) fn entry_luck(&self, kind: Kind) -> Luck {
        if self.is_spared() {
            return Luck::Works;
        }
        let ms = self.world.ms();
        let service = self.service(kind);
        let mut guard = self.world.lock();
        let state = &mut *guard;
        let begun = state.extras.windows.iter().filter(|(whose, _)| *whose == kind);
        let windows = service.windows.iter().chain(begun.map(|(_, window)| window));
        let windows = windows.filter(|it| it.from_ms <= ms && ms < it.until_ms);
        let (of_throttle, of_outage, of_entry) = kind.entry_faults();
        for window in windows {
            let fault = if window.passes_permille == 0 { of_outage } else { of_throttle };
            state.coverage.hit(fault);
            if window.passes_permille == 0 && state.chance.permille(100) {
                return Luck::LosesReply;
            }
            if !state.chance.permille(window.passes_permille) {
                return Luck::Fails(match window.passes_permille {
                    0 => PortError::Transient("out of service".to_owned()),
                    _ => PortError::Throttled { retry_after_ms: 100 },
                });
            }
        }
        if state.chance.permille(service.entries_permille) {
            state.coverage.hit(of_entry);
            return Luck::Fails(PortError::Transient("one entry failed".to_owned()));
        }
        Luck::Works
    }

    fn is_spared(&self) -> bool {
        self.world.is_calm() || (self.who == Who::Client && self.world.plan.clients.spared)
    }

    /// A call without entries, or one whose entries share their luck.
    pub(crate) fn luck(&self, kind: Kind) -> Luck {
        match self.call_luck(kind) {
            Luck::Works => self.entry_luck(kind),
            luck => luck,
        }
    }
}

/// A reply that never came.
pub(crate) fn lost() -> PortError {
    PortError::Transient("no reply".to_owned())
}

//! What faults excuse.

use posthaste_domain::{InstanceId, RowKey};

use super::cases::Open;
use super::{ENDED, Judge};
use crate::cloud::Shown;
use crate::plan::FaultKind as Kind;
use crate::trace::Who;
use crate::world::World;

/// A failure explains what happens within so many milliseconds: the longest time for which a
/// message or a lease that could not be renewed hides its event, and some more.
const EXPLAINS_MS: u64 = 420_000;
/// An outcome that is on its way for so many milliseconds is slow enough for others to step in.
const SLOW_MS: u64 = 100_000;
/// A daemon that stands still for less does no harm.
const PAUSE_MS: u64 = 20_000;

impl Judge {
    pub(crate) fn started(&mut self, daemon: usize, name: &InstanceId) {
        self.names.insert(daemon, name.clone());
    }

    /// A daemon has ended: what it had begun will be begun again.
    pub(crate) fn ended(&mut self, daemon: usize) {
        for key in self.open_of(daemon) {
            let open = self.open.remove(&(daemon, key.clone()));
            self.excuse(&key, ENDED);
            if let (Some(case), Some(open)) = (self.cases.get_mut(&key), open) {
                // What it heard is lost with it, or comes out of its outbox.
                case.rounds.entry(open.round).or_default().is_heard = false;
            }
        }
    }

    /// A daemon finds that its last end cut off an attempt.
    pub(crate) fn cut_off(&mut self, key: &RowKey) {
        if let Some(case) = self.cases.get_mut(key) {
            case.cut_off += 1;
        }
    }

    /// A daemon stands still from now on.
    pub(crate) fn paused(&mut self, daemon: usize, (ms, lasts_ms): (u64, u64)) {
        if lasts_ms < PAUSE_MS {
            return;
        }
        self.paused_ms.insert(daemon, ms + lasts_ms);
        for key in self.open_of(daemon) {
            self.excuse(&key, "a daemon stood still");
        }
    }

    /// A daemon stands still that is about to attempt this: it has asked whether it may, and will
    /// not ask again.
    pub(crate) fn stood_still(&mut self, key: &RowKey) {
        self.excuse(key, "a daemon stood still");
    }

    fn open_of(&self, daemon: usize) -> Vec<RowKey> {
        let open = self.open.keys().filter(|(whose, _)| *whose == daemon);
        open.map(|(_, key)| key.clone()).collect()
    }

    /// A disk came back without what it last knew of this delivery.
    pub(crate) fn forgotten(&mut self, key: &RowKey) {
        self.excuse(key, "a disk lost its last writes");
    }

    /// A job waits on two disks of one name.
    pub(crate) fn copied(&mut self, key: &RowKey) {
        self.excuse(key, "a disk runs twice");
    }

    pub(crate) fn hide_failed(&mut self, daemon: usize, ms: u64) {
        self.hide_failed_ms.insert(daemon, ms);
    }

    pub(crate) fn write_failed(&mut self, daemon: usize, ms: u64) {
        self.write_failed_ms.insert(daemon, ms);
    }

    /// A message is given back to the queue. Who stood still meanwhile has lost it before that.
    pub(crate) fn given_back(&self, who: Who, key: &RowKey) -> Result<(), String> {
        let Who::Daemon(daemon) = who else { return Ok(()) };
        let stood_still = |open: &Open| {
            self.paused_ms.get(&daemon).is_some_and(|until_ms| *until_ms > open.since_ms)
        };
        match self.open.get(&(daemon, key.clone())) {
            Some(open) if open.is_answered && !stood_still(open) => Err(format!(
                "the message of {key:?} is given back by {who:?}, which knows an outcome that is \
                 not in the row"
            )),
            _ => Ok(()),
        }
    }

    /// Somebody else gets a delivery of which attempts are open: whether faults explain that.
    pub(super) fn overlap(&mut self, key: &RowKey, ms: u64) {
        let of_key = self.open.iter().filter(|((_, its), _)| its == key);
        let open: Vec<(usize, Open)> = of_key.map(|((it, _), open)| (*it, *open)).collect();
        for (daemon, open) in open {
            let lately = |at: Option<&u64>| at.is_some_and(|at| at + EXPLAINS_MS >= ms);
            let is_explained = lately(self.hide_failed_ms.get(&daemon))
                || lately(self.write_failed_ms.get(&daemon))
                || lately(self.paused_ms.get(&daemon))
                || open.since_ms + SLOW_MS < ms;
            if is_explained {
                self.excuse(key, "its owner could not keep it");
            }
        }
    }
}

impl World {
    /// Somebody received a message of the main queue.
    pub(crate) fn received(&self, who: Who, shown: &Shown) {
        let Some((key, round)) = &shown.letter.event else { return self.hit(Kind::Strays) };
        let ms = self.ms();
        let mut guard = self.lock();
        let state = &mut *guard;
        let row = state.table.row(key);
        let is_settled = row.is_none_or(|row| row.is_final() || row.lease.is_some());
        let letter = &shown.letter;
        if shown.is_copy {
            state.counts.copies += 1;
            let has_come_back = letter.has_come_back;
            state.coverage.hit(if has_come_back { Kind::ComesBack } else { Kind::Copies });
        }
        for (is_so, kind) in
            [(shown.is_miscounted, Kind::Miscounts), (shown.is_reordered, Kind::Reorder)]
        {
            if is_so {
                state.coverage.hit(kind);
            }
        }
        if shown.is_miscounted {
            state.judge.excuse(key, "a receipt was not counted");
        } else if shown.is_copy && !is_settled {
            state.judge.excuse(key, "a message was shown twice");
        } else if shown.receives > 1 {
            state.judge.overlap(key, ms);
        }
        drop(guard);
        if let Who::Daemon(daemon) = who {
            self.expect_read(daemon, key, (*round, shown));
        }
    }
}

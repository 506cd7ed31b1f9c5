//! The world that everybody in a simulation shares: its time, its truth, its chance and its judge.
//!
//! One lock around everything, never held across an await; one thread, so nobody waits for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use posthaste_domain::{RowKey, Timestamp};
use posthaste_engine::Options;
use posthaste_protocol::Arriving;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock::Clocks;
use crate::cloud::{Mail, Table};
use crate::coverage::Coverage;
use crate::failpoint::Extras;
use crate::judge::Judge;
use crate::mutant::Mutant;
use crate::plan::{FaultKind, Plan, START};
use crate::report::Counts;
use crate::trace::{Trace, Who};
use posthaste_sim::Chance;

/// Calls and turns in one second of the world that are too many, events aside.
const BUSY_MAX: u64 = 30_000;

/// Everything that happens, and everybody who sees it.
pub(crate) struct World {
    pub(crate) plan: Plan,
    origin: Instant,
    state: Mutex<State>,
    /// Rings when a queue may have something to show.
    pub(crate) bells: [Notify; 2],
    /// Rings when a daemon's fuse has blown.
    pub(crate) blown: Vec<Notify>,
    /// Rings when a daemon is told to stop.
    pub(crate) told: Vec<Notify>,
    /// Rings when something is wrong.
    pub(crate) wrong: Notify,
}

/// The part that changes.
pub(crate) struct State {
    pub(crate) chance: Chance,
    pub(crate) trace: Trace,
    pub(crate) table: Table,
    /// The main queue and the DLQ.
    pub(crate) mail: [Mail; 2],
    pub(crate) judge: Judge,
    pub(crate) clocks: Clocks,
    pub(crate) counts: Counts,
    pub(crate) coverage: Coverage,
    /// Messages that daemons received last.
    pub(crate) arriving: BTreeMap<(usize, RowKey), Arriving>,
    /// How many steps of calls each daemon's fuse lasts.
    pub(crate) fuses: BTreeMap<usize, u64>,
    /// What failpoints have begun.
    pub(crate) extras: Extras,
    /// How each tenant's endpoint is to be attempted.
    pub(crate) options: Vec<Options>,
    /// What daemons are told about endpoints: which tenant's, and whether it is lifted.
    pub(crate) news: Vec<(usize, bool)>,
    /// The event whose attempt ends the daemon that makes it.
    pub(crate) killer: Option<RowKey>,
    /// Deliveries settled in each second.
    pub(crate) per_second: BTreeMap<u64, u64>,
    /// The first thing that went wrong.
    pub(crate) failure: Option<(u64, String)>,
    /// The second of the world, and calls and turns in it.
    busy: (u64, u64),
}

impl World {
    pub(crate) fn new(plan: Plan, aloud: bool) -> Arc<Self> {
        let daemons = plan.fleet.daemons;
        let mut coverage = Coverage::default();
        plan.swarm.kinds().for_each(|kind| coverage.drew(kind));
        let state = State {
            chance: Chance::new(plan.seed ^ 0x5eed_f1ee_7000_0000),
            trace: Trace::new(aloud),
            table: Table::default(),
            mail: [Mail::default(), Mail::default()],
            judge: Judge::new(&plan),
            clocks: Clocks::new(&plan.fleet),
            counts: Counts::default(),
            coverage,
            arriving: BTreeMap::new(),
            fuses: BTreeMap::new(),
            extras: Extras::default(),
            options: vec![Options::default(); plan.tenants.len()],
            news: Vec::new(),
            killer: None,
            per_second: BTreeMap::new(),
            failure: None,
            busy: (0, 0),
        };
        Arc::new(Self {
            origin: Instant::now(),
            state: Mutex::new(state),
            bells: [Notify::new(), Notify::new()],
            blown: (0..daemons).map(|_| Notify::new()).collect(),
            told: (0..daemons).map(|_| Notify::new()).collect(),
            wrong: Notify::new(),
            plan,
        })
    }

    /// Milliseconds since the world began.
    pub(crate) fn ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The right time.
    pub(crate) fn now(&self) -> Timestamp {
        START.plus_millis(self.ms())
    }

    /// Whether nothing fails any more.
    pub(crate) fn is_calm(&self) -> bool {
        self.ms() >= self.plan.calm_ms
    }

    pub(crate) fn has(&self, mutant: Mutant) -> bool {
        self.plan.mutant == Some(mutant)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A fault has hit something.
    pub(crate) fn hit(&self, kind: FaultKind) {
        self.lock().coverage.hit(kind);
    }

    /// Counts something that was reached.
    pub(crate) fn saw(&self, what: &'static str) {
        self.lock().coverage.saw(what, 1);
    }

    /// Notes a step in the trace.
    pub(crate) fn note(&self, who: Who, step: &'static str, key: Option<&RowKey>, n: [u64; 2]) {
        let ms = self.ms();
        self.lock().trace.note(ms, who, step, (key, n));
    }

    /// Something is wrong; only the first such thing counts.
    pub(crate) fn fail(&self, what: String) {
        let ms = self.ms();
        self.lock().failure.get_or_insert((ms, what));
        self.wrong.notify_one();
    }

    /// Takes a judgement.
    pub(crate) fn judge(&self, judged: Result<(), String>) {
        if let Err(what) = judged {
            self.fail(what);
        }
    }

    /// Counts a call or a turn: nobody may be busy without end.
    pub(crate) fn count_busy(&self) {
        let second = self.ms() / 1_000;
        let most = BUSY_MAX + 60 * self.plan.clients.events;
        let mut state = self.lock();
        if state.busy.0 != second {
            state.busy = (second, 0);
        }
        state.busy.1 += 1;
        state.counts.busiest = state.counts.busiest.max(state.busy.1);
        let spins = state.busy.1 == most;
        drop(state);
        if spins {
            self.fail(format!("{most} calls and turns within a second: somebody spins"));
        }
    }
}

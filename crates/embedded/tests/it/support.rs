//! A ledger in a directory of its own, and a clock that tests move.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use posthaste_embedded::{Commit, Ledger, Observer, OpenError, Recovery, Settings};
use posthaste_ports::ArrivalSink;
use posthaste_ports::memory::NullSink;
use tempfile::TempDir;

/// Time that stands still unless it is asked for, and a memory of what was told.
#[derive(Debug, Default)]
pub(crate) struct Witnessed {
    micros: AtomicU64,
    pub(crate) failures: Mutex<Vec<String>>,
    pub(crate) commits: Mutex<Vec<Commit>>,
}

impl Observer for Witnessed {
    fn monotonic_us(&self) -> u64 {
        // Each look is a millisecond later, so that what waits for time to pass sees it pass.
        self.micros.fetch_add(1000, Ordering::Relaxed)
    }

    fn committed(&self, commit: &Commit) {
        self.commits.lock().unwrap().push(*commit);
    }

    fn failed(&self, reason: &str) {
        self.failures.lock().unwrap().push(reason.to_owned());
    }
}

/// A directory for a ledger; outlives the ledgers that are opened on it.
#[derive(Debug)]
pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    pub(crate) fn settings(&self) -> Settings {
        let floor = 0;
        Settings {
            free_space_floor_bytes: floor,
            ballast_bytes: 0,
            ..Settings::new(self.0.path().join("data"))
        }
    }

    pub(crate) fn open_with(
        &self,
        settings: Settings,
        sink: Arc<dyn ArrivalSink>,
    ) -> Result<(Ledger, Recovery), OpenError> {
        Ledger::open(settings, sink, Arc::new(Witnessed::default()))
    }

    pub(crate) fn open(&self) -> (Ledger, Recovery) {
        self.open_with(self.settings(), Arc::new(NullSink)).expect("the ledger opens")
    }
}

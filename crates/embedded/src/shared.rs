//! What the writer, the keeper and all readers share.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::thread::Thread;

use foldhash::fast::RandomState;
use posthaste_domain::TenantId;
use posthaste_ports::{ArrivalSink, PortError, TenantRecord};

use crate::directory::Directory;
use crate::settings::{Commit, Observer, Settings};
use crate::space::Room;
use crate::tables::{ReadError, Tables};
use crate::turns::Turns;
use crate::witness::Proof;

/// Tenants kept in memory; beyond it the cache starts over. 20,000 take about 10 MB.
const TENANTS_CACHED_MAX: usize = 20_000;

/// Whether the ledger takes new events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Healthy,
    /// The disk is too full to promise anything new; what is owed is settled all the same.
    Full,
    /// A write or a sync has failed: nothing is written any more, the process must start again.
    Failed(String),
}

/// A ledger's figures. Those without "now" in their words only ever grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Commits.
    pub commits: u64,
    /// Commits that were synced before they were acknowledged.
    pub commits_synced: u64,
    /// Operations in all commits.
    pub operations: u64,
    /// Events accepted since this process opened the ledger.
    pub events_accepted: u64,
    /// Rows met that were not what was written.
    pub damaged_rows: u64,
    /// Operations that wait for the writer now.
    pub queued: u64,
    /// Bytes of all tables and journals now, as of the last second.
    pub disk_bytes: u64,
    /// Bytes of all journals now, as of the last second.
    pub journal_bytes: u64,
    /// Bytes in memtables now, as of the last second.
    pub memtable_bytes: u64,
    /// Free bytes on the disk now, as of the last second.
    pub free_bytes: u64,
    /// Whether the ballast is held now.
    pub ballast_held: bool,
    /// The newest commit that the witness proves.
    pub commit_witnessed: u64,
}

#[derive(Debug, Default)]
struct Counters {
    commits: AtomicU64,
    commits_synced: AtomicU64,
    operations: AtomicU64,
    events_accepted: AtomicU64,
    damaged_rows: AtomicU64,
    disk_bytes: AtomicU64,
    journal_bytes: AtomicU64,
    free_bytes: AtomicU64,
    ballast_held: AtomicBool,
    commit_witnessed: AtomicU64,
}

/// See the module's words.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) tables: Tables,
    pub(crate) sink: Arc<dyn ArrivalSink>,
    pub(crate) observer: Arc<dyn Observer>,
    /// No timer is due earlier. Lowered before the commit that makes it necessary can be seen.
    pub(crate) timers_low: AtomicU64,
    full: AtomicBool,
    failed: OnceLock<String>,
    synced: Mutex<Proof>,
    tenants: RwLock<TenantCache>,
    counters: Counters,
    keeper: OnceLock<Thread>,
    pub(crate) turns: Turns,
    // Last: the directory is unlocked when everything in it is closed.
    pub(crate) directory: Directory,
}

#[derive(Default)]
struct TenantCache {
    records: HashMap<TenantId, Arc<TenantRecord>, RandomState>,
    /// Counts changes, so that a reader that was overtaken does not bring back an old record.
    epoch: u64,
}

impl Shared {
    pub(crate) fn new(
        settings: Settings,
        tables: Tables,
        directory: Directory,
        sink: Arc<dyn ArrivalSink>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self {
            settings,
            tables,
            sink,
            observer,
            timers_low: AtomicU64::new(0),
            full: AtomicBool::new(false),
            failed: OnceLock::new(),
            synced: Mutex::default(),
            tenants: RwLock::default(),
            counters: Counters::default(),
            keeper: OnceLock::new(),
            turns: Turns::default(),
            directory,
        }
    }

    /// Says which thread is the keeper.
    pub(crate) fn set_keeper(&self, keeper: Thread) {
        // There is one a ledger.
        let _known = self.keeper.set(keeper);
    }

    /// Has the keeper look now.
    pub(crate) fn wake_keeper(&self) {
        if let Some(keeper) = self.keeper.get() {
            keeper.unpark();
        }
    }

    pub(crate) fn health(&self) -> Health {
        match self.failed.get() {
            Some(reason) => Health::Failed(reason.clone()),
            None if self.full.load(Ordering::Relaxed) => Health::Full,
            None => Health::Healthy,
        }
    }

    /// Refuses every write from here on.
    pub(crate) fn fail(&self, reason: String) -> PortError {
        if self.failed.set(reason.clone()).is_ok() {
            tracing::error!(%reason, "the ledger has failed; nothing is written any more");
            self.remember(&reason);
            self.observer.failed(&reason);
        }
        self.failure().unwrap_or(PortError::Permanent(reason))
    }

    /// Adds a line to the file that tells of failures; see [`crate::open`]. A full disk is nobody's
    /// damage.
    fn remember(&self, reason: &str) {
        if self.is_full() {
            return;
        }
        let line = format!("{}\n", reason.replace('\n', " "));
        let file = OpenOptions::new().create(true).append(true).open(self.directory.unwell());
        if let Err(error) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
            tracing::warn!(%error, "cannot note that the ledger has failed");
        }
    }

    /// Forgets earlier failures: this life ends well.
    pub(crate) fn end_well(&self) {
        let path = self.directory.unwell();
        if self.failure().is_some() || !path.exists() {
            return;
        }
        if let Err(error) = std::fs::remove_file(path) {
            tracing::warn!(%error, "cannot forget earlier failures of the ledger");
        }
    }

    /// Tells of a panic on this thread, as of any other failure, as long as what this gives lives.
    pub(crate) const fn tell_of_panic(&self, thread: &'static str) -> TellOfPanic<'_> {
        TellOfPanic { shared: self, thread }
    }

    /// What every operation is answered after a failure.
    pub(crate) fn failure(&self) -> Option<PortError> {
        self.failed.get().map(|reason| PortError::Permanent(reason.clone()))
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Takes in how much room there is.
    pub(crate) fn set_room(&self, room: Room) {
        let was_full = self.full.swap(!room.enough, Ordering::Relaxed);
        self.counters.free_bytes.store(room.free, Ordering::Relaxed);
        let held = self.counters.ballast_held.swap(room.ballast, Ordering::Relaxed);
        let free_mib = room.free >> 20;
        match (was_full, room.enough) {
            (false, false) => {
                tracing::error!(
                    free_mib,
                    "disk too full: new events are refused, deliveries go on"
                );
            }
            (true, true) => tracing::info!(free_mib, "room again: new events are accepted"),
            _ => {}
        }
        if held && !room.ballast {
            tracing::error!(free_mib, "disk all but full: the ballast was given up");
        }
    }

    /// Notes the newest commit that is on disk for certain.
    pub(crate) fn set_synced(&self, proof: Proof) {
        *lock(&self.synced) = proof;
    }

    pub(crate) fn synced(&self) -> Proof {
        *lock(&self.synced)
    }

    pub(crate) fn set_witnessed(&self, commit: u64) {
        self.counters.commit_witnessed.store(commit, Ordering::Relaxed);
    }

    /// Counts a row that was not what was written, and says so.
    pub(crate) fn damaged(&self, error: &ReadError, event: &dyn std::fmt::Display) {
        self.counters.damaged_rows.fetch_add(1, Ordering::Relaxed);
        tracing::error!(%error, %event, "damaged row in the ledger, skipped");
    }

    pub(crate) fn count(&self, commit: &Commit) {
        let add = |counter: &AtomicU64, n: usize| counter.fetch_add(n as u64, Ordering::Relaxed);
        add(&self.counters.commits, 1);
        add(&self.counters.commits_synced, usize::from(commit.synced));
        add(&self.counters.operations, commit.operations);
        add(&self.counters.events_accepted, commit.events);
    }

    /// Looks at the sizes that are not worth a look at every scrape.
    pub(crate) fn measure(&self) {
        let database = self.tables.database();
        if let (Ok(all), Ok(journals)) = (database.disk_space(), database.journal_disk_space()) {
            self.counters.disk_bytes.store(all, Ordering::Relaxed);
            self.counters.journal_bytes.store(journals, Ordering::Relaxed);
        }
    }

    pub(crate) fn stats(&self, queued: usize) -> Stats {
        let counters = &self.counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            commits: get(&counters.commits),
            commits_synced: get(&counters.commits_synced),
            operations: get(&counters.operations),
            events_accepted: get(&counters.events_accepted),
            damaged_rows: get(&counters.damaged_rows),
            queued: queued as u64,
            disk_bytes: get(&counters.disk_bytes),
            journal_bytes: get(&counters.journal_bytes),
            memtable_bytes: self.tables.database().write_buffer_size(),
            free_bytes: get(&counters.free_bytes),
            ballast_held: counters.ballast_held.load(Ordering::Relaxed),
            commit_witnessed: get(&counters.commit_witnessed),
        }
    }

    /// A tenant, from memory where it is there.
    pub(crate) fn tenant(&self, id: &TenantId) -> Result<Option<Arc<TenantRecord>>, ReadError> {
        let epoch = {
            let cache = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(record) = cache.records.get(id) {
                return Ok(Some(Arc::clone(record)));
            }
            cache.epoch
        };
        let Some(record) = self.tables.tenant(id)?.map(Arc::new) else { return Ok(None) };
        let mut cache = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        if cache.epoch == epoch {
            cache.put(Arc::clone(&record));
        }
        Ok(Some(record))
    }

    /// Takes in a tenant that was just committed.
    pub(crate) fn tenant_changed(&self, record: Arc<TenantRecord>) {
        let mut cache = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        cache.epoch += 1;
        cache.put(record);
    }
}

/// See [`Shared::tell_of_panic`].
pub(crate) struct TellOfPanic<'a> {
    shared: &'a Shared,
    thread: &'static str,
}

impl Drop for TellOfPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.fail(format!("the ledger's {} panicked", self.thread));
        }
    }
}

impl TenantCache {
    fn put(&mut self, record: Arc<TenantRecord>) {
        if self.records.len() >= TENANTS_CACHED_MAX {
            self.records.clear();
        }
        self.records.insert(record.id.clone(), record);
    }
}

fn lock(proof: &Mutex<Proof>) -> MutexGuard<'_, Proof> {
    proof.lock().unwrap_or_else(PoisonError::into_inner)
}

//! What a ledger is opened with: sizes and limits (data), and who is told of commits (an object).
//!
//! Reads no clock: time for throttles and figures comes from the [`Observer`].

use std::path::PathBuf;

use posthaste_ports::{CLAIM_KEPT_MS, DEAD_KEPT_MS, DELIVERED_KEPT_MS};

use crate::vault::SealKey;

const MIB: u64 = 1 << 20;

/// How a commit is made durable before it is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncMode {
    /// `fdatasync`: the data, and what is needed to find it again.
    #[default]
    Data,
    /// `fsync`: all of the file's metadata too.
    All,
    /// Handed to the operating system only, and synced within a second: what was acknowledged
    /// outlives the process, and a power cut may lose the last of it. For a cache (AWS mode).
    Buffered,
}

/// Sizes and limits of a ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The data directory; made where it is missing.
    pub dir: PathBuf,
    /// How a commit is made durable.
    pub sync: SyncMode,
    /// The memtable of a busy keyspace, in bytes; quiet ones get a quarter.
    pub memtable_bytes: u64,
    /// All journals together, in bytes; 64 MiB is the least that fjall takes.
    pub journal_bytes_max: u64,
    /// The block cache, in bytes.
    pub cache_bytes: u64,
    /// Free space below which nothing new is accepted, in bytes.
    pub free_space_floor_bytes: u64,
    /// The file that is given up where the disk is full all the same, in bytes; 0 for none.
    pub ballast_bytes: u64,
    /// Operations that wait for the writer.
    pub queue_max: usize,
    /// How long a DELIVERED event is kept, in milliseconds.
    pub delivered_kept_ms: u64,
    /// How long a DLQ or PURGED event is kept, in milliseconds.
    pub dead_kept_ms: u64,
    /// How long an idempotency claim holds, in milliseconds.
    pub claim_kept_ms: u64,
    /// What tenants are sealed with; none for a key that lies in the directory.
    pub seal_key: Option<SealKey>,
    /// Whether to go on where acknowledged commits are proven to be missing.
    pub accept_loss: bool,
}

impl Settings {
    /// The defaults, on this directory.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            sync: SyncMode::Data,
            // Measured: 8 MiB memtables under a 64 MiB journal cap hold 5 M insert/pop cycles in
            // 86 MB of disk and 70 to 94 MB of memory; 64/512 MiB takes three times as much of both
            // and saves 1 µs a cycle.
            memtable_bytes: 8 * MIB,
            journal_bytes_max: 64 * MIB,
            cache_bytes: 32 * MIB,
            // Several times the journals, so that what is in flight can always be settled.
            free_space_floor_bytes: 256 * MIB,
            ballast_bytes: 64 * MIB,
            queue_max: 4096,
            delivered_kept_ms: DELIVERED_KEPT_MS,
            dead_kept_ms: DEAD_KEPT_MS,
            claim_kept_ms: CLAIM_KEPT_MS,
            seal_key: None,
            accept_loss: false,
        }
    }
}

/// One commit, as it went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Operations in it.
    pub operations: usize,
    /// Events accepted in it.
    pub events: usize,
    /// Whether it was synced before it was acknowledged.
    pub synced: bool,
    /// From the first operation taken to the commit, sync included, in microseconds.
    pub micros: u64,
}

/// Hears of commits, and lends the ledger a clock. Called on the writer's thread: must not block.
pub trait Observer: Send + Sync {
    /// Microseconds of a monotonic clock, from any beginning.
    fn monotonic_us(&self) -> u64;
    /// A batch is committed, and about to be acknowledged.
    fn committed(&self, commit: &Commit);
    /// The ledger has failed for good: nothing is written any more, the process must stop.
    fn failed(&self, reason: &str);
}

//! Settings of what is kept: the data directory, durability, how long rows live.

use std::path::PathBuf;

use posthaste_embedded::SealKey;

use super::kinds::files::{Directory, Seal};
use super::kinds::numbers::{Count, DAY, GIB, MIB, SECOND, Size, Time};
use super::kinds::{Choice, Optional};
use super::reader::Section;

/// No row outlives ten years.
const RETENTION_MS_MAX: u64 = 3650 * DAY;

/// How a commit is made durable before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// `fdatasync`: the data, and what is needed to find it again.
    Data,
    /// `fsync`: all of the file's metadata too.
    All,
}

/// `[data]`: the data directory and the ledger in it.
#[derive(Clone, Debug)]
pub struct Data {
    /// The data directory.
    pub dir: PathBuf,
    /// What tenants' records are sealed with; none for a key that lies in the data directory.
    pub seal_key: Option<SealKey>,
    /// How a commit is made durable.
    pub sync: Sync,
    /// The memtable of one keyspace, in bytes.
    pub memtable_bytes: u64,
    /// All journals together, in bytes.
    pub journal_bytes_max: u64,
    /// The block cache, in bytes.
    pub cache_bytes: u64,
    /// Free space below which nothing new is accepted, in bytes.
    pub free_space_floor_bytes: u64,
    /// The file that is given up where the disk is full all the same, in bytes.
    pub ballast_bytes: u64,
    /// Operations that wait for the writer.
    pub queue_max: usize,
}

impl Data {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let s = &mut section;
        Self {
            dir: s.key(
                "dir",
                Directory,
                "posthaste-data",
                "Where everything is kept; made if it is missing. One process at a time; on a \
                 local disk, because network file systems break their promises.",
            ),
            seal_key: s.key(
                "seal-key",
                Optional(Seal),
                "",
                "Seals what is stored of a tenant: signing secrets, values of headers, target. \
                 None means a key that is made with the data directory and lies in it, as the \
                 file seal-key. With one that is kept elsewhere, who has the disk or a copy of \
                 it has no secret; without it, no start. In AWS mode tables are encrypted by AWS.",
            ),
            sync: s.key(
                "sync",
                Choice(&[("data", Sync::Data), ("all", Sync::All)]),
                "data",
                "What is on disk before a 201 leaves. \"data\" (fdatasync) is all that recovery \
                 needs; \"all\" (fsync) writes file times too. In AWS mode the directory is a \
                 cache, and no commit waits for a sync.",
            ),
            memtable_bytes: s.key(
                "memtable",
                Size::new(MIB..=GIB),
                "8MiB",
                "What a table collects in memory before it is written out. Small ones keep memory \
                 and disk small at the cost of about 1 µs an event. Fixed when the data \
                 directory is made.",
            ),
            journal_bytes_max: s.key(
                "journal-max",
                Size::new(64 * MIB..=64 * GIB),
                "64MiB",
                "All journals together. 64 MiB is the least that the store takes, and keeps the \
                 replay at start under a second.",
            ),
            cache_bytes: s.key(
                "cache",
                Size::new(MIB..=64 * GIB),
                "32MiB",
                "Blocks of tables that are kept in memory. Deliveries hardly read, so a large one \
                 only helps clients that look at old events.",
            ),
            free_space_floor_bytes: s.key(
                "free-space-floor",
                Size::new(0..=1024 * GIB),
                "256MiB",
                "Below so much free space new events get 507, while deliveries go on and make \
                 room. Enough for several times the journals.",
            ),
            ballast_bytes: s.key(
                "ballast",
                Size::new(0..=64 * GIB),
                "64MiB",
                "A file that takes up room so that it can be given up when something else fills \
                 the disk: what is in flight can then still be settled. 0B for none.",
            ),
            queue_max: s.key(
                "queue-max",
                Count::new(16..=1_000_000),
                "4096",
                "Operations that wait for the one writer. Beyond it clients wait, which is how a \
                 slow disk reaches them.",
            ),
        }
    }
}

/// `[retention]`: how long rows live.
#[derive(Clone, Debug)]
pub struct Retention {
    /// Rows of delivered events, from their delivery on, in milliseconds.
    pub delivered_ms: u64,
    /// Rows of dead-lettered and purged events, in milliseconds.
    pub dead_letter_ms: u64,
    /// Idempotency keys, in milliseconds.
    pub idempotency_ms: u64,
}

impl Retention {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let s = &mut section;
        let range = || Time::new(SECOND..=RETENTION_MS_MAX);
        Self {
            delivered_ms: s.key(
                "delivered",
                range(),
                "30d",
                "How long a delivered event can still be looked at.",
            ),
            dead_letter_ms: s.key(
                "dead-letter",
                range(),
                "14d",
                "How long a dead-lettered or purged event can still be looked at, and a \
                 dead-lettered one requeued: as long as the queues of the clouds keep theirs.",
            ),
            idempotency_ms: s.key(
                "idempotency",
                range(),
                "24h",
                "How long an Idempotency-Key is remembered: longer than any client tries again.",
            ),
        }
    }
}

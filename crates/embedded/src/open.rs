//! Opening: the lock, the format, the journals, the store, the proof, what was cut off.
//!
//! ```text
//! lock ─► format ─► scan journals ─► loss? ─► cut a torn tail ─► open store ─► loss? ─► registers
//!                                     └─ refuse, nothing changed ────────────────┘
//! ```
//!
//! Invariant: what was acknowledged and synced is there, or the start is refused (or the operator
//! accepts the loss, which is said).

use std::path::Path;
use std::sync::Arc;

use fjall::Database;
use posthaste_ports::ArrivalSink;

use crate::batch::Batch;
use crate::directory::Directory;
use crate::error::OpenError;
use crate::loss;
use crate::register;
use crate::settings::{Observer, Settings};
use crate::shared::Shared;
use crate::space::Space;
use crate::tables::{ACCEPTED_LOSS_KEY, Table, Tables};
use crate::witness::{Proof, Witness};
use crate::writer::Writer;

/// Threads that write out and merge tables; one is enough, and leaves a small machine its cores.
const WORKERS: usize = 1;

/// What a start found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Whether the ledger was made just now.
    pub created: bool,
    /// Deliveries that the last end of the process cut off in the middle of an attempt.
    pub interrupted: u64,
    /// Accepted events that are proven to be lost, and that the operator has accepted to lose.
    pub accepted_lost: Option<u64>,
    /// What an operator should know, one line each.
    pub notes: Vec<String>,
}

/// An opened store, before its threads run.
pub(crate) struct Opened {
    pub(crate) shared: Arc<Shared>,
    pub(crate) writer: Writer,
    pub(crate) witness: Witness,
    pub(crate) space: Space,
    pub(crate) recovery: Recovery,
}

/// Opens or makes the ledger in a directory.
pub(crate) fn open(
    settings: Settings,
    sink: Arc<dyn ArrivalSink>,
    observer: Arc<dyn Observer>,
) -> Result<Opened, OpenError> {
    let directory = Directory::open(&settings.dir)?;
    let unusable = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Unusable { path, source }
    };
    let mut recovery = Recovery::default();
    let (mut witness, proof) =
        Witness::open(&directory.witness()).map_err(unusable(&directory.witness()))?;
    loss::prepare(&directory, &settings, proof, &mut recovery)?;
    let tables = open_store(&directory, &settings)?;
    let last = loss::last_commit(&tables, &directory, &settings, proof, &mut recovery)?;
    let (dir, floor) = (directory.path().to_owned(), settings.free_space_floor_bytes);
    let mut space = Space::new(&dir, directory.ballast(), settings.ballast_bytes, floor);
    let room = space.look().map_err(unusable(&dir))?;
    let shared = Arc::new(Shared::new(settings, tables, directory, sink, observer));
    shared.set_room(room);
    let mut writer = Writer::new(Arc::clone(&shared), last).map_err(unusable(&dir))?;
    count_interruptions(&shared, &mut writer, &mut recovery)?;
    // The store has synced what it recovered, so all of it can be witnessed: from the first moment
    // on, a missing witness means that somebody took it away.
    let proof = Proof { commit: last.number, accepted: last.accepted };
    witness.write(proof).map_err(unusable(&shared.directory.witness()))?;
    shared.measure();
    Ok(Opened { shared, writer, witness, space, recovery })
}

fn open_store(directory: &Directory, settings: &Settings) -> Result<Tables, OpenError> {
    let database = Database::builder(directory.store())
        .cache_size(settings.cache_bytes)
        .max_journaling_size(settings.journal_bytes_max.max(64 << 20))
        .manual_journal_persist(true)
        .worker_threads(WORKERS)
        .open();
    let tables = database.and_then(|database| Tables::open(database, settings));
    tables.map_err(|error| match error {
        fjall::Error::Locked => {
            OpenError::Locked { path: directory.path().to_owned(), holder: None }
        }
        fjall::Error::Io(source) => OpenError::Unusable { path: directory.store(), source },
        other => {
            OpenError::Damaged { path: directory.path().to_owned(), detail: other.to_string() }
        }
    })
}

/// Counts, durably, what was in flight when the last process ended; then the registers go.
fn count_interruptions(
    shared: &Shared,
    writer: &mut Writer,
    recovery: &mut Recovery,
) -> Result<(), OpenError> {
    let unusable =
        |source| OpenError::Unusable { path: shared.directory.path().to_owned(), source };
    let paths = shared.directory.registers().map_err(unusable)?;
    let mut cut_off = Vec::new();
    for path in &paths {
        cut_off.extend(register::read(path).map_err(unusable)?);
    }
    // Once for each delivery, though a stale slot may name it a second time.
    cut_off.sort_by(|a, b| (&a.key, a.round, a.number).cmp(&(&b.key, b.round, b.number)));
    cut_off.dedup();
    let damaged = |detail: String| {
        let path = shared.directory.path().to_owned();
        OpenError::Damaged { path, detail }
    };
    let mut batch = Batch::new(shared.tables.clone());
    if recovery.accepted_lost.is_some() {
        // The commit that goes on behind the loss: without one, the next start would refuse again.
        batch.insert_key(Table::Meta, ACCEPTED_LOSS_KEY);
        batch.needs_sync = true;
    }
    let counted = writer.interrupt(&cut_off, &mut batch);
    recovery.interrupted = counted.map_err(|error| damaged(error.to_string()))?;
    let begin_us = shared.observer.monotonic_us();
    writer.commit(batch, Vec::new(), begin_us).map_err(|error| damaged(error.to_string()))?;
    for path in paths {
        std::fs::remove_file(path).map_err(unusable)?;
    }
    Ok(())
}

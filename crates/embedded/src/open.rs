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
use crate::codec::CommitRow;
use crate::directory::Directory;
use crate::error::OpenError;
use crate::journal::{self, Scan};
use crate::register;
use crate::settings::{Observer, Settings};
use crate::shared::Shared;
use crate::space::Space;
use crate::tables::{COMMIT_KEY, Table, Tables};
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
    let mut recovery = Recovery { created: !directory.store().exists(), ..Recovery::default() };
    let (mut witness, proof) =
        Witness::open(&directory.witness()).map_err(unusable(&directory.witness()))?;
    if !recovery.created {
        prepare(&directory, &settings, proof, &mut recovery)?;
    }
    let tables = open_store(&directory, &settings)?;
    let last = last_commit(&tables, &directory, &settings, proof, &mut recovery)?;
    let (dir, floor) = (directory.path().to_owned(), settings.free_space_floor_bytes);
    let mut space = Space::new(&dir, directory.ballast(), settings.ballast_bytes, floor);
    let room = space.look().map_err(unusable(&dir))?;
    let shared = Arc::new(Shared::new(settings, tables, directory, sink, observer));
    shared.set_room(room);
    let mut writer = Writer::new(Arc::clone(&shared), last);
    count_interruptions(&shared, &mut writer, &mut recovery)?;
    // The store has synced what it recovered, so all of it can be witnessed: from the first moment
    // on, a missing witness means that somebody took it away.
    let proof = Proof { commit: last.number, accepted: last.accepted };
    witness.write(proof).map_err(unusable(&shared.directory.witness()))?;
    shared.measure();
    Ok(Opened { shared, writer, witness, space, recovery })
}

/// Looks at the journals before the store opens them: refuses where acknowledged commits are
/// missing, cuts what was never acknowledged.
fn prepare(
    directory: &Directory,
    settings: &Settings,
    proof: Option<Proof>,
    recovery: &mut Recovery,
) -> Result<(), OpenError> {
    let store = directory.store();
    let unusable = |source| OpenError::Unusable { path: store.clone(), source };
    let Scan { newest, torn, sealed_damage } = journal::scan(&store).map_err(unusable)?;
    let damage = torn.as_ref().map(|(path, _)| path).or(sealed_damage.as_ref());
    if let (Some(damage), Some(proof)) = (damage, proof) {
        let found = newest.unwrap_or_default();
        if found.number < proof.commit && !settings.accept_loss {
            return Err(loss(directory, found, proof, &damage.display().to_string()));
        }
    }
    if let Some((path, whole_until)) = torn {
        let cut = journal::cut(&path, whole_until).map_err(unusable)?;
        recovery.notes.push(format!(
            "the end of {} was torn: cut {cut} bytes that were never acknowledged (kept in {})",
            path.display(),
            path.with_extension("cut").display()
        ));
    }
    if let Some(path) = sealed_damage {
        recovery.notes.push(format!("{} is damaged", path.display()));
    }
    Ok(())
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

/// The last commit on disk, which must be as new as the witness says.
fn last_commit(
    tables: &Tables,
    directory: &Directory,
    settings: &Settings,
    proof: Option<Proof>,
    recovery: &mut Recovery,
) -> Result<CommitRow, OpenError> {
    let row = tables.row::<CommitRow>(Table::Meta, COMMIT_KEY).map_err(|error| {
        OpenError::Damaged { path: directory.path().to_owned(), detail: error.to_string() }
    })?;
    let mut last = row.unwrap_or_default();
    let Some(proof) = proof else {
        if last.number > 0 {
            recovery.notes.push(
                "the witness is missing: that nothing acknowledged is lost cannot be proven this \
                 time"
                    .to_owned(),
            );
        }
        return Ok(last);
    };
    if last.number < proof.commit {
        if !settings.accept_loss {
            return Err(loss(directory, last, proof, "the store"));
        }
        let lost = proof.accepted.saturating_sub(last.accepted);
        recovery.accepted_lost = Some(lost);
        recovery.notes.push(format!(
            "going on without {} acknowledged commits, {lost} accepted events among them",
            proof.commit - last.number
        ));
        // Numbers go on behind what was witnessed, or the next start would refuse again.
        last.number = proof.commit;
        last.accepted = proof.accepted;
    }
    Ok(last)
}

fn loss(directory: &Directory, found: CommitRow, proof: Proof, damaged: &str) -> OpenError {
    OpenError::Loss {
        path: directory.path().to_owned(),
        commits: proof.commit - found.number,
        events: Some(proof.accepted.saturating_sub(found.accepted)).filter(|events| *events > 0),
        found: found.number,
        witnessed: proof.commit,
        damaged: damaged.to_owned(),
    }
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
    let damaged = |detail: String| {
        let path = shared.directory.path().to_owned();
        OpenError::Damaged { path, detail }
    };
    let mut batch = Batch::new(shared.tables.clone());
    let counted = writer.interrupt(&cut_off, &mut batch);
    recovery.interrupted = counted.map_err(|error| damaged(error.to_string()))?;
    let begin_us = shared.observer.monotonic_us();
    writer.commit(batch, Vec::new(), begin_us).map_err(|error| damaged(error.to_string()))?;
    for path in paths {
        std::fs::remove_file(path).map_err(unusable)?;
    }
    Ok(())
}

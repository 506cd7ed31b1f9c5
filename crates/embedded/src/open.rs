//! Opening: the lock, the format, the journals, the store, the proof, what was cut off.
//!
//! ```text
//! lock ─► format ─► journals ─► files ─► loss? ─► cut a torn tail ─► store ─► loss?
//!                                 └────────┴─ refuse, nothing changed ──────────┤
//!                                                        registers ◄─ upgrade? ◄┘
//! ```
//!
//! A cache (AWS mode) is not refused for what is in it: it is set aside, and an empty one opened.
//! Damage that opens and shows only later is met the same way: a cache that has failed
//! [`FAILURES_MAX`] times in a row while it ran is set aside too, or its daemon would fail for
//! ever. The count stands in a file that a clean end removes; in standalone mode that file has all
//! table files looked at before the store is opened ([`scrub`]), so that a start is refused for
//! damage that would end it.
//!
//! Invariant: what was acknowledged and synced is there, or the start is refused (or the operator
//! accepts the loss, which is said); what a cache had is there, or its loss is said.

use std::fs;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fjall::{Database, LsmError};
use posthaste_domain::{InstanceId, Timestamp};
use posthaste_ports::memory::NullSink;
use posthaste_ports::{ArrivalSink, PortError};
use rustix::process::{Resource, getrlimit};

use crate::batch::Batch;
use crate::codec::CommitRow;
use crate::directory::{Directory, Format};
use crate::error::{self, OpenError};
use crate::identity::{self, EstablishError, Identity, StoreId};
use crate::journal::Scan;
use crate::loss;
use crate::quarantine;
use crate::raw::manifest::TableFile;
use crate::register;
use crate::scrub;
use crate::settings::{Observer, Settings};
use crate::shared::Shared;
use crate::space::Space;
use crate::tables::{ACCEPTED_LOSS_KEY, ReadError, Table, Tables};
use crate::upgrade;
use crate::vault;
use crate::witness::{Proof, Witness};
use crate::writer::Writer;

/// Threads that write out and merge tables; one is enough, and leaves a small machine its cores.
const WORKERS: usize = 1;
/// Failures in a row after which a cache is set aside: one may have any cause.
const FAILURES_MAX: usize = 2;

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

/// What a start in AWS mode found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheRecovery {
    /// As in standalone mode.
    pub ledger: Recovery,
    /// The instance that this directory belonged to before it was copied: what it owns under that
    /// name must be claimed before it is attempted.
    pub cloned_from: Option<InstanceId>,
    /// Where what did not open is kept; the ledger began empty then. An operator may remove it.
    pub quarantined: Option<PathBuf>,
}

/// What the directory is opened for.
#[derive(Clone, Copy)]
enum Purpose<'a> {
    /// To hold events (standalone mode).
    Events,
    /// To be an instance's cache (AWS mode).
    Cache { instance: &'a InstanceId, now: Timestamp },
    /// To show what happens where nobody looks at the files.
    #[cfg(test)]
    Unguarded,
}

/// What was found before the store was opened.
struct Looked {
    proof: Option<Proof>,
    scan: Scan,
    /// Table files that are still to be looked at.
    rest: Vec<TableFile>,
}

/// An opened store, before its threads run.
pub(crate) struct Opened {
    pub(crate) shared: Arc<Shared>,
    pub(crate) writer: Writer,
    pub(crate) witness: Witness,
    pub(crate) space: Space,
    pub(crate) recovery: CacheRecovery,
    pub(crate) store_id: StoreId,
}

/// Opens or makes the ledger in a directory.
pub(crate) fn open(
    settings: Settings,
    sink: Arc<dyn ArrivalSink>,
    observer: Arc<dyn Observer>,
) -> Result<Opened, OpenError> {
    let directory = Directory::lock(&settings.dir)?;
    open_locked(directory, settings, Purpose::Events, sink, observer)
}

/// As [`open`], with everything switched off that looks at the files: the wrong variant by which
/// tests show that they notice.
#[cfg(test)]
pub(crate) fn open_unguarded(
    settings: Settings,
    sink: Arc<dyn ArrivalSink>,
    observer: Arc<dyn Observer>,
) -> Result<Opened, OpenError> {
    let directory = Directory::lock(&settings.dir)?;
    open_locked(directory, settings, Purpose::Unguarded, sink, observer)
}

/// Opens or makes an instance's cache in a directory; sets aside what does not open.
pub(crate) fn open_or_quarantine(
    settings: Settings,
    instance: &InstanceId,
    now: Timestamp,
    observer: Arc<dyn Observer>,
) -> Result<Opened, OpenError> {
    let directory = Directory::lock(&settings.dir)?;
    let purpose = Purpose::Cache { instance, now };
    let open = || {
        let (directory, settings) = (directory.clone(), settings.clone());
        open_locked(directory, settings, purpose, Arc::new(NullSink), Arc::clone(&observer))
    };
    let path = directory.path().to_owned();
    let failures = failures(&directory);
    let reason = if failures.len() >= FAILURES_MAX {
        format!("it failed {} times in a row: {}", failures.len(), failures.join("; "))
    } else {
        match open() {
            Err(error) if error.is_damage() && !has_accepted(&directory) => error.to_string(),
            tried => return tried,
        }
    };
    let unusable = |source| OpenError::Unusable { path: path.clone(), source };
    let place = quarantine::set_aside(&directory, now).map_err(unusable)?;
    let mut opened = open()?;
    opened.recovery.ledger.notes.push(format!(
        "started empty: {reason} (what was there is kept in {}, and the {} newest such; they may \
         be removed)",
        place.display(),
        quarantine::KEPT,
    ));
    opened.recovery.quarantined = Some(place);
    Ok(opened)
}

/// How a cache failed while it ran, one line a life, since it last ended well.
fn failures(directory: &Directory) -> Vec<String> {
    let told = fs::read(directory.unwell()).unwrap_or_default();
    String::from_utf8_lossy(&told).lines().map(str::to_owned).collect()
}

/// Whether events were accepted here, as far as the witness knows: then it is no cache.
fn has_accepted(directory: &Directory) -> bool {
    let path = directory.witness();
    let proof = if path.exists() { Witness::open(&path).ok() } else { None };
    proof.and_then(|(_, proof)| proof).is_some_and(|proof| proof.accepted > 0)
}

fn open_locked(
    directory: Directory,
    settings: Settings,
    purpose: Purpose<'_>,
    sink: Arc<dyn ArrivalSink>,
    observer: Arc<dyn Observer>,
) -> Result<Opened, OpenError> {
    let format = directory.check_format()?;
    let unusable = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Unusable { path, source }
    };
    let mut recovery = Recovery::default();
    let (dir, floor) = (directory.path().to_owned(), settings.free_space_floor_bytes);
    let mut space = Space::new(&dir, directory.ballast(), settings.ballast_bytes, floor);
    space.relieve().map_err(unusable(&dir))?;
    let (mut witness, proof) =
        Witness::open(&directory.witness()).map_err(unusable(&directory.witness()))?;
    let Looked { proof, scan, rest } = match purpose {
        #[cfg(test)]
        Purpose::Unguarded => Looked { proof: None, scan: Scan::unseen(), rest: Vec::new() },
        _ => {
            let (scan, rest) = loss::prepare(&directory, &settings, proof, &mut recovery)?;
            Looked { proof, scan, rest }
        }
    };
    let mut tables = open_store(&directory, &settings)?;
    if matches!(purpose, Purpose::Cache { .. }) && owes_events(&tables) {
        return Err(OpenError::HoldsEvents { path: directory.path().to_owned() });
    }
    let mut seals = None;
    if !matches!(purpose, Purpose::Cache { .. }) {
        let found = vault::establish(&directory, &tables, &settings)?;
        tables.set_vault(Arc::clone(&found.vault));
        seals = Some(found);
    }
    let places = (&directory, &settings);
    let (found, last) = loss::last_commit(&tables, places, proof, &scan, &mut recovery)?;
    let room = space.look().map_err(unusable(&dir))?;
    let shared = Arc::new(Shared::new(settings, tables, directory, sink, observer));
    shared.set_room(room);
    let mut writer = Writer::new(Arc::clone(&shared), last).map_err(unusable(&dir))?;
    if format == Format::Older {
        let moved = upgrade::run(&shared, &mut writer)?;
        if moved > 0 {
            let note = format!("{moved} events were brought over to this version's format");
            recovery.notes.push(note);
        }
    }
    if let Some(seals) = &seals {
        let sealed = vault::seal_tenants(&shared, &mut writer, seals)?;
        if sealed > 0 {
            recovery.notes.push(format!("{sealed} tenants were sealed; see data.seal-key"));
        }
        if seals.is_left_over {
            let path = shared.directory.seal_key();
            let note = format!("{} is not needed any more: remove it", path.display());
            recovery.notes.push(note);
        }
    }
    let identity = settle_in(&shared, &mut writer, purpose, found, &mut recovery)?;
    // The store has synced what it recovered, so all of it can be witnessed: from the first moment
    // on, a missing witness means that somebody took it away.
    let proof = Proof { commit: last.number, accepted: last.accepted };
    witness.write(proof).map_err(unusable(&shared.directory.witness()))?;
    shared.measure();
    scrub::start(rest, &shared).map_err(unusable(&shared.directory.store()))?;
    let recovery =
        CacheRecovery { ledger: recovery, cloned_from: identity.cloned_from, quarantined: None };
    Ok(Opened { shared, writer, witness, space, recovery, store_id: identity.store })
}

/// Tables that the store keeps open at once, where the process may have so many descriptors (none:
/// as many as it likes): a quarter of them, so that connections never take what the store needs.
fn open_tables_max(limit: Option<u64>) -> usize {
    let quarter =
        limit.map_or(usize::MAX, |limit| usize::try_from(limit / 4).unwrap_or(usize::MAX));
    // The store's own least, and what it takes by itself.
    quarter.clamp(10, 900)
}

fn open_store(directory: &Directory, settings: &Settings) -> Result<Tables, OpenError> {
    let open = || {
        let database = Database::builder(directory.store())
            .cache_size(settings.cache_bytes)
            .max_journaling_size(settings.journal_bytes_max.max(64 << 20))
            .max_cached_files(Some(open_tables_max(getrlimit(Resource::Nofile).current)))
            .manual_journal_persist(true)
            .worker_threads(WORKERS)
            .open();
        database.and_then(|database| Tables::open(database, settings))
    };
    // Its recovery may panic on bytes that it does not expect.
    let opened = catch_unwind(AssertUnwindSafe(open)).map_err(|_| {
        let detail = "the store panicked".to_owned();
        OpenError::Damaged { path: directory.path().to_owned(), detail }
    })?;
    opened.map_err(|error| match error {
        fjall::Error::Locked => {
            OpenError::Locked { path: directory.path().to_owned(), holder: None }
        }
        fjall::Error::Io(source) => OpenError::Unusable { path: directory.store(), source },
        fjall::Error::Storage(LsmError::Io(source)) if !error::is_damage(&source) => {
            OpenError::Unusable { path: directory.store(), source }
        }
        other => {
            OpenError::Damaged { path: directory.path().to_owned(), detail: other.to_string() }
        }
    })
}

/// Whether events of standalone mode are owed.
fn owes_events(tables: &Tables) -> bool {
    let view = tables.view();
    let first = |table| view.from(table, Bound::Unbounded).next();
    first(Table::Fresh).is_some() || first(Table::Timers).is_some()
}

/// The first commit of this life: whose directory it is, and what was in flight when the last
/// process ended; then the registers go. `found` is the last commit that was there.
fn settle_in(
    shared: &Shared,
    writer: &mut Writer,
    purpose: Purpose<'_>,
    found: CommitRow,
    recovery: &mut Recovery,
) -> Result<Identity, OpenError> {
    let path = || shared.directory.path().to_owned();
    let unusable = |source| OpenError::Unusable { path: path(), source };
    let paths = shared.directory.registers().map_err(unusable)?;
    let mut cut_off = Vec::new();
    for path in &paths {
        cut_off.extend(register::read(path).map_err(unusable)?);
    }
    // Once for each delivery, though a stale slot may name it a second time.
    cut_off.sort_by(|a, b| (&a.key, a.round, a.number).cmp(&(&b.key, b.round, b.number)));
    cut_off.dedup();
    let unread = |failed: ReadError| loss::unread(&shared.directory, failed);
    let mut batch = Batch::new(shared.tables.clone());
    // Of an earlier version, which did not say behind which commit it went on. As soon as tables
    // have this one in its place, they have all that came before it, too.
    let accepted = shared.tables.get(Table::Meta, ACCEPTED_LOSS_KEY).map_err(unread)?;
    let is_unsaid = accepted.is_some_and(|row| row.is_empty());
    if recovery.accepted_lost.is_some() || is_unsaid {
        // The commit that goes on behind the loss: without one, the next start would refuse again.
        // It says behind which one, where it is the first of its journal.
        batch.insert(Table::Meta, ACCEPTED_LOSS_KEY, &found);
        batch.needs_sync = true;
    }
    let (instance, counted) = match purpose {
        #[cfg(test)]
        Purpose::Unguarded => (None, Ok(0)),
        Purpose::Events => (None, writer.interrupt(&cut_off, &mut batch)),
        Purpose::Cache { instance, now } => {
            (Some(instance), writer.interrupt_jobs(&cut_off, now, &mut batch))
        }
    };
    recovery.interrupted = counted.map_err(unread)?;
    if let Some(vault) = shared.tables.vault() {
        vault.note(&mut batch).map_err(unread)?;
    }
    let identity = identity::establish(&shared.tables, instance, &mut batch);
    let identity = identity.map_err(|error| match error {
        EstablishError::Read(error) => unread(error),
        EstablishError::Random(source) => unusable(source),
    })?;
    let begin_us = shared.observer.monotonic_us();
    // Not a matter of what is on the disk: it was read, and cannot be written to.
    let unwritable = |error: PortError| OpenError::Unwritable { path: path(), source: error };
    writer.commit(batch, Vec::new(), begin_us).map_err(unwritable)?;
    for path in paths {
        fs::remove_file(path).map_err(unusable)?;
    }
    Ok(identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_descriptors_is_the_stores() {
        let limits =
            [Some(0), Some(64), Some(256), Some(1_024), Some(65_536), Some(u64::MAX), None];
        assert_eq!(limits.map(open_tables_max), [10, 16, 64, 256, 900, 900, 900]);
    }
}

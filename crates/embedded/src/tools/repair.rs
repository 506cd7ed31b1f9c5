//! Repair: everything that is whole in a damaged directory, written into a new one.
//!
//! ```text
//! source (locked, read only) ─► verify ─► whole events, tenants, claims, jobs ─► new directory,
//!                                         what finds them is made anew         FORMAT: unfinished
//!                                                          verify the new one ─► FORMAT: 2
//! ```
//!
//! Refuses to write into the source, and to write where something is already. Cut off at any point,
//! it leaves the source as it was, and a new directory that no version starts with.
//!
//! Invariant: an event whose payload is whole is kept; one that is not kept is named, as is
//! anything else.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use fjall::{Database, PersistMode, Slice};
use posthaste_domain::TenantId;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::events::{Events, Gathered, Part, label};
use super::evidence::Evidence;
use super::index::{Entry, claim_entry, entries};
use super::registry::Registry;
use super::verify::{self, Verified};
use super::{ToolError, jobs, others, unreadable};
use crate::codec::{self, ClaimRow, CommitRow, IdentityRow, JobRow};
use crate::damage::Damage;
use crate::directory::{Directory, sync_directory};
use crate::keys::{self, Layout};
use crate::raw::{RawStore, Told};
use crate::settings::Settings;
use crate::tables::{ACCEPTED_LOSS_KEY, COMMIT_KEY, IDENTITY_KEY, SEAL_KEY, Table, Tables};
use crate::witness::{Proof, Witness};

/// Bytes in one batch.
const BATCH_BYTES: usize = 1 << 20;

/// What a repair tells while it works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Something in the source is damaged.
    Damaged(Damage),
    /// An event that could not be kept, and why.
    Lost {
        /// How people name it.
        event: String,
        /// What is known of it.
        what: String,
    },
    /// A tenant, an API key, a setting, an idempotency key or a job that could not be kept; or a
    /// file in which there may have been some.
    LostOther {
        /// How people name it.
        name: String,
        /// What is known of it.
        what: String,
    },
    /// An event whose row was lost or older than it was: kept as the rest of it tells.
    Mended {
        /// How people name it.
        event: String,
        /// As what it is kept.
        what: String,
    },
}

/// What a repair came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// What the source held, and how many damages were found in it.
    pub source: Verified,
    /// What the new directory holds.
    pub kept: Verified,
    /// Events that could not be kept, each of which was named.
    pub lost: u64,
    /// Whatever else could not be kept, each of which was named.
    pub others_lost: u64,
    /// Events that were kept as the rest of them tells.
    pub mended: u64,
    /// Acknowledged commits that are missing without a trace, at least; what was in them is not
    /// known, so none of it could be named.
    pub commits_missing: u64,
}

impl Repaired {
    /// Whether all that was there is there.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.lost == 0 && self.others_lost == 0 && self.commits_missing == 0
    }
}

/// Writes what is whole in the data directory `source` into the new directory `target`.
///
/// # Errors
/// [`ToolError`] where the source is in use or no data directory, or the target cannot be written:
/// then nothing has changed.
pub fn repair(
    source: &Path,
    target: &Path,
    tell: &mut dyn FnMut(Finding),
) -> Result<Repaired, ToolError> {
    let from = Directory::lock_to_read(source)?;
    write_anew(&from, target, tell).map(|(repaired, _)| repaired)
}

/// As [`repair`], of a directory that is locked; gives the new one, which is locked too.
fn write_anew(
    from: &Directory,
    target: &Path,
    tell: &mut dyn FnMut(Finding),
) -> Result<(Repaired, Directory), ToolError> {
    if !from.is_ledger() {
        return Err(ToolError::NoLedger { path: from.path().to_owned() });
    }
    refuse_what_is_there(target)?;
    let tell = RefCell::new(tell);
    let mut damaged = |damage| (tell.borrow_mut())(Finding::Damaged(damage));
    let told = Told::new(from.path(), &mut damaged);
    verify::format(from, &told)?;
    let (found, store) = verify::examine(from, &told)?;
    let into = Directory::begin(target)?;
    let mut repair = Repair {
        evidence: if found.damages > 0 { Evidence::read(&store) } else { Evidence::default() },
        output: Output::open(&into)?,
        tell: &tell,
        lost: 0,
        others_lost: 0,
        mended: 0,
        tenants: BTreeSet::new(),
    };
    let registry = Registry::read(from, &store, &Told::nobody());
    repair.events(&store, &registry)?;
    repair.others(&store, &registry)?;
    if found.damages > 0 {
        repair.name_others(&store, &registry);
    }
    let last = repair.meta(&store, &found)?;
    let Repair { output, lost, others_lost, mended, .. } = repair;
    output.close(last)?;
    let kept = finish(from, &into, last)?;
    let commits_missing = found.commits_missing;
    Ok((Repaired { source: found, kept, lost, others_lost, mended, commits_missing }, into))
}

/// Repairs a directory in its own place: the old one is kept beside it. Gives where. Both are
/// locked until each is in its place.
///
/// # Errors
/// As [`repair`], and where the directory cannot be moved, a mount point for one.
pub fn repair_in_place(
    dir: &Path,
    stamp: u64,
    tell: &mut dyn FnMut(Finding),
) -> Result<(Repaired, PathBuf), ToolError> {
    repair_in_place_watched(dir, stamp, tell, &mut || {})
}

/// As [`repair_in_place`]; `watch` is called before and after the directories change places.
pub(crate) fn repair_in_place_watched(
    dir: &Path,
    stamp: u64,
    tell: &mut dyn FnMut(Finding),
    watch: &mut dyn FnMut(),
) -> Result<(Repaired, PathBuf), ToolError> {
    let dir = fs::canonicalize(dir).map_err(unreadable(dir))?;
    let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or("data").to_owned();
    let beside = |what: &str| dir.with_file_name(format!("{name}.{what}-{stamp}"));
    let (target, kept) = (beside("repaired"), beside("damaged"));
    let from = Directory::lock_to_read(&dir)?;
    let (repaired, into) = write_anew(&from, &target, tell)?;
    watch();
    let failed = |error: io::Error, repaired: &Path, damaged: &Path| {
        let (repaired, damaged) = (repaired.display(), damaged.display());
        let detail =
            format!("{error}; the repaired directory is {repaired}, the old one {damaged}");
        ToolError::Unwritable { path: dir.clone(), detail }
    };
    let moved = change_places(&dir, &target, &kept);
    let kept = moved.map_err(|error| failed(error, &target, &dir))?;
    let synced = sync_directory(dir.parent().unwrap_or(&dir));
    synced.map_err(|error| failed(error, &dir, &kept))?;
    watch();
    drop((from, into));
    Ok((repaired, kept))
}

/// Puts the new directory in the place of the old one; gives where that is. In one step where the
/// filesystem can: a daemon that starts in between two would find none, and make one.
fn change_places(dir: &Path, target: &Path, kept: &Path) -> io::Result<PathBuf> {
    match renameat_with(CWD, target, CWD, dir, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(match fs::rename(target, kept) {
            Ok(()) => kept.to_owned(),
            Err(_) => target.to_owned(),
        }),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            fs::rename(dir, kept)?;
            // Back, where the second step fails: then nothing has happened.
            fs::rename(target, dir).inspect_err(|_| drop(fs::rename(kept, dir)))?;
            Ok(kept.to_owned())
        }
        Err(error) => Err(error.into()),
    }
}

fn refuse_what_is_there(target: &Path) -> Result<(), ToolError> {
    let is_free = match fs::read_dir(target) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if is_free { Ok(()) } else { Err(ToolError::InTheWay { path: target.to_owned() }) }
}

/// Looks at what was written, and makes a data directory of it.
fn finish(from: &Directory, into: &Directory, last: CommitRow) -> Result<Verified, ToolError> {
    let failed = |error: io::Error| ToolError::Unwritable {
        path: into.path().to_owned(),
        detail: error.to_string(),
    };
    // Who was in flight when the last process ended, and what tenants are sealed with.
    let seal_key = Some(from.seal_key()).filter(|path| path.exists());
    for path in from.registers().map_err(failed)?.into_iter().chain(seal_key) {
        let Some(name) = path.file_name() else { continue };
        let copy = into.path().join(name);
        let copied = fs::copy(&path, &copy).and_then(|_| File::open(&copy)?.sync_all());
        copied.map_err(failed)?;
    }
    let (mut witness, _) = Witness::open(&into.witness()).map_err(failed)?;
    let proof = Proof { commit: last.number, accepted: last.accepted };
    witness.write(proof).map_err(failed)?;
    let mut first = None;
    let mut damaged = |damage: Damage| {
        if damage.place != Table::Tenants.name() {
            first.get_or_insert_with(|| damage.to_string());
        }
    };
    let (kept, _) = verify::examine(into, &Told::new(into.path(), &mut damaged))?;
    // Of a tenant whose record is lost: its events are kept all the same.
    if kept.damages > kept.without_tenant {
        let what = first.unwrap_or_default();
        return Err(failed(io::Error::other(format!("it is not what was written: {what}"))));
    }
    into.finish().map_err(failed)?;
    let parent = into.path().parent().filter(|parent| !parent.as_os_str().is_empty());
    sync_directory(parent.unwrap_or_else(|| Path::new("."))).map_err(failed)?;
    Ok(kept)
}

struct Repair<'a, 'f> {
    evidence: Evidence,
    output: Output,
    tell: &'a RefCell<&'f mut dyn FnMut(Finding)>,
    lost: u64,
    others_lost: u64,
    mended: u64,
    /// Tenants that have events, and no record.
    tenants: BTreeSet<TenantId>,
}

impl Repair<'_, '_> {
    fn events(&mut self, store: &RawStore, registry: &Registry) -> Result<(), ToolError> {
        for gathered in Events::new(store, &Told::nobody()) {
            let found = self.evidence.take(&gathered.name);
            let (row, made_up) = found.row_of(&gathered);
            let status = verify::status(&row).as_str();
            let Part::Whole(payload) = gathered.payload.clone() else {
                let row = if made_up { ", and its row" } else { "" };
                let what = format!("its payload is lost{row}; it was {status}, as far as is known");
                self.lose(gathered.label(), what);
                continue;
            };
            if made_up {
                self.mended += 1;
                let (event, what) = (gathered.label(), format!("kept as {status}"));
                (self.tell.borrow_mut())(Finding::Mended { event, what });
            }
            if !registry.knows(&gathered.tenant) {
                self.tenants.insert(gathered.tenant.clone());
            }
            let named = (&gathered.tenant, gathered.event);
            let shard_key = registry.shard_key(&gathered.tenant);
            for entry in entries(named, &row, shard_key, Layout::Current) {
                self.output.put_entry(entry)?;
            }
            self.output.put(Table::Rows, &gathered.name, codec::encode(&row))?;
            self.log(&gathered)?;
            self.output.put(Table::Payloads, &gathered.name, payload)?;
        }
        for name in std::mem::take(&mut self.evidence).left() {
            let event = keys::parse_event(&name).map(|(tenant, event)| label(&tenant, event));
            self.lose(event.unwrap_or_default(), "its row and its payload are lost".to_owned());
        }
        Ok(())
    }

    fn lose(&mut self, event: String, what: String) {
        self.lost += 1;
        (self.tell.borrow_mut())(Finding::Lost { event, what });
    }

    /// Names whatever else is lost.
    fn name_others(&mut self, store: &RawStore, registry: &Registry) {
        let Self { tenants, tell, others_lost, .. } = self;
        others::each_lost(store, registry, tenants, &mut |name, what| {
            *others_lost += 1;
            (tell.borrow_mut())(Finding::LostOther { name, what });
        });
    }

    fn log(&mut self, gathered: &Gathered) -> Result<(), ToolError> {
        for (n, line) in (0..).zip(gathered.log.values()) {
            let key = keys::log(&gathered.tenant, gathered.event, n);
            self.output.put(Table::Log, key, codec::encode(line))?;
        }
        Ok(())
    }

    /// Tenants, claims and jobs.
    fn others(&mut self, store: &RawStore, registry: &Registry) -> Result<(), ToolError> {
        let output = &mut self.output;
        for (key, value) in &registry.rows {
            output.put(Table::Tenants, key.clone(), value.clone())?;
        }
        for key in &registry.owned {
            output.put(Table::Tenants, key, Vec::new())?;
        }
        for (key, value) in store.rows(Table::Claims, &Told::nobody()) {
            if let Ok(claim) = codec::decode::<ClaimRow>(&value) {
                output.put_entry(claim_entry(&key, &claim))?;
                output.put(Table::Claims, key, value)?;
            }
        }
        let mut failed = None;
        jobs::each(store, &Told::nobody(), |found| {
            if failed.is_none() {
                failed = output.put_job(found).err();
            }
        });
        failed.map_or(Ok(()), Err)
    }

    /// Whose directory it is; gives the commit that the new one goes on behind.
    fn meta(&mut self, store: &RawStore, found: &Verified) -> Result<CommitRow, ToolError> {
        let mut last = CommitRow::default();
        let mut is_nobodys = store.unread(Table::Meta).next().is_some();
        for (key, value) in store.rows(Table::Meta, &Told::nobody()) {
            match &*key {
                COMMIT_KEY => last = codec::decode(&value).unwrap_or_default(),
                IDENTITY_KEY => {
                    is_nobodys = codec::decode::<IdentityRow>(&value).is_err();
                    if !is_nobodys {
                        self.output.put(Table::Meta, key, value)?;
                    }
                }
                SEAL_KEY => self.output.put(Table::Meta, key, value)?,
                // One of an earlier version that says nothing keeps starts from looking closely.
                ACCEPTED_LOSS_KEY if !value.is_empty() => {
                    self.output.put(Table::Meta, key, value)?;
                }
                _ => {}
            }
        }
        if is_nobodys {
            self.others_lost += 1;
            let name = "the directory's own name".to_owned();
            let what = "lost: it gets another one when it is served from".to_owned();
            (self.tell.borrow_mut())(Finding::LostOther { name, what });
        }
        // Scans begin at the first row: there are no marks of removed ones to step over.
        let number = last.number.max(found.witnessed.unwrap_or(0)).max(found.commit).max(1);
        let accepted = last.accepted.max(found.accepted);
        Ok(CommitRow { number, accepted, timers_low: 0, expiry_low: 0 })
    }
}

/// The new store.
struct Output {
    path: PathBuf,
    tables: Tables,
    batch: Vec<(Table, Slice, Slice)>,
    bytes: usize,
    memtable_bytes: u64,
}

impl Output {
    fn open(directory: &Directory) -> Result<Self, ToolError> {
        let settings = Settings::new(directory.path());
        let path = directory.path().to_owned();
        let database = Database::builder(directory.store()).manual_journal_persist(true);
        let database = database.worker_threads(1).open();
        let tables = database.and_then(|database| Tables::open(database, &settings));
        let tables = tables.map_err(unwritable(&path))?;
        let memtable_bytes = settings.memtable_bytes;
        Ok(Self { path, tables, batch: Vec::new(), bytes: 0, memtable_bytes })
    }

    fn put(
        &mut self,
        table: Table,
        key: impl AsRef<[u8]>,
        value: impl Into<Slice>,
    ) -> Result<(), ToolError> {
        let (key, value) = (Slice::from(key.as_ref()), value.into());
        self.bytes += key.len() + value.len();
        self.batch.push((table, key, value));
        if self.bytes < BATCH_BYTES { Ok(()) } else { self.write() }
    }

    fn put_entry(&mut self, entry: Entry) -> Result<(), ToolError> {
        self.put(entry.table, entry.key, entry.value)
    }

    fn put_job(&mut self, mut found: jobs::Found) -> Result<(), ToolError> {
        self.put_entry(jobs::entry(&found))?;
        let payload = found.payload.take();
        let mark = found.row.payload.filter(|_| payload.is_some());
        let row = JobRow { payload: mark, ..found.row };
        self.put(Table::Jobs, &found.name, codec::encode(&row))?;
        payload.map_or(Ok(()), |payload| self.put(Table::Payloads, &found.name, payload))
    }

    /// Writes what has gathered, and what memory is not to hold.
    fn write(&mut self) -> Result<(), ToolError> {
        self.write_with(self.memtable_bytes)
    }

    /// As [`Output::write`], with what is larger in memory than `bytes_max`.
    fn write_with(&mut self, bytes_max: u64) -> Result<(), ToolError> {
        let mut batch = self.tables.database().batch().durability(Some(PersistMode::Buffer));
        for (table, key, value) in self.batch.drain(..) {
            batch.insert(self.tables.keyspace(table), key, value);
        }
        self.bytes = 0;
        let written = batch.commit().and_then(|()| self.tables.write_out(bytes_max));
        written.map_err(unwritable(&self.path))
    }

    /// The last commit, when all else is in tables, and then it is there too; all is on disk when
    /// this returns.
    ///
    /// No other batch has a number. Were rows left to the journals, the loss of one would not be
    /// found; and once the first of several is removed, a start would miss all commits before this
    /// one.
    fn close(mut self, last: CommitRow) -> Result<(), ToolError> {
        self.write_with(0)?;
        self.put(Table::Meta, COMMIT_KEY, codec::encode(&last))?;
        self.write_with(0)?;
        let synced = self.tables.database().persist(PersistMode::SyncAll);
        synced.map_err(unwritable(&self.path))?;
        let path = self.path.clone();
        drop(self);
        sync_directory(&path.join("ledger"))
            .and_then(|()| File::open(&path)?.sync_all())
            .map_err(unreadable(&path))
    }
}

fn unwritable(path: &Path) -> impl FnOnce(fjall::Error) -> ToolError {
    let path = path.to_owned();
    move |error| ToolError::Unwritable { path, detail: error.to_string() }
}

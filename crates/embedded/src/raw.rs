//! The store's files, read without the store: nothing is written, and nothing damaged is in the way
//! of what is whole.
//!
//! fjall opens a directory by changing it: it cuts journals, removes table files that its manifest
//! does not name, and gives up at the first thing that it cannot read. What is to be examined,
//! exported or repaired is read here instead: the newest write of each key, out of every whole
//! block of every table file and every whole batch of every journal.
//!
//! ```text
//!  keyspaces/0/…  names of the keyspaces        <n>.jnl  batches, see journal.rs
//!  keyspaces/<n>/ current, v<N>, tables/<id>    see manifest.rs, table.rs
//! ```
//!
//! Input is damaged bytes: nothing here panics or trusts a length.

pub(crate) mod archive;
pub(crate) mod manifest;
pub(crate) mod merge;
pub(crate) mod table;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use lsm_tree::Slice;

use crate::codec::{self, CommitRow};
use crate::damage::{Damage, Kind};
use crate::journal;
use crate::keys::Layout;
use crate::tables::{ACCEPTED_LOSS_KEY, COMMIT_KEY, Table};
use manifest::{Runs, TableFile};
use merge::Rows;

#[cfg(test)]
thread_local! {
    /// Whether this thread reads nothing behind the first damage of a file: the wrong variant by
    /// which tests show that they notice.
    pub(crate) static STOPS_AT_DAMAGE: Cell<bool> = const { Cell::new(false) };
}

#[cfg(test)]
pub(crate) fn stops_at_damage() -> bool {
    STOPS_AT_DAMAGE.get()
}

#[cfg(not(test))]
pub(crate) const fn stops_at_damage() -> bool {
    false
}

/// A write of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) key: Slice,
    pub(crate) seqno: u64,
    /// None where it took the row away.
    pub(crate) value: Option<Slice>,
}

/// Why a file is not what was written.
#[derive(Debug)]
pub(crate) enum Flaw {
    Io(io::Error),
    Rot(&'static str),
}

impl From<io::Error> for Flaw {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) if error.kind() == io::ErrorKind::NotFound => f.write_str("missing"),
            Self::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str("it ends too early")
            }
            Self::Io(error) => error.fmt(f),
            Self::Rot(how) => f.write_str(how),
        }
    }
}

impl Flaw {
    pub(crate) fn of(self, path: &Path) -> Flawed {
        Flawed { path: path.to_owned(), flaw: self }
    }
}

/// A file that is not what was written.
#[derive(Debug)]
pub(crate) struct Flawed {
    pub(crate) path: PathBuf,
    pub(crate) flaw: Flaw,
}

impl fmt::Display for Flawed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.flaw)
    }
}

/// Who is told of damage, once of each file's part.
pub(crate) struct Told<'a> {
    root: PathBuf,
    tell: Option<RefCell<&'a mut dyn FnMut(Damage)>>,
    known: RefCell<HashSet<String>>,
    count: Cell<u64>,
}

impl<'a> Told<'a> {
    /// Tells `tell`; places are named as they stand in `root`.
    pub(crate) fn new(root: &Path, tell: &'a mut dyn FnMut(Damage)) -> Self {
        let (known, count) = (RefCell::default(), Cell::new(0));
        Self { root: root.to_owned(), tell: Some(RefCell::new(tell)), known, count }
    }

    pub(crate) fn tell(&self, damage: Damage) {
        // A file may be read more than once.
        if damage.kind.is_of_a_file() && !self.known.borrow_mut().insert(damage.to_string()) {
            return;
        }
        self.count.set(self.count.get() + 1);
        if let Some(tell) = &self.tell {
            (tell.borrow_mut())(damage);
        }
    }

    /// How people name a file.
    fn place(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }

    pub(crate) fn file(&self, kind: Kind, path: &Path, what: impl Into<String>) {
        self.tell(Damage { kind, place: self.place(path), key: None, what: what.into() });
    }

    pub(crate) fn flawed(&self, kind: Kind, flawed: &Flawed) {
        self.file(kind, &flawed.path, flawed.flaw.to_string());
    }

    pub(crate) fn row(&self, kind: Kind, table: Table, key: String, what: impl Into<String>) {
        let place = table.name().to_owned();
        self.tell(Damage { kind, place, key: Some(key), what: what.into() });
    }

    pub(crate) fn total(&self) -> u64 {
        self.count.get()
    }
}

impl Told<'static> {
    /// Tells nobody: for what is read a second time.
    pub(crate) fn nobody() -> Self {
        let (known, count) = (RefCell::default(), Cell::new(0));
        Self { root: PathBuf::new(), tell: None, known, count }
    }
}

/// The newest write of each key that the journals have.
type Recent = BTreeMap<Slice, (u64, Option<Slice>)>;

/// A store, as far as its files can be read.
pub(crate) struct RawStore {
    runs: Vec<Runs>,
    /// Files and directories, by table, of which not every row could be read.
    unread: Vec<(Table, String)>,
    recent: Vec<Recent>,
    files: usize,
    /// The commits that the journals have, in order, each once.
    commits: Vec<u64>,
    layout: Layout,
}

impl RawStore {
    /// The same store, whose events are named in this way.
    pub(crate) fn named_by(self, layout: Layout) -> Self {
        Self { layout, ..self }
    }

    /// How its events are named.
    pub(crate) const fn layout(&self) -> Layout {
        self.layout
    }

    /// Reads what the store in `store` consists of; tells of what is damaged in that.
    pub(crate) fn open(store: &Path, told: &Told<'_>) -> io::Result<Self> {
        let keyspaces = store.join("keyspaces");
        let names = names(&keyspaces.join("0"), told);
        let mut ids = HashMap::new();
        let mut runs = Vec::new();
        let mut unread = Vec::new();
        let mut files = 0;
        for of in Table::ALL {
            let named = names.get(of.name()).copied();
            // In the order in which every store of this version has made them.
            let id = named.unwrap_or(of as u64 + 1);
            if named.is_none() {
                let what = format!("it names no {}: taken to be {id}", of.name());
                told.file(Kind::Manifest, &keyspaces.join("0"), what);
            }
            ids.insert(id, of);
            let dir = keyspaces.join(id.to_string());
            let (of_table, is_known) = runs_of(&dir, told);
            files += of_table.iter().map(Vec::len).sum::<usize>();
            let (of_table, flawed) = apart(of_table, told);
            let incomplete = flawed.into_iter().filter(|file| !table::is_complete(file));
            let gone = (!is_known).then_some(dir);
            let paths = incomplete.map(|file| file.path).chain(gone);
            unread.extend(paths.map(|path| (of, told.place(&path))));
            runs.push(of_table);
        }
        let mut recent: Vec<Recent> = Table::ALL.map(|_| Recent::new()).into();
        let mut commits = Vec::new();
        let taken = journal::replay_all(store, &mut |written| {
            commits.extend(commit_of(&written.item).map(|commit| commit.number));
            let Some(table) = ids.get(&written.keyspace) else { return };
            let recent = &mut recent[*table as usize];
            let newer = recent.get(&written.item.key).is_none_or(|(s, _)| *s <= written.item.seqno);
            if newer {
                recent.insert(written.item.key, (written.item.seqno, written.item.value));
            }
        });
        taken?;
        commits.sort_unstable();
        commits.dedup();
        Ok(Self { runs, unread, recent, files, commits, layout: Layout::default() })
    }

    /// The rows of a table, in order, each as its newest write left it.
    pub(crate) fn rows<'a, 't>(&'a self, table: Table, told: &'a Told<'t>) -> Rows<'a, 't> {
        let recent = &self.recent[table as usize];
        Rows::new(&self.runs[table as usize], recent, Some(told))
    }

    /// Files and directories of a table of which not every row could be read.
    pub(crate) fn unread(&self, table: Table) -> impl Iterator<Item = String> {
        let of = self.unread.iter().filter(move |(of, _)| *of == table);
        of.map(|(_, place)| place.clone())
    }

    /// How many table files there are.
    pub(crate) const fn files(&self) -> usize {
        self.files
    }

    /// How many commits are missing between the first one that the journals have and the last one
    /// that there was, which is `proven` at least: they are numbered without a gap.
    pub(crate) fn commits_missing(&self, proven: u64) -> u64 {
        let (Some(first), Some(last)) = (self.commits.first(), self.commits.last()) else {
            return proven;
        };
        let all = last.max(&proven).saturating_sub(*first).saturating_add(1);
        all.saturating_sub(self.commits.len() as u64)
    }
}

/// The commit record that a write is.
pub(crate) fn commit_of(item: &Item) -> Option<CommitRow> {
    let value = item.value.as_ref().filter(|_| *item.key == *COMMIT_KEY)?;
    codec::decode(value).ok()
}

/// Looks at every file. One that is not what was written may have any keys, and follows nothing: it
/// becomes a run of its own. Gives those, too.
fn apart(runs: Runs, told: &Told<'_>) -> (Runs, Vec<TableFile>) {
    let mut apart = Vec::new();
    let mut whole = Vec::new();
    for run in runs {
        let (good, bad): (Vec<_>, Vec<_>) = run.into_iter().partition(|file| check(file, told));
        whole.extend((!good.is_empty()).then_some(good));
        apart.extend(bad);
    }
    for file in &mut apart {
        file.is_shuffled = merge::is_shuffled(file);
    }
    whole.extend(apart.iter().map(|file| vec![file.clone()]));
    (whole, apart)
}

/// The table files of a tree; all that are there, where its manifest does not say it, and whether
/// there is any way to know.
fn runs_of(dir: &Path, told: &Told<'_>) -> (Runs, bool) {
    match manifest::read(dir) {
        Ok(runs) => (runs, true),
        Err(flawed) => {
            told.flawed(Kind::Manifest, &flawed);
            let there = manifest::all_there(dir);
            let is_known = there.is_ok();
            (there.unwrap_or_default(), is_known)
        }
    }
}

/// The numbers of the keyspaces, by name, from the tree that keeps them.
fn names(dir: &Path, told: &Told<'_>) -> BTreeMap<String, u64> {
    names_in(&apart(runs_of(dir, told).0, told).0, Some(told))
}

/// The last commit that the tables of the store in `store` have, 0 where they have none; nothing
/// where an earlier version accepted a loss and did not note which: numbers have a gap there. An
/// error where not everything that says it can be read.
pub(crate) fn written_commit(store: &Path) -> Result<Option<CommitRow>, Flawed> {
    let keyspaces = store.join("keyspaces");
    let names_dir = keyspaces.join("0");
    let names = names_in(&checked(&names_dir)?, None);
    let id = names.get(Table::Meta.name());
    let id = id.ok_or_else(|| Flaw::Rot("it names no meta table").of(&names_dir))?;
    let dir = keyspaces.join(id.to_string());
    let runs = checked(&dir)?;
    let mut damaged = None;
    let mut tell = |damage: Damage| {
        damaged.get_or_insert_with(|| store.join(damage.place));
    };
    let (none, told) = (Recent::new(), Told::new(store, &mut tell));
    let (mut last, mut is_noted) = (Some(CommitRow::default()), true);
    for (key, value) in Rows::new(&runs, &none, Some(&told)) {
        match &*key {
            ACCEPTED_LOSS_KEY => is_noted = !value.is_empty(),
            COMMIT_KEY => last = codec::decode(&value).ok(),
            _ => {}
        }
    }
    drop(told);
    match (damaged, last) {
        (Some(path), _) => Err(Flaw::Rot("not every row of it can be read").of(&path)),
        (None, None) => Err(Flaw::Rot("the last commit is not what was written").of(&dir)),
        (None, last) => Ok(last.filter(|_| is_noted)),
    }
}

/// The table files of the tree in `dir`, all of which are what was written. Looked at by
/// themselves, since who reads rows steps over what cannot be read, for whatever reason.
fn checked(dir: &Path) -> Result<Runs, Flawed> {
    let runs = manifest::read(dir)?;
    for file in runs.iter().flatten() {
        table::check(file, || true).map_err(|flaw| flaw.of(&file.path))?;
    }
    Ok(runs)
}

/// As [`names`], of table files.
pub(crate) fn names_in(runs: &Runs, told: Option<&Told<'_>>) -> BTreeMap<String, u64> {
    let none = Recent::new();
    let rows = Rows::new(runs, &none, told);
    let named = rows.filter_map(|(key, name)| {
        let id = key.strip_prefix(b"n").and_then(|id| id.try_into().ok());
        Some((String::from_utf8(name.to_vec()).ok()?, u64::from_be_bytes(id?)))
    });
    named.collect()
}

/// Whether a table's file is what its manifest says; tells where it is not.
fn check(file: &TableFile, told: &Told<'_>) -> bool {
    let what = match (table::checksum(file, |_| true), file.checksum) {
        (Ok(found), Some(known)) if found != Some(known) => {
            "not the file that was written (checksum)".to_owned()
        }
        (Ok(_), _) => return true,
        (Err(error), _) => Flaw::Io(error).to_string(),
    };
    told.file(Kind::Table, &file.path, what);
    false
}

//! Looks at the store's journals before the store does, because it opens some damage silently
//! and refuses other damage that is harmless.
//!
//! fjall (3.1.13) takes an unreadable record in the active journal as its end and drops what
//! follows; and a last batch of which a page is missing, which was never acknowledged, makes it
//! refuse to open for good. This scan reads the same format, checks every batch's checksum, and
//! finds the last commit of ours that is whole. Then [`crate::open`] can compare that with the
//! witness *before* anything is cut.
//!
//! ```text
//!  1 │ items 4 │ seqno 8                                                          start
//!  2 │ type 1 │ compression 1 │ keyspace 8 │ key len 2 │ len 4 │ stored 4 │ key │ value
//!  4 │ keyspace 8                                                                 clear
//!  3 │ XXH3 of the items 8 │ "FJL" 3                                              end
//! ```
//!
//! Refuses to write, but for what [`hole`] and [`note`] say. Input is damaged bytes: nothing here
//! panics or trusts a length.

mod hole;
mod note;
mod replay;

pub(crate) use hole::{Consent, Hole, Known, cut, free};
#[cfg(test)]
pub(crate) use replay::placed;
pub(crate) use replay::replay_all;

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use crate::codec::{self, CommitRow};
use crate::tables::{ACCEPTED_LOSS_KEY, COMMIT_KEY};

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: &[u8; 4] = b"FJL\x03";
const LZ4: u8 = 1;
/// The store's checksum leaves the sequence number out. They grow from batch to batch, and by as
/// many as tables were written out and merged in between: what does not is damage. What passes for
/// grown all the same changes nothing that is read, but in the oldest batch of all: the store takes
/// it for written out where its number is too low.
const SEQNO_STEP_MAX: u64 = 1 << 20;

/// What the journals say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    /// The newest commit of ours in a whole batch; none where the journals hold no batch.
    pub(crate) newest: Option<CommitRow>,
    /// The active journal, with where its last whole batch ends, where something follows.
    pub(crate) torn: Option<(PathBuf, u64)>,
    /// What is missing before the active journal. A journal is sealed whole, so none of this is a
    /// torn tail.
    pub(crate) holes: Vec<Hole>,
    /// How many journals there are.
    pub(crate) journals: usize,
    /// Whether there may have been others, which were removed when tables had all of them.
    removed: bool,
    /// The oldest one that is there, with the first commit in it.
    oldest: Option<(PathBuf, Commit)>,
}

/// A commit of ours in a whole batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Commit {
    row: CommitRow,
    /// Where an operator went on with it, without what was lost: the last commit before that, 0
    /// where it was not noted which one that is.
    goes_on_behind: Option<u64>,
}

impl Commit {
    /// Whether nothing is missing between the commit of that number and this one, but for what an
    /// operator has accepted to lose.
    fn follows(&self, number: u64) -> bool {
        let is_accepted = |behind| behind <= number && number < self.row.number;
        self.row.number == number.saturating_add(1) || self.goes_on_behind.is_some_and(is_accepted)
    }
}

impl Scan {
    /// Nothing is known.
    #[cfg(test)]
    pub(crate) fn unseen() -> Self {
        Self { removed: true, ..Self::default() }
    }

    /// What is missing before the oldest journal, where the tables have commits up to `written`:
    /// one is removed only when they have all that is in it.
    pub(crate) fn missing_before(&self, written: CommitRow) -> Option<Hole> {
        let (path, first) = self.oldest.as_ref()?;
        let number: u64 = path.file_stem()?.to_str()?.parse().ok()?;
        let is_missing = written.number < first.row.number && !first.follows(written.number);
        is_missing.then(|| Hole {
            after: Some(first.row),
            behind: number.checked_sub(2).map(|before| numbered(path, before)),
            ..Hole::new(numbered(path, number.saturating_sub(1)), None, written)
        })
    }

    /// What is known of commits beside the journals, where the tables have them up to `written`,
    /// and `proven` was acknowledged.
    pub(crate) fn known(&self, written: Option<CommitRow>, proven: u64) -> Known {
        let number = |commit: Option<CommitRow>| commit.map_or(0, |commit| commit.number);
        let (written, newest) = (number(written), number(self.newest));
        Known { written, last: newest.max(written).max(proven) }
    }

    /// The last commit of which all is there, where `last` is the newest one that tables tell of:
    /// where the journals have any commit, or none was ever removed, they have the last one.
    pub(crate) fn reaches(&self, last: CommitRow) -> CommitRow {
        match self.newest {
            Some(newest) if newest.number < last.number => newest,
            None if !self.removed => CommitRow::default(),
            _ => last,
        }
    }
}

/// The journal that is written to, by its name: they are numbered, and the last one is active.
#[derive(Debug)]
pub(crate) struct ActiveJournal {
    number: u64,
    path: PathBuf,
    next: PathBuf,
}

impl ActiveJournal {
    /// The active journal of the store in `dir`.
    pub(crate) fn find(dir: &Path) -> io::Result<Self> {
        let (number, path) = named(dir)?.pop().ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { number, next: numbered(&path, number + 1), path })
    }

    /// Whether it is there.
    pub(crate) fn is_there(&mut self) -> bool {
        // An older one is removed only after the next one was made.
        while self.next.exists() {
            self.number += 1;
            let after = numbered(&self.path, self.number + 1);
            self.path = std::mem::replace(&mut self.next, after);
        }
        self.path.exists() || self.find_newer()
    }

    /// Looks for it among all journals, where several were filled and removed since the last look.
    fn find_newer(&mut self) -> bool {
        let found = self.path.parent().and_then(|dir| Self::find(dir).ok());
        let Some(newer) = found.filter(|found| found.number > self.number) else { return false };
        *self = newer;
        true
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The store's journals, each held open until the store has removed it.
///
/// To remove one takes tens of milliseconds, which its last holder pays. The store does it under a
/// lock, behind which every commit may come to wait; we do it where nobody waits.
#[derive(Debug)]
pub(crate) struct HeldJournals {
    dir: PathBuf,
    held: Vec<(u64, File)>,
}

impl HeldJournals {
    /// Holds none of those in `dir` yet.
    pub(crate) const fn new(dir: PathBuf) -> Self {
        Self { dir, held: Vec::new() }
    }

    /// Holds those that are new, and lets go of those that the store has removed.
    pub(crate) fn look(&mut self) -> io::Result<()> {
        self.held.retain(|(_, journal)| journal.metadata().is_ok_and(|file| file.nlink() > 0));
        let newest = self.held.last().map(|(number, _)| *number);
        for (number, path) in named(&self.dir)? {
            if newest.is_none_or(|newest| number > newest) {
                match File::open(path) {
                    Ok(journal) => self.held.push((number, journal)),
                    // Removed since.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

fn numbered(sibling: &Path, number: u64) -> PathBuf {
    sibling.with_file_name(format!("{number}.jnl"))
}

/// The journals of the store in `dir`, oldest first.
fn named(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut journals: Vec<(u64, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        if let (Some(number), Some("jnl")) = (number, path.extension().and_then(|e| e.to_str())) {
            journals.push((number, path));
        }
    }
    journals.sort();
    Ok(journals)
}

/// Reads all journals of the store in `dir`, oldest first.
///
/// Our commits are numbered without a gap, so a sealed journal that ends too early is found, and
/// one that is gone. (Within a journal a gap is where a loss was accepted.)
pub(crate) fn scan(dir: &Path) -> io::Result<Scan> {
    let journals = named(dir)?;
    let removed = journals.last().is_some_and(|(number, _)| *number > 0);
    let mut scan = Scan { journals: journals.len(), removed, ..Scan::default() };
    let oldest = journals.first().cloned();
    let mut seqno = None;
    // The last journal that was read, and its hole if it has one that is known already.
    let mut last: Option<(PathBuf, Option<Hole>)> = None;
    let active = journals.len().saturating_sub(1);
    for (index, (number, path)) in journals.into_iter().enumerate() {
        let journal = read(&path, seqno)?;
        if index == 0 {
            let oldest = oldest.as_ref().filter(|(number, _)| *number > 0).zip(journal.first);
            scan.oldest = oldest.map(|((_, path), first)| (path.clone(), first));
        }
        seqno = journal.seqno;
        if let Some((before_path, hole)) = last.take() {
            let before = scan.newest.unwrap_or_default();
            let gap = journal
                .first
                .is_some_and(|first| scan.newest.is_some() && !first.follows(before.number));
            // The one that is gone; or else the one that ends too early. As it is named once the
            // journals before it are removed: see `missing_before`.
            let gone = numbered(&before_path, number.saturating_sub(1));
            let gone = (!gone.exists()).then_some(gone);
            let hole = match hole {
                Some(hole) => Some(Hole { gone, ..hole }),
                None => gap.then(|| match gone {
                    None => Hole::new(before_path, None, before),
                    Some(gone) => {
                        Hole { behind: Some(before_path), ..Hole::new(gone, None, before) }
                    }
                }),
            };
            scan.holes.extend(hole);
        }
        if let Some(first) = journal.first {
            let open = scan.holes.iter_mut().filter(|hole| hole.after.is_none());
            open.for_each(|hole| hole.after = Some(first.row));
        }
        scan.newest = journal.newest.or(scan.newest);
        let torn = journal.damaged && index == active;
        // One that was sealed has batches, or it would not have been.
        let is_empty = journal.whole_until == 0;
        let hole = ((journal.damaged || is_empty) && index != active).then(|| {
            let before = scan.newest.unwrap_or_default();
            Hole::new(path.clone(), Some(journal.whole_until), before)
        });
        if torn {
            scan.torn = Some((path.clone(), journal.whole_until));
        }
        last = Some((path, hole));
    }
    Ok(scan)
}

#[derive(Debug)]
struct Journal {
    first: Option<Commit>,
    newest: Option<CommitRow>,
    whole_until: u64,
    /// Of the last whole batch, or the one that was given.
    seqno: Option<u64>,
    /// Whether something that is no whole batch follows: not the end, and not the zeros of space
    /// that was set aside.
    damaged: bool,
}

/// Reads a journal behind the batch whose number is `seqno`.
fn read(path: &Path, seqno: Option<u64>) -> io::Result<Journal> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut input = Input { seqno, ..Input::new(file, length) };
    let mut journal = Journal { first: None, newest: None, whole_until: 0, seqno, damaged: false };
    loop {
        match batch(&mut input) {
            Ok(newest) => {
                journal.seqno = input.seqno;
                journal.first = journal.first.or(newest);
                journal.newest = newest.map(|newest| newest.row).or(journal.newest);
                journal.whole_until = input.at;
            }
            Err(Stop::End) => return Ok(journal),
            Err(Stop::Io(error)) => return Err(error),
            Err(Stop::Damaged) => {
                journal.damaged = true;
                return Ok(journal);
            }
        }
    }
}

enum Stop {
    /// Nothing follows but zeros.
    End,
    Damaged,
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Damaged,
            _ => Self::Io(error),
        }
    }
}

struct Input<R> {
    reader: R,
    at: u64,
    length: u64,
    seqno: Option<u64>,
}

impl Input<BufReader<File>> {
    fn new(file: File, length: u64) -> Self {
        Self { reader: BufReader::with_capacity(1 << 18, file), at: 0, length, seqno: None }
    }
}

impl<R: Read> Input<R> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(bytes)
    }

    /// So many bytes, which must be there before they are allocated.
    fn bytes(&mut self, len: usize, into: &mut Vec<u8>) -> Result<(), Stop> {
        if len as u64 > self.length.saturating_sub(self.at) {
            return Err(Stop::Damaged);
        }
        let begin = into.len();
        into.resize(begin + len, 0);
        self.reader.read_exact(&mut into[begin..])?;
        self.at += len as u64;
        Ok(())
    }

    /// The tag of what follows; the end where only zeros do.
    fn first_tag(&mut self) -> Result<u8, Stop> {
        if self.at == self.length {
            return Err(Stop::End);
        }
        let [tag] = self.array()?;
        if tag != 0 {
            return Ok(tag);
        }
        let mut chunk = [0; 1 << 16];
        loop {
            match self.reader.read(&mut chunk)? {
                0 => return Err(Stop::End),
                read if chunk[..read].iter().any(|byte| *byte != 0) => return Err(Stop::Damaged),
                _ => {}
            }
        }
    }
}

/// Reads one batch; gives the commit record in it, where there is one.
fn batch<R: Read>(input: &mut Input<R>) -> Result<Option<Commit>, Stop> {
    batch_of(input, &mut |_, _| {})
}

/// As [`batch`]; `each` gets every item with the place of its value, before it is known whether the
/// batch is whole.
fn batch_of<R: Read>(
    input: &mut Input<R>,
    each: &mut dyn FnMut(&[u8], usize),
) -> Result<Option<Commit>, Stop> {
    if input.first_tag()? != START {
        return Err(Stop::Damaged);
    }
    let items = u32::from_le_bytes(input.array()?);
    let seqno = u64::from_le_bytes(input.array()?);
    let step = input.seqno.map_or(1, |last| seqno.saturating_sub(last));
    if step == 0 || step > SEQNO_STEP_MAX {
        return Err(Stop::Damaged);
    }
    input.seqno = Some(seqno);
    let mut checksum = Xxh3::new();
    let (mut commit, mut goes_on_behind) = (None, None);
    let mut bytes = Vec::new();
    for _ in 0..items {
        bytes.clear();
        let [tag] = input.array()?;
        bytes.push(tag);
        match tag {
            ITEM => {
                let (value_at, ours) = item(input, &mut bytes)?;
                match ours {
                    Some(Ours::Commit(row)) => commit = Some(row),
                    Some(Ours::GoesOnBehind(number)) => goes_on_behind = Some(number),
                    None => {}
                }
                each(&bytes, value_at);
            }
            CLEAR => input.bytes(8, &mut bytes)?,
            _ => return Err(Stop::Damaged),
        }
        checksum.update(&bytes);
    }
    let [tag] = input.array()?;
    let expected = u64::from_le_bytes(input.array()?);
    let trailer: [u8; 4] = input.array()?;
    let whole = tag == END && trailer == *TRAILER && checksum.digest() == expected;
    if whole { Ok(commit.map(|row| Commit { row, goes_on_behind })) } else { Err(Stop::Damaged) }
}

const HEAD_LEN: usize = 20;

/// An item that tells of the journal itself.
enum Ours {
    Commit(CommitRow),
    GoesOnBehind(u64),
}

/// Reads one item behind its tag into `bytes`; gives where its value begins, and what it tells.
fn item<R: Read>(input: &mut Input<R>, bytes: &mut Vec<u8>) -> Result<(usize, Option<Ours>), Stop> {
    let head: [u8; HEAD_LEN] = input.array()?;
    bytes.extend_from_slice(&head);
    let key_len = usize::from(u16::from_le_bytes([head[10], head[11]]));
    let stored_len = u32::from_le_bytes([head[16], head[17], head[18], head[19]]) as usize;
    let key_at = bytes.len();
    input.bytes(key_len + stored_len, bytes)?;
    let (key, value) = bytes[key_at..].split_at(key_len);
    let ours = match key {
        // Both are far too short to be compressed.
        _ if head[1] == LZ4 => None,
        COMMIT_KEY => codec::decode(value).ok().map(Ours::Commit),
        ACCEPTED_LOSS_KEY => accepted_behind(value).map(Ours::GoesOnBehind),
        _ => None,
    };
    Ok((key_at + key_len, ours))
}

/// The number of the commit behind which a loss was accepted, by the row that says so; 0 where it
/// does not say it, as in earlier versions.
fn accepted_behind(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return Some(0);
    }
    codec::decode::<CommitRow>(value).ok().map(|row| row.number)
}

#[cfg(test)]
mod tests;

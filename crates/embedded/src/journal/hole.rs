//! Holes in the journals: whether an operator goes on without what is missing, and how what is not
//! whole is cut off.
//!
//! Consent is a file beside the journal, `<number>.lost`. Where a journal is damaged, the bytes
//! that go are in it; it is there whole and durable before they are cut, so that a start that was
//! cut off in between is finished by the next one. Other bytes behind the last whole batch are
//! another damage, to which nobody has agreed.
//!
//! Refuses to write over what was kept before.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::codec::CommitRow;
use crate::directory::sync_directory;

const CHUNK: usize = 1 << 16;

/// Commits that are missing behind the last whole batch of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hole {
    /// The journal.
    pub(crate) path: PathBuf,
    /// Where its last whole batch ends, where something follows that is none.
    pub(crate) damaged_from: Option<u64>,
    /// The last commit before the hole.
    pub(crate) before: CommitRow,
    /// The first one behind it, where there is one.
    pub(crate) after: Option<CommitRow>,
    /// The journal before it, where this one is gone: earlier versions noted consent by its name.
    pub(crate) behind: Option<PathBuf>,
    /// The last of the journals that are gone behind a damaged one. Once that is cut the hole has
    /// this one's name.
    pub(crate) gone: Option<PathBuf>,
}

/// Whether an operator goes on without what is missing in a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consent {
    Missing,
    Given,
    /// Given, and what is damaged is still to be cut.
    Unfinished,
}

impl Hole {
    pub(super) const fn new(path: PathBuf, damaged_from: Option<u64>, before: CommitRow) -> Self {
        Self { path, damaged_from, before, after: None, behind: None, gone: None }
    }

    /// Where it is noted that an operator goes on without what is missing.
    pub(crate) fn accepted_in(&self) -> PathBuf {
        self.path.with_extension("lost")
    }

    /// Whether it is noted.
    pub(crate) fn consent(&self) -> io::Result<Consent> {
        let note = self.accepted_in();
        let is_noted = note.exists();
        let Some(from) = self.damaged_from else {
            return Ok(Consent::of(is_noted || self.is_noted_as_before()));
        };
        if !is_noted || fs::metadata(&self.path)?.len() == from {
            return Ok(Consent::of(is_noted));
        }
        let is_same = rest_is(&self.path, from, &note)?;
        Ok(if is_same { Consent::Unfinished } else { Consent::Missing })
    }

    /// Whether an earlier version has noted it. A note that has bytes is of damage in the journal
    /// whose name it has.
    fn is_noted_as_before(&self) -> bool {
        let note = self.behind.as_ref().map(|behind| behind.with_extension("lost"));
        note.and_then(|note| fs::metadata(note).ok()).is_some_and(|note| note.len() == 0)
    }

    /// Notes that an operator goes on without what is missing, and cuts what is damaged.
    pub(crate) fn accept(&self) -> io::Result<()> {
        if let Some(gone) = &self.gone {
            note(gone)?;
        }
        match self.damaged_from {
            Some(from) => cut(&self.path, from, &free(&self.accepted_in())).map(drop),
            None => note(&self.path),
        }
    }

    /// Cuts what is damaged, where that was agreed to and noted.
    pub(crate) fn finish(&self) -> io::Result<()> {
        self.damaged_from.map_or(Ok(()), |from| cut_off(&self.path, from))
    }
}

/// Notes that an operator goes on without a journal that is not there, or what it does not have.
fn note(journal: &Path) -> io::Result<()> {
    // One that is there has the bytes that were cut.
    let note = journal.with_extension("lost");
    OpenOptions::new().write(true).create(true).truncate(false).open(note)?.sync_all()?;
    sync_directory(parent(journal))
}

impl Consent {
    const fn of(is_given: bool) -> Self {
        if is_given { Self::Given } else { Self::Missing }
    }
}

/// Cuts a journal behind its last whole batch; the bytes that go are kept in another file, and are
/// durable there before, so that nothing is destroyed. Gives how many there were.
pub(crate) fn cut(journal: &Path, whole_until: u64, kept_in: &Path) -> io::Result<u64> {
    if kept_in.exists() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let mut file = File::open(journal)?;
    file.seek(SeekFrom::Start(whole_until))?;
    // What is there by its name is there whole.
    let draft = journal.with_extension("new");
    let mut kept = File::create(&draft)?;
    let bytes = copy(&mut file, &mut kept)?;
    kept.sync_all()?;
    fs::rename(&draft, kept_in)?;
    sync_directory(parent(journal))?;
    cut_off(journal, whole_until)?;
    Ok(bytes)
}

/// The name, or one like it that nothing has yet.
pub(crate) fn free(name: &Path) -> PathBuf {
    let extension = name.extension().unwrap_or_default().to_string_lossy();
    let other = |n: u64| name.with_extension(format!("{extension}-{n}"));
    let names = std::iter::once(name.to_owned()).chain((2..).map(other));
    names.into_iter().find(|name| !name.exists()).unwrap_or_default()
}

fn cut_off(journal: &Path, whole_until: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(journal)?;
    file.set_len(whole_until)?;
    file.sync_all()
}

/// Copies what follows; of zeros, which a journal has up to 64 MiB of, only that they are there.
fn copy(from: &mut File, to: &mut File) -> io::Result<u64> {
    let mut chunk = vec![0; CHUNK];
    let mut length = 0;
    loop {
        let read = fill(from, &mut chunk)?;
        if read == 0 {
            to.set_len(length)?;
            return Ok(length);
        }
        length += read as u64;
        if chunk[..read].iter().any(|byte| *byte != 0) {
            to.write_all(&chunk[..read])?;
        } else {
            to.seek(SeekFrom::Start(length))?;
        }
    }
}

/// Whether the bytes of a file from `from` on are those of another one.
fn rest_is(path: &Path, from: u64, other: &Path) -> io::Result<bool> {
    let (mut file, mut other) = (File::open(path)?, File::open(other)?);
    file.seek(SeekFrom::Start(from))?;
    let (mut chunk, mut other_chunk) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        let (read, other_read) =
            (fill(&mut file, &mut chunk)?, fill(&mut other, &mut other_chunk)?);
        if chunk[..read] != other_chunk[..other_read] {
            return Ok(false);
        }
        if read == 0 {
            return Ok(true);
        }
    }
}

/// Reads until the chunk is full, or the file ends.
fn fill(file: &mut File, chunk: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < chunk.len() {
        match file.read(&mut chunk[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn parent(journal: &Path) -> &Path {
    journal.parent().unwrap_or(journal)
}

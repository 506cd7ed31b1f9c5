//! Holes in the journals: whether an operator goes on without what is missing, and how what is not
//! whole is cut off.
//!
//! Consent is a file beside the journal, which says for which commits it is: see [`note`]. Where a
//! journal is damaged, the bytes that go are in it; it is there whole and durable before they are
//! cut, so that a start that was cut off in between is finished by the next one. Other bytes behind
//! the last whole batch are another damage, to which nobody has agreed.
//!
//! Refuses to write over what was kept before.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::note::{self, Gap, Note};
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

/// What is known of commits beside the journals.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known {
    /// The last one that the tables have.
    pub(crate) written: u64,
    /// The last one that there ever was.
    pub(crate) last: u64,
}

/// Whether an operator goes on without what is missing in a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consent {
    Missing,
    Given,
    /// Given to an earlier version, which did not note for which commits.
    GivenBefore,
    /// Given, and what is damaged is still to be cut.
    Unfinished,
}

impl Hole {
    pub(super) const fn new(path: PathBuf, damaged_from: Option<u64>, before: CommitRow) -> Self {
        Self { path, damaged_from, before, after: None, behind: None, gone: None }
    }

    /// The commits that are missing.
    fn gap(&self, known: Known) -> Gap {
        // Where no journal before it has any, those that were removed had what the tables have.
        let behind = if self.before.number == 0 { known.written } else { self.before.number };
        let before = self.after.map_or_else(|| known.last.saturating_add(1), |after| after.number);
        Gap { behind, before }
    }

    /// Whether it is noted.
    pub(crate) fn consent(&self, known: Known) -> io::Result<Consent> {
        let gap = self.gap(known);
        let notes = note::all(&self.path)?;
        if let Some(from) = self.damaged_from
            && fs::metadata(&self.path)?.len() != from
        {
            for note in notes.iter().filter(|note| note.may_be_for(gap)) {
                if rest_is(&self.path, from, note)? {
                    return Ok(Consent::Unfinished);
                }
            }
            return Ok(Consent::Missing);
        }
        if notes.iter().any(|note| note.is_for(gap)) {
            return Ok(Consent::Given);
        }
        let is_old = notes.iter().all(Note::is_old);
        let is_noted = !notes.is_empty() || self.is_noted_as_before()?;
        Ok(if is_old && is_noted { Consent::GivenBefore } else { Consent::Missing })
    }

    /// Whether an earlier version has noted it by the name of the journal before this one. A note
    /// that has bytes is of damage in that one; one that says for which commits it is, of those.
    fn is_noted_as_before(&self) -> io::Result<bool> {
        let Some(behind) = self.behind.as_ref().filter(|_| self.damaged_from.is_none()) else {
            return Ok(false);
        };
        let notes = note::all(behind)?;
        let is_empty = notes.first().is_some_and(|note| note.kept == 0);
        Ok(is_empty && notes.iter().all(Note::is_old))
    }

    /// Notes that an operator goes on without what is missing, and cuts what is damaged.
    pub(crate) fn accept(&self, known: Known) -> io::Result<()> {
        let gap = self.gap(known);
        if let Some(gone) = &self.gone {
            note::write(gone, gap)?;
        }
        let Some(from) = self.damaged_from else { return note::write(&self.path, gap) };
        cut_noting(&self.path, from, &note::next(&self.path), &gap.words()).map(drop)
    }

    /// Notes for which commits consent was given to an earlier version.
    pub(crate) fn note_which(&self, known: Known) -> io::Result<()> {
        note::write(&self.path, self.gap(known))
    }

    /// Cuts what is damaged, where that was agreed to and noted.
    pub(crate) fn finish(&self) -> io::Result<()> {
        self.damaged_from.map_or(Ok(()), |from| cut_off(&self.path, from))
    }
}

/// Cuts a journal behind its last whole batch; the bytes that go are kept in another file, and are
/// durable there before, so that nothing is destroyed. Gives how many there were.
pub(crate) fn cut(journal: &Path, whole_until: u64, kept_in: &Path) -> io::Result<u64> {
    cut_noting(journal, whole_until, kept_in, b"")
}

/// As [`cut`]; `words` stand behind the bytes.
fn cut_noting(journal: &Path, whole_until: u64, kept_in: &Path, words: &[u8]) -> io::Result<u64> {
    if kept_in.exists() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let mut file = File::open(journal)?;
    file.seek(SeekFrom::Start(whole_until))?;
    // What is there by its name is there whole.
    let draft = journal.with_extension("new");
    let mut kept = File::create(&draft)?;
    let bytes = copy(&mut file, &mut kept)?;
    kept.write_all(words)?;
    kept.sync_all()?;
    fs::rename(&draft, kept_in)?;
    sync_directory(parent(journal))?;
    cut_off(journal, whole_until)?;
    Ok(bytes)
}

/// The name, or one like it that nothing has yet.
pub(crate) fn free(name: &Path) -> PathBuf {
    names(name).find(|name| !name.exists()).unwrap_or_default()
}

/// A name, and those like it, in the order in which they are taken.
pub(super) fn names(name: &Path) -> impl Iterator<Item = PathBuf> {
    let extension = name.extension().unwrap_or_default().to_string_lossy();
    let other = move |n: u64| name.with_extension(format!("{extension}-{n}"));
    std::iter::once(name.to_owned()).chain((2..).map(other))
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

/// Whether the bytes of a file from `from` on are those that a note keeps.
fn rest_is(path: &Path, from: u64, note: &Note) -> io::Result<bool> {
    let (mut file, mut other) = (File::open(path)?, File::open(&note.path)?.take(note.kept));
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
fn fill(file: &mut impl Read, chunk: &mut [u8]) -> io::Result<usize> {
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

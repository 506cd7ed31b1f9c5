//! Notes of consent: `<number>.lost` beside a journal; where there is one, `<number>.lost-2`, and
//! so on.
//!
//! ```text
//! bytes that were cut, where any were │ "PHLOST01" │ behind 8 │ before 8 │ CRC-32 of the three 4
//! ```
//!
//! Consent is to the loss of the commits between those two, and of no others. An earlier version
//! did not write which: its notes end with the bytes that were cut, or are empty. They count as
//! long as no other one of the same journal says more; the first start of this version writes one
//! that does. One that has rotted is never taken for one of those, as far as one byte goes.
//!
//! Invariant: a note is there whole or not at all, and nothing is written over one.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::directory::sync_directory;

const MAGIC: &[u8; 8] = b"PHLOST01";
const BODY_LEN: usize = 24;
const WORDS_LEN: usize = 28;

/// Commits that are missing: those between two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) behind: u64,
    pub(super) before: u64,
}

impl Gap {
    /// Whether nothing is missing in `other` that is not missing here.
    const fn covers(self, other: Self) -> bool {
        self.behind <= other.behind && other.before <= self.before
    }

    /// How a note ends that says it.
    pub(super) fn words(self) -> [u8; WORDS_LEN] {
        let mut words = [0; WORDS_LEN];
        words[..8].copy_from_slice(MAGIC);
        words[8..16].copy_from_slice(&self.behind.to_le_bytes());
        words[16..BODY_LEN].copy_from_slice(&self.before.to_le_bytes());
        let checksum = crc32fast::hash(&words[..BODY_LEN]);
        words[BODY_LEN..].copy_from_slice(&checksum.to_le_bytes());
        words
    }
}

/// Which commits a note is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    /// It is of an earlier version.
    Nothing,
    Gap(Gap),
    /// It said it once: it is for nothing any more.
    Rotten,
}

/// One note.
#[derive(Debug)]
pub(super) struct Note {
    pub(super) path: PathBuf,
    /// How many bytes were cut.
    pub(super) kept: u64,
    said: Said,
}

impl Note {
    /// Whether it may be for a gap, as far as it says.
    pub(super) const fn may_be_for(&self, gap: Gap) -> bool {
        matches!(self.said, Said::Nothing) || self.is_for(gap)
    }

    /// Whether it says that it is for a gap.
    pub(super) const fn is_for(&self, gap: Gap) -> bool {
        matches!(self.said, Said::Gap(said) if said.covers(gap))
    }

    /// Whether an earlier version wrote it.
    pub(super) fn is_old(&self) -> bool {
        self.said == Said::Nothing
    }

    fn read(path: PathBuf) -> io::Result<Self> {
        let file = File::open(&path)?;
        let length = file.metadata()?.len();
        let old = Self { path, kept: length, said: Said::Nothing };
        let Some(kept) = length.checked_sub(WORDS_LEN as u64) else { return Ok(old) };
        let mut words = [0; WORDS_LEN];
        file.read_exact_at(&mut words, kept)?;
        let number = |at: usize| words[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
        let gap = Gap { behind: number(8), before: number(16) };
        // The checksum is that of the right magic, so it speaks for one that is rotten, too: what
        // is rotten must not pass for a note of an earlier version, which consents to more.
        let is_right = gap.words()[MAGIC.len()..] == words[MAGIC.len()..];
        let said = if is_right {
            Said::Gap(gap)
        } else if words.starts_with(MAGIC) {
            Said::Rotten
        } else {
            return Ok(old);
        };
        Ok(Self { kept, said, ..old })
    }
}

/// What a journal's first note is called.
fn first(journal: &Path) -> PathBuf {
    journal.with_extension("lost")
}

/// What a journal's next note is called.
pub(super) fn next(journal: &Path) -> PathBuf {
    super::free(&first(journal))
}

/// The notes of a journal.
pub(super) fn all(journal: &Path) -> io::Result<Vec<Note>> {
    super::hole::names(&first(journal)).take_while(|name| name.exists()).map(Note::read).collect()
}

/// Notes that an operator goes on without what is missing, where nothing is cut.
pub(super) fn write(journal: &Path, gap: Gap) -> io::Result<()> {
    let draft = journal.with_extension("new");
    let mut file = File::create(&draft)?;
    file.write_all(&gap.words())?;
    file.sync_all()?;
    fs::rename(&draft, next(journal))?;
    sync_directory(journal.parent().unwrap_or(journal))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For all bytes of a note and all bits of each, with bytes that were cut before them and
    /// without: one that has rotted is for no more than it was, and does not pass for one of an
    /// earlier version.
    #[test]
    fn a_rotten_note_is_for_no_more_than_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("7.lost");
        let gap = Gap { behind: 5, before: 11 };
        let wider = [(4, 11), (5, 12), (0, u64::MAX)];
        for kept in [&b""[..], b"bytes that were cut"] {
            let whole = [kept, &gap.words()].concat();
            let rotten = (0..WORDS_LEN * 8).map(|bit| {
                let mut bytes = whole.clone();
                bytes[kept.len() + bit / 8] ^= 1 << (bit % 8);
                bytes
            });
            for bytes in std::iter::once(whole.clone()).chain(rotten) {
                fs::write(&path, &bytes).unwrap();
                let note = Note::read(path.clone()).unwrap();
                assert!(!note.is_old() && note.kept == kept.len() as u64, "{bytes:?}");
                for (behind, before) in wider {
                    assert!(!note.may_be_for(Gap { behind, before }), "{bytes:?}");
                }
                // Where only its name is rotten, it says all that it said.
                let is_said =
                    bytes[kept.len() + MAGIC.len()..] == whole[kept.len() + MAGIC.len()..];
                assert_eq!(note.is_for(gap), is_said, "{bytes:?}");
            }
        }
        // One of an earlier version says nothing.
        for old in [&b""[..], b"cut", &[7; 100]] {
            fs::write(&path, old).unwrap();
            let note = Note::read(path.clone()).unwrap();
            assert!(note.is_old() && note.kept == old.len() as u64);
        }
    }
}

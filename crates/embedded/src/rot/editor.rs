//! The editor: what disks do to the files of a closed ledger, drawn by a seed.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::template::{Template, files};
use crate::testing::Chance;

const PAGE: usize = 4096;

/// One damage to one file, named from the data directory on.
#[derive(Clone, Debug)]
pub(super) struct Edit {
    pub(super) file: PathBuf,
    pub(super) how: How,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum How {
    /// These bits of a byte.
    Flip { at: usize, bits: u8 },
    /// A page reads as zeros.
    Zero { page: usize },
    /// A page has another one's bytes.
    Duplicate { page: usize, from: usize },
    /// A page is missing, and what follows has moved.
    Drop { page: usize },
    /// Nothing from here on.
    Cut { at: usize },
    /// The file is gone.
    Remove,
    /// Its whole directory is gone: a tree of the store.
    RemoveTree,
    /// Another file of the same directory has its name too.
    Swap,
}

/// What is in a file, which decides what must survive its damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Journal,
    Table,
    /// Names, numbers, proofs: no row is in it.
    Rest,
}

impl Edit {
    /// Draws a damage, and does it to the copy in `data`.
    pub(super) fn draw(template: &Template, data: PathBuf, chance: &mut Chance) -> Self {
        let root = template.data();
        let all = files(&root);
        let of = |what| all.iter().filter(|path| what_is(path) == what).cloned().collect();
        let groups: [Vec<PathBuf>; 3] = [of(What::Journal), of(What::Table), of(What::Rest)];
        let group = &groups[usize::try_from(chance.below(3)).unwrap()];
        let path = chance.pick(group).unwrap();
        let length = fs::metadata(path).unwrap().len();
        let pages = length.div_ceil(PAGE as u64).max(1);
        let mut at = |bound: u64| usize::try_from(chance.below(bound.max(1))).unwrap();
        let how = match at(16) {
            0..6 => How::Flip { at: at(length), bits: 1 << at(8) },
            6 | 7 => How::Zero { page: at(pages) },
            8 | 9 => How::Duplicate { page: at(pages), from: at(pages) },
            10 | 11 => How::Drop { page: at(pages) },
            12 => How::Cut { at: at(length) },
            13 => How::Cut { at: 0 },
            14 => How::Remove,
            _ => match what_is(path) {
                What::Journal => How::Remove,
                What::Table => How::Swap,
                What::Rest if path.starts_with(root.join("ledger/keyspaces")) => How::RemoveTree,
                What::Rest => How::Remove,
            },
        };
        let edit = Self { file: path.strip_prefix(&root).unwrap().to_owned(), how };
        edit.apply(data);
        edit
    }

    pub(super) fn flip(template: &Template, at: usize) -> Self {
        Self { file: active(template), how: How::Flip { at, bits: 0x10 } }
    }

    pub(super) fn cut(template: &Template, at: usize) -> Self {
        Self { file: active(template), how: How::Cut { at } }
    }

    pub(super) fn what(&self) -> What {
        what_is(&self.file)
    }

    /// The bytes that it touches, of a file of that length.
    pub(super) fn range(&self, length: usize) -> Range<usize> {
        match self.how {
            How::Flip { at, .. } => at..at + 1,
            How::Zero { page } | How::Duplicate { page, .. } | How::Drop { page } => {
                page * PAGE..(page + 1) * PAGE
            }
            How::Cut { at } => at..length,
            How::Remove | How::RemoveTree | How::Swap => 0..length,
        }
    }

    /// Damages the ledger in `data`.
    pub(super) fn apply(&self, data: impl AsRef<Path>) {
        let path = data.as_ref().join(&self.file);
        let mut bytes = fs::read(&path).unwrap();
        let range = |page: usize, length: usize| {
            let begin = (page * PAGE).min(length);
            begin..(begin + PAGE).min(length)
        };
        match self.how {
            How::Flip { at, bits } => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= bits;
                }
            }
            How::Zero { page } => {
                let range = range(page, bytes.len());
                bytes[range].fill(0);
            }
            How::Duplicate { page, from } => {
                let source = bytes[range(from, bytes.len())].to_vec();
                let range = range(page, bytes.len());
                let length = range.len().min(source.len());
                bytes[range.start..range.start + length].copy_from_slice(&source[..length]);
            }
            How::Drop { page } => drop(bytes.drain(range(page, bytes.len()))),
            How::Cut { at } => bytes.truncate(at),
            How::Remove => return fs::remove_file(path).unwrap(),
            How::RemoveTree => {
                let tree = path
                    .ancestors()
                    .find(|dir| dir.parent().is_some_and(|parent| parent.ends_with("keyspaces")));
                return fs::remove_dir_all(tree.unwrap()).unwrap();
            }
            How::Swap => {
                let siblings = files(path.parent().unwrap());
                let other = siblings.into_iter().find(|other| *other != path);
                bytes = other.map_or_else(Vec::new, |other| fs::read(other).unwrap());
            }
        }
        fs::write(path, bytes).unwrap();
    }
}

fn what_is(path: &Path) -> What {
    if path.extension().is_some_and(|extension| extension == "jnl") {
        What::Journal
    } else if path.parent().is_some_and(|dir| dir.ends_with("tables")) {
        What::Table
    } else {
        What::Rest
    }
}

fn active(_template: &Template) -> PathBuf {
    PathBuf::from("ledger/2.jnl")
}

/// Where the last batch of the active journal begins and ends.
pub(super) fn last_batch(template: &Template) -> (usize, usize) {
    let bytes = fs::read(template.data().join(active(template))).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let boundary = b"FJL\x03\x01";
    let begin = bytes[..end].windows(boundary.len()).rposition(|window| window == boundary);
    (begin.unwrap() + boundary.len() - 1, end)
}

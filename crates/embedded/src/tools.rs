//! What an operator does with a data directory that no process has: verify it, export it, repair it
//! into another one.
//!
//! All of them read the files themselves (`raw`): the store is not asked to open what may
//! be damaged, and nothing is written into the directory that is read.

mod events;
mod evidence;
mod export;
mod index;
mod jobs;
mod others;
mod registry;
mod repair;
mod verify;

#[cfg(test)]
pub(crate) use events::label;
pub use export::{Exported, export};
pub(crate) use index::{Entry, entries};
#[cfg(test)]
pub(crate) use repair::repair_in_place_watched;
pub use repair::{Finding, Repaired, repair, repair_in_place};
pub use verify::{Verified, verify};

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::directory::Directory;
use crate::error::OpenError;
use crate::raw::{RawStore, Told};

/// Why a tool did nothing.
#[derive(Debug, Error)]
pub enum ToolError {
    /// The directory cannot be used.
    #[error(transparent)]
    Directory(#[from] OpenError),
    /// A part of it cannot be read at all.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which part.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Nothing of a ledger is in the directory.
    #[error("{} is no data directory: it has neither FORMAT, ledger nor witness", path.display())]
    NoLedger {
        /// The directory.
        path: PathBuf,
    },
    /// The directory to repair into is not empty.
    #[error("{} is there already: name a directory that is not", path.display())]
    InTheWay {
        /// The directory.
        path: PathBuf,
    },
    /// The new directory cannot be written.
    #[error("cannot write to {}: {detail}", path.display())]
    Unwritable {
        /// The new directory.
        path: PathBuf,
        /// Why.
        detail: String,
    },
}

impl ToolError {
    /// Whether the command was wrong, and not the disk.
    #[must_use]
    pub fn is_misuse(&self) -> bool {
        use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
        match self {
            Self::Directory(OpenError::Unusable { source, .. }) => {
                matches!(source.kind(), NotFound | NotADirectory | PermissionDenied)
            }
            Self::Directory(OpenError::Unwritable { .. }) => false,
            Self::Directory(_) | Self::NoLedger { .. } | Self::InTheWay { .. } => true,
            Self::Unreadable { .. } | Self::Unwritable { .. } => false,
        }
    }
}

/// Reads what a directory's store consists of.
fn read_store(directory: &Directory, told: &Told<'_>) -> Result<RawStore, ToolError> {
    let store = directory.store();
    let opened = RawStore::open(&store, told);
    let opened = opened.map_err(|source| ToolError::Unreadable { path: store, source })?;
    Ok(opened.named_by(directory.layout()))
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> ToolError {
    let path = path.to_owned();
    move |source| ToolError::Unreadable { path, source }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    /// What another command would not mend is no misuse.
    #[test]
    fn a_disk_that_fails_is_no_misuse() {
        let is_misuse = |error: Errno| {
            let unusable = OpenError::Unusable { path: PathBuf::new(), source: error.into() };
            ToolError::Directory(unusable).is_misuse()
        };
        assert!([Errno::NOENT, Errno::ACCESS, Errno::NOTDIR].into_iter().all(is_misuse));
        assert!(![Errno::IO, Errno::NOSPC, Errno::ROFS].into_iter().any(is_misuse));
    }
}

//! Why a ledger cannot be opened: one line that says what to do.

use std::io;
use std::path::PathBuf;

use posthaste_ports::PortError;
use rustix::io::Errno;
use thiserror::Error;

/// Why a ledger was not opened. Nothing was changed unless a variant says so.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The path is something else.
    #[error("{} is not a directory; name another data directory", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// It cannot be made, read or written.
    #[error("cannot use {}: {source}; {}", path.display(), advice(source))]
    Unusable {
        /// The directory or the file in it.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// It was read, and the first commit was refused.
    #[error("cannot write to {}: {source}; look at the disk, and start again", path.display())]
    Unwritable {
        /// The directory.
        path: PathBuf,
        /// What the ledger said.
        source: PortError,
    },
    /// Another process has it.
    #[error(
        "{} is used by another process{}; stop that one, or name another data directory",
        path.display(),
        holder.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The other process, where it left its name.
        holder: Option<u32>,
    },
    /// A newer version of this program wrote it.
    #[error(
        "{} has format {found}, which is newer than this version of posthaste can read ({known}); \
         use the version that wrote it, or a later one",
        path.display()
    )]
    NewerFormat {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that this version knows.
        known: u32,
    },
    /// The format file does not hold a format.
    #[error(
        "{} does not hold a format's number but {found:?}; is this a data directory?",
        path.display()
    )]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: String,
    },
    /// Its tenants are sealed with another key, or the key is gone.
    #[error(
        "the secrets in {} are sealed with a key that is not there: put back the one that they \
         were sealed with, as data.seal-key or as the file seal-key in it",
        path.display()
    )]
    OtherSealKey {
        /// The directory.
        path: PathBuf,
    },
    /// A repair into it was not finished.
    #[error(
        "{} is what a repair was writing when it was cut off; remove it, and begin the repair \
         again",
        path.display()
    )]
    Unfinished {
        /// The directory.
        path: PathBuf,
    },
    /// Commits that were acknowledged are not on the disk any more.
    #[error(
        "{} has lost {commits} acknowledged commits{} (the last one there is {found}, the last \
         one acknowledged was {witnessed}, damage in {damaged}); bring back a copy of the disk, \
         or start once with --accept-loss to go on without them",
        path.display(),
        events.map(|n| format!(", {n} accepted events among them")).unwrap_or_default()
    )]
    Loss {
        /// The directory.
        path: PathBuf,
        /// How many commits at least.
        commits: u64,
        /// How many accepted events at least, where that is known.
        events: Option<u64>,
        /// The newest commit on disk.
        found: u64,
        /// The newest commit that was acknowledged for certain.
        witnessed: u64,
        /// Where.
        damaged: String,
    },
    /// In AWS mode: it holds events of standalone mode that are still owed, and nothing else does.
    #[error(
        "{} holds events that were accepted in standalone mode and are not delivered yet; start \
         in standalone mode until they are, or name another data directory",
        path.display()
    )]
    HoldsEvents {
        /// The directory.
        path: PathBuf,
    },
    /// The store does not open.
    #[error(
        "the ledger in {} does not open: {detail}; bring back a copy of the data directory, or \
         keep what is whole: posthaste ledger repair",
        path.display()
    )]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// What the store said.
        detail: String,
    },
}

impl OpenError {
    /// Whether an operator must change something before a start can succeed; a restart alone does
    /// not help.
    #[must_use]
    pub fn exit_config(&self) -> bool {
        // Room may be made, and a disk may write again, while nobody looks.
        match self {
            Self::Unusable { source, .. } => !is_full(source),
            Self::Unwritable { .. } => false,
            _ => true,
        }
    }

    /// Whether what is in the directory is the reason, so that without it a start would succeed.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::NewerFormat { .. }
            | Self::UnknownFormat { .. }
            | Self::Loss { .. }
            | Self::Damaged { .. } => true,
            Self::Unusable { source, .. } => is_damage(source),
            Self::NotADirectory { .. }
            | Self::Unwritable { .. }
            | Self::Locked { .. }
            | Self::Unfinished { .. }
            | Self::OtherSealKey { .. }
            | Self::HoldsEvents { .. } => false,
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// What to do about a directory that cannot be used.
fn advice(error: &io::Error) -> &'static str {
    if is_full(error) {
        "make room on that disk, and start again"
    } else {
        "it must be a directory that this user may write to"
    }
}

/// Whether an operation failed because of what is on the disk: not for want of rights, space, or
/// anything else that would meet an empty directory as well.
pub(crate) fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{
        InvalidData, InvalidInput, IsADirectory, NotADirectory, NotFound, UnexpectedEof,
    };
    let kinds = [UnexpectedEof, InvalidData, InvalidInput, NotFound, IsADirectory, NotADirectory];
    let bad_disk = [Errno::IO, Errno::BADMSG, Errno::UCLEAN].map(Errno::raw_os_error);
    kinds.contains(&error.kind()) || error.raw_os_error().is_some_and(|n| bad_disk.contains(&n))
}

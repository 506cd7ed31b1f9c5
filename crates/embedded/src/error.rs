//! Why a ledger cannot be opened: one line that says what to do.

use std::io;
use std::path::PathBuf;

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
    #[error(
        "cannot use {}: {source}; it must be a directory that this user may write to",
        path.display()
    )]
    Unusable {
        /// The directory or the file in it.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
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
    /// The store does not open.
    #[error(
        "the ledger in {} does not open: {detail}; bring back a copy of the data directory",
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
    pub const fn exit_config(&self) -> bool {
        match self {
            Self::NotADirectory { .. }
            | Self::Unusable { .. }
            | Self::Locked { .. }
            | Self::NewerFormat { .. }
            | Self::UnknownFormat { .. }
            | Self::Loss { .. } => true,
            Self::Damaged { .. } => false,
        }
    }
}

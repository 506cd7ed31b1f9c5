//! The data directory: made, locked, and known by its format.
//!
//! ```text
//! LOCK         held by the process that uses the directory; holds its pid
//! FORMAT       the version of all of this, as text
//! ledger/      the store
//! witness      see witness.rs
//! ballast      see space.rs
//! attempts-N   see register.rs, one for each shard
//! seal-key     see vault.rs; only where the operator keeps none elsewhere
//! unwell       how the ledger failed, since it last ended well: see open.rs
//! quarantine-T see quarantine.rs, in AWS mode
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};

use crate::error::OpenError;
use crate::keys::Layout;

/// The format that this version writes.
const FORMAT: u32 = 2;
/// The one before it, in which events have other names: see `upgrade.rs`.
const OLDER: u32 = 1;
/// What stands there while one is brought over: no earlier version takes it for its own.
const UPGRADING: &str = "2, not all of it yet\n";

/// What stands in place of a format's number while a repair writes: no version takes it for one.
const UNFINISHED: &str = "unfinished repair\n";

/// A format that this version reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Current,
    /// To be brought over, or brought over in part.
    Older,
}

/// A data directory that nobody else uses, as long as this or a clone of it lives.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    _lock: Arc<File>,
}

impl Directory {
    /// Makes the directory where it is missing, and locks it.
    pub(crate) fn lock(path: &Path) -> Result<Self, OpenError> {
        let unusable = |source| OpenError::Unusable { path: path.to_owned(), source };
        match fs::metadata(path) {
            Ok(metadata) if !metadata.is_dir() => {
                return Err(OpenError::NotADirectory { path: path.to_owned() });
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(path).map_err(unusable)?;
                restrict(path).map_err(unusable)?;
            }
            Err(error) => return Err(unusable(error)),
        }
        let lock = Arc::new(lock(path)?);
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Locks the directory against everybody else, in order to read it: nothing in it is changed.
    pub(crate) fn lock_to_read(path: &Path) -> Result<Self, OpenError> {
        let unusable = |source| OpenError::Unusable { path: path.to_owned(), source };
        if !fs::metadata(path).map_err(unusable)?.is_dir() {
            return Err(OpenError::NotADirectory { path: path.to_owned() });
        }
        let lock = match File::open(path.join("LOCK")) {
            // Of a copy, perhaps: nobody uses it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => File::open(path),
            lock => lock,
        };
        let lock = lock.map_err(unusable)?;
        take(&lock, path)?;
        Ok(Self { path: path.to_owned(), _lock: Arc::new(lock) })
    }

    /// Makes the directory that a repair writes to, which must not be there yet or be empty. Until
    /// it is [`finished`](Self::finish), it is refused by every version.
    pub(crate) fn begin(path: &Path) -> Result<Self, OpenError> {
        let directory = Self::lock(path)?;
        let name = path.join("FORMAT");
        let unusable = |source| OpenError::Unusable { path: name.clone(), source };
        write_durably(&name, UNFINISHED.as_bytes()).map_err(unusable)?;
        Ok(directory)
    }

    /// From here on it is a data directory like any other.
    pub(crate) fn finish(&self) -> io::Result<()> {
        write_durably(&self.path.join("FORMAT"), format!("{FORMAT}\n").as_bytes())
    }

    /// From here on no earlier version starts with it, until it is [`finished`](Self::finish).
    pub(crate) fn begin_upgrade(&self) -> io::Result<()> {
        write_durably(&self.path.join("FORMAT"), UPGRADING.as_bytes())
    }

    /// Whether the format is not named; fails where it is one that this version does not know.
    pub(crate) fn format_is_missing(&self) -> Result<bool, OpenError> {
        format(&self.path).map(|format| format.is_none())
    }

    /// How events are named in it; where its format is damaged, as in those that are written today.
    pub(crate) fn layout(&self) -> Layout {
        match format(&self.path) {
            Ok(Some(Format::Current)) | Err(_) => Layout::Current,
            Ok(Some(Format::Older) | None) => Layout::Mixed,
        }
    }

    /// Sees whether this version can read what is in it; names the format where nothing is yet.
    pub(crate) fn check_format(&self) -> Result<Format, OpenError> {
        match format(&self.path)? {
            Some(format) => Ok(format),
            // Somebody removed the file: of which format it was, what is in it tells.
            None if self.store().exists() => Ok(Format::Older),
            None => {
                let unusable = |source| OpenError::Unusable { path: self.path.clone(), source };
                self.finish().map(|()| Format::Current).map_err(unusable)
            }
        }
    }

    /// Whether anything of a ledger is in it.
    pub(crate) fn is_ledger(&self) -> bool {
        let mut parts = [self.path.join("FORMAT"), self.store(), self.witness()].into_iter();
        parts.any(|part| part.exists())
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path.join("ledger")
    }

    pub(crate) fn witness(&self) -> PathBuf {
        self.path.join("witness")
    }

    /// Where the ledger says how it failed while it ran, one line a life; a clean end removes it.
    pub(crate) fn unwell(&self) -> PathBuf {
        self.path.join("unwell")
    }

    pub(crate) fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }

    /// The key by which tenants are sealed, where it lies here.
    pub(crate) fn seal_key(&self) -> PathBuf {
        self.path.join("seal-key")
    }

    /// Puts that key there.
    pub(crate) fn write_seal_key(&self, text: &str) -> io::Result<()> {
        write_durably(&self.seal_key(), format!("{text}\n").as_bytes())
    }

    pub(crate) fn register(&self, shard: u32) -> PathBuf {
        self.path.join(format!("attempts-{shard}"))
    }

    /// The registers that are there, of however many shards there once were.
    pub(crate) fn registers(&self) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.strip_prefix("attempts-").is_some_and(|n| n.parse::<u32>().is_ok()) {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The directory holds webhook secrets: it is its owner's alone.
fn restrict(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let name = path.join("LOCK");
    let unusable = |source| OpenError::Unusable { path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    let mut file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&name)
        .map_err(unusable)?;
    take(&file, path)?;
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(unusable)?;
    Ok(file)
}

/// Takes the lock that `file` is.
fn take(mut file: &File, path: &Path) -> Result<(), OpenError> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(error) if error == rustix::io::Errno::WOULDBLOCK => {
            let mut holder = String::new();
            // The lock stands whether or not its holder can be named.
            let _unread = file.read_to_string(&mut holder);
            let holder = holder.trim().parse().ok();
            Err(OpenError::Locked { path: path.to_owned(), holder })
        }
        Err(error) => Err(OpenError::Unusable { path: path.to_owned(), source: error.into() }),
    }
}

/// The format that a directory names, if it names one.
fn format(path: &Path) -> Result<Option<Format>, OpenError> {
    let name = path.join("FORMAT");
    let text = match fs::read_to_string(&name) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(OpenError::Unusable { path: name, source }),
    };
    match text.trim().parse::<u32>() {
        Ok(FORMAT) => Ok(Some(Format::Current)),
        Ok(OLDER) => Ok(Some(Format::Older)),
        Err(_) if text == UPGRADING => Ok(Some(Format::Older)),
        Ok(found) if found > FORMAT => {
            Err(OpenError::NewerFormat { path: path.to_owned(), found, known: FORMAT })
        }
        Err(_) if text == UNFINISHED => Err(OpenError::Unfinished { path: path.to_owned() }),
        Ok(_) | Err(_) => Err(OpenError::UnknownFormat { path: name, found: text }),
    }
}

/// Writes a small file that is either there whole or not at all.
fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let draft = path.with_extension("new");
    // Its owner's alone, wherever a copy of it goes: it may be the key.
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    sync_directory(path.parent().unwrap_or(path))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

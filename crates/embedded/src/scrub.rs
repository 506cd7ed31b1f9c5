//! Whether the store's files are those that were written: looked at before the store is opened,
//! and behind it for what would take too long.
//!
//! The store checks a block when it reads it. That is too late: a tree whose manifest is damaged
//! costs whole tables, which the store then removes, and a damaged block shows when a merge meets
//! it, after which nothing can be written any more. So at each start the manifests and the ends of
//! all table files are looked at, and the checksums of as many table files as take a moment; the
//! others' at a gentle pace while the ledger runs. Where the last life failed all are looked at
//! before anything is opened, so that damage is named once and refused from then on.
//!
//! Refuses to change anything.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use crate::error;
use crate::raw::manifest::{self, CURRENT, Runs, TableFile};
use crate::raw::{Flaw, Flawed, names_in, table};
use crate::shared::Shared;

/// Bytes of tables whose checksums are looked at before the store is opened: a tenth of a second
/// where the page cache has them.
pub(crate) const AT_START_BYTES: u64 = 128 << 20;
/// How long the thread rests after a chunk of 256 KiB: 64 MiB/s, which leaves a disk to others.
const REST: Duration = Duration::from_millis(4);
/// How long until a file is looked at again that could not be read for another reason than damage.
pub(crate) const AGAIN: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 60_000 });
/// What the store's version file holds.
const VERSION: &[u8] = b"FJL\x03";

/// Looks at the store in `store` before it is opened; gives the table files whose checksums are
/// still to be looked at. `used` says whether it is known to hold commits.
pub(crate) fn examine(store: &Path, used: bool, bytes_max: u64) -> Result<Vec<TableFile>, Flawed> {
    let version = store.join("version");
    let known = fs::read(&version).map_err(|error| Flaw::Io(error).of(&version))?;
    if known != VERSION {
        return Err(Flaw::Rot("it is not what the store writes").of(&version));
    }
    let mut files = Vec::new();
    for runs in trees(&store.join("keyspaces"), used)? {
        for file in runs.into_iter().flatten() {
            table::look(&file).map_err(|flaw| flaw.of(&file.path))?;
            files.push(file);
        }
    }
    let mut left = bytes_max;
    let mut rest = Vec::new();
    for file in files {
        let length = fs::metadata(&file.path).map_or(0, |metadata| metadata.len());
        if length > left {
            rest.push(file);
            continue;
        }
        left -= length;
        table::check(&file, || true).map_err(|flaw| flaw.of(&file.path))?;
    }
    Ok(rest)
}

/// The manifests of all trees. The store makes a tree anew where it has no beginning, and removes
/// one that the tree of names does not name.
fn trees(keyspaces: &Path, used: bool) -> Result<Vec<Runs>, Flawed> {
    let names = keyspaces.join("0");
    let is_begun = names.join(CURRENT).exists();
    if !is_begun && !used && !has_others(keyspaces).map_err(|flaw| flaw.of(keyspaces))? {
        // The first start was cut off in making it.
        return Ok(Vec::new());
    }
    let named = manifest::read(&names)?;
    for file in named.iter().flatten() {
        table::check(file, || true).map_err(|flaw| flaw.of(&file.path))?;
    }
    let ids = names_in(&named, None);
    let mut trees = vec![named];
    for id in ids.values() {
        trees.push(manifest::read(&keyspaces.join(id.to_string()))?);
    }
    Ok(trees)
}

/// Whether there is any tree but that of the names.
fn has_others(keyspaces: &Path) -> Result<bool, Flaw> {
    match fs::read_dir(keyspaces) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        entries => {
            let names = entries?.collect::<io::Result<Vec<_>>>()?;
            Ok(names.iter().any(|entry| entry.file_name() != "0"))
        }
    }
}

/// Looks at the rest while the ledger runs. Damage ends it: it cannot be mended here, and what
/// would be written from then on could not be merged.
pub(crate) fn start(files: Vec<TableFile>, shared: &Arc<Shared>) -> io::Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    // Not one of those for whom the keeper stays.
    let shared = Arc::downgrade(shared);
    let thread = thread::Builder::new().name("ledger-scrub".to_owned());
    thread.spawn(move || run(files.into(), &shared)).map(drop)
}

/// Whether it still looks: nobody else has a weak hold.
#[cfg(test)]
pub(crate) fn is_running(shared: &Arc<Shared>) -> bool {
    Arc::weak_count(shared) > 0
}

fn run(mut files: VecDeque<TableFile>, shared: &Weak<Shared>) {
    let go_on = || {
        thread::sleep(REST);
        shared.strong_count() > 0
    };
    while let Some(file) = files.pop_front() {
        let checked = table::check(&file, go_on);
        let Some(shared) = shared.upgrade() else { return };
        match checked {
            Ok(()) => {}
            // Merged into others meanwhile: then all of it has been read.
            Err(Flaw::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(Flaw::Io(error)) if !error::is_damage(&error) => {
                let path = file.path.display();
                tracing::warn!(%error, %path, "cannot look at a table now; tried again later");
                files.push_back(file);
                drop(shared);
                if !rest(AGAIN, go_on) {
                    return;
                }
            }
            Err(flaw) => {
                shared.fail(format!("{}: damaged on disk", flaw.of(&file.path)));
                return;
            }
        }
    }
}

/// Waits as long as `go_on` says so, which takes [`REST`] itself; whether it said so to the end.
fn rest(time: Duration, mut go_on: impl FnMut() -> bool) -> bool {
    (0..time.as_millis() / REST.as_millis()).all(|_| go_on())
}

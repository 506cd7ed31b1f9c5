//! A cache that does not open is set aside, not mourned: its directory starts empty.
//!
//! Only in AWS mode, where the truth is elsewhere and losing the ledger costs time. What was there
//! is kept in `quarantine-<time>` in the same directory (which may be a disk of its own, so nothing
//! can be moved out of it), for whoever wants to know why. The newest [`KEPT`] are kept, so that a
//! disk that damages what is written to it does not fill up; an operator may remove them all.
//!
//! Refuses to set aside what holds accepted events: a directory of standalone mode.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use posthaste_domain::Timestamp;

use crate::directory::{Directory, sync_directory};

/// Quarantines that are kept.
pub(crate) const KEPT: usize = 2;
const PREFIX: &str = "quarantine-";
/// What stays: the lock that is held, and space that holds nothing.
const STAYS: [&str; 2] = ["LOCK", "ballast"];

/// Moves everything in a directory out of the way; gives where it is.
pub(crate) fn set_aside(directory: &Directory, now: Timestamp) -> io::Result<PathBuf> {
    let dir = directory.path();
    let place = free_place(dir, now);
    fs::create_dir(&place)?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let text = name.to_string_lossy();
        if !STAYS.contains(&&*text) && !text.starts_with(PREFIX) {
            fs::rename(entry.path(), place.join(&name))?;
        }
    }
    sync_directory(&place)?;
    sync_directory(dir)?;
    thin_out(dir, &place)?;
    Ok(place)
}

fn free_place(dir: &Path, now: Timestamp) -> PathBuf {
    let mut millis = now.as_millis();
    loop {
        let place = dir.join(format!("{PREFIX}{millis}"));
        if !place.exists() {
            return place;
        }
        millis = millis.wrapping_add(1);
    }
}

/// Removes all but the newest quarantines, and never `newest`, whatever the clock said before.
fn thin_out(dir: &Path, newest: &Path) -> io::Result<()> {
    let mut older = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let time = name.strip_prefix(PREFIX).and_then(|time| time.parse::<u64>().ok());
        if let Some(time) = time.filter(|_| path != newest) {
            older.push((time, path));
        }
    }
    older.sort();
    let surplus = (older.len() + 1).saturating_sub(KEPT);
    for (_, path) in older.into_iter().take(surplus) {
        fs::remove_dir_all(path)?;
    }
    Ok(())
}

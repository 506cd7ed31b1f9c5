//! Free space: watched before it runs out, with a ballast to throw overboard.
//!
//! Below the floor nothing new is accepted, while deliveries go on and settle. If something else
//! fills the disk all the same, the ballast file is given up, so that what is in flight can still
//! be settled; it is taken again when there is room for both.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// Below so many free bytes the ballast goes: what a burst of settlements and one table that is
/// being written out may take.
const DIRE_BYTES: u64 = 32 << 20;

/// Watches the file system of a data directory.
#[derive(Debug)]
pub(crate) struct Space {
    dir: PathBuf,
    ballast: PathBuf,
    ballast_bytes: u64,
    floor_bytes: u64,
    holds_ballast: bool,
}

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// Free bytes.
    pub(crate) free: u64,
    /// Whether new events may be accepted.
    pub(crate) enough: bool,
    /// Whether the ballast is held.
    pub(crate) ballast: bool,
}

impl Space {
    pub(crate) fn new(dir: &Path, ballast: PathBuf, ballast_bytes: u64, floor_bytes: u64) -> Self {
        let holds_ballast = fs::metadata(&ballast).is_ok_and(|file| file.len() == ballast_bytes);
        Self { dir: dir.to_owned(), ballast, ballast_bytes, floor_bytes, holds_ballast }
    }

    /// Looks, and takes or gives up the ballast.
    pub(crate) fn look(&mut self) -> io::Result<Room> {
        self.relieve()?;
        let mut free = self.free()?;
        let wants = self.ballast_bytes > 0 && !self.holds_ballast;
        let both = self.floor_bytes.saturating_add(self.ballast_bytes).max(2 * DIRE_BYTES);
        if wants && free >= both.saturating_add(self.ballast_bytes) {
            self.holds_ballast = self.take_ballast();
            free = self.free()?;
        }
        Ok(Room { free, enough: free >= self.floor_bytes, ballast: self.holds_ballast })
    }

    /// Gives up the ballast where there is hardly any room: a start needs some as well.
    pub(crate) fn relieve(&mut self) -> io::Result<()> {
        if self.holds_ballast && self.free()? < DIRE_BYTES {
            fs::remove_file(&self.ballast)?;
            self.holds_ballast = false;
        }
        Ok(())
    }

    fn free(&self) -> io::Result<u64> {
        let disk = statvfs(&self.dir)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Whether the ballast could be taken; a file system that cannot set space aside has none.
    fn take_ballast(&self) -> bool {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).open(&self.ballast);
        let taken = file
            .and_then(|file| Ok(fallocate(&file, FallocateFlags::empty(), 0, self.ballast_bytes)?));
        if taken.is_err() {
            // Half a ballast is none; that it stays behind costs only its space.
            let _unremoved = fs::remove_file(&self.ballast);
        }
        taken.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(dir: &Path, ballast: u64, floor: u64) -> Space {
        Space::new(dir, dir.join("ballast"), ballast, floor)
    }

    #[test]
    fn the_ballast_takes_real_space_where_there_is_enough() {
        let folder = tempfile::tempdir().unwrap();
        let room = space(folder.path(), 1 << 20, 0).look().unwrap();
        assert!(room.enough);
        assert_eq!(fs::metadata(folder.path().join("ballast")).is_ok(), room.ballast);
        let mut again = space(folder.path(), 1 << 20, 0);
        assert_eq!(again.look().unwrap().ballast, room.ballast);
    }

    #[test]
    fn below_the_floor_there_is_not_enough() {
        let folder = tempfile::tempdir().unwrap();
        let room = space(folder.path(), 1 << 20, u64::MAX).look().unwrap();
        assert!(!room.enough && !room.ballast);
    }
}

//! The witness: a side file that proves, at start, that nothing acknowledged is missing.
//!
//! The store can lose its newest commits without noticing: a damaged page in the middle of a
//! journal reads as its end. So the number of a commit that is known to be on disk is kept here,
//! beside the store, and compared when it is opened. It is written at most once a second, so what
//! it cannot prove is the last second before a fault.
//!
//! ```text
//!  0    magic "PHWITNS1" │ commit 8 │ accepted 8 │ CRC-32 4 │ padding
//!  512  the same; the two are written in turn, so that a torn write leaves the other one
//! ```
//!
//! Invariant: only commits that were synced are witnessed; a false alarm would stop a healthy
//! system.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::codec::CommitRow;

const MAGIC: &[u8; 8] = b"PHWITNS1";
/// The unit that disks write whole.
const SLOT_LEN: usize = 512;
const BODY_LEN: usize = 24;

/// What one of the two slots holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// Nothing was ever written to it.
    Empty,
    /// Not what was written.
    Damaged,
    Whole(Proof),
}

/// What is proven to be on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Proof {
    /// The newest synced commit.
    pub(crate) commit: u64,
    /// Events accepted up to it.
    pub(crate) accepted: u64,
}

impl Proof {
    /// The commit, as far as a proof knows it.
    pub(crate) fn last(self) -> CommitRow {
        let Self { commit: number, accepted } = self;
        CommitRow { number, accepted, ..CommitRow::default() }
    }
}

/// The open file.
#[derive(Debug)]
pub(crate) struct Witness {
    file: File,
    next: u64,
}

impl Witness {
    /// Opens or makes the file; gives what it proves, none where it proves nothing.
    pub(crate) fn open(path: &Path) -> io::Result<(Self, Option<Proof>)> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let slots = [read_slot(&file, 0)?, read_slot(&file, 1)?];
        let newest = Self::newest(&slots);
        // The next write must not touch the newest proof.
        let next = u64::from(newest.is_some_and(|newest| slots[0] == Slot::Whole(newest)));
        Ok((Self { file, next }, newest))
    }

    /// What the two slots of a file hold; writes nothing.
    pub(crate) fn slots(path: &Path) -> io::Result<[Slot; 2]> {
        let file = File::open(path)?;
        Ok([read_slot(&file, 0)?, read_slot(&file, 1)?])
    }

    /// The newest proof of two slots.
    pub(crate) fn newest(slots: &[Slot; 2]) -> Option<Proof> {
        let proof = |slot: &Slot| match slot {
            Slot::Whole(proof) => Some(*proof),
            Slot::Empty | Slot::Damaged => None,
        };
        slots.iter().filter_map(proof).max_by_key(|proof| proof.commit)
    }

    /// Writes a proof and syncs it.
    pub(crate) fn write(&mut self, proof: Proof) -> io::Result<()> {
        let mut slot = [0; SLOT_LEN];
        slot[..8].copy_from_slice(MAGIC);
        slot[8..16].copy_from_slice(&proof.commit.to_le_bytes());
        slot[16..24].copy_from_slice(&proof.accepted.to_le_bytes());
        let checksum = crc32fast::hash(&slot[..BODY_LEN]);
        slot[24..28].copy_from_slice(&checksum.to_le_bytes());
        self.file.write_all_at(&slot, self.next * SLOT_LEN as u64)?;
        self.file.sync_data()?;
        self.next = 1 - self.next;
        Ok(())
    }
}

fn read_slot(file: &File, index: u64) -> io::Result<Slot> {
    let mut slot = [0; SLOT_LEN];
    let mut filled = 0;
    while filled < SLOT_LEN {
        let at = index * SLOT_LEN as u64 + filled as u64;
        match file.read_at(&mut slot[filled..], at)? {
            0 => return Ok(if filled == 0 { Slot::Empty } else { Slot::Damaged }),
            read => filled += read,
        }
    }
    let number = |at: usize| slot[at..at + 8].try_into().map(u64::from_le_bytes).unwrap_or(0);
    let checksum = slot[24..28].try_into().map(u32::from_le_bytes).unwrap_or(0);
    let whole = slot[..8] == *MAGIC && crc32fast::hash(&slot[..BODY_LEN]) == checksum;
    Ok(if whole {
        Slot::Whole(Proof { commit: number(8), accepted: number(16) })
    } else if slot.iter().all(|byte| *byte == 0) {
        Slot::Empty
    } else {
        Slot::Damaged
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(commit: u64) -> Proof {
        Proof { commit, accepted: commit * 3 }
    }

    #[test]
    fn the_newest_proof_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("witness");
        let (mut witness, none) = Witness::open(&path).unwrap();
        assert_eq!(none, None);
        for n in 1..6 {
            witness.write(proof(n)).unwrap();
            assert_eq!(Witness::open(&path).unwrap().1, Some(proof(n)));
        }
    }

    /// For all bytes of the slot written last: torn there, the proof before still stands, and the
    /// next write after a restart does not overwrite it.
    #[test]
    fn a_torn_write_leaves_the_proof_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("witness");
        for torn in 0..28 {
            let (mut witness, _) = Witness::open(&path).unwrap();
            witness.write(proof(10)).unwrap();
            witness.write(proof(11)).unwrap();
            witness.write(proof(12)).unwrap();
            let slot = 1 - witness.next;
            let mut byte = [0];
            witness.file.read_exact_at(&mut byte, slot * 512 + torn).unwrap();
            witness.file.write_all_at(&[byte[0] ^ 0x55], slot * 512 + torn).unwrap();
            let (mut witness, found) = Witness::open(&path).unwrap();
            assert_eq!(found, Some(proof(11)), "torn at {torn}");
            witness.write(proof(13)).unwrap();
            let (again, found) = Witness::open(&path).unwrap();
            assert_eq!(found, Some(proof(13)));
            let kept = read_slot(&again.file, again.next).unwrap();
            assert_eq!(kept, Slot::Whole(proof(11)), "the older proof was overwritten");
            std::fs::remove_file(&path).unwrap();
        }
    }
}

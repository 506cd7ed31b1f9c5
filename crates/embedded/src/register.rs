//! The register of attempts in flight: what a crash of ours cut off.
//!
//! Each shard has a file of fixed-size slots, one for each attempt that may be in flight. A slot is
//! filled before the request goes out and cleared when the outcome is durable. Slots are written by
//! plain positioned writes and never synced: what the kernel has outlives the process, and only a
//! crash of the process counts (`docs/adr/0005`).
//!
//! ```text
//!  CRC-32 4 │ round 4 │ number 4 │ endpoint 2 │ event 16 │ tenant length 1 │ tenant 50 │ padding
//!  └ of the rest; an empty slot is all zeros                                        96 in all
//! ```
//!
//! Invariant: no delivery depends on this file; a slot that is torn or stale costs one count of an
//! interruption at most.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use posthaste_domain::{DeliveryKey, EndpointId, EventId, TenantId};

const SLOT_LEN: usize = 96;
const TENANT_AT: usize = 31;
const TENANT_LEN_MAX: usize = 50;

/// An attempt that was in flight when the process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CutOff {
    pub(crate) key: DeliveryKey,
    pub(crate) round: u32,
    /// Which attempt of the round it was, from 1.
    pub(crate) number: u32,
}

/// One shard's register.
#[derive(Debug)]
pub struct AttemptRegister {
    file: File,
    slots: Vec<u8>,
    /// Slots that differ from the file: first and last, or none.
    dirty: Option<(usize, usize)>,
}

impl AttemptRegister {
    /// An empty register; what the file held before is gone.
    pub(crate) fn create(path: &Path, slots: usize) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        Ok(Self { file, slots: vec![0; slots.max(1) * SLOT_LEN], dirty: None })
    }

    /// Notes that attempt `number` (from 1) of a delivery's round is about to start. `index` is
    /// the small number that the delivery has in its engine; the register grows with it.
    pub fn begin(&mut self, index: u32, key: &DeliveryKey, round: u32, number: u32) {
        let slot = encode(&CutOff { key: key.clone(), round, number });
        self.write(index as usize, &slot);
    }

    /// Notes that the outcome of the delivery in this slot is durable.
    pub fn end(&mut self, index: u32) {
        self.write(index as usize, &[0; SLOT_LEN]);
    }

    /// Whether [`AttemptRegister::flush`] has something to write.
    #[must_use]
    pub const fn is_dirty(&self) -> bool {
        self.dirty.is_some()
    }

    /// Hands the changes since the last call to the operating system, in one write.
    ///
    /// # Errors
    /// The operating system's; only the count of interruptions suffers.
    pub fn flush(&mut self) -> io::Result<()> {
        let Some((first, last)) = self.dirty.take() else { return Ok(()) };
        let bytes = &self.slots[first * SLOT_LEN..(last + 1) * SLOT_LEN];
        self.file.write_all_at(bytes, (first * SLOT_LEN) as u64)
    }

    /// Leaves the register empty: nothing is in flight any more.
    ///
    /// # Errors
    /// The operating system's.
    pub fn close(&mut self) -> io::Result<()> {
        self.slots.fill(0);
        self.dirty = None;
        self.file.set_len(0)
    }

    fn write(&mut self, index: usize, slot: &[u8; SLOT_LEN]) {
        let at = index * SLOT_LEN;
        if at + SLOT_LEN > self.slots.len() {
            self.slots.resize((index + 1).next_power_of_two() * SLOT_LEN, 0);
        }
        self.slots[at..at + SLOT_LEN].copy_from_slice(slot);
        let (first, last) = self.dirty.unwrap_or((index, index));
        self.dirty = Some((first.min(index), last.max(index)));
    }
}

/// What was in flight by the register at `path`.
pub(crate) fn read(path: &Path) -> io::Result<Vec<CutOff>> {
    let bytes = fs::read(path)?;
    Ok(bytes.as_chunks::<SLOT_LEN>().0.iter().filter_map(decode).collect())
}

fn encode(cut_off: &CutOff) -> [u8; SLOT_LEN] {
    let CutOff { key, round, number } = cut_off;
    let tenant = key.tenant.as_str().as_bytes();
    let mut slot = [0; SLOT_LEN];
    slot[4..8].copy_from_slice(&round.to_le_bytes());
    slot[8..12].copy_from_slice(&number.to_le_bytes());
    slot[12..14].copy_from_slice(&key.endpoint.as_u16().to_le_bytes());
    slot[14..30].copy_from_slice(&key.event.as_u128().to_le_bytes());
    // A tenant id has at most 50 bytes.
    slot[30] = u8::try_from(tenant.len()).unwrap_or(0);
    slot[TENANT_AT..TENANT_AT + tenant.len()].copy_from_slice(tenant);
    let checksum = crc32fast::hash(&slot[4..]);
    slot[..4].copy_from_slice(&checksum.to_le_bytes());
    slot
}

fn decode(slot: &[u8; SLOT_LEN]) -> Option<CutOff> {
    let checksum = u32::from_le_bytes(slot[..4].try_into().ok()?);
    let length = usize::from(slot[30]);
    if length == 0 || length > TENANT_LEN_MAX || crc32fast::hash(&slot[4..]) != checksum {
        return None;
    }
    let tenant = str::from_utf8(&slot[TENANT_AT..TENANT_AT + length]).ok()?;
    Some(CutOff {
        key: DeliveryKey {
            tenant: TenantId::try_new(tenant).ok()?,
            event: EventId::from_u128(u128::from_le_bytes(slot[14..30].try_into().ok()?)),
            endpoint: EndpointId::from_u16(u16::from_le_bytes(slot[12..14].try_into().ok()?)),
        },
        round: u32::from_le_bytes(slot[4..8].try_into().ok()?),
        number: u32::from_le_bytes(slot[8..12].try_into().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(event: u128) -> DeliveryKey {
        DeliveryKey {
            tenant: TenantId::try_new(&"a".repeat(50)).unwrap(),
            event: EventId::from_u128(event),
            endpoint: EndpointId::DEFAULT,
        }
    }

    #[test]
    fn what_began_and_did_not_end_was_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("attempts-0");
        let mut register = AttemptRegister::create(&path, 4).unwrap();
        for index in [0, 2, 9] {
            register.begin(index, &key(u128::from(index)), index, 3);
        }
        register.flush().unwrap();
        register.end(2);
        assert!(register.is_dirty());
        register.flush().unwrap();
        assert!(!register.is_dirty());
        let cut_off = read(&path).unwrap();
        let expected = [0, 9].map(|n| CutOff { key: key(u128::from(n)), round: n, number: 3 });
        assert_eq!(cut_off, expected);
        register.close().unwrap();
        assert_eq!(read(&path).unwrap(), []);
    }

    /// For all bytes of a slot: changed there, it says nothing.
    #[test]
    fn a_damaged_slot_says_nothing() {
        let whole = encode(&CutOff { key: key(7), round: 1, number: 2 });
        assert!(decode(&whole).is_some());
        for at in 0..SLOT_LEN {
            let mut slot = whole;
            slot[at] ^= 0x10;
            assert_eq!(decode(&slot), None, "byte {at}");
        }
    }
}

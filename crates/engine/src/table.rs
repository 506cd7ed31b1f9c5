//! The deliveries that the engine holds, found by handle or by name.
//!
//! A delivery costs about 140 bytes while it waits: one slot here and one number in the index.
//! Nothing is allocated for it. Slots are used again; a handle carries the generation of its
//! delivery, so a late answer about a delivery that is gone is recognised.
//!
//! Invariant: at most one slot for each endpoint and event.

use std::hash::BuildHasher;

use bytes::Bytes;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use posthaste_domain::{EventId, Owed, OwedAs, Settlement, Timestamp};
use slab::Slab;

use crate::Delivery;

/// What no slot is called.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// Where a delivery is; exactly one place at a time (I5).
///
/// ```text
///             due                turn            payload
///  Waiting ─────────► Ready ──────────► Loading ─────────► InFlight ──► Settling ──► forgotten
///     ▲                 ▲ └──── turn, payload at hand ───────▲ │           │ ▲
///     │                 └─────── not charged ──────────────────┘           │ └─ again ─┐
///     └──────────────────────── put off, due soon ─────────────────────────┴──► Unsettled
/// ```
#[derive(Debug)]
pub(crate) enum Place {
    /// In the calendar, until it is due.
    Waiting,
    /// In a lane of its endpoint, until its turn comes.
    Ready,
    /// Its payload is being read for an attempt.
    Loading,
    /// Its attempt is in flight.
    InFlight,
    /// Its outcome is on the way into the store.
    Settling(Ending),
    /// The store could not take its outcome for now; this is given out again.
    Unsettled(Box<Settlement>),
}

/// What an outcome makes of a delivery, as far as its place in memory goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Delivered.
    Delivered,
    /// Dead-lettered.
    DeadLettered,
    /// Due again at the time that its [`Entry::owed_as`] already says.
    Again,
}

/// Which of an endpoint's two queues a delivery counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// No attempt of its round has failed.
    Fresh,
    /// It is due again.
    Retry,
}

impl Lane {
    /// The lane of what is owed like this.
    pub(crate) const fn of(owed_as: OwedAs) -> Self {
        match owed_as {
            OwedAs::Fresh => Self::Fresh,
            OwedAs::Timer(_) => Self::Retry,
        }
    }
}

/// The neighbours in the list that a delivery is in, if it is in one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Links {
    pub(crate) before: u32,
    pub(crate) after: u32,
}

impl Links {
    /// Of what is in no list.
    pub(crate) const NONE: Self = Self { before: NOWHERE, after: NOWHERE };
}

/// A delivery that the engine holds.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Which event.
    pub(crate) event: EventId,
    /// To which endpoint, by its number in the directory.
    pub(crate) endpoint: u32,
    /// Which of all deliveries ever held this is.
    pub(crate) generation: u32,
    /// The round.
    pub(crate) round: u32,
    /// Attempts that this round has finished.
    pub(crate) attempts: u32,
    /// How often a crash of ours cut it off.
    pub(crate) interrupted: u8,
    /// The lane it counts for while it is not waiting.
    pub(crate) lane: Lane,
    /// How the store holds it, or will once its outcome is settled.
    pub(crate) owed_as: OwedAs,
    /// Until when it waits (which may be later than its due time), since when it could have been
    /// attempted, or since when it is in flight.
    pub(crate) since: Timestamp,
    /// The payload, where it is in memory. Changed by `Engine::set_payload` only, which counts.
    pub(crate) payload: Option<Bytes>,
    /// A later round of the same delivery, to be taken in when the current step is done.
    pub(crate) requeued: Option<Box<Owed>>,
    /// Where it is.
    pub(crate) place: Place,
    /// Neighbours in the list of its place.
    pub(crate) links: Links,
}

impl Entry {
    /// The latest round that is known of this delivery.
    pub(crate) fn latest_round(&self) -> u32 {
        self.requeued.as_ref().map_or(self.round, |owed| owed.round)
    }
}

/// All deliveries in memory.
#[derive(Debug)]
pub(crate) struct Table {
    slots: Slab<Entry>,
    index: HashTable<u32>,
    hasher: FixedState,
    generation: u32,
}

impl Table {
    /// An empty table; `seed` keeps the index apart from other processes'.
    pub(crate) fn new(seed: u64) -> Self {
        let hasher = FixedState::with_seed(seed);
        Self { slots: Slab::new(), index: HashTable::new(), hasher, generation: 0 }
    }

    /// How many deliveries it holds.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The slot of a delivery, if it is held.
    pub(crate) fn find(&self, endpoint: u32, event: EventId) -> Option<u32> {
        let hash = self.hasher.hash_one((endpoint, event.as_u128()));
        let same = |slot: &u32| {
            let entry = &self.slots[*slot as usize];
            entry.event == event && entry.endpoint == endpoint
        };
        self.index.find(hash, same).copied()
    }

    /// The slot of a handle, unless that delivery is gone.
    pub(crate) fn resolve(&self, delivery: Delivery) -> Option<u32> {
        let entry = self.slots.get(delivery.index as usize)?;
        (entry.generation == delivery.generation).then_some(delivery.index)
    }

    /// The handle of a slot.
    pub(crate) fn handle(&self, slot: u32) -> Delivery {
        Delivery { index: slot, generation: self[slot].generation }
    }

    /// Holds a delivery that is not held yet; its generation is given here.
    pub(crate) fn insert(&mut self, mut entry: Entry) -> u32 {
        debug_assert!(self.find(entry.endpoint, entry.event).is_none());
        self.generation = self.generation.wrapping_add(1);
        entry.generation = self.generation;
        let hash = self.hasher.hash_one((entry.endpoint, entry.event.as_u128()));
        let slot = u32::try_from(self.slots.insert(entry)).expect("limits keep slots below 2^32");
        let (slots, hasher) = (&self.slots, &self.hasher);
        let rehash = |slot: &u32| {
            let entry = &slots[*slot as usize];
            hasher.hash_one((entry.endpoint, entry.event.as_u128()))
        };
        self.index.insert_unique(hash, slot, rehash);
        slot
    }

    /// Forgets a delivery. Its slot must be in no list.
    pub(crate) fn remove(&mut self, slot: u32) -> Entry {
        let entry = self.slots.remove(slot as usize);
        let hash = self.hasher.hash_one((entry.endpoint, entry.event.as_u128()));
        if let Ok(found) = self.index.find_entry(hash, |other| *other == slot) {
            found.remove();
        }
        entry
    }

    /// All deliveries, in the order of their slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Entry)> {
        let number = |slot| u32::try_from(slot).expect("limits keep slots below 2^32");
        self.slots.iter().map(move |(slot, entry)| (number(slot), entry))
    }
}

impl std::ops::Index<u32> for Table {
    type Output = Entry;

    fn index(&self, slot: u32) -> &Entry {
        &self.slots[slot as usize]
    }
}

impl std::ops::IndexMut<u32> for Table {
    fn index_mut(&mut self, slot: u32) -> &mut Entry {
        &mut self.slots[slot as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A million waiting retries must stay far below 200 MB.
    #[test]
    fn a_held_delivery_is_small() {
        assert!(size_of::<Entry>() <= 144, "{} bytes", size_of::<Entry>());
    }
}

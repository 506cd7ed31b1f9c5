//! Queues of deliveries whose links stand in the deliveries themselves: a delivery can be taken
//! out of the middle at once, and waiting costs no memory beyond its slot.
//!
//! Invariant: a delivery is in at most one list at a time; its links say where.

use crate::table::{Links, NOWHERE, Table};

/// A queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List {
    head: u32,
    tail: u32,
    len: u32,
}

impl List {
    /// A queue without anything in it.
    pub(crate) const EMPTY: Self = Self { head: NOWHERE, tail: NOWHERE, len: 0 };

    /// How many wait.
    pub(crate) const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether none waits.
    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The last one.
    pub(crate) const fn last(&self) -> Option<u32> {
        if self.is_empty() { None } else { Some(self.tail) }
    }

    /// Adds behind all others.
    pub(crate) fn push_back(&mut self, table: &mut Table, slot: u32) {
        table[slot].links = Links { before: self.tail, after: NOWHERE };
        if self.tail == NOWHERE {
            self.head = slot;
        } else {
            table[self.tail].links.after = slot;
        }
        self.tail = slot;
        self.len += 1;
    }

    /// Adds before all others.
    pub(crate) fn push_front(&mut self, table: &mut Table, slot: u32) {
        table[slot].links = Links { before: NOWHERE, after: self.head };
        if self.head == NOWHERE {
            self.tail = slot;
        } else {
            table[self.head].links.before = slot;
        }
        self.head = slot;
        self.len += 1;
    }

    /// Takes out the first.
    pub(crate) fn pop_front(&mut self, table: &mut Table) -> Option<u32> {
        let slot = self.head;
        if slot == NOWHERE {
            return None;
        }
        self.remove(table, slot);
        Some(slot)
    }

    /// Takes out one that is in this list.
    pub(crate) fn remove(&mut self, table: &mut Table, slot: u32) {
        let Links { before, after } = std::mem::replace(&mut table[slot].links, Links::NONE);
        if before == NOWHERE {
            self.head = after;
        } else {
            table[before].links.after = after;
        }
        if after == NOWHERE {
            self.tail = before;
        } else {
            table[after].links.before = before;
        }
        self.len -= 1;
    }

    /// The slots from first to last.
    pub(crate) fn iter(self, table: &Table) -> impl Iterator<Item = u32> {
        let mut next = self.head;
        std::iter::from_fn(move || {
            let slot = next;
            (slot != NOWHERE).then(|| {
                next = table[slot].links.after;
                slot
            })
        })
    }
}

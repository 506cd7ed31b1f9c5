//! The deliveries that wait for their due time, by millisecond.
//!
//! One queue for each millisecond that somebody is due at, in a B-tree. Its depth depends on the
//! milliseconds in the window (60,000 by default), not on how many wait, so adding and taking out
//! stay flat at any number; both ends are at hand, the near one to fire, the far one to forget
//! when memory is full. A wheel would save some nanoseconds and cost the far end and a fixed span.

use std::collections::BTreeMap;

use posthaste_domain::Timestamp;

use crate::list::List;
use crate::table::Table;

/// Who waits until when.
#[derive(Debug, Default)]
pub(crate) struct Calendar {
    // Invariant: no queue in it is empty.
    days: BTreeMap<Timestamp, List>,
    len: usize,
}

impl Calendar {
    /// How many wait.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// When the next one is due.
    pub(crate) fn first_due(&self) -> Option<Timestamp> {
        self.days.first_key_value().map(|(due, _)| *due)
    }

    /// When the last one is due, and which one that is (the latest to come of its millisecond).
    pub(crate) fn last(&self) -> Option<(Timestamp, u32)> {
        let (due, list) = self.days.last_key_value()?;
        list.last().map(|slot| (*due, slot))
    }

    /// Makes one wait.
    pub(crate) fn insert(&mut self, table: &mut Table, slot: u32, due: Timestamp) {
        self.days.entry(due).or_insert(List::EMPTY).push_back(table, slot);
        self.len += 1;
    }

    /// Takes out one that waits until `due`.
    pub(crate) fn remove(&mut self, table: &mut Table, slot: u32, due: Timestamp) {
        let Some(list) = self.days.get_mut(&due) else {
            debug_assert!(false, "what waits is in the calendar at its due time");
            return;
        };
        list.remove(table, slot);
        self.len -= 1;
        if list.is_empty() {
            self.days.remove(&due);
        }
    }

    /// Takes out the next one that is due by `now`.
    pub(crate) fn pop_due(&mut self, table: &mut Table, now: Timestamp) -> Option<u32> {
        let mut first = self.days.first_entry()?;
        if *first.key() > now {
            return None;
        }
        let slot = first.get_mut().pop_front(table);
        if first.get().is_empty() {
            first.remove();
        }
        self.len -= usize::from(slot.is_some());
        slot
    }

    /// Everybody who waits, by due time.
    pub(crate) fn iter<'a>(
        &'a self,
        table: &'a Table,
    ) -> impl Iterator<Item = (Timestamp, u32)> + 'a {
        self.days.iter().flat_map(|(due, list)| list.iter(table).map(move |slot| (*due, slot)))
    }
}

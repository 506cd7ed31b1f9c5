//! What a read from the store may no longer be believed about.
//!
//! An answer is as old as the moment it was read at; meanwhile the engine may have settled and
//! forgotten deliveries that stand in it as owed. While a read is under way its guard remembers
//! them, and the answer is taken without them.
//!
//! Invariant: bounded. A guard that would grow beyond its limit is spoilt, and the whole answer
//! is not taken; it will be asked for again.

use std::collections::HashMap;
use std::hash::Hash;

use foldhash::fast::FixedState;

/// A store that answers within a second never comes near this at 50,000 settlements/s.
const KEYS_MAX: usize = 65_536;

/// The deliveries about which an answer may be stale, each with the latest round that is over.
#[derive(Debug)]
pub(crate) struct Guard<Key> {
    over: HashMap<Key, u32, FixedState>,
    spoilt: bool,
}

impl<Key> Default for Guard<Key> {
    fn default() -> Self {
        Self { over: HashMap::default(), spoilt: false }
    }
}

impl<Key: Eq + Hash> Guard<Key> {
    /// Notes that the answer must not be believed about this delivery, up to this round.
    pub(crate) fn note(&mut self, key: Key, round: u32) {
        if self.over.len() >= KEYS_MAX {
            self.spoilt = true;
            self.over.clear();
        }
        if !self.spoilt {
            let over = self.over.entry(key).or_insert(round);
            *over = (*over).max(round);
        }
    }

    /// Whether the answer is stale about this delivery in this round.
    pub(crate) fn is_stale(&self, key: &Key, round: u32) -> bool {
        !self.over.is_empty() && self.over.get(key).is_some_and(|over| round <= *over)
    }

    /// Whether too much has happened for the answer to be taken at all.
    pub(crate) const fn is_spoilt(&self) -> bool {
        self.spoilt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For all keys: only what was noted is stale, and only up to its round.
    #[test]
    fn a_later_round_is_believed() {
        let mut guard = Guard::default();
        guard.note(7, 1);
        guard.note(7, 0);
        assert!(guard.is_stale(&7, 0));
        assert!(guard.is_stale(&7, 1));
        assert!(!guard.is_stale(&7, 2));
        assert!(!guard.is_stale(&8, 0));
    }

    #[test]
    fn too_much_to_remember_spoils_the_answer() {
        let mut guard = Guard::default();
        (0..KEYS_MAX).for_each(|key| guard.note(key, 0));
        assert!(!guard.is_spoilt());
        guard.note(KEYS_MAX, 0);
        assert!(guard.is_spoilt());
    }
}

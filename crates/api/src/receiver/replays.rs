//! Messages that were taken, remembered as long as their signatures could be shown again.
//!
//! Invariants: bounded in size; a message that was admitted is not admitted again while its
//! signature is within its tolerance, unless so many came since that it had to be forgotten
//! (the oldest go first).

use std::collections::HashSet;
use std::mem;
use std::sync::{Mutex, PoisonError};

use posthaste_domain::{SIGNATURE_TOLERANCE_S, Timestamp};

use super::verify::Identity;

/// A signature may be from 300 s ahead and is good until 300 s after: 600 s from its first sight.
const KEPT_MS: u64 = 2 * SIGNATURE_TOLERANCE_S * 1000;

/// What was seen.
#[derive(Debug)]
pub(crate) struct Replays {
    half: usize,
    seen: Mutex<Seen>,
}

/// Two generations: the old one is dropped as a whole when the young one is full or old enough.
#[derive(Debug)]
struct Seen {
    young: HashSet<u128>,
    old: HashSet<u128>,
    /// When the young generation began.
    began: Timestamp,
}

impl Replays {
    /// Remembers at most `names_max` names; a message has one or two.
    pub(crate) fn new(names_max: usize) -> Self {
        let (young, old) = (HashSet::new(), HashSet::new());
        let seen = Seen { young, old, began: Timestamp::ZERO };
        Self { half: (names_max / 2).max(2), seen: Mutex::new(seen) }
    }

    /// Whether this message comes for the first time.
    pub(super) fn admit(&self, message: &Identity, now: Timestamp) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let full = seen.young.len() + 2 > self.half;
        if full || now.millis_since(seen.began) >= KEPT_MS {
            seen.old = mem::take(&mut seen.young);
            seen.began = now;
        }
        // A message without a signed id is a replay of any message with its time and body.
        let name = message.named.unwrap_or(message.plain);
        if seen.young.contains(&name) || seen.old.contains(&name) {
            return false;
        }
        seen.young.insert(message.plain);
        seen.young.insert(name);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + seconds * 1000)
    }

    fn message(plain: u128, named: Option<u128>) -> Identity {
        Identity { plain, named }
    }

    /// For all times within the tolerance: a message is admitted once.
    #[test]
    fn a_message_is_admitted_once_while_it_is_valid() {
        for first in [0, 1, 299, 300, 599, 600, 601] {
            let replays = Replays::new(1000);
            assert!(replays.admit(&message(99, None), at(0)));
            assert!(replays.admit(&message(1, None), at(first)));
            for later in 0..600 {
                assert!(!replays.admit(&message(1, None), at(first + later)), "{first} {later}");
            }
        }
    }

    #[test]
    fn a_replay_without_its_signed_id_is_known_and_another_id_is_new() {
        let replays = Replays::new(1000);
        assert!(replays.admit(&message(1, Some(11)), at(0)));
        assert!(!replays.admit(&message(1, Some(11)), at(1)));
        assert!(!replays.admit(&message(1, None), at(1)));
        assert!(replays.admit(&message(1, Some(12)), at(1)));
    }

    /// For all floods: memory is bounded, and the newest are still known.
    #[test]
    fn a_flood_is_bounded_and_forgets_the_oldest() {
        let replays = Replays::new(100);
        for n in 0..10_000 {
            assert!(replays.admit(&message(2 * n, Some(2 * n + 1)), at(0)));
            assert!(!replays.admit(&message(2 * n, Some(2 * n + 1)), at(0)));
        }
        let seen = replays.seen.lock().unwrap();
        assert!(seen.young.len() + seen.old.len() <= 100);
    }
}

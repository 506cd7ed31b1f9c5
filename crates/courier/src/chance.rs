//! Chance by seed: SplitMix64, enough for orders and jitter.

use std::sync::atomic::{AtomicU64, Ordering};

/// A stream of numbers that its seed decides.
#[derive(Debug)]
pub(crate) struct Chance(AtomicU64);

impl Chance {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// The next number.
    pub(crate) fn draw(&self) -> u64 {
        let gamma = 0x9E37_79B9_7F4A_7C15;
        let state = self.0.fetch_add(gamma, Ordering::Relaxed).wrapping_add(gamma);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from `0` to below `bound`; 0 for a bound of 0.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        // The bias of a remainder is below one in 2^32 for every bound used here.
        if bound == 0 { 0 } else { self.draw() % bound }
    }

    /// Puts a list in an order that the seed decides.
    pub(crate) fn shuffle<T>(&self, list: &mut [T]) {
        for at in (1..list.len()).rev() {
            let other = usize::try_from(self.below(at as u64 + 1)).unwrap_or(0);
            list.swap(at, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_keeps_everything_and_changes_the_order() {
        let chance = Chance::new(1);
        let mut list: Vec<u8> = (0..64).collect();
        chance.shuffle(&mut list);
        assert!(!list.is_sorted());
        list.sort_unstable();
        assert!(list.iter().copied().eq(0..64));
        assert_eq!(Chance::new(7).draw(), Chance::new(7).draw());
    }
}

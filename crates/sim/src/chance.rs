//! Chance from a seed (SplitMix64), with the few questions that a simulated world asks of it.

/// A stream of numbers that its seed decides.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The stream of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number, uniform over all of `u64`.
    pub const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number of `range`, both ends included.
    pub fn within(&mut self, (low, high): (u64, u64)) -> u64 {
        debug_assert!(low <= high, "a range from low to high");
        low + self.draw() % (high - low + 1)
    }

    /// An index below `len`.
    ///
    /// # Panics
    /// Where `len` is 0, and there is none.
    pub fn index(&mut self, len: usize) -> usize {
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        usize::try_from(self.draw() % len).expect("below a usize")
    }

    /// One of these.
    ///
    /// # Panics
    /// Where there is none.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.index(of.len())]
    }

    /// Yes in so many of a thousand cases.
    pub fn permille(&mut self, cases: u64) -> bool {
        self.draw() % 1000 < cases
    }
}

//! Chance from a seed: the same seed gives the same run.
//!
//! Two forms. A stream ([`Chance`]) for what happens in order, such as the gaps between arrivals;
//! and [`mix`], a hash of a seed and a number, for what must not depend on the order, such as
//! which tenant the event of a number belongs to, which several threads and the sink work out
//! separately. `SplitMix64` is enough for both: it passes `BigCrush` and costs two multiplications.

use crate::units::floor;

/// A stream of numbers that only its seed decides.
#[derive(Clone, Debug)]
pub struct Chance {
    state: u64,
}

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// A number that only `seed` and `number` decide.
#[must_use]
pub const fn mix(seed: u64, number: u64) -> u64 {
    finish(seed.wrapping_add(number.wrapping_mul(GOLDEN)).wrapping_add(GOLDEN))
}

/// A fraction in `[0, 1)` from the upper 53 bits of `bits`.
#[must_use]
pub const fn fraction(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

const fn finish(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Chance {
    /// The stream number `stream` of `seed`.
    #[must_use]
    pub const fn new(seed: u64, stream: u64) -> Self {
        Self { state: mix(seed, stream) }
    }

    /// The next 64 bits.
    pub const fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        finish(self.state)
    }

    /// The next fraction in `[0, 1)`.
    pub const fn fraction(&mut self) -> f64 {
        fraction(self.bits())
    }

    /// An exponentially distributed value with this mean.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        // 1 - x is in (0, 1], so the logarithm is finite.
        -mean * (1.0 - self.fraction()).ln()
    }

    /// A normally distributed value (mean 0, deviation 1), by Box and Muller.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.fraction()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.fraction()).cos()
    }
}

/// Picks one of many by weight at the same cost however many there are (Walker's alias method).
#[derive(Clone, Debug)]
pub struct Weighted {
    // Invariant: as long as `alias`, not empty; entries are in [0, 1].
    keep: Vec<f64>,
    alias: Vec<u32>,
}

impl Weighted {
    /// A table for `weights`, none of them negative; `None` where they add up to nothing.
    #[must_use]
    pub fn try_new(weights: &[f64]) -> Option<Self> {
        let total: f64 = weights.iter().sum();
        let count = u32::try_from(weights.len()).ok().filter(|&count| count > 0)?;
        if !(total.is_finite() && total > 0.0 && weights.iter().all(|&weight| weight >= 0.0)) {
            return None;
        }
        let mut keep: Vec<f64> =
            weights.iter().map(|weight| weight * f64::from(count) / total).collect();
        let mut alias: Vec<u32> = (0..count).collect();
        let (mut small, mut large): (Vec<u32>, Vec<u32>) =
            (0..count).partition(|&index| keep[index as usize] < 1.0);
        while let (Some(less), Some(&more)) = (small.pop(), large.last()) {
            alias[less as usize] = more;
            keep[more as usize] -= 1.0 - keep[less as usize];
            if keep[more as usize] < 1.0 {
                large.pop();
                small.push(more);
            }
        }
        // What is left over is 1 but for rounding.
        for index in small.into_iter().chain(large) {
            keep[index as usize] = 1.0;
        }
        Some(Self { keep, alias })
    }

    /// The one that these bits pick.
    #[must_use]
    pub fn pick(&self, bits: u64) -> u32 {
        let scaled = fraction(bits) * self.keep.len() as f64;
        let column = floor(scaled).min(self.keep.len() as u64 - 1);
        let index = usize::try_from(column).unwrap_or(0);
        // The fraction within the column is a second, independent draw.
        if scaled - column as f64 <= self.keep[index] {
            u32::try_from(column).unwrap_or(0)
        } else {
            self.alias[index]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For all weights: the share of picks is the share of the weight, within chance.
    #[test]
    fn picks_follow_the_weights() {
        let weights = [5.0, 0.0, 1.0, 3.0, 1.0];
        let table = Weighted::try_new(&weights).unwrap();
        let mut counts = [0_u32; 5];
        let draws = 200_000;
        for number in 0..draws {
            counts[table.pick(mix(7, number)) as usize] += 1;
        }
        assert_eq!(counts[1], 0, "no weight, no picks");
        for (count, weight) in counts.iter().zip(weights) {
            let share = f64::from(*count) / 200_000.0;
            assert!((share - weight / 10.0).abs() < 0.005, "{share} for {weight}");
        }
    }

    #[test]
    fn weights_that_mean_nothing_are_refused() {
        assert!(Weighted::try_new(&[]).is_none());
        assert!(Weighted::try_new(&[0.0, 0.0]).is_none());
        assert!(Weighted::try_new(&[1.0, -1.0]).is_none());
        assert!(Weighted::try_new(&[f64::NAN]).is_none());
    }

    #[test]
    fn streams_of_one_seed_differ_and_repeat() {
        let draw = |stream| Chance::new(42, stream).bits();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn the_exponential_has_its_mean() {
        let mut chance = Chance::new(1, 1);
        let sum: f64 = (0..100_000).map(|_| chance.exponential(3.0)).sum();
        assert!((sum / 100_000.0 - 3.0).abs() < 0.05);
    }
}

//! Quantiles of Student's t: how much wider an interval from few blocks must be.
//!
//! With the angle θ = atan(t/√n), the density of t with n degrees of freedom becomes cos(θ)^(n-1)
//! on (-π/2, π/2), up to a factor. So a quantile is the angle at which a sum of cosines has its
//! share of the whole sum, and no gamma function is needed.

use std::f64::consts::{FRAC_PI_2, PI};

/// Steps of the sum; even, for Simpson's rule on pairs. The error is below 0.01 % for what is used.
const STEPS: u32 = 20_000;
/// From here on t is normal for all that matters, and the density too narrow for the steps.
const DEGREES_MAX: u32 = 2_000;

/// The t that a share `p` (0.5 to 1) of its distribution with `degrees` of freedom is below.
pub(super) fn quantile(p: f64, degrees: u32) -> f64 {
    let degrees = degrees.clamp(1, DEGREES_MAX);
    let power = i32::try_from(degrees - 1).unwrap_or(i32::MAX);
    let step = PI / f64::from(STEPS);
    let density = |n: u32| (f64::from(n) * step - FRAC_PI_2).cos().max(0.0).powi(power);
    let piece = |n: u32| (density(n) + 4.0 * density(n + 1) + density(n + 2)) / 3.0 * step;
    let whole: f64 = (0..STEPS).step_by(2).map(piece).sum();
    let (mut sum, wanted) = (0.0, p.clamp(0.5, 1.0 - 1e-9) * whole);
    for n in (0..STEPS).step_by(2) {
        let next = sum + piece(n);
        if next >= wanted {
            let part = (wanted - sum) / (next - sum);
            let angle = (f64::from(n) + 2.0 * part) * step - FRAC_PI_2;
            return f64::from(degrees).sqrt() * angle.tan();
        }
        sum = next;
    }
    f64::INFINITY
}

/// By what factor an interval of percentiles of `units` resampled values is too narrow at this
/// confidence: t instead of the normal, and the n-1 that the resampling leaves out (Hesterberg,
/// "What Teachers Should Know About the Bootstrap", 2015, section 4.3.1).
pub(super) fn widening(confidence: f64, units: u32) -> f64 {
    if units < 2 {
        return f64::INFINITY;
    }
    let p = f64::midpoint(1.0, confidence);
    let small = f64::from(units) / f64::from(units - 1);
    (quantile(p, units - 1) / quantile(p, DEGREES_MAX)).max(1.0) * small.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against printed tables.
    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (p, degrees, expected) in [
            (0.975, 1, 12.706),
            (0.995, 1, 63.657),
            (0.975, 2, 4.303),
            (0.995, 5, 4.032),
            (0.95, 10, 1.812),
            (0.995, 30, 2.750),
            (0.975, 2_000, 1.961),
        ] {
            let found = quantile(p, degrees);
            assert!((found / expected - 1.0).abs() < 1e-3, "{p} {degrees}: {found}");
        }
    }

    #[test]
    fn few_units_widen_much() {
        assert!(widening(0.99, 1).is_infinite());
        assert!(widening(0.99, 2) > 30.0);
        let six = widening(0.99, 6);
        assert!((1.6..1.8).contains(&six), "{six}");
        assert!(widening(0.99, 1_000) < 1.01);
    }
}

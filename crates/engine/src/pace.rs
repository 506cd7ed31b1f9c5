//! Attempts at a steady pace: the generic cell rate algorithm, in microseconds.
//!
//! The engine's clock has milliseconds, so a pace of 5,000/s starts five attempts at once each
//! millisecond; [`BURST_US`] allows that, and lets a wake-up that comes a little late catch up.
//!
//! Invariant: in any span of `w` microseconds at most `(w + BURST_US) / interval + 1` start.

use posthaste_domain::Timestamp;

use crate::Rate;

/// How much may come at once, as the time that it would take at the pace.
pub(crate) const BURST_US: u64 = 10_000;

/// How far the attempts that have started reach, at their pace.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    reaches_us: u64,
}

impl Pace {
    /// The end of the wait for the next one, where one has to wait.
    pub(crate) fn lasts(self, now: Timestamp) -> Option<Timestamp> {
        let free_us = self.reaches_us.saturating_sub(BURST_US);
        (free_us > micros(now)).then(|| Timestamp::from_millis(free_us.div_ceil(1_000)))
    }

    /// One starts.
    pub(crate) fn take(&mut self, now: Timestamp, interval_us: u64) {
        self.reaches_us = self.reaches_us.max(micros(now)).saturating_add(interval_us);
    }

    /// The rate has changed: nobody waits for longer than it says from now on.
    pub(crate) fn hasten(&mut self, now: Timestamp, rate: Option<Rate>) {
        let interval_us = rate.map_or(0, Rate::interval_us);
        self.reaches_us = self.reaches_us.min(micros(now).saturating_add(interval_us));
    }

    /// From when on nothing is to be remembered any more.
    pub(crate) const fn end(self) -> Timestamp {
        Timestamp::from_millis(self.reaches_us.div_ceil(1_000))
    }
}

const fn micros(time: Timestamp) -> u64 {
    time.as_millis().saturating_mul(1_000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Starts as many as the pace allows whenever it is looked at.
    fn starts(interval_us: u64, looks: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let mut pace = Pace::default();
        let mut starts = Vec::new();
        for at in looks {
            let now = Timestamp::from_millis(at);
            while pace.lasts(now).is_none() {
                pace.take(now, interval_us);
                starts.push(at);
            }
        }
        starts
    }

    /// At every look there is one more as soon as there may be: 250/s start each 4 ms.
    #[test]
    fn attempts_are_spread_over_the_second() {
        let at = starts(4_000, 1_000..2_000);
        assert!((250..=253).contains(&at.len()), "{}", at.len());
        assert!(at[4..].windows(2).all(|pair| pair[1] - pair[0] == 4), "{at:?}");
        let at = starts(200, 1_000..2_000);
        assert!((5_000..=5_051).contains(&at.len()), "{}", at.len());
    }

    #[test]
    fn the_wait_ends_in_the_millisecond_in_which_the_next_may_start() {
        let now = Timestamp::from_millis(1_000);
        let mut pace = Pace::default();
        assert_eq!(pace.lasts(now), None);
        pace.take(now, 333_334);
        let wait = pace.lasts(now).unwrap();
        assert_eq!(wait, Timestamp::from_millis(1_324));
        assert_eq!(pace.lasts(wait), None);
        assert!(pace.lasts(Timestamp::from_millis(1_323)).is_some());
        assert_eq!(pace.end(), Timestamp::from_millis(1_334));
    }

    proptest! {
        /// For all paces and whenever somebody looks: no span has more than its share.
        #[test]
        fn no_span_has_more_than_its_share(
            interval_us in 100_u64..3_000_000,
            steps in prop::collection::vec(0_u64..2_000, 1..200),
        ) {
            let looks = steps.iter().scan(0, |at, step| { *at += step; Some(*at) });
            let at = starts(interval_us, looks);
            for (first, from) in at.iter().enumerate() {
                for (number, to) in at.iter().enumerate().skip(first) {
                    let most = ((to - from) * 1_000 + BURST_US) / interval_us + 1;
                    let count = u64::try_from(number - first + 1).unwrap();
                    prop_assert!(count <= most, "{count} of {most}");
                }
            }
        }
    }
}

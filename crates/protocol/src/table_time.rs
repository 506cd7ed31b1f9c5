//! What time it is at the table, by the dates that its answers bear.
//!
//! Leases stand in rows, and every instance compares them with a clock. With the table's, which all
//! instances have in common, it does not matter how wrong their own are.
//!
//! ```text
//!   time that is told  <=  the table's time  <=  time that is told + a second + the answer's way
//! ```

use std::time::Duration;

use posthaste_domain::Timestamp;

use crate::limits::SKEW_MS_MAX;

/// A date, and the monotonic moment at which it was read.
type Heard = (Timestamp, Duration);

/// What is known of the table's clock. Monotonic moments are durations since any one moment of the
/// process.
#[derive(Clone, Copy, Debug, Default)]
pub struct TableTime {
    /// The latest answer's.
    known: Option<Heard>,
    /// The latest answer's, where it is not what was to be expected, or the first one: one date may
    /// be wrong. The next answer decides.
    doubtful: Option<Heard>,
    /// Whether answers come without a date: some emulators' do.
    is_undated: bool,
}

impl TableTime {
    /// An answer came at `came`, to what was sent at `sent`; its date, where it bears one.
    pub fn hear(&mut self, date: Option<Timestamp>, sent: Duration, came: Duration) {
        let Some(date) = date else {
            self.is_undated = true;
            return;
        };
        // It says what time it was: it was long on its way, or this process stood still before it
        // was read. What is known already is better.
        if came.saturating_sub(sent) > Duration::from_millis(SKEW_MS_MAX) {
            return;
        }
        let agrees = |heard: Heard| {
            let expected = running(heard, came);
            expected.millis_since(date).max(date.millis_since(expected)) <= SKEW_MS_MAX
        };
        if self.known.is_some_and(agrees) || self.doubtful.is_some_and(agrees) {
            self.known = Some((date, came));
            self.doubtful = None;
        } else {
            self.doubtful = Some((date, came));
        }
    }

    /// What time it is there, at the moment `at`. None where that is not known: before the second
    /// answer, and while the latest one contradicts those before it. `own` where answers bear no
    /// date.
    #[must_use]
    pub fn now(&self, at: Duration, own: Timestamp) -> Option<Timestamp> {
        match (self.known, self.doubtful) {
            (_, Some(_)) => None,
            (Some(known), None) => Some(running(known, at)),
            (None, None) => self.is_undated.then_some(own),
        }
    }
}

fn running((date, came): Heard, at: Duration) -> Timestamp {
    date.plus(at.saturating_sub(came))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::at;

    const OWN: Timestamp = Timestamp::from_millis(1);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Of answers whose dates are these, each read at once, at these milliseconds.
    fn heard(answers: &[(u64, u64)]) -> TableTime {
        let mut time = TableTime::default();
        for (came, date_s) in answers {
            time.hear(Some(at(*date_s)), ms(*came), ms(*came));
        }
        time
    }

    #[test]
    fn the_latest_date_goes_on_with_time() {
        assert_eq!(TableTime::default().now(ms(0), OWN), None);
        let time = heard(&[(0, 100), (1_500, 101)]);
        assert_eq!(time.now(ms(1_500), OWN), Some(at(101)));
        assert_eq!(time.now(ms(4_000), OWN), Some(at(101).plus(ms(2_500))));
        // Told to the second: an answer later it may be a little less.
        let time = heard(&[(0, 100), (900, 100)]);
        assert_eq!(time.now(ms(900), OWN), Some(at(100)));
    }

    #[test]
    fn one_date_alone_is_not_believed() {
        assert_eq!(heard(&[(0, 100)]).now(ms(0), OWN), None);
        // A wrong one: nothing is known until another answer says which of them it is.
        for wrong in [0, 90, 111, 250_000_000_000] {
            let mut time = heard(&[(0, 100), (10, 100), (20, wrong)]);
            assert_eq!(time.now(ms(30), OWN), None, "{wrong}");
            time.hear(Some(at(100)), ms(40), ms(40));
            assert_eq!(time.now(ms(40), OWN), Some(at(100)), "{wrong}");
        }
        // A clock there that was set right is right.
        let time = heard(&[(0, 100), (10, 100), (20, 5_000), (30, 5_000)]);
        assert_eq!(time.now(ms(30), OWN), Some(at(5_000)));
        let time = heard(&[(0, 100), (10, 100), (20, 50), (30, 50)]);
        assert_eq!(time.now(ms(30), OWN), Some(at(50)));
    }

    /// An answer that was read minutes after it came says what time it was then.
    #[test]
    fn a_date_that_is_read_too_late_is_none() {
        let mut time = heard(&[(0, 100), (10, 100)]);
        time.hear(Some(at(101)), ms(1_000), ms(251_000));
        assert_eq!(time.now(ms(251_010), OWN), Some(at(351)));
        let mut time = TableTime::default();
        time.hear(Some(at(100)), ms(0), ms(5_001));
        time.hear(Some(at(100)), ms(0), ms(5_001));
        assert_eq!(time.now(ms(5_001), OWN), None);
    }

    #[test]
    fn where_answers_bear_no_date_ones_own_clock_is_as_good() {
        let mut time = TableTime::default();
        time.hear(None, ms(0), ms(9_000));
        assert_eq!(time.now(ms(9_000), OWN), Some(OWN));
        // A refusal on the way there may bear none.
        let mut time = heard(&[(0, 100), (10, 100)]);
        time.hear(None, ms(20), ms(20));
        assert_eq!(time.now(ms(20), OWN), Some(at(100).plus(ms(10))));
    }
}

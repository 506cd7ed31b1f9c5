//! How many attempts an endpoint stands at a time: found out by trying, in whole numbers.
//!
//! The limit doubles each round until the first trouble, then grows by one each round; a failure
//! halves it, and answers that take twice as long as they used to take a tenth of it. It grows
//! only while it is used, so an endpoint that gets one event a minute is not taken to stand 64.
//!
//! Latency counts from [`LATENCY_US_MIN`] on: below it an attempt occupies its place so briefly
//! that fewer at a time would win nothing, while on a receiver near by it is mostly the queue that
//! our own attempts make, and giving way to that would cost half of the throughput.
//!
//! Invariants: at least 1; at most one cut for the attempts that were in flight at a time.

use posthaste_domain::Timestamp;

/// Answers that come sooner are no reason to send fewer, in microseconds.
const LATENCY_US_MIN: u32 = 100_000;

/// What is known of how much an endpoint stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Congestion {
    limit: u32,
    /// Successes since the limit last grew, while it grows by one.
    successes: u32,
    /// Whether there has been no trouble yet.
    slow_start: bool,
    /// Attempts that started before say nothing new about trouble.
    cut_at: Timestamp,
    /// The moving average of what an attempt takes, in microseconds; 0 where nothing is known.
    latency_us: u32,
    /// What it used to take, in microseconds: follows the average down at once and up slowly.
    usual_us: u32,
}

impl Congestion {
    /// Of an endpoint that nothing is known of.
    pub(crate) const fn new(first: u32) -> Self {
        Self {
            limit: first,
            successes: 0,
            slow_start: true,
            cut_at: Timestamp::ZERO,
            latency_us: 0,
            usual_us: 0,
        }
    }

    /// Of one that is tried again: from one at a time on. What was in flight before counts no more.
    pub(crate) const fn restart(&mut self, now: Timestamp) {
        self.limit = 1;
        self.successes = 0;
        self.slow_start = true;
        self.cut_at = now;
    }

    /// How many at a time.
    pub(crate) const fn limit(&self) -> u32 {
        self.limit
    }

    /// The moving average of what an attempt takes, in microseconds; 0 where nothing is known.
    pub(crate) const fn latency_us(&self) -> u32 {
        self.latency_us
    }

    /// An attempt took so long, whatever it came to.
    pub(crate) const fn took(&mut self, us: u32) {
        if self.latency_us == 0 {
            self.latency_us = if us == 0 { 1 } else { us };
            self.usual_us = self.latency_us;
            return;
        }
        // Eighths: one outlier is noticed, and forgotten after a dozen good ones.
        let latency = self.latency_us - self.latency_us / 8 + us / 8;
        self.latency_us = if latency == 0 { 1 } else { latency };
        if self.latency_us <= self.usual_us {
            self.usual_us = self.latency_us;
        } else {
            // A thousandth of the way at each: what has become usual is so within seconds of work.
            self.usual_us += (self.latency_us - self.usual_us) / 1_024 + 1;
        }
    }

    /// An attempt got through, of `in_flight` at that time; the limit may grow up to `most`.
    pub(crate) const fn well(
        &mut self,
        in_flight: u32,
        most: u32,
        started: Timestamp,
        now: Timestamp,
    ) {
        if !self.is_news(started) {
            return;
        }
        let long = self.latency_us >= LATENCY_US_MIN;
        if long && self.latency_us / 2 > self.usual_us {
            let tenth = self.limit / 10;
            self.cut(self.limit - if tenth == 0 { 1 } else { tenth }, now);
            return;
        }
        if self.limit >= most || in_flight.saturating_mul(2) < self.limit {
            return;
        }
        self.successes += 1;
        if self.slow_start || self.successes >= self.limit {
            self.successes = 0;
            self.limit += 1;
        }
    }

    /// An attempt failed by what looks like too much work.
    pub(crate) const fn ill(&mut self, started: Timestamp, now: Timestamp) {
        if self.is_news(started) {
            self.cut(self.limit / 2, now);
        }
    }

    const fn is_news(&self, started: Timestamp) -> bool {
        started.as_millis() >= self.cut_at.as_millis()
    }

    const fn cut(&mut self, to: u32, now: Timestamp) {
        self.limit = if to == 0 { 1 } else { to };
        self.successes = 0;
        self.slow_start = false;
        self.cut_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u32 = 64;

    /// An endpoint that answers after `us`, for so many rounds of as many attempts as it may have,
    /// at least a millisecond each; says the limit after each round.
    fn rounds(congestion: &mut Congestion, from_ms: u64, us: u32, rounds: u64) -> Vec<u32> {
        let round_ms = u64::from(us / 1_000).max(1);
        (0..rounds)
            .map(|round| {
                let started = Timestamp::from_millis(from_ms + round * round_ms);
                let now = started.plus_millis(round_ms);
                let at_a_time = congestion.limit();
                for _ in 0..at_a_time {
                    congestion.took(us);
                    // Each that ends makes way for another one.
                    congestion.well(congestion.limit(), MOST, started, now);
                }
                congestion.limit()
            })
            .collect()
    }

    #[test]
    fn a_fast_endpoint_reaches_its_cap_within_a_few_rounds() {
        let mut congestion = Congestion::new(1);
        assert_eq!(rounds(&mut congestion, 1_000, 1_000, 8), [2, 4, 8, 16, 32, 64, 64, 64]);
        // Its own queue makes it ten times as slow, which is still quick.
        assert_eq!(rounds(&mut congestion, 2_000, 10_000, 50).last(), Some(&64));
    }

    #[test]
    fn failures_halve_once_for_all_that_were_in_flight_and_then_it_grows_by_one() {
        let mut congestion = Congestion::new(32);
        let (started, now) = (Timestamp::from_millis(1_000), Timestamp::from_millis(1_010));
        (0..32).for_each(|_| congestion.ill(started, now));
        assert_eq!(congestion.limit(), 16);
        congestion.ill(Timestamp::from_millis(1_011), Timestamp::from_millis(1_020));
        assert_eq!(congestion.limit(), 8);
        assert_eq!(rounds(&mut congestion, 2_000, 1_000, 3), [9, 10, 11]);
        for ms in 3_000..3_010 {
            congestion.ill(Timestamp::from_millis(ms), Timestamp::from_millis(ms));
        }
        assert_eq!(congestion.limit(), 1, "one at a time is the least");
    }

    #[test]
    fn answers_that_take_far_longer_than_usual_take_a_tenth() {
        let mut congestion = Congestion::new(32);
        rounds(&mut congestion, 1_000, 120_000, 2);
        assert_eq!(congestion.limit(), 64);
        let limits = rounds(&mut congestion, 10_000, 600_000, 3);
        assert!(limits[0] < 60 && limits[2] < 55, "{limits:?}");
        // What has become usual is no trouble any more.
        let limits = rounds(&mut congestion, 100_000, 600_000, 200);
        assert_eq!(limits.last(), Some(&64), "{limits:?}");
    }

    #[test]
    fn a_limit_that_is_not_used_does_not_grow() {
        let mut congestion = Congestion::new(4);
        let at = Timestamp::from_millis;
        (0..100).for_each(|ms| congestion.well(1, MOST, at(ms), at(ms + 1)));
        assert_eq!(congestion.limit(), 4);
        (0..100).for_each(|ms| congestion.well(2, MOST, at(ms), at(ms + 1)));
        assert_eq!(congestion.limit(), 4 + 1, "two of four, and of five no more");
    }
}

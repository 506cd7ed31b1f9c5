//! What can be set about an engine: plain data, each number with its unit, its default and the
//! default's reason.
//!
//! Relations between the numbers are checked once, by [`Settings::checked`], for whoever reads
//! them from a person. The engine itself refuses nothing: it takes a limit that is too small to
//! make progress as the smallest that does (0 in flight as 1), since it would owe for ever.

use posthaste_domain::RetrySchedule;
use thiserror::Error;

/// Default of [`Settings::in_flight_max`]: a thousand sockets fit any descriptor limit and keep a
/// core busy with receivers that take 200 ms.
pub const DEFAULT_IN_FLIGHT_MAX: usize = 1_024;
/// Default of [`Settings::in_flight_per_endpoint_max`]: enough for 5,000 requests/s to a receiver
/// that takes 10 ms, too little to take all of [`DEFAULT_IN_FLIGHT_MAX`] from the others.
pub const DEFAULT_IN_FLIGHT_PER_ENDPOINT_MAX: usize = 64;
/// Default of [`Settings::settling_max`]: four commits of 1,024; at 1.5 KB an outcome about 6 MB.
pub const DEFAULT_SETTLING_MAX: usize = 4_096;
/// Default of [`Settings::held_max`]: at about 140 bytes each 7 MB without payloads.
pub const DEFAULT_HELD_MAX: usize = 50_000;
/// Default of [`Settings::held_per_endpoint_max`]: two seconds of the busiest tenant we expect.
pub const DEFAULT_HELD_PER_ENDPOINT_MAX: usize = 8_192;
/// Default of [`Settings::payload_bytes_max`]: spares the read back for 65,000 payloads of 500 B.
pub const DEFAULT_PAYLOAD_BYTES_MAX: usize = 32 << 20;
/// Default of [`Settings::timers_window_ms`]: the shortest step of the default schedule.
pub const DEFAULT_TIMERS_WINDOW_MS: u64 = 60_000;
/// Default of [`Settings::timers_held_max`]: at about 140 bytes each 28 MB.
pub const DEFAULT_TIMERS_HELD_MAX: usize = 200_000;
/// Default of [`Settings::timers_read_max`]: a page takes a few milliseconds to read.
pub const DEFAULT_TIMERS_READ_MAX: usize = 4_096;
/// Default of [`Settings::backlog_read_max`]: a page takes under a millisecond to read.
pub const DEFAULT_BACKLOG_READ_MAX: usize = 512;
/// Default of [`Settings::backlog_reads_max`]: keeps a restart with 10,000 endpoints behind from
/// asking 10,000 questions at once.
pub const DEFAULT_BACKLOG_READS_MAX: usize = 32;
/// Default of [`Settings::not_charged_backoff`]: our resolver or egress is down; a quarter of a
/// second is not noticed, half a minute does not hammer what is broken.
pub const DEFAULT_NOT_CHARGED_BACKOFF: Backoff = Backoff { first_ms: 250, most_ms: 30_000 };
/// Default of [`Settings::store_backoff`]: the store is ours and near, so it is asked more often.
pub const DEFAULT_STORE_BACKOFF: Backoff = Backoff { first_ms: 50, most_ms: 5_000 };

/// Default of [`Settings::in_flight_first`]: a burst to a receiver that takes 10 ms goes out at
/// 1,600/s at once; sixty new endpoints that hang take less than what [`DEFAULT_IN_FLIGHT_MAX`] is.
pub const DEFAULT_IN_FLIGHT_FIRST: usize = 16;
/// Default of [`Settings::in_flight_per_host_max`]: four busy tenants behind one gateway.
pub const DEFAULT_IN_FLIGHT_PER_HOST_MAX: usize = 256;
/// Default of [`Settings::in_flight_per_tenant_max`]: four busy endpoints, and a quarter of all.
pub const DEFAULT_IN_FLIGHT_PER_TENANT_MAX: usize = 256;
/// Default of [`Settings::slow_percent_max`]: a quarter of a thousand places, at 10 ms each, is
/// 25,000 attempts/s for those that are quick, whatever the others do.
pub const DEFAULT_SLOW_PERCENT_MAX: usize = 75;
/// Default of [`Settings::slow_ms`]: a hundred times what a receiver takes that queues its work.
pub const DEFAULT_SLOW_MS: u64 = 1_000;
/// Default of [`Settings::breaker_failures`]: four events that fail all their attempts, or a burst
/// of twenty; a receiver that fails half of its requests gets there once in a million.
pub const DEFAULT_BREAKER_FAILURES: u32 = 20;
/// Default of [`Settings::breaker_hold`]: a restart is not waited out, a dead endpoint is asked
/// once a minute.
pub const DEFAULT_BREAKER_HOLD: Backoff = Backoff { first_ms: 1_000, most_ms: 60_000 };
/// Default of [`Settings::breaker_give_up_ms`]: whoever is on call has seen it by then.
pub const DEFAULT_BREAKER_GIVE_UP_MS: u64 = 24 * 3_600_000;
/// Default of [`Settings::ramp_first_per_s`]: ten seconds later it has come to 25,600/s.
pub const DEFAULT_RAMP_FIRST_PER_S: u32 = 50;
/// Default of [`Settings::options_refresh_ms`]: nobody who resumes an endpoint waits longer.
pub const DEFAULT_OPTIONS_REFRESH_MS: u64 = 10_000;
/// Default of [`Settings::options_reads_max`]: keeps a restart with a million endpoints behind
/// from asking a million questions at once.
pub const DEFAULT_OPTIONS_READS_MAX: usize = 256;
/// Default of [`Settings::overdue_spread_ms`]: what fell due while we were down goes out at the
/// mean rate of the last minute, not all at once.
pub const DEFAULT_OVERDUE_SPREAD_MS: u64 = 60_000;

/// A pause that doubles with each failure in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure, in milliseconds.
    pub first_ms: u64,
    /// After many failures, in milliseconds.
    pub most_ms: u64,
}

/// The settings of one engine, which serves one shard.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// When failed deliveries are tried again, and how often.
    pub schedule: RetrySchedule,
    /// Attempts in flight at a time, those whose payload is being read included: this shard's
    /// share of what the process may have in flight.
    pub in_flight_max: usize,
    /// The same for one endpoint.
    pub in_flight_per_endpoint_max: usize,
    /// Outcomes on their way into the store at a time; beyond it no attempt is started, so that a
    /// slow disk slows deliveries instead of filling memory.
    pub settling_max: usize,
    /// Deliveries in memory that could be attempted now, are being attempted or settled. What does
    /// not fit stays in the store and is read again.
    pub held_max: usize,
    /// The same for one endpoint. Of one half of [`Settings::held_max`] an endpoint never takes
    /// more than what it leaves free for others; the other half is for the first fresh delivery
    /// and the first retry of each endpoint. So those that are stuck cannot shut out the others.
    pub held_per_endpoint_max: usize,
    /// Payload bytes that are kept for deliveries that wait; beyond it deliveries wait without
    /// their payload, and it is read when their turn comes. Attempts in flight come on top.
    pub payload_bytes_max: usize,
    /// How far ahead of their due time timers are read from the store, in milliseconds.
    pub timers_window_ms: u64,
    /// Deliveries in memory that wait for their due time; beyond it the farthest are forgotten and
    /// read again when they are nearer.
    pub timers_held_max: usize,
    /// Timers in one answer of the store.
    pub timers_read_max: usize,
    /// Fresh deliveries in one answer of the store.
    pub backlog_read_max: usize,
    /// Endpoints whose backlog is being read at a time.
    pub backlog_reads_max: usize,
    /// The pause after failures that are ours: of the endpoint, and of the process where they do
    /// not end.
    pub not_charged_backoff: Backoff,
    /// The pause after the store could not read or settle.
    pub store_backoff: Backoff,
    /// Attempts in flight of an endpoint that nothing is known of; how many it stands is found out
    /// from there on.
    pub in_flight_first: usize,
    /// Attempts in flight of all endpoints of one host, as their options name it.
    pub in_flight_per_host_max: usize,
    /// Attempts in flight of all endpoints of one tenant.
    pub in_flight_per_tenant_max: usize,
    /// The part of [`Settings::in_flight_max`], in percent, that all slow endpoints together may
    /// take. Besides, no endpoint takes more than what it leaves free for others.
    pub slow_percent_max: usize,
    /// An endpoint is slow whose attempts take that long on average, in milliseconds, or which has
    /// not ended any for so long.
    pub slow_ms: u64,
    /// Failures in a row after which an endpoint is left alone; 0 for never.
    pub breaker_failures: u32,
    /// For how long it is left alone before one attempt is made to see.
    pub breaker_hold: Backoff,
    /// An endpoint that has not answered for so long, in milliseconds, is attempted by the
    /// schedule again, so that what it is owed ends.
    pub breaker_give_up_ms: u64,
    /// How many attempts an endpoint gets in its first second after it was left alone or paused;
    /// twice as many in each of the nine that follow, then as many as it stands.
    pub ramp_first_per_s: u32,
    /// How often the options of an endpoint that is paused or left alone are asked for again, in
    /// milliseconds.
    pub options_refresh_ms: u64,
    /// Endpoints whose options are being read at a time.
    pub options_reads_max: usize,
    /// Retries that come more than a second too late, since the process was not there, are spread
    /// over as long as they are late, at most this long, in milliseconds.
    pub overdue_spread_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            schedule: RetrySchedule::default(),
            in_flight_max: DEFAULT_IN_FLIGHT_MAX,
            in_flight_per_endpoint_max: DEFAULT_IN_FLIGHT_PER_ENDPOINT_MAX,
            settling_max: DEFAULT_SETTLING_MAX,
            held_max: DEFAULT_HELD_MAX,
            held_per_endpoint_max: DEFAULT_HELD_PER_ENDPOINT_MAX,
            payload_bytes_max: DEFAULT_PAYLOAD_BYTES_MAX,
            timers_window_ms: DEFAULT_TIMERS_WINDOW_MS,
            timers_held_max: DEFAULT_TIMERS_HELD_MAX,
            timers_read_max: DEFAULT_TIMERS_READ_MAX,
            backlog_read_max: DEFAULT_BACKLOG_READ_MAX,
            backlog_reads_max: DEFAULT_BACKLOG_READS_MAX,
            not_charged_backoff: DEFAULT_NOT_CHARGED_BACKOFF,
            store_backoff: DEFAULT_STORE_BACKOFF,
            in_flight_first: DEFAULT_IN_FLIGHT_FIRST,
            in_flight_per_host_max: DEFAULT_IN_FLIGHT_PER_HOST_MAX,
            in_flight_per_tenant_max: DEFAULT_IN_FLIGHT_PER_TENANT_MAX,
            slow_percent_max: DEFAULT_SLOW_PERCENT_MAX,
            slow_ms: DEFAULT_SLOW_MS,
            breaker_failures: DEFAULT_BREAKER_FAILURES,
            breaker_hold: DEFAULT_BREAKER_HOLD,
            breaker_give_up_ms: DEFAULT_BREAKER_GIVE_UP_MS,
            ramp_first_per_s: DEFAULT_RAMP_FIRST_PER_S,
            options_refresh_ms: DEFAULT_OPTIONS_REFRESH_MS,
            options_reads_max: DEFAULT_OPTIONS_READS_MAX,
            overdue_spread_ms: DEFAULT_OVERDUE_SPREAD_MS,
        }
    }
}

/// A million deliveries are 140 MB; ten times that is a mistyped number.
const COUNT_MAX: usize = 10_000_000;
/// Timers an hour ahead are better kept by the store.
const WINDOW_MS_MAX: u64 = 3_600_000;
/// Nothing is waited for longer than what an event lives.
const GIVE_UP_MS_MAX: u64 = 30 * 24 * 3_600_000;

/// Why settings make no sense together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SettingsError {
    /// A limit out of 1 to ten million.
    #[error("{name} is {value}, outside of 1 to 10000000")]
    Count {
        /// Which setting.
        name: &'static str,
        /// Its value.
        value: usize,
    },
    /// A time out of its range.
    #[error("{name} is {value} ms, outside of 1 to {most} ms")]
    Millis {
        /// Which setting.
        name: &'static str,
        /// Its value in milliseconds.
        value: u64,
        /// The most that makes sense, in milliseconds.
        most: u64,
    },
    /// The part is larger than the whole.
    #[error("{part} is {value}, more than {whole}, which is {most}")]
    Part {
        /// The setting that is too large.
        part: &'static str,
        /// Its value.
        value: usize,
        /// The setting that bounds it.
        whole: &'static str,
        /// That one's value.
        most: usize,
    },
}

impl Settings {
    /// These settings, if they make sense.
    ///
    /// # Errors
    /// [`SettingsError`] names the first setting that does not, its value and what would be right.
    pub fn checked(self) -> Result<Self, SettingsError> {
        for (name, value) in self.counts() {
            if !(1..=COUNT_MAX).contains(&value) {
                return Err(SettingsError::Count { name, value });
            }
        }
        for (name, value, most) in self.times() {
            if !(1..=most).contains(&value) {
                return Err(SettingsError::Millis { name, value, most });
            }
        }
        for (part, value, whole, most) in self.parts() {
            if value > most {
                return Err(SettingsError::Part { part, value, whole, most });
            }
        }
        Ok(self)
    }

    const fn counts(&self) -> [(&'static str, usize); 14] {
        [
            ("in_flight_max", self.in_flight_max),
            ("in_flight_per_endpoint_max", self.in_flight_per_endpoint_max),
            ("settling_max", self.settling_max),
            ("held_max", self.held_max),
            ("held_per_endpoint_max", self.held_per_endpoint_max),
            ("timers_held_max", self.timers_held_max),
            ("timers_read_max", self.timers_read_max),
            ("backlog_read_max", self.backlog_read_max),
            ("backlog_reads_max", self.backlog_reads_max),
            ("in_flight_first", self.in_flight_first),
            ("in_flight_per_host_max", self.in_flight_per_host_max),
            ("in_flight_per_tenant_max", self.in_flight_per_tenant_max),
            ("ramp_first_per_s", self.ramp_first_per_s as usize),
            ("options_reads_max", self.options_reads_max),
        ]
    }

    const fn times(&self) -> [(&'static str, u64, u64); 11] {
        let (own, store) = (self.not_charged_backoff, self.store_backoff);
        let hold = self.breaker_hold;
        [
            ("timers_window_ms", self.timers_window_ms, WINDOW_MS_MAX),
            ("not_charged_backoff.first_ms", own.first_ms, own.most_ms),
            ("not_charged_backoff.most_ms", own.most_ms, WINDOW_MS_MAX),
            ("store_backoff.first_ms", store.first_ms, store.most_ms),
            ("store_backoff.most_ms", store.most_ms, WINDOW_MS_MAX),
            ("slow_ms", self.slow_ms, WINDOW_MS_MAX),
            ("breaker_hold.first_ms", hold.first_ms, hold.most_ms),
            ("breaker_hold.most_ms", hold.most_ms, WINDOW_MS_MAX),
            ("breaker_give_up_ms", self.breaker_give_up_ms, GIVE_UP_MS_MAX),
            ("options_refresh_ms", self.options_refresh_ms, WINDOW_MS_MAX),
            ("overdue_spread_ms", self.overdue_spread_ms, WINDOW_MS_MAX),
        ]
    }

    /// A part never exceeds its whole: what is in flight or settling is held, and one answer of
    /// the store must fit twice, so that reading ahead never waits for the last page to be empty.
    const fn parts(&self) -> [(&'static str, usize, &'static str, usize); 6] {
        let endpoint = self.in_flight_per_endpoint_max;
        let half = self.timers_held_max / 2;
        [
            ("in_flight_per_endpoint_max", endpoint, "in_flight_max", self.in_flight_max),
            ("in_flight_max", self.in_flight_max, "held_max", self.held_max),
            ("settling_max", self.settling_max, "held_max", self.held_max),
            ("held_per_endpoint_max", self.held_per_endpoint_max, "held_max", self.held_max),
            ("timers_read_max", self.timers_read_max, "half of timers_held_max", half),
            ("slow_percent_max", self.slow_percent_max, "a hundred", 100),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_make_sense() {
        assert_eq!(Settings::default().checked(), Ok(Settings::default()));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let refused = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            settings.checked().unwrap_err().to_string()
        };
        assert_eq!(refused(|s| s.held_max = 0), "held_max is 0, outside of 1 to 10000000");
        assert_eq!(
            refused(|s| s.in_flight_per_endpoint_max = 2_000),
            "in_flight_per_endpoint_max is 2000, more than in_flight_max, which is 1024",
        );
        assert_eq!(
            refused(|s| s.timers_window_ms = 0),
            "timers_window_ms is 0 ms, outside of 1 to 3600000 ms",
        );
        assert_eq!(
            refused(|s| s.slow_percent_max = 101),
            "slow_percent_max is 101, more than a hundred, which is 100",
        );
        assert_eq!(
            refused(|s| s.store_backoff.first_ms = 6_000),
            "store_backoff.first_ms is 6000 ms, outside of 1 to 5000 ms",
        );
    }
}

//! The daemons' clocks: off by some time, stepped, and followed without jumps as the daemon's own
//! clock does it (at most a tenth faster or slower than time). And the table's, which is right, as
//! its answers tell it: to the second.

use std::sync::Arc;
use std::time::Duration;

use posthaste_courier::Clock;
use posthaste_domain::Timestamp;
use posthaste_protocol::TableTime;

use crate::mutant::Mutant;
use crate::plan::{FaultKind, Fleet, SET_RIGHT_MS, START};
use crate::world::World;

/// How often a clock looks at the wall, in milliseconds.
const LOOK_EVERY_MS: u64 = 250;

/// One clock.
#[derive(Clone, Copy, Debug, Default)]
struct Followed {
    /// How far the wall is off.
    wall_off_ms: i64,
    /// How much faster than time it goes, in millionths, until it is set right.
    drift_ppm: i64,
    /// How far the time that is told is off.
    off_ms: i64,
    looked_ms: u64,
    last: u64,
    /// What the table's answers said in this life.
    heard: TableTime,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Clocks(Vec<Followed>);

impl Clocks {
    pub(crate) fn new(fleet: &Fleet) -> Self {
        let clock = |(skew, drift): (&i64, &i64)| Followed {
            wall_off_ms: *skew,
            drift_ppm: *drift,
            ..Followed::default()
        };
        Self(fleet.skews_ms.iter().zip(&fleet.drifts_ppm).map(clock).collect())
    }

    /// A process starts: its time is the wall's.
    pub(crate) fn start(&mut self, daemon: usize, ms: u64) {
        let clock = &mut self.0[daemon];
        (clock.off_ms, clock.looked_ms, clock.last) = (clock.wall_off(ms), ms, 0);
        clock.heard = TableTime::default();
    }

    pub(crate) fn step(&mut self, daemon: usize, off_ms: i64) {
        self.0[daemon].wall_off_ms = off_ms;
    }

    /// The time as this daemon tells it.
    pub(crate) fn now(&mut self, daemon: usize, ms: u64) -> Timestamp {
        let clock = &mut self.0[daemon];
        let passed = ms.saturating_sub(clock.looked_ms);
        if passed >= LOOK_EVERY_MS {
            clock.looked_ms = ms;
            let most = i64::try_from(passed / 10).unwrap_or(i64::MAX);
            clock.off_ms += (clock.wall_off(ms) - clock.off_ms).clamp(-most, most);
        }
        clock.last = clock.last.max(shown(ms, clock.off_ms));
        Timestamp::from_millis(clock.last)
    }

    /// An answer of the table, with the date that it bears, comes in.
    pub(crate) fn hear(&mut self, daemon: usize, date: Timestamp, (sent_ms, ms): (u64, u64)) {
        let [sent, came] = [sent_ms, ms].map(Duration::from_millis);
        self.0[daemon].heard.hear(Some(date), sent, came);
    }

    /// What time it is at the table, as far as this daemon knows.
    fn table(&self, daemon: usize, ms: u64) -> Option<Timestamp> {
        // All answers bear dates, so that it is not the daemon's own.
        self.0[daemon].heard.now(Duration::from_millis(ms), Timestamp::ZERO)
    }

    /// Whether a lease that ends then lasts to this daemon, if it is its own.
    pub(crate) fn lasts(&self, daemon: usize, ms: u64, until: Timestamp) -> bool {
        self.table(daemon, ms).is_some_and(|table| table < until)
    }

    fn wall(&self, daemon: usize, ms: u64) -> Timestamp {
        Timestamp::from_millis(shown(ms, self.0[daemon].wall_off(ms)))
    }

    /// Which kinds of faults make this clock tell another time than the right one.
    fn faults(&self, daemon: usize, ms: u64) -> impl Iterator<Item = FaultKind> {
        let clock = self.0[daemon];
        let drifts = (clock.drift_ms(ms) != 0).then_some(FaultKind::ClockDrift);
        drifts.into_iter().chain((clock.wall_off_ms != 0).then_some(FaultKind::ClockSkew))
    }
}

impl Followed {
    fn drift_ms(&self, ms: u64) -> i64 {
        let since = i64::try_from(ms % SET_RIGHT_MS).unwrap_or(0);
        since * self.drift_ppm / 1_000_000
    }

    fn wall_off(&self, ms: u64) -> i64 {
        self.wall_off_ms + self.drift_ms(ms)
    }
}

/// The date of an answer that the table gives now.
pub(crate) fn date(ms: u64) -> Timestamp {
    Timestamp::from_millis(START.plus_millis(ms).as_millis() / 1_000 * 1_000)
}

fn shown(ms: u64, off_ms: i64) -> u64 {
    START.plus_millis(ms).as_millis().saturating_add_signed(off_ms)
}

/// A daemon's clock.
#[derive(Clone)]
pub(crate) struct DaemonClock {
    pub(crate) world: Arc<World>,
    pub(crate) daemon: usize,
}

impl Clock for DaemonClock {
    fn now(&self) -> Timestamp {
        let ms = self.world.ms();
        self.world.lock().clocks.now(self.daemon, ms)
    }

    fn wall(&self) -> Timestamp {
        let ms = self.world.ms();
        let mut state = self.world.lock();
        // A sweep asks for this, so it is often enough.
        let faults: Vec<FaultKind> = state.clocks.faults(self.daemon, ms).collect();
        faults.into_iter().for_each(|kind| state.coverage.hit(kind));
        state.clocks.wall(self.daemon, ms)
    }

    fn table(&self) -> Option<Timestamp> {
        if self.world.has(Mutant::TrustOwnClock) {
            return Some(self.now());
        }
        self.world.lock().clocks.table(self.daemon, self.world.ms())
    }
}

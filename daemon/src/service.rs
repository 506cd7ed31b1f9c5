//! The daemon as a service: what the supervisor that started it (systemd) is told, from the first
//! moment to the last. Run by hand, nobody listens, and nothing of this exists.
//!
//! ```text
//! start ── STATUS, EXTEND_TIMEOUT while it recovers ── READY ── STATUS, WATCHDOG every second ──
//! ── SIGHUP: RELOADING … READY ── SIGTERM: STOPPING ── STATUS, EXTEND_TIMEOUT while it drains
//! ```

pub mod notify;
pub mod pulse;
mod watch;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::interval;

use self::notify::{Notifier, State};
use self::watch::Watch;
use crate::assemble::cloud::RELEASE_MS_MAX;
use crate::config::Config;
use crate::instance::Instance;

/// How often the supervisor is told what has changed.
const TICK: Duration = Duration::from_secs(1);
/// How often a start asks for more time, and for how much: three chances to be heard.
const START_TICK: Duration = Duration::from_secs(5);
const START_ASKS: Duration = Duration::from_secs(20);
/// A start that takes longer hangs: a recovery reads a few hundred megabytes at most. (One that
/// brings over an older data directory, of many millions of events, goes on at the next start.)
const START_MAX: Duration = Duration::from_mins(15);

/// The supervisor, where there is one, and what it has to know of the configuration.
#[derive(Debug)]
pub struct Service {
    notifier: Notifier,
    times: Mutex<Times>,
    /// What is added to the status until the next reload.
    note: Mutex<Option<String>>,
}

/// Times that follow the configuration.
#[derive(Clone, Copy, Debug)]
struct Times {
    attempt_max: Duration,
    drain_max: Duration,
    release_max: Duration,
}

impl Times {
    const fn of(config: &Config) -> Self {
        let releases = config.aws.enabled && config.aws.release_at_stop;
        Self {
            attempt_max: Duration::from_millis(config.delivery.attempt_timeout_ms),
            drain_max: config.drain.timeout(),
            release_max: Duration::from_millis(if releases { RELEASE_MS_MAX } else { 0 }),
        }
    }
}

impl Service {
    /// With the supervisor that the environment names.
    #[must_use]
    pub fn from_environment(config: &Config) -> Arc<Self> {
        Arc::new(Self {
            notifier: Notifier::from_environment(),
            times: Mutex::new(Times::of(config)),
            note: Mutex::default(),
        })
    }

    /// Waits for a start, and asks for more time while it goes on.
    pub async fn through_start<T>(&self, starting: impl Future<Output = T>) -> T {
        if !self.notifier.is_heard() {
            return starting.await;
        }
        let status = State::Status("starting: opening the data directory");
        let mut ticks = interval(START_TICK);
        let (mut asked, most) = (0, START_MAX.as_secs() / START_TICK.as_secs());
        tokio::pin!(starting);
        loop {
            tokio::select! {
                started = &mut starting => return started,
                _ = ticks.tick(), if asked < most => {
                    self.notifier.send(&[State::Extend(START_ASKS), status]);
                    asked += 1;
                }
            }
        }
    }

    /// Says that the instance serves, and watches it until it has stopped.
    pub fn watch(self: &Arc<Self>, instance: &Instance) {
        if !self.notifier.is_heard() {
            return;
        }
        self.notifier.send(&[State::Ready]);
        let (watched, clock) = (instance.watched().clone(), instance.clock().clone());
        let watch = Watch { service: Arc::clone(self), watched, clock };
        watch::begin(watch, instance.fatal());
    }

    /// Says that the configuration is being read again.
    pub fn reloading(&self) {
        self.notifier.send(&[State::Reloading]);
    }

    /// Says that a reload is over, and what holds now if something else does; `note` is what a
    /// person should know of it until the next one.
    pub fn reloaded(&self, config: Option<&Config>, note: Option<String>) {
        if let Some(config) = config {
            *self.times.lock().unwrap_or_else(PoisonError::into_inner) = Times::of(config);
        }
        *self.note.lock().unwrap_or_else(PoisonError::into_inner) = note;
        self.notifier.send(&[State::Ready]);
    }

    /// Says why the process ends early.
    pub fn failed(&self, reason: &str) {
        self.notifier.send(&[State::Stopping, State::Status(&format!("failed: {reason}"))]);
    }

    /// How long a drain may take.
    #[must_use]
    pub fn drain_max(&self) -> Duration {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).drain_max
    }

    /// How long giving away leases may take after that.
    fn release_max(&self) -> Duration {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).release_max
    }

    fn attempt_max(&self) -> Duration {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).attempt_max
    }

    fn with_note(&self, status: &str) -> String {
        match &*self.note.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(note) => format!("{status}; {note}"),
            None => status.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::layers::{Flag, Sources};

    /// Only an instance that gives leases away at its stop may ask for the time that takes.
    #[test]
    fn time_to_give_leases_away_is_for_those_that_do() {
        for (enabled, releases, minutes) in
            [(true, true, 8), (true, false, 0), (false, true, 0), (false, false, 0)]
        {
            let set = |key, value| Flag::Set(format!("aws.{key}={value}"));
            let flags = vec![set("enabled", enabled), set("release-at-stop", releases)];
            let loaded = crate::config::load(Sources { flags, ..Sources::default() }).unwrap();
            let release_max = Times::of(&loaded.config).release_max;
            assert_eq!(release_max, Duration::from_mins(minutes), "{enabled} {releases}");
        }
    }
}

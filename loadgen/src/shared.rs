//! What generator and sink share: the clock, the workload, the account, and the moments that the
//! run turns on.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use socket2::SockRef;
use tokio::sync::Notify;

use crate::account::Account;
use crate::chance::{Weighted, mix};
use crate::clock::{Clock, Nanos};
use crate::payload::{Payloads, Tag};
use crate::retries::{End, Retries, Try};
use crate::scenario::Scenario;

/// Takes a lock. One that a panicking thread left is taken as it is: the panic ends the run, and
/// what was counted until then is still shown.
///
/// # Panics
/// In debug builds, where this thread holds the account: see [`Shared::account`].
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    debug_assert!(!HOLDS_ACCOUNT.get(), "the account is the innermost lock");
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    /// Whether this thread holds the account; kept in debug builds only.
    static HOLDS_ACCOUNT: Cell<bool> = const { Cell::new(false) };
}

/// The account, locked.
#[derive(Debug)]
pub struct AccountGuard<'m>(MutexGuard<'m, Account>);

impl Deref for AccountGuard<'_> {
    type Target = Account;

    fn deref(&self) -> &Account {
        &self.0
    }
}

impl DerefMut for AccountGuard<'_> {
    fn deref_mut(&mut self) -> &mut Account {
        &mut self.0
    }
}

impl Drop for AccountGuard<'_> {
    fn drop(&mut self) {
        if cfg!(debug_assertions) {
            HOLDS_ACCOUNT.set(false);
        }
    }
}

/// Makes a connection of the generator or the sink as cheap as may be: what is small leaves at
/// once, and nobody paces it. Reno is in every kernel; what a machine uses otherwise (BBR, say)
/// sets timers for every packet, which on loopback are pure cost.
///
/// # Errors
/// Where it is no TCP connection any more.
pub(crate) fn tune<'s>(socket: impl Into<SockRef<'s>>) -> std::io::Result<()> {
    let socket = socket.into();
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_congestion(b"reno")
}

/// Low enough to be served before what is not nice at all.
const NICE: i32 = -10;

/// What is sent by whom, decided by an event's number alone.
#[derive(Debug)]
pub struct Workload {
    /// In every payload of the run.
    pub run: u32,
    /// The payloads.
    pub payloads: Payloads,
    tenants: Weighted,
    seed: u64,
    /// The group of each tenant.
    pub groups: Vec<u8>,
}

impl Workload {
    /// The workload of a scenario.
    ///
    /// # Errors
    /// Where the payloads cannot be had.
    pub fn prepare(scenario: &Scenario, run: u32) -> anyhow::Result<Self> {
        let (mut weights, mut groups) = (Vec::new(), Vec::new());
        for (index, group) in scenario.groups.iter().enumerate() {
            let ranks = 1..=group.count;
            let zipf = ranks.map(|rank| f64::from(rank).powf(-group.zipf)).collect::<Vec<_>>();
            let total: f64 = zipf.iter().sum();
            weights.extend(zipf.iter().map(|weight| weight * group.share / total));
            groups.resize(weights.len(), u8::try_from(index).unwrap_or(u8::MAX));
        }
        let tenants = Weighted::try_new(&weights)
            .ok_or_else(|| anyhow::anyhow!("the tenants' shares add up to nothing"))?;
        let payloads = Payloads::prepare(&scenario.payload, scenario.seed)?;
        Ok(Self { run, payloads, tenants, seed: mix(scenario.seed, 0x7465_6E61), groups })
    }

    /// Whose event this is.
    #[must_use]
    pub fn tenant(&self, sequence: u64) -> u32 {
        self.tenants.pick(mix(self.seed, sequence))
    }

    /// The tag of an event.
    #[must_use]
    pub fn tag(&self, sequence: u64, due: Nanos) -> Tag {
        Tag { run: self.run, sequence, due, tenant: self.tenant(sequence) }
    }
}

/// The moments between which events belong to the measure phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// When the load begins.
    pub start: Nanos,
    /// When what is sent begins to count.
    pub from: Nanos,
    /// When the load ends.
    pub to: Nanos,
}

/// The number of phases that events can belong to.
pub const PHASES: usize = 2;

impl Window {
    /// The phase of an event that is due then: 0 warm-up, 1 measure.
    #[must_use]
    pub const fn phase(&self, due: Nanos) -> usize {
        (due >= self.from) as usize
    }

    /// The part of a span that lies in the measure phase.
    #[must_use]
    pub fn overlap(&self, from: Nanos, to: Nanos) -> Nanos {
        to.min(self.to).saturating_sub(from.max(self.from))
    }
}

/// The first time that something happens after somebody began to wait for it.
#[derive(Debug, Default)]
pub struct Mark(AtomicU64);

const IDLE: u64 = 0;
const ARMED: u64 = 1;

impl Mark {
    /// Waits for the next time.
    pub fn arm(&self) {
        self.0.store(ARMED, Ordering::SeqCst);
    }

    /// It has happened; costs one read when nobody waits.
    pub fn note(&self, now: Nanos) {
        if self.0.load(Ordering::Relaxed) == ARMED {
            // Fails only where another thread was first.
            _ = self.0.compare_exchange(ARMED, now, Ordering::SeqCst, Ordering::Relaxed);
        }
    }

    /// When it happened, if it has.
    #[must_use]
    pub fn seen(&self) -> Option<Nanos> {
        match self.0.load(Ordering::SeqCst) {
            IDLE | ARMED => None,
            at => Some(at),
        }
    }
}

/// Shared by all threads of a run.
#[derive(Debug)]
pub struct Shared {
    /// The time.
    pub clock: Clock,
    /// What is sent.
    pub workload: Workload,
    /// What became of it.
    account: Mutex<Account>,
    /// Whether what failed is tried again in time.
    retries: Mutex<Retries>,
    /// Whether anything has failed: until then nobody looks for retries.
    failing: AtomicBool,
    /// Whether the system is being stopped, or not ready again.
    down: AtomicBool,
    window: OnceLock<Window>,
    /// The first 201 after a restart.
    pub accepted: Mark,
    /// The first delivery after a restart.
    pub delivered: Mark,
    raised_priority: bool,
    nice: AtomicI32,
    /// Whether the load has been told to end early.
    stopped: AtomicBool,
    /// Whether somebody waits for the backlog to be gone.
    draining: AtomicBool,
    drained: Notify,
    /// How few may be left of the backlog for it to be nearly gone, and when it was.
    few: AtomicU64,
    nearly_drained: Mark,
}

impl Shared {
    /// For a run of `scenario`.
    #[must_use]
    pub fn new(clock: Clock, workload: Workload, scenario: &Scenario) -> Self {
        let account = Account::new(scenario.tenant_count(), scenario.validity.late_after);
        Self {
            clock,
            workload,
            account: Mutex::new(account),
            retries: Mutex::new(Retries::new(scenario.system.retries.clone())),
            failing: AtomicBool::new(false),
            down: AtomicBool::new(false),
            window: OnceLock::new(),
            accepted: Mark::default(),
            delivered: Mark::default(),
            raised_priority: scenario.generator.raised_priority,
            nice: AtomicI32::new(0),
            stopped: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            drained: Notify::new(),
            few: AtomicU64::new(0),
            nearly_drained: Mark::default(),
        }
    }

    /// What became of the events. The innermost lock: threads of the sink take it while they hold
    /// their own counts, so whoever took those while holding the account would wait for ever
    /// sooner or later. Debug builds panic at the first try instead.
    pub fn account(&self) -> AccountGuard<'_> {
        let guard = lock(&self.account);
        if cfg!(debug_assertions) {
            HOLDS_ACCOUNT.set(true);
        }
        AccountGuard(guard)
    }

    /// What became of retries. Not to be asked for while the account is held.
    pub fn retries(&self) -> MutexGuard<'_, Retries> {
        lock(&self.retries)
    }

    /// An attempt has come.
    pub(crate) fn tried(&self, tried: Try, at: Nanos) {
        // A run without failures pays for a read and no lock.
        if tried.number > 1 || self.failing.load(Ordering::Relaxed) {
            self.retries().arrived(tried, at);
        }
    }

    /// An attempt has failed. What a stop of the system cuts off is no failure of the attempt.
    pub(crate) fn failed(&self, tried: Try, end: End, retry_after_s: Option<u64>) {
        if matches!(end, End::Seen(_)) && self.down.load(Ordering::SeqCst) {
            return;
        }
        self.failing.store(true, Ordering::Relaxed);
        self.retries().failed(tried, end, retry_after_s);
    }

    /// The system is about to be stopped, or is ready again.
    pub(crate) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// Serves this thread before the system under test, where the scenario wants it and this
    /// process may: only threads of the generator and the sink call it, so that the system does
    /// not inherit it.
    pub(crate) fn raise_priority(&self) {
        if self.raised_priority && rustix::process::setpriority_process(None, NICE).is_ok() {
            self.nice.store(NICE, Ordering::Relaxed);
        }
    }

    /// The nice value of the generator's threads.
    #[must_use]
    pub fn nice(&self) -> i32 {
        self.nice.load(Ordering::Relaxed)
    }

    /// Says when the load begins and what counts; once.
    pub fn begin(&self, window: Window) {
        // A second call would be a second load of one run, which there is not.
        _ = self.window.set(window);
    }

    /// When the load begins and what counts; before [`Shared::begin`] nothing does.
    #[must_use]
    pub fn window(&self) -> Window {
        let never = Window { start: Nanos::MAX, from: Nanos::MAX, to: Nanos::MAX };
        self.window.get().copied().unwrap_or(never)
    }

    /// Ends the load as soon as may be.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    /// Whether the load is to end.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// The load has ended: from now on it is noted when no more than `few` are left.
    pub(crate) fn watch_drain(&self, few: u64) {
        self.few.store(few, Ordering::SeqCst);
        self.nearly_drained.arm();
    }

    /// When the backlog of the load's end was nearly gone.
    #[must_use]
    pub(crate) fn nearly_drained(&self) -> Option<Nanos> {
        self.nearly_drained.seen()
    }

    /// A delivery was taken at this moment: wakes who waits for the last one.
    pub(crate) fn settled(&self, backlog: u64, at: Nanos) {
        if backlog <= self.few.load(Ordering::Relaxed) {
            self.nearly_drained.note(at);
        }
        if backlog == 0 && self.draining.load(Ordering::Relaxed) {
            self.drained.notify_waiters();
        }
    }

    /// Waits until everything accepted has been delivered. To be asked when nothing is sent any
    /// more.
    pub async fn drained(&self) {
        self.draining.store(true, Ordering::SeqCst);
        loop {
            let waiting = self.drained.notified();
            tokio::pin!(waiting);
            // From here on no wake-up is missed, so the look comes after it.
            waiting.as_mut().enable();
            if self.account().backlog() == 0 {
                return;
            }
            waiting.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_tells_phases_apart() {
        let window = Window { start: 10, from: 20, to: 30 };
        assert_eq!([10, 19, 20, 29].map(|due| window.phase(due)), [0, 0, 1, 1]);
        assert_eq!(window.overlap(0, 100), 10);
        assert_eq!(window.overlap(25, 27), 2);
        assert_eq!((window.overlap(0, 20), window.overlap(30, 40)), (0, 0));
    }

    /// For all orders but one: taking something else while the account is held is found at once.
    #[test]
    #[cfg(debug_assertions)]
    fn the_account_is_the_innermost_lock() {
        let scenario = Scenario::parse("", std::path::PathBuf::new(), &[]).unwrap();
        let workload = Workload::prepare(&scenario, 0).unwrap();
        let shared = Shared::new(Clock::start(), workload, &scenario);
        let other = Mutex::new(());
        {
            let _other = lock(&other);
            let _account = shared.account();
        }
        let wrong = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _account = shared.account();
            drop(lock(&other));
        }));
        assert!(wrong.is_err());
        drop(lock(&other));
    }

    #[test]
    fn a_mark_keeps_the_first_time_only() {
        let mark = Mark::default();
        mark.note(5);
        assert_eq!(mark.seen(), None, "nobody waited");
        mark.arm();
        mark.note(7);
        mark.note(9);
        assert_eq!(mark.seen(), Some(7));
        mark.arm();
        assert_eq!(mark.seen(), None);
    }
}

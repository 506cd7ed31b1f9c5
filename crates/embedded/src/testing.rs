//! What unit tests share: a ledger in memory, a writer that can be held, and lawful samples.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use bytes::Bytes;
use posthaste_domain::{
    Attempt, DeliveryKey, EndpointId, ErrorClass, EventId, InstanceId, KeyHash, Owed, PhaseTimings,
    Resolution, Settlement, TargetUrl, TenantId, Timestamp, Verdict, WebhookSecret,
};
use posthaste_ports::memory::NullSink;
use posthaste_ports::{NewEvent, NewTenant};
use tempfile::TempDir;

use crate::open::{self, Opened};
use crate::settings::{Commit, Observer, Settings};

/// Lends a clock in which each look is a millisecond later, and holds the writer where it is told
/// to: in [`Observer::committed`], between the commit and the tickets.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    micros: AtomicU64,
    /// Whether to hold it, and whether it is held.
    hold: Mutex<(bool, bool)>,
    changed: Condvar,
    pub(crate) failures: Mutex<Vec<String>>,
}

impl Watch {
    /// Holds the writer at its next commit.
    pub(crate) fn hold(&self) {
        *self.hold.lock().unwrap() = (true, false);
    }

    /// Waits until it is held.
    pub(crate) fn held(&self) {
        let hold = self.hold.lock().unwrap();
        drop(self.changed.wait_while(hold, |(_, held)| !*held).unwrap());
    }

    pub(crate) fn release(&self) {
        *self.hold.lock().unwrap() = (false, false);
        self.changed.notify_all();
    }
}

impl Observer for Watch {
    fn monotonic_us(&self) -> u64 {
        self.micros.fetch_add(1000, Ordering::Relaxed)
    }

    fn committed(&self, _commit: &Commit) {
        let mut hold = self.hold.lock().unwrap();
        if hold.0 {
            hold.1 = true;
            self.changed.notify_all();
            drop(self.changed.wait_while(hold, |(hold, _)| *hold).unwrap());
        }
    }

    fn failed(&self, reason: &str) {
        self.failures.lock().unwrap().push(reason.to_owned());
    }
}

/// A directory, in memory where the system has such a place.
pub(crate) fn home() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub(crate) fn settings(home: &TempDir) -> Settings {
    let dir = home.path().join("data");
    Settings { free_space_floor_bytes: 0, ballast_bytes: 0, ..Settings::new(dir) }
}

pub(crate) fn instance(name: &str) -> InstanceId {
    InstanceId::try_new(name).unwrap()
}

/// An instance's cache without its threads.
pub(crate) fn opened_cache(settings: Settings, now: Timestamp) -> Opened {
    let watch = Arc::new(Watch::default());
    open::open_or_quarantine(settings, &instance("one"), now, watch).unwrap()
}

/// An opened store without its threads.
pub(crate) fn opened(settings: Settings) -> Opened {
    open::open(settings, Arc::new(NullSink), Arc::new(Watch::default())).unwrap()
}

pub(crate) fn tenant_id(text: &str) -> TenantId {
    TenantId::try_new(text).unwrap()
}

pub(crate) fn new_tenant(id: &str, shard_key: u32) -> NewTenant {
    NewTenant {
        id: tenant_id(id),
        shard_key,
        target: TargetUrl::parse_stored("https://example.com/hook").unwrap(),
        secret: WebhookSecret::try_new("some-secret").unwrap(),
        plan: "standard".into(),
        options: Arc::default(),
        key: KeyHash::from_bytes([id.as_bytes()[0]; 32]),
        at: Timestamp::from_millis(1),
    }
}

pub(crate) fn event(tenant: &str, at: Timestamp, entropy: u128) -> NewEvent {
    NewEvent {
        tenant: tenant_id(tenant),
        id: EventId::from_parts(at, entropy),
        payload: Bytes::from(format!("{{\"n\":{entropy}}}")),
        idempotency: None,
    }
}

pub(crate) fn delivery(tenant: &TenantId, event: EventId) -> DeliveryKey {
    DeliveryKey { tenant: tenant.clone(), event, endpoint: EndpointId::DEFAULT }
}

/// An outcome of the next attempt of what is owed.
pub(crate) fn outcome(owed: &Owed, at: Timestamp, resolution: Resolution) -> Settlement {
    let verdict = match resolution {
        Resolution::Delivered => Verdict::Delivered,
        _ => Verdict::Failed { class: ErrorClass::ServerError, retry_after_ms: None },
    };
    Settlement {
        key: owed.key.clone(),
        round: owed.round,
        attempts: owed.attempts + 1,
        owed_as: owed.owed_as,
        interrupted: owed.interrupted,
        at,
        attempt: Some(Attempt {
            number: owed.attempts + 1,
            at,
            duration_ms: 7,
            status_code: None,
            verdict,
            error: None,
            response: Bytes::new(),
            phases: PhaseTimings::default(),
        }),
        resolution,
    }
}

/// Chance from a seed: SplitMix64.
#[derive(Debug)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) const fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        if from.is_empty() {
            return None;
        }
        from.get(usize::try_from(self.below(from.len() as u64)).unwrap())
    }
}

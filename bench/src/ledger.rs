//! The embedded ledger with a tenant in it, and batches for it.
//!
//! A call goes to the writer's thread and back, as in the product, so that the figures of small
//! batches are mostly that way: two wake-ups of a thread, and what a commit costs however small.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use posthaste_domain::{
    DeliveryKey, EndpointId, KeyHash, OwedAs, Resolution, Settlement, TargetUrl, TimerPosition,
    Timestamp, Verdict,
};
use posthaste_embedded::{Commit, Ledger, Observer, Settings};
use posthaste_ports::memory::NullSink;
use posthaste_ports::{
    Acceptance, EventStore as _, Journal as _, NewEvent, NewTenant, Settled, ShardSpec,
    TenantStore as _,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::fixture::{self, EPOCH, PAYLOAD_BYTES};

/// One shard that has everything.
const SHARD: ShardSpec = ShardSpec { index: 0, count: 1 };

struct Watch(Instant);

impl Observer for Watch {
    fn monotonic_us(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn committed(&self, _commit: &Commit) {}

    fn failed(&self, reason: &str) {
        panic!("the ledger failed: {reason}");
    }
}

/// A ledger in a directory of its own, which goes with it.
pub struct Store {
    runtime: Runtime,
    ledger: Ledger,
    payload: Bytes,
    next: u64,
    /// Where the next page of timers begins.
    timers: TimerPosition,
    // Last, so that the ledger is gone before its directory.
    _home: TempDir,
}

/// Events and what becomes of them, made before anything is measured.
#[derive(Debug)]
pub struct Batch {
    events: Vec<NewEvent>,
    settlements: Vec<Settlement>,
}

impl Store {
    /// A new ledger below `parent`.
    ///
    /// # Panics
    /// Where that directory takes no ledger.
    #[must_use]
    pub fn open(parent: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build();
        let runtime = runtime.expect("a runtime");
        let home = tempfile::tempdir_in(parent).expect("a directory of its own");
        let settings = Settings { ballast_bytes: 0, ..Settings::new(home.path().join("data")) };
        let watch = Arc::new(Watch(Instant::now()));
        let opened = Ledger::open(settings, Arc::new(NullSink), watch);
        let (ledger, _) = opened.expect("the ledger opens");
        let target = TargetUrl::parse_stored("https://example.com/hook").expect("lawful");
        let created = ledger.create(NewTenant {
            id: fixture::tenant(0),
            shard_key: target.shard_key(),
            target,
            secret: fixture::secret(1),
            plan: "standard".into(),
            options: Arc::default(),
            key: KeyHash::from_bytes([1; 32]),
            at: EPOCH,
        });
        runtime.block_on(created).expect("the ledger takes a tenant");
        let payload = fixture::payload(PAYLOAD_BYTES);
        Self { runtime, ledger, payload, next: 0, timers: TimerPosition::START, _home: home }
    }

    /// `count` new events, with settlements as delivered.
    pub fn delivered(&mut self, count: usize) -> Batch {
        self.batch(count, |_| (OwedAs::Fresh, 1, Resolution::Delivered))
    }

    /// `count` new events, with settlements as failed once, each with a due time of its own.
    pub fn failed(&mut self, count: usize) -> Batch {
        let due = |n| Resolution::Retry { due: EPOCH.plus_millis(60_000 + n) };
        self.batch(count, |n| (OwedAs::Fresh, 1, due(n)))
    }

    /// Accepts the batch's events: one commit and one sync.
    pub fn accept(&self, batch: &mut Batch) {
        let events = std::mem::take(&mut batch.events);
        let accepted = self.runtime.block_on(self.ledger.accept(events));
        let accepted = accepted.expect("the ledger works");
        assert!(accepted.iter().all(|one| matches!(one, Acceptance::Accepted(_))));
    }

    /// Settles the batch: one commit.
    pub fn settle(&self, batch: &mut Batch) {
        self.settle_all(std::mem::take(&mut batch.settlements));
    }

    /// Reads the next `count` timers in due order and settles them as delivered.
    ///
    /// # Panics
    /// Where fewer wait.
    pub fn expire(&mut self, count: usize) {
        let from = self.timers.clone();
        let page = self.ledger.timers(SHARD, from, Timestamp::MAX, count);
        let page = self.runtime.block_on(page).expect("the ledger works");
        assert_eq!(page.owed.len(), count);
        let last = page
            .owed
            .last()
            .map(|owed| TimerPosition { due: owed.due(), key: Some(owed.key.clone()) });
        self.timers = last.unwrap_or(TimerPosition::START);
        let settled = page.owed.into_iter().map(|owed| {
            settlement(owed.key, owed.owed_as, owed.attempts + 1, Resolution::Delivered)
        });
        self.settle_all(settled.collect());
    }

    /// Reads a page of the fresh deliveries, without payloads: one row each.
    ///
    /// # Panics
    /// Where fewer wait.
    pub fn read_backlog(&self, count: usize) {
        let tenant = fixture::tenant(0);
        let from = fixture::event(0);
        let page = self.ledger.backlog(&tenant, EndpointId::DEFAULT, from, count);
        let page = self.runtime.block_on(page).expect("the ledger works");
        assert_eq!(page.owed.len(), count);
    }

    /// Reads the payloads of the first `count` events.
    ///
    /// # Panics
    /// Where one is gone.
    pub fn read_payloads(&self, count: usize) {
        let keys: Vec<DeliveryKey> = (0..count as u64).map(key).collect();
        let payloads = self.runtime.block_on(self.ledger.payloads(&keys));
        let payloads = payloads.expect("the ledger works");
        assert!(payloads.iter().all(Option::is_some));
    }

    fn batch(&mut self, count: usize, fate: impl Fn(u64) -> (OwedAs, u32, Resolution)) -> Batch {
        let numbers = self.next..self.next + count as u64;
        self.next = numbers.end;
        let new = |n| NewEvent {
            tenant: fixture::tenant(0),
            id: fixture::event(n),
            payload: self.payload.clone(),
            idempotency: None,
        };
        let settle = |n| {
            let (owed_as, attempts, resolution) = fate(n);
            settlement(key(n), owed_as, attempts, resolution)
        };
        Batch {
            events: numbers.clone().map(new).collect(),
            settlements: numbers.map(settle).collect(),
        }
    }

    fn settle_all(&self, settlements: Vec<Settlement>) {
        let settled = self.runtime.block_on(self.ledger.settle(settlements));
        let settled = settled.expect("the ledger works");
        assert!(settled.iter().all(|one| *one == Settled::Settled));
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.runtime.block_on(self.ledger.close());
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("ledger", &self.ledger).finish_non_exhaustive()
    }
}

fn key(n: u64) -> DeliveryKey {
    DeliveryKey {
        tenant: fixture::tenant(0),
        event: fixture::event(n),
        endpoint: EndpointId::DEFAULT,
    }
}

fn settlement(
    key: DeliveryKey,
    owed_as: OwedAs,
    attempts: u32,
    resolution: Resolution,
) -> Settlement {
    let attempt = fixture::attempt(attempts, EPOCH, Verdict::Delivered);
    Settlement {
        key,
        round: 0,
        attempts,
        owed_as,
        interrupted: 0,
        at: EPOCH,
        attempt: Some(attempt),
        resolution,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The calls do what their names say; each asserts its own answer.
    #[test]
    fn events_are_accepted_settled_and_expire() {
        let home = tempfile::tempdir().unwrap();
        let mut store = Store::open(home.path());
        let mut fresh = store.delivered(20);
        store.accept(&mut fresh);
        store.read_backlog(20);
        store.read_payloads(20);
        store.settle(&mut fresh);
        let mut failed = store.failed(20);
        store.accept(&mut failed);
        store.settle(&mut failed);
        store.expire(12);
        store.expire(8);
    }
}

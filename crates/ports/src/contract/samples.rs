//! Tenants, events and outcomes to check with, and the few steps that most checks begin with.

use std::sync::Arc;

use bytes::Bytes;
use posthaste_domain::{
    Attempt, DeadLetterCause, DeliveryKey, DeliveryOptions, EndpointId, ErrorClass, EventId,
    EventStatus, ExtraHeaders, InFlightMax, KeyHash, Owed, OwedAs, PhaseTimings, RatePerS,
    Resolution, RetryOption, Settlement, TargetUrl, TenantId, TimeoutMs, TimerPosition, Timestamp,
    Verdict, WebhookSecret,
};

use super::{Fixture, Stores};
use crate::{
    Acceptance, Arrival, Created, DeadLetter, EventDetail, EventPage, Idempotency, ListQuery,
    NewEvent, NewTenant, Scope, Settled, ShardSpec, TimerPage,
};

/// When every check begins.
pub(super) const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
/// One second, in milliseconds.
pub(super) const SECOND: u64 = 1_000;
/// One hour, in milliseconds.
pub(super) const HOUR: u64 = 3_600 * SECOND;
/// One day, in milliseconds.
pub(super) const DAY: u64 = 24 * HOUR;
/// The shard that owns everybody.
pub(super) const ALL_SHARDS: ShardSpec = ShardSpec { index: 0, count: 1 };
/// More than any check stores.
pub(super) const PLENTY: usize = 10_000;

/// `START` and some milliseconds.
pub(super) const fn after(millis: u64) -> Timestamp {
    START.plus_millis(millis)
}

pub(super) fn tenant_id(name: &str) -> TenantId {
    TenantId::try_new(name).expect("checks use lawful names")
}

pub(super) fn target(host: &str) -> TargetUrl {
    TargetUrl::parse_stored(&format!("https://{host}/hook")).expect("checks use lawful targets")
}

pub(super) fn secret(text: &str) -> WebhookSecret {
    WebhookSecret::try_new(text).expect("checks use lawful secrets")
}

/// Some hash, the same for the same text.
pub(super) fn digest(text: &str) -> [u8; 32] {
    // Not SHA-256: ports only carry hashes, so any 32 bytes that differ will do.
    let mut hash = [0; 32];
    for (index, byte) in text.bytes().enumerate() {
        hash[index % 32] = u8::wrapping_add(hash[index % 32], byte).rotate_left(3);
        hash[31 - index % 32] ^= byte;
    }
    hash
}

pub(super) fn key_hash(text: &str) -> KeyHash {
    KeyHash::from_bytes(digest(text))
}

pub(super) fn new_tenant(name: &str) -> NewTenant {
    NewTenant {
        id: tenant_id(name),
        target: target("example.com"),
        secret: secret(&format!("secret-of-{name}")),
        plan: "standard".into(),
        options: Arc::default(),
        key: key_hash(&format!("first key of {name}")),
        shard_key: 7,
        at: START,
    }
}

/// Options with every part set, and no part as in those of another number.
pub(super) fn options(number: u32) -> DeliveryOptions {
    let n = u64::from(number);
    let header = (format!("x-{number}"), format!("value {number}"));
    DeliveryOptions {
        timeout: Some(TimeoutMs::try_new(1_000 + n).expect("lawful")),
        retry: Some(RetryOption::try_new(Some(&[1 + n, 2, 3]), Some(7)).expect("lawful")),
        rate: Some(RatePerS::try_new(1 + n).expect("lawful")),
        in_flight: Some(InFlightMax::try_new(1 + n).expect("lawful")),
        headers: ExtraHeaders::try_new([header, ("b".into(), "a\tb".into())]).expect("lawful"),
        paused: number % 2 == 1,
        lifted_at: Some(after(n)),
    }
}

pub(super) fn claim(key: &str, body: &str) -> Option<Idempotency> {
    Some(Idempotency { key: digest(key), body: digest(body) })
}

pub(super) fn delivery_key(tenant: &TenantId, event: EventId) -> DeliveryKey {
    DeliveryKey { tenant: tenant.clone(), event, endpoint: EndpointId::DEFAULT }
}

/// How a delivery is owed that has just been accepted.
pub(super) fn fresh(tenant: &TenantId, event: EventId, round: u32) -> Owed {
    Owed {
        key: delivery_key(tenant, event),
        round,
        attempts: 0,
        interrupted: 0,
        owed_as: OwedAs::Fresh,
        payload: None,
    }
}

/// How a delivery is owed after a [`settlement`] that resolved to a retry at `due`.
pub(super) fn waiting(before: &Owed, due: Timestamp) -> Owed {
    Owed { attempts: before.attempts + 1, owed_as: OwedAs::Timer(due), ..before.clone() }
}

pub(super) const DELIVERED: Resolution = Resolution::Delivered;
pub(super) const EXHAUSTED: Resolution =
    Resolution::DeadLettered { cause: DeadLetterCause::AttemptsExhausted };

pub(super) const fn retry_at(due: Timestamp) -> Resolution {
    Resolution::Retry { due }
}

/// An attempt that explains a resolution.
pub(super) fn attempt(number: u32, at: Timestamp, resolution: Resolution) -> Attempt {
    let class = ErrorClass::ServerError;
    let (verdict, status_code) = match resolution {
        Resolution::Delivered => (Verdict::Delivered, 200),
        Resolution::DeadLettered { cause: DeadLetterCause::Gone } => (Verdict::Gone, 410),
        Resolution::Retry { .. } | Resolution::DeadLettered { .. } => {
            (Verdict::Failed { class, retry_after_ms: None }, 503)
        }
    };
    let failed = verdict != Verdict::Delivered;
    Attempt {
        number,
        at,
        duration_ms: 17,
        status_code: Some(status_code),
        verdict,
        error: failed.then(|| format!("attempt {number} was answered {status_code}").into()),
        response: Bytes::from_static(b"said \xFF so"),
        phases: PhaseTimings::default(),
    }
}

/// The outcome of one attempt at a delivery.
pub(super) fn settlement(owed: &Owed, at: Timestamp, resolution: Resolution) -> Settlement {
    let attempts = owed.attempts + 1;
    Settlement {
        key: owed.key.clone(),
        round: owed.round,
        attempts,
        owed_as: owed.owed_as,
        interrupted: owed.interrupted,
        at,
        attempt: Some(attempt(attempts, at, resolution)),
        resolution,
    }
}

/// Steps that have to succeed for a check to make sense.
impl Fixture {
    /// An id that no other event of this check has.
    pub(super) fn new_id(&mut self, at: Timestamp) -> EventId {
        self.ids += 1;
        EventId::from_parts(at, self.ids)
    }

    /// An event that nobody has accepted yet; its payload names it.
    pub(super) fn new_event(&mut self, tenant: &TenantId, at: Timestamp) -> NewEvent {
        let id = self.new_id(at);
        let payload = payload_of(id);
        NewEvent { tenant: tenant.clone(), id, payload, idempotency: None }
    }

    pub(super) async fn create(&self, new: NewTenant) -> TenantId {
        let id = new.id.clone();
        let created = self.stores().tenants.create(new).await;
        assert!(matches!(created, Ok(Created::Created(_))), "{created:?}");
        id
    }

    pub(super) async fn tenant(&self, name: &str) -> TenantId {
        self.create(new_tenant(name)).await
    }

    pub(super) async fn tenant_of_shard(&self, name: &str, shard_key: u32) -> TenantId {
        self.create(NewTenant { shard_key, ..new_tenant(name) }).await
    }

    pub(super) async fn accept(&self, events: Vec<NewEvent>) -> Vec<Acceptance> {
        self.stores().events.accept(events).await.expect("accepting works")
    }

    /// An accepted event.
    pub(super) async fn post(&mut self, tenant: &TenantId, at: Timestamp) -> EventId {
        let event = self.new_event(tenant, at);
        let id = event.id;
        assert_eq!(self.accept(vec![event]).await, [Acceptance::Accepted(id)]);
        id
    }

    /// Accepted events, a millisecond apart, oldest first.
    pub(super) async fn posts(&mut self, tenant: &TenantId, count: u64) -> Vec<EventId> {
        let events: Vec<_> = (0..count).map(|n| self.new_event(tenant, after(n))).collect();
        let ids: Vec<_> = events.iter().map(|event| event.id).collect();
        let accepted: Vec<_> = ids.iter().copied().map(Acceptance::Accepted).collect();
        assert_eq!(self.accept(events).await, accepted);
        ids
    }

    pub(super) async fn settle_all(&self, settlements: Vec<Settlement>) -> Vec<Settled> {
        self.stores().journal.settle(settlements).await.expect("settling works")
    }

    pub(super) async fn settle(&self, settlement: Settlement) -> Settled {
        let answers = self.settle_all(vec![settlement]).await;
        assert_eq!(answers.len(), 1, "one answer for one settlement");
        answers[0]
    }

    /// An attempt at a delivery that is owed has come to this.
    pub(super) async fn resolve(&self, owed: &Owed, at: Timestamp, resolution: Resolution) {
        assert_eq!(self.settle(settlement(owed, at, resolution)).await, Settled::Settled);
    }

    /// Posts an event whose first attempt comes to `resolution` at `at`.
    pub(super) async fn post_resolved(
        &mut self,
        tenant: &TenantId,
        at: Timestamp,
        resolution: Resolution,
    ) -> EventId {
        let event = self.post(tenant, at).await;
        self.resolve(&fresh(tenant, event, 0), at, resolution).await;
        event
    }

    pub(super) async fn detail(
        &self,
        tenant: &TenantId,
        id: EventId,
        now: Timestamp,
    ) -> Option<EventDetail> {
        self.stores().events.event(tenant, id, now).await.expect("reading works")
    }

    pub(super) async fn status(
        &self,
        tenant: &TenantId,
        id: EventId,
        now: Timestamp,
    ) -> Option<EventStatus> {
        self.detail(tenant, id, now).await.map(|detail| detail.summary.status)
    }

    pub(super) async fn list(&self, tenant: &TenantId, query: ListQuery) -> EventPage {
        self.stores().events.list(tenant, query).await.expect("listing works")
    }

    pub(super) async fn backlog(
        &self,
        tenant: &TenantId,
        from: EventId,
        max: usize,
    ) -> (Vec<Owed>, bool) {
        let journal = &self.stores().journal;
        let read = journal.backlog(tenant, EndpointId::DEFAULT, from, max).await;
        let read = read.expect("reading a backlog works");
        (read.owed, read.exhausted)
    }

    pub(super) async fn timers(
        &self,
        from: TimerPosition,
        until: Timestamp,
        max: usize,
    ) -> TimerPage {
        let read = self.stores().journal.timers(ALL_SHARDS, from, until, max).await;
        read.expect("reading timers works")
    }

    /// Everything that a tenant's events owe, in id order; fails where something is owed twice.
    pub(super) async fn owed(&self, tenant: &TenantId) -> Vec<Owed> {
        let (mut owed, exhausted) = self.backlog(tenant, EventId::MIN, PLENTY).await;
        assert!(exhausted, "a backlog that was not cut is exhausted");
        let timers = self.timers(TimerPosition::START, Timestamp::MAX, PLENTY).await;
        assert_eq!(timers.next, None, "timers that were not cut are all");
        owed.extend(timers.owed.into_iter().filter(|owed| owed.key.tenant == *tenant));
        owed.sort_by(|a, b| a.key.cmp(&b.key));
        for pair in owed.windows(2) {
            assert_ne!(pair[0].key, pair[1].key, "a delivery is owed twice");
        }
        owed
    }

    pub(super) async fn dead(&self, scope: &Scope) -> Vec<DeadLetter> {
        let letters = self.stores().dead_letters.list(scope, PLENTY).await;
        letters.expect("looking into the DLQ works")
    }

    /// What was told since the last call.
    pub(super) fn heard(&self) -> Vec<Arrival> {
        self.sink().take()
    }

    pub(super) async fn sweep(&self, now: Timestamp) {
        sweep(self.stores(), now).await;
    }
}

/// Sweeps until nothing is left that has expired.
pub(super) async fn sweep(stores: &Stores, now: Timestamp) {
    for _ in 0..PLENTY {
        if stores.expiry.sweep(now, PLENTY).await.expect("sweeping works") == 0 {
            return;
        }
    }
    panic!("sweeping has no end");
}

/// The payload of an event that [`Fixture::new_event`] made.
pub(super) fn payload_of(id: EventId) -> Bytes {
    Bytes::from(format!("{{\"event\":\"{id}\"}}"))
}

//! Accepting events: answers, idempotency, and what is told to the sink.

use bytes::Bytes;
use posthaste_domain::{EventId, EventStatus, Owed, TenantId, Timestamp};

use super::Fixture;
use super::samples::{
    DAY, DELIVERED, PLENTY, START, after, claim, delivery_key, fresh, payload_of, tenant_id,
};
use crate::{Acceptance, Arrival, EventDetail, EventSummary, Idempotency, ListQuery, NewEvent};

use Acceptance::{Accepted, Conflict, Replayed, UnknownTenant};

impl Fixture {
    /// Accepts one event with a claim and says what came of it, and its own id.
    async fn claimed(
        &mut self,
        tenant: &TenantId,
        at: Timestamp,
        idempotency: Option<Idempotency>,
    ) -> (Acceptance, EventId) {
        let event = NewEvent { idempotency, ..self.new_event(tenant, at) };
        let id = event.id;
        let answers = self.accept(vec![event]).await;
        assert_eq!(answers.len(), 1, "one answer for one event");
        (answers[0], id)
    }

    async fn ids_of(&self, tenant: &TenantId) -> Vec<EventId> {
        let query = ListQuery { status: None, before: None, limit: 100, now: START };
        self.list(tenant, query).await.events.into_iter().map(|event| event.id).collect()
    }
}

pub(super) async fn an_accepted_event_is_pending_and_owed(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let id = f.post(&acme, START).await;
    f.later().await;
    let summary =
        EventSummary { id, status: EventStatus::Pending, attempts: 0, last_attempt_at: None };
    let payload = payload_of(id);
    let detail =
        EventDetail { summary, payload, error: None, next_attempt_at: None, log: Vec::new() };
    assert_eq!(f.detail(&acme, id, after(1)).await, Some(detail));
    assert_eq!(f.owed(&acme).await, [fresh(&acme, id, 0)]);
}

/// For all batches: the n-th answer is the n-th event's, whatever becomes of the others.
pub(super) async fn a_batch_is_answered_in_order(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let (_, first) = f.claimed(&acme, START, claim("key", "body")).await;
    let nobody = tenant_id("nobody");
    let new: Vec<_> = (0..4).map(|n| f.new_event(&acme, after(n))).collect();
    let [a, b, c, d] = [new[0].id, new[1].id, new[2].id, new[3].id];
    let unknown = f.new_event(&nobody, START);
    let mut batch = new.clone();
    batch[1].idempotency = claim("key", "body");
    batch[2].idempotency = claim("key", "other body");
    batch.insert(1, unknown);
    let answers = f.accept(batch).await;
    assert_eq!(answers, [Accepted(a), UnknownTenant, Replayed(first), Conflict, Accepted(d)]);
    f.later().await;
    for (id, stored) in [(a, true), (b, false), (c, false), (d, true)] {
        assert_eq!(f.detail(&acme, id, START).await.is_some(), stored, "{id}");
    }
    assert_eq!(f.accept(Vec::new()).await, []);
}

/// For all payloads, up to the largest that the API lets in and beyond: the same bytes.
pub(super) async fn a_payload_is_kept_byte_for_byte(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let every_byte: Vec<u8> = (0..=255).collect();
    let payloads = [
        Bytes::new(),
        Bytes::from_static(b"{\"b\": 1,\r\n \"a\":\t2.50, \"b\": 1e1 }\n"),
        Bytes::from(every_byte.repeat(3)),
        Bytes::from(every_byte.repeat(1_200)),
    ];
    let mut keys = Vec::new();
    for payload in payloads.clone() {
        let event = NewEvent { payload, ..f.new_event(&acme, START) };
        keys.push(delivery_key(&acme, event.id));
        f.accept(vec![event]).await;
    }
    f.later().await;
    for (key, payload) in keys.iter().zip(&payloads) {
        let detail = f.detail(&acme, key.event, START).await.expect("it was accepted");
        assert!(detail.payload == *payload, "{} bytes came back otherwise", payload.len());
    }
    let read = f.stores().journal.payloads(&keys).await.expect("reading works");
    assert!(read.into_iter().eq(payloads.into_iter().map(Some)), "payloads came back otherwise");
}

/// An event of nobody leaves no trace: no row, no claim, no word to the sink.
pub(super) async fn an_unknown_tenants_event_leaves_no_trace(f: &mut Fixture) {
    let nobody = tenant_id("acme");
    let (answer, id) = f.claimed(&nobody, START, claim("key", "body")).await;
    assert_eq!(answer, UnknownTenant);
    assert_eq!(f.heard(), []);
    f.later().await;
    let acme = f.tenant("acme").await;
    assert_eq!(f.detail(&acme, id, START).await, None);
    assert_eq!(f.owed(&acme).await, []);
    let (answer, id) = f.claimed(&acme, after(1), claim("key", "other body")).await;
    assert_eq!(answer, Accepted(id), "the refused event holds its key");
}

/// The same key and body: the first event is the answer, as often as it is asked for, even when
/// it is delivered.
pub(super) async fn the_same_key_and_body_is_one_event(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let (answer, first) = f.claimed(&acme, START, claim("key", "body")).await;
    assert_eq!(answer, Accepted(first));
    f.later().await;
    assert_eq!(f.claimed(&acme, after(1), claim("key", "body")).await.0, Replayed(first));
    f.resolve(&fresh(&acme, first, 0), after(2), DELIVERED).await;
    f.later().await;
    assert_eq!(f.claimed(&acme, after(3), claim("key", "body")).await.0, Replayed(first));
    assert_eq!(f.ids_of(&acme).await, [first]);
    assert_eq!(f.owed(&acme).await, []);
    assert_eq!(f.heard().len(), 1, "a replay is no arrival");
}

pub(super) async fn the_same_key_with_another_body_is_a_conflict(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let (_, first) = f.claimed(&acme, START, claim("key", "body")).await;
    f.later().await;
    for n in 1..=2 {
        assert_eq!(f.claimed(&acme, after(n), claim("key", "changed")).await.0, Conflict);
    }
    assert_eq!(f.claimed(&acme, after(3), claim("key", "body")).await.0, Replayed(first));
    assert_eq!(f.ids_of(&acme).await, [first]);
    assert_eq!(f.heard().len(), 1, "a conflict is no arrival");
}

/// Without a key, and with another key, the same body is another event.
pub(super) async fn only_a_key_makes_events_the_same(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    for (n, key) in [None, None, claim("one", "body"), claim("two", "body")].iter().enumerate() {
        let (answer, id) = f.claimed(&acme, after(n as u64), *key).await;
        assert_eq!(answer, Accepted(id), "event {n}");
    }
}

/// A claim holds through the last millisecond of its 24 hours; then the key begins anew, with
/// the new body and for 24 hours more.
pub(super) async fn a_claim_holds_for_24_hours(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let (_, first) = f.claimed(&acme, START, claim("key", "body")).await;
    f.later().await;
    let last = after(DAY - 1);
    assert_eq!(f.claimed(&acme, last, claim("key", "body")).await.0, Replayed(first));
    assert_eq!(f.claimed(&acme, last, claim("key", "changed")).await.0, Conflict);
    let (answer, second) = f.claimed(&acme, after(DAY), claim("key", "changed")).await;
    assert_eq!(answer, Accepted(second));
    f.later().await;
    let last = after(2 * DAY - 1);
    assert_eq!(f.claimed(&acme, last, claim("key", "changed")).await.0, Replayed(second));
    assert_eq!(f.claimed(&acme, last, claim("key", "body")).await.0, Conflict);
    let (answer, third) = f.claimed(&acme, after(2 * DAY), claim("key", "body")).await;
    assert_eq!(answer, Accepted(third));
}

/// For all pairs of tenants: neither can find out by a key what the other has sent.
pub(super) async fn a_claim_is_one_tenants_own(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let (_, first) = f.claimed(&acme, START, claim("key", "body")).await;
    f.later().await;
    for name in ["acme-", "acme-2", "acm"] {
        let other = f.tenant(name).await;
        let (answer, id) = f.claimed(&other, after(1), claim("key", "changed")).await;
        assert_eq!(answer, Accepted(id), "{name}");
    }
    assert_eq!(f.claimed(&acme, after(2), claim("key", "body")).await.0, Replayed(first));
}

/// A claim that is made inside a batch counts for the rest of the batch.
pub(super) async fn a_claim_counts_within_its_batch(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let globex = f.tenant("globex").await;
    let claims = [
        (&acme, claim("key", "body")),
        (&acme, claim("key", "body")),
        (&globex, claim("key", "body")),
        (&acme, claim("key", "changed")),
        (&acme, claim("key", "body")),
    ];
    let mut batch = Vec::new();
    for (tenant, idempotency) in claims {
        batch.push(NewEvent { idempotency, ..f.new_event(tenant, START) });
    }
    let (first, foreign) = (batch[0].id, batch[2].id);
    let answers = f.accept(batch).await;
    let expected = [Accepted(first), Replayed(first), Accepted(foreign), Conflict, Replayed(first)];
    assert_eq!(answers, expected);
    f.later().await;
    assert_eq!(f.ids_of(&acme).await, [first]);
    assert_eq!(f.heard().len(), 2, "one arrival for each event");
}

/// Event ids are a tenant's own: the same id under two tenants is two events.
pub(super) async fn an_id_is_one_tenants_own(f: &mut Fixture) {
    let (acme, globex) = (f.tenant("acme").await, f.tenant("globex").await);
    let mine = f.new_event(&acme, START);
    let (id, payload) = (mine.id, Bytes::from_static(b"{\"foreign\":true}"));
    let other = NewEvent { tenant: globex.clone(), payload: payload.clone(), ..mine.clone() };
    assert_eq!(f.accept(vec![mine, other]).await, [Accepted(id), Accepted(id)]);
    f.resolve(&fresh(&acme, id, 0), after(1), DELIVERED).await;
    f.later().await;
    assert_eq!(f.status(&acme, id, START).await, Some(EventStatus::Delivered));
    let detail = f.detail(&globex, id, START).await.expect("it was accepted");
    assert_eq!((detail.summary.status, detail.payload), (EventStatus::Pending, payload));
    assert_eq!(f.owed(&globex).await, [fresh(&globex, id, 0)]);
}

/// For all accepted events: when the call returns, the sink has heard of each once, with its
/// payload and its tenant's shard key.
pub(super) async fn the_sink_hears_of_each_accepted_event(f: &mut Fixture) {
    let acme = f.tenant_of_shard("acme", 3).await;
    let globex = f.tenant_of_shard("globex", 4_000_000_000).await;
    let owners = [(&acme, 3), (&globex, 4_000_000_000), (&acme, 3)];
    let mut expected = Vec::new();
    let mut batch = Vec::new();
    for (n, (tenant, shard_key)) in owners.into_iter().enumerate() {
        let event = f.new_event(tenant, after(n as u64));
        let owed = fresh(tenant, event.id, 0);
        let payload = Some(event.payload.clone());
        expected.push(Arrival { shard_key, owed: Owed { payload, ..owed } });
        batch.push(event);
    }
    f.accept(batch).await;
    assert_eq!(f.heard(), expected);
}

/// The API's largest batch, 500 events: each is there, in order, with its own payload.
pub(super) async fn a_large_batch_is_whole(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let ids = f.posts(&acme, 500).await;
    assert_eq!(f.heard().len(), 500);
    f.later().await;
    let (owed, exhausted) = f.backlog(&acme, EventId::MIN, PLENTY).await;
    assert!(exhausted);
    assert!(owed.iter().map(|owed| owed.key.event).eq(ids.iter().copied()));
    let keys: Vec<_> = ids.iter().map(|id| delivery_key(&acme, *id)).collect();
    let payloads = f.stores().journal.payloads(&keys).await.expect("reading works");
    assert!(payloads.into_iter().eq(ids.into_iter().map(|id| Some(payload_of(id)))));
}

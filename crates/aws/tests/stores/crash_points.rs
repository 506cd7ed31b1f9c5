//! The crash points of ingest (1 to 5) and of the requeue (30 to 34), by their numbers in the
//! protocol's table: whoever stops there loses nothing, and the next one goes on.

use std::sync::Arc;

use posthaste_domain::{
    DeadLetterCause, EventStatus, InstanceId, RowChange, RowKey, RowWrite, Timestamp,
};
use posthaste_ports::memory::{Fault, Faults, MemoryQueue, Operation};
use posthaste_ports::{
    Acceptance, DeadLetters as _, EventStore as _, ListQuery, NewEvent, PortError, Queue as _,
    Requeued, Retried, Rows as _, Scope, StoredEvent, Written,
};
use posthaste_protocol::{Answer, OnRequeue, Requeued as Which, after_requeue, requeue};

use crate::harness::{EVENTS, START, Stores, World, acme, client, shared};
use crate::proxy::{Cut, Proxy};

/// A payload that has a body item of its own.
const LARGE: &[u8] = &[b'x'; 3_000];
/// The calls of an accept with key and body, its tenant known: claim, body, row.
const CALLS: [&str; 3] = ["batchexecutestatement"; 3];

/// Somebody who is stopped somewhere, in front of the same tables and queue.
async fn stopped(world: &World, cut: Cut) -> (Stores, Proxy) {
    let proxy = Proxy::start(&world.dynamo.url, Cut::Never).await;
    let stores = Stores::new(&client(&proxy.url).await, &shared(&world.queue));
    // It knows its tenant: what is counted from here on are the calls of accepting.
    let probe = NewEvent {
        tenant: acme(),
        id: posthaste_domain::EventId::from_parts(START, u128::from(u64::MAX)),
        payload: "{}".into(),
        idempotency: None,
    };
    let probed = stores.events.accept(vec![probe.clone()]).await;
    assert_eq!(probed, Ok(vec![Acceptance::Accepted(probe.id)]));
    empty(&world.queue).await;
    proxy.set(cut);
    (stores, proxy)
}

async fn empty(queue: &MemoryQueue) {
    while !queue.is_empty() {
        let received = queue.receive(10, 0).await.unwrap();
        queue.delete(received.into_iter().map(|message| message.receipt).collect()).await;
    }
}

fn same(event: &NewEvent, id: u128) -> NewEvent {
    let id = posthaste_domain::EventId::from_parts(START.plus_millis(9), id);
    NewEvent { id, ..event.clone() }
}

async fn stored(world: &World, event: &NewEvent) -> Option<StoredEvent> {
    let key = RowKey { tenant: event.tenant.clone(), event: event.id };
    world.stores.rows.read(&[key]).await.unwrap().remove(0)
}

/// The first call came to nothing; the client's retry, through somebody else, gets the first
/// event, whole and with a message, and there is no other.
async fn is_resumed(world: &mut World, event: &NewEvent, again: bool) {
    let retry = same(event, 77);
    let answer = world.stores.events.accept(vec![retry]).await;
    assert_eq!(answer, Ok(vec![Acceptance::Replayed(event.id)]));
    let stored = stored(world, event).await.expect("it was accepted");
    assert_eq!(stored.payload.as_ref(), Some(&event.payload));
    assert_eq!(stored.row.status, EventStatus::Pending);
    let messages = world.messages();
    assert!(messages.iter().all(|message| message.key.event == event.id), "{messages:?}");
    let last = messages.last().expect("a message says that it is owed");
    assert_eq!((last.round, last.again), (Some(0), again));
    // One row of this event and one of the probe, whatever else there is.
    assert_eq!(world.dynamo.row_keys().len(), 2);
}

#[tokio::test]
async fn an_accept_is_claim_body_row_and_message() {
    let mut world = World::start().await;
    let (stores, proxy) = stopped(&world, Cut::Never).await;
    let event = world.event_with_key(1, LARGE);
    let answer = stores.events.accept(vec![event.clone()]).await;
    assert_eq!(answer, Ok(vec![Acceptance::Accepted(event.id)]));
    assert_eq!(proxy.calls(), CALLS);
    let message = &world.messages()[0];
    assert_eq!((message.again, message.payload.as_deref()), (false, Some(LARGE)));
}

/// 1: the body is there, the row is not. The client's retry goes on; without one, the body
/// expires by its own `ttl`.
#[tokio::test]
async fn crash_point_01_body_put_before_row() {
    for cut in [Cut::After(1), Cut::Before(2), Cut::After(2), Cut::Before(3)] {
        let mut world = World::start().await;
        let (stores, _proxy) = stopped(&world, cut).await;
        let event = world.event_with_key(1, LARGE);
        let answer = stores.events.accept(vec![event.clone()]).await;
        assert!(matches!(answer, Err(PortError::Transient(_))), "{cut:?}: {answer:?}");
        assert_eq!((stored(&world, &event).await, world.messages().len()), (None, 0), "{cut:?}");
        let keys = world.dynamo.sort_keys();
        let body = keys.iter().find(|key| key.starts_with("body#"));
        assert_eq!(body.is_some(), matches!(cut, Cut::After(2) | Cut::Before(3)), "{cut:?}");
        if let Some(body) = body {
            let key = serde_json::json!({ "tenantId": { "S": "acme" }, "eventId": { "S": body } });
            let item = world.dynamo.item(EVENTS, &key).unwrap();
            assert!(item["ttl"]["N"].is_string(), "nobody would remove it: {item}");
        }
        is_resumed(&mut world, &event, false).await;
    }
}

/// 2: the row is there, its reply is not: the SDK sends it again and finds its own row. The same
/// for the claim and the body.
#[tokio::test]
async fn crash_point_02_row_put_reply_lost() {
    for call in 1..=CALLS.len() {
        let mut world = World::start().await;
        let (stores, proxy) = stopped(&world, Cut::Reply(call)).await;
        let event = world.event_with_key(1, LARGE);
        let answer = stores.events.accept(vec![event.clone()]).await;
        assert_eq!(answer, Ok(vec![Acceptance::Accepted(event.id)]), "call {call}");
        assert!(proxy.calls().len() > CALLS.len(), "nothing was sent again");
        let messages = world.messages();
        assert_eq!(messages.len(), 1, "call {call}");
        // It cannot be told from a row that somebody else put: the reader looks at the row.
        assert_eq!(messages[0].again, call == 3, "call {call}");
    }
}

/// 3: the row is there, the message is not, and nothing was promised. The retry sends it.
#[tokio::test]
async fn crash_point_03_row_put_before_send() {
    let mut world = World::start().await;
    let (stores, _proxy) = stopped(&world, Cut::After(3)).await;
    let event = world.event_with_key(1, LARGE);
    let answer = stores.events.accept(vec![event.clone()]).await;
    assert!(matches!(answer, Err(PortError::Transient(_))), "{answer:?}");
    assert!(stored(&world, &event).await.is_some());
    assert!(world.messages().is_empty());
    is_resumed(&mut world, &event, true).await;
    assert_eq!(world.messages().len(), 1);
}

/// Says the same of every send.
#[derive(Debug)]
struct Sends(Fault);

impl Faults for Sends {
    fn fault(&self, operation: Operation) -> Fault {
        if operation == Operation::Send { self.0 } else { Fault::None }
    }
}

fn faulty_queue(fault: Fault) -> MemoryQueue {
    MemoryQueue::with_faults(Arc::new(|| START), 180_000, Arc::new(Sends(fault)))
}

async fn stores_with(world: &World, queue: &MemoryQueue) -> Stores {
    Stores::new(&world.dynamo.client().await, &shared(queue))
}

/// 4: whether the message was sent is not known, or it was sent twice. The retry's message says
/// that it comes again, so that whoever receives it looks at the row.
#[tokio::test]
async fn crash_point_04_send_unknown_or_twice() {
    for fault in [Fault::Before, Fault::After, Fault::Twice] {
        let mut world = World::start().await;
        let queue = faulty_queue(fault);
        let event = world.event_with_key(1, b"{}");
        let answer = stores_with(&world, &queue).await.events.accept(vec![event.clone()]).await;
        assert_eq!(answer.is_ok(), fault == Fault::Twice, "{answer:?}");
        let retried = world.stores.events.accept(vec![same(&event, 77)]).await;
        assert_eq!(retried, Ok(vec![Acceptance::Replayed(event.id)]));
        assert!(world.messages()[0].again, "{fault:?}");
        assert_eq!(world.dynamo.row_keys().len(), 1);
    }
}

/// 5: sent, and the 201 is lost: with a key the same event, without one another.
#[tokio::test]
async fn crash_point_05_send_before_the_201() {
    let mut world = World::start().await;
    let event = world.event_with_key(1, b"{}");
    let first = world.stores.events.accept(vec![event.clone()]).await;
    assert_eq!(first, Ok(vec![Acceptance::Accepted(event.id)]));
    let second = world.stores.events.accept(vec![same(&event, 77)]).await;
    assert_eq!(second, Ok(vec![Acceptance::Replayed(event.id)]));
    assert_eq!(world.dynamo.row_keys().len(), 1);
    let again: Vec<_> = world.messages().iter().map(|message| message.again).collect();
    assert_eq!(again, [false, true]);
    // Delivered, failed or requeued meanwhile: nobody needs another message.
    let key = RowKey { tenant: acme(), event: event.id };
    fail(&world, &key, None).await;
    let third = world.stores.events.accept(vec![same(&event, 78)]).await;
    assert_eq!(third, Ok(vec![Acceptance::Replayed(event.id)]));
    let change = RowChange::Deliver { attempts: 2, at: START, attempt: None };
    write(&world, &key, 0, change).await;
    let fourth = world.stores.events.accept(vec![same(&event, 79)]).await;
    assert_eq!(fourth, Ok(vec![Acceptance::Replayed(event.id)]));
    assert_eq!(world.messages().len(), 2);
    let without = world.event(START, b"{}");
    let answer = world.stores.events.accept(vec![without.clone()]).await;
    assert_eq!(answer, Ok(vec![Acceptance::Accepted(without.id)]));
}

/// For all events of a batch: one that cannot be sent is its own fault and nobody else's.
#[tokio::test]
async fn a_batch_is_accepted_one_by_one() {
    #[derive(Debug, Default)]
    struct EveryThird(std::sync::atomic::AtomicUsize);
    impl Faults for EveryThird {
        fn fault(&self, operation: Operation) -> Fault {
            if operation != Operation::Send {
                return Fault::None;
            }
            let number = self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            // Nor are those sent that are tried again in the same call.
            if number >= 60 || number % 3 == 2 { Fault::Before } else { Fault::None }
        }
    }
    let mut world = World::start().await;
    let faults = Arc::new(EveryThird::default());
    let queue = MemoryQueue::with_faults(Arc::new(|| START), 180_000, faults);
    let stores = stores_with(&world, &queue).await;
    let events: Vec<_> = (0..60).map(|n| world.event_with_key(n, b"{}")).collect();
    let answers = stores.events.accept_each(events.clone()).await.unwrap();
    for (n, (answer, event)) in answers.iter().zip(&events).enumerate() {
        if n % 3 == 2 {
            assert!(answer.is_err(), "{n}");
        } else {
            assert_eq!(*answer, Ok(Acceptance::Accepted(event.id)), "{n}");
        }
    }
    assert_eq!(queue.len(), 40);
    // The retry accepts the rest.
    let retried = world.stores.events.accept(events.clone()).await.unwrap();
    let own = events.iter().map(|event| Acceptance::Accepted(event.id));
    assert!(retried.into_iter().eq(own), "the same ids make the same answers");
}

async fn write(world: &World, key: &RowKey, round: u32, change: RowChange) {
    let write = RowWrite { key: key.clone(), round, change };
    assert_eq!(world.stores.rows.write(vec![write]).await, [Ok(Written::Done)]);
}

fn instance() -> InstanceId {
    InstanceId::try_new("a-daemon").unwrap()
}

async fn fail(world: &World, key: &RowKey, cause: Option<DeadLetterCause>) {
    let change = RowChange::Fail {
        attempts: 1,
        attempts_seen: 0,
        interrupted: 0,
        owner: instance(),
        epoch_seen: 0,
        next_attempt_at: START.plus_millis(60_000),
        until: START.plus_millis(240_000),
        cause,
        at: START,
        attempt: None,
    };
    write(world, key, 0, change).await;
}

/// An accepted event that has died, its messages gone.
async fn dead(world: &mut World) -> RowKey {
    let key = dying(world).await;
    let change = RowChange::Die { owner: instance(), epoch: 1, attempts: 1, at: START };
    write(world, &key, 0, change).await;
    key
}

/// A dead row that makes no sense, older than a good one: lists and requeues go round it, for its
/// tenant and for everybody.
#[tokio::test]
async fn a_dead_row_that_makes_no_sense_is_passed_over() {
    let mut world = World::start().await;
    let (spoilt, good) = (dead(&mut world).await, dead(&mut world).await);
    let mut items = world.dynamo.items(EVENTS);
    let is_it = |item: &&mut serde_json::Value| item["eventId"]["S"] == spoilt.event.to_string();
    let item = items.iter_mut().find(is_it).unwrap();
    item["attempts"]["N"] = "-1".into();
    world.dynamo.put(EVENTS, item);
    let (stores, tenant) = (&world.stores, Scope::Tenant(acme()));
    for scope in [&tenant, &Scope::All] {
        let listed = stores.dead_letters.list(scope, 10).await.unwrap();
        assert_eq!(listed.iter().map(|it| it.event).collect::<Vec<_>>(), [good.event]);
    }
    let query = ListQuery { status: None, before: None, limit: 10, now: START };
    let page = stores.events.list(&acme(), query).await.unwrap();
    assert_eq!(page.events.iter().map(|it| it.id).collect::<Vec<_>>(), [good.event]);
    let done = stores.dead_letters.requeue(&Scope::All, 10, 10, START).await;
    assert_eq!(done, Ok(Requeued { requeued: 1, failed: 0 }));
}

/// The same before its owner has marked the row.
async fn dying(world: &mut World) -> RowKey {
    let event = world.event(START, b"{}");
    world.stores.events.accept(vec![event.clone()]).await.unwrap();
    empty(&world.queue).await;
    let key = RowKey { tenant: acme(), event: event.id };
    fail(world, &key, Some(DeadLetterCause::AttemptsExhausted)).await;
    key
}

async fn row(world: &World, key: &RowKey) -> posthaste_domain::Row {
    let stored = world.stores.rows.read(std::slice::from_ref(key)).await.unwrap().remove(0);
    stored.expect("the row is there").row
}

/// What a requeue that began with a DLQ message of round 0 makes of it now.
async fn on_message(world: &World, key: &RowKey) -> OnRequeue {
    let write = requeue(key, 0, Which::Dead, START.plus_millis(5));
    let answer = world.stores.rows.write(vec![write]).await.remove(0).unwrap();
    match answer {
        Written::Done => after_requeue(0, Answer::Done),
        Written::Refused(row) => after_requeue(0, Answer::Refused(row.as_ref())),
    }
}

/// 30: whoever reads the DLQ's message and dies has changed nothing: the API's view is the rows.
#[tokio::test]
async fn crash_point_30_requeue_read_a_message_and_died() {
    let mut world = World::start().await;
    let key = dead(&mut world).await;
    let proxy = Proxy::start(&world.dynamo.url, Cut::Never).await;
    let stores = Stores::new(&client(&proxy.url).await, &shared(&world.queue));
    // Killed before the write: the index and the row were read by then.
    proxy.set(Cut::Before(3));
    let done = stores.dead_letters.requeue(&Scope::Tenant(acme()), 10, 10, START).await;
    assert!(matches!(done, Err(PortError::Transient(_))), "{done:?}");
    assert_eq!(row(&world, &key).await.status, EventStatus::Dlq);
    let done = world.stores.dead_letters.requeue(&Scope::All, 10, 10, START).await;
    assert_eq!(done, Ok(Requeued { requeued: 1, failed: 0 }));
}

/// 31: a message whose row is not DLQ yet is left alone, and so is the row.
#[tokio::test]
async fn crash_point_31_requeue_sees_a_message_before_the_row_is_dlq() {
    let mut world = World::start().await;
    let key = dying(&mut world).await;
    assert_eq!(on_message(&world, &key).await, OnRequeue::LeaveMessage);
    let done = world.stores.dead_letters.requeue(&Scope::All, 10, 10, START).await;
    assert_eq!(done, Ok(Requeued { requeued: 0, failed: 0 }));
    let row = row(&world, &key).await;
    assert_eq!((row.status, row.round), (EventStatus::Failed, 0));
}

/// 32: the row is in the new round and its message cannot be sent: the fresh round has begun, and
/// the work index holds it for the sweep.
#[tokio::test]
async fn crash_point_32_row_in_the_new_round_send_missing() {
    let mut world = World::start().await;
    let keys = [dead(&mut world).await, dead(&mut world).await];
    let queue = faulty_queue(Fault::Before);
    let stores = stores_with(&world, &queue).await;
    let scope = Scope::Tenant(acme());
    let done = stores.dead_letters.requeue(&scope, 1, 1, START).await;
    assert_eq!(done, Ok(Requeued { requeued: 1, failed: 0 }));
    let retried = stores.events.retry(&acme(), keys[1].event, START).await;
    assert_eq!(retried, Ok(Retried::Requeued));
    assert!(queue.is_empty());
    let mut owed = Vec::new();
    for partition in 0..posthaste_ports::WORK_PARTITIONS {
        owed.extend(world.stores.rows.owed(partition, Timestamp::MAX, 10).await.unwrap());
    }
    owed.sort_unstable();
    assert_eq!(owed, keys);
    for key in &keys {
        let row = row(&world, key).await;
        assert_eq!((row.status, row.round, row.attempts), (EventStatus::Pending, 1, 0));
    }
}

/// 32: the fresh round has begun, and the reply that says so is lost, once or every time: whoever
/// asked is told that it has begun, and its message is sent.
#[tokio::test]
async fn crash_point_32_requeued_reply_lost() {
    let write = "batchexecutestatement";
    for cut in [Cut::Reply(4), Cut::RepliesTo(write)] {
        let mut world = World::start().await;
        let keys = [dead(&mut world).await, dead(&mut world).await];
        let proxy = Proxy::start(&world.dynamo.url, Cut::Never).await;
        let stores = Stores::new(&client(&proxy.url).await, &shared(&world.queue));
        proxy.set(cut);
        let done = stores.dead_letters.requeue(&Scope::Tenant(acme()), 1, 1, START).await;
        assert_eq!(done, Ok(Requeued { requeued: 1, failed: 0 }), "{cut:?}");
        assert!(proxy.calls().iter().filter(|call| *call == write).count() > 1, "none was lost");
        proxy.set(Cut::RepliesTo(write));
        let retried = stores.events.retry(&acme(), keys[1].event, START).await;
        assert_eq!(retried, Ok(Retried::Requeued), "{cut:?}");
        let messages = world.messages();
        let sent: Vec<_> = messages.iter().map(|it| (it.key.clone(), it.round)).collect();
        assert_eq!(sent, keys.map(|key| (key, Some(1))), "{cut:?}");
    }
}

/// 33: sent, and the DLQ's message is still there: its round is over, so it is deleted, and no
/// row ever dies of it.
#[tokio::test]
async fn crash_point_33_sent_dlq_delete_missing() {
    let mut world = World::start().await;
    let key = dead(&mut world).await;
    let done = world.stores.dead_letters.requeue(&Scope::All, 10, 10, START).await;
    assert_eq!(done, Ok(Requeued { requeued: 1, failed: 0 }));
    let messages = world.messages();
    assert_eq!((messages.len(), messages[0].round), (1, Some(1)));
    assert_eq!(on_message(&world, &key).await, OnRequeue::DeleteMessage);
    let row = row(&world, &key).await;
    assert_eq!((row.status, row.round), (EventStatus::Pending, 1));
}

/// 34: expiry has removed the row: the message says nothing any more, and no write brings the row
/// back.
#[tokio::test]
async fn crash_point_34_ttl_removed_the_row() {
    let mut world = World::start().await;
    let key = dead(&mut world).await;
    let event = key.event.to_string();
    let gone = serde_json::json!({ "tenantId": { "S": "acme" }, "eventId": { "S": event } });
    world.dynamo.remove(EVENTS, &gone);
    assert_eq!(on_message(&world, &key).await, OnRequeue::DeleteMessage);
    let done = world.stores.dead_letters.requeue(&Scope::All, 10, 10, START).await;
    assert_eq!(done, Ok(Requeued::default()));
    let retried = world.stores.events.retry(&acme(), key.event, START).await;
    assert_eq!(retried, Ok(Retried::NotFound));
    assert_eq!(world.stores.dead_letters.purge(&Scope::All, START).await, Ok(0));
    assert!(world.dynamo.row_keys().is_empty());
}

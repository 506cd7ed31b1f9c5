//! What is wrong outside of us: tables that are missing, keys that are refused, clocks that are
//! off, payloads beyond a limit. Each is a typed error with one line that says what to do, or no
//! error at all.

use std::collections::BTreeMap;

use posthaste_aws::{DynamoRows, Names, Settings};
use posthaste_domain::{EventId, EventStatus, RowChange, RowKey, RowWrite};
use posthaste_ports::{
    Acceptance, DeadLetters as _, EventStore as _, ListQuery, PortError, Rows as _, Scope,
    TenantStore as _, Written,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::harness::{EVENTS, START, Stores, World, acme, client, client_with, new_tenant, shared};

/// Everything that the API asks, with the error of each; panics where one succeeds.
async fn errors(world: &mut World, stores: &Stores) -> BTreeMap<&'static str, PortError> {
    let event = world.event_with_key(3, b"{}");
    let id = event.id;
    let query = |status| ListQuery { status, before: None, limit: 10, now: START };
    let tenants = &stores.tenants;
    let (events, dead) = (&stores.events, &stores.dead_letters);
    let failed = Some(EventStatus::Failed);
    BTreeMap::from([
        ("create", tenants.create(new_tenant("globex")).await.map(drop).unwrap_err()),
        ("tenant", tenants.tenant(&acme()).await.map(drop).unwrap_err()),
        ("identity", tenants.identity(&new_tenant("acme").key).await.map(drop).unwrap_err()),
        ("keys", tenants.keys(&acme()).await.map(drop).unwrap_err()),
        ("accept", events.accept(vec![event]).await.map(drop).unwrap_err()),
        ("event", events.event(&acme(), id, START).await.map(drop).unwrap_err()),
        ("list", events.list(&acme(), query(None)).await.map(drop).unwrap_err()),
        ("list failed", events.list(&acme(), query(failed)).await.map(drop).unwrap_err()),
        ("retry", events.retry(&acme(), id, START).await.map(drop).unwrap_err()),
        ("dead", dead.list(&Scope::All, 10).await.map(drop).unwrap_err()),
        ("purge", dead.purge(&Scope::All, START).await.map(drop).unwrap_err()),
        ("requeue", dead.requeue(&Scope::All, 1, 1, START).await.map(drop).unwrap_err()),
    ])
}

fn lines(errors: BTreeMap<&'static str, PortError>, is: fn(&PortError) -> bool) -> Vec<String> {
    for (what, error) in &errors {
        assert!(is(error), "{what}: {error:?}");
    }
    errors.into_values().map(|error| error.to_string()).collect()
}

fn is_permanent(error: &PortError) -> bool {
    matches!(error, PortError::Permanent(_))
}

fn is_transient(error: &PortError) -> bool {
    matches!(error, PortError::Transient(_))
}

#[tokio::test]
async fn a_missing_table_is_named() {
    let mut world = World::start().await;
    let names = |settings| Settings { names: Names::with_prefix("elsewhere"), ..settings };
    let client = client_with(&world.dynamo.url, names).await;
    let stores = Stores::new(&client, &shared(&world.queue));
    for line in lines(errors(&mut world, &stores).await, is_permanent) {
        assert!(line.contains("table elsewhere-"), "{line}");
        assert!(line.contains("in region eu-west-1 does not exist"), "{line}");
    }
}

/// A server that answers every call with one error, as AWS words it.
async fn refusing(status: &'static str, code: &'static str) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let body = format!(r#"{{"__type":"com.amazon.coral.service#{code}","message":"no"}}"#);
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/x-amz-json-1.0\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut server = JoinSet::new();
    server.spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut request = vec![0; 64 * 1024];
            let read = connection.read(&mut request).await;
            let written = connection.write_all(answer.as_bytes()).await;
            assert!(read.is_ok() && written.is_ok(), "the client waits for its answer");
        }
    });
    (url, server)
}

#[tokio::test]
async fn a_refusal_says_what_to_do() {
    for (status, code, is, says) in [
        (
            "400 Bad Request",
            "AccessDeniedException",
            is_permanent as fn(&PortError) -> bool,
            "allow this action in the role's policy",
        ),
        ("400 Bad Request", "ExpiredTokenException", is_transient, "credentials have expired"),
        // What a region answers that does not know the account's keys.
        (
            "400 Bad Request",
            "UnrecognizedClientException",
            is_permanent,
            "credentials are not valid",
        ),
    ] {
        let mut world = World::start().await;
        let (url, _server) = refusing(status, code).await;
        let stores = Stores::new(&client(&url).await, &shared(&world.queue));
        for line in lines(errors(&mut world, &stores).await, is) {
            assert!(line.contains(says), "{code}: {line}");
        }
    }
}

/// Another region is another set of tables: the line names the region.
#[tokio::test]
async fn a_wrong_region_is_named() {
    let mut world = World::start().await;
    let (url, _server) = refusing("400 Bad Request", "ResourceNotFoundException").await;
    let there = |settings| Settings { region: Some("us-west-2".to_owned()), ..settings };
    let stores = Stores::new(&client_with(&url, there).await, &shared(&world.queue));
    for line in lines(errors(&mut world, &stores).await, is_permanent) {
        assert!(line.contains("in region us-west-2 does not exist"), "{line}");
    }
}

/// A payload over the queue's limit, or with what a queue refuses, travels by reference; so does
/// one that is no text.
#[tokio::test]
async fn a_payload_that_a_queue_does_not_take_travels_by_reference() {
    let mut world = World::start().await;
    let quoted = vec![b'"'; 140_000];
    let large = vec![b'x'; 300_000];
    for payload in [&large[..], &quoted, "{\"a\":\"\u{ffff}\"}".as_bytes(), b"\xFF\xFE"] {
        let event = world.event(START, payload);
        let answer = world.stores.events.accept(vec![event.clone()]).await;
        assert_eq!(answer, Ok(vec![Acceptance::Accepted(event.id)]));
        let message = world.messages().pop().expect("it was sent");
        assert_eq!((message.key.event, message.payload), (event.id, None));
        let detail = world.stores.events.event(&acme(), event.id, START).await.unwrap();
        assert!(detail.expect("it was accepted").payload == payload);
    }
}

/// An instance whose clock is an hour off, either way, still finds what the others claimed, and
/// they find what it claimed; nothing is accepted twice.
#[tokio::test]
async fn a_clock_that_is_off_by_an_hour_repeats_nothing() {
    const HOUR_MS: u64 = 60 * 60 * 1000;
    let noon = START.plus_millis(12 * HOUR_MS);
    for (first, second) in [
        (noon, noon.plus_millis(HOUR_MS)),
        (noon.plus_millis(HOUR_MS), noon),
        (noon, noon.plus_millis(23 * HOUR_MS)),
    ] {
        let mut world = World::start().await;
        let event = |world: &mut World, at| {
            let idempotency = world.event_with_key(1, b"{}").idempotency;
            posthaste_ports::NewEvent { idempotency, ..world.event(at, b"{}") }
        };
        let one = event(&mut world, first);
        let other = event(&mut world, second);
        let answer = world.stores.events.accept(vec![one.clone()]).await;
        assert_eq!(answer, Ok(vec![Acceptance::Accepted(one.id)]));
        let answer = world.stores.events.accept(vec![other]).await;
        assert_eq!(answer, Ok(vec![Acceptance::Replayed(one.id)]));
        assert_eq!(world.dynamo.row_keys().len(), 1);
        // The table's own clock clears the claim away a day later than it ends.
        let claims = world.dynamo.items(EVENTS);
        let claim = claims.iter().find(|item| item.get("claimant").is_some()).unwrap();
        let ttl: u64 = claim["ttl"]["N"].as_str().unwrap().parse().unwrap();
        assert!(ttl >= first.as_secs() + 47 * 60 * 60);
    }
}

/// By the `Date` of its answers, whatever they say.
#[tokio::test]
async fn a_table_that_has_answered_tells_the_time() {
    let world = World::start().await;
    let elsewhere = |settings| Settings { names: Names::with_prefix("elsewhere"), ..settings };
    for client in [client(&world.dynamo.url).await, client_with(&world.dynamo.url, elsewhere).await]
    {
        assert_eq!(client.table_time(START), None);
        drop(DynamoRows::new(&client).read(&[]).await);
        assert_eq!(client.table_time(START), None, "nothing was asked");
        let key = RowKey { tenant: acme(), event: EventId::MIN };
        drop(DynamoRows::new(&client).read(std::slice::from_ref(&key)).await);
        assert_eq!(client.table_time(START), None, "one answer alone may be wrong");
        drop(DynamoRows::new(&client).read(&[key]).await);
        let told = client.table_time(START).unwrap();
        assert!(told != START && told.as_millis() > 1_700_000_000_000, "{told}");
    }
}

/// One row that makes no sense is told by itself, to readers and to writers; the others with it are
/// read and written. What refuses the whole call is no row's fault, so a writer is to come again.
#[tokio::test]
async fn a_row_that_makes_no_sense_is_one_row() {
    let mut world = World::start().await;
    let events = [world.event(START, b"{}"), world.event(START, b"{}")];
    world.stores.events.accept(events.to_vec()).await.unwrap();
    let keys = events.map(|event| RowKey { tenant: event.tenant, event: event.id });
    let spoilt = keys[0].event.to_string();
    let mut items = world.dynamo.items(EVENTS);
    let item = items.iter_mut().find(|item| item["eventId"]["S"] == spoilt).unwrap();
    item["status"]["S"] = "NONSENSE".into();
    world.dynamo.put(EVENTS, item);

    let rows = &world.stores.rows;
    let read = rows.read_each(&keys).await.unwrap();
    let Err(PortError::Permanent(line)) = &read[0] else { panic!("{:?}", read[0]) };
    assert!(line.contains("NONSENSE") && line.contains(&spoilt), "{line}");
    assert!(matches!(&read[1], Ok(Some(stored)) if stored.row.status == EventStatus::Pending));
    assert!(matches!(rows.read(&keys).await, Err(PortError::Permanent(_))));

    let deliver = |key: &RowKey| RowWrite {
        key: key.clone(),
        round: 0,
        change: RowChange::Deliver { attempts: 1, at: START, attempt: None },
    };
    let writes: Vec<RowWrite> = keys.iter().map(deliver).collect();
    let written = rows.write(writes.clone()).await;
    let [Err(PortError::Permanent(line)), Ok(Written::Done)] = &written[..] else {
        panic!("{written:?}");
    };
    assert!(line.contains("NONSENSE"), "{line}");

    let (url, _server) = refusing("400 Bad Request", "AccessDeniedException").await;
    let denied = Stores::new(&client(&url).await, &shared(&world.queue));
    for written in denied.rows.write(writes).await {
        let Err(PortError::Transient(line)) = written else { panic!("{written:?}") };
        assert!(line.contains("access denied"), "{line}");
    }
}

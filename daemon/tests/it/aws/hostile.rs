//! Whatever stands in a message or in a row: it stops nobody, is delivered to nobody, and the
//! process lives. (Promise 15, docs/SEMANTICS.md.)

use posthaste_domain::EventStatus;
use posthaste_ports::{Outgoing, Queue as _};

use super::world::{Node, World, figure};
use crate::support::eventually;
use crate::support::sink::Sink;

/// An event of nobody.
const NO_EVENT: &str = "evt_00000000000000000000000000";

/// Bodies that no event belongs to; all of them are put aside.
fn garbage(known: &str) -> Vec<String> {
    let of = |tenant: &str| format!(r#"{{"tenantId":{tenant},"eventId":"{known}"}}"#);
    let with = |more: &str| format!(r#"{{"tenantId":"acme","eventId":"{known}",{more}}}"#);
    let mut bodies = vec![
        "not JSON".to_owned(),
        "null".to_owned(),
        "17".to_owned(),
        "{}".to_owned(),
        "[]".to_owned(),
        format!("[{}]", of("\"acme\"")),
        format!(r#"{{"eventId":"{known}"}}"#),
        r#"{"tenantId":"acme"}"#.to_owned(),
        r#"{"tenantId":"acme","eventId":"evt_1"}"#.to_owned(),
        r#"{"tenantId":"acme","eventId":"body#evt_1"}"#.to_owned(),
        format!(r#"{{"tenantId":"acme","eventId":"{}"}}"#, known.to_lowercase()),
        format!(r#"{{"tenantId":"acme","eventId":"{NO_EVENT}"}}"#),
        format!(r#"{{"tenantId":"nobody","eventId":"{NO_EVENT}"}}"#),
        format!("{} {{}}", of("\"acme\"")),
        "[".repeat(100_000),
        r#"{"a":"#.repeat(20_000),
        format!(r#"{{"tenantId":"acme","tenantId":"acme","eventId":"{known}"}}"#),
    ];
    let long = format!("\"{}\"", "a".repeat(200_000));
    for tenant in [
        "1",
        "null",
        "[]",
        r#""""#,
        r#""ACME""#,
        r#""ac|me""#,
        r#""acme\u0000""#,
        r#""__GLOBAL_CONFIG__""#,
        r#""../acme""#,
        r#""\ud800""#,
        &long,
    ] {
        bodies.push(of(tenant));
    }
    for more in [
        r#""gen":-1"#,
        r#""gen":18446744073709551616"#,
        r#""gen":1.5"#,
        r#""gen":"0""#,
        r#""payload":7"#,
        r#""payload":{"a":1}"#,
        r#""createdAt":-1"#,
        r#""createdAt":"now""#,
        r#""again":"yes""#,
    ] {
        bodies.push(with(more));
    }
    bodies
}

/// Messages of an event that is delivered already; all of them go without an attempt.
fn stale(known: &str) -> Vec<String> {
    let with = |more: &str| format!(r#"{{"tenantId":"acme","eventId":"{known}"{more}}}"#);
    let mut bodies = vec![
        // The form of older senders, and what a later version may add.
        with(""),
        with(r#","gen":0,"version":99,"unknown":{"a":[1]}"#),
        with(r#","gen":0,"again":true"#),
        with(r#","createdAt":18446744073709551615"#),
        with(r#","createdAt":0"#),
    ];
    bodies.extend((0..10).map(|_| with(r#","gen":0"#)));
    bodies
}

/// For all bodies that are no message, messages of events that are over, and rows that are not
/// whole: put aside or deleted without an attempt, while good events among them arrive once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_stands_in_a_message_stops_nobody() {
    let sink = Sink::healthy().await;
    let world = World::with_acme(&sink.url("hook")).await;
    let node = Node::new(&world).await;
    let daemon = node.start().await;
    let over = world.accept().await;
    world.until_settled(&over, EventStatus::Delivered).await;

    let known = over.event.to_string();
    let (garbage, stale) = (garbage(&known), stale(&known));
    let queue = posthaste_aws::SqsQueue::main(&world.client);
    let mut good = Vec::new();
    for bodies in garbage.chunks(4).chain(stale.chunks(4)) {
        good.push(world.accept().await);
        let outgoing = |body: &String| Outgoing { body: body.clone().into(), group: "acme".into() };
        for sent in queue.send(bodies.iter().map(outgoing).collect()).await {
            sent.expect("AWS takes it");
        }
    }
    for key in &good {
        world.until_row(key, "delivered", |row| row.status == EventStatus::Delivered).await;
    }
    // Nothing is shown again meanwhile: a message that is not yet deleted would be put aside twice.
    eventually("all that is no message is put aside", async || {
        figure(&daemon, "quarantined").await == garbage.len() as u64
    })
    .await;
    eventually("the queue is empty", async || {
        world.show_hidden();
        world.depth().await == (0, 0)
    })
    .await;
    assert_eq!(sink.count(), good.len() + 1, "each good event once, and nothing else");
    assert_eq!(daemon.admin_get("/readyz").await.status, 200);
    assert!(!daemon.printed().contains("panicked"), "{}", daemon.printed());
    let tried = garbage.len() + stale.len();
    println!(
        "proof: 15 tried {tried} held {tried} control {} good events among them, sent the same \
         way, were delivered",
        good.len(),
    );
}

/// Ten copies of one message in one batch, before anybody has looked at it: one attempt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_copies_at_once_are_one_delivery() {
    let sink = Sink::healthy().await;
    let world = World::with_acme(&sink.url("hook")).await;
    let event = world.accept().await;
    let body = format!(r#"{{"tenantId":"acme","eventId":"{}","gen":0}}"#, event.event);
    let queue = posthaste_aws::SqsQueue::main(&world.client);
    let copy = || Outgoing { body: body.clone().into(), group: "acme".into() };
    for sent in queue.send((0..10).map(|_| copy()).collect()).await {
        sent.expect("AWS takes it");
    }
    let node = Node::new(&world).await;
    let _daemon = node.start().await;
    world.until_settled_shown(&event, EventStatus::Delivered).await;
    assert_eq!(sink.count(), 1);
}

//! What is wrong with queues, tables and messages, and what the daemon says about it.

use posthaste_domain::EventStatus;
use posthaste_loadgen::aws_sim::{AwsSim, Settings};
use posthaste_ports::{Outgoing, Queue as _};
use serde_json::json;

use super::outages::until_unready;
use super::proxy::Calls;
use super::world::{Node, PREFIX, World, client, figure, setup};
use crate::support::daemon::{Daemon, Home, command};
use crate::support::sink::{Reply, Sink};

/// Starts on an AWS that is not as it should be; gives the one line that says so.
fn refused(url: &str) -> String {
    let setup = setup(url).with("log.level", "error");
    let output = command(&Home::new().data(), &setup).output().expect("the binary starts");
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(78), "{text}");
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("posthaste: ")).collect();
    let [line] = lines[..] else { panic!("not one line: {text}") };
    assert!(!text.contains("panicked"), "{text}");
    line.to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_queue_is_refused_by_name() {
    let sim = AwsSim::start(Settings::default()).expect("a simulator");
    client(&sim.url()).await.create_tables().await.expect("tables can be made");
    let line = refused(&sim.url());
    assert!(line.contains("t-events"), "{line}");
}

/// A table may be on its way (a deploy makes both), so the daemon waits for it, and names it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_table_is_told_by_name() {
    let sim = AwsSim::start(Settings::default()).expect("a simulator");
    let client = client(&sim.url()).await;
    for queue in ["t-events", "t-events-dlq"] {
        client.create_queue(queue, 180).await.expect("a queue can be made");
    }
    let home = Home::new();
    let daemon = Daemon::spawn(&home, &setup(&sim.url()));
    until_unready(&daemon, "t-Events").await;
    client.create_tables().await.expect("tables can be made");
    daemon.ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_out_that_is_too_short_is_refused() {
    let sim = AwsSim::start(Settings::default()).expect("a simulator");
    let client = client(&sim.url()).await;
    client.create_queue("t-events", 30).await.expect("a queue can be made");
    client.create().await.expect("the rest can be made");
    let line = refused(&sim.url());
    assert!(line.contains("30 s") && line.contains("180 s"), "{line}");
}

/// Where AWS cannot be reached when the daemon starts, it starts, says so, and works later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_without_aws_waits_for_it() {
    let sink = Sink::healthy().await;
    let world = World::with_acme(&sink.url("hook")).await;
    let event = world.accept().await;
    world.faults(&json!({ "sqs": { "expired-token": 1.0 } }));
    let node = Node::new(&world).await;
    let daemon = Daemon::spawn(&node.home, &node.setup);
    until_unready(&daemon, "cannot receive messages: ").await;
    until_unready(&daemon, "credentials have expired").await;
    world.faults(&json!({}));
    daemon.ready().await;
    world.until_settled(&event, EventStatus::Delivered).await;
    assert_eq!(sink.count(), 1);
}

/// A payload that SQS does not take travels by reference, and arrives whole; so does one with its
/// own item.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_beyond_the_limit_of_sqs_arrives_whole() {
    let sink = Sink::start(|it| Reply::status(if it.attempt == 1 { 500 } else { 200 })).await;
    let world = World::with_acme(&sink.url("hook")).await;
    let node = Node::new(&world).await;
    let daemon = node.start().await;
    let payload = format!("\"{}\"", "x".repeat(300 << 10));
    let event = world.accept_of("acme", payload.as_bytes()).await;
    world.until_settled(&event, EventStatus::Delivered).await;
    let received = sink.received();
    assert_eq!(received.len(), 2);
    assert!(received.iter().all(|it| it.body == payload.as_bytes()));
    assert!(figure(&daemon, "rows_read").await >= 1);
}

/// Messages that nobody can deliver go to the DLQ with their text, and the others are delivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_message_goes_to_the_dlq() {
    let sink = Sink::healthy().await;
    let world = World::with_acme(&sink.url("hook")).await;
    let queue = posthaste_aws::SqsQueue::main(&world.client);
    let unknown =
        format!(r#"{{"tenantId":"acme","eventId":"{}"}}"#, "evt_00000000000000000000000000");
    let bodies = ["not JSON", "{}", r#"{"tenantId":"No","eventId":"x"}"#, &unknown];
    let outgoing =
        |body: &&str| Outgoing { body: body.as_bytes().to_vec().into(), group: "acme".into() };
    for sent in queue.send(bodies.iter().map(outgoing).collect()).await {
        sent.expect("AWS works");
    }
    let node = Node::new(&world).await;
    let daemon = node.start().await;
    let event = world.accept().await;
    world.until_settled(&event, EventStatus::Delivered).await;
    assert_eq!(figure(&daemon, "quarantined").await, 4);
    let mut kept: Vec<String> = Vec::new();
    for letter in world.dead_bodies().await {
        assert!(letter["cause"].as_str().is_some_and(|cause| !cause.is_empty()), "{letter}");
        kept.push(letter["body"].as_str().expect("the original").to_owned());
    }
    kept.sort();
    let mut expected = bodies.map(str::to_owned);
    expected.sort();
    assert_eq!(kept, expected);
    assert_eq!(sink.count(), 1);
}

/// A tenant's row without a secret, as somebody wrote it by hand: nothing is sent unsigned and no
/// attempt is charged, the others are served, and with a secret it is delivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_without_a_secret_waits_for_one() {
    let sink = Sink::healthy().await;
    let world = World::with_acme(&sink.url("hook")).await;
    let request = json!({
        "TableName": format!("{PREFIX}-TenantWebhookConfig"),
        "Item": { "tenantId": { "S": "beta" }, "targetUrl": { "S": sink.url("beta") } },
    });
    world.call("DynamoDB_20120810.PutItem", &request).await;
    let node = Node::new(&world).await;
    let reads = node.proxy.count(Calls::after("GetItem", "\"beta\""));
    let daemon = node.start().await;
    let bad = world.accept_of("beta", b"{}").await;
    reads.reached().await;
    let good = world.accept().await;
    world.until_row(&good, "delivered", |row| row.status == EventStatus::Delivered).await;
    let row = world.row(&bad).await;
    assert_eq!((row.status, row.attempts, sink.count()), (EventStatus::Pending, 0, 1));
    world.set_secret("beta").await;
    world.until_settled_shown(&bad, EventStatus::Delivered).await;
    assert_eq!(sink.count(), 2);
    assert!(sink.received().iter().all(|it| it.headers.contains_key("webhook-signature")));
    assert!(!daemon.printed().contains("panicked"), "{}", daemon.printed());
}

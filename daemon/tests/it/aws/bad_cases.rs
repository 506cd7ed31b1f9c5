//! What is wrong with queues, tables and messages, and what the daemon says about it.

use posthaste_domain::EventStatus;
use posthaste_loadgen::aws_sim::{AwsSim, Settings};
use posthaste_ports::{Outgoing, Queue as _};
use serde_json::json;

use super::outages::until_unready;
use super::proxy::Calls;
use super::world::{Node, PREFIX, World, call, client, figure, setup};
use crate::support::daemon::{Daemon, Home, command};
use crate::support::eventually;
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

/// A queue may be on its way (a deploy makes both), so the daemon waits for it, and names it. What
/// it must be like is looked at when it is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_queue_is_told_by_name() {
    let sim = AwsSim::start(Settings::default()).expect("a simulator");
    let client = client(&sim.url()).await;
    client.create_tables().await.expect("tables can be made");
    let home = Home::new();
    let daemon = Daemon::spawn(&home, &setup(&sim.url()));
    until_unready(&daemon, "queue t-events in region us-east-1 does not exist").await;
    client.create_queue("t-events-dlq", 180).await.expect("a queue can be made");
    client.create_queue("t-events", 30).await.expect("a queue can be made");
    until_unready(&daemon, "hides messages for 30 s; it must be 180 s").await;
    let name = json!({ "QueueName": "t-events" });
    let url = call(&sim, "AmazonSQS.GetQueueUrl", &name).await["QueueUrl"].clone();
    let right = json!({ "QueueUrl": url, "Attributes": { "VisibilityTimeout": "180" } });
    call(&sim, "AmazonSQS.SetQueueAttributes", &right).await;
    daemon.ready().await;
}

/// Another region knows neither the queue nor the signature: the daemon lives and says which region
/// it asked, and with the right one everything that was accepted is delivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_region_is_told_by_name() {
    let sink = Sink::healthy().await;
    let world = World::with_acme(&sink.url("hook")).await;
    let event = world.accept().await;
    let elsewhere = AwsSim::start(Settings::default()).expect("a simulator");
    let home = Home::new();
    let there = setup(&elsewhere.url()).without("aws.region").with("aws.region", "eu-west-1");
    let daemon = Daemon::spawn(&home, &there);
    until_unready(&daemon, "queue t-events in region eu-west-1 does not exist").await;
    until_unready(&daemon, "table t-Events in region eu-west-1 does not exist").await;
    daemon.kill();
    let region = Some("us-west-2".to_owned());
    let strict = AwsSim::start(Settings { region, ..Settings::default() }).expect("a simulator");
    let daemon = Daemon::spawn(&home, &setup(&strict.url()));
    until_unready(&daemon, "Credential should be scoped to a valid region, not 'us-east-1'").await;
    daemon.kill();
    let _daemon = Daemon::start(&home, &setup(&world.sim.url())).await;
    world.until_settled(&event, EventStatus::Delivered).await;
    assert_eq!(sink.count(), 1);
}

/// Crash point 23, on AWS's side: this machine's clock is so far off that no signature is taken for
/// one of now, also not when the SDK signs by the service's time. The daemon says that it is the
/// clock, and works when it has been set.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_23_a_clock_that_aws_refuses_is_told() {
    const EXPIRED: &str = concat!(
        r#"{"__type":"com.amazon.coral.service#InvalidSignatureException","message":"#,
        r#""Signature expired: 20261126T040000Z is now earlier than 20261126T045500Z"}"#,
    );
    let sink = Sink::healthy().await;
    let world = World::with_acme(&sink.url("hook")).await;
    let event = world.accept().await;
    let node = Node::new(&world).await;
    let clock = node.proxy.refuse(Calls::all(), EXPIRED);
    let daemon = Daemon::spawn(&node.home, &node.setup);
    until_unready(&daemon, "the clock of this machine is wrong: sqs:").await;
    until_unready(&daemon, "the clock of this machine is wrong: dynamodb:").await;
    clock.open();
    daemon.ready().await;
    world.until_settled(&event, EventStatus::Delivered).await;
    assert_eq!(sink.count(), 1);
}

/// The role may not read the tenants' table, with targets and secrets: no attempt is charged, the
/// daemon says so, and delivers when it may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenants_table_that_may_not_be_read_charges_no_attempt() {
    let sink = Sink::healthy().await;
    let world = World::with_acme(&sink.url("hook")).await;
    let event = world.accept().await;
    let deny = json!({ "operation": "GetItem", "faults": { "deny": 1.0 } });
    world.faults(&json!({ "rules": [deny] }));
    let node = Node::new(&world).await;
    let tries = node.proxy.count(Calls::after("GetItem", "TenantWebhookConfig"));
    let daemon = node.start().await;
    tries.reached().await;
    world.show_hidden();
    tries.reached_times(2).await;
    let told = "cannot read tenants";
    eventually(told, async || daemon.printed().contains(told)).await;
    let row = world.row(&event).await;
    assert_eq!((sink.count(), row.status, row.attempts), (0, EventStatus::Pending, 0));
    world.faults(&json!({}));
    world.until_settled_shown(&event, EventStatus::Delivered).await;
    let received = sink.received();
    assert_eq!((received.len(), received[0].attempt), (1, 1));
    assert_eq!(figure(&daemon, "outcomes_written").await, 1);
}

/// The same behind a restart, with a retry on the disk: the daemon goes on, says so, and makes it
/// when it may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_whose_tenant_may_not_be_read_waits() {
    let sink = Sink::start(|it| Reply::status(if it.attempt == 1 { 500 } else { 200 })).await;
    let world = World::with_acme(&sink.url("hook")).await;
    let node = Node::new(&world).await;
    let daemon = node.start().await;
    let event = world.accept().await;
    world.until_waiting(&event).await;
    daemon.kill();
    let deny = json!({ "operation": "GetItem", "faults": { "deny": 1.0 } });
    world.faults(&json!({ "rules": [deny] }));
    let daemon = node.start().await;
    let told = "cannot read a tenant's options, will retry";
    eventually(told, async || daemon.printed().contains(told)).await;
    assert_eq!(sink.count(), 1);
    world.faults(&json!({}));
    world.until_settled(&event, EventStatus::Delivered).await;
    assert_eq!(sink.received()[1].attempt, 2);
}

/// A table may be on its way (a deploy makes both), so the daemon waits for it, and names it. Nor
/// does it need one to keep an admin key in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_table_is_told_by_name() {
    let sim = AwsSim::start(Settings::default()).expect("a simulator");
    let client = client(&sim.url()).await;
    for queue in ["t-events", "t-events-dlq"] {
        client.create_queue(queue, 180).await.expect("a queue can be made");
    }
    let home = Home::new();
    let daemon = Daemon::spawn(&home, &setup(&sim.url()).without("auth.admin-key"));
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
    world.until_row(&event, "delivered", |row| row.status == EventStatus::Delivered).await;
    // Nothing is shown again meanwhile: a message that is not yet deleted would be put aside twice.
    eventually("the queue is empty", async || world.depth().await == (0, 0)).await;
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

/// Rows that make no sense, of an event that comes by its message and of one that waits for a
/// retry: neither is written for ever, the message goes to the DLQ with the reason, the log names
/// both, and nobody else is held up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_makes_no_sense_holds_up_nobody() {
    let sink = Sink::start(|it| Reply::status(if it.attempt == 1 { 500 } else { 200 })).await;
    let world = World::with_acme(&sink.url("hook")).await;
    let node = Node::new(&world).await;
    let daemon = node.start().await;
    let waiting = world.accept().await;
    world.until_waiting(&waiting).await;
    world.spoil(&waiting).await;
    let failing = Calls::before("BatchExecuteStatement", "SET \\\"nextAttemptAt");
    let held = node.proxy.hold(failing);
    let fresh = world.accept().await;
    held.reached().await;
    world.spoil(&fresh).await;
    held.open();
    eventually("both are met", async || figure(&daemon, "unreadable").await >= 2).await;
    // Shown again before it is deleted, it is put aside again: once at least.
    eventually("the message is put aside", async || {
        world.show_hidden();
        figure(&daemon, "quarantined").await >= 1
    })
    .await;
    let good = world.accept().await;
    world.until_settled(&good, EventStatus::Delivered).await;
    let letters = world.dead_bodies().await;
    assert!(!letters.is_empty());
    for letter in letters {
        let cause = letter["cause"].as_str().expect("a cause");
        assert!(cause.contains("NONSENSE"), "{letter}");
        let body = letter["body"].as_str().expect("the original");
        assert!(body.contains(&fresh.event.to_string()), "{letter}");
    }
    let printed = daemon.printed();
    for event in [&waiting, &fresh] {
        let event = event.event.to_string();
        assert!(printed.contains("a row makes no sense") && printed.contains(&event), "{printed}");
    }
    assert_eq!(daemon.admin_get("/readyz").await.status, 200);
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

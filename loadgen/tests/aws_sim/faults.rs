//! Each fault, shown to work.

use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::{
    BatchStatementErrorCodeEnum, BatchStatementRequest, PutRequest, WriteRequest,
};
use aws_sdk_sqs::config::{retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_sqs::error::SdkError;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use posthaste_loadgen::aws_sim::Settings;

use crate::support::{Code as _, Sim, key, n, row, sqs_config};

#[tokio::test]
async fn refusals_come_with_the_codes_of_each_service() {
    let sim = Sim::start();
    sim.events().await;
    let url = sim.queue("q").await;
    for (fault, of_sqs, of_dynamo) in [
        ("throttle", "RequestThrottled", "ProvisionedThroughputExceededException"),
        ("unavailable", "ServiceUnavailable", "ServiceUnavailable"),
        ("deny", "AccessDenied", "AccessDeniedException"),
        ("expired-token", "ExpiredToken", "ExpiredTokenException"),
    ] {
        sim.faults(&format!(r#"{{"sqs": {{"{fault}": 1}}, "dynamodb": {{"{fault}": 1}}}}"#));
        let sent = sim.sqs.send_message().queue_url(&url).message_body("x").send().await;
        assert_eq!(sent.code(), of_sqs, "{fault}");
        let put = sim.dynamo.put_item().table_name("events").set_item(Some(key("a", "b")));
        assert_eq!(put.send().await.code(), of_dynamo, "{fault}");
        assert_eq!(sim.sim().counters().faults[fault], 2);
    }
    sim.faults("{}");
    assert!(sim.receive(&url).await.is_empty(), "none of them was done");
    assert_eq!(sim.get("a", "b").await, None);
}

/// The SDK's own retries get through a service that is throttled to a third.
#[tokio::test]
async fn retries_get_through_throttling() {
    let sim = Sim::start();
    let url = sim.queue("q").await;
    sim.faults(r#"{"sqs": {"throttle": 0.66}}"#);
    let retry = RetryConfig::standard().with_max_attempts(30);
    let retry = retry.with_initial_backoff(Duration::from_millis(1));
    let config = sqs_config(&sim.sim().url()).retry_config(retry).build();
    let client = aws_sdk_sqs::Client::from_conf(config);
    for _ in 0..5 {
        client.send_message().queue_url(&url).message_body("x").send().await.unwrap();
    }
    assert_eq!(sim.sim().counters().operations["SendMessage"].items, 5);
}

#[tokio::test]
async fn a_lost_answer_was_done_and_a_dropped_call_was_not() {
    let sim = Sim::start();
    let url = sim.queue("q").await;
    sim.faults(r#"{"rules": [{"operation": "SendMessage", "times": 1, "faults": {"lose": 1}}]}"#);
    let send = |body: &str| sim.sqs.send_message().queue_url(&url).message_body(body).send();
    assert!(matches!(send("lost").await, Err(SdkError::DispatchFailure(_))));
    send("answered").await.unwrap();
    sim.faults(r#"{"rules": [{"resource": "q", "times": 1, "faults": {"drop": 1}}]}"#);
    assert!(matches!(send("dropped").await, Err(SdkError::DispatchFailure(_))));
    let got = sim.receive(&url).await;
    let bodies: Vec<_> = got.iter().filter_map(|message| message.body()).collect();
    assert_eq!(bodies, ["lost", "answered"]);
}

#[tokio::test]
async fn a_hung_call_is_never_answered() {
    let sim = Sim::start();
    let url = sim.queue("q").await;
    sim.faults(r#"{"sqs": {"hang": 1}}"#);
    let timeout = TimeoutConfig::builder().operation_timeout(Duration::from_millis(200)).build();
    let config = sqs_config(&sim.sim().url()).retry_config(RetryConfig::disabled());
    let client = aws_sdk_sqs::Client::from_conf(config.timeout_config(timeout).build());
    let sent = client.send_message().queue_url(&url).message_body("x").send().await;
    assert!(matches!(sent, Err(SdkError::TimeoutError(_))), "{sent:?}");
    sim.faults("{}");
    assert!(sim.receive(&url).await.is_empty());
}

#[tokio::test]
async fn entries_fail_while_their_batch_succeeds() {
    let sim = Sim::start();
    sim.events().await;
    let url = sim.queue("q").await;
    sim.faults(r#"{"sqs": {"partial": 0.5}, "dynamodb": {"partial": 0.5}}"#);
    let (mut sent, mut failed) = (0, 0);
    let (mut written, mut left) = (0, 0);
    for round in 0..10 {
        let entries = (0..10).map(|id| {
            let entry = SendMessageBatchRequestEntry::builder().id(id.to_string());
            entry.message_body("x").build().unwrap()
        });
        let batch = sim.sqs.send_message_batch().queue_url(&url);
        let batch = batch.set_entries(Some(entries.collect())).send().await.unwrap();
        sent += batch.successful().len();
        failed += batch.failed().len();
        assert!(batch.failed().iter().all(|entry| !entry.sender_fault()));
        let puts = (0..10).map(|number| {
            let item = key("acme", &format!("evt_{round}_{number}"));
            let put = PutRequest::builder().set_item(Some(item)).build().unwrap();
            WriteRequest::builder().put_request(put).build()
        });
        let batch = sim.dynamo.batch_write_item().request_items("events", puts.collect());
        let unprocessed = batch.send().await.unwrap().unprocessed_items.unwrap_or_default();
        let count = unprocessed.get("events").map_or(0, Vec::len);
        left += count;
        written += 10 - count;
    }
    assert_eq!(sent + failed, 100);
    assert!((30..70).contains(&sent) && (30..70).contains(&written), "{sent}, {written}");
    sim.faults("{}");
    let rows = sim.dynamo.scan().table_name("events").send().await.unwrap().count();
    assert_eq!(usize::try_from(rows).unwrap(), written);
    assert_eq!(sim.sim().counters().faults["partial"], (failed + left) as u64);
}

#[tokio::test]
async fn statements_are_throttled_one_by_one() {
    let sim = Sim::start();
    sim.events().await;
    sim.faults(r#"{"rules": [{"resource": "events", "faults": {"throttle": 0.5}}]}"#);
    let requests = (0..25).map(|number| {
        let text = format!("INSERT INTO \"events\" VALUE {{'t': 'acme', 'e': 'evt_{number}'}}");
        BatchStatementRequest::builder().statement(text).build().unwrap()
    });
    let batch = sim.dynamo.batch_execute_statement().set_statements(Some(requests.collect()));
    let responses = batch.send().await.unwrap().responses.unwrap();
    let throttled: Vec<_> = responses.iter().filter_map(|response| response.error()).collect();
    assert!((3..23).contains(&throttled.len()), "{}", throttled.len());
    let expected = BatchStatementErrorCodeEnum::ProvisionedThroughputExceeded;
    assert!(throttled.iter().all(|error| error.code() == Some(&expected)));
    sim.faults("{}");
    let rows = sim.dynamo.scan().table_name("events").send().await.unwrap().count();
    assert_eq!(usize::try_from(rows).unwrap(), 25 - throttled.len());
}

#[tokio::test]
async fn a_message_comes_again_while_it_is_in_flight() {
    let sim = Sim::start();
    let url = sim.queue("q").await;
    sim.fill(&url, 1).await;
    sim.faults(r#"{"sqs": {"duplicate": 1}}"#);
    let first = sim.receive(&url).await.remove(0);
    let again = sim.receive(&url).await.remove(0);
    assert_eq!(first.message_id(), again.message_id());
    assert!(sim.receive(&url).await.is_empty(), "twice, not for ever");
    let delete = sim.sqs.delete_message().queue_url(&url);
    delete.receipt_handle(first.receipt_handle().unwrap()).send().await.unwrap();
    sim.sim().skip_ms(30_000);
    assert!(sim.receive(&url).await.is_empty());
}

#[tokio::test]
async fn a_deleted_message_comes_back_after_its_time_out() {
    let sim = Sim::start();
    let url = sim.queue("q").await;
    sim.fill(&url, 1).await;
    let message = sim.receive(&url).await.remove(0);
    sim.faults(r#"{"sqs": {"resurrect": 1}}"#);
    let delete = sim.sqs.delete_message().queue_url(&url);
    delete.receipt_handle(message.receipt_handle().unwrap()).send().await.unwrap();
    assert!(sim.receive(&url).await.is_empty());
    sim.sim().skip_ms(30_000);
    assert_eq!(sim.receive(&url).await[0].message_id(), message.message_id());
}

#[tokio::test]
async fn messages_come_out_of_order() {
    let sim = Sim::start();
    let url = sim.queue("q").await;
    sim.fill(&url, 10).await;
    sim.faults(r#"{"sqs": {"reorder": 1}}"#);
    let got = sim.receive(&url).await;
    let mut bodies: Vec<_> = got.iter().map(|message| message.body().unwrap()).collect();
    assert!(!bodies.is_sorted(), "{bodies:?}");
    bodies.sort_unstable();
    assert_eq!(bodies, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
}

#[tokio::test]
async fn calls_take_their_time() {
    let sim = Sim::start();
    sim.faults(r#"{"sqs": {"latency-ms": 40}}"#);
    #[expect(clippy::disallowed_methods, reason = "what is tested is how long it takes")]
    let began = Instant::now();
    sim.queue("q").await;
    assert!(began.elapsed() >= Duration::from_millis(40));
}

#[tokio::test]
async fn an_index_follows_its_table_late() {
    let sim = Sim::start();
    sim.events().await;
    sim.faults(r#"{"dynamodb": {"index-delay-ms": 500000, "read-delay-ms": 500000}}"#);
    let mut item = key("acme", "evt_1");
    item.extend(row(&[("wk", n(1)), ("due", n(1))]));
    sim.put(item).await;
    let count = || async {
        let call = sim.dynamo.query().table_name("events").index_name("work");
        let call = call.key_condition_expression("wk = :k");
        call.expression_attribute_values(":k", n(1)).send().await.unwrap().count()
    };
    let eventual = || async {
        let call = sim.dynamo.get_item().table_name("events").set_key(Some(key("acme", "evt_1")));
        call.send().await.unwrap().item.is_some()
    };
    assert_eq!((count().await, eventual().await), (0, false));
    assert!(sim.get("acme", "evt_1").await.is_some(), "a consistent read sees it");
    sim.sim().skip_ms(500_000);
    assert_eq!((count().await, eventual().await), (1, true));
    let delete = sim.dynamo.delete_item().table_name("events").set_key(Some(key("acme", "evt_1")));
    delete.send().await.unwrap();
    assert_eq!((count().await, eventual().await), (1, true), "a stale entry");
    sim.sim().skip_ms(500_000);
    assert_eq!((count().await, eventual().await), (0, false));
}

#[tokio::test]
async fn another_region_is_refused() {
    let settings = Settings { region: Some("eu-central-1".to_owned()), ..Settings::default() };
    let sim = Sim::with(settings);
    let listed = sim.dynamo.list_tables().send().await;
    assert_eq!(listed.code(), "InvalidSignatureException");
    let made = sim.sqs.create_queue().queue_name("q").send().await;
    assert_eq!(made.code(), "SignatureDoesNotMatch");
}

//! Sending, receiving, deleting, and how long messages stay invisible.

use std::time::Duration;

use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry as ChangeEntry,
    DeleteMessageBatchRequestEntry as DeleteEntry, MessageAttributeValue,
    MessageSystemAttributeName as System, SendMessageBatchRequestEntry as SendEntry,
};

use crate::support::{Code as _, Sim};

fn entry(id: &str, body: &str) -> SendEntry {
    SendEntry::builder().id(id).message_body(body).build().unwrap()
}

fn delete(id: &str, receipt: &str) -> DeleteEntry {
    DeleteEntry::builder().id(id).receipt_handle(receipt).build().unwrap()
}

#[tokio::test]
async fn a_message_arrives_as_it_was_sent() {
    let sim = Sim::start();
    let url = sim.queue("q").await;
    let body = "{\"a\":\"ä\\n\u{1F600}\"}\n";
    let attribute = MessageAttributeValue::builder().data_type("String").string_value("v");
    let sent = sim.sqs.send_message().queue_url(&url).message_body(body).message_group_id("acme");
    let sent = sent.message_attributes("kind", attribute.build().unwrap()).send().await.unwrap();
    assert_eq!(sent.md5_of_message_body().unwrap(), format!("{:x}", md5::compute(body)));
    let call = sim.sqs.receive_message().queue_url(&url).message_attribute_names("All");
    let call = call.message_system_attribute_names(System::All);
    let message = call.send().await.unwrap().messages.unwrap().remove(0);
    assert_eq!(message.body(), Some(body));
    assert_eq!(message.md5_of_body(), sent.md5_of_message_body());
    assert_eq!(message.message_id(), sent.message_id());
    assert_eq!(message.md5_of_message_attributes(), sent.md5_of_message_attributes());
    assert_eq!(message.message_attributes().unwrap()["kind"].string_value(), Some("v"));
    let system = message.attributes().unwrap();
    assert_eq!(system[&System::ApproximateReceiveCount], "1");
    assert_eq!(system[&System::MessageGroupId], "acme");
    assert!(system[&System::SentTimestamp].parse::<u64>().unwrap() > 1_700_000_000_000);
}

#[tokio::test]
async fn a_message_is_invisible_until_its_time_out_and_counts_its_receipts() {
    let sim = Sim::start();
    let url = sim.queue("q").await;
    sim.fill(&url, 1).await;
    let first = sim.receive(&url).await.remove(0);
    assert!(sim.receive(&url).await.is_empty());
    sim.sim().skip_ms(29_000);
    assert!(sim.receive(&url).await.is_empty());
    sim.sim().skip_ms(1_000);
    let second = sim.receive(&url).await.remove(0);
    assert_eq!(second.attributes().unwrap()[&System::ApproximateReceiveCount], "2");
    assert_ne!(first.receipt_handle(), second.receipt_handle());
    // An old receipt is taken, but deletes nothing.
    let delete =
        |receipt: &str| sim.sqs.delete_message().queue_url(&url).receipt_handle(receipt).send();
    delete(first.receipt_handle().unwrap()).await.unwrap();
    sim.sim().skip_ms(30_000);
    let third = sim.receive(&url).await.remove(0);
    delete(third.receipt_handle().unwrap()).await.unwrap();
    delete(third.receipt_handle().unwrap()).await.unwrap();
    sim.sim().skip_ms(30_000);
    assert!(sim.receive(&url).await.is_empty());
    assert_eq!(delete("nonsense").await.code(), "ReceiptHandleIsInvalid");
}

#[tokio::test]
async fn invisibility_is_extended_and_given_back() {
    let sim = Sim::start();
    let url = sim.queue("q").await;
    sim.fill(&url, 1).await;
    let message = sim.receive(&url).await.remove(0);
    let receipt = message.receipt_handle().unwrap();
    let change = |seconds| {
        let call = sim.sqs.change_message_visibility().queue_url(&url).receipt_handle(receipt);
        call.visibility_timeout(seconds).send()
    };
    change(60).await.unwrap();
    sim.sim().skip_ms(59_000);
    assert!(sim.receive(&url).await.is_empty());
    assert_eq!(change(43_201).await.code(), "InvalidParameterValue");
    assert_eq!(change(43_200).await.code(), "InvalidParameterValue", "12 hours in all");
    change(0).await.unwrap();
    assert_eq!(change(10).await.code(), "AWS.SimpleQueueService.MessageNotInflight");
    assert_eq!(sim.receive(&url).await.len(), 1);
    assert_eq!(change(10).await.code(), "InvalidParameterValue", "an older receipt");
}

/// For all waits: what is sent while somebody waits reaches them, without their asking again.
#[tokio::test]
async fn a_long_poll_ends_with_the_first_message() {
    let sim = Sim::start();
    let url = sim.queue("q").await;
    let poll = sim.sqs.receive_message().queue_url(&url).wait_time_seconds(20).send();
    let send = sim.sqs.send_message().queue_url(&url).message_body("x").send();
    let (polled, _) = tokio::join!(poll, async { send.await.unwrap() });
    assert_eq!(polled.unwrap().messages.unwrap()[0].body(), Some("x"));
    // The end of a time-out ends it as well.
    let poll = sim.sqs.receive_message().queue_url(&url).wait_time_seconds(20);
    let poll = async { poll.send().await.unwrap().messages.unwrap() };
    let skip = async {
        // Either before the poll or during it: both must end it.
        sim.sqs.list_queues().send().await.unwrap();
        sim.sim().skip_ms(30_000);
    };
    let within = Duration::from_secs(15);
    let (polled, ()) = tokio::join!(tokio::time::timeout(within, poll), skip);
    assert_eq!(polled.unwrap()[0].body(), Some("x"));
}

#[tokio::test]
async fn a_client_that_goes_away_while_it_waits_takes_nothing_with_it() {
    let sim = Sim::start();
    let url = sim.queue("q").await;
    let poll = sim.sqs.receive_message().queue_url(&url).wait_time_seconds(20).send();
    let impatient = tokio::time::timeout(Duration::from_millis(200), poll).await;
    assert!(impatient.is_err(), "there is nothing to receive");
    let other = sim.sqs.receive_message().queue_url(&url).wait_time_seconds(20).send();
    let send = sim.sqs.send_message().queue_url(&url).message_body("x").send();
    let (polled, _) = tokio::join!(other, async { send.await.unwrap() });
    assert_eq!(polled.unwrap().messages.unwrap().len(), 1);
}

#[tokio::test]
async fn batches_answer_entry_by_entry() {
    let sim = Sim::start();
    let url = sim.queue("q").await;
    let batch = sim.sqs.send_message_batch().queue_url(&url);
    let batch = batch.entries(entry("a", "1")).entries(entry("b", "\u{1}"));
    let sent = batch.entries(entry("c", "3")).send().await.unwrap();
    let ids: Vec<_> = sent.successful().iter().map(|sent| sent.id()).collect();
    assert_eq!(ids, ["a", "c"]);
    assert_eq!(sent.failed()[0].id(), "b");
    assert_eq!(sent.failed()[0].code(), "InvalidMessageContents");
    assert!(sent.failed()[0].sender_fault());
    let got = sim.receive(&url).await;
    let receipts: Vec<_> = got.iter().map(|message| message.receipt_handle().unwrap()).collect();
    let change = |id: &str, receipt: &str, seconds| {
        let entry = ChangeEntry::builder().id(id).receipt_handle(receipt);
        entry.visibility_timeout(seconds).build().unwrap()
    };
    let changed = sim.sqs.change_message_visibility_batch().queue_url(&url);
    let changed = changed.entries(change("a", receipts[0], 0)).entries(change("b", "x", 0));
    let changed = changed.send().await.unwrap();
    assert_eq!((changed.successful().len(), changed.failed().len()), (1, 1));
    assert_eq!(changed.failed()[0].code(), "ReceiptHandleIsInvalid");
    let deleted = sim.sqs.delete_message_batch().queue_url(&url);
    let deleted = deleted.entries(delete("a", receipts[1])).entries(delete("b", "x"));
    let deleted = deleted.send().await.unwrap();
    assert_eq!(deleted.successful()[0].id(), "a");
    assert_eq!(deleted.failed()[0].id(), "b");
    assert_eq!(sim.receive(&url).await.len(), 1);
}

#[tokio::test]
async fn batches_that_are_wrong_as_a_whole_are_refused() {
    let sim = Sim::start();
    let url = sim.queue("q").await;
    let send = |entries: Vec<SendEntry>| {
        sim.sqs.send_message_batch().queue_url(&url).set_entries(Some(entries)).send()
    };
    let expect = |code: &str| format!("AWS.SimpleQueueService.{code}");
    assert_eq!(send(vec![]).await.code(), expect("EmptyBatchRequest"));
    let twice = vec![entry("a", "1"), entry("a", "2")];
    assert_eq!(send(twice).await.code(), expect("BatchEntryIdsNotDistinct"));
    assert_eq!(send(vec![entry("a b", "1")]).await.code(), expect("InvalidBatchEntryId"));
    let eleven = (0..11).map(|number| entry(&number.to_string(), "x")).collect();
    assert_eq!(send(eleven).await.code(), expect("TooManyEntriesInBatchRequest"));
    let half = "x".repeat(600_000);
    let long = vec![entry("a", &half), entry("b", &half)];
    assert_eq!(send(long).await.code(), expect("BatchRequestTooLong"));
    assert!(sim.receive(&url).await.is_empty(), "nothing of a refused batch is sent");
}

#[tokio::test]
async fn sizes_and_ranges_are_limited() {
    let sim = Sim::start();
    let url = sim.queue("q").await;
    let send = |body: String| sim.sqs.send_message().queue_url(&url).message_body(body).send();
    assert_eq!(send("x".repeat(1_048_576)).await.code(), "ok");
    assert_eq!(send("x".repeat(1_048_577)).await.code(), "InvalidParameterValue");
    assert_eq!(send(String::new()).await.code(), "MissingParameter");
    let receive = || sim.sqs.receive_message().queue_url(&url);
    assert_eq!(receive().max_number_of_messages(11).send().await.code(), "InvalidParameterValue");
    assert_eq!(receive().wait_time_seconds(21).send().await.code(), "InvalidParameterValue");
    let lost = sim.sqs.receive_message().queue_url("http://localhost/0/nowhere").send().await;
    assert_eq!(lost.code(), "AWS.SimpleQueueService.NonExistentQueue");
}

/// SQS bills a request for each 64 KB begun.
#[tokio::test]
async fn what_is_billed_is_counted() {
    let sim = Sim::start();
    let url = sim.queue("q").await;
    let body = "x".repeat(65 * 1024);
    sim.sqs.send_message().queue_url(&url).message_body(body).send().await.unwrap();
    assert_eq!(sim.receive(&url).await.len(), 1);
    assert!(sim.receive(&url).await.is_empty());
    let counted = sim.sim().counters().operations;
    assert_eq!(counted["SendMessage"].billed_requests, 2);
    assert_eq!(counted["SendMessage"].bytes, 65 * 1024);
    let receive = counted["ReceiveMessage"];
    assert_eq!((receive.requests, receive.billed_requests, receive.items), (2, 3, 1));
}

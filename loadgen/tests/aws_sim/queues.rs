//! Making, finding and describing queues.

use aws_sdk_sqs::types::QueueAttributeName as Name;

use crate::support::{Code as _, Sim};

#[tokio::test]
async fn a_queue_is_made_once_and_found_by_name() {
    let sim = Sim::start();
    let url = sim.queue("events").await;
    assert_eq!(sim.queue("events").await, url);
    let found = sim.sqs.get_queue_url().queue_name("events").send().await.unwrap();
    assert_eq!(found.queue_url.unwrap(), url);
    let other = sim.sqs.create_queue().queue_name("events");
    let other = other.attributes(Name::VisibilityTimeout, "7").send().await;
    assert_eq!(other.code(), "QueueAlreadyExists");
    let listed = sim.sqs.list_queues().queue_name_prefix("ev").send().await.unwrap();
    assert_eq!(listed.queue_urls.unwrap(), std::slice::from_ref(&url));
    sim.sqs.delete_queue().queue_url(&url).send().await.unwrap();
    let gone = sim.sqs.get_queue_url().queue_name("events").send().await;
    assert_eq!(gone.code(), "AWS.SimpleQueueService.NonExistentQueue");
    assert!(gone.unwrap_err().into_service_error().is_queue_does_not_exist());
}

#[tokio::test]
async fn names_and_attributes_are_checked() {
    let sim = Sim::start();
    let create = |name: &str| sim.sqs.create_queue().queue_name(name);
    assert_eq!(create("a b").send().await.code(), "InvalidParameterValue");
    assert_eq!(create(&"a".repeat(81)).send().await.code(), "InvalidParameterValue");
    let fifo = create("a.fifo").send().await.code();
    assert_eq!(fifo, "AWS.SimpleQueueService.UnsupportedOperation");
    let bad = create("a").attributes(Name::VisibilityTimeout, "43201").send().await;
    assert_eq!(bad.code(), "InvalidAttributeValue");
    let bad = create("a").attributes(Name::from("Colour"), "red").send().await;
    assert_eq!(bad.code(), "InvalidAttributeName");
}

#[tokio::test]
async fn attributes_tell_depth_and_settings() {
    let sim = Sim::start();
    let url = sim.queue("events").await;
    sim.fill(&url, 3).await;
    let one = sim.sqs.receive_message().queue_url(&url).send().await.unwrap();
    assert_eq!(one.messages.unwrap().len(), 1);
    let delayed = sim.sqs.send_message().queue_url(&url).message_body("later").delay_seconds(60);
    delayed.send().await.unwrap();
    let set = sim.sqs.set_queue_attributes().queue_url(&url);
    set.attributes(Name::VisibilityTimeout, "180").send().await.unwrap();
    let all = sim.sqs.get_queue_attributes().queue_url(&url).attribute_names(Name::All);
    let all = all.send().await.unwrap().attributes.unwrap();
    assert_eq!(all[&Name::ApproximateNumberOfMessages], "2");
    assert_eq!(all[&Name::ApproximateNumberOfMessagesNotVisible], "1");
    assert_eq!(all[&Name::ApproximateNumberOfMessagesDelayed], "1");
    assert_eq!(all[&Name::VisibilityTimeout], "180");
    assert_eq!(all[&Name::MaximumMessageSize], "1048576");
    assert_eq!(all[&Name::QueueArn], "arn:aws:sqs:us-east-1:000000000000:events");
    let purge = || sim.sqs.purge_queue().queue_url(&url).send();
    purge().await.unwrap();
    assert!(sim.receive(&url).await.is_empty());
    assert_eq!(purge().await.code(), "AWS.SimpleQueueService.PurgeQueueInProgress");
}

#[tokio::test]
async fn a_message_received_too_often_goes_to_the_dead_letter_queue() {
    let sim = Sim::start();
    let dead = sim.queue("dead").await;
    let policy = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:dead",
        "maxReceiveCount":"2"}"#;
    let create = sim.sqs.create_queue().queue_name("events");
    let create = create.attributes(Name::RedrivePolicy, policy);
    let url = create.send().await.unwrap().queue_url.unwrap();
    sim.fill(&url, 1).await;
    for _ in 0..2 {
        assert_eq!(sim.receive(&url).await.len(), 1);
        sim.sim().skip_ms(30_000);
    }
    assert!(sim.receive(&url).await.is_empty());
    assert_eq!(sim.receive(&dead).await[0].body(), Some("0"));
}

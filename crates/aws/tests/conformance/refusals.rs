//! What a person reads when AWS cannot be used, and that `check` sees it.

use posthaste_aws::{DynamoRows, Error, NewRow, Settings, SqsQueue};
use posthaste_domain::{EventId, RowKey, TenantId};
use posthaste_ports::{PortError, Queue, Rows};

use crate::emulators::{Dynoxide, Ministack, reserve};
use crate::subjects::{client, settings};

fn key() -> RowKey {
    RowKey { tenant: TenantId::try_new("acme").unwrap(), event: EventId::MIN }
}

#[tokio::test]
async fn what_was_created_passes_every_check() {
    let ministack = Ministack::start().await;
    let client = client(settings(&ministack.url)).await;
    client.create().await.expect("all of it can be made");
    // Making it twice is making it once.
    client.create().await.expect("it is there already");
    let checked = client.check().await;
    assert!(checked.len() >= 11, "{checked:#?}");
    for checked in checked {
        assert_eq!(checked.outcome, Ok(()), "{}", checked.what);
    }
    let visibility = SqsQueue::main(&client).visibility_ms().await;
    assert_eq!(visibility, Ok(180_000));
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let ministack = Ministack::start().await;
    let client = client(settings(&ministack.url)).await;
    let lines: Vec<_> =
        client.check().await.into_iter().filter_map(|checked| checked.outcome.err()).collect();
    assert_eq!(lines.len(), 5, "{lines:#?}");
    assert_eq!(
        lines[0],
        "queue conformance-events in region us-east-1 does not exist: create it, or correct its \
         name, the region or the account"
    );
    assert!(lines[2].starts_with("table conformance-Events in region us-east-1 does not exist"));
    let received = SqsQueue::main(&client).receive(1, 0).await;
    assert!(matches!(received, Err(PortError::Permanent(_))), "{received:?}");
    let read = DynamoRows::new(&client).read(&[key()]).await;
    assert!(matches!(read, Err(PortError::Permanent(_))), "{read:?}");
}

/// Nobody listens there: it may be over soon.
#[tokio::test]
async fn what_does_not_answer_is_tried_again() {
    let reserved = reserve();
    let url = format!("http://{}", reserved.local_addr().unwrap());
    let client = client(settings(&url)).await;
    let received = SqsQueue::main(&client).receive(1, 0).await;
    let Err(PortError::Transient(line)) = received else { panic!("{received:?}") };
    let start = "no answer: sqs:GetQueueUrl on queue conformance-events in region us-east-1: ";
    assert!(line.starts_with(start), "{line}");
    let read = DynamoRows::new(&client).read(&[key()]).await;
    assert!(matches!(read, Err(PortError::Transient(_))), "{read:?}");
}

/// The largest item of DynamoDB has 400 KB.
#[tokio::test]
async fn a_payload_beyond_an_item_is_refused() {
    let dynoxide = Dynoxide::start().await;
    let client = client(settings(&dynoxide.url)).await;
    client.create_tables().await.expect("tables can be made");
    let payload = vec![b'x'; 500_000].into();
    let new = NewRow { key: key(), payload, target_url: None };
    let put = DynamoRows::new(&client).insert(&new).await;
    assert!(matches!(put, Err(Error::Refused { .. })), "{put:?}");
    assert_eq!(DynamoRows::new(&client).read(&[key()]).await, Ok(vec![None]), "nothing was put");
}

#[tokio::test]
async fn without_a_region_there_is_no_client() {
    // Whatever the machine's own settings are, an empty name is none.
    let settings = Settings { region: Some(String::new()), ..settings("http://127.0.0.1:1") };
    assert_eq!(posthaste_aws::Client::new(settings).await.err(), Some(Error::NoRegion));
}

//! Rows as earlier versions wrote them live on: they are read, written, and become rows of today.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue as Value;
use posthaste_aws::WriteStrategy;
use posthaste_domain::{
    EventId, EventStatus, InstanceId, RowChange, RowKey, RowWrite, TenantId, Timestamp,
};
use posthaste_ports::Written;
use posthaste_ports::conformance::RowsSubject;

use crate::emulators::{Dynoxide, Ministack};
use crate::subjects::Table;

fn key(number: u128) -> RowKey {
    RowKey { tenant: TenantId::try_new("acme").unwrap(), event: EventId::from_u128(number) }
}

/// No round, no epoch; a payload as a map; one without even a count of attempts.
fn older(key: &RowKey, attempts: Option<u32>) -> HashMap<String, Value> {
    let text = |text: &str| Value::S(text.to_owned());
    let mut item = HashMap::from([
        ("tenantId".to_owned(), text(key.tenant.as_str())),
        ("eventId".to_owned(), text(&key.event.to_string())),
        ("status".to_owned(), text("PENDING")),
        ("targetUrl".to_owned(), text("https://example.com")),
        ("createdAt".to_owned(), text("1700000000")),
        ("payload".to_owned(), Value::M(HashMap::from([("n".to_owned(), Value::N("1".into()))]))),
    ]);
    if let Some(attempts) = attempts {
        item.insert("attempts".to_owned(), Value::N(attempts.to_string()));
    }
    item
}

fn fail(attempts: u32, epoch_seen: u64) -> RowChange {
    RowChange::Fail {
        attempts,
        attempts_seen: attempts - 1,
        interrupted: 0,
        owner: InstanceId::try_new("a").unwrap(),
        epoch_seen,
        next_attempt_at: Timestamp::from_millis(1),
        until: Timestamp::from_millis(2),
        cause: None,
        at: Timestamp::ZERO,
        attempt: None,
    }
}

async fn live_on(table: &Table) {
    let rows = table.rows();
    let keys = [key(1), key(2), key(3)];
    for (key, attempts) in keys.iter().zip([Some(0), None, Some(2)]) {
        table.put(older(key, attempts)).await;
    }
    let read = rows.read(&keys).await.unwrap();
    for event in read.iter().flatten() {
        assert_eq!((event.row.status, event.row.round), (EventStatus::Pending, 0));
        assert_eq!(event.payload.as_deref(), Some(&b"{\"n\":1}"[..]));
    }
    assert_eq!(read.iter().flatten().count(), 3);
    let write = |index: usize, change| RowWrite { key: keys[index].clone(), round: 0, change };
    let first = vec![write(0, fail(1, 0)), write(1, fail(1, 0)), write(2, fail(1, 0))];
    let answers = rows.write(first.clone()).await;
    assert_eq!(answers[..2], [Ok(Written::Done), Ok(Written::Done)]);
    assert!(matches!(answers[2], Ok(Written::Refused(Some(_)))), "{answers:?}");
    // What a lost reply repeats is refused, whatever the row looked like before.
    let again = rows.write(first[..2].to_vec()).await;
    assert!(again.iter().all(|answer| matches!(answer, Ok(Written::Refused(Some(_))))));
    let second = vec![write(0, fail(2, 1)), write(1, fail(2, 1)), write(2, fail(3, 0))];
    assert_eq!(rows.write(second).await, vec![Ok(Written::Done); 3]);
}

#[tokio::test]
async fn in_dynoxide_they_live_on() {
    let dynoxide = Dynoxide::start().await;
    live_on(&Table::create(&dynoxide.url, WriteStrategy::Statements).await).await;
}

#[tokio::test]
async fn in_ministack_they_live_on() {
    let ministack = Ministack::start().await;
    live_on(&Table::create(&ministack.url, WriteStrategy::Statements).await).await;
    live_on(&Table::create(&ministack.url, WriteStrategy::Updates).await).await;
}

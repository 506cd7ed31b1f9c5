//! Putting and reading rows.

use posthaste_domain::Row;

use super::{Table, deliver, fail};

pub(super) async fn a_new_row_is_pending(table: Table) {
    let key = table.put(1).await;
    assert_eq!(table.row(&key).await, Some(Row::new()));
}

pub(super) async fn a_row_is_put_once(table: Table) {
    let key = table.failed(1).await;
    let before = table.event(&key).await;
    assert!(!table.insert(&key, &b"another"[..]).await, "it was there before");
    assert_eq!(table.event(&key).await, before);
}

pub(super) async fn what_does_not_exist_is_not_read(table: Table) {
    assert_eq!(table.event(&table.key(1)).await, None);
    assert_eq!(table.rows().read(&[]).await, Ok(Vec::new()));
}

/// A read is never older than an acknowledged write.
pub(super) async fn reads_see_the_last_write(table: Table) {
    let key = table.put(1).await;
    for attempts in 1..=20 {
        // Writes, reads and compares.
        table.done(&key, fail("a", u64::from(attempts > 1), attempts)).await;
    }
}

pub(super) async fn answers_come_in_order(table: Table) {
    let (one, two, none) = (table.failed(1).await, table.delivered(2).await, table.key(3));
    let keys = [two.clone(), none.clone(), one.clone(), two, none, one];
    let read = table.rows().read(&keys).await.expect("a read");
    let attempts: Vec<_> = read.iter().map(|event| event.as_ref().map(|e| e.row.status)).collect();
    use posthaste_domain::EventStatus::{Delivered, Failed};
    let half = [Some(Delivered), None, Some(Failed)];
    assert_eq!(attempts, [half, half].concat());
}

pub(super) async fn two_hundred_and_fifty_rows(table: Table) {
    let mut keys = Vec::new();
    for number in 0..250 {
        let key = table.key(number);
        // Rows and bodies of different sizes, so that reads are cut where the bytes end.
        let size = if number % 50 == 0 { 200_000 } else { 100 };
        assert!(table.insert(&key, vec![b'x'; size]).await);
        keys.push(key);
    }
    let read = table.rows().read(&keys).await.expect("a read");
    for (number, event) in read.iter().enumerate() {
        let size = if number % 50 == 0 { 200_000 } else { 100 };
        let payload = event.as_ref().and_then(|event| event.payload.as_ref());
        assert_eq!(payload.map(bytes::Bytes::len), Some(size), "{number}");
    }
}

pub(super) async fn what_was_removed_is_gone(table: Table) {
    let key = table.failed(1).await;
    table.remove(&key).await;
    assert_eq!(table.event(&key).await, None);
    let change = deliver(2);
    let write = posthaste_domain::RowWrite { key: key.clone(), round: 0, change };
    let answer = table.rows().write(vec![write]).await;
    assert_eq!(answer, [Ok(crate::Written::Refused(None))]);
    assert_eq!(table.event(&key).await, None);
}

/// The same event id of two tenants is two events.
pub(super) async fn tenants_are_apart(table: Table) {
    let key = table.put(1).await;
    let mut other = key.clone();
    other.tenant = posthaste_domain::TenantId::try_new("another-tenant").expect("a lawful id");
    assert!(table.insert(&other, &b"other"[..]).await);
    table.done(&other, deliver(1)).await;
    assert_eq!(table.row(&key).await, Some(Row::new()));
}

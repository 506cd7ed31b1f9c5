//! Delivering, dying, requeueing, purging.

use posthaste_domain::{EventStatus, RowChange};

use super::{Table, claim, deliver, fail, fail_last, purge, requeue};
use crate::conformance::samples::{at, die};

pub(super) async fn deliver_from_pending(table: Table) {
    let key = table.put(1).await;
    table.done(&key, deliver(1)).await;
    let row = table.row(&key).await.expect("the row is there");
    assert_eq!((row.status, row.attempts), (EventStatus::Delivered, 1));
    assert_eq!(row.expires_at, Some(at(60_000).plus_millis(crate::DELIVERED_KEPT_MS)));
}

/// A 2xx is a fact, whoever owns the row.
pub(super) async fn deliver_from_failed_whoever_owns_it(table: Table) {
    let key = table.failed(1).await;
    table.done(&key, claim("b", 1, at(200_001))).await;
    table.done(&key, deliver(2)).await;
    assert_eq!(table.row(&key).await.and_then(|row| row.lease), None);
}

pub(super) async fn deliver_beats_the_last_failure(table: Table) {
    let key = table.dying(1).await;
    table.done(&key, deliver(3)).await;
    assert_eq!(table.row(&key).await.and_then(|row| row.cause), None);
}

pub(super) async fn deliver_is_refused_to_what_has_ended(table: Table) {
    for key in [table.delivered(1).await, table.dead(2).await, table.purged(3).await] {
        table.refused(&key, deliver(2)).await;
    }
}

pub(super) async fn deliver_is_refused_in_another_round(table: Table) {
    let key = table.put(1).await;
    assert!(!table.write(&key, 1, deliver(1)).await);
    let key = table.dead(2).await;
    table.done(&key, requeue(false)).await;
    assert!(!table.write(&key, 0, deliver(1)).await);
    assert!(!table.write(&key, 2, deliver(1)).await);
    assert!(table.write(&key, 1, deliver(1)).await);
}

pub(super) async fn die_after_the_last_failure(table: Table) {
    let key = table.dying(1).await;
    table.done(&key, die("a", 1, 2)).await;
    let row = table.row(&key).await.expect("the row is there");
    assert_eq!((row.status, row.lease.is_none()), (EventStatus::Dlq, true));
    assert!(row.cause.is_some(), "a dead row says why");
    assert_eq!(row.expires_at, Some(at(70_000).plus_millis(crate::DEAD_KEPT_MS)));
}

pub(super) async fn die_wants_a_cause(table: Table) {
    let (pending, failed) = (table.put(1).await, table.failed(2).await);
    table.refused(&pending, die("a", 1, 0)).await;
    table.refused(&failed, die("a", 1, 1)).await;
}

pub(super) async fn die_wants_owner_epoch_and_attempts(table: Table) {
    let key = table.dying(1).await;
    for refused in [die("b", 1, 2), die("a", 2, 2), die("a", 0, 2), die("a", 1, 1), die("a", 1, 3)]
    {
        table.refused(&key, refused).await;
    }
    table.done(&key, die("a", 1, 2)).await;
    table.refused(&key, die("a", 1, 2)).await;
}

pub(super) async fn die_is_refused_in_another_round(table: Table) {
    let key = table.dying(1).await;
    assert!(!table.write(&key, 1, die("a", 1, 2)).await);
}

pub(super) async fn requeue_from_dlq(table: Table) {
    let key = table.dead(1).await;
    table.done(&key, requeue(false)).await;
    let row = table.row(&key).await.expect("the row is there");
    assert_eq!((row.status, row.round, row.attempts), (EventStatus::Pending, 1, 0));
    let lease = row.lease.expect("a requeued row is owed");
    assert_eq!((lease.owner, lease.epoch, lease.until), (None, 0, at(120_000)));
}

pub(super) async fn requeue_from_failed_where_asked(table: Table) {
    let key = table.failed(1).await;
    table.refused(&key, requeue(false)).await;
    table.done(&key, requeue(true)).await;
    let key = table.dying(2).await;
    table.done(&key, requeue(true)).await;
}

pub(super) async fn requeue_is_refused_elsewhere(table: Table) {
    for key in [table.put(1).await, table.delivered(2).await, table.purged(3).await] {
        table.refused(&key, requeue(true)).await;
        table.refused(&key, requeue(false)).await;
    }
}

pub(super) async fn requeue_takes_the_end_away(table: Table) {
    let key = table.dead(1).await;
    table.done(&key, requeue(false)).await;
    let row = table.row(&key).await.expect("the row is there");
    assert_eq!((row.expires_at, row.cause, row.next_attempt_at), (None, None, None));
    assert_eq!(row.interrupted, 0);
    // A whole second life.
    assert!(table.write(&key, 1, fail("b", 0, 1)).await);
    assert!(table.write(&key, 1, fail_last("b", 1, 2)).await);
    assert!(table.write(&key, 1, die("b", 1, 2)).await);
    assert!(table.write(&key, 1, requeue(false)).await);
    assert!(table.write(&key, 2, deliver(1)).await);
}

pub(super) async fn requeue_twice_is_once(table: Table) {
    let key = table.dead(1).await;
    table.done(&key, requeue(false)).await;
    table.refused(&key, requeue(false)).await;
    table.refused(&key, requeue(true)).await;
    assert_eq!(table.row(&key).await.map(|row| row.round), Some(1));
}

pub(super) async fn purge_from_dlq(table: Table) {
    let key = table.dead(1).await;
    table.done(&key, purge()).await;
    let row = table.row(&key).await.expect("the row is there");
    assert_eq!(row.status, EventStatus::Purged);
    assert_eq!(row.expires_at, Some(at(80_000).plus_millis(crate::DEAD_KEPT_MS)));
}

pub(super) async fn purge_is_refused_elsewhere(table: Table) {
    for key in [table.put(1).await, table.failed(2).await, table.dying(3).await] {
        table.refused(&key, purge()).await;
    }
    let key = table.delivered(4).await;
    table.refused(&key, purge()).await;
}

pub(super) async fn purged_stays_purged(table: Table) {
    let key = table.purged(1).await;
    for refused in [
        purge(),
        requeue(true),
        deliver(3),
        fail("a", 1, 3),
        RowChange::Purge { at: at(999_999) },
        die("a", 1, 2),
    ] {
        table.refused(&key, refused).await;
    }
}

//! Taking rows over, and keeping them.

use posthaste_domain::RowWrite;

use super::{Table, claim, deliver, extend, fail, requeue};
use crate::Written;
use crate::conformance::samples::{at, die, instance};

pub(super) async fn a_claim_raises_the_epoch(table: Table) {
    let key = table.failed(1).await;
    table.done(&key, claim("b", 1, at(200_001))).await;
    let row = table.row(&key).await.expect("the row is there");
    let lease = row.lease.expect("a claimed row is owed");
    assert!(lease.is_of(&instance("b"), 2));
    assert_eq!(lease.until, at(400_000));
    table.done(&key, claim("b", 2, at(400_000))).await;
}

pub(super) async fn another_epoch_is_refused(table: Table) {
    let key = table.failed(1).await;
    for epoch in [0, 2, 11] {
        table.refused(&key, claim("b", epoch, at(200_001))).await;
    }
}

pub(super) async fn another_end_is_refused(table: Table) {
    let key = table.failed(1).await;
    for millis in [200_000, 200_002, 0] {
        table.refused(&key, claim("b", 1, at(millis))).await;
    }
}

pub(super) async fn what_nobody_owes_is_refused(table: Table) {
    let (fresh, delivered, dead) =
        (table.put(1).await, table.delivered(2).await, table.dead(3).await);
    for key in [fresh, delivered, dead] {
        table.refused(&key, claim("b", 0, at(200_001))).await;
        table.refused(&key, claim("b", 1, at(200_002))).await;
    }
}

pub(super) async fn another_round_is_refused(table: Table) {
    let key = table.failed(1).await;
    assert!(!table.write(&key, 1, claim("b", 1, at(200_001))).await);
}

/// Its message was lost: a sweep takes it.
pub(super) async fn a_requeued_row_can_be_claimed(table: Table) {
    let key = table.dead(1).await;
    table.done(&key, requeue(false)).await;
    assert!(!table.write(&key, 0, claim("b", 0, at(120_000))).await);
    assert!(table.write(&key, 1, claim("b", 0, at(120_000))).await);
    assert!(!table.write(&key, 1, fail("a", 0, 1)).await, "it is owned now");
    assert!(table.write(&key, 1, fail("b", 1, 1)).await);
}

pub(super) async fn the_last_failure_can_be_claimed(table: Table) {
    let key = table.dying(1).await;
    table.done(&key, claim("b", 1, at(200_002))).await;
    table.refused(&key, die("a", 1, 2)).await;
    table.done(&key, die("b", 2, 2)).await;
}

/// A daemon that was paused beyond its lease writes nothing more, a 2xx aside.
pub(super) async fn the_late_owner_is_fenced(table: Table) {
    let key = table.failed(1).await;
    table.done(&key, claim("b", 1, at(200_001))).await;
    table.refused(&key, fail("a", 1, 2)).await;
    table.refused(&key, extend("a", 1)).await;
    table.done(&key, deliver(2)).await;
}

pub(super) async fn of_many_claims_one_wins(table: Table) {
    let key = table.failed(1).await;
    let change = |owner| claim(owner, 1, at(200_001));
    let write = |owner| RowWrite { key: key.clone(), round: 0, change: change(owner) };
    let rows = table.rows();
    let answers = tokio::join!(
        rows.write(vec![write("b")]),
        rows.write(vec![write("c")]),
        rows.write(vec![write("d")]),
    );
    let answers = [answers.0, answers.1, answers.2].concat();
    let done = answers.iter().filter(|answer| **answer == Ok(Written::Done)).count();
    assert_eq!(done, 1, "{answers:?}");
    let lease = table.row(&key).await.and_then(|row| row.lease);
    assert_eq!(lease.map(|lease| lease.epoch), Some(2));
}

pub(super) async fn an_owner_extends(table: Table) {
    let key = table.failed(1).await;
    table.done(&key, extend("a", 1)).await;
    let row = table.row(&key).await.expect("the row is there");
    assert_eq!(row.lease.map(|lease| lease.until), Some(at(500_000)));
    assert_eq!(row.next_attempt_at, Some(at(1_000)), "the rest stays");
    table.done(&key, fail("a", 1, 2)).await;
}

pub(super) async fn extending_wants_owner_and_epoch(table: Table) {
    let key = table.failed(1).await;
    for refused in [extend("b", 1), extend("a", 0), extend("a", 2)] {
        table.refused(&key, refused).await;
    }
}

pub(super) async fn extending_wants_a_lease(table: Table) {
    let (fresh, dead) = (table.put(1).await, table.dead(2).await);
    for key in [fresh, dead] {
        table.refused(&key, extend("a", 1)).await;
        table.refused(&key, extend("a", 0)).await;
    }
    assert!(!table.write(&table.failed(3).await, 1, extend("a", 1)).await);
}

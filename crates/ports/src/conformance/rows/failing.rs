//! Failing: the write with the most conditions.

use posthaste_domain::{DeadLetterCause, EventStatus, RowChange, RowWrite};

use super::{Table, claim, deliver, fail, fail_last, requeue};
use crate::Written;
use crate::conformance::samples::{at, instance};

pub(super) async fn the_first_failure_makes_epoch_one(table: Table) {
    let key = table.put(1).await;
    table.done(&key, fail("a", 0, 1)).await;
    let row = table.row(&key).await.expect("the row is there");
    assert_eq!((row.status, row.attempts), (EventStatus::Failed, 1));
    assert!(row.lease.is_some_and(|lease| lease.is_of(&instance("a"), 1)));
    assert_eq!(row.next_attempt_at, Some(at(1_000)));
}

pub(super) async fn further_failures_keep_the_epoch(table: Table) {
    let key = table.failed(1).await;
    for attempts in 2..=4 {
        table.done(&key, fail("a", 1, attempts)).await;
    }
    table.done(&key, fail_last("a", 1, 5)).await;
    let lease = table.row(&key).await.and_then(|row| row.lease);
    assert!(lease.is_some_and(|lease| lease.is_of(&instance("a"), 1)));
}

pub(super) async fn another_owner_is_refused(table: Table) {
    let key = table.failed(1).await;
    table.refused(&key, fail("b", 1, 2)).await;
    // Names that differ by case, or begin alike, are different.
    table.refused(&key, fail("A", 1, 2)).await;
    table.refused(&key, fail("aa", 1, 2)).await;
}

pub(super) async fn another_epoch_is_refused(table: Table) {
    let key = table.failed(1).await;
    table.refused(&key, fail("a", 2, 2)).await;
    // As numbers, not as texts.
    table.refused(&key, fail("a", 10, 2)).await;
    table.done(&key, claim("a", 1, at(200_001))).await;
    table.refused(&key, fail("a", 1, 2)).await;
    table.done(&key, fail("a", 2, 2)).await;
}

pub(super) async fn a_first_failure_is_refused_where_owned(table: Table) {
    let key = table.failed(1).await;
    table.refused(&key, fail("a", 0, 2)).await;
    table.refused(&key, fail("b", 0, 2)).await;
}

pub(super) async fn an_owner_is_refused_where_nobody_owns(table: Table) {
    let key = table.put(1).await;
    table.refused(&key, fail("a", 1, 1)).await;
    let key = table.dead(2).await;
    table.done(&key, requeue(false)).await;
    assert!(!table.write(&key, 1, fail("a", 1, 1)).await);
}

pub(super) async fn other_attempts_are_refused(table: Table) {
    let key = table.failed(1).await;
    for attempts in [1, 3, 4, 12] {
        table.refused(&key, fail("a", 1, attempts)).await;
    }
    table.done(&key, fail("a", 1, 2)).await;
}

pub(super) async fn nothing_follows_the_last_failure(table: Table) {
    let key = table.dying(1).await;
    table.refused(&key, fail("a", 1, 3)).await;
    table.refused(&key, fail_last("a", 1, 3)).await;
}

pub(super) async fn what_has_ended_is_refused(table: Table) {
    let (delivered, dead) = (table.delivered(1).await, table.dead(2).await);
    let purged = table.purged(3).await;
    for key in [delivered, dead, purged] {
        let attempts = table.row(&key).await.map_or(0, |row| row.attempts);
        table.refused(&key, fail("a", 0, attempts + 1)).await;
        table.refused(&key, fail("a", 1, attempts + 1)).await;
    }
}

pub(super) async fn another_round_is_refused(table: Table) {
    let key = table.dead(1).await;
    assert!(!table.write(&key, 1, fail("a", 0, 1)).await);
    table.done(&key, requeue(false)).await;
    assert!(!table.write(&key, 0, fail("a", 0, 1)).await);
    assert!(table.write(&key, 1, fail("a", 0, 1)).await);
}

/// The tenant is gone, or our crashes cut the event off too often: no attempt was made.
pub(super) async fn no_attempt_is_charged_where_none_was_made(table: Table) {
    let gone = |attempts, epoch_seen| {
        let mut change = fail("a", epoch_seen, attempts);
        if let RowChange::Fail { attempts_seen, attempt, cause, .. } = &mut change {
            (*attempts_seen, *attempt) = (attempts, None);
            *cause = Some(DeadLetterCause::TenantGone);
        }
        change
    };
    let fresh = table.put(1).await;
    table.refused(&fresh, gone(1, 0)).await;
    table.done(&fresh, gone(0, 0)).await;
    let failed = table.failed(2).await;
    table.done(&failed, gone(1, 1)).await;
    let row = table.row(&failed).await.expect("the row is there");
    assert_eq!((row.attempts, row.cause), (1, Some(DeadLetterCause::TenantGone)));
}

pub(super) async fn interruptions_are_counted(table: Table) {
    let key = table.put(1).await;
    for (attempts, count) in [(1, 2), (2, 255), (3, 0)] {
        let mut change = fail("a", u64::from(attempts > 1), attempts);
        if let RowChange::Fail { interrupted, .. } = &mut change {
            *interrupted = count;
        }
        table.done(&key, change).await;
        assert_eq!(table.row(&key).await.map(|row| row.interrupted), Some(count));
    }
}

pub(super) async fn anybody_may_fail_a_requeued_row(table: Table) {
    let key = table.dead(1).await;
    table.done(&key, requeue(false)).await;
    assert!(table.write(&key, 1, fail("b", 0, 1)).await);
    assert!(!table.write(&key, 1, fail("a", 0, 1)).await);
    assert!(table.write(&key, 1, fail("b", 1, 2)).await);
}

pub(super) async fn a_failure_without_a_record(table: Table) {
    let key = table.put(1).await;
    let mut change = fail("a", 0, 1);
    if let RowChange::Fail { attempt, .. } = &mut change {
        *attempt = None;
    }
    table.done(&key, change).await;
    table.done(&key, RowChange::Deliver { attempts: 2, at: at(9), attempt: None }).await;
}

/// Two daemons hold the same message: one of them owns the row afterwards.
pub(super) async fn of_many_first_failures_one_wins(table: Table) {
    let key = table.put(1).await;
    let write = |owner| RowWrite { key: key.clone(), round: 0, change: fail(owner, 0, 1) };
    let rows = table.rows();
    let answers = tokio::join!(
        rows.write(vec![write("a")]),
        rows.write(vec![write("b")]),
        rows.write(vec![write("c")]),
        rows.write(vec![write("d")]),
    );
    let answers = [answers.0, answers.1, answers.2, answers.3].concat();
    let done = answers.iter().filter(|answer| **answer == Ok(Written::Done)).count();
    assert_eq!(done, 1, "{answers:?}");
    let row = table.row(&key).await;
    for answer in answers.into_iter().filter(|answer| *answer != Ok(Written::Done)) {
        // The loser is told who won.
        assert_eq!(answer, Ok(Written::Refused(row.clone())));
    }
    table.done(&key, deliver(2)).await;
}

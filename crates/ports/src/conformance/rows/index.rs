//! The work index: what is owed, by the end of its lease. It may lag, so checks wait for it.

use posthaste_domain::{RowChange, RowWrite, Timestamp};

use super::{Table, claim, deliver, extend, fail, purge, requeue};
use crate::conformance::samples::{at, die, instance};
use crate::{WORK_PARTITIONS, Written};

/// After every lease of the checks.
const ALL: Timestamp = at(1_000_000);

pub(super) async fn holds_what_is_owed(table: Table) {
    let (failed, dying) = (table.failed(1).await, table.dying(2).await);
    let requeued = table.dead(3).await;
    table.done(&requeued, requeue(false)).await;
    table.shows(ALL, &[&failed, &dying, &requeued]).await;
}

pub(super) async fn lets_go_of_what_has_ended(table: Table) {
    let (delivered, dead, purged) =
        (table.failed(1).await, table.dying(2).await, table.dying(3).await);
    table.shows(ALL, &[&delivered, &dead, &purged]).await;
    table.done(&delivered, deliver(2)).await;
    table.done(&dead, die("a", 1, 2)).await;
    table.done(&purged, die("a", 1, 2)).await;
    table.done(&purged, purge()).await;
    table.shows(ALL, &[]).await;
}

/// The common life of an event costs no index write.
pub(super) async fn a_fresh_event_never_touches_it(table: Table) {
    let key = table.put(1).await;
    table.shows(ALL, &[]).await;
    table.done(&key, deliver(1)).await;
    let mark = table.failed(2).await;
    table.shows(ALL, &[&mark]).await;
}

pub(super) async fn before_is_before(table: Table) {
    let key = table.failed(1).await;
    table.shows(ALL, &[&key]).await;
    assert_eq!(table.owed(at(200_001)).await, Vec::new(), "the lease ends at that time");
    assert_eq!(table.owed(at(200_002)).await, [key]);
    assert_eq!(table.owed(Timestamp::ZERO).await, Vec::new());
}

/// In a time of its own, long before the other checks', so that what is counted is its own.
pub(super) async fn soonest_first_and_at_most(table: Table) {
    let early = |millis| Timestamp::from_millis(1_000 + millis);
    let mut writes = Vec::new();
    for number in 0..200 {
        let key = table.put(number).await;
        let mut change = fail("a", 0, 1);
        if let RowChange::Fail { until, .. } = &mut change {
            // Out of order.
            *until = early(number * 7_919 % 200);
        }
        writes.push(RowWrite { key, round: 0, change });
    }
    let keys: Vec<_> = writes.iter().map(|write| write.key.clone()).collect();
    let answers = table.rows().write(writes).await;
    assert!(answers.iter().all(|answer| *answer == Ok(Written::Done)), "{answers:?}");
    table.shows(early(200), &keys.iter().collect::<Vec<_>>()).await;
    let mut several = 0;
    for partition in 0..WORK_PARTITIONS {
        let all = table.owed_in(partition, early(200), 100).await;
        let ends = all.iter().map(|key| {
            let number = keys.iter().position(|other| other == key).expect("one of ours");
            number as u64 * 7_919 % 200
        });
        assert!(ends.is_sorted(), "soonest first");
        several += usize::from(all.len() > 1);
        for max in 1..all.len() {
            assert_eq!(table.owed_in(partition, early(200), max).await, all[..max]);
        }
    }
    // 200 rows in 64 partitions: some share one, or they are not spread at all.
    assert!((10..=64).contains(&several), "{several} partitions hold more than one row");
}

pub(super) async fn follows_the_lease(table: Table) {
    let key = table.failed(1).await;
    table.shows(at(300_000), &[&key]).await;
    table.done(&key, claim("b", 1, at(200_001))).await;
    table.shows(at(300_000), &[]).await;
    table.shows(at(400_001), &[&key]).await;
    table.done(&key, extend("b", 2)).await;
    table.shows(at(400_001), &[]).await;
    // Given away at once.
    let owner = instance("b");
    table.done(&key, RowChange::Extend { owner, epoch: 2, until: at(0) }).await;
    table.shows(at(1), &[&key]).await;
}

pub(super) async fn a_row_has_one_partition(table: Table) {
    let key = table.failed(1).await;
    table.shows(ALL, &[&key]).await;
    let mut homes = Vec::new();
    for partition in 0..WORK_PARTITIONS {
        if !table.owed_in(partition, ALL, 10_000).await.is_empty() {
            homes.push(partition);
        }
    }
    assert_eq!(homes.len(), 1, "{homes:?}");
    table.done(&key, fail("a", 1, 2)).await;
    table.done(&key, claim("b", 1, at(200_002))).await;
    table.shows(ALL, &[&key]).await;
    assert_eq!(table.owed_in(homes[0], ALL, 10_000).await, [key], "and keeps it");
}

/// What the index showed a moment ago is no more than a hint: the row decides.
pub(super) async fn a_stale_entry_does_no_harm(table: Table) {
    let key = table.failed(1).await;
    table.shows(ALL, &[&key]).await;
    table.done(&key, deliver(2)).await;
    // Whatever the index shows now.
    table.refused(&key, claim("b", 1, at(200_001))).await;
}

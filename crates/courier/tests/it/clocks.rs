//! Leases are the table's: whatever this machine's clock says, by the table's nobody attempts what
//! another may have taken, and nobody takes what another may attempt.

use std::time::Duration;

use posthaste_courier::Permission;
use posthaste_domain::{InstanceId, Owed, OwedAs, Resolution, RowKey};
use posthaste_ports::{Rows as _, Settled, Written};
use posthaste_protocol::{LEASE_SLACK_MS, SKEW_MS_MAX, claim};
use tokio::time::sleep;

use crate::support::Bench;

/// An event whose retry is due now, by a lease of this instance.
async fn due_again(bench: &Bench) -> (RowKey, Owed) {
    let key = bench.post().await;
    let owed = bench.arrived().await;
    let due = bench.now().plus_millis(60_000);
    assert_eq!(bench.settle(&owed, Resolution::Retry { due }).await, Settled::Settled);
    sleep(Duration::from_secs(60)).await;
    (key, Bench::retry(owed, due))
}

fn epoch(bench: &Bench, key: &RowKey) -> u64 {
    bench.row(key).lease.unwrap().epoch
}

/// By this clock the lease lasts for minutes; it was set back, and by the table's it is over.
#[tokio::test(start_paused = true)]
async fn a_clock_that_is_behind_claims_again_before_it_attempts() {
    let bench = Bench::start().await;
    let (key, again) = due_again(&bench).await;
    let epoch_before = epoch(&bench, &key);
    let behind_ms = i64::try_from(LEASE_SLACK_MS).unwrap();
    bench.table_is_ahead(Some(behind_ms));
    assert_eq!(bench.courier.permit(&again.key, 0, 2).await, Permission::Granted);
    assert_eq!(epoch(&bench, &key), epoch_before + 1);
    assert_eq!(bench.courier.stats().reclaimed, 1);
    // Its lease lasts by the table's clock: the next time needs no claim.
    assert_eq!(bench.courier.permit(&again.key, 0, 2).await, Permission::Granted);
    assert_eq!(bench.courier.stats().reclaimed, 1);
}

/// The same, and another instance has taken it over.
#[tokio::test(start_paused = true)]
async fn a_clock_that_is_behind_attempts_nothing_that_another_has() {
    let bench = Bench::start().await;
    let (key, again) = due_again(&bench).await;
    let behind_ms = i64::try_from(LEASE_SLACK_MS).unwrap();
    bench.table_is_ahead(Some(behind_ms));
    let (other, there) = (InstanceId::try_new("two").unwrap(), bench.now().plus_millis(200_000));
    let write = claim(&key, &bench.row(&key), &other, there).unwrap();
    assert_eq!(bench.rows.write(vec![write]).await, [Ok(Written::Done)]);
    assert_eq!(bench.courier.permit(&again.key, 0, 2).await, Permission::Withdrawn);
}

/// Nobody knows how far this clock was set back while the process was away.
#[tokio::test(start_paused = true)]
async fn before_the_table_has_answered_no_lease_is_good() {
    let bench = Bench::start().await;
    let (key, again) = due_again(&bench).await;
    let epoch_before = epoch(&bench, &key);
    bench.table_is_ahead(None);
    // Nor is it claimed: if it lasts, and the disk does not get the claim, it would be taken for
    // good after the next start.
    assert_eq!(bench.courier.permit(&again.key, 0, 2).await, Permission::Later);
    assert_eq!(epoch(&bench, &key), epoch_before);
    bench.table_is_ahead(Some(0));
    assert_eq!(bench.courier.permit(&again.key, 0, 2).await, Permission::Granted);
    assert_eq!(epoch(&bench, &key), epoch_before);
}

/// By this clock the other's lease is over; by the table's it is not.
#[tokio::test(start_paused = true)]
async fn a_clock_that_is_ahead_takes_nothing_over_early() {
    let bench = Bench::start().await;
    let behind_ms = 600_000_i64;
    bench.table_is_ahead(Some(-behind_ms));
    let key = bench.failed_elsewhere().await;
    let until = bench.row(&key).lease.unwrap().until;
    let table = |bench: &Bench| bench.now().as_millis() - behind_ms.unsigned_abs();
    bench.until(|it| table(it) > until.as_millis() + SKEW_MS_MAX - 1_000).await;
    assert_eq!(bench.row(&key).lease.unwrap().owner.unwrap().as_str(), "two");
    bench.until(|it| it.row(&key).lease.unwrap().owner.unwrap().as_str() == "one").await;
    assert!(table(&bench) >= until.as_millis() + SKEW_MS_MAX);
}

/// The retry is due when this clock says so, an hour after the others': until then they leave it.
#[tokio::test(start_paused = true)]
async fn a_clock_that_is_behind_keeps_what_it_owes() {
    let bench = Bench::start().await;
    let behind_ms = 3_600_000_i64;
    bench.table_is_ahead(Some(behind_ms));
    let (key, again) = due_again(&bench).await;
    let OwedAs::Timer(due) = again.owed_as else { panic!("{again:?}") };
    let until = due.plus_millis(behind_ms.unsigned_abs() + LEASE_SLACK_MS);
    assert_eq!(bench.row(&key).lease.unwrap().until, until);
    assert_eq!(bench.courier.permit(&again.key, 0, 2).await, Permission::Granted);
    assert_eq!(bench.courier.stats().reclaimed, 0);
}

/// A wall clock that was hours ahead when the process began, and was set right: rows whose owners
/// are gone are taken over all the same.
#[tokio::test(start_paused = true)]
async fn a_clock_that_was_ahead_and_is_right_again_sweeps() {
    let bench = Bench::start().await;
    bench.wall_is_ahead(8 * 3_600_000);
    sleep(Duration::from_secs(60)).await;
    bench.wall_is_ahead(0);
    let key = bench.failed_elsewhere().await;
    bench.until(|it| it.row(&key).lease.unwrap().owner.unwrap().as_str() == "one").await;
}

/// The control: one that was set back, and is not right by the table's clock, takes nothing over.
#[tokio::test(start_paused = true)]
async fn a_clock_that_was_set_back_does_not_sweep() {
    let bench = Bench::start().await;
    sleep(Duration::from_secs(60)).await;
    bench.wall_is_ahead(-3_600_000);
    let key = bench.failed_elsewhere().await;
    sleep(Duration::from_secs(1_000)).await;
    assert_eq!(bench.row(&key).lease.unwrap().owner.unwrap().as_str(), "two");
    bench.wall_is_ahead(0);
    bench.until(|it| it.row(&key).lease.unwrap().owner.unwrap().as_str() == "one").await;
}

/// While answers contradict each other, nobody's row is taken.
#[tokio::test(start_paused = true)]
async fn while_the_time_is_not_known_nothing_is_taken_over() {
    let bench = Bench::start().await;
    bench.table_is_ahead(None);
    let key = bench.failed_elsewhere().await;
    sleep(Duration::from_secs(1_000)).await;
    assert_eq!(bench.row(&key).lease.unwrap().owner.unwrap().as_str(), "two");
    bench.table_is_ahead(Some(0));
    bench.until(|it| it.row(&key).lease.unwrap().owner.unwrap().as_str() == "one").await;
}

//! Rows that make no sense to us: written by hand, or by a later version.

use std::time::Duration;

use posthaste_courier::Permission;
use posthaste_domain::{EventStatus, Resolution};
use posthaste_ports::{JobStore as _, Rows as _, Settled, WORK_PARTITIONS};
use posthaste_protocol::EventMessage;
use tokio::time::sleep;

use crate::support::{Bench, delivery, message};

/// A message that such a row stands behind is put aside with the reason; others that came with it
/// go their way.
#[tokio::test(start_paused = true)]
async fn a_message_of_a_spoilt_row_is_put_aside() {
    let bench = Bench::start().await;
    let (bad, good) = (bench.new_row(), bench.new_row());
    bench.rows.spoil(&bad);
    for key in [&bad, &good] {
        bench.send(&EventMessage { again: true, ..message(key, 0, Some("{}")) }).await;
    }
    let owed = bench.arrived().await;
    assert_eq!(owed.key, delivery(&good));
    assert_eq!(bench.settle(&owed, Resolution::Delivered).await, Settled::Settled);
    bench.until(|it| it.queue.is_empty()).await;
    let text = String::from_utf8(bench.dead.bodies()[0].to_vec()).unwrap();
    let event = bad.event.to_string();
    assert!(text.contains("status is") && text.contains(&event), "{text}");
    let stats = bench.courier.stats();
    assert_eq!((stats.unreadable, stats.quarantined), (1, 1));
}

/// An outcome that such a row refuses is not written again for ever: the delivery is let go, and
/// its message put aside when it comes again.
#[tokio::test(start_paused = true)]
async fn an_outcome_does_not_wait_for_a_spoilt_row() {
    let bench = Bench::start().await;
    let key = bench.post().await;
    let owed = bench.arrived().await;
    bench.rows.spoil(&key);
    assert_eq!(bench.settle(&owed, Resolution::Delivered).await, Settled::Superseded);
    assert!(bench.jobs.outbox(None, 10).await.unwrap().is_empty());
    bench.until(|it| it.queue.is_empty()).await;
    assert_eq!(bench.dead.len(), 1);
    assert!(bench.courier.ailments().is_empty(), "the table works");
}

/// A retry whose row was spoilt meanwhile is let go, in whichever step that comes out.
#[tokio::test(start_paused = true)]
async fn a_retry_does_not_wait_for_a_spoilt_row() {
    let bench = Bench::start().await;
    let key = bench.post().await;
    let owed = bench.arrived().await;
    let due = bench.now().plus_millis(1_000);
    assert_eq!(bench.settle(&owed, Resolution::Retry { due }).await, Settled::Settled);
    bench.rows.spoil(&key);
    // Its lease runs out meanwhile, so that it has to be claimed first.
    sleep(Duration::from_secs(400)).await;
    let permission = bench.courier.permit(&delivery(&key), 0, 2).await;
    assert_eq!(permission, Permission::Withdrawn);
    assert_eq!(bench.jobs.jobs(&[delivery(&key)]).await, Ok(vec![None]));
}

/// A sweep tells of such rows once, and takes over the others.
#[tokio::test(start_paused = true)]
async fn a_sweep_goes_round_spoilt_rows() {
    let bench = Bench::start().await;
    let (bad, good) = (bench.failed_elsewhere().await, bench.failed_elsewhere().await);
    bench.rows.spoil(&bad);
    assert_eq!(bench.arrived().await.key, delivery(&good));
    sleep(Duration::from_secs(600)).await;
    assert_eq!(bench.courier.stats().unreadable, 1);
    assert!(bench.courier.ailments().is_empty(), "the sweep works");
}

/// However many rows at the head of the index cannot be taken over, those behind them are.
#[tokio::test(start_paused = true)]
async fn what_stays_in_the_index_hides_nothing() {
    const STAY: usize = 9_000;
    let bench = Bench::start().await;
    for _ in 0..STAY {
        let key = bench.failed_elsewhere().await;
        bench.rows.spoil(&key);
    }
    sleep(Duration::from_secs(1)).await;
    let key = bench.failed_elsewhere().await;
    let end = bench.row(&key).lease.unwrap().until.plus_millis(1);
    for partition in 0..WORK_PARTITIONS {
        let first = bench.rows.owed(partition, end, 100).await.unwrap();
        assert!(!first.contains(&key), "it is among the first: no test");
    }
    assert_eq!(bench.arrived().await.key, delivery(&key));
}

/// What was taken over is told to the shards once more with the next sweep, if it still waits: an
/// inbox may have been full.
#[tokio::test(start_paused = true)]
async fn what_a_shard_forgot_is_told_again() {
    let bench = Bench::start().await;
    let key = bench.failed_elsewhere().await;
    let forgotten = bench.arrived().await;
    let before = bench.now();
    let owed = bench.arrived().await;
    assert_eq!((&owed, owed.key.clone()), (&forgotten, delivery(&key)));
    assert!(bench.now().millis_since(before) <= 30_000, "with the next sweep");
    assert_eq!(bench.settle(&owed, Resolution::Delivered).await, Settled::Settled);
    assert_eq!(bench.row(&key).status, EventStatus::Delivered);
    sleep(Duration::from_secs(600)).await;
    assert!(bench.no_arrivals(), "and not for ever");
}

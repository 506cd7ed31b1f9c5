//! The disk is full (PROTOCOL, crash point 37).

use std::time::Duration;

use posthaste_domain::{EventStatus, Resolution};
use posthaste_ports::Settled;
use tokio::time::sleep;

use crate::support::{Bench, delivery};

/// Nothing more is received, what is held goes its way, and with room again the rest is received.
#[tokio::test(start_paused = true)]
async fn a_full_disk_takes_nothing_on_and_finishes_what_it_has() {
    let bench = Bench::start().await;
    let held = bench.post().await;
    let owed = bench.arrived().await;
    bench.jobs.set_full(true);
    // The polls that are under way come to their end, whatever they bring.
    sleep(Duration::from_secs(21)).await;
    let polls = bench.courier.stats().polls;
    let left = bench.post().await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(bench.courier.stats().polls, polls, "nothing is asked for");
    assert!(bench.no_arrivals());

    let due = bench.now().plus_millis(1_000);
    assert_eq!(bench.settle(&owed, Resolution::Retry { due }).await, Settled::Settled);
    let again = Bench::retry(owed, due);
    assert_eq!(bench.settle(&again, Resolution::Delivered).await, Settled::Settled);
    assert_eq!(bench.row(&held).status, EventStatus::Delivered);

    bench.jobs.set_full(false);
    let fresh = bench.arrived().await;
    assert_eq!(fresh.key, delivery(&left));
}

/// A row whose owner is gone is left to others, and taken over with room again.
#[tokio::test(start_paused = true)]
async fn a_full_disk_takes_over_nothing() {
    let bench = Bench::start().await;
    bench.jobs.set_full(true);
    let key = bench.failed_elsewhere().await;
    sleep(Duration::from_secs(600)).await;
    let lease = bench.row(&key).lease.unwrap();
    assert!(lease.until < bench.now() && lease.epoch == 1, "{lease:?}");
    bench.jobs.set_full(false);
    assert_eq!(bench.arrived().await.key, delivery(&key));
    assert_eq!(bench.row(&key).lease.unwrap().epoch, 2);
}

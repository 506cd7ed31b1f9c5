//! The table does not answer.

use std::time::Duration;

use posthaste_courier::Permission;
use posthaste_domain::{EventStatus, Resolution};
use posthaste_ports::JobStore as _;
use posthaste_ports::memory::Operation;
use tokio::time::sleep;

use crate::support::{Bench, delivery};

/// An outcome waits for its row in the outbox, its message stays, and nothing is answered before
/// the row has it.
#[tokio::test(start_paused = true)]
async fn an_outcome_outlives_an_outage() {
    let bench = Bench::start().await;
    let key = bench.post().await;
    let owed = bench.arrived().await;
    bench.broken.set(&[Operation::Write, Operation::Read, Operation::Owed]);
    let settling = bench.settle(&owed, Resolution::Delivered);
    let outage = async {
        sleep(Duration::from_secs(600)).await;
        assert_eq!(bench.row(&key).status, EventStatus::Pending);
        assert_eq!(bench.queue.len(), 1);
        let jobs = bench.jobs.outbox(None, 10).await.unwrap();
        assert_eq!(jobs.len(), 1, "the outbox has it");
        assert!(!bench.courier.ailments().is_empty());
        bench.broken.set(&[]);
        bench.now()
    };
    let over = async { (settling.await, bench.now()) };
    let (ended_at, (_, settled_at)) = tokio::join!(outage, over);
    assert!(settled_at >= ended_at, "not before the row has it");
    assert!(settled_at.millis_since(ended_at) <= 2_000, "soon after the outage");
    assert_eq!(bench.row(&key).status, EventStatus::Delivered);
    bench.until(|it| it.queue.is_empty() && it.courier.ailments().is_empty()).await;
}

/// A lease that ran out while a retry waited has to be renewed before its attempt, and cannot be
/// while the table does not answer.
#[tokio::test(start_paused = true)]
async fn no_retry_without_a_lease() {
    let bench = Bench::start().await;
    let key = bench.post().await;
    let owed = bench.arrived().await;
    let due = bench.now().plus_millis(1_000);
    bench.settle(&owed, Resolution::Retry { due }).await;
    sleep(Duration::from_secs(400)).await;
    bench.broken.set(&[Operation::Write]);
    assert_eq!(bench.courier.permit(&delivery(&key), 0, 2).await, Permission::Later);
    bench.broken.set(&[]);
    assert_eq!(bench.courier.permit(&delivery(&key), 0, 2).await, Permission::Granted);
    assert_eq!(bench.row(&key).lease.unwrap().epoch, 2);
}

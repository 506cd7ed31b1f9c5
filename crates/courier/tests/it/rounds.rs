//! Two rounds of one event at the same time: a tenant has it sent afresh while a retry is under
//! way.

use std::time::Duration;

use posthaste_courier::Permission;
use posthaste_domain::Resolution;
use posthaste_ports::{Rows as _, Settled, Written};
use posthaste_protocol::{Requeued, requeue};
use tokio::time::sleep;

use crate::support::{Bench, message};

/// The outcome of the earlier round's attempt comes while the later round is being claimed, and
/// is refused after it: the later round's job stays.
#[tokio::test(start_paused = true)]
async fn a_late_outcome_leaves_the_next_rounds_job() {
    let bench = Bench::start().await;
    let key = bench.post().await;
    let owed = bench.arrived().await;
    let due = bench.now().plus_millis(1_000);
    assert_eq!(bench.settle(&owed, Resolution::Retry { due }).await, Settled::Settled);
    let again = Bench::retry(owed, due);
    // Its attempt is under way when its tenant asks for a fresh round.
    let write = requeue(&key, 0, Requeued::DeadOrFailed, bench.now());
    assert_eq!(bench.rows.write(vec![write]).await, [Ok(Written::Done)]);
    bench.broken.slow_down(5_000);
    bench.send(&message(&key, 1, None)).await;
    sleep(Duration::from_secs(2)).await;
    let late = bench.settle(&again, Resolution::Retry { due: due.plus_millis(9_000) });
    assert_eq!(late.await, Settled::Superseded);
    let fresh = bench.arrived().await;
    assert_eq!((fresh.round, fresh.attempts), (1, 0));
    assert_eq!(bench.courier.permit(&fresh.key, 1, 1).await, Permission::Granted);
    assert_eq!(bench.settle(&fresh, Resolution::Delivered).await, Settled::Settled);
}

//! Two rounds of one event at the same time: a tenant has it sent afresh while a retry is under
//! way.

use std::time::Duration;

use posthaste_courier::Permission;
use posthaste_domain::Resolution;
use posthaste_ports::memory::Operation;
use posthaste_ports::{Job, JobChange, JobStore as _, Journal as _, Rows as _, Settled, Written};
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
    bench.broken.slow_down(Operation::Write, 5_000);
    bench.send(&message(&key, 1, None)).await;
    sleep(Duration::from_secs(2)).await;
    let late = bench.settle(&again, Resolution::Retry { due: due.plus_millis(9_000) });
    assert_eq!(late.await, Settled::Superseded);
    let fresh = bench.arrived().await;
    assert_eq!((fresh.round, fresh.attempts), (1, 0));
    assert_eq!(bench.courier.permit(&fresh.key, 1, 1).await, Permission::Granted);
    assert_eq!(bench.settle(&fresh, Resolution::Delivered).await, Settled::Settled);
}

/// What finds its row gone, or spoilt, is forgotten as it was known before that look: a later
/// round's job that came meanwhile stays.
#[tokio::test(start_paused = true)]
async fn a_row_that_is_gone_leaves_the_next_rounds_job() {
    for is_spoilt in [false, true] {
        let bench = Bench::start().await;
        let key = bench.post().await;
        let owed = bench.arrived().await;
        let due = bench.now().plus_millis(1_000);
        assert_eq!(bench.settle(&owed, Resolution::Retry { due }).await, Settled::Settled);
        let job = bench.jobs.jobs(std::slice::from_ref(&owed.key)).await.unwrap().remove(0);
        let earlier = Job { payload: None, ..job.unwrap() };
        let later = Job { round: 1, ..earlier.clone() };
        for (meanwhile, left) in [(&earlier, None), (&later, Some(later.clone()))] {
            bench.jobs.apply(vec![JobChange::Put(Box::new(earlier.clone()))]).await.unwrap();
            if is_spoilt {
                bench.rows.spoil(&key);
            } else {
                bench.rows.remove(&key);
            }
            bench.broken.slow_down(Operation::Read, 1_000);
            let come = async {
                bench.until(|it| it.broken.slow_calls() > 0).await;
                bench.jobs.apply(vec![JobChange::Put(Box::new(meanwhile.clone()))]).await
            };
            let keys = [owed.key.clone()];
            let (payloads, came) = tokio::join!(bench.courier.payloads(&keys), come);
            assert_eq!((payloads, came), (Ok(vec![None]), Ok(())));
            assert_eq!(bench.jobs.jobs(&keys).await, Ok(vec![left]));
        }
    }
}

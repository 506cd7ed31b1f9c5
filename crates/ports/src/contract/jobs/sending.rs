//! The outbox: what is to be written to the row, or sent to the DLQ.

use posthaste_domain::Timestamp;

use super::JobFixture;
use super::samples::{cut_off, delivery, dying, job, job_of, keys, unsent, waiting};
use crate::contract::samples::{PLENTY, after};
use crate::{Job, JobState};

fn unsent_of(tenant: &str, n: u64) -> Job {
    let JobState::Unwritten(mut settlement) = unsent(n).state else { panic!("it is unwritten") };
    settlement.key = delivery(tenant, n);
    job_of(delivery(tenant, n), JobState::Unwritten(settlement))
}

/// The outbox comes by tenant and event, not in the order in which it was put.
pub(super) async fn the_outbox_is_in_the_order_of_deliveries(f: &mut JobFixture) {
    let (first, second) = (unsent_of("acme", 9), unsent_of("acme-eu", 1));
    let (third, fourth) = (job_of(delivery("beta", 2), dying()), unsent_of("beta", 5));
    for job in [&third, &first, &fourth, &second] {
        f.put_one(job).await;
    }
    f.later().await;
    assert_eq!(f.outbox_pages(PLENTY).await, [first, second, third, fourth]);
}

/// A page begins after its place, whether or not a job stands there.
pub(super) async fn the_outbox_begins_after_any_delivery(f: &mut JobFixture) {
    let jobs = [2, 4, 6].map(unsent);
    f.put(&jobs).await;
    f.later().await;
    for (after, first) in [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (6, 3), (7, 3)] {
        let page = f.store().outbox(Some(delivery("acme", after)), PLENTY).await;
        assert_eq!(page, Ok(jobs[first..].to_vec()), "after {after}");
    }
    let before = f.store().outbox(Some(delivery("aaa", 9)), 2).await;
    assert_eq!(before, Ok(jobs[..2].to_vec()));
}

/// For all page sizes: pages together are the outbox.
pub(super) async fn pages_of_the_outbox_leave_nothing_out(f: &mut JobFixture) {
    let jobs: Vec<_> = (0..23).map(unsent).collect();
    f.put(&jobs).await;
    f.later().await;
    for max in [1, 2, 5, 22, 23, 24] {
        assert_eq!(f.outbox_pages(max).await, jobs, "by {max}");
    }
    assert_eq!(f.store().outbox(None, 0).await, Ok(Vec::new()));
}

/// Unwritten and dying jobs are in the outbox, no others.
pub(super) async fn only_what_is_to_be_sent_is_in_the_outbox(f: &mut JobFixture) {
    let (unwritten, dying) = (unsent(1), job(2, dying()));
    f.put(&[job(3, waiting(after(1))), dying.clone(), job(4, cut_off(after(2)))]).await;
    f.put_one(&unwritten).await;
    f.later().await;
    assert_eq!(f.outbox_pages(PLENTY).await, [unwritten, dying]);
}

/// What becomes something else, or is removed, is in the outbox no more; what follows from it in
/// the outbox again stands there once, as it is now.
pub(super) async fn what_is_sent_leaves_the_outbox(f: &mut JobFixture) {
    let jobs: Vec<_> = (1..=4).map(unsent).collect();
    f.put(&jobs).await;
    f.later().await;
    f.remove(&keys(&jobs[..1])).await;
    let dead = job(2, dying());
    f.put(&[dead.clone(), job(3, waiting(after(5)))]).await;
    f.later().await;
    assert_eq!(f.outbox_pages(PLENTY).await, [dead.clone(), jobs[3].clone()]);
    f.put(&[jobs[2].clone()]).await;
    f.remove(&[dead.key]).await;
    f.later().await;
    assert_eq!(f.outbox_pages(PLENTY).await, jobs[2..]);
    assert_eq!(f.store().forget_cut_off(Timestamp::MAX, PLENTY).await, Ok(0));
}

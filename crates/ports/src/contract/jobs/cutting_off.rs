//! Records of what our crashes cut off.

use posthaste_domain::Timestamp;

use super::JobFixture;
use super::samples::{cut_off, dying, job, keys, one_of_each, unsent, waiting};
use crate::JobState;
use crate::contract::samples::{ALL_SHARDS, DAY, PLENTY, after};

/// Nothing is owed by a cut-off job: it is read by its delivery, and nowhere else.
pub(super) async fn a_cut_off_job_only_counts(f: &mut JobFixture) {
    let cut = job(1, cut_off(after(10)));
    f.put_one(&cut).await;
    f.later().await;
    assert_eq!(f.job(&cut.key).await.as_ref(), Some(&cut));
    assert_eq!(f.timer_pages(ALL_SHARDS, Timestamp::MAX, PLENTY).await, []);
    assert_eq!(f.outbox_pages(PLENTY).await, []);
}

/// What was noted before a time is forgotten, what was noted at it is not, and no job of another
/// state is ever.
pub(super) async fn old_cut_off_jobs_are_forgotten(f: &mut JobFixture) {
    let others = one_of_each();
    let others: Vec<_> =
        others.into_iter().filter(|job| !matches!(job.state, JobState::CutOff { .. })).collect();
    let cut = [(21, 10), (22, 20), (23, 30)].map(|(n, at)| job(n, cut_off(after(at))));
    f.put(&others).await;
    f.put(&cut).await;
    f.later().await;
    assert_eq!(f.store().forget_cut_off(after(10), PLENTY).await, Ok(0));
    assert_eq!(f.store().forget_cut_off(after(30), PLENTY).await, Ok(2));
    f.later().await;
    assert_eq!(f.jobs(&keys(&cut)).await, [None, None, Some(cut[2].clone())]);
    assert_eq!(f.store().forget_cut_off(after(30), PLENTY).await, Ok(0));
    assert_eq!(f.store().forget_cut_off(Timestamp::MAX, PLENTY).await, Ok(1));
    f.later().await;
    assert_eq!(f.jobs(&keys(&cut)).await, [None, None, None]);
    let left: Vec<_> = f.jobs(&keys(&others)).await.into_iter().flatten().collect();
    assert_eq!(left, others);
}

/// No more are forgotten than one wants, and small steps come to the end.
pub(super) async fn as_many_are_forgotten_as_one_wants(f: &mut JobFixture) {
    let cut: Vec<_> = (0..7).map(|n| job(n, cut_off(after(n)))).collect();
    f.put(&cut).await;
    for left in [5, 3, 1, 0] {
        let forgotten = f.store().forget_cut_off(after(DAY), 2).await.expect("forgetting works");
        assert!((1..=2).contains(&forgotten), "{forgotten} forgotten");
        f.later().await;
        assert_eq!(f.jobs(&keys(&cut)).await.into_iter().flatten().count(), left);
    }
    assert_eq!(f.store().forget_cut_off(after(DAY), 2).await, Ok(0));
}

/// A delivery whose message came again has a job, which is not forgotten for what it was.
pub(super) async fn a_job_that_came_again_is_not_forgotten(f: &mut JobFixture) {
    f.put(&[1, 2, 3, 4].map(|n| job(n, cut_off(after(1))))).await;
    f.later().await;
    let again = [job(1, waiting(after(9))), unsent(2), job(3, dying()), job(4, cut_off(after(8)))];
    f.put(&again).await;
    f.later().await;
    assert_eq!(f.store().forget_cut_off(after(8), PLENTY).await, Ok(0));
    f.later().await;
    assert_eq!(f.jobs(&keys(&again)).await, again.map(Some));
}

//! Random histories of jobs: a store and the reference do the same, and every view agrees.
//!
//! Invariant: the same histories every time. A failure names the history and its last steps.

use posthaste_domain::{DeliveryKey, EndpointId, Resolution, Timestamp};

use super::JobFixture;
use super::samples::{cut_off, delivery, dying, job_of, sorted, unwritten, waiting};
use crate::chance::Chance;
use crate::contract::samples::{PLENTY, after};
use crate::memory::MemoryJobs;
use crate::{Job, JobChange, JobState, JobStore, ShardSpec};

/// Histories, one after the other in one store.
const HISTORIES: u64 = 20;
/// Calls of one history.
const STEPS: usize = 40;
/// Steps told of a history that failed.
const STEPS_TOLD: usize = 12;

/// For all histories: after each call every view is the reference's, and what is left at the end
/// can be removed.
pub(super) async fn histories_of_jobs_agree_with_the_reference(f: &mut JobFixture) {
    for number in 0..HISTORIES {
        let mut chance = Chance::new(5, number);
        let model = MemoryJobs::default();
        let mut told = Vec::new();
        for _ in 0..STEPS {
            if chance.percent(10) {
                let before = after(chance.below(60));
                told.push(format!("forget before {before}"));
                let expected = model.forget_cut_off(before, PLENTY).await;
                assert_eq!(f.store().forget_cut_off(before, PLENTY).await, expected);
            } else {
                let changes = draw_changes(&mut chance);
                told.push(format!("{:?}", changes.iter().map(describe).collect::<Vec<_>>()));
                model.apply(changes.clone()).await.expect("the reference never fails");
                f.apply(changes).await;
            }
            if chance.percent(20) {
                f.later().await;
            }
            let recent = &told[told.len().saturating_sub(STEPS_TOLD)..];
            compare(f, &model, &format!("history {number}: {recent:#?}")).await;
        }
        f.remove(&all_keys()).await;
        f.later().await;
        compare(f, &MemoryJobs::default(), &format!("the end of history {number}")).await;
    }
}

fn all_keys() -> Vec<DeliveryKey> {
    let mut keys = Vec::new();
    for tenant in ["acme", "acme-eu", "beta"] {
        for n in 0..4 {
            for endpoint in [0, 300] {
                let endpoint = EndpointId::from_u16(endpoint);
                keys.push(DeliveryKey { endpoint, ..delivery(tenant, n) });
            }
        }
    }
    keys
}

fn draw_changes(chance: &mut Chance) -> Vec<JobChange> {
    let keys = all_keys();
    (0..=chance.below(5))
        .map(|_| {
            let key = chance.pick(&keys).clone();
            match chance.below(8) {
                0 => return JobChange::Remove(key),
                1 => return JobChange::End(key, draw_round(chance)),
                _ => {}
            }
            JobChange::Put(Box::new(draw_job(key, chance)))
        })
        .collect()
}

fn draw_round(chance: &mut Chance) -> u32 {
    u32::try_from(chance.below(3)).expect("small")
}

fn draw_job(key: DeliveryKey, chance: &mut Chance) -> Job {
    // Few different times, so that the same one comes again.
    let time = after(10 * chance.below(6));
    let state = match chance.below(10) {
        0..4 => waiting(time),
        4..6 => unwritten(&key, Resolution::Retry { due: time }),
        6 => unwritten(&key, Resolution::Delivered),
        7 => dying(),
        _ => cut_off(time),
    };
    let mut job = job_of(key, state);
    job.round = draw_round(chance);
    job.interrupted = u8::try_from(chance.below(3)).expect("small");
    job.shard_key = u32::try_from(chance.below(4)).expect("small");
    match chance.below(4) {
        0 => job.payload = None,
        1 => job.payload = Some(vec![b'p'; chance.index(300)].into()),
        _ => {}
    }
    job
}

fn describe(change: &JobChange) -> String {
    match change {
        JobChange::Remove(key) => format!("remove {key:?}"),
        JobChange::End(key, round) => format!("end {key:?} {round}"),
        JobChange::Put(job) => {
            let state = match &job.state {
                JobState::Unwritten(settlement) => format!("unwritten {:?}", settlement.resolution),
                other => format!("{other:?}"),
            };
            format!("put {:?} {} {state}", job.key, job.round)
        }
    }
}

/// Compares every view; timers that are due at the same time are in the store's own order.
async fn compare(f: &JobFixture, model: &MemoryJobs, context: &str) {
    let keys = all_keys();
    let expected = model.jobs(&keys).await.expect("the reference never fails");
    assert_eq!(f.jobs(&keys).await, expected, "{context}");
    for count in [1, 3] {
        for index in 0..count {
            let shard = ShardSpec { index, count };
            let all = posthaste_domain::TimerPosition::START;
            let expected = model.timers(shard, all, Timestamp::MAX, PLENTY).await;
            let expected = expected.expect("the reference never fails").owed;
            let read = f.timer_pages(shard, Timestamp::MAX, 4).await;
            assert!(read.windows(2).all(|pair| pair[0].due() <= pair[1].due()), "{context}");
            assert_eq!(sorted(read), sorted(expected), "{shard:?}, {context}");
        }
    }
    let expected = model.outbox(None, PLENTY).await.expect("the reference never fails");
    assert_eq!(f.outbox_pages(3).await, expected, "{context}");
}

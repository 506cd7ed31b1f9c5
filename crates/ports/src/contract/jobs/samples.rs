//! Jobs to check with.

use bytes::Bytes;
use posthaste_domain::{
    Attempt, DeadLetterCause, DeliveryKey, EndpointId, ErrorClass, EventId, Owed, OwedAs,
    PhaseTimings, Resolution, Settlement, TimerPosition, Timestamp, Verdict,
};

use crate::contract::samples::{after, tenant_id};
use crate::{Job, JobChange, JobState};

/// The `n`-th delivery of a tenant.
pub(super) fn delivery(tenant: &str, n: u64) -> DeliveryKey {
    let event = EventId::from_parts(after(n), u128::from(n));
    DeliveryKey { tenant: tenant_id(tenant), event, endpoint: EndpointId::DEFAULT }
}

/// A job of the tenant `acme` in a state, with a payload where the state has a use for one.
pub(super) fn job(n: u64, state: JobState) -> Job {
    job_of(delivery("acme", n), state)
}

pub(super) fn job_of(key: DeliveryKey, state: JobState) -> Job {
    let payload = Bytes::from(format!("{{\"event\":\"{}\"}}", key.event));
    let payload = matches!(state, JobState::Waiting { .. }).then_some(payload);
    Job {
        key,
        round: 3,
        shard_key: 7,
        interrupted: 1,
        epoch: 5,
        lease_until: after(180_000),
        state,
        payload,
    }
}

pub(super) const fn waiting(due: Timestamp) -> JobState {
    JobState::Waiting { due, attempts: 2 }
}

pub(super) fn dying() -> JobState {
    let cause = DeadLetterCause::AttemptsExhausted;
    JobState::Dying { cause, attempts: 6, error: Some("connection refused".into()) }
}

pub(super) const fn cut_off(at: Timestamp) -> JobState {
    JobState::CutOff { at }
}

/// The outcome of a delivery's third attempt.
pub(super) fn unwritten(key: &DeliveryKey, resolution: Resolution) -> JobState {
    let failed = Verdict::Failed { class: ErrorClass::Timeout, retry_after_ms: Some(1_500) };
    let delivered = resolution == Resolution::Delivered;
    JobState::Unwritten(Box::new(Settlement {
        key: key.clone(),
        round: 3,
        attempts: 3,
        owed_as: OwedAs::Timer(after(50)),
        interrupted: 1,
        at: after(90),
        attempt: Some(Attempt {
            number: 3,
            at: after(60),
            duration_ms: 30,
            status_code: Some(503),
            verdict: if delivered { Verdict::Delivered } else { failed },
            error: Some("the endpoint said 503".into()),
            response: Bytes::from_static(b"\x00\xFFno text"),
            phases: PhaseTimings { connect_us: 9, ..PhaseTimings::default() },
        }),
        resolution,
    }))
}

/// A job of `acme` whose outcome is to be written.
pub(super) fn unsent(n: u64) -> Job {
    let key = delivery("acme", n);
    let state = unwritten(&key, Resolution::Retry { due: after(500) });
    job_of(key, state)
}

/// One of each state, of different deliveries.
pub(super) fn one_of_each() -> Vec<Job> {
    let mut jobs =
        vec![job(1, waiting(after(10))), job(2, dying()), job(3, cut_off(after(20))), unsent(4)];
    for (n, resolution) in
        [(5, Resolution::Delivered), (6, Resolution::DeadLettered { cause: DeadLetterCause::Gone })]
    {
        let key = delivery("acme", n);
        let state = unwritten(&key, resolution);
        jobs.push(job_of(key, state));
    }
    let quiet = JobState::Dying { cause: DeadLetterCause::Poison, attempts: 0, error: None };
    jobs.push(job(7, quiet));
    // Nothing was attempted, and the outcome has a payload with it.
    let mut bare = unsent(8);
    bare.payload = Some(Bytes::from_static(b"\xC3\x28 no UTF-8"));
    if let JobState::Unwritten(settlement) = &mut bare.state {
        settlement.attempt = None;
        settlement.owed_as = OwedAs::Fresh;
    }
    jobs.push(bare);
    let mut large = job(9, waiting(after(10)));
    large.payload = Some(vec![b'x'; 400_000].into());
    large.epoch = u64::MAX;
    large.interrupted = u8::MAX;
    jobs.push(large);
    jobs
}

pub(super) fn put(job: &Job) -> JobChange {
    JobChange::Put(Box::new(job.clone()))
}

pub(super) fn keys(jobs: &[Job]) -> Vec<DeliveryKey> {
    jobs.iter().map(|job| job.key.clone()).collect()
}

/// What a waiting job owes.
pub(super) fn owed(job: &Job) -> Owed {
    let JobState::Waiting { due, attempts } = job.state else { panic!("{job:?} does not wait") };
    Owed {
        key: job.key.clone(),
        round: job.round,
        attempts,
        interrupted: job.interrupted,
        owed_as: OwedAs::Timer(due),
        payload: None,
    }
}

pub(super) fn position(owed: &Owed) -> TimerPosition {
    TimerPosition { due: owed.due(), key: Some(owed.key.clone()) }
}

/// In an order that no store decides.
pub(super) fn sorted(mut owed: Vec<Owed>) -> Vec<Owed> {
    owed.sort_by(|a, b| (a.due(), &a.key).cmp(&(b.due(), &b.key)));
    owed
}

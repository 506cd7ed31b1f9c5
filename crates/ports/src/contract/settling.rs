//! Settling: what an outcome makes of a delivery, and which outcomes are refused.

use bytes::Bytes;
use posthaste_domain::{
    Attempt, DeadLetterCause, DeliveryKey, EndpointId, ErrorClass, EventId, EventStatus, Owed,
    OwedAs, PhaseTimings, Resolution, Settlement, Timestamp, Verdict,
};

use super::Fixture;
use super::samples::{
    DAY, DELIVERED, EXHAUSTED, HOUR, SECOND, START, after, attempt, delivery_key, fresh, retry_at,
    settlement, tenant_id, waiting,
};
use crate::{LoggedAttempt, Retried, Scope, Settled};

use Settled::{Settled as Taken, Superseded};

/// Every kind of resolution.
const RESOLUTIONS: [Resolution; 3] = [DELIVERED, retry_at(after(HOUR)), EXHAUSTED];

/// An event that is delivered is owed no more.
pub(super) async fn a_delivery_ends_what_is_owed(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let (id, other) = (f.post(&acme, START).await, f.post(&acme, START).await);
    f.resolve(&fresh(&acme, id, 0), after(SECOND), DELIVERED).await;
    f.later().await;
    let detail = f.detail(&acme, id, after(DAY)).await.expect("it was accepted");
    assert_eq!(detail.summary.status, EventStatus::Delivered);
    assert_eq!(detail.summary.attempts, 1);
    assert_eq!(detail.summary.last_attempt_at, Some(after(SECOND)));
    assert_eq!((detail.error, detail.next_attempt_at), (None, None));
    assert_eq!(f.owed(&acme).await, [fresh(&acme, other, 0)]);
}

/// A failure moves the delivery from the backlog to its due time, in one step.
pub(super) async fn a_failure_waits_for_its_due_time(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let id = f.post(&acme, START).await;
    let owed = fresh(&acme, id, 0);
    f.resolve(&owed, after(SECOND), retry_at(after(HOUR))).await;
    f.later().await;
    assert_eq!(f.owed(&acme).await, [waiting(&owed, after(HOUR))]);
    let detail = f.detail(&acme, id, after(2 * SECOND)).await.expect("it was accepted");
    assert_eq!(detail.summary.status, EventStatus::Failed);
    assert_eq!(detail.summary.attempts, 1);
    assert_eq!(detail.next_attempt_at, Some(after(HOUR)));
    assert_eq!(detail.error.as_deref(), Some("attempt 1 was answered 503"));
}

/// A retry that fails leaves no trace at its old due time, even where the new one is earlier.
pub(super) async fn a_retry_that_fails_moves_to_its_next_due_time(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let mut owed = fresh(&acme, f.post(&acme, START).await, 0);
    for (n, due) in [(1, HOUR), (2, 3 * HOUR), (3, 2 * HOUR), (4, 2 * HOUR)] {
        f.resolve(&owed, after(n * SECOND), retry_at(after(due))).await;
        owed = waiting(&owed, after(due));
        f.later().await;
        assert_eq!(f.owed(&acme).await, std::slice::from_ref(&owed), "failure {n}");
    }
    f.resolve(&owed, after(4 * HOUR), DELIVERED).await;
    f.later().await;
    assert_eq!(f.owed(&acme).await, []);
    let detail = f.detail(&acme, owed.key.event, after(5 * HOUR)).await.expect("it exists");
    assert_eq!(detail.summary.attempts, 5);
    assert_eq!((detail.error, detail.next_attempt_at), (None, None));
}

/// A dead letter is owed no more, from the first attempt or from a retry.
pub(super) async fn a_dead_letter_ends_what_is_owed(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let at_once = f.post_resolved(&acme, START, EXHAUSTED).await;
    let owed = fresh(&acme, f.post(&acme, after(1)).await, 0);
    f.resolve(&owed, after(SECOND), retry_at(after(HOUR))).await;
    f.resolve(&waiting(&owed, after(HOUR)), after(HOUR), EXHAUSTED).await;
    f.later().await;
    assert_eq!(f.owed(&acme).await, []);
    for id in [at_once, owed.key.event] {
        let detail = f.detail(&acme, id, after(DAY)).await.expect("it was accepted");
        assert_eq!(detail.summary.status, EventStatus::Dlq);
        assert_eq!(detail.next_attempt_at, None);
    }
    assert_eq!(f.dead(&Scope::All).await.len(), 2);
}

/// For all rounds but the store's own, earlier or later: the outcome is dropped.
pub(super) async fn an_outcome_of_another_round_is_dropped(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let id = f.post_resolved(&acme, START, EXHAUSTED).await;
    assert_eq!(f.stores().events.retry(&acme, id, after(1)).await, Ok(Retried::Requeued));
    f.later().await;
    for round in [0, 2, u32::MAX] {
        for resolution in RESOLUTIONS {
            let late = settlement(&fresh(&acme, id, round), after(2), resolution);
            f.refuses(late).await;
        }
    }
    f.resolve(&fresh(&acme, id, 1), after(3), DELIVERED).await;
}

/// For all final statuses and all outcomes: what is final stays.
pub(super) async fn a_final_status_is_final(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let purged = f.post_resolved(&acme, START, EXHAUSTED).await;
    assert_eq!(f.stores().dead_letters.purge(&Scope::All, after(1)).await, Ok(1));
    let dead = f.post_resolved(&acme, START, EXHAUSTED).await;
    let delivered = f.post_resolved(&acme, START, DELIVERED).await;
    f.later().await;
    for id in [purged, dead, delivered] {
        for resolution in RESOLUTIONS {
            f.refuses(settlement(&fresh(&acme, id, 0), after(2), resolution)).await;
        }
    }
}

/// For all ways to name nothing: no tenant, no event, another's event, no endpoint.
pub(super) async fn an_outcome_of_nothing_is_dropped(f: &mut Fixture) {
    let (acme, globex) = (f.tenant("acme").await, f.tenant("globex").await);
    let id = f.post(&acme, START).await;
    let nothing = EventId::from_u128(id.as_u128() + 1);
    f.later().await;
    for owed in [
        fresh(&tenant_id("nobody"), id, 0),
        fresh(&globex, id, 0),
        fresh(&acme, nothing, 0),
        Owed {
            key: DeliveryKey { endpoint: EndpointId::from_u16(1), ..delivery_key(&acme, id) },
            ..fresh(&acme, id, 0)
        },
    ] {
        for resolution in RESOLUTIONS {
            let key = owed.key.clone();
            assert_eq!(
                f.settle(settlement(&owed, after(1), resolution)).await,
                Superseded,
                "{key:?}"
            );
        }
    }
    assert_eq!(f.owed(&acme).await, [fresh(&acme, id, 0)]);
    assert_eq!(f.owed(&globex).await, []);
    assert_eq!(f.detail(&globex, id, START).await, None);
    assert_eq!(f.detail(&acme, nothing, START).await, None);
    assert_eq!(f.dead(&Scope::All).await, []);
}

/// For all deliveries: an outcome of what is owed in another way is dropped.
pub(super) async fn an_outcome_of_what_is_owed_otherwise_is_dropped(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let owed = fresh(&acme, f.post(&acme, START).await, 0);
    let due = after(HOUR);
    for resolution in RESOLUTIONS {
        let as_timer = Owed { owed_as: OwedAs::Timer(due), ..owed.clone() };
        f.refuses(settlement(&as_timer, after(1), resolution)).await;
    }
    f.resolve(&owed, after(2), retry_at(due)).await;
    f.later().await;
    let timer = waiting(&owed, due);
    let other_due = [OwedAs::Timer(after(HOUR - 1)), OwedAs::Timer(after(HOUR + 1)), OwedAs::Fresh];
    for owed_as in other_due {
        for resolution in RESOLUTIONS {
            let otherwise = Owed { owed_as, ..timer.clone() };
            f.refuses(settlement(&otherwise, after(3), resolution)).await;
        }
    }
    assert_eq!(f.owed(&acme).await, [timer]);
}

/// A settlement that is handed in twice, as after an answer that got lost, counts once.
pub(super) async fn the_same_outcome_twice_counts_once(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    for resolution in RESOLUTIONS {
        let owed = fresh(&acme, f.post(&acme, START).await, 0);
        let outcome = settlement(&owed, after(1), resolution);
        assert_eq!(f.settle(outcome.clone()).await, Taken);
        f.refuses(outcome.clone()).await;
        f.later().await;
        f.refuses(outcome).await;
        let detail = f.detail(&acme, owed.key.event, START).await.expect("it was accepted");
        assert_eq!(detail.log.len(), 1);
    }
}

/// For all outcomes but that of the next attempt: dropped, even where the retry that it ended in is
/// due at the very time of the one before.
pub(super) async fn only_the_next_attempt_has_an_outcome(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let (mut owed, due) = (fresh(&acme, f.post(&acme, START).await, 0), after(HOUR));
    f.resolve(&owed, after(1), retry_at(due)).await;
    owed = waiting(&owed, due);
    f.resolve(&owed, after(2), retry_at(due)).await;
    f.later().await;
    for attempts in [0, 1, 3, 9] {
        for resolution in RESOLUTIONS {
            let other = Owed { attempts, ..waiting(&owed, due) };
            f.refuses(settlement(&other, after(3), resolution)).await;
            let uncounted = settlement(&owed, after(3), resolution);
            f.refuses(Settlement { attempts, attempt: None, ..uncounted }).await;
        }
    }
    assert_eq!(f.owed(&acme).await, [waiting(&owed, due)]);
    f.resolve(&waiting(&owed, due), after(4), DELIVERED).await;
}

/// For all batches: one answer for each, in order, and each sees what those before it have done.
pub(super) async fn a_batch_is_settled_in_order(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let ids = f.posts(&acme, 3).await;
    let owed: Vec<_> = ids.iter().map(|id| fresh(&acme, *id, 0)).collect();
    let (soon, due) = (after(SECOND), after(HOUR));
    let answers = f
        .settle_all(vec![
            settlement(&owed[1], soon, DELIVERED),
            settlement(&owed[0], soon, retry_at(due)),
            settlement(&owed[1], soon, retry_at(due)),
            settlement(&waiting(&owed[0], due), due, EXHAUSTED),
            settlement(&fresh(&acme, ids[2], 7), soon, DELIVERED),
            settlement(&owed[2], soon, retry_at(due)),
        ])
        .await;
    assert_eq!(answers, [Taken, Taken, Superseded, Taken, Superseded, Taken]);
    assert_eq!(f.settle_all(Vec::new()).await, []);
    f.later().await;
    assert_eq!(f.owed(&acme).await, [waiting(&owed[2], due)]);
    let expected = [EventStatus::Dlq, EventStatus::Delivered, EventStatus::Failed];
    for (id, status) in ids.into_iter().zip(expected) {
        assert_eq!(f.status(&acme, id, soon).await, Some(status));
    }
}

/// For all attempts: the log gives back every field, with the round, oldest first.
pub(super) async fn the_log_keeps_every_attempt_whole(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let id = f.post(&acme, START).await;
    let mut expected = Vec::new();
    let mut owed = fresh(&acme, id, 0);
    for (n, attempt) in (1..).zip(odd_attempts()) {
        let due = after(u64::from(n) * HOUR);
        let outcome = Settlement {
            attempts: n,
            attempt: Some(attempt.clone()),
            ..settlement(&owed, due, retry_at(due))
        };
        assert_eq!(f.settle(outcome).await, Taken);
        expected.push(LoggedAttempt { round: 0, attempt });
        owed = waiting(&owed, due);
    }
    f.later().await;
    let dead = attempt(9, after(9 * HOUR), EXHAUSTED);
    let outcome =
        Settlement { attempt: Some(dead.clone()), ..settlement(&owed, after(9 * HOUR), EXHAUSTED) };
    assert_eq!(f.settle(outcome).await, Taken);
    expected.push(LoggedAttempt { round: 0, attempt: dead });
    assert_eq!(f.stores().events.retry(&acme, id, after(DAY)).await, Ok(Retried::Requeued));
    f.resolve(&fresh(&acme, id, 1), after(DAY), DELIVERED).await;
    expected.push(LoggedAttempt { round: 1, attempt: attempt(1, after(DAY), DELIVERED) });
    f.later().await;
    assert_eq!(f.detail(&acme, id, after(DAY)).await.expect("it exists").log, expected);
}

/// Attempts with every kind of verdict and every field at its ends.
fn odd_attempts() -> Vec<Attempt> {
    let plain = attempt(1, after(SECOND), retry_at(START));
    let mut attempts: Vec<_> = ErrorClass::ALL
        .into_iter()
        .map(|class| Attempt {
            verdict: Verdict::Failed { class, retry_after_ms: None },
            ..plain.clone()
        })
        .collect();
    let class = ErrorClass::DnsUnavailable;
    let retry_after_ms = Some(3_600_000);
    attempts.push(Attempt {
        number: u32::MAX,
        at: Timestamp::MAX,
        duration_ms: u32::MAX,
        status_code: Some(u16::MAX),
        verdict: Verdict::Failed { class, retry_after_ms },
        error: Some("größer als\tgedacht".into()),
        response: Bytes::from((0..=255).collect::<Vec<u8>>().repeat(4)),
        phases: PhaseTimings {
            queue_us: 1,
            dns_us: 2,
            connect_us: 3,
            tls_us: 4,
            first_byte_us: u32::MAX,
            total_us: 6,
            reused: true,
        },
    });
    attempts.push(Attempt { verdict: Verdict::NotCharged { class }, ..plain.clone() });
    attempts.push(Attempt {
        number: 0,
        at: Timestamp::ZERO,
        duration_ms: 0,
        status_code: None,
        verdict: Verdict::Gone,
        error: Some("".into()),
        response: Bytes::new(),
        phases: PhaseTimings::default(),
    });
    attempts.push(Attempt { verdict: Verdict::Delivered, error: None, ..plain });
    attempts
}

/// Where no attempt was made, none is logged, and what the one before said stays.
pub(super) async fn an_outcome_without_an_attempt_logs_none(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let resolution = Resolution::DeadLettered { cause: DeadLetterCause::Poison };
    let poison = |owed: &Owed| Settlement {
        attempts: owed.attempts,
        interrupted: 3,
        attempt: None,
        ..settlement(owed, after(2 * HOUR), resolution)
    };
    let never_tried = fresh(&acme, f.post(&acme, START).await, 0);
    assert_eq!(f.settle(poison(&never_tried)).await, Taken);
    let tried = fresh(&acme, f.post(&acme, START).await, 0);
    f.resolve(&tried, after(SECOND), retry_at(after(HOUR))).await;
    assert_eq!(f.settle(poison(&waiting(&tried, after(HOUR)))).await, Taken);
    f.later().await;
    let detail = f.detail(&acme, never_tried.key.event, START).await.expect("it exists");
    assert_eq!((detail.summary.attempts, detail.summary.last_attempt_at), (0, None));
    assert_eq!((detail.error, detail.log), (None, Vec::new()));
    let detail = f.detail(&acme, tried.key.event, START).await.expect("it exists");
    assert_eq!((detail.summary.attempts, detail.log.len()), (1, 1));
    assert_eq!(detail.summary.last_attempt_at, Some(after(SECOND)));
    assert_eq!(detail.error.as_deref(), Some("attempt 1 was answered 503"));
}

/// How often a delivery was cut off stays with it while it waits.
pub(super) async fn interruptions_stay_with_a_timer(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let owed = Owed { interrupted: 2, ..fresh(&acme, f.post(&acme, START).await, 0) };
    f.resolve(&owed, after(1), retry_at(after(HOUR))).await;
    f.later().await;
    assert_eq!(f.owed(&acme).await, [waiting(&owed, after(HOUR))]);
}

impl Fixture {
    /// The outcome is dropped, and dropping it changes nothing that can be seen.
    async fn refuses(&self, outcome: Settlement) {
        let (tenant, id) = (outcome.key.tenant.clone(), outcome.key.event);
        let told = format!("{outcome:?}");
        let before = (self.detail(&tenant, id, START).await, self.owed(&tenant).await);
        assert_eq!(self.settle(outcome).await, Superseded, "{told}");
        let now = (self.detail(&tenant, id, START).await, self.owed(&tenant).await);
        assert_eq!(now, before, "a dropped outcome changed something: {told}");
    }
}

//! What attempts come to: the schedule, `Retry-After`, 410, the limit of attempts, poison.

use posthaste_domain::{DeadLetterCause, Owed, OwedAs, Resolution, Verdict};
use posthaste_engine::{Input, Settings};
use proptest::prelude::*;

use crate::desk::{Desk, FAILED, settings, tenant, throttled};

const HOUR_MS: u64 = 3_600_000;

/// Each failure is tried again after its delay, to the millisecond where there is no jitter, and
/// the fifth is the last.
#[test]
fn failures_follow_the_schedule_and_end_in_the_dead_letters() {
    let mut desk = Desk::new(settings());
    desk.post(&tenant(0));
    for (number, delay_ms) in (1..).zip([1_000, 2_000, 4_000, 8_000]) {
        assert_eq!(desk.end_next(FAILED).number, number);
        desk.pass(delay_ms - 1);
        assert!(desk.started.is_empty(), "attempt {} is early", number + 1);
        desk.pass(1);
        assert_eq!(desk.started.len(), 1, "attempt {} is late", number + 1);
    }
    assert_eq!(desk.end_next(FAILED).number, 5);
    let cause = DeadLetterCause::AttemptsExhausted;
    assert_eq!(desk.settled[4].resolution, Resolution::DeadLettered { cause });
    assert!(desk.owed.is_empty() && desk.engine.stats().held == 0);
}

/// A 410 is final at once.
#[test]
fn gone_is_dead_at_the_first_attempt() {
    let mut desk = Desk::new(settings());
    desk.post(&tenant(0));
    desk.end_next(Verdict::Gone);
    let cause = DeadLetterCause::Gone;
    assert_eq!(desk.settled[0].resolution, Resolution::DeadLettered { cause });
    assert_eq!((desk.settled[0].attempts, desk.owed.len()), (1, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// For all wishes to be left alone: the whole endpoint waits, no longer than an hour, no
    /// other endpoint does, and a shorter wish never shortens a longer one.
    #[test]
    fn a_wish_to_be_left_alone_holds_the_whole_endpoint(
        wanted_ms in 0..2 * HOUR_MS,
        shorter_ms in 0_u64..60_000,
    ) {
        let mut desk = Desk::new(Settings { in_flight_per_endpoint_max: 2, ..settings() });
        let (held, free) = (tenant(0), tenant(1));
        (0..5).for_each(|_| { desk.post(&held); });
        prop_assert_eq!(desk.started.len(), 2);
        // Both answers come at one time, the longer wish first.
        let wanted_ms = wanted_ms.max(shorter_ms);
        let (one, other) = (desk.started.pop_front().unwrap(), desk.started.pop_front().unwrap());
        desk.end(&one, throttled(wanted_ms));
        // Where there was nothing to wait for, the next one has started.
        let early = desk.started.len();
        prop_assert_eq!(early, usize::from(wanted_ms == 0));
        desk.end(&other, throttled(shorter_ms));
        desk.post(&free);
        let freed = desk.started.iter().filter(|it| it.key.tenant == free).count();
        prop_assert_eq!(freed, 1, "another tenant does not wait");
        desk.started.retain(|it| it.key.tenant == held);
        let hold_ms = wanted_ms.min(HOUR_MS);
        if hold_ms > 0 {
            desk.pass(hold_ms - 1);
            prop_assert_eq!(desk.started.len(), 0, "within {} ms", hold_ms);
            desk.pass(1);
            prop_assert_eq!(desk.started.len(), 2, "after {} ms", hold_ms);
        }
    }

    /// For all numbers of interruptions, fresh or waiting: the third one sets a delivery aside
    /// without another attempt, and two do not.
    #[test]
    fn three_interruptions_are_poison(interrupted: u8, waits: bool) {
        let mut desk = Desk::new(settings());
        let mut owed: Owed = desk.store_fresh(&tenant(0), posthaste_domain::EndpointId::DEFAULT);
        owed.interrupted = interrupted;
        if waits {
            owed.attempts = 1;
            owed.owed_as = OwedAs::Timer(desk.now.plus_millis(1_000));
        }
        desk.owed.insert(owed.key.clone(), owed.clone());
        desk.tell(Input::Arrived(vec![owed.clone()]));
        desk.pass(1_000);
        if interrupted < 3 {
            prop_assert_eq!((desk.started.len(), desk.settled.len()), (1, 0));
        } else {
            let cause = DeadLetterCause::Poison;
            prop_assert_eq!(desk.started.len(), 0);
            prop_assert_eq!(desk.settled.len(), 1);
            prop_assert_eq!(desk.settled[0].resolution, Resolution::DeadLettered { cause });
            prop_assert_eq!(desk.settled[0].attempts, owed.attempts);
            prop_assert!(desk.settled[0].attempt.is_none());
        }
    }
}

/// An outcome that the store could not take is given out again as it was; no other attempt takes
/// its place.
#[test]
fn an_outcome_is_given_out_until_the_store_has_it() {
    let mut desk = Desk::new(settings());
    let key = desk.post(&tenant(0));
    desk.unanswered = Some(Vec::new());
    desk.end_next(FAILED);
    let mut first = None;
    for _ in 0..10 {
        let (delivery, settlement) = desk.unanswered.as_mut().unwrap().pop().unwrap();
        let first = first.get_or_insert_with(|| settlement.clone());
        assert_eq!(settlement, *first);
        desk.tell(Input::SettleFailed { delivery, settlement });
        desk.pass(5_000);
        assert!(desk.started.is_empty(), "another attempt before the outcome is durable");
    }
    desk.answer_all();
    desk.pass(0);
    assert_eq!(desk.started.front().map(|it| (&it.key, it.number)), Some((&key, 2)));
}

/// What another process has taken over is forgotten, and an answer that was read before does not
/// bring it back; its endpoint goes on.
#[test]
fn a_withdrawn_delivery_is_forgotten() {
    let settings = Settings { in_flight_per_endpoint_max: 1, ..settings() };
    let mut desk = Desk::new(settings);
    let (taken, kept) = (desk.post(&tenant(0)), desk.post(&tenant(0)));
    let started = desk.started.pop_front().unwrap();
    assert_eq!(started.key, taken);
    desk.owed.remove(&taken);
    desk.tell(Input::Withdrawn { delivery: started.delivery });
    let stats = desk.engine.stats();
    assert_eq!((stats.held, stats.withdrawn, stats.attempts), (1, 1, 1));
    assert_eq!(desk.started.front().map(|it| &it.key), Some(&kept));
    // Saying so twice, or of what has been settled, is nothing.
    desk.tell(Input::Withdrawn { delivery: started.delivery });
    let last = desk.end_next(Verdict::Delivered);
    desk.tell(Input::Withdrawn { delivery: last.delivery });
    assert_eq!((desk.settled.len(), desk.engine.stats().withdrawn), (1, 1));
    // A later round of it is news.
    desk.requeue(&taken, 1);
    assert_eq!(desk.started.front().map(|it| it.round), Some(1));
}

/// A later round that came while it was in flight takes the place of what was withdrawn.
#[test]
fn a_later_round_outlives_the_withdrawal_of_the_one_before() {
    let mut desk = Desk::new(settings());
    let key = desk.post(&tenant(0));
    let started = desk.started.pop_front().unwrap();
    desk.requeue(&key, 1);
    desk.tell(Input::Withdrawn { delivery: started.delivery });
    assert_eq!(desk.started.front().map(|it| it.round), Some(1));
}

/// Without a tenant there is no attempt, and the delivery is set aside with that cause.
#[test]
fn an_event_of_a_tenant_that_is_gone_is_dead() {
    let mut desk = Desk::new(settings());
    desk.post(&tenant(0));
    let started = desk.started.pop_front().unwrap();
    desk.tell(Input::TenantGone { delivery: started.delivery });
    let cause = DeadLetterCause::TenantGone;
    assert_eq!(desk.settled[0].resolution, Resolution::DeadLettered { cause });
    assert_eq!((desk.settled[0].attempts, desk.owed.len()), (0, 0));
    assert!(desk.settled[0].attempt.is_none());
}

//! A requeue is a fresh round, wherever its delivery is when the engine hears of it.

use bytes::Bytes;
use posthaste_domain::{
    DeadLetterCause, DeliveryKey, EndpointId, EventId, Owed, OwedAs, Resolution, Verdict,
};
use posthaste_engine::{Effect, Engine, Input, Settings};

use crate::desk::{Desk, FAILED, START, settings, tenant};

/// A delivery after one failure, brought to some place.
fn after_one_failure() -> (Desk, DeliveryKey) {
    let mut desk = Desk::new(settings());
    let key = desk.post(&tenant(0));
    desk.end_next(FAILED);
    (desk, key)
}

/// The second round begins with attempt 1, has all its attempts, and is settled as itself.
fn ends_in_round_one(mut desk: Desk, key: &DeliveryKey) {
    for number in 1..=5 {
        desk.pass(20_000);
        let started = desk.end_next(FAILED);
        let made = (&started.key, started.round, started.number);
        assert_eq!(made, (key, 1, number));
    }
    desk.pass(60_000);
    assert!(desk.started.is_empty() && desk.owed.is_empty());
    let last = desk.settled.last().expect("five outcomes");
    let cause = DeadLetterCause::AttemptsExhausted;
    assert_eq!((last.round, last.resolution), (1, Resolution::DeadLettered { cause }));
}

#[test]
fn of_one_that_waits() {
    let (mut desk, key) = after_one_failure();
    desk.requeue(&key, 1);
    assert_eq!(desk.started.len(), 1, "a fresh round waits for no due time");
    ends_in_round_one(desk, &key);
}

#[test]
fn of_one_in_flight() {
    let (mut desk, key) = after_one_failure();
    desk.pass(1_000);
    desk.requeue(&key, 1);
    assert_eq!(desk.started.len(), 1, "never two attempts of one delivery at a time");
    // Its outcome is of the round before, so the store drops it.
    assert_eq!(desk.end_next(Verdict::Delivered).round, 0);
    ends_in_round_one(desk, &key);
}

#[test]
fn of_one_that_settles() {
    let (mut desk, key) = after_one_failure();
    desk.pass(1_000);
    desk.unanswered = Some(Vec::new());
    desk.end_next(FAILED);
    desk.requeue(&key, 1);
    assert!(desk.started.is_empty(), "the outcome before is not dealt with yet");
    desk.answer_all();
    ends_in_round_one(desk, &key);
}

#[test]
fn of_one_that_is_dead() {
    let mut desk = Desk::new(settings());
    let key = desk.post(&tenant(0));
    desk.end_next(Verdict::Gone);
    desk.requeue(&key, 1);
    ends_in_round_one(desk, &key);
}

/// An older round that comes late changes nothing.
#[test]
fn an_older_round_is_no_news() {
    let mut desk = Desk::new(settings());
    let key = desk.post(&tenant(0));
    desk.end_next(Verdict::Gone);
    desk.requeue(&key, 2);
    let mut older = desk.owed[&key].clone();
    older.round = 1;
    desk.tell(Input::Arrived(vec![older]));
    desk.end_next(Verdict::Delivered);
    assert!(desk.started.is_empty() && desk.owed.is_empty());
    assert_eq!(desk.settled.last().map(|it| it.round), Some(2));
}

/// A later round that waits comes while the payload of the one before is being read, as nonsense
/// from a store may have it: it waits.
#[test]
fn of_one_that_loads() {
    let mut engine = Engine::new(settings(), 7);
    let key = DeliveryKey {
        tenant: tenant(0),
        event: EventId::from_u128(1),
        endpoint: EndpointId::DEFAULT,
    };
    let (attempts, interrupted, payload) = (0, 0, None);
    let owed = Owed { key, round: 0, attempts, interrupted, owed_as: OwedAs::Fresh, payload };
    engine.handle(START, Input::Arrived(vec![owed.clone()]));
    let (whose, which) = (tenant(0), EndpointId::DEFAULT);
    let options = Box::default();
    engine.handle(START, Input::OptionsRead { tenant: whose, endpoint: which, options });
    let load = std::iter::from_fn(|| engine.poll_effect())
        .find_map(|effect| match effect {
            Effect::LoadPayload { delivery, .. } => Some(delivery),
            _ => None,
        })
        .unwrap();
    let due = START.plus_millis(1_000);
    let later = Owed { round: 1, attempts: 1, owed_as: OwedAs::Timer(due), ..owed };
    engine.handle(START, Input::Arrived(vec![later]));
    let payload = Some(Bytes::from("{}"));
    engine.handle(START, Input::PayloadLoaded { delivery: load, payload });
    assert_eq!(engine.check(), Ok(()));
    assert_eq!((engine.stats().waiting, engine.stats().in_flight), (1, 0));
    engine.on_wakeup(due);
    assert_eq!((engine.stats().waiting, engine.stats().loading), (0, 1));
}

/// A later round that did not fit is in the store only; an answer that was read before it shows the
/// round before, and is not believed.
#[test]
fn an_answer_from_before_a_requeue_is_not_believed() {
    let mut engine = Engine::new(Settings { held_max: 4, ..settings() }, 7);
    let owed = |event, round, owed_as| Owed {
        key: DeliveryKey {
            tenant: tenant(0),
            event: EventId::from_u128(event),
            endpoint: EndpointId::DEFAULT,
        },
        round,
        attempts: 0,
        interrupted: 0,
        owed_as,
        payload: None,
    };
    // The first read of timers is ordered, and taken while the first round still waits.
    engine.on_wakeup(START);
    engine.handle(START, Input::Arrived(vec![owed(1, 0, OwedAs::Fresh)]));
    engine.handle(START, Input::Arrived(vec![owed(2, 0, OwedAs::Fresh)]));
    let (held, refused) = (engine.stats().held, engine.stats().refused);
    engine.handle(START, Input::Arrived(vec![owed(3, 1, OwedAs::Fresh)]));
    assert_eq!((engine.stats().held, engine.stats().refused), (held, refused + 1), "it fits");
    let before = owed(3, 0, OwedAs::Timer(START));
    engine.handle(START, Input::TimersRead { owed: vec![before], next: None });
    assert_eq!(engine.stats().held, held, "an attempt of a round that is over");
    assert!(engine.accounts_for(&owed(3, 1, OwedAs::Fresh)));
}

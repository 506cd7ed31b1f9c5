//! Memory is bounded, nothing is forgotten for it, and nobody is shut out by those who are stuck.

use posthaste_domain::{EndpointId, EventId, OwedAs, Verdict};
use posthaste_engine::{Input, Options, Settings};
use proptest::prelude::*;

use crate::desk::{Desk, FAILED, START, settings, tenant, throttled};

const HOUR_MS: u64 = 3_600_000;

fn small() -> Settings {
    Settings {
        in_flight_max: 8,
        in_flight_per_endpoint_max: 4,
        settling_max: 8,
        held_max: 64,
        held_per_endpoint_max: 16,
        payload_bytes_max: 50,
        timers_held_max: 20,
        timers_read_max: 5,
        backlog_read_max: 7,
        ..settings()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// For all backlogs and failures: the engine holds no more than its settings say, and in the
    /// end everything has been delivered once.
    #[test]
    fn what_does_not_fit_is_read_again(
        posts in prop::collection::vec((0_u64..6, any::<bool>()), 1..300),
        failures in prop::collection::vec(any::<bool>(), 1..50),
    ) {
        let limits = small();
        let mut desk = Desk::new(limits.clone());
        for (number, handed_over) in &posts {
            if *handed_over {
                desk.post(&tenant(*number));
            } else {
                let owed = desk.store_fresh(&tenant(*number), EndpointId::DEFAULT);
                let (tenant, endpoint, from) = (owed.key.tenant, owed.key.endpoint, owed.key.event);
                desk.tell(Input::Behind { tenant, endpoint, from });
            }
        }
        let mut failures = failures.iter().cycle();
        let mut delivered = 0;
        while !desk.owed.is_empty() {
            let stats = desk.engine.stats();
            prop_assert!(stats.held - stats.waiting <= limits.held_max as u64);
            prop_assert!(stats.waiting <= limits.timers_held_max as u64);
            // Those in flight come on top.
            let most = limits.payload_bytes_max + 2 * limits.in_flight_max;
            prop_assert!(stats.payload_bytes <= most as u64, "{stats:?}");
            let Some(started) = desk.started.pop_front() else {
                desk.pass(100);
                continue;
            };
            let fails = started.number < 3 && *failures.next().unwrap();
            delivered += usize::from(!fails);
            desk.end(&started, if fails { FAILED } else { Verdict::Delivered });
        }
        prop_assert_eq!(delivered, posts.len());
        prop_assert_eq!(desk.engine.stats().held, 0);
    }
}

/// What does not fit waits in the store, and what comes later waits behind it: an endpoint's fresh
/// deliveries are attempted in the order of their age.
#[test]
fn a_backlog_is_attempted_in_the_order_of_age() {
    let mut desk = Desk::new(Settings { in_flight_max: 1, ..small() });
    let mut posted: Vec<EventId> = Vec::new();
    let mut attempted = Vec::new();
    for burst in [60, 5, 40, 1, 1, 1, 30] {
        posted.extend((0..burst).map(|_| desk.post(&tenant(0)).event));
        (0..7).for_each(|_| attempted.push(desk.end_next(Verdict::Delivered).key.event));
    }
    while !desk.started.is_empty() {
        attempted.push(desk.end_next(Verdict::Delivered).key.event);
    }
    assert!(desk.engine.stats().refused > 50, "most of it did not fit");
    assert_eq!(attempted, posted);
}

/// For all numbers of endpoints that want to be left alone for an hour, each with more than fits:
/// one that is well is served at once.
#[test]
fn endpoints_on_hold_shut_nobody_out() {
    for stuck in [1, 10, 40, 200] {
        let mut desk = Desk::new(Settings { held_max: 1_000, ..settings() });
        for number in 0..stuck {
            desk.post(&tenant(number));
            desk.end_next(throttled(HOUR_MS));
            let from = EventId::MIN;
            for _ in 0..100 {
                desk.store_fresh(&tenant(number), EndpointId::DEFAULT);
            }
            let (tenant, endpoint) = (tenant(number), EndpointId::DEFAULT);
            desk.tell(Input::Behind { tenant, endpoint, from });
        }
        assert!(desk.started.is_empty());
        let well = tenant(1_000_000);
        for _ in 0..50 {
            desk.post(&well);
        }
        let mut delivered = 0;
        while !desk.started.is_empty() {
            assert_eq!(desk.end_next(Verdict::Delivered).key.tenant, well);
            delivered += 1;
        }
        assert_eq!(delivered, 50, "beside {stuck} endpoints on hold");
    }
}

/// For as many that are paused, each with a fresh event and a retry that is due, as there is room
/// in memory: whoever is well has as many attempts at a time as ever.
#[test]
fn many_that_are_paused_take_no_room() {
    for stuck in [100, 500, 1_200] {
        let mut desk = Desk::new(Settings { held_max: 1_000, ..settings() });
        let paused = Options { paused: true, ..Options::default() };
        for number in 0..stuck {
            let name = (tenant(number), EndpointId::DEFAULT);
            desk.options.insert(name, paused.clone());
            desk.post(&tenant(number));
            let key = desk.store_fresh(&tenant(number), EndpointId::DEFAULT).key;
            let row = desk.owed.get_mut(&key).unwrap();
            (row.attempts, row.owed_as) = (1, OwedAs::Timer(START));
            let retry = row.clone();
            desk.tell(Input::Arrived(vec![retry]));
        }
        let stats = desk.engine.stats();
        assert!(stats.held <= 260, "{} are held for {stuck} that are paused", stats.held);
        let well = tenant(1_000_000);
        (0..100).for_each(|_| {
            desk.post(&well);
        });
        assert_eq!(desk.started.len(), 64, "at a time, beside {stuck} that are paused");
        // Resumed, all of it goes.
        desk.options.clear();
        let mut steps = 0;
        while !desk.owed.is_empty() {
            match desk.started.pop_front() {
                Some(started) => desk.end(&started, Verdict::Delivered),
                None => desk.pass(100),
            }
            steps += 1;
            assert!(steps < 50_000, "{} are owed for ever", desk.owed.len());
        }
    }
}

/// The same where what is stuck was in memory before its endpoint wanted to be left alone, and is
/// due again: it makes room, and is there again when the hold is over.
#[test]
fn a_hold_makes_room() {
    let limits = Settings { held_max: 1_000, in_flight_per_endpoint_max: 1, ..settings() };
    let mut desk = Desk::new(limits);
    for number in 0..30 {
        (0..200).for_each(|_| {
            desk.post(&tenant(number));
        });
    }
    while !desk.started.is_empty() {
        desk.end_next(throttled(HOUR_MS));
    }
    let held = desk.engine.stats().held;
    assert!(held <= 500, "{held} of 1000 are held for endpoints that want nothing for an hour");
    desk.pass(HOUR_MS);
    let mut delivered = 0;
    while !desk.owed.is_empty() {
        match desk.started.pop_front() {
            Some(started) => desk.end(&started, Verdict::Delivered),
            None => desk.pass(100),
        }
        delivered += 1;
        assert!(delivered < 20_000, "{} are owed for ever", desk.owed.len());
    }
}

/// For all numbers of endpoints that never answer, each with more than fits: one that is well has
/// its turn.
#[test]
fn endpoints_that_never_answer_shut_nobody_out() {
    let caps = Settings { held_max: 400, in_flight_per_endpoint_max: 1, ..settings() };
    let mut desk = Desk::new(caps);
    for number in 0..60 {
        (0..50).for_each(|_| {
            desk.post(&tenant(number));
        });
    }
    assert_eq!(desk.started.len(), 60);
    desk.started.clear();
    let well = tenant(1_000_000);
    (0..50).for_each(|_| {
        desk.post(&well);
    });
    let mut delivered = 0;
    while !desk.started.is_empty() {
        assert_eq!(desk.end_next(Verdict::Delivered).key.tenant, well);
        delivered += 1;
    }
    assert_eq!(delivered, 50);
}

/// Endpoints that have had work are forgotten when they have none, but for a small stock.
#[test]
fn idle_endpoints_are_forgotten() {
    let mut desk = Desk::new(settings());
    for number in 0..3_000 {
        desk.post(&tenant(number));
        desk.end_next(Verdict::Delivered);
    }
    let known = desk.engine.stats().endpoints;
    assert!(known <= 1_025, "{known} endpoints are known");
}

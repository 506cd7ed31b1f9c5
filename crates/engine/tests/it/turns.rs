//! Whose turn it is: over tenants, over their endpoints, over the two lanes, within the caps.

use std::collections::BTreeMap;

use posthaste_domain::{EndpointId, TenantId, Verdict};
use posthaste_engine::{Input, Settings};
use proptest::prelude::*;

use crate::desk::{Desk, FAILED, OURS, settings, tenant};

fn one_at_a_time() -> Settings {
    Settings { in_flight_max: 1, ..settings() }
}

/// How many of each sort stand between two of `of`, at most, in a row of turns.
fn most_between<T: Ord + Copy>(turns: &[T], of: T) -> usize {
    let mut most = 0;
    for between in turns.split(|turn| *turn == of).skip(1) {
        let mut counts = BTreeMap::<T, usize>::new();
        between.iter().for_each(|turn| *counts.entry(*turn).or_default() += 1);
        most = most.max(counts.into_values().max().unwrap_or(0));
    }
    most
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// For all backlogs: while a tenant has ready work, each other one gets at most one attempt
    /// between two of its own, however much more the other has (I8).
    #[test]
    fn tenants_take_turns(posts in prop::collection::vec(1_usize..40, 2..8)) {
        let mut desk = Desk::new(one_at_a_time());
        for (number, posts) in (0..).zip(&posts) {
            (0..*posts).for_each(|_| { desk.post(&tenant(number)); });
        }
        let mut turns: Vec<TenantId> = Vec::new();
        while !desk.started.is_empty() {
            turns.push(desk.end_next(Verdict::Delivered).key.tenant);
        }
        prop_assert_eq!(turns.len(), posts.iter().sum::<usize>());
        for (number, posts) in (0..).zip(&posts) {
            let own = tenant(number);
            let count = turns.iter().filter(|turn| **turn == own).count();
            prop_assert_eq!(count, *posts);
            let last = turns.iter().rposition(|turn| *turn == own).unwrap();
            let while_it_waits: Vec<_> = turns[..=last].iter().collect();
            prop_assert!(most_between(&while_it_waits, &own) <= 1, "{turns:?}");
        }
    }

    /// For all backlogs of one tenant: the same over its endpoints.
    #[test]
    fn endpoints_of_a_tenant_take_turns(posts in prop::collection::vec(1_usize..20, 2..5)) {
        let mut desk = Desk::new(one_at_a_time());
        for (number, posts) in (0..).zip(&posts) {
            let endpoint = EndpointId::from_u16(number);
            (0..*posts).for_each(|_| { desk.post_to(&tenant(0), endpoint); });
        }
        let mut turns = Vec::new();
        while !desk.started.is_empty() {
            turns.push(desk.end_next(Verdict::Delivered).key.endpoint);
        }
        prop_assert_eq!(turns.len(), posts.iter().sum::<usize>());
        for number in 0..u16::try_from(posts.len()).unwrap() {
            let own = EndpointId::from_u16(number);
            let last = turns.iter().rposition(|turn| *turn == own).unwrap();
            prop_assert!(most_between(&turns[..=last], own) <= 1, "{turns:?}");
        }
    }

    /// For all caps and all numbers of tenants: as many attempts start as the caps allow, and not
    /// one more (I4); an endpoint that has fewer than its cap has as many as it leaves free.
    #[test]
    fn caps_are_reached_and_never_exceeded(
        in_flight_max in 1_usize..20,
        in_flight_per_endpoint_max in 1_usize..20,
        tenants in 1_u64..6,
    ) {
        let caps = Settings {
            in_flight_max,
            in_flight_per_endpoint_max,
            slow_percent_max: 100,
            ..settings()
        };
        let mut desk = Desk::new(caps);
        for number in 0..tenants {
            (0..25).for_each(|_| { desk.post(&tenant(number)); });
        }
        // Enough is left for each tenant to reach its cap.
        for _ in 0..5 {
            let free = in_flight_max.checked_sub(desk.started.len());
            prop_assert!(free.is_some(), "{} started", desk.started.len());
            for number in 0..tenants {
                let own = tenant(number);
                let flights = desk.started.iter().filter(|it| it.key.tenant == own).count();
                prop_assert!(flights <= in_flight_per_endpoint_max);
                let most = flights == in_flight_per_endpoint_max || Some(flights) >= free;
                prop_assert!(most, "{flights} in flight and {free:?} free");
            }
            desk.end_next(Verdict::Delivered);
        }
    }
}

/// While both wait, every fourth attempt of an endpoint is a retry.
#[test]
fn three_fresh_deliveries_go_before_each_retry() {
    let mut desk = Desk::new(one_at_a_time());
    (0..10).for_each(|_| {
        desk.post(&tenant(0));
        desk.end_next(FAILED);
    });
    // They are due while another attempt takes its time.
    (0..40).for_each(|_| {
        desk.post(&tenant(0));
    });
    desk.pass(2_000);
    desk.end_next(Verdict::Delivered);
    let retries: Vec<bool> =
        (0..20).map(|_| desk.end_next(Verdict::Delivered).number > 1).collect();
    let expected: Vec<bool> = (0..20).map(|turn| turn % 4 == 3).collect();
    assert_eq!(retries, expected);
}

/// Outcomes that the disk does not take stop attempts, not memory.
#[test]
fn a_slow_disk_slows_attempts() {
    let mut desk = Desk::new(Settings { settling_max: 5, ..one_at_a_time() });
    (0..20).for_each(|_| {
        desk.post(&tenant(0));
    });
    desk.unanswered = Some(Vec::new());
    (0..5).for_each(|_| {
        desk.end_next(Verdict::Delivered);
    });
    assert!(desk.started.is_empty(), "a sixth attempt while five outcomes wait");
    desk.answer_all();
    assert_eq!(desk.started.len(), 1);
}

/// A failure that is ours costs no attempt, and holds its endpoint a little longer each time.
#[test]
fn our_own_faults_are_not_charged() {
    let mut desk = Desk::new(settings());
    let key = desk.post(&tenant(0));
    for pause_ms in [250, 500, 1_000, 2_000] {
        let started = desk.end_next(OURS);
        assert_eq!((started.key, started.number), (key.clone(), 1));
        desk.pass(pause_ms - 1);
        assert!(desk.started.is_empty(), "within the pause of {pause_ms} ms");
        desk.pass(1);
        assert_eq!(desk.started.len(), 1, "after the pause of {pause_ms} ms");
    }
    desk.end_next(Verdict::Delivered);
    assert_eq!(desk.settled.len(), 1);
    assert_eq!(desk.settled[0].attempts, 1);
}

/// Where twenty endpoints in a row fail by our own fault, attempts go out one at a time until one
/// gets through; nineteen are not enough.
#[test]
fn an_ill_process_probes_one_attempt_at_a_time() {
    for (ill, endpoints) in [(false, 19), (true, 20)] {
        let mut desk = Desk::new(settings());
        for number in 0..endpoints {
            desk.post(&tenant(number));
            desk.post(&tenant(number));
        }
        while !desk.started.is_empty() {
            desk.end_next(OURS);
        }
        desk.pass(60_000);
        let probes = desk.started.len();
        assert_eq!(probes == 1, ill, "{probes} of {endpoints} endpoints");
        desk.end_next(Verdict::Delivered);
        desk.pass(60_000);
        assert!(desk.started.len() > 1, "all go on when one has got through");
    }
}

/// From the drain on nothing starts, and what was ordered and not given out is taken back; it has
/// drained when what is in flight has ended and is durable (I6).
#[test]
fn a_drain_starts_nothing_and_ends_what_is_in_flight() {
    let caps = Settings { in_flight_max: 6, in_flight_per_endpoint_max: 3, ..settings() };
    let mut desk = Desk::new(caps);
    (0..10).for_each(|_| {
        desk.post(&tenant(0));
    });
    // Ordered by the engine, and taken back before the driver sees it.
    let started = desk.started.pop_front().unwrap();
    let attempt = posthaste_domain::Attempt {
        number: 1,
        at: desk.now,
        duration_ms: 0,
        status_code: None,
        verdict: FAILED,
        error: None,
        response: bytes::Bytes::new(),
        phases: posthaste_domain::PhaseTimings::default(),
    };
    desk.engine.handle(desk.now, Input::Attempted { delivery: started.delivery, attempt });
    desk.tell(Input::Drain);
    assert_eq!((desk.started.len(), desk.engine.stats().in_flight), (2, 2));
    desk.unanswered = Some(Vec::new());
    desk.end_next(Verdict::Delivered);
    desk.end_next(FAILED);
    assert!(!desk.engine.is_drained(), "two outcomes are not durable yet");
    desk.answer_all();
    assert!(desk.engine.is_drained());
    desk.post(&tenant(1));
    desk.pass(3_600_000);
    assert!(desk.started.is_empty(), "an attempt after the drain has begun");
}

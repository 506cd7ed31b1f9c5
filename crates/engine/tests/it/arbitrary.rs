//! Facts that make no sense: late, twice, out of order, about others' deliveries, from a store
//! that answers nonsense. The engine may be wrong about the world then, never about itself.

use bytes::Bytes;
use posthaste_domain::{
    Attempt, DeliveryKey, EndpointId, EventId, Owed, OwedAs, PhaseTimings, TimerPosition,
    Timestamp, Verdict,
};
use posthaste_engine::{Delivery, Effect, Engine, Input, Options, Rate, Settings};
use proptest::prelude::*;

use crate::desk::{FAILED, OURS, START, settings, tenant, throttled};

/// A fact, with handles by their number among all that were ever seen.
#[derive(Clone, Debug)]
enum Fact {
    Arrived(Vec<Owed>),
    Behind(DeliveryKey),
    BacklogRead(DeliveryKey, Vec<Owed>, bool),
    BacklogReadFailed(DeliveryKey),
    TimersRead(Vec<Owed>, Option<TimerPosition>),
    TimersReadFailed,
    Loaded(usize, bool),
    LoadFailed(usize),
    Attempted(usize, Verdict),
    Settled(usize),
    Withdrawn(usize),
    TenantGone(usize),
    Superseded(usize),
    SettleFailed(usize),
    Options(DeliveryKey, Options),
    OptionsReadFailed(DeliveryKey),
    Lift(DeliveryKey),
    Drain,
    Wakeup,
}

fn keys() -> impl Strategy<Value = DeliveryKey> {
    (0_u64..3, 0_u16..2, prop_oneof![0_u128..6, Just(u128::MAX)]).prop_map(
        |(number, endpoint, event)| DeliveryKey {
            tenant: tenant(number),
            event: EventId::from_u128(event),
            endpoint: EndpointId::from_u16(endpoint),
        },
    )
}

fn times() -> impl Strategy<Value = Timestamp> {
    let near = (0_u64..200_000).prop_map(|ms| START.plus_millis(ms));
    prop_oneof![8 => near, 1 => Just(Timestamp::ZERO), 1 => Just(Timestamp::MAX)]
}

fn owed() -> impl Strategy<Value = Owed> {
    let owed_as = prop_oneof![Just(OwedAs::Fresh), times().prop_map(OwedAs::Timer)];
    let counts = (prop_oneof![0_u32..4, Just(u32::MAX)], prop_oneof![0_u32..6, Just(u32::MAX)]);
    (keys(), counts, 0_u8..5, owed_as, any::<bool>()).prop_map(
        |(key, (round, attempts), interrupted, owed_as, here)| {
            let payload = here.then(|| Bytes::from("payload"));
            Owed { key, round, attempts, interrupted, owed_as, payload }
        },
    )
}

fn options() -> impl Strategy<Value = Options> {
    let rates = || {
        let rate = (0_u32..1_000, prop_oneof![0_u64..2_000, Just(u64::MAX)]);
        prop::option::weighted(0.2, rate.prop_map(|(attempts, per_ms)| Rate::new(attempts, per_ms)))
    };
    let counts = (0_u64..3, 0_u32..200, prop::option::of(0_usize..5));
    (counts, rates(), rates(), prop::bool::weighted(0.2), times()).prop_map(
        |((host, weight, in_flight_max), rate, tenant_rate, paused, lifted_at)| Options {
            host,
            weight,
            in_flight_max,
            rate,
            tenant_rate,
            schedule: None,
            paused,
            lifted_at,
        },
    )
}

fn facts() -> impl Strategy<Value = Fact> {
    let some = || prop::collection::vec(owed(), 0..6);
    let which = || 0_usize..64;
    let places = || {
        let place = (times(), prop::option::of(keys()));
        prop::option::of(place.prop_map(|(due, key)| TimerPosition { due, key }))
    };
    let verdicts = prop_oneof![
        Just(Verdict::Delivered),
        Just(Verdict::Gone),
        Just(FAILED),
        Just(OURS),
        Just(throttled(u64::MAX)),
        Just(throttled(30_000)),
    ];
    prop_oneof![
        6 => some().prop_map(Fact::Arrived),
        2 => keys().prop_map(Fact::Behind),
        3 => (keys(), some(), any::<bool>()).prop_map(|(k, o, e)| Fact::BacklogRead(k, o, e)),
        1 => keys().prop_map(Fact::BacklogReadFailed),
        3 => (some(), places()).prop_map(|(owed, next)| Fact::TimersRead(owed, next)),
        1 => Just(Fact::TimersReadFailed),
        4 => (which(), any::<bool>()).prop_map(|(at, here)| Fact::Loaded(at, here)),
        1 => which().prop_map(Fact::LoadFailed),
        8 => (which(), verdicts).prop_map(|(at, verdict)| Fact::Attempted(at, verdict)),
        6 => which().prop_map(Fact::Settled),
        1 => which().prop_map(Fact::Withdrawn),
        1 => which().prop_map(Fact::TenantGone),
        1 => which().prop_map(Fact::Superseded),
        2 => which().prop_map(Fact::SettleFailed),
        8 => (keys(), options()).prop_map(|(key, options)| Fact::Options(key, options)),
        1 => keys().prop_map(Fact::OptionsReadFailed),
        1 => keys().prop_map(Fact::Lift),
        1 => Just(Fact::Drain),
        2 => Just(Fact::Wakeup),
    ]
}

/// What has been ordered so far.
#[derive(Default)]
struct Orders {
    deliveries: Vec<Delivery>,
    settlements: Vec<(Delivery, Box<posthaste_domain::Settlement>)>,
}

impl Orders {
    fn collect(&mut self, engine: &mut Engine) {
        while let Some(effect) = engine.poll_effect() {
            match effect {
                Effect::Attempt { delivery, .. } | Effect::LoadPayload { delivery, .. } => {
                    self.deliveries.push(delivery);
                }
                Effect::Settle { delivery, settlement } => {
                    self.deliveries.push(delivery);
                    self.settlements.push((delivery, settlement));
                }
                Effect::ReadBacklog { .. }
                | Effect::ReadTimers { .. }
                | Effect::ReadOptions { .. } => {}
            }
        }
    }

    /// One of the latest deliveries, most of them still held and some long gone.
    fn delivery(&self, at: usize) -> Option<Delivery> {
        self.deliveries.iter().rev().nth(at).copied()
    }

    fn input(&self, fact: Fact, now: Timestamp) -> Option<Input> {
        Some(match fact {
            Fact::Arrived(owed) => Input::Arrived(owed),
            Fact::Behind(DeliveryKey { tenant, event, endpoint }) => {
                Input::Behind { tenant, endpoint, from: event }
            }
            Fact::BacklogRead(DeliveryKey { tenant, endpoint, .. }, owed, exhausted) => {
                Input::BacklogRead { tenant, endpoint, owed, exhausted }
            }
            Fact::BacklogReadFailed(DeliveryKey { tenant, endpoint, .. }) => {
                Input::BacklogReadFailed { tenant, endpoint }
            }
            Fact::TimersRead(owed, next) => Input::TimersRead { owed, next },
            Fact::TimersReadFailed => Input::TimersReadFailed,
            Fact::Loaded(at, here) => {
                let payload = here.then(|| Bytes::from("payload"));
                Input::PayloadLoaded { delivery: self.delivery(at)?, payload }
            }
            Fact::LoadFailed(at) => Input::PayloadLoadFailed { delivery: self.delivery(at)? },
            Fact::Attempted(at, verdict) => {
                let attempt = Attempt {
                    number: 1,
                    at: now,
                    duration_ms: u32::MAX,
                    status_code: None,
                    verdict,
                    error: None,
                    response: Bytes::new(),
                    phases: PhaseTimings::default(),
                };
                Input::Attempted { delivery: self.delivery(at)?, attempt }
            }
            Fact::Withdrawn(at) => Input::Withdrawn { delivery: self.delivery(at)? },
            Fact::TenantGone(at) => Input::TenantGone { delivery: self.delivery(at)? },
            Fact::Settled(at) => Input::Settled { delivery: self.delivery(at)? },
            Fact::Superseded(at) => Input::Superseded { delivery: self.delivery(at)? },
            Fact::SettleFailed(at) => {
                let (delivery, settlement) = self.settlements.iter().rev().nth(at)?.clone();
                Input::SettleFailed { delivery, settlement }
            }
            Fact::Options(DeliveryKey { tenant, endpoint, .. }, options) => {
                Input::OptionsRead { tenant, endpoint, options: Box::new(options) }
            }
            Fact::OptionsReadFailed(DeliveryKey { tenant, endpoint, .. }) => {
                Input::OptionsReadFailed { tenant, endpoint }
            }
            Fact::Lift(DeliveryKey { tenant, endpoint, .. }) => Input::Lift { tenant, endpoint },
            Fact::Drain => Input::Drain,
            Fact::Wakeup => return None,
        })
    }
}

fn tight() -> impl Strategy<Value = Settings> {
    (0_usize..3, 0_usize..9, 0_usize..3, 0_usize..30).prop_map(|(few, some, page, bytes)| {
        Settings {
            in_flight_max: few * 2,
            in_flight_per_endpoint_max: few,
            settling_max: some,
            held_max: some,
            held_per_endpoint_max: some,
            payload_bytes_max: bytes,
            timers_held_max: page * 2,
            timers_read_max: page,
            backlog_read_max: page,
            backlog_reads_max: few,
            in_flight_first: some,
            in_flight_per_host_max: few,
            in_flight_per_tenant_max: few,
            slow_percent_max: page * 50,
            breaker_failures: u32::try_from(few).expect("few"),
            options_reads_max: few,
            ..settings()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// For all settings and all facts in any order: no panic, every invariant that can be seen
    /// from inside holds, and two engines that hear the same decide the same.
    #[test]
    fn no_fact_breaks_the_engine(
        settings in tight(),
        steps in prop::collection::vec((facts(), 0_u64..20_000, any::<bool>()), 1..120),
    ) {
        let mut engines = [Engine::new(settings.clone(), 3), Engine::new(settings, 3)];
        let mut orders = [Orders::default(), Orders::default()];
        let mut now = START;
        for (fact, later_ms, collects) in steps {
            now = now.plus_millis(later_ms);
            for (engine, orders) in engines.iter_mut().zip(&mut orders) {
                match orders.input(fact.clone(), now) {
                    Some(input) => engine.handle(now, input),
                    None => engine.on_wakeup(now),
                }
                prop_assert_eq!(engine.check(), Ok(()));
                if collects {
                    orders.collect(engine);
                }
            }
            prop_assert_eq!(engines[0].stats(), engines[1].stats());
            prop_assert_eq!(engines[0].next_wakeup(), engines[1].next_wakeup());
            prop_assert_eq!(&orders[0].deliveries, &orders[1].deliveries);
        }
    }
}

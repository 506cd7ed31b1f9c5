//! What the engine costs: CPU time for each delivery, with a driver and a store that answer at
//! once and cost next to nothing.
//!
//! ```text
//! cargo run --release -p posthaste-engine --example cost [deliveries]
//! ```
//!
//! Each row is a load: one busy tenant, a thousand, all attempts failing once, all payloads read
//! back, a backlog in the store that is many times what fits. The driver's own part (making the
//! inputs, dropping the effects) is in the figures.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement reads the clock and prints what it has found"
)]

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use posthaste_domain::{
    Attempt, DeliveryKey, EndpointId, ErrorClass, EventId, Owed, OwedAs, PhaseTimings,
    RetrySchedule, TenantId, Timestamp, Verdict,
};
use posthaste_engine::{Delivery, Effect, Engine, Input, Settings};

const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
/// Arrivals that one turn of the driver hands over.
const BATCH: u64 = 64;

/// How deliveries come to the engine.
#[derive(Clone, Copy, PartialEq)]
enum Comes {
    /// Handed over, payloads included.
    Whole,
    /// Handed over without payloads, which are read one by one.
    Bare,
    /// All are in the store before the engine starts, and read page by page.
    InStore,
}

/// A load.
struct Load {
    name: &'static str,
    tenants: u64,
    /// Attempts that fail before the one that gets through.
    failures: u32,
    /// How deliveries come.
    comes: Comes,
}

const LOADS: [Load; 7] = [
    Load { name: "1 tenant", tenants: 1, failures: 0, comes: Comes::Whole },
    Load { name: "1,000 tenants", tenants: 1_000, failures: 0, comes: Comes::Whole },
    Load { name: "10,000 tenants", tenants: 10_000, failures: 0, comes: Comes::Whole },
    Load { name: "1,000 tenants, payloads read", tenants: 1_000, failures: 0, comes: Comes::Bare },
    Load {
        name: "1,000 tenants, a failure each",
        tenants: 1_000,
        failures: 1,
        comes: Comes::Whole,
    },
    Load { name: "1 tenant behind", tenants: 1, failures: 0, comes: Comes::InStore },
    Load { name: "1,000 tenants behind", tenants: 1_000, failures: 0, comes: Comes::InStore },
];

fn main() {
    let deliveries = std::env::args().nth(1).and_then(|it| it.parse().ok()).unwrap_or(1_000_000);
    for load in LOADS {
        let started = Instant::now();
        let inputs = run(&load, deliveries);
        let nanos = started.elapsed().as_nanos();
        println!(
            "{:<32} {:>6} ns a delivery, {:>5} ns an input",
            load.name,
            nanos / u128::from(deliveries),
            nanos / u128::from(inputs),
        );
    }
}

/// Posts and delivers; says how many inputs that took.
fn run(load: &Load, deliveries: u64) -> u64 {
    let schedule = RetrySchedule::try_new(&[1_000], 0.1, 5).expect("a lawful schedule");
    let mut engine = Engine::new(Settings { schedule, ..Settings::default() }, 7);
    let tenants: Vec<TenantId> = (0..load.tenants)
        .map(|number| TenantId::try_new(&format!("tenant-{number}")).expect("a lawful name"))
        .collect();
    let payload = Bytes::from(vec![b'x'; 500]);
    let (mut posted, mut done, mut inputs, mut now) = (0, 0, 0, START);
    if load.comes == Comes::InStore {
        posted = deliveries;
        for (tenant, from) in tenants.iter().cloned().zip(0..) {
            let (endpoint, from) = (EndpointId::DEFAULT, event(from));
            engine.handle(now, Input::Behind { tenant, endpoint, from });
        }
    }
    let mut waiting = VecDeque::new();
    while done < deliveries {
        let mut arrived = Vec::new();
        while posted < deliveries && (arrived.len() as u64) < BATCH {
            let tenant = &tenants[usize::try_from(posted % load.tenants).expect("few tenants")];
            let payload = (load.comes == Comes::Whole).then(|| payload.clone());
            arrived.push(fresh(tenant.clone(), posted, payload));
            posted += 1;
        }
        now = now.plus_millis(10);
        inputs += 1;
        match arrived.is_empty() {
            true => engine.on_wakeup(now),
            false => engine.handle(now, Input::Arrived(arrived)),
        }
        while let Some(effect) = engine.poll_effect() {
            done += u64::from(is_delivered(&effect));
            waiting.push_back(effect);
        }
        for effect in waiting.drain(..) {
            inputs += 1;
            engine.handle(now, answer(load, now, deliveries, &payload, effect));
        }
    }
    assert_eq!(engine.stats().invariant_violations, 0);
    inputs
}

fn event(number: u64) -> EventId {
    EventId::from_parts(START, u128::from(number))
}

fn fresh(tenant: TenantId, number: u64, payload: Option<Bytes>) -> Owed {
    let key = DeliveryKey { tenant, event: event(number), endpoint: EndpointId::DEFAULT };
    Owed { key, round: 0, attempts: 0, interrupted: 0, owed_as: OwedAs::Fresh, payload }
}

fn is_delivered(effect: &Effect) -> bool {
    matches!(effect, Effect::Settle { settlement, .. }
        if settlement.resolution == posthaste_domain::Resolution::Delivered)
}

fn answer(load: &Load, now: Timestamp, deliveries: u64, payload: &Bytes, effect: Effect) -> Input {
    match effect {
        Effect::Attempt { delivery, number, .. } => ended(load, now, delivery, number),
        Effect::Settle { delivery, .. } => Input::Settled { delivery },
        Effect::LoadPayload { delivery, .. } => {
            Input::PayloadLoaded { delivery, payload: Some(payload.clone()) }
        }
        Effect::ReadOptions { tenant, endpoint } => {
            Input::OptionsRead { tenant, endpoint, options: Box::default() }
        }
        Effect::ReadTimers { .. } => Input::TimersRead { owed: Vec::new(), next: None },
        Effect::ReadBacklog { tenant, endpoint, from, max } => {
            let first = u64::try_from(from.as_u128() - event(0).as_u128()).expect("one of ours");
            // Numbers go round over the tenants; the next one of this tenant's.
            let name = tenant.as_str().trim_start_matches("tenant-");
            let own: u64 = name.parse().expect("named by its number");
            let first = own + (first - own).next_multiple_of(load.tenants);
            let step = usize::try_from(load.tenants).expect("few tenants");
            // Those that have been handed over are answered by nothing, as if they were settled.
            let first = if load.comes == Comes::InStore { first } else { deliveries };
            let mut numbers = (first..deliveries).step_by(step);
            let page = numbers.by_ref().take(max);
            let owed = page.map(|number| fresh(tenant.clone(), number, None)).collect();
            Input::BacklogRead { tenant, endpoint, owed, exhausted: numbers.next().is_none() }
        }
    }
}

fn ended(load: &Load, now: Timestamp, delivery: Delivery, number: u32) -> Input {
    let verdict = if number > load.failures {
        Verdict::Delivered
    } else {
        Verdict::Failed { class: ErrorClass::ServerError, retry_after_ms: None }
    };
    let attempt = Attempt {
        number,
        at: now,
        duration_ms: 0,
        status_code: None,
        verdict,
        error: None,
        response: Bytes::new(),
        phases: PhaseTimings::default(),
    };
    Input::Attempted { delivery, attempt }
}

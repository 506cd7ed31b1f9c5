//! What the engine costs: CPU time for each delivery, with a driver and a store that answer at
//! once and cost next to nothing.
//!
//! ```text
//! cargo run --release -p posthaste-engine --example cost [deliveries]
//! ```
//!
//! Each row is a load: one busy tenant, a thousand, all attempts failing once, all payloads read
//! back. The driver's own part (making the inputs, dropping the effects) is in the figures.
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

/// A load.
struct Load {
    name: &'static str,
    tenants: u64,
    /// Attempts that fail before the one that gets through.
    failures: u32,
    /// Whether payloads come with the arrivals.
    payloads: bool,
}

const LOADS: [Load; 5] = [
    Load { name: "1 tenant", tenants: 1, failures: 0, payloads: true },
    Load { name: "1,000 tenants", tenants: 1_000, failures: 0, payloads: true },
    Load { name: "10,000 tenants", tenants: 10_000, failures: 0, payloads: true },
    Load { name: "1,000 tenants, payloads read", tenants: 1_000, failures: 0, payloads: false },
    Load { name: "1,000 tenants, one failure each", tenants: 1_000, failures: 1, payloads: true },
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
    let mut waiting = VecDeque::new();
    while done < deliveries {
        let mut arrived = Vec::new();
        while posted < deliveries && (arrived.len() as u64) < BATCH {
            let tenant = &tenants[usize::try_from(posted % load.tenants).expect("few tenants")];
            let payload = load.payloads.then(|| payload.clone());
            arrived.push(fresh(tenant.clone(), now, posted, payload));
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
            engine.handle(now, answer(load, now, &payload, effect));
        }
    }
    assert_eq!(engine.stats().invariant_violations, 0);
    inputs
}

fn fresh(tenant: TenantId, now: Timestamp, number: u64, payload: Option<Bytes>) -> Owed {
    let event = EventId::from_parts(now, u128::from(number));
    let key = DeliveryKey { tenant, event, endpoint: EndpointId::DEFAULT };
    Owed { key, round: 0, attempts: 0, interrupted: 0, owed_as: OwedAs::Fresh, payload }
}

fn is_delivered(effect: &Effect) -> bool {
    matches!(effect, Effect::Settle { settlement, .. }
        if settlement.resolution == posthaste_domain::Resolution::Delivered)
}

fn answer(load: &Load, now: Timestamp, payload: &Bytes, effect: Effect) -> Input {
    match effect {
        Effect::Attempt { delivery, number, .. } => ended(load, now, delivery, number),
        Effect::Settle { delivery, .. } => Input::Settled { delivery },
        Effect::LoadPayload { delivery, .. } => {
            Input::PayloadLoaded { delivery, payload: Some(payload.clone()) }
        }
        Effect::ReadTimers { .. } => Input::TimersRead { owed: Vec::new(), next: None },
        Effect::ReadBacklog { tenant, endpoint, .. } => {
            Input::BacklogRead { tenant, endpoint, owed: Vec::new(), exhausted: true }
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

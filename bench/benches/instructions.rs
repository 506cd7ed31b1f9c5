//! Instructions of the hot path's functions, counted under valgrind, each with a limit.
//!
//! ```text
//! bench/instructions.sh            counts, and fails where a limit is passed
//! ```
//! A count does not depend on how busy the machine is, so that a few per cent are a fact. Here is
//! only what is the same every time: no I/O, no threads, no clock. Counts depend on the compiler
//! (`rust-toolchain.toml` pins it) and on which instructions valgrind shows to the program (no
//! SHA extensions, so that signing counts more than it takes).
//!
//! A limit is the count of the day it was set plus a twentieth. To set one anew, put the count
//! that the run prints into the table below, and say in the commit what made it change.

#![expect(
    missing_docs,
    unused_qualifications,
    clippy::disallowed_methods,
    clippy::exit,
    reason = "the library's macros write so"
)]

use std::hint::black_box;

use bytes::Bytes;
use gungraun::{
    Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};
use posthaste_bench::engine::World;
use posthaste_bench::fixture::{self, EPOCH, PAYLOAD_BYTES};
use posthaste_bench::ingest::Ingest;
use posthaste_domain::{
    AddressPolicy, EventId, SigningKey, TargetUrl, WebhookSecret, standard_signature,
    stripe_signature,
};

const TARGET: &str = "https://hooks.example.com:8443/webhooks/orders?account=acct_1Nv0FG";
/// One step of the engine is a few hundred instructions more or less than the next: take many.
const STEPS: u64 = 1_000;

/// Counts on the day a limit was set.
mod today {
    pub(super) const STRIPE_1: u64 = 23_593;
    pub(super) const STRIPE_2: u64 = 46_383;
    pub(super) const STANDARD_1: u64 = 23_684;
    pub(super) const STANDARD_2: u64 = 46_625;
    pub(super) const SIGNING_KEY: u64 = 10_330;
    pub(super) const EVENT_ID_TO_TEXT: u64 = 280;
    pub(super) const EVENT_ID_OF_TEXT: u64 = 447;
    pub(super) const TARGET: u64 = 7_731;
    pub(super) const INGEST: u64 = 29_488;
    /// For a thousand steps.
    pub(super) const STEPS_1: u64 = 3_177_286;
    pub(super) const STEPS_10_000: u64 = 3_193_158;
    pub(super) const STEPS_FAILING: u64 = 2_692_130;
}

/// Fails the run where more than a twentieth is added to `today`.
fn limit(today: u64) -> LibraryBenchmarkConfig {
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(Callgrind::default().hard_limits([(EventKind::Ir, today + today / 20)]));
    config
}

fn signing(secrets: u8) -> (Vec<SigningKey>, Bytes) {
    (fixture::keys(secrets), fixture::payload(PAYLOAD_BYTES))
}

#[library_benchmark]
#[bench::secrets_1(args = (1), setup = signing, config = limit(today::STRIPE_1))]
#[bench::secrets_2(args = (2), setup = signing, config = limit(today::STRIPE_2))]
fn stripe((keys, body): (Vec<SigningKey>, Bytes)) -> (String, Vec<SigningKey>) {
    (stripe_signature(black_box(&keys), EPOCH, black_box(&body)), keys)
}

#[library_benchmark]
#[bench::secrets_1(args = (1), setup = signing, config = limit(today::STANDARD_1))]
#[bench::secrets_2(args = (2), setup = signing, config = limit(today::STANDARD_2))]
fn standard((keys, body): (Vec<SigningKey>, Bytes)) -> (String, Vec<SigningKey>) {
    (standard_signature(black_box(&keys), fixture::event(1), EPOCH, black_box(&body)), keys)
}

#[library_benchmark]
#[bench::secret(args = (1), setup = fixture::secret, config = limit(today::SIGNING_KEY))]
fn signing_key(secret: WebhookSecret) -> (SigningKey, WebhookSecret) {
    (SigningKey::new(black_box(&secret)), secret)
}

#[library_benchmark]
#[bench::ulid(args = (1 << 30), setup = fixture::event, config = limit(today::EVENT_ID_TO_TEXT))]
fn event_id_to_text(event: EventId) -> [u8; EventId::TEXT_LEN] {
    let mut text = [0; EventId::TEXT_LEN];
    black_box(black_box(event).encode(&mut text));
    text
}

fn event_text(n: u64) -> String {
    fixture::event(n).to_string()
}

#[library_benchmark]
#[bench::ulid(args = (1 << 30), setup = event_text, config = limit(today::EVENT_ID_OF_TEXT))]
fn text_to_event_id(text: String) -> (Option<EventId>, String) {
    (black_box(text.as_str()).parse().ok(), text)
}

#[library_benchmark]
#[bench::url(args = (TARGET), setup = with_policy, config = limit(today::TARGET))]
fn parse_target((text, policy): (&str, AddressPolicy)) -> (Option<TargetUrl>, AddressPolicy) {
    (TargetUrl::parse(black_box(text), &policy).ok(), policy)
}

fn with_policy(text: &'static str) -> (&'static str, AddressPolicy) {
    (text, AddressPolicy::default())
}

// One `POST /v1/events` over a store that keeps nothing, the check of the JSON's shape in it.
#[library_benchmark]
#[bench::bytes_512(args = (PAYLOAD_BYTES), setup = Ingest::new, config = limit(today::INGEST))]
fn ingest(ingest: Ingest) -> Ingest {
    ingest.post();
    ingest
}

/// A thousand steps behind those that fill what grows at first.
fn busy(tenants: u64) -> World {
    warm(World::new(tenants, 20_000 / tenants))
}

fn failing(tenants: u64) -> World {
    warm(World::failing(tenants, 20_000 / tenants, 1))
}

fn warm(mut world: World) -> World {
    (0..20 * STEPS).for_each(|_| world.step());
    world
}

#[library_benchmark]
#[bench::tenants_1(args = (1), setup = busy, config = limit(today::STEPS_1))]
#[bench::tenants_10_000(args = (10_000), setup = busy, config = limit(today::STEPS_10_000))]
#[bench::each_fails_once(args = (1_000), setup = failing, config = limit(today::STEPS_FAILING))]
fn engine_1_000_steps(mut world: World) -> World {
    (0..STEPS).for_each(|_| world.step());
    world
}

library_benchmark_group!(
    name = words,
    benchmarks = [stripe, standard, signing_key, event_id_to_text, text_to_event_id, parse_target]
);
library_benchmark_group!(name = path, benchmarks = [ingest, engine_1_000_steps]);

main!(library_benchmark_groups = words, path);

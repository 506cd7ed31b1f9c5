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
use posthaste_bench::codec;
use posthaste_bench::engine::World;
use posthaste_bench::fixture::{self, EPOCH, PAYLOAD_BYTES};
use posthaste_bench::ingest::Ingest;
use posthaste_bench::request::{Ready, SMALLEST, TARGET};
use posthaste_domain::{
    AddressPolicy, Attempt, EventId, SigningKey, TargetUrl, WebhookSecret, standard_signature,
    stripe_signature,
};
use posthaste_embedded::codec::{EventRow, LogRow, decode, encode, frame, unframe};

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
    pub(super) const REQUEST_SMALLEST: u64 = 15_078;
    pub(super) const REQUEST_512: u64 = 48_879;
    pub(super) const REQUEST_512_2: u64 = 95_901;
    pub(super) const ENCODE_EVENT: u64 = 866;
    pub(super) const ENCODE_LOG: u64 = 1_225;
    pub(super) const ENCODE_LOG_FAILED: u64 = 2_942;
    pub(super) const DECODE_EVENT: u64 = 587;
    pub(super) const DECODE_LOG: u64 = 1_402;
    pub(super) const DECODE_LOG_FAILED: u64 = 2_614;
    pub(super) const FRAME: u64 = 971;
    pub(super) const UNFRAME: u64 = 408;
    pub(super) const INGEST: u64 = 29_488;
    /// For a thousand steps.
    pub(super) const STEPS_1: u64 = 4_161_322;
    pub(super) const STEPS_10_000: u64 = 4_062_884;
    pub(super) const STEPS_FAILING: u64 = 5_235_528;
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

fn ready(payload: Bytes, secrets: u8) -> Ready {
    Ready::new(payload, secrets)
}

// The smallest body leaves little but the headers, so that a twentieth of the count is theirs.
#[library_benchmark]
#[bench::smallest_secrets_1(args = (Bytes::from_static(SMALLEST), 1), setup = ready,
    config = limit(today::REQUEST_SMALLEST))]
#[bench::bytes_512_secrets_1(args = (fixture::payload(PAYLOAD_BYTES), 1), setup = ready,
    config = limit(today::REQUEST_512))]
#[bench::bytes_512_secrets_2(args = (fixture::payload(PAYLOAD_BYTES), 2), setup = ready,
    config = limit(today::REQUEST_512_2))]
fn signed_request(ready: Ready) -> (Vec<u8>, Ready) {
    (black_box(&ready).signed(), ready)
}

fn log(attempt: Attempt) -> LogRow {
    LogRow::of(0, &attempt)
}

fn log_bytes(attempt: Attempt) -> Vec<u8> {
    encode(&log(attempt))
}

fn event_bytes(event: EventRow) -> Vec<u8> {
    encode(&event)
}

#[library_benchmark]
#[bench::delivered(args = (codec::event()), config = limit(today::ENCODE_EVENT))]
fn encode_event(event: EventRow) -> Vec<u8> {
    encode(black_box(&event))
}

#[library_benchmark]
#[bench::delivered(args = (codec::delivered()), setup = log, config = limit(today::ENCODE_LOG))]
#[bench::failed_1_kib(args = (codec::failed()), setup = log,
    config = limit(today::ENCODE_LOG_FAILED))]
fn encode_log(log: LogRow) -> (Vec<u8>, LogRow) {
    (encode(black_box(&log)), log)
}

#[library_benchmark]
#[bench::delivered(args = (codec::event()), setup = event_bytes,
    config = limit(today::DECODE_EVENT))]
fn decode_event(bytes: Vec<u8>) -> (Option<EventRow>, Vec<u8>) {
    (decode(black_box(&bytes)).ok(), bytes)
}

#[library_benchmark]
#[bench::delivered(args = (codec::delivered()), setup = log_bytes,
    config = limit(today::DECODE_LOG))]
#[bench::failed_1_kib(args = (codec::failed()), setup = log_bytes,
    config = limit(today::DECODE_LOG_FAILED))]
fn decode_log(bytes: Vec<u8>) -> (Option<LogRow>, Vec<u8>) {
    (decode(black_box(&bytes)).ok(), bytes)
}

#[library_benchmark]
#[bench::bytes_512(args = (PAYLOAD_BYTES), setup = fixture::payload, config = limit(today::FRAME))]
fn frame_payload(payload: Bytes) -> (Vec<u8>, Bytes) {
    (frame(black_box(&payload)), payload)
}

fn framed(bytes: usize) -> Vec<u8> {
    frame(&fixture::payload(bytes))
}

#[library_benchmark]
#[bench::bytes_512(args = (PAYLOAD_BYTES), setup = framed, config = limit(today::UNFRAME))]
fn unframe_payload(bytes: Vec<u8>) -> (bool, Vec<u8>) {
    (black_box(unframe(black_box(&bytes))).is_ok(), bytes)
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
library_benchmark_group!(
    name = records,
    benchmarks =
        [encode_event, encode_log, decode_event, decode_log, frame_payload, unframe_payload]
);
library_benchmark_group!(name = path, benchmarks = [signed_request, ingest, engine_1_000_steps]);

main!(library_benchmark_groups = words, records, path);

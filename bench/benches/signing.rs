//! What a delivery's words cost: signatures with one secret and with two (while one is being
//! rotated), the whole request around them, key schedules, ids as text, target URLs.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use posthaste_bench::fixture::{self, EPOCH, PAYLOAD_BYTES};
use posthaste_bench::request::{Ready, SMALLEST, TARGET};
use posthaste_domain::{
    AddressPolicy, EventId, SigningKey, TargetUrl, standard_signature, stripe_signature,
    verify_stripe,
};

fn signatures(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("signing");
    group.throughput(Throughput::Bytes(PAYLOAD_BYTES as u64));
    let body = fixture::payload(PAYLOAD_BYTES);
    for count in [1, 2] {
        let keys = fixture::keys(count);
        group.bench_function(format!("stripe, 512 B, {count} secrets"), |bencher| {
            bencher.iter(|| stripe_signature(black_box(&keys), EPOCH, black_box(&body)));
        });
        group.bench_function(format!("standard, 512 B, {count} secrets"), |bencher| {
            let event = fixture::event(1);
            bencher.iter(|| standard_signature(black_box(&keys), event, EPOCH, black_box(&body)));
        });
    }
    let keys = fixture::keys(1);
    let header = stripe_signature(&keys, EPOCH, &body);
    assert_eq!(verify_stripe(&header, &keys, &body, EPOCH), Ok(()));
    group.bench_function("verify stripe, 512 B, 1 secret", |bencher| {
        bencher.iter(|| verify_stripe(&header, black_box(&keys), black_box(&body), EPOCH));
    });
    group.finish();
}

/// The smallest body shows the headers, a usual one what an attempt pays.
fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("request");
    let usual = fixture::payload(PAYLOAD_BYTES);
    for (name, payload, secrets) in [
        ("headers and signatures, 2 B, 1 secret", Bytes::from_static(SMALLEST), 1),
        ("headers and signatures, 512 B, 1 secret", usual.clone(), 1),
        ("headers and signatures, 512 B, 2 secrets", usual, 2),
    ] {
        let ready = Ready::new(payload, secrets);
        group.bench_function(name, |bencher| bencher.iter(|| black_box(&ready).signed()));
    }
    // What of the first is not headers.
    let keys = fixture::keys(1);
    let event = fixture::event(1);
    group.bench_function("signatures alone, 2 B, 1 secret", |bencher| {
        bencher.iter(|| {
            let stripe = stripe_signature(black_box(&keys), EPOCH, black_box(SMALLEST));
            (stripe, standard_signature(black_box(&keys), event, EPOCH, black_box(SMALLEST)))
        });
    });
    group.finish();
}

fn words(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("words");
    let secret = fixture::secret(1);
    group.bench_function("key schedules of a secret", |bencher| {
        bencher.iter(|| SigningKey::new(black_box(&secret)));
    });
    let event = fixture::event(123_456_789);
    group.bench_function("event id to text", |bencher| {
        let mut text = [0; EventId::TEXT_LEN];
        bencher.iter(|| black_box(black_box(event).encode(&mut text)).len());
    });
    let text = event.to_string();
    group.bench_function("text to event id", |bencher| {
        bencher.iter(|| black_box(text.as_str()).parse::<EventId>());
    });
    let policy = AddressPolicy::default();
    assert!(TargetUrl::parse(TARGET, &policy).is_ok());
    group.bench_function("parse a target URL", |bencher| {
        bencher.iter(|| TargetUrl::parse(black_box(TARGET), &policy));
    });
    group.finish();
}

criterion_group!(benches, signatures, requests, words);
criterion_main!(benches);

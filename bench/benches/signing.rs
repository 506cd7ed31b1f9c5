//! What a delivery's words cost: signatures with one secret and with two (while one is being
//! rotated), key schedules, ids as text, target URLs.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use posthaste_bench::fixture::{self, EPOCH, PAYLOAD_BYTES};
use posthaste_domain::{
    AddressPolicy, EventId, SigningKey, TargetUrl, standard_signature, stripe_signature,
    verify_stripe,
};

const TARGET: &str = "https://hooks.example.com:8443/webhooks/orders?account=acct_1Nv0FG";

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

criterion_group!(benches, signatures, words);
criterion_main!(benches);

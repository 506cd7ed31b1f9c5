//! One delivery end to end in this process: the client takes or opens a connection, builds and
//! signs the request, a sink on another thread answers, the record is made. Real sockets on
//! loopback, so the kernel's part is most of it.
//!
//! And of its parts the pool: a checkout and a return, by how many targets it has, alone and with
//! the question to the socket. What it saves shows in how cold attempts compare with kept ones.

#![expect(clippy::disallowed_methods, reason = "a bench measures real time")]

use std::sync::Arc;
use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use posthaste_bench::delivery::{Connections, Sender};
use posthaste_bench::pool::{Checkouts, Sockets};
use posthaste_bench::sink::{self, Received};

/// Connections that rest in the pool: with the sink's ends two descriptors each, below the usual
/// limit of 1,024.
const TARGETS: usize = 400;
const IN_FLIGHT: u64 = 64;

fn attempts(criterion: &mut Criterion) {
    let received = Arc::new(Received::default());
    let sink = sink::start(received);
    let mut group = criterion.benchmark_group("delivery");
    group.throughput(Throughput::Elements(1));
    let sender = Sender::new(sink, 1, Connections::Kept);
    group.bench_function("an attempt, kept connection", |bencher| {
        bencher.iter(|| sender.attempt(0));
    });
    group.bench_function("an attempt of 64 in flight", |bencher| {
        bencher.iter_custom(|count| {
            let started = Instant::now();
            sender.attempts(count, IN_FLIGHT);
            started.elapsed()
        });
    });
    let many = Sender::new(sink, TARGETS, Connections::Kept);
    let mut next = 0;
    group.bench_function("an attempt, each of 400 targets in turn", |bencher| {
        bencher.iter(|| {
            many.attempt(next);
            next = (next + 1) % TARGETS;
        });
    });
    assert_eq!(many.stats().connections_opened, TARGETS as u64, "not all were reused");
    drop(many);
    let cold = Sender::new(sink, 1, Connections::Cold);
    group.sample_size(20);
    group.bench_function("an attempt, cold connection", |bencher| {
        bencher.iter(|| cold.attempt(0));
    });
    group.finish();
}

fn checkouts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pool");
    group.throughput(Throughput::Elements(1));
    for (name, targets, sockets) in [
        ("checkout and return, 1 target", 1, Sockets::None),
        ("checkout and return, 10,000 targets in turn", 10_000, Sockets::None),
        ("checkout and return, 1 target, socket asked", 1, Sockets::Asked),
        ("checkout and return, 400 targets in turn, sockets asked", TARGETS, Sockets::Asked),
    ] {
        let mut checkouts = Checkouts::new(targets, sockets);
        let mut next = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                checkouts.turn(next);
                next = (next + 1) % targets;
            });
        });
    }
    group.finish();
}

criterion_group!(benches, attempts, checkouts);
criterion_main!(benches);

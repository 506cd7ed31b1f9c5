//! What the engine costs for each attempt: outcome in, settlement out and durable, arrival in,
//! who is next. By the number of tenants that have ready work (fairness picks among them), and
//! with a retry for each delivery (timers go in and expire, ten thousand wait).

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use posthaste_bench::engine::World;

/// Enough for the fail-once world to be in its steady state.
const SETTLE_IN_STEPS: u64 = 40_000;

fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine");
    group.throughput(Throughput::Elements(1));
    for (tenants, ready) in [(1, 2_000), (1_000, 4), (10_000, 2)] {
        let mut world = World::new(tenants, ready);
        group.bench_function(format!("a delivery, {tenants} tenants ready"), |bencher| {
            bencher.iter(|| world.step());
        });
        assert_eq!(world.stats().invariant_violations, 0);
    }
    let mut world = World::failing(1_000, 20, 1);
    (0..SETTLE_IN_STEPS).for_each(|_| world.step());
    group.bench_function("an attempt, each delivery fails once", |bencher| {
        bencher.iter(|| world.step());
    });
    assert_eq!(world.stats().invariant_violations, 0);
    group.finish();
}

criterion_group!(benches, steps);
criterion_main!(benches);

//! What the API costs for each event before the ledger: routing, cached authentication, the check
//! of the body's shape, the id, the answer. A client's request is made in each, and measured alone.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use posthaste_bench::fixture::PAYLOAD_BYTES;
use posthaste_bench::ingest::Ingest;

fn events(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ingest");
    for bytes in [PAYLOAD_BYTES, 16 << 10, 256 << 10] {
        let ingest = Ingest::new(bytes);
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::new("POST /v1/events", bytes), |bencher| {
            bencher.iter(|| ingest.post());
        });
    }
    let ingest = Ingest::new(PAYLOAD_BYTES);
    group.throughput(Throughput::Elements(1));
    group.bench_function("the request alone", |bencher| bencher.iter(|| ingest.request()));
    group.finish();
}

criterion_group!(benches, events);
criterion_main!(benches);

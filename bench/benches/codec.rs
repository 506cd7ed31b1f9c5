//! What a record costs on its way to disk and back, for each kind, and a payload with its frame.
//! The store is not in it: what it adds is in `ledger`.

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use posthaste_bench::codec::{self, Visit};
use posthaste_bench::fixture::{self, PAYLOAD_BYTES};
use posthaste_embedded::codec::{Decodable, Encodable, decode, encode, frame, unframe};

struct BothWays<'a, 'b>(&'a mut BenchmarkGroup<'b, WallTime>);

impl Visit for BothWays<'_, '_> {
    fn record<R: Decodable + Encodable + PartialEq>(&mut self, name: &str, record: R) {
        let bytes = encode(&record);
        self.0.throughput(Throughput::Bytes(bytes.len() as u64));
        self.0.bench_function(BenchmarkId::new("encode", name), |bencher| {
            bencher.iter(|| encode(black_box(&record)));
        });
        self.0.bench_function(BenchmarkId::new("decode", name), |bencher| {
            bencher.iter(|| decode::<R>(black_box(&bytes)));
        });
    }
}

fn records(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    codec::each(&mut BothWays(&mut group));
    let payload = fixture::payload(PAYLOAD_BYTES);
    let framed = frame(&payload);
    group.throughput(Throughput::Bytes(framed.len() as u64));
    group.bench_function(BenchmarkId::new("encode", "payload, 512 B"), |bencher| {
        bencher.iter(|| frame(black_box(&payload)));
    });
    group.bench_function(BenchmarkId::new("decode", "payload, 512 B"), |bencher| {
        bencher.iter(|| unframe(black_box(&framed)).is_ok());
    });
    group.finish();
}

criterion_group!(benches, records);
criterion_main!(benches);

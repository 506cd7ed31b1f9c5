//! What the ledger costs for each event, by batch size: accept (one commit, one sync) and settle
//! (one commit), timers that go in and expire, and pages read back. On a file system in memory,
//! where a sync costs nothing, for the CPU; once on disk, for the sync.
//!
//! What a hundred thousand and a million waiting retries cost, and whether finding the next one
//! stays cheap while they are taken, is asked by `crates/embedded/benches/timers.rs`.

#![expect(clippy::print_stderr, reason = "a bench tells what it leaves out")]
#![expect(clippy::disallowed_methods, reason = "a bench measures real time")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{
    BatchSize, BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group,
    criterion_main,
};
use posthaste_bench::ledger::Store;

/// A file system in memory, on every Linux.
const MEMORY: &str = "/dev/shm";
const BATCHES: [usize; 4] = [1, 16, 256, 1024];
const PAGE: usize = 256;

fn memory(criterion: &mut Criterion) {
    let memory = Path::new(MEMORY);
    if !memory.is_dir() {
        eprintln!("skipped: {MEMORY} is not here, and a disk would not measure CPU");
        return;
    }
    let mut group = criterion.benchmark_group("ledger in memory");
    // Some batches meet a full memtable: samples of equal length weigh them alike.
    group.sampling_mode(SamplingMode::Flat);
    for count in BATCHES {
        accept_and_settle(&mut group, &mut Store::open(memory), count);
    }
    group.throughput(Throughput::Elements(PAGE as u64));
    let mut store = Store::open(memory);
    group.bench_function(BenchmarkId::new("retry due, found, delivered", PAGE), |bencher| {
        bencher.iter_custom(|rounds| (0..rounds).map(|_| a_page_of_retries(&mut store)).sum());
    });
    let mut store = Store::open(memory);
    let mut batch = store.delivered(PAGE);
    store.accept(&mut batch);
    group.bench_function(BenchmarkId::new("read a page of the backlog", PAGE), |bencher| {
        bencher.iter(|| store.read_backlog(PAGE));
    });
    group.bench_function(BenchmarkId::new("read payloads", PAGE), |bencher| {
        bencher.iter(|| store.read_payloads(PAGE));
    });
    group.finish();
}

fn disk(criterion: &mut Criterion) {
    // Below the target directory, which is on the disk that the checkout is on.
    let disk = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let mut group = criterion.benchmark_group("ledger on disk");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for count in BATCHES {
        accept_and_settle(&mut group, &mut Store::open(&disk), count);
    }
    group.finish();
}

fn accept_and_settle(group: &mut BenchmarkGroup<'_, WallTime>, store: &mut Store, count: usize) {
    group.throughput(Throughput::Elements(count as u64));
    group.bench_function(BenchmarkId::new("accept and settle", count), |bencher| {
        // The store is lent to two closures, one after the other.
        let store = std::cell::RefCell::new(&mut *store);
        bencher.iter_batched(
            || store.borrow_mut().delivered(count),
            |mut batch| {
                store.borrow().accept(&mut batch);
                store.borrow().settle(&mut batch);
            },
            BatchSize::PerIteration,
        );
    });
}

/// A page of events fails and falls due: their settlements, the read in due order and the second
/// settlements are timed, their acceptance is not.
fn a_page_of_retries(store: &mut Store) -> Duration {
    let mut batch = store.failed(PAGE);
    store.accept(&mut batch);
    let started = Instant::now();
    store.settle(&mut batch);
    store.expire(PAGE);
    started.elapsed()
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(4));
    targets = memory, disk
}
criterion_main!(benches);

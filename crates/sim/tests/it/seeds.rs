//! A subset of the seeds that `cargo run --release -p posthaste-sim -- --seeds 10000` runs.

use std::thread;

use posthaste_sim::{Behaviour, Counts, Plan, ProcessPlan};

/// Worlds in this subset; each takes about 0.4 s of one core in the development profile.
const SEEDS: u64 = 64;
/// Events posted in each.
const DELIVERIES: u64 = 1_000;

/// For all seeds: no promise is broken, every event ends as the reference says, and at most the
/// attempts that a crash cut off are repeated. A seed that fails is printed with its command.
#[test]
fn seeds_hold_every_invariant() {
    let jobs = thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let run = |job: u64| {
        let mut counts = Counts::default();
        for seed in (job..SEEDS).step_by(usize::try_from(jobs).unwrap()) {
            match posthaste_sim::run(&Plan::draw(seed, DELIVERIES)) {
                Ok(report) => counts += report.counts,
                Err(failure) => panic!("{failure}"),
            }
        }
        counts
    };
    let mut total = Counts::default();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|job| scope.spawn(move || run(job))).collect();
        for worker in workers {
            total += worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
    assert!(total.accepted >= SEEDS * DELIVERIES, "{total}");
    assert_eq!(total.accepted, total.delivered + total.dead_lettered + total.purged, "{total}");
    assert!(total.duplicates <= total.cut_off, "{total}");
    // The subset is worth something only if the faults really happen in it.
    for happened in [total.crashes, total.drains, total.requeues, total.failed_commits] {
        assert!(happened > 100, "{total}");
    }
    assert!(total.refused > 1_000 && total.duplicates > 100 && total.poisoned > 0, "{total}");
}

/// For all seeds: two runs do the same things at the same times.
#[test]
fn the_same_seed_gives_the_same_trace() {
    let mut hashes = Vec::new();
    for seed in [3, 14, 15, 92] {
        let one = posthaste_sim::run(&Plan::draw(seed, 300)).unwrap();
        let other = posthaste_sim::run(&Plan::draw(seed, 300)).unwrap();
        assert_eq!(one, other, "seed {seed}");
        hashes.push(one.trace_hash);
    }
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 4, "different seeds give different traces");
}

/// For all worlds without faults: every event is delivered by its first attempt, once.
#[test]
fn without_faults_everything_is_delivered_once() {
    for seed in 0..4 {
        let mut plan = Plan::draw(seed, 1_000);
        plan.store.fails_permille = 0;
        plan.operations = 0;
        plan.local_faults.clear();
        let never = ProcessPlan { crash_every_ms: None, drain_every_ms: None, ..plan.process };
        plan.process = never;
        plan.places.iter_mut().for_each(|it| it.behaviour = Behaviour::Healthy { slowest_ms: 50 });
        let counts = posthaste_sim::run(&plan).unwrap_or_else(|failure| panic!("{failure}")).counts;
        assert_eq!((counts.delivered, counts.attempts, counts.duplicates), (1_000, 1_000, 0));
    }
}

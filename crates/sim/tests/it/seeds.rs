//! A subset of the seeds that `cargo run --release -p posthaste-sim -- --seeds 10000` runs.

use std::thread;

use posthaste_sim::{Behaviour, Counts, Coverage, Plan, ProcessPlan};

/// Worlds in this subset; each takes about 0.15 s of one core in the development profile.
const SEEDS: u64 = 96;
/// Events posted in each.
const DELIVERIES: u64 = 1_000;

/// What happens in every world, and in how many of them the rest must happen for the subset to be
/// worth something.
const SEEN_IN_ALL: [&str; 5] =
    ["failed attempts", "slow attempts", "recovered endpoints", "crashes", "lost acks"];
/// Of so many worlds.
const SEEN_IN_SOME: u64 = SEEDS / 64;

/// For all seeds: no promise is broken, every event ends as the reference says, and at most the
/// attempts that a crash cut off are repeated. A seed that fails is printed with its command.
#[test]
fn seeds_hold_every_invariant() {
    let jobs = thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let run = |job: u64| {
        let seeds = (job..SEEDS).step_by(usize::try_from(jobs).unwrap());
        let reports = seeds.map(|seed| posthaste_sim::run(&Plan::draw(seed, DELIVERIES)));
        let reports = reports.map(|report| report.unwrap_or_else(|failure| panic!("{failure}")));
        reports.map(|report| report.counts).collect::<Vec<Counts>>()
    };
    let worlds = thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|job| scope.spawn(move || run(job))).collect();
        let ended = workers.into_iter().map(|worker| worker.join());
        let ended = ended.map(|it| it.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        ended.flatten().collect::<Vec<Counts>>()
    });
    let mut coverage = Coverage::default();
    for counts in &worlds {
        coverage.add(counts);
        assert!(counts.accepted >= DELIVERIES, "{counts}");
        let ended = counts.delivered + counts.dead_lettered + counts.purged;
        assert_eq!(counts.accepted, ended, "{counts}");
        assert!(counts.duplicates <= counts.cut_off, "{counts}");
    }
    // The subset is worth something only if the faults really happen in it.
    for (fault, seen) in coverage.seen() {
        let least = if SEEN_IN_ALL.contains(&fault) { SEEDS } else { SEEN_IN_SOME };
        assert!(seen >= least, "{fault} in {seen} worlds: {coverage}");
    }
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
        (plan.operations, plan.changes) = (0, 0);
        plan.local_faults.clear();
        let never = ProcessPlan {
            crash_every_ms: None,
            drain_every_ms: None,
            lost_ack_at: None,
            ..plan.process
        };
        plan.process = never;
        for place in &mut plan.places {
            place.behaviour = Behaviour::Healthy { slowest_ms: 50 };
            place.gone_at = None;
        }
        let counts = posthaste_sim::run(&plan).unwrap_or_else(|failure| panic!("{failure}")).counts;
        assert_eq!((counts.delivered, counts.attempts, counts.duplicates), (1_000, 1_000, 0));
    }
}

//! What an instance's jobs cost as a buffered cache: processor time a job, memory, a restart.
//!
//! ```text
//! cargo bench -p posthaste-embedded --bench jobs                the cycle, and 1,000,000 that wait
//! cargo bench -p posthaste-embedded --bench jobs -- 20000       another number that wait
//! ```
//!
//! The cycle is a failed first attempt and its delivered retry, as the store sees them: put as
//! unwritten, put as waiting, removed; each a call of 1, 16 or 256 jobs. Processor time is the
//! whole process's, so merging tables is in it; wall time is one caller's, who waits for each
//! answer.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use posthaste_domain::{
    Attempt, DeliveryKey, EndpointId, ErrorClass, EventId, InstanceId, OwedAs, PhaseTimings,
    Resolution, Settlement, TenantId, TimerPosition, Timestamp, Verdict,
};
use posthaste_embedded::{Commit, Ledger, Observer, Settings, SyncMode};
use posthaste_ports::{Job, JobChange, JobState, JobStore as _, PortError, ShardSpec};

/// Jobs that go through the cycle at each size of a call.
const CYCLES: u64 = 100_000;
/// Waiting jobs in one call, and in one page.
const STEP: usize = 1000;
/// The payload of each job, in bytes.
const PAYLOAD: [u8; 500] = [b'x'; 500];
/// Due times are spread over this many milliseconds.
const SPREAD_MS: u64 = 600_000;

struct Watch(Instant);

impl Observer for Watch {
    fn monotonic_us(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn committed(&self, _commit: &Commit) {}

    fn failed(&self, reason: &str) {
        println!("the ledger failed: {reason}");
    }
}

fn main() {
    let counts: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    // cargo runs benches in a test run too: briefly then.
    let brief = std::env::args().any(|argument| argument == "--test");
    let cycles = if brief { 500 } else { CYCLES };
    let waiting = counts.first().copied().unwrap_or(if brief { 5_000 } else { 1_000_000 });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async {
        for size in [1, 16, 256] {
            cycle(cycles, size).await.expect("the ledger works");
        }
        wait(waiting).await.expect("the ledger works");
    });
}

fn open(home: &std::path::Path) -> Ledger {
    let defaults = Settings::new(home.join("data"));
    let settings = Settings { ballast_bytes: 0, sync: SyncMode::Buffered, ..defaults };
    let observer = Arc::new(Watch(Instant::now()));
    let instance = InstanceId::try_new("bench").expect("not empty");
    let opened = Ledger::open_or_quarantine(settings, &instance, Timestamp::ZERO, observer);
    opened.expect("the ledger opens").0
}

/// The cycle, in calls of `size` jobs.
async fn cycle(count: u64, size: usize) -> Result<(), PortError> {
    let home = tempfile::tempdir().expect("a temporary directory");
    let ledger = open(home.path());
    let (began, busy) = (Instant::now(), processor_time());
    let numbers: Vec<u64> = (0..count).collect();
    for numbers in numbers.chunks(size) {
        ledger.apply(numbers.iter().map(|n| put(unwritten(*n))).collect()).await?;
        ledger.apply(numbers.iter().map(|n| put(waiting(*n))).collect()).await?;
        ledger.apply(numbers.iter().map(|n| JobChange::Remove(key(*n))).collect()).await?;
    }
    let (wall, busy) = (began.elapsed(), processor_time().saturating_sub(busy));
    ledger.close().await;
    println!(
        "{count} jobs put as unwritten, put as waiting, removed, {size} a call: {:.2} us of \
         processor time a job, {:.2} us of wall time; disk {} MB",
        each(busy, count),
        each(wall, count),
        ledger.stats().disk_bytes / 1_000_000,
    );
    Ok(())
}

/// Many that wait: memory, a restart, and taking them in due order.
async fn wait(count: u64) -> Result<(), PortError> {
    let home = tempfile::tempdir().expect("a temporary directory");
    println!("{count} waiting jobs, payload {} B", PAYLOAD.len());
    let ledger = open(home.path());
    let began = Instant::now();
    let numbers: Vec<u64> = (0..count).collect();
    for numbers in numbers.chunks(STEP) {
        ledger.apply(numbers.iter().map(|n| put(waiting(*n))).collect()).await?;
    }
    println!("  put: {:.1} us each; {} MB resident", each(began.elapsed(), count), resident_mb());
    ledger.close().await;
    drop(ledger);
    let began = Instant::now();
    let ledger = open(home.path());
    let opened = began.elapsed();
    page(&ledger, TimerPosition::START).await?;
    println!(
        "  restart: open {} ms, first page of {STEP} after {} ms; {} MB resident, disk {} MB",
        opened.as_millis(),
        began.elapsed().as_millis(),
        resident_mb(),
        ledger.stats().disk_bytes / 1_000_000,
    );
    let (mut taken, mut polls) = (0, Vec::new());
    let mut from = Some(TimerPosition::START);
    while let Some(place) = from {
        let poll = Instant::now();
        let (keys, next) = page(&ledger, place).await?;
        polls.push(poll.elapsed());
        taken += keys.len() as u64;
        ledger.apply(keys.into_iter().map(JobChange::Remove).collect()).await?;
        from = next;
    }
    polls.sort();
    let at = |part: usize| polls.get(polls.len() * part / 100).map_or(0, |poll| poll.as_micros());
    println!("  {taken} taken in due order: page p50 {} us, p99 {} us", at(50), at(99));
    let empty = Instant::now();
    let outbox = ledger.outbox(None, STEP).await?.len();
    let timers = page(&ledger, TimerPosition::START).await?.0.len();
    println!("  then empty ({outbox}, {timers}), seen in {} us", empty.elapsed().as_micros());
    assert_eq!(taken, count, "jobs are missing");
    ledger.close().await;
    Ok(())
}

async fn page(
    ledger: &Ledger,
    from: TimerPosition,
) -> Result<(Vec<DeliveryKey>, Option<TimerPosition>), PortError> {
    let shard = ShardSpec { index: 0, count: 1 };
    let read = ledger.timers(shard, from, Timestamp::MAX, STEP).await?;
    Ok((read.owed.into_iter().map(|owed| owed.key).collect(), read.next))
}

fn key(n: u64) -> DeliveryKey {
    let tenant = TenantId::try_new("acme").expect("lawful");
    let event = EventId::from_parts(Timestamp::from_millis(500_000 + n / 10), u128::from(n));
    DeliveryKey { tenant, event, endpoint: EndpointId::DEFAULT }
}

/// Due times in no order, as jitter has it.
fn due(n: u64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20) % SPREAD_MS)
}

fn put(job: Job) -> JobChange {
    JobChange::Put(Box::new(job))
}

fn waiting(n: u64) -> Job {
    Job {
        key: key(n),
        round: 0,
        shard_key: 1,
        interrupted: 0,
        epoch: 1,
        lease_until: Timestamp::from_millis(2_000_000),
        state: JobState::Waiting { due: due(n), attempts: 1 },
        payload: Some(PAYLOAD.as_slice().into()),
    }
}

fn unwritten(n: u64) -> Job {
    let at = Timestamp::from_millis(900_000);
    let settlement = Settlement {
        key: key(n),
        round: 0,
        attempts: 1,
        owed_as: OwedAs::Fresh,
        interrupted: 0,
        at,
        attempt: Some(Attempt {
            number: 1,
            at,
            duration_ms: 30,
            status_code: Some(503),
            verdict: Verdict::Failed { class: ErrorClass::ServerError, retry_after_ms: None },
            error: Some("the endpoint said 503".into()),
            response: Vec::new().into(),
            phases: PhaseTimings::default(),
        }),
        resolution: Resolution::Retry { due: due(n) },
    };
    Job { state: JobState::Unwritten(Box::new(settlement)), epoch: 0, ..waiting(n) }
}

/// Processor time of all threads of this process so far, which the kernel tells in hundredths of a
/// second.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may hold anything: user time is the 12th word, system time the next.
    let words = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = words.skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
    Duration::from_millis(10 * ticks)
}

fn each(time: Duration, count: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let count = count.max(1) as f64;
    time.as_secs_f64() * 1e6 / count
}

/// Resident memory of this process, in MB.
fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1024 / 1_000_000
}

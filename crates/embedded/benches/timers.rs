//! What waiting retries cost: memory, a restart, and finding the next one that is due.
//!
//! ```text
//! cargo bench -p posthaste-embedded --bench timers                 100,000 and 1,000,000 retries
//! cargo bench -p posthaste-embedded --bench timers -- 5000 20000   other numbers
//! ```
//!
//! Fills a ledger with events that failed once, closes and opens it, then takes the retries in due
//! order, a page at a time, and settles each page as delivered, as a shard does. If finding what is
//! due became dearer with what was taken before, the last tenth would show it.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use posthaste_domain::{
    DeliveryKey, EndpointId, EventId, KeyHash, OwedAs, Resolution, Settlement, TargetUrl, TenantId,
    TimerPosition, Timestamp, WebhookSecret,
};
use posthaste_embedded::{Commit, Ledger, Observer, Settings};
use posthaste_ports::memory::NullSink;
use posthaste_ports::{
    EventStore as _, Journal as _, NewEvent, NewTenant, PortError, ShardSpec, TenantStore as _,
};

/// Retries in one page: what a shard reads at once, by default.
const PAGE: usize = 1000;
/// Events accepted or settled in one call.
const STEP: u64 = 1000;
/// The payload of each event, in bytes.
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
    let counts = match (counts.is_empty(), brief) {
        (false, _) => counts,
        (true, true) => vec![5_000],
        (true, false) => vec![100_000, 1_000_000],
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build();
    let runtime = runtime.expect("a runtime");
    for count in counts {
        runtime.block_on(measure(count)).expect("the ledger works");
    }
}

async fn measure(count: u64) -> Result<(), PortError> {
    let home = tempfile::tempdir().expect("a temporary directory");
    println!("{count} waiting retries, payload {} B", PAYLOAD.len());
    let ledger = open(home.path());
    let started = Instant::now();
    fill(&ledger, count).await?;
    let filled = started.elapsed();
    println!("  filled in {:.1} s, {:.1} us each", filled.as_secs_f64(), each(filled, count));
    println!("  resident memory after filling: {} MB", resident_mb());
    ledger.close().await;
    drop(ledger);
    let started = Instant::now();
    let ledger = open(home.path());
    let opened = started.elapsed();
    let first = page(&ledger, TimerPosition::START).await?;
    println!(
        "  restart: open {} ms, first page of {} after {} ms; resident memory {} MB, disk {} MB",
        opened.as_millis(),
        first.0.len(),
        started.elapsed().as_millis(),
        resident_mb(),
        ledger.stats().disk_bytes / 1_000_000,
    );
    drain(&ledger, count).await?;
    println!("  resident memory at the end: {} MB", resident_mb());
    ledger.close().await;
    Ok(())
}

fn open(home: &std::path::Path) -> Ledger {
    let settings = Settings { ballast_bytes: 0, ..Settings::new(home.join("data")) };
    let observer = Arc::new(Watch(Instant::now()));
    Ledger::open(settings, Arc::new(NullSink), observer).expect("the ledger opens").0
}

async fn fill(ledger: &Ledger, count: u64) -> Result<(), PortError> {
    let target = TargetUrl::parse_stored("https://example.com/hook").expect("lawful");
    ledger
        .create(NewTenant {
            id: tenant(),
            shard_key: target.shard_key(),
            target,
            secret: WebhookSecret::try_new("some-secret").expect("lawful"),
            plan: "standard".into(),
            options: Arc::default(),
            key: KeyHash::from_bytes([1; 32]),
            at: Timestamp::from_millis(1),
        })
        .await?;
    for begin in (0..count).step_by(usize::try_from(STEP).unwrap_or(1)) {
        let ids: Vec<EventId> = (begin..(begin + STEP).min(count)).map(id).collect();
        let new = |id: &EventId| NewEvent {
            tenant: tenant(),
            id: *id,
            payload: Bytes::from_static(&PAYLOAD),
            idempotency: None,
        };
        ledger.accept(ids.iter().map(new).collect()).await?;
        let failed = ids.iter().map(|id| {
            // Due times in no order, as jitter has it.
            let spread = id.as_u128().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
            let due = 1_000_000 + u64::try_from(spread % u128::from(SPREAD_MS)).unwrap_or(0);
            let due = Timestamp::from_millis(due);
            outcome(*id, OwedAs::Fresh, Resolution::Retry { due })
        });
        ledger.settle(failed.collect()).await?;
    }
    Ok(())
}

/// Takes everything in due order; prints each tenth.
async fn drain(ledger: &Ledger, count: u64) -> Result<(), PortError> {
    println!("  taken          poll p50      poll p99      settle      (a page of {PAGE})");
    let mut taken = 0;
    let mut from = TimerPosition::START;
    for tenth in 1..=10 {
        let mut polls = Vec::new();
        let begin = (taken, Instant::now());
        let mut polling = std::time::Duration::ZERO;
        while taken < count * tenth / 10 {
            let poll = Instant::now();
            let (owed, next) = page(ledger, from.clone()).await?;
            polls.push(poll.elapsed());
            polling += poll.elapsed();
            if owed.is_empty() {
                break;
            }
            taken += owed.len() as u64;
            from = next;
            ledger.settle(owed).await?;
        }
        polls.sort();
        let at = |part: usize| polls.get(polls.len() * part / 100).map_or(0, |p| p.as_micros());
        println!(
            "  {taken:>9}   {:>8} us   {:>8} us   {:>6.1} us each",
            at(50),
            at(99),
            each(begin.1.elapsed() - polling, taken - begin.0),
        );
    }
    assert_eq!(taken, count, "retries are missing");
    Ok(())
}

/// The next page of retries, as the outcomes that deliver them, and where the one after begins.
async fn page(
    ledger: &Ledger,
    from: TimerPosition,
) -> Result<(Vec<Settlement>, TimerPosition), PortError> {
    let shard = ShardSpec { index: 0, count: 1 };
    let read = ledger.timers(shard, from, Timestamp::MAX, PAGE).await?;
    let delivered = |owed: &posthaste_domain::Owed| {
        outcome(owed.key.event, owed.owed_as, Resolution::Delivered)
    };
    let settlements = read.owed.iter().map(delivered).collect();
    Ok((settlements, read.next.unwrap_or(TimerPosition::START)))
}

fn tenant() -> TenantId {
    TenantId::try_new("acme").expect("lawful")
}

const fn id(n: u64) -> EventId {
    EventId::from_parts(Timestamp::from_millis(500_000 + n / 10), n as u128)
}

fn outcome(event: EventId, owed_as: OwedAs, resolution: Resolution) -> Settlement {
    Settlement {
        key: DeliveryKey { tenant: tenant(), event, endpoint: EndpointId::DEFAULT },
        round: 0,
        // Without a line in the log no attempt is counted.
        attempts: 0,
        owed_as,
        interrupted: 0,
        at: Timestamp::from_millis(900_000),
        attempt: None,
        resolution,
    }
}

fn each(time: std::time::Duration, count: u64) -> f64 {
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

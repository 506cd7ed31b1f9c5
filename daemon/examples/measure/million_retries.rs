//! What a million waiting retries cost the whole process: memory, a restart, punctuality.
//!
//! ```text
//! cargo run --release --example measure -- million-retries
//! cargo run --release --example measure -- million-retries --retries 100000
//! ```
//!
//! Writes a ledger with events that failed once and wait for their retry, as an outage of a large
//! tenant leaves them: some overdue, the others due over the next minutes. Starts the real binary
//! on it and measures the time from its start to its first delivery, its memory, its idle CPU
//! time, and how late each retry comes after its due time. A retry that comes early is an error.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use clap::Args;
use hdrhistogram::Histogram;
use posthaste_domain::{
    DeliveryKey, EndpointId, EventId, KeyHash, OwedAs, Resolution, Settlement, TargetUrl, TenantId,
    Timestamp, WebhookSecret,
};
use posthaste_embedded::{Commit, Ledger, Observer, Settings};
use posthaste_ports::memory::NullSink;
use posthaste_ports::{EventStore as _, Journal as _, NewEvent, NewTenant, TenantStore as _};

use crate::child::Daemon;
use crate::sink::{Received, serve};

/// Retries that are due when the daemon starts.
const OVERDUE: u64 = 1_000;
/// Retries that become due in a second, from a little after the start on.
const DUE_A_SECOND: u64 = 1_000;
/// Events in one step of filling.
const STEP: u64 = 1_000;

/// What many waiting retries cost.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Retries that wait
    #[arg(long, default_value_t = 1_000_000)]
    retries: u64,
    /// Bytes of each payload
    #[arg(long, default_value_t = 500)]
    payload: usize,
    /// Seconds to watch
    #[arg(long, default_value_t = 30)]
    watch: u64,
    /// The daemon
    #[arg(long, default_value = "target/release/posthaste")]
    binary: PathBuf,
}

/// What the sink has seen.
struct Sink {
    /// Lateness in milliseconds of what became due after the start.
    late: Mutex<Histogram<u64>>,
    early: AtomicU64,
    overdue: AtomicU64,
    first: Mutex<Option<Instant>>,
}

struct Quiet(Instant);

impl Observer for Quiet {
    fn monotonic_us(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn committed(&self, _commit: &Commit) {}

    fn failed(&self, reason: &str) {
        println!("the ledger failed: {reason}");
    }
}

/// Runs the measurement and prints it.
pub(crate) async fn measure(options: Options) -> anyhow::Result<()> {
    let sink = Arc::new(Sink {
        late: Mutex::new(Histogram::new(3)?),
        early: AtomicU64::new(0),
        overdue: AtomicU64::new(0),
        first: Mutex::new(None),
    });
    let target = serve(Arc::clone(&sink)).await?;
    let home = tempfile::tempdir()?;
    let data = home.path().join("data");
    let filling = Instant::now();
    // The first retry is due when filling is over, for which this is time enough.
    let begin = now_ms() + 10_000 + options.retries / 20;
    fill(&options, &data, target, begin).await?;
    println!(
        "{} retries wait, payload {} B (written in {:.0} s)",
        options.retries,
        options.payload,
        filling.elapsed().as_secs_f64()
    );
    tokio::time::sleep(Duration::from_millis(begin.saturating_sub(now_ms()))).await;
    let start = Instant::now();
    let set = ["delivery.in-flight-per-endpoint-max=64".to_owned()];
    let daemon = Daemon::start(&options.binary, &data, &set)?;
    let listening = start.elapsed();
    let first = loop {
        if let Some(at) = *sink.first.lock().map_err(|_| anyhow::anyhow!("a task panicked"))? {
            break at - start;
        }
        ensure!(start.elapsed() < Duration::from_secs(60), "no delivery within 60 s");
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    println!(
        "restart      listens after {} ms, first delivery after {} ms",
        listening.as_millis(),
        first.as_millis()
    );
    let mut most = 0;
    let cpu = daemon.cpu()?;
    for _ in 0..options.watch {
        tokio::time::sleep(Duration::from_secs(1)).await;
        most = most.max(daemon.resident_mb()?);
    }
    let cpu = daemon.cpu()? - cpu;
    let late = sink.late.lock().map_err(|_| anyhow::anyhow!("a task panicked"))?;
    println!("memory       {most} MB resident at most in {} s", options.watch);
    println!(
        "lateness     p50 {} ms, p99 {} ms, max {} ms over {} retries that came due ({} overdue \
         ones before)",
        late.value_at_quantile(0.5),
        late.value_at_quantile(0.99),
        late.max(),
        late.len(),
        sink.overdue.load(Ordering::Relaxed)
    );
    let cores = cpu.as_secs_f64() / Duration::from_secs(options.watch).as_secs_f64();
    println!("CPU          {:.0} % of one core at {DUE_A_SECOND} retries/s", cores * 100.0);
    let early = sink.early.load(Ordering::Relaxed);
    ensure!(early == 0, "{early} retries came early");
    println!("early        0 retries");
    Ok(())
}

/// When the `n`-th retry is due, in Unix milliseconds.
fn due(begin: u64, n: u64) -> u64 {
    match n.checked_sub(OVERDUE) {
        None => begin - 1,
        // A little after the start, so that only the retries that come due are measured.
        Some(n) => begin + 5_000 + n * 1000 / DUE_A_SECOND,
    }
}

async fn fill(
    options: &Options,
    data: &Path,
    target: SocketAddr,
    begin: u64,
) -> anyhow::Result<()> {
    let settings = Settings { ballast_bytes: 0, ..Settings::new(data) };
    let observer = Arc::new(Quiet(Instant::now()));
    let (ledger, _) = Ledger::open(settings, Arc::new(NullSink), observer)?;
    let target = TargetUrl::parse_stored(&format!("http://{target}/hook"))?;
    let tenant = TenantId::try_new("waiting")?;
    ledger
        .create(NewTenant {
            id: tenant.clone(),
            shard_key: target.shard_key(),
            target,
            secret: WebhookSecret::try_new("some-secret")?,
            plan: "standard".into(),
            options: Arc::default(),
            key: KeyHash::from_bytes([1; 32]),
            at: Timestamp::from_millis(begin),
        })
        .await?;
    let payload = format!("{{\"pad\":\"{}\"}}", "x".repeat(options.payload.saturating_sub(10)));
    let payload = Bytes::from(payload);
    let accepted = now_ms();
    for step in (0..options.retries).step_by(usize::try_from(STEP)?) {
        // The sink must know when an event is due: its id says so.
        let due = |n| Timestamp::from_millis(due(begin, n));
        let id = |n| EventId::from_parts(due(n), u128::from(n));
        let ids = step..(step + STEP).min(options.retries);
        let new = |n| NewEvent {
            tenant: tenant.clone(),
            id: id(n),
            payload: payload.clone(),
            idempotency: None,
        };
        ledger.accept(ids.clone().map(new).collect()).await?;
        let failed = |n| Settlement {
            key: DeliveryKey {
                tenant: tenant.clone(),
                event: id(n),
                endpoint: EndpointId::DEFAULT,
            },
            round: 0,
            attempts: 0,
            owed_as: OwedAs::Fresh,
            interrupted: 0,
            at: Timestamp::from_millis(accepted),
            attempt: None,
            resolution: Resolution::Retry { due: due(n) },
        };
        ledger.settle(ids.map(failed).collect()).await?;
    }
    ledger.close().await;
    Ok(())
}

impl Received for Sink {
    fn received(&self, id: &str) -> anyhow::Result<()> {
        let (id, now) = (id.parse::<EventId>()?, now_ms());
        let mut first = self.first.lock().ok().context("a task panicked")?;
        first.get_or_insert_with(Instant::now);
        drop(first);
        let n = u64::try_from(id.as_u128() & u128::from(u64::MAX))?;
        let due = id.created_at().as_millis();
        if now < due {
            self.early.fetch_add(1, Ordering::Relaxed);
        }
        if n < OVERDUE {
            self.overdue.fetch_add(1, Ordering::Relaxed);
        } else {
            let mut late = self.late.lock().ok().context("a task panicked")?;
            late.record(now.saturating_sub(due))?;
        }
        Ok(())
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

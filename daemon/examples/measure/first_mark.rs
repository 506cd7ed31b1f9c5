//! The first mark of speed: events accepted durably and delivered, with everything on one machine.
//!
//! ```text
//! cargo run --release --example measure -- first-mark
//! cargo run --release --example measure -- first-mark --events 500000 --connections 128
//! cargo run --release --example measure -- first-mark --rate 5000      an open loop
//! ```
//!
//! Starts the real binary (`target/release/posthaste`, or `--binary`) with its defaults and a data
//! directory of its own, creates one tenant whose target is a sink in this process, and posts
//! events on kept-alive connections. Each event is synced to disk before its 201. Counts what the
//! sink got, by event, and prints events a second, latencies, and the CPU time of the daemon's
//! process for each event, as the kernel counts it. Generator and sink share the machine's cores
//! with the daemon, and their own CPU time is printed beside it.
//!
//! Without `--rate` it is a closed loop: latencies then say how long the queue is, not how fast the
//! daemon is. With a rate they count from the moment at which an event was to be sent.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use clap::Args;
use hdrhistogram::Histogram;
use posthaste::demo::client::Client;

use crate::child::{Daemon, cpu_of};
use crate::sink::{Received, serve};

/// How fast the daemon takes and delivers events on this machine.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Events to post
    #[arg(long, default_value_t = 200_000)]
    events: u64,
    /// Connections to post on
    #[arg(long, default_value_t = 64)]
    connections: u64,
    /// Bytes of each payload
    #[arg(long, default_value_t = 500)]
    payload: usize,
    /// Events a second; 0 for as fast as it goes
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// The daemon
    #[arg(long, default_value = "target/release/posthaste")]
    binary: PathBuf,
    /// Settings of the daemon, as SECTION.KEY=VALUE
    #[arg(long)]
    set: Vec<String>,
    /// Where its data directory is made [default: the system's temporary directory]
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// What the sink has seen.
struct Sink {
    /// When each event was to be sent; taken away by its first delivery.
    expected: Mutex<HashMap<String, Instant>>,
    /// Deliveries that came before their 201 did.
    early: Mutex<HashMap<String, Instant>>,
    latencies: Mutex<Histogram<u64>>,
    delivered: AtomicU64,
    requests: AtomicU64,
}

/// Runs the measurement and prints it.
pub(crate) async fn measure(options: Options) -> anyhow::Result<()> {
    let sink = Arc::new(Sink {
        expected: Mutex::default(),
        early: Mutex::default(),
        latencies: Mutex::new(histogram()?),
        delivered: AtomicU64::new(0),
        requests: AtomicU64::new(0),
    });
    let target = serve(Arc::clone(&sink)).await?;
    let home = match &options.dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let daemon = Daemon::start(&options.binary, &home.path().join("data"), &options.set)?;
    let key = tenant(&daemon, target).await?;
    // Connections, caches and the store's files are warm before anything is measured.
    let warm = Options { events: 2_000, rate: 0, ..options.clone() };
    post(&warm, &daemon, &key, &sink).await?;
    delivered(&sink, warm.events).await?;
    *lock(&sink.latencies)? = histogram()?;
    let (cpu, own) = (daemon.cpu()?, cpu_of("self")?);
    let start = Instant::now();
    let accepted = post(&options, &daemon, &key, &sink).await?;
    let posted = start.elapsed();
    delivered(&sink, warm.events + options.events).await?;
    let all = start.elapsed();
    let (cpu, own) = (daemon.cpu()? - cpu, cpu_of("self")? - own);
    let events = float(options.events);
    let repeats = sink.requests.load(Ordering::Relaxed) - warm.events - options.events;
    println!(
        "{} events of {} B on {} connections, {}, each synced before its 201",
        options.events,
        options.payload,
        options.connections,
        match options.rate {
            0 => "as fast as it goes".to_owned(),
            rate => format!("{rate} events/s"),
        }
    );
    println!("accepted     {:>8.0} events/s in {:.1} s", events / secs(posted), secs(posted));
    println!("delivered    {:>8.0} events/s in {:.1} s", events / secs(all), secs(all));
    println!("repeated     {repeats:>8} deliveries");
    print_latencies("201 after", &accepted);
    print_latencies("delivered after", &*lock(&sink.latencies)?);
    println!("daemon CPU   {:>8.1} us an event", secs(cpu) * 1e6 / events);
    println!("bench CPU    {:>8.1} us an event (generator and sink)", secs(own) * 1e6 / events);
    println!("daemon RSS   {:>8} MB", daemon.resident_mb()?);
    Ok(())
}

fn print_latencies(what: &str, histogram: &Histogram<u64>) {
    let ms = |quantile| float(histogram.value_at_quantile(quantile)) / 1000.0;
    println!(
        "{what:<16} p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms, max {:.1} ms",
        ms(0.5),
        ms(0.9),
        ms(0.99),
        ms(0.999),
        float(histogram.max()) / 1000.0
    );
}

impl Received for Sink {
    fn received(&self, id: &str) -> anyhow::Result<()> {
        let now = Instant::now();
        self.requests.fetch_add(1, Ordering::Relaxed);
        let expected = lock(&self.expected)?.remove(id);
        match expected {
            Some(due) => lock(&self.latencies)?.record(micros(now - due))?,
            // Before its 201, or a second time; then it stays here and is not counted.
            None => {
                if lock(&self.early)?.insert(id.to_owned(), now).is_some() {
                    return Ok(());
                }
            }
        }
        self.delivered.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Posts everything; gives the latencies of the 201s, in microseconds.
async fn post(
    options: &Options,
    daemon: &Daemon,
    key: &str,
    sink: &Arc<Sink>,
) -> anyhow::Result<Histogram<u64>> {
    let next = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let mut posters = tokio::task::JoinSet::new();
    for _ in 0..options.connections {
        let client = Client::new(daemon.api, Some(key));
        let (options, next, sink) = (options.clone(), Arc::clone(&next), Arc::clone(sink));
        posters.spawn(post_some(client, options, next, start, sink));
    }
    let mut all = histogram()?;
    while let Some(done) = posters.join_next().await {
        all.add(done??)?;
    }
    Ok(all)
}

async fn post_some(
    mut client: Client,
    options: Options,
    next: Arc<AtomicU64>,
    start: Instant,
    sink: Arc<Sink>,
) -> anyhow::Result<Histogram<u64>> {
    let mut latencies = histogram()?;
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= options.events {
            return Ok(latencies);
        }
        let due = match options.rate {
            0 => Instant::now(),
            rate => start + Duration::from_secs_f64(float(n) / float(rate)),
        };
        tokio::time::sleep_until(due.into()).await;
        let answer = client.post("/v1/events", payload(n, options.payload)).await?;
        ensure!(answer.status == 201, "{}: {:?}", answer.status, answer.body);
        latencies.record(micros(due.elapsed()))?;
        let id = answer.json()["event_id"].as_str().context("no event id")?.to_owned();
        sink.expect(id, due)?;
    }
}

fn payload(n: u64, len: usize) -> Bytes {
    let head = format!("{{\"type\":\"mark\",\"n\":{n},\"pad\":\"");
    let pad = len.saturating_sub(head.len() + 2);
    format!("{head}{}\"}}", "x".repeat(pad)).into()
}

/// Waits until so many events have come in; fails where nothing comes in any more.
async fn delivered(sink: &Sink, count: u64) -> anyhow::Result<()> {
    let mut last = (0, Instant::now());
    loop {
        let seen = sink.delivered.load(Ordering::Relaxed);
        if seen >= count {
            return Ok(());
        }
        if seen > last.0 {
            last = (seen, Instant::now());
        }
        if last.1.elapsed() > Duration::from_secs(30) {
            bail!("{seen} of {count} delivered, and none for 30 s");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Sink {
    /// The 201 of an event has come, which was to be sent at `due`.
    fn expect(&self, id: String, due: Instant) -> anyhow::Result<()> {
        let early = lock(&self.early)?.remove(&id);
        match early {
            Some(at) => lock(&self.latencies)?.record(micros(at - due))?,
            None => drop(lock(&self.expected)?.insert(id, due)),
        }
        Ok(())
    }
}

/// Creates the tenant `mark`; gives its key.
async fn tenant(daemon: &Daemon, target: SocketAddr) -> anyhow::Result<String> {
    let mut client = Client::new(daemon.api, Some(daemon.admin.expose()));
    let target = format!("http://{target}/hook");
    let body = format!("{{\"tenant_id\": \"mark\", \"target_url\": \"{target}\"}}");
    let answer = client.post("/v1/tenants", body).await?;
    ensure!(answer.status == 201, "{}: {:?}", answer.status, answer.body);
    Ok(answer.json()["api_key"].as_str().context("no key")?.to_owned())
}

fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new(3)?)
}

fn lock<T>(mutex: &Mutex<T>) -> anyhow::Result<std::sync::MutexGuard<'_, T>> {
    mutex.lock().map_err(|_| anyhow::anyhow!("a task panicked"))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

const fn secs(time: Duration) -> f64 {
    time.as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
const fn float(n: u64) -> f64 {
    n as f64
}

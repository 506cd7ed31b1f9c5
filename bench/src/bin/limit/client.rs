//! The bare client: so many connections over so many threads, each thread a runtime of its own,
//! so that no connection ever moves between cores. The payload is made once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::anyhow;
use bytes::Bytes;
use posthaste_bench::fixture;
use posthaste_domain::Timestamp;
use tokio::task::{JoinSet, LocalSet};

use crate::Options;
use crate::child::Load;
use crate::outgoing::Outgoing;
use crate::report::{Cpu, Report, best_of};

/// What the threads share.
#[derive(Clone)]
struct Work {
    sink: SocketAddr,
    payload: Bytes,
    events: u64,
    next: Arc<AtomicU64>,
}

/// Measures, and prints the report.
pub(crate) fn measure(options: &Options) -> anyhow::Result<()> {
    let mut load = Load::start()?;
    let mut sent = 0;
    let report = best_of(options, |options, threads| {
        let (own, other) = (Cpu::of("self")?, load.cpu()?);
        let elapsed = run(options, threads, load.sink)?;
        let cpu = (Cpu::of("self")?.since(own), load.cpu()?.since(other));
        sent += options.events;
        load.check(sent)?;
        Ok(Report::new("client", options, threads, elapsed, cpu))
    })?;
    report.print()
}

/// Sends everything; gives how long that took.
fn run(options: &Options, threads: u64, sink: SocketAddr) -> anyhow::Result<Duration> {
    let work = Work {
        sink,
        payload: fixture::payload(options.payload_bytes()),
        events: options.events,
        next: Arc::default(),
    };
    let started = Instant::now();
    let thread = |thread| {
        let share = options.connections / threads;
        let connections = share + u64::from(thread < options.connections % threads);
        let work = work.clone();
        std::thread::spawn(move || send_on(connections, &work))
    };
    let threads: Vec<_> = (0..threads).map(thread).collect();
    for thread in threads {
        thread.join().map_err(|_| anyhow!("a sending thread panicked"))??;
    }
    Ok(started.elapsed())
}

/// One thread's part.
fn send_on(connections: u64, work: &Work) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let run = async {
        let mut senders = JoinSet::new();
        for _ in 0..connections {
            senders.spawn_local(send_some(work.clone()));
        }
        while let Some(done) = senders.join_next().await {
            done??;
        }
        Ok(())
    };
    LocalSet::new().block_on(&runtime, run)
}

async fn send_some(work: Work) -> anyhow::Result<()> {
    let mut connection = Outgoing::connect(work.sink).await?;
    loop {
        let n = work.next.fetch_add(1, Ordering::Relaxed);
        if n >= work.events {
            return Ok(());
        }
        connection.send(fixture::event(n), now()?, work.payload.clone()).await?;
    }
}

/// The wall clock, as signatures carry it.
pub(crate) fn now() -> anyhow::Result<Timestamp> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(Timestamp::from_millis(u64::try_from(since.as_millis())?))
}

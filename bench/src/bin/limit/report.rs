//! What a run came to, as one line of JSON:
//!
//! ```text
//! {"what":"client","events":200000,"connections":64,"payload_bytes":500,"threads":1,
//!  "seconds":4.1,"events_per_second":48780.5,"user_us_per_event":5.1,"system_us_per_event":9.8,
//!  "cpu_us_per_event":14.9,"load_cpu_us_per_event":13.1}
//! ```
//! CPU time is this process's own, as the kernel counts it (in ticks of 10 ms, so that short runs
//! say little); `load_…` is that of the child with the sink.

use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use crate::Options;

/// User and system time of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu {
    user: Duration,
    system: Duration,
}

/// A run's figures.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    what: &'static str,
    events: u64,
    connections: u64,
    payload_bytes: u32,
    threads: u64,
    seconds: f64,
    pub(crate) events_per_second: f64,
    user_us_per_event: f64,
    system_us_per_event: f64,
    cpu_us_per_event: f64,
    load_cpu_us_per_event: f64,
}

impl Cpu {
    /// That of process `pid` so far (`self` for this one).
    pub(crate) fn of(pid: &str) -> anyhow::Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // Fields count from behind the name, which may hold spaces.
        let fields = stat.rsplit_once(')').context("no name in the process's line")?.1;
        let field = |n: usize| -> anyhow::Result<Duration> {
            let ticks = fields.split_whitespace().nth(n).context("too few fields")?;
            let ticks: u64 = ticks.parse()?;
            let a_second = rustix::param::clock_ticks_per_second();
            Ok(Duration::from_micros(ticks * 1_000_000 / a_second))
        };
        Ok(Self { user: field(11)?, system: field(12)? })
    }

    /// What was used since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        let (user, system) = (self.user - earlier.user, self.system - earlier.system);
        Self { user, system }
    }
}

impl Report {
    /// The figures of `options.events` events that took so long.
    pub(crate) fn new(
        what: &'static str,
        options: &Options,
        threads: u64,
        elapsed: Duration,
        (own, load): (Cpu, Cpu),
    ) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let events = options.events as f64;
        let each = |time: Duration| round(time.as_secs_f64() * 1e6 / events);
        Self {
            what,
            events: options.events,
            connections: options.connections,
            payload_bytes: options.payload,
            threads,
            seconds: round(elapsed.as_secs_f64()),
            events_per_second: round(events / elapsed.as_secs_f64()),
            user_us_per_event: each(own.user),
            system_us_per_event: each(own.system),
            cpu_us_per_event: each(own.user + own.system),
            load_cpu_us_per_event: each(load.user + load.system),
        }
    }

    /// Prints it.
    pub(crate) fn print(&self) -> anyhow::Result<()> {
        println!("{}", serde_json::to_string(self)?);
        Ok(())
    }
}

/// Tries each layout on a few events, then measures the best one on all of them.
pub(crate) fn best_of(
    options: &Options,
    mut run: impl FnMut(&Options, u64) -> anyhow::Result<Report>,
) -> anyhow::Result<Report> {
    let brief = options.brief();
    // Connections' buffers, caches and the allocator are warm before anything counts.
    let layouts = options.layouts();
    run(&brief, layouts[0])?;
    let mut best: Option<(f64, u64)> = None;
    for threads in layouts {
        let rate = run(&brief, threads)?.events_per_second;
        if best.is_none_or(|(most, _)| rate > most) {
            best = Some((rate, threads));
        }
    }
    let (_, threads) = best.context("no layout to try")?;
    run(options, threads)
}

fn round(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}

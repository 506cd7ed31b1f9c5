//! The bare limit that Posthaste is set beside: hyper and the signatures, and nothing else.
//!
//! ```text
//! cargo run --release -p posthaste-bench --bin limit -- client     posts signed events to a sink
//! cargo run --release -p posthaste-bench --bin limit -- proxy      signs and forwards what it gets
//! ```
//!
//! *client* is the delivering half of Posthaste without everything that makes it one: no store, no
//! engine, no pool, no deadline. *proxy* is both halves of it (takes an event, signs it, forwards
//! it) without keeping anything: what crashes is lost. Neither can be had as a product; they say
//! how fast one could be on this machine with this HTTP library.
//!
//! The process that is asked is the one that is measured; the sink, and for the proxy the
//! generator too, run in a child. Each layout of threads is tried briefly, and the best one is
//! measured, so that the limit is not a straw man. Prints one line of JSON (see `report.rs`).
//! `bench/limit.sh` runs both and Posthaste in turn.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod child;
mod client;
mod load;
mod outgoing;
mod proxy;
mod report;

use clap::{Args, Parser};

/// Measures the bare limit of this machine
#[derive(Debug, Parser)]
enum Command {
    /// A bare client that posts signed events as fast as it can
    Client(Options),
    /// A bare reverse proxy that signs and forwards, and stores nothing
    Proxy(Options),
    /// The receiver, and the generator where it is told to post: what the others start
    #[command(hide = true)]
    Load,
}

/// What is sent, and how.
#[derive(Args, Clone, Debug)]
struct Options {
    /// Events to send
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(100..))]
    events: u64,
    /// Kept-alive connections, each with one event in flight
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=4096))]
    connections: u64,
    /// Bytes of each payload
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(64..))]
    payload: u32,
    /// Threads of the measured process [default: whichever is best, tried on a tenth of the events]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=64))]
    threads: Option<u64>,
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Client(options) => client::measure(&options),
        Command::Proxy(options) => proxy::measure(&options),
        Command::Load => load::serve(),
    }
}

impl Options {
    fn payload_bytes(&self) -> usize {
        usize::try_from(self.payload).unwrap_or(usize::MAX)
    }

    /// The layouts to try: as asked, or one thread and as many as there are cores.
    fn layouts(&self) -> Vec<u64> {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        match self.threads {
            Some(threads) => vec![threads],
            None if cores > 1 => vec![1, cores],
            None => vec![1],
        }
    }

    /// The same with fewer events.
    fn brief(&self) -> Self {
        Self { events: (self.events / 10).max(100), ..self.clone() }
    }
}

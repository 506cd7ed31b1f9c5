//! Measures the real binary on this machine, from outside.
//!
//! ```text
//! cargo build --release
//! cargo run --release --example measure -- first-mark          events accepted and delivered
//! cargo run --release --example measure -- million-retries     what waiting retries cost
//! ```
//!
//! `--help` of each tells what can be changed. Generator and sink run in this process and share the
//! machine's cores with the daemon; its CPU time is the daemon's alone, as the kernel counts it.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod child;
mod first_mark;
mod million_retries;
mod sink;

use clap::Parser;

/// Measures the daemon on this machine
#[derive(Debug, Parser)]
enum Measurement {
    /// How fast events are accepted, durably, and delivered
    FirstMark(first_mark::Options),
    /// What many waiting retries cost: memory, a restart, punctuality
    MillionRetries(million_retries::Options),
}

fn main() -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match Measurement::parse() {
        Measurement::FirstMark(options) => runtime.block_on(first_mark::measure(options)),
        Measurement::MillionRetries(options) => runtime.block_on(million_retries::measure(options)),
    }
}

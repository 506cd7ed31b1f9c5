//! The sink without a run: a receiver that somebody else's system can deliver to.
//!
//! It accepts whatever comes to any path, checks signatures where it knows the secret, behaves as
//! the first group of a scenario does, and prints what it counts. It keeps no account of events:
//! it does not know which were sent.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use clap::Args;
use posthaste_domain::{SigningKey, WebhookSecret};
use tokio::time::{Duration, interval};

use super::inbound::Inbound;
use super::{Binding, Receiver, Sink, Trust};
use crate::clock::Clock;
use crate::scenario::{Scenario, resolve};
use crate::shared::{Shared, Workload, lock};

/// How the sink runs alone.
#[derive(Args, Debug)]
pub struct Alone {
    /// Where to listen; only clients of this machine are answered
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    listen: SocketAddr,
    /// The secret of the deliveries; without one, signatures are not checked
    #[arg(long, value_name = "SECRET", env = "LOADGEN_SECRET", hide_env_values = true)]
    secret: Option<String>,
    /// Behave as the first group of tenants of this scenario does
    #[arg(long, value_name = "SCENARIO", default_value = "steady")]
    scenario: String,
    /// Any value of the scenario, as often as needed: --set tenants.0.sink.hang=0.1
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Speak TLS, and write the certificate to trust to this file
    #[arg(long, value_name = "FILE")]
    tls: Option<PathBuf>,
}

impl Alone {
    /// Receives until Ctrl-C or SIGTERM.
    ///
    /// # Errors
    /// Where it cannot listen, or the scenario is wrong.
    pub fn run(self) -> Result<()> {
        let (text, folder) = resolve(&self.scenario)?;
        let scenario = Scenario::parse(&text, folder, &self.set)?;
        let trust = match &self.secret {
            Some(secret) => {
                Trust::Signed(Box::new(SigningKey::new(&WebhookSecret::try_new(secret)?)))
            }
            None => Trust::Anything,
        };
        let workload = Workload::prepare(&Scenario::parse("", PathBuf::new(), &[])?, 0)?;
        let shared = Arc::new(Shared::new(Clock::start(), workload, &scenario));
        let receiver = Receiver::new(&shared, &scenario, trust);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let binding = Binding { address: self.listen, tls: self.tls.as_deref(), endpoints: 1 };
        let sink = Sink::begin(receiver, &binding, scenario.sink.threads.max(1))?;
        runtime.block_on(report(&sink.records, self.listen))?;
        sink.stop()
    }
}

/// Prints a line a second in which something came.
async fn report(records: &[Arc<Mutex<Inbound>>], address: SocketAddr) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    say(&format!("sink on {address}; Ctrl-C ends it"));
    let (mut seconds, mut before) = (interval(Duration::from_secs(1)), 0);
    loop {
        tokio::select! {
            _ = seconds.tick() => {
                let requests: u64 = records.iter().map(|record| lock(record).requests).sum();
                if requests > before {
                    say(&format!("{} requests/s; {}", requests - before, totals(records)));
                }
                before = requests;
            }
            _ = tokio::signal::ctrl_c() => break,
            _ = term.recv() => break,
        }
    }
    say(&totals(records));
    Ok(())
}

fn totals(records: &[Arc<Mutex<Inbound>>]) -> String {
    let mut text = String::new();
    let (mut answers, mut others) = (std::collections::BTreeMap::<u16, u64>::new(), 0_u64);
    let mut faulty = std::collections::BTreeMap::<&str, u64>::new();
    for record in records {
        let record = lock(record);
        for (status, count) in &record.answers {
            *answers.entry(*status).or_default() += count;
        }
        for (fault, count) in &record.faulty {
            *faulty.entry(fault.name()).or_default() += count;
        }
        others += record.withheld.values().sum::<u64>();
    }
    for (status, count) in answers {
        text += &format!("{count} with {status}, ");
    }
    for (fault, count) in faulty {
        text += &format!("{count} {fault}, ");
    }
    text + &format!("{others} without an answer")
}

fn say(text: &str) {
    // A closed pipe is the reader's choice.
    _ = writeln!(io::stdout(), "{text}");
}

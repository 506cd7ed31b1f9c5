//! The command line of the simulator.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use super::{AwsSim, Faults, Settings};

/// Run a simulated SQS and DynamoDB until Ctrl-C or SIGTERM.
#[derive(Args, Debug)]
pub struct Alone {
    /// Where to listen; only this machine is answered
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4566")]
    listen: SocketAddr,
    /// Decides which calls meet a fault
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// What goes wrong: a file, or JSON such as {"dynamodb": {"throttle": 0.9}}
    #[arg(long, value_name = "FILE|JSON")]
    faults: Option<String>,
    /// Threads that serve
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    threads: u32,
    /// Refuse credentials of other regions [default: take any]
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
}

impl Alone {
    /// # Errors
    /// Where it cannot listen, or the faults make no sense.
    pub fn run(self) -> Result<()> {
        if !self.listen.ip().is_loopback() {
            bail!(
                "--listen {}: the simulator knows no secrets, so it stays on loopback",
                self.listen
            );
        }
        let faults = self.faults.as_deref().map(faults).transpose()?.unwrap_or_default();
        let settings = Settings {
            listen: self.listen,
            threads: self.threads.max(1),
            seed: self.seed,
            region: self.region,
            faults,
        };
        let sim = AwsSim::start(settings)?;
        let url = sim.url();
        // A closed pipe is the reader's choice.
        _ = writeln!(
            io::stdout(),
            "aws-sim on {url}; AWS_ENDPOINT_URL_SQS={url} AWS_ENDPOINT_URL_DYNAMODB={url} \
             AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=sim AWS_SECRET_ACCESS_KEY=sim"
        );
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(ended())?;
        sim.stop()
    }
}

fn faults(text: &str) -> Result<Faults> {
    let read = if text.trim_start().starts_with('{') {
        text.as_bytes().to_vec()
    } else {
        std::fs::read(Path::new(text)).with_context(|| format!("cannot read {text}"))?
    };
    Faults::parse(&read).context("--faults")
}

async fn ended() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = term.recv() => {}
    }
    Ok(())
}

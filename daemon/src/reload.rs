//! Reading the configuration again while the process runs (SIGHUP).
//!
//! ```text
//! read everything ─► wrong? ─────────────────────────────► keep the old one, say what is wrong
//!        └─► with what must hold until the next start ─► contradiction? ─► the same
//!                   └─► apply what is live ─► log each change: old → new
//! ```
//!
//! Invariant: a reload changes everything that it says, or nothing. Secrets are never shown, only
//! that they have changed.

use std::sync::Arc;

use thiserror::Error;
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

use crate::assemble::{self, live::ApplyError};
use crate::cli::{Settings, commands};
use crate::config::listing::{Entry, Listing};
use crate::config::problem::Problems;
use crate::config::{self, Config, Loaded};
use crate::instance::Instance;
use crate::lifecycle;
use crate::logging::Levels;
use crate::service::Service;

/// The section whose settings make the delivery clients.
const DELIVERY: &str = "delivery";

/// Reads the configuration again, from where it was read at the start.
#[derive(Debug)]
pub struct Reloader {
    settings: Settings,
    /// What the process was started with.
    started: Listing,
    /// How many connections of tenants it takes, which fits its descriptors.
    server_connections: usize,
    /// What was read last, and could be used.
    wanted: Listing,
    levels: Levels,
    service: Arc<Service>,
}

/// Why everything stays as it is.
#[derive(Debug, Error)]
enum Refusal {
    #[error(transparent)]
    Problems(#[from] Problems),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("reading the configuration was cut off")]
    CutOff,
}

/// What was read.
struct Read {
    /// As the next start would have it.
    wanted: Loaded,
    /// As it can hold now.
    effective: Config,
}

impl Reloader {
    /// For a process that was started with `started`, which came from `settings`, and takes so many
    /// connections of tenants at most.
    #[must_use]
    pub fn new(
        settings: Settings,
        started: Listing,
        server_connections: usize,
        levels: Levels,
        service: Arc<Service>,
    ) -> Self {
        Self { settings, wanted: started.clone(), started, server_connections, levels, service }
    }

    /// Reads the configuration and has it hold, as far as it can without a start. What is wrong is
    /// logged, and then nothing changes. May be dropped at any time.
    pub async fn reload(&mut self, instance: &mut Instance) {
        info!("reading the configuration again");
        self.service.reloading();
        match self.try_reload(instance).await {
            Ok(effective) => {
                let note = self.pending();
                if let Some(note) = &note {
                    warn!("{note}");
                }
                self.service.reloaded(Some(&effective), note);
            }
            Err(refusal) => {
                tell(&refusal);
                let note = "the configuration was refused at the last reload (see the log)";
                self.service.reloaded(None, Some(note.to_owned()));
            }
        }
    }

    async fn try_reload(&mut self, instance: &mut Instance) -> Result<Config, Refusal> {
        let Read { wanted, effective } = self.read().await?;
        let changes: Vec<_> = wanted.listing.changes(&self.wanted).collect();
        let mut live = changes.iter().map(|(_, new)| *new).filter(|new| new.live).peekable();
        if live.peek().is_some() {
            let delivers = live.any(|new| new.section == DELIVERY);
            instance.apply(&effective, delivers).await?;
        }
        wanted.notes.iter().for_each(|note| warn!("{note}"));
        if changes.is_empty() {
            info!("the configuration is as it was");
        }
        changes.into_iter().for_each(log_change);
        // At last, so that the levels that held so far decide about the lines above.
        self.levels.set(&effective.log);
        self.wanted = wanted.listing;
        Ok(effective)
    }

    /// Reads both: each alone is whole and without contradictions.
    async fn read(&self) -> Result<Read, Refusal> {
        let sources = self.settings.sources();
        let mut held = sources.clone();
        held.flags.extend(self.started.held());
        let server_connections = self.server_connections;
        // Files are read.
        let reading = spawn_blocking(move || {
            let wanted = config::load(sources)?;
            let mut effective = config::load(held)?.config;
            let limit = lifecycle::raise_descriptor_limit();
            assemble::fit_beside(&mut effective, limit, server_connections);
            Ok(Read { wanted, effective })
        });
        reading.await.map_err(|_| Refusal::CutOff)?
    }

    /// What only the next start can change, and would.
    fn pending(&self) -> Option<String> {
        let changed = self.wanted.changes(&self.started);
        let waiting: Vec<_> =
            changed.filter(|(_, new)| !new.live).map(|(_, new)| new.path()).collect();
        let names = waiting.join(", ");
        (!waiting.is_empty()).then(|| format!("changed, but held until the next start: {names}"))
    }
}

fn log_change((old, new): (&Entry, &Entry)) {
    let (setting, from, mut to) = (new.path(), old.shown(), new.shown());
    if from == to && !new.secret {
        to.push_str(" (with other content)");
    }
    let when = if new.live { "now" } else { "at the next start" };
    info!(setting, from, to, origin = %new.origin, when, "setting changed");
}

fn tell(refusal: &Refusal) {
    match refusal {
        Refusal::Problems(problems) => {
            problems.iter().for_each(|problem| error!(%problem, "configuration refused"));
        }
        Refusal::Apply(_) | Refusal::CutOff => {
            error!(problem = commands::told(refusal), "configuration refused");
        }
    }
    error!("the old configuration holds on");
}

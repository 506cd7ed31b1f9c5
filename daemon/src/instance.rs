//! A running instance: all parts of one process, and the order in which they stop.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use posthaste_embedded::Ledger;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::info;

use crate::admin::Admin;
use crate::assemble::cloud::Cloud;
use crate::assemble::live::{ApplyError, Live};
use crate::clock::Clock;
use crate::config::Config;
use crate::lifecycle::{Fatal, Phase};
use crate::metrics::Metrics;
use crate::server::Listening;
use crate::shards::{Handle, Shards};

/// All parts.
#[derive(Debug)]
pub struct Instance {
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) fatal: Fatal,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) public: Listening,
    pub(crate) sweeper: Option<Sweeper>,
    pub(crate) shards: Shards,
    pub(crate) ledger: Ledger,
    pub(crate) cloud: Option<Cloud>,
    pub(crate) admin: Option<Listening>,
    pub(crate) watched: Admin,
    pub(crate) live: Live,
}

/// The task that sweeps expired rows.
#[derive(Debug)]
pub(crate) struct Sweeper {
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) task: JoinHandle<()>,
}

/// What a drain did.
#[derive(Clone, Copy, Debug)]
pub struct Drained {
    took_ms: u64,
    finished: u64,
    cut_off: u64,
    held: u64,
}

impl Instance {
    /// Where the public API listens.
    #[must_use]
    pub const fn api(&self) -> SocketAddr {
        self.public.address
    }

    /// Where the admin routes listen, if anywhere.
    #[must_use]
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|admin| admin.address)
    }

    /// What ends the process early.
    #[must_use]
    pub const fn fatal(&self) -> &Fatal {
        &self.fatal
    }

    /// The figures.
    #[must_use]
    pub const fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The clock by which everything is recorded.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What whoever watches looks at.
    pub(crate) const fn watched(&self) -> &Admin {
        &self.watched
    }

    /// Has a configuration hold from now on, as far as that takes no start.
    ///
    /// # Errors
    /// As [`Live::apply`].
    pub(crate) async fn apply(
        &mut self,
        config: &Config,
        delivers: bool,
    ) -> Result<(), ApplyError> {
        self.live.apply(config, &self.public, delivers).await
    }

    /// Tells the shards what to do, for who cannot wait for a drain.
    #[must_use]
    pub fn shards(&self) -> Handle {
        self.shards.handle()
    }

    /// Stops everything, in the order in which one part may need the next: no new events, no new
    /// attempts, what is in flight finishes and is settled, the receiver and the ledger close, and
    /// whoever watches sees it to the end.
    pub async fn drain(self, drain_max: Duration) -> Drained {
        let Self { phase, clock, metrics, public, sweeper, shards, ledger, cloud, admin, .. } =
            self;
        let started_us = clock.monotonic_us();
        phase.send_replace(Phase::Draining);
        public.close_gate();
        if let Some(cloud) = &cloud {
            cloud.stop_intake();
        }
        if let Some(sweeper) = sweeper {
            sweeper.stop().await;
        }
        let ended = shards.drain(drain_max).await;
        public.stop().await;
        if let Some(cloud) = cloud {
            cloud.finish().await;
        }
        let held = metrics.held();
        ledger.close().await;
        phase.send_replace(Phase::Stopped);
        if let Some(admin) = admin {
            admin.stop().await;
        }
        let took_ms = (clock.monotonic_us() - started_us) / 1000;
        Drained { took_ms, finished: ended.finished, cut_off: ended.cut_off, held }
    }
}

impl Sweeper {
    async fn stop(self) {
        self.stop.send_replace(true);
        // It ends by a panic only, and a panic ends the process.
        drop(self.task.await);
    }
}

impl Drained {
    /// One line for the log.
    pub fn log(&self) {
        let Self { took_ms, finished, cut_off, held } = *self;
        info!(took_ms, finished, cut_off, held, "{self}");
    }
}

impl fmt::Display for Drained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { took_ms, finished, cut_off, held } = self;
        write!(
            f,
            "drained in {took_ms} ms: {finished} attempts finished, {cut_off} cut off, {held} held \
             deliveries left"
        )
    }
}

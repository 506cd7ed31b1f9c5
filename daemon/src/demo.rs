//! `posthaste demo`: the whole of it on one machine, in front of one's eyes.
//!
//! An instance like any other, in this process, with tenants that are created, posted to and asked
//! through the public HTTP API, and with receivers at the other end of real connections. What the
//! summary says comes from the API; that it adds up is judged against the 201s that were counted.

pub mod client;

mod endpoints;
mod figures;
mod payloads;
mod posting;
mod progress;
mod report;
mod setup;
mod tally;
mod tenants;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use posthaste_api::ReceivedWebhook;
use posthaste_domain::ApiKey;

use self::endpoints::Endpoint;
use self::figures::{counted, time};
use self::posting::{Cast, Plan, Posting};
use self::progress::{DRAW_EVERY, Progress, Snapshot, say};
use self::report::{Report, Times};
use self::setup::Home;
use self::tally::{Role, Tally};
use self::tenants::Tenants;
use crate::assemble::{self, Listeners, Options, StartError};
use crate::chance::Chance;
use crate::cli::{Demo, EXIT_CONFIG, commands};
use crate::clock::Clock;
use crate::config::Config;
use crate::instance::Instance;
use crate::lifecycle::{self, EXIT_FATAL, EXIT_INTERRUPTED, Fatal, Signals};
use crate::logging;
use crate::server::{Limits, Listening, Server};

/// Exit code where the numbers did not add up.
const EXIT_WRONG: u8 = 1;
/// What bounds the demo's own endpoints: as much as deliveries can ask for.
const ENDPOINT_LIMITS: Limits = Limits {
    connections_max: 4096,
    header_timeout: Duration::from_secs(5),
    idle_timeout: Duration::from_secs(75),
};

/// Runs the demo; the process's exit code.
#[must_use]
pub fn run(arguments: &Demo) -> ExitCode {
    prepare(arguments).unwrap_or_else(|error| {
        commands::complain_of(error.as_ref());
        let start = error.downcast_ref::<StartError>();
        start.map_or_else(|| ExitCode::from(EXIT_FATAL), StartError::exit_code)
    })
}

/// Everything that can be refused before anything is started.
fn prepare(arguments: &Demo) -> Result<ExitCode> {
    let refuse = |error: anyhow::Error| {
        commands::complain_of(error.as_ref());
        Ok(ExitCode::from(EXIT_CONFIG))
    };
    let home = match Home::make(arguments.data_dir.as_deref()) {
        Ok(home) => home,
        Err(error) => return refuse(error),
    };
    let admin_key = ApiKey::from_entropy(&Chance.key());
    let mut config = setup::config(arguments, &home, &admin_key)?;
    let loaded = payloads::load(arguments.payloads.as_deref(), config.server.body_bytes_max);
    let payloads = match loaded {
        Ok(payloads) => payloads,
        Err(error) => return refuse(error.into()),
    };
    logging::start(&config.log)?;
    lifecycle::install_crypto_provider();
    let fatal = Fatal::default();
    lifecycle::end_on_panic(&fatal);
    assemble::fit(&mut config, lifecycle::raise_descriptor_limit());
    let runtime = lifecycle::runtime(&config.runtime)?;
    let show = Show { arguments, home: &home, config: &config, admin_key, payloads, fatal };
    let ended = runtime.block_on(show.run());
    runtime.shutdown_background();
    ended
}

/// A demo that can begin.
struct Show<'a> {
    arguments: &'a Demo,
    home: &'a Home,
    config: &'a Config,
    admin_key: ApiKey,
    payloads: Vec<Bytes>,
    fatal: Fatal,
}

/// What runs while the demo does.
struct Stage {
    instance: Instance,
    endpoints: Listening,
    tenants: Arc<Tenants>,
    tally: Arc<Tally>,
}

impl Show<'_> {
    async fn run(self) -> Result<ExitCode> {
        let mut signals = Signals::install()?;
        let stage = tokio::select! {
            stage = self.set() => stage?,
            _ = signals.next() => return Ok(ExitCode::from(EXIT_INTERRUPTED)),
        };
        say(&self.greeting(&stage));
        let plan = Plan {
            events: self.arguments.events,
            rate: self.arguments.rate,
            payloads: self.payloads.clone().into(),
        };
        let clock = stage.instance.clock().clone();
        let start_us = clock.monotonic_us();
        let cast = Cast { tenants: Arc::clone(&stage.tenants), tally: Arc::clone(&stage.tally) };
        let posting = Posting::begin(plan, cast, clock.clone(), &self.fatal);
        let mut progress = Progress::begin(self.arguments.events);
        let posted_us = tokio::select! {
            posted_us = stage.watch(&posting, &mut progress, self.arguments.events, start_us) => {
                Some(posted_us)
            }
            _ = signals.next() => None,
            reason = self.fatal.raised() => return Ok(lifecycle::failed(&reason)),
        };
        let interrupted = posted_us.is_none();
        posting.stop().await;
        let settled_us = clock.monotonic_us() - start_us;
        let times = Times { rate: self.arguments.rate, posted_us, settled_us };
        let report = stage.report(&progress, self.arguments.events, times).await;
        progress.end();
        let report = report?;
        say(&report.text());
        if !self.arguments.once && !interrupted {
            say(&report::invitation(setup::reachable(stage.instance.api()), &stage.tenants));
            tokio::select! {
                _ = signals.next() => {}
                reason = self.fatal.raised() => return Ok(lifecycle::failed(&reason)),
            }
        }
        let drained = lifecycle::drain(stage.instance, &mut signals, self.config.drain.timeout());
        match drained.await {
            Ok(drained) => say(&format!("\n  {drained}\n")),
            Err(code) => return Ok(code),
        }
        stage.endpoints.stop().await;
        Ok(self.verdict(&report, interrupted))
    }

    fn verdict(&self, report: &Report, interrupted: bool) -> ExitCode {
        match (self.arguments.once, interrupted) {
            (true, true) => ExitCode::from(EXIT_INTERRUPTED),
            (true, false) if !report.is_complete() => ExitCode::from(EXIT_WRONG),
            _ if !report.adds_up() => ExitCode::from(EXIT_WRONG),
            _ => ExitCode::SUCCESS,
        }
    }

    /// Starts everything: the instance, the endpoints, the tenants.
    async fn set(&self) -> Result<Stage> {
        let (tally, clock) = (Arc::<Tally>::default(), Clock::start());
        let own = [Role::Flaky, Role::Down];
        let own = own.map(|role| (role, Endpoint::new(role, Arc::clone(&tally), clock.clone())));
        let listeners = Listeners::bind(self.config).await?;
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::bind("the demo's endpoints", loopback, ENDPOINT_LIMITS).await;
        let router = endpoints::router(own.iter().map(|(_, endpoint)| endpoint));
        let endpoints = server.map_err(StartError::from)?.serve(router, &self.fatal)?;
        let options = Options {
            fatal: self.fatal.clone(),
            clock: clock.clone(),
            accept_loss: false,
            show_key: |_| Ok(()),
            receiver_observer: Some(observer(Arc::clone(&tally), clock)),
        };
        if self.config.aws.enabled {
            let client = assemble::cloud::client(self.config).await?;
            client.create().await.context("cannot make the demo's queues and tables")?;
        }
        let instance = assemble::start(self.config, listeners, options).await?;
        let api = setup::reachable(instance.api());
        let [flaky, down] = own
            .each_ref()
            .map(|(_, endpoint)| format!("http://{}{}", endpoints.address, endpoint.path()));
        let healthy = format!("http://{api}/receiver/{}/webhook", Role::Healthy.name());
        let tenants = Tenants::create(api, &self.admin_key, [healthy, flaky, down]).await;
        let tenants = Arc::new(tenants.context("cannot create the demo's tenants")?);
        for (role, endpoint) in own {
            endpoint.trust(tenants.secret(role));
        }
        Ok(Stage { instance, endpoints, tenants, tally })
    }

    fn greeting(&self, stage: &Stage) -> String {
        let Demo { events, rate, .. } = self.arguments;
        let pace = match rate {
            0 => "as fast as it goes".to_owned(),
            rate => format!("{} events/s", figures::count(*rate)),
        };
        let schedule = &self.config.retry.schedule;
        let delays = schedule.delays_ms().iter().map(|ms| time(ms * 1000)).collect::<Vec<_>>();
        let instance = &stage.instance;
        let admin = instance.admin().map(|admin| format!("  admin    http://{admin}/metrics\n"));
        format!(
            "Posthaste demo: {} at {pace}, each one signed and delivered over HTTP.\n\n  \
             api      http://{}\n{}  \
             data     {} ({})\n  \
             opened   {} for deliveries; `posthaste serve` refuses it by default\n  \
             retries  after {}, then the dead-letter queue;\n           \
             shortened from 1, 2, 4 and 8 minutes\n\n  \
             tenant   share   its receiver\n  \
             healthy   80 %   takes everything; the one that is built in\n  \
             flaky     15 %   fails the first two attempts of each event, then takes it\n  \
             down       5 %   takes nothing\n  \
             each receiver verifies every signature\n\n",
            counted(*events, "event"),
            instance.api(),
            admin.unwrap_or_default(),
            self.home.path().display(),
            self.home.fate(),
            setup::opened(instance.api()),
            delays.join(", "),
        )
    }
}

impl Stage {
    /// Shows how it goes until everything is posted and settled; tells when it was posted, in
    /// microseconds after the start.
    async fn watch(
        &self,
        posting: &Posting,
        progress: &mut Progress,
        events: u64,
        start_us: u64,
    ) -> u64 {
        let mut posted_us = None;
        loop {
            // Looked at first: what is accepted after it has ended is none.
            let posted = posting.is_done();
            let snapshot = self.snapshot(events, start_us);
            progress.show(&snapshot);
            if posted {
                let posted_us = *posted_us.get_or_insert(snapshot.elapsed_us);
                if snapshot.settled() >= snapshot.accepted {
                    return posted_us;
                }
            }
            tokio::time::sleep(DRAW_EVERY).await;
        }
    }

    fn snapshot(&self, events: u64, start_us: u64) -> Snapshot {
        let metrics = self.instance.metrics();
        let [delivered, _, dead_lettered] = metrics.settled();
        let retrying = metrics.shards().iter().map(|shard| shard.engine.waiting).sum();
        Snapshot {
            events,
            accepted: self.tally.all_accepted(),
            delivered,
            dead_lettered,
            retrying,
            elapsed_us: self.instance.clock().monotonic_us() - start_us,
            latencies: self.tally.latencies(Role::Healthy),
        }
    }

    /// Asks the API what became of every event.
    async fn report(&self, progress: &Progress, events: u64, times: Times) -> Result<Report> {
        let (mut seen, all) = (0, counted(self.tally.all_accepted(), "event"));
        let mut statuses = Vec::new();
        for role in Role::ALL {
            let asked = self.tenants.statuses(role, |more| {
                seen += more;
                progress.note(&format!("asking the API: {} of {all}", figures::count(seen)));
            });
            statuses.push(asked.await.context("cannot ask the API what became of the events")?);
        }
        let statuses = [statuses[0], statuses[1], statuses[2]];
        Ok(Report::new(events, &self.tally, statuses, times))
    }
}

/// Counts what the built-in receiver has verified and taken.
fn observer(tally: Arc<Tally>, clock: Clock) -> posthaste_api::ReceiverObserver {
    Arc::new(move |received: ReceivedWebhook| {
        tally.signed(true);
        if let Some(event) = received.event {
            tally.received(Role::Healthy, event, clock.monotonic_us());
        }
    })
}

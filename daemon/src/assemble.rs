//! Puts the parts of an instance together: the one place that knows which adapters stand behind
//! the ports.
//!
//! The order is the reverse of the drain's ([`Instance::drain`]): whoever watches first, then the
//! ledger, the shards, and at last the listener that takes events.

pub mod cloud;
pub mod live;
mod room;
mod settings;

use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use posthaste_api::{AuthCache, Deps, EndpointHealth, ReceiverObserver, Trouble};
use posthaste_domain::{ApiKey, KeyHash};
use posthaste_embedded::{Commit, Ledger, Observer, OpenError, Recovery};
use posthaste_engine::Engine;
use posthaste_ports::{PortError, TenantStore};
use thiserror::Error;
use tokio::sync::watch;
use tracing::{error, info, warn};

use self::cloud::{Cloud, Views};
use self::live::Live;
pub use self::room::{fit, fit_beside};
pub use self::settings::shard_count;
use crate::admin::{self, Admin, Opened};
use crate::admin_key::{self, AdminKeyError};
use crate::chance::Chance;
use crate::cli::EXIT_CONFIG;
use crate::clock::Clock;
use crate::config::Config;
use crate::inbox::Inboxes;
use crate::instance::{Instance, Sweeper};
use crate::lifecycle::{EXIT_FATAL, Fatal, Phase, spawn};
use crate::metrics::Metrics;
use crate::server::{BindError, Listening, Server};
use crate::shard::{Parts, Stores};
use crate::shards::Shards;
use crate::sweep;

/// The bound listeners of an instance.
#[derive(Debug)]
pub struct Listeners {
    public: Server,
    admin: Option<Server>,
}

/// What a start is told beside the configuration.
pub struct Options {
    /// What ends the process early.
    pub fatal: Fatal,
    /// Time.
    pub clock: Clock,
    /// Whether to go on where acknowledged events are missing from the disk.
    pub accept_loss: bool,
    /// Shows a new admin key, once.
    pub show_key: fn(&ApiKey) -> io::Result<()>,
    /// Hears of what the built-in receiver takes in.
    pub receiver_observer: Option<ReceiverObserver>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("accept_loss", &self.accept_loss).finish_non_exhaustive()
    }
}

/// Why an instance does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// Nothing listens.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The data directory cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is no admin key.
    #[error(transparent)]
    AdminKey(#[from] AdminKeyError),
    /// The operating system gave no thread, socket or file.
    #[error("cannot start {what}")]
    System {
        /// For what.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// AWS refuses, and will go on refusing.
    #[error(transparent)]
    Aws(#[from] posthaste_aws::Error),
    /// Messages would be shown again while they are being attempted.
    #[error(
        "{queue} hides messages for {} s; it must be {} s, which hold an attempt several times \
         over: set its VisibilityTimeout",
        found_ms / 1000,
        posthaste_protocol::VISIBILITY_MS / 1000
    )]
    Visibility {
        /// Which queue.
        queue: String,
        /// What it is set to, in milliseconds.
        found_ms: u64,
    },
    /// What the data directory keeps of unfinished work cannot be read.
    #[error("cannot take up unfinished work")]
    Jobs(#[source] PortError),
    /// The thread that opened the ledger ended without an answer.
    #[error("opening the data directory was cut off")]
    CutOff,
}

impl StartError {
    /// 78 where the configuration or the machine must be changed, 70 where another start may do.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        let config = match self {
            Self::Bind(error) => error.is_config(),
            Self::Open(error) => error.exit_config(),
            Self::AdminKey(error) => matches!(error, AdminKeyError::Damaged),
            Self::Aws(error) => !error.is_passing(),
            Self::Visibility { .. } => true,
            Self::System { .. } | Self::Jobs(_) | Self::CutOff => false,
        };
        ExitCode::from(if config { EXIT_CONFIG } else { EXIT_FATAL })
    }
}

impl Listeners {
    /// Binds.
    ///
    /// # Errors
    /// [`StartError::Bind`].
    pub async fn bind(config: &Config) -> Result<Self, StartError> {
        let (public, admin) = (settings::public_limits(config), settings::admin_limits(config));
        let server = &config.server;
        Ok(Self {
            public: Server::bind("public API", server.listen, public).await?,
            admin: match server.admin_listen {
                Some(address) => Some(Server::bind("admin routes", address, admin).await?),
                None => None,
            },
        })
    }
}

/// Starts an instance that serves.
///
/// # Errors
/// [`StartError`]; nothing runs any more then but what ends with the process.
pub async fn start(
    config: &Config,
    listeners: Listeners,
    options: Options,
) -> Result<Instance, StartError> {
    let Options { fatal, clock, accept_loss, show_key, receiver_observer } = options;
    let metrics = Metrics::new();
    let (phase, opened) = (watch::Sender::new(Phase::Starting), Arc::new(OnceLock::new()));
    let watched = Admin {
        phase: phase.subscribe(),
        fatal: fatal.clone(),
        opened: Arc::clone(&opened),
        metrics: Arc::clone(&metrics),
    };
    let shown = watched.clone();
    let admin = listeners.admin.map(|admin| serve("the admin listener", admin, shown, &fatal));
    let admin = admin.transpose()?;
    let inboxes = Inboxes::new(shard_count(&config.engine));
    let observer = LedgerObserver {
        clock: clock.clone(),
        metrics: Arc::clone(&metrics),
        fatal: fatal.clone(),
    };
    let Backend { ledger, cloud, views } =
        open(config, accept_loss, (&inboxes, &clock), observer).await?;
    opened.get_or_init(|| Opened {
        ledger: ledger.clone(),
        courier: cloud.as_ref().map(|cloud| Arc::clone(&cloud.courier)),
    });
    let admin_keys = admin_keys(config, &*views.api.tenants, show_key).await?;
    let parts = Common { config, ledger: &ledger, clock: &clock, metrics: &metrics, fatal: &fatal };
    let shard_count = shard_count(&config.engine);
    let clients = watch::Sender::new(settings::delivery(config, shard_count));
    let shards = parts.shards(&inboxes, &views.shard, &clients)?;
    let deps = Deps {
        clock: Arc::new(clock.clone()),
        entropy: Arc::new(Chance),
        admin_keys,
        auth_cache: Arc::new(AuthCache::default()),
        receiver_observer,
        endpoint_health: Some(endpoint_health(&metrics)),
    };
    let live = Live {
        stores: views.api,
        deps,
        shards: shard_count,
        clients,
        clock: clock.clone(),
        show_key,
    };
    let router = live.router(settings::api(config));
    let public = listeners.public.serve(router, &fatal).map_err(system("the public listener"))?;
    // Rows in DynamoDB expire there.
    let sweeper = cloud.is_none().then(|| parts.sweeper());
    if let Some(cloud) = &cloud {
        cloud.run(&fatal);
    }
    phase.send_replace(Phase::Running);
    Ok(Instance {
        phase,
        fatal,
        clock,
        metrics,
        public,
        sweeper,
        shards,
        ledger,
        cloud,
        admin,
        watched,
        live,
    })
}

/// What the shards published last of a tenant's endpoint.
fn endpoint_health(metrics: &Arc<Metrics>) -> EndpointHealth {
    let metrics = Arc::clone(metrics);
    Arc::new(move |tenant| {
        metrics.trouble_of(tenant).map(|it| Trouble {
            health: it.health.as_str(),
            since: it.since,
            next_attempt_at: it.next_attempt_at,
        })
    })
}

/// The admin keys that hold. In AWS mode deliveries do not wait for the table that one is kept in,
/// which may be made later.
async fn admin_keys(
    config: &Config,
    tenants: &dyn TenantStore,
    show_key: fn(&ApiKey) -> io::Result<()>,
) -> Result<Vec<KeyHash>, AdminKeyError> {
    match admin_key::settle(tenants, config.auth.admin_key.as_ref(), show_key).await {
        Err(AdminKeyError::Store(error)) if config.aws.enabled => {
            warn!(%error, "no admin key holds until a reload or the next start");
            Ok(Vec::new())
        }
        settled => settled,
    }
}

fn serve(
    what: &'static str,
    server: Server,
    admin: Admin,
    fatal: &Fatal,
) -> Result<Listening, StartError> {
    server.serve(admin::router(admin), fatal).map_err(system(what))
}

/// What stands behind the ports.
struct Backend {
    ledger: Ledger,
    cloud: Option<Cloud>,
    views: Views,
}

/// Opens the data directory, and in AWS mode queues and tables too.
async fn open(
    config: &Config,
    accept_loss: bool,
    (inboxes, clock): (&Inboxes, &Clock),
    observer: LedgerObserver,
) -> Result<Backend, StartError> {
    let settings = settings::ledger(config, accept_loss);
    if !config.aws.enabled {
        let inboxes = Arc::new(inboxes.clone());
        let opening = move || Ledger::open(settings, inboxes, Arc::new(observer));
        let (ledger, recovery) = blocking(opening).await??;
        tell(&config.data.dir, recovery);
        let views = settings::views(&ledger);
        return Ok(Backend { ledger, cloud: None, views });
    }
    let connected = cloud::connect(config).await?;
    let (instance, now) = (cloud::instance(config), clock.now());
    let opening = move || Ledger::open_or_quarantine(settings, &instance, now, Arc::new(observer));
    let (ledger, recovery) = blocking(opening).await??;
    if let Some(origin) = &recovery.cloned_from {
        warn!(%origin, "the data directory is a copy of another instance's");
    }
    let assembled = connected.assemble(config, &ledger, &recovery, (inboxes, clock)).await?;
    tell(&config.data.dir, recovery.ledger);
    let (cloud, views) = assembled;
    Ok(Backend { ledger, cloud: Some(cloud), views })
}

/// Does something on a thread that may block.
async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StartError> {
    tokio::task::spawn_blocking(job).await.map_err(|_| StartError::CutOff)
}

/// Says what a start found in the data directory.
fn tell(dir: &Path, recovery: Recovery) {
    let Recovery { created, interrupted, accepted_lost, notes } = recovery;
    for note in notes {
        warn!("{note}");
    }
    if let Some(lost) = accepted_lost {
        error!(lost, "acknowledged events are missing; going on, as --accept-loss says");
    }
    let dir = dir.display();
    match (created, interrupted) {
        (true, _) => info!(%dir, "data directory created"),
        (false, 0) => info!(%dir, "data directory opened"),
        (false, _) => {
            info!(%dir, interrupted, "data directory opened; attempts cut off by a crash repeat");
        }
    }
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::System { what, source }
}

/// What several parts are made of.
struct Common<'a> {
    config: &'a Config,
    ledger: &'a Ledger,
    clock: &'a Clock,
    metrics: &'a Arc<Metrics>,
    fatal: &'a Fatal,
}

impl Common<'_> {
    fn shards(
        &self,
        inboxes: &Inboxes,
        stores: &Stores,
        clients: &watch::Sender<posthaste_delivery::Settings>,
    ) -> Result<Shards, StartError> {
        let (order, mut all) = (Shards::order(), Vec::new());
        for (spec, inbox) in inboxes.shards() {
            let engine = settings::engine(self.config, spec.count);
            let register = self.ledger.register(spec.index, engine.in_flight_max);
            all.push(Parts {
                spec,
                engine: Engine::new(engine, Chance.number()),
                usual: settings::usual(self.config),
                client: clients.subscribe(),
                inbox,
                store: stores.clone(),
                register: register.map_err(system("a shard's register"))?,
                clock: self.clock.clone(),
                metrics: self.metrics.shard(spec.index),
                order: order.subscribe(),
                fatal: self.fatal.clone(),
            });
        }
        Shards::start(all, order, self.fatal).map_err(system("a shard's thread"))
    }

    fn sweeper(&self) -> Sweeper {
        let stop = watch::Sender::new(false);
        let store = Arc::new(self.ledger.clone());
        let sweeping = sweep::run(store, self.clock.clone(), stop.subscribe());
        Sweeper { stop, task: spawn("sweep", self.fatal, sweeping) }
    }
}

/// Tells the figures and the process what the ledger does.
struct LedgerObserver {
    clock: Clock,
    metrics: Arc<Metrics>,
    fatal: Fatal,
}

impl Observer for LedgerObserver {
    fn monotonic_us(&self) -> u64 {
        self.clock.monotonic_us()
    }

    fn committed(&self, commit: &Commit) {
        self.metrics.committed(commit);
    }

    fn failed(&self, reason: &str) {
        self.fatal.stop(format!("the ledger failed: {reason}"));
    }
}

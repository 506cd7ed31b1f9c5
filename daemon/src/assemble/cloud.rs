//! The parts of AWS mode: queues, tables, and the courier between them and the shards.

use std::sync::Arc;

use posthaste_api::Stores as ApiStores;
use posthaste_aws::{Client, DynamoDeadLetters, DynamoEvents, DynamoRows, DynamoTenants, SqsQueue};
use posthaste_courier::{CachedTenants, Courier, Disk, Ports, Released};
use posthaste_domain::{InstanceId, Timestamp};
use posthaste_embedded::{CacheRecovery, Ledger};
use posthaste_ports::{Queue, Rows, TenantStore};
use posthaste_protocol::VISIBILITY_MS;
use tokio::sync::watch;
use tracing::{info, warn};

use super::StartError;
use crate::chance::Chance;
use crate::clock::Clock;
use crate::config::Config;
use crate::inbox::Inboxes;
use crate::lifecycle::{Fatal, spawn};
use crate::shard;

/// How long the courier may take to bring what is known into the rows, beyond the drain, in
/// milliseconds.
const FINISH_MS_MAX: u64 = 10_000;
/// And how long it may give away leases after that, in milliseconds: with the drain, less than the
/// ten minutes for which the fleet keeps an instance that is to end.
pub(crate) const RELEASE_MS_MAX: u64 = 8 * 60 * 1000;

/// Queues and tables that can be used.
pub(super) struct Connected {
    client: Client,
    queue: SqsQueue,
}

/// This machine's clock, and that of the table, which all instances have in common.
struct FleetClock {
    own: Clock,
    table: Client,
}

/// What AWS mode adds to an instance.
#[derive(Debug)]
pub(crate) struct Cloud {
    pub(crate) courier: Arc<Courier>,
    stop: watch::Sender<bool>,
    release_at_stop: bool,
}

/// What the other parts see of the cloud.
pub(super) struct Views {
    pub(super) shard: shard::Stores,
    pub(super) api: ApiStores,
}

/// The client that a configuration describes. Where both services are reached without TLS, they are
/// emulators, which take any key.
///
/// # Errors
/// Where no region is known.
pub async fn client(config: &Config) -> Result<Client, posthaste_aws::Error> {
    let aws = &config.aws;
    let endpoints = [&aws.sqs_endpoint, &aws.dynamodb_endpoint];
    let is_plain =
        |endpoint: &Option<String>| endpoint.as_ref().is_some_and(|url| url.starts_with("http:"));
    let emulated = endpoints.into_iter().all(is_plain);
    let has_key = std::env::var_os("AWS_ACCESS_KEY_ID").is_some();
    Client::new(posthaste_aws::Settings {
        keys: (emulated && !has_key).then(|| posthaste_aws::Keys::new("emulated", "emulated")),
        region: aws.region.clone(),
        sqs_endpoint: aws.sqs_endpoint.clone(),
        dynamodb_endpoint: aws.dynamodb_endpoint.clone(),
        ..posthaste_aws::Settings::with_prefix(&aws.prefix)
    })
    .await
}

/// Connects, and makes sure that the queue's time-out can hold an attempt. A queue that cannot be
/// asked does not keep an instance from starting, whatever the reason: it may be made, permitted or
/// reached later (a deploy makes both at once), and until then readiness says why it does not work.
pub(super) async fn connect(config: &Config) -> Result<Connected, StartError> {
    let client = client(config).await?;
    let queue = SqsQueue::main(&client).hiding_for(VISIBILITY_MS);
    match queue.visibility_ms().await {
        Ok(VISIBILITY_MS) => {}
        Ok(found_ms) => {
            return Err(StartError::Visibility { queue: queue.to_string(), found_ms });
        }
        // The queue looks itself before it receives.
        Err(error) => warn!(%error, "the queue cannot be asked yet"),
    }
    info!(region = client.region(), queue = %queue, "AWS mode");
    Ok(Connected { client, queue })
}

/// Who this is, as far as the machine knows: the same at every start on it.
pub(super) fn instance(config: &Config) -> InstanceId {
    let name = config.aws.instance.clone();
    let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    InstanceId::try_new(&name.unwrap_or_else(host))
        .or_else(|| InstanceId::try_new("unnamed"))
        .expect("not empty")
}

impl posthaste_courier::Clock for FleetClock {
    fn now(&self) -> Timestamp {
        self.own.now()
    }

    fn wall(&self) -> Timestamp {
        self.own.wall()
    }

    fn table(&self) -> Option<Timestamp> {
        self.table.table_time(self.own.now())
    }
}

impl Connected {
    /// Puts the courier before the queues and tables, and takes up what the disk says is not
    /// finished.
    pub(super) async fn assemble(
        self,
        config: &Config,
        ledger: &Ledger,
        recovery: &CacheRecovery,
        (inboxes, clock): (&Inboxes, &Clock),
    ) -> Result<(Cloud, Views), StartError> {
        let Self { client, queue } = self;
        let rows: Arc<dyn Rows> = Arc::new(DynamoRows::new(&client));
        let queue: Arc<dyn Queue> = Arc::new(queue);
        let clock: Arc<dyn posthaste_courier::Clock> =
            Arc::new(FleetClock { own: clock.clone(), table: client.clone() });
        let tenants: Arc<dyn TenantStore> = Arc::new(DynamoTenants::new(client.clone()));
        let cached: Arc<dyn TenantStore> =
            Arc::new(CachedTenants::new(Arc::clone(&tenants), Arc::clone(&clock)));
        let ports = Ports {
            rows: Arc::clone(&rows),
            queue: Arc::clone(&queue),
            dead: Arc::new(SqsQueue::dead_letters(&client)),
            jobs: Arc::new(ledger.clone()),
            tenants: Arc::clone(&cached),
            arrivals: Arc::new(inboxes.clone()),
            clock,
        };
        let courier = Arc::new(Courier::new(settings(config, ledger), ports));
        let disk = if recovery.cloned_from.is_some() { Disk::Foreign } else { Disk::Own };
        courier.start(disk).await.map_err(StartError::Jobs)?;
        if disk == Disk::Foreign {
            ledger.own_clone().await.map_err(StartError::Jobs)?;
        }
        let shard = shard::Stores {
            journal: Arc::<Courier>::clone(&courier),
            tenants: cached,
            courier: Some(Arc::clone(&courier)),
        };
        let api = ApiStores {
            tenants,
            events: Arc::new(DynamoEvents::new(
                client.clone(),
                Arc::clone(&rows),
                Arc::clone(&queue),
            )),
            dead_letters: Arc::new(DynamoDeadLetters::new(client, rows, queue)),
        };
        let stop = watch::Sender::new(false);
        let release_at_stop = config.aws.release_at_stop;
        Ok((Cloud { courier, stop, release_at_stop }, Views { shard, api }))
    }
}

/// The owner's name in leases is that of the directory: it is drawn anew where a directory turns
/// out to be a copy, so that two instances never share one, whatever they are called.
fn settings(config: &Config, ledger: &Ledger) -> posthaste_courier::Settings {
    let store = ledger.store_id().to_string();
    let owner = InstanceId::try_new(&store).expect("a number in digits is not empty");
    let (aws, limits) = (&config.aws, &config.aws.limits);
    posthaste_courier::Settings {
        intake_polls: limits.polls,
        held_max: limits.held_max,
        held_per_tenant_max: (limits.held_max / 4).max(1),
        held_bytes_max: usize::try_from(limits.held_bytes_max).unwrap_or(usize::MAX),
        row_writers: limits.row_writers,
        sweep_pause_ms: aws.sweep_pause_ms,
        seed: Chance.number(),
        ..posthaste_courier::Settings::new(owner)
    }
}

impl Cloud {
    /// Begins to receive, write and sweep. What writes has nothing to do any more when all is
    /// finished, and ends with the process.
    pub(super) fn run(&self, fatal: &Fatal) {
        for part in self.courier.parts(&self.stop.subscribe()) {
            drop(spawn("courier", fatal, part));
        }
    }

    /// Receives no more.
    pub(crate) fn stop_intake(&self) {
        self.stop.send_replace(true);
    }

    /// Brings what is known into the rows, and gives back what was not begun. The shards have
    /// ended.
    pub(crate) async fn finish(self) {
        if !self.courier.finish(FINISH_MS_MAX).await {
            warn!("outcomes are not in their rows yet; the next start writes them");
        }
        if self.release_at_stop {
            match self.courier.release_leases(RELEASE_MS_MAX).await {
                Ok(Released { given_away, kept: 0 }) => {
                    info!(given_away, "gave away the leases of waiting retries");
                }
                Ok(Released { given_away, kept }) => {
                    warn!(given_away, kept, "leases not given away; they end by themselves");
                }
                Err(error) => warn!(%error, "leases not given away; they end by themselves"),
            }
        }
    }
}

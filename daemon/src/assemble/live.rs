//! What of a running instance follows a new configuration without a start: the routes of the public
//! API and the deadlines of its connections, the delivery clients, the log levels.
//!
//! Each is made anew from the settings that are declared as live, and replaces the old one as a
//! whole. So the API forgets what only it knew: how far tenants have used up a quota, and which
//! webhooks its receiver has seen; a start forgets them too.

use std::fmt;
use std::io;
use std::rc::Rc;

use posthaste_api::{Deps, Stores};
use posthaste_delivery::{Client, Settings, SettingsError};
use posthaste_domain::ApiKey;
use thiserror::Error;
use tokio::sync::watch;

use super::settings;
use crate::admin_key::{self, AdminKeyError};
use crate::clock::Clock;
use crate::config::Config;
use crate::server::{Listening, Pace};

/// Why a configuration cannot be applied. Nothing has changed then.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// There is no admin key.
    #[error(transparent)]
    AdminKey(#[from] AdminKeyError),
    /// No delivery client can be made of it.
    #[error("cannot make a delivery client")]
    Client(#[from] SettingsError),
    /// The thread that tried the delivery client ended without an answer.
    #[error("trying a delivery client was cut off")]
    CutOff,
}

/// The parts that can be replaced.
pub(crate) struct Live {
    pub(super) stores: Stores,
    pub(super) deps: Deps,
    /// How many shards there are, among which limits are divided.
    pub(super) shards: u32,
    pub(super) clients: watch::Sender<Settings>,
    pub(super) clock: Clock,
    pub(super) show_key: fn(&ApiKey) -> io::Result<()>,
}

/// What the settings that are live make: all of it, and nothing else.
#[derive(Debug)]
pub(crate) struct Faces {
    api: posthaste_api::Settings,
    pace: Pace,
    client: Settings,
}

impl Faces {
    pub(crate) fn of(config: &Config, shards: u32) -> Self {
        Self {
            api: settings::api(config),
            pace: settings::public_limits(config).pace(),
            client: settings::delivery(config, shards),
        }
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("shards", &self.shards).finish_non_exhaustive()
    }
}

impl Live {
    /// The routes of the public API.
    pub(super) fn router(&self, api: posthaste_api::Settings) -> axum::Router {
        posthaste_api::router(api, self.stores.clone(), self.deps.clone())
    }

    /// Has `config` hold from now on: requests and connections that begin, attempts that begin.
    /// Delivery clients are left alone unless `delivers` says that they are meant: a new one begins
    /// without connections.
    ///
    /// Everything that can fail is done before anything is replaced, and there is no waiting after
    /// that, so it can be dropped at any time.
    ///
    /// # Errors
    /// [`ApplyError`].
    pub(crate) async fn apply(
        &mut self,
        config: &Config,
        public: &Listening,
        delivers: bool,
    ) -> Result<(), ApplyError> {
        let Faces { api, pace, client } = Faces::of(config, self.shards);
        if delivers {
            let (trial, clock) = (client.clone(), self.clock.clone());
            // The trial reads certificates; it is made where it may, as a client never moves.
            let tried =
                tokio::task::spawn_blocking(move || Client::new(trial, Rc::new(clock)).map(drop));
            tried.await.map_err(|_| ApplyError::CutOff)??;
        }
        let tenants = &*self.stores.tenants;
        let configured = config.auth.admin_key.as_ref();
        self.deps.admin_keys = admin_key::settle(tenants, configured, self.show_key).await?;
        public.replace(self.router(api), pace);
        if delivers {
            self.clients.send_replace(client);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::layers::{Flag, Sources};
    use crate::config::{self, Loaded};

    /// Every setting with a value that is not its default, and what else that takes.
    const OTHERS: &[&str] = &[
        "server.listen=127.0.0.1:1",
        "server.admin-listen=none",
        "server.connections-max=9",
        "server.header-timeout=6s",
        "server.idle-timeout=6s",
        "server.body-timeout=6s",
        "server.body-max=2KiB",
        "server.batch-events-max=9",
        "server.batch-max=6MiB",
        "server.receiver-body-max=2KiB",
        "server.bodies-memory-max=65MiB",
        "server.tenant-events-per-second-max=9",
        "server.open-tenant-creation=true",
        "auth.admin-key=KEY",
        "auth.admin-key-file=KEYFILE",
        "auth.cache=6s",
        "secrets.overlap=6s",
        "data.dir=elsewhere",
        "data.sync=all",
        "data.memtable=9MiB",
        "data.journal-max=65MiB",
        "data.cache=33MiB",
        "data.free-space-floor=257MiB",
        "data.ballast=65MiB",
        "data.queue-max=99",
        "data.seal-key=SEALKEY",
        "retention.delivered=29d",
        "retention.dead-letter=13d",
        "retention.idempotency=23h",
        "delivery.attempt-timeout=6s",
        "delivery.connect-timeout=1s",
        "delivery.response-max=2KiB",
        "delivery.idle-timeout=6s",
        "delivery.idle-per-target-max=9",
        "delivery.connections-max=4097",
        "delivery.in-flight-max=1024",
        "delivery.in-flight-per-endpoint-max=9",
        "delivery.allow-networks=10.0.0.0/8",
        "delivery.allow-ports=25",
        "delivery.system-root-certificates=false delivery.extra-root-certificates=PEMFILE",
        "delivery.extra-root-certificates=PEMFILE",
        "delivery.resolvers=127.0.0.1",
        "delivery.user-agent-suffix=x",
        "retry.delays=6s",
        "retry.jitter=0.2",
        "retry.attempts-max=9",
        "isolation.in-flight-per-host-max=9",
        "isolation.in-flight-per-tenant-max=9",
        "isolation.slow-share=0.5",
        "isolation.slow-after=2s",
        "isolation.breaker-failures=9",
        "isolation.breaker-hold=2s",
        "isolation.breaker-hold-max=2m",
        "isolation.breaker-give-up=2h",
        "isolation.ramp=9",
        "isolation.overdue-spread=2m",
        "isolation.plan-weights=pro=4",
        "engine.shards=3",
        "engine.held-max=65537",
        "engine.held-per-endpoint-max=8193",
        "engine.payload-memory-max=65MiB",
        "engine.settling-max=99",
        "engine.timers-window=6s",
        "engine.timers-held-max=99",
        "aws.enabled=true",
        "aws.prefix=x",
        "aws.region=x",
        "aws.sqs-endpoint=http://127.0.0.1:1",
        "aws.dynamodb-endpoint=http://127.0.0.1:1",
        "aws.instance=x",
        "aws.polls=9",
        "aws.held-max=99",
        "aws.held-memory-max=65MiB",
        "aws.row-writers=9",
        "aws.sweep-pause=6s",
        "aws.release-at-stop=true",
        "drain.timeout=36s",
        "log.level=warn",
        "log.format=json",
        "runtime.api-threads=9",
    ];

    fn load(set: &str) -> Loaded {
        let flags = set.split_whitespace().map(|set| Flag::Set(set.to_owned())).collect();
        config::load(Sources { flags, ..Sources::default() }).expect(set)
    }

    /// Everything that a reload replaces, as text.
    fn replaced(config: &Config) -> String {
        let key = config.auth.admin_key.as_ref().map(ApiKey::hash);
        let (drain, levels) = (config.drain.timeout(), config.log.levels.to_string());
        format!("{:?}", (Faces::of(config, 2), key, drain, levels))
    }

    /// What the example calls live is applied by a reload, and what it does not is left alone:
    /// neither promises too much nor changes what it does not say.
    #[test]
    fn what_is_called_live_is_what_a_reload_replaces() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let key = ApiKey::from_entropy(&[9; 32]);
        let pem = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";
        let (key_file, pem_file) = (file("key", key.expose()), file("pem", pem));
        let defaults = load("");
        let mut covered = BTreeSet::new();
        for set in OTHERS {
            let set = set.replace("KEYFILE", &key_file).replace("PEMFILE", &pem_file);
            let set = set.replace("SEALKEY", &"a1".repeat(32)).replace("KEY", key.expose());
            let path = set.split('=').next().unwrap();
            let other = load(&set);
            let entry = other.listing.entry(path).unwrap();
            assert!(!entry.agrees(defaults.listing.entry(path).unwrap()), "{path}: no other value");
            let is_replaced = replaced(&other.config) != replaced(&defaults.config);
            assert_eq!(is_replaced, entry.live, "{path}: live {}", entry.live);
            covered.insert(path.to_owned());
        }
        let all: BTreeSet<_> =
            defaults.listing.entries.iter().map(config::listing::Entry::path).collect();
        assert_eq!(covered, all);
    }

    /// For all settings that a reload leaves alone: kept as flags, they stay what they are.
    #[test]
    fn what_is_held_is_read_as_it_was() {
        for set in OTHERS.iter().filter(|set| !set.contains("KEY") && !set.contains("PEM")) {
            let was = load(set);
            let flags = was.listing.held();
            let held = config::load(Sources { flags, ..Sources::default() }).expect(set);
            let changed: Vec<_> =
                held.listing.changes(&was.listing).map(|(_, new)| new.path()).collect();
            let live = was.listing.entry(set.split('=').next().unwrap()).unwrap().live;
            // What is not held went back to its default.
            assert_eq!(changed.is_empty(), !live, "{set}: {changed:?}");
        }
        // Of a secret no flag can hold what it is.
        let flags = load(&format!("data.seal-key={}", "a1".repeat(32))).listing.held();
        config::load(Sources { flags, ..Sources::default() }).expect("it is read again");
    }
}

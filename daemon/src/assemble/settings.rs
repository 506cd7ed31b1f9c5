//! From the process's configuration to the settings of its parts. No part sees the configuration.
//!
//! Limits of the whole process are divided among the shards; each part is rounded up and never 0,
//! so that a small number still makes progress.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use posthaste_delivery::TlsRoots;
use posthaste_embedded::Ledger;

use super::cloud::Views;
use super::room::ADMIN_CONNECTIONS_MAX;
use crate::config::storage::Sync;
use crate::config::{Config, sending};
use crate::server::Limits;
use crate::shard;

/// How often the wishes of a tenant are read again whose endpoint is paused or left alone, in
/// milliseconds.
const OPTIONS_MS: u64 = 1_000;
/// The same in AWS mode.
const OPTIONS_MS_AWS: u64 = 10_000;

/// How many shards there are.
#[must_use]
pub fn shard_count(engine: &sending::Engine) -> u32 {
    let found = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let count = engine.shards.unwrap_or_else(found).get();
    u32::try_from(count).unwrap_or(u32::MAX)
}

pub(super) fn api(config: &Config) -> posthaste_api::Settings {
    let server = &config.server;
    posthaste_api::Settings {
        body_bytes_max: server.body_bytes_max,
        batch_events_max: server.batch_events_max,
        batch_bytes_max: server.batch_bytes_max,
        receiver_body_bytes_max: server.receiver_body_bytes_max,
        bodies_bytes_max: server.bodies_bytes_max,
        body_read_ms_max: server.body_timeout_ms,
        secret_overlap_ms: config.secrets.overlap_ms,
        auth_cache_ms: config.auth.cache_ms,
        tenant_events_per_s_max: quota(server.tenant_events_per_s_max),
        open_tenant_creation: server.open_tenant_creation,
        address_policy: config.delivery.address_policy.clone(),
        ..posthaste_api::Settings::default()
    }
}

/// The bounds of the setting are those of a `u32`.
fn quota(events: Option<NonZeroUsize>) -> Option<NonZeroU32> {
    events.map(|events| NonZeroU32::try_from(events).unwrap_or(NonZeroU32::MAX))
}

pub(super) fn public_limits(config: &Config) -> Limits {
    Limits {
        connections_max: config.server.connections_max,
        header_timeout: Duration::from_millis(config.server.header_timeout_ms),
        idle_timeout: Duration::from_millis(config.server.idle_timeout_ms),
    }
}

pub(super) fn admin_limits(config: &Config) -> Limits {
    Limits { connections_max: ADMIN_CONNECTIONS_MAX, ..public_limits(config) }
}

pub(super) fn ledger(config: &Config, accept_loss: bool) -> posthaste_embedded::Settings {
    let (data, retention) = (&config.data, &config.retention);
    posthaste_embedded::Settings {
        dir: data.dir.clone(),
        sync: match data.sync {
            // A cache: the rows and the queue carry the promise.
            _ if config.aws.enabled => posthaste_embedded::SyncMode::Buffered,
            Sync::Data => posthaste_embedded::SyncMode::Data,
            Sync::All => posthaste_embedded::SyncMode::All,
        },
        memtable_bytes: data.memtable_bytes,
        journal_bytes_max: data.journal_bytes_max,
        cache_bytes: data.cache_bytes,
        free_space_floor_bytes: data.free_space_floor_bytes,
        ballast_bytes: data.ballast_bytes,
        queue_max: data.queue_max,
        delivered_kept_ms: retention.delivered_ms,
        dead_kept_ms: retention.dead_letter_ms,
        claim_kept_ms: retention.idempotency_ms,
        seal_key: data.seal_key.clone(),
        accept_loss,
    }
}

pub(super) fn engine(config: &Config, shards: u32) -> posthaste_engine::Settings {
    let Config { delivery, engine, isolation, .. } = config;
    let defaults = posthaste_engine::Settings::default();
    let share = |whole| share(whole, shards);
    let in_flight_max = share(delivery.in_flight_max);
    // What is in flight or settling is held.
    let held_max = share(engine.held_max).max(in_flight_max);
    // Two pages of one timer are the least that it can read.
    let timers_held_max = share(engine.timers_held_max).max(2);
    posthaste_engine::Settings {
        schedule: config.retry.schedule.clone(),
        in_flight_max,
        in_flight_per_endpoint_max: delivery.in_flight_per_endpoint_max.min(in_flight_max),
        settling_max: share(engine.settling_max).min(held_max),
        held_max,
        held_per_endpoint_max: engine.held_per_endpoint_max.min(held_max),
        payload_bytes_max: share(engine.payload_bytes_max),
        timers_window_ms: engine.timers_window_ms,
        timers_held_max,
        timers_read_max: defaults.timers_read_max.min(timers_held_max / 2),
        // A tenant lives in one shard. A host may be that of tenants of several, each of which
        // counts its own: no shard ever asks another. A quarter, so that none takes all its places.
        in_flight_per_host_max: isolation.in_flight_per_host_max.min((in_flight_max / 4).max(1)),
        in_flight_per_tenant_max: isolation.in_flight_per_tenant_max,
        slow_percent_max: isolation.slow_percent_max,
        slow_ms: isolation.slow_ms,
        breaker_failures: isolation.breaker.failures,
        breaker_hold: posthaste_engine::Backoff {
            first_ms: isolation.breaker.hold_ms,
            most_ms: isolation.breaker.hold_ms_max,
        },
        breaker_give_up_ms: isolation.breaker.give_up_ms,
        ramp_first_per_s: isolation.breaker.ramp_first_per_s,
        overdue_spread_ms: isolation.overdue_spread_ms,
        // A table's row costs money, one of our own disk nothing.
        options_refresh_ms: if config.aws.enabled { OPTIONS_MS_AWS } else { OPTIONS_MS },
        ..defaults
    }
}

pub(super) fn usual(config: &Config) -> shard::Usual {
    shard::Usual {
        schedule: config.retry.schedule.clone(),
        plan_weights: config.isolation.plan_weights.clone(),
    }
}

pub(super) fn delivery(config: &Config, shards: u32) -> posthaste_delivery::Settings {
    let delivery = &config.delivery;
    let defaults = posthaste_delivery::Settings::default();
    let extra = delivery.extra_root_certificates.iter().map(|file| file.content.clone());
    posthaste_delivery::Settings {
        user_agent: delivery.user_agent.clone(),
        address_policy: delivery.address_policy.clone(),
        attempt_timeout_ms: delivery.attempt_timeout_ms,
        connect_timeout_ms: delivery.connect_timeout_ms,
        dns_timeout_ms: defaults.dns_timeout_ms.min(delivery.attempt_timeout_ms),
        response_body_bytes_max: delivery.response_body_bytes_max,
        connections_max: share(delivery.connections_max, shards),
        idle_per_target_max: delivery.idle_per_target_max,
        idle_timeout_ms: delivery.idle_timeout_ms,
        dns_servers: delivery.resolvers.clone(),
        tls_roots: TlsRoots {
            native: delivery.system_root_certificates,
            extra_pem: extra.collect(),
        },
        ..defaults
    }
}

/// A shard's part of what the whole process may have.
fn share(whole: usize, shards: u32) -> usize {
    whole.div_ceil(shards.max(1) as usize).max(1)
}

/// The ports that shards and API use, as one ledger offers them.
pub(super) fn views(ledger: &Ledger) -> Views {
    let ledger = Arc::new(ledger.clone());
    let shard = shard::Stores {
        journal: Arc::<Ledger>::clone(&ledger),
        tenants: Arc::<Ledger>::clone(&ledger),
        courier: None,
    };
    let api = posthaste_api::Stores {
        tenants: Arc::<Ledger>::clone(&ledger),
        events: Arc::<Ledger>::clone(&ledger),
        dead_letters: ledger,
    };
    Views { shard, api }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::layers::{Flag, Sources};

    fn config(set: &[&str]) -> Config {
        let flags = set.iter().map(|text| Flag::Set((*text).to_owned())).collect();
        crate::config::load(Sources { flags, ..Sources::default() }).unwrap().config
    }

    /// For the defaults and for limits as small as they may be, with few and many shards: the
    /// engine and the client take what they are given.
    #[test]
    fn every_lawful_configuration_makes_lawful_parts() {
        let smallest = [
            "delivery.in-flight-max=1",
            "delivery.in-flight-per-endpoint-max=1",
            "delivery.connections-max=1",
            "delivery.idle-per-target-max=1",
            "engine.held-max=8",
            "engine.held-per-endpoint-max=1",
            "engine.settling-max=1",
            "engine.timers-held-max=8",
            "engine.shards=1",
        ];
        for config in [config(&[]), config(&smallest)] {
            for shards in [1, 2, 7, 256] {
                let engine = engine(&config, shards);
                assert_eq!(engine.clone().checked(), Ok(engine));
                let client = delivery(&config, shards);
                assert!(client.connections_max >= 1 && client.dns_timeout_ms <= 30_000);
            }
        }
    }

    /// For all divisions: the parts together are at least the whole.
    #[test]
    fn shares_cover_the_whole() {
        for (whole, shards) in [(1, 1), (1, 7), (2048, 3), (65_536, 256)] {
            assert!(share(whole, shards) * shards as usize >= whole);
            assert!(share(whole, shards) >= 1);
        }
    }
}

//! What the process tells about itself: counters and histograms, and their OpenMetrics form.
//!
//! Handles are resolved once, at start; the hot path adds to them and looks nothing up. No metric
//! has a tenant label: their number is not bounded.
//!
//! **Metrics** (all begin with `posthaste_`): `accepted_events_total`, `attempts_total{result}`,
//! `deliveries_total{resolution}`, `attempt_phase_seconds{phase}`, `delivery_latency_seconds`,
//! `connections_total{kind}`, `engine_deliveries{shard,state}`, `engine_endpoints{shard,state}`,
//! `engine_invariant_violations`, `pool_connections{shard,state}`, `ledger_commit_seconds`,
//! `ledger_commits_total{synced}`, `ledger_bytes{kind}`, `ledger_queue_operations`,
//! `ledger_damaged_rows`, `courier{figure}` (AWS mode), `process_resident_memory_bytes`,
//! `process_cpu_seconds`, `process_phase{phase}`.

mod refreshed;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use posthaste_domain::{Attempt, ErrorClass, Resolution, Settlement, TenantId, Verdict};
use posthaste_embedded::Commit;
use posthaste_engine::EndpointView;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use self::refreshed::Refreshed;
use crate::admin::Opened;
use crate::lifecycle::Phase;
use crate::service::pulse::{Seen, ShardSeen};

/// 100 µs to 100 s in steps of about 1.6: fine enough for a percentile, few enough for a scrape.
const LATENCY_BUCKETS_S: [f64; 31] = [
    0.0001, 0.000_16, 0.000_25, 0.0004, 0.000_63, 0.001, 0.0016, 0.0025, 0.004, 0.0063, 0.01,
    0.016, 0.025, 0.04, 0.063, 0.1, 0.16, 0.25, 0.4, 0.63, 1.0, 1.6, 2.5, 4.0, 6.3, 10.0, 16.0,
    25.0, 40.0, 63.0, 100.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResolutionLabel {
    resolution: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabel {
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SyncedLabel {
    synced: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

/// All of the process's figures.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    attempts: Vec<(&'static str, Counter)>,
    deliveries: [Counter; 3],
    phases: [Histogram; 6],
    latency: Histogram,
    connections: [Counter; 2],
    accepted: Counter,
    commits: [Counter; 2],
    commit_time: Histogram,
    shards: Mutex<Vec<Arc<ShardMetrics>>>,
    refreshed: Refreshed,
}

/// What one shard adds to, and what it published last.
#[derive(Debug)]
pub struct ShardMetrics {
    index: u32,
    metrics: Arc<Metrics>,
    published: Mutex<Published>,
    troubled: Mutex<Vec<EndpointView>>,
    turns: AtomicU64,
}

/// A shard's own figures, copied out of it a few times a second.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// The engine's.
    pub engine: posthaste_engine::Stats,
    /// The delivery client's.
    pub client: posthaste_delivery::Stats,
}

impl Metrics {
    /// Registers everything.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let mut registry = Registry::with_prefix("posthaste");
        let attempts = Family::<ResultLabel, Counter>::default();
        registry.register("attempts", "Attempts by how they ended", attempts.clone());
        let deliveries = Family::<ResolutionLabel, Counter>::default();
        let help = "Settled outcomes: delivered, retry (put off) or dead_lettered";
        registry.register("deliveries", help, deliveries.clone());
        let phases = Family::<PhaseLabel, Histogram>::new_with_constructor(histogram);
        let help = "Where an attempt's time goes";
        registry.register_with_unit("attempt_phase", help, Unit::Seconds, phases.clone());
        let latency = histogram();
        let help = "From accepted to delivered, first attempts only";
        registry.register_with_unit("delivery_latency", help, Unit::Seconds, latency.clone());
        let connections = Family::<KindLabel, Counter>::default();
        let help = "Connections that carried an attempt, by new or reused";
        registry.register("connections", help, connections.clone());
        let accepted = Counter::default();
        registry.register("accepted_events", "Events that got a 201 or its like", accepted.clone());
        let commits = Family::<SyncedLabel, Counter>::default();
        registry.register("ledger_commits", "Commits by whether they were synced", commits.clone());
        let commit_time = histogram();
        let help = "From the first operation of a commit to its acknowledgement";
        registry.register_with_unit("ledger_commit", help, Unit::Seconds, commit_time.clone());
        let refreshed = Refreshed::register(&mut registry);
        let counted = |result| (result, attempts.get_or_create_owned(&ResultLabel { result }));
        let names = ErrorClass::ALL.iter().map(|class| class.as_str());
        let settled = |resolution| deliveries.get_or_create_owned(&ResolutionLabel { resolution });
        let phase = |phase| phases.get_or_create_owned(&PhaseLabel { phase });
        let kind = |kind| connections.get_or_create_owned(&KindLabel { kind });
        Arc::new(Self {
            attempts: names.chain(["gone", "delivered"]).map(counted).collect(),
            deliveries: ["delivered", "retry", "dead_lettered"].map(settled),
            phases: ["queue", "dns", "connect", "tls", "first_byte", "total"].map(phase),
            latency,
            connections: ["new", "reused"].map(kind),
            accepted,
            commits: [false, true]
                .map(|synced| commits.get_or_create_owned(&SyncedLabel { synced })),
            commit_time,
            shards: Mutex::default(),
            refreshed,
            registry: Mutex::new(registry),
        })
    }

    /// The handle of one shard.
    #[must_use]
    pub fn shard(self: &Arc<Self>, index: u32) -> Arc<ShardMetrics> {
        let (metrics, turns) = (Arc::clone(self), AtomicU64::new(0));
        let (published, troubled) = (Mutex::default(), Mutex::default());
        let shard = Arc::new(ShardMetrics { index, metrics, published, troubled, turns });
        self.shards.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&shard));
        shard
    }

    /// Endpoints that are not attempted as usual, those in trouble for longest first.
    pub fn troubled(&self) -> Vec<EndpointView> {
        let shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut all = Vec::new();
        for shard in shards {
            all.extend(shard.troubled.lock().unwrap_or_else(PoisonError::into_inner).clone());
        }
        all.sort_by(|a, b| a.since.cmp(&b.since).then_with(|| a.tenant.cmp(&b.tenant)));
        all
    }

    /// The endpoint of `tenant`, where it is not attempted as usual.
    pub fn trouble_of(&self, tenant: &TenantId) -> Option<EndpointView> {
        let shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner).clone();
        shards.iter().find_map(|shard| {
            let troubled = shard.troubled.lock().unwrap_or_else(PoisonError::into_inner);
            troubled.iter().find(|it| it.tenant == *tenant).cloned()
        })
    }

    /// What the shards published last.
    #[must_use]
    pub fn shards(&self) -> Vec<Published> {
        let shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        shards.iter().map(|shard| shard.last()).collect()
    }

    /// Outcomes settled since the start: delivered, put off, dead-lettered.
    #[must_use]
    pub fn settled(&self) -> [u64; 3] {
        [0, 1, 2].map(|n| self.deliveries[n].get())
    }

    /// Deliveries in the shards' memory.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.shards().iter().map(|shard| shard.engine.held).sum()
    }

    /// Attempts in flight.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.shards().iter().map(|shard| shard.engine.in_flight).sum()
    }

    /// Events that got a 201 or its like.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.get()
    }

    /// What the shards show of their progress.
    #[must_use]
    pub fn seen(&self) -> Seen {
        let shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        Seen { shards: shards.iter().map(|shard| shard.seen()).collect(), ..Seen::default() }
    }

    /// Counts a commit of the ledger.
    pub fn committed(&self, commit: &Commit) {
        self.accepted.inc_by(u64::try_from(commit.events).unwrap_or(0));
        self.commits[usize::from(commit.synced)].inc();
        self.commit_time.observe(Duration::from_micros(commit.micros).as_secs_f64());
    }

    /// Everything in the OpenMetrics text format; without the ledger where it is not open.
    #[must_use]
    pub fn render(&self, phase: Phase, opened: Option<&Opened>) -> String {
        let shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.refreshed.refresh(phase, &shards, opened);
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a String cannot fail.
        let encoded = encode(&mut text, &registry);
        debug_assert!(encoded.is_ok());
        text
    }
}

impl ShardMetrics {
    /// Counts an attempt that has ended.
    pub fn attempted(&self, attempt: &Attempt) {
        let metrics = &self.metrics;
        let last = metrics.attempts.len() - 1;
        let index = match attempt.verdict {
            Verdict::Delivered => last,
            Verdict::Gone => last - 1,
            Verdict::Failed { class, .. } | Verdict::NotCharged { class } => {
                ErrorClass::ALL.iter().position(|known| *known == class).unwrap_or(last - 1)
            }
        };
        metrics.attempts[index].1.inc();
        metrics.connections[usize::from(attempt.phases.reused)].inc();
        let phases = &attempt.phases;
        let times = [
            phases.queue_us,
            phases.dns_us,
            phases.connect_us,
            phases.tls_us,
            phases.first_byte_us,
            phases.total_us,
        ];
        for (histogram, micros) in metrics.phases.iter().zip(times) {
            // A phase that did not happen is no observation.
            if micros > 0 {
                histogram.observe(f64::from(micros) / 1e6);
            }
        }
    }

    /// Counts an outcome that is durable.
    pub fn settled(&self, settlement: &Settlement) {
        let index = match settlement.resolution {
            Resolution::Delivered => 0,
            Resolution::Retry { .. } => 1,
            Resolution::DeadLettered { .. } => 2,
        };
        self.metrics.deliveries[index].inc();
        let first = settlement.round == 0 && settlement.attempts == 1;
        if let (0, true, Some(attempt)) = (index, first, &settlement.attempt) {
            let ended = attempt.at.plus_millis(u64::from(attempt.duration_ms));
            let millis = ended.millis_since(settlement.key.event.created_at());
            self.metrics.latency.observe(Duration::from_millis(millis).as_secs_f64());
        }
    }

    /// Leaves a copy of the shard's figures for the next scrape.
    pub fn publish(&self, engine: posthaste_engine::Stats, client: posthaste_delivery::Stats) {
        *self.published.lock().unwrap_or_else(PoisonError::into_inner) =
            Published { engine, client };
    }

    /// Leaves the endpoints that are not attempted as usual for whoever asks.
    pub fn publish_troubled(&self, troubled: Vec<EndpointView>) {
        *self.troubled.lock().unwrap_or_else(PoisonError::into_inner) = troubled;
    }

    /// Counts a turn of the shard's loop.
    pub fn turned(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    fn seen(&self) -> ShardSeen {
        let engine = self.last().engine;
        // What waits for a store cannot be hurried by anybody here; what waits for its endpoint is
        // not in turn.
        let waits = engine.loading + engine.settling > 0;
        let ended = [
            engine.attempts,
            engine.delivered,
            engine.retried,
            engine.dead_lettered,
            engine.not_charged,
            engine.superseded,
            engine.vanished,
            engine.withdrawn,
            engine.refused,
            engine.store_failures,
        ];
        ShardSeen {
            turns: self.turns.load(Ordering::Relaxed),
            has_work: engine.in_flight > 0 || (engine.in_turn > 0 && !waits),
            ended: ended.iter().sum(),
        }
    }

    fn last(&self) -> Published {
        self.published.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn histogram() -> Histogram {
    Histogram::new(LATENCY_BUCKETS_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Endpoints that are paused or left alone, for as long as they like, hide no engine that has
    /// something to do and does nothing; and what they are owed is no such thing.
    #[test]
    fn a_paused_endpoint_does_not_hide_an_engine_that_does_nothing() {
        let metrics = Metrics::new();
        let shard = metrics.shard(0);
        let waiting = posthaste_engine::Stats {
            ready: 9,
            endpoints_troubled: 2,
            endpoints_on_hold: 1,
            ..Default::default()
        };
        for (stats, has_work) in [
            (waiting, false),
            (posthaste_engine::Stats { in_turn: 1, ..waiting }, true),
            (posthaste_engine::Stats { in_turn: 1, settling: 1, ..waiting }, false),
            (posthaste_engine::Stats { in_flight: 1, ..waiting }, true),
        ] {
            shard.publish(stats, Default::default());
            assert_eq!(metrics.seen().shards[0].has_work, has_work, "{stats:?}");
        }
    }

    /// Everything is there from the start, so that a rate over it is right from the first scrape.
    #[test]
    fn a_scrape_is_open_metrics_with_every_series_at_zero() {
        let metrics = Metrics::new();
        let shard = metrics.shard(0);
        shard
            .publish(posthaste_engine::Stats { held: 7, ..Default::default() }, Default::default());
        let text = metrics.render(Phase::Starting, None);
        assert!(text.ends_with("# EOF\n"), "{text}");
        for line in [
            "posthaste_accepted_events_total 0",
            "posthaste_attempts_total{result=\"delivered\"} 0",
            "posthaste_attempts_total{result=\"timeout\"} 0",
            "posthaste_deliveries_total{resolution=\"dead_lettered\"} 0",
            "posthaste_engine_deliveries{shard=\"0\",state=\"held\"} 7",
            "posthaste_ledger_commits_total{synced=\"true\"} 0",
            "posthaste_process_phase{phase=\"starting\"} 1",
            "posthaste_process_phase{phase=\"running\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(text.contains("posthaste_process_resident_memory_bytes "), "{text}");
    }
}

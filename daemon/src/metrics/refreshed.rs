//! Gauges that are set just before a scrape, from what the parts published last. What cannot be
//! read then keeps its last value: a scrape never fails.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use posthaste_embedded::Stats;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use rustix::param::page_size;
use rustix::time::{ClockId, clock_gettime};

use super::{KindLabel, PhaseLabel, Published, ShardMetrics};
use crate::admin::Opened;
use crate::lifecycle::Phase;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    shard: u32,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FigureLabel {
    figure: &'static str,
}

type Seconds = Gauge<f64, AtomicU64>;

/// See the module's words.
#[derive(Debug, Default)]
pub(super) struct Refreshed {
    deliveries: Family<StateLabel, Gauge>,
    endpoints: Family<StateLabel, Gauge>,
    connections: Family<StateLabel, Gauge>,
    violations: Gauge,
    ledger_bytes: Family<KindLabel, Gauge>,
    ledger_queue: Gauge,
    damaged_rows: Gauge,
    courier: Family<FigureLabel, Gauge>,
    resident: Gauge,
    cpu: Seconds,
    phase: Family<PhaseLabel, Gauge>,
}

impl Refreshed {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let new = Self::default();
        let help = "Deliveries in a shard's memory, by where they are; held are all of them";
        registry.register("engine_deliveries", help, new.deliveries.clone());
        let help = "Endpoints that a shard knows of, by what keeps them";
        registry.register("engine_endpoints", help, new.endpoints.clone());
        let help = "Connections to receivers";
        registry.register("pool_connections", help, new.connections.clone());
        let help = "Broken invariants; anything but 0 is a fault of this program";
        registry.register("engine_invariant_violations", help, new.violations.clone());
        let help = "What the ledger takes on disk and in memory, and what the disk has left";
        registry.register_with_unit("ledger", help, Unit::Bytes, new.ledger_bytes.clone());
        let help = "Operations that wait for the ledger's writer";
        registry.register("ledger_queue_operations", help, new.ledger_queue.clone());
        let help = "Rows met that were not what was written; anything but 0 is a disk's fault";
        registry.register("ledger_damaged_rows", help, new.damaged_rows.clone());
        let help = "What the courier holds and has done (AWS mode); all but held, held_bytes and \
                    unwritten only grow";
        registry.register("courier", help, new.courier.clone());
        let help = "Resident memory";
        let resident = new.resident.clone();
        registry.register_with_unit("process_resident_memory", help, Unit::Bytes, resident);
        let help = "Processor time of all threads";
        registry.register_with_unit("process_cpu", help, Unit::Seconds, new.cpu.clone());
        registry.register("process_phase", "1 for the phase it is in", new.phase.clone());
        new
    }

    pub(super) fn refresh(
        &self,
        phase: Phase,
        shards: &[Arc<ShardMetrics>],
        opened: Option<&Opened>,
    ) {
        let mut violations = 0;
        for shard in shards {
            let published = shard.last();
            violations += published.engine.invariant_violations;
            self.shard(shard.index, &published);
        }
        set(&self.violations, violations);
        if let Some(Opened { ledger, courier }) = opened {
            self.ledger(&ledger.stats());
            if let Some(courier) = courier {
                self.courier(&courier.stats());
            }
        }
        self.process();
        for known in Phase::ALL {
            let gauge = self.phase.get_or_create_owned(&PhaseLabel { phase: known.as_str() });
            set(&gauge, u64::from(known == phase));
        }
    }

    fn shard(&self, shard: u32, published: &Published) {
        let Published { engine, client } = published;
        let deliveries = [
            ("held", engine.held),
            ("ready", engine.ready),
            ("waiting", engine.waiting),
            ("loading", engine.loading),
            ("in_flight", engine.in_flight),
            ("settling", engine.settling),
            ("slow_in_flight", engine.slow_in_flight),
        ];
        let endpoints = [
            ("known", engine.endpoints),
            ("behind", engine.endpoints_behind),
            ("behind_retries", engine.endpoints_behind_retries),
            ("on_hold", engine.endpoints_on_hold),
            ("troubled", engine.endpoints_troubled),
        ];
        let wide = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let (open, idle) = (wide(client.connections_open), wide(client.connections_idle));
        let connections = [("open", open), ("idle", idle)];
        let tables = [
            (&self.deliveries, deliveries.as_slice()),
            (&self.endpoints, endpoints.as_slice()),
            (&self.connections, connections.as_slice()),
        ];
        for (family, values) in tables {
            for (state, value) in values {
                set(&family.get_or_create_owned(&StateLabel { shard, state }), *value);
            }
        }
    }

    fn ledger(&self, stats: &Stats) {
        let bytes = [
            ("disk", stats.disk_bytes),
            ("journals", stats.journal_bytes),
            ("memtables", stats.memtable_bytes),
            ("free", stats.free_bytes),
        ];
        for (kind, value) in bytes {
            set(&self.ledger_bytes.get_or_create_owned(&KindLabel { kind }), value);
        }
        set(&self.ledger_queue, stats.queued);
        set(&self.damaged_rows, stats.damaged_rows);
    }

    fn courier(&self, stats: &posthaste_courier::Stats) {
        for (figure, value) in stats.named() {
            set(&self.courier.get_or_create_owned(&FigureLabel { figure }), value);
        }
    }

    fn process(&self) {
        if let Some(pages) = resident_pages() {
            set(&self.resident, pages.saturating_mul(page_size() as u64));
        }
        if let Ok(time) = Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)) {
            self.cpu.set(time.as_secs_f64());
        }
    }
}

/// The second number of `/proc/self/statm`.
fn resident_pages() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    text.split_whitespace().nth(1)?.parse().ok()
}

fn set(gauge: &Gauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}

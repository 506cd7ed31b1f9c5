//! A world of its own: the table is throttled for a minute under load.

use posthaste_domain::{RetrySchedule, TenantId};
use posthaste_engine::Settings;

use super::{Clients, Fleet, Oddities, Plan, Service, Swarm, Tenant, Window};
use crate::endpoint::Behaviour;

/// Tenants, so that no endpoint's own limit is what is measured.
const TENANTS: u64 = 40;
/// When the table begins to be throttled, in milliseconds.
const FROM_MS: u64 = 10_000;
/// For how long, in milliseconds.
const LASTS_MS: u64 = 60_000;
/// Load goes on for so long afterwards, in milliseconds.
const AFTER_MS: u64 = 30_000;
/// Of a thousand writes, how many get through.
const PASSES_PERMILLE: u64 = 100;

impl Plan {
    /// So many events a second to healthy endpoints, through `daemons` daemons with the settings
    /// that they come with, while the table lets a tenth of all writes through for a minute.
    #[must_use]
    pub fn throttled(seed: u64, events_per_s: u64, daemons: usize) -> Self {
        let post_ms = FROM_MS + LASTS_MS + AFTER_MS;
        let near = |windows| Service {
            latency_ms: (3, 8),
            fails_permille: 0,
            lost_permille: 0,
            entries_permille: 0,
            windows,
        };
        let until_ms = FROM_MS + LASTS_MS;
        let throttle = Window { from_ms: FROM_MS, until_ms, passes_permille: PASSES_PERMILLE };
        Self {
            seed,
            tenants: (0..TENANTS).map(healthy).collect(),
            fleet: fleet(daemons),
            rows: near(vec![throttle]),
            queue: near(Vec::new()),
            index_lag_ms: (10, 500),
            oddities: Oddities::NONE,
            clients: Clients {
                events: events_per_s * post_ms / 1_000,
                post_ms,
                keyed_permille: 0,
                by_reference_permille: 0,
                old_form_permille: 0,
                strays: 0,
                operations: 0,
                changes: 0,
                killer: None,
                spared: true,
            },
            ours_permille: 5,
            swarm: Swarm::NONE,
            faults: Vec::new(),
            failpoint: None,
            // The weather ends with its window; nothing else fails.
            calm_ms: post_ms,
            check_every: 100_000,
            mutant: None,
        }
    }

    /// When the table is throttled no more, in milliseconds.
    #[must_use]
    pub fn throttled_until_ms(&self) -> u64 {
        self.rows.windows.iter().map(|window| window.until_ms).max().unwrap_or(0)
    }
}

pub(super) fn healthy(number: u64) -> Tenant {
    Tenant {
        id: TenantId::try_new(&format!("tenant-{number}")).expect("a lawful name"),
        behaviour: Behaviour::Healthy { slowest_ms: 40 },
        deleted_ms: None,
    }
}

pub(super) fn fleet(daemons: usize) -> Fleet {
    Fleet {
        daemons,
        shards: 1,
        same_name: false,
        engine: Settings { schedule: RetrySchedule::default(), ..Settings::default() },
        held_max: 10_000,
        held_per_tenant_max: 2_500,
        held_bytes_max: 64 << 20,
        intake_polls: 8,
        row_writers: 8,
        row_batch_max: 25,
        inbox_max: 8_192,
        disk_ms: (0, 2),
        skews_ms: vec![0; daemons],
        drifts_ppm: vec![0; daemons],
        full_disks: Vec::new(),
        failed_commits_permille: 0,
        sweep_pause_ms: 15_000,
        poll_wait_ms: 3_000,
        idle_turn_ms: 500,
    }
}

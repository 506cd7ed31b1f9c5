//! A world of its own: the table is throttled for a minute under load.

use posthaste_domain::{RetrySchedule, TenantId};
use posthaste_engine::Settings;

use super::{Clients, Fleet, Plan, Service, Tenant, Window};
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
        let until_ms = FROM_MS + LASTS_MS;
        let throttle = Window { from_ms: FROM_MS, until_ms, passes_permille: PASSES_PERMILLE };
        let quiet = Self::quiet(seed, events_per_s * post_ms / 1_000);
        Self {
            tenants: (0..TENANTS).map(healthy).collect(),
            fleet: fleet(daemons),
            rows: Service { windows: vec![throttle], ..Service::faultless((3, 8)) },
            queue: Service::faultless((3, 8)),
            index_lag_ms: (10, 500),
            clients: Clients { post_ms, by_reference_permille: 0, spared: true, ..quiet.clients },
            ours_permille: 5,
            // The weather ends with its window; nothing else fails.
            calm_ms: post_ms,
            check_every: 100_000,
            ..quiet
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

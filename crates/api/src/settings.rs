//! What the routes are made of: limits (data) and collaborators (objects), kept apart.
//!
//! Nothing here reads a clock, draws entropy or opens a store; the binary hands all of that in.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use posthaste_domain::{AddressPolicy, EventId, KeyHash, TenantId, Timestamp};
use posthaste_ports::{DeadLetters, EventStore, TenantStore};

use crate::AuthCache;

const SECOND_MS: u64 = 1000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Limits and switches. Every field has a default that suits production.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The longest event, and the longest body of a tenant or admin route, in bytes.
    pub body_bytes_max: usize,
    /// Events in one batch.
    pub batch_events_max: usize,
    /// The longest batch, in bytes.
    pub batch_bytes_max: usize,
    /// The longest webhook that the receiver takes, in bytes.
    pub receiver_body_bytes_max: usize,
    /// All bodies that are being read or stored at one moment, in bytes. Beyond it requests get
    /// 503: memory is bounded by this number, not by the number of clients.
    pub bodies_bytes_max: usize,
    /// From a request's head to the end of its body, in milliseconds.
    pub body_read_ms_max: u64,
    /// How long an old webhook secret signs beside the new one, in milliseconds.
    pub secret_overlap_ms: u64,
    /// How long a known key is trusted without asking the store, in milliseconds.
    pub auth_cache_ms: u64,
    /// How long an unknown or revoked key is refused without asking the store, in milliseconds.
    pub auth_refusal_cache_ms: u64,
    /// How long a `next_token` is good, in milliseconds.
    pub page_token_ms: u64,
    /// Live keys of one tenant.
    pub keys_per_tenant_max: usize,
    /// Verified webhooks that the receiver remembers, so that a replay is not processed again.
    pub replays_remembered_max: usize,
    /// Events that a tenant may post a second, and as many at once; none sets no quota. Beyond it
    /// requests get 429.
    pub tenant_events_per_s_max: Option<NonZeroU32>,
    /// Whether anybody may create a tenant; otherwise only the admin.
    pub open_tenant_creation: bool,
    /// Which addresses and ports a target may name.
    pub address_policy: AddressPolicy,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            // The contract's limits: 256 KiB an event, 500 events and 5 MiB a batch.
            body_bytes_max: 256 * KIB,
            batch_events_max: 500,
            batch_bytes_max: 5 * MIB,
            // What the receivers of other systems take.
            receiver_body_bytes_max: MIB,
            // A dozen batches, or 256 of the longest events.
            bodies_bytes_max: 64 * MIB,
            // 256 KiB in ten seconds is 26 KB/s, less than any line that is still of use.
            body_read_ms_max: 10 * SECOND_MS,
            // A day: a receiver is deployed again within it.
            secret_overlap_ms: 24 * HOUR_MS,
            // What API Gateway does with its authorizer's answers.
            auth_cache_ms: 5 * MINUTE_MS,
            // Short: a key made by another process must soon work.
            auth_refusal_cache_ms: 10 * SECOND_MS,
            // Longer than any honest walk through the pages.
            page_token_ms: 24 * HOUR_MS,
            // Far more than rotation needs, few enough to list in one answer.
            keys_per_tenant_max: 100,
            // About 10 MB when full.
            replays_remembered_max: 256 * KIB,
            // Fairness keeps tenants apart in delivery; a quota is for operators who sell one.
            tenant_events_per_s_max: None,
            open_tenant_creation: false,
            address_policy: AddressPolicy::default(),
        }
    }
}

/// Where everything is kept.
#[derive(Clone)]
pub struct Stores {
    /// Tenants and keys.
    pub tenants: Arc<dyn TenantStore>,
    /// Events.
    pub events: Arc<dyn EventStore>,
    /// The DLQ.
    pub dead_letters: Arc<dyn DeadLetters>,
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stores")
    }
}

/// The two times that the routes need.
pub trait Clock: Send + Sync {
    /// The time of ids, records and caches; never goes backwards.
    fn now(&self) -> Timestamp;
    /// The wall clock as it stands, by which the receiver judges the age of a signature.
    fn wall(&self) -> Timestamp {
        self.now()
    }
}

/// Chance, for ids, keys and secrets. Must be fit for cryptography.
pub trait Entropy: Send + Sync {
    /// Fills `bytes` with random bytes; a source that has run dry must stop the process rather
    /// than return.
    fn fill(&self, bytes: &mut [u8]);
}

/// A webhook that the receiver has verified and not seen before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedWebhook {
    /// To whom it was sent.
    pub tenant: TenantId,
    /// The event that the `webhook-id` header names, where it names one of ours.
    pub event: Option<EventId>,
    /// The `webhook-attempt` header, where it is a number.
    pub attempt: Option<u32>,
    /// The body, as received.
    pub body: Bytes,
    /// When, by the wall clock.
    pub at: Timestamp,
}

/// Hears of every verified webhook, once. Must not block.
pub type ReceiverObserver = Arc<dyn Fn(ReceivedWebhook) + Send + Sync>;

/// How an endpoint is that is not attempted as usual.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The state's stable name: `paused`, `tripped`, `probing`, `ramp`, `given_up`.
    pub health: &'static str,
    /// Since when.
    pub since: Timestamp,
    /// When it is attempted next, where that is known.
    pub next_attempt_at: Option<Timestamp>,
}

/// Tells how a tenant's endpoint is; none where it is attempted as usual.
pub type EndpointHealth = Arc<dyn Fn(&TenantId) -> Option<Trouble> + Send + Sync>;

/// The collaborators beside the stores.
#[derive(Clone)]
pub struct Deps {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// SHA-256 of each admin key; none closes the admin routes to everybody.
    pub admin_keys: Vec<KeyHash>,
    /// Remembers who a key belongs to; shared, so that others can invalidate keys too.
    pub auth_cache: Arc<AuthCache>,
    /// Hears of what the receiver takes in.
    pub receiver_observer: Option<ReceiverObserver>,
    /// Knows how endpoints are; none where deliveries are made by another process.
    pub endpoint_health: Option<EndpointHealth>,
}

impl fmt::Debug for Deps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deps").field("admin_keys", &self.admin_keys.len()).finish_non_exhaustive()
    }
}

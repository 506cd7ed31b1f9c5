//! Settings of what comes in: listeners, limits of requests, keys, secrets.

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use posthaste_domain::ApiKey;

use super::kinds::addresses::{Address, AddressOrNone};
use super::kinds::files::{Key, KeyFile};
use super::kinds::numbers::{Count, CountOrZero, DAY, GIB, HOUR, KIB, MIB, MINUTE, Size, Time};
use super::kinds::{Optional, Switch};
use super::reader::Section;

/// `[server]`: the listeners and what bounds a request.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where the public API and the receiver listen.
    pub listen: SocketAddr,
    /// Where `/livez`, `/readyz` and `/metrics` are; none for nowhere.
    pub admin_listen: Option<SocketAddr>,
    /// Connections of the public listener at the same time.
    pub connections_max: usize,
    /// From a request's first byte to its whole head, in milliseconds.
    pub header_timeout_ms: u64,
    /// How long a connection may stay without a request, in milliseconds.
    pub idle_timeout_ms: u64,
    /// From a request's head to the end of its body, in milliseconds.
    pub body_timeout_ms: u64,
    /// The longest event, and the longest body of a tenant or admin route, in bytes.
    pub body_bytes_max: usize,
    /// Events in one batch.
    pub batch_events_max: usize,
    /// The longest batch, in bytes.
    pub batch_bytes_max: usize,
    /// The longest webhook that the built-in receiver takes, in bytes.
    pub receiver_body_bytes_max: usize,
    /// All bodies that are being read or stored at one moment, in bytes.
    pub bodies_bytes_max: usize,
    /// Events that a tenant may post a second; none sets no quota.
    pub tenant_events_per_s_max: Option<NonZeroUsize>,
    /// Whether anybody may create a tenant; otherwise only the admin.
    pub open_tenant_creation: bool,
}

impl Server {
    #[expect(clippy::too_many_lines, reason = "a declaration: one call a setting, no decisions")]
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let s = &mut section;
        Self {
            listen: s.key(
                "listen",
                Address,
                "127.0.0.1:8080",
                "Where the public API and the built-in receiver listen. Loopback until you say \
                 otherwise; TLS is the business of a proxy in front.",
            ),
            admin_listen: s.key(
                "admin-listen",
                AddressOrNone,
                "127.0.0.1:8081",
                "Where /livez, /readyz, /metrics and /endpoints are. A listener of its own, \
                 because it has no authentication: keep it where only operators reach it.",
            ),
            connections_max: s.key(
                "connections-max",
                Count::new(1..=1_000_000),
                "10000",
                "Connections to the public listener at the same time; further ones wait. An idle \
                 one takes some 10 KiB and a file descriptor.",
            ),
            header_timeout_ms: s.live(
                "header-timeout",
                Time::new(100..=5 * MINUTE),
                "5s",
                "How long a request's head may take. A client that is slower holds a connection \
                 for nothing.",
            ),
            idle_timeout_ms: s.live(
                "idle-timeout",
                Time::new(100..=HOUR),
                "75s",
                "How long a connection may stay without a request: longer than most proxies keep \
                 theirs, since one that meets a closed connection answers 502.",
            ),
            body_timeout_ms: s.live(
                "body-timeout",
                Time::new(100..=HOUR),
                "10s",
                "How long a request's body may take after its head: 256 KiB in ten seconds is \
                 26 KB/s.",
            ),
            body_bytes_max: s.live(
                "body-max",
                Size::new(KIB..=16 * MIB),
                "256KiB",
                "The longest event; a longer one gets 413. As long as the queues of the clouds \
                 take, so that events can move there.",
            ),
            batch_events_max: s.live(
                "batch-events-max",
                Count::new(1..=10_000),
                "500",
                "Events in one batch. Each gets an answer of its own, so a batch should be one \
                 that a client can still look through.",
            ),
            batch_bytes_max: s.live(
                "batch-max",
                Size::new(KIB..=GIB),
                "5MiB",
                "The longest batch: 500 events of 10 KiB, or 20 of the longest.",
            ),
            receiver_body_bytes_max: s.live(
                "receiver-body-max",
                Size::new(KIB..=16 * MIB),
                "1MiB",
                "The longest webhook that the built-in receiver takes: what other receivers take.",
            ),
            bodies_bytes_max: s.live(
                "bodies-memory-max",
                Size::new(KIB..=64 * GIB),
                "64MiB",
                "All bodies that are being read or stored at one moment. Beyond it requests get \
                 503, so that memory does not depend on the number of clients.",
            ),
            tenant_events_per_s_max: s.live(
                "tenant-events-per-second-max",
                CountOrZero { max: 1_000_000, zero: "no quota" },
                "0",
                "Events that a tenant may post a second, and as many at once; beyond it requests \
                 get 429. None, because tenants are kept apart in delivery anyway; for operators \
                 who sell a quota.",
            ),
            open_tenant_creation: s.live(
                "open-tenant-creation",
                Switch,
                "false",
                "Whether anybody who reaches the listener may create tenants. Otherwise that \
                 takes the admin key.",
            ),
        }
    }
}

/// `[auth]`: who may do what.
#[derive(Clone, Debug)]
pub struct Auth {
    /// The admin key, from the configuration or from the file that it names; none where the one
    /// that was made at the first start holds.
    pub admin_key: Option<ApiKey>,
    /// How long a known key is trusted without asking the store, in milliseconds.
    pub cache_ms: u64,
}

impl Auth {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let s = &mut section;
        let key = s.live(
            "admin-key",
            Optional(Key),
            "",
            "The key of the admin routes. None means the one that is made at the first start and \
             printed once. In the environment or in a file of its own it is not seen by \
             everybody who can list processes or read this file.",
        );
        let file = s.live(
            "admin-key-file",
            Optional(KeyFile),
            "",
            "A file that holds the admin key, such as a mounted secret; instead of admin-key.",
        );
        Self {
            admin_key: key.or_else(|| file.map(|(_, key)| key)),
            cache_ms: s.live(
                "cache",
                Time::new(0..=HOUR),
                "5m",
                "How long a key is trusted without asking the store again; a key that this \
                 process revokes is refused at once. As long as API Gateway does it.",
            ),
        }
    }
}

/// `[secrets]`: the webhook secrets that deliveries are signed with.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// How long an old secret signs beside the new one, in milliseconds.
    pub overlap_ms: u64,
}

impl Secrets {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        Self {
            overlap_ms: section.live(
                "overlap",
                Time::new(0..=30 * DAY),
                "24h",
                "How long a replaced secret goes on signing beside the new one. A day, in which \
                 every receiver is deployed again; 0s when a secret has leaked.",
            ),
        }
    }
}

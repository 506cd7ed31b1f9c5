//! Settings of what goes out: deliveries, retries, what the engine holds in memory.

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use posthaste_domain::{AddressPolicy, RetrySchedule};

use super::kinds::addresses::{NameServer, Network};
use super::kinds::files::{Certificates, PemFile};
use super::kinds::numbers::{
    Count, CountOrZero, DAY, Fraction, GIB, HOUR, KIB, MIB, MINUTE, SECOND, Size, Time,
};
use super::kinds::{HeaderText, List, Switch};
use super::reader::Section;

/// What every delivery says it is from.
const USER_AGENT: &str = concat!("posthaste/", env!("CARGO_PKG_VERSION"));
/// As [`RetrySchedule`] has it.
const DELAYS_MAX: usize = 100;
/// Deliveries in memory: as the engine has it.
const HELD_MAX: u64 = 10_000_000;

/// `[delivery]`: how deliveries are made, and where they may go.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The deadline of a whole attempt, in milliseconds.
    pub attempt_timeout_ms: u64,
    /// TCP connect and TLS handshake together, in milliseconds.
    pub connect_timeout_ms: u64,
    /// How much of a response body is read, in bytes.
    pub response_body_bytes_max: usize,
    /// How long a connection may stay idle, in milliseconds.
    pub idle_timeout_ms: u64,
    /// Idle connections kept for one target.
    pub idle_per_target_max: usize,
    /// Open connections of the whole process, active and idle.
    pub connections_max: usize,
    /// Attempts in flight, of the whole process.
    pub in_flight_max: usize,
    /// Attempts in flight to one endpoint.
    pub in_flight_per_endpoint_max: usize,
    /// What is opened beyond the public internet and the usual ports.
    pub address_policy: AddressPolicy,
    /// Whether the certificate authorities of the system are trusted.
    pub system_root_certificates: bool,
    /// Further certificate authorities.
    pub extra_root_certificates: Vec<PemFile>,
    /// Name servers to ask; none means those of the system.
    pub resolvers: Vec<SocketAddr>,
    /// The whole `User-Agent` header.
    pub user_agent: String,
}

impl Delivery {
    #[expect(clippy::too_many_lines, reason = "a declaration: one call a setting, no decisions")]
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let s = &mut section;
        Self {
            attempt_timeout_ms: s.live(
                "attempt-timeout",
                Time::new(100..=10 * MINUTE),
                "30s",
                "The deadline of a whole attempt: name, connection, request, answer. A receiver \
                 that needs longer should answer first and work later.",
            ),
            connect_timeout_ms: s.live(
                "connect-timeout",
                Time::new(50..=MINUTE),
                "5s",
                "The limit for connecting, TLS included. A server that is there answers within \
                 one retransmission or two.",
            ),
            response_body_bytes_max: s.live(
                "response-max",
                Size::new(KIB..=16 * MIB),
                "64KiB",
                "How much of an answer is read before the connection is closed instead; 1 KiB of \
                 it is kept. Reading more costs more than a new connection.",
            ),
            idle_timeout_ms: s.live(
                "idle-timeout",
                Time::new(SECOND..=10 * MINUTE),
                "30s",
                "How long a connection is kept without use: less than most servers and proxies \
                 keep theirs, so that hardly a request meets a closed one.",
            ),
            idle_per_target_max: s.live(
                "idle-per-target-max",
                Count::new(0..=10_000),
                "64",
                "Connections kept without use for one target: as many as it has attempts in \
                 flight.",
            ),
            connections_max: s.live(
                "connections-max",
                Count::new(1..=1_000_000),
                "4096",
                "Connections to all targets, used or not. One with TLS takes about 10 KiB and a \
                 file descriptor; idle ones make room.",
            ),
            in_flight_max: s.key(
                "in-flight-max",
                Count::new(1..=1_000_000),
                "2048",
                "Attempts at the same time, in the whole process. With receivers that take \
                 200 ms this is 10,000 a second.",
            ),
            in_flight_per_endpoint_max: s.key(
                "in-flight-per-endpoint-max",
                Count::new(1..=100_000),
                "64",
                "Attempts at the same time to one endpoint, so that no receiver is overrun. With \
                 50 ms an answer this is 1,280 a second. One endpoint never takes more of a \
                 shard's part of delivery.in-flight-max than it leaves free.",
            ),
            address_policy: AddressPolicy {
                allow: s.live(
                    "allow-networks",
                    List { item: Network, min: 0, max: 1000 },
                    "",
                    "Ranges that deliveries may go to beyond the public internet. None, because \
                     targets come from tenants, and behind this machine's addresses is your own \
                     network. A cloud's metadata service opens only with its exact address.",
                ),
                allow_ports: s.live(
                    "allow-ports",
                    List { item: Count::new(1..=65_535), min: 0, max: 1000 },
                    "",
                    "Ports that deliveries may go to although they belong to other protocols \
                     (mail, databases and the like).",
                ),
            },
            system_root_certificates: s.live(
                "system-root-certificates",
                Switch,
                "true",
                "Whether to trust the certificate authorities that this system trusts.",
            ),
            extra_root_certificates: s.live(
                "extra-root-certificates",
                List { item: Certificates, min: 0, max: 100 },
                "",
                "PEM files of further certificate authorities to trust, for receivers in your own \
                 network.",
            ),
            resolvers: s.live(
                "resolvers",
                List { item: NameServer, min: 0, max: 16 },
                "",
                "Name servers to ask. None means those of /etc/resolv.conf.",
            ),
            user_agent: user_agent(&s.live(
                "user-agent-suffix",
                HeaderText { max: 200 },
                "",
                "What follows posthaste/<version> in the User-Agent header, such as a page that \
                 tells receivers who sends this.",
            )),
        }
    }
}

fn user_agent(suffix: &str) -> String {
    if suffix.is_empty() { USER_AGENT.to_owned() } else { format!("{USER_AGENT} {suffix}") }
}

/// `[retry]`: when a failed delivery is tried again.
#[derive(Clone, Debug)]
pub struct Retry {
    /// Delays, jitter and the number of attempts.
    pub schedule: RetrySchedule,
}

impl Retry {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let s = &mut section;
        let delays = s.key(
            "delays",
            List { item: Time::new(1..=30 * DAY), min: 1, max: DELAYS_MAX },
            "1m,2m,4m,8m,16m",
            "How long to wait after the first, second, third … failure; the last one serves for \
             all further ones. Doubling gives a receiver a quarter of an hour to come back, and \
             spares one that does not.",
        );
        let jitter = s.key(
            "jitter",
            Fraction,
            "0.1",
            "Up to this part of a delay is added by chance, so that what failed together does not \
             return together. A retry is never early.",
        );
        let attempts_max = s.key(
            "attempts-max",
            Count::new(1..=100),
            "5",
            "Attempts in all, the first one included; after the last failure an event goes to the \
             dead-letter queue.",
        );
        let schedule = RetrySchedule::try_new(&delays, jitter, attempts_max);
        Self { schedule: schedule.expect("the bounds above are those of the schedule") }
    }
}

/// `[engine]`: how many shards, and what they hold in memory.
#[derive(Clone, Debug)]
pub struct Engine {
    /// Shards; none for one a processor.
    pub shards: Option<NonZeroUsize>,
    /// Deliveries in memory, in the whole process.
    pub held_max: usize,
    /// Deliveries of one endpoint in memory.
    pub held_per_endpoint_max: usize,
    /// Outcomes that are not on disk yet, in the whole process.
    pub settling_max: usize,
    /// Payloads in memory, in the whole process, in bytes.
    pub payload_bytes_max: usize,
    /// How far ahead due timers are read, in milliseconds.
    pub timers_window_ms: u64,
    /// Waiting timers in memory, in the whole process.
    pub timers_held_max: usize,
}

impl Engine {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let s = &mut section;
        Self {
            shards: s.key(
                "shards",
                CountOrZero { max: 256, zero: "one a processor" },
                "0",
                "Threads that deliver; each owns some of the tenants, with their connections.",
            ),
            held_max: s.key(
                "held-max",
                Count::new(1..=HELD_MAX),
                "65536",
                "Deliveries in memory, without their payloads, in the whole process; all others \
                 wait on disk. Each takes some 150 bytes.",
            ),
            held_per_endpoint_max: s.key(
                "held-per-endpoint-max",
                Count::new(1..=HELD_MAX),
                "8192",
                "Deliveries of one endpoint in memory: an eighth, so that one dead or flooded \
                 endpoint does not push the others out.",
            ),
            settling_max: s.key(
                "settling-max",
                Count::new(1..=HELD_MAX),
                "8192",
                "Outcomes that are not on disk yet, in the whole process; beyond it no attempt \
                 starts. A crash repeats at most these and what is in flight \
                 (delivery.in-flight-max).",
            ),
            payload_bytes_max: s.key(
                "payload-memory-max",
                Size::new(MIB..=1024 * GIB),
                "64MiB",
                "Payloads in memory, in the whole process. One that has no room is read from disk \
                 when its turn comes.",
            ),
            timers_window_ms: s.key(
                "timers-window",
                Time::new(SECOND..=HOUR),
                "1m",
                "How far ahead retries are read from disk before they are due. Further ahead \
                 would only fill memory.",
            ),
            timers_held_max: s.key(
                "timers-held-max",
                Count::new(1..=HELD_MAX),
                "200000",
                "Retries in memory that wait for their time, in the whole process. Each takes \
                 some 150 bytes; millions can wait on disk.",
            ),
        }
    }
}

//! What a client is told: limits, time-outs, the address policy, whom to trust.
//!
//! Data only; the client checks it once, in [`crate::Client::new`].

use std::net::SocketAddr;

use posthaste_domain::AddressPolicy;
use thiserror::Error;

/// Connect time-out (TCP and TLS together): CONTRACT §3.
const CONNECT_TIMEOUT_MS: u64 = 5_000;
/// Deadline of a whole attempt: CONTRACT §3.
const ATTEMPT_TIMEOUT_MS: u64 = 30_000;
/// A name that takes longer has no working servers; two tries of 1.4 s fit in.
const DNS_TIMEOUT_MS: u64 = 3_000;
/// Ten times what generous servers send; several times what common servers allow (8 to 16 KiB).
const RESPONSE_HEAD_BYTES_MAX: usize = 64 * 1024;
/// Less than what common servers send is no limit but a fault.
const RESPONSE_HEAD_BYTES_MIN: usize = 8 * 1024;
/// Receivers answer with a few bytes; reading more than this only to keep a connection alive
/// costs more than a new connection.
const RESPONSE_BODY_BYTES_MAX: usize = 64 * 1024;
/// Open connections of one client, active and idle. One takes about 1.5 KiB, and 9 KiB with TLS
/// (ADR 0016), so that all of them are 6 to 40 MB; while the head of an answer comes in in pieces,
/// as much more as there is of it.
const CONNECTIONS_MAX: usize = 4_096;
/// As many as an endpoint usually has in flight.
const IDLE_PER_TARGET_MAX: usize = 32;
/// Below the usual keep-alive times of proxies (60 s and more), above those of short-lived ones.
const IDLE_TIMEOUT_MS: u64 = 30_000;
/// A name takes some 300 bytes.
const DNS_NAMES_MAX: usize = 20_000;
/// Answers are believed at least this long, so that a TTL of 0 costs no query per attempt.
const DNS_TTL_MIN_MS: u64 = 1_000;
/// And at most this long: endpoints move.
const DNS_TTL_MAX_MS: u64 = 300_000;
/// Hosts whose TLS sessions are remembered. Each takes some 10 KiB; one that wants to take as much
/// as it can, with certificates and tickets of 70 KiB, 140: 70 MB for all of them.
const TLS_SESSION_HOSTS_MAX: usize = 512;

/// Settings of a [`crate::Client`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// The `User-Agent` header.
    pub user_agent: String,
    /// Where deliveries may go.
    pub address_policy: AddressPolicy,
    /// The deadline of a whole attempt: DNS, connect, TLS, request, response.
    pub attempt_timeout_ms: u64,
    /// The limit for TCP connect and TLS handshake together, over all addresses tried.
    pub connect_timeout_ms: u64,
    /// The limit for resolving a name.
    pub dns_timeout_ms: u64,
    /// The largest response head (status line and header fields, 1xx heads included); at least
    /// 8 KiB.
    pub response_head_bytes_max: usize,
    /// How much of a response body is read before the connection is closed instead; what frames
    /// chunks counts.
    pub response_body_bytes_max: usize,
    /// Open connections, active and idle. Idle ones make room; where all are active, attempts
    /// fail as `local_resource`, so this belongs above the attempts in flight.
    pub connections_max: usize,
    /// Idle connections kept for one target (scheme, host, port).
    pub idle_per_target_max: usize,
    /// How long a connection may stay idle.
    pub idle_timeout_ms: u64,
    /// Names whose answers are remembered.
    pub dns_names_max: usize,
    /// The shortest time for which a DNS answer is believed.
    pub dns_ttl_ms_min: u64,
    /// The longest time for which a DNS answer is believed.
    pub dns_ttl_ms_max: u64,
    /// Name servers to ask; none means those of the system (`/etc/resolv.conf`, read once). The
    /// hosts file is honoured either way.
    pub dns_servers: Vec<SocketAddr>,
    /// Certificate authorities that are trusted.
    pub tls_roots: TlsRoots,
    /// Hosts whose TLS sessions are remembered for resumption.
    pub tls_session_hosts_max: usize,
}

/// Which certificate authorities are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsRoots {
    /// Whether the system's are.
    pub native: bool,
    /// Further ones: PEM files' contents, each with one or more certificates.
    pub extra_pem: Vec<Vec<u8>>,
}

impl Default for TlsRoots {
    fn default() -> Self {
        Self { native: true, extra_pem: Vec::new() }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            user_agent: concat!("posthaste/", env!("CARGO_PKG_VERSION")).to_owned(),
            address_policy: AddressPolicy::default(),
            attempt_timeout_ms: ATTEMPT_TIMEOUT_MS,
            connect_timeout_ms: CONNECT_TIMEOUT_MS,
            dns_timeout_ms: DNS_TIMEOUT_MS,
            response_head_bytes_max: RESPONSE_HEAD_BYTES_MAX,
            response_body_bytes_max: RESPONSE_BODY_BYTES_MAX,
            connections_max: CONNECTIONS_MAX,
            idle_per_target_max: IDLE_PER_TARGET_MAX,
            idle_timeout_ms: IDLE_TIMEOUT_MS,
            dns_names_max: DNS_NAMES_MAX,
            dns_ttl_ms_min: DNS_TTL_MIN_MS,
            dns_ttl_ms_max: DNS_TTL_MAX_MS,
            dns_servers: Vec::new(),
            tls_roots: TlsRoots::default(),
            tls_session_hosts_max: TLS_SESSION_HOSTS_MAX,
        }
    }
}

/// Why settings make no client.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SettingsError {
    /// Not a header value.
    #[error("user_agent {0:?} is no header value: it has printable ASCII characters only")]
    UserAgent(String),
    /// A limit of zero, or below what works.
    #[error("{name} is {value}, but must be at least {min}")]
    TooSmall {
        /// Which setting.
        name: &'static str,
        /// Its value.
        value: u64,
        /// The least that works.
        min: u64,
    },
    /// Two settings that contradict each other.
    #[error("{name} is {value}, but must not be above {limit_name}, which is {limit}")]
    AboveLimit {
        /// Which setting.
        name: &'static str,
        /// Its value.
        value: u64,
        /// Which other setting limits it.
        limit_name: &'static str,
        /// The value of that one.
        limit: u64,
    },
    /// Not PEM, or no certificate in it.
    #[error("extra root certificates, file {position}: {reason}")]
    ExtraRoots {
        /// Which of the files, from 1.
        position: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The TLS library refused its own defaults.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
    /// The resolver cannot be made.
    #[error("cannot set up the resolver: {0}")]
    Resolver(String),
}

impl Settings {
    /// Checks the limits and their relations; the parts check what is theirs.
    ///
    /// # Errors
    /// The first [`SettingsError`] found.
    pub(crate) fn check(&self) -> Result<(), SettingsError> {
        let least = |name, value: u64, min: u64| {
            if value < min { Err(SettingsError::TooSmall { name, value, min }) } else { Ok(()) }
        };
        let head_min = size(RESPONSE_HEAD_BYTES_MIN);
        least("response_head_bytes_max", size(self.response_head_bytes_max), head_min)?;
        least("attempt_timeout_ms", self.attempt_timeout_ms, 1)?;
        least("connect_timeout_ms", self.connect_timeout_ms, 1)?;
        least("dns_timeout_ms", self.dns_timeout_ms, 1)?;
        least("connections_max", size(self.connections_max), 1)?;
        least("dns_names_max", size(self.dns_names_max), 1)?;
        let most = |name, value, limit_name, limit| {
            let above = SettingsError::AboveLimit { name, value, limit_name, limit };
            if value > limit { Err(above) } else { Ok(()) }
        };
        let (attempt, limit) = (self.attempt_timeout_ms, "attempt_timeout_ms");
        most("connect_timeout_ms", self.connect_timeout_ms, limit, attempt)?;
        most("dns_timeout_ms", self.dns_timeout_ms, limit, attempt)?;
        most("dns_ttl_ms_min", self.dns_ttl_ms_min, "dns_ttl_ms_max", self.dns_ttl_ms_max)
    }
}

fn size(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_lawful() {
        assert_eq!(Settings::default().check(), Ok(()));
    }

    #[test]
    fn a_contradiction_names_both_settings() {
        let settings = Settings { dns_timeout_ms: 31_000, ..Settings::default() };
        let text = settings.check().unwrap_err().to_string();
        assert!(text.contains("dns_timeout_ms is 31000"), "{text}");
        assert!(text.contains("attempt_timeout_ms, which is 30000"), "{text}");
    }

    #[test]
    fn limits_that_cannot_work_are_refused() {
        for settings in [
            Settings { response_head_bytes_max: 8191, ..Settings::default() },
            Settings { attempt_timeout_ms: 0, ..Settings::default() },
            Settings { connections_max: 0, ..Settings::default() },
            Settings { connect_timeout_ms: 0, ..Settings::default() },
            Settings { dns_names_max: 0, ..Settings::default() },
        ] {
            let error = settings.check().unwrap_err();
            assert!(matches!(error, SettingsError::TooSmall { .. }), "{error}");
        }
    }
}

//! One HTTP request to an endpoint, and what it came to.
//!
//! Plain values without invariants of their own: who fills them in keeps what their fields say,
//! above all that no error line holds a secret or a payload. Class names are stored and shown,
//! so they never change.

use bytes::Bytes;

use crate::Timestamp;

/// How much of a response body is kept with its attempt, in bytes.
pub const RESPONSE_KEPT_BYTES_MAX: usize = 1024;

/// The record of one attempt, as the attempt log keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Which attempt of its round this was, from 1.
    pub number: u32,
    /// When the attempt started.
    pub at: Timestamp,
    /// From start to verdict, in milliseconds.
    pub duration_ms: u32,
    /// The status code, where a response head was read.
    pub status_code: Option<u16>,
    /// What it came to.
    pub verdict: Verdict,
    /// One line that says what went wrong, where something did; holds no secret and no payload.
    pub error: Option<Box<str>>,
    /// The first [`RESPONSE_KEPT_BYTES_MAX`] bytes of the response body, as received.
    pub response: Bytes,
    /// Where the time went.
    pub phases: PhaseTimings,
}

/// What an attempt came to, as the engine needs to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A 2xx.
    Delivered,
    /// Anything else that the endpoint is answerable for.
    Failed {
        /// What kind of failure.
        class: ErrorClass,
        /// From `Retry-After` on 429 and 503: milliseconds from the end of the attempt for which
        /// the whole endpoint wants no further request. Already capped at one hour.
        retry_after_ms: Option<u64>,
    },
    /// A 410: the endpoint wants this event never again.
    Gone,
    /// The fault is ours (resolver, egress or key store down, shutdown): no attempt is charged.
    NotCharged {
        /// What kind of failure.
        class: ErrorClass,
    },
}

/// The kinds of failure, as logs, metrics and the attempt log name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorClass {
    /// A 3xx; redirects are never followed.
    Redirect,
    /// A 4xx.
    ClientError,
    /// A 5xx.
    ServerError,
    /// The name does not exist or has no address.
    DnsNoAddress,
    /// Our resolver did not answer, or answered that it cannot.
    DnsUnavailable,
    /// An address, a name or a port that the guard refuses.
    AddressRefused,
    /// The connection was refused or the host is unreachable.
    ConnectFailed,
    /// The connection was not there within the connect time-out.
    ConnectTimeout,
    /// The TLS handshake failed (certificate, name, protocol).
    TlsFailed,
    /// The attempt's deadline passed.
    Timeout,
    /// The connection broke before a whole response was there.
    ConnectionClosed,
    /// What came back was not HTTP, or beyond our limits.
    ProtocolError,
    /// The target URL or secret no longer makes a request (config error of the tenant).
    InvalidRequest,
    /// The process is shutting down.
    ShuttingDown,
    /// We have no descriptors, memory or ports left: our fault.
    LocalResource,
}

impl ErrorClass {
    /// The class's stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Redirect => "redirect",
            Self::ClientError => "client_error",
            Self::ServerError => "server_error",
            Self::DnsNoAddress => "dns_no_address",
            Self::DnsUnavailable => "dns_unavailable",
            Self::AddressRefused => "address_refused",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::TlsFailed => "tls_failed",
            Self::Timeout => "timeout",
            Self::ConnectionClosed => "connection_closed",
            Self::ProtocolError => "protocol_error",
            Self::InvalidRequest => "invalid_request",
            Self::ShuttingDown => "shutting_down",
            Self::LocalResource => "local_resource",
        }
    }

    /// Every class, in the order of the declaration.
    pub const ALL: [Self; 15] = [
        Self::Redirect,
        Self::ClientError,
        Self::ServerError,
        Self::DnsNoAddress,
        Self::DnsUnavailable,
        Self::AddressRefused,
        Self::ConnectFailed,
        Self::ConnectTimeout,
        Self::TlsFailed,
        Self::Timeout,
        Self::ConnectionClosed,
        Self::ProtocolError,
        Self::InvalidRequest,
        Self::ShuttingDown,
        Self::LocalResource,
    ];
}

/// Where an attempt's time went, in microseconds; 0 where a phase did not happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhaseTimings {
    /// From ready to started.
    pub queue_us: u32,
    /// Name resolution.
    pub dns_us: u32,
    /// TCP connect.
    pub connect_us: u32,
    /// TLS handshake.
    pub tls_us: u32,
    /// From the request's first byte out to the response's head in.
    pub first_byte_us: u32,
    /// From start to verdict.
    pub total_us: u32,
    /// Whether the connection had served before.
    pub reused: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_own_name_and_place() {
        let mut names = ErrorClass::ALL.map(ErrorClass::as_str);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
        assert!(ErrorClass::ALL.windows(2).all(|pair| pair[0] < pair[1]));
    }
}

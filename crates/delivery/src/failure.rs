//! What went wrong, in the terms of the attempt log: a class, whose fault it is, one line of text.
//!
//! Texts are for tenants: they name the host, never path, query, payload or secret, and never an
//! address that a name resolved to and that was refused (who asks must not learn our network).

use std::error::Error;
use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;

use posthaste_domain::{ErrorClass, Verdict};
use rustix::io::Errno;
use thiserror::Error;

use crate::response::HeadError;

/// A longer text comes from a peer's certificate, and nobody reads on.
const TEXT_BYTES_MAX: usize = 300;
/// Deeper chains of causes do not occur; this bounds the walk.
const CAUSES_MAX: usize = 8;

/// Why an attempt got no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) class: ErrorClass,
    /// Whether the attempt counts: false where the fault is ours.
    pub(crate) charged: bool,
    pub(crate) text: String,
}

/// Why an exchange gave no response head.
#[derive(Debug, Error)]
pub(crate) enum ExchangeError {
    #[error("the response head is larger than {max} bytes")]
    HeadTooLarge { max: usize },
    #[error("the response is no HTTP/1.1: {0}")]
    NoHttp(#[from] HeadError),
    #[error("the connection was closed before the response")]
    Closed,
    #[error("the connection broke before the response")]
    Io(#[source] io::Error),
}

impl Failure {
    pub(crate) fn charged(class: ErrorClass, text: impl Into<String>) -> Self {
        Self { class, charged: true, text: text.into() }
    }

    pub(crate) fn ours(class: ErrorClass, text: impl Into<String>) -> Self {
        Self { class, charged: false, text: text.into() }
    }

    pub(crate) const fn verdict(&self) -> Verdict {
        let class = self.class;
        if self.charged {
            Verdict::Failed { class, retry_after_ms: None }
        } else {
            Verdict::NotCharged { class }
        }
    }

    /// A connection that could not be made for want of something on this machine; none where the
    /// reason lies elsewhere.
    pub(crate) fn local_resource(error: &io::Error, address: IpAddr) -> Option<Self> {
        let class = ErrorClass::LocalResource;
        is_local(error, address).then(|| Self::ours(class, format!("cannot connect: {error}")))
    }

    /// The handshake failed.
    pub(crate) fn tls(error: &io::Error) -> Self {
        Self::charged(ErrorClass::TlsFailed, format!("TLS handshake failed: {}", chain(error)))
    }

    /// The exchange failed: no response head came.
    pub(crate) fn exchange(error: &ExchangeError) -> Self {
        let class = match error {
            ExchangeError::HeadTooLarge { .. } | ExchangeError::NoHttp(_) => {
                ErrorClass::ProtocolError
            }
            ExchangeError::Io(error) if is_tls(error) => {
                let text = format!("TLS failed: {}", chain(error));
                return Self::charged(ErrorClass::TlsFailed, text);
            }
            ExchangeError::Closed | ExchangeError::Io(_) => ErrorClass::ConnectionClosed,
        };
        Self::charged(class, chain(error))
    }

    /// The text as one line of printable characters, with the host in front.
    pub(crate) fn line(&self, host: &str) -> Box<str> {
        one_line(&format!("{host}: {}", self.text))
    }
}

/// Replaces control characters and cuts what is too long.
pub(crate) fn one_line(text: &str) -> Box<str> {
    let mut line = String::with_capacity(text.len().min(TEXT_BYTES_MAX));
    for character in text.chars() {
        if line.len() + character.len_utf8() > TEXT_BYTES_MAX {
            line.truncate(line.floor_char_boundary(TEXT_BYTES_MAX - '…'.len_utf8()));
            line.push('…');
            break;
        }
        line.push(if character.is_control() { ' ' } else { character });
    }
    line.into()
}

/// An error and its causes, each said once.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    for _ in 0..CAUSES_MAX {
        let Some(inner) = cause else { break };
        let said = inner.to_string();
        if !text.contains(&said) {
            // Writing to a String cannot fail.
            let written = write!(text, ": {said}");
            debug_assert!(written.is_ok());
        }
        cause = inner.source();
    }
    text
}

/// Whether an I/O error carries one of TLS.
fn is_tls(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|carried| carried.is::<rustls::Error>())
}

/// Descriptors, memory, buffers or ports of this machine have run out, or its network is down.
///
/// `EADDRNOTAVAIL` means exhausted ports for IPv4 only: for IPv6 it is what a machine without an
/// IPv6 address says, and an endpoint that has nothing else must not be tried for ever.
fn is_local(error: &io::Error, address: IpAddr) -> bool {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::NETDOWN) => true,
        Some(Errno::ADDRNOTAVAIL) => address.is_ipv4(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exhausted_resources_are_our_fault_and_a_refusal_is_not() {
        let v4: IpAddr = "192.0.2.1".parse().unwrap();
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::ADDRNOTAVAIL] {
            let failure = Failure::local_resource(&errno.into(), v4).unwrap();
            assert_eq!(
                failure.verdict(),
                Verdict::NotCharged { class: ErrorClass::LocalResource },
                "{errno:?}"
            );
        }
        assert_eq!(Failure::local_resource(&Errno::ADDRNOTAVAIL.into(), v6), None);
        for errno in [Errno::CONNREFUSED, Errno::HOSTUNREACH, Errno::NETUNREACH, Errno::PERM] {
            assert_eq!(Failure::local_resource(&errno.into(), v4), None, "{errno:?}");
        }
    }

    #[test]
    fn a_text_is_one_line_of_bounded_length() {
        let failure =
            Failure::charged(ErrorClass::TlsFailed, format!("a\r\nb\0{}", "ü".repeat(400)));
        let line = failure.line("example.com");
        assert!(line.starts_with("example.com: a  b ü"), "{line}");
        assert!(line.len() <= TEXT_BYTES_MAX && line.ends_with('…'), "{line}");
        assert!(!line.contains(char::is_control));
    }

    #[test]
    fn what_breaks_an_exchange_has_its_class() {
        let io = |error| ExchangeError::Io(error);
        let alert = io::Error::other(rustls::Error::DecryptError);
        for (error, class, text) in [
            (ExchangeError::HeadTooLarge { max: 9 }, ErrorClass::ProtocolError, "than 9 bytes"),
            (HeadError::Status.into(), ErrorClass::ProtocolError, "no HTTP/1.1: a status"),
            (ExchangeError::Closed, ErrorClass::ConnectionClosed, "was closed before"),
            (
                io(Errno::CONNRESET.into()),
                ErrorClass::ConnectionClosed,
                "response: Connection reset",
            ),
            (io(alert), ErrorClass::TlsFailed, "TLS failed: "),
        ] {
            let failure = Failure::exchange(&error);
            assert_eq!((failure.class, failure.charged), (class, true), "{error:?}");
            assert!(failure.text.contains(text), "{}", failure.text);
        }
    }
}

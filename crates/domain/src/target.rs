//! Where events go: a URL, parsed once into a type.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use thiserror::Error;

use crate::AddressPolicy;

/// Why a text is not a target URL.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TargetError {
    /// Not a URL.
    #[error("not a target url")]
    Syntax,
}

/// The host of a target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A DNS name in ASCII (IDNA applied), lower case, without trailing dot.
    Name(Arc<str>),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address.
    V6(Ipv6Addr),
}

/// A target URL. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TargetUrl {
    text: Arc<str>,
    host: Host,
    https: bool,
    port: u16,
    path_start: usize,
}

impl TargetUrl {
    /// Parses and checks a URL that a tenant gave.
    ///
    /// # Errors
    /// [`TargetError`] says what is wrong.
    pub fn parse(_text: &str, _policy: &AddressPolicy) -> Result<Self, TargetError> {
        Err(TargetError::Syntax)
    }
    /// Parses a URL that was checked when it was stored; addresses are vetted at delivery.
    ///
    /// # Errors
    /// [`TargetError`] says what is wrong.
    pub fn parse_stored(_text: &str) -> Result<Self, TargetError> {
        Err(TargetError::Syntax)
    }
    /// The whole URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
    /// Whether TLS is used.
    #[must_use]
    pub const fn is_https(&self) -> bool {
        self.https
    }
    /// The host.
    #[must_use]
    pub const fn host(&self) -> &Host {
        &self.host
    }
    /// The port, explicit or the scheme's.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
    /// Path and query, beginning with `/`, percent-encoded as given.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        &self.text[self.path_start..]
    }
    /// A stable hash of scheme, host and port: the shard key of a tenant created with this target.
    #[must_use]
    pub fn shard_key(&self) -> u32 {
        0
    }
}

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
    pub fn parse(text: &str, policy: &AddressPolicy) -> Result<Self, TargetError> {
        let target = Self::parse_stored(text)?;
        let vetted = match target.host {
            Host::V4(address) => policy.vet(address.into()),
            Host::V6(address) => policy.vet(address.into()),
            Host::Name(_) => Ok(()),
        };
        vetted.map(|()| target).map_err(|_| TargetError::Syntax)
    }
    /// Parses a URL that was checked when it was stored; addresses are vetted at delivery.
    ///
    /// # Errors
    /// [`TargetError`] says what is wrong.
    pub fn parse_stored(text: &str) -> Result<Self, TargetError> {
        let (scheme, rest) = text.split_once("://").ok_or(TargetError::Syntax)?;
        let https = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(TargetError::Syntax),
        };
        let length = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(length);
        let slash = if path.starts_with('/') { "" } else { "/" };
        let text = format!("{scheme}://{authority}{slash}{path}");
        let path_start = scheme.len() + 3 + length;
        let (name, port) = match authority.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
            _ => (authority, None),
        };
        let port = match port {
            Some(digits) => digits.parse().map_err(|_| TargetError::Syntax)?,
            None if https => 443,
            None => 80,
        };
        let host = if let Some(six) = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')) {
            Host::V6(six.parse().map_err(|_| TargetError::Syntax)?)
        } else if let Ok(four) = name.parse() {
            Host::V4(four)
        } else if name.is_empty() {
            return Err(TargetError::Syntax);
        } else {
            Host::Name(name.to_ascii_lowercase().into())
        };
        Ok(Self { text: text.into(), host, https, port, path_start })
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
    /// The value of the `Host` header: the default port is left out.
    #[must_use]
    pub fn authority(&self) -> &str {
        let authority = &self.text[if self.https { 8 } else { 7 }..self.path_start];
        let default = if self.https { ":443" } else { ":80" };
        authority.strip_suffix(default).unwrap_or(authority)
    }
    /// A stable hash of scheme, host and port: the shard key of a tenant created with this target.
    #[must_use]
    pub fn shard_key(&self) -> u32 {
        let scheme: &[u8] = if self.https { b"https" } else { b"http" };
        let port = self.port.to_be_bytes();
        let host = self.text[..self.path_start].bytes();
        scheme
            .iter()
            .copied()
            .chain(port)
            .chain(host)
            .fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    }
}

//! Where events go: a URL, parsed once into a type.
//!
//! ```text
//! https://hooks.example.com:8443/in/42?v=1
//! scheme  host              port path and query
//! ```
//! One reading only: whatever two URL parsers could read differently is refused (userinfo,
//! backslashes, fragments, control characters, odd IPv4 spellings, percent-encoded hosts, IDNA
//! mappings). Path and query are sent as given, never normalised. The text never changes after
//! parsing, and it is what requests are made from.
//!
//! Invariant: `TargetUrl::parse_stored(target.as_str())` gives the same target.

mod name;
mod port;

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use thiserror::Error;

pub use self::name::NameClass;
use crate::{AddressPolicy, AddressRefused};

/// Why a text is not a target URL. Each message says what would be right; none repeats the URL,
/// whose path or query may hold a token.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TargetError {
    /// Longer than [`TargetUrl::BYTES_MAX`].
    #[error("a target URL has at most {max} bytes", max = TargetUrl::BYTES_MAX)]
    TooLong,
    /// A scheme other than http and https, or none, or no `//` behind it.
    #[error("a target URL begins with http:// or https://")]
    Scheme,
    /// A space, tab, line break, NUL or other control character.
    #[error("a target URL has no spaces and no control characters, not even at its ends")]
    Whitespace,
    /// A `#`.
    #[error("a target URL has no fragment: leave out the '#' and what follows it")]
    Fragment,
    /// A `\`.
    #[error("a target URL has no backslash: write '/', or %5C in path and query")]
    Backslash,
    /// A user name or password before the host.
    #[error("a target URL has no user name or password: leave out what stands before the '@'")]
    Userinfo,
    /// Nothing where the host should be.
    #[error("a target URL names a host after http:// or https://")]
    HostMissing,
    /// Brackets around something else, a zone, or an IPv6 address without brackets.
    #[error("an IPv6 address stands in brackets and has no zone, as in [2001:db8::1]")]
    Ipv6,
    /// A number, or an IPv4 address in a spelling that parsers read differently.
    #[error("an IPv4 address is four decimal numbers of 0 to 255, as in 192.0.2.1")]
    Ipv4,
    /// A `%` in the host.
    #[error("a host has no percent-encoding: write its characters as they are")]
    HostPercent,
    /// Not a name that DNS can hold.
    #[error(
        "a host name has labels of 1 to 63 letters, digits, '-' and '_' (no '-' at either end), \
         and 253 characters in all"
    )]
    HostName,
    /// Not valid under IDNA.
    #[error("the host is no valid international domain name")]
    HostIdna,
    /// Characters that stand for others.
    #[error("the host has characters that stand for others: write the plain ones, in lower case")]
    HostMapped,
    /// Not a port.
    #[error("a port is a decimal number of 1 to 65535 without leading zeros")]
    Port,
    /// A character that must not stand in path or query as it is.
    #[error("{0:?} must be percent-encoded in path and query")]
    Unencoded(char),
    /// A `%` that begins no percent-encoding.
    #[error("a '%' in path and query is followed by two hex digits; '%' itself is %25")]
    PercentEncoding,
    /// A port that the policy refuses.
    #[error(
        "port {port} is refused ({service}): a target has port 80, 443, or one from 1024 on that \
         is no well-known service's"
    )]
    PortRefused {
        /// The port.
        port: u16,
        /// What listens there by custom.
        service: &'static str,
    },
    /// A name that the policy refuses.
    #[error("the host name is refused ({class}): a target has a name on the public internet")]
    NameRefused {
        /// Why.
        class: NameClass,
    },
    /// A literal address that the policy refuses.
    #[error(transparent)]
    Address(#[from] AddressRefused),
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

/// As a URL has it: IPv6 in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::V4(address) => write!(f, "{address}"),
            Self::V6(address) => write!(f, "[{address}]"),
        }
    }
}

/// A target URL. Cheap to clone. `Debug` hides path and query, which may hold a token.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TargetUrl {
    // Invariant: scheme, "://", canonical host, the port where one was given, path and query
    // where given. A query without path has got its '/'.
    text: Arc<str>,
    host: Host,
    https: bool,
    port: u16,
    // Invariant: text[scheme_len..authority_end] is host and port, the latter only where it is
    // not the scheme's; text[path_start..] is path and query. Both are character boundaries.
    authority_end: usize,
    path_start: usize,
    shard_key: u32,
}

const HTTP: &str = "http://";
const HTTPS: &str = "https://";

impl TargetUrl {
    /// A longer URL than this is refused, and so is one that IDNA makes longer.
    pub const BYTES_MAX: usize = 2048;

    /// Parses and checks a URL that a tenant gave: its form, its port, its name, and where the
    /// host is an address, the address. Names are vetted again when they are resolved.
    ///
    /// # Errors
    /// [`TargetError`] says what is wrong.
    pub fn parse(text: &str, policy: &AddressPolicy) -> Result<Self, TargetError> {
        let target = Self::parse_stored(text)?;
        target.vet(policy)?;
        Ok(target)
    }

    /// Parses a URL that was checked when it was stored: the form only. Policies change, and a
    /// stored target that is no longer allowed must still be readable; [`TargetUrl::vet`] holds
    /// it against the policy of the day before each delivery.
    ///
    /// # Errors
    /// [`TargetError`] says what is wrong.
    pub fn parse_stored(text: &str) -> Result<Self, TargetError> {
        check_characters(text)?;
        let (https, rest) = match (text.strip_prefix(HTTPS), text.strip_prefix(HTTP)) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(TargetError::Scheme),
        };
        let (authority, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (host, port) = parse_authority(authority)?;
        check_tail(tail)?;
        Self::assemble(https, host, port, tail)
    }

    /// Whether `policy` lets events go here: the port, the name, and where the host is an
    /// address, the address. What a name resolves to is another question.
    ///
    /// # Errors
    /// [`TargetError::PortRefused`], [`TargetError::NameRefused`] or [`TargetError::Address`].
    pub fn vet(&self, policy: &AddressPolicy) -> Result<(), TargetError> {
        match &self.host {
            Host::Name(name) => name::check(name, policy)?,
            Host::V4(address) => policy.vet((*address).into())?,
            Host::V6(address) => policy.vet((*address).into())?,
        }
        port::check(self.port, policy)
    }

    fn assemble(
        https: bool,
        host: Host,
        given_port: Option<u16>,
        tail: &str,
    ) -> Result<Self, TargetError> {
        let default = port::default_of(https);
        let port = given_port.unwrap_or(default);
        let shard_key = shard_key(https, &host, port);
        let mut text = format!("{}{host}", if https { HTTPS } else { HTTP });
        let mut authority_end = text.len();
        if given_port.is_some() {
            text.push_str(&format!(":{port}"));
        }
        if port != default {
            authority_end = text.len();
        }
        let path_start = text.len();
        if tail.starts_with('?') {
            text.push('/');
        }
        text.push_str(tail);
        if text.len() > Self::BYTES_MAX {
            return Err(TargetError::TooLong);
        }
        Ok(Self { text: text.into(), host, https, port, authority_end, path_start, shard_key })
    }

    /// The whole URL: as given, but for a host in canonical form (lower case, IDNA applied, no
    /// trailing dot, shortest IPv6), no empty port, and a `/` before a query that had none.
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

    /// The value of the `Host` header: host and port, IPv6 in brackets, the scheme's own port
    /// left out.
    #[must_use]
    pub fn authority(&self) -> &str {
        let scheme = if self.https { HTTPS } else { HTTP };
        &self.text[scheme.len()..self.authority_end]
    }

    /// Path and query, beginning with `/`, percent-encoded as given.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        match &self.text[self.path_start..] {
            "" => "/",
            given => given,
        }
    }

    /// A stable hash of scheme, host and port: the shard key of a tenant created with this target.
    ///
    /// FNV-1a (32 bits) of `http` or `https`, the host (a name's characters, or an address's 4 or
    /// 16 bytes) and the port's two bytes, the high one first; a NUL stands between the parts.
    /// Stored with tenants, so it never changes.
    #[must_use]
    pub const fn shard_key(&self) -> u32 {
        self.shard_key
    }
}

impl fmt::Debug for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = if self.path_and_query() == "/" { "/" } else { "/(hidden)" };
        write!(f, "{}{hidden}", &self.text[..self.path_start])
    }
}

fn check_characters(text: &str) -> Result<(), TargetError> {
    if text.len() > TargetUrl::BYTES_MAX {
        return Err(TargetError::TooLong);
    }
    text.chars().try_for_each(|character| match character {
        '#' => Err(TargetError::Fragment),
        '\\' => Err(TargetError::Backslash),
        c if c.is_control() || c.is_whitespace() => Err(TargetError::Whitespace),
        _ => Ok(()),
    })
}

fn parse_authority(authority: &str) -> Result<(Host, Option<u16>), TargetError> {
    if authority.contains('@') {
        return Err(TargetError::Userinfo);
    }
    let Some(bracketed) = authority.strip_prefix('[') else {
        let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
        if port.contains(':') || host.contains(['[', ']']) {
            return Err(TargetError::Ipv6);
        }
        return Ok((name::parse(host)?, port::parse(port)?));
    };
    let (address, port) = bracketed.split_once(']').ok_or(TargetError::Ipv6)?;
    let address = address.parse().map_err(|_| TargetError::Ipv6)?;
    let port = match port.strip_prefix(':') {
        Some(digits) => port::parse(digits)?,
        None if port.is_empty() => None,
        None => return Err(TargetError::Ipv6),
    };
    Ok((Host::V6(address), port))
}

/// What may stand in a path (RFC 3986: unreserved, sub-delims, `:`, `@`, `/`) and in a query
/// (`?` too, and the few others that browsers send as they are and many services expect).
fn check_tail(tail: &str) -> Result<(), TargetError> {
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    check_encoding(path, "")?;
    check_encoding(query, "?[]{}|^`")
}

fn check_encoding(part: &str, also: &str) -> Result<(), TargetError> {
    const LAWFUL: &str = "-._~!$&'()*+,;=:@/%";
    let bytes = part.as_bytes();
    for (at, character) in part.char_indices() {
        let plain = character.is_ascii_alphanumeric()
            || LAWFUL.contains(character)
            || also.contains(character);
        if !plain {
            return Err(TargetError::Unencoded(character));
        }
        let digits = bytes.get(at + 1..at + 3);
        let encodes = || digits.is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit));
        if character == '%' && !encodes() {
            return Err(TargetError::PercentEncoding);
        }
    }
    Ok(())
}

fn shard_key(https: bool, host: &Host, port: u16) -> u32 {
    const OFFSET_BASIS: u32 = 0x811c_9dc5;
    const PRIME: u32 = 0x0100_0193;
    let add = |hash: u32, bytes: &[u8]| {
        bytes.iter().fold(hash, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(PRIME))
    };
    let scheme = add(OFFSET_BASIS, if https { b"https\0" } else { b"http\0" });
    let host = match host {
        Host::Name(name) => add(scheme, name.as_bytes()),
        Host::V4(address) => add(scheme, &address.octets()),
        Host::V6(address) => add(scheme, &address.octets()),
    };
    let [high, low] = port.to_be_bytes();
    add(host, &[0, high, low])
}

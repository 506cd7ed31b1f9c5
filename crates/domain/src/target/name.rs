//! The host of a target where it is not in brackets: a DNS name or an IPv4 address.
//!
//! Refuses every spelling of an IPv4 address but the canonical one, percent-encoding, characters
//! that IDNA maps to others, and what DNS cannot hold. Which lawful names a tenant may use is
//! [`check`]'s matter.
//!
//! Invariant: a [`Host::Name`] is lower-case ASCII, has no trailing dot, is at most 253 bytes of
//! labels of 1 to 63 bytes, and never reads as an IPv4 address.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv4Addr;

use idna::AsciiDenyList;

use super::{Host, TargetError};
use crate::AddressPolicy;

const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// Why a name is no name on the public internet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NameClass {
    /// `localhost` and what lies under it. Accepted where the operator opened loopback.
    Localhost,
    /// A single label or a domain that only private networks know. Accepted where the operator
    /// opened a private range.
    PrivateNetwork,
    /// A cloud's metadata service. Accepted where the operator opened 169.254.169.254/32.
    Metadata,
    /// A domain that is no DNS name, or serves DNS itself.
    SpecialUse,
}

impl NameClass {
    /// The class's stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Localhost => "localhost",
            Self::PrivateNetwork => "private_network",
            Self::Metadata => "metadata",
            Self::SpecialUse => "special_use",
        }
    }

    /// The class of a name in canonical form; none where it is an ordinary one.
    ///
    /// `.example` and `.invalid` are ordinary: no resolver knows them, so they do no harm.
    fn of(name: &str) -> Option<Self> {
        if METADATA_NAMES.contains(&name) {
            return Some(Self::Metadata);
        }
        let (rest, top) = name.rsplit_once('.').unwrap_or(("", name));
        match top {
            "localhost" => Some(Self::Localhost),
            "localdomain" if rest == "localhost" => Some(Self::Localhost),
            _ if rest.is_empty() => Some(Self::PrivateNetwork),
            "arpa" if rest == "home" || rest.ends_with(".home") => Some(Self::PrivateNetwork),
            "local" | "internal" | "test" | "localdomain" | "lan" | "home" | "corp"
            | "intranet" | "private" => Some(Self::PrivateNetwork),
            "arpa" | "onion" | "alt" => Some(Self::SpecialUse),
            _ => None,
        }
    }
}

impl fmt::Display for NameClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Names that clouds resolve to their metadata services. Public names that do the same are the
/// resolver's matter, which vets addresses.
const METADATA_NAMES: [&str; 6] = [
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "metadata.azure.internal",
    "instance-data",
    "instance-data.ec2.internal",
];

/// Whether a tenant may use `name`, which is in canonical form.
pub(super) fn check(name: &str, policy: &AddressPolicy) -> Result<(), TargetError> {
    let Some(class) = NameClass::of(name) else {
        return Ok(());
    };
    let opened = match class {
        NameClass::Localhost => policy.opens_loopback(),
        NameClass::PrivateNetwork => policy.opens_private_network(),
        NameClass::Metadata => policy.vet(METADATA_ADDRESS.into()).is_ok(),
        NameClass::SpecialUse => false,
    };
    if opened { Ok(()) } else { Err(TargetError::NameRefused { class }) }
}

const METADATA_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// Parses a host that is not in brackets.
pub(super) fn parse(text: &str) -> Result<Host, TargetError> {
    if text.is_empty() {
        return Err(TargetError::HostMissing);
    }
    if text.contains('%') {
        return Err(TargetError::HostPercent);
    }
    let ascii = to_ascii(text)?;
    let name = ascii.strip_suffix('.').unwrap_or(&ascii);
    if ends_in_number(name) {
        // The standard library reads nothing but four decimal numbers without leading zeros.
        return text.parse().map(Host::V4).map_err(|_| TargetError::Ipv4);
    }
    let lawful = name.len() <= NAME_BYTES_MAX && name.split('.').all(is_label);
    if lawful { Ok(Host::Name(name.into())) } else { Err(TargetError::HostName) }
}

/// Lower-case ASCII, IDNA applied (UTS 46 as browsers do it).
///
/// Where IDNA would map a character to another one (full-width and circled digits, soft hyphens,
/// other dots, the Kelvin sign), the host is refused: what a person reads must be where the
/// request goes. Only ASCII may be upper case.
fn to_ascii(text: &str) -> Result<Cow<'_, str>, TargetError> {
    let lower = if text.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    };
    if lower.is_ascii() && !lower.split('.').any(|label| label.starts_with("xn--")) {
        return Ok(lower);
    }
    let ascii = idna::domain_to_ascii_cow(lower.as_bytes(), AsciiDenyList::URL)
        .map_err(|_| TargetError::HostIdna)?;
    let written = if lower.is_ascii() {
        ascii == lower
    } else {
        let (unicode, read_back) = idna::domain_to_unicode(&ascii);
        read_back.is_ok() && unicode == lower
    };
    if written { Ok(Cow::Owned(ascii.into_owned())) } else { Err(TargetError::HostMapped) }
}

/// Whether URL parsers would read the host as an IPv4 address (the URL standard's "ends in a
/// number"): no top-level domain looks like that, so none of these is a name.
fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let decimal = !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit());
    decimal || last.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Letters, digits, '-' and '_' (which hosts do have, although registries do not allow it).
fn is_label(label: &str) -> bool {
    let lawful = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    (1..=LABEL_BYTES_MAX).contains(&label.len())
        && label.bytes().all(lawful)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

//! Which addresses deliveries may go to: the public internet, and what an operator opens.
//!
//! An address is either public or of one [`AddressClass`]. Refused are all IANA special-purpose
//! ranges that are not globally reachable, every form of IPv6 that carries an IPv4 address
//! elsewhere, the metadata services of the clouds, and all of IPv6 outside of 2000::/3. The one
//! carrier that passes is NAT64 (64:ff9b::/96) with a public IPv4 address inside, because a host
//! with IPv6 only reaches the IPv4 internet through it.
//!
//! Invariant: an address that is of no class is globally routed unicast.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use thiserror::Error;

/// Why an address is special.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressClass {
    /// 0.0.0.0/8 and `::`: this host, whose listeners answer there on many systems.
    Unspecified,
    /// 127.0.0.0/8 and `::1`.
    Loopback,
    /// RFC 1918: 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16.
    Private,
    /// 169.254.0.0/16 and fe80::/10.
    LinkLocal,
    /// 100.64.0.0/10, shared by carrier-grade NAT.
    Cgnat,
    /// A metadata or platform service of a cloud, in whatever form it is written.
    Metadata,
    /// 224.0.0.0/4 and ff00::/8.
    Multicast,
    /// 255.255.255.255.
    Broadcast,
    /// 192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24, 2001:db8::/32, 3fff::/20.
    Documentation,
    /// 198.18.0.0/15 and 2001:2::/48.
    Benchmarking,
    /// Reserved by IANA, or IPv6 that nobody has been given.
    Reserved,
    /// ::ffff:0:0/96.
    Ipv4Mapped,
    /// ::/96 but `::` and `::1`.
    Ipv4Compatible,
    /// ::ffff:0:0:0/96.
    Ipv4Translated,
    /// 64:ff9b:1::/48, translated by a NAT64 of the local network.
    LocalNat64,
    /// 2002::/16, and the relays of 192.88.99.0/24.
    SixToFour,
    /// 2001::/32.
    Teredo,
    /// An interface identifier of ISATAP, which tunnels to the IPv4 address in it.
    Isatap,
    /// fc00::/7.
    UniqueLocal,
    /// fec0::/10.
    SiteLocal,
}

impl AddressClass {
    /// Every class, in the order of the declaration.
    pub const ALL: [Self; 20] = [
        Self::Unspecified,
        Self::Loopback,
        Self::Private,
        Self::LinkLocal,
        Self::Cgnat,
        Self::Metadata,
        Self::Multicast,
        Self::Broadcast,
        Self::Documentation,
        Self::Benchmarking,
        Self::Reserved,
        Self::Ipv4Mapped,
        Self::Ipv4Compatible,
        Self::Ipv4Translated,
        Self::LocalNat64,
        Self::SixToFour,
        Self::Teredo,
        Self::Isatap,
        Self::UniqueLocal,
        Self::SiteLocal,
    ];

    /// The class of `address`; none where it is public.
    #[must_use]
    pub fn of(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(v4) => class_of_v4(v4),
            IpAddr::V6(v6) => class_of_v6(v6),
        }
    }

    /// The class's stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::LinkLocal => "link_local",
            Self::Cgnat => "cgnat",
            Self::Metadata => "metadata",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast",
            Self::Documentation => "documentation",
            Self::Benchmarking => "benchmarking",
            Self::Reserved => "reserved",
            Self::Ipv4Mapped => "ipv4_mapped",
            Self::Ipv4Compatible => "ipv4_compatible",
            Self::Ipv4Translated => "ipv4_translated",
            Self::LocalNat64 => "local_nat64",
            Self::SixToFour => "6to4",
            Self::Teredo => "teredo",
            Self::Isatap => "isatap",
            Self::UniqueLocal => "unique_local",
            Self::SiteLocal => "site_local",
        }
    }
}

impl fmt::Display for AddressClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An address that deliveries must not go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "address {address} is refused ({class}): a target is on the public internet or in a range \
     that the operator opened"
)]
pub struct AddressRefused {
    /// The address.
    pub address: IpAddr,
    /// Why.
    pub class: AddressClass,
}

/// What operators open beyond the public internet. The default opens nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressPolicy {
    /// Ranges that are allowed although they are special.
    ///
    /// An IPv6 address that carries an IPv4 address is allowed by a range of either. Metadata
    /// services are the exception: they are allowed only by a range of exactly that address (/32
    /// or /128), because who opens a private range such as fd00::/8 does not mean to hand out the
    /// machine's credentials.
    pub allow: Vec<IpNet>,
    /// Ports that are allowed although the default rule refuses them.
    pub allow_ports: Vec<u16>,
}

impl AddressPolicy {
    /// Whether deliveries may go to `address`.
    ///
    /// # Errors
    /// [`AddressRefused`] with the class.
    pub fn vet(&self, address: IpAddr) -> Result<(), AddressRefused> {
        let Some(class) = AddressClass::of(address) else {
            return Ok(());
        };
        let carried = match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(v6) => carried_v4(v6).map(IpAddr::V4),
        };
        let opened = self.opens(address, class) || carried.is_some_and(|v4| self.opens(v4, class));
        if opened { Ok(()) } else { Err(AddressRefused { address, class }) }
    }

    /// Whether loopback is opened, and with it the name `localhost`.
    #[must_use]
    pub fn opens_loopback(&self) -> bool {
        self.vet(IpAddr::V4(Ipv4Addr::LOCALHOST)).is_ok()
            || self.vet(IpAddr::V6(Ipv6Addr::LOCALHOST)).is_ok()
    }

    /// Whether some of a private network (RFC 1918, shared, unique local) is opened, and with it
    /// the names that only such a network knows.
    #[must_use]
    pub fn opens_private_network(&self) -> bool {
        let overlaps = |open: &IpNet| {
            PRIVATE_NETWORKS.iter().any(|private| open.contains(private) || private.contains(open))
        };
        self.allow.iter().any(overlaps)
    }

    fn opens(&self, address: IpAddr, class: AddressClass) -> bool {
        self.allow.iter().any(|range| {
            range.contains(&address)
                && (class != AddressClass::Metadata || range.prefix_len() == range.max_prefix_len())
        })
    }
}

const PRIVATE_NETWORKS: [IpNet; 5] = [
    IpNet::V4(v4(10, 0, 0, 0, 8)),
    IpNet::V4(v4(172, 16, 0, 0, 12)),
    IpNet::V4(v4(192, 168, 0, 0, 16)),
    IpNet::V4(v4(100, 64, 0, 0, 10)),
    IpNet::V6(v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7)),
];

/// The first range that holds an address decides, so single addresses stand before their range.
///
/// The anycast services that IANA lists as globally reachable (AS112, AMT) are left out: they
/// belong to nobody's network.
const SPECIAL_V4: [(Ipv4Net, AddressClass); 25] = [
    // Instance metadata of AWS, GCP, Azure, DigitalOcean, OpenStack and most others.
    (v4(169, 254, 169, 254, 32), AddressClass::Metadata),
    // AWS: container credentials, pod identity, time, DNS.
    (v4(169, 254, 170, 2, 32), AddressClass::Metadata),
    (v4(169, 254, 170, 23, 32), AddressClass::Metadata),
    (v4(169, 254, 169, 123, 32), AddressClass::Metadata),
    (v4(169, 254, 169, 253, 32), AddressClass::Metadata),
    // Tencent Cloud, Alibaba Cloud, Oracle Cloud.
    (v4(169, 254, 0, 23, 32), AddressClass::Metadata),
    (v4(100, 100, 100, 200, 32), AddressClass::Metadata),
    (v4(192, 0, 0, 192, 32), AddressClass::Metadata),
    // Azure's platform service. It alone lies in public space.
    (v4(168, 63, 129, 16, 32), AddressClass::Metadata),
    (v4(0, 0, 0, 0, 8), AddressClass::Unspecified),
    (v4(10, 0, 0, 0, 8), AddressClass::Private),
    (v4(100, 64, 0, 0, 10), AddressClass::Cgnat),
    (v4(127, 0, 0, 0, 8), AddressClass::Loopback),
    (v4(169, 254, 0, 0, 16), AddressClass::LinkLocal),
    (v4(172, 16, 0, 0, 12), AddressClass::Private),
    // IETF protocol assignments; the two anycast addresses in it (RFC 7723, 8155) serve no HTTP.
    (v4(192, 0, 0, 0, 24), AddressClass::Reserved),
    (v4(192, 0, 2, 0, 24), AddressClass::Documentation),
    (v4(192, 88, 99, 0, 24), AddressClass::SixToFour),
    (v4(192, 168, 0, 0, 16), AddressClass::Private),
    (v4(198, 18, 0, 0, 15), AddressClass::Benchmarking),
    (v4(198, 51, 100, 0, 24), AddressClass::Documentation),
    (v4(203, 0, 113, 0, 24), AddressClass::Documentation),
    (v4(224, 0, 0, 0, 4), AddressClass::Multicast),
    (v4(255, 255, 255, 255, 32), AddressClass::Broadcast),
    (v4(240, 0, 0, 0, 4), AddressClass::Reserved),
];

/// As [`SPECIAL_V4`]. What is neither here nor in 2000::/3 is reserved, 100::/64 (discard) and
/// 5f00::/16 (segment routing) among it.
const SPECIAL_V6: [(Ipv6Net, AddressClass); 18] = [
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), AddressClass::Unspecified),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), AddressClass::Loopback),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 96), AddressClass::Ipv4Compatible),
    (v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96), AddressClass::Ipv4Mapped),
    (v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96), AddressClass::Ipv4Translated),
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), AddressClass::LocalNat64),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32), AddressClass::Teredo),
    (v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48), AddressClass::Benchmarking),
    // IETF protocol assignments: ORCHIDs, drones' tags, anycast services.
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), AddressClass::Reserved),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), AddressClass::Documentation),
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), AddressClass::SixToFour),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), AddressClass::Documentation),
    // AWS keeps all its services of an instance here; GCP's metadata has one address.
    (v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32), AddressClass::Metadata),
    (v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128), AddressClass::Metadata),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), AddressClass::UniqueLocal),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), AddressClass::LinkLocal),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), AddressClass::SiteLocal),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), AddressClass::Multicast),
];

const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);
const GLOBAL_UNICAST: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(s: [u16; 8], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]), prefix)
}

fn class_of_v4(address: Ipv4Addr) -> Option<AddressClass> {
    SPECIAL_V4.iter().find(|(range, _)| range.contains(&address)).map(|(_, class)| *class)
}

fn class_of_v6(address: Ipv6Addr) -> Option<AddressClass> {
    let carried = carried_v4(address).and_then(class_of_v4);
    if NAT64.contains(&address) {
        return carried;
    }
    let form = SPECIAL_V6.iter().find(|(range, _)| range.contains(&address)).map(|(_, c)| *c);
    let class = match form {
        Some(class) => class,
        None if !GLOBAL_UNICAST.contains(&address) => AddressClass::Reserved,
        None if is_isatap(address) => AddressClass::Isatap,
        None => return None,
    };
    // Who carries a metadata service is one, so that opening the carrier does not open it.
    Some(carried.filter(|inner| *inner == AddressClass::Metadata).unwrap_or(class))
}

/// The IPv4 address that a packet to `address` would reach, where the form carries one.
///
/// Teredo is left out: its packets go to a relay first.
fn carried_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let pair = |high: u16, low: u16| {
        let ([w, x], [y, z]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(w, x, y, z))
    };
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0] if g == 0 && h <= 1 => None,
        [0, 0, 0, 0, 0, 0 | 0xffff] | [0, 0, 0, 0, 0xffff, 0] => pair(g, h),
        [0x64, 0xff9b, 0, 0, 0, 0] | [0x64, 0xff9b, 1, ..] => pair(g, h),
        [0x2002, ..] => pair(b, c),
        _ if is_isatap(address) => pair(g, h),
        _ => None,
    }
}

/// The interface identifier is `0000:5efe` or `0200:5efe` and an IPv4 address (RFC 5214).
const fn is_isatap(address: Ipv6Addr) -> bool {
    let [_, _, _, _, high, low, _, _] = address.segments();
    matches!(high, 0 | 0x0200) && low == 0x5efe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_own_name() {
        let mut names = AddressClass::ALL.map(AddressClass::as_str);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }

    #[test]
    fn a_refusal_names_the_address_and_its_class() {
        let refused = AddressPolicy::default().vet("127.0.0.9".parse().unwrap()).unwrap_err();
        assert_eq!(refused.class, AddressClass::Loopback);
        assert!(refused.to_string().contains("127.0.0.9 is refused (loopback)"), "{refused}");
    }
}

//! Where deliveries may go: target URLs and addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use posthaste_domain::{AddressClass, AddressPolicy, Host, TargetError, TargetUrl};
use url::Url;

use crate::input::text;

/// A target URL that a tenant gives.
pub(crate) fn target_url(data: &[u8]) {
    target_url_by(data, TargetUrl::parse);
}

/// [`target_url`] with whatever decides: the control has one that decides wrongly.
pub(crate) fn target_url_by(
    data: &[u8],
    parse: fn(&str, &AddressPolicy) -> Result<TargetUrl, TargetError>,
) {
    let Some(text) = text(data) else { return };
    let stored = TargetUrl::parse_stored(text);
    if let Ok(target) = &stored {
        reads_back(target);
        has_one_reading(target);
    }
    let Ok(target) = parse(text, &AddressPolicy::default()) else { return };
    assert_eq!(stored.as_ref(), Ok(&target));
    assert!(matches!(target.port(), 80 | 443 | 1024..), "a system port: {target:?}");
    match target.host() {
        Host::V4(address) => assert_eq!(AddressClass::of((*address).into()), None),
        Host::V6(address) => assert_eq!(AddressClass::of((*address).into()), None),
        Host::Name(name) => is_public_name(name),
    }
}

fn is_public_name(name: &str) {
    assert!(name.parse::<IpAddr>().is_err(), "{name} is an address");
    let lawful = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    assert!(name.bytes().all(lawful) && name.contains('.') && !name.ends_with('.'), "{name:?}");
    for refused in ["localhost", "local", "internal", "lan", "home.arpa", "onion", "corp"] {
        let under = name.strip_suffix(refused).is_some_and(|rest| rest.ends_with('.'));
        assert!(!under && name != refused, "{name} is no name on the public internet");
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    assert!(!last.bytes().all(|b| b.is_ascii_digit()), "{name} ends in a number");
}

fn reads_back(target: &TargetUrl) {
    let again = TargetUrl::parse_stored(target.as_str()).expect("a target reads back");
    assert_eq!(&again, target);
    let parts = |target: &TargetUrl| {
        let (path, authority) = (target.path_and_query().to_owned(), target.authority().to_owned());
        (path, authority, target.port(), target.is_https(), target.shard_key())
    };
    assert_eq!(parts(&again), parts(target));
    assert!(target.as_str().len() <= TargetUrl::BYTES_MAX);
    assert!(target.path_and_query().starts_with('/'));
}

/// Another parser sends the request to the same place.
fn has_one_reading(target: &TargetUrl) {
    let other = Url::parse(target.as_str()).expect("what is a target is a URL to others too");
    let host = match target.host() {
        Host::Name(name) => url::Host::Domain(&**name),
        Host::V4(address) => url::Host::Ipv4(*address),
        Host::V6(address) => url::Host::Ipv6(*address),
    };
    assert_eq!(other.host(), Some(host), "{target:?}");
    assert_eq!(other.port_or_known_default(), Some(target.port()), "{target:?}");
    assert_eq!((other.scheme() == "https", other.username()), (target.is_https(), ""));
    assert_eq!((other.password(), other.fragment()), (None, None));
    let uri: http::Uri = target.path_and_query().parse().expect("path and query make a request");
    assert_eq!(uri.to_string(), target.path_and_query());
}

/// An address that a name resolves to.
pub(crate) fn address(data: &[u8]) {
    let given: Option<IpAddr> = match (data.try_into(), data.try_into()) {
        (Ok(four), _) => Some(Ipv4Addr::from_octets(four).into()),
        (_, Ok(sixteen)) => Some(Ipv6Addr::from_octets(sixteen).into()),
        _ => text(data).and_then(|text| text.parse().ok()),
    };
    let Some(address) = given else { return };
    let class = AddressClass::of(address);
    let public = AddressPolicy::default();
    assert_eq!(public.vet(address).err().map(|refused| refused.class), class);
    let host = match address {
        IpAddr::V4(v4) => format!("{v4}"),
        IpAddr::V6(v6) => format!("[{v6}]"),
    };
    let target = TargetUrl::parse(&format!("https://{host}/"), &public);
    assert_eq!(target.is_ok(), class.is_none(), "{host}");
    let opened = AddressPolicy { allow: vec![address.into()], ..AddressPolicy::default() };
    assert!(opened.vet(address).is_ok(), "{host} is not opened by a range of it alone");
    match address {
        IpAddr::V4(v4) => carriers_are_refused(v4, class),
        IpAddr::V6(v6) => {
            let global = v6.octets()[0] & 0xE0 == 0x20;
            let nat64 = v6.segments()[..6] == [0x64, 0xFF9B, 0, 0, 0, 0];
            assert!(class.is_some() || global || nat64, "{v6} is not globally routed");
        }
    }
}

/// What is refused is refused in every IPv6 address that carries it.
fn carriers_are_refused(v4: Ipv4Addr, class: Option<AddressClass>) {
    let [a, b, c, d] = v4.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let mapped = v4.to_ipv6_mapped();
    let compatible = Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low);
    let six_to_four = Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1);
    let teredo = Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, !high, !low);
    let isatap = Ipv6Addr::new(0x2A00, 1, 2, 3, 0, 0x5EFE, high, low);
    for carrier in [mapped, compatible, six_to_four, teredo, isatap] {
        assert!(AddressClass::of(carrier.into()).is_some(), "{carrier} carries {v4}");
    }
    let nat64 = Ipv6Addr::new(0x64, 0xFF9B, 0, 0, 0, 0, high, low);
    assert_eq!(AddressClass::of(nat64.into()).is_none(), class.is_none(), "{nat64}");
}

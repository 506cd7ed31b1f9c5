//! Every special range, and nothing else, is refused, opened by its own range, and named.
//!
//! The table is written out again here, as text, so that a slip in the crate's own is noticed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use posthaste_domain::{AddressClass, AddressPolicy};
use proptest::prelude::*;

/// All special ranges with the class of most of their addresses.
const SPECIAL: [(&str, AddressClass); 55] = [
    ("0.0.0.0/8", AddressClass::Unspecified),
    ("10.0.0.0/8", AddressClass::Private),
    ("100.64.0.0/10", AddressClass::Cgnat),
    ("127.0.0.0/8", AddressClass::Loopback),
    ("169.254.0.0/16", AddressClass::LinkLocal),
    ("172.16.0.0/12", AddressClass::Private),
    ("192.0.0.0/24", AddressClass::Reserved),
    ("192.0.2.0/24", AddressClass::Documentation),
    ("192.88.99.0/24", AddressClass::SixToFour),
    ("192.168.0.0/16", AddressClass::Private),
    ("198.18.0.0/15", AddressClass::Benchmarking),
    ("198.51.100.0/24", AddressClass::Documentation),
    ("203.0.113.0/24", AddressClass::Documentation),
    ("224.0.0.0/4", AddressClass::Multicast),
    ("240.0.0.0/4", AddressClass::Reserved),
    ("255.255.255.255/32", AddressClass::Broadcast),
    ("169.254.169.254/32", AddressClass::Metadata),
    ("169.254.169.253/32", AddressClass::Metadata),
    ("169.254.169.123/32", AddressClass::Metadata),
    ("169.254.170.2/32", AddressClass::Metadata),
    ("169.254.170.23/32", AddressClass::Metadata),
    ("169.254.0.23/32", AddressClass::Metadata),
    ("100.100.100.200/32", AddressClass::Metadata),
    ("192.0.0.192/32", AddressClass::Metadata),
    ("168.63.129.16/32", AddressClass::Metadata),
    ("::/128", AddressClass::Unspecified),
    ("::1/128", AddressClass::Loopback),
    ("::/96", AddressClass::Ipv4Compatible),
    ("::ffff:0:0/96", AddressClass::Ipv4Mapped),
    ("::ffff:0:0:0/96", AddressClass::Ipv4Translated),
    ("64:ff9b:1::/48", AddressClass::LocalNat64),
    ("100::/64", AddressClass::Reserved),
    ("100:0:0:1::/64", AddressClass::Reserved),
    ("2001::/32", AddressClass::Teredo),
    ("2001::/23", AddressClass::Reserved),
    ("2001:2::/48", AddressClass::Benchmarking),
    ("2001:db8::/32", AddressClass::Documentation),
    ("2002::/16", AddressClass::SixToFour),
    ("3fff::/20", AddressClass::Documentation),
    ("5f00::/16", AddressClass::Reserved),
    ("fc00::/7", AddressClass::UniqueLocal),
    ("fd00:ec2::/32", AddressClass::Metadata),
    ("fd20:ce::254/128", AddressClass::Metadata),
    ("fe80::/10", AddressClass::LinkLocal),
    ("fec0::/10", AddressClass::SiteLocal),
    ("ff00::/8", AddressClass::Multicast),
    // What nobody has been given, piece by piece around 2000::/3 and the ranges above.
    ("0:0:0:1::/64", AddressClass::Reserved),
    ("200::/7", AddressClass::Reserved),
    ("400::/6", AddressClass::Reserved),
    ("1000::/4", AddressClass::Reserved),
    ("4000::/3", AddressClass::Reserved),
    ("8000::/2", AddressClass::Reserved),
    ("c000::/3", AddressClass::Reserved),
    ("f000::/5", AddressClass::Reserved),
    ("fe00::/9", AddressClass::Reserved),
];

fn range(text: &str) -> IpNet {
    text.parse().expect("a range")
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn policy(ranges: &[&str]) -> AddressPolicy {
    AddressPolicy { allow: ranges.iter().copied().map(range).collect(), ..AddressPolicy::default() }
}

fn is_open(policy: &AddressPolicy, text: &str) -> bool {
    policy.vet(address(text)).is_ok()
}

/// The most specific range that holds the address decides.
fn expected_class(address: IpAddr) -> Option<AddressClass> {
    SPECIAL
        .iter()
        .filter(|(text, _)| range(text).contains(&address))
        .max_by_key(|(text, _)| range(text).prefix_len())
        .map(|(_, class)| *class)
}

/// An address of the range: its network part, and host bits from `chance`.
fn pick(range: IpNet, chance: u128) -> IpAddr {
    match range {
        IpNet::V4(net) => {
            let [low @ .., _, _, _, _, _, _, _, _, _, _, _, _] = chance.to_le_bytes();
            let host = u32::from_le_bytes(low) & u32::from(net.hostmask());
            Ipv4Addr::from(u32::from(net.network()) | host).into()
        }
        IpNet::V6(net) => {
            let host = chance & u128::from(net.hostmask());
            Ipv6Addr::from(u128::from(net.network()) | host).into()
        }
    }
}

/// Whether the address carries a metadata service's IPv4 address, which decides over the form.
fn carries_metadata(address: IpAddr) -> bool {
    let IpAddr::V6(v6) = address else { return false };
    let number = u128::from(v6);
    let halves = [number & 0xffff_ffff, number >> 80 & 0xffff_ffff];
    halves.into_iter().any(|half| {
        let v4 = Ipv4Addr::from(u32::try_from(half).expect("32 bits"));
        expected_class(v4.into()) == Some(AddressClass::Metadata)
    })
}

/// First, last and some addresses of every special range, with the right class each. A policy that
/// opens the range lets them pass, metadata aside.
#[test]
fn every_special_range_is_refused_by_its_class() {
    let (mut tried, mut passed) = (0, 0);
    for (text, _) in SPECIAL {
        for chance in [0, 1, u128::MAX, u128::MAX - 1, u128::MAX / 3, u128::MAX / 5] {
            let address = pick(range(text), chance);
            let refused = AddressPolicy::default().vet(address);
            let class = refused.expect_err(text).class;
            if !carries_metadata(address) {
                assert_eq!(Some(class), expected_class(address), "{address} of {text}");
            }
            tried += 1;
            passed += usize::from(policy(&[text]).vet(address).is_ok());
        }
    }
    assert!(passed > tried * 3 / 4, "{passed} of {tried}");
    let control = format!("{passed} of them pass where their range is opened");
    println!("proof: 16 tried {tried} held {tried} control {control}");
}

#[test]
fn every_class_is_met_by_some_range_or_form() {
    let isatap = AddressClass::of(address("2606:4700::5efe:7f00:1"));
    assert_eq!(isatap, Some(AddressClass::Isatap));
    for class in AddressClass::ALL {
        let met = SPECIAL.iter().any(|(_, other)| *other == class);
        assert!(met || class == AddressClass::Isatap, "{class}");
    }
}

#[test]
fn the_neighbours_of_special_ranges_are_public() {
    for text in [
        "1.0.0.0",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "168.63.129.15",
        "168.63.129.17",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "191.255.255.255",
        "192.0.1.0",
        "192.0.3.0",
        "192.88.98.255",
        "192.88.100.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "198.51.99.255",
        "198.51.101.0",
        "203.0.112.255",
        "203.0.114.0",
        "223.255.255.255",
        "8.8.8.8",
        "2000::",
        "2001:200::",
        "2001:db7:ffff::",
        "2001:db9::",
        "2001:ffff::",
        "2003::",
        "2606:4700:4700::1111",
        "3ffe::1",
        "3fff:1000::",
        "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "64:ff9b::5db8:d822",
        "64:ff9b::8.8.8.8",
        "2606:4700::5eff:7f00:1",
        "2606:4700::1:5efe:7f00:1",
    ] {
        assert_eq!(AddressClass::of(address(text)), None, "{text}");
    }
}

/// For all special IPv4 addresses: no IPv6 form of one is accepted.
#[test]
fn carriers_of_special_addresses_are_refused() {
    for (text, _) in SPECIAL.iter().filter(|(text, _)| range(text).network().is_ipv4()) {
        let IpAddr::V4(v4) = range(text).network() else { panic!("{text} is IPv4") };
        let number = u128::from(u32::from(v4));
        for (form, carrier) in [
            ("compatible", number),
            ("mapped", 0xffff << 32 | number),
            ("translated", 0xffff << 48 | number),
            ("nat64", 0x0064_ff9b << 96 | number),
            ("local nat64", 0x0064_ff9b_0001 << 80 | number),
            ("6to4", 0x2002 << 112 | number << 80 | 1),
            ("teredo", 0x2001 << 112 | (number ^ 0xffff_ffff)),
            ("isatap", 0x2606_4700 << 96 | 0x5efe << 32 | number),
            ("isatap, global bit", 0x2606_4700 << 96 | 0x0200_5efe << 32 | number),
        ] {
            let carrier = IpAddr::V6(Ipv6Addr::from(carrier));
            let verdict = AddressPolicy::default().vet(carrier);
            assert!(verdict.is_err(), "{form} {carrier} of {v4}");
        }
    }
}

#[test]
fn a_range_opens_its_addresses_and_no_other() {
    let open = policy(&["127.0.0.0/8", "10.1.0.0/16", "fd12::/16", "2001:db8::/32"]);
    for text in [
        "127.0.0.1",
        "10.1.2.3",
        "fd12::9",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "64:ff9b::10.1.0.1",
        "::10.1.0.1",
        "::ffff:0:10.1.0.1",
        "2002:a01:203::",
        "8.8.8.8",
    ] {
        assert!(is_open(&open, text), "{text}");
    }
    for text in [
        "::1",
        "10.2.0.0",
        "fd13::",
        "::ffff:10.2.0.0",
        "64:ff9b::10.2.0.0",
        "2002:a02::",
        "::ffff:8.8.8.8",
        "169.254.1.1",
    ] {
        assert!(!is_open(&open, text), "{text}");
    }
    assert!(is_open(&policy(&["::1/128"]), "::1"));
    assert!(!is_open(&policy(&["::1/128"]), "127.0.0.1"));
}

#[test]
fn a_metadata_service_is_opened_only_by_its_very_address() {
    let metadata = [
        "169.254.169.254",
        "100.100.100.200",
        "fd00:ec2::254",
        "::ffff:169.254.169.254",
        "64:ff9b::169.254.169.254",
        "168.63.129.16",
    ];
    let wide = policy(&[
        "169.254.0.0/16",
        "100.64.0.0/10",
        "fd00::/8",
        "::ffff:0:0/96",
        "64:ff9b::/96",
        "168.63.128.0/17",
        "169.254.169.254/31",
    ]);
    for text in metadata {
        assert!(!is_open(&wide, text), "{text}");
    }
    for text in ["169.254.1.1", "100.64.0.1", "fd00:1::1", "::ffff:8.8.8.8"] {
        assert!(is_open(&wide, text), "{text}");
    }
    let exact = policy(&["169.254.169.254/32", "fd00:ec2::254/128"]);
    for text in metadata {
        let expected = text.contains("169.254.169.254") || text == "fd00:ec2::254";
        assert_eq!(is_open(&exact, text), expected, "{text}");
    }
}

#[test]
fn a_policy_knows_what_it_opens() {
    for (ranges, loopback, private) in [
        (&[][..], false, false),
        (&["127.0.0.0/8"], true, false),
        (&["127.0.0.1/32"], true, false),
        (&["127.0.0.2/32"], false, false),
        (&["::1/128"], true, false),
        (&["10.3.0.0/16"], false, true),
        (&["100.64.0.0/10"], false, true),
        (&["fd12::/64"], false, true),
        (&["198.51.100.0/24", "8.8.8.0/24"], false, false),
        (&["0.0.0.0/0"], true, true),
        (&["::/0"], true, true),
    ] {
        let policy = policy(ranges);
        let opens = (policy.opens_loopback(), policy.opens_private_network());
        assert_eq!(opens, (loopback, private), "{ranges:?}");
    }
}

/// Cases of a property: with `PROVE_LONG=1` in the environment as many as a minute takes.
fn cases() -> u32 {
    if std::env::var_os("PROVE_LONG").is_some_and(|value| value == "1") { 1_000_000 } else { 4_096 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    /// For all special ranges and all addresses in them: refused, unless the range is opened.
    #[test]
    fn an_address_of_a_special_range_is_refused(
        (text, _) in prop::sample::select(&SPECIAL[..]), chance: u128,
    ) {
        let address = pick(range(text), chance);
        prop_assert_eq!(expected_class(address).is_some(), true);
        let refused = AddressPolicy::default().vet(address);
        prop_assert_eq!(refused.map_err(|refused| refused.address), Err(address));
        let exactly = AddressPolicy { allow: vec![address.into()], ..AddressPolicy::default() };
        prop_assert_eq!(exactly.vet(address), Ok(()));
    }

    /// For all IPv4 addresses: refused exactly if in a special range, and by its class.
    #[test]
    fn an_ipv4_address_is_of_the_class_of_its_range(number: u32) {
        let address = IpAddr::V4(Ipv4Addr::from(number));
        prop_assert_eq!(AddressClass::of(address), expected_class(address));
    }

    /// For all IPv6 addresses: refused exactly if outside of 2000::/3 or in a special range.
    #[test]
    fn an_ipv6_address_is_public_only_in_2000_3(number: u128, top in 0_u16..=0xffff) {
        let number = number >> 16 | u128::from(top) << 112;
        let v6 = Ipv6Addr::from(number);
        let inside = v6.segments()[0] >> 13 == 1;
        let isatap = matches!(v6.segments()[4..6], [0 | 0x200, 0x5efe]);
        let nat64 = number >> 32 == 0x0064_ff9b_u128 << 64;
        let public = (inside && !isatap || nat64) && expected_class(v6.into()).is_none();
        prop_assert_eq!(AddressClass::of(v6.into()).is_none(), public, "{}", v6);
    }

    /// For all IPv4 addresses: NAT64 of one is judged as the address itself.
    #[test]
    fn nat64_is_judged_by_what_it_carries(number: u32, open: Option<u32>) {
        let v4 = Ipv4Addr::from(number);
        let nat64 = Ipv6Addr::from(0x0064_ff9b_u128 << 96 | u128::from(number));
        let net = |seed: u32| Ipv4Net::new(Ipv4Addr::from(seed), 3).expect("a prefix of 3");
        let policy = AddressPolicy {
            allow: open.map(|seed| net(seed).into()).into_iter().collect(),
            ..AddressPolicy::default()
        };
        let plain = policy.vet(v4.into()).map_err(|refused| refused.class);
        let carried = policy.vet(nat64.into()).map_err(|refused| refused.class);
        prop_assert_eq!(plain, carried);
    }

    /// For all IPv6 addresses: a policy that opens all of IPv6 refuses nothing but metadata.
    #[test]
    fn an_open_policy_refuses_only_metadata(number: u128) {
        let all = Ipv6Net::new(Ipv6Addr::UNSPECIFIED, 0).expect("a prefix of 0");
        let policy = AddressPolicy { allow: vec![all.into()], ..AddressPolicy::default() };
        let verdict = policy.vet(Ipv6Addr::from(number).into());
        prop_assert!(verdict.is_ok() || verdict.unwrap_err().class == AddressClass::Metadata);
    }
}

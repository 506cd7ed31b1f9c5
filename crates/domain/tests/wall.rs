//! The wall in the kernel and the guard in the daemon have their own lists: here they are held
//! together: whatever the guard refuses the wall closes, and what is public it lets pass.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use posthaste_domain::{AddressClass, AddressPolicy};
use proptest::prelude::*;

/// The script that makes the rules.
const WALL: &str = include_str!("../../../infra/systemd/wall");

/// The lists of the script, by name: ranges of numbers, first and last.
#[derive(Debug)]
struct Wall {
    lists: BTreeMap<&'static str, Vec<(u128, u128)>>,
}

impl Wall {
    /// Reads `NAME="item, item"` from the script.
    fn read() -> Self {
        let names = ["METADATA4", "METADATA6", "CLOSED4", "CLOSED6", "NAT64"];
        let lists = names.into_iter().map(|name| {
            let (_, rest) = WALL.split_once(&format!("\n{name}=\"")).expect(name);
            let (items, _) = rest.split_once('"').expect(name);
            (name, items.split(',').map(|item| range(item.trim())).collect())
        });
        Self { lists: lists.collect() }
    }

    fn without(mut self, name: &str) -> Self {
        self.lists.remove(name);
        self
    }

    fn has(&self, name: &str, address: u128) -> bool {
        let list = self.lists.get(name).into_iter().flatten();
        list.into_iter().any(|(first, last)| (*first..=*last).contains(&address))
    }

    /// As the rules do it, with nothing opened.
    fn closes(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => {
                let number = u128::from(u32::from(v4));
                self.has("METADATA4", number) || self.has("CLOSED4", number)
            }
            IpAddr::V6(v6) => {
                let number = u128::from(v6);
                let isatap = number >> 32 & 0xfdff_ffff == 0x5efe;
                ["METADATA6", "CLOSED6", "NAT64"].iter().any(|list| self.has(list, number))
                    || isatap
            }
        }
    }
}

/// `10.0.0.0/8`, `::1`, `64::-64:ff9a::`.
fn range(text: &str) -> (u128, u128) {
    let number = |text: &str| match text.parse().unwrap_or_else(|_| panic!("{text}")) {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)), 32),
        IpAddr::V6(v6) => (u128::from(v6), 128),
    };
    if let Some((first, last)) = text.split_once('-') {
        return (number(first).0, number(last).0);
    }
    let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
    let (first, bits) = number(address);
    let host = bits - prefix.map_or(bits, |prefix| prefix.parse().expect("a prefix"));
    let last = first | (1_u128 << host).wrapping_sub(1);
    assert_eq!(first & (last ^ first), 0, "{text} has host bits");
    (first, if host == 128 { u128::MAX } else { last })
}

/// Addresses that are worth a look: the ends of every range of either list, and their neighbours.
fn edges(wall: &Wall) -> Vec<IpAddr> {
    let mut edges = Vec::new();
    for (name, ranges) in &wall.lists {
        for (first, last) in ranges {
            for number in [first.wrapping_sub(1), *first, *last, last.wrapping_add(1)] {
                edges.push(if name.ends_with('4') && *name != "NAT64" {
                    let Ok(number) = u32::try_from(number) else { continue };
                    IpAddr::V4(number.into())
                } else {
                    IpAddr::V6(number.into())
                });
            }
        }
    }
    edges
}

fn agree(wall: &Wall, address: IpAddr) -> bool {
    wall.closes(address) == AddressClass::of(address).is_some()
}

/// For all edges of the wall's ranges: guard and wall say the same. Without any one of its lists
/// they do not.
#[test]
fn wall_and_guard_agree_at_every_edge() {
    let wall = Wall::read();
    let edges = edges(&wall);
    assert!(edges.len() > 200, "{}", edges.len());
    for address in &edges {
        assert!(agree(&wall, *address), "{address}: {:?}", AddressClass::of(*address));
    }
    let names: Vec<_> = wall.lists.keys().copied().filter(|name| *name != "METADATA6").collect();
    for name in &names {
        let holed = Wall::read().without(name);
        assert!(edges.iter().any(|address| !agree(&holed, *address)), "{name} is of no use");
    }
    let (tried, lists) = (edges.len(), names.len());
    println!(
        "proof: 16 tried {tried} held {tried} control without any of {lists} lists they differ"
    );
}

/// What the guard opens only by its very address, the wall does too.
#[test]
fn metadata_is_the_same_in_both() {
    let wall = Wall::read();
    let wide = AddressPolicy {
        allow: vec!["0.0.0.0/0".parse().expect("a range"), "::/0".parse().expect("a range")],
        ..AddressPolicy::default()
    };
    for address in edges(&wall) {
        let listed = match address {
            IpAddr::V4(v4) => wall.has("METADATA4", u128::from(u32::from(v4))),
            IpAddr::V6(v6) => wall.has("METADATA6", u128::from(v6)),
        };
        assert_eq!(listed, wide.vet(address).is_err(), "{address}");
    }
}

thread_local! {
    static WALL_READ: Wall = Wall::read();
}

/// Cases of a property, more of them with `PROVE_LONG=1` in the environment.
fn cases() -> u32 {
    if std::env::var_os("PROVE_LONG").is_some_and(|value| value == "1") { 500_000 } else { 4_096 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    /// For all IPv4 addresses: guard and wall say the same.
    #[test]
    fn wall_and_guard_agree_on_ipv4(number: u32) {
        let address = IpAddr::V4(Ipv4Addr::from(number));
        prop_assert!(WALL_READ.with(|wall| agree(wall, address)), "{}", address);
    }

    /// For all IPv6 addresses, those that carry another or stand near a range among them.
    #[test]
    fn wall_and_guard_agree_on_ipv6(
        top in prop_oneof![
            any::<u128>(),
            any::<u64>().prop_map(|low| 0x0064_ff9b << 96 | u128::from(low)),
            any::<u128>().prop_map(|low| 0x2001 << 112 | low >> 16),
            any::<u128>().prop_map(|low| 0x2000 << 112 | low >> 3),
            any::<u64>().prop_map(|low| 0x2606_4700 << 96 | 0x5efe << 32 | u128::from(low >> 32)),
        ],
    ) {
        let address = IpAddr::V6(Ipv6Addr::from(top));
        prop_assert!(WALL_READ.with(|wall| agree(wall, address)), "{}", address);
    }
}

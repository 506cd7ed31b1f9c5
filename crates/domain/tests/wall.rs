//! The wall in the kernel and the guard in the daemon have their own lists: here they are held
//! together: whatever the guard refuses the wall closes, and what is public it lets pass.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use posthaste_domain::{AddressClass, AddressPolicy};
use proptest::prelude::*;

/// The script that makes the rules.
const WALL: &str = include_str!("../../../infra/systemd/wall");

/// The guard's own lists, which are nobody else's business: their text is read, too.
const GUARD: &str = include_str!("../src/address.rs");

/// A range of addresses as numbers, first and last.
type Range = (u128, u128);

/// The lists of the script, by name.
#[derive(Debug)]
struct Wall {
    lists: BTreeMap<&'static str, Vec<Range>>,
    /// What it lets pass whatever its lists say: for the control.
    hole: Option<(Version, Range)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V4,
    V6,
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
        Self { lists: lists.collect(), hole: None }
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
        let (version, number) = match address {
            IpAddr::V4(v4) => (Version::V4, u128::from(u32::from(v4))),
            IpAddr::V6(v6) => (Version::V6, u128::from(v6)),
        };
        let is_in = |(of, (first, last))| of == version && (first..=last).contains(&number);
        !self.hole.is_some_and(is_in) && self.lists_close(address)
    }

    fn lists_close(&self, address: IpAddr) -> bool {
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
fn range(text: &str) -> Range {
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

/// The ranges that the guard refuses, by the name of their list.
fn guarded(name: &str) -> Vec<Range> {
    let (_, rest) = GUARD.split_once(&format!("\nconst {name}: [")).expect(name);
    let (head, rest) = rest.split_once("] = [\n").expect(name);
    let (rows, _) = rest.split_once("\n];").expect(name);
    let rows = rows.lines().filter_map(|line| line.trim().strip_prefix("(v"));
    let ranges: Vec<_> = rows.map(guard_range).collect();
    let count = head.rsplit_once("; ").and_then(|(_, count)| count.parse().ok());
    assert_eq!(Some(ranges.len()), count, "rows of {name} are not read");
    ranges
}

/// `4(10, 0, 0, 0, 8), …` or `6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), …`.
fn guard_range(row: &str) -> Range {
    let (row, _) = row.split_once("), ").unwrap_or_else(|| panic!("{row}"));
    let parts = row[1..].split([',', '(', '[', ']', ' ']).filter(|part| !part.is_empty());
    let number = |part: &str| match part.strip_prefix("0x") {
        Some(part) => u128::from_str_radix(part, 16),
        None => part.parse(),
    };
    let parts: Vec<u128> = parts.map(|part| number(part).expect("a number")).collect();
    let (prefix, parts) = parts.split_last().expect("a prefix");
    let join = |width| parts.iter().fold(0, |sum, part| sum << width | part);
    match parts.len() {
        4 => range(&format!("{}/{prefix}", Ipv4Addr::from(u32::try_from(join(8)).expect(row)))),
        8 => range(&format!("{}/{prefix}", Ipv6Addr::from(join(16)))),
        _ => panic!("{row}"),
    }
}

/// Both lists of the guard.
fn all_guarded() -> Vec<(Version, Range)> {
    let of = |version, name| guarded(name).into_iter().map(move |range| (version, range));
    of(Version::V4, "SPECIAL_V4").chain(of(Version::V6, "SPECIAL_V6")).collect()
}

/// The ends of a range, and their neighbours.
fn ends((version, (first, last)): (Version, Range)) -> impl Iterator<Item = IpAddr> {
    let numbers = [first.wrapping_sub(1), first, last, last.wrapping_add(1)];
    numbers.into_iter().filter_map(move |number| match version {
        Version::V4 => u32::try_from(number).ok().map(|number| IpAddr::V4(number.into())),
        Version::V6 => Some(IpAddr::V6(number.into())),
    })
}

/// Addresses that are worth a look: the ends of every range of either list, and their neighbours;
/// those of IPv4 by NAT64, too.
fn edges(wall: &Wall) -> Vec<IpAddr> {
    let mut edges = Vec::new();
    for (name, ranges) in &wall.lists {
        let is_v4 = name.ends_with('4') && *name != "NAT64";
        let version = if is_v4 { Version::V4 } else { Version::V6 };
        edges.extend(ranges.iter().flat_map(|range| ends((version, *range))));
    }
    edges.extend(all_guarded().into_iter().flat_map(ends));
    let by_nat64 = |address: &IpAddr| match address {
        IpAddr::V4(v4) => Some(IpAddr::V6((0x64_ff9b << 96 | u128::from(u32::from(*v4))).into())),
        IpAddr::V6(_) => None,
    };
    let carried: Vec<_> = edges.iter().filter_map(by_nat64).collect();
    edges.extend(carried);
    edges
}

fn agree(wall: &Wall, address: IpAddr) -> bool {
    wall.closes(address) == AddressClass::of(address).is_some()
}

/// For all edges of the wall's ranges and of the guard's: both say the same. Without any one of its
/// lists, and with a hole where any one of the guard's ranges is, they do not.
#[test]
fn wall_and_guard_agree_at_every_edge() {
    let wall = Wall::read();
    let edges = edges(&wall);
    assert!(edges.len() > 500, "{}", edges.len());
    let mut held = 0;
    for address in &edges {
        assert!(agree(&wall, *address), "{address}: {:?}", AddressClass::of(*address));
        held += 1;
    }
    let names: Vec<_> = wall.lists.keys().copied().filter(|name| *name != "METADATA6").collect();
    for name in &names {
        let holed = Wall::read().without(name);
        assert!(edges.iter().any(|address| !agree(&holed, *address)), "{name} is of no use");
    }
    let guarded = all_guarded();
    for range in &guarded {
        let holed = Wall { hole: Some(*range), ..Wall::read() };
        assert!(edges.iter().any(|address| !agree(&holed, *address)), "{range:?} is not walked");
    }
    println!(
        "proof: 16 tried {} held {held} control without any of {} lists they differ, and with a \
         hole at any of the guard's {} ranges",
        edges.len(),
        names.len(),
        guarded.len()
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

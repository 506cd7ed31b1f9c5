//! Names to vetted addresses, remembered for a while.
//!
//! ```text
//! name ─► remembered? ─► one lookup, however many wait ─► guard ─► addresses or a reason
//! ```
//! The guard looks at **every** address of an answer, and one refused address refuses the answer:
//! a name that points at the internet and at our network is an attack or a mistake, and picking
//! the good half would hide both. Connections go to addresses that came out of here and to
//! nothing else, so that a name that changes between check and use gains nothing.
//!
//! Names are looked up as they are, never with a search domain behind them.
//!
//! Invariants: an address that leaves here has passed the policy · at most one lookup per name
//! runs at a time · at most `names_max` names are remembered.

mod health;
mod system;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use posthaste_domain::{AddressClass, AddressPolicy, ErrorClass, TargetError};
use smallvec::SmallVec;
use thiserror::Error;
use tokio::sync::OnceCell;

use self::health::Health;
pub(crate) use self::system::SystemResolver;
use crate::clock::Clock;
use crate::failure::Failure;
use crate::settings::Settings;

/// Addresses kept of one answer; each has been vetted, and so have those that are not kept.
const ADDRESSES_KEPT_MAX: usize = 16;
/// Addresses tried for one connection: with 5 s for all, each gets more than the second after
/// which a lost SYN is sent again.
const ADDRESSES_TRIED_MAX: usize = 4;
/// That a name has no address is believed for as long as its zone says, within these bounds.
const NO_ADDRESS_TTL_DEFAULT: Duration = Duration::from_secs(5);
const NO_ADDRESS_TTL_MAX: Duration = Duration::from_secs(30);
/// A lookup that an attempt's end cut off says something of the name servers once it has taken so
/// long, in microseconds.
const SILENCE_US_MIN: u64 = 900_000;
/// A lookup that failed is not repeated at once by everybody who waits for it.
const FAILED_TTL: Duration = Duration::from_secs(1);
/// Where remembered names must make room and none has expired, one in so many goes.
const ROOM_SHARE: usize = 4;

/// Looks names up. Injectable, for tests and for resolvers of other kinds.
pub trait Resolve: fmt::Debug {
    /// Starts a lookup of all addresses of `name`: ASCII, lower case, no trailing dot, absolute.
    ///
    /// The client limits its time, remembers its answer and vets its addresses.
    fn resolve(&self, name: &str) -> Lookup;
}

/// A lookup under way.
pub type Lookup = Pin<Box<dyn Future<Output = Result<Answer, LookupError>>>>;

/// The addresses of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// All of them, IPv4 and IPv6, in any order.
    pub addresses: Vec<IpAddr>,
    /// How long they may be believed; the client clamps it.
    pub ttl: Duration,
}

/// Why a lookup has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LookupError {
    /// The name does not exist, or has no address.
    #[error("the name does not exist or has no address")]
    NoAddress {
        /// How long that may be believed, where known.
        ttl: Option<Duration>,
    },
    /// The resolver said that it cannot answer, or did not answer in time. Either it or the
    /// name's own servers are at fault.
    #[error("the lookup failed: {0}")]
    Failed(String),
    /// No resolver could be talked to at all.
    #[error("no resolver can be reached: {0}")]
    Unreachable(String),
}

/// The vetted addresses of a name.
#[derive(Debug)]
pub(crate) struct Addresses {
    // Invariant: not empty, all vetted, families alternating as far as they go.
    list: SmallVec<[IpAddr; 4]>,
    /// Where the last connection succeeded; the next one begins there.
    first: Cell<usize>,
}

impl Addresses {
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.list.contains(&address)
    }

    /// The addresses to try, the one that worked last first.
    pub(crate) fn to_try(&self) -> SmallVec<[IpAddr; ADDRESSES_TRIED_MAX]> {
        let first = self.first.get();
        let all = self.list[first..].iter().chain(&self.list[..first]);
        all.take(ADDRESSES_TRIED_MAX).copied().collect()
    }

    pub(crate) fn worked(&self, address: IpAddr) {
        if let Some(position) = self.list.iter().position(|known| *known == address) {
            self.first.set(position);
        }
    }
}

/// What is known of a name.
type Known = Result<Rc<Addresses>, Unresolved>;

/// Why a name has no addresses to connect to.
#[derive(Clone, Debug)]
pub(crate) enum Unresolved {
    Refused(AddressClass),
    NoAddress,
    Unavailable { reason: Rc<str>, unreachable: bool },
}

/// A name's place in the memory: filled, or being filled by one of those who wait.
type Slot = Rc<OnceCell<Entry>>;

#[derive(Debug)]
struct Entry {
    known: Known,
    until_us: u64,
}

/// Counters, for the client's figures.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) lookups: u64,
    pub(crate) failures: u64,
    pub(crate) refusals: u64,
}

/// The names that a client knows.
pub(crate) struct Names {
    resolver: Rc<dyn Resolve>,
    clock: Rc<dyn Clock>,
    policy: AddressPolicy,
    lookup_time_max: Duration,
    ttl_min: Duration,
    ttl_max: Duration,
    names_max: usize,
    slots: RefCell<HashMap<Arc<str>, Slot, RandomState>>,
    health: RefCell<Health>,
    counters: Cell<Counters>,
}

impl Names {
    pub(crate) fn new(
        settings: &Settings,
        resolver: Rc<dyn Resolve>,
        clock: Rc<dyn Clock>,
    ) -> Self {
        Self {
            resolver,
            clock,
            policy: settings.address_policy.clone(),
            lookup_time_max: Duration::from_millis(settings.dns_timeout_ms),
            ttl_min: Duration::from_millis(settings.dns_ttl_ms_min),
            ttl_max: Duration::from_millis(settings.dns_ttl_ms_max),
            names_max: settings.dns_names_max,
            slots: RefCell::default(),
            health: RefCell::default(),
            counters: Cell::default(),
        }
    }

    pub(crate) const fn counters(&self) -> Counters {
        self.counters.get()
    }

    pub(crate) fn remembered(&self) -> usize {
        self.slots.borrow().len()
    }

    /// What is remembered of `name` and still holds.
    pub(crate) fn recall(&self, name: &str) -> Option<Known> {
        let slots = self.slots.borrow();
        let entry = slots.get(name)?.get()?;
        (self.clock.monotonic_us() < entry.until_us).then(|| entry.known.clone())
    }

    /// The addresses of `name`: remembered, or looked up. Whoever comes first drives the lookup;
    /// where that one is cut off, the next one starts over.
    pub(crate) async fn resolve(&self, name: &Arc<str>) -> Known {
        let slot = self.slot(name);
        slot.get_or_init(|| self.look_up(name)).await.known.clone()
    }

    /// The failure that an attempt ends with.
    pub(crate) fn failure(&self, name: &Arc<str>, unresolved: &Unresolved) -> Failure {
        match unresolved {
            Unresolved::Refused(class) => refused(*class),
            Unresolved::NoAddress => Failure::charged(
                ErrorClass::DnsNoAddress,
                "the name does not exist or has no address",
            ),
            Unresolved::Unavailable { reason, unreachable } => {
                let now_us = self.clock.monotonic_us();
                let ours = self.health.borrow().is_down(name, *unreachable, now_us);
                let text = format!("the name cannot be resolved: {reason}");
                let class = ErrorClass::DnsUnavailable;
                if ours { Failure::ours(class, text) } else { Failure::charged(class, text) }
            }
        }
    }

    /// The lookup of `name` was cut off by the end of an attempt, as it had taken so long: says
    /// whether that is our own fault.
    pub(crate) fn is_cut_off_by_us(&self, name: &Arc<str>, took_us: u64) -> bool {
        if took_us < SILENCE_US_MIN {
            return false;
        }
        let (now_us, mut health) = (self.clock.monotonic_us(), self.health.borrow_mut());
        health.failed(name, now_us);
        health.is_down(name, false, now_us)
    }

    /// Forgets what no longer holds.
    pub(crate) fn sweep(&self) {
        let now_us = self.clock.monotonic_us();
        self.slots.borrow_mut().retain(|_, slot| holds(slot, now_us));
    }

    /// The slot of `name`: filled and holding, or still to be filled.
    fn slot(&self, name: &Arc<str>) -> Slot {
        let now_us = self.clock.monotonic_us();
        let mut slots = self.slots.borrow_mut();
        if let Some(slot) = slots.get(name)
            && holds(slot, now_us)
        {
            return Rc::clone(slot);
        }
        if slots.len() >= self.names_max {
            slots.retain(|_, slot| holds(slot, now_us));
        }
        if slots.len() >= self.names_max {
            let mut position = 0;
            slots.retain(|_, _| {
                position += 1;
                position % ROOM_SHARE != 0
            });
        }
        let slot = Slot::default();
        slots.insert(Arc::clone(name), Rc::clone(&slot));
        slot
    }

    async fn look_up(&self, name: &Arc<str>) -> Entry {
        let lookup = tokio::time::timeout(self.lookup_time_max, self.resolver.resolve(name));
        let answer = lookup.await.unwrap_or_else(|_| {
            let limit = self.lookup_time_max.as_millis();
            Err(LookupError::Failed(format!("no answer within {limit} ms")))
        });
        let now_us = self.clock.monotonic_us();
        let (known, ttl) = self.judge(answer);
        let mut counters = self.counters.get();
        counters.lookups += 1;
        counters.refusals += u64::from(matches!(known, Err(Unresolved::Refused(_))));
        let failed = matches!(known, Err(Unresolved::Unavailable { .. }));
        counters.failures += u64::from(failed);
        self.counters.set(counters);
        if failed {
            self.health.borrow_mut().failed(name, now_us);
        } else if !is_answered_here(name) {
            self.health.borrow_mut().answered(name, now_us);
        }
        let ttl_us = u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX);
        Entry { known, until_us: now_us.saturating_add(ttl_us) }
    }

    /// Vets an answer, and says how long the result holds.
    fn judge(&self, answer: Result<Answer, LookupError>) -> (Known, Duration) {
        match answer {
            Ok(answer) if answer.addresses.is_empty() => {
                (Err(Unresolved::NoAddress), NO_ADDRESS_TTL_DEFAULT)
            }
            Ok(answer) => {
                let ttl = answer.ttl.clamp(self.ttl_min, self.ttl_max);
                let refused = answer.addresses.iter().find_map(|a| self.policy.vet(*a).err());
                match refused {
                    Some(refused) => (Err(Unresolved::Refused(refused.class)), ttl),
                    None => (Ok(Rc::new(arrange(&answer.addresses))), ttl),
                }
            }
            Err(LookupError::NoAddress { ttl }) => {
                let ttl = ttl.unwrap_or(NO_ADDRESS_TTL_DEFAULT);
                let least = self.ttl_min.min(NO_ADDRESS_TTL_MAX);
                (Err(Unresolved::NoAddress), ttl.clamp(least, NO_ADDRESS_TTL_MAX))
            }
            Err(LookupError::Failed(reason)) => (unavailable(&reason, false), FAILED_TTL),
            Err(LookupError::Unreachable(reason)) => (unavailable(&reason, true), FAILED_TTL),
        }
    }
}

/// The failure of an attempt whose address is refused. The address itself is left out: where a
/// name of our own network leads is not for tenants to learn.
pub(crate) fn refused(class: AddressClass) -> Failure {
    let text = format!(
        "the host leads to an address that is refused ({class}): a target is on the public \
         internet or in a range that the operator opened"
    );
    Failure::charged(ErrorClass::AddressRefused, text)
}

/// The failure of an attempt whose target the policy of today refuses, whatever it was when the
/// target was stored.
pub(crate) fn refused_target(error: &TargetError) -> Failure {
    match error {
        TargetError::Address(address) => refused(address.class),
        other => Failure::charged(ErrorClass::AddressRefused, other.to_string()),
    }
}

fn unavailable(reason: &str, unreachable: bool) -> Known {
    Err(Unresolved::Unavailable { reason: reason.into(), unreachable })
}

/// Whether a slot is being filled, or filled with what still holds. One whose lookup was cut off,
/// and that nobody waits for, is neither.
fn holds(slot: &Slot, now_us: u64) -> bool {
    match slot.get() {
        Some(entry) => now_us < entry.until_us,
        None => Rc::strong_count(slot) > 1,
    }
}

/// Whether the resolver says itself that there is no such name (RFC 6761): that shows nothing of
/// the name servers.
fn is_answered_here(name: &str) -> bool {
    name.rsplit('.').next() == Some("invalid")
}

/// Orders addresses for trying: each once, families alternating, IPv4 first, because a machine
/// without a working IPv6 route is more common than one without IPv4.
fn arrange(addresses: &[IpAddr]) -> Addresses {
    let mut families: [SmallVec<[IpAddr; ADDRESSES_KEPT_MAX]>; 2] = Default::default();
    for address in addresses {
        let family = &mut families[usize::from(address.is_ipv6())];
        if family.len() < ADDRESSES_KEPT_MAX && !family.contains(address) {
            family.push(*address);
        }
    }
    let mut list = SmallVec::new();
    for position in 0..ADDRESSES_KEPT_MAX {
        list.extend(families.iter().filter_map(|family| family.get(position)).copied());
    }
    list.truncate(ADDRESSES_KEPT_MAX);
    Addresses { list, first: Cell::new(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_lookup_that_was_cut_off_is_not_remembered() {
        let slot = Slot::default();
        assert!(!holds(&slot, 0));
        let waiting = Rc::clone(&slot);
        assert!(holds(&slot, 0), "somebody drives it");
        drop(waiting);
        slot.set(Entry { known: Err(Unresolved::NoAddress), until_us: 10 }).unwrap();
        assert!(holds(&slot, 9) && !holds(&slot, 10));
    }

    #[test]
    fn what_the_resolver_says_itself_shows_nothing_of_the_servers() {
        assert!(is_answered_here("x.invalid") && is_answered_here("invalid"));
        assert!(!is_answered_here("invalid.example") && !is_answered_here("x.notinvalid"));
    }

    #[test]
    fn families_alternate_and_repetitions_go() {
        let arranged = arrange(&addresses(&[
            "2001:db8::1",
            "192.0.2.1",
            "192.0.2.1",
            "192.0.2.2",
            "192.0.2.3",
        ]));
        assert_eq!(
            arranged.list.as_slice(),
            addresses(&["192.0.2.1", "2001:db8::1", "192.0.2.2", "192.0.2.3"])
        );
    }

    #[test]
    fn a_thousand_addresses_become_sixteen() {
        let many: Vec<IpAddr> = (0..1000_u32).map(|n| IpAddr::V4((n + 1).into())).collect();
        assert_eq!(arrange(&many).list.len(), ADDRESSES_KEPT_MAX);
        assert_eq!(arrange(&many).to_try().len(), ADDRESSES_TRIED_MAX);
    }

    #[test]
    fn the_address_that_worked_comes_first() {
        let all = addresses(&["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
        let arranged = arrange(&all);
        arranged.worked(all[1]);
        assert_eq!(
            arranged.to_try().as_slice(),
            addresses(&["192.0.2.2", "192.0.2.3", "192.0.2.1"])
        );
    }
}

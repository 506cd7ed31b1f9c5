//! Receivers that several endpoints share: how many attempts each has in flight, and who waits.
//!
//! Those that wait have tickets and are called in their order. Who is called has a place kept
//! until its turn comes, so nobody who came later can take it.
//!
//! Invariants: what is in flight and kept is within the cap, but for what was in flight when an
//! endpoint moved here; while somebody waits there is no free place.

use std::collections::{BTreeSet, HashMap};

use foldhash::fast::FixedState;
use slab::Slab;

use crate::table::NOWHERE;

/// A receiver.
#[derive(Debug, Default)]
pub(crate) struct Host {
    name: u64,
    /// Endpoints that go there.
    members: usize,
    /// Attempts in flight, or whose payload is being read.
    pub(crate) in_flight: usize,
    /// Places that are kept for who has been called.
    pub(crate) kept: usize,
    /// Who waits, by ticket.
    pub(crate) waiting: BTreeSet<(u64, u32)>,
}

impl Host {
    /// What it is called.
    pub(crate) const fn name(&self) -> u64 {
        self.name
    }
}

/// All receivers that are known at the moment, by number.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    hosts: Slab<Host>,
    by_name: HashMap<u64, u32, FixedState>,
    tickets: u64,
}

impl Hosts {
    /// The number of a receiver for one more endpoint; [`NOWHERE`] where it shares with nobody.
    pub(crate) fn join(&mut self, name: u64) -> u32 {
        if name == 0 {
            return NOWHERE;
        }
        let hosts = &mut self.hosts;
        let number = *self.by_name.entry(name).or_insert_with(|| {
            let host = Host { name, ..Host::default() };
            u32::try_from(hosts.insert(host)).expect("memory ends long before 2^32 hosts")
        });
        hosts[number as usize].members += 1;
        number
    }

    /// One endpoint goes there no longer; nothing of it is in flight or waits.
    pub(crate) fn leave(&mut self, number: u32) {
        let Some(host) = self.find_mut(number) else { return };
        host.members -= 1;
        if host.members == 0 {
            let gone = self.hosts.remove(number as usize);
            self.by_name.remove(&gone.name);
        }
    }

    /// What the receiver of this number is called; 0 where there is none.
    pub(crate) fn name(&self, number: u32) -> u64 {
        self.find(number).map_or(0, |host| host.name)
    }

    /// A receiver, where there is one.
    pub(crate) fn find(&self, number: u32) -> Option<&Host> {
        if number == NOWHERE { None } else { self.hosts.get(number as usize) }
    }

    /// The same, to change it.
    pub(crate) fn find_mut(&mut self, number: u32) -> Option<&mut Host> {
        if number == NOWHERE { None } else { self.hosts.get_mut(number as usize) }
    }

    /// The next ticket; never 0.
    pub(crate) const fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().map(|(_, host)| host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_known_while_an_endpoint_goes_there() {
        let mut hosts = Hosts::default();
        let (one, other) = (hosts.join(7), hosts.join(8));
        assert_eq!((hosts.join(7), hosts.join(0)), (one, NOWHERE));
        assert_eq!([one, other, NOWHERE].map(|number| hosts.name(number)), [7, 8, 0]);
        hosts.leave(one);
        hosts.leave(NOWHERE);
        assert_eq!(hosts.name(one), 7);
        hosts.leave(one);
        assert_eq!(hosts.iter().count(), 1);
        let again = hosts.join(7);
        assert_eq!(hosts.name(again), 7);
    }
}

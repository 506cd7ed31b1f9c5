//! Whose fault is it that a machine cannot be reached?
//!
//! Without our own way out (a route, a cable, a firewall's rule) every machine looks like one that
//! does not answer. One that is dead is its endpoint's fault and costs an attempt; all of them at
//! once are ours. So our way out counts as down when [`SILENT_MIN`] different addresses were
//! silent within a minute and nobody showed itself in between, and as up again with the first that
//! does: a connection, a refusal, an answer. What was begun before that moment had no chance, so
//! its silence is ours too. A day is as long as that lasts: by then what is tried is simply dead.
//!
//! Where fewer addresses are ever tried, their silence is therefore their own fault.

use std::io;
use std::net::IpAddr;

use rustix::io::Errno;
use smallvec::SmallVec;

/// So many addresses are not dead by chance in the same minute, while nobody else is alive.
const SILENT_MIN: usize = 8;
/// How far back an address counts.
const WINDOW_US: u64 = 60_000_000;
/// How long nothing but silence can be our fault.
const OUTAGE_US_MAX: u64 = 24 * 3_600 * 1_000_000;

/// What connecting came to lately.
#[derive(Debug, Default)]
pub(crate) struct Egress {
    /// Addresses that were silent since the last one that was not, each with its latest time.
    silent: SmallVec<[(IpAddr, u64); SILENT_MIN]>,
    down_since_us: Option<u64>,
    /// When it was up again the last time.
    up_since_us: u64,
}

impl Egress {
    /// Somebody out there showed itself.
    pub(crate) fn shown(&mut self, now_us: u64) {
        self.silent.clear();
        if self.down_since_us.take().is_some() {
            self.up_since_us = now_us;
        }
    }

    /// An address was silent since `begun_us`; says whether that is our fault.
    pub(crate) fn is_down(&mut self, address: IpAddr, begun_us: u64, now_us: u64) -> bool {
        if begun_us < self.up_since_us {
            return true;
        }
        if self.down_since_us.is_none() {
            let since = now_us.saturating_sub(WINDOW_US);
            self.silent.retain(|(known, at)| *at >= since && *known != address);
            self.silent.push((address, now_us));
            if self.silent.len() < SILENT_MIN {
                return false;
            }
        }
        let down_since_us = *self.down_since_us.get_or_insert(now_us);
        now_us.saturating_sub(down_since_us) < OUTAGE_US_MAX
    }
}

/// Whether an error says that nothing came back, or that nothing went out. A machine without IPv6
/// says so of every IPv6 address, which is no outage.
pub(crate) fn is_silence(error: &io::Error, address: IpAddr) -> bool {
    match Errno::from_io_error(error) {
        Some(Errno::NETUNREACH | Errno::HOSTUNREACH) => address.is_ipv4(),
        Some(Errno::TIMEDOUT | Errno::PERM | Errno::ACCESS) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const SECOND: u64 = 1_000_000;
    /// Any time will do; 0 would hide a subtraction that saturates.
    const NOW: u64 = 1_000_000 * SECOND;

    fn address(number: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, number).into()
    }

    fn down(egress: &mut Egress, numbers: std::ops::Range<u8>, now_us: u64) -> Vec<bool> {
        numbers.map(|number| egress.is_down(address(number), now_us - SECOND, now_us)).collect()
    }

    #[test]
    fn a_few_addresses_are_at_fault_themselves() {
        let mut egress = Egress::default();
        for minute in 0..600 {
            let now = NOW + minute * 6 * SECOND;
            assert_eq!(down(&mut egress, 1..8, now), [false; 7]);
        }
    }

    #[test]
    fn many_at_once_are_our_fault_until_one_shows_itself() {
        let mut egress = Egress::default();
        assert_eq!(down(&mut egress, 1..8, NOW), [false; 7]);
        assert_eq!(down(&mut egress, 8..9, NOW + SECOND), [true]);
        // Attempts are rare while the process is ill.
        let later = NOW + 3_600 * SECOND;
        assert_eq!(down(&mut egress, 1..2, later), [true]);
        egress.shown(later);
        assert_eq!(down(&mut egress, 1..9, later + SECOND / 2), [true; 8], "begun before");
        assert_eq!(down(&mut egress, 1..8, later + SECOND), [false; 7]);
    }

    #[test]
    fn one_that_shows_itself_in_between_tells_them_apart() {
        let mut egress = Egress::default();
        for round in 0..100 {
            assert_eq!(down(&mut egress, 1..8, NOW + round * SECOND), [false; 7]);
            egress.shown(NOW + round * SECOND);
        }
    }

    #[test]
    fn what_was_silent_long_ago_does_not_count() {
        let mut egress = Egress::default();
        for number in 1..=30 {
            let now = NOW + u64::from(number) * 9 * SECOND;
            assert_eq!(down(&mut egress, number..number + 1, now), [false], "{number}");
        }
    }

    #[test]
    fn nothing_stays_our_fault_for_more_than_a_day() {
        let mut egress = Egress::default();
        down(&mut egress, 1..9, NOW);
        assert_eq!(down(&mut egress, 1..2, NOW + OUTAGE_US_MAX - 1), [true]);
        assert_eq!(down(&mut egress, 1..2, NOW + OUTAGE_US_MAX), [false]);
    }

    #[test]
    fn a_refusal_is_no_silence_and_a_machine_without_ipv6_no_outage() {
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        for (errno, v4_is, v6_is) in [
            (Errno::NETUNREACH, true, false),
            (Errno::HOSTUNREACH, true, false),
            (Errno::TIMEDOUT, true, true),
            (Errno::PERM, true, true),
            (Errno::CONNREFUSED, false, false),
            (Errno::CONNRESET, false, false),
        ] {
            let error = io::Error::from(errno);
            let is = (is_silence(&error, address(1)), is_silence(&error, v6));
            assert_eq!(is, (v4_is, v6_is), "{errno:?}");
        }
    }
}

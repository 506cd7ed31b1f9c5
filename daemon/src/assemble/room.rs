//! Settings that fit into the file descriptors that the system lets the process have.
//!
//! A daemon that takes connections until there is no descriptor left cannot open the ledger's next
//! file either, and ends. So it takes fewer connections from the start.

use tracing::warn;

use crate::config::Config;

/// Descriptors that are neither a tenant's nor a receiver's connection: the ledger's tables and
/// journals, the registers, the runtime's own.
const OWN: usize = 1_024;
/// Admin connections: a scraper or two, a health check, a person.
pub(super) const ADMIN_CONNECTIONS_MAX: usize = 64;

/// Takes from the settings what does not fit below `limit` (none: there is no limit), and says so.
///
/// At most half of what there is stays the process's own. What is left, tenants and receivers get
/// in the proportion of the settings, each at least one.
pub fn fit(config: &mut Config, limit: Option<u64>) {
    let (server, delivery) = (config.server.connections_max, config.delivery.connections_max);
    let (wanted, room) = (server.saturating_add(delivery), room(limit));
    if wanted > room {
        let part = |of: usize| (of.saturating_mul(room) / wanted).clamp(1, of);
        limit_to(config, part(server), part(delivery));
    }
}

/// The same for a configuration that was read while `server` connections of tenants are taken at
/// most: that holds until the next start, and receivers get what is left.
pub fn fit_beside(config: &mut Config, limit: Option<u64>, server: usize) {
    let left = room(limit).saturating_sub(server).max(1);
    let delivery = config.delivery.connections_max;
    if delivery > left {
        limit_to(config, server, left);
    }
    config.server.connections_max = server;
}

/// What there is for connections of tenants and to receivers.
fn room(limit: Option<u64>) -> usize {
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    limit - (OWN + ADMIN_CONNECTIONS_MAX).min(limit / 2)
}

fn limit_to(config: &mut Config, server: usize, connections: usize) {
    config.server.connections_max = server;
    let delivery = &mut config.delivery;
    delivery.connections_max = connections;
    delivery.in_flight_max = delivery.in_flight_max.min(connections);
    delivery.idle_per_target_max = delivery.idle_per_target_max.min(connections);
    delivery.in_flight_per_endpoint_max =
        delivery.in_flight_per_endpoint_max.min(delivery.in_flight_max);
    warn!(
        connections_of_tenants = server,
        connections_to_receivers = connections,
        "fewer file descriptors than the settings need: fewer connections are taken (raise the \
         limit: LimitNOFILE= of the service, or ulimit -n)"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::layers::{Flag, Sources};

    fn config(server: &str, delivery: &str) -> Config {
        let set = [("server.connections-max", server), ("delivery.connections-max", delivery)];
        let flags = set.map(|(key, value)| Flag::Set(format!("{key}={value}")));
        crate::config::load(Sources { flags: flags.into(), ..Sources::default() }).unwrap().config
    }

    fn fitted(server: &str, delivery: &str, limit: Option<u64>) -> (usize, usize, usize) {
        let mut config = config(server, delivery);
        fit(&mut config, limit);
        let delivery = &config.delivery;
        assert!(delivery.in_flight_per_endpoint_max <= delivery.in_flight_max);
        (config.server.connections_max, delivery.connections_max, delivery.in_flight_max)
    }

    #[test]
    fn what_fits_stays() {
        let whole = fitted("4000", "4000", None);
        assert_eq!((whole.0, whole.1), (4_000, 4_000));
        assert_eq!(fitted("4000", "4000", Some(9_088)), whole);
    }

    /// A reload gives receivers no more than what the start has left them.
    #[test]
    fn a_reload_fits_beside_what_the_start_has_given() {
        for (limit, delivery) in [(8_192_usize, "16384"), (8_192, "3000"), (100, "9000")] {
            let mut started = config("4096", "4096");
            fit(&mut started, Some(limit as u64));
            let server = started.server.connections_max;
            let mut read = config("4096", delivery);
            fit_beside(&mut read, Some(limit as u64), server);
            let taken = read.server.connections_max + read.delivery.connections_max;
            assert_eq!(read.server.connections_max, server);
            assert!(taken <= room(Some(limit as u64)), "{taken} of {limit}");
            assert!(read.delivery.connections_max >= 1 && read.delivery.connections_max <= 16_384);
        }
    }

    /// For limits from nearly nothing on: what is taken fits, and each side has some.
    #[test]
    fn what_does_not_fit_is_taken_in_proportion() {
        for limit in [16_usize, 100, 256, 1_024, 4_096, 9_087] {
            let (server, delivery, in_flight) = fitted("9000", "3000", Some(limit as u64));
            assert!(server >= 1 && delivery >= 1 && in_flight <= delivery);
            let own = (OWN + ADMIN_CONNECTIONS_MAX).min(limit / 2);
            assert!(server + delivery + own <= limit, "{limit}");
            assert!((2..=4).contains(&(server / delivery)), "{limit}: {server} and {delivery}");
        }
    }
}

//! Which ports deliveries may go to.
//!
//! Ports below 1024 but 80 and 443 belong to other protocols. From 1024 on any port may serve a
//! webhook, but not the ones where databases, caches, brokers and control planes listen: a POST
//! there is either an attack on our own network or a mistake. Operators open ports by number.

use super::TargetError;
use crate::AddressPolicy;

const HTTP: u16 = 80;
const HTTPS: u16 = 443;
/// The first port that is not a system port (RFC 6335).
const USER_PORT_MIN: u16 = 1024;

/// Well-known services above the system ports: those that obey what an HTTP request happens to
/// say, those whose HTTP interface needs no credentials by default, and the ones that browsers
/// refuse (the Fetch standard's bad ports).
const SERVICES: [(u16, &str); 57] = [
    (1080, "socks"),
    (1433, "sql server"),
    (1434, "sql server"),
    (1521, "oracle"),
    (1719, "h323"),
    (1720, "h323"),
    (1723, "pptp"),
    (2049, "nfs"),
    (2181, "zookeeper"),
    (2375, "docker"),
    (2376, "docker"),
    (2377, "docker swarm"),
    (2379, "etcd"),
    (2380, "etcd"),
    (3128, "squid"),
    (3306, "mysql"),
    (3389, "rdp"),
    (3659, "apple sasl"),
    (4045, "nfs lock"),
    (4190, "sieve"),
    (4222, "nats"),
    (4369, "erlang"),
    (5060, "sip"),
    (5061, "sip"),
    (5432, "postgresql"),
    (5672, "amqp"),
    (5900, "vnc"),
    (5984, "couchdb"),
    (5985, "winrm"),
    (5986, "winrm"),
    (6000, "x11"),
    (6379, "redis"),
    (6443, "kubernetes"),
    (6566, "sane"),
    (6665, "irc"),
    (6666, "irc"),
    (6667, "irc"),
    (6668, "irc"),
    (6669, "irc"),
    (6679, "irc"),
    (6697, "irc"),
    (8500, "consul"),
    (9042, "cassandra"),
    (9092, "kafka"),
    (9200, "elasticsearch"),
    (9300, "elasticsearch"),
    (10080, "amanda"),
    (10250, "kubelet"),
    (10255, "kubelet"),
    (11211, "memcached"),
    (15672, "rabbitmq"),
    (16379, "redis"),
    (26379, "redis sentinel"),
    (27017, "mongodb"),
    (27018, "mongodb"),
    (27019, "mongodb"),
    (50070, "hdfs"),
];

/// The scheme's own port.
pub(super) const fn default_of(https: bool) -> u16 {
    if https { HTTPS } else { HTTP }
}

/// Parses what follows the host's colon: nothing (the scheme's port), or 1 to 65535 in its
/// shortest decimal form, so that a port has one spelling.
pub(super) fn parse(digits: &str) -> Result<Option<u16>, TargetError> {
    if digits.is_empty() {
        return Ok(None);
    }
    let shortest = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    match digits.parse() {
        Ok(port) if shortest => Ok(Some(port)),
        _ => Err(TargetError::Port),
    }
}

/// Whether a tenant may name `port`.
pub(super) fn check(port: u16, policy: &AddressPolicy) -> Result<(), TargetError> {
    let service = match port {
        HTTP | HTTPS => return Ok(()),
        0..USER_PORT_MIN => "a system port",
        _ => match SERVICES.binary_search_by_key(&port, |(known, _)| *known) {
            Ok(found) => SERVICES[found].1,
            Err(_) => return Ok(()),
        },
    };
    if policy.allow_ports.contains(&port) {
        return Ok(());
    }
    Err(TargetError::PortRefused { port, service })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_sorted_user_ports() {
        assert!(SERVICES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(SERVICES.iter().all(|(port, _)| *port >= USER_PORT_MIN));
    }

    /// For all ports: allowed by default exactly if 80, 443, or a user port of no known service.
    #[test]
    fn the_default_rule_decides_every_port() {
        for port in 0..=u16::MAX {
            let known = SERVICES.iter().any(|(service, _)| *service == port);
            let expected = matches!(port, 80 | 443) || (port >= 1024 && !known);
            let verdict = check(port, &AddressPolicy::default());
            assert_eq!(verdict.is_ok(), expected, "{port}");
            let opened = AddressPolicy { allow_ports: vec![port], ..AddressPolicy::default() };
            assert_eq!(check(port, &opened), Ok(()), "{port}");
        }
    }

    #[test]
    fn a_port_has_one_spelling() {
        assert_eq!(parse(""), Ok(None));
        assert_eq!(parse("1"), Ok(Some(1)));
        assert_eq!(parse("65535"), Ok(Some(65535)));
        for bad in ["0", "00", "080", "65536", "99999999999999", "+80", "-1", "8 0", "8a", "٨٠"] {
            assert_eq!(parse(bad), Err(TargetError::Port), "{bad}");
        }
    }
}

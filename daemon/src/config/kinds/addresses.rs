//! Addresses: where to listen, where deliveries may go, whom to ask for names.
//!
//! Refuses names: a name is resolved when it is used, and a configuration that means something
//! else tomorrow is no configuration.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use toml::Value;

use super::Kind;

/// The port of name servers.
const DNS_PORT: u16 = 53;
/// What turns a listener off.
const NONE: &str = "none";

/// An address and a port to listen on.
pub(in crate::config) struct Address;

impl Kind for Address {
    type Value = SocketAddr;

    fn form(&self) -> String {
        "an IP address and a port, such as \"127.0.0.1:8080\" or \"[::]:8080\" (port 0 takes a \
         free one)"
            .to_owned()
    }

    fn parse(&self, text: &str) -> Result<SocketAddr, String> {
        text.parse().map_err(|_| match text.parse::<IpAddr>() {
            Ok(_) => "has no port".to_owned(),
            Err(_) => "is no such address".to_owned(),
        })
    }

    fn show(&self, value: &SocketAddr) -> Value {
        Value::from(value.to_string())
    }
}

/// An address and a port to listen on, or no listener.
pub(in crate::config) struct AddressOrNone;

impl Kind for AddressOrNone {
    type Value = Option<SocketAddr>;

    fn form(&self) -> String {
        format!("{}, or {NONE:?}", Address.form())
    }

    fn parse(&self, text: &str) -> Result<Self::Value, String> {
        if text == NONE { Ok(None) } else { Address.parse(text).map(Some) }
    }

    fn show(&self, value: &Self::Value) -> Value {
        value.as_ref().map_or_else(|| Value::from(NONE), |value| Address.show(value))
    }
}

/// A range of addresses.
pub(in crate::config) struct Network;

impl Kind for Network {
    type Value = IpNet;

    fn form(&self) -> String {
        "a range of addresses, such as \"10.0.0.0/8\" or \"fd00::/8\"".to_owned()
    }

    fn parse(&self, text: &str) -> Result<IpNet, String> {
        let Ok(network) = text.parse::<IpNet>() else {
            return Err(match text.parse::<IpAddr>() {
                Ok(address) => {
                    format!("has no prefix length: write \"{}\" for this one", IpNet::from(address))
                }
                Err(_) => "is no such range".to_owned(),
            });
        };
        if network.addr() != network.network() {
            return Err(format!("has bits beyond its prefix: write \"{}\"", network.trunc()));
        }
        Ok(network)
    }

    fn show(&self, value: &IpNet) -> Value {
        Value::from(value.to_string())
    }
}

/// A name server; its port may be left out.
pub(in crate::config) struct NameServer;

impl Kind for NameServer {
    type Value = SocketAddr;

    fn form(&self) -> String {
        format!("a name server's IP address, with a port if it is not {DNS_PORT}")
    }

    fn parse(&self, text: &str) -> Result<SocketAddr, String> {
        let address = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, DNS_PORT));
        let server = address.or_else(|_| text.parse::<SocketAddr>());
        match server {
            Ok(server) if server.port() == 0 => Err("has port 0".to_owned()),
            Ok(server) => Ok(server),
            Err(_) => Err("is no IP address".to_owned()),
        }
    }

    fn show(&self, value: &SocketAddr) -> Value {
        if value.port() == DNS_PORT {
            Value::from(value.ip().to_string())
        } else {
            Value::from(value.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_have_an_address_and_a_port() {
        assert_eq!(Address.parse("[::1]:80").unwrap().to_string(), "[::1]:80");
        assert_eq!(Address.parse("127.0.0.1").unwrap_err(), "has no port");
        for bad in ["", ":8080", "localhost:8080", "127.0.0.1:65536", "8080", "http://1.2.3.4:80"] {
            assert!(Address.parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(AddressOrNone.parse("none"), Ok(None));
        assert!(AddressOrNone.parse("None").is_err());
    }

    #[test]
    fn a_range_is_written_in_one_way() {
        assert_eq!(Network.parse("10.0.0.0/8").unwrap().to_string(), "10.0.0.0/8");
        let fault = |text| Network.parse(text).unwrap_err();
        assert_eq!(fault("10.0.0.1/8"), "has bits beyond its prefix: write \"10.0.0.0/8\"");
        assert_eq!(fault("127.0.0.1"), "has no prefix length: write \"127.0.0.1/32\" for this one");
        assert_eq!(fault("10.0.0.0/33"), "is no such range");
        assert_eq!(fault("example.com"), "is no such range");
    }

    #[test]
    fn name_servers_have_a_port_of_their_own() {
        for (text, shown) in [
            ("1.1.1.1", "1.1.1.1"),
            ("1.1.1.1:53", "1.1.1.1"),
            ("[::1]:5353", "[::1]:5353"),
            ("::1", "::1"),
        ] {
            assert_eq!(NameServer.show(&NameServer.parse(text).unwrap()), Value::from(shown));
        }
        for bad in ["dns.example", "1.1.1.1:0", ""] {
            assert!(NameServer.parse(bad).is_err(), "{bad:?}");
        }
    }
}

//! The system resolver against a name server of our own on loopback.

use std::net::{Ipv4Addr, Ipv6Addr};

use posthaste_delivery::{Client, Settings};
use posthaste_domain::{AddressPolicy, ErrorClass, Verdict};
use tokio::net::UdpSocket;

use crate::name_server::{NameServer, Zone};
use crate::support::{
    OK, Server, answering, attempt, clock, failed, not_charged, opening, run, settings,
};

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn v4(addresses: &[Ipv4Addr]) -> Zone {
    Zone::Addresses(addresses.to_vec(), Vec::new(), 60)
}

/// For each way in which a name server can answer: one verdict.
#[test]
fn answers_of_a_name_server_become_verdicts() {
    run(async {
        let server = Server::start(answering(OK)).await;
        let public: Ipv4Addr = "93.184.216.34".parse().unwrap();
        let private: Ipv6Addr = "fd00:ec2::254".parse().unwrap();
        let resolver = NameServer::start(vec![
            ("good.example.com", v4(&[LOOPBACK])),
            ("alias.example.com", Zone::alias("alias2.example.com")),
            ("alias2.example.com", Zone::alias("good.example.com")),
            ("truncated.example.com", Zone::Truncated(v4(&[LOOPBACK]).boxed())),
            ("mixed.example.com", Zone::Addresses(vec![LOOPBACK], vec![private], 60)),
            ("tolocal.example.com", Zone::alias("localhost")),
            ("localhost", v4(&["10.0.0.1".parse().unwrap()])),
            ("elsewhere.example.com", Zone::OtherName(public)),
            ("nothing.example.com", v4(&[])),
            ("servfail.example.com", Zone::Code(2)),
            ("refused.example.com", Zone::Code(5)),
            ("loop.example.com", Zone::alias("loop.example.com")),
        ])
        .await;
        let client = resolver.client(opening(&["127.0.0.0/8"]));
        let no_address = failed(ErrorClass::DnsNoAddress);
        for (name, verdict) in [
            ("good.example.com", Verdict::Delivered),
            ("alias.example.com", Verdict::Delivered),
            ("truncated.example.com", Verdict::Delivered),
            ("mixed.example.com", failed(ErrorClass::AddressRefused)),
            ("tolocal.example.com", failed(ErrorClass::AddressRefused)),
            ("nothing.example.com", no_address),
            ("unknown.example.com", no_address),
            ("servfail.example.com", failed(ErrorClass::DnsUnavailable)),
            ("refused.example.com", failed(ErrorClass::DnsUnavailable)),
        ] {
            let made = attempt(&client, &format!("http://{name}:{}/", server.address.port())).await;
            assert_eq!(made.verdict, verdict, "{name}: {made:?}");
        }
        for name in ["elsewhere.example.com", "loop.example.com"] {
            let made = attempt(&client, &format!("http://{name}:{}/", server.address.port())).await;
            let class = match made.verdict {
                Verdict::Failed { class, .. } => Some(class),
                _ => None,
            };
            let dns = [Some(ErrorClass::DnsNoAddress), Some(ErrorClass::DnsUnavailable)];
            assert!(dns.contains(&class), "{name}: {made:?}");
        }
        assert_eq!(server.seen.request_count(), 3);
    });
}

/// A name is asked for as it is: no search domain is tried behind it.
#[test]
fn names_are_absolute() {
    run(async {
        let resolver = NameServer::start(Vec::<(&str, Zone)>::new()).await;
        // A private network is opened, so that single labels are asked for at all.
        let client = resolver.client(opening(&["10.0.0.0/8"]));
        for name in ["intranet", "a.b", "under_score.example.com", "xn--bcher-kva.example"] {
            let made = attempt(&client, &format!("http://{name}/")).await;
            assert_eq!(made.verdict, failed(ErrorClass::DnsNoAddress), "{name}: {made:?}");
            let mut asked = resolver.take_asked();
            asked.dedup();
            assert_eq!(asked, [name]);
        }
    });
}

/// A name server that does not answer is given up after the lookup's limit.
#[test]
fn a_silent_name_server_is_given_up() {
    run(async {
        let resolver = NameServer::start(vec![("silent.example.com", Zone::Silence)]).await;
        let client = resolver.client(AddressPolicy::default());
        let made = attempt(&client, "http://silent.example.com/").await;
        assert_eq!(made.verdict, failed(ErrorClass::DnsUnavailable), "{made:?}");
        assert!(made.phases.dns_us <= 13_000_000, "{:?}", made.phases);
        assert!(!resolver.take_asked().is_empty());
    });
}

/// Where nothing answers on the name server's port, whatever the name, the fault is ours.
#[test]
fn a_name_server_that_is_not_there_is_our_fault() {
    run(async {
        // Holds the port, and hears nobody but the one it is connected to.
        let deaf = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        deaf.connect("127.0.0.2:9").await.unwrap();
        let gone = deaf.local_addr().unwrap();
        let settings = Settings { dns_servers: vec![gone], dns_timeout_ms: 500, ..settings() };
        let client = Client::new(settings, clock()).unwrap();
        let made = attempt(&client, "http://first.example.com/").await;
        assert_eq!(made.verdict, failed(ErrorClass::DnsUnavailable), "{made:?}");
        for name in ["second", "first", "third"] {
            let made = attempt(&client, &format!("http://{name}.example.com/")).await;
            assert_eq!(made.verdict, not_charged(ErrorClass::DnsUnavailable), "{made:?}");
        }
    });
}

/// `localhost` is loopback without asking anybody, and so it is the guard's matter.
#[test]
fn localhost_is_loopback() {
    run(async {
        let server = Server::start(answering(OK)).await;
        let resolver = NameServer::start(Vec::<(&str, Zone)>::new()).await;
        let url = format!("http://localhost:{}/", server.address.port());
        let open = resolver.client(opening(&["127.0.0.0/8", "::1/128"]));
        assert_eq!(attempt(&open, &url).await.verdict, Verdict::Delivered);
        let guarded = resolver.client(opening(&[]));
        assert_eq!(attempt(&guarded, &url).await.verdict, failed(ErrorClass::AddressRefused));
        assert!(resolver.take_asked().is_empty());
    });
}

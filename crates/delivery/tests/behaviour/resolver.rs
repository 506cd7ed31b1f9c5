//! The system resolver against a name server of our own on loopback, which speaks DNS by hand.

use std::cell::RefCell;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use posthaste_delivery::{Client, Settings};
use posthaste_domain::{AddressPolicy, ErrorClass, Verdict};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

use crate::support::{
    OK, Server, answering, attempt, clock, failed, not_charged, opening, run, settings, spawn,
};

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;

/// What the name server answers for a name.
#[derive(Clone, Debug)]
enum Zone {
    /// Addresses, with a TTL.
    Addresses(Vec<Ipv4Addr>, Vec<Ipv6Addr>, u32),
    /// An alias.
    Alias(&'static str),
    /// As many addresses as do not fit into a UDP answer.
    Truncated(Ipv4Addr),
    /// An answer that names somebody else.
    OtherName(Ipv4Addr),
    /// A response code: 2 SERVFAIL, 3 NXDOMAIN, 5 REFUSED.
    Code(u8),
    /// No answer at all.
    Silence,
}

struct NameServer {
    address: SocketAddr,
    asked: Rc<RefCell<Vec<String>>>,
}

impl NameServer {
    async fn start(zones: Vec<(&'static str, Zone)>) -> Self {
        let (udp, tcp) = bind_both().await;
        let address = udp.local_addr().unwrap();
        let asked = Rc::new(RefCell::new(Vec::new()));
        let (zones, log) = (Rc::new(zones), Rc::clone(&asked));
        let by_tcp = Rc::clone(&zones);
        spawn(async move {
            let mut query = [0; 1500];
            loop {
                let (length, peer) = udp.recv_from(&mut query).await.unwrap();
                log.borrow_mut().push(name_of(&query[..length]));
                if let Some(answer) = reply(&zones, &query[..length], false) {
                    udp.send_to(&answer, peer).await.unwrap();
                }
            }
        });
        spawn(async move {
            loop {
                let (mut stream, _) = tcp.accept().await.unwrap();
                let zones = Rc::clone(&by_tcp);
                spawn(async move {
                    while let Ok(length) = stream.read_u16().await {
                        let mut query = vec![0; usize::from(length)];
                        stream.read_exact(&mut query).await.unwrap();
                        let Some(answer) = reply(&zones, &query, true) else { return };
                        stream.write_u16(answer.len().try_into().unwrap()).await.unwrap();
                        stream.write_all(&answer).await.unwrap();
                    }
                });
            }
        });
        Self { address, asked }
    }

    fn client(&self, policy: AddressPolicy) -> Client {
        let settings = Settings {
            address_policy: policy,
            dns_servers: vec![self.address],
            dns_timeout_ms: 3_000,
            ..settings()
        };
        Client::new(settings, clock()).unwrap()
    }
}

/// One port for both protocols. The system gives a port that is free for the first one only, so
/// that others are tried until one is free for both.
async fn bind_both() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
}

/// The name in a query, in lower case, without the dot at its end.
fn name_of(query: &[u8]) -> String {
    let mut labels = Vec::new();
    let mut at = 12;
    while query[at] > 0 {
        let length = usize::from(query[at]);
        labels.push(String::from_utf8(query[at + 1..=at + length].to_vec()).unwrap());
        at += 1 + length;
    }
    labels.join(".").to_lowercase()
}

fn wire_name(name: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name.split('.') {
        wire.push(u8::try_from(label.len()).unwrap());
        wire.extend_from_slice(label.as_bytes());
    }
    wire.push(0);
    wire
}

fn record(name: &str, kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut wire = wire_name(name);
    wire.extend_from_slice(&kind.to_be_bytes());
    wire.extend_from_slice(&1_u16.to_be_bytes());
    wire.extend_from_slice(&ttl.to_be_bytes());
    wire.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
    wire.extend_from_slice(data);
    wire
}

/// The answer to a query; none for silence.
fn reply(zones: &[(&'static str, Zone)], query: &[u8], tcp: bool) -> Option<Vec<u8>> {
    let name = name_of(query);
    let question_end = 12 + wire_name(&name).len() + 4;
    let kind = u16::from_be_bytes([query[question_end - 4], query[question_end - 3]]);
    let mut code = 0;
    let mut truncated = false;
    let mut answers = Vec::new();
    let mut next = name;
    // Follows aliases, as a recursive resolver does.
    for _ in 0..16 {
        let zone = zones.iter().find(|(known, _)| *known == next).map(|(_, zone)| zone);
        match zone {
            None => code = 3,
            Some(Zone::Silence) => return None,
            Some(Zone::Code(given)) => code = *given,
            Some(Zone::Alias(target)) => {
                answers.push(record(&next, CNAME, 60, &wire_name(target)));
                next = (*target).to_owned();
                continue;
            }
            Some(Zone::Addresses(v4, _, ttl)) if kind == A => {
                answers.extend(v4.iter().map(|ip| record(&next, A, *ttl, &ip.octets())));
            }
            Some(Zone::Addresses(_, v6, ttl)) if kind == AAAA => {
                answers.extend(v6.iter().map(|ip| record(&next, AAAA, *ttl, &ip.octets())));
            }
            Some(Zone::Truncated(_)) if !tcp => truncated = true,
            Some(Zone::Truncated(ip)) if kind == A => {
                answers.push(record(&next, A, 60, &ip.octets()));
            }
            Some(Zone::OtherName(ip)) if kind == A => {
                answers.push(record("else.example.com", A, 60, &ip.octets()));
            }
            Some(_) => {}
        }
        break;
    }
    let mut wire = query[..2].to_vec();
    wire.extend_from_slice(&[0x81 | (u8::from(truncated) << 1), 0x80 | code]);
    for count in [1, u16::try_from(answers.len()).unwrap(), 0, 0] {
        wire.extend_from_slice(&count.to_be_bytes());
    }
    wire.extend_from_slice(&query[12..question_end]);
    wire.extend(answers.concat());
    Some(wire)
}

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
            ("alias.example.com", Zone::Alias("alias2.example.com")),
            ("alias2.example.com", Zone::Alias("good.example.com")),
            ("truncated.example.com", Zone::Truncated(LOOPBACK)),
            ("mixed.example.com", Zone::Addresses(vec![LOOPBACK], vec![private], 60)),
            ("tolocal.example.com", Zone::Alias("localhost")),
            ("localhost", v4(&["10.0.0.1".parse().unwrap()])),
            ("elsewhere.example.com", Zone::OtherName(public)),
            ("nothing.example.com", v4(&[])),
            ("servfail.example.com", Zone::Code(2)),
            ("refused.example.com", Zone::Code(5)),
            ("loop.example.com", Zone::Alias("loop.example.com")),
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
        let resolver = NameServer::start(Vec::new()).await;
        // A private network is opened, so that single labels are asked for at all.
        let client = resolver.client(opening(&["10.0.0.0/8"]));
        for name in ["intranet", "a.b", "under_score.example.com", "xn--bcher-kva.example"] {
            let made = attempt(&client, &format!("http://{name}/")).await;
            assert_eq!(made.verdict, failed(ErrorClass::DnsNoAddress), "{name}: {made:?}");
            let mut asked = resolver.asked.take();
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
        assert!(!resolver.asked.borrow().is_empty());
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
        let resolver = NameServer::start(Vec::new()).await;
        let url = format!("http://localhost:{}/", server.address.port());
        let open = resolver.client(opening(&["127.0.0.0/8", "::1/128"]));
        assert_eq!(attempt(&open, &url).await.verdict, Verdict::Delivered);
        let guarded = resolver.client(opening(&[]));
        assert_eq!(attempt(&guarded, &url).await.verdict, failed(ErrorClass::AddressRefused));
        assert!(resolver.asked.borrow().is_empty());
    });
}

//! Names that lead into our own network, by every way that a name server has, and names that
//! change: nobody there is ever connected to.
//!
//! 127.0.0.1 and `::1` play the public internet, and 127.0.0.2 our network where it has to be seen
//! that nobody comes; all other private addresses are as they are. Real ones on both stacks, with
//! the whole process, are `daemon/tests/it/ssrf.rs`' matter.

use std::net::SocketAddr;
use std::time::Duration;

use posthaste_delivery::Client;
use posthaste_domain::{AddressPolicy, Attempt, ErrorClass, TargetUrl, Verdict};
use tokio::net::{TcpListener, UdpSocket};

use crate::name_server::{NameServer, Zone};
use crate::support::{
    OK, Server, TestClock, answering, attempt, clock, failed, opening, proof, run, settings, tries,
};

/// A public address that nothing is ever sent to: it is part of refused answers only.
const PUBLIC: &str = "93.184.216.34";
const PUBLIC_V6: &str = "2606:2800:220:1:248:1893:25c8:1946";
/// Forms of the address at which the server of these tests hears, guarded or not.
const HEARD: [&str; 4] = ["127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1", "::1"];

/// A server that hears on 127.0.0.1 and, at the same port, on `::1`, where the machine has it.
struct BothStacks {
    v4: Server,
    v6: Option<Server>,
}

impl BothStacks {
    async fn start() -> Self {
        if TcpListener::bind("[::1]:0").await.is_err() {
            return Self { v4: Server::start(answering(OK)).await, v6: None };
        }
        loop {
            let v4 = Server::start(answering(OK)).await;
            let other = SocketAddr::new("::1".parse().unwrap(), v4.address.port());
            if TcpListener::bind(other).await.is_ok() {
                let v6 = Some(Server::bind(other, vec![answering(OK)]).await);
                return Self { v4, v6 };
            }
        }
    }

    fn port(&self) -> u16 {
        self.v4.address.port()
    }

    fn connections(&self) -> usize {
        let v6 = self.v6.as_ref().map_or(0, |v6| v6.seen.connections.get());
        self.v4.seen.connections.get() + v6
    }
}

/// Each name that begins with `way-` leads to somewhere private; the others are on their way.
fn ways_inside() -> Vec<(String, Zone)> {
    let mut ways: Vec<(String, Zone)> = Vec::new();
    let mut add = |zone: Zone| {
        let name = format!("way-{}.example.com", ways.len());
        ways.push((name, zone));
    };
    for private in [
        "127.0.0.1",
        "127.0.0.53",
        "169.254.169.254",
        "10.0.0.5",
        "0.0.0.0",
        "192.168.0.1",
        "172.31.255.255",
        "100.64.0.1",
        "255.255.255.255",
        "224.0.0.251",
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b::7f00:1",
        "64:ff9b:1::7f00:1",
        "2002:7f00:1::",
        "2001:0:4136:e378:8000:63bf:80ff:fffe",
        "2606:4700::5efe:7f00:1",
    ] {
        add(Zone::of(&[private]));
        // Mixed with good ones, on either side, on the same stack and on the other.
        add(Zone::of(&[PUBLIC, PUBLIC_V6, private]));
        add(Zone::of(&[private, PUBLIC, PUBLIC_V6]));
        add(Zone::of(&[PUBLIC, private]));
        add(Zone::of(&[PUBLIC_V6, private]));
    }
    let mut many: Vec<String> =
        (0..999).map(|n| format!("93.184.{}.{}", n / 250, n % 250)).collect();
    many.push("127.0.0.1".to_owned());
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    add(Zone::Truncated(Zone::of(&many).boxed()));
    add(Zone::Cut(Zone::of(&[PUBLIC]).boxed(), Zone::of(&many).boxed()));
    add(Zone::Truncated(Zone::of(&["169.254.169.254"]).boxed()));
    add(Zone::Forged(Zone::of(&[PUBLIC]).boxed(), Zone::of(&["127.0.0.1"]).boxed()));
    add(Zone::alias("localhost"));
    add(Zone::alias("metadata.google.internal"));
    add(Zone::BareAlias("metadata.google.internal".to_owned()));
    add(Zone::alias("way-0.example.com"));
    ways.push(("localhost".to_owned(), Zone::of(&["127.0.0.1"])));
    ways.push(("metadata.google.internal".to_owned(), Zone::of(&["169.254.169.254"])));
    ways
}

/// For all ways: `address_refused`, and not one connection. With the guard open the same names
/// reach the server.
#[test]
fn no_answer_leads_inside() {
    run(async {
        let inside = BothStacks::start().await;
        let ways = ways_inside();
        let resolver = NameServer::start(ways.clone()).await;
        let client = resolver.client(opening(&[]));
        let asked = ways.iter().filter(|(name, _)| name.starts_with("way-"));
        let mut held = 0;
        for (name, zone) in asked.clone() {
            let made = attempt(&client, &format!("http://{name}:{}/", inside.port())).await;
            assert_eq!(made.verdict, failed(ErrorClass::AddressRefused), "{zone:?}: {made:?}");
            assert!(!resolver.take_asked().is_empty());
            held += 1;
        }
        assert_eq!((inside.connections(), client.stats().connections_opened), (0, 0));

        // The control: a guard that is open, and the ways that end where somebody hears.
        let resolver = NameServer::start(ways.clone()).await;
        let client = resolver.client(opening(&["0.0.0.0/0", "::/0"]));
        let hears = |to: &str| HEARD.contains(&to) && (to != "::1" || inside.v6.is_some());
        let heard = asked.filter(|(_, zone)| leads_to(zone).is_some_and(|to| hears(&to)));
        let mut reached = 0;
        for (name, zone) in heard {
            let made = attempt(&client, &format!("http://{name}:{}/", inside.port())).await;
            assert_eq!(made.verdict, Verdict::Delivered, "{zone:?}: {made:?}");
            reached += 1;
        }
        assert!(reached >= HEARD.iter().filter(|to| hears(to)).count() && inside.connections() > 0);
        proof(16, held, held, &format!("with the guard open {reached} of them reached a server"));
    });
}

/// The one address of a zone.
fn leads_to(zone: &Zone) -> Option<String> {
    match zone {
        Zone::Addresses(v4, v6, _) if v4.len() + v6.len() == 1 => {
            let v4 = v4.first().map(ToString::to_string);
            v4.or_else(|| v6.first().map(ToString::to_string))
        }
        _ => None,
    }
}

/// What comes of many tries with names that lead out at one lookup and inside at the next.
#[derive(Debug, Default)]
struct Flips {
    delivered: usize,
    refused: usize,
}

impl Flips {
    fn note(&mut self, made: &Attempt) {
        match made.verdict {
            Verdict::Delivered => self.delivered += 1,
            verdict => {
                assert_eq!(verdict, failed(ErrorClass::AddressRefused), "{made:?}");
                self.refused += 1;
            }
        }
    }
}

async fn flip(client: &Client, clock: &TestClock, name: &str, port: u16, times: usize) -> Flips {
    let mut flips = Flips::default();
    for _ in 0..times {
        flips.note(&attempt(client, &format!("http://{name}:{port}/")).await);
        clock.advance(Duration::from_secs(1));
    }
    flips
}

/// DNS rebinding on both stacks: every name is good at one lookup and bad at the next, a thousand
/// times, with a TTL of 0. Nobody inside is connected to, be it anew or over a connection that is
/// still there from the lookup before. (127.0.0.2 is inside, on the other stack in its mapped
/// form.)
#[test]
fn rebinding_gains_nothing_on_either_stack() {
    run(async {
        let outside = BothStacks::start().await;
        let Some(v6) = &outside.v6 else {
            println!(
                "skipped: this machine has no ::1 (tests/behaviour/guard.rs has the other stack)"
            );
            return;
        };
        let inside = SocketAddr::new("127.0.0.2".parse().unwrap(), outside.port());
        let inside = Server::bind(inside, vec![answering(OK)]).await;
        let turns = |good: &[&str], bad: &[&str]| {
            Zone::Turns(vec![Zone::fleeting(good), Zone::fleeting(bad)])
        };
        let names = [
            ("v4.example.com", turns(&["127.0.0.1"], &["127.0.0.2"])),
            ("v6.example.com", turns(&["::1"], &["::ffff:127.0.0.2"])),
            ("both.example.com", turns(&["127.0.0.1", "::1"], &["127.0.0.2", "::ffff:127.0.0.2"])),
            ("half.example.com", turns(&["127.0.0.1", "::1"], &["127.0.0.1", "::ffff:127.0.0.2"])),
            ("more.example.com", turns(&["127.0.0.1"], &["127.0.0.1", "127.0.0.2"])),
        ];
        let resolver = NameServer::start(names.to_vec()).await;
        let (client, clock) = resolver.client_with_clock(opening(&["127.0.0.1/32", "::1/128"]));
        let each = tries(1_000, 10_000) / names.len();
        let mut held = 0;
        for (name, _) in &names {
            let flips = flip(&client, &clock, name, outside.port(), each).await;
            // Half of them, but for a question that was asked twice.
            assert!(flips.delivered.abs_diff(flips.refused) <= each / 10, "{name}: {flips:?}");
            held += flips.delivered + flips.refused;
        }
        assert_eq!(inside.seen.connections.get(), 0);
        assert!(outside.v4.seen.connections.get() > 0 && v6.seen.connections.get() > 0);

        let open = opening(&["127.0.0.0/8", "::/0"]);
        let (client, clock) = resolver.client_with_clock(open);
        flip(&client, &clock, "v4.example.com", outside.port(), 10).await;
        flip(&client, &clock, "v6.example.com", outside.port(), 10).await;
        let reached = inside.seen.connections.get();
        assert!(reached >= 2, "{reached}");
        let control = format!("with the guard open 20 flips made {reached} connections inside");
        proof(16, held, held, &control);
    });
}

/// A connection that is kept from before a name moved inside is not used for it any more.
#[test]
fn a_pooled_connection_does_not_outlive_the_move_inside() {
    run(async {
        let server = Server::start(answering(OK)).await;
        let moving = Zone::Turns(vec![Zone::fleeting(&["127.0.0.1"]), Zone::of(&["10.0.0.5"])]);
        let resolver = NameServer::start(vec![("moving.example.com", moving)]).await;
        let (client, clock) = resolver.client_with_clock(opening(&["127.0.0.1/32"]));
        let url = format!("http://moving.example.com:{}/", server.address.port());
        assert_eq!(attempt(&client, &url).await.verdict, Verdict::Delivered);
        assert!(attempt(&client, &url).await.phases.reused, "it is kept");
        clock.advance(Duration::from_secs(1));
        for _ in 0..10 {
            let made = attempt(&client, &url).await;
            assert_eq!(made.verdict, failed(ErrorClass::AddressRefused), "{made:?}");
        }
        assert_eq!(server.seen.request_count(), 2);
    });
}

/// Chains of aliases end: followed to their end where that is near, refused where it is inside,
/// and no address where they do not end.
#[test]
fn chains_of_aliases_end() {
    run(async {
        let server = Server::start(answering(OK)).await;
        let mut known: Vec<(String, Zone)> = Vec::new();
        let mut chain = |head: &str, length: usize, end: &str, link: fn(String) -> Zone| {
            let name = |n: usize| if n == 0 { head.to_owned() } else { format!("{n}.{head}") };
            known.extend((0..length).map(|n| (name(n), link(name(n + 1)))));
            known.push((name(length), Zone::of(&[end])));
        };
        for length in [8, 9] {
            chain(&format!("out-{length}.example.com"), length, "127.0.0.1", Zone::Alias);
            chain(&format!("in-{length}.example.com"), length, "10.0.0.5", Zone::Alias);
            chain(&format!("bare-{length}.example.com"), length, "10.0.0.5", Zone::BareAlias);
        }
        known.push(("loop.example.com".to_owned(), Zone::alias("loop2.example.com")));
        known.push(("loop2.example.com".to_owned(), Zone::BareAlias("loop.example.com".into())));
        let resolver = NameServer::start(known).await;
        let client = resolver.client(opening(&["127.0.0.0/8"]));
        let mut made = Vec::new();
        for name in ["out-8", "out-9", "in-8", "in-9", "bare-8", "bare-9", "loop"] {
            let url = format!("http://{name}.example.com:{}/", server.address.port());
            let attempt = attempt(&client, &url).await;
            let questions = resolver.take_asked().len();
            assert!(questions <= 64, "{name}: {questions} questions");
            made.push((name, attempt.verdict));
        }
        let refused = failed(ErrorClass::AddressRefused);
        for (name, verdict) in made {
            match name {
                "out-8" | "out-9" => assert_eq!(verdict, Verdict::Delivered, "{name}"),
                "in-8" | "in-9" => assert_eq!(verdict, refused, "{name}"),
                // Given up or followed to where it is refused.
                _ => assert!(
                    [refused, failed(ErrorClass::DnsNoAddress), failed(ErrorClass::DnsUnavailable)]
                        .contains(&verdict),
                    "{name}: {verdict:?}"
                ),
            }
        }
        assert_eq!(server.seen.connections.get(), 2, "the two that lead out");
    });
}

/// What is said about another name, or by somebody who guesses the question's number, is not
/// believed; a thousand addresses are; what does not fit into UDP is asked for by TCP.
#[test]
fn only_the_answer_to_the_question_counts() {
    run(async {
        let server = Server::start(answering(OK)).await;
        let thousand: Vec<String> =
            (0..1_000_u32).map(|n| format!("127.0.{}.{}", n / 250, n % 250 + 1)).collect();
        let thousand: Vec<&str> = thousand.iter().map(String::as_str).collect();
        let good = || Zone::of(&["127.0.0.1"]).boxed();
        let resolver = NameServer::start(vec![
            ("poison.example.com", Zone::OtherName("127.0.0.1".parse().unwrap())),
            ("forged.example.com", Zone::Forged(Zone::of(&["10.0.0.5"]).boxed(), good())),
            ("truncated.example.com", Zone::Truncated(good())),
            ("cut.example.com", Zone::Cut(Zone::of(&["10.0.0.5"]).boxed(), good())),
            ("thousand.example.com", Zone::Truncated(Zone::of(&thousand).boxed())),
            ("nothing.example.com", Zone::Code(3)),
            ("servfail.example.com", Zone::Code(2)),
            ("refused.example.com", Zone::Code(5)),
        ])
        .await;
        let client = resolver.client(opening(&["127.0.0.0/8"]));
        let url = |name: &str| format!("http://{name}.example.com:{}/", server.address.port());
        for name in ["forged", "truncated", "cut", "thousand"] {
            let made = attempt(&client, &url(name)).await;
            assert_eq!(made.verdict, Verdict::Delivered, "{name}: {made:?}");
        }
        for name in ["poison", "nothing", "servfail", "refused"] {
            let Verdict::Failed { class, .. } = attempt(&client, &url(name)).await.verdict else {
                panic!("{name} has no address");
            };
            let dns = [ErrorClass::DnsNoAddress, ErrorClass::DnsUnavailable];
            assert!(dns.contains(&class), "{name}: {class:?}");
        }
        assert_eq!(server.seen.request_count(), 4);
    });
}

/// A name that DNS cannot hold is no target, and nothing is asked about it.
#[test]
fn names_that_dns_cannot_hold_are_no_targets() {
    let label = |length| "a".repeat(length);
    let long = |last| format!("{0}.{0}.{0}.{1}", label(63), label(last));
    for (lawful, host) in [
        (true, long(61)),
        (false, long(62)),
        (true, format!("{}.example.com", label(63))),
        (false, format!("{}.example.com", label(64))),
    ] {
        assert_eq!(host.len() <= 253, lawful || host.contains("example"), "{host}");
        assert_eq!(TargetUrl::parse_stored(&format!("http://{host}/")).is_ok(), lawful, "{host}");
    }
}

/// Silence costs a lookup's budget of 3 s and no more, exactly: in virtual time. So does a name
/// server that says by UDP that it will say more by TCP, and does not.
#[test]
fn silence_costs_three_seconds_and_no_more() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    tokio::task::LocalSet::new().block_on(&runtime.unwrap(), async {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut settings = settings();
        settings.dns_servers = vec![silent.local_addr().unwrap(); 3];
        settings.address_policy = AddressPolicy::default();
        let client = Client::new(settings, clock()).unwrap();
        for name in ["first", "second", "third"] {
            let made = attempt(&client, &format!("http://{name}.example.com/")).await;
            let class = match made.verdict {
                Verdict::Failed { class, .. } | Verdict::NotCharged { class } => class,
                other => panic!("{other:?}"),
            };
            assert_eq!(class, ErrorClass::DnsUnavailable, "{name}");
            let took = made.phases.dns_us;
            assert!((2_000_000..=3_001_000).contains(&took), "{name}: {took} us");
        }
    });
}

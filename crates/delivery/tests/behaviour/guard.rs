//! The address guard at delivery time: what a name resolves to decides, each time.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use posthaste_delivery::{Answer, Client, Endpoint, LookupError, Settings};
use posthaste_domain::{AddressPolicy, ErrorClass, Host, TargetUrl, Verdict};

use crate::support::{
    Names, OK, Server, TestClock, answering, attempt, clock, failed, not_charged, opening, proof,
    request, run, secrets, settings, spawn,
};

/// R refused when set and at delivery, A accepted, D stopped when its name is resolved.
const TARGETS: &str = include_str!("../../../domain/tests/cases/target_urls.tsv");
/// Its lines: no targets at all, refused targets, names that are asked for, literal addresses
/// that pass.
const TARGET_COUNTS: [usize; 4] = [59, 66, 13, 6];

fn guarded(policy: AddressPolicy, names: &Rc<Names>) -> (Client, Rc<TestClock>) {
    let clock = clock();
    let settings = Settings { address_policy: policy, ..settings() };
    (Client::with_resolver(settings, clock.clone(), names.clone()).unwrap(), clock)
}

/// A public address that no test reaches: 203.0.113.0/24 would be refused, and this one is only
/// ever part of a refused answer.
const PUBLIC: &str = "93.184.216.34";
const PUBLIC_V6: &str = "2606:2800:220:1:248:1893:25c8:1946";

/// For every answer with at least one special address, in any order and form: refused, and
/// nothing is connected to.
#[test]
fn one_refused_address_refuses_the_answer() {
    run(async {
        let server = Server::start(answering(OK)).await;
        let port = server.address.port();
        for answer in [
            &["127.0.0.1"][..],
            &["169.254.169.254"],
            &["10.0.0.5"],
            &["0.0.0.0"],
            &["100.64.0.1"],
            &["192.168.1.1"],
            &["172.16.0.1"],
            &["224.0.0.1"],
            &["255.255.255.255"],
            &["::1"],
            &["::"],
            &["::ffff:127.0.0.1"],
            &["::ffff:169.254.169.254"],
            &["::127.0.0.1"],
            &["fd00:ec2::254"],
            &["fe80::1"],
            &["64:ff9b::a9fe:a9fe"],
            &["64:ff9b::7f00:1"],
            &["2002:7f00:1::"],
            &["2001:0:7f00:1::"],
            &[PUBLIC, "127.0.0.1"],
            &["127.0.0.1", PUBLIC],
            &[PUBLIC, "::1"],
            &["::1", PUBLIC],
            &[PUBLIC, "fd00:ec2::254"],
            &[PUBLIC_V6, "10.0.0.1"],
            &[PUBLIC, PUBLIC_V6, "::ffff:10.0.0.1"],
        ] {
            let names = Names::new();
            names.answer("hooks.example.com", answer, 60);
            let (client, _) = guarded(opening(&[]), &names);
            let made = attempt(&client, &format!("http://hooks.example.com:{port}/")).await;
            assert_eq!(made.verdict, failed(ErrorClass::AddressRefused), "{answer:?}");
            let text = made.error.unwrap();
            assert!(text.starts_with("hooks.example.com: "), "{text}");
            for address in answer {
                assert!(!text.contains(address), "{text} tells {address}");
            }
            assert_eq!(client.stats().connections_opened, 0);
        }
        assert_eq!(server.seen.connections.get(), 0);
    });
}

/// A bad address among a thousand good ones is found, although only a few are kept.
#[test]
fn every_address_of_a_long_answer_is_vetted() {
    run(async {
        let names = Names::new();
        let mut long: Vec<String> =
            (0..999).map(|n| format!("93.184.{}.{}", n / 250, n % 250 + 1)).collect();
        long.push("127.0.0.1".to_owned());
        let long: Vec<&str> = long.iter().map(String::as_str).collect();
        names.answer("many.example.com", &long, 60);
        let (client, _) = guarded(opening(&[]), &names);
        let made = attempt(&client, "http://many.example.com/").await;
        assert_eq!(made.verdict, failed(ErrorClass::AddressRefused));
    });
}

#[test]
fn literal_addresses_are_vetted_too() {
    run(async {
        let server = Server::start(answering(OK)).await;
        let (client, _) = guarded(opening(&[]), &Names::new());
        let port = server.address.port();
        for host in ["127.0.0.1", "169.254.169.254", "10.1.2.3", "[::1]", "[::ffff:127.0.0.1]"] {
            let made = attempt(&client, &format!("http://{host}:{port}/")).await;
            assert_eq!(made.verdict, failed(ErrorClass::AddressRefused), "{host}");
        }
        assert_eq!(server.seen.connections.get(), 0);
    });
}

/// For all lines of the case list, as stored targets: what is refused at creation is refused at
/// delivery too (R), and what only its resolver can refuse is refused there (D), as
/// `address_refused` and without a connection. Nothing is asked about a refused name.
#[test]
fn every_target_of_the_case_list_comes_out_right_at_delivery() {
    run(async {
        let (mut counts, mut passed) = ([0; 4], 0);
        for line in TARGETS.lines().filter(|line| !line.starts_with('#')) {
            let (verdict, url) = line.split_once('\t').unwrap();
            let escapes = [("\\t", "\t"), ("\\r", "\r"), ("\\n", "\n"), ("\\0", "\0")];
            let url = escapes.iter().fold(url.to_owned(), |url, (from, to)| url.replace(from, to));
            let Ok(target) = TargetUrl::parse_stored(&url) else {
                // Not even a target: nothing can be stored that would be delivered there.
                assert_eq!(verdict, "R", "{line}");
                counts[0] += 1;
                continue;
            };
            let loopback = opening(&["127.0.0.0/8", "::1/128"]);
            passed += usize::from(verdict == "R" && target.vet(&loopback).is_ok());
            let names = Names::new();
            if let Host::Name(name) = target.host() {
                let inside = if verdict == "A" { "127.0.0.1" } else { "169.254.169.254" };
                names.answer(name, &[inside], 60);
            }
            let policy = if verdict == "A" { opening(&["127.0.0.0/8"]) } else { opening(&[]) };
            if verdict == "A" && !matches!(target.host(), Host::Name(_)) {
                // Passes, and the connection would leave the machine.
                assert_eq!(target.vet(&policy), Ok(()), "{line}");
                counts[3] += 1;
                continue;
            }
            let (client, _) = guarded(policy, &names);
            let made = client.attempt(&Endpoint::new(&target, &secrets()), request("{}")).await;
            let refused = made.verdict == failed(ErrorClass::AddressRefused);
            assert_eq!(refused, verdict != "A", "{line}: {made:?}");
            assert!(!refused || client.stats().connections_opened == 0, "{line}");
            assert_eq!(names.asked().len(), usize::from(verdict != "R"), "{line}");
            counts[if verdict == "R" { 1 } else { 2 }] += 1;
        }
        assert_eq!(counts, TARGET_COUNTS, "lines are missing from the list");
        let control = format!("with loopback opened {passed} refused targets pass");
        assert!(passed >= 5, "{passed}");
        let tried = TARGETS.lines().filter(|line| !line.starts_with('#')).count();
        proof(16, tried, counts.iter().sum(), &control);
    });
}

/// A policy that became narrower holds for targets that were stored before it did.
#[test]
fn the_policy_of_today_decides_about_stored_targets() {
    run(async {
        let server = Server::start(answering(OK)).await;
        let port = server.address.port();
        let url = format!("http://localhost:{port}/");
        let names = Names::new();
        names.answer("localhost", &["127.0.0.1"], 60);
        let wide = opening(&["127.0.0.0/8"]);
        assert!(TargetUrl::parse(&url, &wide).is_ok());
        let (client, _) = guarded(wide, &names);
        assert_eq!(attempt(&client, &url).await.verdict, Verdict::Delivered);
        let (client, _) = guarded(opening(&[]), &names);
        let made = attempt(&client, &url).await;
        assert_eq!(made.verdict, failed(ErrorClass::AddressRefused));
        let text = made.error.unwrap();
        assert!(text.contains("the host name is refused (localhost)"), "{text}");
        // A port, at an address that is allowed.
        let (client, _) = guarded(opening(&["127.0.0.0/8"]), &names);
        let made = attempt(&client, "http://127.0.0.1:6379/").await;
        assert_eq!(made.verdict, failed(ErrorClass::AddressRefused));
        assert!(made.error.unwrap().contains("port 6379 is refused (redis)"));
        assert_eq!(client.stats().connections_opened, 0);
        assert_eq!(server.seen.connections.get(), 1);
    });
}

/// DNS rebinding: a name that is good at one lookup and bad at the next, a thousand times. Only
/// the good address is ever connected to. (127.0.0.1 plays the public internet, 127.0.0.2 our
/// network.)
#[test]
fn rebinding_gains_nothing() {
    const FLIPS: usize = 1000;
    run(async {
        let good = Server::start(answering(OK)).await;
        let inside = SocketAddr::new("127.0.0.2".parse().unwrap(), good.address.port());
        let inside = Server::bind(inside, vec![answering(OK)]).await;
        let names = Names::new();
        for _ in 0..FLIPS {
            names.answer("flip.example.com", &["127.0.0.1"], 0);
            names.answer("flip.example.com", &["127.0.0.2"], 0);
        }
        let (client, clock) = guarded(opening(&["127.0.0.1/32"]), &names);
        let url = format!("http://flip.example.com:{}/", good.address.port());
        for flip in 0..FLIPS {
            let made = attempt(&client, &url).await;
            assert_eq!(made.verdict, Verdict::Delivered, "{flip}: {made:?}");
            clock.advance(Duration::from_secs(1));
            let made = attempt(&client, &url).await;
            assert_eq!(made.verdict, failed(ErrorClass::AddressRefused), "{flip}");
            clock.advance(Duration::from_secs(1));
        }
        assert_eq!((good.seen.request_count(), inside.seen.connections.get()), (FLIPS, 0));
        assert_eq!(client.stats().dns_refusals, 1000);
    });
}

/// A pooled connection is used only while its address is still in the answer.
#[test]
fn a_connection_to_an_address_that_left_the_answer_is_dropped() {
    run(async {
        let old = Server::start(answering(OK)).await;
        let new = SocketAddr::new("127.0.0.2".parse().unwrap(), old.address.port());
        let new = Server::bind(new, vec![answering(OK)]).await;
        let names = Names::new();
        names.answer("moving.example.com", &["127.0.0.1"], 10);
        names.answer("moving.example.com", &["127.0.0.2"], 10);
        let (client, clock) = guarded(opening(&["127.0.0.0/8"]), &names);
        let url = format!("http://moving.example.com:{}/", old.address.port());
        let reused = |made: posthaste_domain::Attempt| {
            assert_eq!(made.verdict, Verdict::Delivered);
            made.phases.reused
        };
        assert!(!reused(attempt(&client, &url).await));
        assert!(reused(attempt(&client, &url).await));
        clock.advance(Duration::from_secs(10));
        assert!(!reused(attempt(&client, &url).await));
        assert_eq!((old.seen.request_count(), new.seen.request_count()), (2, 1));
        assert_eq!(client.stats().connections_open, 1);
    });
}

/// The TTL is believed within its bounds: not below a second, not above five minutes.
#[test]
fn answers_are_remembered_for_their_time() {
    run(async {
        let server = Server::start(answering(OK)).await;
        for (ttl_s, kept_s) in [(0, 1), (1, 1), (60, 60), (300, 300), (86_400, 300)] {
            let names = Names::new();
            names.answer("hooks.example.com", &["127.0.0.1"], ttl_s);
            let (client, clock) = guarded(opening(&["127.0.0.0/8"]), &names);
            let url = format!("http://hooks.example.com:{}/", server.address.port());
            attempt(&client, &url).await;
            clock.advance(Duration::from_millis(kept_s * 1000 - 500));
            attempt(&client, &url).await;
            assert_eq!(names.asked().len(), 1, "ttl {ttl_s}");
            clock.advance(Duration::from_millis(500));
            attempt(&client, &url).await;
            assert_eq!(names.asked(), ["hooks.example.com"; 2], "ttl {ttl_s}");
        }
    });
}

/// However many wait for a name, it is looked up once; names do not wait for each other.
#[test]
fn one_lookup_serves_all_who_wait() {
    run(async {
        let server = Server::start(answering(OK)).await;
        let names = Names::new();
        names.answer("hooks.example.com", &["127.0.0.1"], 60);
        let gate = names.hold();
        let (client, _) = guarded(opening(&["127.0.0.0/8"]), &names);
        let client = Rc::new(client);
        let mut tasks = Vec::new();
        for _ in 0..50 {
            let client = Rc::clone(&client);
            let url = format!("http://hooks.example.com:{}/", server.address.port());
            tasks.push(spawn(async move {
                assert_eq!(attempt(&client, &url).await.verdict, Verdict::Delivered);
            }));
        }
        while names.asked().is_empty() {
            tokio::task::yield_now().await;
        }
        // The one who drives the lookup gives up; another one takes over.
        tasks.remove(0).abort();
        while names.asked().len() < 2 {
            tokio::task::yield_now().await;
        }
        gate.notify_one();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(names.asked().len(), 2);
        assert_eq!(client.stats().dns_lookups, 1);
    });
}

/// A name without an address is the tenant's to mend; it is looked up again after its time.
#[test]
fn a_name_without_an_address_is_charged() {
    run(async {
        let names = Names::new();
        names.answer("empty.example.com", &[], 60);
        let ttl = Some(Duration::from_secs(3600));
        names.result("none.example.com", Err(LookupError::NoAddress { ttl }));
        let (client, clock) = guarded(opening(&[]), &names);
        for url in ["http://empty.example.com/", "http://none.example.com/"] {
            for _ in 0..3 {
                let made = attempt(&client, url).await;
                assert_eq!(made.verdict, failed(ErrorClass::DnsNoAddress), "{url}");
            }
        }
        assert_eq!(names.asked().len(), 2);
        clock.advance(Duration::from_secs(30));
        attempt(&client, "http://none.example.com/").await;
        assert_eq!(names.asked().len(), 3);
    });
}

/// A lookup that fails is charged while other names are answered, and not charged where nothing
/// is answered any more.
#[test]
fn a_dead_resolver_is_our_fault_and_a_dead_zone_is_not() {
    run(async {
        let server = Server::start(answering(OK)).await;
        let names = Names::new();
        let servfail = || Err(LookupError::Failed("SERVFAIL".to_owned()));
        names.answer("good.example.com", &["127.0.0.1"], 1);
        names.result("good.example.com", servfail());
        names.result("dead.example.com", servfail());
        let (client, clock) = guarded(opening(&["127.0.0.0/8"]), &names);
        let good = format!("http://good.example.com:{}/", server.address.port());
        assert_eq!(attempt(&client, &good).await.verdict, Verdict::Delivered);
        let made = attempt(&client, "http://dead.example.com/").await;
        assert_eq!(made.verdict, failed(ErrorClass::DnsUnavailable), "{made:?}");
        assert!(made.error.unwrap().contains("SERVFAIL"));
        clock.advance(Duration::from_secs(61));
        // The first to fail is charged: so far it is the only one.
        let made = attempt(&client, &good).await;
        assert_eq!(made.verdict, failed(ErrorClass::DnsUnavailable), "{made:?}");
        for url in ["http://dead.example.com/", &*good] {
            let made = attempt(&client, url).await;
            assert_eq!(made.verdict, not_charged(ErrorClass::DnsUnavailable), "{url}: {made:?}");
        }
        assert_eq!(client.stats().dns_failures, 3);
    });
}

#[test]
fn an_unreachable_resolver_is_our_fault() {
    run(async {
        let names = Names::new();
        let unreachable = LookupError::Unreachable("connection refused".to_owned());
        names.result("hooks.example.com", Err(unreachable));
        let (client, _) = guarded(opening(&[]), &names);
        let made = attempt(&client, "http://hooks.example.com/").await;
        assert_eq!(made.verdict, not_charged(ErrorClass::DnsUnavailable));
    });
}

/// A lookup has its own limit, well below the attempt's.
#[test]
fn a_lookup_that_hangs_is_cut_off() {
    run(async {
        let names = Names::new();
        names.answer("hooks.example.com", &["127.0.0.1"], 60);
        let _held = names.hold();
        let settings = Settings { dns_timeout_ms: 200, ..settings() };
        let client = Client::with_resolver(settings, clock(), names).unwrap();
        let made = attempt(&client, "http://hooks.example.com/").await;
        assert_eq!(made.verdict, failed(ErrorClass::DnsUnavailable), "{made:?}");
        assert!(made.phases.dns_us >= 200_000, "{:?}", made.phases);
    });
}

/// Where one address refuses the connection, the next one is tried, and remembered.
#[test]
fn the_next_address_is_tried() {
    run(async {
        let server = Server::start(answering(OK)).await;
        let names = Names::new();
        names.answer("two.example.com", &["127.0.0.3", "127.0.0.1"], 60);
        let (client, _) = guarded(opening(&["127.0.0.0/8"]), &names);
        let url = format!("http://two.example.com:{}/", server.address.port());
        for _ in 0..2 {
            assert_eq!(attempt(&client, &url).await.verdict, Verdict::Delivered);
        }
        assert_eq!(server.seen.connections.get(), 1);
    });
}

/// The memory for names is bounded, and holds the guard's verdict as well.
#[test]
fn names_are_forgotten_where_there_are_too_many() {
    run(async {
        let names = Names::new();
        let settings = Settings { dns_names_max: 100, ..settings() };
        for number in 0..1000 {
            let answer = Answer {
                addresses: vec!["10.0.0.1".parse().unwrap()],
                ttl: Duration::from_secs(300),
            };
            names.result(&format!("h{number}.example.com"), Ok(answer));
        }
        let client = Client::with_resolver(settings, clock(), names.clone()).unwrap();
        for number in 0..1000 {
            let made = attempt(&client, &format!("http://h{number}.example.com/")).await;
            assert_eq!(made.verdict, failed(ErrorClass::AddressRefused));
            assert!(client.stats().dns_names <= 100);
        }
        assert_eq!(names.asked().len(), 1000);
    });
}

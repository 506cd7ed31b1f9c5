//! No endpoint reaches our network: the real binary in a network of its own in which every address
//! there is answers, so that nobody can be called without being seen.
//!
//! Default settings but for what is said: nothing is opened, names come from `/etc/resolv.conf`.

mod name_server;
mod world;

use serde_json::Value;

use self::name_server::{Answers, NameServer};
use self::world::{Everywhere, PUBLIC, PUBLIC_V6, in_a_world_of_its_own};
use crate::support::daemon::{Daemon, Home, Setup};
use crate::support::eventually;

/// What opens everything: the guard as good as switched off.
const EVERYTHING: &str = "0.0.0.0/0,::/0,169.254.169.254/32,169.254.170.2/32,169.254.170.23/32,\
                          169.254.169.123/32,169.254.169.253/32,169.254.0.23/32,\
                          100.100.100.200/32,192.0.0.192/32,168.63.129.16/32,fd00:ec2::254/128,\
                          fd20:ce::254/128";

/// An address of every special range that a connection can be opened to at all.
const INSIDE: [&str; 49] = [
    "0.0.0.0",
    "10.0.0.5",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.254",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "169.254.169.123",
    "169.254.169.253",
    "169.254.0.23",
    "172.16.0.1",
    "172.31.255.254",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.255.254",
    "198.18.0.1",
    "198.19.255.254",
    "198.51.100.1",
    "203.0.113.1",
    "240.0.0.1",
    "255.255.255.254",
    "::1",
    "::127.0.0.1",
    "::ffff:10.0.0.5",
    "::ffff:0:a00:5",
    "64:ff9b::a00:5",
    "64:ff9b:1::a00:5",
    "100::1",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "2001:2::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
    "2606:4700::5efe:a00:5",
    "fc00::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fec0::1",
    "5f00::1",
];

/// Whether this run takes its time (`PROVE_LONG=1`).
fn is_long() -> bool {
    std::env::var_os("PROVE_LONG").is_some_and(|value| value == "1")
}

#[expect(clippy::print_stdout, reason = "read by scripts/prove")]
fn proof(tried: usize, held: usize, control: &str) {
    println!("proof: 16 tried {tried} held {held} control {control}");
}

fn guarded() -> Setup {
    Setup::default().without("delivery.allow-networks").with("retry.attempts-max", 1)
}

fn open() -> Setup {
    guarded().with("delivery.allow-networks", EVERYTHING)
}

fn url(host: &str) -> String {
    if host.contains(':') { format!("http://[{host}]/hook") } else { format!("http://{host}/hook") }
}

/// A tenant for each host, by number, with its key.
async fn tenants(daemon: &Daemon, hosts: impl Iterator<Item = String>) -> Vec<String> {
    let mut keys = Vec::new();
    for (number, host) in hosts.enumerate() {
        keys.push(daemon.tenant(&format!("tenant-{number}"), &url(&host)).await);
    }
    keys
}

/// Posts an event for each key; gives the events when all of them have come to their end.
async fn ends(daemon: &Daemon, keys: &[String]) -> Vec<Value> {
    let mut events = Vec::new();
    for key in keys {
        let answer = daemon.client(key).post("/v1/events", r#"{"a":1}"#).await.expect("an answer");
        events.push(answer.json()["event_id"].as_str().expect("an id").to_owned());
    }
    let mut ended = Vec::new();
    for (key, event) in keys.iter().zip(events) {
        ended.push(daemon.event(key, &event, has_ended).await);
    }
    ended
}

/// `FAILED` is on its way to another attempt.
fn has_ended(event: &Value) -> bool {
    event["status"] == "DELIVERED" || event["status"] == "DLQ"
}

fn error_class(event: &Value) -> &str {
    let log = event["attempt_log"].as_array().expect("a log");
    log.last().expect("an attempt")["error_class"].as_str().unwrap_or("none")
}

/// For addresses of every special range: taken and reached while everything is open, and after a
/// start with nothing open not connected to any more, although they are stored.
#[test]
fn stored_targets_inside_are_not_connected_to() {
    in_a_world_of_its_own("ssrf::stored_targets_inside_are_not_connected_to", async || {
        let everywhere = Everywhere::start();
        let home = Home::new();
        let daemon = Daemon::start(&home, &open()).await;
        let keys = tenants(&daemon, INSIDE.iter().map(ToString::to_string)).await;
        for (host, event) in INSIDE.iter().zip(ends(&daemon, &keys).await) {
            assert_eq!(event["status"], "DELIVERED", "{host}: {event:#}");
        }
        let reached = everywhere.take();
        assert!(reached.len() >= INSIDE.len() - 1, "{reached:?}");
        daemon.kill();

        let daemon = Daemon::start(&home, &guarded()).await;
        for (host, event) in INSIDE.iter().zip(ends(&daemon, &keys).await) {
            assert_eq!(error_class(&event), "address_refused", "{host}: {event:#}");
        }
        assert_eq!(everywhere.take(), Vec::<std::net::IpAddr>::new());
        let control = format!("with everything opened {} were connected to", reached.len());
        proof(INSIDE.len(), INSIDE.len(), &control);
    });
}

/// For names that lead to every special range, alone and among good addresses, directly and by
/// aliases: refused, and nobody inside is connected to. The same names reach them with everything
/// open.
#[test]
fn no_name_leads_inside() {
    in_a_world_of_its_own("ssrf::no_name_leads_inside", async || {
        let everywhere = Everywhere::start();
        let mut zones = Vec::new();
        for (number, inside) in INSIDE.iter().enumerate() {
            let mut add =
                |kind: &str, answers| zones.push((format!("{kind}{number}.example.com"), answers));
            add("alone", Answers::Always(vec![inside.parse().expect("an address")]));
            let mixed = [PUBLIC, *inside, PUBLIC_V6].map(|text| text.parse().expect("an address"));
            add("mixed", Answers::Always(mixed.to_vec()));
            add("alias", Answers::Alias(format!("alone{number}.example.com")));
        }
        zones.push(("meta.example.com".into(), Answers::Alias("metadata.google.internal".into())));
        let metadata = "169.254.169.254".parse().expect("an address");
        zones.push(("metadata.google.internal".into(), Answers::Always(vec![metadata])));
        zones.push(("local.example.com".into(), Answers::Alias("localhost".into())));
        zones.push(("localhost".into(), Answers::Always(vec!["127.0.0.1".parse().expect("one")])));
        let names = || zones.iter().map(|(name, _)| name.clone()).filter(|n| n.ends_with(".com"));
        let _resolver = NameServer::start(zones.clone());

        let home = Home::new();
        let daemon = Daemon::start(&home, &guarded()).await;
        let keys = tenants(&daemon, names()).await;
        for (name, event) in names().zip(ends(&daemon, &keys).await) {
            assert_eq!(error_class(&event), "address_refused", "{name}: {event:#}");
        }
        assert_eq!(everywhere.take(), Vec::<std::net::IpAddr>::new());
        daemon.kill();

        let daemon = Daemon::start(&home, &open()).await;
        ends(&daemon, &keys).await;
        let inside = everywhere.take().into_iter().filter(|to| !world::is_public(*to)).count();
        assert!(inside >= INSIDE.len(), "{inside}");
        let control = format!("with everything opened {inside} connections went inside");
        proof(keys.len(), keys.len(), &control);
    });
}

/// DNS rebinding: every name leads out at one lookup and inside at the next, with a TTL of 0, on
/// one stack or both; whoever is outside keeps its connections open and redirects inside, too. A
/// thousand answers that lead inside, and not one connection.
#[test]
fn rebinding_connects_to_nobody_inside() {
    in_a_world_of_its_own("ssrf::rebinding_connects_to_nobody_inside", async || {
        let everywhere = Everywhere::start();
        let (names, rounds) = if is_long() { (1_000, 10) } else { (250, 4) };
        let zones = (0..names).map(|number| {
            let addresses =
                |texts: &[&str]| texts.iter().map(|t| t.parse().expect("one")).collect();
            let (out, inside): (&[&str], &[&str]) = match number % 4 {
                0 => (&[PUBLIC], &["127.0.0.1"]),
                1 => (&[PUBLIC_V6], &["fd00:ec2::254"]),
                2 => (&[PUBLIC, PUBLIC_V6], &["10.0.0.5", "::1"]),
                _ => (&[PUBLIC, PUBLIC_V6], &[PUBLIC, "fd00::5"]),
            };
            (host(number), Answers::Turns(addresses(out), addresses(inside)))
        });
        let resolver = NameServer::start(zones.collect());
        let home = Home::new();
        // Answers are believed for a second, whatever their TTL: the next attempt asks again.
        let setup = guarded().with("retry.attempts-max", 2 * rounds).with("retry.delays", "1100ms");
        let daemon = Daemon::start(&home, &setup).await;
        let keys = tenants(&daemon, (0..names).map(host)).await;
        let mut refused = 0;
        for event in ends(&daemon, &keys).await {
            for attempt in event["attempt_log"].as_array().expect("a log") {
                match attempt["error_class"].as_str().expect("a class") {
                    "address_refused" => refused += 1,
                    "redirect" => {}
                    other => panic!("{other}: {event:#}"),
                }
            }
        }
        let connected = everywhere.take();
        assert!(connected.len() >= names, "outside is reached: {}", connected.len());
        let inside: Vec<_> = connected.iter().filter(|to| !world::is_public(**to)).collect();
        assert!(inside.is_empty(), "{inside:?}");
        let tried = resolver.led_inside();
        assert!(tried >= names * rounds * 9 / 10 && refused >= tried / 2, "{tried}, {refused}");
        daemon.kill();

        let opened = setup.with("delivery.allow-networks", EVERYTHING);
        let daemon = Daemon::start(&home, &opened).await;
        ends(&daemon, &keys[..40]).await;
        let inside = everywhere.take().into_iter().filter(|to| !world::is_public(*to)).count();
        assert!(inside > 0, "a guard that is open lets them in");
        let control = format!("with everything opened 40 events made {inside} connections inside");
        proof(tried, tried, &control);
    });
}

fn host(number: usize) -> String {
    format!("flip-{number}.example.com")
}

/// The machine has a search domain, and no name is tried with it: what one types as `intranet` is
/// not for a tenant to reach by any name. Other programs here do use it.
#[test]
fn no_name_is_tried_with_a_search_domain() {
    in_a_world_of_its_own("ssrf::no_name_is_tried_with_a_search_domain", async || {
        let everywhere = Everywhere::start();
        let inside = Answers::Always(vec!["192.168.7.7".parse().expect("an address")]);
        let hosts = ["intranet", "wiki.intranet", "nowhere.example.com"];
        let trap = hosts.map(|host| (format!("{host}.corp.example"), inside.clone()));
        let resolver = NameServer::start(trap.to_vec());
        let home = Home::new();
        // With a private network opened single labels are lawful, and so is where they would lead.
        let setup = guarded().with("delivery.allow-networks", "192.168.0.0/16");
        let daemon = Daemon::start(&home, &setup).await;
        let keys = tenants(&daemon, hosts.iter().map(ToString::to_string)).await;
        for event in ends(&daemon, &keys).await {
            assert_eq!(error_class(&event), "dns_no_address", "{event:#}");
        }
        assert_eq!(everywhere.take(), Vec::<std::net::IpAddr>::new());
        let asked = resolver.asked();
        assert!(hosts.iter().all(|host| asked.iter().any(|name| name == host)), "{asked:?}");
        assert!(!asked.iter().any(|name| name.contains("corp")), "{asked:?}");
        let getent = std::process::Command::new("getent").args(["hosts", "intranet"]).output();
        let found = String::from_utf8(getent.expect("the C library's own").stdout).expect("text");
        assert!(found.contains("192.168.7.7"), "the trap is none: {found}");
        proof(hosts.len(), hosts.len(), "getent finds intranet by the search domain");
    });
}

/// What a tenant's own name leads to is told by class, never by address.
#[test]
fn a_tenant_does_not_learn_addresses_inside() {
    in_a_world_of_its_own("ssrf::a_tenant_does_not_learn_addresses_inside", async || {
        let address = "10.11.12.13".parse().expect("an address");
        let _resolver =
            NameServer::start(vec![("a.example.com".into(), Answers::Always(vec![address]))]);
        let home = Home::new();
        let daemon = Daemon::start(&home, &guarded()).await;
        let keys = tenants(&daemon, ["a.example.com".to_owned()].into_iter()).await;
        let event = ends(&daemon, &keys).await.remove(0);
        assert_eq!(error_class(&event), "address_refused");
        assert!(!event.to_string().contains("10.11.12.13"), "{event:#}");
        eventually("it is in the queue of the dead", async || {
            let list = daemon.client(&keys[0]).get("/v1/admin/dlq/messages").await;
            let list = list.expect("an answer").json();
            assert!(!list.to_string().contains("10.11.12.13"), "{list:#}");
            list["messages"][0].is_object()
        })
        .await;
    });
}

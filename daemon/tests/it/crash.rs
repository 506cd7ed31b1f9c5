//! SIGKILL under load, again and again on one data directory: nothing that got a 201 is lost.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use posthaste::demo::client::Client;
use rustix::process::Signal;

use crate::support::daemon::{Daemon, Home, Setup};
use crate::support::sink::{Reply, Sink};
use crate::support::{eventually, now};

const ROUNDS: u64 = 20;
const POSTERS: usize = 4;
/// Attempts in flight at a kill, at most.
const IN_FLIGHT_MAX: usize = 32;
/// Outcomes that are known and not on disk yet, at most. On a busy machine a sync takes long, and
/// they are more than what is in flight.
const SETTLING_MAX: usize = 32;
/// A restart's first delivery comes within a second of the process's start; the time is printed.
/// What is asserted leaves room for a busy machine: it tells a recovery that waits for something
/// from one that does not.
const FIRST_DELIVERY_MAX: Duration = Duration::from_secs(10);

/// For random kills: every 201 is delivered at the end; a kill repeats at most what was in flight
/// or not on disk yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigkill_under_load_loses_nothing() {
    let seed = RandomState::new().hash_one(0);
    println!("kill moments come from seed {seed}");
    let home = Home::new();
    let setup = Setup::default()
        // An endpoint alone takes half of its shard's places at most.
        .with("delivery.in-flight-max", 4 * IN_FLIGHT_MAX)
        .with("delivery.in-flight-per-endpoint-max", IN_FLIGHT_MAX)
        .with("engine.settling-max", SETTLING_MAX);
    // A receiver that takes a moment keeps attempts in flight and a backlog behind them.
    let sink =
        Sink::start(|_| Reply { delay: Duration::from_millis(5), ..Reply::status(200) }).await;
    let accepted = Arc::new(Mutex::new(BTreeSet::new()));
    let mut key = None;
    let mut slowest = Duration::ZERO;
    for round in 0..ROUNDS {
        let owed = accepted.lock().expect("nobody panics").len() > sink.by_event().len();
        let (seen, start) = (sink.count(), now());
        let daemon = Daemon::spawn(&home, &setup);
        if owed {
            eventually("a first delivery", async || sink.count() > seen).await;
            slowest = slowest.max(sink.received()[seen].at - start);
        }
        daemon.ready().await;
        if key.is_none() {
            key = Some(daemon.tenant("acme", &sink.url("hook")).await);
        }
        let posters = post_until_it_breaks(&daemon, key.as_deref().unwrap(), &accepted);
        let millis = 100 + mix(seed, round) % 400;
        tokio::time::sleep(Duration::from_millis(millis)).await;
        daemon.kill();
        for poster in posters {
            poster.await.expect("posters do not panic");
        }
    }
    let daemon = Daemon::start(&home, &setup).await;
    let accepted = accepted.lock().expect("nobody panics").clone();
    eventually("every accepted event is delivered", async || {
        let delivered = sink.by_event();
        accepted.iter().all(|event| delivered.contains_key(event))
    })
    .await;
    eventually("nothing is owed", async || {
        daemon.metric("posthaste_engine_deliveries", "state=\"held\"").await == 0.0
    })
    .await;
    let events = sink.by_event();
    let repeats: usize = events.values().map(|times| times.len() - 1).sum();
    println!(
        "{ROUNDS} kills, {} events accepted, 0 lost, {repeats} repeated, slowest first delivery \
         after a restart {} ms",
        accepted.len(),
        slowest.as_millis(),
    );
    assert!(accepted.len() > 1000, "too little load to mean anything");
    let a_kill = IN_FLIGHT_MAX + SETTLING_MAX;
    assert!(repeats <= a_kill * usize::try_from(ROUNDS).unwrap(), "{repeats} repeats");
    assert!(slowest <= FIRST_DELIVERY_MAX, "first delivery after {slowest:?}");
    for times in events.values() {
        assert!(times.windows(2).all(|pair| pair[0].body == pair[1].body));
    }
}

/// An event that is in flight whenever we crash is set aside after the third time, since it may be
/// what makes us crash; the one beside it, which was not in flight, is delivered. A stop that was
/// asked for counts for nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_flight_at_three_crashes_is_poison() {
    let home = Home::new();
    // The first event is never answered.
    let first = Arc::new(Mutex::new(None));
    let poison = Arc::clone(&first);
    let sink = Sink::start(move |received| {
        let mut poison = poison.lock().expect("nobody panics");
        let never = *poison.get_or_insert_with(|| received.event.clone()) == received.event;
        Reply { delay: Duration::from_secs(if never { 600 } else { 0 }), ..Reply::status(200) }
    })
    .await;
    let mut key = None;
    for round in 0..5 {
        let seen = sink.count();
        let daemon = Daemon::start(&home, &Setup::default()).await;
        if key.is_none() {
            key = Some(daemon.tenant("acme", &sink.url("hook")).await);
            let mut client = daemon.client(key.as_deref().expect("a key"));
            client.post("/v1/events", "{}").await.expect("an answer");
        }
        if round == 4 {
            let mut client = daemon.client(key.as_deref().expect("a key"));
            let path = "/v1/admin/dlq/messages";
            eventually("it is set aside", async || {
                let list = client.get(path).await.expect("an answer").json();
                list["messages"][0]["attributes"]["cause"] == "poison"
            })
            .await;
            client.post("/v1/events", "{}").await.expect("an answer");
            eventually("another one is delivered", async || sink.by_event().len() == 2).await;
            break;
        }
        eventually("it is in flight", async || sink.count() > seen).await;
        if round == 1 {
            // The second signal does not wait for it, and is no crash.
            daemon.signal(Signal::TERM);
            eventually("it drains", async || daemon.printed().contains("draining")).await;
            daemon.signal(Signal::TERM);
            assert_eq!(daemon.ended().await.0.code(), Some(130));
        } else {
            daemon.kill();
        }
    }
    assert_eq!(sink.count(), 5, "four times the one, once the other");
}

/// Posts on several connections until the process is gone; notes what got a 201.
fn post_until_it_breaks(
    daemon: &Daemon,
    key: &str,
    accepted: &Arc<Mutex<BTreeSet<String>>>,
) -> Vec<tokio::task::JoinHandle<()>> {
    (0..POSTERS)
        .map(|poster| {
            let mut client: Client = daemon.client(key);
            let accepted = Arc::clone(accepted);
            #[expect(clippy::disallowed_methods, reason = "a test's own task, awaited by the test")]
            tokio::spawn(async move {
                for n in 0_u64.. {
                    let body = format!("{{\"poster\":{poster},\"n\":{n},\"pad\":\"{:0>400}\"}}", n);
                    let Ok(answer) = client.post("/v1/events", body).await else { return };
                    assert_eq!(answer.status, 201, "{:?}", answer.body);
                    let id = answer.json()["event_id"].as_str().expect("an id").to_owned();
                    accepted.lock().expect("nobody panics").insert(id);
                }
            })
        })
        .collect()
}

/// SplitMix64: a number for each round of a seed.
fn mix(seed: u64, round: u64) -> u64 {
    let mut z = seed.wrapping_add(round.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

//! The delivery client against a sink in the same process: an attempt from its order to its
//! record, over real sockets on loopback.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use posthaste_delivery::{Answer, Client, Clock, Endpoint, Lookup, Request, Resolve, Settings};
use posthaste_domain::{AddressPolicy, SigningSecrets, TargetUrl, Timestamp, Verdict};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;
use tokio::time::Instant;

use crate::fixture::{self, EPOCH, PAYLOAD_BYTES};

#[derive(Debug)]
struct RunningClock(Instant);

impl Clock for RunningClock {
    fn now(&self) -> Timestamp {
        EPOCH.plus(self.0.elapsed())
    }

    fn wall(&self) -> Timestamp {
        self.now()
    }

    fn monotonic_us(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Every name is this machine, so that one sink can be many targets.
#[derive(Debug)]
struct Loopback;

impl Resolve for Loopback {
    fn resolve(&self, _name: &str) -> Lookup {
        let addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
        Box::pin(async { Ok(Answer { addresses, ttl: Duration::from_secs(3600) }) })
    }
}

/// Whether a connection serves once or for as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connections {
    /// Kept for the next attempt.
    Kept,
    /// Closed after each attempt.
    Cold,
}

/// A shard's client with its targets.
pub struct Sender {
    runtime: Runtime,
    client: Rc<Client>,
    endpoints: Vec<Rc<Endpoint>>,
    payload: Bytes,
}

impl Sender {
    /// A client that has sent to each of `targets` names of the sink at `sink` once.
    ///
    /// # Panics
    /// Where it cannot.
    #[must_use]
    pub fn new(sink: SocketAddr, targets: usize, connections: Connections) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let allow = vec!["127.0.0.0/8".parse().expect("a network")];
        let settings = Settings {
            address_policy: AddressPolicy { allow, ..AddressPolicy::default() },
            idle_per_target_max: if connections == Connections::Kept { 64 } else { 0 },
            // Nothing is dropped for its age in the middle of a measurement.
            idle_timeout_ms: 3_600_000,
            ..Settings::default()
        };
        let clock = Rc::new(RunningClock(Instant::now()));
        let client = Client::with_resolver(settings, clock, Rc::new(Loopback));
        let client = Rc::new(client.expect("lawful settings"));
        let secrets = SigningSecrets::new(fixture::secret(1));
        let endpoint = |n| {
            let url = format!("http://t{n}.example.com:{}/hook", sink.port());
            let target = TargetUrl::parse_stored(&url).expect("lawful");
            Rc::new(Endpoint::new(&target, &secrets))
        };
        let endpoints = (0..targets).map(endpoint).collect();
        let payload = fixture::payload(PAYLOAD_BYTES);
        let sender = Self { runtime, client, endpoints, payload };
        (0..targets).for_each(|target| sender.attempt(target));
        sender
    }

    /// One attempt to the `target`-th name.
    pub fn attempt(&self, target: usize) {
        self.runtime.block_on(attempt(&self.client, &self.endpoints[target], self.payload.clone()));
    }

    /// So many attempts to the first name, `in_flight` of them at a time.
    pub fn attempts(&self, count: u64, in_flight: u64) {
        let run = async {
            let mut tasks = tokio::task::JoinSet::new();
            for task in 0..in_flight {
                let share = count / in_flight + u64::from(task < count % in_flight);
                let (client, endpoint) = (Rc::clone(&self.client), Rc::clone(&self.endpoints[0]));
                let payload = self.payload.clone();
                tasks.spawn_local(async move {
                    for _ in 0..share {
                        attempt(&client, &endpoint, payload.clone()).await;
                    }
                });
            }
            while let Some(done) = tasks.join_next().await {
                done.expect("an attempt was not delivered");
            }
        };
        LocalSet::new().block_on(&self.runtime, run);
    }

    /// The client's own figures.
    #[must_use]
    pub fn stats(&self) -> posthaste_delivery::Stats {
        self.client.stats()
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("targets", &self.endpoints.len()).finish_non_exhaustive()
    }
}

async fn attempt(client: &Client, endpoint: &Endpoint, payload: Bytes) {
    let request = Request { event: fixture::event(1), number: 1, payload, ready_at: EPOCH };
    let made = client.attempt(endpoint, request).await;
    assert_eq!(made.verdict, Verdict::Delivered, "{made:?}");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::sink::{self, Received};

    /// Kept connections are reused, one for each target; cold ones never are; the sink counts all.
    #[test]
    fn attempts_arrive_on_the_connections_they_claim() {
        let received = Arc::new(Received::default());
        let address = sink::start(Arc::clone(&received));
        let kept = Sender::new(address, 3, Connections::Kept);
        (0..3).for_each(|target| kept.attempt(target));
        kept.attempts(10, 1);
        assert_eq!(kept.stats().connections_opened, 3);
        assert_eq!(kept.stats().connections_reused, 13);
        let cold = Sender::new(address, 1, Connections::Cold);
        cold.attempts(4, 2);
        assert_eq!(cold.stats().connections_opened, 5);
        assert_eq!(received.requests.load(Ordering::Relaxed), 16 + 5);
        assert_eq!(received.refused.load(Ordering::Relaxed), 0);
    }
}

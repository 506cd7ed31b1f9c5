//! Posts the events, open loop: each has its moment by the rate, whatever came of those before it,
//! and its latency counts from that moment, so that a slow server cannot hide by being slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::RETRY_AFTER;
use posthaste_domain::EventId;
use serde::Deserialize;

use super::client::{Answer, Client};
use super::tally::{Role, Tally};
use super::tenants::Tenants;
use crate::clock::Clock;
use crate::lifecycle::{Fatal, spawn};

/// Connections that post: as many requests as can wait for one fsync.
const CONNECTIONS: u64 = 64;
/// Tries of one event where the server says "not now".
const TRIES_MAX: u32 = 10;
/// The longest wait before the next of them.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);

/// What is posted, and how fast.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// How many events.
    pub(super) events: u64,
    /// How many a second; 0 for as fast as it goes.
    pub(super) rate: u64,
    /// What they carry, in turns.
    pub(super) payloads: Arc<[Bytes]>,
}

/// Who posts, and who counts.
#[derive(Clone, Debug)]
pub(super) struct Cast {
    /// The tenants.
    pub(super) tenants: Arc<Tenants>,
    /// The counts.
    pub(super) tally: Arc<Tally>,
}

/// The posting, while it goes on.
#[derive(Debug)]
pub(super) struct Posting {
    shared: Arc<Shared>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    plan: Plan,
    cast: Cast,
    clock: Clock,
    start_us: u64,
    next: AtomicU64,
    stopped: AtomicBool,
}

#[derive(Deserialize)]
struct Created {
    event_id: String,
}

impl Posting {
    /// Begins to post.
    pub(super) fn begin(plan: Plan, cast: Cast, clock: Clock, fatal: &Fatal) -> Self {
        let connections = CONNECTIONS.min(plan.events);
        let shared = Arc::new(Shared {
            plan,
            cast,
            start_us: clock.monotonic_us(),
            clock,
            next: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        });
        let post = |_| spawn("posting", fatal, Arc::clone(&shared).post());
        Self { tasks: (0..connections).map(post).collect(), shared }
    }

    /// Whether everything has been posted.
    pub(super) fn is_done(&self) -> bool {
        self.tasks.iter().all(tokio::task::JoinHandle::is_finished)
    }

    /// Posts nothing more; resolves when every request has its answer.
    pub(super) async fn stop(self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        for task in self.tasks {
            // It ends by a panic only, and a panic ends the process.
            drop(task.await);
        }
    }
}

impl Shared {
    async fn post(self: Arc<Self>) {
        let mut clients = Role::ALL.map(|role| self.cast.tenants.client(role));
        while !self.stopped.load(Ordering::Relaxed) {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            if n >= self.plan.events {
                return;
            }
            let moment_us = self.await_moment(n).await;
            let role = Role::of(n);
            let turn = usize::try_from(n).unwrap_or(0) % self.plan.payloads.len();
            let payload = self.plan.payloads[turn].clone();
            self.post_one(&mut clients[role as usize], role, payload, moment_us).await;
        }
    }

    /// Waits for the moment of the `n`-th event, and tells it.
    async fn await_moment(&self, n: u64) -> u64 {
        let now_us = self.clock.monotonic_us();
        let Some(due_us) = n.saturating_mul(1_000_000).checked_div(self.plan.rate) else {
            return now_us;
        };
        let moment_us = self.start_us + due_us;
        if let Some(left_us) = moment_us.checked_sub(now_us) {
            tokio::time::sleep(Duration::from_micros(left_us)).await;
        }
        moment_us
    }

    async fn post_one(&self, client: &mut Client, role: Role, payload: Bytes, moment_us: u64) {
        for _ in 0..TRIES_MAX {
            let answer = match client.post("/v1/events", payload.clone()).await {
                Ok(answer) => answer,
                // Nobody knows whether it was accepted, so it is not tried again.
                Err(error) => return self.cast.tally.refused(|| error.to_string()),
            };
            if let Some(pause) = not_now(&answer) {
                tokio::time::sleep(pause).await;
                continue;
            }
            return match event_id(&answer) {
                Some(event) => self.cast.tally.accepted(role, event, moment_us),
                None => self.cast.tally.refused(|| refusal(&answer)),
            };
        }
        self.cast.tally.refused(|| format!("not taken in {TRIES_MAX} tries"));
    }
}

/// How long to wait where the server cannot take the event at the moment.
fn not_now(answer: &Answer) -> Option<Duration> {
    let passing = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS];
    if !passing.contains(&answer.status) {
        return None;
    }
    let text = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let seconds = text.and_then(|text| text.parse().ok()).unwrap_or(1);
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

fn event_id(answer: &Answer) -> Option<EventId> {
    if answer.status != StatusCode::CREATED {
        return None;
    }
    let created: Created = serde_json::from_slice(&answer.body).ok()?;
    created.event_id.parse().ok()
}

fn refusal(answer: &Answer) -> String {
    let json = answer.json();
    format!("{} ({})", answer.status, json["detail"].as_str().unwrap_or("no detail"))
}

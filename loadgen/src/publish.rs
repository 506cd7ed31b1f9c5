//! The publisher: sends the events of the pacer at their moments.
//!
//! Each lane is a thread with a single-threaded runtime of its own: nothing on the way of an event
//! is shared with another lane but the account. An event that is due gets an idle connection, or a
//! new one; the pacer never waits for answers. While no connection can be made (the system is
//! restarting), events wait for one, and one connection at a time tries.

mod connection;
mod direct;
mod lane;
mod outbound;
mod timer;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};

use self::lane::Lane;
pub use self::outbound::Outbound;
use crate::clock::Nanos;
use crate::cloud::Mail;
use crate::pacer::Pacer;
use crate::schedule::Schedule;
use crate::shared::Shared;

/// How events are sent.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to.
    pub address: SocketAddr,
    /// The request line and headers of each tenant's events, up to and with `content-length: `.
    pub heads: Arc<Vec<Box<[u8]>>>,
    /// Events without an answer, for this lane.
    pub in_flight_max: u32,
    /// Whether connections are used again.
    pub keep_alive: bool,
    /// How long an answer is waited for.
    pub answer_timeout: Nanos,
    /// What puts them into a queue, instead of sending them to the address.
    pub mail: Option<Arc<Mail>>,
}

/// The head of an event's request for a tenant with this key.
#[must_use]
pub fn head(address: SocketAddr, key: &str, keep_alive: bool) -> Box<[u8]> {
    let close = if keep_alive { "" } else { "connection: close\r\n" };
    let text = format!(
        "POST /v1/events HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\n{close}\
         content-type: application/json\r\ncontent-length: "
    );
    text.into_bytes().into()
}

/// The load, running.
#[derive(Debug)]
pub struct Publisher {
    /// What each lane has counted.
    pub records: Vec<Arc<Mutex<Outbound>>>,
    lanes: Vec<JoinHandle<Result<()>>>,
    /// Ends when every lane has: each holds the other side.
    finished: tokio::sync::mpsc::Receiver<()>,
}

impl Publisher {
    /// Begins the load that `pacer` makes for each lane.
    ///
    /// # Errors
    /// Where a thread cannot be had.
    pub fn start(
        shared: &Arc<Shared>,
        settings: &Settings,
        lanes: u32,
        pacer: impl Fn(u64) -> Pacer,
    ) -> Result<Self> {
        let (holder, finished) = tokio::sync::mpsc::channel(1);
        let mut publisher = Self { records: Vec::new(), lanes: Vec::new(), finished };
        for number in 0..lanes {
            let record = Arc::new(Mutex::new(Outbound::new()));
            publisher.records.push(Arc::clone(&record));
            let mut settings = settings.clone();
            settings.in_flight_max = (settings.in_flight_max / lanes).max(1);
            let (shared, pacer) = (Arc::clone(shared), pacer(number.into()));
            let holder = holder.clone();
            let run = move || {
                let outcome = match settings.mail.clone() {
                    Some(mail) => direct::run(&shared, &mail, &record, pacer),
                    None => Lane::run(shared, settings, record, pacer),
                };
                drop(holder);
                outcome
            };
            let thread = std::thread::Builder::new().name(format!("publish-{number}"));
            publisher.lanes.push(thread.spawn(run).context("cannot start a publisher")?);
        }
        Ok(publisher)
    }

    /// Waits until every event has been sent and answered, or the load was stopped. Can be
    /// dropped and asked again.
    pub async fn finished(&mut self) {
        _ = self.finished.recv().await;
    }

    /// Ends the threads.
    ///
    /// # Errors
    /// What ended a lane before its time.
    pub fn join(&mut self) -> Result<()> {
        for lane in self.lanes.drain(..) {
            lane.join().map_err(|_| anyhow::anyhow!("a publisher thread panicked"))??;
        }
        Ok(())
    }
}

/// The pacer of a lane, for an open or a closed loop.
#[must_use]
pub fn pacer(schedule: &Schedule, closed: bool, shared: &Shared, [lane, lanes]: [u64; 2]) -> Pacer {
    let window = shared.window();
    if closed {
        Pacer::closed(window.start, window.to, lane, lanes)
    } else {
        Pacer::open(schedule.clone(), window.start, lane, lanes)
    }
}

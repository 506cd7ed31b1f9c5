//! The shards' threads: started together, drained together, given up together.
//!
//! Invariant: a shard that ends although nobody told it to ends the process.

use std::thread::Builder;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::lifecycle::Fatal;
use crate::shard::{self, Ended, Parts};

/// How long shards that are given up may take to empty their registers.
const ABANDON_MAX: Duration = Duration::from_millis(500);

/// What a shard is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Deliver.
    Run,
    /// Start no attempt any more; end when nothing is in flight.
    Drain,
    /// End now. What is in flight stays owed.
    Abandon,
}

/// All shards, each on a thread of its own.
#[derive(Debug)]
pub struct Shards {
    handle: Handle,
    ends: Vec<oneshot::Receiver<Ended>>,
}

/// Tells the shards what to do, from anywhere.
#[derive(Clone, Debug)]
pub struct Handle {
    order: watch::Sender<Order>,
    running: watch::Sender<usize>,
}

impl Shards {
    /// What shards are told by; to be handed to each in its [`Parts`].
    #[must_use]
    pub fn order() -> watch::Sender<Order> {
        watch::Sender::new(Order::Run)
    }

    /// Starts a thread for each shard.
    ///
    /// # Errors
    /// The operating system's error where it gives no further thread. Shards that run already are
    /// given up.
    pub fn start(
        parts: Vec<Parts>,
        order: watch::Sender<Order>,
        fatal: &Fatal,
    ) -> std::io::Result<Self> {
        let running = watch::Sender::new(parts.len());
        let handle = Handle { order, running };
        let mut ends = Vec::new();
        for parts in parts {
            let (ended, end) = oneshot::channel();
            let (fatal, handle) = (fatal.clone(), handle.clone());
            let thread = Builder::new().name(format!("shard-{}", parts.spec.index));
            thread
                .spawn({
                    let handle = handle.clone();
                    move || handle.supervise(parts, &fatal, ended)
                })
                .inspect_err(|_| handle.tell(Order::Abandon))?;
            ends.push(end);
        }
        Ok(Self { handle, ends })
    }

    /// Tells the shards what to do, from anywhere.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Drains all shards: no attempt starts, what is in flight finishes and is settled. What is
    /// not done after `drain_max` is given up; it stays owed.
    pub async fn drain(self, drain_max: Duration) -> Ended {
        self.handle.tell(Order::Drain);
        if tokio::time::timeout(drain_max, self.handle.all_ended()).await.is_err() {
            self.handle.tell(Order::Abandon);
        }
        let mut all = Ended::default();
        for end in self.ends {
            // A thread that ended by a panic says nothing, and has ended the process.
            let ended = end.await.unwrap_or_default();
            all.finished += ended.finished;
            all.cut_off += ended.cut_off;
        }
        all
    }
}

impl Handle {
    /// Ends the shards now, and waits a moment for them to note that nothing is in flight: an end
    /// that was asked for is no crash, and must not count as one against the deliveries.
    pub async fn abandon(&self) {
        self.tell(Order::Abandon);
        // One that does not end in time costs its deliveries a wrongly counted interruption.
        drop(tokio::time::timeout(ABANDON_MAX, self.all_ended()).await);
    }

    fn tell(&self, order: Order) {
        self.order.send_replace(order);
    }

    async fn all_ended(&self) {
        let mut running = self.running.subscribe();
        // The sender lives in self, so waiting cannot fail.
        drop(running.wait_for(|running| *running == 0).await);
    }

    fn supervise(&self, parts: Parts, fatal: &Fatal, ended: oneshot::Sender<Ended>) {
        let index = parts.spec.index;
        match shard::run(parts) {
            Ok(end) => {
                if *self.order.borrow() == Order::Run {
                    fatal.stop(format!("shard {index} ended by itself"));
                }
                // Nobody may be waiting any more, and then nobody misses it.
                ended.send(end).ok();
            }
            Err(error) => fatal.stop(format!("shard {index}: {error}")),
        }
        self.running.send_modify(|running| *running -= 1);
    }
}

//! The driver of one shard: turns the engine's effects into calls and their results into inputs.
//!
//! A shard is a thread with a single-threaded runtime, its own engine and its own connections.
//! Each turn hands the engine everything that has come in since the last one, then carries out
//! everything it orders; outcomes of one turn travel to the ledger as one batch. The driver
//! decides nothing: what to do next is the engine's business.
//!
//! ```text
//!  inbox (store's writer) ─┐                      ┌─► attempts ──► delivery client
//!  answers (own tasks) ────┼─► engine ─► effects ─┼─► settle, reads ──► store
//!  wake-up (timer) ────────┘                      └─► register (what is in flight)
//! ```

mod attempts;
mod marks;
mod options;
mod turn;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use posthaste_courier::Courier;
use posthaste_delivery::Client;
use posthaste_domain::Timestamp;
use posthaste_embedded::AttemptRegister;
use posthaste_engine::{Engine, Input};
use posthaste_ports::{Journal, ShardSpec, TenantStore};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, warn};

use self::attempts::Endpoints;
use self::marks::Marks;
pub use self::options::Usual;
use crate::clock::Clock;
use crate::inbox::Inbox;
use crate::lifecycle::Fatal;
use crate::metrics::ShardMetrics;
use crate::shards::Order;

/// A sleeping shard looks around this often even if nothing calls it, so that its pool drops idle
/// connections and its published figures stay fresh. In milliseconds.
const IDLE_TURN_MS: u64 = 500;

/// Endpoints in trouble that an operator is shown of each shard: more than anybody reads.
const TROUBLED_MAX: usize = 1_000;

/// Everything a shard is made of.
#[derive(Debug)]
pub struct Parts {
    /// Which shard.
    pub spec: ShardSpec,
    /// The engine, with nothing in it yet.
    pub engine: Engine,
    /// What holds where a tenant has no wishes.
    pub usual: Usual,
    /// Settings of the delivery client; the client itself is made on the shard's thread, and anew
    /// when these change.
    pub client: watch::Receiver<posthaste_delivery::Settings>,
    /// Where new deliveries come in.
    pub inbox: Inbox,
    /// The durable truth.
    pub store: Stores,
    /// Marks what is in flight.
    pub register: AttemptRegister,
    /// Time.
    pub clock: Clock,
    /// Where figures go.
    pub metrics: Arc<ShardMetrics>,
    /// What to do.
    pub order: watch::Receiver<Order>,
    /// Where to say that the process cannot go on.
    pub fatal: Fatal,
}

/// The ports that a shard uses.
#[derive(Clone)]
pub struct Stores {
    /// Settling and reading what is owed.
    pub journal: Arc<dyn Journal>,
    /// Where deliveries go and what signs them.
    pub tenants: Arc<dyn TenantStore>,
    /// In AWS mode: says whether a delivery is still this instance's, before each attempt.
    pub courier: Option<Arc<Courier>>,
}

impl std::fmt::Debug for Stores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stores")
    }
}

/// A running shard's own state, shared by its tasks (all on one thread).
struct Shard {
    spec: ShardSpec,
    usual: Usual,
    /// Attempts keep the client that they began with.
    client: RefCell<Rc<Client>>,
    inbox: Inbox,
    store: Stores,
    marks: RefCell<Marks>,
    clock: Clock,
    metrics: Arc<ShardMetrics>,
    fatal: Fatal,
    endpoints: RefCell<Endpoints>,
    /// Results of the shard's own tasks, for the next turn.
    answers: RefCell<VecDeque<Input>>,
}

impl Shard {
    /// Hands a result to the engine's next turn.
    fn answer(&self, input: Input) {
        self.answers.borrow_mut().push_back(input);
        self.inbox.wake();
    }
}

/// How a shard ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Attempts that were in flight when the drain began and finished in it.
    pub finished: u64,
    /// Attempts that were cut off; their deliveries stay owed.
    pub cut_off: u64,
}

/// Runs a shard until it is told to end. Blocks the calling thread.
///
/// # Errors
/// A text for the log where the runtime or the client cannot be made.
pub fn run(parts: Parts) -> Result<Ended, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start the shard's runtime: {error}"))?;
    // Tasks that are left at the end are dropped with the set, and their connections with them.
    tokio::task::LocalSet::new().block_on(&runtime, run_local(parts))
}

async fn run_local(parts: Parts) -> Result<Ended, String> {
    let Parts { spec, engine, usual, mut client, inbox, store, register, .. } = parts;
    let Parts { clock, metrics, order, fatal, .. } = parts;
    let settings = client.borrow_and_update().clone();
    let first = Client::new(settings, Rc::new(clock.clone()))
        .map_err(|error| format!("cannot make the delivery client: {error}"))?;
    let shard = Rc::new(Shard {
        spec,
        usual,
        client: RefCell::new(Rc::new(first)),
        inbox,
        store,
        marks: RefCell::new(Marks::new(register)),
        clock,
        metrics,
        fatal,
        endpoints: RefCell::new(Endpoints::default()),
        answers: RefCell::new(VecDeque::new()),
    });
    shard.announce_backlog().await;
    let ended = shard.work(engine, order, client).await;
    let cleared = shard.marks.borrow_mut().close();
    if let Err(error) = cleared {
        warn!(shard = spec.index, %error, "attempt register not cleared");
    }
    debug!(shard = spec.index, "shard ended");
    Ok(ended)
}

impl Shard {
    /// Takes turns until it is told to end.
    async fn work(
        self: &Rc<Self>,
        mut engine: Engine,
        mut order: watch::Receiver<Order>,
        mut client: watch::Receiver<posthaste_delivery::Settings>,
    ) -> Ended {
        // What was in flight when the drain began.
        let mut draining = None;
        let mut maintained = Timestamp::ZERO;
        // One timer, moved only when the deadline is another one: most turns change nothing.
        let mut armed = Timestamp::ZERO;
        let sleep = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(sleep);
        loop {
            match *order.borrow_and_update() {
                Order::Run => {}
                Order::Drain if draining.is_none() => {
                    engine.handle(self.clock.now(), Input::Drain);
                    draining = Some(engine.stats().in_flight);
                }
                Order::Drain => {}
                Order::Abandon => break,
            }
            let wakeup = self.turn(&mut engine);
            self.metrics.turned();
            if draining.is_some() && engine.is_drained() {
                break;
            }
            let now = self.clock.now();
            if now.millis_since(maintained) >= IDLE_TURN_MS {
                maintained = now;
                let client = self.client();
                client.maintain();
                self.metrics.publish(engine.stats(), client.stats());
                self.metrics.publish_troubled(engine.troubled(TROUBLED_MAX));
            }
            let idle_until = maintained.plus_millis(IDLE_TURN_MS);
            let wanted = wakeup.map_or(idle_until, |at| at.min(idle_until));
            if wanted != armed || sleep.is_elapsed() {
                armed = wanted;
                sleep.as_mut().reset(Instant::now() + self.clock.until(wanted));
            }
            tokio::select! {
                () = self.inbox.woken() => {}
                () = &mut sleep => {}
                Ok(()) = order.changed() => {}
                Ok(()) = client.changed() => {
                    let settings = client.borrow_and_update().clone();
                    self.renew_client(settings);
                }
            }
        }
        let stats = engine.stats();
        self.metrics.publish(stats, self.client().stats());
        let cut_off = stats.in_flight;
        Ended { finished: draining.unwrap_or(cut_off).saturating_sub(cut_off), cut_off }
    }

    /// The client that new attempts go by.
    fn client(&self) -> Rc<Client> {
        Rc::clone(&self.client.borrow())
    }

    /// Has new attempts go by new settings. Connections of the old client end with its attempts.
    fn renew_client(&self, settings: posthaste_delivery::Settings) {
        match Client::new(settings, Rc::new(self.clock.clone())) {
            Ok(client) => drop(self.client.replace(Rc::new(client))),
            // The reload has made one of the same settings; this is what can go wrong since then.
            Err(error) => warn!(shard = self.spec.index, %error, "kept the old delivery client"),
        }
    }
}

//! The driver of one shard, as the daemon has it: turns the engine's effects into calls and their
//! results into inputs. Attempts are made to the plan's endpoints.

mod attempts;
mod inbox;
mod turn;

pub(crate) use inbox::Inboxes;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use posthaste_courier::{Clock as _, Courier};
use posthaste_domain::Timestamp;
use posthaste_engine::{Engine, Input};
use posthaste_ports::{Journal, ShardSpec, TenantStore};
use tokio::sync::watch;
use tokio::time::sleep;

use self::inbox::Inbox;
use crate::clock::DaemonClock;
use crate::cloud::Line;
use crate::coverage::{Watched, input_name};
use crate::jobs::DiskPort;
use crate::trace::Who;
use crate::world::World;

/// What shards are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Run,
    Drain,
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// What a shard works with.
#[derive(Clone)]
pub(crate) struct Tools {
    pub(crate) world: Arc<World>,
    pub(crate) daemon: usize,
    pub(crate) courier: Arc<Courier>,
    pub(crate) tenants: Arc<dyn TenantStore>,
    pub(crate) disk: DiskPort,
    pub(crate) clock: DaemonClock,
}

impl Tools {
    /// This daemon's way to the cloud.
    pub(crate) fn line(&self) -> Line {
        Line { world: Arc::clone(&self.world), who: Who::Daemon(self.daemon) }
    }
}

/// A running shard's own state.
pub(crate) struct Shard {
    spec: ShardSpec,
    tools: Tools,
    inbox: Inbox,
    answers: RefCell<VecDeque<Input>>,
    /// Tasks that were begun in this turn.
    begun: RefCell<Vec<Task>>,
    turns: Cell<u64>,
    /// News about endpoints that the engine has heard.
    news: Cell<usize>,
    watched: RefCell<Watched>,
}

impl Shard {
    pub(crate) fn new(spec: ShardSpec, tools: Tools, inbox: Inbox) -> Rc<Self> {
        // What was said before the start is read when it is needed.
        let news = Cell::new(tools.world.lock().news.len());
        Rc::new(Self {
            spec,
            tools,
            inbox,
            answers: RefCell::default(),
            begun: RefCell::default(),
            turns: Cell::new(0),
            news,
            watched: RefCell::default(),
        })
    }

    /// Tells the engine something.
    fn tell(&self, engine: &mut Engine, now: Timestamp, input: Input) {
        self.tools.world.saw(input_name(&input));
        engine.handle(now, input);
    }

    fn answer(&self, input: Input) {
        self.answers.borrow_mut().push_back(input);
        self.inbox.wake();
    }

    fn spawn<F>(self: &Rc<Self>, task: impl FnOnce(Rc<Self>) -> F)
    where
        F: Future<Output = ()> + 'static,
    {
        let task: Task = Box::pin(task(Rc::clone(self)));
        self.begun.borrow_mut().push(task);
    }

    /// Takes turns until it is drained.
    pub(crate) async fn work(self: Rc<Self>, seed: u64, mut order: watch::Receiver<Order>) {
        let mut engine = Engine::new(self.tools.world.plan.fleet.engine.clone(), seed);
        let mut tasks: FuturesUnordered<Task> = FuturesUnordered::new();
        let mut is_draining = false;
        self.announce_backlog().await;
        loop {
            if *order.borrow_and_update() == Order::Drain && !is_draining {
                is_draining = true;
                self.tell(&mut engine, self.tools.clock.now(), Input::Drain);
            }
            let wakeup = self.turn(&mut engine);
            tasks.extend(self.begun.take());
            self.check(&engine);
            if is_draining && engine.is_drained() {
                return;
            }
            let now = self.tools.clock.now();
            let idle_ms = self.tools.world.plan.fleet.idle_turn_ms;
            let wait_ms = wakeup.map_or(idle_ms, |at| at.millis_since(now).min(idle_ms));
            tokio::select! {
                biased;
                () = self.inbox.woken() => {}
                Some(()) = tasks.next() => {}
                Ok(()) = order.changed() => {}
                () = sleep(Duration::from_millis(wait_ms.max(1))) => {}
            }
        }
    }

    async fn announce_backlog(&self) {
        if let Ok(endpoints) = self.tools.courier.owed_endpoints(self.spec).await {
            for owed in endpoints {
                self.inbox.behind(owed.tenant, owed.endpoint, owed.first);
            }
        }
    }

    fn check(&self, engine: &Engine) {
        let turns = self.turns.get() + 1;
        self.turns.set(turns);
        let world = &self.tools.world;
        world.count_busy();
        {
            let mut state = world.lock();
            state.counts.turns += 1;
            self.watched.borrow_mut().look(engine, &mut state.coverage);
        }
        let stats = engine.stats();
        if stats.invariant_violations > 0 {
            world.fail(format!("{} broken invariants", stats.invariant_violations));
        }
        if turns.is_multiple_of(world.plan.check_every)
            && let Err(broken) = engine.check()
        {
            world.fail(format!("daemon {}: {broken}", self.tools.daemon));
        }
    }
}

//! Senders, tenants and operators: ingest with its retries (PROTOCOL 1 to 3), requeue and purge
//! (15 to 17), and what should never have been sent.

mod changes;
mod operators;

pub(crate) use changes::change;

pub(crate) use operators::Operators;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use posthaste_domain::{EventId, RowKey};
use posthaste_ports::{Outgoing, PortError, Queue as _, Rows as _};
use posthaste_protocol::EventMessage;
use tokio::time::sleep;

use crate::cloud::{Line, MAIN, QueuePort, RowsPort};
use crate::trace::Who;
use crate::world::World;

/// So often a sender with a key tries.
const TRIES_MAX: u32 = 12;

/// All senders.
#[derive(Clone)]
pub(crate) struct Senders {
    world: Arc<World>,
    rows: RowsPort,
    queue: QueuePort,
    /// Events that are not posted to the end yet.
    pub(crate) left: Rc<Cell<u64>>,
}

/// One event on its way.
struct Posting {
    key: RowKey,
    payload: Bytes,
    is_keyed: bool,
    by_reference: bool,
    is_old_form: bool,
}

impl Senders {
    pub(crate) fn new(world: &Arc<World>) -> Self {
        let line = Line { world: Arc::clone(world), who: Who::Client };
        let left = Rc::new(Cell::new(world.plan.clients.events));
        Self {
            world: Arc::clone(world),
            rows: RowsPort { line: line.clone(), name: None },
            queue: QueuePort { line, which: MAIN },
            left,
        }
    }

    /// Posts all events, each at its time.
    pub(crate) async fn post_all(self) {
        let clients = self.world.plan.clients;
        let mut times: Vec<u64> = {
            let mut state = self.world.lock();
            (0..clients.events).map(|_| state.chance.within((0, clients.post_ms))).collect()
        };
        times.sort_unstable();
        for (at, number) in times.into_iter().zip(0..) {
            let now = self.world.ms();
            if at > now {
                sleep(Duration::from_millis(at - now)).await;
            }
            let sender = self.clone();
            tokio::task::spawn_local(async move {
                let posting = sender.draw(number);
                sender.post(&posting).await;
                sender.left.set(sender.left.get() - 1);
            });
        }
    }

    fn draw(&self, number: u64) -> Posting {
        let (now, plan) = (self.world.now(), &self.world.plan);
        let mut guard = self.world.lock();
        let state = &mut *guard;
        let tenant = plan.tenants[state.chance.index(plan.tenants.len())].id.clone();
        let entropy = u128::from(state.chance.draw()) << 16 | u128::from(number);
        let key = RowKey { tenant, event: EventId::from_parts(now, entropy) };
        if plan.clients.killer == Some(number) {
            state.killer = Some(key.clone());
        }
        let payload = Bytes::from(format!("{{\"number\":{number}}}"));
        Posting {
            key,
            payload,
            is_keyed: state.chance.permille(plan.clients.keyed_permille),
            by_reference: state.chance.permille(plan.clients.by_reference_permille),
            is_old_form: state.chance.permille(plan.clients.old_form_permille),
        }
    }

    async fn post(&self, posting: &Posting) {
        for _ in 0..TRIES_MAX {
            if self.post_once(posting).await.is_ok() {
                let mut state = self.world.lock();
                state.judge.accepted(&posting.key);
                state.counts.accepted += 1;
                let kept = state.check_promise(&posting.key);
                drop(state);
                return self.world.judge(kept);
            }
            if !posting.is_keyed {
                // Who has no key posts something else.
                return;
            }
            let pause = self.world.lock().chance.within((100, 60_000));
            sleep(Duration::from_millis(pause)).await;
        }
    }

    /// As the API does it: who made the row sends a plain message, everybody else says `again`,
    /// and nobody sends one for a row that is final or in somebody's care.
    async fn post_once(&self, posting: &Posting) -> Result<(), PortError> {
        let again = !self.rows.put(&posting.key, &posting.payload).await?;
        if again {
            let read = self.rows.read(std::slice::from_ref(&posting.key)).await?;
            let row = read.into_iter().flatten().next().map(|stored| stored.row);
            if row.is_some_and(|row| row.is_final() || row.lease.is_some()) {
                return Ok(());
            }
        }
        let is_short = posting.by_reference || posting.is_old_form;
        let message = EventMessage {
            key: posting.key.clone(),
            round: (!posting.is_old_form).then_some(0),
            payload: (!is_short).then(|| posting.payload.clone()),
            created_at: Some(posting.key.event.created_at()),
            again,
        };
        send(&self.queue, &message).await
    }
}

/// Sends a message of the main queue.
async fn send(queue: &QueuePort, message: &EventMessage) -> Result<(), PortError> {
    let group = message.key.tenant.as_str().into();
    let outgoing = Outgoing { body: message.body(), group };
    queue.send(vec![outgoing]).await.pop().unwrap_or_else(|| Err(crate::cloud::lost()))
}

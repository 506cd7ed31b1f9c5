//! Operators and tenants: requeue, purge, retry; and messages that are none.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use posthaste_domain::{EventId, EventStatus, RowKey};
use posthaste_ports::{Message, Outgoing, Queue as _, Rows as _, Written};
use posthaste_protocol::{
    Answer, EventMessage, OnRequeue, Requeued, after_purge, after_requeue, purge, requeue,
};
use tokio::time::sleep;

use super::send;
use crate::cloud::{DEAD, Line, MAIN, QueuePort, RowsPort};
use crate::plan::FaultKind;
use crate::trace::Who;
use crate::world::World;

/// Messages that are none, each in its own way.
const GARBAGE: [&str; 10] = [
    "{\"x\"",
    "",
    "null",
    "[]",
    "{\"x\":DEEP",
    "{\"eventId\":\"evt_0\"}",
    "{\"tenantId\":\"a|b\",\"eventId\":\"evt_0\"}",
    "{\"tenantId\":\"t\",\"eventId\":\"evt_0\",\"gen\":-1}",
    "{\"tenantId\":\"t\",\"eventId\":\"evt_0\",\"gen\":18446744073709551616}",
    "{\"tenantId\":\"t\\u0000\",\"eventId\":{}}",
];

/// What an operator does about a message of the DLQ.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Requeue,
    Purge,
}

/// All of them.
#[derive(Clone)]
pub(crate) struct Operators {
    world: Arc<World>,
    rows: RowsPort,
    main: QueuePort,
    dead: QueuePort,
}

impl Operators {
    pub(crate) fn new(world: &Arc<World>) -> Self {
        let line = Line { world: Arc::clone(world), who: Who::Client };
        Self {
            world: Arc::clone(world),
            rows: RowsPort { line: line.clone(), name: None },
            main: QueuePort { line: line.clone(), which: MAIN },
            dead: QueuePort { line, which: DEAD },
        }
    }

    /// Requeues one of the dead, at once.
    pub(crate) async fn requeue_one(self) {
        self.handle_dead(Wish::Requeue).await;
    }

    /// Does what the plan asks for, each at its time.
    pub(crate) async fn work(self) {
        let plan = &self.world.plan;
        let count = plan.clients.operations + plan.clients.strays;
        let mut times: Vec<u64> = {
            let mut state = self.world.lock();
            (0..count).map(|_| state.chance.within((0, plan.calm_ms))).collect()
        };
        times.sort_unstable();
        let strays = plan.clients.strays;
        for (at, number) in times.into_iter().zip(0..) {
            let now = self.world.ms();
            if at > now {
                sleep(Duration::from_millis(at - now)).await;
            }
            let operator = self.clone();
            if number < strays {
                tokio::task::spawn_local(async move { operator.send_stray(number).await });
            } else {
                tokio::task::spawn_local(async move { operator.operate().await });
            }
        }
    }

    async fn send_stray(&self, number: u64) {
        let stranger = EventMessage {
            key: RowKey {
                tenant: self.world.plan.tenants[0].id.clone(),
                event: EventId::from_u128(u128::from(number)),
            },
            round: (number != 1).then_some(2),
            payload: None,
            created_at: None,
            again: false,
        };
        self.world.saw("people send what is no message");
        let garbage = GARBAGE[usize::try_from(number / 2).unwrap_or(0) % GARBAGE.len()];
        let body = if number.is_multiple_of(2) {
            Bytes::from(garbage.replace("DEEP", &"[".repeat(10_000)))
        } else {
            stranger.body()
        };
        // Lost or not, nobody misses it.
        drop(self.main.send(vec![Outgoing { body, group: "stray".into() }]).await);
    }

    async fn operate(&self) {
        let wish = self.world.lock().chance.within((0, 5));
        match wish {
            0 | 1 => self.handle_dead(Wish::Requeue).await,
            2 => self.handle_dead(Wish::Purge).await,
            3 => self.send_again().await,
            _ => self.retry().await,
        }
    }

    /// Steps 15 to 17, by a message of the DLQ.
    async fn handle_dead(&self, wish: Wish) {
        let Ok(messages) = self.dead.receive(1, 0).await else { return };
        for message in messages {
            if let Ok(event) = EventMessage::parse(&message.body) {
                self.handle_one(&message, &event, wish).await;
            }
        }
    }

    async fn handle_one(&self, message: &Message, event: &EventMessage, wish: Wish) {
        let (key, round) = (&event.key, event.round.unwrap_or(0));
        let now = self.world.now();
        let write = match wish {
            Wish::Requeue => requeue(key, round, Requeued::Dead, now),
            Wish::Purge => purge(key, round, now),
        };
        let answer = self.rows.write(vec![write]).await.pop();
        let answer = match &answer {
            Some(Ok(Written::Done)) => Answer::Done,
            Some(Ok(Written::Refused(row))) => Answer::Refused(row.as_ref()),
            Some(Err(_)) | None => return,
        };
        let next = match wish {
            Wish::Requeue => after_requeue(round, answer),
            Wish::Purge => after_purge(round, answer),
        };
        let deletes = match next {
            OnRequeue::Send { round } => {
                self.world.hit(FaultKind::Operations);
                self.world.lock().coverage.saw("requeue send", 1);
                self.send_round(key, round).await
            }
            OnRequeue::DeleteMessage => {
                self.world.lock().coverage.saw("requeue delete_message", 1);
                true
            }
            OnRequeue::LeaveMessage => {
                self.world.lock().coverage.saw("requeue leave_message", 1);
                false
            }
        };
        if deletes {
            // It comes again otherwise, and is deleted then.
            drop(self.dead.delete(vec![message.receipt.clone()]).await);
        }
    }

    async fn send_round(&self, key: &RowKey, round: u32) -> bool {
        let message = EventMessage {
            key: key.clone(),
            round: Some(round),
            payload: None,
            created_at: None,
            again: false,
        };
        send(&self.main, &message).await.is_ok()
    }

    fn pick(&self) -> Option<RowKey> {
        let mut guard = self.world.lock();
        let state = &mut *guard;
        let all = state.judge.all();
        (!all.is_empty()).then(|| all[state.chance.index(all.len())].clone())
    }

    /// A tenant begins a fresh round of what failed.
    async fn retry(&self) {
        let Some(key) = self.pick() else { return };
        let Ok(read) = self.rows.read(std::slice::from_ref(&key)).await else { return };
        let Some(row) = read.into_iter().flatten().next().map(|stored| stored.row) else { return };
        if !matches!(row.status, EventStatus::Failed | EventStatus::Dlq) {
            return;
        }
        let write = requeue(&key, row.round, Requeued::DeadOrFailed, self.world.now());
        if let Some(Ok(Written::Done)) = self.rows.write(vec![write]).await.pop() {
            // Where it gets lost, a sweep finds the row.
            let _sent = self.send_round(&key, row.round + 1).await;
        }
    }

    /// A sender whose answer was lost comes back with its key, long after.
    async fn send_again(&self) {
        let Some(key) = self.pick() else { return };
        let message =
            EventMessage { key, round: Some(0), payload: None, created_at: None, again: true };
        // Accepted before or not: this promises nothing.
        drop(send(&self.main, &message).await);
    }
}

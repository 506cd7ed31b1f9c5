//! One turn of a shard: inputs into the engine, effects out of it.

use std::collections::VecDeque;
use std::rc::Rc;

use posthaste_domain::{
    DeliveryKey, EndpointId, EventId, Settlement, TenantId, TimerPosition, Timestamp,
};
use posthaste_engine::{Delivery, Effect, Engine, Input};
use posthaste_ports::{PortError, Settled};
use tracing::warn;

use super::Shard;
use super::attempts::Start;
use crate::inbox::Waiting;

/// What has come in since the last turn, in the order in which the engine may hear it: arrivals
/// first. A delivery can be read from the store, attempted and settled before its arrival is taken
/// out of the inbox; if its settlement were told first, the engine would take the arrival for a new
/// delivery and send it again.
fn inputs(waiting: Waiting, answers: VecDeque<Input>) -> impl Iterator<Item = Input> {
    let Waiting { arrived, behind, .. } = waiting;
    let arrived = (!arrived.is_empty()).then_some(Input::Arrived(arrived));
    let behind = behind.into_iter().map(|((tenant, endpoint), from)| Input::Behind {
        tenant,
        endpoint,
        from,
    });
    arrived.into_iter().chain(answers).chain(behind)
}

/// Reads of options that are answered within the turn that orders them: with each from disk, some
/// milliseconds.
const ANSWERED_MAX: usize = 256;

/// What the engine ordered in one turn, sorted by who carries it out.
#[derive(Default)]
struct Orders {
    attempts: Vec<Start>,
    settlements: Vec<(Delivery, Box<Settlement>)>,
    loads: Vec<(Delivery, DeliveryKey)>,
}

impl Shard {
    /// Feeds the engine, carries out its orders, and says when it wants to be woken.
    pub(super) fn turn(self: &Rc<Self>, engine: &mut Engine) -> Option<Timestamp> {
        let now = self.clock.now();
        self.feed(engine, now);
        let mut orders = Orders::default();
        let mut answered = 0;
        while let Some(effect) = engine.poll_effect() {
            match effect {
                Effect::ReadOptions { tenant, endpoint } => {
                    // Nothing is attempted before it is answered, so that it is answered at once
                    // where the record is in memory; after a start, when none is and everybody
                    // asks, not all of them in one turn.
                    match self.read_options(tenant, endpoint) {
                        Some(answer) if answered < ANSWERED_MAX => {
                            answered += 1;
                            engine.handle(now, answer);
                        }
                        Some(answer) => self.answer(answer),
                        None => {}
                    }
                }
                other => self.sort(other, &mut orders),
            }
        }
        self.carry_out(orders);
        engine.next_wakeup()
    }

    fn feed(&self, engine: &mut Engine, now: Timestamp) {
        let waiting = self.inbox.take();
        let answers = std::mem::take(&mut *self.answers.borrow_mut());
        for input in inputs(waiting, answers) {
            engine.handle(now, input);
        }
        if engine.next_wakeup().is_some_and(|at| at <= now) {
            engine.on_wakeup(now);
        }
    }

    fn sort(self: &Rc<Self>, effect: Effect, orders: &mut Orders) {
        match effect {
            Effect::Attempt { delivery, key, round, number, payload, ready_at } => {
                orders.attempts.push(Start { delivery, key, round, number, payload, ready_at });
            }
            Effect::Settle { delivery, settlement } => {
                orders.settlements.push((delivery, settlement));
            }
            Effect::LoadPayload { delivery, key } => orders.loads.push((delivery, key)),
            Effect::ReadBacklog { tenant, endpoint, from, max } => {
                self.spawn(|shard| shard.read_backlog(tenant, endpoint, from, max));
            }
            Effect::ReadTimers { from, until, max } => {
                self.spawn(|shard| shard.read_timers(from, until, max));
            }
            Effect::ReadOptions { .. } => unreachable!("it is answered where it is met"),
        }
    }

    fn carry_out(self: &Rc<Self>, orders: Orders) {
        // The register must name an attempt before its request can reach anybody. Marks taken away
        // since the last turn are written with the new ones, or by themselves.
        if orders.attempts.is_empty() {
            self.flush_marks();
        }
        self.start_attempts(orders.attempts);
        if !orders.settlements.is_empty() {
            self.spawn(|shard| shard.settle(orders.settlements));
        }
        if !orders.loads.is_empty() {
            self.spawn(|shard| shard.load(orders.loads));
        }
    }

    /// Runs a task of this shard. Tasks never outlive the shard's thread, and a panic in one ends
    /// the process through the panic hook, since a delivery would hang in the engine for ever.
    pub(super) fn spawn<F>(self: &Rc<Self>, task: impl FnOnce(Rc<Self>) -> F)
    where
        F: Future<Output = ()> + 'static,
    {
        tokio::task::spawn_local(task(Rc::clone(self)));
    }

    /// Tells the engine which endpoints the store has fresh deliveries of.
    pub(super) async fn announce_backlog(&self) {
        match self.store.journal.owed_endpoints(self.spec).await {
            Ok(endpoints) => {
                for owed in endpoints {
                    self.inbox.behind(owed.tenant, owed.endpoint, owed.first);
                }
            }
            Err(error) => self.fatal.stop(format!("cannot read what is owed: {error}")),
        }
    }

    async fn settle(self: Rc<Self>, settlements: Vec<(Delivery, Box<Settlement>)>) {
        let batch: Vec<Settlement> = settlements.iter().map(|(_, s)| (**s).clone()).collect();
        match self.store.journal.settle(batch).await {
            Ok(results) => {
                debug_assert_eq!(results.len(), settlements.len());
                for ((delivery, settlement), result) in settlements.into_iter().zip(results) {
                    self.marks.borrow_mut().end(delivery);
                    match result {
                        Settled::Settled => {
                            self.metrics.settled(&settlement);
                            self.answer(Input::Settled { delivery });
                        }
                        Settled::Superseded => self.answer(Input::Superseded { delivery }),
                    }
                }
            }
            Err(error) => {
                self.judge("settle", &error);
                for (delivery, settlement) in settlements {
                    self.answer(Input::SettleFailed { delivery, settlement });
                }
            }
        }
    }

    async fn load(self: Rc<Self>, loads: Vec<(Delivery, DeliveryKey)>) {
        let keys: Vec<DeliveryKey> = loads.iter().map(|(_, key)| key.clone()).collect();
        match self.store.journal.payloads(&keys).await {
            Ok(payloads) => {
                debug_assert_eq!(payloads.len(), loads.len());
                for ((delivery, _), payload) in loads.into_iter().zip(payloads) {
                    self.answer(Input::PayloadLoaded { delivery, payload });
                }
            }
            Err(error) => {
                self.judge("load payloads", &error);
                for (delivery, _) in loads {
                    self.answer(Input::PayloadLoadFailed { delivery });
                }
            }
        }
    }

    async fn read_backlog(
        self: Rc<Self>,
        tenant: TenantId,
        endpoint: EndpointId,
        from: EventId,
        max: usize,
    ) {
        match self.store.journal.backlog(&tenant, endpoint, from, max).await {
            Ok(read) => {
                let (owed, exhausted) = (read.owed, read.exhausted);
                self.answer(Input::BacklogRead { tenant, endpoint, owed, exhausted });
            }
            Err(error) => {
                self.judge("read the backlog", &error);
                self.answer(Input::BacklogReadFailed { tenant, endpoint });
            }
        }
    }

    async fn read_timers(self: Rc<Self>, from: TimerPosition, until: Timestamp, max: usize) {
        match self.store.journal.timers(self.spec, from, until, max).await {
            Ok(page) => self.answer(Input::TimersRead { owed: page.owed, next: page.next }),
            Err(error) => {
                self.judge("read timers", &error);
                self.answer(Input::TimersReadFailed);
            }
        }
    }

    /// A store that has failed for good ends the process; anything else is tried again.
    pub(super) fn judge(&self, doing: &str, error: &PortError) {
        match error {
            PortError::Permanent(_) => self.fatal.stop(format!("cannot {doing}: {error}")),
            PortError::Transient(_) | PortError::Throttled { .. } | PortError::Full => {
                warn!(shard = self.spec.index, %error, "cannot {doing}, will retry");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use posthaste_domain::{Owed, OwedAs};
    use posthaste_ports::{Arrival, ArrivalSink as _};

    use super::*;
    use crate::inbox::Inboxes;

    /// A settlement in the same turn as its own delivery's arrival is told after it.
    #[test]
    fn arrivals_are_told_before_answers() {
        let key = DeliveryKey {
            tenant: TenantId::try_new("acme").unwrap(),
            event: EventId::MIN,
            endpoint: EndpointId::DEFAULT,
        };
        let owed_as = OwedAs::Fresh;
        let owed = Owed { key, round: 0, attempts: 0, interrupted: 0, owed_as, payload: None };
        let inboxes = Inboxes::new(1);
        inboxes.arrived(vec![Arrival { shard_key: 0, owed }]);
        let (_, inbox) = inboxes.shards().next().unwrap();
        inbox.behind(TenantId::try_new("acme").unwrap(), EndpointId::DEFAULT, EventId::MAX);
        let answers = VecDeque::from([Input::TimersReadFailed]);
        let told: Vec<_> = inputs(inbox.take(), answers).collect();
        let order = told.as_slice();
        assert!(
            matches!(order, [Input::Arrived(_), Input::TimersReadFailed, Input::Behind { .. }]),
            "{order:?}"
        );
    }
}

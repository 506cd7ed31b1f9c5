//! One turn of a shard, as the daemon takes it: arrivals before answers.

use std::rc::Rc;

use posthaste_courier::Clock as _;
use posthaste_domain::{
    DeliveryKey, EndpointId, EventId, Settlement, TenantId, TimerPosition, Timestamp,
};
use posthaste_engine::{Delivery, Effect, Engine, Input, Options};
use posthaste_ports::{Journal as _, PortError, Settled};

use super::Shard;
use super::attempts::Start;
use crate::coverage::{effect_name, settlement_name};
use crate::plan::FaultKind;

/// What the engine ordered in one turn.
#[derive(Default)]
struct Orders {
    attempts: Vec<Start>,
    settlements: Vec<(Delivery, Box<Settlement>)>,
    loads: Vec<(Delivery, DeliveryKey)>,
}

impl Shard {
    /// Feeds the engine, carries out its orders, and says when it wants to be woken.
    pub(super) fn turn(self: &Rc<Self>, engine: &mut Engine) -> Option<Timestamp> {
        let now = self.tools.clock.now();
        let waiting = self.inbox.take();
        let answers = self.answers.take();
        if !waiting.arrived.is_empty() {
            self.tell(engine, now, Input::Arrived(waiting.arrived));
        }
        for input in answers {
            self.tell(engine, now, input);
        }
        for ((tenant, endpoint), from) in waiting.behind {
            self.tell(engine, now, Input::Behind { tenant, endpoint, from });
        }
        self.tell_news(engine, now);
        if engine.next_wakeup().is_some_and(|at| at <= now) {
            engine.on_wakeup(now);
        }
        let mut orders = Orders::default();
        while let Some(effect) = engine.poll_effect() {
            self.sort(effect, &mut orders);
        }
        self.carry_out(orders);
        engine.next_wakeup()
    }

    /// What people have done to endpoints since the turn before.
    fn tell_news(&self, engine: &mut Engine, now: Timestamp) {
        let world = &self.tools.world;
        let news: Vec<(usize, bool)> = world.lock().news[self.news.get()..].to_vec();
        self.news.set(self.news.get() + news.len());
        for (at, is_lifted) in news {
            let (tenant, endpoint) = (world.plan.tenants[at].id.clone(), EndpointId::DEFAULT);
            let options = Box::new(world.lock().options[at].clone());
            self.tell(
                engine,
                now,
                match is_lifted {
                    true => Input::Lift { tenant, endpoint },
                    false => Input::OptionsRead { tenant, endpoint, options },
                },
            );
        }
    }

    async fn read_options(self: Rc<Self>, tenant: TenantId, endpoint: EndpointId) {
        let world = &self.tools.world;
        if self.tools.tenants.tenant(&tenant).await.is_err() {
            return self.answer(Input::OptionsReadFailed { tenant, endpoint });
        }
        let at = world.plan.tenants.iter().position(|it| it.id == tenant);
        let options = at.map(|at| world.lock().options[at].clone()).unwrap_or_default();
        if options != Options::default() {
            world.hit(FaultKind::Changes);
        }
        self.answer(Input::OptionsRead { tenant, endpoint, options: Box::new(options) });
    }

    fn sort(self: &Rc<Self>, effect: Effect, orders: &mut Orders) {
        self.tools.world.saw(effect_name(&effect));
        match effect {
            Effect::Attempt { delivery, key, round, number, payload, ready_at: _ } => {
                orders.attempts.push(Start { delivery, key, round, number, payload });
            }
            Effect::Settle { delivery, settlement } => {
                self.tools.world.saw(settlement_name(settlement.resolution));
                orders.settlements.push((delivery, settlement));
            }
            Effect::LoadPayload { delivery, key } => orders.loads.push((delivery, key)),
            Effect::ReadBacklog { tenant, endpoint, from, max } => {
                self.spawn(|shard| shard.read_backlog((tenant, endpoint), from, max));
            }
            Effect::ReadTimers { from, until, max } => {
                self.spawn(|shard| shard.read_timers(from, until, max));
            }
            Effect::ReadOptions { tenant, endpoint } => {
                self.spawn(|shard| shard.read_options(tenant, endpoint));
            }
        }
    }

    fn carry_out(self: &Rc<Self>, orders: Orders) {
        self.start_attempts(orders.attempts);
        if !orders.settlements.is_empty() {
            self.spawn(|shard| shard.settle(orders.settlements));
        }
        if !orders.loads.is_empty() {
            self.spawn(|shard| shard.load(orders.loads));
        }
    }

    async fn settle(self: Rc<Self>, settlements: Vec<(Delivery, Box<Settlement>)>) {
        let batch: Vec<Settlement> = settlements.iter().map(|(_, s)| (**s).clone()).collect();
        match self.tools.courier.settle(batch).await {
            Ok(results) => {
                for ((delivery, settlement), result) in settlements.into_iter().zip(results) {
                    self.tools.disk.lock().marks.remove(&settlement.key);
                    self.answer(match result {
                        Settled::Settled => Input::Settled { delivery },
                        Settled::Superseded => Input::Superseded { delivery },
                    });
                }
            }
            Err(error) => {
                self.judge(&error);
                for (delivery, settlement) in settlements {
                    self.answer(Input::SettleFailed { delivery, settlement });
                }
            }
        }
    }

    async fn load(self: Rc<Self>, loads: Vec<(Delivery, DeliveryKey)>) {
        let keys: Vec<DeliveryKey> = loads.iter().map(|(_, key)| key.clone()).collect();
        match self.tools.courier.payloads(&keys).await {
            Ok(payloads) => {
                for ((delivery, _), payload) in loads.into_iter().zip(payloads) {
                    self.answer(Input::PayloadLoaded { delivery, payload });
                }
            }
            Err(error) => {
                self.judge(&error);
                for (delivery, _) in loads {
                    self.answer(Input::PayloadLoadFailed { delivery });
                }
            }
        }
    }

    async fn read_backlog(
        self: Rc<Self>,
        (tenant, endpoint): (TenantId, EndpointId),
        from: EventId,
        max: usize,
    ) {
        match self.tools.courier.backlog(&tenant, endpoint, from, max).await {
            Ok(read) => {
                let (owed, exhausted) = (read.owed, read.exhausted);
                self.answer(Input::BacklogRead { tenant, endpoint, owed, exhausted });
            }
            Err(error) => {
                self.judge(&error);
                self.answer(Input::BacklogReadFailed { tenant, endpoint });
            }
        }
    }

    async fn read_timers(self: Rc<Self>, from: TimerPosition, until: Timestamp, max: usize) {
        match self.tools.courier.timers(self.spec, from, until, max).await {
            Ok(page) => self.answer(Input::TimersRead { owed: page.owed, next: page.next }),
            Err(error) => {
                self.judge(&error);
                self.answer(Input::TimersReadFailed);
            }
        }
    }

    /// In a daemon this ends the process; in this world only a disk fails for good.
    fn judge(&self, error: &PortError) {
        let PortError::Permanent(what) = error else { return };
        let world = &self.tools.world;
        if self.tools.disk.lock().is_broken {
            world.blown[self.tools.daemon].notify_one();
        } else {
            world.fail(format!("a daemon would end itself: {what}"));
        }
    }
}

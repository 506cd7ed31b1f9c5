//! The steps of a history: drawing them, and doing them to a store.

use posthaste_domain::{
    DeadLetterCause, DeliveryKey, EndpointId, EventId, KeyHash, OptionsChange, Owed, OwedAs, Part,
    Resolution, Settlement, TenantId, Timestamp,
};

use super::views::ViewSubject;
use crate::chance::Chance;
use crate::contract::Stores;
use crate::contract::samples::{
    DAY, DELIVERED, EXHAUSTED, HOUR, SECOND, claim, key_hash, new_tenant, options, payload_of,
    retry_at, secret, settlement, sweep, target, tenant_id,
};
use crate::{
    Acceptance, Created, NewEvent, NewTenant, PortError, Requeued, Retried, Scope, Settled,
    TenantChange, TenantRecord,
};

/// One step.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Accept(Vec<NewEvent>),
    Settle(Vec<Settlement>),
    Retry(TenantId, EventId, Timestamp),
    Requeue {
        scope: Scope,
        batch: usize,
        max: usize,
        at: Timestamp,
    },
    Purge(Scope, Timestamp),
    /// Time passes, and what has expired is swept.
    Pass(Timestamp),
    Create(NewTenant),
    Update(TenantId, TenantChange),
    AddKey(TenantId, KeyHash, Timestamp),
    RevokeKey(TenantId, KeyHash),
    /// The store is closed and opened again.
    Restart,
}

/// What came of a step, without what the traits leave open.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    Accepted(Result<Vec<Acceptance>, PortError>),
    Settled(Result<Vec<Settled>, PortError>),
    Retried(Result<Retried, PortError>),
    Requeued(Result<Requeued, PortError>),
    Purged(Result<u64, PortError>),
    Created(Result<Option<TenantRecord>, PortError>),
    Updated(Result<Option<TenantRecord>, PortError>),
    Known(Result<bool, PortError>),
    Done,
}

impl Step {
    pub(super) async fn apply(&self, stores: &Stores) -> Answer {
        let unversioned = |record: &TenantRecord| TenantRecord { version: 0, ..record.clone() };
        match self.clone() {
            Self::Accept(events) => Answer::Accepted(stores.events.accept(events).await),
            Self::Settle(settlements) => Answer::Settled(stores.journal.settle(settlements).await),
            Self::Retry(tenant, id, at) => {
                Answer::Retried(stores.events.retry(&tenant, id, at).await)
            }
            Self::Requeue { scope, batch, max, at } => {
                Answer::Requeued(stores.dead_letters.requeue(&scope, batch, max, at).await)
            }
            Self::Purge(scope, at) => Answer::Purged(stores.dead_letters.purge(&scope, at).await),
            Self::Pass(now) => {
                sweep(stores, now).await;
                Answer::Done
            }
            Self::Create(new) => {
                Answer::Created(stores.tenants.create(new).await.map(|created| match created {
                    Created::Created(record) => Some(unversioned(&record)),
                    Created::AlreadyExists => None,
                }))
            }
            Self::Update(tenant, change) => {
                let updated = stores.tenants.update(&tenant, change).await;
                Answer::Updated(updated.map(|record| record.map(|record| unversioned(&record))))
            }
            Self::AddKey(tenant, key, at) => {
                Answer::Known(stores.tenants.add_key(&tenant, key, at).await)
            }
            Self::RevokeKey(tenant, key) => {
                Answer::Known(stores.tenants.revoke_key(&tenant, &key).await)
            }
            Self::Restart => Answer::Done,
        }
    }
}

/// How often each kind of step is drawn, and what attempts come to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weights {
    accept: u64,
    settle: u64,
    retry: u64,
    requeue: u64,
    purge: u64,
    pass: u64,
    tenant: u64,
    restart: u64,
    /// Percent of attempts that succeed, and of those that do not, that are the last.
    delivered: u64,
    dead: u64,
    /// Percent of events with an idempotency key.
    claims: u64,
}

impl Weights {
    pub(super) const BALANCED: Self = Self {
        accept: 25,
        settle: 35,
        retry: 10,
        requeue: 5,
        purge: 2,
        pass: 15,
        tenant: 6,
        restart: 2,
        delivered: 40,
        dead: 35,
        claims: 40,
    };
    pub(super) const FAILURES: Self =
        Self { settle: 50, retry: 15, tenant: 0, delivered: 10, dead: 20, ..Self::BALANCED };
    pub(super) const DEAD_LETTERS: Self = Self {
        retry: 15,
        requeue: 15,
        purge: 6,
        tenant: 0,
        delivered: 10,
        dead: 80,
        ..Self::BALANCED
    };
    pub(super) const TENANTS: Self =
        Self { accept: 40, settle: 15, tenant: 30, claims: 90, ..Self::BALANCED };
}

/// How one kind of step is drawn.
type Draw = fn(&mut Drawer, Weights, &[Owed]) -> Step;

/// Draws steps, and knows what there is to draw from.
#[derive(Debug)]
pub(super) struct Drawer {
    chance: Chance,
    pub(super) now: Timestamp,
    tenants: Vec<TenantId>,
    events: Vec<(TenantId, EventId)>,
    keys: Vec<KeyHash>,
    /// Outcomes that have been handed in, to be handed in again.
    settled: Vec<Settlement>,
    entropy: u128,
}

impl Drawer {
    pub(super) fn new(mut chance: Chance, now: Timestamp) -> Self {
        // Names that begin alike, and differ from those of the histories before.
        let name = format!("h{}", now.as_millis());
        let nobody = tenant_id(&format!("{name}-nobody"));
        let mut tenants = vec![nobody];
        for end in ["", "-", "-0", "0"] {
            tenants.push(tenant_id(&format!("{name}{end}")));
        }
        let entropy = u128::from(chance.below(1 << 60));
        let (events, keys, settled) = (Vec::new(), Vec::new(), Vec::new());
        Self { chance, now, tenants, events, keys, settled, entropy }
    }

    /// The tenants that a history begins with; the first name stays nobody's.
    pub(super) fn tenants(&mut self) -> Vec<NewTenant> {
        let names = self.tenant_ids();
        names.iter().skip(1).map(|tenant| self.new_tenant(tenant)).collect()
    }

    pub(super) fn tenant_ids(&self) -> Vec<TenantId> {
        self.tenants.clone()
    }

    pub(super) fn view_subject(&self) -> ViewSubject {
        ViewSubject {
            tenants: self.tenants.clone(),
            events: self.events.clone(),
            keys: self.keys.clone(),
            now: self.now,
        }
    }

    /// Takes note of what a step has brought into being.
    pub(super) fn learn(&mut self, step: &Step, answer: &Answer) {
        match (step, answer) {
            (Step::Accept(events), Answer::Accepted(Ok(_))) => {
                self.events.extend(events.iter().map(|event| (event.tenant.clone(), event.id)));
            }
            (Step::Settle(settlements), _) => self.settled.extend(settlements.iter().cloned()),
            (Step::Create(new), _) => self.keys.push(new.key),
            (Step::AddKey(_, key, _), _) => self.keys.push(*key),
            (Step::Pass(now), _) => self.now = *now,
            _ => {}
        }
    }

    pub(super) fn draw(&mut self, weights: Weights, owed: &[Owed]) -> Step {
        let steps: [(u64, Draw); 8] = [
            (weights.accept, Self::accept),
            (weights.settle, Self::settle),
            (weights.retry, Self::retry),
            (weights.requeue, Self::requeue),
            (weights.purge, Self::purge),
            (weights.pass, Self::pass),
            (weights.tenant, Self::tenant),
            (weights.restart, |_, _, _| Step::Restart),
        ];
        let mut at = self.chance.below(steps.iter().map(|(weight, _)| weight).sum());
        for (weight, draw) in steps {
            if at < weight {
                return draw(self, weights, owed);
            }
            at -= weight;
        }
        unreachable!("the weights are their sum")
    }

    fn accept(&mut self, weights: Weights, _: &[Owed]) -> Step {
        let mut events = Vec::new();
        for _ in 0..=self.chance.below(5) {
            let tenant = self.chance.pick(&self.tenants).clone();
            self.entropy += 1;
            let id = EventId::from_parts(self.now, self.entropy);
            let idempotency = if self.chance.percent(weights.claims) {
                let key = *self.chance.pick(&["one", "two", "three"]);
                let body = *self.chance.pick(&["body", "body", "changed"]);
                claim(key, body)
            } else {
                None
            };
            events.push(NewEvent { tenant, id, payload: payload_of(id), idempotency });
        }
        Step::Accept(events)
    }

    fn settle(&mut self, weights: Weights, owed: &[Owed]) -> Step {
        let mut settlements = Vec::new();
        for _ in 0..=self.chance.below(4) {
            if !self.settled.is_empty() && (owed.is_empty() || self.chance.percent(10)) {
                settlements.push(self.chance.pick(&self.settled).clone());
            } else if !owed.is_empty() {
                let owed = self.chance.pick(owed).clone();
                let owed = if self.chance.percent(15) { self.mistaken(owed) } else { owed };
                settlements.push(settlement(&owed, self.now, self.resolution(weights)));
            }
        }
        Step::Settle(settlements)
    }

    fn resolution(&mut self, weights: Weights) -> Resolution {
        if self.chance.percent(weights.delivered) {
            DELIVERED
        } else if self.chance.percent(weights.dead) {
            let cause = *self.chance.pick(&DeadLetterCause::ALL);
            let named = Resolution::DeadLettered { cause };
            if self.chance.percent(50) { named } else { EXHAUSTED }
        } else {
            let delays = [0, 1, SECOND, SECOND, HOUR, HOUR, 3 * HOUR, 2 * DAY];
            retry_at(self.now.plus_millis(*self.chance.pick(&delays)))
        }
    }

    /// A delivery that is not owed like this.
    fn mistaken(&mut self, owed: Owed) -> Owed {
        let key = owed.key.clone();
        match self.chance.below(6) {
            0 => Owed { round: owed.round + 1, ..owed },
            1 => Owed { round: owed.round.wrapping_sub(1), ..owed },
            2 => Owed { owed_as: OwedAs::Timer(self.now), ..owed },
            3 => Owed { owed_as: OwedAs::Fresh, ..owed },
            4 => {
                let tenant = self.chance.pick(&self.tenants).clone();
                Owed { key: DeliveryKey { tenant, ..key }, ..owed }
            }
            _ => {
                let endpoint = EndpointId::from_u16(1);
                Owed { key: DeliveryKey { endpoint, ..key }, ..owed }
            }
        }
    }

    fn retry(&mut self, _: Weights, _: &[Owed]) -> Step {
        if self.events.is_empty() {
            return Step::Pass(self.now.plus_millis(1));
        }
        let (owner, id) = self.chance.pick(&self.events).clone();
        let foreign = self.chance.percent(10);
        let tenant = if foreign { self.chance.pick(&self.tenants).clone() } else { owner };
        Step::Retry(tenant, id, self.now)
    }

    fn scope(&mut self) -> Scope {
        if self.chance.percent(40) {
            Scope::All
        } else {
            Scope::Tenant(self.chance.pick(&self.tenants).clone())
        }
    }

    fn requeue(&mut self, _: Weights, _: &[Owed]) -> Step {
        let batch = *self.chance.pick(&[1, 2, 10]);
        let max = *self.chance.pick(&[1, 2, 3, 100]);
        Step::Requeue { scope: self.scope(), batch, max, at: self.now }
    }

    fn purge(&mut self, _: Weights, _: &[Owed]) -> Step {
        Step::Purge(self.scope(), self.now)
    }

    fn pass(&mut self, _: Weights, _: &[Owed]) -> Step {
        let spans = [1, SECOND, SECOND, HOUR, HOUR, DAY - 1, DAY, 14 * DAY, 30 * DAY];
        Step::Pass(self.now.plus_millis(*self.chance.pick(&spans)))
    }

    fn tenant(&mut self, _: Weights, _: &[Owed]) -> Step {
        let tenant = self.chance.pick(&self.tenants).clone();
        let fresh_key = key_hash(&format!("key {} of {}", self.keys.len(), self.now));
        match self.chance.below(5) {
            // Nobody stays nobody, so that there is one; all others exist.
            0 if tenant != self.tenants[0] => {
                let again = self.new_tenant(&tenant);
                Step::Create(NewTenant { key: fresh_key, ..again })
            }
            0 | 1 => Step::AddKey(tenant, fresh_key, self.now),
            2 => Step::RevokeKey(tenant, *self.chance.pick(&self.keys)),
            _ => Step::Update(tenant, self.change()),
        }
    }

    fn change(&mut self) -> TenantChange {
        let number = self.chance.below(4);
        let new_target = target(&format!("t{number}.example.com"));
        let overlap = *self.chance.pick(&[0, SECOND, DAY]);
        let new_secret = (secret(&format!("rotated-{number}")), overlap);
        let new_options = options(u32::try_from(number).expect("below 4"));
        let new_headers = Part::Set(new_options.headers);
        let changed_options = [
            OptionsChange { headers: new_headers.clone(), ..OptionsChange::NOTHING },
            OptionsChange { headers: new_headers, paused: Part::Set(true), ..OptionsChange::RESET },
            OptionsChange::RESET,
        ];
        let (with_target, with_secret, with_options) = *self.chance.pick(&[
            (true, false, false),
            (false, true, false),
            (false, false, true),
            (true, true, true),
        ]);
        let options = self.chance.pick(&changed_options).clone();
        let options = if with_options { options } else { OptionsChange::NOTHING };
        TenantChange {
            target: with_target.then_some(new_target),
            secret: with_secret.then_some(new_secret),
            options,
            at: self.now,
        }
    }

    fn new_tenant(&mut self, tenant: &TenantId) -> NewTenant {
        let shard_key = u32::try_from(self.chance.below(5)).expect("below 5");
        let plan = (*self.chance.pick(&["standard", "gold"])).into();
        NewTenant { shard_key, plan, at: self.now, ..new_tenant(tenant.as_str()) }
    }
}

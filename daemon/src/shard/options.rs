//! What the engine is told of a tenant's wishes: read when it asks, and told again as soon as an
//! attempt meets a newer record.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use posthaste_domain::{EndpointId, RetrySchedule, TargetUrl, TenantId, Timestamp};
use posthaste_engine::{Input, Options, Rate};
use posthaste_ports::{PortError, TenantRecord};
use tracing::warn;

use super::Shard;

/// What holds for all tenants.
#[derive(Clone, Debug)]
pub struct Usual {
    /// When failed deliveries are tried again, where their tenant has not said otherwise.
    pub schedule: RetrySchedule,
    /// Turns of a plan's tenants while others get one.
    pub plan_weights: BTreeMap<String, u32>,
}

impl Shard {
    /// Reads what a tenant wishes: the answer, or none where it comes later.
    pub(super) fn read_options(
        self: &Rc<Self>,
        tenant: TenantId,
        endpoint: EndpointId,
    ) -> Option<Input> {
        let shard = Rc::clone(self);
        let mut reading = Box::pin(async move {
            match shard.record(&tenant).await {
                Ok(record) => {
                    let options = record.map(|record| options(&record, &shard.usual));
                    let options = Box::new(options.unwrap_or_default());
                    Input::OptionsRead { tenant, endpoint, options }
                }
                Err(error) => {
                    // A table that refuses, or a row that somebody wrote by hand, needs a person,
                    // but no restart: its endpoint waits. What our own disk refuses is another
                    // matter.
                    if shard.store.courier.is_some() {
                        warn!(%tenant, %error, "cannot read a tenant's options, will retry");
                    } else {
                        shard.judge("read a tenant's options", &error);
                    }
                    Input::OptionsReadFailed { tenant, endpoint }
                }
            }
        });
        // Whether it is there already; who is woken for it then is the task below.
        if let Poll::Ready(answer) = reading.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        {
            return Some(answer);
        }
        self.spawn(|shard| async move {
            let answer = reading.await;
            shard.answer(answer);
        });
        None
    }

    /// A tenant's record, no older than one that an attempt has met.
    async fn record(&self, tenant: &TenantId) -> Result<Option<Arc<TenantRecord>>, PortError> {
        let record = self.store.tenants.tenant(tenant).await?;
        let version = record.as_ref().map_or(u64::MAX, |record| record.version);
        let met = self.endpoints.borrow().version(tenant);
        // Met while this was being read.
        if met.is_some_and(|met| met > version) {
            return self.store.tenants.tenant(tenant).await;
        }
        Ok(record)
    }

    /// Tells the engine of a record that an attempt has met for the first time.
    pub(super) fn tell_options(&self, record: &TenantRecord) {
        self.answer(Input::OptionsRead {
            tenant: record.id.clone(),
            endpoint: EndpointId::DEFAULT,
            options: Box::new(options(record, &self.usual)),
        });
    }
}

/// A record in the engine's words.
fn options(record: &TenantRecord, usual: &Usual) -> Options {
    let wanted = &record.options;
    Options {
        host: host(&record.target),
        weight: usual.plan_weights.get(&*record.plan).copied().unwrap_or(1),
        in_flight_max: wanted.in_flight.map(|max| max.value() as usize),
        rate: wanted.rate.map(|rate| Rate::per_second(rate.value())),
        schedule: wanted.retry.is_some().then(|| wanted.schedule(&usual.schedule)),
        paused: wanted.paused,
        lifted_at: wanted.lifted_at.unwrap_or(Timestamp::ZERO),
        ..Options::default()
    }
}

/// Who shares a receiver: the same name and port. Two that fall on one number by chance would share
/// a cap, and that is all.
fn host(target: &TargetUrl) -> u64 {
    let mut hasher = DefaultHasher::new();
    target.authority().hash(&mut hasher);
    hasher.finish().max(1)
}

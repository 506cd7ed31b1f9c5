//! Attempts: who the request goes to, what signs it, and what becomes of it.

use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;
use foldhash::fast::RandomState;
use posthaste_courier::Permission;
use posthaste_delivery::{Endpoint, Request};
use posthaste_domain::{
    Attempt, DeliveryKey, ErrorClass, PhaseTimings, TenantId, Timestamp, Verdict,
};
use posthaste_engine::{Delivery, Input};
use posthaste_ports::PortError;
use tracing::warn;

use super::Shard;

/// Endpoints whose prepared form is kept; beyond it the cache starts over (10,000 tenants take
/// about 10 MB; 50 MB where each has as many headers of its own as it may).
const ENDPOINTS_MAX: usize = 20_000;

/// An attempt that the engine ordered.
pub(super) struct Start {
    pub(super) delivery: Delivery,
    pub(super) key: DeliveryKey,
    pub(super) round: u32,
    pub(super) number: u32,
    pub(super) payload: Bytes,
    pub(super) ready_at: Timestamp,
}

/// What came of an order to attempt.
enum Made {
    /// This, a request or not.
    Attempt(Attempt),
    /// No request: the delivery is another instance's.
    Withdrawn,
    /// No request: its tenant has paused the endpoint.
    HeldBack,
    /// No request: there is no such tenant.
    TenantGone,
}

/// Prepared endpoints by tenant, each with the version of the record it was made from.
#[derive(Default)]
pub(super) struct Endpoints(HashMap<TenantId, (u64, Rc<Prepared>), RandomState>);

/// An endpoint as its tenant's record has it.
struct Prepared {
    endpoint: Endpoint,
    is_paused: bool,
}

impl Endpoints {
    /// The version of a tenant's record that was met last.
    pub(super) fn version(&self, tenant: &TenantId) -> Option<u64> {
        self.0.get(tenant).map(|(version, _)| *version)
    }
}

impl Shard {
    /// Marks attempts as in flight, then starts them.
    pub(super) fn start_attempts(self: &Rc<Self>, attempts: Vec<Start>) {
        if attempts.is_empty() {
            return;
        }
        let mut marks = self.marks.borrow_mut();
        for Start { delivery, key, round, number, .. } in &attempts {
            marks.begin(*delivery, key, *round, *number);
        }
        drop(marks);
        self.flush_marks();
        for start in attempts {
            self.spawn(|shard| async move {
                let delivery = start.delivery;
                match shard.attempt(start).await {
                    Made::Attempt(attempt) => shard.attempted(delivery, attempt),
                    Made::Withdrawn => shard.unmade(delivery, Input::Withdrawn { delivery }),
                    Made::HeldBack => shard.unmade(delivery, Input::HeldBack { delivery }),
                    Made::TenantGone => shard.unmade(delivery, Input::TenantGone { delivery }),
                }
            });
        }
    }

    fn attempted(&self, delivery: Delivery, attempt: Attempt) {
        self.metrics.attempted(&attempt);
        // Every other outcome stays marked until it is settled: settling it may be what ends the
        // process.
        if matches!(attempt.verdict, Verdict::NotCharged { .. }) {
            self.marks.borrow_mut().end(delivery);
        }
        self.answer(Input::Attempted { delivery, attempt });
    }

    fn unmade(&self, delivery: Delivery, input: Input) {
        self.marks.borrow_mut().end(delivery);
        self.answer(input);
    }

    /// Writes which marks have changed; one system call, or none.
    pub(super) fn flush_marks(&self) {
        if let Err(error) = self.marks.borrow_mut().flush() {
            // Only the count of interruptions suffers; the deliveries themselves are safe.
            warn!(shard = self.spec.index, %error, "attempt register not written");
        }
    }

    async fn attempt(&self, start: Start) -> Made {
        let ours = Verdict::NotCharged { class: ErrorClass::LocalResource };
        let endpoint = match self.endpoint(&start.key.tenant).await {
            Ok(Some(endpoint)) => endpoint,
            Ok(None) => return Made::TenantGone,
            // A row that somebody wrote by hand: its deliveries wait until it is mended, and it
            // says nothing of us.
            Err(PortError::Permanent(_)) if self.store.courier.is_some() => return Made::HeldBack,
            // A table that cannot be read: no attempt is charged.
            Err(_) => return self.unsent(&start, ours, "cannot read the tenant's configuration"),
        };
        // Paused since the engine was last told: it hears of it before it hears of this.
        if endpoint.is_paused {
            return Made::HeldBack;
        }
        if let Some(courier) = &self.store.courier {
            match courier.permit(&start.key, start.round, start.number).await {
                Permission::Granted => {}
                Permission::Withdrawn => return Made::Withdrawn,
                Permission::Later => {
                    return self.unsent(&start, ours, "cannot make sure that nobody else has it");
                }
            }
        }
        let request = Request {
            event: start.key.event,
            number: start.number,
            payload: start.payload,
            ready_at: start.ready_at,
        };
        let client = self.client();
        Made::Attempt(client.attempt(&endpoint.endpoint, request).await)
    }

    /// The prepared endpoint of a tenant, as its record stands now.
    async fn endpoint(&self, tenant: &TenantId) -> Result<Option<Rc<Prepared>>, PortError> {
        let Some(record) = self.store.tenants.tenant(tenant).await? else { return Ok(None) };
        let mut endpoints = self.endpoints.borrow_mut();
        if let Some((version, endpoint)) = endpoints.0.get(tenant)
            && *version == record.version
        {
            return Ok(Some(Rc::clone(endpoint)));
        }
        if endpoints.0.len() >= ENDPOINTS_MAX {
            endpoints.0.clear();
        }
        self.tell_options(&record);
        let endpoint = Endpoint::new(&record.target, &record.secrets);
        let endpoint = endpoint.with_options(&record.options);
        let endpoint = Rc::new(Prepared { endpoint, is_paused: record.options.paused });
        endpoints.0.insert(tenant.clone(), (record.version, Rc::clone(&endpoint)));
        Ok(Some(endpoint))
    }

    fn unsent(&self, start: &Start, verdict: Verdict, error: &str) -> Made {
        Made::Attempt(Attempt {
            number: start.number,
            at: self.clock.now(),
            duration_ms: 0,
            status_code: None,
            verdict,
            error: Some(error.into()),
            response: Bytes::new(),
            phases: PhaseTimings::default(),
        })
    }
}

//! Attempts: permission, the request, and what becomes of it.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use posthaste_courier::{Clock as _, Permission};
use posthaste_domain::{
    Attempt, DeliveryKey, ErrorClass, PhaseTimings, RowKey, Timestamp, Verdict,
};
use posthaste_engine::{Delivery, Input};
use tokio::time::sleep;

use super::Shard;
use crate::endpoint::Fate;
use crate::judge::Request;
use crate::mutant::Mutant;
use crate::trace::Who;

/// Of a thousand attempts, how many fail by our own fault before calm.
const OURS_PERMILLE: u64 = 5;

/// An attempt that the engine ordered.
#[derive(Clone)]
pub(super) struct Start {
    pub(super) delivery: Delivery,
    pub(super) key: DeliveryKey,
    pub(super) round: u32,
    pub(super) number: u32,
    pub(super) payload: Bytes,
}

/// What came of an order to attempt.
enum Made {
    Attempt(Attempt),
    Withdrawn,
    TenantGone,
}

impl Shard {
    /// Marks attempts as in flight, then starts them.
    pub(super) fn start_attempts(self: &Rc<Self>, attempts: Vec<Start>) {
        let world = &self.tools.world;
        for start in attempts {
            if !world.has(Mutant::ForgetCutOffs) {
                let mark = (start.round, start.number);
                self.tools.disk.lock().marks.insert(start.key.clone(), mark);
            }
            let twice = world.has(Mutant::AttemptTwice) && world.lock().chance.permille(50);
            if twice {
                let start = start.clone();
                self.spawn(|shard| async move { drop(shard.attempt(&start).await) });
            }
            self.spawn(|shard| async move { shard.carry(start).await });
        }
    }

    async fn carry(&self, start: Start) {
        let delivery = start.delivery;
        let made = self.attempt(&start).await;
        let is_settled_later = matches!(
            &made,
            Made::Attempt(attempt) if !matches!(attempt.verdict, Verdict::NotCharged { .. })
        );
        if !is_settled_later {
            self.tools.disk.lock().marks.remove(&start.key);
        }
        self.answer(match made {
            Made::Attempt(attempt) => Input::Attempted { delivery, attempt },
            Made::Withdrawn => Input::Withdrawn { delivery },
            Made::TenantGone => Input::TenantGone { delivery },
        });
    }

    async fn attempt(&self, start: &Start) -> Made {
        let ours = Verdict::NotCharged { class: ErrorClass::LocalResource };
        let world = &self.tools.world;
        match self.tools.tenants.tenant(&start.key.tenant).await {
            Ok(Some(_)) => {}
            Ok(None) => return Made::TenantGone,
            Err(_) => return Made::Attempt(self.record(start, (self.tools.clock.now(), 0), ours)),
        }
        let asks = !world.has(Mutant::SkipPermit);
        let permission = match asks {
            true => self.tools.courier.permit(&start.key, start.round, start.number).await,
            false => Permission::Granted,
        };
        world.lock().coverage.saw(
            match permission {
                Permission::Granted => "permission granted",
                Permission::Later => "permission later",
                Permission::Withdrawn => "permission withdrawn",
            },
            1,
        );
        match permission {
            Permission::Granted => Made::Attempt(self.request(start).await),
            Permission::Withdrawn => Made::Withdrawn,
            Permission::Later => {
                Made::Attempt(self.record(start, (self.tools.clock.now(), 0), ours))
            }
        }
    }

    async fn request(&self, start: &Start) -> Attempt {
        let world = &self.tools.world;
        let began = self.tools.clock.now();
        let key = RowKey { tenant: start.key.tenant.clone(), event: start.key.event };
        let (number, round) = (start.number, start.round);
        let request = Request { key: &key, round, number, payload: &start.payload };
        let who = Who::Daemon(self.tools.daemon);
        world.note(who, "attempts", Some(&key), [u64::from(round), u64::from(number)]);
        if !world.is_calm() && world.lock().chance.permille(OURS_PERMILLE) {
            world.lock().counts.not_charged += 1;
            let ours = Verdict::NotCharged { class: ErrorClass::DnsUnavailable };
            return self.record(start, (began, 0), ours);
        }
        let fate = self.meet(&request);
        if world.lock().is_killer(&key) {
            world.blown[self.tools.daemon].notify_one();
            std::future::pending::<()>().await;
        }
        sleep(Duration::from_millis(fate.takes_ms)).await;
        let mut state = world.lock();
        state.judge.answered(self.tools.daemon, &key, true);
        state.judge.heard(&key, round, fate.verdict);
        drop(state);
        self.record(start, (began, fate.takes_ms), fate.verdict)
    }

    /// The request goes out.
    fn meet(&self, request: &Request<'_>) -> Fate {
        let world = &self.tools.world;
        let (ms, calm) = (world.ms(), world.is_calm());
        let mut guard = world.lock();
        let state = &mut *guard;
        let fate = state.meet((ms, calm), &world.plan, request);
        state.judge.begun(self.tools.daemon, request, ms);
        let mut judged = Ok(());
        if fate.reaches {
            state.counts.requests += 1;
            judged = state.judge.reached(request);
        }
        drop(guard);
        world.judge(judged);
        fate
    }

    fn record(&self, start: &Start, (at, ms): (Timestamp, u64), verdict: Verdict) -> Attempt {
        Attempt {
            number: start.number,
            at,
            duration_ms: u32::try_from(ms).unwrap_or(u32::MAX),
            status_code: None,
            verdict,
            error: None,
            response: Bytes::new(),
            phases: PhaseTimings::default(),
        }
    }
}

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
use crate::failpoint::{Site, Step};
use crate::judge::Request;
use crate::mutant::Mutant;
use crate::plan::FaultKind;
use crate::trace::Who;

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
            Ok(None) => {
                world.hit(FaultKind::TenantGone);
                return Made::TenantGone;
            }
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
        if self.is_our_own_fault() {
            let ours = Verdict::NotCharged { class: ErrorClass::DnsUnavailable };
            return self.record(start, (began, 0), ours);
        }
        if self.tools.line().at(Site::Before(Step::Post), Some(&key)).await.is_err() {
            let ours = Verdict::NotCharged { class: ErrorClass::LocalResource };
            return self.record(start, (began, 0), ours);
        }
        let mut fate = self.meet(&request);
        if world.plan.failpoint.is_none() && world.lock().is_killer(&key) {
            world.hit(FaultKind::Poison);
            world.blown[self.tools.daemon].notify_one();
            std::future::pending::<()>().await;
        }
        if self.tools.line().at(Site::After(Step::Post), Some(&key)).await.is_err() {
            // Nobody hears what the endpoint says.
            let class = ErrorClass::ConnectionClosed;
            fate.verdict = Verdict::Failed { class, retry_after_ms: None };
        }
        sleep(Duration::from_millis(fate.takes_ms)).await;
        // In this place nothing fails: what is known is known.
        drop(self.tools.line().at(Site::After(Step::Answer), Some(&key)).await);
        let mut state = world.lock();
        state.judge.answered(self.tools.daemon, &key, true);
        state.judge.heard(self.tools.daemon, &key, (round, fate.verdict));
        drop(state);
        self.record(start, (began, fate.takes_ms), fate.verdict)
    }

    fn is_our_own_fault(&self) -> bool {
        let world = &self.tools.world;
        let ms = world.ms();
        let mut state = world.lock();
        let drawn = ms < world.plan.calm_ms && state.chance.permille(world.plan.ours_permille);
        let is_ours = drawn || ms < state.extras.ours_until_ms;
        if is_ours {
            state.counts.not_charged += 1;
            state.coverage.saw("answer none: our own fault", 1);
        }
        if drawn {
            state.coverage.hit(FaultKind::Ours);
        }
        is_ours
    }

    /// The request goes out.
    fn meet(&self, request: &Request<'_>) -> Fate {
        let world = &self.tools.world;
        let (ms, calm) = (world.ms(), world.is_calm());
        let mut guard = world.lock();
        let state = &mut *guard;
        let fate = state.meet((ms, calm), &world.plan, request);
        state.coverage.saw(fate.name(), 1);
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
        // Without one a refusal would be taken for the event's fault where it is the endpoint's.
        let status = match verdict {
            Verdict::Failed { class: ErrorClass::ClientError, retry_after_ms: Some(_) } => {
                Some(429)
            }
            Verdict::Failed { class: ErrorClass::ClientError, .. } => Some(400),
            _ => None,
        };
        Attempt {
            number: start.number,
            at,
            duration_ms: u32::try_from(ms).unwrap_or(u32::MAX),
            status_code: status,
            verdict,
            error: None,
            response: Bytes::new(),
            phases: PhaseTimings::default(),
        }
    }
}

//! A store with one fault, chosen from many: the reference, wrapped so that it breaks one promise.
//!
//! Each port's faults stand in a file of their own, each as a small deviation beside an otherwise
//! honest call. [`Fault::None`] deviates nowhere.

mod dead_letters;
mod events;
mod expiry;
mod journal;
mod tenants;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use posthaste_domain::{
    DeliveryKey, EndpointId, EventId, Owed, TenantId, TimerPosition, Timestamp,
};
use posthaste_ports::contract::{Stores, Subject};
use posthaste_ports::memory::MemoryStore;
use posthaste_ports::{Arrival, ArrivalSink, Journal as _, ShardSpec};
use tokio::sync::Notify;
use tokio::time::timeout;

/// The shard that owns everybody.
const ALL_SHARDS: ShardSpec = ShardSpec { index: 0, count: 1 };
/// Why a call of the reference may be taken to work.
const NEVER_FAILS: &str = "the store in memory never fails";
/// How long a fault waits for somebody to walk into it.
const PATIENCE: Duration = Duration::from_millis(500);

/// One promise that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    // Tenants.
    CreateOverwrites,
    UnknownTenantTakesKeys,
    ShardFollowsTarget,
    OverlapForgotten,
    SecretHidesTarget,
    OptionsForgotten,
    OptionsAllOrNone,
    OptionsFollowSecret,
    VersionStands,
    ChangeHitsNeighbour,
    PlanForgotten,
    KeysInOrderOfHash,
    RevokedKeyUnknown,
    ForeignKeyRevoked,
    ReceptionNotStored,
    SettingsWrittenOnce,
    CreateRaces,
    // Accepting.
    AnswersReversed,
    PayloadTrimmed,
    UnknownTenantAccepted,
    ClaimsIgnored,
    ClaimsIgnoreBody,
    EveryEventClaims,
    ClaimsHold25Hours,
    ClaimsOfAllTenants,
    ClaimsBlindInBatch,
    ClaimsRace,
    IdsOfAllTenants,
    LargeBatchCut,
    SinkDeaf,
    SinkTwice,
    SinkWithoutPayload,
    SinkEarly,
    SinkDeafToRounds,
    // Lists and events.
    ListBackwards,
    ListShort,
    ListNeverEnds,
    BeforeInclusive,
    FailedForEver,
    FilterAfterPage,
    ListCountsOtherwise,
    PrefixesShared,
    EventsOfAllTenants,
    LogOfThisRoundOnly,
    // Retrying.
    RetryOfDue,
    RetryOfAnything,
    RetryOfForeign,
    RetryKeepsInterruptions,
    // Settling.
    DeliveredNotKept,
    DeadNotKept,
    DueTimeMoved,
    RoundIgnored,
    OwedAsIgnored,
    AttemptsIgnored,
    FinalReopened,
    ForeignSettled,
    EndpointIgnored,
    AlwaysSettled,
    BatchBackwards,
    ResponseCut,
    AttemptInvented,
    InterruptionsForgotten,
    MoveInTwoSteps,
    // Reading what is owed.
    BacklogNewestFirst,
    BacklogExclusive,
    BacklogAlwaysExhausted,
    BacklogNeverExhausted,
    BacklogHoldsTimers,
    BacklogOfAnyEndpoint,
    TimersBackwards,
    UntilExclusive,
    FromInclusive,
    TimersEndEarly,
    TimersNeverEnd,
    TimersOfAllShards,
    DueTimesOf48Bits,
    EndpointsOfAllShards,
    EndpointsFromNewest,
    PayloadsWithoutGaps,
    // Dead letters.
    CauseForgotten,
    ErrorInvented,
    NewestDeadFirst,
    LookingHides,
    ScopeIgnored,
    AllByAge,
    RequeueOneMore,
    RequeueSettles,
    RequeueRaces,
    PurgeTakesOne,
    PurgeRequeues,
    // Expiry.
    SweepEarly,
    SweepLate,
    SweepUnbounded,
    SweepCountsNothing,
    PurgeExpiresFromCreation,
    RequeueKeepsEnd,
    OwedExpires,
    PayloadOutlives,
    // Restarts.
    Forgetful,
}

impl Fault {
    pub(crate) const ALL: [Self; 98] = [
        Self::CreateOverwrites,
        Self::UnknownTenantTakesKeys,
        Self::ShardFollowsTarget,
        Self::OverlapForgotten,
        Self::SecretHidesTarget,
        Self::OptionsForgotten,
        Self::OptionsAllOrNone,
        Self::OptionsFollowSecret,
        Self::VersionStands,
        Self::ChangeHitsNeighbour,
        Self::PlanForgotten,
        Self::KeysInOrderOfHash,
        Self::RevokedKeyUnknown,
        Self::ForeignKeyRevoked,
        Self::ReceptionNotStored,
        Self::SettingsWrittenOnce,
        Self::CreateRaces,
        Self::AnswersReversed,
        Self::PayloadTrimmed,
        Self::UnknownTenantAccepted,
        Self::ClaimsIgnored,
        Self::ClaimsIgnoreBody,
        Self::EveryEventClaims,
        Self::ClaimsHold25Hours,
        Self::ClaimsOfAllTenants,
        Self::ClaimsBlindInBatch,
        Self::ClaimsRace,
        Self::IdsOfAllTenants,
        Self::LargeBatchCut,
        Self::SinkDeaf,
        Self::SinkTwice,
        Self::SinkWithoutPayload,
        Self::SinkEarly,
        Self::SinkDeafToRounds,
        Self::ListBackwards,
        Self::ListShort,
        Self::ListNeverEnds,
        Self::BeforeInclusive,
        Self::FailedForEver,
        Self::FilterAfterPage,
        Self::ListCountsOtherwise,
        Self::PrefixesShared,
        Self::EventsOfAllTenants,
        Self::LogOfThisRoundOnly,
        Self::RetryOfDue,
        Self::RetryOfAnything,
        Self::RetryOfForeign,
        Self::RetryKeepsInterruptions,
        Self::DeliveredNotKept,
        Self::DeadNotKept,
        Self::DueTimeMoved,
        Self::RoundIgnored,
        Self::OwedAsIgnored,
        Self::FinalReopened,
        Self::ForeignSettled,
        Self::EndpointIgnored,
        Self::AlwaysSettled,
        Self::BatchBackwards,
        Self::ResponseCut,
        Self::AttemptInvented,
        Self::InterruptionsForgotten,
        Self::MoveInTwoSteps,
        Self::BacklogNewestFirst,
        Self::BacklogExclusive,
        Self::BacklogAlwaysExhausted,
        Self::BacklogNeverExhausted,
        Self::BacklogHoldsTimers,
        Self::BacklogOfAnyEndpoint,
        Self::TimersBackwards,
        Self::UntilExclusive,
        Self::FromInclusive,
        Self::TimersEndEarly,
        Self::TimersNeverEnd,
        Self::TimersOfAllShards,
        Self::DueTimesOf48Bits,
        Self::EndpointsOfAllShards,
        Self::EndpointsFromNewest,
        Self::PayloadsWithoutGaps,
        Self::CauseForgotten,
        Self::ErrorInvented,
        Self::NewestDeadFirst,
        Self::LookingHides,
        Self::ScopeIgnored,
        Self::AllByAge,
        Self::RequeueOneMore,
        Self::RequeueSettles,
        Self::RequeueRaces,
        Self::PurgeTakesOne,
        Self::PurgeRequeues,
        Self::SweepEarly,
        Self::SweepLate,
        Self::SweepUnbounded,
        Self::SweepCountsNothing,
        Self::PurgeExpiresFromCreation,
        Self::RequeueKeepsEnd,
        Self::OwedExpires,
        Self::PayloadOutlives,
        Self::Forgetful,
    ];
}

/// A reference store that breaks one promise.
pub(crate) struct Faulty {
    inner: MemoryStore,
    fault: Fault,
    sink: Arc<dyn ArrivalSink>,
    notes: Mutex<Notes>,
    /// Somebody has looked at something.
    looked: Notify,
    /// Somebody has come to where two calls meet.
    entered: Notify,
}

/// Whose claim, and on which key; nobody's where all tenants share theirs.
type ClaimName = (Option<TenantId>, [u8; 32]);

/// What the faults need to remember.
#[derive(Default)]
struct Notes {
    tenants: BTreeSet<TenantId>,
    events: BTreeMap<(TenantId, EventId), Bytes>,
    claims: BTreeMap<ClaimName, ([u8; 32], EventId)>,
    hidden: BTreeSet<(TenantId, EventId)>,
    dead: Vec<((TenantId, EventId), Timestamp)>,
    looked_at: BTreeSet<EventId>,
    looked_for: BTreeSet<EventId>,
    settings: BTreeSet<String>,
    interrupted: BTreeMap<EventId, u8>,
}

impl Faulty {
    fn new(fault: Fault, sink: Arc<dyn ArrivalSink>) -> Self {
        let faulty_sink = Arc::new(FaultySink { fault, inner: Arc::clone(&sink) });
        let inner = MemoryStore::new(faulty_sink);
        Self {
            inner,
            fault,
            sink,
            notes: Mutex::default(),
            looked: Notify::new(),
            entered: Notify::new(),
        }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().expect("nobody panics while holding the notes")
    }

    fn is_hidden(&self, tenant: &TenantId, event: EventId) -> bool {
        self.notes().hidden.contains(&(tenant.clone(), event))
    }

    /// Waits at a place where two calls must not meet, until another one is there as well.
    async fn let_another_in(&self) {
        self.entered.notify_waiters();
        let _alone = timeout(PATIENCE, self.entered.notified()).await;
    }

    fn look_for(&self, id: EventId) {
        if self.is(Fault::SinkEarly) {
            self.notes().looked_for.insert(id);
            self.looked.notify_waiters();
        }
    }

    async fn until_looked_for(&self, id: EventId) {
        let looked_for = async {
            loop {
                let looked = self.looked.notified();
                if self.notes().looked_for.contains(&id) {
                    return;
                }
                looked.await;
            }
        };
        let _unseen = timeout(PATIENCE, looked_for).await;
    }

    /// Twice, since the first look may have begun before there was something to see.
    async fn until_looked_at_twice(&self) {
        for _ in 0..2 {
            let _unseen = timeout(PATIENCE, self.looked.notified()).await;
        }
    }

    /// How a delivery is really owed, whatever its endpoint is said to be.
    async fn really_owed(&self, key: &DeliveryKey) -> Option<Owed> {
        let endpoint = EndpointId::DEFAULT;
        let fresh = self.inner.backlog(&key.tenant, endpoint, key.event, 1).await;
        let fresh = fresh.expect(NEVER_FAILS);
        let from = TimerPosition::START;
        let timers = self.inner.timers(ALL_SHARDS, from, Timestamp::MAX, usize::MAX).await;
        let timers = timers.expect(NEVER_FAILS);
        let mut owed = fresh.owed.into_iter().chain(timers.owed);
        owed.find(|owed| owed.key.tenant == key.tenant && owed.key.event == key.event)
    }

    /// Whose event this is: the tenant's where it has one, else another's.
    fn owner(&self, tenant: &TenantId, event: EventId) -> TenantId {
        let notes = self.notes();
        if notes.events.contains_key(&(tenant.clone(), event)) {
            return tenant.clone();
        }
        let other = notes.events.keys().find(|(_, id)| *id == event);
        other.map_or_else(|| tenant.clone(), |(owner, _)| owner.clone())
    }
}

/// Opens a store with a fault. Keeps it when it is closed, unless that is the fault.
pub(crate) struct FaultySubject {
    fault: Fault,
    store: Option<Arc<Faulty>>,
}

impl FaultySubject {
    pub(crate) fn new(fault: Fault) -> Self {
        Self { fault, store: None }
    }
}

#[async_trait]
impl Subject for FaultySubject {
    async fn open(&mut self, sink: Arc<dyn ArrivalSink>) -> Stores {
        let fault = self.fault;
        Stores::of(Arc::clone(self.store.get_or_insert_with(|| Arc::new(Faulty::new(fault, sink)))))
    }

    async fn close(&mut self) {
        if self.fault == Fault::Forgetful {
            self.store = None;
        }
    }
}

struct FaultySink {
    fault: Fault,
    inner: Arc<dyn ArrivalSink>,
}

impl ArrivalSink for FaultySink {
    fn arrived(&self, mut arrivals: Vec<Arrival>) {
        match self.fault {
            // The early one tells by itself, before it stores.
            Fault::SinkDeaf | Fault::SinkEarly => return,
            Fault::SinkDeafToRounds => arrivals.retain(|arrival| arrival.owed.round == 0),
            Fault::SinkTwice => self.inner.arrived(arrivals.clone()),
            Fault::SinkWithoutPayload => {
                arrivals.iter_mut().for_each(|arrival| arrival.owed.payload = None);
            }
            _ => {}
        }
        self.inner.arrived(arrivals);
    }
}

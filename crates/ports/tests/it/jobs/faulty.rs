//! A store of jobs with one fault, chosen from many: the reference, wrapped so that it breaks one
//! promise. [`Fault::None`] breaks none.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use posthaste_domain::{DeliveryKey, EndpointId, Owed, OwedAs, TimerPosition, Timestamp};
use posthaste_ports::memory::MemoryJobs;
use posthaste_ports::{Job, JobChange, JobState, JobStore, PortError, ShardSpec, TimerPage};

/// The shard that owns everybody.
const ALL_SHARDS: ShardSpec = ShardSpec { index: 0, count: 1 };
/// The first moment of the year 2000.
const YEAR_2000: Timestamp = Timestamp::from_millis(946_684_800_000);

macro_rules! faults {
    ($($fault:ident)*) => {
        /// One promise that is broken.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Fault { None, $($fault,)* }

        impl Fault {
            /// Every fault.
            pub(super) const ALL: &[Self] = &[$(Self::$fault,)*];
        }
    };
}

faults! {
    PutKeepsTheFirst EarlierRoundWins EarlierRoundEnds RemoveForgotten RemovedForGood
    ChangesReversed AnswersReversed EndpointIgnored PayloadIsText PayloadStays NothingEmptiesAll
    ChangesRace InterruptionsForgotten NewestTimerFirst UntilExclusive FromInclusive
    FromIgnoresDelivery FullPageGoesOn TimersFrom2000 ShardIgnored FormerTimerStays
    WatermarkOnlyRises OutboxIsTimers OutboxNewestFirst OutboxAfterInclusive DyingNotSent
    CutOffIsSent SentStays ForgetsAtTheTime ForgetsAll ForgetsByFirstNote Forgetful
}

/// What some faults remember.
#[derive(Default)]
struct Memory {
    removed: Vec<DeliveryKey>,
    /// Every job that was ever put, by what it was.
    former: Vec<Job>,
    watermark: Timestamp,
    /// When each delivery was first noted as cut off.
    noted: BTreeMap<DeliveryKey, Timestamp>,
}

/// See the module's words. Clones share one store.
#[derive(Clone)]
pub(super) struct FaultyJobs {
    fault: Fault,
    inner: MemoryJobs,
    memory: Arc<Mutex<Memory>>,
}

impl FaultyJobs {
    pub(super) fn new(fault: Fault) -> Self {
        Self { fault, inner: MemoryJobs::default(), memory: Arc::default() }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    async fn job(&self, key: &DeliveryKey) -> Option<Job> {
        let mut read = self.inner.jobs(std::slice::from_ref(key)).await.expect("it never fails");
        read.pop().flatten()
    }

    async fn put(&self, mut job: Job) -> Option<JobChange> {
        let before = self.job(&job.key).await;
        {
            let mut memory = self.memory.lock().expect("nobody panicked");
            memory.former.push(job.clone());
            if let JobState::CutOff { at } = job.state {
                memory.noted.entry(job.key.clone()).or_insert(at);
            }
            if self.is(Fault::RemovedForGood) && memory.removed.contains(&job.key) {
                return None;
            }
        }
        if self.is(Fault::PutKeepsTheFirst) && before.is_some() {
            return None;
        }
        if self.is(Fault::EndpointIgnored) {
            job.key.endpoint = EndpointId::DEFAULT;
        }
        if self.is(Fault::PayloadIsText) {
            let text = |bytes: Bytes| String::from_utf8_lossy(&bytes).into_owned().into();
            job.payload = job.payload.map(text);
        }
        if self.is(Fault::PayloadStays) && job.payload.is_none() {
            job.payload = before.and_then(|before| before.payload);
        }
        Some(JobChange::Put(Box::new(job)))
    }

    fn timer_of(&self, job: &Job) -> Option<Owed> {
        let (due, attempts) = match &job.state {
            JobState::Waiting { due, attempts } => (*due, *attempts),
            JobState::Unwritten(settlement) if self.is(Fault::OutboxIsTimers) => {
                (settlement.at, settlement.attempts)
            }
            _ => return None,
        };
        Some(Owed {
            key: job.key.clone(),
            round: job.round,
            attempts,
            interrupted: if self.is(Fault::InterruptionsForgotten) { 0 } else { job.interrupted },
            owed_as: OwedAs::Timer(due),
            payload: None,
        })
    }

    /// All timers as this store sees them, in its order.
    async fn all_timers(&self, shard: ShardSpec) -> Vec<Owed> {
        let keys: Vec<_> = {
            let memory = self.memory.lock().expect("nobody panicked");
            memory.former.iter().map(|job| job.key.clone()).collect()
        };
        let mut jobs: Vec<Job> = Vec::new();
        for job in self.inner.jobs(&keys).await.expect("it never fails").into_iter().flatten() {
            if !jobs.contains(&job) {
                jobs.push(job);
            }
        }
        if self.is(Fault::FormerTimerStays) {
            let memory = self.memory.lock().expect("nobody panicked");
            jobs.extend(memory.former.iter().filter(|job| keys.contains(&job.key)).cloned());
        }
        let own = |job: &&Job| shard.owns(job.shard_key) || self.is(Fault::ShardIgnored);
        let mut owed: Vec<_> =
            jobs.iter().filter(own).filter_map(|job| self.timer_of(job)).collect();
        owed.sort_by(|a, b| (a.due(), &a.key).cmp(&(b.due(), &b.key)));
        owed.dedup();
        if self.is(Fault::NewestTimerFirst) {
            owed.reverse();
        }
        if self.is(Fault::TimersFrom2000) {
            owed.retain(|owed| owed.due() >= YEAR_2000);
        }
        if self.is(Fault::WatermarkOnlyRises) {
            let memory = self.memory.lock().expect("nobody panicked");
            let low = memory.watermark;
            owed.retain(|owed| owed.due() >= low);
        }
        owed
    }

    fn follows(&self, owed: &Owed, from: &TimerPosition) -> bool {
        let position = TimerPosition { due: owed.due(), key: Some(owed.key.clone()) };
        match self.fault {
            Fault::FromInclusive => position >= *from,
            Fault::FromIgnoresDelivery => owed.due() > from.due || from.key.is_none(),
            Fault::NewestTimerFirst => *from == TimerPosition::START || position < *from,
            _ => position > *from,
        }
    }
}

#[async_trait]
impl JobStore for FaultyJobs {
    fn is_full(&self) -> bool {
        self.inner.is_full()
    }

    async fn apply(&self, mut changes: Vec<JobChange>) -> Result<(), PortError> {
        if changes.is_empty() && self.is(Fault::NothingEmptiesAll) {
            let keys: Vec<_> = {
                let memory = self.memory.lock().expect("nobody panicked");
                memory.former.iter().map(|job| job.key.clone()).collect()
            };
            return self.inner.apply(keys.into_iter().map(JobChange::Remove).collect()).await;
        }
        if self.is(Fault::ChangesReversed) {
            changes.reverse();
        }
        let raced = if self.is(Fault::ChangesRace) {
            // Reads everything, lets others in, and writes everything back.
            let all = self.inner.outbox(None, usize::MAX).await?;
            tokio::task::yield_now().await;
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            Some(all)
        } else {
            None
        };
        for change in changes {
            let change = match change {
                JobChange::Put(job) => {
                    if self.is(Fault::EarlierRoundWins) {
                        self.inner.apply(vec![JobChange::Remove(job.key.clone())]).await?;
                    }
                    self.put(*job).await
                }
                JobChange::End(key, _) if self.is(Fault::EarlierRoundEnds) => {
                    Some(JobChange::Remove(key))
                }
                JobChange::End(key, round) => Some(JobChange::End(key, round)),
                JobChange::Remove(_) if self.is(Fault::RemoveForgotten) => None,
                JobChange::Remove(mut key) => {
                    self.memory.lock().expect("nobody panicked").removed.push(key.clone());
                    if self.is(Fault::EndpointIgnored) {
                        key.endpoint = EndpointId::DEFAULT;
                    }
                    Some(JobChange::Remove(key))
                }
            };
            self.inner.apply(change.into_iter().collect()).await?;
        }
        if let Some(before) = raced {
            let now = self.inner.outbox(None, usize::MAX).await?;
            // Whatever came in between is lost, but for one of it.
            let others = now.iter().filter(|job| !before.contains(job)).skip(1);
            let lost = others.map(|job| JobChange::Remove(job.key.clone())).collect();
            self.inner.apply(lost).await?;
        }
        let timers = self.all_timers(ALL_SHARDS).await;
        let mut memory = self.memory.lock().expect("nobody panicked");
        memory.watermark = timers.first().map_or(Timestamp::MAX, Owed::due).max(memory.watermark);
        Ok(())
    }

    async fn jobs(&self, keys: &[DeliveryKey]) -> Result<Vec<Option<Job>>, PortError> {
        let mut keys = keys.to_vec();
        if self.is(Fault::EndpointIgnored) {
            keys.iter_mut().for_each(|key| key.endpoint = EndpointId::DEFAULT);
        }
        let mut jobs = self.inner.jobs(&keys).await?;
        if self.is(Fault::AnswersReversed) {
            jobs.reverse();
        }
        Ok(jobs)
    }

    async fn timers(
        &self,
        shard: ShardSpec,
        from: TimerPosition,
        until: Timestamp,
        max: usize,
    ) -> Result<TimerPage, PortError> {
        let due = |owed: &Owed| match self.fault {
            Fault::UntilExclusive => owed.due() < until,
            _ => owed.due() <= until,
        };
        let timers = self.all_timers(shard).await;
        let mut following =
            timers.into_iter().filter(|owed| due(owed) && self.follows(owed, &from));
        let owed: Vec<_> = following.by_ref().take(max).collect();
        let more = following.next().is_some() || self.is(Fault::FullPageGoesOn);
        let last = owed.last().filter(|_| more && owed.len() == max);
        let next = last.map(|owed| TimerPosition { due: owed.due(), key: Some(owed.key.clone()) });
        // A fault must not keep a reader going round for ever.
        let next = next.filter(|next| *next != from);
        Ok(TimerPage { owed, next })
    }

    async fn outbox(&self, after: Option<DeliveryKey>, max: usize) -> Result<Vec<Job>, PortError> {
        let mut all = self.inner.outbox(None, usize::MAX).await?;
        let memory = {
            let memory = self.memory.lock().expect("nobody panicked");
            memory.former.clone()
        };
        if self.is(Fault::DyingNotSent) {
            all.retain(|job| !matches!(job.state, JobState::Dying { .. }));
        }
        if self.is(Fault::SentStays) {
            all.extend(
                memory.iter().filter(|job| matches!(job.state, JobState::Unwritten(_))).cloned(),
            );
        }
        if self.is(Fault::CutOffIsSent) {
            let cut = memory.iter().filter(|job| matches!(job.state, JobState::CutOff { .. }));
            all.extend(cut.cloned());
        }
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all.dedup();
        if self.is(Fault::OutboxNewestFirst) {
            all.reverse();
        }
        let follows = |job: &Job| match (&after, self.fault) {
            (None, _) => true,
            (Some(after), Fault::OutboxAfterInclusive) => job.key >= *after,
            (Some(after), Fault::OutboxNewestFirst) => job.key < *after,
            (Some(after), _) => job.key > *after,
        };
        Ok(all.into_iter().filter(follows).take(max).collect())
    }

    async fn forget_cut_off(&self, before: Timestamp, max: usize) -> Result<u64, PortError> {
        match self.fault {
            Fault::ForgetsAtTheTime => self.inner.forget_cut_off(before.plus_millis(1), max).await,
            Fault::ForgetsAll => self.inner.forget_cut_off(before, usize::MAX).await,
            Fault::ForgetsByFirstNote => {
                let old: Vec<_> = {
                    let mut memory = self.memory.lock().expect("nobody panicked");
                    memory.noted.extract_if(.., |_, at| *at < before).take(max).collect()
                };
                let count = old.len() as u64;
                let forgotten = old.into_iter().map(|(key, _)| JobChange::Remove(key)).collect();
                self.inner.apply(forgotten).await?;
                Ok(count)
            }
            _ => self.inner.forget_cut_off(before, max).await,
        }
    }
}

//! The shared table of rows in memory: [`RowWrite::apply`] over a map, and an index that can lag.
//!
//! The reference for every other table, and the table of the simulator.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use posthaste_domain::{Row, RowKey, RowWrite, Timestamp};

use super::faults::{Clock, Faults, NoFaults, Operation, World};
use crate::{PortError, Readable, Rows, StoredEvent, WORK_PARTITIONS, Written};

/// The table. Clones share it.
#[derive(Clone, Debug)]
pub struct MemoryRows {
    world: World,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    events: BTreeMap<RowKey, StoredEvent>,
    /// The work index as its readers see it: the end of each lease.
    index: BTreeMap<RowKey, Timestamp>,
    /// What the index does not show yet, with the time from which it does.
    pending: VecDeque<(Timestamp, RowKey, Option<Timestamp>)>,
    index_lag_ms: u64,
    /// Rows that make no sense to whoever reads them.
    spoilt: BTreeSet<RowKey>,
}

impl MemoryRows {
    /// An empty table in which nothing goes wrong.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self::with_faults(clock, Arc::new(NoFaults))
    }

    /// An empty table in which this goes wrong.
    #[must_use]
    pub fn with_faults(clock: Clock, faults: Arc<dyn Faults>) -> Self {
        Self { world: World { clock, faults }, state: Arc::default() }
    }

    /// From now on the index shows a write this much later.
    pub fn set_index_lag_ms(&self, index_lag_ms: u64) {
        self.lock().index_lag_ms = index_lag_ms;
    }

    /// Puts a new event, as ingest does; false where its row was there before.
    pub fn insert(&self, key: RowKey, payload: Bytes) -> bool {
        let mut state = self.lock();
        let is_new = !state.events.contains_key(&key);
        if is_new {
            let event = StoredEvent { row: Row::new(), payload: Some(payload) };
            state.events.insert(key, event);
        }
        is_new
    }

    /// Removes an event, as its expiry does; false where there was none.
    pub fn remove(&self, key: &RowKey) -> bool {
        let mut state = self.lock();
        state.show(self.world.now(), key.clone(), None);
        state.events.remove(key).is_some()
    }

    /// From now on this row makes no sense to whoever reads it, as if written by hand; it stays in
    /// the index.
    pub fn spoil(&self, key: &RowKey) {
        self.lock().spoilt.insert(key.clone());
    }

    /// A row as it stands; no fault comes between.
    #[must_use]
    pub fn row(&self, key: &RowKey) -> Option<Row> {
        self.lock().events.get(key).map(|event| event.row.clone())
    }

    /// Every row as it stands.
    #[must_use]
    pub fn rows(&self) -> Vec<(RowKey, Row)> {
        let state = self.lock();
        state.events.iter().map(|(key, event)| (key.clone(), event.row.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two writes that belong together, so a poisoned state is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn write(&mut self, now: Timestamp, write: &RowWrite) -> Result<Written, PortError> {
        self.makes_sense(&write.key)?;
        let Some(event) = self.events.get_mut(&write.key) else {
            return Ok(Written::Refused(None));
        };
        let Ok(row) = write.apply(&event.row) else {
            return Ok(Written::Refused(Some(event.row.clone())));
        };
        let until = row.lease.as_ref().map(|lease| lease.until);
        event.row = row;
        self.show(now, write.key.clone(), until);
        Ok(Written::Done)
    }

    fn makes_sense(&self, key: &RowKey) -> Result<(), PortError> {
        let line = || format!("row {} {}: status is \"?\"", key.tenant, key.event);
        if self.spoilt.contains(key) { Err(PortError::Permanent(line())) } else { Ok(()) }
    }

    /// Tells the index where a row stands.
    fn show(&mut self, now: Timestamp, key: RowKey, until: Option<Timestamp>) {
        self.pending.push_back((now.plus_millis(self.index_lag_ms), key, until));
    }

    /// Brings the index to where its readers see it. In the order of the writes, so that a shorter
    /// lag does not overtake a longer one.
    fn catch_up(&mut self, now: Timestamp) {
        while let Some((_, key, until)) = self.pending.pop_front_if(|(shown, ..)| *shown <= now) {
            match until {
                Some(until) => self.index.insert(key, until),
                None => self.index.remove(&key),
            };
        }
    }
}

#[async_trait]
impl Rows for MemoryRows {
    async fn write(&self, writes: Vec<RowWrite>) -> Vec<Result<Written, PortError>> {
        self.world.delay(Operation::Write).await;
        let (mut state, now) = (self.lock(), self.world.now());
        let mut write =
            |write| self.world.attempt(Operation::Write, || state.write(now, write)).flatten();
        writes.iter().map(&mut write).collect()
    }

    async fn read(&self, keys: &[RowKey]) -> Result<Vec<Option<StoredEvent>>, PortError> {
        self.read_each(keys).await?.into_iter().collect()
    }

    async fn read_each(&self, keys: &[RowKey]) -> Result<Vec<Readable>, PortError> {
        self.world.delay(Operation::Read).await;
        let state = self.lock();
        self.world.attempt(Operation::Read, || {
            let read = |key| state.makes_sense(key).map(|()| state.events.get(key).cloned());
            keys.iter().map(read).collect()
        })
    }

    async fn owed(
        &self,
        partition: u8,
        before: Timestamp,
        max: usize,
    ) -> Result<Vec<RowKey>, PortError> {
        self.world.delay(Operation::Owed).await;
        let mut state = self.lock();
        state.catch_up(self.world.now());
        self.world.attempt(Operation::Owed, || {
            let of = |key: &RowKey| work_partition(key) == partition;
            let owed = state.index.iter().filter(|(key, until)| of(key) && **until < before);
            let mut owed: Vec<_> = owed.map(|(key, until)| (*until, key)).collect();
            owed.sort_unstable();
            owed.into_iter().take(max).map(|(_, key)| key.clone()).collect()
        })
    }
}

/// Any function that spreads rows will do: who reads the index reads all of it.
fn work_partition(key: &RowKey) -> u8 {
    let spread = key.event.as_u128().wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) >> 64;
    u8::try_from(spread % u128::from(WORK_PARTITIONS)).unwrap_or(0)
}

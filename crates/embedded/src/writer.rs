//! The one thread that writes: group commit.
//!
//! It sleeps until there is work, takes everything that waits as one batch, commits it, syncs
//! once, tells the sink what has become owed, and completes the tickets. What arrives during that
//! sync is the next batch; while many ask, batches begin a millisecond apart.
//!
//! ```text
//!  queue (bounded) ──► apply ──► apply ──► … ──► commit + sync ──► sink ──► tickets
//!                      └─ one batch: up to 4,096 operations or 8 MiB ─┘
//! ```
//!
//! Invariants: a ticket completes after the sync of the batch that holds its operation, never
//! before; only a batch of nothing but delivered marks goes without a sync of its own (losing one
//! costs a duplicate), and is synced within a second, as is every batch where the settings say so
//! ([`SyncMode::Buffered`]). After a failed commit nothing is written any
//! more: a failed sync may have dropped pages that a later one would call safe.

mod accepting;
mod dead_letters;
mod expiring;
mod jobs;
mod settling;
mod tenants;
mod young;

pub(crate) use jobs::{index_key, index_value};
pub(crate) use settling::{MARK_DEAD, MARK_FAILED, MARK_PURGED, mark_of};

use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fjall::{Guard, PersistMode};
use posthaste_domain::{
    DeliveryKey, EventId, KeyHash, Settlement, TenantId, TimerPosition, Timestamp,
};
use posthaste_ports::{
    Acceptance, Created, JobChange, NewEvent, NewTenant, PortError, Requeued, Retried, Settled,
    TenantChange, TenantRecord,
};
use tokio::sync::{mpsc, oneshot};
use young::Young;

use crate::batch::Batch;
use crate::codec::{self, CommitRow, IdentityRow};
use crate::journal::ActiveJournal;
use crate::keys;
use crate::settings::{Commit, SyncMode};
use crate::shared::Shared;
use crate::tables::{COMMIT_KEY, IDENTITY_KEY, Table};
use crate::witness::Proof;

/// Operations in one commit: with a few hundred bytes each, some milliseconds of work.
const OPERATIONS_MAX: usize = 4096;
/// Bytes in one commit; beyond it the sync would be what everybody waits for.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// How often the writer looks after what it has put off.
const UPKEEP_US: u64 = 1_000_000;

/// Operations of a batch that make it worth the while to let more gather for the next one.
const CROWD: usize = 8;
/// From one batch's beginning to the next one's, then: little beside what a network takes.
const PACE_US: u64 = 1_000;

/// How long the writer waits before it looks again whether there is room in memory.
const ROOM_WAIT: Duration = Duration::from_millis(2);

/// Where an operation's answer goes.
pub(crate) type Done<T> = oneshot::Sender<Result<T, PortError>>;

/// What completes when the batch is durable.
type Ticket = Box<dyn FnOnce(Result<(), PortError>) + Send>;

/// What the writer can be asked for.
pub(crate) enum Operation {
    Accept { events: Vec<NewEvent>, done: Done<Vec<Acceptance>> },
    Retry { tenant: TenantId, event: EventId, at: Timestamp, done: Done<Retried> },
    Settle { settlements: Vec<Settlement>, done: Done<Vec<Settled>> },
    Requeue { events: Vec<(TenantId, EventId)>, done: Done<Requeued> },
    Purge { events: Vec<(TenantId, EventId)>, at: Timestamp, done: Done<u64> },
    Sweep { now: Timestamp, max: usize, done: Done<u64> },
    CreateTenant { new: Box<NewTenant>, done: Done<Created> },
    UpdateTenant { id: TenantId, change: Box<TenantChange>, done: Done<Option<Arc<TenantRecord>>> },
    AddKey { id: TenantId, key: KeyHash, at: Timestamp, done: Done<bool> },
    RevokeKey { id: TenantId, key: KeyHash, done: Done<bool> },
    SetSetting { name: String, value: Vec<u8>, done: Done<()> },
    ApplyJobs { changes: Vec<JobChange>, done: Done<()> },
    ForgetCutOff { before: Timestamp, max: usize, done: Done<u64> },
    OwnClone { done: Done<()> },
    Close { done: Done<()> },
}

/// The writer's own state.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    /// What the last commit wrote of itself.
    last: CommitRow,
    /// What the next one will; ahead of `last` while a batch is being made.
    next: CommitRow,
    /// The earliest end of a row that this batch makes; scans do not see it yet.
    unseen_expiry_low: u64,
    unsynced: bool,
    timers_removed: bool,
    upkeep_us: u64,
    /// Whether many asked for the last batch, and when it was begun.
    crowded: bool,
    begun_us: u64,
    journal: ActiveJournal,
    young: Young,
}

impl Writer {
    /// A writer that goes on behind `last`.
    pub(crate) fn new(shared: Arc<Shared>, last: CommitRow) -> io::Result<Self> {
        shared.timers_low.store(last.timers_low, Ordering::SeqCst);
        let upkeep_us = shared.observer.monotonic_us();
        let journal = ActiveJournal::find(&shared.directory.store())?;
        Ok(Self {
            shared,
            last,
            next: last,
            unseen_expiry_low: u64::MAX,
            unsynced: false,
            timers_removed: false,
            upkeep_us,
            crowded: false,
            begun_us: 0,
            journal,
            young: Young::default(),
        })
    }

    /// Runs until it is closed, or until nobody can ask for anything any more.
    pub(crate) fn run(mut self, mut queue: mpsc::Receiver<Operation>) {
        let shared = Arc::clone(&self.shared);
        let _told = shared.tell_of_panic("writer");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                self.shared.fail(format!("no runtime for the ledger's writer: {error}"));
                return;
            }
        };
        let mut closed = None;
        while closed.is_none() {
            let waited = runtime.block_on(async {
                tokio::time::timeout(Duration::from_micros(UPKEEP_US), queue.recv()).await
            });
            match waited {
                Ok(Some(first)) => closed = self.turn(first, &mut queue),
                Ok(None) => break,
                Err(_) => {}
            }
            self.upkeep();
        }
        // Whoever still waits learns it by the closed channel.
        queue.close();
        let synced = self.sync();
        if let Some(done) = closed {
            drop(done.send(synced));
        }
    }

    /// One batch: `first` and whatever waits behind it. Gives who asked to close, if somebody did.
    fn turn(
        &mut self,
        first: Operation,
        queue: &mut mpsc::Receiver<Operation>,
    ) -> Option<Done<()>> {
        self.wait_for_room();
        self.pace();
        let begin = self.shared.observer.monotonic_us();
        let mut batch = Batch::new(self.shared.tables.clone());
        let mut tickets = Vec::new();
        let mut next = Some(first);
        let mut closed = None;
        while let Some(operation) = next.take() {
            match operation {
                Operation::Close { done } => closed = Some(done),
                other => tickets.push(self.apply(other, &mut batch)),
            }
            let room = tickets.len() < OPERATIONS_MAX && batch.bytes < BATCH_BYTES_MAX;
            if room && closed.is_none() {
                next = queue.try_recv().ok();
            }
        }
        self.crowded = tickets.len() >= CROWD;
        self.begun_us = begin;
        // A failure has been told to everybody who waits.
        drop(self.commit(batch, tickets, begin));
        closed
    }

    /// Waits a moment where many ask: one commit for what comes in a millisecond, instead of three.
    ///
    /// Measured at 14,000 events/s on two cores: this alone saves a fifth of the CPU time, since
    /// there are fewer syncs, and fewer wake-ups of everybody behind the writer. Where few ask,
    /// nobody waits.
    fn pace(&self) {
        let waits_us = waits_us(self.crowded, self.begun_us, self.shared.observer.monotonic_us());
        if waits_us > 0 {
            std::thread::sleep(Duration::from_micros(waits_us));
        }
    }

    /// Waits until memtables are written out, where the disk does not keep up with what is asked:
    /// the channel fills, and its callers wait.
    fn wait_for_room(&self) {
        while self.shared.failure().is_none() && self.shared.tables.has_overfull() {
            if let Err(error) = self.shared.tables.check() {
                self.shared.fail(format!("cannot write out tables: {error}"));
            }
            self.shared.wake_keeper();
            std::thread::sleep(ROOM_WAIT);
        }
    }

    /// Commits, tells the sink and the observer, completes the tickets. `begin_us` is when the
    /// batch was begun: what its first operation has waited for room and for the pace is before it.
    pub(crate) fn commit(
        &mut self,
        mut batch: Batch,
        tickets: Vec<Ticket>,
        begin_us: u64,
    ) -> Result<(), PortError> {
        if batch.is_empty() {
            complete(tickets, &Ok(()));
            return Ok(());
        }
        self.next.number = self.last.number + 1;
        batch.insert(Table::Meta, COMMIT_KEY, &self.next);
        // Sooner than the tickets go: who asks why must find the reason.
        let shared = Arc::clone(&self.shared);
        let _told = shared.tell_of_panic("writer");
        let synced = batch.needs_sync && self.shared.settings.sync != SyncMode::Buffered;
        let mode = if synced { self.sync_mode() } else { PersistMode::Buffer };
        let (operations, events) = (tickets.len(), batch.accepted);
        let arrivals = std::mem::take(&mut batch.arrivals);
        let tenants = std::mem::take(&mut batch.tenants);
        let committed = batch.commit(mode).map_err(|error| format!("cannot commit: {error}"));
        if let Err(reason) = committed.and_then(|()| self.find_journal(synced)) {
            let failure = self.shared.fail(reason);
            complete(tickets, &Err(failure.clone()));
            return Err(failure);
        }
        self.last = self.next;
        self.unseen_expiry_low = u64::MAX;
        self.unsynced = !synced;
        if synced {
            self.shared.set_synced(proof(&self.last));
        }
        for tenant in tenants {
            self.shared.tenant_changed(Arc::new(tenant));
        }
        if !arrivals.is_empty() {
            self.shared.sink.arrived(arrivals);
        }
        let micros = self.shared.observer.monotonic_us().saturating_sub(begin_us);
        let commit = Commit { operations, events, synced, micros };
        self.shared.count(&commit);
        self.shared.observer.committed(&commit);
        complete(tickets, &Ok(()));
        if self.shared.tables.has_full() {
            self.shared.wake_keeper();
        }
        Ok(())
    }

    /// What was synced is a promise only if it can be found again: a file that somebody removed
    /// takes writes and syncs as before, as long as it is open.
    fn find_journal(&mut self, synced: bool) -> Result<(), String> {
        if !synced || self.journal.is_there() {
            return Ok(());
        }
        Err(format!("{} is gone: was the data directory removed?", self.journal.path().display()))
    }

    fn sync_mode(&self) -> PersistMode {
        match self.shared.settings.sync {
            SyncMode::Data | SyncMode::Buffered => PersistMode::SyncData,
            SyncMode::All => PersistMode::SyncAll,
        }
    }

    fn apply(&mut self, operation: Operation, batch: &mut Batch) -> Ticket {
        if let Some(failure) = self.shared.failure() {
            return refused(operation, failure);
        }
        let shared = Arc::clone(&self.shared);
        match operation {
            Operation::Accept { events, done } => answer(&shared, done, self.accept(events, batch)),
            Operation::Retry { tenant, event, at, done } => {
                answer(&shared, done, self.retry(&tenant, event, at, batch))
            }
            Operation::Settle { settlements, done } => {
                answer(&shared, done, self.settle(settlements, batch))
            }
            Operation::Requeue { events, done } => {
                answer(&shared, done, self.requeue(&events, batch))
            }
            Operation::Purge { events, at, done } => {
                answer(&shared, done, self.purge(&events, at, batch))
            }
            Operation::Sweep { now, max, done } => {
                answer(&shared, done, self.sweep(now, max, batch))
            }
            Operation::CreateTenant { new, done } => {
                answer(&shared, done, self.create_tenant(*new, batch))
            }
            Operation::UpdateTenant { id, change, done } => {
                answer(&shared, done, Self::update_tenant(&id, *change, batch))
            }
            Operation::AddKey { id, key, at, done } => {
                answer(&shared, done, Self::add_key(&id, &key, at, batch))
            }
            Operation::RevokeKey { id, key, done } => {
                answer(&shared, done, Self::revoke_key(&id, &key, batch))
            }
            Operation::SetSetting { name, value, done } => {
                batch.needs_sync = true;
                batch.insert_bytes(Table::Tenants, keys::setting(&name), codec::frame(&value));
                answer(&shared, done, Ok(()))
            }
            Operation::ApplyJobs { changes, done } => {
                answer(&shared, done, self.apply_jobs(changes, batch))
            }
            Operation::ForgetCutOff { before, max, done } => {
                answer(&shared, done, self.forget_cut_off(before, max, batch))
            }
            Operation::OwnClone { done } => answer(&shared, done, own_clone(batch)),
            Operation::Close { done } => answer(&shared, done, Ok(())),
        }
    }

    /// Looks after what was put off, once a second: marks that are not synced, and from where on
    /// timers must be looked for.
    fn upkeep(&mut self) {
        let now_us = self.shared.observer.monotonic_us();
        if now_us.saturating_sub(self.upkeep_us) < UPKEEP_US {
            return;
        }
        self.upkeep_us = now_us;
        if self.unsynced && self.shared.failure().is_none() {
            // A failure is told by `fail`, and nobody waits for this sync.
            drop(self.sync());
        }
        if self.timers_removed {
            self.timers_removed = false;
            self.raise_timers_low();
        }
    }

    /// Syncs what was only handed to the operating system.
    fn sync(&mut self) -> Result<(), PortError> {
        if let Some(failure) = self.shared.failure() {
            return Err(failure);
        }
        if self.unsynced {
            let persisted = self.shared.tables.database().persist(self.sync_mode());
            persisted.map_err(|error| self.shared.fail(format!("cannot sync: {error}")))?;
            self.find_journal(true).map_err(|reason| self.shared.fail(reason))?;
            self.unsynced = false;
        }
        self.shared.set_synced(proof(&self.last));
        Ok(())
    }

    /// Moves the low watermark of the timers up to the first one that there is. The marks that
    /// removed rows leave are stepped over here once, not by every reader.
    fn raise_timers_low(&mut self) {
        let low = Timestamp::from_millis(self.last.timers_low);
        let from = TimerPosition { due: low, key: None };
        let view = self.shared.tables.view();
        let event = view.from(Table::Timers, Bound::Included(keys::time(low).to_vec())).next();
        let jobs = keys::after_job_timer(&from)..keys::JOB_TIMERS_END.to_vec();
        let job = view.range(Table::JobIndex, jobs).next();
        // One of the two is empty, but for a directory that has served in both modes.
        let low = due_of(event, keys::parse_timer).zip(due_of(job, keys::parse_job_timer));
        if let Some(low) = low.map(|(event, job)| event.min(job)) {
            self.next.timers_low = low;
            self.last.timers_low = low;
            self.shared.timers_low.store(low, Ordering::SeqCst);
        }
    }

    /// Notes that a batch has a timer due at `due`.
    fn lower_timers_low(&mut self, due: Timestamp) {
        if due.as_millis() < self.next.timers_low {
            self.next.timers_low = due.as_millis();
            self.shared.timers_low.fetch_min(due.as_millis(), Ordering::SeqCst);
        }
    }
}

/// When the first timer of a table is due, or the end of time; none where that cannot be read.
fn due_of(
    first: Option<Guard>,
    parse: fn(&[u8]) -> Option<(Timestamp, DeliveryKey)>,
) -> Option<u64> {
    let Some(first) = first else { return Some(u64::MAX) };
    first.key().ok().and_then(|key| parse(&key)).map(|(due, _)| due.as_millis())
}

/// Notes that a clone owes nothing any more under the name of its origin.
fn own_clone(batch: &mut Batch) -> Result<(), PortError> {
    if let Some(identity) = batch.row::<IdentityRow>(Table::Meta, IDENTITY_KEY)? {
        batch.insert(Table::Meta, IDENTITY_KEY, &IdentityRow { cloned_from: None, ..identity });
        batch.needs_sync = true;
    }
    Ok(())
}

/// How long the next batch waits, where the last one was begun at `begun_us`.
fn waits_us(crowded: bool, begun_us: u64, now_us: u64) -> u64 {
    let since = now_us.saturating_sub(begun_us);
    if crowded { PACE_US.saturating_sub(since) } else { 0 }
}

const fn proof(commit: &CommitRow) -> Proof {
    Proof { commit: commit.number, accepted: commit.accepted }
}

fn complete(tickets: Vec<Ticket>, outcome: &Result<(), PortError>) {
    for ticket in tickets {
        ticket(outcome.clone());
    }
}

/// A ticket that answers `value` once the batch is durable. Whoever does not wait any more is not
/// told; what was done stays done.
fn ticket<T: Send + 'static>(done: Done<T>, value: Result<T, PortError>) -> Ticket {
    Box::new(move |outcome| drop(done.send(outcome.and(value))))
}

/// As [`ticket`]. A file that cannot be read any more ends the ledger: the next merge would.
fn answer<T: Send + 'static>(
    shared: &Shared,
    done: Done<T>,
    value: Result<T, PortError>,
) -> Ticket {
    if let Err(PortError::Permanent(reason)) = &value {
        shared.fail(reason.clone());
    }
    ticket(done, value)
}

/// A ticket that answers with a failure.
fn refused(operation: Operation, failure: PortError) -> Ticket {
    match operation {
        Operation::Accept { done, .. } => ticket(done, Err(failure)),
        Operation::Retry { done, .. } => ticket(done, Err(failure)),
        Operation::Settle { done, .. } => ticket(done, Err(failure)),
        Operation::Requeue { done, .. } => ticket(done, Err(failure)),
        Operation::Purge { done, .. }
        | Operation::Sweep { done, .. }
        | Operation::ForgetCutOff { done, .. } => ticket(done, Err(failure)),
        Operation::CreateTenant { done, .. } => ticket(done, Err(failure)),
        Operation::UpdateTenant { done, .. } => ticket(done, Err(failure)),
        Operation::AddKey { done, .. } | Operation::RevokeKey { done, .. } => {
            ticket(done, Err(failure))
        }
        Operation::SetSetting { done, .. }
        | Operation::ApplyJobs { done, .. }
        | Operation::OwnClone { done }
        | Operation::Close { done } => ticket(done, Err(failure)),
    }
}

#[cfg(test)]
mod tests;

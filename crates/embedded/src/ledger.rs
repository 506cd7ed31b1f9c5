//! The handle that everybody holds: opens, closes, asks the writer, reads.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use posthaste_domain::{InstanceId, Timestamp};
use posthaste_ports::{ArrivalSink, PortError};
use tokio::sync::{mpsc, oneshot};

use crate::error::OpenError;
use crate::identity::StoreId;
use crate::keeper::Keeper;
use crate::open::{self, CacheRecovery, Opened, Recovery};
use crate::register::AttemptRegister;
use crate::settings::{Observer, Settings};
use crate::shared::{Health, Shared, Stats};
use crate::tables::ReadError;
use crate::writer::{Done, Operation};

/// Every port on one data directory. Clones share it.
#[derive(Clone)]
pub struct Ledger {
    pub(crate) shared: Arc<Shared>,
    queue: mpsc::Sender<Operation>,
    threads: Arc<Mutex<Option<Threads>>>,
    store_id: StoreId,
}

struct Threads {
    writer: JoinHandle<()>,
    keeper: Keeper,
}

impl Ledger {
    /// Opens the ledger in `settings.dir`, or makes it, and starts its threads. Blocks while it
    /// recovers: the journals are read, at most [`Settings::journal_bytes_max`].
    ///
    /// What becomes owed from now on is told to `sink`; what is owed already is not.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed.
    pub fn open(
        settings: Settings,
        sink: Arc<dyn ArrivalSink>,
        observer: Arc<dyn Observer>,
    ) -> Result<(Self, Recovery), OpenError> {
        let (ledger, recovery) = Self::start(open::open(settings, sink, observer)?)?;
        Ok((ledger, recovery.ledger))
    }

    /// Opens `instance`'s cache in `settings.dir` (AWS mode), or makes it, and starts its threads.
    /// What does not open is set aside, which is said, and an empty one opened; `now` names where.
    ///
    /// # Errors
    /// [`OpenError`], where the reason is not what is in the directory, or where accepted events
    /// are: nothing was changed.
    pub fn open_or_quarantine(
        settings: Settings,
        instance: &InstanceId,
        now: Timestamp,
        observer: Arc<dyn Observer>,
    ) -> Result<(Self, CacheRecovery), OpenError> {
        Self::start(open::open_or_quarantine(settings, instance, now, observer)?)
    }

    pub(crate) fn start(opened: Opened) -> Result<(Self, CacheRecovery), OpenError> {
        let Opened { shared, writer, witness, space, recovery, store_id } = opened;
        let dir = shared.directory.path().to_owned();
        let queue_max = shared.settings.queue_max;
        let no_thread = |source| OpenError::Unusable { path: dir.clone(), source };
        let keeper = Keeper::start(Arc::clone(&shared), witness, space).map_err(no_thread)?;
        let (queue, operations) = mpsc::channel(queue_max.max(1));
        let writer = std::thread::Builder::new()
            .name("ledger-writer".to_owned())
            .spawn(move || writer.run(operations))
            .map_err(no_thread)?;
        let threads = Arc::new(Mutex::new(Some(Threads { writer, keeper })));
        Ok((Self { shared, queue, threads, store_id }, recovery))
    }

    /// The directory's own name, drawn when it was made or found to be a clone.
    #[must_use]
    pub const fn store_id(&self) -> StoreId {
        self.store_id
    }

    /// Notes that everything has been claimed that this directory owned before it was cloned: the
    /// next start does not tell of it any more.
    ///
    /// # Errors
    /// As any other write.
    pub async fn own_clone(&self) -> Result<(), PortError> {
        self.ask(|done| Operation::OwnClone { done }).await
    }

    /// Whether it takes new events.
    #[must_use]
    pub fn health(&self) -> Health {
        self.shared.health()
    }

    /// Its figures.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats(self.queue.max_capacity() - self.queue.capacity())
    }

    /// The register of one shard's attempts, empty, with room for `slots` at first.
    ///
    /// # Errors
    /// The operating system's.
    pub fn register(&self, shard: u32, slots: usize) -> io::Result<AttemptRegister> {
        AttemptRegister::create(&self.shared.directory.register(shard), slots)
    }

    /// Commits and syncs what waits, witnesses it, and ends the threads; later calls fail. The
    /// directory is free for another process when the last clone is gone.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.queue.send(Operation::Close { done }).await.is_ok() {
            // What goes wrong has been told by `Observer::failed`.
            drop(closed.await);
        }
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Threads { writer, keeper }) = threads {
            let ended = tokio::task::spawn_blocking(move || {
                // A panic in it has been told by the panic hook.
                drop(writer.join());
                keeper.stop();
            });
            drop(ended.await);
            self.shared.end_well();
        }
    }

    /// Asks the writer, and waits until what it did is durable.
    pub(crate) async fn ask<T>(
        &self,
        operation: impl FnOnce(Done<T>) -> Operation,
    ) -> Result<T, PortError> {
        let gone = || {
            let closed = PortError::Permanent("the ledger is closed".to_owned());
            self.shared.failure().unwrap_or(closed)
        };
        let (done, answer) = oneshot::channel();
        self.queue.send(operation(done)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Reads on a thread that may wait for the disk.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shared) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, PortError> {
        let shared = Arc::clone(&self.shared);
        let answer = tokio::task::spawn_blocking(move || {
            read(&shared).inspect_err(|error| {
                if error.is_rot() {
                    shared.fail(error.told());
                }
            })
        });
        let answer = answer.await;
        let lost = |error: tokio::task::JoinError| PortError::Transient(error.to_string());
        Ok(answer.map_err(lost)??)
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dir = self.shared.directory.path();
        f.debug_struct("Ledger").field("dir", &dir).finish_non_exhaustive()
    }
}

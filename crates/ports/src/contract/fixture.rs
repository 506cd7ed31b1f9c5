//! A store under test with everything a check needs around it, and how an adapter offers one.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::memory::RecordingSink;
use crate::{ArrivalSink, DeadLetters, EventStore, Expiry, Journal, TenantStore};

/// Every port of one store. Clones share the store.
#[derive(Clone)]
pub struct Stores {
    /// Tenants.
    pub tenants: Arc<dyn TenantStore>,
    /// Events.
    pub events: Arc<dyn EventStore>,
    /// The DLQ.
    pub dead_letters: Arc<dyn DeadLetters>,
    /// What is owed.
    pub journal: Arc<dyn Journal>,
    /// What has expired.
    pub expiry: Arc<dyn Expiry>,
}

impl Stores {
    /// The ports of an adapter that has all of them in one.
    pub fn of<S>(store: Arc<S>) -> Self
    where
        S: TenantStore + EventStore + DeadLetters + Journal + Expiry + 'static,
    {
        Self {
            tenants: Arc::clone(&store) as _,
            events: Arc::clone(&store) as _,
            dead_letters: Arc::clone(&store) as _,
            journal: Arc::clone(&store) as _,
            expiry: store,
        }
    }
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stores")
    }
}

/// Random histories of one fact.
const HISTORIES: u64 = 50;

/// One store of an adapter under test, from its creation to its end.
#[async_trait]
pub trait Subject: Send + 'static {
    /// Opens the store: empty the first time, from then on with everything that was answered
    /// before it was closed. What becomes owed is told to `sink`; what was owed before is not.
    async fn open(&mut self, sink: Arc<dyn ArrivalSink>) -> Stores;

    /// Closes the store cleanly. Every [`Stores`] that was handed out has been dropped.
    async fn close(&mut self) {}

    /// How many random histories one fact plays: fewer where each call is slow.
    fn histories(&self) -> u64 {
        HISTORIES
    }
}

/// How often a store is closed and opened again while a fact is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lives {
    /// Never.
    One,
    /// Wherever the fact says "later".
    Many,
}

/// An open store, and what was heard of it.
pub struct Fixture {
    subject: Box<dyn Subject>,
    // Invariant: none only within `reopen` and `close`.
    stores: Option<Stores>,
    sink: Arc<RecordingSink>,
    lives: Lives,
    pub(super) ids: u128,
}

impl Fixture {
    /// Opens a store.
    pub async fn open(mut subject: Box<dyn Subject>, lives: Lives) -> Self {
        let sink = Arc::new(RecordingSink::default());
        let stores = Some(subject.open(Arc::clone(&sink) as _).await);
        Self { subject, stores, sink, lives, ids: 0 }
    }

    /// Time passes: with [`Lives::Many`] the store is closed and opened again.
    ///
    /// Clones of [`Fixture::stores`] must have been dropped.
    pub async fn later(&mut self) {
        if self.lives == Lives::Many {
            self.stores = None;
            self.subject.close().await;
            self.stores = Some(self.subject.open(Arc::clone(&self.sink) as _).await);
        }
    }

    /// How many random histories are to be played.
    #[must_use]
    pub fn histories(&self) -> u64 {
        self.subject.histories()
    }

    /// Closes the store.
    pub async fn close(mut self) {
        self.stores = None;
        self.subject.close().await;
    }

    /// The ports of the store.
    #[must_use]
    pub const fn stores(&self) -> &Stores {
        self.stores.as_ref().expect("a fixture that somebody can see is open")
    }

    /// What has become owed since somebody last took it.
    #[must_use]
    pub const fn sink(&self) -> &Arc<RecordingSink> {
        &self.sink
    }
}

impl fmt::Debug for Fixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixture").field("lives", &self.lives).finish_non_exhaustive()
    }
}

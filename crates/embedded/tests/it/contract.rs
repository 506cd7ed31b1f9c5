//! Every fact of the contract, on the ledger: in one life, and closed and opened again wherever
//! the fact says "later".

use std::sync::Arc;

use async_trait::async_trait;
use posthaste_embedded::Ledger;
use posthaste_ports::contract::{JobSubject, Stores, Subject};
use posthaste_ports::{ArrivalSink, JobStore};

use crate::support::Home;

struct OnDisk {
    home: Home,
    open: Option<Ledger>,
}

#[async_trait]
impl Subject for OnDisk {
    async fn open(&mut self, sink: Arc<dyn ArrivalSink>) -> Stores {
        let opened = self.home.open_with(self.home.settings(), sink);
        let (ledger, recovery) = opened.expect("the ledger opens");
        assert_eq!(recovery.notes, Vec::<String>::new());
        self.open = Some(ledger.clone());
        Stores::of(Arc::new(ledger))
    }

    async fn close(&mut self) {
        if let Some(ledger) = self.open.take() {
            ledger.close().await;
        }
    }
}

fn open() -> OnDisk {
    OnDisk { home: Home::in_memory(), open: None }
}

posthaste_ports::contract_tests!(open, durable);

/// The same directory as an instance's cache.
struct Cache(OnDisk);

#[async_trait]
impl JobSubject for Cache {
    async fn open(&mut self) -> Arc<dyn JobStore> {
        let (ledger, recovery) = self.0.home.open_cache("one");
        assert_eq!(recovery.ledger.notes, Vec::<String>::new());
        assert_eq!((recovery.cloned_from, recovery.quarantined), (None, None));
        self.0.open = Some(ledger.clone());
        Arc::new(ledger)
    }

    async fn close(&mut self) {
        Subject::close(&mut self.0).await;
    }
}

fn open_cache() -> Cache {
    Cache(open())
}

posthaste_ports::job_contract_tests!(open_cache, durable);

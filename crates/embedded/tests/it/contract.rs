//! Every fact of the contract, on the ledger: in one life, and closed and opened again wherever
//! the fact says "later".

use std::sync::Arc;

use async_trait::async_trait;
use posthaste_embedded::Ledger;
use posthaste_ports::ArrivalSink;
use posthaste_ports::contract::{Stores, Subject};

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

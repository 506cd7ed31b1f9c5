//! Every fact of the contract, on the store in memory.

use std::sync::Arc;

use async_trait::async_trait;
use posthaste_ports::ArrivalSink;
use posthaste_ports::contract::{Stores, Subject};
use posthaste_ports::memory::MemoryStore;

/// A store in memory; closing it forgets nothing, because the subject keeps it.
#[derive(Default)]
struct Memory(Option<MemoryStore>);

#[async_trait]
impl Subject for Memory {
    async fn open(&mut self, sink: Arc<dyn ArrivalSink>) -> Stores {
        let store = self.0.get_or_insert_with(|| MemoryStore::new(sink));
        Stores::of(Arc::new(store.clone()))
    }
}

fn open() -> Memory {
    Memory::default()
}

posthaste_ports::contract_tests!(open, durable);

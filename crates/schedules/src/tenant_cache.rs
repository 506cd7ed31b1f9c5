//! Tenants in memory, between the writer and all readers: the cache in
//! `crates/embedded/src/shared.rs`.

use posthaste_domain::TenantId;
use shuttle::sync::atomic::{AtomicU64, Ordering};
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

use crate::names::product;
use crate::run::prove;

product!(tenant_cache, tenant_cache_keeps_all, tenant_cache_counts_nothing);

/// A tenant, as far as its age goes.
#[derive(Clone, Debug)]
struct TenantRecord {
    id: TenantId,
    version: u64,
}

#[derive(Debug)]
enum ReadError {}

/// The tables: what is committed.
#[derive(Default)]
struct Tables(Mutex<Vec<TenantRecord>>);

impl Tables {
    fn tenant(&self, id: &TenantId) -> Result<Option<TenantRecord>, ReadError> {
        Ok(self.0.lock().unwrap().iter().rev().find(|record| record.id == *id).cloned())
    }

    fn commit(&self, record: &TenantRecord) {
        self.0.lock().unwrap().push(record.clone());
    }
}

fn id(name: &str) -> TenantId {
    TenantId::try_new(name).unwrap()
}

macro_rules! scenario {
    ($module:ident) => {{
        fn scenario() {
            let shared = Arc::new($module::Shared::default());
            let acknowledged = Arc::new(AtomicU64::new(0));
            shared.tables.commit(&TenantRecord { id: id("acme"), version: 0 });
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    let (shared, acknowledged) = (shared.clone(), acknowledged.clone());
                    thread::spawn(move || {
                        for _ in 0..2 {
                            let at_least = acknowledged.load(Ordering::SeqCst);
                            let record = shared.tenant(&id("acme")).unwrap().unwrap();
                            assert!(record.version >= at_least, "{record:?} after {at_least}");
                        }
                    })
                })
                .collect();
            // As the writer does it: the commit, the cache, the answer.
            for version in 1..=2 {
                let record = TenantRecord { id: id("acme"), version };
                shared.tables.commit(&record);
                shared.tenant_changed(Arc::new(record));
                acknowledged.store(version, Ordering::SeqCst);
                // Another tenant, for whom the cache starts over.
                let other = TenantRecord { id: id("other"), version };
                shared.tables.commit(&other);
                shared.tenant_changed(Arc::new(other));
            }
            readers.into_iter().for_each(|reader| reader.join().unwrap());
            assert_eq!(shared.tenant(&id("acme")).unwrap().unwrap().version, 2);
        }
        scenario as fn()
    }};
}

/// For all orders: once a change of a tenant is answered, nobody reads an older one.
#[test]
fn a_change_of_a_tenant_is_seen_by_all() {
    let wrong = [
        ("keeping what was read before", scenario!(tenant_cache_keeps_all)),
        ("not counting changes", scenario!(tenant_cache_counts_nothing)),
    ];
    prove("tenant cache", scenario!(tenant_cache), &wrong);
}

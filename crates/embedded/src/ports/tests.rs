//! Rows that are rotten in a store that is otherwise well: each costs what it held, nothing else.

use std::sync::Arc;

use posthaste_domain::{DeadLetterCause, EndpointId, EventId, EventStatus, Resolution, Timestamp};
use posthaste_ports::memory::NullSink;
use posthaste_ports::{
    DeadLetters, EventStore, Journal as _, ListQuery, Requeued, Scope, ShardSpec, TenantStore as _,
};
use tempfile::TempDir;

use crate::keys;
use crate::ledger::Ledger;
use crate::tables::Table;
use crate::testing::{Watch, delivery, event, home, new_tenant, outcome, settings, tenant_id};

const NOW: Timestamp = Timestamp::from_millis(90);

/// A ledger with dead letters.
async fn dead(count: u128) -> (TempDir, Ledger, Vec<EventId>) {
    let home = home();
    let opened = Ledger::open(settings(&home), Arc::new(NullSink), Arc::new(Watch::default()));
    let ledger = opened.unwrap().0;
    ledger.create(new_tenant("acme", 0)).await.unwrap();
    let events: Vec<_> = (1..=count).map(|n| event("acme", NOW, n)).collect();
    let ids = events.iter().map(|event| event.id).collect();
    ledger.accept(events).await.unwrap();
    let (tenant, all) = (tenant_id("acme"), usize::MAX);
    let owed = ledger.backlog(&tenant, EndpointId::DEFAULT, EventId::MIN, all).await.unwrap().owed;
    let gone = Resolution::DeadLettered { cause: DeadLetterCause::Gone };
    ledger.settle(owed.iter().map(|owed| outcome(owed, NOW, gone)).collect()).await.unwrap();
    (home, ledger, ids)
}

/// Changes a byte of a row in a way that only our own checksums find.
fn damage(ledger: &Ledger, table: Table, key: &[u8]) {
    let keyspace = ledger.shared.tables.keyspace(table);
    let mut bytes = keyspace.get(key).unwrap().expect("a row").to_vec();
    bytes[1] ^= 1;
    keyspace.insert(key, bytes).unwrap();
}

async fn listed(ledger: &Ledger, status: Option<EventStatus>) -> Vec<EventId> {
    let query = ListQuery { status, before: None, limit: 100, now: NOW };
    let page = EventStore::list(ledger, &tenant_id("acme"), query).await.unwrap();
    page.events.into_iter().map(|event| event.id).collect()
}

#[tokio::test]
async fn a_rotten_row_hides_no_other() {
    let (_home, ledger, ids) = dead(3).await;
    let tenant = tenant_id("acme");
    damage(&ledger, Table::Rows, &keys::event(&tenant, ids[1]));
    for status in [None, Some(EventStatus::Dlq)] {
        assert_eq!(listed(&ledger, status).await, [ids[2], ids[0]]);
    }
    let letters = DeadLetters::list(&ledger, &Scope::All, 9).await.unwrap();
    assert_eq!(letters.iter().map(|letter| letter.event).collect::<Vec<_>>(), [ids[0], ids[2]]);
    ledger.event(&tenant, ids[1], NOW).await.unwrap_err();
    assert_eq!(ledger.stats().damaged_rows, 3);
    let requeued = DeadLetters::requeue(&ledger, &Scope::All, 2, 2, NOW).await;
    assert_eq!(requeued, Ok(Requeued { requeued: 1, failed: 1 }));
    assert_eq!(DeadLetters::purge(&ledger, &Scope::All, NOW).await, Ok(1));
    ledger.close().await;
}

#[tokio::test]
async fn a_rotten_payload_or_line_costs_no_more_than_itself() {
    let (_home, ledger, ids) = dead(2).await;
    let tenant = tenant_id("acme");
    damage(&ledger, Table::Payloads, &keys::event(&tenant, ids[0]));
    let keys = [delivery(&tenant, ids[0]), delivery(&tenant, ids[1])];
    let payloads = ledger.payloads(&keys).await.unwrap();
    assert_eq!(payloads.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true]);
    damage(&ledger, Table::Log, &keys::log(&tenant, ids[1], 0));
    let detail = ledger.event(&tenant, ids[1], NOW).await.unwrap().expect("there");
    assert_eq!(detail.log, []);
    assert_eq!(DeadLetters::list(&ledger, &Scope::All, 9).await.unwrap().len(), 2);
    ledger.close().await;
}

/// A start with a tenant that cannot be read: its deliveries wait, everybody else's are told of.
#[tokio::test]
async fn a_rotten_tenant_hides_nobody_elses_backlog() {
    let home = home();
    let open = || {
        let watch = Arc::new(Watch::default());
        Ledger::open(settings(&home), Arc::new(NullSink), watch).unwrap().0
    };
    let ledger = open();
    for (shard_key, name) in ["acme", "beside"].into_iter().enumerate() {
        let shard_key = u32::try_from(shard_key).unwrap();
        ledger.create(new_tenant(name, shard_key)).await.unwrap();
        ledger.accept(vec![event(name, NOW, shard_key.into())]).await.unwrap();
    }
    damage(&ledger, Table::Tenants, &keys::tenant(&tenant_id("acme")));
    ledger.close().await;
    drop(ledger);
    let ledger = open();
    let all = ShardSpec { index: 0, count: 1 };
    let owed = ledger.owed_endpoints(all).await.unwrap();
    let tenants: Vec<_> = owed.into_iter().map(|owed| owed.tenant).collect();
    assert_eq!(tenants, [tenant_id("beside")]);
    assert_eq!(ledger.stats().damaged_rows, 1);
    let acme = tenant_id("acme");
    let owed = ledger.backlog(&acme, EndpointId::DEFAULT, EventId::MIN, 9).await.unwrap().owed;
    assert_eq!(owed.len(), 1, "it is still owed");
    ledger.close().await;
}

/// More dead letters than one step takes are all met, once each, whatever the step's size.
#[tokio::test]
async fn many_dead_letters_go_step_by_step() {
    let (_home, ledger, ids) = dead(2_501).await;
    let requeued = DeadLetters::requeue(&ledger, &Scope::All, 7, 100, NOW).await;
    assert_eq!(requeued, Ok(Requeued { requeued: 100, failed: 0 }));
    let tenant = Scope::Tenant(tenant_id("acme"));
    let next = DeadLetters::list(&ledger, &tenant, 1).await.unwrap();
    assert_eq!(next[0].event, ids[100], "the oldest went first");
    assert_eq!(DeadLetters::purge(&ledger, &Scope::Tenant(tenant_id("acm")), NOW).await, Ok(0));
    assert_eq!(DeadLetters::purge(&ledger, &tenant, NOW).await, Ok(2_401));
    assert_eq!(DeadLetters::list(&ledger, &Scope::All, 1).await, Ok(Vec::new()));
    ledger.close().await;
}

//! The writer without its thread: what one operation does to the store.

use posthaste_domain::{DeadLetterCause, Owed, OwedAs, Resolution};
use posthaste_ports::Settled;

use super::*;
use crate::open::Opened;
use crate::testing::{delivery, event, home, new_tenant, opened, outcome, settings, tenant_id};

/// Applies one operation and commits it.
fn run<T>(
    opened: &mut Opened,
    operation: impl FnOnce(Done<T>) -> Operation,
) -> Result<T, PortError> {
    let (done, mut answer) = oneshot::channel();
    let mut batch = Batch::new(opened.shared.tables.clone());
    let ticket = opened.writer.apply(operation(done), &mut batch);
    opened.writer.commit(batch, vec![ticket], 0).unwrap();
    answer.try_recv().unwrap()
}

/// Damages a row, as rot that passes the store's own checksums does.
fn damage(opened: &Opened, table: Table, key: &[u8]) {
    let keyspace = opened.shared.tables.keyspace(table);
    let mut bytes = keyspace.get(key).unwrap().expect("a row").to_vec();
    bytes[1] ^= 1;
    keyspace.insert(key, bytes).unwrap();
}

fn owed(new: &NewEvent) -> Owed {
    Owed {
        key: delivery(&new.tenant, new.id),
        round: 0,
        attempts: 0,
        interrupted: 0,
        owed_as: OwedAs::Fresh,
        payload: None,
    }
}

fn count(opened: &Opened, table: Table) -> usize {
    opened.shared.tables.view().range(table, ..vec![0xFF]).count()
}

/// A tenant's record that cannot be read is no reason to let go of what the tenant is owed.
#[test]
fn a_damaged_tenant_leaves_its_deliveries_owed() {
    let home = home();
    let mut first = opened(settings(&home));
    let new = event("acme", Timestamp::from_millis(5), 1);
    let tenant = Box::new(new_tenant("acme", 0));
    run(&mut first, |done| Operation::CreateTenant { new: tenant, done }).unwrap();
    let events = vec![new.clone()];
    run(&mut first, |done| Operation::Accept { events, done }).unwrap();
    damage(&first, Table::Tenants, &keys::tenant(&tenant_id("acme")));
    // The record is in the cache of that one.
    drop(first);
    let mut again = opened(settings(&home));
    let due = Timestamp::from_millis(99);
    let retry = outcome(&owed(&new), Timestamp::from_millis(9), Resolution::Retry { due });
    let settlements = vec![retry];
    let answer = run(&mut again, |done| Operation::Settle { settlements, done });
    assert_eq!(answer, Ok(vec![Settled::Superseded]));
    assert_eq!((count(&again, Table::Fresh), count(&again, Table::Log)), (1, 0));
}

/// One damaged dead letter holds up neither the requeue nor the purge of others.
#[test]
fn a_damaged_dead_letter_holds_up_no_other() {
    let home = home();
    let mut opened = opened(settings(&home));
    let tenant = Box::new(new_tenant("acme", 0));
    run(&mut opened, |done| Operation::CreateTenant { new: tenant, done }).unwrap();
    let events: Vec<_> = (1..=3).map(|n| event("acme", Timestamp::from_millis(5), n)).collect();
    let accepted = events.clone();
    run(&mut opened, |done| Operation::Accept { events: accepted, done }).unwrap();
    let cause = DeadLetterCause::Gone;
    let at = Timestamp::from_millis(9);
    let dead = |new| outcome(&owed(new), at, Resolution::DeadLettered { cause });
    let settlements = events.iter().map(dead).collect();
    run(&mut opened, |done| Operation::Settle { settlements, done }).unwrap();
    damage(&opened, Table::Rows, &keys::event(&events[0].tenant, events[0].id));
    let names: Vec<_> = events.iter().map(|new| (new.tenant.clone(), new.id)).collect();
    let some = names[..2].to_vec();
    let requeued = run(&mut opened, |done| Operation::Requeue { events: some, done });
    assert_eq!(requeued, Ok(Requeued { requeued: 1, failed: 1 }));
    let purged = run(&mut opened, |done| Operation::Purge { events: names, at, done });
    assert_eq!(purged, Ok(1));
}

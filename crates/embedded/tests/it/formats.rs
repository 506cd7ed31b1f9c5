//! Data directories of an earlier format: refused by name, read by the tools, brought over by a
//! repair.
//!
//! The fixture was written by the last version of format 1 (commit 149760f, `posthaste
//! serve`): five events delivered for `acme`, three that wait for a retry in `acme-2`, three dead in
//! `gone`, four that `paused` holds back.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use posthaste_domain::{EndpointId, EventId, EventStatus, TimerPosition, Timestamp};
use posthaste_embedded::tools::{self, Verified};
use posthaste_embedded::{Ledger, OpenError, Settings};
use posthaste_ports::memory::NullSink;
use posthaste_ports::{DeadLetters, EventStore, Journal as _, ListQuery, Scope, ShardSpec};

use crate::support::{Home, Witnessed, create, event, outcome, tenant_id};

/// Each tenant, how many events it has, how they stand and how often they were attempted.
const TENANTS: [(&str, usize, EventStatus, u32); 4] = [
    ("acme", 5, EventStatus::Delivered, 1),
    ("acme-2", 3, EventStatus::Failed, 2),
    ("gone", 3, EventStatus::Dlq, 1),
    ("paused", 4, EventStatus::Pending, 0),
];
/// Soon after the fixture was written.
const NOW: Timestamp = Timestamp::from_millis(1_795_767_700_000);

fn unpack(home: &Home) {
    let packed = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/format-1/data.tar.gz");
    let place = home.data();
    let place = place.parent().expect("it is in a directory");
    let tar = Command::new("tar").args(["-xzf", packed, "-C"]).arg(place).status();
    assert!(tar.expect("tar starts").success());
}

fn try_open(dir: &Path) -> Result<Ledger, OpenError> {
    let settings =
        Settings { free_space_floor_bytes: 0, ballast_bytes: 0, ..Settings::new(dir.to_owned()) };
    let opened = Ledger::open(settings, Arc::new(NullSink), Arc::new(Witnessed::default()));
    opened.map(|(ledger, _)| ledger)
}

fn verify(dir: &Path) -> Verified {
    let mut told = Vec::new();
    let verified = tools::verify(dir, &mut |damage| told.push(damage.to_string())).unwrap();
    assert_eq!(verified.damages, told.len() as u64, "{told:?}");
    verified
}

async fn is_whole(ledger: &Ledger) {
    let mut owed = Vec::new();
    for (name, count, status, attempts) in TENANTS {
        let tenant = tenant_id(name);
        let all = ListQuery { status: None, limit: 3, before: None, now: NOW };
        let mut ids: Vec<EventId> = Vec::new();
        let mut before = None;
        loop {
            let page = EventStore::list(ledger, &tenant, ListQuery { before, ..all.clone() })
                .await
                .unwrap();
            ids.extend(page.events.iter().map(|event| event.id));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        assert!(ids.is_sorted_by(|a, b| a > b) && ids.len() == count, "{name}: {ids:?}");
        let such = ListQuery { status: Some(status), limit: 100, ..all };
        let listed = EventStore::list(ledger, &tenant, such).await.unwrap().events;
        assert!(listed.iter().map(|event| event.id).eq(ids.iter().copied()), "{name}");
        for id in &ids {
            let found = ledger.event(&tenant, *id, NOW).await.unwrap().expect("it is there");
            assert_eq!((found.summary.status, found.summary.attempts), (status, attempts));
            assert_eq!(found.log.len(), attempts as usize, "{name}");
            assert!(found.payload.starts_with(b"{\"n\": "), "{name}");
        }
        let backlog = ledger.backlog(&tenant, EndpointId::DEFAULT, EventId::MIN, 100).await;
        owed.extend(backlog.unwrap().owed.into_iter().map(|owed| owed.key));
    }
    let shard = ShardSpec { index: 0, count: 1 };
    let timers = ledger.timers(shard, TimerPosition::START, Timestamp::MAX, 100).await.unwrap();
    assert!(owed.iter().all(|key| key.tenant == tenant_id("paused")), "{owed:?}");
    assert_eq!((owed.len(), timers.owed.len()), (4, 3));
    assert!(timers.owed.iter().all(|owed| owed.key.tenant == tenant_id("acme-2")));
    let dead = DeadLetters::list(ledger, &Scope::All, 100).await.unwrap();
    assert!(dead.len() == 3 && dead.iter().all(|letter| letter.tenant == tenant_id("gone")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn format_1_is_refused_read_and_brought_over() {
    let home = Home::in_memory();
    unpack(&home);
    let data = home.data();
    let error = try_open(&data).expect_err("another format");
    assert!(matches!(error, OpenError::OlderFormat { found: 1, written: 2, .. }), "{error}");
    let told = format!("posthaste ledger repair --in-place --data-dir {}", data.display());
    assert!(error.exit_config() && error.to_string().contains(&told), "{error}");
    assert_eq!(fs::read_to_string(data.join("FORMAT")).unwrap(), "1\n", "it was changed");
    let before = verify(&data);
    let stand = [("DELIVERED", 5), ("DLQ", 3), ("FAILED", 3), ("PENDING", 4)];
    assert_eq!(before.events, BTreeMap::from(stand));
    assert_eq!((before.damages, before.tenants, before.claims), (0, 4, 5));
    let (repaired, kept) =
        tools::repair_in_place(&data, 1, &mut |found| panic!("{found:?}")).unwrap();
    assert!(repaired.is_complete() && repaired.mended == 0, "{repaired:?}");
    assert_eq!(fs::read_to_string(kept.join("FORMAT")).unwrap(), "1\n");
    let after = verify(&data);
    assert_eq!((&after.events, after.damages), (&before.events, 0));
    assert_eq!((after.tenants, after.keys, after.claims), (4, 4, 5));
    let ledger = try_open(&data).unwrap();
    is_whole(&ledger).await;
    // What is taken in from now on stands among them, and all of it can still be requeued.
    let requeued = ledger.requeue(&Scope::All, 10, 10, NOW).await.unwrap();
    assert_eq!((requeued.requeued, requeued.failed), (3, 0));
    let new = event(NOW.as_millis(), "new");
    let id = new.id;
    ledger.accept(vec![new]).await.unwrap();
    ledger.settle(vec![outcome(id, posthaste_domain::Resolution::Delivered)]).await.unwrap();
    ledger.close().await;
    drop(ledger);
    let stand = [("DELIVERED", 6), ("FAILED", 3), ("PENDING", 7)];
    let verified = verify(&data);
    assert_eq!((verified.damages, verified.events), (0, BTreeMap::from(stand)));
}

/// The same directory under a wrong number: every event is missed.
#[test]
fn a_directory_of_format_1_is_not_one_of_format_2() {
    let home = Home::in_memory();
    unpack(&home);
    fs::write(home.data().join("FORMAT"), "2\n").unwrap();
    let verified = verify(&home.data());
    assert!(verified.damages >= 15 && verified.events.is_empty(), "{verified:?}");
}

/// Without events there is nothing to bring over: tenants, keys and jobs have the same names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_events_a_directory_changes_its_number_only() {
    for accepts in [false, true] {
        let home = Home::in_memory();
        let (ledger, _) = home.open();
        create(&ledger, "acme").await;
        if accepts {
            ledger.accept(vec![event(1, "{}")]).await.unwrap();
        }
        ledger.close().await;
        drop(ledger);
        fs::write(home.data().join("FORMAT"), "1\n").unwrap();
        let format = || fs::read_to_string(home.data().join("FORMAT")).unwrap();
        match try_open(&home.data()) {
            Ok(ledger) => {
                assert!(!accepts && format() == "2\n", "{}", format());
                ledger.close().await;
            }
            Err(error) => {
                assert!(accepts && matches!(error, OpenError::OlderFormat { .. }), "{error}");
                assert_eq!(format(), "1\n");
            }
        }
    }
}

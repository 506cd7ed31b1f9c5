//! Data directories of an earlier format: read by the tools, and brought over by the first start or
//! by a repair.
//!
//! The fixture was written by the last version of format 1 (commit 149760f, `posthaste serve`):
//! five events delivered for `acme`, three that wait for a retry in `acme-2`, three dead in `gone`,
//! four that `paused` holds back.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use posthaste_domain::{EndpointId, EventId, EventStatus, Resolution, TimerPosition, Timestamp};
use posthaste_embedded::tools::{self, Verified};
use posthaste_embedded::{Ledger, OpenError, Settings};
use posthaste_ports::memory::NullSink;
use posthaste_ports::{
    DeadLetters, EventStore, Expiry as _, Journal as _, ListQuery, Scope, ShardSpec,
};

use crate::support::{Home, Witnessed, event, outcome, tenant_id};

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
    let verified =
        tools::verify(dir, &mut |damage| told.push(damage.to_string())).expect("readable");
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
            let page = EventStore::list(ledger, &tenant, ListQuery { before, ..all })
                .await
                .expect("readable");
            ids.extend(page.events.iter().map(|event| event.id));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        assert!(ids.is_sorted_by(|a, b| a > b) && ids.len() == count, "{name}: {ids:?}");
        let such = ListQuery { status: Some(status), limit: 100, ..all };
        let listed = EventStore::list(ledger, &tenant, such).await.expect("answered").events;
        assert!(listed.iter().map(|event| event.id).eq(ids.iter().copied()), "{name}");
        for id in &ids {
            let found =
                ledger.event(&tenant, *id, NOW).await.expect("answered").expect("it is there");
            assert_eq!((found.summary.status, found.summary.attempts), (status, attempts));
            assert_eq!(found.log.len(), attempts as usize, "{name}");
            assert!(found.payload.starts_with(b"{\"n\": "), "{name}");
        }
        let backlog = ledger.backlog(&tenant, EndpointId::DEFAULT, EventId::MIN, 100).await;
        owed.extend(backlog.expect("readable").owed.into_iter().map(|owed| owed.key));
    }
    let shard = ShardSpec { index: 0, count: 1 };
    let timers =
        ledger.timers(shard, TimerPosition::START, Timestamp::MAX, 100).await.expect("answered");
    assert!(owed.iter().all(|key| key.tenant == tenant_id("paused")), "{owed:?}");
    assert_eq!((owed.len(), timers.owed.len()), (4, 3));
    assert!(timers.owed.iter().all(|owed| owed.key.tenant == tenant_id("acme-2")));
    let dead = DeadLetters::list(ledger, &Scope::All, 100).await.expect("answered");
    assert!(dead.len() == 3 && dead.iter().all(|letter| letter.tenant == tenant_id("gone")));
}

/// What is taken in from now on stands among what was there, and all of it goes on.
async fn goes_on(data: &Path) {
    let ledger = try_open(data).expect("it opens");
    is_whole(&ledger).await;
    let requeued = ledger.requeue(&Scope::All, 10, 10, NOW).await.expect("answered");
    assert_eq!((requeued.requeued, requeued.failed), (3, 0));
    let new = event(NOW.as_millis(), "new");
    let id = new.id;
    ledger.accept(vec![new]).await.expect("answered");
    ledger.settle(vec![outcome(id, Resolution::Delivered)]).await.expect("answered");
    // What was delivered goes when its time has come, and nothing stays of it.
    while ledger.sweep(Timestamp::MAX, 100).await.expect("answered") > 0 {}
    ledger.close().await;
    drop(ledger);
    let verified = verify(data);
    let stand = BTreeMap::from([("FAILED", 3), ("PENDING", 7)]);
    assert_eq!((verified.damages, verified.events), (0, stand));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn format_1_is_brought_over_at_the_start() {
    let home = Home::in_memory();
    unpack(&home);
    let data = home.data();
    let (ledger, recovery) = home.open();
    let notes = [
        "15 events were brought over to this version's format",
        "4 tenants were sealed; see data.seal-key",
    ];
    assert_eq!(recovery.notes, notes);
    assert_eq!(fs::read_to_string(data.join("FORMAT")).unwrap(), "2\n");
    is_whole(&ledger).await;
    ledger.close().await;
    drop(ledger);
    let (ledger, recovery) = home.open();
    assert_eq!(recovery.notes, Vec::<String>::new(), "once");
    ledger.close().await;
    drop(ledger);
    let verified = verify(&data);
    assert_eq!((verified.damages, verified.claims), (0, 5));
    goes_on(&data).await;
}

/// As it is, and where nothing says any more of which format it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn format_1_is_read_by_the_tools() {
    let home = Home::in_memory();
    unpack(&home);
    let data = home.data();
    let before = verify(&data);
    let stand = [("DELIVERED", 5), ("DLQ", 3), ("FAILED", 3), ("PENDING", 4)];
    assert_eq!(before.events, BTreeMap::from(stand));
    assert_eq!((before.damages, before.tenants, before.claims), (0, 4, 5));
    let copy = data.with_file_name("copy");
    let repaired = tools::repair(&data, &copy, &mut |found| panic!("{found:?}")).unwrap();
    assert!(repaired.is_complete() && repaired.mended == 0, "{repaired:?}");
    let after = verify(&copy);
    assert_eq!((&after.events, after.damages), (&before.events, 0));
    assert_eq!((after.tenants, after.keys, after.claims), (4, 4, 5));
    goes_on(&copy).await;
    fs::remove_file(data.join("FORMAT")).unwrap();
    assert_eq!(verify(&data).events, before.events);
    goes_on(&data).await;
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

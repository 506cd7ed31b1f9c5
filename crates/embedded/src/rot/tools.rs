//! The tools on a whole ledger, and on one whose repair is cut off.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use posthaste_domain::{DeadLetterCause, EventId};
use posthaste_ports::memory::NullSink;
use posthaste_ports::{Job, JobChange, JobState, JobStore as _, TenantStore as _};

use super::editor::{Edit, How};
use super::judge::fingerprint;
use super::runtime;
use super::template::{NOW, Template, settings, view};
use crate::directory::Directory;
use crate::error::OpenError;
use crate::ledger::Ledger;
use crate::raw::{RawStore, Told};
use crate::settings::{Settings, SyncMode};
use crate::tables::{COMMIT_KEY, TIDE_KEY, Table};
use crate::testing::{Watch, delivery, home, instance, tenant_id};
use crate::tools::{Finding, ToolError, export, repair, verify};

/// Every row but those that only serve the store itself.
fn rows(dir: &Path) -> BTreeMap<(&'static str, Vec<u8>), Vec<u8>> {
    let told = Told::nobody();
    let store = RawStore::open(&dir.join("ledger"), &told).unwrap();
    let of = |table: Table| {
        let rows = store.rows(table, &told);
        rows.map(move |(key, value)| ((table.name(), key.to_vec()), value.to_vec()))
    };
    let all = Table::ALL.into_iter().flat_map(of);
    all.filter(|((_, key), _)| key != TIDE_KEY && key != COMMIT_KEY).collect()
}

/// What is read without the store is what the store reads.
#[test]
fn rows_are_read_as_the_store_reads_them() {
    let template = runtime().block_on(Template::make());
    let raw = rows(&template.data());
    let copy = template.copy();
    runtime().block_on(async {
        let watch = Arc::new(Watch::default());
        let opened = Ledger::open(settings(copy.data()), Arc::new(NullSink), watch);
        let (ledger, _) = opened.unwrap();
        let mut stored = BTreeMap::new();
        for table in Table::ALL {
            for guard in ledger.shared.tables.view().prefix(table, &[]) {
                let (key, value) = guard.into_inner().unwrap();
                stored.insert((table.name(), key.to_vec()), value.to_vec());
            }
        }
        stored.retain(|(_, key), _| key != TIDE_KEY && key != COMMIT_KEY);
        assert_eq!(raw.len(), stored.len());
        assert!(raw == stored);
        ledger.close().await;
    });
}

/// A whole ledger has no damage; repaired it has the same rows, and again.
#[test]
fn a_whole_ledger_is_the_same_after_a_repair() {
    let template = runtime().block_on(Template::make());
    let copy = template.copy();
    let before = fingerprint(&copy);
    let verified = verify(&copy.data(), &mut |damage| panic!("{damage}")).unwrap();
    assert_eq!((verified.damages, verified.notes.len()), (0, 0));
    assert_eq!(verified.events.values().sum::<u64>(), template.view.len() as u64);
    assert_eq!(Some(verified.commit), verified.witnessed);
    let (one, two) = (copy.beside("one"), copy.beside("two"));
    for (from, to) in [(copy.data(), &one), (one.clone(), &two)] {
        let repaired = repair(&from, to, &mut |finding| panic!("{finding:?}")).unwrap();
        assert_eq!((repaired.lost, repaired.mended, repaired.commits_missing), (0, 0, 0));
        assert_eq!(repaired.kept.events, verified.events);
        assert!(rows(&from) == rows(to));
    }
    assert_eq!(fingerprint(&copy), before, "the source was changed");
    runtime().block_on(async {
        let watch = Arc::new(Watch::default());
        let (ledger, _) = Ledger::open(settings(two), Arc::new(NullSink), watch).unwrap();
        assert_eq!(view(&ledger, &template.ids()).await, template.view);
        let tenant = ledger.tenant(&tenant_id("acme")).await.unwrap().unwrap();
        assert_eq!(tenant.secrets.current().expose(), "some-secret");
        assert_eq!(ledger.setting("color").await.unwrap().as_deref(), Some(&b"green"[..]));
        ledger.close().await;
    });
}

/// A repair that is cut off leaves the source as it was, and a directory that does not start; the
/// next one does not write over it.
#[test]
fn a_repair_that_is_cut_off_is_not_served() {
    let template = runtime().block_on(Template::make());
    let copy = template.copy();
    let payloads = copy.data().join("ledger/keyspaces/2/tables");
    let table = fs::read_dir(payloads).unwrap().next().unwrap().unwrap().path();
    let file = table.strip_prefix(copy.data()).unwrap().to_owned();
    Edit { file, how: How::Remove }.apply(copy.data());
    let before = fingerprint(&copy);
    let target = copy.beside("target");
    let cut_off = catch_unwind(AssertUnwindSafe(|| {
        repair(&copy.data(), &target, &mut |finding| {
            assert!(!matches!(finding, Finding::Lost { .. }), "pulled the plug");
        })
    }));
    assert!(cut_off.is_err());
    assert_eq!(fingerprint(&copy), before);
    let watch = Arc::new(Watch::default());
    let refused = Ledger::open(settings(target.clone()), Arc::new(NullSink), watch).unwrap_err();
    assert!(matches!(refused, OpenError::Unfinished { .. }), "{refused}");
    let refused = repair(&copy.data(), &target, &mut |_| {}).unwrap_err();
    assert!(matches!(refused, ToolError::InTheWay { .. }), "{refused}");
    let mut lost = 0;
    let mut tell = |finding| lost += u64::from(matches!(finding, Finding::Lost { .. }));
    let repaired = repair(&copy.data(), &copy.beside("other"), &mut tell).unwrap();
    assert!(lost > 0 && lost == repaired.lost);
}

/// What is in use is left alone.
#[test]
fn a_directory_in_use_is_refused() {
    let template = runtime().block_on(Template::make());
    let copy = template.copy();
    let _held = Directory::lock(&copy.data()).unwrap();
    let refused = verify(&copy.data(), &mut |_| {}).unwrap_err();
    assert!(matches!(refused, ToolError::Directory(OpenError::Locked { .. })), "{refused}");
    let refused = repair(&copy.data(), &copy.beside("other"), &mut |_| {}).unwrap_err();
    assert!(matches!(refused, ToolError::Directory(OpenError::Locked { .. })), "{refused}");
    assert!(!copy.beside("other").exists());
}

/// Every event is exported as its tenant sees it.
#[test]
fn an_export_has_every_event() {
    let template = runtime().block_on(Template::make());
    let mut left = template.view.clone();
    let mut each = |event: crate::tools::Exported| {
        let seen = left.remove(&(event.tenant, event.id)).unwrap().unwrap().unwrap();
        assert_eq!(event.payload, Some(seen.payload));
        assert_eq!((event.attempts, event.log.len()), (seen.attempts, seen.lines));
        assert_eq!(event.dead.is_some(), seen.status == posthaste_domain::EventStatus::Dlq);
        true
    };
    let copy = template.copy();
    assert_eq!(export(&copy.data(), None, &mut each, &mut |d| panic!("{d}")).unwrap(), 0);
    assert!(left.is_empty());
    let mut tenants = Vec::new();
    let mut each = |event: crate::tools::Exported| {
        tenants.push(event.tenant);
        true
    };
    export(&copy.data(), Some(&tenant_id("beta")), &mut each, &mut |_| {}).unwrap();
    assert!(tenants.len() > 10 && tenants.iter().all(|tenant| tenant.as_str() == "beta"));
}

/// A cache's jobs, in every state but one, and what finds them.
#[test]
fn a_cache_is_the_same_after_a_repair() {
    let home = home();
    let dir = home.path().join("data");
    let cache = |dir: &Path| {
        let watch = Arc::new(Watch::default());
        let settings = Settings { sync: SyncMode::Buffered, ..settings(dir.to_owned()) };
        Ledger::open_or_quarantine(settings, &instance("one"), NOW, watch).unwrap()
    };
    let states = [
        JobState::Waiting { due: NOW, attempts: 2 },
        JobState::CutOff { at: NOW },
        JobState::Dying { cause: DeadLetterCause::Gone, attempts: 1, error: None },
    ];
    let jobs: Vec<_> = states.into_iter().zip(0..).map(|(state, n)| job(n, state)).collect();
    let keys: Vec<_> = jobs.iter().map(|job| job.key.clone()).collect();
    runtime().block_on(async {
        let (ledger, _) = cache(&dir);
        let puts = jobs.iter().map(|job| JobChange::Put(Box::new(job.clone())));
        ledger.apply(puts.collect()).await.unwrap();
        ledger.close().await;
    });
    let verified = verify(&dir, &mut |damage| panic!("{damage}")).unwrap();
    assert_eq!(verified.jobs, 3);
    let target = home.path().join("target");
    let repaired = repair(&dir, &target, &mut |finding| panic!("{finding:?}")).unwrap();
    assert_eq!((repaired.kept.jobs, repaired.lost), (3, 0));
    assert!(rows(&dir) == rows(&target));
    runtime().block_on(async {
        let (ledger, recovery) = cache(&target);
        assert_eq!((recovery.cloned_from, recovery.quarantined), (None, None));
        let found = ledger.jobs(&keys).await.unwrap();
        assert!(found.into_iter().map(Option::unwrap).eq(jobs));
        ledger.close().await;
    });
}

fn job(n: u8, state: JobState) -> Job {
    Job {
        key: delivery(&tenant_id("acme"), EventId::from_u128(n.into())),
        round: 1,
        shard_key: 3,
        interrupted: n,
        epoch: 1,
        lease_until: NOW,
        state,
        payload: (n != 1).then(|| vec![n; 5000].into()),
    }
}

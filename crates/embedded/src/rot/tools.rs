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
use super::hit::rows_end;
use super::judge::fingerprint;
use super::runtime;
use super::template::{Copy, NOW, Template, copy_dir, files, flip, settings, view};
use crate::directory::Directory;
use crate::error::OpenError;
use crate::ledger::Ledger;
use crate::raw::{RawStore, Told, table};
use crate::scrub;
use crate::settings::{Settings, SyncMode};
use crate::tables::{COMMIT_KEY, TIDE_KEY, Table};
use crate::testing::{Watch, delivery, home, instance, tenant_id};
use crate::tools::{Finding, ToolError, export, repair, repair_in_place_watched, verify};

/// Every row but those that only serve the store itself.
pub(super) fn rows(dir: &Path) -> BTreeMap<(&'static str, Vec<u8>), Vec<u8>> {
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
        assert!(repaired.is_complete() && repaired.mended == 0, "{repaired:?}");
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

/// Names of what is lost beside events, by a repair of a copy in which `damage` was done to the
/// largest table file of a keyspace.
fn others_lost(copy: &Copy, table: Table, damage: impl Fn(&Path)) -> Vec<String> {
    let keyspace = format!("ledger/keyspaces/{}/tables", table as u64 + 1);
    let mut files = files(&copy.data().join(keyspace));
    files.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).unwrap().len()));
    damage(&files[0]);
    let mut names = Vec::new();
    let mut tell = |finding| match finding {
        Finding::LostOther { name, .. } => names.push(name),
        Finding::Lost { event, .. } => panic!("{event}"),
        _ => {}
    };
    let repaired = repair(&copy.data(), &copy.beside("repaired"), &mut tell).unwrap();
    assert_eq!(repaired.others_lost, names.len() as u64);
    assert_eq!(repaired.is_complete(), names.is_empty());
    names
}

/// A repair that keeps every event and loses a tenant, a key or a claim says so, and by what name.
#[test]
fn what_is_lost_beside_events_is_named() {
    let template = runtime().block_on(Template::make());
    let remove = |path: &Path| fs::remove_file(path).unwrap();
    let tenants = others_lost(&template.copy(), Table::Tenants, remove);
    assert!(
        tenants.starts_with(&["tenant acme".to_owned(), "tenant beta".to_owned()]),
        "{tenants:?}"
    );
    assert!(tenants.iter().any(|name| name.contains("keyspaces/9/tables")), "{tenants:?}");
    let all = |path: &Path| files(path.parent().unwrap()).iter().for_each(|path| remove(path));
    let claims = others_lost(&template.copy(), Table::Claims, all);
    assert!(claims.iter().any(|name| name == "a claim of tenant acme"), "{claims:?}");
    // The whole tree, which leaves no file that could be named.
    let tree = |path: &Path| fs::remove_dir_all(path.parent().unwrap().parent().unwrap()).unwrap();
    let tenants = others_lost(&template.copy(), Table::Tenants, tree);
    assert!(tenants.iter().any(|name| name.ends_with("keyspaces/9")), "{tenants:?}");
    // One block, which may have had anything; and another file in the place of this one.
    let tenants = others_lost(&template.copy(), Table::Tenants, |path| flip(path, 40));
    assert!(tenants.iter().any(|name| name.contains("keyspaces/9/tables")), "{tenants:?}");
    let empty = |path: &Path| fs::write(path, b"").unwrap();
    let claims = others_lost(&template.copy(), Table::Claims, empty);
    assert!(claims.iter().any(|name| name.contains("keyspaces/7/tables")), "{claims:?}");
    // What only finds rows costs none.
    let behind = |path: &Path| flip(path, usize::try_from(rows_end(path)).unwrap() + 40);
    for table in [Table::Tenants, Table::Claims] {
        assert_eq!(others_lost(&template.copy(), table, behind), Vec::<String>::new());
    }
}

/// A whole file has every row that it says it has.
#[test]
fn a_whole_file_is_complete() {
    let template = runtime().block_on(Template::make());
    let named = scrub::examine(&template.data().join("ledger"), true, 0).unwrap();
    assert!(named.len() > 10 && named.iter().all(table::is_complete));
}

/// Nobody else gets in, from the first look at the old directory to the last step: it would serve
/// from what is moved away under it.
#[test]
fn a_repair_in_place_is_locked_to_its_end() {
    let template = runtime().block_on(Template::make());
    let copy = template.copy();
    let mut looks = 0;
    let mut watch = || {
        looks += 1;
        let refused = Directory::lock(&copy.data()).unwrap_err();
        assert!(matches!(refused, OpenError::Locked { .. }), "{refused}");
    };
    let mut tell = |finding| panic!("{finding:?}");
    let repaired = repair_in_place_watched(&copy.data(), 7, &mut tell, &mut watch);
    let (repaired, kept) = repaired.unwrap();
    assert!(repaired.is_complete() && kept == copy.beside("data.damaged-7"));
    assert_eq!(looks, 2);
    assert!(rows(&kept) == rows(&copy.data()) && !copy.beside("data.repaired-7").exists());
    drop((Directory::lock(&copy.data()).unwrap(), Directory::lock(&kept).unwrap()));
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
        ledger.shared.tables.write_out(0).unwrap();
        ledger.close().await;
    });
    let verified = verify(&dir, &mut |damage| panic!("{damage}")).unwrap();
    assert_eq!(verified.jobs, 3);
    let target = home.path().join("target");
    let repaired = repair(&dir, &target, &mut |finding| panic!("{finding:?}")).unwrap();
    assert_eq!((repaired.kept.jobs, repaired.lost), (3, 0));
    assert!(rows(&dir) == rows(&target));
    // Jobs that are lost are named by their index.
    let mut lost = Vec::new();
    let damaged = home.path().join("damaged");
    copy_dir(&dir, &damaged);
    fs::write(damaged.join("ledger/0.jnl"), b"").unwrap();
    for table in files(&damaged.join("ledger/keyspaces/11/tables")) {
        fs::remove_file(table).unwrap();
    }
    let mut tell = |finding| {
        if let Finding::LostOther { name, .. } = finding {
            lost.push(name);
        }
    };
    let repaired = repair(&damaged, &home.path().join("other"), &mut tell).unwrap();
    assert!((repaired.kept.jobs, repaired.others_lost) == (0, 4) && !repaired.is_complete());
    assert!(lost[..3].iter().all(|name| name.starts_with("the job of tenant acme, event ")));
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

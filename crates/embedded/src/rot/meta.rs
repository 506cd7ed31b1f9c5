//! The table of the last commit: what it must say, and what comes of damage in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fjall::Database;
use posthaste_domain::Timestamp;
use posthaste_ports::memory::NullSink;
use posthaste_ports::{EventStore as _, TenantStore as _};

use super::runtime;
use super::start::held;
use super::template::{Template, copy_dir, files, flip, keyspace_of, settings, tables, view};
use super::tools::rows;
use crate::error::OpenError;
use crate::ledger::Ledger;
use crate::raw;
use crate::settings::Settings;
use crate::tables::{ACCEPTED_LOSS_KEY, Table};
use crate::testing::{Chance, Watch, event, home, new_tenant};
use crate::tools::{Finding, repair, verify};

/// The journals of a closed ledger.
fn journals(dir: &Path) -> Vec<PathBuf> {
    let all = files(&dir.join("ledger")).into_iter();
    all.filter(|path| path.extension().is_some_and(|extension| extension == "jnl")).collect()
}

/// What a repair has written needs none of its journals, where no commit but the last has a number:
/// a start cannot miss one that is gone. And it takes nothing for missing where only the last
/// journal is left.
#[test]
fn what_a_repair_wrote_is_in_tables() {
    let template = runtime().block_on(Template::make());
    for is_empty in [false, true] {
        let copy = template.copy();
        let target = copy.beside("target");
        repair(&copy.data(), &target, &mut |finding| panic!("{finding:?}")).unwrap();
        let (whole, store) = (rows(&target), target.join("ledger"));
        let commit = verify(&target, &mut |damage| panic!("{damage}")).unwrap().commit;
        let mut journals = journals(&target);
        let last = journals.pop().unwrap();
        journals.iter().for_each(|path| fs::remove_file(path).unwrap());
        let later = store.join("7.jnl");
        fs::rename(last, &later).unwrap();
        if is_empty {
            fs::write(&later, b"").unwrap();
        }
        assert!(rows(&target) == whole, "{is_empty}");
        let written = raw::written_commit(&store).unwrap().unwrap();
        assert_eq!(written.number, commit);
        runtime().block_on(async {
            let watch = Arc::new(Watch::default());
            let (ledger, recovery) =
                Ledger::open(settings(target), Arc::new(NullSink), watch).unwrap();
            assert_eq!((recovery.accepted_lost, recovery.notes), (None, Vec::new()));
            assert_eq!(view(&ledger, &template.ids()).await, template.view);
            ledger.close().await;
        });
    }
}

/// A repair of more than a journal takes is served from, again and again: the journals that it
/// sealed go, and nothing is missed with them.
#[test]
fn a_repair_of_many_bytes_is_served_again() {
    let home = home();
    let (dir, target) = (home.path().join("data"), home.path().join("target"));
    let open = |dir: &Path| {
        let watch = Arc::new(Watch::default());
        let (ledger, recovery) =
            Ledger::open(settings(dir.to_owned()), Arc::new(NullSink), watch).unwrap();
        assert_eq!((recovery.accepted_lost, recovery.notes), (None, Vec::new()));
        ledger
    };
    let mut chance = Chance(1);
    runtime().block_on(async {
        let ledger = open(&dir);
        ledger.create(new_tenant("acme", 0)).await.unwrap();
        for n in 0..80 {
            let mut new = event("acme", Timestamp::from_millis(1), n);
            let noise = (0..1 << 17).flat_map(|_| chance.next().to_le_bytes());
            new.payload = noise.collect::<Vec<u8>>().into();
            ledger.accept(vec![new]).await.unwrap();
        }
        ledger.close().await;
    });
    let repaired = repair(&dir, &target, &mut |finding| panic!("{finding:?}")).unwrap();
    let names = journals(&target);
    assert!(!names.iter().all(|name| name.ends_with("0.jnl")), "no journal was sealed");
    for _ in 0..3 {
        let ledger = open(&target);
        ledger.shared.tables.write_out(1 << 20).unwrap();
        runtime().block_on(ledger.close());
    }
    let kept = verify(&target, &mut |damage| panic!("{damage}")).unwrap();
    assert_eq!(kept.events, repaired.source.events);
}

/// What says how far the tables are, or which of them says it, is damaged: that is said, and not
/// that commits are missing; nobody can consent to it.
#[test]
fn a_damaged_last_commit_is_no_loss() {
    let template = runtime().block_on(Template::make());
    let damages: [fn(&Path); 3] = [
        |path| flip(path, 40),
        |path| fs::write(path, b"").unwrap(),
        |path| fs::remove_file(path).unwrap(),
    ];
    for (damage, keyspace) in
        damages.iter().flat_map(|damage| [(damage, 0), (damage, keyspace_of(Table::Meta))])
    {
        let copy = template.copy();
        let store = copy.data().join("ledger");
        let place = format!("keyspaces/{keyspace}/");
        damage(&tables(&store, keyspace).pop().unwrap());
        for accept_loss in [false, true] {
            let settings = Settings { accept_loss, ..settings(copy.data()) };
            let watch = Arc::new(Watch::default());
            let refused = Ledger::open(settings, Arc::new(NullSink), watch).unwrap_err();
            assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
            assert!(refused.to_string().contains(&place), "{refused}");
        }
        // Wherever else it is asked for.
        let written = raw::written_commit(&store).unwrap_err();
        assert!(written.to_string().contains(&place), "{written}");
        let is_note = |path: &PathBuf| path.extension().is_some_and(|end| end == "lost");
        assert!(!files(&copy.data()).iter().any(is_note), "consent is noted");
    }
}

/// The list of tables is another one, whole by itself, that names none: the store would remove them
/// all. That is said too, where the store is known to have been used.
#[test]
fn a_list_of_no_tables_is_damage() {
    let template = runtime().block_on(Template::make());
    let (copy, other) = (template.copy(), home());
    // As the store makes it, before it has any table.
    drop(Database::builder(other.path()).open().unwrap());
    let store = copy.data().join("ledger");
    let names = store.join("keyspaces/0");
    fs::remove_dir_all(&names).unwrap();
    copy_dir(&other.path().join("keyspaces/0"), &names);
    let whole = held(&store);
    for accept_loss in [false, true] {
        let settings = Settings { accept_loss, ..settings(copy.data()) };
        let refused = Ledger::open(settings, Arc::new(NullSink), Arc::new(Watch::default()));
        let refused = refused.unwrap_err();
        assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
        assert!(refused.to_string().contains("names no meta table"), "{refused}");
        assert!(held(&store) == whole, "the evidence was changed");
    }
}

/// An earlier version accepted a loss, and did not say which: a repair does not keep that, and from
/// the first start on that tables have it is said.
#[test]
fn what_an_earlier_version_did_not_say_is_said() {
    let template = runtime().block_on(Template::make());
    let copy = template.copy();
    let store = copy.data().join("ledger");
    let live = |is_earlier: bool| {
        let watch = Arc::new(Watch::default());
        let opened = Ledger::open(settings(copy.data()), Arc::new(NullSink), watch);
        let (ledger, recovery) = opened.unwrap();
        assert_eq!((recovery.accepted_lost, recovery.notes), (None, Vec::new()));
        if is_earlier {
            let meta = ledger.shared.tables.keyspace(Table::Meta);
            meta.insert(ACCEPTED_LOSS_KEY, b"").unwrap();
        }
        ledger.shared.tables.write_out(0).unwrap();
        runtime().block_on(ledger.close());
    };
    live(true);
    assert_eq!(raw::written_commit(&store).unwrap(), None);
    let target = copy.beside("target");
    repair(&copy.data(), &target, &mut |finding| panic!("{finding:?}")).unwrap();
    assert!(raw::written_commit(&target.join("ledger")).unwrap().is_some());
    live(false);
    assert!(raw::written_commit(&store).unwrap().is_some());
    live(false);
}

/// Names of what is lost beside events, by a repair of a copy that lacks all files of some tables.
fn others_lost(template: &Template, lacking: &[Table]) -> Vec<String> {
    let copy = template.copy();
    for table in lacking {
        tables(&copy.data().join("ledger"), keyspace_of(*table))
            .iter()
            .for_each(|path| fs::remove_file(path).unwrap());
    }
    let mut names = Vec::new();
    let mut tell = |finding| {
        if let Finding::LostOther { name, .. } = finding {
            names.push(name);
        }
    };
    let repaired = repair(&copy.data(), &copy.beside("repaired"), &mut tell).unwrap();
    assert_eq!(repaired.others_lost, names.len() as u64);
    names
}

/// Events that only damaged files had are named by nothing: then the files are, and only then. And
/// whose directory it was is no small loss.
#[test]
fn what_nothing_names_any_more_is_named_by_its_files() {
    let template = runtime().block_on(Template::make());
    let (rows, payloads) = (Table::Rows, Table::Payloads);
    let (marks, fresh) = (Table::Marks, Table::Fresh);
    let enough = [
        &[rows, payloads, fresh][..],
        &[rows, payloads, marks],
        &[rows, fresh, marks],
        &[payloads, fresh, marks],
    ];
    for lacking in enough {
        assert_eq!(others_lost(&template, lacking), Vec::<String>::new(), "{lacking:?}");
    }
    for index in [fresh, Table::Timers, Table::Expiry] {
        let lost = others_lost(&template, &[rows, payloads, marks, index]);
        for table in [rows, payloads, marks, index] {
            let place = format!("ledger/keyspaces/{}/tables/", keyspace_of(table));
            assert!(lost.iter().any(|name| name.starts_with(&place)), "{place}: {lost:?}");
        }
    }
    assert_eq!(others_lost(&template, &[Table::Meta]), ["the directory's own name"]);
}

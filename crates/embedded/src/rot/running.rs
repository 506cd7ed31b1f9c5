//! Damage under a running ledger: told by name as soon as it is met, and refused from then on.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use posthaste_ports::memory::NullSink;

use super::runtime;
use super::template::{Template, flip, keyspace_of, settings, tables, view};
use crate::error::OpenError;
use crate::ledger::Ledger;
use crate::open::open_unguarded;
use crate::raw::{self, Flaw, Flawed};
use crate::scrub::{self, AGAIN};
use crate::shared::Health;
use crate::tables::Table;
use crate::testing::Watch;

/// The table file of the payloads that were merged: the oldest one, as an opened ledger writes
/// another from its sealed journals, whenever it comes to it.
fn payloads(data: &Path) -> PathBuf {
    let files = tables(&data.join("ledger"), keyspace_of(Table::Payloads)).into_iter();
    let number = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().parse::<u64>();
    files.min_by_key(|path| number(path).unwrap()).unwrap()
}

fn open(data: PathBuf) -> Result<(Ledger, Arc<Watch>), OpenError> {
    let watch = Arc::new(Watch::default());
    let opened = Ledger::open(settings(data), Arc::new(NullSink), Arc::clone(&watch) as _);
    opened.map(|(ledger, _)| (ledger, watch))
}

/// A file that rots while the ledger runs: whoever reads there is answered with an error, the
/// process is told at once, and the next start is refused by the file's name.
#[test]
fn damage_met_by_a_reader_ends_the_ledger() {
    let template = runtime().block_on(Template::make());
    let copy = template.copy();
    runtime().block_on(async {
        let (ledger, watch) = open(copy.data()).unwrap();
        let table = payloads(&copy.data());
        flip(&table, 100);
        let now = view(&ledger, &template.ids()).await;
        assert!(now.values().any(Result::is_err), "nobody read there");
        let Health::Failed(reason) = ledger.health() else { panic!("it goes on") };
        assert!(reason.contains("payloads") && reason.contains("Checksum"), "{reason}");
        assert_eq!(watch.failures.lock().unwrap().len(), 1);
        ledger.close().await;
        drop(ledger);
        let error = open(copy.data()).expect_err("refused");
        let name = table.file_name().unwrap().to_str().unwrap();
        assert!(error.exit_config() && error.to_string().contains(name), "{error}");
        // Whole again, it opens.
        flip(&table, 100);
        let (ledger, _) = open(copy.data()).unwrap();
        assert_eq!(view(&ledger, &template.ids()).await, template.view);
        ledger.close().await;
    });
}

/// What is looked at behind the start: the same, without a reader.
#[test]
fn damage_that_nobody_reads_is_found_behind_the_start() {
    let template = runtime().block_on(Template::make());
    let copy = template.copy();
    runtime().block_on(async {
        let (ledger, _) = open(copy.data()).unwrap();
        let files = scrub::examine(&copy.data().join("ledger"), true, 0).unwrap();
        assert!(files.len() > 10, "{}", files.len());
        let table = payloads(&copy.data());
        flip(&table, 100);
        assert!(!scrub::is_running(&ledger.shared), "all of it was looked at before the start");
        scrub::start(files, &ledger.shared).unwrap();
        // To its end: until then it has the directory's lock.
        while scrub::is_running(&ledger.shared) {
            tokio::task::yield_now().await;
        }
        let health = ledger.health();
        let name = table.display().to_string();
        assert!(matches!(&health, Health::Failed(why) if why.contains(&name)), "{health:?}");
        ledger.close().await;
        drop(ledger);
        let error = open(copy.data()).expect_err("refused");
        assert!(error.to_string().contains(&name), "{error}");
    });
}

/// Whole files are found whole, and the thread ends by itself.
#[test]
fn whole_files_are_found_whole() {
    let template = runtime().block_on(Template::make());
    let copy = template.copy();
    runtime().block_on(async {
        let files = scrub::examine(&copy.data().join("ledger"), true, 0).unwrap();
        let (ledger, _) = open(copy.data()).unwrap();
        let shared = Arc::clone(&ledger.shared);
        ledger.close().await;
        scrub::start(files, &shared).unwrap();
        while scrub::is_running(&shared) {
            tokio::task::yield_now().await;
        }
        assert_eq!(shared.health(), Health::Healthy);
    });
}

/// A file that cannot be read for another reason than damage ends nothing: it is looked at again.
#[test]
fn what_cannot_be_read_now_is_looked_at_again() {
    let template = runtime().block_on(Template::make());
    let copy = template.copy();
    runtime().block_on(async {
        let (ledger, watch) = open(copy.data()).unwrap();
        let table = payloads(&copy.data());
        let mut files = scrub::examine(&copy.data().join("ledger"), true, 0).unwrap();
        files.retain(|file| file.path == table);
        let aside = copy.beside("aside");
        fs::rename(&table, &aside).unwrap();
        // "Too many levels of symbolic links", which root meets too.
        std::os::unix::fs::symlink(&table, &table).unwrap();
        scrub::start(files, &ledger.shared).unwrap();
        // Nothing tells that it has not given up.
        tokio::time::sleep(AGAIN * 2).await;
        assert!(scrub::is_running(&ledger.shared), "it gave up");
        assert_eq!(ledger.health(), Health::Healthy);
        flip(&aside, 100);
        fs::rename(&aside, &table).unwrap();
        while scrub::is_running(&ledger.shared) {
            tokio::task::yield_now().await;
        }
        assert_eq!(watch.failures.lock().unwrap().len(), 1, "it did not look again");
        ledger.close().await;
    });
}

/// At a start it is no damage either, whatever is in it: a cache is not set aside for it.
#[test]
fn what_cannot_be_read_at_a_start_is_not_called_damaged() {
    let template = runtime().block_on(Template::make());
    for keyspace in [0, keyspace_of(Table::Payloads), keyspace_of(Table::Meta)] {
        let copy = template.copy();
        let store = copy.data().join("ledger");
        let table = tables(&store, keyspace).pop().unwrap();
        fs::remove_file(&table).unwrap();
        std::os::unix::fs::symlink(&table, &table).unwrap();
        let error = open(copy.data()).expect_err("refused");
        assert!(matches!(&error, OpenError::Unusable { path, .. } if *path == table), "{error}");
        assert!(!error.is_damage());
        // Where it shows only when the store opens it, too.
        let watch = Arc::new(Watch::default());
        let opened = open_unguarded(settings(copy.data()), Arc::new(NullSink), watch);
        let error = opened.err().expect("refused");
        assert!(matches!(error, OpenError::Unusable { .. }) && !error.is_damage(), "{error}");
        // And where only the last commit is read.
        let written = raw::written_commit(&store);
        let is_payloads = keyspace == keyspace_of(Table::Payloads);
        let is_said = matches!(&written, Err(Flawed { path, flaw: Flaw::Io(_) }) if *path == table);
        assert!(is_said || (is_payloads && written.is_ok()), "{keyspace}: {written:?}");
    }
}

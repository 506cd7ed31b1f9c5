//! Damage of several files at a start: all of them are looked at before any is changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use posthaste_ports::memory::NullSink;

use super::runtime;
use super::template::{Template, files, flip, settings};
use crate::error::OpenError;
use crate::ledger::Ledger;
use crate::settings::Settings;
use crate::testing::Watch;
use crate::tools::repair;

/// What the store's directory holds.
pub(super) fn held(store: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    files(store).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// A journal is damaged, and a table too: consent to the loss of the journal's end cuts nothing,
/// since the start is refused, and the repair that it advises reads on behind the damage.
#[test]
fn nothing_is_cut_where_a_table_is_damaged_too() {
    let template = runtime().block_on(Template::make());
    for journal in ["1.jnl", "2.jnl"] {
        let copy = template.copy();
        let store = copy.data().join("ledger");
        let path = store.join(journal);
        let mut bytes = fs::read(&path).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        bytes[used / 2] ^= 0x20;
        fs::write(&path, bytes).unwrap();
        let only_journal = copy.again();
        let tables = files(&store.join("keyspaces/2/tables"));
        flip(&tables[0], fs::read(&tables[0]).unwrap().len() / 2);
        let before = held(&store);
        let open = |data: PathBuf, accept_loss: bool| {
            let settings = Settings { accept_loss, ..settings(data) };
            Ledger::open(settings, Arc::new(NullSink), Arc::new(Watch::default()))
        };
        for accept_loss in [false, true] {
            let refused = open(copy.data(), accept_loss).unwrap_err();
            assert!(matches!(refused, OpenError::Damaged { .. }), "{journal}: {refused}");
            assert!(held(&store) == before, "{journal}: the evidence was changed");
        }
        let repaired = repair(&copy.data(), &copy.beside("target"), &mut |_| {}).unwrap();
        assert_eq!(repaired.commits_missing, 1, "{journal}");
        // Where nothing else is damaged the same consent does cut it.
        let refused = open(only_journal.data(), false).unwrap_err();
        assert!(matches!(refused, OpenError::Loss { .. }), "{journal}: {refused}");
        let (ledger, _) = open(only_journal.data(), true).unwrap();
        runtime().block_on(ledger.close());
        let kept = ["lost", "cut"]
            .map(|kept| only_journal.data().join("ledger").join(journal).with_extension(kept));
        assert!(kept.iter().any(|kept| kept.exists()), "{journal}");
    }
}

//! The judge: whether damage was noticed, was harmless, or cost something in silence.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use posthaste_domain::{EventId, EventStatus};
use posthaste_ports::memory::NullSink;

use super::editor::{Edit, How, What};
use super::template::{Copy, Seen, Template, View, settings, view};
use crate::error::OpenError;
use crate::ledger::Ledger;
use crate::open;
use crate::raw::archive;
use crate::scrub;
use crate::shared::Health;
use crate::testing::Watch;
use crate::tools::{Finding, ToolError, repair};

#[derive(Debug)]
pub(super) enum Verdict {
    /// Everything is as it was.
    Harmless,
    /// Told, in these words.
    Noticed(String),
    /// Neither.
    Bad(String),
}

/// Starts twice, as a supervisor does, and compares.
pub(super) async fn judge_start(copy: &Copy, template: &Template) -> Verdict {
    let first = start(copy, template, false).await;
    let again = start(copy, template, false).await;
    match (first, again) {
        (bad @ Verdict::Bad(_), _) => bad,
        (_, Verdict::Bad(what)) => Verdict::Bad(format!("the second time: {what}")),
        (Verdict::Harmless, Verdict::Noticed(what)) => {
            Verdict::Bad(format!("noticed only the second time: {what}"))
        }
        (first, _) => first,
    }
}

/// Starts once, with nobody looking at the files.
pub(super) async fn judge_unguarded(copy: &Copy, template: &Template) -> Verdict {
    start(copy, template, true).await
}

async fn start(copy: &Copy, template: &Template, unguarded: bool) -> Verdict {
    let opened = catch_unwind(AssertUnwindSafe(|| opened(copy, unguarded)));
    let ledger = match opened {
        Err(_) => return Verdict::Bad("it panicked".to_owned()),
        Ok(Err(error)) if !error.exit_config() => {
            return Verdict::Bad(format!("it would be tried for ever: {error}"));
        }
        Ok(Err(error)) => return Verdict::Noticed(error.to_string()),
        Ok(Ok(ledger)) => ledger,
    };
    // To its end: it has the directory's lock until then.
    while scrub::is_running(&ledger.shared) {
        tokio::task::yield_now().await;
    }
    let now = view(&ledger, &template.ids()).await;
    let told = ledger.stats().damaged_rows > 0;
    let health = ledger.health();
    let notes = format!("{health:?}");
    ledger.close().await;
    if now == template.view {
        return Verdict::Harmless;
    }
    if told || matches!(health, Health::Failed(_)) {
        return Verdict::Noticed(notes);
    }
    Verdict::Bad(format!("silent: {}", difference(&template.view, &now)))
}

fn opened(copy: &Copy, unguarded: bool) -> Result<Ledger, OpenError> {
    let (settings, sink) = (settings(copy.data()), Arc::new(NullSink));
    let watch = Arc::new(Watch::default());
    if unguarded {
        let opened = open::open_unguarded(settings, sink, watch)?;
        return Ledger::start(opened).map(|(ledger, _)| ledger);
    }
    Ledger::open(settings, sink, watch).map(|(ledger, _)| ledger)
}

fn difference(before: &View, now: &View) -> String {
    let other = before.iter().filter(|(key, seen)| now.get(*key) != Some(*seen));
    let first = other.clone().next().map(|(key, seen)| (key, seen, now.get(key)));
    format!("{} of {} events, {first:?}", other.count(), before.len())
}

/// Repairs, starts what came of it, and looks for every event.
pub(super) async fn judge_repair(
    copy: &Copy,
    template: &Template,
    edit: &Edit,
    was_harmless: bool,
) -> Result<(), String> {
    let before = fingerprint(copy);
    let target = copy.beside("repaired");
    let mut named = HashSet::new();
    let mut damages = Vec::new();
    let mut tell = |finding| match finding {
        Finding::Lost { event, .. } | Finding::Mended { event, .. } => {
            named.insert(event);
        }
        Finding::Damaged(damage) => damages.push(damage.to_string()),
        Finding::LostOther { .. } => {}
    };
    let repaired = catch_unwind(AssertUnwindSafe(|| repair(&copy.data(), &target, &mut tell)));
    let repaired = match repaired.map_err(|_| "panicked".to_owned())? {
        // Which format it has is not known any more, and this version may not guess.
        Err(ToolError::Directory(OpenError::NewerFormat { .. })) => return Ok(()),
        repaired => repaired.map_err(|error| format!("{error}: {damages:?}"))?,
    };
    if fingerprint(copy) != before {
        return Err("the source was changed".to_owned());
    }
    let (settings, sink) = (settings(target), Arc::new(NullSink));
    let opened = Ledger::open(settings, sink, Arc::new(Watch::default()));
    let (ledger, _) = opened.map_err(|error| format!("what came of it: {error}"))?;
    let now = view(&ledger, &template.ids()).await;
    ledger.close().await;
    let is_told = !damages.is_empty() || repaired.commits_missing > 0;
    let (missing, other) = compare(template, &now, |label| is_told || named.contains(label))?;
    let allowed = if was_harmless { (0, 0) } else { allowance(edit, template) };
    if missing > allowed.0 || other > allowed.1 {
        return Err(format!(
            "{missing} missing and {other} other than they were, of which {allowed:?} may be; \
             damages {damages:?}"
        ));
    }
    Ok(())
}

/// How many events are missing, and how many are other than they were; none of either in silence.
fn compare(
    template: &Template,
    now: &View,
    is_told: impl Fn(&str) -> bool,
) -> Result<(usize, usize), String> {
    let (mut missing, mut other) = (0, 0);
    for (key, seen) in &template.view {
        let label = crate::tools::label(&key.0, key.1);
        match (seen, &now[key]) {
            (before, after) if before == after => continue,
            (Ok(Some(before)), Ok(Some(after))) if before.payload != after.payload => {
                return Err(format!("{label}: another payload"));
            }
            (Ok(Some(_)), Ok(Some(after))) => {
                other += 1;
                consistent(key.1, after)?;
            }
            (_, Ok(None)) => missing += 1,
            (_, Ok(Some(_))) => return Err(format!("{label} was not there")),
            (_, Err(error)) => return Err(format!("{label}: {error}")),
        }
        if !is_told(&label) {
            return Err(format!("{label}: {seen:?} is {:?}, in silence", now[key]));
        }
    }
    Ok((missing, other))
}

/// Owed as its status says, once or not at all.
fn consistent(event: EventId, seen: &Seen) -> Result<(), String> {
    let is_owed = matches!(seen.status, EventStatus::Pending | EventStatus::Failed);
    if seen.owed == usize::from(is_owed) { Ok(()) } else { Err(format!("{event}: {seen:?}")) }
}

/// How many events a damage may cost, and how many it may change: those whose bytes it has hit.
fn allowance(edit: &Edit, template: &Template) -> (usize, usize) {
    match (edit.what(), edit.how) {
        // A tree's directory has its tables.
        (What::Rest, How::RemoveTree) => (usize::MAX, usize::MAX),
        (What::Rest, _) => (0, 0),
        // One batch: an event, or a purge of many.
        (What::Journal, How::Flip { .. }) => (1, 40),
        (What::Table, How::Flip { at, .. }) if !is_data(template, edit, at) => (0, 0),
        // Blocks of 4 KiB have up to a hundred small rows, and few large ones.
        (What::Table, How::Flip { .. }) => (100, 100),
        _ => (usize::MAX, usize::MAX),
    }
}

/// Whether a byte of a table's file belongs to its rows, and not to what finds them.
fn is_data(template: &Template, edit: &Edit, at: usize) -> bool {
    let file = std::fs::File::open(template.data().join(&edit.file)).unwrap();
    let sections = archive::sections(&file).unwrap();
    let others = sections.iter().filter(|section| section.name != b"data");
    others.map(|section| section.pos).min().is_none_or(|end| (at as u64) < end)
}

/// The bytes of every file.
pub(super) fn fingerprint(copy: &Copy) -> Vec<(std::path::PathBuf, u64)> {
    let hash = |path: &std::path::PathBuf| {
        xxhash_rust::xxh3::xxh3_64(&std::fs::read(path).unwrap_or_default())
    };
    let files = super::template::files(&copy.data());
    files.into_iter().map(|path| (path.clone(), hash(&path))).collect()
}

//! The judge: whether damage was noticed, was harmless, or cost something in silence.

use std::collections::{BTreeSet, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use posthaste_domain::{EventId, EventStatus};
use posthaste_ports::memory::NullSink;

use super::editor::Edit;
use super::hit::Hit;
use super::template::{Copy, Seen, Template, View, settings, view};
use crate::error::OpenError;
use crate::ledger::Ledger;
use crate::open;
use crate::raw::STOPS_AT_DAMAGE;
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

/// A repair that does its work badly: the judge must say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It reads no file behind its first damage, as the store does.
    StopsAtDamage,
    /// It says nothing.
    TellsNobody,
}

/// Repairs, starts what came of it, and looks for every event. Gives whether there was anything to
/// judge.
pub(super) async fn judge_repair(
    copy: &Copy,
    template: &Template,
    edit: &Edit,
    was_harmless: bool,
    wrong: Option<Wrong>,
) -> Result<bool, String> {
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
    STOPS_AT_DAMAGE.set(wrong == Some(Wrong::StopsAtDamage));
    let repaired = catch_unwind(AssertUnwindSafe(|| repair(&copy.data(), &target, &mut tell)));
    STOPS_AT_DAMAGE.set(false);
    let repaired = match repaired.map_err(|_| "panicked".to_owned())? {
        // Which format it has is not known any more, and this version may not guess.
        Err(ToolError::Directory(OpenError::NewerFormat { .. })) => return Ok(false),
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
    let is_deaf = wrong == Some(Wrong::TellsNobody);
    let is_told = !damages.is_empty() || repaired.commits_missing > 0;
    let told = |label: &str| !is_deaf && (is_told || named.contains(label));
    let Differing { missing, other } = compare(template, &now, told)?;
    let hit = if was_harmless { Hit::default() } else { Hit::by(edit, template) };
    let missing: Vec<_> = missing.difference(&hit.payloads).collect();
    let other: Vec<_> = other.difference(&hit.any).collect();
    if missing.is_empty() && other.is_empty() {
        return Ok(true);
    }
    Err(format!(
        "not hit, and yet missing: {missing:?}, other than they were: {other:?}; damages \
         {damages:?}"
    ))
}

/// Events, by what became of them.
#[derive(Default)]
struct Differing {
    missing: BTreeSet<String>,
    other: BTreeSet<String>,
}

/// Which events are missing, and which are other than they were; none of either in silence.
fn compare(
    template: &Template,
    now: &View,
    is_told: impl Fn(&str) -> bool,
) -> Result<Differing, String> {
    let mut differing = Differing::default();
    for (key, seen) in &template.view {
        let label = crate::tools::label(&key.0, key.1);
        let those = match (seen, &now[key]) {
            (before, after) if before == after => continue,
            (Ok(Some(before)), Ok(Some(after))) if before.payload != after.payload => {
                return Err(format!("{label}: another payload"));
            }
            (Ok(Some(_)), Ok(Some(after))) => {
                consistent(key.1, after)?;
                &mut differing.other
            }
            (_, Ok(None)) => &mut differing.missing,
            (_, Ok(Some(_))) => return Err(format!("{label} was not there")),
            (_, Err(error)) => return Err(format!("{label}: {error}")),
        };
        if !is_told(&label) {
            return Err(format!("{label}: {seen:?} is {:?}, in silence", now[key]));
        }
        those.insert(label);
    }
    Ok(differing)
}

/// Owed as its status says, once or not at all.
fn consistent(event: EventId, seen: &Seen) -> Result<(), String> {
    let is_owed = matches!(seen.status, EventStatus::Pending | EventStatus::Failed);
    if seen.owed == usize::from(is_owed) { Ok(()) } else { Err(format!("{event}: {seen:?}")) }
}

/// The bytes of every file.
pub(super) fn fingerprint(copy: &Copy) -> Vec<(std::path::PathBuf, u64)> {
    let hash = |path: &std::path::PathBuf| {
        xxhash_rust::xxh3::xxh3_64(&std::fs::read(path).unwrap_or_default())
    };
    let files = super::template::files(&copy.data());
    files.into_iter().map(|path| (path.clone(), hash(&path))).collect()
}

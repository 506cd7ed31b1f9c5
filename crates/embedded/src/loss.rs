//! What is missing on disk: found at start by the journals and the witness, refused, or accepted.
//!
//! Refuses to change anything where it refuses the start. What is cut is kept beside.

use std::fs;
use std::io;

use crate::codec::CommitRow;
use crate::directory::Directory;
use crate::error::{self, OpenError};
use crate::journal::{self, Consent, Hole, Known, Scan};
use crate::open::Recovery;
use crate::raw::manifest::TableFile;
use crate::raw::{self, Flaw, Flawed};
use crate::scrub::{self, AT_START_BYTES};
use crate::settings::Settings;
use crate::tables::{COMMIT_KEY, ReadError, Table, Tables};
use crate::witness::Proof;

/// What the store writes when it has been made whole; without it, it would be made anew.
const STORE_MADE: &str = "version";
/// How long that is: three letters and a number.
const STORE_MADE_BYTES: u64 = 4;

/// Looks at the files before the store opens them: refuses where tables are damaged, or
/// acknowledged commits missing; cuts what was never acknowledged. Gives what the journals have,
/// and the table files that are still to be looked at.
///
/// All is looked at before anything is cut: where tables are damaged only a repair helps, and that
/// still reads the whole batches behind a journal's damage.
pub(crate) fn prepare(
    directory: &Directory,
    settings: &Settings,
    proof: Option<Proof>,
    recovery: &mut Recovery,
) -> Result<(Scan, Vec<TableFile>), OpenError> {
    let store = directory.store();
    let unusable = |source| OpenError::Unusable { path: store.clone(), source };
    let scan =
        if store.exists() { journal::scan(&store).map_err(unusable)? } else { Scan::default() };
    let newest = scan.newest.unwrap_or_default();
    // A first start that was cut off may leave the file without what belongs into it. Where
    // anything was ever committed, that is damage.
    let made = store.join(STORE_MADE);
    let unused = newest.number == 0 && proof.is_none_or(|proof| proof.commit == 0);
    let cut_off = unused && fs::metadata(&made).is_ok_and(|file| file.len() < STORE_MADE_BYTES);
    if cut_off || !made.exists() {
        recovery.created = true;
        return make_way(directory, settings, newest, proof).map(|()| (scan, Vec::new()));
    }
    let rest = examine(directory, !unused)?;
    let written = written(directory, !unused)?;
    if let Some(proof) = proof
        && newest.number < proof.commit
        && (scan.torn.is_some() || scan.reaches(proof.last()).number < proof.commit)
        && !settings.accept_loss
    {
        let torn = scan.torn.as_ref().map(|(torn, _)| torn.display().to_string());
        let damaged = torn.unwrap_or_else(|| format!("the journals in {}", store.display()));
        return Err(loss(directory, newest, proof, &damaged));
    }
    let known = scan.known(written, proof.map_or(0, |proof| proof.commit));
    let before = written.and_then(|written| scan.missing_before(written));
    let mut holes = Vec::new();
    for hole in before.iter().chain(&scan.holes) {
        let consent = hole.consent(known).map_err(unusable)?;
        if consent == Consent::Missing && !settings.accept_loss {
            return Err(refusal(hole, newest, directory));
        }
        holes.push((hole, consent));
    }
    for (hole, consent) in holes {
        go_on(hole, (consent, known), newest, recovery)?;
    }
    if let Some((path, whole_until)) = &scan.torn {
        let kept_in = journal::free(&path.with_extension("cut"));
        let cut = journal::cut(path, *whole_until, &kept_in).map_err(unusable)?;
        let acknowledged = proof.is_some_and(|proof| newest.number < proof.commit);
        let what = if acknowledged { "with acknowledged commits" } else { "never acknowledged" };
        recovery.notes.push(format!(
            "the end of {} was torn: cut {cut} bytes, {what} (kept in {})",
            path.display(),
            kept_in.display()
        ));
    }
    Ok((scan, rest))
}

/// Looks at the store's manifests and tables; at all of them where the last life failed. Gives the
/// table files that are still to be looked at.
fn examine(directory: &Directory, used: bool) -> Result<Vec<TableFile>, OpenError> {
    let bytes_max = if directory.unwell().exists() { u64::MAX } else { AT_START_BYTES };
    let examined = scrub::examine(&directory.store(), used, bytes_max);
    examined.map_err(|flawed| damaged(directory, flawed))
}

/// The last commit that the tables have; none where that is not known. Where the store was `used`,
/// what cannot be read of it is damage: it must not look as if commits were missing, since nobody
/// would lose any by consent to that, but what is lost later on.
fn written(directory: &Directory, used: bool) -> Result<Option<CommitRow>, OpenError> {
    match raw::written_commit(&directory.store()) {
        Err(flawed) if used => Err(damaged(directory, flawed)),
        written => Ok(written.ok().flatten()),
    }
}

/// Why a start goes no further, where a file is not what was written.
fn damaged(directory: &Directory, flawed: Flawed) -> OpenError {
    match flawed.flaw {
        Flaw::Io(source) if !error::is_damage(&source) => {
            OpenError::Unusable { path: flawed.path, source }
        }
        _ => {
            let detail = flawed.to_string();
            OpenError::Damaged { path: directory.path().to_owned(), detail }
        }
    }
}

/// As [`damaged`], where the store said it while it read. It may fail for another reason than what
/// is on the disk, for want of a descriptor or of memory: nothing is set aside for that.
pub(crate) fn unread(directory: &Directory, failed: ReadError) -> OpenError {
    use fjall::{Error, LsmError};
    let detail = failed.told();
    match failed {
        ReadError::Store {
            source: Error::Io(source) | Error::Storage(LsmError::Io(source)),
            ..
        } if !error::is_damage(&source) => OpenError::Unusable { path: directory.store(), source },
        _ => OpenError::Damaged { path: directory.path().to_owned(), detail },
    }
}

/// Makes way for a new store: there is none, or the first start was cut off in making one.
fn make_way(
    directory: &Directory,
    settings: &Settings,
    newest: CommitRow,
    proof: Option<Proof>,
) -> Result<(), OpenError> {
    let store = directory.store();
    if let Some(proof) = proof.filter(|proof| proof.commit > 0 && !settings.accept_loss) {
        let nothing = CommitRow::default();
        return Err(loss(directory, nothing, proof, &store.display().to_string()));
    }
    if newest.number > 0 {
        let detail = format!("{} is missing", store.join(STORE_MADE).display());
        return Err(OpenError::Damaged { path: directory.path().to_owned(), detail });
    }
    match fs::remove_dir_all(&store) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(OpenError::Unusable { path: store, source })
        }
        _ => Ok(()),
    }
}

/// Commits and events that are missing in a hole, where `newest` is the last commit of all.
fn missing(hole: &Hole, newest: CommitRow) -> (u64, u64) {
    let Hole { before, after, .. } = hole;
    let behind = after.unwrap_or(newest);
    let commits = behind.number.saturating_sub(before.number.saturating_add(1)).max(1);
    (commits, behind.accepted.saturating_sub(before.accepted))
}

/// Why a start goes no further, where nobody has agreed to a hole.
fn refusal(hole: &Hole, newest: CommitRow, directory: &Directory) -> OpenError {
    let (commits, events) = missing(hole, newest);
    OpenError::Loss {
        path: directory.path().to_owned(),
        commits,
        events: Some(events).filter(|events| *events > 0),
        found: hole.before.number,
        witnessed: hole.before.number.saturating_add(commits),
        damaged: hole.path.display().to_string(),
    }
}

/// Goes on without what is missing in a hole, and notes it where it is not noted yet.
fn go_on(
    hole: &Hole,
    (consent, known): (Consent, Known),
    newest: CommitRow,
    recovery: &mut Recovery,
) -> Result<(), OpenError> {
    let path = hole.path.display();
    let done = match consent {
        Consent::Given => Ok(()),
        Consent::GivenBefore => hole.note_which(known),
        Consent::Unfinished => {
            recovery.notes.push(format!("what a start began to cut from {path} is cut now"));
            hole.finish()
        }
        Consent::Missing => {
            let (commits, events) = missing(hole, newest);
            recovery.accepted_lost =
                Some(recovery.accepted_lost.unwrap_or(0).saturating_add(events));
            recovery.notes.push(format!(
                "going on without {commits} commits behind {path}, at most {events} accepted \
                 events among them"
            ));
            hole.accept(known)
        }
    };
    done.map_err(|source| OpenError::Unusable { path: hole.path.clone(), source })
}

/// The last commit on disk, which must be as new as the witness says, and the one that numbers go
/// on behind. `scan` is of the journals that the store has just read: its own words on the last
/// commit may have been written out before the rest.
pub(crate) fn last_commit(
    tables: &Tables,
    (directory, settings): (&Directory, &Settings),
    proof: Option<Proof>,
    scan: &Scan,
    recovery: &mut Recovery,
) -> Result<(CommitRow, CommitRow), OpenError> {
    let row = tables.row::<CommitRow>(Table::Meta, COMMIT_KEY);
    let row = row.map_err(|failed| unread(directory, failed))?;
    let found = scan.reaches(row.unwrap_or_default());
    let mut last = found;
    let Some(proof) = proof else {
        if last.number > 0 {
            recovery.notes.push(
                "the witness is missing: that nothing acknowledged is lost cannot be proven this \
                 time"
                    .to_owned(),
            );
        }
        return Ok((found, last));
    };
    if last.number < proof.commit {
        if !settings.accept_loss {
            return Err(loss(directory, last, proof, "the store"));
        }
        let lost = proof.accepted.saturating_sub(last.accepted);
        recovery.accepted_lost = Some(recovery.accepted_lost.unwrap_or(0).saturating_add(lost));
        recovery.notes.push(format!(
            "going on without {} acknowledged commits, {lost} accepted events among them",
            proof.commit - last.number
        ));
        // Numbers go on behind what was witnessed, or the next start would refuse again.
        last.number = proof.commit;
        last.accepted = proof.accepted;
    }
    Ok((found, last))
}

fn loss(directory: &Directory, found: CommitRow, proof: Proof, damaged: &str) -> OpenError {
    OpenError::Loss {
        path: directory.path().to_owned(),
        commits: proof.commit - found.number,
        events: Some(proof.accepted.saturating_sub(found.accepted)).filter(|events| *events > 0),
        found: found.number,
        witnessed: proof.commit,
        damaged: damaged.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use fjall::{Error, LsmError};
    use rustix::io::Errno;

    use super::*;
    use crate::codec::CodecError;
    use crate::testing::home;

    /// Numbers are read from disk, and may be any.
    #[test]
    fn any_numbers_are_counted() {
        let numbers = [0, 1, u64::MAX - 1, u64::MAX];
        let commit = |number| CommitRow { number, accepted: number, ..CommitRow::default() };
        for before in numbers {
            for after in numbers {
                let path = "1.jnl".into();
                let (before, after) = (commit(before), Some(commit(after)));
                let hole =
                    Hole { path, damaged_from: None, before, after, behind: None, gone: None };
                let (commits, events) = missing(&hole, CommitRow::default());
                let home = home();
                let directory = Directory::lock(&home.path().join("data")).unwrap();
                let refused = refusal(&hole, CommitRow::default(), &directory);
                let OpenError::Loss { witnessed, .. } = refused else { panic!("{refused}") };
                assert!(commits > 0 && events <= after.unwrap().number);
                assert!(witnessed > before.number || before.number == u64::MAX);
            }
        }
    }

    /// Only what is on the disk is damage: a cache is not set aside for want of anything else.
    #[test]
    fn what_cannot_be_read_once_it_is_open_is_not_called_damaged() {
        let home = home();
        let directory = Directory::lock(&home.path().join("data")).unwrap();
        let said = |source| unread(&directory, ReadError::Store { table: "meta", source });
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::ACCESS, Errno::LOOP] {
            for wrap in [Error::Io, |source| Error::Storage(LsmError::Io(source))] {
                let error = said(wrap(errno.into()));
                assert!(matches!(error, OpenError::Unusable { .. }), "{errno}: {error}");
                assert!(!error.is_damage(), "{errno}: {error}");
            }
        }
        for errno in [Errno::IO, Errno::NOENT] {
            let error = said(Error::Storage(LsmError::Io(errno.into())));
            assert!(matches!(error, OpenError::Damaged { .. }), "{errno}: {error}");
        }
        let rotten = ReadError::Damaged { table: "meta", source: CodecError::Fields };
        for error in [said(LsmError::InvalidTrailer.into()), unread(&directory, rotten)] {
            assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
        }
    }
}

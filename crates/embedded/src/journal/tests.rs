//! Journals that the real store wrote, and what faults make of them.

use std::fs::{self, OpenOptions};

use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use tempfile::TempDir;

use super::*;
use crate::raw;

const BATCHES: u64 = 20;
/// Nothing is known that the journals do not say.
const KNOWN: Known = Known { written: 0, last: BATCHES };

/// A store with [`BATCHES`] commits of several rows, closed.
fn store() -> TempDir {
    store_that_goes_on(0, b"")
}

/// As [`store`]; an operator goes on with that commit, as the bytes say it.
fn store_that_goes_on(with: u64, said: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::builder(folder.path()).manual_journal_persist(true).open().unwrap();
    let rows = database.keyspace("rows", KeyspaceCreateOptions::default).unwrap();
    for number in 1..=BATCHES {
        let mut batch = database.batch().durability(Some(PersistMode::SyncData));
        let commit = CommitRow { number, accepted: number * 2, ..CommitRow::default() };
        // Long values that can be compressed, and long ones that cannot.
        let noise: Vec<u8> = (0..9000_u64).flat_map(|n| mix(n + number).to_le_bytes()).collect();
        batch.insert(&rows, format!("noise-{number}"), noise);
        batch.insert(&rows, format!("zeros-{number}"), vec![0; 30_000]);
        batch.remove(&rows, format!("gone-{number}"));
        batch.remove_weak(&rows, format!("weak-{number}"));
        if number == with {
            batch.insert(&rows, ACCEPTED_LOSS_KEY, said);
        }
        batch.insert(&rows, COMMIT_KEY, codec::encode(&commit));
        batch.commit().unwrap();
    }
    drop(rows);
    drop(database);
    // Of the 64 MiB that the store sets aside a few zeros are enough, or each look takes long.
    let path = journal(&folder);
    let end = *ends(&path).last().unwrap();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(end + 100_000).unwrap();
    folder
}

const fn mix(n: u64) -> u64 {
    let z = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB)
}

fn journal(store: &TempDir) -> PathBuf {
    let mut found: Vec<_> = fs::read_dir(store.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jnl"))
        .collect();
    found.sort();
    found.pop().expect("a journal")
}

fn newest(scan: &Scan) -> u64 {
    scan.newest.map_or(0, |commit| commit.number)
}

/// Where each batch of a whole journal ends.
fn ends(path: &Path) -> Vec<u64> {
    let file = File::open(path).unwrap();
    let length = file.metadata().unwrap().len();
    let mut input = Input::new(file, length);
    let mut ends = Vec::new();
    while batch(&mut input).is_ok() {
        ends.push(input.at);
    }
    ends
}

#[test]
fn a_whole_journal_is_read_to_its_end() {
    let store = store();
    let scan = scan(store.path()).unwrap();
    assert_eq!(newest(&scan), BATCHES);
    assert_eq!((scan.torn, scan.holes), (None, Vec::new()));
    assert_eq!(scan.newest.unwrap().accepted, BATCHES * 2);
}

/// For all bytes of the last batch's head and tail, and a sample of its middle: changed there, the
/// last whole commit is the one before, the tail is torn, and once it is cut the store opens and
/// has everything but that commit. (The eight bytes of the sequence number are another test's.)
#[test]
fn a_damaged_last_batch_is_found_and_cut() {
    let store = store();
    let path = journal(&store);
    let ends = ends(&path);
    let [before, end] = ends[ends.len() - 2..] else { panic!("two batches") };
    let whole = fs::read(&path).unwrap();
    let edges = (before..before + 5).chain(before + 13..before + 60).chain(end - 80..end);
    for at in edges.chain((before..end).step_by(1999)) {
        let mut bytes = whole.clone();
        bytes[usize::try_from(at).unwrap()] ^= 0x20;
        fs::write(&path, &bytes).unwrap();
        let scan = scan(store.path()).unwrap();
        assert_eq!(newest(&scan), BATCHES - 1, "byte {at}");
        assert_eq!(scan.torn, Some((path.clone(), before)), "byte {at}");
    }
    let kept = whole.len() as u64 - before;
    assert_eq!(cut(&path, before, &path.with_extension("cut")).unwrap(), kept);
    assert_eq!(fs::metadata(path.with_extension("cut")).unwrap().len(), kept);
    let database = Database::builder(store.path()).open().unwrap();
    let rows = database.keyspace("rows", KeyspaceCreateOptions::default).unwrap();
    let commit: CommitRow = codec::decode(&rows.get(COMMIT_KEY).unwrap().unwrap()).unwrap();
    assert_eq!(commit.number, BATCHES - 1);
    assert!(rows.contains_key(format!("noise-{}", BATCHES - 1)).unwrap());
    assert!(!rows.contains_key(format!("noise-{BATCHES}")).unwrap());
}

/// For all bits of all batches' sequence numbers: damage, or nothing that changes what is read.
#[test]
fn a_damaged_sequence_number_is_found_where_it_matters() {
    let store = store();
    let path = journal(&store);
    let whole = fs::read(&path).unwrap();
    let starts: Vec<_> = [0].into_iter().chain(ends(&path)).take(3).collect();
    let mut found = 0;
    for start in starts {
        for bit in 0..64 {
            let mut bytes = whole.clone();
            bytes[usize::try_from(start).unwrap() + 5 + bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &bytes).unwrap();
            let scan = scan(store.path()).unwrap();
            assert_eq!(scan.torn.is_none(), newest(&scan) == BATCHES);
            found += usize::from(scan.torn.is_some());
        }
    }
    // All but the lowest bits, which leave the order as it is.
    assert!(found > 3 * 55, "{found} of {}", 3 * 64);
}

/// For all places at which a write can end: what follows is zeros, as in space set aside.
#[test]
fn a_torn_write_is_found() {
    let store = store();
    let path = journal(&store);
    let ends = ends(&path);
    let [before, end] = ends[ends.len() - 2..] else { panic!("two batches") };
    let whole = fs::read(&path).unwrap();
    for torn in (before..end).step_by(997).chain([before, before + 1, end - 1]) {
        let mut bytes = whole.clone();
        let (torn, end) = (usize::try_from(torn).unwrap(), usize::try_from(end).unwrap());
        bytes[torn..end].fill(0);
        fs::write(&path, &bytes).unwrap();
        let scan = scan(store.path()).unwrap();
        assert_eq!(newest(&scan), BATCHES - 1, "torn at {torn}");
        assert_eq!(scan.torn.is_some(), torn as u64 > before, "torn at {torn}");
    }
}

/// Damage in the middle: whole batches behind it do not make it whole.
#[test]
fn damage_in_the_middle_ends_what_is_proven() {
    let store = store();
    let path = journal(&store);
    let ends = ends(&path);
    let mut bytes = fs::read(&path).unwrap();
    let middle = usize::try_from(ends[9]).unwrap() + 40;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let scan = scan(store.path()).unwrap();
    assert_eq!(newest(&scan), 10);
    assert_eq!(scan.torn, Some((path, ends[9])));
}

/// A journal before the active one is whole and followed by the next commit, or has a hole.
#[test]
fn a_sealed_journal_is_whole_or_has_a_hole() {
    let store = store();
    let path = journal(&store);
    let bytes = fs::read(&path).unwrap();
    let ends: Vec<_> = ends(&path).iter().map(|end| usize::try_from(*end).unwrap()).collect();
    let later = path.with_file_name("1.jnl");
    let look = |sealed: &[u8], active: &[u8]| {
        fs::write(&path, sealed).unwrap();
        fs::write(&later, active).unwrap();
        let scan = scan(store.path()).unwrap();
        assert_eq!((newest(&scan), scan.torn), (BATCHES, None));
        scan.holes
            .into_iter()
            .map(|hole| {
                assert_eq!(hole.path, path);
                let after = hole.after.map(|after| after.number);
                (hole.damaged_from, hole.before.number, after)
            })
            .collect::<Vec<_>>()
    };
    let (sealed, active) = bytes.split_at(ends[9]);
    assert_eq!(look(sealed, active), []);
    // Damaged in its sixth batch; cut at its end; followed by nothing that could be known.
    let mut damaged = sealed.to_vec();
    damaged[ends[4] + 50] ^= 1;
    assert_eq!(look(&damaged, active), [(Some(ends[4] as u64), 5, Some(11))]);
    assert_eq!(look(&sealed[..ends[7]], active), [(None, 8, Some(11))]);
}

/// What an operator goes on without is no hole, where the commit that goes on is the first one of
/// its journal; what is lost before it later on is one. An earlier version did not say behind which
/// commit it goes on: there it cannot be told.
#[test]
fn an_accepted_loss_is_no_hole() {
    let behind = CommitRow { number: 8, ..CommitRow::default() };
    for (said, is_known) in [(codec::encode(&behind), true), (Vec::new(), false)] {
        let store = store_that_goes_on(13, &said);
        let path = journal(&store);
        let bytes = fs::read(&path).unwrap();
        let ends: Vec<_> = ends(&path).iter().map(|end| usize::try_from(*end).unwrap()).collect();
        fs::write(path.with_file_name("1.jnl"), &bytes[ends[11]..]).unwrap();
        for (commits, is_hole) in [(8, false), (9, false), (7, is_known), (1, is_known)] {
            fs::write(&path, &bytes[..ends[commits - 1]]).unwrap();
            let scan = scan(store.path()).unwrap();
            assert_eq!(scan.holes.len(), usize::from(is_hole), "{commits}: {:?}", scan.holes);
        }
        fs::remove_file(&path).unwrap();
        let scan = scan(store.path()).unwrap();
        for (written, is_hole) in [(8, false), (12, false), (20, false), (7, is_known)] {
            let written = CommitRow { number: written, ..CommitRow::default() };
            assert_eq!(scan.missing_before(written).is_some(), is_hole, "{}", written.number);
        }
    }
}

/// What was kept is never written over: another tail of the same journal is kept beside it.
#[test]
fn what_was_cut_once_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("7.jnl");
    let tails = [b"one".to_vec(), vec![0; 200_000], [&[0; 70_000][..], b"three"].concat()];
    for tail in &tails {
        fs::write(&path, [b"whole", &tail[..]].concat()).unwrap();
        let name = free(&path.with_extension("cut"));
        assert_eq!(cut(&path, 5, &name).unwrap(), tail.len() as u64);
        assert_eq!(fs::read(&path).unwrap(), b"whole");
    }
    for (name, tail) in ["7.cut", "7.cut-2", "7.cut-3"].into_iter().zip(&tails) {
        assert!(fs::read(folder.path().join(name)).unwrap() == *tail, "{name}");
    }
    fs::write(&path, b"whole and more").unwrap();
    let refused = cut(&path, 5, &path.with_extension("cut")).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&path).unwrap(), b"whole and more");
}

/// Consent to one damage of a journal is none to another one; where the cut was not made, it is
/// made now.
#[test]
fn consent_is_to_what_was_lost_then() {
    let store = store();
    let path = journal(&store);
    let bytes = fs::read(&path).unwrap();
    let ends: Vec<_> = ends(&path).iter().map(|end| usize::try_from(*end).unwrap()).collect();
    fs::write(path.with_file_name("1.jnl"), &bytes[ends[9]..]).unwrap();
    let hole = |damaged: usize| {
        let mut sealed = bytes[..ends[9]].to_vec();
        sealed[damaged] ^= 1;
        fs::write(&path, sealed).unwrap();
        only_hole(&store)
    };
    let first = hole(ends[7] + 50);
    assert_eq!(first.consent(KNOWN).unwrap(), Consent::Missing);
    first.accept(KNOWN).unwrap();
    assert_eq!(only_hole(&store).consent(KNOWN).unwrap(), Consent::Given);
    // As if the power had gone between the note and the cut.
    let again = hole(ends[7] + 50);
    assert_eq!(again.consent(KNOWN).unwrap(), Consent::Unfinished);
    again.finish().unwrap();
    assert_eq!(only_hole(&store).consent(KNOWN).unwrap(), Consent::Given);
    // A note that was not written whole by an earlier version, and damage of another kind.
    fs::write(path.with_extension("lost"), &bytes[ends[7]..ends[8]]).unwrap();
    assert_eq!(hole(ends[7] + 50).consent(KNOWN).unwrap(), Consent::Missing);
    let other = hole(ends[3] + 50);
    assert_eq!(other.consent(KNOWN).unwrap(), Consent::Missing);
    other.accept(KNOWN).unwrap();
    assert_eq!(only_hole(&store).consent(KNOWN).unwrap(), Consent::Given);
    assert_eq!(fs::read(path.with_extension("lost")).unwrap(), bytes[ends[7]..ends[8]]);
    assert!(path.with_extension("lost-2").exists());
    // Where the power went before the second cut, too.
    assert_eq!(hole(ends[3] + 50).consent(KNOWN).unwrap(), Consent::Unfinished);
}

/// Where a journal is gone, an earlier version noted consent by the name of the one before it; that
/// still counts. A note with bytes in it is of damage in that one.
#[test]
fn consent_by_an_earlier_version_counts() {
    let store = store();
    let path = journal(&store);
    let bytes = fs::read(&path).unwrap();
    let ends: Vec<_> = ends(&path).iter().map(|end| usize::try_from(*end).unwrap()).collect();
    fs::write(path.with_file_name("2.jnl"), &bytes[ends[9]..]).unwrap();
    fs::write(&path, &bytes[..ends[5]]).unwrap();
    assert_eq!(only_hole(&store).path, path.with_file_name("1.jnl"));
    for (note, consent) in [(None, Consent::Missing), (Some(&b""[..]), Consent::GivenBefore)] {
        if let Some(note) = note {
            fs::write(path.with_extension("lost"), note).unwrap();
        }
        assert_eq!(only_hole(&store).consent(KNOWN).unwrap(), consent);
    }
    // Once the one before it is removed, too.
    fs::remove_file(&path).unwrap();
    let five = CommitRow { number: 5, ..CommitRow::default() };
    let hole = scan(store.path()).unwrap().missing_before(five).unwrap();
    assert_eq!(hole.consent(KNOWN).unwrap(), Consent::GivenBefore);
    // From the first start of this version on it is noted for which commits.
    hole.note_which(KNOWN).unwrap();
    assert_eq!(hole.consent(KNOWN).unwrap(), Consent::Given);
    let four = CommitRow { number: 4, ..CommitRow::default() };
    let wider = scan(store.path()).unwrap().missing_before(four).unwrap();
    assert_eq!(wider.consent(KNOWN).unwrap(), Consent::Missing);
    fs::remove_file(path.with_file_name("1.lost")).unwrap();
    fs::write(&path, &bytes[..ends[5]]).unwrap();
    fs::write(path.with_extension("lost"), b"what was cut").unwrap();
    assert_eq!(only_hole(&store).consent(KNOWN).unwrap(), Consent::Missing);
    only_hole(&store).accept(KNOWN).unwrap();
    assert_eq!(only_hole(&store).consent(KNOWN).unwrap(), Consent::Given);
}

/// A journal is damaged and the next one is gone: one consent, though only the gap is left to be
/// seen behind the cut.
#[test]
fn consent_to_damage_is_to_the_gap_behind_it() {
    let store = store();
    let path = journal(&store);
    let mut bytes = fs::read(&path).unwrap();
    let ends: Vec<_> = ends(&path).iter().map(|end| usize::try_from(*end).unwrap()).collect();
    fs::write(path.with_file_name("3.jnl"), &bytes[ends[9]..]).unwrap();
    bytes[ends[3] + 50] ^= 1;
    fs::write(&path, &bytes[..ends[5]]).unwrap();
    let hole = only_hole(&store);
    assert_eq!((&hole.path, hole.consent(KNOWN).unwrap()), (&path, Consent::Missing));
    hole.accept(KNOWN).unwrap();
    let hole = only_hole(&store);
    assert_eq!(hole.path, path.with_file_name("2.jnl"));
    assert_eq!(hole.consent(KNOWN).unwrap(), Consent::Given);
}

/// The consent to what is missing before the oldest journal, where tables have commits up to that
/// number.
fn consent_before(store: &TempDir, written: u64) -> (PathBuf, Consent) {
    let written = CommitRow { number: written, ..CommitRow::default() };
    let hole = scan(store.path()).unwrap().missing_before(written).unwrap();
    let consent = hole.consent(KNOWN).unwrap();
    (hole.path, consent)
}

/// Consent to the loss of a journal, or of its end, is none to the later loss of the next one.
#[test]
fn consent_to_one_journal_is_none_to_the_next() {
    let store = store();
    let path = journal(&store);
    let bytes = fs::read(&path).unwrap();
    let ends: Vec<_> = ends(&path).iter().map(|end| usize::try_from(*end).unwrap()).collect();
    let [one, two, three] = [1, 2, 3].map(|n| numbered(&path, n));
    fs::write(&three, &bytes[ends[14]..]).unwrap();
    // The end of a journal, and then the next one.
    fs::write(&one, &bytes[ends[9]..ends[14]]).unwrap();
    fs::write(&path, &bytes[..ends[7]]).unwrap();
    only_hole(&store).accept(KNOWN).unwrap();
    assert_eq!(only_hole(&store).consent(KNOWN).unwrap(), Consent::Given);
    fs::remove_file(&one).unwrap();
    fs::rename(&three, &two).unwrap();
    assert_eq!(only_hole(&store).path, one);
    assert_eq!(only_hole(&store).consent(KNOWN).unwrap(), Consent::Missing);
    // The one before the oldest, and then that.
    fs::remove_file(&path).unwrap();
    fs::rename(&two, &three).unwrap();
    fs::write(&two, &bytes[ends[9]..ends[14]]).unwrap();
    assert_eq!(consent_before(&store, 5), (one, Consent::Missing));
    let five = CommitRow { number: 5, ..CommitRow::default() };
    scan(store.path()).unwrap().missing_before(five).unwrap().accept(KNOWN).unwrap();
    for (written, consent) in [(5, Consent::Given), (9, Consent::Given), (4, Consent::Missing)] {
        assert_eq!(consent_before(&store, written).1, consent, "{written}");
    }
    fs::remove_file(&two).unwrap();
    assert_eq!(consent_before(&store, 12), (two, Consent::Missing));
}

/// Consent to the loss of a journal's end is none to the loss of more of it: damaged, or at the end
/// of a batch.
#[test]
fn consent_to_a_journals_end_is_none_to_more_of_it() {
    for is_damaged in [false, true] {
        let store = store();
        let path = journal(&store);
        let bytes = fs::read(&path).unwrap();
        let ends: Vec<_> = ends(&path).iter().map(|end| usize::try_from(*end).unwrap()).collect();
        let one = numbered(&path, 1);
        fs::write(numbered(&path, 2), &bytes[ends[9]..]).unwrap();
        fs::remove_file(&path).unwrap();
        let mut sealed = bytes[..ends[if is_damaged { 9 } else { 7 }]].to_vec();
        if is_damaged {
            sealed[ends[7] + 50] ^= 1;
        }
        fs::write(&one, sealed).unwrap();
        only_hole(&store).accept(KNOWN).unwrap();
        assert_eq!(only_hole(&store).consent(KNOWN).unwrap(), Consent::Given);
        fs::write(&one, &bytes[..ends[4]]).unwrap();
        assert_eq!(only_hole(&store).consent(KNOWN).unwrap(), Consent::Missing);
        fs::remove_file(&one).unwrap();
        assert_eq!(consent_before(&store, 8), (one.clone(), Consent::Given));
        assert_eq!(consent_before(&store, 5), (one.clone(), Consent::Missing));
        // A note that does not say any more what it said is for nothing.
        let note = one.with_extension("lost");
        let mut said = fs::read(&note).unwrap();
        let last = said.len() - 10;
        said[last] ^= 1;
        fs::write(&note, said).unwrap();
        assert_eq!(consent_before(&store, 8), (one, Consent::Missing));
    }
}

/// A journal of which nothing is left stays, empty, as long as the store keeps it: consent stands
/// once the one before it is removed, and covers nothing that was in that one.
#[test]
fn consent_to_a_whole_journal_outlives_the_one_before_it() {
    let store = store();
    let path = journal(&store);
    let bytes = fs::read(&path).unwrap();
    let ends: Vec<_> = ends(&path).iter().map(|end| usize::try_from(*end).unwrap()).collect();
    let [one, two] = [1, 2].map(|n| numbered(&path, n));
    fs::write(&path, &bytes[..ends[4]]).unwrap();
    let mut sealed = bytes[ends[4]..ends[9]].to_vec();
    sealed[40] ^= 1;
    fs::write(&one, sealed).unwrap();
    // The active one is empty as yet: what goes on comes later.
    fs::write(&two, b"").unwrap();
    let known = Known { written: 0, last: 10 };
    only_hole(&store).accept(known).unwrap();
    assert_eq!(only_hole(&store).consent(known).unwrap(), Consent::Given);
    fs::write(&two, &bytes[ends[9]..]).unwrap();
    assert_eq!(only_hole(&store).consent(KNOWN).unwrap(), Consent::Given);
    fs::remove_file(&path).unwrap();
    for (written, consent) in [(5, Consent::Given), (3, Consent::Missing)] {
        let known = Known { written, last: BATCHES };
        assert_eq!(only_hole(&store).consent(known).unwrap(), consent, "{written}");
    }
}

fn only_hole(store: &TempDir) -> Hole {
    let mut holes = scan(store.path()).unwrap().holes;
    assert_eq!(holes.len(), 1, "{holes:?}");
    holes.remove(0)
}

/// The commits that are replayed from the journals, each with the number that its batch counts by.
fn replayed(store: &TempDir) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    replay_all(store.path(), &mut |written| {
        if written.item.key == COMMIT_KEY {
            let commit: CommitRow = codec::decode(&written.item.value.unwrap()).unwrap();
            found.push((commit.number, written.item.seqno));
        }
    })
    .unwrap();
    found
}

/// What is replayed lacks the batch that is damaged, and no other: not the next one either, where
/// the end before it is what is damaged.
#[test]
fn only_what_is_damaged_is_not_replayed() {
    let store = store();
    let path = journal(&store);
    let whole = fs::read(&path).unwrap();
    let ends: Vec<_> = ends(&path).iter().map(|end| usize::try_from(*end).unwrap()).collect();
    let before = replayed(&store);
    assert_eq!(before.len() as u64, BATCHES);
    let without: Vec<_> = before.iter().copied().filter(|(number, _)| *number != 9).collect();
    let tail = ends[8] - 12..ends[8];
    for range in tail.map(|at| at..at + 1).chain([ends[7]..ends[8], ends[7] + 9..ends[8] - 2]) {
        let mut bytes = whole.clone();
        bytes[range.clone()].iter_mut().for_each(|byte| *byte ^= 0x20);
        fs::write(&path, &bytes).unwrap();
        assert_eq!(replayed(&store), without, "{range:?}");
        bytes[range].fill(0);
        fs::write(&path, &bytes).unwrap();
        assert!(replayed(&store).iter().all(|commit| before.contains(commit)));
        assert!(replayed(&store).len() >= without.len());
    }
}

/// A batch that stands a second time, in the wrong place, does not count as a later one.
#[test]
fn a_batch_that_stands_twice_counts_once() {
    let store = store();
    let path = journal(&store);
    let bytes = fs::read(&path).unwrap();
    let ends: Vec<_> = ends(&path).iter().map(|end| usize::try_from(*end).unwrap()).collect();
    let before = replayed(&store);
    for (batch, behind) in [(ends[1]..ends[2], ends[11]), (ends[11]..ends[12], ends[1])] {
        let twice = [&bytes[..behind], &bytes[batch], &bytes[behind..]].concat();
        fs::write(&path, twice).unwrap();
        let mut now = replayed(&store);
        now.sort_unstable();
        now.dedup();
        assert_eq!(now, before);
    }
}

/// A batch that stands in the place of another one, too: the other one's commit is missing.
#[test]
fn a_commit_that_another_one_overwrote_is_missing() {
    let store = store();
    let path = journal(&store);
    let bytes = fs::read(&path).unwrap();
    let ends: Vec<_> = ends(&path).iter().map(|end| usize::try_from(*end).unwrap()).collect();
    let missing = || {
        let told = raw::Told::nobody();
        raw::RawStore::open(store.path(), &told).unwrap().commits_missing(BATCHES)
    };
    assert_eq!(missing(), 0);
    for overwritten in [7, 15] {
        let (before, behind) = (&bytes[..ends[overwritten]], &bytes[ends[overwritten + 1]..]);
        fs::write(&path, [before, &bytes[ends[1]..ends[2]], behind].concat()).unwrap();
        assert_eq!(missing(), 1, "{overwritten}");
    }
}

/// For random bytes in place of a journal: an answer, never a panic, never a huge allocation.
#[test]
fn any_bytes_are_survived() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("1.jnl");
    for seed in 0..300 {
        let mut bytes: Vec<u8> =
            (0..400).flat_map(|n| mix(seed * 1000 + n).to_le_bytes()).collect();
        // A lawful beginning leads further in.
        bytes[..5].copy_from_slice(&[START, 3, 0, 0, 0]);
        bytes[13] = ITEM;
        fs::write(&path, &bytes).unwrap();
        let scan = scan(folder.path()).unwrap();
        assert_eq!((newest(&scan), scan.torn), (0, Some((path.clone(), 0))));
    }
}

/// A journal that the store has removed is kept open until the next look, and no longer; one that
/// is new is held from the next look on.
#[test]
fn journals_are_held_until_they_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |number: u64| folder.path().join(format!("{number}.jnl"));
    let mut journals = HeldJournals::new(folder.path().to_owned());
    let held = |journals: &HeldJournals| {
        journals.held.iter().map(|(number, _)| *number).collect::<Vec<_>>()
    };
    journals.look().unwrap();
    assert_eq!(held(&journals), [0; 0]);
    (9..=11).for_each(|number| fs::write(path(number), "bytes").unwrap());
    fs::write(folder.path().join("tables"), "no journal").unwrap();
    journals.look().unwrap();
    assert_eq!(held(&journals), [9, 10, 11]);
    fs::remove_file(path(9)).unwrap();
    let mut kept = String::new();
    (&journals.held[0].1).read_to_string(&mut kept).unwrap();
    assert_eq!(kept, "bytes", "still there for who holds it");
    fs::write(path(12), "bytes").unwrap();
    journals.look().unwrap();
    assert_eq!(held(&journals), [10, 11, 12]);
}

/// The active journal is followed however many were filled and removed since the last look, and
/// missed when it is removed itself.
#[test]
fn the_active_journal_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |number: u64| folder.path().join(format!("{number}.jnl"));
    fs::write(path(3), "bytes").unwrap();
    let mut active = ActiveJournal::find(folder.path()).unwrap();
    assert!(active.is_there());
    fs::write(path(4), "bytes").unwrap();
    fs::remove_file(path(3)).unwrap();
    assert!(active.is_there() && active.path() == path(4));
    fs::write(path(7), "bytes").unwrap();
    fs::remove_file(path(4)).unwrap();
    assert!(active.is_there() && active.path() == path(7));
    fs::write(path(2), "an older one").unwrap();
    fs::remove_file(path(7)).unwrap();
    assert!(!active.is_there(), "that is not where we write");
}

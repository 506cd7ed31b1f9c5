//! What reads files that are nobody's to trust, for the fuzz targets: no part of the crate's
//! surface, and there only with the feature `fuzzing`.

use std::io;
use std::path::{Path, PathBuf};

use posthaste_domain::DeliveryKey;
use xxhash_rust::xxh3::xxh3_64;

use crate::codec::{self, CommitRow};
use crate::register::{self, AttemptRegister};
use crate::tables::COMMIT_KEY;
use crate::witness::{Proof, Witness};
use crate::{journal, keys};

/// What each reader of keys makes of these bytes, written again: each must be how they begin.
#[must_use]
pub fn keys_again(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let kind = &bytes[..bytes.len().min(1)];
    let timer = keys::parse_timer(bytes).map(|(due, key)| keys::timer(due, &key));
    let job_timer = keys::parse_job_timer(bytes)
        .map(|(due, key)| [kind, &keys::time(due)[..], &keys::job(&key)[..]].concat());
    let outbox = keys::parse_outbox(bytes).map(|(key, place)| keys::outbox(&key, place));
    let cut_off = keys::parse_cut_off(bytes).map(|(at, key, place)| keys::cut_off(at, &key, place));
    let fresh =
        keys::parse_fresh(bytes).map(|key| keys::fresh(&key.tenant, key.endpoint, key.event));
    let mark = keys::parse_mark(bytes)
        .map(|(tenant, event)| keys::mark(kind.first().copied().unwrap_or(0), &tenant, event));
    let event = keys::parse_event(bytes).map(|(tenant, event)| keys::event(&tenant, event));
    let named = [
        ("timer", timer),
        ("job timer", job_timer),
        ("outbox", outbox),
        ("cut off", cut_off),
        ("fresh", fresh),
        ("mark", mark),
        ("event", event),
    ];
    named.into_iter().filter_map(|(name, again)| Some((name, again?))).collect()
}

/// What the journals of a directory say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// The newest whole commit's number.
    pub newest: Option<u64>,
    /// The active journal where it is torn, and how much of it is whole.
    pub torn: Option<(PathBuf, u64)>,
    /// Holes before the active journal.
    pub holes: usize,
}

/// Looks at the journals of a directory as a start does.
///
/// # Errors
/// The operating system's.
pub fn scan(directory: &Path) -> io::Result<Scanned> {
    let scan = journal::scan(directory)?;
    let newest = scan.newest.map(|commit| commit.number);
    Ok(Scanned { newest, torn: scan.torn, holes: scan.holes.len() })
}

/// Cuts a journal behind what is whole, as a start does.
///
/// # Errors
/// The operating system's.
pub fn cut(journal: &Path, whole_until: u64, kept_in: &Path) -> io::Result<u64> {
    journal::cut(journal, whole_until, kept_in)
}

/// A whole batch of a journal: an item of this value, and our commit of this number.
#[must_use]
pub fn batch(seqno: u64, commit: u64, value: &[u8]) -> Vec<u8> {
    let row = codec::encode(&CommitRow { number: commit, ..CommitRow::default() });
    let items = [item(b"k", value), item(COMMIT_KEY, &row)].concat();
    let mut batch = vec![1];
    batch.extend_from_slice(&2_u32.to_le_bytes());
    batch.extend_from_slice(&seqno.to_le_bytes());
    batch.extend_from_slice(&items);
    batch.push(3);
    batch.extend_from_slice(&xxh3_64(&items).to_le_bytes());
    batch.extend_from_slice(b"FJL\x03");
    batch
}

fn item(key: &[u8], value: &[u8]) -> Vec<u8> {
    let length = u32::try_from(value.len()).unwrap_or(0).to_le_bytes();
    let key_length = u16::try_from(key.len()).unwrap_or(0).to_le_bytes();
    // Type, compression, keyspace, key length, length, stored length.
    [&[2, 0, 0], &[0; 8][..], &key_length, &length, &length, key, value].concat()
}

/// What a witness proves: a commit, and how many events were accepted up to it.
///
/// # Errors
/// The operating system's.
pub fn witnessed(path: &Path) -> io::Result<Option<(u64, u64)>> {
    let (_, proof) = Witness::open(path)?;
    Ok(proof.map(|proof| (proof.commit, proof.accepted)))
}

/// Writes a proof as the keeper does.
///
/// # Errors
/// The operating system's.
pub fn witness(path: &Path, commit: u64, accepted: u64) -> io::Result<()> {
    Witness::open(path)?.0.write(Proof { commit, accepted })
}

/// What a register says was in flight: delivery, round, number.
///
/// # Errors
/// The operating system's.
pub fn cut_off(path: &Path) -> io::Result<Vec<(DeliveryKey, u32, u32)>> {
    let found = register::read(path)?;
    Ok(found.into_iter().map(|cut_off| (cut_off.key, cut_off.round, cut_off.number)).collect())
}

/// A fresh register.
///
/// # Errors
/// The operating system's.
pub fn new_register(path: &Path, slots: usize) -> io::Result<AttemptRegister> {
    AttemptRegister::create(path, slots)
}

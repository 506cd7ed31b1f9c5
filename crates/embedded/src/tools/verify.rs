//! Whether everything in a data directory is what was written, and agrees.

use std::collections::BTreeMap;
use std::path::Path;

use posthaste_domain::EventStatus;

use super::events::{Events, Part, foreign, part};
use super::index::{Expected, INDEXES, claim_entry, claim_label, entries};
use super::registry::Registry;
use super::{ToolError, jobs, read_store, unreadable};
use crate::codec::{self, ClaimRow, CommitRow, EventRow, IdentityRow, Standing};
use crate::damage::{Damage, Kind};
use crate::directory::Directory;
use crate::error::OpenError;
use crate::journal::{self, Consent, Scan};
use crate::raw::{self, RawStore, Told};
use crate::tables::{ACCEPTED_LOSS_KEY, COMMIT_KEY, IDENTITY_KEY, SEAL_KEY, TIDE_KEY, Table};
use crate::witness::{Proof, Slot, Witness};

/// How people name the row that every commit writes.
const LAST: &str = "the last commit";

/// What a directory holds, as far as it is whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// The last commit that is there.
    pub commit: u64,
    /// The last commit of which all is there.
    pub reached: u64,
    /// Acknowledged commits of which nothing is left, as far as it is known.
    pub commits_missing: u64,
    /// Events whose tenant is missing, each of which is a damage.
    pub without_tenant: u64,
    /// Events that were accepted since the directory was made, as far as it is known.
    pub accepted: u64,
    /// The last commit that is proven to have been acknowledged.
    pub witnessed: Option<u64>,
    /// Whole events, by where they stand: a retry that is due counts as FAILED.
    pub events: BTreeMap<&'static str, u64>,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
    /// Tenants.
    pub tenants: u64,
    /// API keys.
    pub keys: u64,
    /// Idempotency claims.
    pub claims: u64,
    /// Jobs of AWS mode.
    pub jobs: u64,
    /// Files of tables.
    pub files: u64,
    /// Damages that were told.
    pub damages: u64,
    /// What is no damage, but worth a word.
    pub notes: Vec<String>,
}

/// Looks at everything in the data directory `dir`, and tells of each damage. Writes nothing.
///
/// # Errors
/// [`ToolError`] where it is in use, or no data directory.
pub fn verify(dir: &Path, tell: &mut dyn FnMut(Damage)) -> Result<Verified, ToolError> {
    let directory = Directory::lock_to_read(dir)?;
    let told = Told::new(dir, tell);
    format(&directory, &told)?;
    examine(&directory, &told).map(|(verified, _)| verified)
}

/// As [`verify`], of a directory that is locked and has a known format; gives its store too.
pub(crate) fn examine(
    directory: &Directory,
    told: &Told<'_>,
) -> Result<(Verified, RawStore), ToolError> {
    let mut verified = Verified::default();
    let proof = witness(directory, told)?;
    verified.witnessed = proof.map(|proof| proof.commit);
    let before = told.total();
    let scan = journals(directory, proof, &mut verified.notes, told)?;
    let journals_are_whole = told.total() == before;
    let store = read_store(directory, told)?;
    verified.files = store.files() as u64;
    let last = meta(&store, &scan, proof, told);
    if !journals_are_whole {
        verified.commits_missing = store.commits_missing(proof.map_or(0, |proof| proof.commit));
    }
    (verified.commit, verified.reached) = (last.number, scan.reaches(last).number);
    verified.accepted = last.accepted.max(proof.map_or(0, |proof| proof.accepted));
    let registry = Registry::read(directory, &store, told);
    (verified.tenants, verified.keys) = (registry.tenants(), registry.keys);
    let mut expected = Expected::default();
    events(&store, &registry, &mut expected, &mut verified, told);
    claims(&store, &mut expected, &mut verified, told);
    expected.compare(&INDEXES, &store, told);
    expected.name_missing(&store, told, |tenant| registry.shard_key(tenant));
    verified.jobs = jobs::verify(&store, told);
    verified.damages = told.total();
    Ok((verified, store))
}

/// Looks whether this version can read the directory. A newer format is refused: what it has is
/// not known here.
pub(crate) fn format(directory: &Directory, told: &Told<'_>) -> Result<(), ToolError> {
    let name = directory.path().join("FORMAT");
    match directory.format_is_missing() {
        Ok(false) => {}
        Ok(true) => told.file(Kind::Manifest, &name, "missing"),
        Err(OpenError::UnknownFormat { found, .. }) => {
            let what = format!("it does not hold a format's number, but {found:?}");
            told.file(Kind::Manifest, &name, what);
        }
        Err(OpenError::Unusable { source, .. }) => {
            told.file(Kind::Manifest, &name, source.to_string());
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// What the witness proves; tells of a slot that is not what was written.
pub(crate) fn witness(directory: &Directory, told: &Told<'_>) -> Result<Option<Proof>, ToolError> {
    let path = directory.witness();
    let slots = match Witness::slots(&path) {
        Ok(slots) => slots,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            told.file(Kind::Witness, &path, "missing: that nothing is lost cannot be proven");
            return Ok(None);
        }
        Err(error) => return Err(unreadable(&path)(error)),
    };
    for (n, slot) in slots.iter().enumerate() {
        if *slot == Slot::Damaged {
            told.file(Kind::Witness, &path, format!("slot {n} is torn or damaged"));
        }
    }
    Ok(Witness::newest(&slots))
}

/// Looks at the journals, and at what they should have.
pub(crate) fn journals(
    directory: &Directory,
    proof: Option<Proof>,
    notes: &mut Vec<String>,
    told: &Told<'_>,
) -> Result<Scan, ToolError> {
    let store = directory.store();
    let scan = match journal::scan(&store) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            told.file(Kind::Journal, &store, "missing");
            return Ok(Scan::default());
        }
        scan => scan.map_err(unreadable(&store))?,
    };
    if scan.journals == 0 {
        told.file(Kind::Journal, &store, "there is no journal");
    }
    let written = raw::written_commit(&store).ok().flatten();
    let before = written.and_then(|written| scan.missing_before(written));
    let known = scan.known(written, proof.map_or(0, |proof| proof.commit));
    for hole in before.iter().chain(&scan.holes) {
        if hole.consent(known).map_err(unreadable(&hole.path))? != Consent::Missing {
            continue;
        }
        let from = hole.damaged_from.map_or_else(String::new, |from| format!(" from byte {from}"));
        let (before, after) = (hole.before.number, hole.after.map(|after| after.number));
        let until = after.map_or_else(String::new, |after| format!(" and before commit {after}"));
        let what = format!("damaged{from}: commits behind {before}{until} are missing");
        told.file(Kind::Journal, &hole.path, what);
    }
    let newest = scan.newest.unwrap_or_default().number;
    let missing = proof.is_some_and(|proof| newest < proof.commit);
    if let Some((path, whole_until)) = &scan.torn {
        if missing || proof.is_none() {
            told.file(Kind::Journal, path, format!("damaged from byte {whole_until} on"));
        } else {
            let path = path.display();
            notes.push(format!("the end of {path} is torn; it was never acknowledged"));
        }
    }
    Ok(scan)
}

/// Looks at what is said of the whole; gives the last commit.
pub(crate) fn meta(
    store: &RawStore,
    scan: &Scan,
    proof: Option<Proof>,
    told: &Told<'_>,
) -> CommitRow {
    let mut last = CommitRow::default();
    let mut is_known = false;
    for (key, value) in store.rows(Table::Meta, told) {
        match &*key {
            COMMIT_KEY => {
                let row = codec::decode::<CommitRow>(&value);
                if let Part::Whole(row) = part(row, told, Table::Meta, LAST) {
                    (last, is_known) = (row, true);
                }
            }
            IDENTITY_KEY => {
                part(codec::decode::<IdentityRow>(&value), told, Table::Meta, "the identity");
            }
            SEAL_KEY => {
                part(codec::unframe(&value).map(|_| ()), told, Table::Meta, "which key seals");
            }
            ACCEPTED_LOSS_KEY | TIDE_KEY => {}
            _ => foreign(told, Table::Meta, &key),
        }
    }
    if let Some(proof) = proof.filter(|proof| !is_known && proof.commit > 0) {
        told.row(Kind::Reference, Table::Meta, LAST.to_owned(), "missing");
        last = proof.last();
    }
    let reached = scan.reaches(last).number;
    if let Some(proof) = proof.filter(|proof| reached < proof.commit) {
        let what = format!(
            "a start would end with commit {reached}, and commit {} was acknowledged",
            proof.commit
        );
        told.tell(Damage { kind: Kind::Journal, place: "ledger".into(), key: None, what });
    }
    last
}

fn events(
    store: &RawStore,
    registry: &Registry,
    expected: &mut Expected,
    verified: &mut Verified,
    told: &Told<'_>,
) {
    for gathered in Events::new(store, told) {
        let tell = |table, what: &str| {
            told.row(Kind::Reference, table, gathered.label(), what);
        };
        if let Some(row) = gathered.row.whole() {
            let named = (&gathered.tenant, gathered.event);
            let shard_key = registry.shard_key(&gathered.tenant);
            for entry in entries(named, row, shard_key, gathered.layout) {
                expected.expect(&entry);
            }
            if gathered.payload == Part::Missing {
                tell(Table::Payloads, "missing, though there is a row");
            }
            if (0..row.logged).any(|n| !gathered.log.contains_key(&n)) {
                tell(Table::Log, "a line is missing");
            }
            if !registry.knows(&gathered.tenant) {
                tell(Table::Tenants, "its tenant is missing");
                verified.without_tenant += 1;
            }
        }
        if gathered.row == Part::Missing {
            tell(Table::Rows, "missing, though there is a payload or a log");
        }
        if let (Some(row), Some(payload)) = (gathered.row.whole(), gathered.payload.whole()) {
            *verified.events.entry(status(row).as_str()).or_default() += 1;
            verified.payload_bytes += payload.len() as u64;
        }
    }
}

/// Where an event stands, without a clock.
pub(crate) const fn status(row: &EventRow) -> EventStatus {
    match row.standing {
        Standing::Fresh => EventStatus::Pending,
        Standing::Timer { .. } => EventStatus::Failed,
        Standing::Delivered { .. } => EventStatus::Delivered,
        Standing::Dead { .. } => EventStatus::Dlq,
        Standing::Purged { .. } => EventStatus::Purged,
    }
}

fn claims(store: &RawStore, expected: &mut Expected, verified: &mut Verified, told: &Told<'_>) {
    for (key, value) in store.rows(Table::Claims, told) {
        if *key == *TIDE_KEY {
            continue;
        }
        let claim = codec::decode::<ClaimRow>(&value);
        if let Part::Whole(claim) = part(claim, told, Table::Claims, &claim_label(&key)) {
            expected.expect(&claim_entry(&key, &claim));
            verified.claims += 1;
        }
    }
}

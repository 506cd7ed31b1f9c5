//! What a start finds in the data directory, whoever wrote it.

use std::cell::RefCell;
use std::fs;
use std::path::Path;

use posthaste_domain::{DeliveryKey, EndpointId, EventId, TenantId};
use posthaste_embedded::codec::{
    ClaimRow, CodecError, CommitRow, Decodable, Encodable, EventRow, FreshRow, IdentityRow, JobRow,
    KeyRow, LogRow, TenantRow, TimerRow, decode, encode, frame, unframe,
};
use posthaste_embedded::fuzzing;
use tempfile::TempDir;

use crate::input::Input;

/// Whatever reads records: the control has one that reads too much.
pub(crate) trait Reader {
    /// The record that bytes are.
    fn decode<R: Decodable>(bytes: &[u8]) -> Result<R, CodecError>;
}

/// The one that the ledger has.
struct Ours;

impl Reader for Ours {
    fn decode<R: Decodable>(bytes: &[u8]) -> Result<R, CodecError> {
        decode(bytes)
    }
}

/// Bytes that are to be a record: its kind, whether a right checksum is put behind them, and
/// they.
pub(crate) fn ledger_record(data: &[u8]) {
    ledger_record_by::<Ours>(data);
}

/// [`ledger_record`] with whatever reads.
pub(crate) fn ledger_record_by<D: Reader>(data: &[u8]) {
    let mut input = Input(data);
    let (kind, form) = (input.byte(), input.byte());
    let mut bytes = input.0.to_vec();
    if form & 1 == 1 {
        bytes.extend_from_slice(&crc32fast::hash(input.0).to_le_bytes());
    }
    let decoded = match kind % 11 {
        0 => round_trip::<D, EventRow>(&bytes, drop),
        1 => round_trip::<D, FreshRow>(&bytes, drop),
        2 => round_trip::<D, TimerRow>(&bytes, drop),
        3 => round_trip::<D, ClaimRow>(&bytes, drop),
        4 => round_trip::<D, KeyRow>(&bytes, drop),
        5 => round_trip::<D, CommitRow>(&bytes, drop),
        6 => round_trip::<D, LogRow>(&bytes, |row| drop(row.attempt())),
        7 => round_trip::<D, JobRow>(&bytes, |row| {
            if let Ok(job) = row.clone().job(delivery(), None) {
                assert_eq!(job.key, delivery());
                assert_eq!((job.round, job.epoch), (row.round, row.epoch));
            }
        }),
        8 => round_trip::<D, IdentityRow>(&bytes, drop),
        9 => round_trip::<D, TenantRow>(&bytes, |row| {
            let id = delivery().tenant;
            let Ok(record) = row.record(id.clone()) else { return };
            let again = TenantRow::of(&record).record(id);
            assert!(again.is_ok_and(|again| again == record), "a tenant is read differently");
        }),
        _ => unframe(&bytes).map(|payload| assert_eq!(frame(payload), bytes)),
    };
    let is_sealed = bytes.split_last_chunk::<4>().is_some_and(|(framed, sum)| {
        !framed.is_empty() && crc32fast::hash(framed) == u32::from_le_bytes(*sum)
    });
    assert!(decoded.is_err() || is_sealed, "damaged, and read");
}

fn round_trip<D: Reader, R: Decodable + Encodable>(
    bytes: &[u8],
    look: impl FnOnce(R),
) -> Result<(), CodecError> {
    let record: R = D::decode(bytes)?;
    let written = encode(&record);
    let again: R = D::decode(&written)?;
    // Numbers have longer spellings than the shortest; ours is the shortest.
    assert!(written.len() <= bytes.len(), "longer than what was read");
    assert_eq!(encode(&again), written);
    look(record);
    Ok(())
}

fn delivery() -> DeliveryKey {
    let tenant = TenantId::try_new("acme").expect("a tenant's id");
    DeliveryKey { tenant, event: EventId::MIN, endpoint: EndpointId::DEFAULT }
}

/// A key of any table: what is read of it, written again, is how it begins.
pub(crate) fn ledger_key(data: &[u8]) {
    for (kind, again) in fuzzing::keys_again(data) {
        assert!(data.starts_with(&again), "{kind}: {data:?} is read as {again:?}");
    }
}

/// Journals of a store: as many batches as the first byte says, in journals of so many, then a
/// change, then what follows.
pub(crate) fn journal(data: &[u8]) {
    let mut input = Input(data);
    let (batches, a_journal) = (u64::from(input.byte() % 9), 1 + u64::from(input.byte() % 4));
    let (place, with, damages) = (input.number(), input.byte(), input.byte() % 3);
    in_directory(|directory| {
        let mut files: Vec<Vec<u8>> = vec![Vec::new()];
        for n in 0..batches {
            if n > 0 && n % a_journal == 0 {
                files.push(Vec::new());
            }
            let batch = fuzzing::batch(n + 1, n + 1, &[7; 20][..(n % 20) as usize]);
            files.last_mut().expect("one at least").extend_from_slice(&batch);
        }
        let whole = files.clone();
        damage(&mut files, place, with, damages);
        files.last_mut().expect("one at least").extend_from_slice(input.0);
        for (number, bytes) in files.iter().enumerate() {
            fs::write(directory.join(format!("{number}.jnl")), bytes).expect("a file");
        }
        let scanned = fuzzing::scan(directory).expect("files can be read");
        let is_whole = files == whole;
        if is_whole {
            assert_eq!(scanned.newest, (batches > 0).then_some(batches));
            assert_eq!((scanned.torn.as_ref(), scanned.holes), (None, 0));
        }
        // A damaged byte in a batch is noticed: nothing is passed over in silence.
        let is_damaged = damages == 1 && with != 0 && batches > 0 && input.is_empty();
        let is_noticed = scanned.torn.is_some() || scanned.holes > 0;
        let is_end = scanned.newest != Some(batches);
        assert!(!is_damaged || is_noticed || is_end || is_seqno(&whole, place));
        cut_is_whole(directory, &files, scanned);
    });
}

/// Changes one byte, or drops the end of a journal.
fn damage(files: &mut [Vec<u8>], place: u64, with: u8, how: u8) {
    let total: usize = files.iter().map(Vec::len).sum();
    let Some(mut at) = usize::try_from(place).ok().and_then(|place| place.checked_rem(total))
    else {
        return;
    };
    for file in files {
        if at < file.len() {
            match how {
                1 => file[at] ^= with,
                2 => file.truncate(at),
                _ => {}
            }
            return;
        }
        at -= file.len();
    }
}

/// Whether this is a byte of a sequence number, which no checksum covers (see `journal`).
fn is_seqno(files: &[Vec<u8>], place: u64) -> bool {
    let total: usize = files.iter().map(Vec::len).sum();
    let at = usize::try_from(place).unwrap_or(0) % total.max(1);
    let all = files.concat();
    // Batches begin with 1, a count of 2 and the number.
    let begins = [1, 2, 0, 0, 0];
    (5..=12).any(|back| at.checked_sub(back).is_some_and(|start| all[start..].starts_with(&begins)))
}

/// After the cut nothing is torn, nothing whole is gone, and what was cut is kept.
fn cut_is_whole(directory: &Path, files: &[Vec<u8>], scanned: fuzzing::Scanned) {
    let Some((path, whole_until)) = scanned.torn else { return };
    let kept = directory.join("kept");
    let length = files.last().map_or(0, Vec::len) as u64;
    let cut = fuzzing::cut(&path, whole_until, &kept).expect("a cut");
    assert_eq!(cut, length - whole_until);
    assert_eq!(fs::read(&kept).map(|bytes| bytes.len() as u64).ok(), Some(cut));
    let again = fuzzing::scan(directory).expect("files can be read");
    assert_eq!((again.torn, again.newest, again.holes), (None, scanned.newest, scanned.holes));
}

/// A witness: the bytes of its file; where the first one is odd, two proofs and a change instead.
pub(crate) fn witness(data: &[u8]) {
    let mut input = Input(data);
    let is_ours = input.byte() & 1 == 1;
    in_directory(|directory| {
        let path = directory.join("witness");
        if !is_ours {
            fs::write(&path, input.0).expect("a file");
            let proof = fuzzing::witnessed(&path).expect("a file can be read");
            assert!(proof.is_none() || input.0.windows(8).any(|bytes| bytes == b"PHWITNS1"));
            return;
        }
        let (one, more) = (input.number() >> 1, u64::from(input.byte()) + 1);
        let two = one + more;
        fuzzing::witness(&path, one, one).expect("a proof");
        fuzzing::witness(&path, two, two).expect("a proof");
        assert_eq!(fuzzing::witnessed(&path).ok(), Some(Some((two, two))));
        let mut bytes = fs::read(&path).expect("the file");
        let (place, with) = (usize::from(u16::from_le_bytes(input.array())), input.byte());
        let place = place % bytes.len();
        bytes[place] ^= with;
        fs::write(&path, &bytes).expect("the file");
        let proof = fuzzing::witnessed(&path).expect("a file can be read");
        // One of the two stands, whatever became of the other.
        assert!(proof == Some((one, one)) || proof == Some((two, two)), "{proof:?}");
        let is_padding = place % 512 >= 28;
        assert!(!is_padding || proof == Some((two, two)), "padding counts");
    });
}

/// A register: the bytes of its file; where the first one is odd, ours with a change.
pub(crate) fn register(data: &[u8]) {
    let mut input = Input(data);
    let is_ours = input.byte() & 1 == 1;
    in_directory(|directory| {
        let path = directory.join("attempts-0");
        if !is_ours {
            fs::write(&path, input.0).expect("a file");
            let found = fuzzing::cut_off(&path).expect("a file can be read");
            assert!(found.len() <= input.0.len() / 96);
            return;
        }
        let noted = write_register(&path, &mut input);
        assert_eq!(fuzzing::cut_off(&path).ok().as_ref(), Some(&noted));
        let mut bytes = fs::read(&path).expect("the file");
        if bytes.is_empty() {
            return;
        }
        let (place, with) = (usize::from(u16::from_le_bytes(input.array())), input.byte());
        let place = place % bytes.len();
        bytes[place] ^= with;
        fs::write(&path, &bytes).expect("the file");
        let found = fuzzing::cut_off(&path).expect("a file can be read");
        // A change costs the slot that it is in, and makes no other.
        assert!(found.iter().all(|slot| noted.contains(slot)), "{found:?}");
        assert!(found.len() + 1 >= noted.len());
        assert_eq!(found == noted, with == 0 || bytes_of_slot(&noted, place).is_none());
    });
}

type Noted = Vec<(DeliveryKey, u32, u32)>;

fn write_register(path: &Path, input: &mut Input<'_>) -> Noted {
    let mut noted = Noted::new();
    let mut register = fuzzing::new_register(path, 4).expect("a register");
    for index in 0..u32::from(input.byte() % 5) {
        let event = EventId::from_u128(u128::from_le_bytes(input.array()));
        let endpoint = EndpointId::from_u16(u16::from(input.byte()));
        let key = DeliveryKey { event, endpoint, ..delivery() };
        let (round, number) = (u32::from(input.byte()), u32::from(input.byte()));
        register.begin(index, &key, round, number);
        noted.push((key, round, number));
    }
    register.flush().expect("a write");
    noted
}

/// Which slot a place belongs to; none where it is beyond those that are noted.
fn bytes_of_slot(noted: &Noted, place: usize) -> Option<usize> {
    Some(place / 96).filter(|slot| *slot < noted.len())
}

/// A directory with nothing in it, in memory where there is one.
fn in_directory(run: impl FnOnce(&Path)) {
    thread_local! {
        static KEPT: RefCell<Option<TempDir>> = const { RefCell::new(None) };
    }
    let directory = KEPT.take().unwrap_or_else(|| {
        let memory = Path::new("/dev/shm");
        let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        made.expect("a directory")
    });
    for entry in fs::read_dir(directory.path()).expect("a directory").flatten() {
        fs::remove_file(entry.path()).expect("a file of ours");
    }
    run(directory.path());
    KEPT.set(Some(directory));
}

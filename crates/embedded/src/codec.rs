//! How records become bytes and bytes become records: the one place that knows bincode.
//!
//! For who reads or writes rows of a data directory: what verifies one, exports one, measures one.
//! Which record stands where is said by the tables' keys, not by the bytes.
//!
//! ```text
//!  ┌─────────┬──────────────────────────────┬────────────────┐
//!  │ version │ bincode 2, variable integers │ CRC-32, LE     │
//!  │ 1 byte  │ the record's fields in order │ of all before  │
//!  └─────────┴──────────────────────────────┴────────────────┘
//! ```
//!
//! Payloads are framed too, with their bytes as they are in place of the bincode part. The checksum
//! is ours because the store's own end at its blocks: a block that is whole but in the wrong place,
//! or a row that this program mangled, is found here.
//!
//! Invariant: a released version is never changed and always readable; `tests/fixtures` holds
//! bytes of each. Input from disk never panics.

mod jobs;
mod records;

pub use jobs::{IdentityRow, JobRow, JobStateRow, OutcomeRow, PayloadMark, Place};
pub use records::{
    ClaimRow, CommitRow, EventRow, FreshRow, KeyRow, LogRow, Standing, TenantRow, TimerRow,
    cause_number, cause_of,
};

use bincode::config::{Configuration, Limit};
use bincode::{Decode, Encode, decode_from_slice, encode_into_std_write};
use thiserror::Error;

/// The version that is written.
const VERSION: u8 = 1;
const CHECKSUM_LEN: usize = 4;
/// No record is longer: what claims to be is damaged, and must not make us allocate.
const RECORD_BYTES_MAX: usize = 1 << 20;

const fn format()
-> Configuration<bincode::config::LittleEndian, bincode::config::Varint, Limit<RECORD_BYTES_MAX>> {
    bincode::config::standard().with_limit::<RECORD_BYTES_MAX>()
}

/// Why bytes from disk are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CodecError {
    /// Shorter than the shortest frame.
    #[error("too short")]
    Short,
    /// The checksum does not fit.
    #[error("wrong checksum")]
    Checksum,
    /// A version that this program does not know.
    #[error("record version {0} is not known to this version of posthaste")]
    Version(u8),
    /// The checksum fits, the fields do not.
    #[error("not the expected fields")]
    Fields,
}

/// What can be read as a record: the kinds of this module. A name of ours, so that nobody else
/// names the library.
pub trait Decodable: Decode<()> {}
impl<R: Decode<()>> Decodable for R {}

/// What can be written as a record: as [`Decodable`].
pub trait Encodable: Encode {}
impl<R: Encode> Encodable for R {}

/// A record's bytes.
///
/// # Panics
/// Where the record is longer than a mebibyte, which no part of one is allowed to be.
#[must_use]
pub fn encode<R: Encodable>(record: &R) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    bytes.push(VERSION);
    // Writing into memory fails only beyond the limit, which no record of ours comes near: the
    // longest parts (error lines, responses) are cut where they are made.
    let written = encode_into_std_write(record, &mut bytes, format());
    assert!(written.is_ok(), "a record of at most {RECORD_BYTES_MAX} bytes can be encoded");
    seal(bytes)
}

/// The record that `bytes` are, all of them.
///
/// # Errors
/// [`CodecError`] where they are no record of this kind; never panics, never allocates more than a
/// record may have.
pub fn decode<R: Decodable>(bytes: &[u8]) -> Result<R, CodecError> {
    let body = open(bytes)?;
    match decode_from_slice(body, format()) {
        Ok((record, used)) if used == body.len() => Ok(record),
        Ok(_) | Err(_) => Err(CodecError::Fields),
    }
}

/// Bytes that are no record (a payload, a setting), as they are on disk.
#[must_use]
pub fn frame(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + payload.len() + CHECKSUM_LEN);
    bytes.push(VERSION);
    bytes.extend_from_slice(payload);
    seal(bytes)
}

/// What [`frame`] was given.
///
/// # Errors
/// As [`decode`], without [`CodecError::Fields`].
pub fn unframe(bytes: &[u8]) -> Result<&[u8], CodecError> {
    open(bytes)
}

fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

fn open(bytes: &[u8]) -> Result<&[u8], CodecError> {
    let (framed, checksum) = bytes.split_last_chunk::<CHECKSUM_LEN>().ok_or(CodecError::Short)?;
    let (version, body) = framed.split_first().ok_or(CodecError::Short)?;
    if crc32fast::hash(framed) != u32::from_le_bytes(*checksum) {
        return Err(CodecError::Checksum);
    }
    if *version == VERSION { Ok(body) } else { Err(CodecError::Version(*version)) }
}

#[cfg(test)]
mod tests;

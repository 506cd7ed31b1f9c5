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
//! A kind that has never changed is of version 1; a tenant has versions 2 and 3 besides, see
//! `tenant`.
//!
//! Invariant: a released version is never changed and always readable; `tests/fixtures` holds
//! bytes of each. Input from disk never panics.

mod jobs;
mod records;
mod tenant;

pub use jobs::{IdentityRow, JobRow, JobStateRow, OutcomeRow, PayloadMark, Place};
pub use records::{
    ClaimRow, CommitRow, EventRow, FreshRow, KeyRow, LogRow, Standing, TimerRow, cause_number,
    cause_of,
};
pub use tenant::TenantRow;

use bincode::config::{Configuration, Limit};
use bincode::{Decode, Encode, decode_from_slice, encode_into_std_write};
use thiserror::Error;

/// The version that is written, but for what needs a later one.
const VERSION: u8 = 1;
/// The version of a tenant's record that has options.
const VERSION_OF_OPTIONS: u8 = 2;
/// The version of a tenant's record that is sealed.
const VERSION_OF_SEALED: u8 = 3;
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
    /// Sealed, and not with the key that is there; or changed since.
    #[error("sealed with another key, or changed since")]
    Sealed,
}

/// What can be read as a record: the kinds of this module. A name of ours, so that nobody else
/// names the library.
pub trait Decodable: Sized {
    /// Reads what stands between version and checksum, all of it.
    ///
    /// # Errors
    /// [`CodecError`] where this kind has no such version, or the bytes are not its fields.
    fn read(version: u8, body: &[u8]) -> Result<Self, CodecError>;
}

/// What can be written as a record: as [`Decodable`].
pub trait Encodable {
    /// The earliest version that holds it whole.
    fn version(&self) -> u8;

    /// Writes what stands between version and checksum.
    fn write(&self, bytes: &mut Vec<u8>);
}

/// Kinds that have only ever had one version.
macro_rules! unchanged {
    ($($kind:ty),+ $(,)?) => {$(
        impl Decodable for $kind {
            fn read(version: u8, body: &[u8]) -> Result<Self, CodecError> {
                if version == VERSION { body_of(body) } else { Err(CodecError::Version(version)) }
            }
        }

        impl Encodable for $kind {
            fn version(&self) -> u8 {
                VERSION
            }

            fn write(&self, bytes: &mut Vec<u8>) {
                write_body(self, bytes);
            }
        }
    )+};
}

unchanged! {
    EventRow, FreshRow, TimerRow, ClaimRow, KeyRow, CommitRow, LogRow, JobRow, IdentityRow,
}

/// A record's bytes.
///
/// # Panics
/// Where the record is longer than a mebibyte, which no part of one is allowed to be.
#[must_use]
pub fn encode<R: Encodable>(record: &R) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    bytes.push(record.version());
    record.write(&mut bytes);
    seal(bytes)
}

/// The record that `bytes` are, all of them.
///
/// # Errors
/// [`CodecError`] where they are no record of this kind; never panics, never allocates more than a
/// record may have.
pub fn decode<R: Decodable>(bytes: &[u8]) -> Result<R, CodecError> {
    let (version, body) = open(bytes)?;
    R::read(version, body)
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
    match open(bytes)? {
        (VERSION, payload) => Ok(payload),
        (unknown, _) => Err(CodecError::Version(unknown)),
    }
}

fn write_body<R: Encode>(record: &R, bytes: &mut Vec<u8>) {
    // Writing into memory fails only beyond the limit, which no record of ours comes near: the
    // longest parts (error lines, responses) are cut where they are made.
    let written = encode_into_std_write(record, bytes, format());
    assert!(written.is_ok(), "a record of at most {RECORD_BYTES_MAX} bytes can be encoded");
}

fn body_of<R: Decode<()>>(body: &[u8]) -> Result<R, CodecError> {
    match decode_from_slice(body, format()) {
        Ok((record, used)) if used == body.len() => Ok(record),
        Ok(_) | Err(_) => Err(CodecError::Fields),
    }
}

fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

/// The version, and what stands between it and the checksum.
fn open(bytes: &[u8]) -> Result<(u8, &[u8]), CodecError> {
    let (framed, checksum) = bytes.split_last_chunk::<CHECKSUM_LEN>().ok_or(CodecError::Short)?;
    let (version, body) = framed.split_first().ok_or(CodecError::Short)?;
    if crc32fast::hash(framed) != u32::from_le_bytes(*checksum) {
        return Err(CodecError::Checksum);
    }
    Ok((*version, body))
}

#[cfg(test)]
mod tests;

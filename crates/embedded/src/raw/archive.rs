//! The frame of the store's files: sections, a table of contents, a trailer.
//!
//! ```text
//!  sections … │ "TOC!" │ count 4 │ (pos 8 │ len 8 │ name len 2 │ name) … │ trailer
//!  trailer:     "SFA!" │ 1 │ 0 │ XXH3-128 of the contents 16 │ their position 8 │ their length 8
//! ```
//!
//! Read here before the store does, which believes the count before it has looked at the checksum,
//! and asks for the memory. Input is damaged bytes: nothing here panics or trusts a length.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use xxhash_rust::xxh3::xxh3_128;

use super::Flaw;

const TRAILER_LEN: usize = 38;
/// More than any table of contents has; what claims more is damaged.
const TOC_BYTES_MAX: u64 = 1 << 16;

/// One section of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) name: Vec<u8>,
    pub(crate) pos: u64,
    pub(crate) len: u64,
}

/// A file's sections, all of which lie within it.
pub(crate) fn sections(file: &File) -> Result<Vec<Section>, Flaw> {
    let length = file.metadata()?.len();
    let at = length.checked_sub(TRAILER_LEN as u64).ok_or(Flaw::Rot("shorter than its trailer"))?;
    let mut trailer = [0; TRAILER_LEN];
    file.read_exact_at(&mut trailer, at)?;
    let mut trailer = Bytes(&trailer);
    if trailer.take(6)? != b"SFA!\x01\x00" {
        return Err(Flaw::Rot("its trailer is damaged"));
    }
    let (checksum, pos) = (trailer.u128()?, trailer.u64()?);
    let toc_len = at.checked_sub(pos).filter(|len| *len <= TOC_BYTES_MAX);
    let toc_len = toc_len.ok_or(Flaw::Rot("its trailer is damaged"))?;
    let mut toc = vec![0; usize::try_from(toc_len).unwrap_or(0)];
    file.read_exact_at(&mut toc, pos)?;
    if xxh3_128(&toc) != checksum {
        return Err(Flaw::Rot("its table of contents is damaged"));
    }
    let mut toc = Bytes(&toc);
    if toc.take(4)? != b"TOC!" {
        return Err(Flaw::Rot("its table of contents is damaged"));
    }
    let count = toc.u32()?;
    let mut sections = Vec::new();
    for _ in 0..count {
        let (pos, len, name_len) = (toc.u64()?, toc.u64()?, toc.u16()?);
        let name = toc.take(usize::from(name_len))?.to_vec();
        if pos.checked_add(len).is_none_or(|end| end > at) {
            return Err(Flaw::Rot("a section lies outside of it"));
        }
        sections.push(Section { name, pos, len });
    }
    Ok(sections)
}

/// The bytes of a section, which is a small one.
pub(crate) fn read(file: &File, sections: &[Section], name: &[u8]) -> Result<Vec<u8>, Flaw> {
    let section = sections.iter().find(|section| section.name == name);
    let section = section.ok_or(Flaw::Rot("a section is missing"))?;
    let mut bytes = vec![0; usize::try_from(section.len).unwrap_or(0)];
    file.read_exact_at(&mut bytes, section.pos)?;
    Ok(bytes)
}

/// Little-endian numbers from the front of some bytes.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Flaw> {
        let (first, rest) = self.0.split_at_checked(len).ok_or_else(short)?;
        self.0 = rest;
        Ok(first)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        let (first, rest) = self.0.split_first_chunk::<N>().ok_or_else(short)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Flaw> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Flaw> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Flaw> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Flaw> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn u128(&mut self) -> Result<u128, Flaw> {
        self.array().map(u128::from_le_bytes)
    }
}

fn short() -> Flaw {
    Flaw::Io(io::ErrorKind::UnexpectedEof.into())
}

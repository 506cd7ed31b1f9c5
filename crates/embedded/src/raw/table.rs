//! A table's file, block by block, stepping over what is damaged.
//!
//! ```text
//! data block … │ index │ filter │ meta │ contents and trailer, see archive.rs
//! block: "LSM" 3 │ kind 1 │ XXH3-128 of the data 16 │ data length 4 │ length unpacked 4
//!        │ low 4 bytes of the XXH3-128 of all that │ data
//! ```
//!
//! Data blocks follow each other from the file's beginning, so their order is enough: where one is
//! damaged, the next one is found by its magic and its header's checksum. Index and filter are not
//! needed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use lsm_tree::table::block::BlockType;
use lsm_tree::table::{Block, DataBlock};
use lsm_tree::{CompressionType, Slice};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::archive::{self, Bytes};
use super::manifest::TableFile;
use super::{Flaw, Item, stops_at_damage};

const HEADER_LEN: usize = 33;
const MAGIC: &[u8; 4] = b"LSM\x03";
/// The largest block that is believed in: far above a payload's limit.
const BLOCK_BYTES_MAX: u32 = 1 << 28;
const CHUNK: usize = 1 << 18;

/// The blocks of one file.
#[derive(Debug)]
pub(crate) struct Blocks {
    file: File,
    seqno_base: u64,
    at: u64,
    /// Behind the last data block, as far as that is known.
    end: u64,
    /// Whether `end` is where the data blocks end, and not the file.
    end_is_known: bool,
    /// How blocks are packed, where the file still says so.
    packing: Option<CompressionType>,
}

/// What stands at a place in a file.
#[derive(Debug)]
pub(crate) enum Next {
    /// A whole block's rows, in order.
    Items(Vec<Item>),
    /// Damage from one byte on up to another.
    Damage {
        from: u64,
        to: u64,
    },
    End,
}

struct Header {
    is_data: bool,
    checksum: u128,
    length: u32,
    unpacked: u32,
}

impl Blocks {
    pub(crate) fn open(table: &TableFile) -> io::Result<Self> {
        let file = File::open(&table.path)?;
        let length = file.metadata()?.len();
        let sections = archive::sections(&file).ok();
        let behind = sections.as_ref().and_then(|sections| {
            sections.iter().filter(|one| one.name != b"data").map(|one| one.pos).min()
        });
        let (end, end_is_known) = (behind.unwrap_or(length), behind.is_some());
        let packing = sections.and_then(|sections| packing(&file, &sections));
        Ok(Self { file, seqno_base: table.seqno_base, at: 0, end, end_is_known, packing })
    }

    /// How far it has read.
    #[cfg(test)]
    pub(crate) const fn at(&self) -> u64 {
        self.at
    }

    pub(crate) fn next(&mut self) -> io::Result<Next> {
        if self.at >= self.end {
            return Ok(Next::End);
        }
        match self.block(self.at) {
            Ok(Some((items, next))) => {
                self.at = next;
                Ok(Next::Items(items))
            }
            // The first block that is something else, where only that tells the end.
            Ok(None) => {
                self.at = self.end;
                Ok(Next::End)
            }
            Err(Flaw::Io(error)) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
            Err(_) => self.step_over(),
        }
    }

    /// The rows of the data block at `at`, and where the next one begins; none where it is a whole
    /// block of another kind.
    fn block(&self, at: u64) -> Result<Option<(Vec<Item>, u64)>, Flaw> {
        let mut head = [0; HEADER_LEN];
        self.file.read_exact_at(&mut head, at)?;
        let header = header(&head)?;
        if !header.is_data {
            let foreign = Flaw::Rot("a block of another kind among the data");
            return if self.end_is_known { Err(foreign) } else { Ok(None) };
        }
        let next = at + HEADER_LEN as u64 + u64::from(header.length);
        if next > self.end {
            return Err(Flaw::Rot("a block reaches beyond its file"));
        }
        let mut bytes = vec![0; HEADER_LEN + header.length as usize];
        self.file.read_exact_at(&mut bytes, at)?;
        if xxh3_128(&bytes[HEADER_LEN..]) != header.checksum {
            return Err(Flaw::Rot("wrong checksum"));
        }
        Ok(Some((self.items(&bytes, &header)?, next)))
    }

    fn items(&self, bytes: &[u8], header: &Header) -> Result<Vec<Item>, Flaw> {
        // Where the file does not say it any more: what is as long as before was hardly packed.
        let packed = header.length != header.unpacked;
        let guess = if packed { CompressionType::Lz4 } else { CompressionType::None };
        let block = Block::from_reader(&mut &*bytes, self.packing.unwrap_or(guess));
        let block = DataBlock::new(block.map_err(|_| Flaw::Rot("it cannot be unpacked"))?);
        let data = block.as_slice();
        let mut items = Vec::new();
        for found in block.iter() {
            let prefix = found.prefix.map_or(&[][..], |place| &data[place.0..place.1]);
            let key = [prefix, &data[found.key.0..found.key.1]].concat();
            let value = found.value.map(|place| Slice::from(&data[place.0..place.1]));
            let seqno = found.seqno.saturating_add(self.seqno_base);
            items.push(Item { key: key.into(), seqno, value });
        }
        Ok(items)
    }

    /// Goes to the next place that looks like a block.
    fn step_over(&mut self) -> io::Result<Next> {
        let from = self.at;
        let next = if stops_at_damage() { None } else { self.find_header(from + 1)? };
        self.at = next.unwrap_or(self.end);
        Ok(Next::Damage { from, to: self.at })
    }

    fn find_header(&self, from: u64) -> io::Result<Option<u64>> {
        let mut chunk = vec![0; CHUNK + HEADER_LEN];
        let mut base = from;
        while base < self.end {
            let read = read_up_to(&self.file, &mut chunk, base)?;
            let bytes = &chunk[..read];
            let found = bytes.windows(HEADER_LEN).take(CHUNK).position(|window| {
                window.starts_with(MAGIC) && window.first_chunk().is_some_and(|h| header(h).is_ok())
            });
            if let Some(found) = found {
                return Ok(Some(base + found as u64));
            }
            base += CHUNK as u64;
        }
        Ok(None)
    }
}

/// What a file says of itself.
fn words(file: &File, sections: &[archive::Section]) -> Option<DataBlock> {
    let bytes = archive::read(file, sections, b"meta").ok()?;
    let block = Block::from_reader(&mut &*bytes, CompressionType::None).ok()?;
    (block.header.block_type == BlockType::Meta).then(|| DataBlock::new(block))
}

/// How a file's data blocks are packed, by its own words.
fn packing(file: &File, sections: &[archive::Section]) -> Option<CompressionType> {
    let found = words(file, sections)?.point_read(b"compression#data", u64::MAX)?;
    match *found.value.first()? {
        0 => Some(CompressionType::None),
        1 => Some(CompressionType::Lz4),
        _ => None,
    }
}

/// Whether every row of a file can be read, though it is not what was written: it is the file of
/// its name, and has as many rows as it says.
pub(crate) fn is_complete(table: &TableFile) -> bool {
    all_rows(table).unwrap_or(false)
}

fn all_rows(table: &TableFile) -> Result<bool, Flaw> {
    let file = File::open(&table.path)?;
    let words = words(&file, &archive::sections(&file)?);
    let number = |name: &[u8]| {
        let found = words.as_ref()?.point_read(name, u64::MAX)?;
        Some(u64::from_le_bytes((*found.value).try_into().ok()?))
    };
    let id = table.path.file_name().and_then(|name| name.to_str()?.parse().ok());
    let (Some(rows), true) = (number(b"item_count"), id.is_some() && number(b"table_id") == id)
    else {
        return Ok(false);
    };
    let mut blocks = Blocks::open(table)?;
    let mut read = 0;
    loop {
        match blocks.next()? {
            Next::Items(items) => read += items.len() as u64,
            Next::Damage { .. } => return Ok(false),
            Next::End => return Ok(read == rows),
        }
    }
}

fn header(bytes: &[u8; HEADER_LEN]) -> Result<Header, Flaw> {
    let (fields, checksum) = bytes.split_at(HEADER_LEN - 4);
    let low = xxh3_128(fields).to_le_bytes();
    let mut fields = Bytes(fields);
    if fields.take(4)? != MAGIC || low[..4] != *checksum {
        return Err(Flaw::Rot("a block's head is damaged"));
    }
    let kind = BlockType::try_from(fields.u8()?).map_err(|_| Flaw::Rot("an unknown block"))?;
    let header = Header {
        is_data: kind == BlockType::Data,
        checksum: fields.u128()?,
        length: fields.u32()?,
        unpacked: fields.u32()?,
    };
    let lawful = header.length <= BLOCK_BYTES_MAX && header.unpacked <= BLOCK_BYTES_MAX;
    if lawful { Ok(header) } else { Err(Flaw::Rot("a block of unlawful length")) }
}

fn read_up_to(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

/// What a value is that a journal has packed: as in a block, whose head it is given here.
pub(crate) fn unpacked(packed: &[u8], length: u32) -> Option<Slice> {
    // So much is asked for before a byte is unpacked.
    if length > BLOCK_BYTES_MAX {
        return None;
    }
    let mut bytes = Vec::with_capacity(HEADER_LEN + packed.len());
    bytes.extend_from_slice(MAGIC);
    bytes.push(BlockType::Data.into());
    bytes.extend_from_slice(&xxh3_128(packed).to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(packed.len()).ok()?.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    let checksum = xxh3_128(&bytes).to_le_bytes();
    bytes.extend_from_slice(&checksum[..4]);
    bytes.extend_from_slice(packed);
    Block::from_reader(&mut &*bytes, CompressionType::Lz4).ok().map(|block| block.data)
}

/// Looks at a file's head and tail: what the store reads when it opens.
pub(crate) fn look(table: &TableFile) -> Result<(), Flaw> {
    let file = File::open(&table.path)?;
    let sections = archive::sections(&file)?;
    let has = |name: &[u8]| sections.iter().any(|section| section.name == name);
    let complete = has(b"tli") && has(b"meta");
    if complete { Ok(()) } else { Err(Flaw::Rot("a section is missing")) }
}

/// Whether a table file is the one that was written, by its checksum; looked at as long as `go_on`
/// says so.
pub(crate) fn check(file: &TableFile, mut go_on: impl FnMut() -> bool) -> Result<(), Flaw> {
    match (checksum(file, |_| go_on())?, file.checksum) {
        (Some(found), Some(known)) if found != known => {
            Err(Flaw::Rot("it is not the file that was written (checksum)"))
        }
        _ => Ok(()),
    }
}

/// The checksum of a whole file; `go_on` is asked for each chunk, with its length.
pub(crate) fn checksum(
    table: &TableFile,
    mut go_on: impl FnMut(usize) -> bool,
) -> io::Result<Option<u128>> {
    checksum_of(File::open(&table.path)?, &mut go_on)
}

fn checksum_of(
    mut reader: impl io::Read,
    go_on: &mut dyn FnMut(usize) -> bool,
) -> io::Result<Option<u128>> {
    let mut chunk = vec![0; CHUNK];
    let mut checksum = Xxh3::new();
    loop {
        match reader.read(&mut chunk) {
            Ok(0) => return Ok(Some(checksum.digest128())),
            Ok(read) => checksum.update(&chunk[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        if !go_on(chunk.len()) {
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that a signal interrupts each time before some come.
    struct Interrupted(&'static [u8], bool);

    impl io::Read for Interrupted {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 { Err(io::ErrorKind::Interrupted.into()) } else { self.0.read(buffer) }
        }
    }

    /// One literal, said to be four gigabytes; and as it is.
    #[test]
    fn a_length_beyond_belief_is_not_unpacked() {
        assert_eq!(unpacked(&[0x10, b'a'], u32::MAX), None);
        assert_eq!(unpacked(&[0x10, b'a'], BLOCK_BYTES_MAX + 1), None);
        assert_eq!(unpacked(&[0x10, b'a'], 1).as_deref(), Some(&b"a"[..]));
    }

    #[test]
    fn a_signal_is_no_damage() {
        let found = checksum_of(Interrupted(b"bytes", false), &mut |_| true).unwrap();
        assert_eq!(found, Some(xxh3_128(b"bytes")));
    }
}

//! Which table files a tree consists of.
//!
//! ```text
//! current   version 8 │ XXH3-128 of that version's file 16 │ 0
//! v<N>      an archive; its section `tables`: levels 1, each: runs 1, each: tables 4, each:
//!           id 8 │ 0 │ XXH3-128 of the table's file 16 │ added to its sequence numbers 8
//! tables/   <id> …
//! ```
//!
//! The store reads both without looking at the checksum, and removes the table files that are not
//! named: a damaged byte here can cost whole tables. So it is looked at before the store is opened.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_128;

use super::archive::{self, Bytes};
use super::{Flaw, Flawed};

/// A table's file, as the manifest names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableFile {
    pub(crate) path: PathBuf,
    /// Of the whole file; none where the manifest is lost.
    pub(crate) checksum: Option<u128>,
    /// What is added to the sequence numbers in it.
    pub(crate) seqno_base: u64,
    /// Whether it was seen that its rows are not in order: blocks that stand in the wrong place.
    pub(crate) is_shuffled: bool,
}

/// The table files of a tree, run by run: those of a run follow each other in the order of keys.
pub(crate) type Runs = Vec<Vec<TableFile>>;

/// What a tree's directory holds where it was begun.
pub(crate) const CURRENT: &str = "current";

/// Reads the manifest of the tree in `dir`.
pub(crate) fn read(dir: &Path) -> Result<Runs, Flawed> {
    let current = dir.join(CURRENT);
    let (version, checksum) = read_current(&current).map_err(|flaw| flaw.of(&current))?;
    let path = dir.join(format!("v{version}"));
    read_version(dir, &path, checksum).map_err(|flaw| flaw.of(&path))
}

fn read_current(path: &Path) -> Result<(u64, u128), Flaw> {
    let bytes = fs::read(path)?;
    let mut fields = Bytes(&bytes);
    let read = (fields.u64()?, fields.u128()?);
    let whole = fields.u8()? == 0 && fields.0.is_empty();
    if whole { Ok(read) } else { Err(Flaw::Rot("it does not name a version")) }
}

fn read_version(dir: &Path, path: &Path, checksum: u128) -> Result<Runs, Flaw> {
    if xxh3_128(&fs::read(path)?) != checksum {
        return Err(Flaw::Rot("it is not the version that was written (checksum)"));
    }
    let file = File::open(path)?;
    let tables = archive::read(&file, &archive::sections(&file)?, b"tables")?;
    let mut fields = Bytes(&tables);
    let mut runs = Vec::new();
    for _ in 0..fields.u8()? {
        for _ in 0..fields.u8()? {
            let mut run = Vec::new();
            for _ in 0..fields.u32()? {
                let id = fields.u64()?;
                let _checksum_kind = fields.u8()?;
                let checksum = Some(fields.u128()?);
                let path = dir.join("tables").join(id.to_string());
                let seqno_base = fields.u64()?;
                run.push(TableFile { path, checksum, seqno_base, is_shuffled: false });
            }
            runs.push(run);
        }
    }
    Ok(runs)
}

/// All table files that are there, each as a run of its own: what is left without a manifest.
pub(crate) fn all_there(dir: &Path) -> io::Result<Runs> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir.join("tables"))? {
        let path = entry?.path();
        let id = path.file_name().and_then(|name| name.to_str()?.parse::<u64>().ok());
        found.extend(id.map(|id| (id, path)));
    }
    found.sort();
    let file =
        |(_, path)| vec![TableFile { path, checksum: None, seqno_base: 0, is_shuffled: false }];
    Ok(found.into_iter().map(file).collect())
}

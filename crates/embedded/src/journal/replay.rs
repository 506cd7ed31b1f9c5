//! Everything that the journals have, behind holes too.
//!
//! A start stops at the first batch that is not whole, since what follows may build on it. Whoever
//! saves what can be saved goes on behind it: each row is written whole, so later batches are worth
//! having without the earlier ones.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use lsm_tree::Slice;

use super::{CLEAR, HEAD_LEN, ITEM, Input, LZ4, START, Stop, TRAILER, batch_of, named};
use crate::raw::{self, Item, stops_at_damage, table};

const VALUE: u8 = 0;

/// A write that a journal has.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) keyspace: u64,
    pub(crate) item: Item,
}

/// Gives `each` every write of every whole batch in the journals of the store in `dir`.
pub(crate) fn replay_all(dir: &Path, each: &mut dyn FnMut(Written)) -> io::Result<()> {
    let journals = match named(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        journals => journals?,
    };
    let mut seqnos = Vec::new();
    let mut commits = HashMap::new();
    for (_, path) in &journals {
        batches(path, &mut |seqno, items| {
            seqnos.push(seqno);
            *commits.entry((seqno, commit(seqno, &items))).or_insert(0) += 1;
        })?;
    }
    let mut numbers = in_line(seqnos).into_iter();
    for (_, path) in &journals {
        batches(path, &mut |seqno, items| {
            let number = numbers.next().unwrap_or(seqno);
            // Where the same commit stands twice, of which one is in the wrong place, both have the
            // right number, and it would come to light behind later ones.
            let is_twice = commits.get(&(seqno, commit(seqno, &items))) > Some(&1);
            let seqno = if is_twice { seqno } else { number };
            for (bytes, value_at) in items {
                written(&bytes, value_at, seqno).into_iter().for_each(&mut *each);
            }
        })?;
    }
    Ok(())
}

/// An item's bytes, and where in them its value begins.
type Found = (Vec<u8>, usize);

/// The number of the commit that a batch is; none where it has none.
fn commit(seqno: u64, items: &[Found]) -> Option<u64> {
    let mut rows = items.iter().filter_map(|(bytes, at)| written(bytes, *at, seqno));
    rows.find_map(|written| raw::commit_of(&written.item)).map(|row| row.number)
}

/// A batch's number is not in its checksum, and one that is too high would win over all that came
/// later: one that does not stand between its neighbours gets that of the batch before it.
fn in_line(mut seqnos: Vec<u64>) -> Vec<u64> {
    for at in 1..seqnos.len().saturating_sub(1) {
        let (before, after) = (seqnos[at - 1], seqnos[at + 1]);
        if before < after && !(before..after).contains(&seqnos[at]) {
            seqnos[at] = before;
        }
    }
    if let [first, second, ..] = seqnos[..]
        && first > second
    {
        seqnos[0] = second.saturating_sub(1);
    }
    seqnos
}

/// Gives `each` the number and the items of every whole batch in a journal, in order.
fn batches(path: &Path, each: &mut dyn FnMut(u64, Vec<Found>)) -> io::Result<()> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut input = Input::new(file.try_clone()?, length);
    let whole_until = loop {
        let before = input.at;
        match whole_batch(&mut input, each) {
            Ok(()) => {}
            Err(Stop::End) => return Ok(()),
            Err(Stop::Damaged) if stops_at_damage() => return Ok(()),
            Err(Stop::Io(error)) => return Err(error),
            Err(Stop::Damaged) => break before,
        }
    };
    // What follows damage is at most as long as a journal.
    let mut rest = Vec::new();
    file.seek(SeekFrom::Start(whole_until))?;
    file.read_to_end(&mut rest)?;
    // The batch that stopped us may only have a number that was not believed in.
    let mut next = Some(0);
    while let Some(at) = next {
        let bytes = &rest[at..];
        let length = bytes.len() as u64;
        let mut input = Input { reader: bytes, at: 0, length, seqno: None };
        let mut from = at + 1;
        while whole_batch(&mut input, each).is_ok() {
            from = at + usize::try_from(input.at).unwrap_or(usize::MAX);
        }
        next = next_start(&rest, from);
    }
    Ok(())
}

/// The next place at which a batch may begin: behind the end of another one; or where it looks like
/// one, since that end may be what is damaged.
fn next_start(bytes: &[u8], from: usize) -> Option<usize> {
    (from..bytes.len()).find(|at| {
        bytes[*at] == START && (bytes[..*at].ends_with(TRAILER) || looks_begun(&bytes[*at..]))
    })
}

/// Whether a batch may begin so: neither its length nor its number is beyond belief, and an item
/// follows.
fn looks_begun(bytes: &[u8]) -> bool {
    // start 1 │ items 4 │ seqno 8 │ tag 1
    bytes.get(..14).is_some_and(|head| {
        head[4] == 0 && head[11..13] == [0, 0] && matches!(head[13], ITEM | CLEAR)
    })
}

fn whole_batch<R: io::Read>(
    input: &mut Input<R>,
    each: &mut dyn FnMut(u64, Vec<Found>),
) -> Result<(), Stop> {
    let mut items = Vec::new();
    batch_of(input, &mut |bytes, value_at| items.push((bytes.to_vec(), value_at)))?;
    each(input.seqno.unwrap_or(0), items);
    Ok(())
}

/// The write that an item of a whole batch is.
fn written(bytes: &[u8], value_at: usize, seqno: u64) -> Option<Written> {
    // tag 1 │ type 1 │ compression 1 │ keyspace 8 │ key len 2 │ len 4 │ stored 4 │ key │ value
    let keyspace = u64::from_le_bytes(bytes.get(3..11)?.try_into().ok()?);
    let length = u32::from_le_bytes(bytes.get(13..17)?.try_into().ok()?);
    let (key, stored) = (bytes.get(1 + HEAD_LEN..value_at)?, bytes.get(value_at..)?);
    let value = match (bytes.get(1)?, bytes.get(2)?) {
        (&VALUE, &LZ4) => Some(table::unpacked(stored, length)?),
        (&VALUE, _) => Some(Slice::from(stored)),
        _ => None,
    };
    Some(Written { keyspace, item: Item { key: Slice::from(key), seqno, value } })
}

/// The batches of a whole journal, each with its place.
#[cfg(test)]
pub(crate) fn placed(path: &Path) -> Vec<(std::ops::Range<u64>, Vec<Written>)> {
    let file = File::open(path).unwrap();
    let length = file.metadata().unwrap().len();
    let mut input = Input::new(file, length);
    let mut placed = Vec::new();
    loop {
        let (from, mut rows) = (input.at, Vec::new());
        let read = whole_batch(&mut input, &mut |seqno, items| {
            let all = items.iter().filter_map(|(bytes, at)| written(bytes, *at, seqno));
            rows.extend(all);
        });
        match read {
            Ok(()) => placed.push((from..input.at, rows)),
            Err(Stop::End) => return placed,
            Err(_) => panic!("the journal is damaged"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_out_of_line_is_brought_into_it() {
        assert_eq!(in_line(vec![1, 2, 3]), [1, 2, 3]);
        assert_eq!(in_line(vec![1, 900, 3]), [1, 1, 3]);
        assert_eq!(in_line(vec![5, 0, 7]), [5, 5, 7]);
        assert_eq!(in_line(vec![900, 2, 3]), [1, 2, 3]);
        assert_eq!(in_line(vec![1]), [1]);
        // The last one has nothing behind it that it could win over.
        assert_eq!(in_line(vec![1, 2, 900]), [1, 2, 900]);
    }
}

//! The rows of a tree, out of its table files and journals: of each key the newest write.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, btree_map};
use std::io;

use lsm_tree::Slice;

use super::manifest::{Runs, TableFile};
use super::table::{Blocks, Next};
use super::{Flaw, Item, Recent, Told};
use crate::damage::Kind;

const OUT_OF_ORDER: &str = "rows that are out of order";

/// The rows, in the order of their keys.
pub(crate) struct Rows<'a, 't> {
    sources: Vec<Source<'a>>,
    heads: BinaryHeap<Head>,
    told: Option<&'a Told<'t>>,
}

enum Source<'a> {
    Run(Box<Run<'a>>),
    Recent(btree_map::Iter<'a, Slice, (u64, Option<Slice>)>),
}

/// Table files that follow each other.
struct Run<'a> {
    files: std::slice::Iter<'a, TableFile>,
    open: Option<(&'a TableFile, Blocks)>,
    items: std::vec::IntoIter<Item>,
    /// The last write that was given.
    last: Option<(Slice, u64)>,
}

/// The next write of a source.
struct Head {
    item: Item,
    source: usize,
}

impl Ord for Head {
    /// The smallest key is the greatest head, and of one key the newest write.
    fn cmp(&self, other: &Self) -> Ordering {
        other.item.key.cmp(&self.item.key).then(self.item.seqno.cmp(&other.item.seqno))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

impl<'a, 't> Rows<'a, 't> {
    pub(super) fn new(runs: &'a Runs, recent: &'a Recent, told: Option<&'a Told<'t>>) -> Self {
        let of = |run: &'a Vec<TableFile>| {
            let items = Vec::new().into_iter();
            Source::Run(Box::new(Run { files: run.iter(), open: None, items, last: None }))
        };
        let mut sources: Vec<_> = runs.iter().map(of).collect();
        sources.push(Source::Recent(recent.iter()));
        let mut rows = Self { sources, heads: BinaryHeap::new(), told };
        (0..rows.sources.len()).for_each(|source| rows.refill(source));
        rows
    }

    fn refill(&mut self, source: usize) {
        let item = match &mut self.sources[source] {
            Source::Run(run) => run.next(self.told),
            Source::Recent(recent) => recent.next().map(|(key, (seqno, value))| Item {
                key: key.clone(),
                seqno: *seqno,
                value: value.clone(),
            }),
        };
        self.heads.extend(item.map(|item| Head { item, source }));
    }

    fn pop(&mut self) -> Option<Item> {
        let Head { item, source } = self.heads.pop()?;
        self.refill(source);
        Some(item)
    }
}

impl Iterator for Rows<'_, '_> {
    type Item = (Slice, Slice);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let newest = self.pop()?;
            while self.heads.peek().is_some_and(|head| head.item.key == newest.key) {
                self.pop();
            }
            if let Some(value) = newest.value {
                return Some((newest.key, value));
            }
        }
    }
}

impl<'a> Run<'a> {
    /// Begins a file: all of its rows at once where they must be sorted first.
    fn open(&mut self, file: &'a TableFile, told: Option<&Told<'_>>) {
        let opened = Blocks::open(file).and_then(|mut blocks| {
            if file.is_shuffled {
                tell(told, file, OUT_OF_ORDER);
                self.items = sorted(&mut blocks)?.into_iter();
            }
            Ok(blocks)
        });
        match opened {
            Ok(blocks) => self.open = Some((file, blocks)),
            Err(error) => tell(told, file, &Flaw::Io(error).to_string()),
        }
    }

    /// Whether a write comes behind the last one: a greater key, or an older write of the same.
    fn follows(&self, item: &Item) -> bool {
        let Some((key, seqno)) = &self.last else { return true };
        item.key > *key || (item.key == *key && item.seqno < *seqno)
    }

    fn next(&mut self, told: Option<&Told<'_>>) -> Option<Item> {
        loop {
            if let Some(item) = self.items.next() {
                if self.follows(&item) {
                    self.last = Some((item.key.clone(), item.seqno));
                    return Some(item);
                }
                // A block that is whole, in the wrong place: its rows stand in their own as well.
                if let Some((file, _)) = &self.open {
                    tell(told, file, OUT_OF_ORDER);
                }
                continue;
            }
            let Some((file, blocks)) = &mut self.open else {
                let file = self.files.next()?;
                self.open(file, told);
                continue;
            };
            match blocks.next() {
                Ok(Next::Items(items)) => self.items = items.into_iter(),
                Ok(Next::Damage { from, to }) => {
                    tell(told, file, &format!("damaged from byte {from} to byte {to}"));
                }
                Ok(Next::End) => self.open = None,
                Err(error) => {
                    tell(told, file, &Flaw::Io(error).to_string());
                    self.open = None;
                }
            }
        }
    }
}

/// Whether the rows of a file are not in order.
pub(super) fn is_shuffled(file: &TableFile) -> bool {
    let Ok(mut blocks) = Blocks::open(file) else { return false };
    let mut last: Option<Item> = None;
    while let Ok(next @ (Next::Items(_) | Next::Damage { .. })) = blocks.next() {
        let Next::Items(items) = next else { continue };
        let follows = |last: &Item| items.first().is_none_or(|first| order(last, first).is_lt());
        if !last.as_ref().is_none_or(follows) {
            return true;
        }
        last = items.into_iter().next_back().or(last);
    }
    false
}

/// All rows of a file, in order, each once; and then it has no more.
fn sorted(blocks: &mut Blocks) -> io::Result<Vec<Item>> {
    let mut all = Vec::new();
    loop {
        match blocks.next()? {
            Next::Items(items) => all.extend(items),
            Next::Damage { .. } => {}
            Next::End => break,
        }
    }
    all.sort_by(order);
    all.dedup_by(|one, other| order(one, other).is_eq());
    Ok(all)
}

/// By key, and of one key the newest write first.
fn order(one: &Item, other: &Item) -> Ordering {
    one.key.cmp(&other.key).then(other.seqno.cmp(&one.seqno))
}

fn tell(told: Option<&Told<'_>>, file: &TableFile, what: &str) {
    if let Some(told) = told {
        told.file(Kind::Table, &file.path, what);
    }
}

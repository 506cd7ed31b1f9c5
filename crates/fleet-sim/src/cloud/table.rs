//! The table's truth, and its work index, which lags.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use posthaste_domain::{Row, RowKey, Timestamp};
use posthaste_ports::{StoredEvent, WORK_PARTITIONS};

/// How many old states of a row are kept, for who reads late.
const OLD_MAX: usize = 8;

/// One item.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) row: Row,
    pub(crate) payload: Option<Bytes>,
    /// The row before each of the last writes, and when that was.
    old: VecDeque<(u64, Row)>,
    /// When the index shows the last change: the index keeps their order.
    seen_ms: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Table {
    items: BTreeMap<RowKey, Item>,
    index: Vec<BTreeSet<(Timestamp, RowKey)>>,
    indexed: BTreeMap<RowKey, Timestamp>,
    /// Changes of the index on their way, in the order in which they arrive.
    lagging: BTreeMap<(u64, u64), (RowKey, Option<Timestamp>)>,
    count: u64,
}

impl Table {
    pub(crate) fn get(&self, key: &RowKey) -> Option<&Item> {
        self.items.get(key)
    }

    pub(crate) fn row(&self, key: &RowKey) -> Option<&Row> {
        self.items.get(key).map(|item| &item.row)
    }

    pub(crate) fn insert(&mut self, key: RowKey, payload: Bytes) {
        let item =
            Item { row: Row::new(), payload: Some(payload), old: VecDeque::new(), seen_ms: 0 };
        self.items.insert(key, item);
    }

    /// Forgets a row, as its time to live has it.
    pub(crate) fn remove(&mut self, key: &RowKey) {
        self.items.remove(key);
    }

    /// Changes a row, whose index entry follows at `seen_ms`.
    pub(crate) fn change(&mut self, key: &RowKey, row: Row, (ms, seen_ms): (u64, u64)) {
        let Some(item) = self.items.get_mut(key) else { return };
        let until = row.lease.as_ref().map(|lease| lease.until);
        let before = std::mem::replace(&mut item.row, row);
        item.old.push_back((ms, before));
        if item.old.len() > OLD_MAX {
            item.old.pop_front();
        }
        item.seen_ms = item.seen_ms.max(seen_ms);
        let seen_ms = item.seen_ms;
        self.count += 1;
        self.lagging.insert((seen_ms, self.count), (key.clone(), until));
    }

    /// An item as it is, or as it was at an earlier time.
    pub(crate) fn stored(&self, key: &RowKey, at_ms: Option<u64>) -> Option<StoredEvent> {
        let item = self.items.get(key)?;
        let then = at_ms.and_then(|at| item.old.iter().find(|(changed, _)| *changed > at));
        let row = then.map_or(&item.row, |(_, row)| row).clone();
        Some(StoredEvent { row, payload: item.payload.clone() })
    }

    /// Keys of a partition of the index, as it is seen now.
    pub(crate) fn owed(&mut self, ms: u64, partition: u8, before: Timestamp) -> Vec<RowKey> {
        while let Some(entry) = self.lagging.first_entry() {
            if entry.key().0 > ms {
                break;
            }
            let (key, until) = entry.remove();
            self.show(key, until);
        }
        let partition = self.index.get(usize::from(partition));
        let over = partition.into_iter().flatten().take_while(|(until, _)| *until < before);
        over.map(|(_, key)| key.clone()).collect()
    }

    fn show(&mut self, key: RowKey, until: Option<Timestamp>) {
        self.index.resize_with(usize::from(WORK_PARTITIONS), BTreeSet::new);
        let number = u64::try_from(key.event.as_u128() % u128::from(WORK_PARTITIONS));
        let partition = usize::try_from(number.unwrap_or(0)).unwrap_or(0);
        let entries = &mut self.index[partition];
        if let Some(before) = self.indexed.remove(&key) {
            entries.remove(&(before, key.clone()));
        }
        if let Some(until) = until {
            entries.insert((until, key.clone()));
            self.indexed.insert(key, until);
        }
    }
}

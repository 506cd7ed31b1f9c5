//! A table and its indexes, in memory.
//!
//! Invariants: an index holds exactly the items that have its key's attributes, but for changes in
//! `pending`, whose time has not come; `item_count` counts the items that exist.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::key::{INVALID, Key, Primary, Schema};
use super::value::{Item, bytes};
use crate::aws_sim::refusal::Refusal;
use crate::clock::Nanos;

/// A larger item is refused.
const ITEM_BYTES_MAX: usize = 400 * 1024;
/// One write unit.
const WRITE_UNIT_BYTES: u64 = 1024;

/// An item, and what it was before its last write.
#[derive(Debug, Default)]
pub(super) struct Stored {
    /// `None` where it was deleted, while somebody may still see what it was.
    item: Option<Arc<Item>>,
    written: Nanos,
    before: Option<Arc<Item>>,
}

/// What a reader may see.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sight {
    /// Every write that was acknowledged.
    Consistent,
    /// Writes up to this moment; of later ones, what was before.
    Until(Nanos),
}

impl Stored {
    pub(super) fn seen(&self, sight: Sight) -> Option<&Arc<Item>> {
        match sight {
            Sight::Until(moment) if self.written > moment => self.before.as_ref(),
            Sight::Consistent | Sight::Until(_) => self.item.as_ref(),
        }
    }
}

/// Which attributes an index holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Projection {
    All,
    KeysOnly,
    Include(Vec<String>),
}

/// A place in an index: the range key, if any, and whose entry it is.
pub(super) type Place = (Option<Key>, Primary);

/// A global secondary index.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) name: String,
    pub(super) schema: Schema,
    pub(super) projection: Projection,
    pub(super) entries: BTreeMap<Key, BTreeMap<Place, Arc<Item>>>,
    pending: VecDeque<(Nanos, Follow)>,
}

/// How an index follows a write.
#[derive(Debug, Default)]
struct Follow {
    remove: Option<(Key, Place)>,
    insert: Option<(Key, Place, Arc<Item>)>,
}

/// A table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) schema: Schema,
    pub(super) indexes: Vec<Index>,
    pub(super) partitions: BTreeMap<Key, BTreeMap<Option<Key>, Stored>>,
    pub(super) item_count: u64,
    pub(super) created_ms: u64,
    pub(super) ttl: Option<String>,
    /// As it was asked for, to be described.
    pub(super) definition: serde_json::Map<String, serde_json::Value>,
}

/// When and how a write happens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now: Nanos,
    pub(super) index_delay: Nanos,
    /// Somebody may look for what was before.
    pub(super) keeps_versions: bool,
}

/// What a write costs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WriteCost {
    pub(super) units: u64,
    pub(super) indexes: Vec<(String, u64)>,
    pub(super) bytes: u64,
    /// There was no such item before.
    pub(super) is_new: bool,
}

fn units(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(WRITE_UNIT_BYTES).max(1)
}

impl Table {
    /// The item as it is.
    pub(super) fn current(&self, primary: &Primary) -> Option<&Arc<Item>> {
        self.see(primary, Sight::Consistent)
    }

    pub(super) fn see(&self, primary: &Primary, sight: Sight) -> Option<&Arc<Item>> {
        self.partitions.get(&primary.hash)?.get(&primary.range)?.seen(sight)
    }

    /// Whether an item may be stored.
    pub(super) fn check(&self, item: &Item) -> Result<(), Refusal> {
        if bytes(item) > ITEM_BYTES_MAX {
            return Err(Refusal::invalid("Item size has exceeded the maximum allowed size"));
        }
        if !super::value::is_shallow(item) {
            return Err(Refusal::invalid(
                "Nesting Levels have exceeded supported limits: Attributes in the item have \
                 nested levels beyond supported limit",
            ));
        }
        for index in &self.indexes {
            for part in index.schema.parts() {
                let Some(value) = item.get(&part.name) else { continue };
                if value.kind() != part.kind.name() {
                    return Err(Refusal::invalid(format!(
                        "{INVALID} Type mismatch for Index Key {} Expected: {} Actual: {} \
                         IndexName: {}",
                        part.name,
                        part.kind.name(),
                        value.kind(),
                        index.name
                    )));
                }
                index.schema.of_item(item).map(drop).or_else(|refusal| {
                    // Without all of its key an item is not in the index, which is no fault.
                    if refusal.message.contains("Missing the key") { Ok(()) } else { Err(refusal) }
                })?;
            }
        }
        Ok(())
    }

    /// What a write of `new` over what is there would cost.
    fn cost(&self, old: Option<&Item>, new: Option<&Item>) -> WriteCost {
        let (before, after) = (old.map_or(0, bytes), new.map_or(0, bytes));
        let mut cost = WriteCost { units: units(before.max(after)), ..WriteCost::default() };
        cost.bytes = before.max(after) as u64;
        cost.is_new = old.is_none();
        for index in &self.indexes {
            let project =
                |item: Option<&Item>| item.and_then(|item| index.entry(item, &self.schema));
            let units = match (project(old), project(new)) {
                (None, None) => 0,
                (Some((.., entry)), None) | (None, Some((.., entry))) => units(bytes(&entry)),
                (Some((key, place, old)), Some((new_key, new_place, new))) => {
                    if (&key, &place) != (&new_key, &new_place) {
                        units(bytes(&old)) + units(bytes(&new))
                    } else if old == new {
                        0
                    } else {
                        units(bytes(&old).max(bytes(&new)))
                    }
                }
            };
            if units > 0 {
                cost.indexes.push((index.name.clone(), units));
            }
        }
        cost
    }

    /// Writes an item, or deletes it.
    pub(super) fn write(
        &mut self,
        primary: Primary,
        new: Option<Item>,
        moment: Moment,
    ) -> WriteCost {
        let old = self.current(&primary).cloned();
        let cost = self.cost(old.as_deref(), new.as_ref());
        let new = new.map(Arc::new);
        for index in &mut self.indexes {
            index.follow(old.as_deref(), new.as_deref(), &self.schema, moment);
        }
        match (&old, &new) {
            (None, Some(_)) => self.item_count += 1,
            (Some(_), None) => self.item_count -= 1,
            _ => {}
        }
        let before = if moment.keeps_versions { old } else { None };
        if new.is_none() && before.is_none() {
            if let Some(partition) = self.partitions.get_mut(&primary.hash) {
                partition.remove(&primary.range);
                if partition.is_empty() {
                    self.partitions.remove(&primary.hash);
                }
            }
            return cost;
        }
        let stored = Stored { item: new, written: moment.now, before };
        self.partitions.entry(primary.hash).or_default().insert(primary.range, stored);
        cost
    }

    /// The cost of a write that a condition refused.
    pub(super) fn refused_cost(&self, primary: &Primary) -> WriteCost {
        let size = self.current(primary).map_or(0, |item| bytes(item));
        WriteCost { units: units(size), bytes: size as u64, ..WriteCost::default() }
    }

    pub(super) fn index(&mut self, name: &str, now: Nanos) -> Option<&Index> {
        let index = self.indexes.iter_mut().find(|index| index.name == name)?;
        index.settle(now);
        Some(index)
    }
}

impl Index {
    pub(super) const fn new(name: String, schema: Schema, projection: Projection) -> Self {
        Self { name, schema, projection, entries: BTreeMap::new(), pending: VecDeque::new() }
    }

    /// The entry of an item, where it has all of the index's key.
    fn entry(&self, item: &Item, table: &Schema) -> Option<(Key, Place, Item)> {
        // Most items are not in a sparse index; nothing is made for them.
        if !self.schema.parts().all(|part| item.contains_key(&part.name)) {
            return None;
        }
        let Primary { hash, range } = self.schema.of_item(item).ok()?;
        let primary = table.of_item(item).ok()?;
        let entry = match &self.projection {
            Projection::All => item.clone(),
            Projection::KeysOnly => self.keys(item, table),
            Projection::Include(names) => {
                let mut entry = self.keys(item, table);
                let value = |name: &String| Some((name.clone(), item.get(name)?.clone()));
                entry.extend(names.iter().filter_map(value));
                entry
            }
        };
        Some((hash, (range, primary), entry))
    }

    fn keys(&self, item: &Item, table: &Schema) -> Item {
        let mut keys = table.attributes(item);
        keys.extend(self.schema.attributes(item));
        keys
    }

    fn follow(&mut self, old: Option<&Item>, new: Option<&Item>, table: &Schema, moment: Moment) {
        let old = old.and_then(|item| self.entry(item, table));
        let new = new.and_then(|item| self.entry(item, table));
        if old.is_none() && new.is_none() {
            return;
        }
        let follow = Follow {
            remove: old.map(|(key, place, _)| (key, place)),
            insert: new.map(|(key, place, entry)| (key, place, Arc::new(entry))),
        };
        self.settle(moment.now);
        // Never overtakes a change that waits.
        if moment.index_delay == 0 && self.pending.is_empty() {
            self.change(follow);
        } else {
            let due = moment.now.saturating_add(moment.index_delay);
            let due = self.pending.back().map_or(due, |(last, _)| due.max(*last));
            self.pending.push_back((due, follow));
        }
    }

    /// Follows the changes whose time has come.
    fn settle(&mut self, now: Nanos) {
        while self.pending.front().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, follow)) = self.pending.pop_front() {
                self.change(follow);
            }
        }
    }

    fn change(&mut self, follow: Follow) {
        if let Some((key, place)) = follow.remove
            && let Some(places) = self.entries.get_mut(&key)
        {
            places.remove(&place);
            if places.is_empty() {
                self.entries.remove(&key);
            }
        }
        if let Some((key, place, entry)) = follow.insert {
            self.entries.entry(key).or_default().insert(place, entry);
        }
    }
}

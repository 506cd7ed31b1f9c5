//! What calls consume, as DynamoDB reports it when it is asked to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::table::WriteCost;
use crate::aws_sim::counters::Work;

/// One read unit.
const READ_UNIT_BYTES: u64 = 4 * 1024;

/// Whether the caller wants to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Wanted {
    #[default]
    None,
    Total,
    Indexes,
}

/// What a call consumed of one table.
#[derive(Clone, Debug, Default)]
pub(super) struct Consumed {
    table_units: f64,
    index_units: BTreeMap<String, f64>,
    pub(super) work: Work,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Units {
    capacity_units: f64,
}

/// `ConsumedCapacity`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Capacity {
    table_name: String,
    capacity_units: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<Units>,
    #[serde(skip_serializing_if = "Option::is_none")]
    global_secondary_indexes: Option<BTreeMap<String, Units>>,
}

impl Consumed {
    /// A write; one of a transaction costs twice.
    pub(super) fn write(&mut self, cost: &WriteCost, factor: u64) {
        self.table_units += (cost.units * factor) as f64;
        self.work.write_units += cost.units * factor;
        self.work.new_write_units += if cost.is_new { cost.units * factor } else { 0 };
        self.work.items += 1;
        self.work.bytes += cost.bytes;
        for (name, units) in &cost.indexes {
            *self.index_units.entry(name.clone()).or_default() += (units * factor) as f64;
            self.work.index_write_units += units * factor;
        }
    }

    /// A read of `bytes` in all.
    pub(super) fn read(&mut self, items: u64, bytes: u64, consistent: bool, index: Option<&str>) {
        let units = bytes.div_ceil(READ_UNIT_BYTES).max(1);
        let half_units = if consistent { units * 2 } else { units };
        match index {
            None => self.table_units += half_units as f64 / 2.0,
            Some(name) => {
                *self.index_units.entry(name.to_owned()).or_default() += half_units as f64 / 2.0;
            }
        }
        self.work.read_half_units += half_units;
        self.work.items += items;
        self.work.bytes += bytes;
    }

    /// The report, where it is wanted.
    pub(super) fn report(&self, table: &str, wanted: Wanted) -> Option<Capacity> {
        if wanted == Wanted::None {
            return None;
        }
        let all = self.table_units + self.index_units.values().sum::<f64>();
        let indexes = self.index_units.iter();
        let indexes: BTreeMap<_, _> =
            indexes.map(|(name, units)| (name.clone(), Units { capacity_units: *units })).collect();
        let details = wanted == Wanted::Indexes;
        Some(Capacity {
            table_name: table.to_owned(),
            capacity_units: all,
            table: details.then_some(Units { capacity_units: self.table_units }),
            global_secondary_indexes: (details && !indexes.is_empty()).then_some(indexes),
        })
    }
}

/// By table, in the order of names.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    tables: BTreeMap<String, Consumed>,
}

impl Ledger {
    pub(super) fn of(&mut self, table: &str) -> &mut Consumed {
        self.tables.entry(table.to_owned()).or_default()
    }

    pub(super) fn work(&self) -> Work {
        let mut work = Work::default();
        for consumed in self.tables.values() {
            work.add(consumed.work);
        }
        work
    }

    pub(super) fn report(&self, wanted: Wanted) -> Option<Vec<Capacity>> {
        let all = self.tables.iter();
        let all: Vec<_> = all.filter_map(|(name, used)| used.report(name, wanted)).collect();
        (wanted != Wanted::None).then_some(all)
    }
}

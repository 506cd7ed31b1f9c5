//! What was asked of the simulator, in the units in which AWS bills.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::operation::{Operation, Service};

/// SQS bills a request for each chunk of this size.
const CHUNK_BYTES: u64 = 64 * 1024;

/// Work that one call caused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Work {
    /// Messages or items.
    pub(super) items: u64,
    /// Bytes of messages, or of items as DynamoDB reckons them.
    pub(super) bytes: u64,
    /// DynamoDB: write units of tables.
    pub(super) write_units: u64,
    /// Of these, those of items that were not there before.
    pub(super) new_write_units: u64,
    /// DynamoDB: write units of indexes.
    pub(super) index_write_units: u64,
    /// DynamoDB: halves of read units.
    pub(super) read_half_units: u64,
}

impl Work {
    pub(super) const fn add(&mut self, other: Self) {
        self.items += other.items;
        self.bytes += other.bytes;
        self.write_units += other.write_units;
        self.new_write_units += other.new_write_units;
        self.index_write_units += other.index_write_units;
        self.read_half_units += other.read_half_units;
    }
}

#[derive(Debug, Default)]
struct Cell {
    requests: AtomicU64,
    refused: AtomicU64,
    throttled: AtomicU64,
    entries_failed: AtomicU64,
    items: AtomicU64,
    bytes: AtomicU64,
    billed_requests: AtomicU64,
    write_units: AtomicU64,
    new_write_units: AtomicU64,
    index_write_units: AtomicU64,
    read_half_units: AtomicU64,
    request_bytes: AtomicU64,
    answer_bytes: AtomicU64,
}

/// Counts by operation.
#[derive(Debug)]
pub(super) struct Counters {
    // Invariant: one for each operation.
    cells: Vec<Cell>,
    faults: [AtomicU64; Fault::ALL.len()],
}

/// What one operation came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Count {
    /// Calls.
    pub requests: u64,
    /// Calls answered with an error, throttled ones among them.
    pub refused: u64,
    /// Calls told to come more slowly.
    pub throttled: u64,
    /// Entries of batches that failed or were left unprocessed.
    pub entries_failed: u64,
    /// Messages sent or received, entries deleted, items read or written.
    pub items: u64,
    /// Their bytes.
    pub bytes: u64,
    /// SQS: requests as billed, one for each 64 KB begun.
    pub billed_requests: u64,
    /// DynamoDB: write units of tables.
    pub write_units: u64,
    /// Of these, those of items that were not there before.
    #[serde(default)]
    pub new_write_units: u64,
    /// DynamoDB: write units of indexes.
    pub index_write_units: u64,
    /// DynamoDB: read units.
    pub read_units: f64,
    /// Bytes of the bodies of requests.
    pub request_bytes: u64,
    /// Bytes of the bodies of answers.
    pub answer_bytes: u64,
}

impl Count {
    /// Between two looks.
    #[must_use]
    pub const fn since(&self, earlier: &Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            refused: self.refused.saturating_sub(earlier.refused),
            throttled: self.throttled.saturating_sub(earlier.throttled),
            entries_failed: self.entries_failed.saturating_sub(earlier.entries_failed),
            items: self.items.saturating_sub(earlier.items),
            bytes: self.bytes.saturating_sub(earlier.bytes),
            billed_requests: self.billed_requests.saturating_sub(earlier.billed_requests),
            write_units: self.write_units.saturating_sub(earlier.write_units),
            new_write_units: self.new_write_units.saturating_sub(earlier.new_write_units),
            index_write_units: self.index_write_units.saturating_sub(earlier.index_write_units),
            read_units: (self.read_units - earlier.read_units).max(0.0),
            request_bytes: self.request_bytes.saturating_sub(earlier.request_bytes),
            answer_bytes: self.answer_bytes.saturating_sub(earlier.answer_bytes),
        }
    }
}

/// All counts of a simulator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// By operation; only those that were called.
    pub operations: BTreeMap<String, Count>,
    /// How often each fault was done; only those that were.
    pub faults: BTreeMap<String, u64>,
}

macro_rules! faults {
    ($($variant:ident $name:literal)*) => {
        /// A fault that was done.
        #[derive(Clone, Copy, Debug)]
        pub(super) enum Fault { $($variant),* }

        impl Fault {
            const ALL: &[Self] = &[$(Self::$variant),*];

            pub(super) const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

faults! {
    Throttle "throttle"
    Unavailable "unavailable"
    Deny "deny"
    Expired "expired-token"
    Hang "hang"
    Drop "drop"
    Lose "lose"
    Partial "partial"
    Duplicate "duplicate"
    Resurrect "resurrect"
    Reorder "reorder"
}

impl Counters {
    pub(super) fn new() -> Self {
        let cells = Operation::ALL.iter().map(|_| Cell::default()).collect();
        Self { cells, faults: Default::default() }
    }

    /// A call came.
    pub(super) fn request(&self, operation: Operation, body_bytes: usize) {
        let cell = &self.cells[operation.number()];
        add(&cell.requests, 1);
        add(&cell.request_bytes, body_bytes as u64);
    }

    /// It caused this.
    pub(super) fn work(&self, operation: Operation, work: &Work) {
        let cell = &self.cells[operation.number()];
        add(&cell.items, work.items);
        add(&cell.bytes, work.bytes);
        match operation.service() {
            Service::Sqs => add(&cell.billed_requests, work.bytes.div_ceil(CHUNK_BYTES).max(1)),
            Service::Dynamo => {
                add(&cell.write_units, work.write_units);
                add(&cell.new_write_units, work.new_write_units);
                add(&cell.index_write_units, work.index_write_units);
                add(&cell.read_half_units, work.read_half_units);
            }
        }
    }

    pub(super) fn answer(&self, operation: Operation, body_bytes: usize) {
        add(&self.cells[operation.number()].answer_bytes, body_bytes as u64);
    }

    pub(super) fn refused(&self, operation: Operation, is_throttle: bool) {
        let cell = &self.cells[operation.number()];
        add(&cell.refused, 1);
        add(&cell.throttled, u64::from(is_throttle));
        // A refused call is billed as well.
        add(&cell.billed_requests, u64::from(operation.service() == Service::Sqs));
    }

    /// Entries of a batch failed.
    pub(super) fn entries_failed(&self, operation: Operation, count: u64) {
        add(&self.cells[operation.number()].entries_failed, count);
    }

    pub(super) fn fault(&self, fault: Fault) {
        add(&self.faults[fault as usize], 1);
    }

    pub(super) fn report(&self) -> Report {
        let mut report = Report::default();
        for (operation, cell) in Operation::ALL.iter().zip(&self.cells) {
            let count = cell.read();
            if count.requests > 0 {
                report.operations.insert(operation.name().to_owned(), count);
            }
        }
        for (fault, count) in Fault::ALL.iter().zip(&self.faults) {
            let count = count.load(Ordering::Relaxed);
            if count > 0 {
                report.faults.insert(fault.name().to_owned(), count);
            }
        }
        report
    }

    /// Begins at zero again.
    pub(super) fn reset(&self) {
        for cell in &self.cells {
            cell.reset();
        }
        for count in &self.faults {
            count.store(0, Ordering::Relaxed);
        }
    }
}

impl Cell {
    fn read(&self) -> Count {
        let of = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        Count {
            requests: of(&self.requests),
            refused: of(&self.refused),
            throttled: of(&self.throttled),
            entries_failed: of(&self.entries_failed),
            items: of(&self.items),
            bytes: of(&self.bytes),
            billed_requests: of(&self.billed_requests),
            write_units: of(&self.write_units),
            new_write_units: of(&self.new_write_units),
            index_write_units: of(&self.index_write_units),
            read_units: of(&self.read_half_units) as f64 / 2.0,
            request_bytes: of(&self.request_bytes),
            answer_bytes: of(&self.answer_bytes),
        }
    }

    fn reset(&self) {
        // Names every field, so that a new one cannot be forgotten.
        let Self {
            requests,
            refused,
            throttled,
            entries_failed,
            items,
            bytes,
            billed_requests,
            write_units,
            new_write_units,
            index_write_units,
            read_half_units,
            request_bytes,
            answer_bytes,
        } = self;
        let counts = [
            requests,
            refused,
            throttled,
            entries_failed,
            items,
            bytes,
            billed_requests,
            write_units,
            new_write_units,
            index_write_units,
            read_half_units,
            request_bytes,
            answer_bytes,
        ];
        for count in counts {
            count.store(0, Ordering::Relaxed);
        }
    }
}

fn add(count: &AtomicU64, amount: u64) {
    if amount > 0 {
        count.fetch_add(amount, Ordering::Relaxed);
    }
}

//! The marks of attempts in flight, in the shard's register.
//!
//! The engine's numbers for what it holds are spread over all that waits, while the register is
//! written from the first changed slot to the last. So an attempt takes the lowest free slot here,
//! and the register stays as small as what is in flight or being settled.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use foldhash::fast::RandomState;
use posthaste_domain::DeliveryKey;
use posthaste_embedded::AttemptRegister;
use posthaste_engine::Delivery;

/// See the module's words.
#[derive(Debug)]
pub(super) struct Marks {
    register: AttemptRegister,
    slots: HashMap<u32, u32, RandomState>,
    free: BinaryHeap<Reverse<u32>>,
    /// Invariant: every slot below is in `slots` or in `free`.
    next: u32,
}

impl Marks {
    pub(super) fn new(register: AttemptRegister) -> Self {
        Self { register, slots: HashMap::default(), free: BinaryHeap::new(), next: 0 }
    }

    /// Notes that an attempt is about to start; one of the same delivery takes the same slot.
    pub(super) fn begin(&mut self, delivery: Delivery, key: &DeliveryKey, round: u32, number: u32) {
        let (free, next) = (&mut self.free, &mut self.next);
        let slot = *self.slots.entry(delivery.index()).or_insert_with(|| match free.pop() {
            Some(Reverse(slot)) => slot,
            None => {
                *next += 1;
                *next - 1
            }
        });
        self.register.begin(slot, key, round, number);
    }

    /// Notes that a delivery is not in flight any more; one that never was is passed over.
    pub(super) fn end(&mut self, delivery: Delivery) {
        if let Some(slot) = self.slots.remove(&delivery.index()) {
            self.register.end(slot);
            self.free.push(Reverse(slot));
        }
    }

    /// Hands what has changed to the operating system, where something has.
    pub(super) fn flush(&mut self) -> std::io::Result<()> {
        self.register.flush()
    }

    /// Takes all marks away.
    pub(super) fn close(&mut self) -> std::io::Result<()> {
        self.slots.clear();
        self.register.close()
    }
}

//! The trace of a run: a hash of everything that happened, in order, and its text on demand.
//!
//! Same seed, same trace: two runs whose hashes agree did the same things at the same times.

use posthaste_domain::{DeliveryKey, Timestamp};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Started,
    Crashed,
    PowerCut,
    Drained,
    Turn,
    Posted,
    Committed,
    CommitFailed,
    Accepted,
    Settled,
    Superseded,
    Requeued,
    Purged,
    Attempt,
    Reached,
    Attempted,
    Load,
    ReadBacklog,
    ReadTimers,
    ReadOptions,
    Answered,
    Changed,
    Jumped,
    Unmade,
    Calm,
}

/// A trace under way.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    text: bool,
}

impl Trace {
    /// An empty trace; with `text` each step is printed to standard output.
    pub(crate) const fn new(text: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, text }
    }

    /// Adds a step, with up to two numbers that tell it from others.
    pub(crate) fn note(
        &mut self,
        now: Timestamp,
        step: Step,
        key: Option<&DeliveryKey>,
        numbers: [u64; 2],
    ) {
        self.mix(now.as_millis());
        self.mix(step as u64);
        if let Some(key) = key {
            let event = key.event.as_u128().to_le_bytes();
            let (low, high) = event.split_at(8);
            for half in [low, high] {
                self.mix(half.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)));
            }
            self.mix(u64::from(key.endpoint.as_u16()));
        }
        numbers.into_iter().for_each(|number| self.mix(number));
        if self.text {
            print(now, step, key, numbers);
        }
    }

    fn mix(&mut self, number: u64) {
        self.hash = (self.hash ^ number).wrapping_mul(0x0000_0100_0000_01b3);
        self.hash ^= self.hash >> 29;
    }

    /// The hash of all steps so far.
    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }
}

#[expect(clippy::print_stdout, reason = "the text of a trace is for a person at a terminal")]
fn print(now: Timestamp, step: Step, key: Option<&DeliveryKey>, [one, two]: [u64; 2]) {
    let after = now.millis_since(crate::plan::START);
    match key {
        Some(key) => println!(
            "{after:>12} ms {step:?} {}/{}/{} {one} {two}",
            key.tenant, key.endpoint, key.event
        ),
        None => println!("{after:>12} ms {step:?} {one} {two}"),
    }
}

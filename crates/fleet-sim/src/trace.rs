//! The trace of a run: a hash of everything that happened, in order, and its text on demand.
//!
//! Same seed, same trace: two runs whose hashes agree did the same things at the same times.

use posthaste_domain::RowKey;

/// Who did something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    /// This daemon.
    Daemon(usize),
    /// Senders, operators, tenants.
    Client,
    /// The cloud, or fate.
    World,
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
        ms: u64,
        who: Who,
        step: &'static str,
        (key, numbers): (Option<&RowKey>, [u64; 2]),
    ) {
        self.mix(ms);
        self.mix(match who {
            Who::Daemon(daemon) => daemon as u64,
            Who::Client => 100,
            Who::World => 101,
        });
        step.bytes().for_each(|byte| self.mix(u64::from(byte)));
        if let Some(key) = key {
            let event = key.event.as_u128().to_le_bytes();
            for half in event.chunks(8) {
                self.mix(half.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)));
            }
        }
        numbers.into_iter().for_each(|number| self.mix(number));
        if self.text {
            print(ms, who, step, (key, numbers));
        }
    }

    const fn mix(&mut self, number: u64) {
        self.hash = (self.hash ^ number).wrapping_mul(0x0000_0100_0000_01b3);
        self.hash ^= self.hash >> 29;
    }

    /// The hash of all steps so far.
    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }
}

#[expect(clippy::print_stdout, reason = "the text of a trace is for a person at a terminal")]
fn print(ms: u64, who: Who, step: &str, (key, [one, two]): (Option<&RowKey>, [u64; 2])) {
    match key {
        Some(key) => println!("{ms:>10} {who:?} {step} {}/{} {one} {two}", key.tenant, key.event),
        None => println!("{ms:>10} {who:?} {step} {one} {two}"),
    }
}

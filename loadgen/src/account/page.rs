//! 65,536 events, two bits each.
//!
//! ```text
//! word n:  | event 32n+31 | … | event 32n+1 | event 32n |     bit 0 accepted, bit 1 delivered
//! ```

/// Events in a page.
pub(super) const PAGE_EVENTS: u64 = 1 << 16;
const EVENTS_A_WORD: u32 = 32;
const WORDS: usize = 2048;
const PLACES: u32 = 1 << 16;
const _: () = assert!(WORDS as u64 * EVENTS_A_WORD as u64 == PAGE_EVENTS);
const _: () = assert!(PLACES as u64 == PAGE_EVENTS);

/// A 201 was seen.
pub(super) const ACCEPTED: u64 = 1;
/// The sink took it.
pub(super) const DELIVERED: u64 = 2;
/// Both.
pub(super) const BOTH: u64 = 3;

/// A page.
#[derive(Clone, Debug, Default)]
pub(super) enum Page {
    /// No event in it has a bit.
    #[default]
    Empty,
    /// Some have.
    Open {
        /// The bits.
        words: Box<[u64; WORDS]>,
        /// How many events have both.
        done: u32,
    },
    /// All have both.
    Full,
}

impl Page {
    /// Sets a bit of the event at `place`; gives its bits as they were before.
    pub(super) fn set(&mut self, place: u32, bit: u64) -> u64 {
        if matches!(self, Self::Empty) {
            *self = Self::Open { words: Box::new([0; WORDS]), done: 0 };
        }
        let Self::Open { words, done } = self else { return BOTH };
        let shift = 2 * (place % EVENTS_A_WORD);
        let word = &mut words[(place / EVENTS_A_WORD) as usize];
        let before = (*word >> shift) & BOTH;
        *word |= bit << shift;
        if before != BOTH && before | bit == BOTH {
            *done += 1;
            if u64::from(*done) == PAGE_EVENTS {
                *self = Self::Full;
            }
        }
        before
    }

    /// The bits of the event at `place`.
    pub(super) fn bits(&self, place: u32) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Open { words, .. } => {
                (words[(place / EVENTS_A_WORD) as usize] >> (2 * (place % EVENTS_A_WORD))) & BOTH
            }
            Self::Full => BOTH,
        }
    }

    /// The places of the events that have exactly these bits.
    pub(super) fn with(&self, bits: u64) -> impl Iterator<Item = u32> + '_ {
        let open = matches!(self, Self::Open { .. });
        let places = if open { 0..PLACES } else { 0..0 };
        places.filter(move |&place| self.bits(place) == bits)
    }

    /// What it takes up.
    pub(super) const fn bytes(&self) -> u64 {
        match self {
            Self::Open { .. } => (WORDS * 8) as u64,
            Self::Empty | Self::Full => 0,
        }
    }
}

//! Identifiers: who (tenant), what (event), where to (endpoint).
//!
//! Invariant: an id has one spelling, so that texts can be compared, sorted and used as keys.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;
use ulid::Ulid;

use crate::Timestamp;

/// Why a text is not an identifier.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdError {
    /// Not `^[a-z0-9-]{3,50}$`.
    #[error("a tenant id is 3 to 50 characters of a-z, 0-9 and '-'")]
    Tenant,
    /// Not `evt_` and 26 characters.
    #[error("an event id is 'evt_' and 26 characters of 0-9 and A-Z without I, L, O, U")]
    Event,
}

/// A tenant's name: `^[a-z0-9-]{3,50}$`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// Parses a tenant id.
    ///
    /// # Errors
    /// [`IdError::Tenant`] where the text does not match `^[a-z0-9-]{3,50}$`.
    pub fn try_new(text: &str) -> Result<Self, IdError> {
        let lawful = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if (3..=50).contains(&text.len()) && text.bytes().all(lawful) {
            Ok(Self(text.into()))
        } else {
            Err(IdError::Tenant)
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The last millisecond that the 48 bits of an event id can name.
const MILLIS_MAX: u64 = (1 << 48) - 1;

/// A time-ordered event id: 48 bits of Unix milliseconds, 80 bits of chance (a ULID).
///
/// Written `evt_` and 26 characters of Crockford base 32, upper case only, so that the order of
/// the texts, of the numbers and of the creation times (to the millisecond) is the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(u128);

impl EventId {
    /// What every event id begins with.
    pub const PREFIX: &'static str = "evt_";
    /// The smallest id, for open ranges.
    pub const MIN: Self = Self(0);
    /// The largest id, for open ranges.
    pub const MAX: Self = Self(u128::MAX);

    /// The length of an id's text, in bytes.
    pub const TEXT_LEN: usize = Self::PREFIX.len() + ulid::ULID_LEN;

    /// An id created at `at`; `entropy` must be random in its low 80 bits.
    ///
    /// Times beyond the year 10889, which 48 bits cannot hold, become the last one that they can.
    #[must_use]
    pub const fn from_parts(at: Timestamp, entropy: u128) -> Self {
        let millis = if at.as_millis() < MILLIS_MAX { at.as_millis() } else { MILLIS_MAX };
        Self(Ulid::from_parts(millis, entropy).0)
    }

    /// The id as a number, the form that keys are made of.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        self.0
    }

    /// The id of a number that [`EventId::as_u128`] gave.
    #[must_use]
    pub const fn from_u128(number: u128) -> Self {
        Self(number)
    }

    /// Writes the id's text into `buffer`: what [`fmt::Display`] writes, without allocating.
    pub fn encode(self, buffer: &mut [u8; Self::TEXT_LEN]) -> &str {
        let (prefix, digits) = buffer.split_at_mut(Self::PREFIX.len());
        prefix.copy_from_slice(Self::PREFIX.as_bytes());
        let digits = digits.first_chunk_mut().expect("TEXT_LEN has room for the digits");
        Ulid(self.0).array_to_str(digits);
        str::from_utf8(buffer).expect("prefix and digits are ASCII")
    }

    /// When the event was accepted, to the millisecond.
    #[must_use]
    pub const fn created_at(self) -> Timestamp {
        Timestamp::from_millis((self.0 >> 80) as u64)
    }
}

impl FromStr for EventId {
    type Err = IdError;

    /// Accepts exactly what [`fmt::Display`] writes: an id has one spelling.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let digits = text.strip_prefix(Self::PREFIX).ok_or(IdError::Event)?;
        let ulid = Ulid::from_string(digits).map_err(|_| IdError::Event)?;
        let mut canonical = [0; ulid::ULID_LEN];
        if ulid.array_to_str(&mut canonical) == digits {
            Ok(Self(ulid.0))
        } else {
            Err(IdError::Event)
        }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.encode(&mut [0; Self::TEXT_LEN]))
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An endpoint of a tenant. Today every tenant has exactly one, [`EndpointId::DEFAULT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(u16);

impl EndpointId {
    /// The one endpoint that every tenant has.
    pub const DEFAULT: Self = Self(0);

    /// The endpoint as a number, the form that keys are made of.
    #[must_use]
    pub const fn as_u16(self) -> u16 {
        self.0
    }

    /// The endpoint of a number that [`EndpointId::as_u16`] gave.
    #[must_use]
    pub const fn from_u16(number: u16) -> Self {
        Self(number)
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("default"),
            n => write!(f, "ep_{n}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// For all numbers: the text parses back, and text order is number order.
        #[test]
        fn event_ids_are_their_text(one: u128, other: u128) {
            let (a, b) = (EventId::from_u128(one), EventId::from_u128(other));
            prop_assert_eq!(a.to_string().parse(), Ok(a));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
            let mut buffer = [0; EventId::TEXT_LEN];
            prop_assert_eq!(a.encode(&mut buffer), a.to_string());
        }

        /// For all times: ids of a later time are larger, whatever the entropy.
        #[test]
        fn event_ids_grow_with_time(at in 0..MILLIS_MAX, later: u64, x: u128, y: u128) {
            let late = Timestamp::from_millis(at.saturating_add(later).max(at + 1));
            let early = EventId::from_parts(Timestamp::from_millis(at), x);
            prop_assert!(early < EventId::from_parts(late, y));
            prop_assert_eq!(early.created_at(), Timestamp::from_millis(at));
        }

        /// For all texts: what parses is written the same way.
        #[test]
        fn what_parses_is_written_alike(text in "evt_[0-9A-Za-z]{25,27}") {
            if let Ok(id) = text.parse::<EventId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn tenant_ids_follow_the_pattern() {
        for good in ["abc", "a-1", &"x".repeat(50)] {
            assert_eq!(TenantId::try_new(good).unwrap().as_str(), good);
        }
        for bad in
            ["", "ab", "Abc", "a_b", "a b", "äbc", "../x", "__GLOBAL_CONFIG__", &"x".repeat(51)]
        {
            assert_eq!(TenantId::try_new(bad), Err(IdError::Tenant), "{bad}");
        }
    }

    /// For all ids: text order is number order, and the text parses back.
    #[test]
    fn event_ids_sort_as_text_and_round_trip() {
        let at = |ms, entropy| EventId::from_parts(Timestamp::from_millis(ms), entropy);
        let ids =
            [at(0, 0), at(1, 5), at(1, 6), at(1_800_000_000_000, 1), at(1_800_000_000_001, 0)];
        for pair in ids.windows(2) {
            assert!(pair[0] < pair[1]);
            assert!(pair[0].to_string() < pair[1].to_string());
        }
        for id in ids {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert_eq!(ids[3].created_at(), Timestamp::from_millis(1_800_000_000_000));
    }

    #[test]
    fn an_event_id_has_one_spelling() {
        let text = EventId::from_parts(Timestamp::from_millis(1_800_000_000_000), 77).to_string();
        let lower = format!("evt_{}", text[4..].to_lowercase());
        for bad in [&lower[..], &text[4..], "evt_", "", "evt_8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "evt_x"] {
            assert_eq!(bad.parse::<EventId>(), Err(IdError::Event), "{bad}");
        }
    }
}

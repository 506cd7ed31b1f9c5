//! Payloads: made beforehand from a seed or taken from a file, each with a tag that is written in
//! when it is sent.
//!
//! ```text
//! {"loadgen":"RRRRRRRR-SSSSSSSSSSSSSSSS-DDDDDDDDDDDDDDDD-TTTTTTTT",…
//!             run      sequence         due (ns)         tenant       all hex digits
//! ```
//! The tag stands at the same place in every payload, so that the sink reads it without parsing
//! JSON, works out which bytes must follow, and compares them. Two runs with one seed send the
//! same bytes but for run and due time.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::chance::{Chance, mix};
use crate::clock::Nanos;
use crate::scenario::PayloadPlan;

/// What every payload begins with.
const OPEN: &[u8] = b"{\"loadgen\":\"";
/// Digits and dashes of a tag.
const TAG_BYTES: usize = 8 + 1 + 16 + 1 + 16 + 1 + 8;
/// What differs from event to event, closing quote included.
const HEAD_BYTES: usize = OPEN.len() + TAG_BYTES + 1;

/// Which event a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The run, so that an older one's deliveries are not counted.
    pub run: u32,
    /// The event's number.
    pub sequence: u64,
    /// When it was to be sent.
    pub due: Nanos,
    /// Whose it is.
    pub tenant: u32,
}

impl Tag {
    /// The tag that stands at the beginning of a payload.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Self> {
        let tag = body.strip_prefix(OPEN)?.get(..TAG_BYTES)?;
        let dashes = tag[8] == b'-' && tag[25] == b'-' && tag[42] == b'-';
        let small = |digits| u32::try_from(hex(digits)?).ok();
        dashes.then_some(Self {
            run: small(&tag[..8])?,
            sequence: hex(&tag[9..25])?,
            due: hex(&tag[26..42])?,
            tenant: small(&tag[43..])?,
        })
    }

    /// The first tag in a text that holds a payload somewhere, as an answer of an API does.
    #[must_use]
    pub fn find(text: &[u8]) -> Option<Self> {
        // White space may stand between; the system may have parsed and written it again.
        let name = b"\"loadgen\"";
        let at = text.windows(name.len()).position(|window| window == name)? + name.len();
        let rest = text.get(at..)?;
        let quote = rest.iter().position(|&byte| byte == b'"')?;
        let mut body = OPEN.to_vec();
        body.extend_from_slice(rest.get(quote + 1..quote + 1 + TAG_BYTES)?);
        Self::read(&body)
    }

    fn write(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(OPEN);
        push_hex(into, self.run.into(), 8);
        into.push(b'-');
        push_hex(into, self.sequence, 16);
        into.push(b'-');
        push_hex(into, self.due, 16);
        into.push(b'-');
        push_hex(into, self.tenant.into(), 8);
        into.push(b'"');
    }
}

fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, &digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u64::from(value))
    })
}

fn push_hex(into: &mut Vec<u8>, number: u64, digits: u32) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for place in (0..digits).rev() {
        into.push(DIGITS[(number >> (4 * place) & 15) as usize]);
    }
}

/// Why payloads cannot be had.
#[derive(Debug, Error)]
pub enum PayloadError {
    /// The file cannot be read.
    #[error("cannot read the payloads of {path}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It holds something else than JSON objects.
    #[error("{path}: entry {entry} is no JSON object (they stand one a line or in an array)")]
    Form {
        /// Which file.
        path: PathBuf,
        /// Which entry of it, from 1 on.
        entry: usize,
    },
    /// It holds nothing.
    #[error("{path} has no payloads")]
    Empty {
        /// Which file.
        path: PathBuf,
    },
}

/// All payloads of a run.
#[derive(Clone, Debug)]
pub struct Payloads {
    seed: u64,
    /// What follows the tag, in each of them.
    // Invariant: not empty.
    tails: Vec<Box<[u8]>>,
}

impl Payloads {
    /// Makes or reads them.
    ///
    /// # Errors
    /// [`PayloadError`], where they come from a file.
    pub fn prepare(plan: &PayloadPlan, seed: u64) -> Result<Self, PayloadError> {
        let tails = match &plan.file {
            Some(path) => read(path)?,
            None => (0..plan.variants).map(|variant| made(plan.bytes, seed, variant)).collect(),
        };
        Ok(Self { seed: mix(seed, 0x7061_796C), tails })
    }

    /// Writes the payload of an event.
    pub fn write(&self, tag: &Tag, into: &mut Vec<u8>) {
        tag.write(into);
        into.extend_from_slice(self.tail(tag.sequence));
    }

    /// How long the payload of an event is.
    #[must_use]
    pub fn length(&self, sequence: u64) -> usize {
        HEAD_BYTES + self.tail(sequence).len()
    }

    /// Whether these are the bytes that were sent.
    #[must_use]
    pub fn matches(&self, tag: &Tag, body: &[u8]) -> bool {
        // The head has been read; only a lower-case digit reads as what it is.
        body.get(HEAD_BYTES - 1) == Some(&b'"')
            && body.get(HEAD_BYTES..) == Some(self.tail(tag.sequence))
    }

    /// The length of a payload, on average over the different ones.
    #[must_use]
    pub fn mean_length(&self) -> f64 {
        let sum: usize = self.tails.iter().map(|tail| HEAD_BYTES + tail.len()).sum();
        sum as f64 / self.tails.len() as f64
    }

    fn tail(&self, sequence: u64) -> &[u8] {
        let index = mix(self.seed, sequence) % self.tails.len() as u64;
        &self.tails[usize::try_from(index).unwrap_or(0)]
    }
}

/// The rest of a payload that looks like a business event and has the wanted length.
fn made(bytes: u64, seed: u64, variant: u32) -> Box<[u8]> {
    const LETTERS: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .";
    let mut chance = Chance::new(seed, u64::from(variant) + 1);
    let wanted = usize::try_from(bytes).unwrap_or(usize::MAX).saturating_sub(HEAD_BYTES);
    let mut tail =
        format!(",\"type\":\"order.paid\",\"amount\":{},\"note\":\"", chance.bits() % 100_000)
            .into_bytes();
    while tail.len() + 2 < wanted {
        tail.push(LETTERS[(chance.bits() & 63) as usize]);
    }
    tail.extend_from_slice(b"\"}");
    tail.into()
}

/// Objects, one a line or in an array.
fn read(path: &Path) -> Result<Vec<Box<[u8]>>, PayloadError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| PayloadError::File { path: path.to_owned(), source })?;
    let form = |entry| PayloadError::Form { path: path.to_owned(), entry };
    let objects: Vec<&str> = if text.trim_start().starts_with('[') {
        let values: Vec<&serde_json::value::RawValue> =
            serde_json::from_str(&text).map_err(|_| form(1))?;
        values.into_iter().map(serde_json::value::RawValue::get).collect()
    } else {
        text.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
    };
    if objects.is_empty() {
        return Err(PayloadError::Empty { path: path.to_owned() });
    }
    let tail = |(index, object): (usize, &str)| {
        let is_object = serde_json::from_str::<serde_json::Map<_, _>>(object).is_ok();
        let inner = object.trim().strip_prefix('{').filter(|_| is_object);
        let inner = inner.ok_or_else(|| form(index + 1))?.trim_start();
        // An empty object's brace follows the tag without a comma.
        let comma = if inner.starts_with('}') { "" } else { "," };
        Ok(format!("{comma}{inner}").into_bytes().into())
    };
    objects.into_iter().enumerate().map(tail).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: PayloadPlan = PayloadPlan { bytes: 512, variants: 8, file: None };

    fn tag(sequence: u64) -> Tag {
        Tag { run: 0xDEAD_BEEF, sequence, due: 123_456_789_012, tenant: 77 }
    }

    fn body(payloads: &Payloads, tag: &Tag) -> Vec<u8> {
        let mut body = Vec::new();
        payloads.write(tag, &mut body);
        body
    }

    #[test]
    fn a_payload_has_its_length_is_json_and_tells_its_event() {
        let payloads = Payloads::prepare(&PLAN, 5).unwrap();
        for sequence in [0, 1, 2, 1 << 40, u64::MAX] {
            let body = body(&payloads, &tag(sequence));
            assert_eq!((body.len(), payloads.length(sequence)), (512, 512));
            assert_eq!(Tag::read(&body), Some(tag(sequence)));
            assert!(payloads.matches(&tag(sequence), &body));
            let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(Tag::find(value.to_string().as_bytes()), Some(tag(sequence)));
            assert_eq!(Tag::find(format!("{value:#}").as_bytes()), Some(tag(sequence)));
        }
    }

    /// For all places: a changed byte is noticed, by the tag or by the comparison.
    #[test]
    fn a_changed_byte_is_noticed_wherever_it_is() {
        let payloads = Payloads::prepare(&PLAN, 5).unwrap();
        let sent = tag(9);
        let right = body(&payloads, &sent);
        for place in 0..right.len() {
            let mut wrong = right.clone();
            wrong[place] ^= 1;
            let same =
                Tag::read(&wrong).is_some_and(|tag| tag == sent && payloads.matches(&tag, &wrong));
            assert!(!same, "byte {place}");
        }
        let same = |body: &[u8]| payloads.matches(&sent, body);
        assert!(!same(&right[..511]) && !same(&[right.as_slice(), b" "].concat()) && !same(b""));
    }

    #[test]
    fn the_same_seed_makes_the_same_bytes() {
        let make = |seed| body(&Payloads::prepare(&PLAN, seed).unwrap(), &tag(3));
        assert_eq!(make(1), make(1));
        assert_ne!(make(1), make(2));
    }

    #[test]
    fn real_payloads_are_taken_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("payloads");
        let plan = PayloadPlan { file: Some(path.clone()), ..PLAN };
        for text in ["{\"a\": 1}\n\n{}\n", "[{\"a\": 1}, {} ]"] {
            std::fs::write(&path, text).unwrap();
            let payloads = Payloads::prepare(&plan, 1).unwrap();
            let tails: Vec<&[u8]> = payloads.tails.iter().map(AsRef::as_ref).collect();
            assert_eq!(tails, [b",\"a\": 1}".as_slice(), b"}"]);
            for sequence in 0..8 {
                let body = body(&payloads, &tag(sequence));
                serde_json::from_slice::<serde_json::Value>(&body).unwrap();
            }
        }
        for text in ["", "[]", "[1]", "{}\nnull\n", "{", "[{}"] {
            std::fs::write(&path, text).unwrap();
            assert!(Payloads::prepare(&plan, 1).is_err(), "{text}");
        }
    }
}

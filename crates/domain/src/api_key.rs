//! API keys: random, recognisable, with a checksum; stored only as SHA-256.
//!
//! Refuses keys of another make, guessable ones among them, before anything is looked up. Never
//! shows a key in `Debug`; nothing here implements `Display` for one.
//!
//! Invariant: an [`ApiKey`] has the right form and checksum.

use std::fmt;

use ring::digest;
use thiserror::Error;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62^43 > 2^256: 43 digits hold 32 random bytes.
const RANDOM_DIGITS: usize = 43;
/// 62^6 > 2^32: 6 digits hold a CRC-32.
const CHECKSUM_DIGITS: usize = 6;

/// The text is not an API key of ours: wrong prefix, length, alphabet or checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not an API key of this system (wrong prefix, length or checksum)")]
pub struct ApiKeyError;

/// An API key: `phk_`, 43 base-62 digits of chance, 6 of checksum. `Debug` hides it.
///
/// The prefix lets secret scanners find leaked keys, the checksum lets the authorizer turn away
/// mistyped ones without a look-up.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(Box<str>);

impl ApiKey {
    /// What every key begins with.
    pub const PREFIX: &'static str = "phk_";

    /// Makes a key of 32 random bytes.
    #[must_use]
    pub fn from_entropy(entropy: &[u8; 32]) -> Self {
        let mut text = String::from(Self::PREFIX);
        push_base62(&mut text, *entropy, RANDOM_DIGITS);
        let checksum = checksum(text.as_bytes());
        text.push_str(&checksum);
        Self(text.into())
    }

    /// Parses a key, checking form and checksum.
    ///
    /// # Errors
    /// [`ApiKeyError`]; nothing tells which part was wrong.
    pub fn parse(text: &str) -> Result<Self, ApiKeyError> {
        let digits = text.strip_prefix(Self::PREFIX).ok_or(ApiKeyError)?;
        let lawful = digits.len() == RANDOM_DIGITS + CHECKSUM_DIGITS
            && digits.bytes().all(|b| b.is_ascii_alphanumeric());
        if !lawful {
            return Err(ApiKeyError);
        }
        let (body, sum) = text.split_at(text.len() - CHECKSUM_DIGITS);
        if checksum(body.as_bytes()) == sum { Ok(Self(text.into())) } else { Err(ApiKeyError) }
    }

    /// The key itself, for the one answer that shows it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored instead of the key.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, self.0.as_bytes()).as_ref());
        KeyHash(hash)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(hidden)")
    }
}

/// SHA-256 of an API key. Not a secret: the key has 256 bits of chance.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash of stored bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The hash's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Twelve hex digits that name a key in lists, logs and routes.
    #[must_use]
    pub fn key_id(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Appends `digits` base-62 digits of the big-endian number `number`, lowest first.
fn push_base62<const N: usize>(text: &mut String, mut number: [u8; N], digits: usize) {
    for _ in 0..digits {
        let mut remainder = 0_u16;
        for byte in &mut number {
            let value = (remainder << 8) | u16::from(*byte);
            *byte = (value / 62).to_le_bytes()[0];
            remainder = value % 62;
        }
        text.push(char::from(ALPHABET[usize::from(remainder)]));
    }
}

/// CRC-32 (IEEE) of `bytes` in six base-62 digits. Bit by bit: it runs once a request at most.
fn checksum(bytes: &[u8]) -> String {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    let mut text = String::new();
    push_base62(&mut text, (!crc).to_be_bytes(), CHECKSUM_DIGITS);
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_key_parses_back_and_hashes_alike(entropy: [u8; 32]) {
            let key = ApiKey::from_entropy(&entropy);
            let parsed = ApiKey::parse(key.expose()).unwrap();
            prop_assert_eq!(key.hash(), parsed.hash());
        }

        /// For all keys and places: a changed character is refused without a look-up.
        #[test]
        fn a_changed_character_is_refused(
            entropy: [u8; 32], place in 0_usize..53, to in 0_usize..62,
        ) {
            let key = ApiKey::from_entropy(&entropy);
            let mut text = key.expose().as_bytes().to_vec();
            prop_assume!(text[place] != ALPHABET[to]);
            text[place] = ALPHABET[to];
            prop_assert!(ApiKey::parse(std::str::from_utf8(&text).unwrap()).is_err());
        }
    }

    /// The checksum is CRC-32 as everyone computes it; the value is from another program.
    #[test]
    fn the_checksum_is_the_common_crc_32() {
        assert_eq!(checksum(b"123456789"), "EMRZj3");
    }

    #[test]
    fn debug_hides_the_key() {
        let key = ApiKey::from_entropy(&[7; 32]);
        assert_eq!(format!("{key:?}"), "ApiKey(hidden)");
        assert!(key.hash().to_string().starts_with(&key.hash().key_id()));
    }

    #[test]
    fn foreign_keys_are_refused() {
        for bad in ["", "phk_", "tenant_acme_key", "phk_ü", &format!("phk_{}", "0".repeat(49))] {
            assert!(ApiKey::parse(bad).is_err(), "{bad}");
        }
    }
}

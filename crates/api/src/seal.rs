//! Tokens that clients hand back to us: opaque to them, and unforgeable.
//!
//! ```text
//! base64url( payload | HMAC-SHA256(key, context | payload)[..16] )
//! ```
//! The context (what the token is for, whose, of which query) is not in the token, so that a
//! token shown in another context does not open. Nothing secret is put into a payload.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use crate::constant_time;

/// 128 bits cannot be guessed, and keep URLs short.
const TAG_BYTES: usize = 16;
/// Our longest token has about 130 characters.
const TOKEN_CHARS_MAX: usize = 512;

/// Seals and opens tokens with one key.
#[derive(Debug)]
pub(crate) struct Sealer {
    key: hmac::Key,
}

impl Sealer {
    pub(crate) fn new(key: &[u8]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key) }
    }

    /// A token that opens only in this context.
    pub(crate) fn seal(&self, context: &[&str], payload: &[u8]) -> String {
        let mut bytes = payload.to_vec();
        bytes.extend_from_slice(&self.tag(context, payload));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The payload of a token that [`Sealer::seal`] made in this context.
    pub(crate) fn open(&self, context: &[&str], token: &str) -> Option<Vec<u8>> {
        if token.len() > TOKEN_CHARS_MAX {
            return None;
        }
        let mut bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let payload_len = bytes.len().checked_sub(TAG_BYTES)?;
        let (payload, tag) = bytes.split_at(payload_len);
        if !constant_time::equal(&self.tag(context, payload), tag) {
            return None;
        }
        bytes.truncate(payload_len);
        Some(bytes)
    }

    fn tag(&self, context: &[&str], payload: &[u8]) -> [u8; TAG_BYTES] {
        let mut hmac = hmac::Context::with_key(&self.key);
        // Lengths first, so that parts cannot be moved from one to the next.
        hmac.update(&(context.len() as u64).to_be_bytes());
        for part in context {
            hmac.update(&(part.len() as u64).to_be_bytes());
            hmac.update(part.as_bytes());
        }
        hmac.update(payload);
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&hmac.sign().as_ref()[..TAG_BYTES]);
        tag
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sealer() -> Sealer {
        Sealer::new(&[7; 32])
    }

    proptest! {
        #[test]
        fn a_token_opens_in_its_context(payload: Vec<u8>, a in ".{0,20}", b in ".{0,20}") {
            prop_assume!(payload.len() < 300);
            let token = sealer().seal(&[&a, &b], &payload);
            prop_assert_eq!(sealer().open(&[&a, &b], &token), Some(payload));
        }

        /// For all tokens and places: a changed character opens nothing.
        #[test]
        fn a_changed_token_does_not_open(payload: [u8; 25], place: usize, to in "[A-Za-z0-9_-]") {
            let token = sealer().seal(&["x"], &payload);
            let place = place % token.len();
            prop_assume!(token[place..=place] != to);
            let changed = format!("{}{to}{}", &token[..place], &token[place + 1..]);
            prop_assert_eq!(sealer().open(&["x"], &changed), None);
        }

        #[test]
        fn garbage_does_not_open(token in ".{0,600}") {
            prop_assert_eq!(sealer().open(&["x"], &token), None);
        }
    }

    #[test]
    fn another_context_or_key_does_not_open() {
        let token = sealer().seal(&["ab", "c"], b"payload");
        for context in [&["a", "bc"][..], &["ab"], &["ab", "c", ""], &["abc"], &[]] {
            assert_eq!(sealer().open(context, &token), None, "{context:?}");
        }
        assert_eq!(Sealer::new(&[8; 32]).open(&["ab", "c"], &token), None);
    }
}

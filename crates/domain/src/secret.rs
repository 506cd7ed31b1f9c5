//! Webhook signing secrets and their rotation.
//!
//! Refuses secrets that a header or a configuration file would mangle. Never shows a secret in
//! `Debug`; nothing here implements `Display`.
//!
//! Invariant: a tenant always has exactly one current secret, and at most four older ones.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode::RequireNone;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD, STANDARD};
use smallvec::SmallVec;
use thiserror::Error;

use crate::Timestamp;

/// Old secrets kept beside the current one; rotating more often drops the oldest, so that the
/// signature header stays short.
const PREVIOUS_MAX: usize = 4;
const LEN_MIN: usize = 8;
const LEN_MAX: usize = 256;

/// How the Standard Webhooks libraries read a key: padding or not, and whatever bits are left over.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    NO_PAD.with_decode_padding_mode(RequireNone).with_decode_allow_trailing_bits(true),
);

/// Why a text cannot be a webhook secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SecretError {
    /// Too short or too long.
    #[error("a webhook secret is {LEN_MIN} to {LEN_MAX} characters long")]
    Length,
    /// Not printable ASCII without spaces.
    #[error("a webhook secret has only printable ASCII characters and no space")]
    Character,
}

/// A secret that signs deliveries. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(Box<str>);

impl WebhookSecret {
    /// What a generated secret begins with, as Standard Webhooks asks.
    pub const PREFIX: &'static str = "whsec_";

    /// Takes a secret that a tenant chose.
    ///
    /// # Errors
    /// [`SecretError`] where it is not 8 to 256 printable ASCII characters.
    pub fn try_new(text: &str) -> Result<Self, SecretError> {
        if !(LEN_MIN..=LEN_MAX).contains(&text.len()) {
            return Err(SecretError::Length);
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(SecretError::Character);
        }
        Ok(Self(text.into()))
    }

    /// Makes a secret of 32 random bytes.
    #[must_use]
    pub fn from_entropy(entropy: &[u8; 32]) -> Self {
        Self(format!("{}{}", Self::PREFIX, STANDARD.encode(entropy)).into())
    }

    /// The secret itself. Only for signing, storing, and the one answer that shows it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The key for Standard Webhooks: the base64 after `whsec_` where it decodes, padded or not,
    /// else the secret's own bytes.
    #[must_use]
    pub(crate) fn standard_key(&self) -> Vec<u8> {
        self.0
            .strip_prefix(Self::PREFIX)
            .and_then(|rest| LENIENT.decode(rest.trim_end_matches('=')).ok())
            .filter(|key| !key.is_empty())
            .unwrap_or_else(|| self.0.as_bytes().to_vec())
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(hidden)")
    }
}

/// A tenant's secrets: the current one, and older ones that still sign until their overlap ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningSecrets {
    current: WebhookSecret,
    // Invariant: newest first, at most PREVIOUS_MAX.
    previous: SmallVec<[(WebhookSecret, Timestamp); 1]>,
}

impl SigningSecrets {
    /// One secret.
    #[must_use]
    pub fn new(current: WebhookSecret) -> Self {
        Self { current, previous: SmallVec::new() }
    }

    /// Rebuilds what was stored: the current secret and older ones (newest first) with the times
    /// at which they end. More than four older ones are cut.
    #[must_use]
    pub fn from_parts(
        current: WebhookSecret,
        previous: impl IntoIterator<Item = (WebhookSecret, Timestamp)>,
    ) -> Self {
        Self { current, previous: previous.into_iter().take(PREVIOUS_MAX).collect() }
    }

    /// The newest secret.
    #[must_use]
    pub const fn current(&self) -> &WebhookSecret {
        &self.current
    }

    /// The older secrets, newest first, with the times at which they end.
    #[must_use]
    pub fn previous(&self) -> &[(WebhookSecret, Timestamp)] {
        &self.previous
    }

    /// The secrets that sign at `now`, newest first.
    pub fn live(&self, now: Timestamp) -> impl Iterator<Item = &WebhookSecret> {
        let older = self.previous.iter().filter(move |(_, ends)| now < *ends);
        std::iter::once(&self.current).chain(older.map(|(secret, _)| secret))
    }

    /// Makes `new` the current secret; the one before signs on for `overlap_ms`.
    ///
    /// Setting the current secret again changes nothing. Older secrets keep the ends that they
    /// had, where those come sooner: after a change without overlap only the new one signs. The
    /// one that becomes current again and those beyond the fourth are dropped.
    #[must_use]
    pub fn rotated(&self, new: WebhookSecret, now: Timestamp, overlap_ms: u64) -> Self {
        if new == self.current {
            return self.clone();
        }
        let last = now.plus_millis(overlap_ms);
        let older = self.previous.iter().map(|(secret, ends)| (secret, last.min(*ends)));
        let previous = [(&self.current, last)]
            .into_iter()
            .chain(older)
            .filter(|(secret, ends)| now < *ends && **secret != new)
            .take(PREVIOUS_MAX)
            .map(|(secret, ends)| (secret.clone(), ends))
            .collect();
        Self { current: new, previous }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> WebhookSecret {
        WebhookSecret::try_new(text).unwrap()
    }

    #[test]
    fn an_old_secret_signs_until_its_overlap_ends() {
        let start = Timestamp::from_millis(1000);
        let both =
            SigningSecrets::new(secret("old-secret")).rotated(secret("new-secret"), start, 500);
        let live = |ms| {
            both.live(Timestamp::from_millis(ms)).map(WebhookSecret::expose).collect::<Vec<_>>()
        };
        assert_eq!(live(1499), ["new-secret", "old-secret"]);
        assert_eq!(live(1500), ["new-secret"]);
    }

    #[test]
    fn rotating_back_does_not_sign_twice() {
        let now = Timestamp::ZERO;
        let secrets = SigningSecrets::new(secret("aaaaaaaa"))
            .rotated(secret("bbbbbbbb"), now, 9)
            .rotated(secret("aaaaaaaa"), now, 9);
        let live: Vec<_> = secrets.live(now).map(WebhookSecret::expose).collect();
        assert_eq!(live, ["aaaaaaaa", "bbbbbbbb"]);
    }

    #[test]
    fn without_overlap_the_old_secret_is_gone_at_once() {
        let secrets = SigningSecrets::new(secret("old-secret"));
        let rotated = secrets.rotated(secret("new-secret"), Timestamp::ZERO, 0);
        assert!(rotated.previous().is_empty());
        assert_eq!(rotated.current().expose(), "new-secret");
    }

    /// A secret that has leaked may have been replaced before anybody knew.
    #[test]
    fn without_overlap_no_older_secret_signs_on() {
        let now = Timestamp::from_millis(1);
        let secrets = SigningSecrets::new(secret("aaaaaaaa")).rotated(secret("bbbbbbbb"), now, 999);
        let shorter = secrets.rotated(secret("cccccccc"), now, 9);
        assert!(shorter.previous().iter().all(|(_, ends)| *ends == now.plus_millis(9)));
        assert!(secrets.rotated(secret("cccccccc"), now, 0).previous().is_empty());
    }

    #[test]
    fn setting_the_current_secret_again_changes_nothing() {
        let secrets = SigningSecrets::new(secret("aaaaaaaa"));
        assert_eq!(secrets.rotated(secret("aaaaaaaa"), Timestamp::ZERO, 9), secrets);
    }

    #[test]
    fn many_rotations_keep_the_four_newest_old_secrets() {
        let now = Timestamp::from_millis(1);
        let mut secrets = SigningSecrets::new(secret("secret-0"));
        for n in 1..=9 {
            secrets = secrets.rotated(secret(&format!("secret-{n}")), now, 1000);
        }
        let live: Vec<_> = secrets.live(now).map(WebhookSecret::expose).collect();
        assert_eq!(live, ["secret-9", "secret-8", "secret-7", "secret-6", "secret-5"]);
        let rebuilt = SigningSecrets::from_parts(
            secrets.current().clone(),
            secrets.previous().iter().cloned().chain([(secret("one-more"), now)]),
        );
        assert_eq!(rebuilt, secrets);
    }

    #[test]
    fn secrets_are_8_to_256_printable_characters() {
        for good in ["12345678", &"~".repeat(256), "whsec_!?"] {
            assert_eq!(WebhookSecret::try_new(good).map(|s| s.expose() == good), Ok(true));
        }
        for bad in ["", "1234567", &"x".repeat(257)] {
            assert_eq!(WebhookSecret::try_new(bad), Err(SecretError::Length), "{bad}");
        }
        for bad in
            ["with space", "line\nbreak", "tab\ttab!", "nul\0nul!", "größer als", "\u{7f}1234567"]
        {
            assert_eq!(WebhookSecret::try_new(bad), Err(SecretError::Character), "{bad:?}");
        }
    }

    #[test]
    fn a_generated_secret_is_a_lawful_one_and_its_key_is_the_entropy() {
        let made = WebhookSecret::from_entropy(&[0xfb; 32]);
        assert_eq!(WebhookSecret::try_new(made.expose()).as_ref(), Ok(&made));
        assert_eq!(made.standard_key(), [0xfb; 32]);
    }

    #[test]
    fn a_standard_key_is_the_secret_itself_where_it_is_no_base64() {
        for text in ["plain-secret", "whsec_no-base64!", "whsec_", "whsec_QUJDR", "QUJDREVGRw=="] {
            let key = WebhookSecret(text.into()).standard_key();
            assert_eq!(key, text.as_bytes(), "{text}");
        }
        for text in ["whsec_QUJDREU=", "whsec_QUJDREU", "whsec_QUJDREU=="] {
            assert_eq!(WebhookSecret(text.into()).standard_key(), b"ABCDE", "{text}");
        }
    }

    #[test]
    fn debug_hides_the_secret() {
        assert!(!format!("{:?}", SigningSecrets::new(secret("hush-hush"))).contains("hush"));
    }
}

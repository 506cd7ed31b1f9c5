//! Signature headers at the receiver: what passes was signed by one who has the secret.

use posthaste_domain::{
    SIGNATURE_TOLERANCE_S, SigningKey, Timestamp, VerifyError, WebhookSecret, stripe_signature,
    verify_stripe,
};

use crate::input::{Input, text};

const NOW_S: u64 = 1_800_000_000;

/// How a header is verified: the control has a way that is wrong.
pub(crate) type Verify = fn(&str, &SigningKey, &[u8], Timestamp) -> Result<(), VerifyError>;

/// A header, as a stranger made it or as we did and somebody changed it.
pub(crate) fn signature(data: &[u8]) {
    signature_by(data, |header, key, body, now| verify_stripe(header, [key], body, now));
}

pub(crate) fn signature_by(data: &[u8], verify: Verify) {
    let secret = WebhookSecret::try_new("a-secret-of-the-fuzzer").expect("a lawful secret");
    let key = SigningKey::new(&secret);
    let now = Timestamp::from_millis(NOW_S * 1000);
    let mut input = Input(data);
    let is_signed = input.byte() & 1 == 1;
    let header = if is_signed { changed(&mut input, &key) } else { input.line().to_vec() };
    let body = input.0;
    let Some(header) = text(&header) else { return };
    let verified = verify(header, &key, body, now);
    assert_eq!(verified.is_ok(), is_right(header, &key, body), "{header:?}: {verified:?}");
}

/// Our own header of what follows the changes, after the changes.
fn changed(input: &mut Input<'_>, key: &SigningKey) -> Vec<u8> {
    let late = i64::from(i16::from_le_bytes(input.array())) % 400;
    let changes = input.byte() % 4;
    let edits: Vec<[u8; 3]> = (0..changes).map(|_| input.array()).collect();
    let at = Timestamp::from_millis(NOW_S.saturating_add_signed(late) * 1000);
    let mut header = stripe_signature([key], at, input.0).into_bytes();
    for [what, place, byte] in edits {
        let place = usize::from(place) % (header.len() + 1);
        match what % 5 {
            0 if place < header.len() => header[place] = byte,
            1 => header.insert(place, byte),
            2 if place < header.len() => drop(header.remove(place)),
            3 => header.truncate(place),
            4 => header = [&header[place..], b",", &header[..place]].concat(),
            _ => {}
        }
    }
    header
}

/// The rules again, written the slow way: one `t` in its shortest form and within the tolerance;
/// among the first ten `v1` one that is the digest, in lower case; every field has an `=`;
/// nothing but visible ASCII; not too long.
fn is_right(header: &str, key: &SigningKey, body: &[u8]) -> bool {
    let fields: Option<Vec<(&str, &str)>> = header.split(',').map(|f| f.split_once('=')).collect();
    let Some(fields) = fields else { return false };
    let times: Vec<&str> = fields.iter().filter(|(n, _)| *n == "t").map(|(_, v)| *v).collect();
    let [time] = times.as_slice() else { return false };
    let Ok(seconds) = time.parse::<u64>() else { return false };
    if seconds.to_string() != *time || seconds.abs_diff(NOW_S) > SIGNATURE_TOLERANCE_S {
        return false;
    }
    let at = Timestamp::from_millis(seconds * 1000);
    let ours = stripe_signature([key], at, body);
    let digest = ours.split_once("v1=").map(|(_, digest)| digest);
    let mut candidates = fields.iter().filter(|(name, _)| *name == "v1").take(10);
    candidates.any(|(_, value)| Some(*value) == digest)
        && header.len() <= 4096
        && header.bytes().all(|byte| byte.is_ascii_graphic())
}

//! Targets with a fault in what they try: whoever runs targets must find it, or finds nothing.

use std::net::IpAddr;

use posthaste_domain::{
    AddressPolicy, AddressRefused, SigningKey, TargetError, TargetUrl, Timestamp, VerifyError,
    verify_stripe,
};
use posthaste_embedded::codec::{CodecError, Decodable};

use crate::ledger::{Reader, ledger_record_by};
use crate::{Target, address, signature};

/// Each beside the target whose corpus finds it.
pub const CONTROLS: &[(&str, Target)] = &[
    ("target_url", Target { name: "wrong_guard", run: wrong_guard }),
    ("signature", Target { name: "wrong_verify", run: wrong_verify }),
    ("ledger_record", Target { name: "wrong_codec", run: wrong_codec }),
];

/// A guard that knows the private ranges of IPv4 and not what carries them.
fn wrong_guard(data: &[u8]) {
    address::target_url_by(data, |text, policy: &AddressPolicy| {
        let target = TargetUrl::parse_stored(text)?;
        match target.vet(policy) {
            Err(TargetError::Address(AddressRefused { address: IpAddr::V6(_), .. })) => Ok(target),
            other => other.map(|()| target),
        }
    });
}

/// A verifier that takes the digits in upper case, too.
fn wrong_verify(data: &[u8]) {
    signature::signature_by(data, |header: &str, key: &SigningKey, body: &[u8], now: Timestamp| {
        let exact = verify_stripe(header, [key], body, now);
        let lower = header.to_ascii_lowercase();
        exact.or_else(|_: VerifyError| verify_stripe(&lower, [key], body, now))
    });
}

/// A reader of records that does not look at their checksums.
struct Unchecked;

impl Reader for Unchecked {
    fn decode<R: Decodable>(bytes: &[u8]) -> Result<R, CodecError> {
        let (framed, _) = bytes.split_last_chunk::<4>().ok_or(CodecError::Short)?;
        let (version, body) = framed.split_first().ok_or(CodecError::Short)?;
        R::read(*version, body)
    }
}

fn wrong_codec(data: &[u8]) {
    ledger_record_by::<Unchecked>(data);
}

//! Looks at a delivery: is it what was sent, to whom it was sent, signed as it must be?
//!
//! Pure. Every delivery is checked in full: both signatures over the bytes that came, and those
//! bytes against the ones that were sent.

use std::str::FromStr as _;

use posthaste_domain::{EventId, SigningKey, Timestamp, standard_signature, verify_stripe};

use crate::payload::Tag;
use crate::shared::Workload;
use crate::wire::Request;

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// No tenant has this path.
    UnknownPath,
    /// The payload has no tag, or that of another run.
    Foreign,
    /// The payload is another tenant's.
    WrongTenant,
    /// The payload is not, byte for byte, what was sent.
    Altered,
    /// `Stripe-Signature` is missing or wrong.
    StripeSignature,
    /// `webhook-signature` is missing or wrong.
    StandardSignature,
}

impl Fault {
    /// Its name in results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownPath => "unknown path",
            Self::Foreign => "no event of this run",
            Self::WrongTenant => "another tenant's event",
            Self::Altered => "altered payload",
            Self::StripeSignature => "wrong Stripe-Signature",
            Self::StandardSignature => "wrong webhook-signature",
        }
    }
}

/// What deliveries are compared with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inspector<'k> {
    pub(super) workload: &'k Workload,
    pub(super) keys: &'k [SigningKey],
}

impl Inspector<'_> {
    /// The event of a delivery, where nothing is wrong with it.
    pub(super) fn inspect(
        &self,
        request: &Request<'_>,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Tag, Fault> {
        let tenant: u32 = request
            .path
            .strip_prefix("/t/")
            .and_then(|number| number.parse().ok())
            .ok_or(Fault::UnknownPath)?;
        let key = self.keys.get(tenant as usize).ok_or(Fault::UnknownPath)?;
        let tag = Tag::read(body).filter(|tag| tag.run == self.workload.run);
        let tag = tag.ok_or(Fault::Foreign)?;
        if tag.tenant != tenant {
            return Err(Fault::WrongTenant);
        }
        if !self.workload.payloads.matches(&tag, body) {
            return Err(Fault::Altered);
        }
        is_signed(request, key, body, now).map(|_| tag)
    }
}

/// The event of a delivery that belongs to no run.
pub(super) const NOBODY: Tag = Tag { run: 0, sequence: 0, due: 0, tenant: 0 };

/// Checks both signatures of a delivery.
pub(super) fn is_signed(
    request: &Request<'_>,
    key: &SigningKey,
    body: &[u8],
    now: Timestamp,
) -> Result<Tag, Fault> {
    verify_stripe(request.stripe_signature, [key], body, now)
        .map_err(|_| Fault::StripeSignature)?;
    if !is_standard(request, key, body, now) {
        return Err(Fault::StandardSignature);
    }
    Ok(NOBODY)
}

/// Whether one of the signatures of `webhook-signature` is ours, and its time is now.
fn is_standard(request: &Request<'_>, key: &SigningKey, body: &[u8], now: Timestamp) -> bool {
    let (Ok(id), Ok(seconds)) = (EventId::from_str(request.id), request.timestamp.parse::<u64>())
    else {
        return false;
    };
    let is_recent = now.as_secs().abs_diff(seconds) <= posthaste_domain::SIGNATURE_TOLERANCE_S;
    let at = Timestamp::from_millis(seconds.saturating_mul(1000));
    let right = standard_signature([key], id, at, body);
    // Comparing in constant time would protect nothing: who could measure it has the key.
    is_recent && request.signature.split(' ').any(|candidate| candidate == right)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use posthaste_domain::{WebhookSecret, stripe_signature};

    use super::*;
    use crate::scenario::Scenario;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    struct Delivery {
        path: String,
        stripe: String,
        id: String,
        timestamp: String,
        standard: String,
        body: Vec<u8>,
    }

    impl Delivery {
        fn inspect(&self, inspector: &Inspector<'_>) -> Result<Tag, Fault> {
            let request = Request {
                path: &self.path,
                stripe_signature: &self.stripe,
                id: &self.id,
                timestamp: &self.timestamp,
                signature: &self.standard,
                ..Request::default()
            };
            inspector.inspect(&request, &self.body, NOW)
        }
    }

    fn deliver(workload: &Workload, key: &SigningKey, tag: &Tag) -> Delivery {
        let mut body = Vec::new();
        workload.payloads.write(tag, &mut body);
        let id = EventId::from_u128(tag.sequence.into());
        Delivery {
            path: format!("/t/{}", tag.tenant),
            stripe: stripe_signature([key], NOW, &body),
            id: id.to_string(),
            timestamp: NOW.as_secs().to_string(),
            standard: standard_signature([key], id, NOW, &body),
            body,
        }
    }

    #[test]
    fn every_fault_is_told_from_the_others() {
        let text = "[arrival]\nrate = 1\n[[tenants]]\ncount = 2\n";
        let scenario = Scenario::parse(text, PathBuf::new(), &[]).unwrap();
        let workload = Workload::prepare(&scenario, 0xABCD).unwrap();
        let key = |byte| SigningKey::new(&WebhookSecret::from_entropy(&[byte; 32]));
        let keys = [key(1), key(2)];
        let inspector = Inspector { workload: &workload, keys: &keys };
        let tag = workload.tag(5, 77);
        let own = &keys[tag.tenant as usize];
        let right = || deliver(&workload, own, &tag);
        assert_eq!(right().inspect(&inspector), Ok(tag));

        let changed = |change: &dyn Fn(&mut Delivery)| {
            let mut delivery = right();
            change(&mut delivery);
            delivery.inspect(&inspector)
        };
        let other = 1 - tag.tenant;
        assert_eq!(changed(&|d| d.path = "/t/9".into()), Err(Fault::UnknownPath));
        assert_eq!(changed(&|d| d.path = format!("/t/{other}")), Err(Fault::WrongTenant));
        assert_eq!(changed(&|d| d.body[15] ^= 1), Err(Fault::Foreign));
        assert_eq!(changed(&|d| d.body[300] ^= 1), Err(Fault::Altered));
        assert_eq!(changed(&|d| d.body.truncate(300)), Err(Fault::Altered));
        assert_eq!(changed(&|d| d.stripe.clear()), Err(Fault::StripeSignature));
        assert_eq!(changed(&|d| d.standard.clear()), Err(Fault::StandardSignature));
        assert_eq!(changed(&|d| d.timestamp = "1".into()), Err(Fault::StandardSignature));
        assert_eq!(changed(&|d| d.id.clear()), Err(Fault::StandardSignature));
        let forged = deliver(&workload, &keys[other as usize], &tag);
        assert_eq!(forged.inspect(&inspector), Err(Fault::StripeSignature));
    }
}

//! Signed messages with one change: none is verified (promise 22). The same changes are
//! shown to verifiers that are wrong on purpose, which are caught.
//!
//! `PROVE_LONG=1` in the environment asks for ten million.

use std::collections::BTreeSet;

use posthaste_domain::{
    SigningKey, Timestamp, VerifyError, WebhookSecret, stripe_signature, verify_stripe,
};

use crate::support::{START, Tenant, World};

const SEED: u64 = 0x005E_ED22;
/// Bodies of such lengths, so that most places of a block of the hash are met.
const LENGTHS: [usize; 8] = [1, 2, 17, 63, 64, 65, 200, 1000];

/// In CI, and with `PROVE_LONG`.
fn cases(short: u64, long: u64) -> u64 {
    let is_long = std::env::var_os("PROVE_LONG").is_some_and(|value| value == "1");
    if is_long { long } else { short }
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

/// What a receiver gets.
#[derive(Clone, PartialEq)]
struct Message {
    header: String,
    body: Vec<u8>,
}

impl Message {
    fn signed(chance: &mut Chance, secret: &str) -> Self {
        let length = LENGTHS[chance.below(LENGTHS.len())];
        let body: Vec<u8> = (0..length).map(|_| chance.byte()).collect();
        let key = SigningKey::new(&WebhookSecret::try_new(secret).unwrap());
        Self { header: stripe_signature([&key], START, &body), body }
    }

    /// With one change: a byte replaced, put in, taken out, moved, or an end cut off.
    fn changed(&self, chance: &mut Chance) -> Option<Self> {
        let mut new = self.clone();
        let in_header = chance.below(2) == 0;
        let mut bytes = if in_header { new.header.into_bytes() } else { new.body };
        let place = chance.below(bytes.len());
        match chance.below(5) {
            0 => bytes[place] ^= 1 << chance.below(if in_header { 7 } else { 8 }),
            1 => bytes.insert(place, chance.byte() & 0x7F),
            2 => drop(bytes.remove(place)),
            3 => bytes.truncate(place),
            _ => {
                let next = (place + 1) % bytes.len();
                bytes.swap(place, next);
            }
        }
        if in_header {
            new = Self { header: String::from_utf8(bytes).ok()?, body: self.body.clone() };
        } else {
            new = Self { header: self.header.clone(), body: bytes };
        }
        (new != *self).then_some(new)
    }
}

/// How many of so many changed messages a verifier takes.
fn taken(number: u64, secret: &str, verify: impl Fn(&Message) -> bool) -> u64 {
    let mut chance = Chance(SEED);
    let (mut shown, mut taken) = (0, 0);
    while shown < number {
        let message = Message::signed(&mut chance, secret);
        assert!(verify(&message), "what was signed verifies");
        for _ in 0..50 {
            let Some(changed) = message.changed(&mut chance) else { continue };
            shown += 1;
            taken += u64::from(verify(&changed));
        }
    }
    taken
}

const SECRET: &str = "a-secret-of-a-test";

fn ours(message: &Message, now: Timestamp) -> Result<(), VerifyError> {
    let key = SigningKey::new(&WebhookSecret::try_new(SECRET).unwrap());
    verify_stripe(&message.header, [&key], &message.body, now)
}

/// The control: compares as many digits as came.
fn gullible(message: &Message) -> bool {
    let key = SigningKey::new(&WebhookSecret::try_new(SECRET).unwrap());
    let right = stripe_signature([&key], START, &message.body);
    right.starts_with(&message.header)
}

/// The control: does not look at the body.
fn unseeing(message: &Message) -> bool {
    message.header.starts_with("t=") && message.header.contains(",v1=")
}

#[test]
fn no_change_is_verified() {
    let number = cases(100_000, 10_000_000);
    assert_eq!(taken(number, SECRET, |message| ours(message, START).is_ok()), 0);
    let caught = [taken(2_000, SECRET, gullible), taken(2_000, SECRET, unseeing)];
    assert!(caught.iter().all(|caught| *caught > 0), "{caught:?}");
    println!(
        "proof: 22 tried {number} held {number} control a verifier that compares what came took \
         {}, one that does not look took {}",
        caught[0], caught[1],
    );
}

async fn is_received(world: &World, tenant: &Tenant, message: &Message) -> Option<bool> {
    let header = http::HeaderValue::from_bytes(message.header.as_bytes()).ok()?;
    let call = world.post(&format!("/receiver/{}/webhook", tenant.id));
    let call = call.header("stripe-signature", header.as_bytes()).body(message.body.clone());
    Some(call.send().await.status == 200)
}

/// For all changed messages: the receiver answers 401, and has observed none of them.
#[tokio::test]
async fn no_change_is_received() {
    let number = cases(5_000, 200_000);
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let mut chance = Chance(SEED);
    // The same body at the same time is a replay, which is answered alike and not observed again.
    let (mut shown, mut signed) = (0, BTreeSet::new());
    while shown < number {
        let message = Message::signed(&mut chance, &tenant.secret);
        assert_eq!(is_received(&world, &tenant, &message).await, Some(true));
        signed.insert(message.body.clone());
        for _ in 0..50 {
            let Some(changed) = message.changed(&mut chance) else { continue };
            let Some(received) = is_received(&world, &tenant, &changed).await else { continue };
            assert!(!received, "{}", changed.header);
            shown += 1;
        }
    }
    assert_eq!(world.received.lock().unwrap().len(), signed.len());
    println!(
        "proof: 22 tried {shown} held {shown} control {} messages as they were signed were \
         received",
        signed.len(),
    );
}

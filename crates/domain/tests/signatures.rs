//! Signatures against values that another implementation computed, and against every way that we
//! know of to bend a header.
//!
//! The expected values come from Python's `hmac` and `base64`, not from this crate.

use posthaste_domain::{
    EventId, SIGNATURE_TOLERANCE_S, SigningKey, Timestamp, VerifyError, WebhookSecret,
    standard_signature, stripe_signature, verify_stripe,
};
use proptest::prelude::*;

const SIGNED_AT_S: u64 = 1_767_225_600;
const BODY: &[u8] = br#"{"id":"evt_1","amount":100}"#;
/// HMAC-SHA256 of `1767225600.` and `BODY` under `GENERATED`.
const BODY_HEX: &str = "930de2a447c84a9671b266f8c6e139b3e9f76be460bc3d086b8994ae9d4c34c5";
/// A secret as we make them; its Standard Webhooks key is the bytes 0 to 31. In two parts, because
/// in one it looks like somebody's secret to those who search for such.
const GENERATED: &str = concat!("whsec_", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
/// A secret that a tenant chose; it is its own key in both schemes.
const CHOSEN: &str = "plain-old-secret";

fn key(secret: &str) -> SigningKey {
    SigningKey::new(&WebhookSecret::try_new(secret).expect("a lawful secret"))
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000 + 123)
}

fn verify(header: &str) -> Result<(), VerifyError> {
    verify_stripe(header, [&key(GENERATED)], BODY, at(SIGNED_AT_S))
}

struct Vector {
    body: Vec<u8>,
    stripe: [&'static str; 2],
    standard: [&'static str; 2],
}

fn vectors() -> [Vector; 4] {
    [
        Vector {
            body: BODY.to_vec(),
            stripe: [BODY_HEX, "8eb0cd67d67eb6272ed54070642969df3fac949f0d8408184bbf2b5bfe8b5796"],
            standard: [
                "U9uTuCxZpEYhoZYqz9Pri3wNWqjPX2L5TND89ErvgzA=",
                "Hz/He2QOLYJvsr5xrMVUPqVWXYLGwjWDdajJ0gZCqaA=",
            ],
        },
        Vector {
            body: Vec::new(),
            stripe: [
                "fb20d84158565e5e2c287de79fb2b30bc90c2472a829707260a2c086b9c3a035",
                "8ba30f99deb3cf3ad3d02f915bcefde065fb187472e6f363f7a76578d2e8eb1d",
            ],
            standard: [
                "gY14PaeDGfQittYWhWWXACqxca6uOglPCXxV0UP9OMY=",
                "O5h3ccTicodm6ERO/ayTpJePKASl4FSDeYiEszBLHIg=",
            ],
        },
        // Neither UTF-8 nor text, with a byte order mark inside.
        Vector {
            body: vec![0, 0xff, 0xef, 0xbb, 0xbf],
            stripe: [
                "a1089745e2f32fbbbcd5189840f6bedd198d0a3960c5702e09a600d10011fc8b",
                "84d94d5b2ea09f25abd17d2a0d9ce8930c3fd8c9cb9938d2fde75babab32dce0",
            ],
            standard: [
                "nAmnDt5fwDunOH/n1cswrocR2LCqeVTtgXh6r8BZi0k=",
                "FuMq2gKAazKW/kMKBEUMDaQmvnDceTDx5oVbwCQEW1g=",
            ],
        },
        Vector {
            body: (0..=250).cycle().take(70_000).collect(),
            stripe: [
                "8854fdee17d11c4a9b6c6d64a809f0a632939ff6538328a7669b8e867c5d93c5",
                "64fd1c536d17eb4b5da67fe070ff35df6efd9ead51c0d633f5ec79b79744e34e",
            ],
            standard: [
                "WcIyBzstT1sF1G+WF+94wk8SKU1hcKhHY5++NJMNLRw=",
                "xnZXLXBK6Z7o0Iey2ZYaQNxJPsSc5CmA76A4XjwXyoA=",
            ],
        },
    ]
}

#[test]
fn both_schemes_agree_with_another_implementation() {
    let keys = [key(GENERATED), key(CHOSEN)];
    let event = EventId::from_parts(at(SIGNED_AT_S), 0x0123_4567_89ab_cdef_0123);
    assert_eq!(event.to_string(), "evt_01KDVDNA3V04HMASW9NF6YY093");
    for Vector { body, stripe: [hex, older_hex], standard: [base64, older_base64] } in vectors() {
        let now = at(SIGNED_AT_S);
        assert_eq!(
            stripe_signature(&keys, now, &body),
            format!("t={SIGNED_AT_S},v1={hex},v1={older_hex}")
        );
        assert_eq!(
            stripe_signature(&keys[1..], now, &body),
            format!("t={SIGNED_AT_S},v1={older_hex}")
        );
        assert_eq!(
            standard_signature(&keys, event, now, &body),
            format!("v1,{base64} v1,{older_base64}")
        );
        assert_eq!(standard_signature(&keys[..1], event, now, &body), format!("v1,{base64}"));
    }
}

/// For all pairs of the sender's and the receiver's live secrets: accepted if they share one.
#[test]
fn rotation_verifies_on_either_side() {
    let secrets = [key("newest-secret"), key("older-secret"), key("foreign-secret")];
    for signing in 1_u8..8 {
        for known in 1_u8..8 {
            let chosen = |mask: u8| {
                secrets.iter().enumerate().filter(move |(n, _)| mask >> n & 1 == 1).map(|(_, k)| k)
            };
            let header = stripe_signature(chosen(signing), at(SIGNED_AT_S), BODY);
            let verdict = verify_stripe(&header, chosen(known), BODY, at(SIGNED_AT_S));
            let expected = if signing & known == 0 { Err(VerifyError::Mismatch) } else { Ok(()) };
            assert_eq!(verdict, expected, "{signing:03b} {known:03b}");
        }
    }
}

#[test]
fn the_window_is_300_seconds_either_way() {
    let header = stripe_signature([&key(GENERATED)], at(SIGNED_AT_S), BODY);
    for (offset, accepted) in [
        (0, true),
        (299, true),
        (300, true),
        (301, false),
        (-299, true),
        (-300, true),
        (-301, false),
        (86_400, false),
        (-86_400, false),
    ] {
        let now = at(SIGNED_AT_S.checked_add_signed(offset).unwrap());
        let verdict = verify_stripe(&header, [&key(GENERATED)], BODY, now);
        let expected = if accepted { Ok(()) } else { Err(VerifyError::Stale) };
        assert_eq!(verdict, expected, "{offset}");
    }
    assert_eq!(SIGNATURE_TOLERANCE_S, 300);
    for extreme in [Timestamp::ZERO, Timestamp::MAX] {
        let verdict = verify_stripe(&header, [&key(GENERATED)], BODY, extreme);
        assert_eq!(verdict, Err(VerifyError::Stale));
    }
}

/// The whole second counts, not the millisecond: both sides of a second's edge are inside.
#[test]
fn milliseconds_do_not_move_the_window() {
    let header = stripe_signature([&key(GENERATED)], Timestamp::from_millis(1_000_999), BODY);
    for (now_ms, accepted) in
        [(700_000, true), (699_999, false), (1_300_999, true), (1_301_000, false)]
    {
        let now = Timestamp::from_millis(now_ms);
        let verdict = verify_stripe(&header, [&key(GENERATED)], BODY, now);
        assert_eq!(verdict.is_ok(), accepted, "{now_ms}");
    }
}

#[test]
fn bent_headers_are_malformed() {
    let (t, right) = (SIGNED_AT_S, BODY_HEX);
    let fields = [
        String::new(),
        ",".to_owned(),
        "=".to_owned(),
        "t".to_owned(),
        "v1,".to_owned(),
        "t=,v1=".to_owned(),
        "v1=".to_owned(),
        format!("t={t}"),
        format!("v1={right}"),
        format!("t=,v1={right}"),
        format!("t={t},v1="),
        format!("t={t},v1"),
        format!("t={t},v0={right}"),
        format!("t={t},V1={right}"),
        format!("T={t},v1={right}"),
        format!("t={t},v1,{right}"),
        format!("t={t};v1={right}"),
        format!("t={t},v1={right},"),
        format!(",t={t},v1={right}"),
        // Two times: the first must not be judged and the second signed, or the reverse.
        format!("t={t},t={t},v1={right}"),
        format!("t={t},v1={right},t=0"),
        // Spaces, as they stand after two headers were folded into one.
        format!("t={t}, v1={right}"),
        format!("t={t} ,v1={right}"),
        format!(" t={t},v1={right}"),
        format!("t={t},v1={right} "),
        format!("t={t},\tv1={right}"),
        format!("t= {t},v1={right}"),
        format!("t={t},v1={right}\0"),
        format!("t={t},v1={right}\r\n"),
        format!("t={t},v1={right}, t={t},v1={right}"),
        // Times with another spelling.
        format!("t=+{t},v1={right}"),
        format!("t=0{t},v1={right}"),
        format!("t=-{t},v1={right}"),
        format!("t={t}.0,v1={right}"),
        format!("t=1e9,v1={right}"),
        format!("t=0x69559000,v1={right}"),
        format!("t=99999999999999999999,v1={right}"),
        format!("t=١٧٦٧٢٢٥٦٠٠,v1={right}"),
        format!("t=１７６７２２５６００,v1={right}"),
        // Digests of another length, alphabet or case.
        format!("t={t},v1={}", &right[..2]),
        format!("t={t},v1={}", &right[..62]),
        format!("t={t},v1={}", &right[..63]),
        format!("t={t},v1={right}0"),
        format!("t={t},v1={right}00"),
        format!("t={t},v1={}", right.to_uppercase()),
        format!("t={t},v1=0x{}", &right[2..]),
        format!("t={t},v1={}g", &right[..63]),
        format!("t={t},v1={}é", &right[..62]),
        format!("t={t},v1=kw3ipEfISpZxsmb4xuE5s+n3a+RgvD0Ia4mUrp1MNMU="),
        // Longer than any header of ours, although the right one comes first.
        format!("t={t},v1={right}{}", format!(",v1={}", "0".repeat(64)).repeat(1000)),
        format!("t={t},v1={right},x={}", "y".repeat(4096)),
    ];
    for header in fields {
        assert_eq!(verify(&header), Err(VerifyError::Malformed), "{header:?}");
    }
}

#[test]
fn headers_that_stripes_libraries_take_are_taken() {
    let (t, right, wrong) = (SIGNED_AT_S, BODY_HEX, "0".repeat(64));
    for header in [
        format!("t={t},v1={right}"),
        format!("v1={right},t={t}"),
        format!("t={t},v1={wrong},v1={right}"),
        format!("t={t},v1={right},v1={wrong}"),
        format!("t={t},v1={},v1={right}", &right[..63]),
        format!("t={t},v1={right},v0={wrong}"),
        format!("t={t},v0={wrong},v1={right},scheme=x=y"),
        format!("t={t}{},v1={right}", format!(",v1={wrong}").repeat(9)),
        format!("t={t},v1={right}{}", format!(",v1={wrong}").repeat(50)),
    ] {
        assert_eq!(verify(&header), Ok(()), "{header}");
    }
}

#[test]
fn the_eleventh_candidate_is_not_looked_at() {
    for filler in [",v1=".to_owned() + &"0".repeat(64), ",v1=short".to_owned()] {
        let header = |n: usize| format!("t={SIGNED_AT_S}{},v1={BODY_HEX}", filler.repeat(n));
        assert_eq!(verify(&header(9)), Ok(()));
        assert!(verify(&header(10)).is_err());
    }
}

#[test]
fn what_was_signed_is_every_byte_of_the_body() {
    let header = stripe_signature([&key(GENERATED)], at(SIGNED_AT_S), BODY);
    for body in [
        &b""[..],
        br#"{"amount":100,"id":"evt_1"}"#,
        br#"{"id": "evt_1", "amount": 100}"#,
        b"\xef\xbb\xbf{\"id\":\"evt_1\",\"amount\":100}",
        b"{\"id\":\"evt_1\",\"amount\":100}\n",
    ] {
        let verdict = verify_stripe(&header, [&key(GENERATED)], body, at(SIGNED_AT_S));
        assert_eq!(verdict, Err(VerifyError::Mismatch));
    }
}

/// The dot between time and body cannot be moved: `t=1` with `2.x` is not `t=12` with `x`.
#[test]
fn time_and_body_do_not_flow_into_each_other() {
    let key = key(GENERATED);
    let header = stripe_signature([&key], Timestamp::from_millis(12_000), b"x");
    let moved = header.replacen("t=12", "t=1", 1);
    let verdict = verify_stripe(&moved, [&key], b"2.x", Timestamp::from_millis(1000));
    assert_eq!(verdict, Err(VerifyError::Mismatch));
}

#[test]
fn without_keys_nothing_verifies() {
    let header = stripe_signature([&key(GENERATED)], at(SIGNED_AT_S), BODY);
    let verdict = verify_stripe(&header, [], BODY, at(SIGNED_AT_S));
    assert_eq!(verdict, Err(VerifyError::Mismatch));
}

#[test]
fn debug_hides_the_keys() {
    let shown = format!("{:?}", key("canary-secret"));
    assert!(!shown.contains("canary") && !shown.contains("99, 97, 110"), "{shown}");
}

/// For every byte of the header, of the body and of the secret, and every other value that it
/// could have: refused. (Header and secret are text, so theirs are the ASCII values.)
#[test]
fn no_changed_byte_is_accepted() {
    let right = key(GENERATED);
    let now = at(SIGNED_AT_S);
    let header = stripe_signature([&right], now, BODY);
    assert_eq!(verify_stripe(&header, [&right], BODY, now), Ok(()));
    let mut tried = 0;
    let mut refuse = |verdict: Result<(), VerifyError>, what: &str, place: usize, value: u8| {
        assert!(verdict.is_err(), "{what} byte {place} changed to {value:#04x} was accepted");
        tried += 1;
    };
    for place in 0..header.len() {
        for value in (0..128).filter(|value| *value != header.as_bytes()[place]) {
            let mut bent = header.clone().into_bytes();
            bent[place] = value;
            let bent = String::from_utf8(bent).unwrap();
            refuse(verify_stripe(&bent, [&right], BODY, now), "header", place, value);
        }
    }
    for place in 0..BODY.len() {
        for value in (0..=255).filter(|value| *value != BODY[place]) {
            let mut bent = BODY.to_vec();
            bent[place] = value;
            refuse(verify_stripe(&header, [&right], &bent, now), "body", place, value);
        }
    }
    for place in 0..GENERATED.len() {
        for value in (b'!'..=b'~').filter(|value| *value != GENERATED.as_bytes()[place]) {
            let mut bent = GENERATED.as_bytes().to_vec();
            bent[place] = value;
            let bent = key(std::str::from_utf8(&bent).unwrap());
            refuse(verify_stripe(&header, [&bent], BODY, now), "secret", place, value);
        }
    }
    assert_eq!(tried, header.len() * 127 + BODY.len() * 255 + GENERATED.len() * 93);
}

#[derive(Clone, Debug)]
enum Change {
    Replace(u8),
    Insert(u8),
    Delete,
    Cut,
    Swap,
}

fn apply(change: &Change, bytes: &mut Vec<u8>, place: usize) {
    match *change {
        Change::Replace(value) => bytes[place] = value,
        Change::Insert(value) => bytes.insert(place, value),
        Change::Delete => {
            bytes.remove(place);
        }
        Change::Cut => bytes.truncate(place),
        Change::Swap => {
            let next = (place + 1) % bytes.len();
            bytes.swap(place, next);
        }
    }
}

fn changes() -> impl Strategy<Value = Change> {
    prop_oneof![
        any::<u8>().prop_map(Change::Replace),
        any::<u8>().prop_map(Change::Insert),
        Just(Change::Delete),
        Just(Change::Cut),
        Just(Change::Swap),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// For all bodies, secrets and times: what was signed verifies, with the window's full width.
    #[test]
    fn what_was_signed_verifies(
        body: Vec<u8>, secret in "[!-~]{8,80}", seconds in 300..4_000_000_000_u64,
        offset in -300..=300_i64,
    ) {
        let key = key(&secret);
        let header = stripe_signature([&key], at(seconds), &body);
        let now = at(seconds.checked_add_signed(offset).unwrap());
        prop_assert_eq!(verify_stripe(&header, [&key], &body, now), Ok(()));
    }

}

proptest! {
    // What we promise: 100,000 changes, none accepted.
    #![proptest_config(ProptestConfig::with_cases(100_000))]

    /// For all single changes of header or body that change anything: refused.
    #[test]
    fn what_was_changed_does_not_verify(
        body in prop::collection::vec(any::<u8>(), 1..300), change in changes(),
        in_header: bool, place: prop::sample::Index,
    ) {
        let key = key(GENERATED);
        let now = at(SIGNED_AT_S);
        let header = stripe_signature([&key], now, &body);
        let (mut bent_header, mut bent_body) = (header.clone().into_bytes(), body.clone());
        let bent = if in_header { &mut bent_header } else { &mut bent_body };
        let place = place.index(bent.len());
        apply(&change, bent, place);
        let changed = header.as_bytes() != bent_header || body != bent_body;
        // A header value that is not text never reaches us.
        if let (true, Ok(header)) = (changed, std::str::from_utf8(&bent_header)) {
            prop_assert!(verify_stripe(header, [&key], &bent_body, now).is_err(), "{}", header);
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// For all texts: the parser refuses or accepts, and never panics.
    #[test]
    fn any_header_is_answered(header in "(t=|v1=|,|[0-9a-f]{0,70}|\\PC){0,12}") {
        prop_assert!(verify(&header).is_err());
    }
}

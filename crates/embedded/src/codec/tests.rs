//! Every kind of record against its fixture, and against damage.

use std::fmt::Debug;
use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use posthaste_domain::{
    Attempt, DeadLetterCause, DeliveryKey, EndpointId, ErrorClass, EventId, OwedAs, PhaseTimings,
    Resolution, Settlement, SigningSecrets, TargetUrl, TenantId, Timestamp, Verdict, WebhookSecret,
};
use posthaste_ports::{Job, JobState, TenantRecord};
use proptest::prelude::*;

use super::*;

/// A record of each kind with its fixture's name, as `check` wants to see them.
fn samples(check: &mut impl Check) {
    let standings = [
        ("fresh", Standing::Fresh),
        ("timer", Standing::Timer { due: 1_764_000_000_123 }),
        ("delivered", Standing::Delivered { ends: 1_766_592_000_123 }),
        ("dead", Standing::Dead { cause: cause_number(DeadLetterCause::Poison), at: 5, ends: 9 }),
        ("purged", Standing::Purged { ends: u64::MAX }),
    ];
    for (name, standing) in standings {
        let row = EventRow {
            standing,
            round: 2,
            attempts: 4,
            interrupted: 1,
            rewritten: true,
            logged: 9,
            last_attempt_at: Some(1_764_000_000_000),
        };
        check.record(&format!("event-{name}"), row);
    }
    check.record("event-accepted", EventRow::accepted());
    check.record("fresh", FreshRow { round: 3, interrupted: 2 });
    check.record("timer", TimerRow { shard_key: 7, round: 1, attempts: 3, interrupted: 0 });
    check.record("claim", ClaimRow { body: [7; 32], event: 1 << 100, ends: 12 });
    let key = KeyRow { tenant: "acme".to_owned(), active: true, created_at: 99 };
    check.record("key", key);
    let commit = CommitRow { number: 70_000, accepted: 65_000, timers_low: 5, expiry_low: 6 };
    check.record("commit", commit);
    check.record("tenant", TenantRow::of(&tenant()));
    let verdicts = [
        ("delivered", Verdict::Delivered),
        ("gone", Verdict::Gone),
        ("not-charged", Verdict::NotCharged { class: ErrorClass::LocalResource }),
        ("failed", Verdict::Failed { class: ErrorClass::Timeout, retry_after_ms: Some(3_600_000) }),
    ];
    for (name, verdict) in verdicts {
        check.record(&format!("log-{name}"), LogRow::of(1, &attempt(verdict)));
    }
    job_samples(check);
}

/// Jobs in each state, and whose directory they are in.
fn job_samples(check: &mut impl Check) {
    let new = IdentityRow { store: 1 << 127, instance: None, cloned_from: None };
    check.record("identity-new", new.clone());
    let instance = Some("i-0123456789abcdef0".to_owned());
    check.record(
        "identity-clone",
        IdentityRow { instance, cloned_from: Some("i".to_owned()), ..new },
    );
    let payload = Some(Bytes::from_static(b"{}"));
    let due = Timestamp::from_millis(1_764_000_000_123);
    let cause = DeadLetterCause::Poison;
    let states = [
        ("waiting", payload.clone(), JobState::Waiting { due, attempts: 3 }),
        ("dying", None, JobState::Dying { cause, attempts: 6, error: Some("refused".into()) }),
        ("cut-off", None, JobState::CutOff { at: due }),
        ("unwritten-delivered", None, unwritten(Resolution::Delivered, OwedAs::Fresh)),
        ("unwritten-retry", payload, unwritten(Resolution::Retry { due }, OwedAs::Timer(due))),
        ("unwritten-dead", None, unwritten(Resolution::DeadLettered { cause }, OwedAs::Fresh)),
    ];
    for (name, payload, state) in states {
        let job = Job {
            key: delivery(),
            round: 2,
            shard_key: 70_000,
            interrupted: 1,
            epoch: 5,
            lease_until: Timestamp::from_millis(1_764_000_180_123),
            state,
            payload,
        };
        check.record(&format!("job-{name}"), JobRow::of(&job, Place { commit: 70_001, n: 300 }));
    }
}

fn delivery() -> DeliveryKey {
    let tenant = TenantId::try_new("acme").unwrap();
    DeliveryKey { tenant, event: EventId::from_u128(1 << 100), endpoint: EndpointId::DEFAULT }
}

fn unwritten(resolution: Resolution, owed_as: OwedAs) -> JobState {
    let failed = Verdict::Failed { class: ErrorClass::Timeout, retry_after_ms: None };
    JobState::Unwritten(Box::new(Settlement {
        key: delivery(),
        round: 2,
        attempts: 4,
        owed_as,
        interrupted: 1,
        at: Timestamp::from_millis(1_764_000_000_000),
        attempt: (resolution != Resolution::Delivered).then(|| attempt(failed)),
        resolution,
    }))
}

fn attempt(verdict: Verdict) -> Attempt {
    Attempt {
        number: 4,
        at: Timestamp::from_millis(1_764_000_000_000),
        duration_ms: 30_000,
        status_code: Some(503),
        verdict,
        error: Some("the attempt's deadline passed".into()),
        response: Bytes::from_static(b"\x00half a page"),
        phases: PhaseTimings {
            queue_us: 1,
            dns_us: 20,
            connect_us: 300,
            tls_us: 4_000,
            first_byte_us: 50_000,
            total_us: u32::MAX,
            reused: true,
        },
    }
}

fn tenant() -> TenantRecord {
    let secret = |text| WebhookSecret::try_new(text).unwrap();
    TenantRecord {
        id: TenantId::try_new("acme").unwrap(),
        target: TargetUrl::parse_stored("https://example.com/hook?a=1").unwrap(),
        secrets: SigningSecrets::from_parts(
            secret("the-current-secret"),
            [(secret("the-older-secret"), Timestamp::from_millis(77))],
        ),
        plan: "standard".into(),
        shard_key: 0xDEAD_BEEF,
        created_at: Timestamp::from_millis(1),
        updated_at: Timestamp::from_millis(2),
        version: 3,
    }
}

trait Check {
    fn record<R: Decodable + Encodable + PartialEq + Debug>(&mut self, name: &str, record: R);
}

fn fixture(version: u8, name: &str) -> PathBuf {
    let folder = format!("tests/fixtures/v{version}");
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder).join(name).with_extension("bin")
}

/// For all kinds of records: the committed bytes of version 1 are still read as what they were,
/// and still what is written.
#[test]
fn version_1_is_read_and_written_as_it_was_released() {
    struct Compare(usize);
    impl Check for Compare {
        fn record<R: Decodable + Encodable + PartialEq + Debug>(&mut self, name: &str, record: R) {
            let bytes = fs::read(fixture(1, name)).expect(name);
            assert_eq!(decode::<R>(&bytes).as_ref(), Ok(&record), "{name}");
            assert_eq!(encode(&record), bytes, "{name}");
            self.0 += 1;
        }
    }
    let mut compared = Compare(0);
    samples(&mut compared);
    let committed = fs::read_dir(fixture(1, "fresh").parent().unwrap()).unwrap().count();
    assert_eq!(compared.0, committed, "a fixture that nothing reads");
}

#[test]
#[ignore = "writes the fixtures of kinds that are about to be released; never of one that is"]
fn write_fixtures() {
    struct Write;
    impl Check for Write {
        fn record<R: Decodable + Encodable + PartialEq + Debug>(&mut self, name: &str, record: R) {
            let path = fixture(VERSION, name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if !path.exists() {
                fs::write(path, encode(&record)).unwrap();
            }
        }
    }
    samples(&mut Write);
}

/// For all kinds of records: cut at any byte, or with any bit of any byte changed, they are an
/// error and nothing else.
#[test]
fn damage_is_an_error() {
    struct Damage;
    impl Check for Damage {
        fn record<R: Decodable + Encodable + PartialEq + Debug>(&mut self, name: &str, record: R) {
            let whole = encode(&record);
            for cut in 0..whole.len() {
                assert!(decode::<R>(&whole[..cut]).is_err(), "{name} cut at {cut}");
            }
            for at in 0..whole.len() {
                for bit in 0..8 {
                    let mut bytes = whole.clone();
                    bytes[at] ^= 1 << bit;
                    assert!(decode::<R>(&bytes).is_err(), "{name} byte {at} bit {bit}");
                }
            }
        }
    }
    samples(&mut Damage);
}

#[test]
fn another_version_is_named() {
    for version in [0, VERSION + 1, u8::MAX] {
        let mut bytes = encode(&EventRow::accepted());
        bytes.truncate(bytes.len() - CHECKSUM_LEN);
        bytes[0] = version;
        let bytes = seal(bytes);
        assert_eq!(decode::<EventRow>(&bytes), Err(CodecError::Version(version)));
    }
}

#[test]
fn a_tenant_and_an_attempt_come_back_whole() {
    let record = tenant();
    let row: TenantRow = decode(&encode(&TenantRow::of(&record))).unwrap();
    assert_eq!(row.record(record.id.clone()).unwrap(), record);
    for class in ErrorClass::ALL {
        let attempt = attempt(Verdict::Failed { class, retry_after_ms: None });
        let line: LogRow = decode(&encode(&LogRow::of(8, &attempt))).unwrap();
        let line = line.attempt().unwrap();
        assert_eq!((line.round, line.attempt), (8, attempt));
    }
    for cause in DeadLetterCause::ALL {
        assert_eq!(cause_of(cause_number(cause)), Some(cause));
    }
    assert_eq!(cause_of(u8::MAX), None);
}

#[test]
fn debug_shows_no_secret() {
    let text = format!("{:?}", TenantRow::of(&tenant()));
    assert!(text.starts_with("TenantRow") && !text.contains("secret"), "{text}");
    assert!(!text.contains("hook"), "{text}");
}

proptest! {
    /// For all payloads: they come back byte for byte.
    #[test]
    fn payloads_come_back(payload in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let framed = frame(&payload);
        prop_assert_eq!(unframe(&framed), Ok(payload.as_slice()));
    }

    /// For all bytes, even with a right checksum: an error or a record, never a panic and never an
    /// allocation that they ask for.
    #[test]
    fn any_bytes_are_survived(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = vec![VERSION];
        bytes.extend(body);
        let bytes = seal(bytes);
        let _tried = (decode::<LogRow>(&bytes), decode::<TenantRow>(&bytes));
        let _tried = (decode::<EventRow>(&bytes), decode::<KeyRow>(&bytes));
        let _tried = (decode::<JobRow>(&bytes), decode::<IdentityRow>(&bytes));
    }
}

//! Every kind of record against its fixture, and against damage.

use std::fmt::Debug;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use posthaste_domain::{
    Attempt, DeadLetterCause, DeliveryKey, DeliveryOptions, EndpointId, ErrorClass, EventId,
    ExtraHeaders, InFlightMax, OwedAs, PhaseTimings, RatePerS, Resolution, RetryOption, Settlement,
    SigningSecrets, TargetUrl, TenantId, TimeoutMs, Timestamp, Verdict, WebhookSecret,
};
use posthaste_ports::{Job, JobState, TenantRecord};
use proptest::prelude::*;

use super::*;
use crate::vault::{SealKey, Vault};

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
    for (name, options) in option_samples() {
        let options = Arc::new(options);
        let record = TenantRecord { options, ..tenant() };
        check.record(&format!("tenant-{name}"), TenantRow::of(&record));
    }
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

/// Options of a tenant: all of them, and each that is one field on its own.
fn option_samples() -> [(&'static str, DeliveryOptions); 3] {
    let headers = [("authorization", "Bearer a-hidden-token"), ("x-team", "blue\tand green")];
    let all = DeliveryOptions {
        timeout: Some(TimeoutMs::try_new(1_500).unwrap()),
        retry: Some(RetryOption::try_new(Some(&[1, 70_000, 86_400_000]), Some(12)).unwrap()),
        rate: Some(RatePerS::try_new(100_000).unwrap()),
        in_flight: Some(InFlightMax::try_new(250).unwrap()),
        headers: ExtraHeaders::try_new(headers).unwrap(),
        paused: true,
        lifted_at: Some(Timestamp::from_millis(1_764_000_000_123)),
    };
    let attempts = RetryOption::try_new(None, Some(1)).unwrap();
    let attempts = DeliveryOptions { retry: Some(attempts), ..DeliveryOptions::default() };
    let paused = DeliveryOptions { paused: true, ..DeliveryOptions::default() };
    [("options", all), ("attempts", attempts), ("paused", paused)]
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
        options: Arc::default(),
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

/// For all kinds of records and versions: the committed bytes are still read as what they were, and
/// still what is written.
#[test]
fn every_version_is_read_and_written_as_it_was_released() {
    #[derive(Default)]
    struct Compare([usize; 2]);
    impl Check for Compare {
        fn record<R: Decodable + Encodable + PartialEq + Debug>(&mut self, name: &str, record: R) {
            let version = record.version();
            let bytes = fs::read(fixture(version, name)).expect(name);
            assert_eq!(bytes[0], version, "{name}");
            assert_eq!(decode::<R>(&bytes).as_ref(), Ok(&record), "{name}");
            assert_eq!(encode(&record), bytes, "{name}");
            self.0[usize::from(version) - 1] += 1;
        }
    }
    let mut compared = Compare::default();
    samples(&mut compared);
    let committed = [VERSION, VERSION_OF_OPTIONS]
        .map(|version| fs::read_dir(fixture(version, "any").parent().unwrap()).unwrap().count());
    assert_eq!(compared.0, committed, "a fixture that nothing reads");
}

#[test]
#[ignore = "writes the fixtures of kinds that are about to be released; never of one that is"]
fn write_fixtures() {
    struct Write;
    impl Check for Write {
        fn record<R: Decodable + Encodable + PartialEq + Debug>(&mut self, name: &str, record: R) {
            let path = fixture(record.version(), name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if !path.exists() {
                fs::write(path, encode(&record)).unwrap();
            }
        }
    }
    samples(&mut Write);
    let (record, path) = (sealed_sample(), fixture(VERSION_OF_SEALED, "tenant-sealed"));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    if !path.exists() {
        let row = TenantRow::of(&record).sealed(&record.id, &vault_of_samples()).unwrap();
        fs::write(path, encode(&row)).unwrap();
    }
}

fn sealed_sample() -> TenantRecord {
    let [(_, all), ..] = option_samples();
    TenantRecord { options: Arc::new(all), ..tenant() }
}

fn vault_of_samples() -> Vault {
    Vault::new(&SealKey::from_hex(&"1".repeat(64)).unwrap()).unwrap()
}

/// The committed bytes of a sealed tenant are still read as what they were; each seal has its own
/// nonce, so they are never written again.
#[test]
fn a_sealed_tenant_is_read_as_it_was_released() {
    let (record, bytes) = (sealed_sample(), fs::read(fixture(VERSION_OF_SEALED, "tenant-sealed")));
    let bytes = bytes.unwrap();
    assert_eq!(bytes[0], VERSION_OF_SEALED);
    let row: TenantRow = decode(&bytes).unwrap();
    assert_eq!(encode(&row), bytes);
    let opened = row.opened(&record.id, Some(&vault_of_samples())).unwrap();
    assert_eq!(opened.record(record.id.clone()).unwrap(), record);
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
    let with = |options| TenantRecord { options: Arc::new(options), ..tenant() };
    let records = option_samples().map(|(_, options)| with(options));
    for record in records.into_iter().chain([tenant()]) {
        let row: TenantRow = decode(&encode(&TenantRow::of(&record))).unwrap();
        assert_eq!(row.record(record.id.clone()).unwrap(), record);
    }
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

/// Options that no version of ours writes are an error, not options.
#[test]
fn stored_options_that_are_not_lawful_are_an_error() {
    let [(_, all), ..] = option_samples();
    let record = TenantRecord { options: Arc::new(all), ..tenant() };
    let lawful = encode(&TenantRow::of(&record));
    // The time-out of 1,500 ms as bincode has it (251, then 16 bits), becomes 476 ms.
    let at = lawful.windows(3).position(|bytes| bytes == [251, 0xDC, 0x05]).unwrap();
    let mut bytes = lawful[..lawful.len() - CHECKSUM_LEN].to_vec();
    bytes[at + 2] = 1;
    let row: TenantRow = decode(&seal(bytes)).unwrap();
    assert_eq!(row.record(record.id), Err(CodecError::Fields));
}

#[test]
fn debug_shows_no_secret() {
    let [(_, all), ..] = option_samples();
    let record = TenantRecord { options: Arc::new(all), ..tenant() };
    let text = format!("{:?}", TenantRow::of(&record));
    assert!(text.starts_with("TenantRow") && !text.contains("secret"), "{text}");
    assert!(!text.contains("hidden"), "{text}");
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
    fn any_bytes_are_survived(
        version in VERSION..=VERSION_OF_SEALED,
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut bytes = vec![version];
        bytes.extend(body);
        let bytes = seal(bytes);
        let id = TenantId::try_new("acme").unwrap();
        let tenant = decode::<TenantRow>(&bytes).and_then(|row| row.record(id));
        let _tried = (decode::<LogRow>(&bytes), tenant);
        let _tried = (decode::<EventRow>(&bytes), decode::<KeyRow>(&bytes));
        let _tried = (decode::<JobRow>(&bytes), decode::<IdentityRow>(&bytes));
    }
}

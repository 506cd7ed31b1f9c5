//! Tenants, their keys, and the settings beside them.

use std::sync::Arc;

use posthaste_domain::{OptionsChange, Part, SigningSecrets, Timestamp};

use super::Fixture;
use super::samples::{
    HOUR, START, after, key_hash, new_tenant, options, secret, target, tenant_id,
};
use crate::{Created, Identity, KeyRecord, NewTenant, TenantChange, TenantRecord};

/// What a fresh tenant's record is, but for its version.
fn record_of(new: &NewTenant) -> TenantRecord {
    TenantRecord {
        id: new.id.clone(),
        target: new.target.clone(),
        secrets: SigningSecrets::new(new.secret.clone()),
        plan: new.plan.clone(),
        shard_key: new.shard_key,
        options: Arc::clone(&new.options),
        created_at: new.at,
        updated_at: new.at,
        version: 0,
    }
}

const fn change(at: Timestamp) -> TenantChange {
    TenantChange { target: None, secret: None, options: OptionsChange::NOTHING, at }
}

impl Fixture {
    /// A record, and its version apart: only its growth is promised.
    async fn record(&self, name: &str) -> Option<(TenantRecord, u64)> {
        let record = self.stores().tenants.tenant(&tenant_id(name)).await;
        let record = record.expect("reading works")?;
        Some((TenantRecord { version: 0, ..(*record).clone() }, record.version))
    }

    async fn update(&self, name: &str, change: TenantChange) -> Option<(TenantRecord, u64)> {
        let record = self.stores().tenants.update(&tenant_id(name), change).await;
        let record = record.expect("updating works")?;
        Some((TenantRecord { version: 0, ..(*record).clone() }, record.version))
    }

    async fn identity(&self, key: &str) -> Option<Identity> {
        self.stores().tenants.identity(&key_hash(key)).await.expect("reading works")
    }

    async fn add_key(&self, name: &str, key: &str, at: Timestamp) -> bool {
        let added = self.stores().tenants.add_key(&tenant_id(name), key_hash(key), at).await;
        added.expect("adding a key works")
    }

    async fn revoke_key(&self, name: &str, key: &str) -> bool {
        let revoked = self.stores().tenants.revoke_key(&tenant_id(name), &key_hash(key)).await;
        revoked.expect("revoking a key works")
    }

    async fn keys(&self, name: &str) -> Vec<KeyRecord> {
        self.stores().tenants.keys(&tenant_id(name)).await.expect("listing keys works")
    }
}

/// For all parts of a tenant: what was created is what is read.
pub(super) async fn a_created_tenant_is_as_it_was_given(f: &mut Fixture) {
    let new = NewTenant {
        target: target("hooks.example.org:8443"),
        plan: "gold".into(),
        shard_key: u32::MAX,
        options: Arc::new(options(1)),
        ..new_tenant("acme")
    };
    let expected = record_of(&new);
    let Ok(Created::Created(record)) = f.stores().tenants.create(new).await else {
        panic!("a tenant that does not exist can be created");
    };
    assert_eq!(TenantRecord { version: 0, ..(*record).clone() }, expected);
    f.later().await;
    assert_eq!(f.record("acme").await, Some((expected, record.version)));
}

/// A tenant that exists keeps all that it has, and the key that came with the second try is
/// nobody's.
pub(super) async fn a_tenant_is_created_once(f: &mut Fixture) {
    f.tenant("acme").await;
    f.later().await;
    let before = f.record("acme").await;
    let again = NewTenant {
        target: target("elsewhere.example.com"),
        secret: secret("another-secret"),
        key: key_hash("another key"),
        at: after(5),
        ..new_tenant("acme")
    };
    assert_eq!(f.stores().tenants.create(again).await, Ok(Created::AlreadyExists));
    f.later().await;
    assert_eq!(f.record("acme").await, before);
    assert_eq!(f.identity("another key").await, None);
    assert_eq!(f.keys("acme").await.len(), 1);
}

pub(super) async fn a_tenant_that_does_not_exist_has_nothing(f: &mut Fixture) {
    f.tenant("acme").await;
    assert_eq!(f.record("nobody").await, None);
    let moved = TenantChange { target: Some(target("example.org")), ..change(START) };
    assert_eq!(f.update("nobody", moved).await, None);
    assert!(!f.add_key("nobody", "a key", START).await);
    assert!(!f.revoke_key("nobody", "first key of acme").await);
    f.later().await;
    assert_eq!(f.record("nobody").await, None);
    assert_eq!(f.identity("a key").await, None);
    assert_eq!(f.keys("nobody").await, []);
}

/// A new target changes the target and the time of the change, and above all not the shard.
pub(super) async fn a_new_target_moves_no_shard(f: &mut Fixture) {
    f.tenant_of_shard("acme", 41).await;
    let (before, version) = f.record("acme").await.expect("it was created");
    let moved = TenantChange { target: Some(target("moved.example.com")), ..change(after(9)) };
    let expected =
        TenantRecord { target: target("moved.example.com"), updated_at: after(9), ..before };
    let (updated, newer) = f.update("acme", moved).await.expect("it exists");
    assert_eq!(updated, expected);
    assert!(newer > version, "{newer} is not newer than {version}");
    f.later().await;
    assert_eq!(f.record("acme").await, Some((expected, newer)));
}

/// For all rotations: the secrets are those that [`SigningSecrets::rotated`] says.
pub(super) async fn an_old_secret_signs_on_for_its_overlap(f: &mut Fixture) {
    f.tenant("acme").await;
    let mut secrets = SigningSecrets::new(new_tenant("acme").secret);
    for (n, overlap_ms) in [(1, HOUR), (2, 24 * HOUR), (3, 0), (4, 5 * HOUR)] {
        let (at, new) = (after(n * 1_000), secret(&format!("rotated-{n}")));
        secrets = secrets.rotated(new.clone(), at, overlap_ms);
        let rotated = TenantChange { secret: Some((new, overlap_ms)), ..change(at) };
        let (record, _) = f.update("acme", rotated).await.expect("it exists");
        assert_eq!(record.secrets, secrets, "rotation {n}");
        f.later().await;
        let (record, _) = f.record("acme").await.expect("it exists");
        assert_eq!(record.secrets, secrets, "rotation {n}, later");
    }
}

pub(super) async fn target_and_secret_can_change_at_once(f: &mut Fixture) {
    f.tenant("acme").await;
    let (before, _) = f.record("acme").await.expect("it was created");
    let both = TenantChange {
        target: Some(target("both.example.com")),
        secret: Some((secret("both-new"), HOUR)),
        ..change(after(3))
    };
    f.update("acme", both).await.expect("it exists");
    f.later().await;
    let (record, _) = f.record("acme").await.expect("it exists");
    let secrets = before.secrets.rotated(secret("both-new"), after(3), HOUR);
    let target = target("both.example.com");
    assert_eq!(record, TenantRecord { target, secrets, updated_at: after(3), ..before });
}

/// For all options: one that is set or reset is that, and all others stay, through restarts too.
pub(super) async fn each_option_changes_on_its_own(f: &mut Fixture) {
    f.create(NewTenant { options: Arc::new(options(1)), ..new_tenant("acme") }).await;
    let (mut expected, mut version) = f.record("acme").await.expect("it was created");
    let new = options(2);
    let nothing = OptionsChange::NOTHING;
    let changes = [
        OptionsChange { timeout: Part::Reset, ..nothing.clone() },
        OptionsChange { timeout: new.timeout.map_or(Part::Reset, Part::Set), ..nothing.clone() },
        OptionsChange { retry: Part::Reset, ..nothing.clone() },
        OptionsChange { retry: new.retry.map_or(Part::Reset, Part::Set), ..nothing.clone() },
        OptionsChange { rate: Part::Reset, ..nothing.clone() },
        OptionsChange { rate: new.rate.map_or(Part::Reset, Part::Set), ..nothing.clone() },
        OptionsChange { in_flight: Part::Reset, ..nothing.clone() },
        OptionsChange {
            in_flight: new.in_flight.map_or(Part::Reset, Part::Set),
            ..nothing.clone()
        },
        OptionsChange { headers: Part::Reset, ..nothing.clone() },
        OptionsChange { headers: Part::Set(new.headers), ..nothing.clone() },
        OptionsChange { paused: Part::Set(new.paused), ..nothing.clone() },
        OptionsChange { paused: Part::Set(true), ..nothing.clone() },
        OptionsChange { paused: Part::Reset, ..nothing.clone() },
        OptionsChange { lifted_at: Part::Set(after(77)), ..nothing.clone() },
        OptionsChange { lifted_at: Part::Reset, ..nothing },
        OptionsChange::RESET,
    ];
    for (n, change) in (1..).zip(changes) {
        expected.options = Arc::new(expected.options.changed(change.clone()));
        expected.updated_at = after(n);
        let change = TenantChange { options: change, ..self::change(after(n)) };
        let (updated, newer) = f.update("acme", change).await.expect("it exists");
        assert_eq!(updated, expected, "change {n}");
        assert!(newer > version, "change {n}: {newer} is not newer than {version}");
        f.later().await;
        assert_eq!(f.record("acme").await, Some((expected.clone(), newer)), "change {n}, later");
        version = newer;
    }
    assert!(expected.options.is_default());
}

/// A new secret or target leaves the options as they are, and options leave those.
pub(super) async fn options_outlive_other_changes(f: &mut Fixture) {
    f.tenant("acme").await;
    let (mut expected, _) = f.record("acme").await.expect("it was created");
    let some = Part::Set(options(3).headers);
    let with_headers = OptionsChange { headers: some, ..OptionsChange::NOTHING };
    expected.options = Arc::new(expected.options.changed(with_headers.clone()));
    expected.secrets = expected.secrets.rotated(secret("with-options"), after(2), HOUR);
    expected.target = target("moved.example.com");
    expected.updated_at = after(3);
    let new_secret = Some((secret("with-options"), HOUR));
    for change in [
        TenantChange { options: with_headers, ..change(after(1)) },
        TenantChange { secret: new_secret, ..change(after(2)) },
        TenantChange { target: Some(target("moved.example.com")), ..change(after(3)) },
    ] {
        f.update("acme", change).await.expect("it exists");
    }
    f.later().await;
    assert_eq!(f.record("acme").await.map(|(record, _)| record), Some(expected));
}

/// For all changes: the version is larger than before.
pub(super) async fn every_change_raises_the_version(f: &mut Fixture) {
    f.tenant("acme").await;
    let (_, mut version) = f.record("acme").await.expect("it was created");
    for n in 1..=6 {
        let host = format!("v{n}.example.com");
        let moved = TenantChange { target: Some(target(&host)), ..change(after(n)) };
        let (_, newer) = f.update("acme", moved).await.expect("it exists");
        assert!(newer > version, "change {n}: {newer} is not newer than {version}");
        f.later().await;
        assert_eq!(f.record("acme").await.expect("it exists").1, newer);
        version = newer;
    }
}

pub(super) async fn a_change_of_one_tenant_is_nobody_elses(f: &mut Fixture) {
    f.tenant("acme").await;
    f.tenant("acme-2").await;
    let before = f.record("acme-2").await;
    let both = TenantChange {
        target: Some(target("mine.example.com")),
        secret: Some((secret("mine-only"), HOUR)),
        ..change(after(3))
    };
    f.update("acme", both).await.expect("it exists");
    assert!(f.revoke_key("acme", "first key of acme").await);
    f.later().await;
    assert_eq!(f.record("acme-2").await, before);
    assert!(f.identity("first key of acme-2").await.expect("it was made").active);
}

pub(super) async fn a_key_says_whose_it_is(f: &mut Fixture) {
    f.create(NewTenant { plan: "gold".into(), ..new_tenant("acme") }).await;
    f.tenant("globex").await;
    assert!(f.add_key("globex", "second", after(1)).await);
    f.later().await;
    for (key, name, plan) in [
        ("first key of acme", "acme", "gold"),
        ("first key of globex", "globex", "standard"),
        ("second", "globex", "standard"),
    ] {
        let identity = Identity { tenant: tenant_id(name), active: true, plan: plan.into() };
        assert_eq!(f.identity(key).await, Some(identity), "{key}");
    }
    assert_eq!(f.identity("never made").await, None);
}

/// For all tenants: the list holds their own keys, revoked ones too, oldest first.
pub(super) async fn keys_are_listed_oldest_first(f: &mut Fixture) {
    f.tenant("acme").await;
    f.tenant("globex").await;
    for n in 1..=6 {
        // Both tenants take turns, and hashes are in no order of time.
        let name = if n % 2 == 0 { "acme" } else { "globex" };
        assert!(f.add_key(name, &format!("{} key", 7 * n % 10), after(n)).await);
    }
    assert!(f.revoke_key("acme", "4 key").await);
    f.later().await;
    let record = |key, active, created_at| KeyRecord { hash: key_hash(key), active, created_at };
    let expected = [
        record("first key of acme", true, START),
        record("4 key", false, after(2)),
        record("8 key", true, after(4)),
        record("2 key", true, after(6)),
    ];
    assert_eq!(f.keys("acme").await, expected);
}

/// A revoked key stays known, so that it can be told from one that was never made.
pub(super) async fn a_revoked_key_stays_known(f: &mut Fixture) {
    f.tenant("acme").await;
    assert!(f.add_key("acme", "spare", after(1)).await);
    assert!(f.revoke_key("acme", "spare").await);
    f.later().await;
    let identity = |active| Identity { tenant: tenant_id("acme"), active, plan: "standard".into() };
    assert_eq!(f.identity("spare").await, Some(identity(false)));
    assert_eq!(f.identity("first key of acme").await, Some(identity(true)));
    assert!(f.revoke_key("acme", "spare").await, "revoking twice is revoking once");
    assert_eq!(f.identity("spare").await, Some(identity(false)));
}

pub(super) async fn a_foreign_key_cannot_be_revoked(f: &mut Fixture) {
    f.tenant("acme").await;
    f.tenant("globex").await;
    assert!(!f.revoke_key("globex", "first key of acme").await);
    assert!(!f.revoke_key("globex", "never made").await);
    f.later().await;
    assert!(f.identity("first key of acme").await.expect("it was made").active);
    assert_eq!(f.identity("never made").await, None);
}

pub(super) async fn the_receiver_is_on_until_switched_off(f: &mut Fixture) {
    assert_eq!(f.stores().tenants.reception_enabled().await, Ok(true));
    for enabled in [false, false, true, false] {
        assert_eq!(f.stores().tenants.set_reception_enabled(enabled).await, Ok(()));
        f.later().await;
        assert_eq!(f.stores().tenants.reception_enabled().await, Ok(enabled));
    }
}

/// For all names and bytes: the last value set is the one that is read.
pub(super) async fn a_setting_is_the_last_value_set(f: &mut Fixture) {
    let all_bytes: Vec<u8> = (0..=255).collect();
    assert_eq!(f.stores().tenants.setting("admin").await, Ok(None));
    let sets: [(&str, &[u8]); 4] =
        [("admin", b"first"), ("admin-2", b"other"), ("admin", &all_bytes), ("empty", b"")];
    for (name, value) in sets {
        assert_eq!(f.stores().tenants.set_setting(name, value).await, Ok(()));
    }
    f.later().await;
    let expected: [(&str, Option<&[u8]>); 5] = [
        ("admin", Some(&all_bytes)),
        ("admin-2", Some(b"other")),
        ("empty", Some(b"")),
        ("admi", None),
        ("", None),
    ];
    for (name, value) in expected {
        let read = f.stores().tenants.setting(name).await.expect("reading works");
        assert_eq!(read.as_deref(), value, "{name:?}");
    }
}

//! Nobody reads a tenant without its key, and no record opens in another's place.

use std::path::Path;

use posthaste_domain::TenantId;
use posthaste_ports::memory::NullSink;
use posthaste_ports::{TenantRecord, TenantStore as _};
use tempfile::TempDir;

use super::*;
use crate::codec::CodecError;
use crate::ledger::Ledger;
use crate::testing::{Watch, home, new_tenant, opened, settings, tenant_id};
use crate::tools::{self, Verified};

fn key(text: char) -> SealKey {
    SealKey::from_hex(&String::from(text).repeat(64)).unwrap()
}

fn vault(text: char) -> Vault {
    Vault::new(&key(text)).unwrap()
}

fn open(settings: Settings) -> Result<(Ledger, Vec<String>), OpenError> {
    let opened = Ledger::open(settings, Arc::new(NullSink), Arc::new(Watch::default()));
    opened.map(|(ledger, recovery)| (ledger, recovery.notes))
}

async fn tenant(ledger: &Ledger) -> TenantRecord {
    let read = ledger.tenant(&tenant_id("acme")).await.unwrap().unwrap();
    TenantRecord::clone(&read)
}

/// A directory with a tenant, and what is known of that.
async fn filled(settings: &Settings) -> TenantRecord {
    let (ledger, _) = open(settings.clone()).unwrap();
    ledger.create(new_tenant("acme", 7)).await.unwrap();
    let record = tenant(&ledger).await;
    ledger.close().await;
    record
}

/// Whether a file below a folder holds these bytes.
fn holds(folder: &Path, bytes: &[u8]) -> bool {
    let mut found = false;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        found |= if path.is_dir() {
            holds(&path, bytes)
        } else {
            fs::read(&path).unwrap().windows(bytes.len()).any(|window| window == bytes)
        };
    }
    found
}

fn verify(home: &TempDir) -> Verified {
    let mut all = Vec::new();
    let verified = tools::verify(&settings(home).dir, &mut |damage| all.push(damage)).unwrap();
    assert_eq!(all, []);
    verified
}

#[test]
fn a_key_is_64_digits() {
    let text = "0123456789abcdef".repeat(4);
    assert_eq!(SealKey::from_hex(&text).unwrap().expose_hex(), text);
    for wrong in ["", &text[1..], &format!("{text}0"), &text.to_uppercase(), &"g".repeat(64)] {
        assert_eq!(SealKey::from_hex(wrong), None, "{wrong}");
    }
    assert!(!format!("{:?} {:?}", key('a'), vault('a')).contains("aaa"));
}

/// Changed anywhere, cut anywhere, with another key or about another: it does not open.
#[test]
fn what_is_sealed_opens_whole_or_not_at_all() {
    let (other, vault) = (vault('2'), vault('1'));
    let sealed = vault.seal(b"acme", b"whsec_hidden").unwrap();
    assert_eq!(vault.open(b"acme", &sealed).unwrap(), b"whsec_hidden");
    assert_ne!(vault.seal(b"acme", b"whsec_hidden").unwrap(), sealed, "each has its own nonce");
    assert!(!sealed.windows(5).any(|part| part == b"whsec"));
    for at in 0..sealed.len() {
        assert_eq!(vault.open(b"acme", &sealed[..at]), None, "cut at {at}");
        for bit in 0..8 {
            let mut changed = sealed.clone();
            changed[at] ^= 1 << bit;
            assert_eq!(vault.open(b"acme", &changed), None, "bit {bit} of byte {at}");
        }
    }
    assert_eq!(vault.open(b"acmf", &sealed), None);
    assert_eq!(other.open(b"acme", &sealed), None);
}

/// The records of two tenants change places: neither opens, under whichever key and shard.
#[tokio::test]
async fn a_record_opens_in_its_own_place_only() {
    let (home, vault) = (home(), vault('1'));
    let record = filled(&settings(&home)).await;
    let clear = TenantRow::of(&record);
    let row = clear.clone().sealed(&record.id, &vault).unwrap();
    assert!(row.is_sealed() && row.shard_key() == 7);
    let bytes = codec::encode(&row);
    let read = || codec::decode::<TenantRow>(&bytes).unwrap();
    assert!(read().opened(&record.id, Some(&vault)).unwrap() == clear);
    let other = TenantId::try_new("acmf").unwrap();
    for (id, vault) in [(&other, Some(&vault)), (&record.id, None)] {
        assert!(read().opened(id, vault).is_err_and(|error| error == CodecError::Sealed));
    }
    assert_eq!(read().record(record.id.clone()), Err(CodecError::Sealed));
    // The shard stands in the clear, and is sworn to.
    let mut moved = bytes[..bytes.len() - 4].to_vec();
    moved[1] = 8;
    let moved = [&moved[..], &crc32fast::hash(&moved).to_le_bytes()].concat();
    let moved = codec::decode::<TenantRow>(&moved).unwrap();
    assert_eq!(moved.shard_key(), 8);
    assert!(moved.opened(&record.id, Some(&vault)).is_err());
}

/// Neither journal nor table nor anything else in the directory has a secret, a header's value or a
/// target in the clear.
#[tokio::test]
async fn a_directory_shows_no_secret() {
    let home = home();
    let settings = settings(&home);
    let record = filled(&settings).await;
    for part in [record.secrets.current().expose(), record.target.as_str()] {
        assert!(!holds(&settings.dir, part.as_bytes()), "{part}");
    }
    assert!(holds(&settings.dir, b"acme"), "names are there");
    let (ledger, notes) = open(settings).unwrap();
    assert_eq!((tenant(&ledger).await, notes), (record, Vec::new()));
    ledger.close().await;
    drop(ledger);
    assert_eq!(verify(&home).tenants, 1);
}

#[tokio::test]
async fn a_start_with_another_key_or_without_it_is_refused() {
    let home = home();
    let lying = settings(&home);
    let with = |text| Settings { seal_key: Some(key(text)), ..lying.clone() };
    let record = filled(&lying).await;
    let is_refused = |settings: Settings| {
        let refused = open(settings).map(|_| ());
        let Err(OpenError::OtherSealKey { .. }) = &refused else { panic!("{refused:?}") };
        assert!(refused.unwrap_err().to_string().contains("data.seal-key"));
    };
    let file = lying.dir.join("seal-key");
    let text = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    is_refused(with('1'));
    is_refused(lying.clone());
    assert!(!file.exists(), "no other key is put in its place");
    fs::write(&file, "no key").unwrap();
    assert!(matches!(open(lying.clone()), Err(OpenError::Unusable { .. })));
    fs::remove_file(&file).unwrap();
    // Kept elsewhere from now on.
    let elsewhere = Settings { seal_key: SealKey::from_hex(text.trim()), ..lying.clone() };
    let (ledger, notes) = open(elsewhere).unwrap();
    assert_eq!((tenant(&ledger).await, notes), (record, Vec::new()));
    ledger.close().await;
    drop(ledger);
    // Tools count what they cannot look into.
    assert_eq!(verify(&home).tenants, 1);
}

/// A directory of before: its tenants are sealed at the first start, and an end in the middle of
/// that is gone on from.
#[tokio::test]
async fn tenants_of_before_are_sealed_at_the_first_start() {
    let home = home();
    let settings = settings(&home);
    let record = filled(&settings).await;
    let beside = TenantId::try_new("beside").unwrap();
    let unseal = |names: &[&TenantId]| {
        let database = fjall::Database::builder(settings.dir.join("ledger")).open().unwrap();
        let tables = Tables::open(database, &settings).unwrap();
        for id in names {
            let row = codec::encode(&TenantRow::of(&record));
            tables.keyspace(Table::Tenants).insert(keys::tenant(id), row).unwrap();
        }
        tables.keyspace(Table::Meta).remove(SEAL_KEY).unwrap();
        tables.database().persist(fjall::PersistMode::SyncAll).unwrap();
    };
    unseal(&[&record.id, &beside]);
    for again in [2, 1, 0] {
        let (ledger, notes) = open(settings.clone()).unwrap();
        assert_eq!(notes.len(), usize::from(again > 0), "{notes:?}");
        if again > 0 {
            assert_eq!(notes[0], format!("{again} tenants were sealed; see data.seal-key"));
        }
        assert_eq!(tenant(&ledger).await, record);
        for id in [&record.id, &beside] {
            let tables = &ledger.shared.tables;
            let row: TenantRow = tables.row(Table::Tenants, &keys::tenant(id)).unwrap().unwrap();
            assert!(row.is_sealed(), "{id}");
        }
        ledger.close().await;
        drop(ledger);
        if again == 2 {
            unseal(&[&beside]);
        }
    }
}

/// A repair brings the key along, and what it is the key of.
#[tokio::test]
async fn a_repaired_directory_opens_with_its_key() {
    let home = home();
    let settings = settings(&home);
    let record = filled(&settings).await;
    let target = home.path().join("repaired");
    let repaired = tools::repair(&settings.dir, &target, &mut |found| panic!("{found:?}"));
    assert!(repaired.unwrap().is_complete());
    let (ledger, notes) = open(Settings { dir: target, ..settings }).unwrap();
    assert_eq!((tenant(&ledger).await, notes), (record, Vec::new()));
    ledger.close().await;
}

/// Another key takes the place of the one that lies there, also where that was cut off in between;
/// then the old one opens nothing.
#[tokio::test]
async fn a_key_is_replaced_by_another_one() {
    let home = home();
    let lying = settings(&home);
    let with = |text| Settings { seal_key: Some(key(text)), ..lying.clone() };
    let record = filled(&lying).await;
    let (file, needless) = (lying.dir.join("seal-key"), "is not needed any more: remove it");
    let first = fs::read_to_string(&file).unwrap();
    for (text, before) in [('1', first.clone()), ('2', key('1').expose_hex())] {
        fs::write(&file, &before).unwrap();
        for again in [true, false] {
            let (ledger, notes) = open(with(text)).unwrap();
            assert_eq!(tenant(&ledger).await, record);
            ledger.close().await;
            assert_eq!(notes.len(), 1 + usize::from(again), "{notes:?}");
            assert!(notes.last().unwrap().ends_with(needless), "{notes:?}");
        }
        assert!(matches!(open(lying.clone()), Err(OpenError::OtherSealKey { .. })));
        fs::remove_file(&file).unwrap();
        let (ledger, notes) = open(with(text)).unwrap();
        assert_eq!((tenant(&ledger).await, notes), (record.clone(), Vec::new()));
        ledger.close().await;
    }
    // Cut off, as earlier versions left it: the number is the old key's, and one tenant has the
    // new seal already.
    {
        let database = fjall::Database::builder(lying.dir.join("ledger")).open().unwrap();
        let tables = Tables::open(database, &lying).unwrap();
        let beside = TenantId::try_new("beside").unwrap();
        let row = TenantRow::of(&record).sealed(&beside, &vault('3')).unwrap();
        let row = codec::encode(&row);
        tables.keyspace(Table::Tenants).insert(keys::tenant(&beside), row).unwrap();
        tables.database().persist(fjall::PersistMode::SyncAll).unwrap();
    }
    fs::write(&file, key('2').expose_hex()).unwrap();
    let (ledger, notes) = open(with('3')).unwrap();
    assert_eq!(notes[0], "1 tenants were sealed; see data.seal-key");
    assert_eq!(tenant(&ledger).await, record);
    ledger.close().await;
}

/// An end between the new seals and the new number: only both keys together go on. Whoever went
/// back to the old one would find tenants that it does not open, and might throw the new one away.
#[tokio::test]
async fn a_key_that_was_taking_over_is_not_given_up_half_way() {
    let home = home();
    let lying = settings(&home);
    let with = |text| Settings { seal_key: Some(key(text)), ..lying.clone() };
    let record = filled(&lying).await;
    let file = lying.dir.join("seal-key");
    let first = SealKey::from_hex(fs::read_to_string(&file).unwrap().trim()).unwrap();
    {
        // The commit with the new seals is the last one.
        let mut cut_off = opened(lying.clone());
        let (vault, before) = (Arc::new(vault('1')), Some(Vault::new(&first).unwrap()));
        let seals = Seals { vault, before, is_done: false, is_left_over: true };
        assert_eq!(seal_tenants(&cut_off.shared, &mut cut_off.writer, &seals).unwrap(), 1);
    }
    let is_refused = |settings| matches!(open(settings), Err(OpenError::OtherSealKey { .. }));
    assert!(is_refused(lying.clone()), "the old one alone");
    assert!(is_refused(with('2')), "a third one");
    assert_eq!(verify(&home).tenants, 1, "tools keep what they cannot look into");
    fs::remove_file(&file).unwrap();
    assert!(is_refused(with('1')), "the new one alone");
    fs::write(&file, first.expose_hex()).unwrap();
    let (ledger, _) = open(with('1')).unwrap();
    assert_eq!(tenant(&ledger).await, record);
    ledger.close().await;
    drop(ledger);
    fs::remove_file(&file).unwrap();
    let (ledger, notes) = open(with('1')).unwrap();
    assert_eq!((tenant(&ledger).await, notes), (record, Vec::new()));
    ledger.close().await;
}

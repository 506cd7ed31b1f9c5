//! Seals what is written of a tenant: its secrets, the values of its headers, and its target, whose
//! path may be a secret.
//!
//! AES-256-GCM with a nonce drawn for each seal, and the tenant's name and shard as what it is
//! about: a record that was moved to another tenant does not open. Whoever has tables, journals or
//! a copy of them, and not the key, learns no secret.
//!
//! ```text
//! ┌──────────┬──────────────────────┬──────────┐
//! │ nonce    │ sealed               │ tag      │
//! │ 12 bytes │ as long as it was    │ 16 bytes │
//! └──────────┴──────────────────────┴──────────┘
//! ```
//!
//! The key is the operator's ([`Settings::seal_key`]), or one that is drawn when the directory is
//! made and lies in it (`seal-key`). Which key a directory is sealed with stands in it as a number
//! that says nothing about the key, so that a start with another one is refused before the
//! first commit. While one key takes the place of another, the numbers of both stand there, and
//! neither alone is taken.
//!
//! Invariant: the key is on disk, with its name, before anything that it seals.

use std::fmt;
use std::fs;
use std::io;
use std::ops::Bound;
use std::sync::Arc;

use posthaste_domain::hex;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{Context, SHA256};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::batch::Batch;
use crate::codec::{self, TenantRow};
use crate::directory::Directory;
use crate::error::OpenError;
use crate::keys::{self, RegistryKey};
use crate::loss;
use crate::raw::{RawStore, Told};
use crate::settings::Settings;
use crate::shared::Shared;
use crate::tables::{ReadError, SEAL_KEY, Table, Tables, pair_of};
use crate::writer::Writer;

const KEY_LEN: usize = 32;
/// Tenants that are sealed in one commit, where a directory has some that are not.
const TENANTS: usize = 1_000;
/// Of the number that says which key it is.
const NUMBER_LEN: usize = 8;

/// The key by which tenants' records are sealed: 256 bits, written as 64 lower-case hexadecimal
/// digits.
#[derive(Clone, PartialEq, Eq)]
pub struct SealKey([u8; KEY_LEN]);

impl SealKey {
    /// The key that a text is.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        hex::parse_32(text).map(Self)
    }

    /// The text that it is; a secret.
    fn expose_hex(&self) -> String {
        let mut text = String::new();
        hex::push(&mut text, &self.0);
        text
    }

    /// A number that tells it from other keys, and says nothing about it.
    #[must_use]
    pub fn number(&self) -> [u8; NUMBER_LEN] {
        let mut whole = Context::new(&SHA256);
        whole.update(b"posthaste, which key seals\0");
        whole.update(&self.0);
        let mut number = [0; NUMBER_LEN];
        number.copy_from_slice(&whole.finish().as_ref()[..NUMBER_LEN]);
        number
    }

    fn draw() -> io::Result<Self> {
        let mut key = [0; KEY_LEN];
        random(&SystemRandom::new(), &mut key)?;
        Ok(Self(key))
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(hidden)")
    }
}

/// What seals and opens.
pub(crate) struct Vault {
    key: LessSafeKey,
    chance: SystemRandom,
    number: [u8; NUMBER_LEN],
}

impl Vault {
    pub(crate) fn new(key: &SealKey) -> io::Result<Self> {
        let (number, unusable) = (key.number(), |_| io::Error::other("the cipher takes no key"));
        let key = UnboundKey::new(&AES_256_GCM, &key.0).map_err(unusable)?;
        Ok(Self { key: LessSafeKey::new(key), chance: SystemRandom::new(), number })
    }

    /// Seals bytes that are about something.
    pub(crate) fn seal(&self, about: &[u8], clear: &[u8]) -> io::Result<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        random(&self.chance, &mut nonce)?;
        let mut sealed = clear.to_vec();
        let too_long = |_| io::Error::other("too long to be sealed");
        let (about, unique) = (Aad::from(about), Nonce::assume_unique_for_key(nonce));
        self.key.seal_in_place_append_tag(unique, about, &mut sealed).map_err(too_long)?;
        sealed.splice(..0, nonce);
        Ok(sealed)
    }

    /// What was sealed with this key about the same; none where it was not, or was changed since.
    pub(crate) fn open(&self, about: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut text = text.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self.key.open_in_place(nonce, Aad::from(about), &mut text).ok()?.len();
        text.truncate(length);
        Some(text)
    }

    /// Writes down which key it is, where that is not there.
    pub(crate) fn note(&self, batch: &mut Batch) -> Result<(), ReadError> {
        let stored = batch.tables().get(Table::Meta, SEAL_KEY)?;
        if !stored.is_some_and(|row| self.is_named_by(&row)) {
            batch.insert_bytes(Table::Meta, SEAL_KEY, codec::frame(&self.number));
            batch.needs_sync = true;
        }
        Ok(())
    }

    /// Whether a row says that it is this key.
    fn is_named_by(&self, row: &[u8]) -> bool {
        codec::unframe(row).is_ok_and(|number| number == self.number)
    }

    /// Says that this key takes the place of the one before: it takes both of them to open all.
    fn in_place_of(&self, before: &Self) -> [u8; 2 * NUMBER_LEN] {
        let mut numbers = [0; 2 * NUMBER_LEN];
        numbers[..NUMBER_LEN].copy_from_slice(&self.number);
        numbers[NUMBER_LEN..].copy_from_slice(&before.number);
        numbers
    }

    /// Whether a row says that this key was taking the place of that one.
    fn is_taking_over(&self, before: &Self, row: &[u8]) -> bool {
        codec::unframe(row).is_ok_and(|numbers| numbers == self.in_place_of(before))
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").finish_non_exhaustive()
    }
}

fn random(chance: &SystemRandom, bytes: &mut [u8]) -> io::Result<()> {
    let none = |_| io::Error::other("the system gives no random numbers");
    chance.fill(bytes).map_err(none)
}

/// What a directory is sealed with.
pub(crate) struct Seals {
    pub(crate) vault: Arc<Vault>,
    /// Of the key that lies in the directory, where the operator has another one.
    before: Option<Vault>,
    /// Whether all of it is sealed with this key.
    is_done: bool,
    /// Whether a key lies in the directory that need not.
    pub(crate) is_left_over: bool,
}

/// The keys of a directory: the operator's, or the one that lies in it. Where the operator has
/// another one than lies there, and it was sealed with that, it is to be sealed anew.
pub(crate) fn establish(
    directory: &Directory,
    tables: &Tables,
    settings: &Settings,
) -> Result<Seals, OpenError> {
    let path = directory.seal_key();
    let unusable = |source| OpenError::Unusable { path: path.clone(), source };
    let stored = tables.get(Table::Meta, SEAL_KEY).map_err(|e| loss::unread(directory, e))?;
    let lying = read(directory).map_err(unusable)?;
    let is_left_over = settings.seal_key.is_some() && lying.is_some();
    let (key, before) = match (&settings.seal_key, lying) {
        (Some(key), lying) => (key.clone(), lying.filter(|lying| lying != key)),
        (None, Some(key)) => (key, None),
        (None, None) if stored.is_some() => {
            return Err(OpenError::OtherSealKey { path: directory.path().to_owned() });
        }
        (None, None) => {
            let key = SealKey::draw().map_err(unusable)?;
            directory.write_seal_key(&key.expose_hex()).map_err(unusable)?;
            (key, None)
        }
    };
    let vault = Vault::new(&key).map_err(unusable)?;
    let before = before.as_ref().map(Vault::new).transpose().map_err(unusable)?;
    let is_done = match &stored {
        None => false,
        Some(row) if vault.is_named_by(row) => true,
        Some(row)
            if before.as_ref().is_some_and(|before| {
                before.is_named_by(row) || vault.is_taking_over(before, row)
            }) =>
        {
            false
        }
        Some(_) => return Err(OpenError::OtherSealKey { path: directory.path().to_owned() }),
    };
    Ok(Seals { vault: Arc::new(vault), before, is_done, is_left_over })
}

/// The key that lies in a directory, if one does.
fn read(directory: &Directory) -> io::Result<Option<SealKey>> {
    let text = match fs::read_to_string(directory.seal_key()) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let no_key = || io::Error::new(io::ErrorKind::InvalidData, "it holds no key of 64 digits");
    SealKey::from_hex(text.trim()).map(Some).ok_or_else(no_key)
}

/// The vault of the key that lies in a directory, for tools, where it is the one that the directory
/// is sealed with. Without it they take sealed records as they are.
pub(crate) fn lying_in(directory: &Directory, store: &RawStore) -> Option<Vault> {
    let vault = Vault::new(&read(directory).ok()??).ok()?;
    let nobody = Told::nobody();
    let mut rows = store.rows(Table::Meta, &nobody);
    rows.any(|(key, row)| *key == *SEAL_KEY && vault.is_named_by(&row)).then_some(vault)
}

/// Seals tenants that are not sealed, or with the key before; gives how many. A start that is cut
/// off in between goes on the next time.
pub(crate) fn seal_tenants(
    shared: &Shared,
    writer: &mut Writer,
    Seals { vault, before, is_done, .. }: &Seals,
) -> Result<u64, OpenError> {
    let path = || shared.directory.path().to_owned();
    let unread = |failed: ReadError| loss::unread(&shared.directory, failed);
    let (mut sealed, mut from) = (0, Bound::Unbounded);
    if *is_done {
        return Ok(0);
    }
    loop {
        let mut batch = Batch::new(shared.tables.clone());
        let (mut count, mut last) = (0, None);
        for guard in shared.tables.view().from(Table::Tenants, from.clone()).take(TENANTS) {
            let (key, value) = pair_of(Table::Tenants, guard).map_err(unread)?;
            last = Some(key.to_vec());
            let Some(RegistryKey::Tenant(id)) = keys::parse_registry(&key) else { continue };
            // What is damaged stays so.
            let Ok(row) = codec::decode::<TenantRow>(&value) else { continue };
            if row.is_sealed() && row.clone().opened(&id, Some(vault)).is_ok() {
                continue;
            }
            let opened = row.opened(&id, before.as_ref());
            let opened = opened.map_err(|_| OpenError::OtherSealKey { path: path() })?;
            let unusable = |source| OpenError::Unusable { path: path(), source };
            let row = opened.sealed(&id, vault).map_err(unusable)?;
            batch.insert_bytes(Table::Tenants, key.to_vec(), codec::encode(&row));
            batch.needs_sync = true;
            count += 1;
        }
        let Some(last) = last else { return Ok(sealed) };
        from = Bound::Excluded(last);
        if count > 0 {
            sealed += count;
            if let Some(before) = before {
                let both = codec::frame(&vault.in_place_of(before));
                batch.insert_bytes(Table::Meta, SEAL_KEY, both);
            }
            let committed = writer.commit(batch, Vec::new(), shared.observer.monotonic_us());
            committed.map_err(|source| OpenError::Unwritable { path: path(), source })?;
        }
    }
}

#[cfg(test)]
mod tests;

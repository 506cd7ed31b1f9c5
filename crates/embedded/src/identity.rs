//! Whose directory it is: a random name of its own, and the instance whose cache it is.
//!
//! A disk can be copied and started twice. A directory that carries another instance's name than
//! the one that opens it is a clone: what it owns under that name, its origin may own as well.
//!
//! Invariant: that a directory is a clone is told at every start until all of it was claimed anew
//! ([`crate::Ledger::own_clone`]); a crash in between forgets nothing.

use std::fmt;
use std::io;

use posthaste_domain::InstanceId;
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::batch::Batch;
use crate::codec::IdentityRow;
use crate::tables::{IDENTITY_KEY, ReadError, Table, Tables};

/// Names a store: drawn when the directory is made, and again when it is found to be a clone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(u128);

impl StoreId {
    /// The name as a number.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        self.0
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreId({self})")
    }
}

/// Who a directory is.
pub(crate) struct Identity {
    pub(crate) store: StoreId,
    pub(crate) cloned_from: Option<InstanceId>,
}

/// Reads whose directory it is, and notes in `batch` what has changed: that it is new, or that it
/// is a clone. Without an instance (standalone mode) it is nobody's cache, and stays whose it was.
pub(crate) fn establish(
    tables: &Tables,
    instance: Option<&InstanceId>,
    batch: &mut Batch,
) -> Result<Identity, EstablishError> {
    let stored = tables.row::<IdentityRow>(Table::Meta, IDENTITY_KEY)?;
    let mut row = match &stored {
        Some(row) => row.clone(),
        None => IdentityRow { store: draw()?, instance: None, cloned_from: None },
    };
    if let Some(instance) = instance {
        let before = row.instance.replace(instance.as_str().to_owned());
        if let Some(origin) = before.filter(|before| before != instance.as_str()) {
            row.store = draw()?;
            row.cloned_from = Some(origin);
        }
    }
    if stored.as_ref() != Some(&row) {
        batch.insert(Table::Meta, IDENTITY_KEY, &row);
        batch.needs_sync = true;
    }
    let cloned_from = row.cloned_from.as_deref().and_then(InstanceId::try_new);
    Ok(Identity { store: StoreId(row.store), cloned_from })
}

/// Why it is not known whose directory it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EstablishError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("no random numbers")]
    Random(#[source] io::Error),
}

fn draw() -> Result<u128, EstablishError> {
    let mut bytes = [0; 16];
    let none = |_| EstablishError::Random(io::Error::other("the system gives no random numbers"));
    SystemRandom::new().fill(&mut bytes).map_err(none)?;
    Ok(u128::from_le_bytes(bytes))
}

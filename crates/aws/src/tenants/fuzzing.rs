//! The configuration and identity rows, for the fuzz targets; see [`crate::fuzzing`].

use posthaste_domain::TenantId;
use posthaste_ports::{Identity, TenantRecord};

use super::record::{Stored, attributes};
use super::{identity, options};
use crate::item::Item;

/// What an item says, and what the item says that is written of that.
pub(crate) fn tenant(id: &TenantId, item: &Item) -> Option<(TenantRecord, TenantRecord)> {
    let record = Stored::of(id, item).record().ok()?;
    let named = attributes(&record).into_iter().map(|(name, value)| (name.to_owned(), value));
    let mut written: Item = named.collect();
    written.insert(options::OPTIONS.to_owned(), options::value(&record.options));
    let again = Stored::of(id, &written).record().expect("what was read can be read again");
    Some((record, again))
}

/// Whose key an item is.
pub(crate) fn identity(item: &Item) -> Option<Identity> {
    identity::identity(item)
}

//! How rows were named in a directory of format 1, and are since.
//!
//! Format 1 named whatever an event has by its tenant first, had no place before a tenant, and no
//! mark of every event. The first start brings it over (`upgrade`); until it has, the tools read
//! both.

use posthaste_domain::{DeliveryKey, EndpointId, EventId, TenantId};

use super::{Key, MARK_ANY, Reader, event, fresh, mark};

/// No tenant's name begins with less, and no event id with so much before the year 3500: what was
/// named by tenant stands behind this, and what is named by event before it.
pub(crate) const FIRST_OF_TENANTS: &[u8] = b"-";

/// The names of a format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Format 1.
    One,
    /// Format 1, as far as a start has not brought it over.
    Mixed,
    #[default]
    Current,
}

/// The beginning of a key that names an event: the name itself, whose it is, how many bytes
/// follow it, and after which format it is named.
pub(crate) struct Named<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) tenant: TenantId,
    pub(crate) event: EventId,
    pub(crate) rest: usize,
    pub(crate) layout: Layout,
}

impl Layout {
    /// Whether every event has a mark, or only those that wait, are dead, or purged.
    pub(crate) fn marks_every_event(self) -> bool {
        self == Self::Current
    }

    /// An event's row or payload.
    pub(crate) fn event(self, tenant: &TenantId, id: EventId) -> Vec<u8> {
        match self {
            Self::One => Key::new().tenant(tenant).event(id).0,
            Self::Mixed | Self::Current => event(tenant, id),
        }
    }

    /// A fresh delivery.
    pub(crate) fn fresh(self, tenant: &TenantId, endpoint: EndpointId, id: EventId) -> Vec<u8> {
        match self {
            Self::One => Key::new().tenant(tenant).endpoint(endpoint).event(id).0,
            Self::Mixed | Self::Current => fresh(tenant, endpoint, id),
        }
    }

    /// An event's mark.
    pub(crate) fn mark(self, kind: u8, tenant: &TenantId, id: EventId) -> Vec<u8> {
        match self {
            Self::One => Key::new().byte(kind).tenant(tenant).event(id).0,
            Self::Mixed | Self::Current => mark(kind, tenant, id),
        }
    }

    /// The event that a key begins with.
    pub(crate) fn split(self, key: &[u8]) -> Option<Named<'_>> {
        let mut reader = Reader::new(key);
        let layout = match self {
            Self::Mixed if key < FIRST_OF_TENANTS => Self::Current,
            Self::Mixed => Self::One,
            known => known,
        };
        let (tenant, event) = match layout {
            Self::One => (reader.tenant()?, reader.event()?),
            Self::Mixed | Self::Current => {
                let event = reader.event()?;
                (reader.tenant()?, event)
            }
        };
        let rest = reader.rest().len();
        Some(Named { name: &key[..key.len() - rest], tenant, event, rest, layout })
    }

    /// The delivery that a fresh row's key names.
    pub(crate) fn parse_fresh(self, key: &[u8]) -> Option<DeliveryKey> {
        let mut reader = Reader::new(key);
        let tenant = self.tenant(&mut reader)?;
        let (endpoint, event) = (reader.endpoint()?, reader.event()?);
        Some(DeliveryKey { tenant, event, endpoint })
    }

    /// The event that a mark's key names.
    pub(crate) fn parse_mark(self, key: &[u8]) -> Option<(TenantId, EventId)> {
        let mut reader = Reader::new(key);
        let kind = reader.byte()?;
        // No other mark has a place; nor has any in format 1, where there is none of this kind.
        let tenant = if kind == MARK_ANY { self.tenant(&mut reader)? } else { reader.tenant()? };
        Some((tenant, reader.event()?))
    }

    fn tenant<'a>(self, reader: &mut Reader<'a>) -> Option<TenantId> {
        match self {
            Self::One => reader.tenant(),
            Self::Mixed => {
                let mut placed = Reader::new(reader.rest());
                let Some(tenant) = placed.placed() else { return reader.tenant() };
                *reader = placed;
                Some(tenant)
            }
            Self::Current => reader.placed(),
        }
    }
}

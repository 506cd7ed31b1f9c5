//! How rows were named in a directory of format 1, which the tools still read, and are since.
//!
//! Format 1 named whatever an event has by its tenant first, had no place before a tenant, and no
//! mark of every event.

use posthaste_domain::{DeliveryKey, EndpointId, EventId, TenantId};

use super::{Key, Reader, event, fresh, mark};

/// The names of a format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Nobody writes it any more.
    One,
    #[default]
    Two,
}

/// The beginning of a key that names an event: the name itself, whose it is, and how many bytes
/// follow it.
pub(crate) struct Named<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) tenant: TenantId,
    pub(crate) event: EventId,
    pub(crate) rest: usize,
}

impl Layout {
    /// Whether every event has a mark, or only those that wait, are dead, or purged.
    pub(crate) fn marks_every_event(self) -> bool {
        self == Self::Two
    }

    /// An event's row or payload.
    pub(crate) fn event(self, tenant: &TenantId, id: EventId) -> Vec<u8> {
        match self {
            Self::One => Key::new().tenant(tenant).event(id).0,
            Self::Two => event(tenant, id),
        }
    }

    /// A fresh delivery.
    pub(crate) fn fresh(self, tenant: &TenantId, endpoint: EndpointId, id: EventId) -> Vec<u8> {
        match self {
            Self::One => Key::new().tenant(tenant).endpoint(endpoint).event(id).0,
            Self::Two => fresh(tenant, endpoint, id),
        }
    }

    /// An event's mark.
    pub(crate) fn mark(self, kind: u8, tenant: &TenantId, id: EventId) -> Vec<u8> {
        match self {
            Self::One => Key::new().byte(kind).tenant(tenant).event(id).0,
            Self::Two => mark(kind, tenant, id),
        }
    }

    /// The event that a key begins with.
    pub(crate) fn split(self, key: &[u8]) -> Option<Named<'_>> {
        let mut reader = Reader::new(key);
        let (tenant, event) = match self {
            Self::One => (reader.tenant()?, reader.event()?),
            Self::Two => {
                let event = reader.event()?;
                (reader.tenant()?, event)
            }
        };
        let rest = reader.rest().len();
        Some(Named { name: &key[..key.len() - rest], tenant, event, rest })
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
        reader.byte()?;
        Some((self.tenant(&mut reader)?, reader.event()?))
    }

    fn tenant(self, reader: &mut Reader<'_>) -> Option<TenantId> {
        match self {
            Self::One => reader.tenant(),
            Self::Two => reader.placed(),
        }
    }
}

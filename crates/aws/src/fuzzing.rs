//! What reads rows that others may have written, for the fuzz targets: no part of the crate's
//! surface, and there only with the feature `fuzzing`.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use posthaste_domain::{Row, RowKey, TenantId};
use posthaste_ports::{Identity, LoggedAttempt, TenantRecord};

use crate::item::{self, Item};
use crate::tenants;

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// S.
    Text(String),
    /// N, whatever it says.
    Number(String),
    /// B.
    Bytes(Vec<u8>),
    /// BOOL.
    Bool(bool),
    /// NULL.
    Null,
    /// L.
    List(Vec<Self>),
    /// M.
    Map(Attributes),
}

/// Attributes by their names; of two under one name the later counts.
pub type Attributes = Vec<(String, Value)>;

/// An event's item, read in every way.
#[derive(Clone, Debug)]
pub struct EventRead {
    /// Whose it is.
    pub key: Option<RowKey>,
    /// The row.
    pub row: Result<Row, String>,
    /// The payload in it.
    pub payload: Option<Bytes>,
    /// The attempt log.
    pub log: Vec<LoggedAttempt>,
}

/// Reads an event's item.
#[must_use]
pub fn event(attributes: Attributes) -> EventRead {
    let item = item_of(attributes);
    EventRead {
        key: item::key_of(&item),
        row: item::row(&item),
        payload: item::payload(&item),
        log: item::log(&item),
    }
}

/// Reads a tenant's item; where it makes a tenant, also what is read of that one's own item.
#[must_use]
pub fn tenant(id: &TenantId, attributes: Attributes) -> Option<(TenantRecord, TenantRecord)> {
    tenants::fuzzing::tenant(id, &item_of(attributes))
}

/// Reads a key's item.
#[must_use]
pub fn identity(attributes: Attributes) -> Option<Identity> {
    tenants::fuzzing::identity(&item_of(attributes))
}

fn item_of(attributes: Attributes) -> Item {
    attributes.into_iter().map(|(name, value)| (name, value.into())).collect()
}

impl From<Value> for AttributeValue {
    fn from(value: Value) -> Self {
        match value {
            Value::Text(text) => Self::S(text),
            Value::Number(text) => Self::N(text),
            Value::Bytes(bytes) => Self::B(Blob::new(bytes)),
            Value::Bool(is) => Self::Bool(is),
            Value::Null => Self::Null(true),
            Value::List(values) => Self::L(values.into_iter().map(Into::into).collect()),
            Value::Map(attributes) => Self::M(item_of(attributes)),
        }
    }
}

//! Words of the domain as the API's JSON writes them.

use posthaste_domain::{EventStatus, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where an event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schema(as = EventStatus)]
pub(crate) enum StatusName {
    /// Accepted; an attempt is due or running.
    Pending,
    /// A 2xx was seen. Final.
    Delivered,
    /// The last attempt failed, and the next one is not due yet.
    Failed,
    /// All attempts failed, or a named cause ended them.
    Dlq,
    /// Purged from the DLQ. Final.
    Purged,
}

impl From<EventStatus> for StatusName {
    fn from(status: EventStatus) -> Self {
        match status {
            EventStatus::Pending => Self::Pending,
            EventStatus::Delivered => Self::Delivered,
            EventStatus::Failed => Self::Failed,
            EventStatus::Dlq => Self::Dlq,
            EventStatus::Purged => Self::Purged,
        }
    }
}

impl From<StatusName> for EventStatus {
    fn from(name: StatusName) -> Self {
        match name {
            StatusName::Pending => Self::Pending,
            StatusName::Delivered => Self::Delivered,
            StatusName::Failed => Self::Failed,
            StatusName::Dlq => Self::Dlq,
            StatusName::Purged => Self::Purged,
        }
    }
}

/// An optional time.
pub(crate) fn time(at: Option<Timestamp>) -> Option<String> {
    at.map(Timestamp::to_rfc3339)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For all statuses: JSON spells them as the domain does, both ways.
    #[test]
    fn statuses_have_one_spelling() {
        for status in EventStatus::ALL {
            let text = serde_json::to_string(&StatusName::from(status)).unwrap();
            assert_eq!(text, format!("\"{}\"", status.as_str()));
            let parsed: StatusName = serde_json::from_str(&text).unwrap();
            assert_eq!(EventStatus::from(parsed), status);
        }
    }
}

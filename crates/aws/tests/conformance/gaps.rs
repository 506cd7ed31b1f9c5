//! Where the emulators are not like AWS, with the reason why that can be lived with.

use posthaste_ports::conformance::Gap;

/// DynamoDB as dynoxide 3.2.0 plays it.
pub(crate) const DYNOXIDE_ROWS: &[Gap] = &[];

/// The same, with a request for each row.
pub(crate) const DYNOXIDE_ROWS_BY_UPDATES: &[Gap] = &[];

/// DynamoDB as ministack 1.5.33 plays it.
pub(crate) const MINISTACK_ROWS: &[Gap] = &[];

/// The same, with a request for each row.
pub(crate) const MINISTACK_ROWS_BY_UPDATES: &[Gap] = &[];

/// SQS as ministack 1.5.33 plays it.
pub(crate) const MINISTACK_QUEUES: &[Gap] = &[Gap {
    check: "entries::deleting_twice_is_once",
    reason: "SQS says yes to a delete of what is deleted, ministack that there is no such receipt; \
             whoever deletes again learns the same from either: it is gone",
}];

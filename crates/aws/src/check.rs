//! Proves access to queues and tables, one line each.
//!
//! Changes nothing but the receive count of one message. Sending cannot be tried without sending,
//! so it is not; what is received is shown again at once.

use posthaste_domain::{EventId, RowChange, RowKey, RowWrite, TenantId, Timestamp};
use posthaste_ports::{PortError, Receipt, Rows, Written};

use crate::{Client, DynamoRows, Error, SqsQueue};

/// A tenant and a receipt that nobody has.
const NOBODY: &str = "posthaste-check";

/// What came of trying one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// What was tried: `queue acme-events: receive`.
    pub what: String,
    /// Whether it may be done; else one line that says what to do about it.
    pub outcome: Result<(), String>,
}

impl Checked {
    fn new(what: String, outcome: Result<(), impl Into<Line>>) -> Self {
        Self { what, outcome: outcome.map_err(|error| error.into().0) }
    }
}

/// What an error says, without what a caller is to do.
struct Line(String);

impl From<Error> for Line {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

impl From<PortError> for Line {
    fn from(error: PortError) -> Self {
        match error {
            PortError::Transient(line) | PortError::Permanent(line) => Self(line),
            other => Self(other.to_string()),
        }
    }
}

impl Client {
    /// Tries what a daemon does with the queues and tables of the settings.
    pub async fn check(&self) -> Vec<Checked> {
        let names = self.names();
        let mut checked = Vec::new();
        let main = SqsQueue::main(self);
        for queue in [&main, &SqsQueue::dead_letters(self)] {
            let settings = queue.visibility_ms().await.map(drop);
            checked.push(Checked::new(format!("{queue}: read its settings"), settings));
        }
        if checked.first().is_some_and(|queue| queue.outcome.is_ok()) {
            checked.extend(check_intake(&main).await);
        }
        for table in [&names.events, &names.tenants, &names.identities] {
            let described = self.await_table(table).await;
            let is_there = described.is_ok();
            checked.push(Checked::new(format!("table {table}: describe"), described));
            if is_there && *table == names.events {
                checked.extend(check_rows(&DynamoRows::new(self), table).await);
            }
        }
        checked
    }
}

async fn check_intake(queue: &SqsQueue) -> Vec<Checked> {
    let received = queue.receive_hidden(1, 0, Some(0)).await.map(drop);
    let nobody = Receipt(NOBODY.into());
    vec![
        Checked::new(format!("{queue}: receive"), received),
        Checked::new(format!("{queue}: delete"), queue.may_delete(&nobody).await),
        Checked::new(format!("{queue}: change visibility"), queue.may_hide(&nobody).await),
    ]
}

async fn check_rows(rows: &DynamoRows, table: &str) -> Vec<Checked> {
    let mut checked = Vec::new();
    let mut push = |what: &str, outcome: Result<(), PortError>| {
        checked.push(Checked::new(format!("table {table}: {what}"), outcome));
    };
    let Ok(tenant) = TenantId::try_new(NOBODY) else { return checked };
    let key = RowKey { tenant, event: EventId::MIN };
    push("read", rows.read(std::slice::from_ref(&key)).await.map(drop));
    push("read the index work", rows.owed(0, Timestamp::ZERO, 1).await.map(drop));
    // A row that does not exist refuses every write.
    let purge = RowWrite { key, round: 0, change: RowChange::Purge { at: Timestamp::ZERO } };
    for answer in rows.write(vec![purge]).await {
        push(
            "write",
            match answer {
                Ok(Written::Refused(None)) => Ok(()),
                Ok(other) => Err(PortError::Permanent(format!("a row that nobody has: {other:?}"))),
                Err(error) => Err(error),
            },
        );
    }
    checked
}

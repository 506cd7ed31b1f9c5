//! Export: every event, as it stands, with its payload and its log. Secrets are no part of events.

use std::path::Path;

use bytes::Bytes;
use posthaste_domain::{DeadLetterCause, EventId, EventStatus, TenantId, Timestamp};
use posthaste_ports::LoggedAttempt;

use super::events::{Events, Gathered};
use super::{ToolError, read_store, verify};
use crate::codec::{self, EventRow, Standing, cause_of};
use crate::damage::{Damage, Kind};
use crate::directory::Directory;
use crate::raw::Told;
use crate::tables::Table;

/// One event. What is damaged of it is left out, and was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its id, which says when it was accepted.
    pub id: EventId,
    /// Where it stands; a retry counts as FAILED, whether it is due or not.
    pub status: EventStatus,
    /// 0 at first, one more with each requeue.
    pub round: u32,
    /// Attempts that the round has finished.
    pub attempts: u32,
    /// When the last attempt started.
    pub last_attempt_at: Option<Timestamp>,
    /// When the retry is due, where one waits.
    pub next_attempt_at: Option<Timestamp>,
    /// Why and since when it is dead, where it is.
    pub dead: Option<(DeadLetterCause, Timestamp)>,
    /// When it is forgotten, where it ever is.
    pub ends: Option<Timestamp>,
    /// The bytes to deliver.
    pub payload: Option<Bytes>,
    /// Its attempts, oldest first.
    pub log: Vec<LoggedAttempt>,
}

/// Gives `each` every event of the data directory `dir`, of one tenant or of all, until it says
/// `false`; tells of damage. Gives how many damages were told. Writes nothing.
///
/// # Errors
/// [`ToolError`] where the directory is in use, or no data directory.
pub fn export(
    dir: &Path,
    tenant: Option<&TenantId>,
    each: &mut dyn FnMut(Exported) -> bool,
    tell: &mut dyn FnMut(Damage),
) -> Result<u64, ToolError> {
    let directory = Directory::lock_to_read(dir)?;
    let told = Told::new(dir, tell);
    verify::format(&directory, &told)?;
    let proof = verify::witness(&directory, &told)?;
    let scan = verify::journals(&directory, proof, &mut Vec::new(), &told)?;
    let store = read_store(&directory, &told)?;
    verify::meta(&store, &scan, proof, &told);
    for gathered in Events::new(&store, &told) {
        if tenant.is_some_and(|tenant| *tenant != gathered.tenant) {
            continue;
        }
        let Some(row) = gathered.row.whole().copied() else {
            let what = "not exported: its row is lost (a repair may bring it back)";
            told.row(Kind::Reference, Table::Rows, gathered.label(), what);
            continue;
        };
        if gathered.payload.whole().is_none() {
            let what = "exported without its payload, which is lost";
            told.row(Kind::Reference, Table::Payloads, gathered.label(), what);
        }
        if !each(exported(gathered, row)) {
            break;
        }
    }
    Ok(told.total())
}

fn exported(gathered: Gathered, row: EventRow) -> Exported {
    let next_attempt_at = match row.standing {
        Standing::Timer { due } => Some(Timestamp::from_millis(due)),
        _ => None,
    };
    let dead = match row.standing {
        Standing::Dead { cause, at, .. } => {
            cause_of(cause).map(|cause| (cause, Timestamp::from_millis(at)))
        }
        _ => None,
    };
    let payload = gathered.payload.whole().and_then(|bytes| codec::unframe(bytes).ok());
    Exported {
        status: verify::status(&row),
        round: row.round,
        attempts: row.attempts,
        last_attempt_at: row.last_attempt_at.map(Timestamp::from_millis),
        next_attempt_at,
        dead,
        ends: row.standing.ends(),
        payload: payload.map(Bytes::copy_from_slice),
        log: gathered.log.into_values().filter_map(|line| line.attempt().ok()).collect(),
        tenant: gathered.tenant,
        id: gathered.event,
    }
}

//! What a start makes of the jobs that it finds on its disk (PROTOCOL 18 and 19).

use crate::receive::Local;

/// Whose disk this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// This instance's own.
    Own,
    /// It carries another instance's name: a copy, or moved. The other one may be alive, and its
    /// leases are not ours.
    Foreign,
}

/// What becomes of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtStart {
    /// Out of the outbox: write its outcome, or go on to the DLQ. Fenced, so safe at any age; on a
    /// foreign disk under this instance's own name.
    Replay,
    /// Back to its timer. Its lease counts as written now, by [`crate::Hold::by_lease`].
    Schedule,
    /// Forget it: the row is in the work index under another's name, so that the other goes on,
    /// or a sweep takes it over when the lease has ended. Claiming it at once would take a living
    /// owner's attempts away under its hands.
    Forget,
    /// Nothing is owed by it.
    Keep,
}

/// What a start makes of a job.
#[must_use]
pub const fn at_start(job: Local, disk: Disk) -> AtStart {
    match (job, disk) {
        // A fact that may be known nowhere else.
        (Local::Unwritten { .. }, _) | (Local::Dying { .. }, Disk::Own) => AtStart::Replay,
        (Local::Waiting { .. }, Disk::Own) => AtStart::Schedule,
        (Local::Waiting { .. } | Local::Dying { .. }, Disk::Foreign) => AtStart::Forget,
        // Held deliveries are in memory and in the queue, not on a disk.
        (Local::Unknown | Local::Held { .. }, _) => AtStart::Keep,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_disk_gives_facts_and_no_leases() {
        let round = 0;
        let table = [
            (Local::Unwritten { round }, AtStart::Replay, AtStart::Replay),
            (Local::Waiting { round }, AtStart::Schedule, AtStart::Forget),
            (Local::Dying { round }, AtStart::Replay, AtStart::Forget),
            (Local::Unknown, AtStart::Keep, AtStart::Keep),
        ];
        for (job, own, foreign) in table {
            assert_eq!(at_start(job, Disk::Own), own);
            assert_eq!(at_start(job, Disk::Foreign), foreign);
        }
    }
}

//! Rules taken out, one at a time. Production has no switches for it: here is every call of it
//! that the world makes, and a mutant answers in its place or hides a condition from it.

use posthaste_domain::{
    DeadLetterCause, EventStatus, InstanceId, Lease, Row, RowChange, RowWrite, Timestamp,
};
use posthaste_protocol::{self as protocol, AfterRead, Arriving, AtStart, Disk, Local, OnReceive};

use crate::explore::Bounds;
use crate::state::KEY;

/// A rule that is taken out. PROTOCOL's step, then what is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// 3: the client is told before the queue has the message.
    AcceptsBeforeSend,
    /// 5 ▲: a message goes although its outcome is only on the disk.
    DeletesUnwritten,
    /// 5: what was received before is not read.
    ReadsNothing,
    /// 5: a requeued row is delivered by right of its message, without a claim.
    ClaimsNothingOnRead,
    /// 5: what was held too long goes on when its message comes again, without a look at the row.
    RenewsTheStale,
    /// 9 ▲: a failure does not ask for the attempts before it.
    FailsAtAnyCount,
    /// 9 ▲: a failure does not ask for owner and epoch.
    FailsForAnyOwner,
    /// 9: a failure does not ask for the round.
    FailsInAnyRound,
    /// 9: a success does not ask for an open row.
    DeliversAtAnyStatus,
    /// 10: the message goes before the row is written.
    DeletesBeforeWrite,
    /// 9: every refusal is taken for our own success.
    TakesRefusalForDone,
    /// 12 ▲: an attempt starts however late it is.
    AttemptsAtAnyTime,
    /// 13 ▲: the row is marked before the DLQ has the message.
    MarksBeforeSend,
    /// 13 ▲: the mark asks for nothing but the round.
    MarksAtAnyStatus,
    /// 13 ▲: the mark does not ask for the round.
    MarksInAnyRound,
    /// 14: a claim does not wait for the lease's end.
    ClaimsLiving,
    /// 14 ▲: a claim does not ask for the epoch nor the lease's end that it saw.
    ClaimsBlindly,
    /// 14 ▲: a claim does not ask for the lease's end that it saw.
    ClaimsAtAnyEnd,
    /// 14 ▲: a claim does not ask for the epoch that it saw. The end that an owner noted when it
    /// gave its lease away, and that never came into the row, may be that of another's lease.
    ClaimsAtAnyEpoch,
    /// 14 ▲: a claim does not ask for the round that it saw.
    ClaimsInAnyRound,
    /// 14: a row whose attempts are used up is attempted.
    AttemptsTheDead,
    /// 15: a requeued row does not enter the work index.
    RequeuesOutOfWork,
    /// 17 ▲: the DLQ's message goes although the row is not DLQ yet.
    DeletesEarlyLetter,
    /// 18: jobs on another instance's disk are gone on with.
    TrustsForeignDisk,
    /// 20: a lease is given away, and its owner's disk does not know.
    GivesAwayUnnoted,
    /// 13 ▲: the mark does not ask for owner, epoch, attempts and last failure. Spare: whoever
    /// marks has seen the round's last failure in the row, and the DLQ's answer.
    #[cfg(test)]
    MarksForAnybody,
}

impl Mutant {
    /// All that have to be caught.
    pub(crate) const ALL: [Self; 25] = [
        Self::AcceptsBeforeSend,
        Self::DeletesUnwritten,
        Self::ReadsNothing,
        Self::ClaimsNothingOnRead,
        Self::RenewsTheStale,
        Self::FailsAtAnyCount,
        Self::FailsForAnyOwner,
        Self::FailsInAnyRound,
        Self::DeliversAtAnyStatus,
        Self::DeletesBeforeWrite,
        Self::TakesRefusalForDone,
        Self::AttemptsAtAnyTime,
        Self::MarksBeforeSend,
        Self::MarksAtAnyStatus,
        Self::MarksInAnyRound,
        Self::ClaimsLiving,
        Self::ClaimsBlindly,
        Self::ClaimsAtAnyEnd,
        Self::ClaimsAtAnyEpoch,
        Self::ClaimsInAnyRound,
        Self::AttemptsTheDead,
        Self::RequeuesOutOfWork,
        Self::DeletesEarlyLetter,
        Self::TrustsForeignDisk,
        Self::GivesAwayUnnoted,
    ];

    /// Clauses that others make good for. Kept in production: a mistake in one of those would go
    /// unseen.
    #[cfg(test)]
    pub(crate) const SPARE: [Self; 1] = [Self::MarksForAnybody];
}

/// The rules as the world meets them.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) bounds: Bounds,
    pub(crate) mutant: Option<Mutant>,
}

impl Rules {
    pub(crate) fn lacks(&self, rule: Mutant) -> bool {
        self.mutant == Some(rule)
    }

    pub(crate) fn on_receive(&self, message: &Arriving, local: Local) -> OnReceive {
        let unread = Arriving { receives: 1, again: false, ..*message };
        match protocol::on_receive(message, local) {
            OnReceive::Leave
                if self.lacks(Mutant::DeletesUnwritten)
                    && matches!(local, Local::Unwritten { .. }) =>
            {
                OnReceive::Delete
            }
            OnReceive::ReadRow if self.lacks(Mutant::ReadsNothing) => {
                protocol::on_receive(&unread, local)
            }
            answer => answer,
        }
    }

    pub(crate) fn after_read(
        &self,
        message: &Arriving,
        row: Option<&Row>,
        me: &InstanceId,
        now: Timestamp,
    ) -> AfterRead {
        let answer = protocol::after_read(message, &KEY, row, me, now);
        match (answer, row) {
            (AfterRead::Claim(_), Some(row)) if self.lacks(Mutant::ClaimsNothingOnRead) => {
                AfterRead::Deliver { round: row.round, interrupted: row.interrupted }
            }
            (answer, _) => answer,
        }
    }

    pub(crate) fn at_start(&self, job: Local, disk: Disk) -> AtStart {
        let disk = if self.lacks(Mutant::TrustsForeignDisk) { Disk::Own } else { disk };
        protocol::at_start(job, disk)
    }

    /// [`RowWrite::apply`], with the mutant's condition always fulfilled.
    pub(crate) fn apply(&self, write: &RowWrite, row: &Row) -> Option<Row> {
        let Some(mutant) = self.mutant else {
            return write.apply(row).ok();
        };
        let mut lenient = write.clone();
        let mut shown = row.clone();
        soften(mutant, &mut lenient, &mut shown);
        let mut after = lenient.apply(&shown).ok()?;
        if let (RowChange::Fail { owner, .. }, Some(lease)) = (&write.change, &mut after.lease) {
            lease.owner = Some(owner.clone());
        }
        if mutant == Mutant::RequeuesOutOfWork && matches!(write.change, RowChange::Requeue { .. })
        {
            after.lease = None;
        }
        Some(after)
    }
}

/// Makes the mutant's condition hold.
fn soften(mutant: Mutant, write: &mut RowWrite, row: &mut Row) {
    let lease = row.lease.clone();
    let round = row.round;
    match (mutant, &mut write.change) {
        (Mutant::FailsAtAnyCount, RowChange::Fail { attempts_seen, .. }) => {
            *attempts_seen = row.attempts;
        }
        (Mutant::FailsForAnyOwner, RowChange::Fail { owner, epoch_seen, .. }) => {
            if let Some(lease) = lease {
                *epoch_seen = lease.epoch;
                *owner = lease.owner.unwrap_or_else(|| owner.clone());
            } else {
                *epoch_seen = 0;
            }
        }
        (Mutant::DeliversAtAnyStatus, RowChange::Deliver { .. }) => {
            row.status = EventStatus::Pending;
        }
        (Mutant::MarksAtAnyStatus, RowChange::Die { .. }) => {
            row.status = EventStatus::Failed;
            own_death(row, &mut write.change);
        }
        #[cfg(test)]
        (Mutant::MarksForAnybody, RowChange::Die { .. }) => own_death(row, &mut write.change),
        (Mutant::ClaimsAtAnyEpoch, RowChange::Claim { epoch_seen, .. }) => {
            if let Some(lease) = lease {
                *epoch_seen = lease.epoch;
            }
        }
        (Mutant::ClaimsBlindly, RowChange::Claim { epoch_seen, until_seen, .. }) => {
            if let Some(lease) = lease {
                (*epoch_seen, *until_seen) = (lease.epoch, lease.until);
            }
        }
        (Mutant::ClaimsAtAnyEnd, RowChange::Claim { until_seen, .. }) => {
            if let Some(lease) = lease {
                *until_seen = lease.until;
            }
        }
        (Mutant::FailsInAnyRound, RowChange::Fail { .. })
        | (Mutant::MarksInAnyRound, RowChange::Die { .. })
        | (Mutant::ClaimsInAnyRound, RowChange::Claim { .. }) => write.round = round,
        _ => {}
    }
}

/// Makes a row look as if its last failure were the one that `change` is about.
fn own_death(row: &mut Row, change: &mut RowChange) {
    let RowChange::Die { owner, epoch, attempts, .. } = change else {
        return;
    };
    let owner = Some(owner.clone());
    row.lease = Some(Lease { owner, epoch: *epoch, until: Timestamp::ZERO });
    row.cause = Some(DeadLetterCause::AttemptsExhausted);
    *attempts = row.attempts;
}

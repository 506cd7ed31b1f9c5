//! Which states and transitions a run reaches. Decisions of the protocol are seen from outside, by
//! asking the protocol's own functions about what went over the wire.

mod engine;
mod names;
mod rows;
mod table;

pub(crate) use engine::{Watched, effect_name, input_name, settlement_name};
pub(crate) use rows::job_change;
pub use table::Coverage;

use posthaste_domain::{InstanceId, Row, RowChange, RowKey, RowWrite, Timestamp};
use posthaste_ports::{PortError, Written};
use posthaste_protocol::{
    AfterRead, Answer, Arriving, Dead, Dropped, EventMessage, Settled, Taken, after_claim,
    after_die, after_outcome, after_read,
};

use crate::cloud::Shown;
use crate::world::{State, World};

impl World {
    /// A daemon received a message that may make it read the row.
    pub(crate) fn expect_read(
        &self,
        daemon: usize,
        key: &RowKey,
        (round, shown): (Option<u32>, &Shown),
    ) {
        let Ok(message) = EventMessage::parse(&shown.letter.body) else { return };
        let arriving = Arriving {
            round,
            has_payload: message.payload.is_some(),
            again: message.again,
            receives: shown.receives,
        };
        self.lock().arriving.insert((daemon, key.clone()), arriving);
    }
}

impl State {
    /// A daemon begins to read a row, perhaps because of a message: that one. A message that comes
    /// while the row is on its way, which shows what was before it, has another read made.
    pub(crate) fn begin_read(&mut self, daemon: usize, key: &RowKey) -> Option<Arriving> {
        self.arriving.remove(&(daemon, key.clone()))
    }

    /// And has read it.
    pub(crate) fn cover_read(
        &mut self,
        (arriving, me): (&Arriving, &InstanceId),
        key: &RowKey,
        (row, now): (Option<&Row>, Timestamp),
    ) {
        let decision = match after_read(arriving, key, row, me, now) {
            AfterRead::Deliver { .. } => "after_read deliver",
            AfterRead::Claim(_) => "after_read claim",
            AfterRead::Delete => "after_read delete",
            AfterRead::Stray => "after_read stray",
            AfterRead::Leave => "after_read leave",
        };
        self.coverage.saw(decision, 1);
    }

    /// A daemon was answered to a write.
    pub(crate) fn cover_write(&mut self, write: &RowWrite, answer: &Result<Written, PortError>) {
        let answer = match answer {
            Ok(Written::Done) => Answer::Done,
            Ok(Written::Refused(row)) => Answer::Refused(row.as_ref()),
            Err(_) => return,
        };
        let decision = match &write.change {
            RowChange::Deliver { .. } | RowChange::Fail { .. } => {
                settled(after_outcome(write, answer))
            }
            RowChange::Claim { .. } if answer == Answer::Done => {
                let is_dying = self.table.row(&write.key).is_some_and(|row| row.cause.is_some());
                if is_dying { "taken die" } else { "taken attempt" }
            }
            RowChange::Claim { .. } => taken(write, answer),
            RowChange::Die { .. } => dead(after_die(write.round, answer)),
            RowChange::Extend { .. } | RowChange::Requeue { .. } | RowChange::Purge { .. } => {
                return;
            }
        };
        self.coverage.saw(decision, 1);
    }
}

const fn settled(settled: Settled) -> &'static str {
    match settled {
        Settled::Final(_) => "settled final",
        Settled::Wait { .. } => "settled wait",
        Settled::Die { .. } => "settled die",
        Settled::Dropped(Dropped::Overtaken) => "settled dropped overtaken",
        Settled::Dropped(Dropped::NotOurs) => "settled dropped not_ours",
        Settled::Dropped(Dropped::Gone) => "settled dropped gone",
        Settled::Dropped(Dropped::Unexplained) => "settled dropped unexplained",
    }
}

fn taken(write: &RowWrite, answer: Answer<'_>) -> &'static str {
    let Answer::Refused(row) = answer else { return "taken attempt" };
    // Only a refusal shows its row here; what it makes of another one does not depend on it.
    match after_claim(write, &Row::new(), Answer::Refused(row)) {
        Taken::Attempt { .. } => "taken attempt",
        Taken::Die { .. } => "taken die",
        Taken::Dropped(Dropped::Overtaken) => "taken dropped overtaken",
        Taken::Dropped(Dropped::NotOurs) => "taken dropped not_ours",
        Taken::Dropped(Dropped::Gone) => "taken dropped gone",
        Taken::Dropped(Dropped::Unexplained) => "taken dropped unexplained",
    }
}

const fn dead(dead: Dead) -> &'static str {
    match dead {
        Dead::Final(_) => "dead final",
        Dead::Dropped(Dropped::Overtaken) => "dead dropped overtaken",
        Dead::Dropped(Dropped::NotOurs) => "dead dropped not_ours",
        Dead::Dropped(Dropped::Gone) => "dead dropped gone",
        Dead::Dropped(Dropped::Unexplained) => "dead dropped unexplained",
    }
}

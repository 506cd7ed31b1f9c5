//! What has to hold, by PROTOCOL's names.

use posthaste_domain::EventStatus;

use crate::mutant::Rules;
use crate::state::{Daemon, Record, State};

/// A property of a state that does not hold.
pub(crate) fn state(rules: &Rules, state: &State) -> Option<&'static str> {
    let facts = &state.facts;
    let Some(row) = &state.row else {
        return facts.accepted.then_some("P1: what is accepted has a row");
    };
    let round = usize::from(row.round);
    let dead = row.status == EventStatus::Dlq;
    let is_carried = row.is_final()
        || row.in_work
        || state.queue.iter().flatten().any(|slot| slot.round == row.round);
    let attempts_max = rules.bounds.attempts;
    let spent = facts.posts[round] >= attempts_max && row.attempts == attempts_max;
    let posts_max = attempts_max + facts.repeats;
    let holds = [
        (
            is_carried || !facts.accepted,
            "P1: the row is final or in work, or the queue has its message",
        ),
        (
            facts.succeeded || row.status != EventStatus::Delivered,
            "P2: DELIVERED means that a 2xx was seen",
        ),
        (
            spent || facts.poisoned || !dead,
            "P3: DLQ means that the round's attempts were all made, or poison",
        ),
        (state.dlq[round] > 0 || !dead, "P3: DLQ means that the DLQ has the round's message"),
        (holders(state, row) <= 1 || facts.skewed, "P6: one holder of the lease at a time"),
        (owners(state) <= 1, "P6: one owner an epoch"),
        (row.attempts <= attempts_max, "P7: attempts <= maximum a round"),
        (
            facts.posts.iter().all(|posts| *posts <= posts_max),
            "P7: POSTs <= maximum a round, and one for each fault that repeats one",
        ),
    ];
    holds.iter().find(|(holds, _)| !holds).map(|(_, property)| *property)
}

/// Daemons that believe in a lease of the row's round.
fn holders(state: &State, row: &Record) -> usize {
    let holds = |daemon: &&Daemon| {
        daemon.job.epoch > 0 && daemon.job.holds && daemon.job.round == row.round
    };
    state.daemons.iter().filter(holds).count()
}

/// How many daemons have a job of the same round and epoch as the first: 1, or 2. An outcome that
/// is on two disks is one fact.
fn owners(state: &State) -> usize {
    let [first, second] = state.daemons.map(|daemon| daemon.job);
    let is_shared = first.epoch > 0
        && (first.round, first.epoch) == (second.round, second.epoch)
        && !first.is_unwritten()
        && !second.is_unwritten();
    1 + usize::from(is_shared)
}

/// A property of a step that does not hold.
pub(crate) fn step(before: &State, after: &State) -> Option<&'static str> {
    let old = before.row.as_ref()?;
    let Some(new) = &after.row else {
        return Some("P1: a row stays");
    };
    let is_same = old.status == new.status && old.round == new.round;
    if old.status == EventStatus::Delivered && !is_same {
        return Some("P4: DELIVERED never changes");
    }
    let follows = match new.status {
        EventStatus::Pending => new.round == old.round + 1,
        EventStatus::Purged => new.round == old.round,
        EventStatus::Delivered | EventStatus::Dlq | EventStatus::Failed => false,
    };
    if old.is_final() && !is_same && !follows {
        return Some("P4: a final status only ends by requeue or purge");
    }
    if !new.is_final() && old.round == new.round && new.attempts < old.attempts {
        return Some("P7: a round's attempts only grow");
    }
    let order = |row: &Record| (row.round, if row.in_work { row.epoch } else { u8::MAX });
    let entered = old.in_work || old.round != new.round;
    if entered && order(new) < order(old) {
        return Some("P6: round and epoch only grow");
    }
    if old.in_work && new.in_work && order(old) == order(new) && old.owner != new.owner {
        // Epoch 0 has no owner, so that this is never the first one's coming.
        return Some("P6: one owner an epoch");
    }
    None
}

/// Whether nothing is owed any more, or nothing was ever promised.
pub(crate) fn is_settled(state: &State) -> bool {
    !state.facts.accepted || state.row.as_ref().is_some_and(Record::is_final)
}

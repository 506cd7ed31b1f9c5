//! Every step that can follow on a state: clients, functions, time and faults here, the daemons
//! in `daemon.rs`.

use posthaste_domain::{EventStatus, Row, RowWrite};
use posthaste_protocol::{Answer, OnRequeue, Requeued, after_purge, after_requeue, purge, requeue};

use crate::action::Action;
use crate::daemon;
use crate::mutant::{Mutant, Rules};
use crate::state::{Ingest, KEY, Place, Record, Requeuer, State, requeue_clock};

/// Takes the steps found.
pub(crate) type Out<'a> = &'a mut dyn FnMut(Action, State);

/// All steps that can follow on `state`.
pub(crate) fn steps(rules: &Rules, state: &State, out: Out<'_>) {
    let out: Out<'_> = &mut |action, next: State| out(action, next.canonical());
    client(rules, state, out);
    requeuer(rules, state, out);
    time(rules, state, out);
    network(rules, state, out);
    for who in [0, 1] {
        daemon::steps(rules, state, who, out);
    }
}

/// The state after one more fault, while there may be one.
pub(crate) fn fault(rules: &Rules, state: &State, repeats: bool) -> Option<State> {
    let mut next = *state;
    next.facts.faults += 1;
    next.facts.repeats += u8::from(repeats);
    (next.facts.faults <= rules.bounds.faults).then_some(next)
}

/// What the table answers; owned, since the row may change under it.
pub(crate) enum Reply {
    Done,
    Refused(Option<Row>),
}

impl Reply {
    pub(crate) const fn answer(&self) -> Answer<'_> {
        match self {
            Self::Done => Answer::Done,
            Self::Refused(row) => Answer::Refused(row.as_ref()),
        }
    }
}

/// Carries a write out.
pub(crate) fn write(rules: &Rules, state: &mut State, write: &RowWrite) -> Reply {
    let Some(record) = state.row else {
        return Reply::Refused(None);
    };
    let row = record.row();
    match rules.apply(write, &row) {
        Some(after) => {
            state.row = Some(Record::of(&after, Some(&record)));
            Reply::Done
        }
        None => Reply::Refused(Some(row)),
    }
}

fn client(rules: &Rules, state: &State, out: Out<'_>) {
    let mut failed = *state;
    failed.ingest = Ingest::Unanswered;
    match state.ingest {
        Ingest::Putting { again } => {
            let mut next = *state;
            next.row.get_or_insert_with(|| Record::of(&Row::new(), None));
            next.ingest = Ingest::Sending { again };
            out(Action::Client("puts the row"), next);
            out(Action::Wish("ingest dies before the row"), failed);
        }
        Ingest::Sending { again } => {
            out(Action::Wish("ingest dies before the message is sent"), failed);
            let mut next = *state;
            if rules.lacks(Mutant::AcceptsBeforeSend) {
                next.facts.accepted = true;
                out(Action::Client("says 201 before it sends"), next);
            }
            if next.send(0, again) {
                next.ingest = Ingest::Unanswered;
                out(Action::Wish("ingest sends the message, and dies before the 201"), next);
                next.ingest = Ingest::Answered;
                next.facts.accepted = true;
                out(Action::Client("sends the message, and says 201"), next);
            }
        }
        Ingest::Answered | Ingest::Unanswered => {
            if state.facts.retries < rules.bounds.retries {
                let mut next = *state;
                next.facts.retries += 1;
                if state.row.is_some_and(|row| row.is_final()) {
                    next.facts.accepted = true;
                    next.ingest = Ingest::Answered;
                } else {
                    // Two messages: each may be attempted before the other's outcome is known.
                    next.facts.repeats += 1;
                    next.ingest = Ingest::Putting { again: true };
                }
                out(Action::Wish("the client repeats its request"), next);
            }
        }
    }
}

fn requeuer(rules: &Rules, state: &State, out: Out<'_>) {
    let mut idle = *state;
    idle.requeuer = Requeuer::Idle;
    match state.requeuer {
        Requeuer::Idle => wishes(rules, state, out),
        Requeuer::Sending { round, has_letter } => {
            out(Action::Wish("the requeue function dies before it sends"), idle);
            if let Some(mut next) = fault(rules, state, false)
                && next.send(round, false)
            {
                out(Action::World("the requeue's message is sent, the reply lost"), next);
            }
            let mut next = idle;
            if next.send(round, false) {
                if has_letter {
                    next.requeuer = Requeuer::Deleting { round: round - 1 };
                }
                out(Action::Requeue("sends the new round's message"), next);
            }
        }
        Requeuer::Deleting { round } => {
            out(Action::Wish("the requeue function dies before it deletes"), idle);
            let left = &mut idle.dlq[usize::from(round)];
            *left = left.saturating_sub(1);
            out(Action::Requeue("deletes the DLQ's message"), idle);
        }
    }
}

/// Requeues and purges that somebody may wish for.
fn wishes(rules: &Rules, state: &State, out: Out<'_>) {
    let Some(row) = state.row else {
        return;
    };
    let has_room = row.round + 1 < rules.bounds.rounds;
    for round in (0..rules.bounds.rounds).filter(|round| state.dlq[usize::from(*round)] > 0) {
        let number = u32::from(round);
        if has_room || row.round != round || row.status != EventStatus::Dlq {
            let mut next = *state;
            let begin = requeue(&KEY, number, Requeued::Dead, requeue_clock());
            let reply = write(rules, &mut next, &begin);
            let decided = after_requeue(number, reply.answer());
            follow(rules, &mut next, round, decided);
            out(Action::Wish("the DLQ's message is requeued"), next);
        }
        let mut next = *state;
        let reply = write(rules, &mut next, &purge(&KEY, number, requeue_clock()));
        let decided = after_purge(number, reply.answer());
        follow(rules, &mut next, round, decided);
        out(Action::Wish("the DLQ's message is purged"), next);
    }
    if has_room && row.status == EventStatus::Failed {
        let mut next = *state;
        let begin = requeue(&KEY, u32::from(row.round), Requeued::DeadOrFailed, requeue_clock());
        if matches!(write(rules, &mut next, &begin), Reply::Done) {
            next.requeuer = Requeuer::Sending { round: row.round + 1, has_letter: false };
            out(Action::Wish("the tenant asks for a fresh round of the FAILED event"), next);
        }
    }
}

fn follow(rules: &Rules, state: &mut State, round: u8, decided: OnRequeue) {
    let decided = match decided {
        OnRequeue::LeaveMessage if rules.lacks(Mutant::DeletesEarlyLetter) => {
            OnRequeue::DeleteMessage
        }
        decided => decided,
    };
    state.requeuer = match decided {
        OnRequeue::Send { .. } => Requeuer::Sending { round: round + 1, has_letter: true },
        OnRequeue::DeleteMessage => Requeuer::Deleting { round },
        OnRequeue::LeaveMessage => Requeuer::Idle,
    };
}

fn time(rules: &Rules, state: &State, out: Out<'_>) {
    lease_ends(rules, state, out);
    for (index, slot) in state.queue.iter().enumerate() {
        let Some(slot) = slot else {
            continue;
        };
        let mut next = *state;
        let is_worked_on = match slot.place {
            Place::Visible => continue,
            Place::Hidden | Place::Deleting(_) => false,
            Place::Kept(who) => {
                let job = next.daemon(who).job;
                job.is_flying() || job.is_unwritten()
            }
        };
        if is_worked_on {
            let Some(paused) = fault(rules, state, true) else {
                continue;
            };
            next = paused;
        }
        if let Some(slot) = &mut next.queue[index] {
            slot.place = Place::Visible;
        }
        let action = if is_worked_on {
            Action::World("a daemon pauses until its message is visible again")
        } else {
            Action::Time("a message becomes visible again")
        };
        out(action, next);
    }
}

/// The lease's end passes. An owner that is about keeps it from that, unless it is late.
fn lease_ends(rules: &Rules, state: &State, out: Out<'_>) {
    let Some(row) = state.row.filter(|row| row.in_work && !row.over) else {
        return;
    };
    let owner = row.owner.map(|who| state.daemons[usize::from(who)]);
    let is_about = owner.is_some_and(|daemon| {
        let works = daemon.job.local().round() == Some(u32::from(row.round));
        let claims = daemon.claims.is_some_and(|seen| seen.round == row.round);
        daemon.up && (works || claims)
    });
    let mut next = *state;
    let mut action = Action::Time("a lease ends");
    if is_about && owner.is_some_and(|it| it.job.is_flying() || it.job.is_unwritten()) {
        let Some(paused) = fault(rules, state, true) else {
            return;
        };
        next = paused;
        action = Action::World("the owner pauses until its lease ends");
    } else if is_about {
        next.facts.lates += 1;
        action = Action::Wish("a lease ends before its owner gets to it");
        if next.facts.lates > rules.bounds.lates {
            return;
        }
    }
    next.row = Some(Record { over: true, ..row });
    if let Some(who) = row.owner
        && next.daemon(who).job.round == row.round
    {
        next.daemon(who).job.holds = false;
    }
    out(action, next);
}

fn network(rules: &Rules, state: &State, out: Out<'_>) {
    if let Some(stray) = state.stray {
        let mut next = *state;
        next.stray = None;
        write(rules, &mut next, &daemon::pending_write(stray));
        out(Action::World("a write that was given up arrives"), next);
    }
    // A copy, which counts its receipts afresh.
    let mut copied = None;
    for slot in state.queue.iter().flatten() {
        if copied != Some(slot.round)
            && let Some(mut next) = fault(rules, state, true)
            && next.send(slot.round, slot.again)
        {
            copied = Some(slot.round);
            out(Action::World("the queue makes a second copy of a message"), next);
        }
    }
}

//! A daemon's steps: each a decision of production's, carried out.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use posthaste_domain::{
    Attempt, DeadLetterCause, DeliveryKey, EndpointId, ErrorClass, EventStatus, OwedAs,
    PhaseTimings, Resolution, RowWrite, Settlement, Timestamp, Verdict,
};
use posthaste_protocol::{
    AfterRead, Arriving, AtStart, Dead, Disk, Dying, DyingStep, Hold, OnReceive, Owner, Permit,
    Settled, Taken, VISIBILITY_MS, after_claim, after_die, after_outcome, claim, dying_step,
    extend, on_owed, outcome_write,
};

use crate::action::{Action, SUCCEEDS};
use crate::mutant::{Mutant, Rules};
use crate::state::{
    Job, KEY, Pending, Place, Record, Stage, State, Who, clock_for, due_after, name, small, stamp,
    until,
};
use crate::world::{Out, Reply, fault, write};

pub(crate) fn steps(rules: &Rules, state: &State, who: Who, out: Out<'_>) {
    let daemon = state.daemons[usize::from(who)];
    if !daemon.up {
        start(rules, state, who, out);
        return;
    }
    crash(rules, state, who, out);
    receive(rules, state, who, out);
    delete(rules, state, who, out);
    sweep(rules, state, who, out);
    if daemon.claims.is_some() {
        send_claim(rules, state, who, out);
    } else {
        work(rules, state, who, out);
    }
}

/// The next step of the job.
fn work(rules: &Rules, state: &State, who: Who, out: Out<'_>) {
    let mut next = *state;
    let job = &mut next.daemon(who).job;
    match job.stage {
        Stage::Idle => {}
        Stage::Held => {
            let held = if state.holds_message(Place::Kept(who)) { 0 } else { VISIBILITY_MS };
            let permit = Hold::by_message(Duration::ZERO).permit(Duration::from_millis(held));
            if permit == Permit::Attempt || rules.lacks(Mutant::AttemptsAtAnyTime) {
                job.stage = Stage::HeldFlying;
                post(&mut next, who);
                out(Action::Daemon(who, "POSTs the message that it holds"), next);
            } else {
                *job = Job::IDLE;
                out(Action::Daemon(who, "withdraws what it held too long"), next);
            }
        }
        Stage::HeldFlying | Stage::WaitingFlying => {
            job.attempts += 1;
            job.stage = Stage::Failed;
            job.is_last = job.attempts >= rules.bounds.attempts;
            if rules.lacks(Mutant::DeletesBeforeWrite) {
                next.move_messages(Place::Kept(who), Place::Deleting(who));
            }
            out(Action::Daemon(who, "gets no 2xx, and keeps that on its disk"), next);
            let job = &mut next.daemon(who).job;
            job.stage = Stage::Succeeded;
            job.is_last = false;
            next.facts.succeeded = true;
            out(Action::Daemon(who, SUCCEEDS), next);
        }
        Stage::Succeeded | Stage::Failed | Stage::Poisoned => send_outcome(rules, state, who, out),
        Stage::Waiting => {
            give_away(rules, state, who, out);
            if permit(job) == Permit::Attempt || rules.lacks(Mutant::AttemptsAtAnyTime) {
                job.stage = Stage::WaitingFlying;
                post(&mut next, who);
                out(Action::Daemon(who, "POSTs a retry"), next);
                next = *state;
                next.facts.lates += 1;
                next.daemon(who).job.holds = false;
                if next.facts.lates <= rules.bounds.lates {
                    out(Action::Wish("a timer is late"), next);
                }
            } else {
                let seen = remembered(job, who);
                next.daemon(who).claims = Some(seen);
                out(Action::Daemon(who, "is late, and wants its row again"), next);
            }
        }
        Stage::Dying => send_letter(rules, state, who, out),
        Stage::DyingSent => send_mark(rules, state, who, out),
    }
}

/// The instance stops, and is not to come back: it gives its lease away, so that others need not
/// wait for its end, and notes that first.
fn give_away(rules: &Rules, state: &State, who: Who, out: Out<'_>) {
    let job = state.daemons[usize::from(who)].job;
    let mut next = *state;
    next.facts.lates += 1;
    if !job.holds || next.facts.lates > rules.bounds.lates {
        return;
    }
    let noted = Job { holds: false, stamp: job.stamp + 1, ..job };
    let daemon = next.daemon(who);
    daemon.up = false;
    daemon.job = if rules.lacks(Mutant::GivesAwayUnnoted) { job } else { noted };
    out(Action::Wish("an owner stops before it gives its lease away"), next);
    let owner = Owner { instance: name(who), epoch: u64::from(job.epoch) };
    let request = extend(&KEY, u32::from(job.round), owner, until(noted.stamp));
    if matches!(write(rules, &mut next, &request), Reply::Done) {
        next.row = next.row.map(|row| Record { over: true, ..row });
        out(Action::Wish("an owner gives its lease away, and stops"), next);
    }
}

fn permit(job: &Job) -> Permit {
    let hold = Hold::by_lease(until(job.stamp), clock_for(job.stamp), Duration::ZERO);
    let now = if job.holds { Duration::ZERO } else { Duration::from_secs(3_600) };
    hold.permit(now)
}

fn post(state: &mut State, who: Who) {
    let round = state.daemon(who).job.round;
    state.facts.posts[usize::from(round)] += 1;
}

/// The row as an owner remembers it.
fn remembered(job: &Job, who: Who) -> Record {
    Record {
        status: if job.attempts == 0 { EventStatus::Pending } else { EventStatus::Failed },
        round: job.round,
        attempts: job.attempts,
        in_work: true,
        owner: Some(who),
        epoch: job.epoch,
        stamp: job.stamp,
        cause: false,
        over: true,
    }
}

fn receive(rules: &Rules, state: &State, who: Who, out: Out<'_>) {
    // One thing at a time: a claim that is on the way decides what the event's messages are worth.
    if state.daemons[usize::from(who)].claims.is_some() {
        return;
    }
    for (index, slot) in state.queue.iter().enumerate() {
        let Some(slot) = slot.filter(|slot| slot.place == Place::Visible) else {
            continue;
        };
        let message = Arriving {
            round: Some(u32::from(slot.round)),
            has_payload: true,
            again: slot.again,
            receives: 1 + u32::from(slot.seen),
        };
        let mut next = *state;
        let place = judge(rules, &mut next, who, &message);
        if let Some(slot) = &mut next.queue[index] {
            slot.seen = true;
            slot.place = place;
        }
        out(Action::Daemon(who, "receives a message"), next);
        if let Some(mut next) = fault(rules, state, false)
            && let Some(slot) = &mut next.queue[index]
        {
            slot.seen = true;
            slot.place = Place::Hidden;
            out(Action::Fault(who, "receives a message, and the reply is lost"), next);
        }
    }
}

/// What becomes of a message and of the daemon that received it.
fn judge(rules: &Rules, state: &mut State, who: Who, message: &Arriving) -> Place {
    // What was held too long is withdrawn first: the row may have moved on meanwhile.
    let is_stale = !state.holds_message(Place::Kept(who)) && !rules.lacks(Mutant::RenewsTheStale);
    let job = &mut state.daemon(who).job;
    if job.stage == Stage::Held && is_stale {
        *job = Job::IDLE;
    }
    let local = job.local();
    let held = |round: u32| Job { stage: Stage::Held, round: small(round), ..Job::IDLE };
    match rules.on_receive(message, local) {
        OnReceive::Deliver => {
            state.daemon(who).job = held(message.round.unwrap_or(0));
            Place::Kept(who)
        }
        OnReceive::Delete => Place::Deleting(who),
        OnReceive::Leave => Place::Hidden,
        OnReceive::Renew => {
            state.move_messages(Place::Kept(who), Place::Hidden);
            Place::Kept(who)
        }
        OnReceive::ReadRow => {
            let seen = state.row;
            let row = seen.map(|row| row.row());
            match rules.after_read(message, row.as_ref(), name(who), clock_for(1)) {
                AfterRead::Deliver { round, .. } => {
                    state.daemon(who).job = held(round);
                    Place::Kept(who)
                }
                AfterRead::Claim(_) => {
                    state.daemon(who).claims = seen;
                    Place::Deleting(who)
                }
                AfterRead::Delete | AfterRead::Stray => Place::Deleting(who),
                AfterRead::Leave => Place::Hidden,
            }
        }
    }
}

fn delete(rules: &Rules, state: &State, who: Who, out: Out<'_>) {
    let place = Place::Deleting(who);
    if !state.holds_message(place) {
        return;
    }
    let mut next = *state;
    for slot in next.queue.iter_mut().filter(|slot| slot.is_some_and(|it| it.place == place)) {
        *slot = None;
    }
    out(Action::Daemon(who, "deletes a message"), next);
    if let Some(mut next) = fault(rules, state, false) {
        next.move_messages(place, Place::Hidden);
        out(Action::Fault(who, "deletes a message in vain"), next);
    }
}

fn sweep(rules: &Rules, state: &State, who: Who, out: Out<'_>) {
    let daemon = &state.daemons[usize::from(who)];
    let Some(row) = state.row.filter(|row| row.in_work && daemon.claims.is_none()) else {
        return;
    };
    let owes = |is_over: bool| {
        let now = if is_over { clock_for(row.stamp + 1) } else { until(row.stamp) };
        on_owed(&KEY, &row.row(), daemon.job.local(), name(who), (now, now)).is_some()
    };
    let mut next = *state;
    next.daemon(who).claims = Some(row);
    if owes(row.over || rules.lacks(Mutant::ClaimsLiving)) {
        out(Action::Daemon(who, "sweeps, and reads a row whose lease is over"), next);
    } else if owes(true)
        && let Some(mut next) = fault(rules, &next, true)
    {
        next.facts.skewed = true;
        out(Action::Fault(who, "sweeps by a clock that is ahead"), next);
    }
}

/// The write that a pending one is.
pub(crate) fn pending_write(pending: Pending) -> RowWrite {
    match pending {
        Pending::Outcome(who, job) => {
            let owner = Owner { instance: name(who), epoch: u64::from(job.epoch) };
            outcome_write(&settlement(&job), owner, (clock_for(job.stamp + 1), 0))
        }
        Pending::Claim(who, seen) => claim(&KEY, &seen.row(), name(who), clock_for(seen.stamp + 1))
            .expect("only rows in work are claimed"),
        Pending::Die(who, job) => {
            let owner = Owner { instance: name(who), epoch: u64::from(job.epoch) };
            let attempts = u32::from(job.attempts);
            Dying::mark(&KEY, u32::from(job.round), owner, attempts, Timestamp::ZERO)
        }
    }
}

/// Sends a write, with all that may happen to it; `settle` has the answer.
fn send(
    rules: &Rules,
    state: &State,
    pending: Pending,
    settle: &dyn Fn(&mut State, &Reply),
    out: Out<'_>,
) {
    let request = pending_write(pending);
    let (who, what) = match pending {
        Pending::Outcome(who, _) => (who, "writes the outcome into the row"),
        Pending::Claim(who, _) => (who, "writes its claim into the row"),
        Pending::Die(who, _) => (who, "marks the row DLQ"),
    };
    let mut next = *state;
    let reply = write(rules, &mut next, &request);
    settle(&mut next, &reply);
    out(Action::Daemon(who, what), next);
    if let Some(mut next) = fault(rules, state, false) {
        if next.stray.is_none() {
            let mut next = next;
            next.stray = Some(pending);
            out(Action::Fault(who, "gives a write up that is on its way"), next);
        }
        if matches!(write(rules, &mut next, &request), Reply::Done) {
            out(Action::Fault(who, "writes, and the reply is lost"), next);
        }
    }
}

static ATTEMPT: LazyLock<Attempt> = LazyLock::new(|| Attempt {
    number: 1,
    at: Timestamp::ZERO,
    duration_ms: 1,
    status_code: Some(500),
    verdict: Verdict::Failed { class: ErrorClass::ServerError, retry_after_ms: None },
    error: None,
    response: Bytes::new(),
    phases: PhaseTimings::default(),
});

fn settlement(job: &Job) -> Settlement {
    let due = due_after(job.attempts);
    Settlement {
        key: DeliveryKey {
            tenant: KEY.tenant.clone(),
            event: KEY.event,
            endpoint: EndpointId::DEFAULT,
        },
        round: u32::from(job.round),
        attempts: u32::from(job.attempts),
        owed_as: OwedAs::Fresh,
        interrupted: 0,
        at: due,
        attempt: (job.stage != Stage::Poisoned).then(|| ATTEMPT.clone()),
        resolution: match job.stage {
            Stage::Succeeded => Resolution::Delivered,
            Stage::Poisoned => Resolution::DeadLettered { cause: DeadLetterCause::Poison },
            _ if job.is_last => {
                Resolution::DeadLettered { cause: DeadLetterCause::AttemptsExhausted }
            }
            _ => Resolution::Retry { due },
        },
    }
}

fn send_outcome(rules: &Rules, state: &State, who: Who, out: Out<'_>) {
    let job = state.daemons[usize::from(who)].job;
    let pending = Pending::Outcome(who, job);
    let request = pending_write(pending);
    let settle = |next: &mut State, reply: &Reply| {
        let taken_for_done = rules.lacks(Mutant::TakesRefusalForDone);
        let reply = if taken_for_done { &Reply::Done } else { reply };
        let settled = after_outcome(&request, reply.answer());
        let holds = is_held(next, reply);
        next.daemon(who).job = match settled {
            Settled::Final(_) | Settled::Dropped(_) => Job::IDLE,
            Settled::Wait { epoch, until, attempts, .. } => {
                owned(&job, Stage::Waiting, (epoch, until, attempts), holds)
            }
            Settled::Die { epoch, until, attempts, .. } => {
                owned(&job, Stage::Dying, (epoch, until, attempts), holds)
            }
        };
        let to = if settled.deletes_message() { Place::Deleting(who) } else { Place::Hidden };
        next.move_messages(Place::Kept(who), to);
    };
    send(rules, state, pending, &settle, out);
}

/// Whether the lease lasts that an answer tells of: a fresh one does, one that a lost reply kept
/// from us perhaps not.
fn is_held(state: &State, reply: &Reply) -> bool {
    matches!(reply, Reply::Done) || state.row.is_some_and(|row| !row.over)
}

fn owned(job: &Job, stage: Stage, lease: (u64, Timestamp, u32), holds: bool) -> Job {
    let (epoch, until, attempts) = lease;
    Job {
        stage,
        round: job.round,
        attempts: small(attempts),
        epoch: small(epoch),
        stamp: stamp(until),
        holds,
        is_last: false,
    }
}

fn send_claim(rules: &Rules, state: &State, who: Who, out: Out<'_>) {
    let Some(seen) = state.daemons[usize::from(who)].claims else {
        return;
    };
    let pending = Pending::Claim(who, seen);
    let request = pending_write(pending);
    let settle = |next: &mut State, reply: &Reply| {
        let taken = after_claim(&request, &seen.row(), reply.answer());
        let holds = is_held(next, reply);
        let daemon = next.daemon(who);
        let job = Job { round: seen.round, ..Job::IDLE };
        daemon.claims = None;
        match taken {
            Taken::Attempt { epoch, until, attempts, .. } => {
                daemon.job = owned(&job, Stage::Waiting, (epoch, until, attempts), holds);
            }
            Taken::Die { epoch, until, attempts, .. } => {
                let attempts_on = rules.lacks(Mutant::AttemptsTheDead);
                let stage = if attempts_on { Stage::Waiting } else { Stage::Dying };
                daemon.job = owned(&job, stage, (epoch, until, attempts), holds);
            }
            // A late owner's job goes; one of another round is not concerned.
            Taken::Dropped(_) if daemon.job.round == seen.round => daemon.job = Job::IDLE,
            Taken::Dropped(_) => {}
        }
    };
    send(rules, state, pending, &settle, out);
}

fn send_letter(rules: &Rules, state: &State, who: Who, out: Out<'_>) {
    let job = state.daemons[usize::from(who)].job;
    let early = rules.lacks(Mutant::MarksBeforeSend);
    if dying_step(Dying::Unsent) == DyingStep::Mark || early {
        send_mark(rules, state, who, out);
        return;
    }
    let mut sent = *state;
    let letters = &mut sent.dlq[usize::from(job.round)];
    *letters = (*letters + 1).min(2);
    if let Some(next) = fault(rules, &sent, false) {
        out(Action::Fault(who, "sends to the DLQ, and the reply is lost"), next);
    }
    sent.daemon(who).job.stage = Stage::DyingSent;
    out(Action::Daemon(who, "sends to the DLQ"), sent);
}

fn send_mark(rules: &Rules, state: &State, who: Who, out: Out<'_>) {
    let job = state.daemons[usize::from(who)].job;
    let settle = |next: &mut State, reply: &Reply| {
        next.daemon(who).job = match after_die(u32::from(job.round), reply.answer()) {
            Dead::Final(_) | Dead::Dropped(_) => Job::IDLE,
        };
    };
    send(rules, state, Pending::Die(who, job), &settle, out);
}

/// What a disk keeps of a job.
fn on_disk(job: Job) -> Job {
    match job.stage {
        Stage::Held | Stage::HeldFlying => Job::IDLE,
        Stage::WaitingFlying => Job { stage: Stage::Waiting, ..job },
        Stage::DyingSent => Job { stage: Stage::Dying, ..job },
        Stage::Idle
        | Stage::Succeeded
        | Stage::Failed
        | Stage::Poisoned
        | Stage::Waiting
        | Stage::Dying => job,
    }
}

fn crash(rules: &Rules, state: &State, who: Who, out: Out<'_>) {
    let job = state.daemons[usize::from(who)].job;
    let Some(mut next) = fault(rules, state, job.is_flying() || job.is_unwritten()) else {
        return;
    };
    next.move_messages(Place::Kept(who), Place::Hidden);
    next.move_messages(Place::Deleting(who), Place::Hidden);
    let daemon = next.daemon(who);
    daemon.up = false;
    daemon.claims = None;
    daemon.job = on_disk(job);
    out(Action::Fault(who, "crashes"), next);
    if job.stage == Stage::WaitingFlying {
        let mut next = next;
        next.facts.poisoned = true;
        next.daemon(who).job = Job { stage: Stage::Poisoned, is_last: true, ..job };
        out(Action::Fault(who, "crashes in the same attempt once more"), next);
    }
    if on_disk(job).stage != Stage::Idle {
        next.daemon(who).job = Job::IDLE;
        out(Action::Fault(who, "vanishes with its disk"), next);
    }
}

fn start(rules: &Rules, state: &State, who: Who, out: Out<'_>) {
    let mut next = *state;
    let own = next.daemon(who).job;
    next.daemon(who).up = true;
    next.daemon(who).job = begin(rules, own, Disk::Own);
    out(Action::Daemon(who, "starts"), next);
    let other = on_disk(state.daemons[usize::from(1 - who)].job);
    if other.stage != Stage::Idle
        && let Some(mut next) = fault(rules, &next, false)
    {
        next.daemon(who).job = begin(rules, other, Disk::Foreign);
        out(Action::Fault(who, "starts on a copy of the other's disk"), next);
    }
}

fn begin(rules: &Rules, job: Job, disk: Disk) -> Job {
    match rules.at_start(job.local(), disk) {
        // The lease of a fact from another's disk is the other's.
        AtStart::Replay => Job { holds: job.holds && disk == Disk::Own, ..job },
        AtStart::Schedule => job,
        AtStart::Forget | AtStart::Keep => Job::IDLE,
    }
}

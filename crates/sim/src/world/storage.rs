//! The store's writer and its readers: what waits is written as one batch; a commit can be read
//! before it is answered, and a crash may come in between.

use posthaste_domain::{EventId, Owed, OwedAs, Resolution, Settlement, Timestamp};
use posthaste_engine::{Delivery, Input};

use super::{World, Wrong};
use crate::mutant::Mutant;
use crate::process::{Batch, Happening, Op, Read, Site, Written};
use crate::store::Answer;
use crate::trace::Step;

impl World<'_> {
    /// Hands something to the writer.
    pub(super) fn write(&mut self, op: Op) {
        let Some(process) = &mut self.process else { return };
        process.waiting.push(op);
        self.begin_commit();
    }

    fn begin_commit(&mut self) {
        let Some(process) = &mut self.process else { return };
        if process.batch.is_some() || process.waiting.is_empty() {
            return;
        }
        let (life, ops) = (process.life, std::mem::take(&mut process.waiting));
        let store = self.plan.store;
        let faults = !self.is_calm();
        let mut commit_ms = self.draw_ms(store.commit_ms, (0, 1));
        if faults && self.chance.permille(store.stalls_permille) {
            commit_ms += self.chance.within(store.stall_ms);
        }
        let fails = faults && self.chance.permille(store.fails_permille);
        let ambiguous = fails && self.chance.permille(store.ambiguous_permille);
        let answer_ms = self.draw_ms(store.answer_ms, (0, 1));
        let batch = Batch { ops, written: Vec::new(), fails, ambiguous, answer_ms };
        if let Some(process) = &mut self.process {
            process.batch = Some(batch);
        }
        self.after(commit_ms, Happening::Apply { life });
    }

    /// The commit can be read from now on.
    pub(super) fn apply(&mut self) -> Result<(), Wrong> {
        let Some(mut batch) = self.process.as_mut().and_then(|process| process.batch.take()) else {
            return Ok(());
        };
        let step = if batch.fails { Step::CommitFailed } else { Step::Committed };
        self.trace.note(self.now, step, None, [batch.ops.len() as u64, 0]);
        self.counts.failed_commits += u64::from(batch.fails);
        if !batch.fails {
            // One sync for the batch, unless it brings nothing but delivered marks.
            let syncs = |op: &Op| match op {
                Op::Settle { settlement, .. } => settlement.resolution != Resolution::Delivered,
                Op::Accept { .. } | Op::Requeue { .. } | Op::Purge { .. } => true,
            };
            if batch.ops.iter().any(syncs) {
                self.store.sync();
            }
        }
        for op in &batch.ops {
            let written = match op {
                // An ambiguous commit is of outcomes; a client whose event may be there is told
                // that it is not, and sends another.
                Op::Settle { .. } if batch.ambiguous => {
                    self.counts.lost_acks += 1;
                    self.apply_one(op).map(|_| Written::Failed)
                }
                _ if batch.fails => Ok(Written::Failed),
                _ => self.apply_one(op),
            }?;
            batch.written.push(written);
        }
        let (answer_ms, fails) = (batch.answer_ms, batch.fails);
        let life = self.life;
        if let Some(process) = &mut self.process {
            process.batch = Some(batch);
        }
        self.commits += u64::from(!fails);
        if !fails && self.plan.process.lost_ack_at == Some(self.commits) {
            self.kill();
        } else {
            self.after(answer_ms, Happening::Acknowledge { life });
        }
        Ok(())
    }

    fn apply_one(&mut self, op: &Op) -> Result<Written, Wrong> {
        Ok(match op {
            Op::Accept { key, payload, place } => {
                self.store.accept(key.clone(), payload.clone());
                self.accepted.insert(key.clone(), *place);
                let owed = self.store.owed(key).ok_or("what is accepted is owed")?;
                Written::Owed(Owed { payload: Some(payload.clone()), ..owed })
            }
            Op::Settle { settlement, .. } => Written::Outcome(self.store.settle(settlement)?),
            Op::Requeue { key } => match self.store.requeue(key, self.now) {
                Some(owed) => {
                    self.counts.requeues += 1;
                    self.trace.note(self.now, Step::Requeued, Some(key), [owed.round.into(), 0]);
                    Written::Owed(owed)
                }
                None => Written::Done,
            },
            Op::Purge { key } => {
                if self.store.purge(key) {
                    self.trace.note(self.now, Step::Purged, Some(key), [0, 0]);
                }
                Written::Done
            }
        })
    }

    /// The commit is answered, and the next one begins.
    pub(super) fn acknowledge(&mut self) {
        let Some(batch) = self.process.as_mut().and_then(|process| process.batch.take()) else {
            return;
        };
        for (op, written) in batch.ops.into_iter().zip(batch.written) {
            match (op, written) {
                (Op::Accept { key, .. }, Written::Owed(owed)) => {
                    self.to_post -= 1;
                    self.trace.note(self.now, Step::Accepted, Some(&key), [0, 0]);
                    self.arrive(owed);
                }
                (Op::Accept { place, .. }, _) => {
                    let later = self.chance.within((500, 5_000));
                    self.after(later, Happening::Post { place });
                }
                (Op::Settle { delivery, settlement }, written) => {
                    self.answer_settlement(delivery, settlement, &written);
                }
                (_, Written::Owed(owed)) => self.arrive(owed),
                (_, Written::Outcome(_) | Written::Done | Written::Failed) => {}
            }
        }
        self.wake_soon();
        self.begin_commit();
    }

    fn arrive(&mut self, owed: Owed) {
        let forgets = self.is_mutant(Mutant::ForgetBehind);
        if let Some(process) = &mut self.process {
            process.inbox.push(owed, self.plan.process.inbox_max, forgets);
        }
    }

    fn answer_settlement(
        &mut self,
        delivery: Delivery,
        settlement: Box<Settlement>,
        written: &Written,
    ) {
        let tells = self.plan.store.tells_superseded;
        let acks_failed = self.is_mutant(Mutant::AckFailedCommit);
        if self.is_mutant(Mutant::LateArrivals) && self.chance.permille(100) {
            let (key, round, life) = (settlement.key.clone(), settlement.round, self.life);
            let owed_as = OwedAs::Fresh;
            let (attempts, interrupted, payload) = (0, 0, None);
            let owed = Owed { key, round, attempts, interrupted, owed_as, payload };
            self.after(100, Happening::Give { life, input: Input::Arrived(vec![owed]) });
        }
        let Some(process) = &mut self.process else { return };
        let key = &settlement.key;
        if let Written::Failed = written
            && !acks_failed
        {
            process.answers.push_back(Input::SettleFailed { delivery, settlement });
            return;
        }
        process.register.remove(key);
        if self.plan.mutant == Some(Mutant::AckBeforeCommit) {
            return;
        }
        if matches!(written, Written::Outcome(Answer::Superseded)) && tells {
            self.trace.note(self.now, Step::Superseded, Some(key), [settlement.round.into(), 0]);
            process.answers.push_back(Input::Superseded { delivery });
        } else {
            self.trace.note(self.now, Step::Settled, Some(key), [settlement.round.into(), 0]);
            process.answers.push_back(Input::Settled { delivery });
        }
    }

    pub(super) fn wake_soon(&mut self) {
        let at = self.now.plus_millis(self.chance.within((0, 1)));
        self.wake(at);
    }

    /// Orders a read, which is taken some time later.
    pub(super) fn order(&mut self, read: Read) {
        let ms = self.draw_ms(self.plan.store.read_ms, (0, 1));
        let life = self.life;
        self.after(ms, Happening::Take { life, read });
    }

    /// A read is taken; its answer comes some time later still.
    pub(super) fn take(&mut self, life: u64, read: Read) {
        let fails = !self.is_calm() && self.chance.permille(self.plan.store.read_fails_permille);
        let input = match read {
            Read::Backlog { site, from, max } => self.take_backlog(site, from, max, fails),
            Read::Timers { .. } if fails => Input::TimersReadFailed,
            Read::Timers { from, until, max } => {
                let (mut owed, mut next) = self.store.timers(from, until, max);
                if self.is_mutant(Mutant::EarlyTimers) {
                    for owed in &mut owed {
                        let due = owed.due().as_millis().saturating_sub(1_000);
                        owed.owed_as = OwedAs::Timer(Timestamp::from_millis(due));
                    }
                }
                if self.is_mutant(Mutant::UncutPages) {
                    next = None;
                }
                Input::TimersRead { owed, next }
            }
            Read::Options { site } => return self.tell_options(site, fails),
            Read::Payload { delivery, .. } if fails => Input::PayloadLoadFailed { delivery },
            Read::Payload { delivery, key } => {
                let payload = self.store.rows.get(&key).map(|row| row.payload.clone());
                Input::PayloadLoaded { delivery, payload }
            }
        };
        let ms = self.draw_ms(self.plan.store.read_ms, (0, 1));
        self.after(ms, Happening::Give { life, input });
    }

    fn take_backlog(&mut self, site: Site, from: EventId, max: usize, fails: bool) -> Input {
        let (tenant, endpoint) = site.clone();
        if fails {
            return Input::BacklogReadFailed { tenant, endpoint };
        }
        let (mut owed, mut exhausted) = self.store.backlog(&site, from, max);
        if self.is_mutant(Mutant::OldAnswers) {
            let fresh = (owed.clone(), exhausted);
            if let Some(old) = self.old_answers.insert(site, fresh)
                && self.chance.permille(250)
            {
                (owed, exhausted) = old;
            }
        }
        exhausted |= self.is_mutant(Mutant::ShortBacklogs);
        Input::BacklogRead { tenant, endpoint, owed, exhausted }
    }

    pub(super) fn give(&mut self, input: Input) {
        let Some(process) = &mut self.process else { return };
        process.answers.push_back(input);
        self.trace.note(self.now, Step::Answered, None, [0, 0]);
        self.wake_soon();
    }
}

//! A queue as one caller sees it.

use std::time::Duration;

use async_trait::async_trait;
use posthaste_ports::{Message, Outgoing, PortError, Queue, Receipt};
use posthaste_protocol::VISIBILITY_MS;
use tokio::time::{sleep, timeout};

use super::mail::{Shown, Used};
use super::{DEAD, Kind, Line, Luck, MAIN, lost};
use crate::failpoint::{Site, Step};
use crate::mutant::Mutant;
use crate::plan::{FaultKind, START};
use crate::trace::Who;

/// The longest that a poll sleeps before it looks by itself.
const NAP: Duration = Duration::from_secs(5);

/// A queue at the end of a line.
#[derive(Clone)]
pub(crate) struct QueuePort {
    pub(crate) line: Line,
    /// [`MAIN`] or [`DEAD`].
    pub(crate) which: usize,
}

impl QueuePort {
    fn look(&self, max: usize) -> Vec<Shown> {
        let world = &self.line.world;
        let ms = world.ms();
        let odd = (self.which == MAIN && !world.is_calm()).then_some(world.plan.oddities);
        let mut guard = world.lock();
        let state = &mut *guard;
        let mail = &mut state.mail[self.which];
        let shown = mail.show((ms, VISIBILITY_MS), max, (odd, &mut state.chance));
        for it in &shown {
            let key = it.letter.event.as_ref().map(|(key, _)| key);
            let numbers = [u64::from(it.receives), u64::from(it.is_copy)];
            state.trace.note(ms, self.line.who, "receives", (key, numbers));
        }
        drop(guard);
        if self.which == MAIN {
            for it in &shown {
                world.received(self.line.who, it);
            }
        }
        shown
    }

    async fn wait(&self, max: usize) -> Vec<Shown> {
        loop {
            let shown = self.look(max);
            if !shown.is_empty() {
                return shown;
            }
            let next = self.line.world.lock().mail[self.which].next_visible_ms();
            let next = next.map(|at| at.saturating_sub(self.line.world.ms()).max(1));
            let nap = next.map_or(NAP, |ms| NAP.min(Duration::from_millis(ms)));
            // Rung or not, it looks again.
            drop(timeout(nap, self.line.world.bells[self.which].notified()).await);
        }
    }

    fn delete_one(&self, receipt: &Receipt) -> Result<(), PortError> {
        let world = &self.line.world;
        let luck = self.line.entry_luck(Kind::Queue);
        if let Luck::Fails(error) = luck {
            return Err(error);
        }
        let ms = world.ms();
        let mut guard = world.lock();
        let state = &mut *guard;
        let odd = self.which == MAIN && ms < world.plan.calm_ms;
        let comes_back = odd && state.chance.permille(world.plan.oddities.come_back_permille);
        let again = comes_back.then(|| ms + state.chance.within((1, 60_000)));
        let used = state.mail[self.which].delete(receipt, again);
        if let Used::Done(event) = &used {
            let key = event.as_ref().map(|(key, _)| key);
            state.trace.note(ms, self.line.who, "deletes", (key, [self.which as u64, 0]));
        }
        drop(guard);
        match used {
            Used::Done(Some((key, _))) if self.which == MAIN => {
                let checked = world.lock().check_promise(&key);
                world.judge(checked);
            }
            Used::Done(_) => {}
            Used::Stale => return Err(stale()),
        }
        if luck == Luck::LosesReply { Err(lost()) } else { Ok(()) }
    }

    fn hide_one(&self, receipt: &Receipt, visibility_ms: u64) -> Result<(), PortError> {
        let world = &self.line.world;
        let luck = self.line.entry_luck(Kind::Queue);
        if let (Luck::Fails(_) | Luck::LosesReply, Who::Daemon(daemon)) = (&luck, self.line.who) {
            let ms = world.ms();
            world.lock().judge.hide_failed(daemon, ms);
        }
        if let Luck::Fails(error) = luck {
            return Err(error);
        }
        let ms = world.ms();
        let used = match world.has(Mutant::NoHide) && visibility_ms > 0 {
            true => Used::Done(None),
            false => world.lock().mail[self.which].hide(receipt, ms + visibility_ms),
        };
        match used {
            Used::Done(event) => {
                if let (0, Some((key, _))) = (visibility_ms, event) {
                    world.note(self.line.who, "gives back", Some(&key), [0; 2]);
                    let judged = world.lock().judge.given_back(self.line.who, &key);
                    world.judge(judged);
                }
            }
            Used::Stale => return Err(stale()),
        }
        if visibility_ms == 0 {
            world.bells[self.which].notify_waiters();
        }
        if luck == Luck::LosesReply { Err(lost()) } else { Ok(()) }
    }

    fn send_one(&self, outgoing: &Outgoing) -> Result<(), PortError> {
        let world = &self.line.world;
        let luck = self.line.entry_luck(Kind::Queue);
        if let Luck::Fails(error) = luck {
            return Err(error);
        }
        let ms = world.ms();
        let (is_client, calm) = (self.line.who == Who::Client, world.is_calm());
        let mut state = world.lock();
        if is_client && world.has(Mutant::ForgetAccepted) && state.chance.permille(30) {
            return Ok(());
        }
        let doubled = is_client && !calm && self.which == MAIN;
        let doubled = doubled && state.chance.permille(world.plan.oddities.doubled_permille);
        state.put_mail(self.which, (outgoing.body.clone(), self.line.who), ms);
        if doubled {
            state.coverage.hit(FaultKind::Doubled);
            state.counts.doubled += 1;
            state.put_mail(self.which, (outgoing.body.clone(), self.line.who), ms);
        }
        drop(state);
        world.bells[self.which].notify_waiters();
        if luck == Luck::LosesReply { Err(lost()) } else { Ok(()) }
    }

    async fn each<T>(
        &self,
        step: Option<Step>,
        entries: &[T],
        one: impl Fn(&T) -> Result<(), PortError> + Send,
    ) -> Vec<Result<(), PortError>>
    where
        T: Sync,
    {
        self.line.travel(Kind::Queue).await;
        if let Some(step) = step
            && let Err(error) = self.line.at(Site::Before(step), None).await
        {
            return entries.iter().map(|_| Err(error.clone())).collect();
        }
        let luck = self.line.call_luck(Kind::Queue);
        if let Luck::Fails(error) = luck {
            return entries.iter().map(|_| Err(error.clone())).collect();
        }
        let mut results: Vec<_> = entries.iter().map(one).collect();
        if luck == Luck::LosesReply {
            results.fill(Err(lost()));
        }
        if let Some(step) = step
            && self.line.at(Site::After(step), None).await.is_err()
        {
            results.fill(Err(lost()));
        }
        self.line.travel(Kind::Queue).await;
        results
    }

    /// What the protocol calls a step of this queue.
    const fn step(&self, of_main: Step, of_dead: Step) -> Option<Step> {
        Some(if self.which == MAIN { of_main } else { of_dead })
    }
}

fn stale() -> PortError {
    PortError::Permanent("the receipt is of no use any more".to_owned())
}

#[async_trait]
impl Queue for QueuePort {
    async fn receive(&self, max: usize, wait_ms: u64) -> Result<Vec<Message>, PortError> {
        let step = if self.which == MAIN { Step::Receive } else { Step::ReceiveDead };
        self.line.at(Site::Before(step), None).await?;
        self.line.travel(Kind::Queue).await;
        let luck = self.line.luck(Kind::Queue);
        if let Luck::Fails(error) = luck {
            return Err(error);
        }
        let shown = timeout(Duration::from_millis(wait_ms), self.wait(max)).await;
        let shown = shown.unwrap_or_default();
        if let Some(first) = shown.first() {
            let key = first.letter.event.as_ref().map(|(key, _)| key);
            self.line.at(Site::After(step), key).await?;
        }
        self.line.travel(Kind::Queue).await;
        if luck == Luck::LosesReply {
            return Err(lost());
        }
        let mut messages = Vec::with_capacity(shown.len());
        for it in shown {
            if self.which == MAIN && self.spoil(&it).await {
                continue;
            }
            let receives =
                if self.line.world.has(Mutant::ReceivesAlwaysOne) { 1 } else { it.receives };
            let sent_at = START.plus_millis(it.letter.sent_ms);
            messages.push(Message { receipt: it.receipt, body: it.letter.body, receives, sent_at });
        }
        Ok(messages)
    }

    async fn delete(&self, receipts: Vec<Receipt>) -> Vec<Result<(), PortError>> {
        let step = self.step(Step::Delete, Step::DeleteDead);
        self.each(step, &receipts, |receipt| self.delete_one(receipt)).await
    }

    async fn hide(&self, receipts: Vec<Receipt>, visibility_ms: u64) -> Vec<Result<(), PortError>> {
        if self.line.world.ms() >= self.line.world.plan.calm_ms && receipts.is_empty() {
            return Vec::new();
        }
        let results = self.each(None, &receipts, |it| self.hide_one(it, visibility_ms)).await;
        if let Who::Daemon(daemon) = self.line.who
            && results.iter().any(|it| matches!(it, Err(PortError::Transient(_))))
        {
            let ms = self.line.world.ms();
            self.line.world.lock().judge.hide_failed(daemon, ms);
        }
        results
    }

    async fn send(&self, messages: Vec<Outgoing>) -> Vec<Result<(), PortError>> {
        if self.which == DEAD && self.line.world.has(Mutant::MarkBeforeSend) {
            // They follow a minute later.
            let (port, late) = (self.clone(), messages.clone());
            tokio::task::spawn_local(async move {
                sleep(Duration::from_secs(60)).await;
                late.iter().for_each(|it| drop(port.send_one(it)));
            });
            return messages.iter().map(|_| Ok(())).collect();
        }
        let step = self.step(Step::Send, Step::SendDead);
        self.each(step, &messages, |it| self.send_one(it)).await
    }
}

impl QueuePort {
    /// What the mutants do to a message on its way in; says whether they kept it.
    async fn spoil(&self, it: &Shown) -> bool {
        let world = &self.line.world;
        let Who::Daemon(daemon) = self.line.who else { return false };
        if world.has(Mutant::DeleteAtReceive) {
            drop(self.delete_one(&it.receipt));
        }
        if world.has(Mutant::IgnoreLeave)
            && let Some((key, _)) = &it.letter.event
        {
            let is_unwritten = world.lock().judge.is_unwritten(daemon, key);
            if is_unwritten {
                drop(self.delete_one(&it.receipt));
            }
            return is_unwritten;
        }
        false
    }
}

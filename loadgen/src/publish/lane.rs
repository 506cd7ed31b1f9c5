//! One lane: a thread that sends its part of the events.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::Waker;

use anyhow::{Context as _, Result};
use tokio::sync::Notify;
use tokio::task::LocalSet;

use super::Settings;
use super::connection;
use super::outbound::Outbound;
use super::timer::Timer;
use crate::clock::{MILLISECOND, Nanos};
use crate::pacer::{Due, Pacer, Step};
use crate::shared::{Shared, lock};

/// How long a lane sleeps at most before it looks whether the load was stopped.
const LOOK_EVERY: Nanos = 50 * MILLISECOND;
/// After so many events in a row the lane's connections get their turn.
const BURST_MAX: u32 = 64;

/// An event that was handed out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    /// Which one, and when it was due.
    pub(super) due: Due,
    /// When it was handed out.
    pub(super) sent: Nanos,
    /// Whose it is.
    pub(super) tenant: u32,
}

/// Where an idle connection waits for its next event.
#[derive(Debug, Default)]
pub(super) struct Seat {
    job: Cell<Option<Job>>,
    waker: RefCell<Option<Waker>>,
}

impl Seat {
    /// The event that it was given.
    pub(super) fn take(&self) -> Option<Job> {
        self.job.take()
    }

    /// Who is to be woken when it is given one.
    pub(super) fn wait(&self, waker: &Waker) {
        self.waker.replace(Some(waker.clone()));
    }

    fn give(&self, job: Option<Job>) {
        self.job.set(job);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// The state of a lane; lives on its thread.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) shared: Arc<Shared>,
    pub(super) settings: Settings,
    record: Arc<Mutex<Outbound>>,
    waiting: RefCell<VecDeque<Job>>,
    idle: RefCell<Vec<Rc<Seat>>>,
    /// Connections that are being made.
    connecting: Cell<u32>,
    /// Whether the last attempt to connect failed; then one connection tries for all.
    down: Cell<bool>,
    in_flight: Cell<u32>,
    room: Notify,
    closed: Cell<bool>,
}

impl Lane {
    /// Sends everything that `pacer` says; returns when the last answer has come.
    pub(super) fn run(
        shared: Arc<Shared>,
        settings: Settings,
        record: Arc<Mutex<Outbound>>,
        pacer: Pacer,
    ) -> Result<()> {
        shared.raise_priority();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot make a runtime")?;
        let lane = Rc::new(Self {
            shared,
            settings,
            record,
            waiting: RefCell::default(),
            idle: RefCell::default(),
            connecting: Cell::new(0),
            down: Cell::new(false),
            in_flight: Cell::new(0),
            room: Notify::new(),
            closed: Cell::new(false),
        });
        LocalSet::new().block_on(&runtime, lane.send_all(pacer))
    }

    async fn send_all(self: Rc<Self>, mut pacer: Pacer) -> Result<()> {
        let timer = Timer::new().context("cannot make a timer")?;
        let mut row = 0;
        while !self.shared.is_stopped() {
            let now = self.shared.clock.now();
            match pacer.poll(now, self.in_flight.get() < self.settings.in_flight_max) {
                Step::Send(due) => {
                    self.issue(due, now);
                    row += 1;
                    if row == BURST_MAX {
                        row = 0;
                        tokio::task::yield_now().await;
                    }
                }
                Step::Wait(until) => {
                    row = 0;
                    timer.wait((until - now).min(LOOK_EVERY)).await.context("the timer broke")?;
                }
                Step::Full => {
                    row = 0;
                    self.has_room().await;
                }
                Step::Done => break,
            }
        }
        lock(&self.record).held_back = pacer.held_back();
        lock(&self.record).abandoned = pacer.remaining();
        while self.in_flight.get() > 0 && !self.shared.is_stopped() {
            self.has_room().await;
        }
        self.closed.set(true);
        for seat in self.idle.take() {
            seat.give(None);
        }
        Ok(())
    }

    /// Waits until an event has ended, or the load may have been stopped.
    async fn has_room(&self) {
        let look = std::time::Duration::from_nanos(LOOK_EVERY);
        // Running out of time is as good as an ending: the caller looks again.
        _ = tokio::time::timeout(look, self.room.notified()).await;
    }

    fn issue(self: &Rc<Self>, due: Due, now: Nanos) {
        let tenant = self.shared.workload.tenant(due.sequence);
        let job = Job { due, sent: now, tenant };
        self.in_flight.set(self.in_flight.get() + 1);
        lock(&self.record).sent(due.at, now, &self.shared.window());
        self.shared.account().sent(due.sequence);
        let idle = self.idle.borrow_mut().pop();
        if let Some(seat) = idle {
            seat.give(Some(job));
        } else {
            self.waiting.borrow_mut().push_back(job);
            self.connect();
        }
    }

    /// Makes connections for the events that wait, unless it is known that none can be made.
    pub(super) fn connect(self: &Rc<Self>) {
        while !self.down.get() && (self.connecting.get() as usize) < self.waiting.borrow().len() {
            self.connecting.set(self.connecting.get() + 1);
            tokio::task::spawn_local(connection::run(Rc::clone(self)));
        }
    }

    /// A connection was made.
    pub(super) fn connected(&self) {
        self.connecting.set(self.connecting.get() - 1);
        self.down.set(false);
        lock(&self.record).connections += 1;
    }

    /// A connection could not be made; gives whether it is the first one, which tries on for all.
    pub(super) fn failed(&self) -> bool {
        lock(&self.record).connect_errors += 1;
        !self.down.replace(true)
    }

    /// A connection is not tried any more.
    pub(super) fn gave_up(&self) {
        self.connecting.set(self.connecting.get() - 1);
    }

    /// The next event that waits for a connection.
    pub(super) fn next(&self) -> Option<Job> {
        self.waiting.borrow_mut().pop_front()
    }

    /// A connection has nothing to do.
    pub(super) fn sit(&self, seat: &Rc<Seat>) {
        self.idle.borrow_mut().push(Rc::clone(seat));
    }

    /// An idle connection has ended.
    pub(super) fn leave(&self, seat: &Rc<Seat>) {
        self.idle.borrow_mut().retain(|other| !Rc::ptr_eq(other, seat));
    }

    /// Whether there will be no more events.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.get() || self.shared.is_stopped()
    }

    /// An event got its answer, or got none.
    pub(super) fn end(&self, job: &Job, outcome: Result<u16, &'static str>) {
        let now = self.shared.clock.now();
        let moments = [job.due.at, job.sent, now];
        lock(&self.record).ended(moments, outcome, &self.shared.window());
        if outcome == Ok(201) {
            self.shared.account().accepted(job.due.sequence, job.tenant);
            self.shared.accepted.note(now);
        }
        self.in_flight.set(self.in_flight.get() - 1);
        self.room.notify_one();
    }
}

//! The engine of one shard: takes facts in, gives orders out.
//!
//! The store is the truth and memory is a window on it: the engine may forget what it has no room
//! for, as long as it remembers from where on to read again (`behind_from` of an endpoint, the
//! horizon of timers, the mark of overdue retries). Every step ends with
//! [`Engine::restore_invariants`], which fires what is due, orders reads and gives out turns.
//!
//! It refuses nothing: a fact about a delivery that is gone is ignored.

mod admit;
mod backlog;
mod dispatch;
mod health;
mod outcome;
mod overdue;
mod places;
mod timers;

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use posthaste_domain::{DeliveryKey, Timestamp};

pub(crate) use self::admit::due_of;
use self::backlog::Backlogs;
use self::dispatch::Turns;
use self::overdue::Overdue;
use self::places::Places;
use self::timers::Timers;
use crate::calendar::Calendar;
use crate::chance::Chance;
use crate::directory::Directory;
use crate::pause::Pause;
use crate::table::{Place, Table};
use crate::{Delivery, Effect, Input, Invariant, Settings, Stats};

/// The engine of one shard.
#[derive(Debug)]
pub struct Engine {
    pub(crate) settings: Settings,
    pub(crate) chance: Chance,
    /// The latest time seen; never goes back.
    pub(crate) now: Timestamp,
    pub(crate) effects: VecDeque<Effect>,
    pub(crate) table: Table,
    pub(crate) directory: Directory,
    pub(crate) calendar: Calendar,
    pub(crate) turns: Turns,
    pub(crate) places: Places,
    /// When holds of endpoints end.
    pub(crate) holds: BTreeSet<(Timestamp, u32)>,
    pub(crate) backlogs: Backlogs,
    pub(crate) timers: Timers,
    pub(crate) overdue: Overdue,
    /// Outcomes that the store could not take for now, oldest first.
    pub(crate) unsettled: VecDeque<Delivery>,
    pub(crate) settle_pause: Pause,
    pub(crate) load_pause: Pause,
    /// Reads of options under way.
    pub(crate) options_reads: usize,
    pub(crate) levels: Levels,
    /// Figures that only grow; the levels in it stay 0.
    pub(crate) counted: Stats,
    pub(crate) draining: bool,
}

/// How many deliveries are where.
#[derive(Debug, Default)]
pub(crate) struct Levels {
    pub(crate) ready: usize,
    pub(crate) loading: usize,
    pub(crate) in_flight: usize,
    pub(crate) settling: usize,
    pub(crate) payload_bytes: usize,
}

/// The smallest limits that make progress: a quarter of what an endpoint may hold is for retries.
const HELD_MIN: usize = 4;

/// Takes every limit as at least what makes progress, so that no setting can owe for ever.
fn progressing(mut settings: Settings) -> Settings {
    let at_least = |limit: &mut usize, least: usize| *limit = (*limit).max(least);
    at_least(&mut settings.in_flight_max, 1);
    at_least(&mut settings.in_flight_per_endpoint_max, 1);
    at_least(&mut settings.settling_max, 1);
    at_least(&mut settings.held_max, HELD_MIN);
    at_least(&mut settings.held_per_endpoint_max, HELD_MIN);
    at_least(&mut settings.timers_read_max, 1);
    let two_pages = settings.timers_read_max.saturating_mul(2);
    at_least(&mut settings.timers_held_max, two_pages);
    at_least(&mut settings.backlog_read_max, 1);
    at_least(&mut settings.backlog_reads_max, 1);
    at_least(&mut settings.in_flight_first, 1);
    at_least(&mut settings.in_flight_per_host_max, 1);
    at_least(&mut settings.in_flight_per_tenant_max, 1);
    at_least(&mut settings.options_reads_max, 1);
    settings.slow_percent_max = settings.slow_percent_max.min(100);
    for millis in [
        &mut settings.timers_window_ms,
        &mut settings.slow_ms,
        &mut settings.breaker_give_up_ms,
        &mut settings.options_refresh_ms,
    ] {
        *millis = (*millis).max(1);
    }
    settings
}

impl Engine {
    /// An engine that holds nothing yet. `seed` decides the jitter of retries.
    ///
    /// It first asks for the timers that are due; its driver tells it by [`Input::Behind`] which
    /// endpoints have fresh deliveries.
    #[must_use]
    pub fn new(settings: Settings, seed: u64) -> Self {
        let settings = progressing(settings);
        let directory = Directory::new(settings.in_flight_first);
        Self {
            settings,
            chance: Chance::new(seed),
            now: Timestamp::ZERO,
            effects: VecDeque::new(),
            table: Table::new(seed),
            directory,
            calendar: Calendar::default(),
            turns: Turns::default(),
            places: Places::default(),
            holds: BTreeSet::new(),
            backlogs: Backlogs::default(),
            timers: Timers::default(),
            overdue: Overdue::default(),
            unsettled: VecDeque::new(),
            settle_pause: Pause::default(),
            load_pause: Pause::default(),
            options_reads: 0,
            levels: Levels::default(),
            counted: Stats::default(),
            draining: false,
        }
    }

    /// Takes in a fact. Afterwards [`Engine::poll_effect`] has what is to be done about it.
    pub fn handle(&mut self, now: Timestamp, input: Input) {
        self.now = self.now.max(now);
        match input {
            Input::Arrived(arrivals) => arrivals.into_iter().for_each(|owed| self.arrive(owed)),
            Input::Behind { tenant, endpoint, from } => {
                let endpoint = self.directory.intern(&tenant, endpoint);
                self.mark_behind(endpoint, from);
            }
            Input::BacklogRead { tenant, endpoint, owed, exhausted } => {
                if let Some(endpoint) = self.directory.find(&tenant, endpoint) {
                    self.backlog_read(endpoint, owed, exhausted);
                }
            }
            Input::BacklogReadFailed { tenant, endpoint } => {
                if let Some(endpoint) = self.directory.find(&tenant, endpoint) {
                    self.backlog_read_failed(endpoint);
                }
            }
            Input::TimersRead { owed, next } => self.timers_read(owed, next),
            Input::TimersReadFailed => self.timers_read_failed(),
            Input::PayloadLoaded { delivery, payload } => self.payload_loaded(delivery, payload),
            Input::PayloadLoadFailed { delivery } => self.payload_load_failed(delivery),
            Input::OptionsRead { tenant, endpoint, options } => {
                self.options_read(&tenant, endpoint, *options);
            }
            Input::OptionsReadFailed { tenant, endpoint } => {
                if let Some(endpoint) = self.directory.find(&tenant, endpoint) {
                    self.options_read_failed(endpoint);
                }
            }
            Input::Lift { tenant, endpoint } => {
                if let Some(endpoint) = self.directory.find(&tenant, endpoint) {
                    self.lift(endpoint);
                }
            }
            Input::Attempted { delivery, attempt } => self.attempted(delivery, attempt),
            Input::Withdrawn { delivery } => self.withdrawn(delivery),
            Input::HeldBack { delivery } => self.held_back(delivery),
            Input::TenantGone { delivery } => self.tenant_gone(delivery),
            Input::Settled { delivery } => self.settled(delivery),
            Input::Superseded { delivery } => self.superseded(delivery),
            Input::SettleFailed { delivery, settlement } => {
                self.settle_failed(delivery, settlement);
            }
            Input::Drain => self.drain(),
        }
        self.backlogs.unseen = self.backlogs.queue.len();
        self.overdue.stirred = true;
        self.restore_invariants();
    }

    /// Lets time pass: to be called when [`Engine::next_wakeup`] has come.
    pub fn on_wakeup(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        self.restore_invariants();
    }

    /// The next order, until there is none.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Engine::on_wakeup`] wants to be called, unless an input comes first.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        let unsettled = self.unsettled.front().map(|_| self.settle_pause.end());
        if self.draining {
            return unsettled;
        }
        let next = [
            unsettled,
            self.calendar.first_due(),
            self.holds.first().map(|(until, _)| *until),
            self.alarms_wakeup(),
            self.turns_wakeup(),
            self.backlog_wakeup(),
            self.timers_wakeup(),
        ];
        next.into_iter().flatten().min()
    }

    /// Whether the drain has begun and nothing is in flight or settling any more.
    #[must_use]
    pub const fn is_drained(&self) -> bool {
        self.draining && self.levels.in_flight == 0 && self.levels.settling == 0
    }

    /// The engine's figures.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            held: self.table.len() as u64,
            ready: self.levels.ready as u64,
            in_turn: self.turns.ring.len() as u64,
            waiting: self.calendar.len() as u64,
            loading: self.levels.loading as u64,
            in_flight: self.levels.in_flight as u64,
            settling: self.levels.settling as u64,
            payload_bytes: self.levels.payload_bytes as u64,
            endpoints: self.directory.len() as u64,
            endpoints_behind: self.backlogs.behind as u64,
            endpoints_behind_retries: self.overdue.endpoints.len() as u64,
            endpoints_on_hold: self.holds.len() as u64,
            endpoints_troubled: self.directory.troubled.len() as u64,
            slow_in_flight: self.places.slow_in_flight as u64,
            ..self.counted
        }
    }

    /// Leaves the engine settled after each step: what is due is ready, what can be asked for is
    /// asked for, who can be attempted is attempted. While nothing has changed, each part costs
    /// one look.
    fn restore_invariants(&mut self) {
        self.give_out_unsettled();
        if !self.draining {
            self.look_for_slow();
            self.end_holds();
            self.ring_alarms();
            self.fire_timers();
            self.order_timers_read();
            self.order_backlog_reads();
            self.order_options_reads();
            self.dispatch();
        }
        self.directory.release_idle(self.now);
        if let Err(broken) = self.quick_check() {
            self.observe(broken.invariant, false);
        }
    }

    /// Counts an invariant that does not hold, and stops a debug build there.
    pub(crate) fn observe(&mut self, invariant: Invariant, holds: bool) {
        if !holds {
            self.counted.invariant_violations += 1;
            debug_assert!(holds, "{invariant}");
        }
    }

    /// Notes that there is room for one more of an endpoint.
    pub(crate) fn note_room(&mut self, endpoint: u32) {
        self.queue_backlog_when_low(endpoint);
        self.note_idle(endpoint);
    }

    /// Notes that an endpoint may have nothing left.
    pub(crate) fn note_idle(&mut self, endpoint: u32) {
        if let Some(later) = self.directory.note_idle(endpoint, self.now) {
            self.set_pace_alarm(endpoint, later);
        }
    }

    /// The name of a delivery.
    pub(crate) fn key(&self, slot: u32) -> DeliveryKey {
        let entry = &self.table[slot];
        let endpoint = &self.directory[entry.endpoint];
        let tenant = self.directory.tenant(endpoint.tenant).id.clone();
        DeliveryKey { tenant, event: entry.event, endpoint: endpoint.id }
    }

    /// Deliveries in memory that are not waiting for their due time.
    pub(crate) fn held(&self) -> usize {
        self.table.len() - self.calendar.len()
    }

    /// Changes a payload, and counts its bytes.
    pub(crate) fn set_payload(&mut self, slot: u32, payload: Option<Bytes>) {
        self.levels.payload_bytes += payload.as_ref().map_or(0, Bytes::len);
        let old = std::mem::replace(&mut self.table[slot].payload, payload);
        self.levels.payload_bytes -= old.map_or(0, |old| old.len());
    }

    /// Begins the drain: what was ordered and not yet given out is taken back.
    fn drain(&mut self) {
        self.draining = true;
        // Backwards, so that what goes back to the front of its lane keeps its order.
        let effects = std::mem::take(&mut self.effects);
        for effect in effects.into_iter().rev() {
            match effect {
                Effect::Attempt { delivery, .. } | Effect::LoadPayload { delivery, .. } => {
                    self.take_back(delivery);
                }
                Effect::ReadBacklog { tenant, endpoint, .. } => {
                    if let Some(endpoint) = self.directory.find(&tenant, endpoint) {
                        self.end_backlog_read(endpoint);
                    }
                }
                Effect::ReadOptions { tenant, endpoint } => {
                    if let Some(endpoint) = self.directory.find(&tenant, endpoint) {
                        self.end_options_read(endpoint);
                    }
                }
                Effect::ReadTimers { .. } => self.timers.read = None,
                Effect::Settle { .. } => self.effects.push_front(effect),
            }
        }
    }

    fn take_back(&mut self, delivery: Delivery) {
        // A driver that answers orders before it has them finds nothing taken back.
        let Some(slot) = self.table.resolve(delivery) else { return };
        match self.table[slot].place {
            Place::InFlight => {
                self.counted.attempts -= 1;
                self.levels.in_flight -= 1;
            }
            Place::Loading => self.levels.loading -= 1,
            Place::Waiting | Place::Ready | Place::Settling(_) | Place::Unsettled(_) => return,
        }
        self.leave_flight(self.table[slot].endpoint);
        self.make_ready_again(slot);
    }
}

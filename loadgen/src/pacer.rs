//! The pacer: says which event is due, and never waits for an answer.
//!
//! Pure: the caller brings the time and says whether there is room for one more event without an
//! answer. Where there is none, the event waits and its lag grows; it is never skipped, and its
//! latency counts from the moment at which it should have been sent. Several lanes can share a
//! schedule: lane `k` of `n` takes every `n`-th event, so that events have the same number and the
//! same moment however many lanes there are.

use crate::clock::Nanos;
use crate::schedule::Schedule;

/// An event that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Its number.
    pub sequence: u64,
    /// When it was to be sent.
    pub at: Nanos,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this.
    Send(Due),
    /// Nothing is due before then.
    Wait(Nanos),
    /// An event is due, but there is no room: ask again when there is.
    Full,
    /// Everything has been sent.
    Done,
}

/// One lane of the load.
#[derive(Debug)]
pub struct Pacer {
    source: Source,
    start: Nanos,
    stride: u64,
    held_back: u64,
}

#[derive(Debug)]
enum Source {
    Open { schedule: std::iter::Enumerate<Schedule>, lane: u64, next: Option<Due>, held: bool },
    Closed { sequence: u64, end: Nanos },
}

impl Pacer {
    /// Lane `lane` of `lanes` of an open loop that begins at `start`.
    #[must_use]
    pub fn open(schedule: Schedule, start: Nanos, lane: u64, lanes: u64) -> Self {
        let source = Source::Open { schedule: schedule.enumerate(), lane, next: None, held: false };
        let mut pacer = Self { source, start, stride: lanes, held_back: 0 };
        pacer.advance();
        pacer
    }

    /// Lane `lane` of `lanes` of a closed loop from `start` to `end`: an event is due whenever
    /// there is room.
    #[must_use]
    pub const fn closed(start: Nanos, end: Nanos, lane: u64, lanes: u64) -> Self {
        Self { source: Source::Closed { sequence: lane, end }, start, stride: lanes, held_back: 0 }
    }

    /// What to do at `now`.
    pub fn poll(&mut self, now: Nanos, room: bool) -> Step {
        match &mut self.source {
            Source::Open { next: None, .. } => Step::Done,
            Source::Open { next: Some(due), .. } if due.at > now => Step::Wait(due.at),
            Source::Open { held, .. } if !room => {
                self.held_back += u64::from(!std::mem::replace(held, true));
                Step::Full
            }
            Source::Open { next: Some(due), .. } => {
                let due = *due;
                self.advance();
                Step::Send(due)
            }
            Source::Closed { end, .. } if now >= *end => Step::Done,
            Source::Closed { .. } if now < self.start => Step::Wait(self.start),
            Source::Closed { .. } if !room => Step::Full,
            Source::Closed { sequence, .. } => {
                let due = Due { sequence: *sequence, at: now };
                *sequence += self.stride;
                Step::Send(due)
            }
        }
    }

    /// Events that were due when there was no room.
    #[must_use]
    pub const fn held_back(&self) -> u64 {
        self.held_back
    }

    /// Events that are left; for a load that is broken off.
    #[must_use]
    pub fn remaining(mut self) -> u64 {
        let mut count = 0;
        while let Source::Open { next: Some(_), .. } = self.source {
            count += 1;
            self.advance();
        }
        count
    }

    fn advance(&mut self) {
        let Source::Open { schedule, lane, next, held } = &mut self.source else { return };
        *held = false;
        let mine = |(number, _): &(usize, Nanos)| *number as u64 % self.stride == *lane;
        *next = schedule
            .find(mine)
            .map(|(number, at)| Due { sequence: number as u64, at: self.start + at });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Arrival, Phases};

    const S: Nanos = 1_000_000_000;
    const PHASES: Phases = Phases { warm_up: 0, measure: 10 * S, drain: S };

    fn schedule(rate: f64) -> Schedule {
        Schedule::prepare(&Arrival::Constant { rate }, &PHASES, 1).unwrap()
    }

    /// A system that stalls for two seconds: the events of that time are sent when it is over,
    /// all of them, and each still knows when it was due.
    #[test]
    fn a_stall_delays_events_and_skips_none() {
        let mut pacer = Pacer::open(schedule(100.0), S, 0, 1);
        let (mut now, mut lags) = (0, Vec::new());
        loop {
            let stalled = (3 * S..5 * S).contains(&now);
            match pacer.poll(now, !stalled) {
                Step::Send(due) => {
                    assert_eq!(due.at, S + due.sequence * 10_000_000, "the schedule holds");
                    lags.push(now - due.at);
                }
                Step::Wait(until) => now = until,
                Step::Full => now = 5 * S,
                Step::Done => break,
            }
        }
        assert_eq!(lags.len(), 1000);
        assert_eq!(*lags.iter().max().unwrap(), 2 * S);
        assert_eq!(lags.iter().filter(|&&lag| lag > 0).count(), 200);
        assert_eq!(pacer.held_back(), 1, "one found no room; the others were behind it");
    }

    /// For all numbers of lanes: together they send what one sends.
    #[test]
    fn lanes_share_a_schedule() {
        let all = |lanes| {
            let mut sent = Vec::new();
            for lane in 0..lanes {
                let mut pacer = Pacer::open(schedule(70.0), 0, lane, lanes);
                while let Step::Send(due) = pacer.poll(u64::MAX, true) {
                    sent.push((due.sequence, due.at));
                }
            }
            sent.sort_unstable();
            sent
        };
        assert_eq!(all(1).len(), 700);
        assert_eq!(all(1), all(2));
        assert_eq!(all(1), all(5));
    }

    #[test]
    fn a_closed_loop_sends_when_there_is_room_until_its_end() {
        let mut pacer = Pacer::closed(S, 2 * S, 1, 3);
        assert_eq!(pacer.poll(0, true), Step::Wait(S));
        assert_eq!(pacer.poll(S, true), Step::Send(Due { sequence: 1, at: S }));
        assert_eq!(pacer.poll(S + 5, true), Step::Send(Due { sequence: 4, at: S + 5 }));
        assert_eq!(pacer.poll(S + 6, false), Step::Full);
        assert_eq!(pacer.poll(2 * S, true), Step::Done);
    }

    #[test]
    fn what_is_broken_off_is_counted() {
        let mut pacer = Pacer::open(schedule(100.0), 0, 0, 1);
        assert!(matches!(pacer.poll(0, true), Step::Send(_)));
        assert_eq!(pacer.remaining(), 999);
    }
}

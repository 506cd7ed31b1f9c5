//! The rule of progress: whether every part of the process that must move has moved.
//!
//! Each part is a counter that has to change within a limit:
//!
//! | part | counter | moves even when idle, because |
//! |---|---|---|
//! | a shard's loop | its turns | a shard looks around twice a second |
//! | the ledger's writer | answers to an empty order | one is always on its way to it |
//! | a shard's work | everything that ended or failed | – (only asked for while there is work) |
//! | AWS mode's intake | its rounds | a poll ends after seconds, and one that fails is made again |
//! | AWS mode's outcomes | rows written, refused or failed | – (only asked for while some wait) |
//!
//! The first two are short (half of the supervisor's patience): a loop that stands still, or a sync
//! that does not return, holds everything behind it. The others are long (an attempt's time and two
//! minutes), and catch an engine that has something to do and does nothing, and calls of AWS that
//! never end. What waits for a store is no work of the shard's, and a call that fails is progress:
//! where DynamoDB is down, a restart would not bring it back.
//!
//! No clock and no I/O: times come in with the call.

use std::fmt;

/// What a shard shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardSeen {
    /// Turns of its loop.
    pub turns: u64,
    /// Whether something could end without anybody else's help.
    pub has_work: bool,
    /// Everything that ended or failed since the start.
    pub ended: u64,
}

/// What AWS mode's courier shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CourierSeen {
    /// Rounds of its intake; 0 until it has begun.
    pub intake_rounds: u64,
    /// Whether outcomes wait for their rows.
    pub has_unwritten: bool,
    /// Writes of rows that ended, well or not.
    pub writes: u64,
}

/// What is seen of the process at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Each shard.
    pub shards: Vec<ShardSeen>,
    /// Empty orders that the ledger's writer has answered.
    pub writer_answers: u64,
    /// In AWS mode.
    pub courier: Option<CourierSeen>,
    /// How long a shard's work may take without anything ending, in microseconds: it changes with
    /// the configuration.
    pub work_us_max: u64,
}

/// A part that has stood still for longer than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stuck {
    /// A shard takes no turns.
    Loop {
        /// Which.
        shard: usize,
    },
    /// A shard has work, takes turns, and nothing ends.
    Work {
        /// Which.
        shard: usize,
    },
    /// The ledger's writer answers nobody.
    Writer,
    /// Nobody asks the queue for messages.
    Intake,
    /// Outcomes wait, and no write of a row ends.
    Outcomes,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loop { shard } => write!(f, "shard {shard} takes no turns"),
            Self::Work { shard } => write!(f, "shard {shard} has work and none of it ends"),
            Self::Writer => f.write_str("the ledger's writer does not answer"),
            Self::Intake => f.write_str("nobody asks the queue for messages"),
            Self::Outcomes => f.write_str("outcomes wait and no row is written"),
        }
    }
}

/// When each part moved last.
#[derive(Debug)]
pub struct Pulse {
    /// How long a loop or the writer may stand still.
    loop_us_max: u64,
    looked_us: u64,
    loops: Vec<Mark>,
    work: Vec<Mark>,
    writer: Mark,
    intake: Mark,
    outcomes: Mark,
}

/// A counter, and when it changed last.
#[derive(Clone, Copy, Debug)]
struct Mark {
    count: u64,
    moved_us: u64,
}

impl Pulse {
    /// Begins to watch; `loop_us_max` is how long a loop or the writer may stand still.
    #[must_use]
    pub const fn new(loop_us_max: u64, now_us: u64) -> Self {
        let new = Mark { count: 0, moved_us: now_us };
        Self {
            loop_us_max,
            looked_us: now_us,
            loops: Vec::new(),
            work: Vec::new(),
            writer: new,
            intake: new,
            outcomes: new,
        }
    }

    /// Looks; gives the parts that stand still.
    ///
    /// Where the last look was long ago, this very process stood still as a whole (a stopped
    /// machine, a debugger): nobody could have moved, so all get their time again.
    pub fn look(&mut self, now_us: u64, seen: &Seen) -> Vec<Stuck> {
        let slept = now_us.saturating_sub(self.looked_us) >= self.loop_us_max / 2;
        self.looked_us = now_us;
        let new = Mark { count: 0, moved_us: now_us };
        self.loops.resize(seen.shards.len(), new);
        self.work.resize(seen.shards.len(), new);
        let (loop_us, work_us) = (self.loop_us_max, seen.work_us_max);
        let mut stuck = Vec::new();
        for (shard, ShardSeen { turns, has_work, ended }) in seen.shards.iter().enumerate() {
            if self.loops[shard].stands_still(*turns, slept, now_us) >= loop_us {
                stuck.push(Stuck::Loop { shard });
            }
            if self.work[shard].stands_still(*ended, slept || !has_work, now_us) >= work_us {
                stuck.push(Stuck::Work { shard });
            }
        }
        if self.writer.stands_still(seen.writer_answers, slept, now_us) >= loop_us {
            stuck.push(Stuck::Writer);
        }
        let courier = seen.courier.unwrap_or_default();
        let has_begun = courier.intake_rounds > 0;
        if self.intake.stands_still(courier.intake_rounds, slept || !has_begun, now_us) >= work_us {
            stuck.push(Stuck::Intake);
        }
        let rests = !courier.has_unwritten;
        if self.outcomes.stands_still(courier.writes, slept || rests, now_us) >= work_us {
            stuck.push(Stuck::Outcomes);
        }
        stuck
    }
}

impl Mark {
    /// For how long the counter has not changed although it should have.
    const fn stands_still(&mut self, count: u64, is_excused: bool, now_us: u64) -> u64 {
        if is_excused || count != self.count {
            *self = Self { count, moved_us: now_us };
        }
        now_us.saturating_sub(self.moved_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;
    const LOOP: u64 = 15 * SECOND;
    const WORK: u64 = 150 * SECOND;

    fn seen(shards: usize) -> Seen {
        let shards = vec![ShardSeen::default(); shards];
        Seen { shards, writer_answers: 0, courier: None, work_us_max: WORK }
    }

    /// A world of two shards and a writer, looked at once a second; `step` moves it.
    fn looks(seconds: u64, mut step: impl FnMut(u64, &mut Seen)) -> Vec<(u64, Vec<Stuck>)> {
        let mut pulse = Pulse::new(LOOP, 0);
        let mut seen = seen(2);
        let mut found = Vec::new();
        for second in 1..=seconds {
            for shard in &mut seen.shards {
                shard.turns += 2;
            }
            seen.writer_answers += 1;
            step(second, &mut seen);
            let stuck = pulse.look(second * SECOND, &seen);
            if !stuck.is_empty() {
                found.push((second, stuck));
            }
        }
        found
    }

    /// Nothing to do for an hour is no reason to stop.
    #[test]
    fn an_idle_process_is_well() {
        assert_eq!(looks(3600, |_, _| {}), []);
    }

    /// One shard of two that stops turning is found after the limit, and named.
    #[test]
    fn a_shard_that_takes_no_turns_is_found() {
        let mut at = 0;
        let found = looks(60, |second, seen| {
            if second == 20 {
                at = seen.shards[1].turns;
            }
            if second >= 20 {
                seen.shards[1].turns = at;
            }
        });
        assert_eq!(found.first(), Some(&(35, vec![Stuck::Loop { shard: 1 }])));
        assert_eq!(found.len(), 26, "and it stays found: {found:?}");
    }

    /// A writer whose sync hangs is found though nothing new is asked of it, and forgiven when it
    /// goes on.
    #[test]
    fn a_writer_that_does_not_answer_is_found_until_it_does() {
        let found = looks(60, |second, seen| {
            if (10..40).contains(&second) {
                seen.writer_answers = 9;
            }
        });
        let seconds: Vec<_> = found.iter().map(|(second, _)| *second).collect();
        assert_eq!(seconds, (24..40).collect::<Vec<_>>());
        assert!(found.iter().all(|(_, stuck)| *stuck == [Stuck::Writer]), "{found:?}");
    }

    /// Work that does not end is found, though the loop turns; the same without work is not.
    #[test]
    fn work_that_does_not_end_is_found() {
        let found = looks(400, |_, seen| seen.shards[0].has_work = true);
        assert_eq!(found.first(), Some(&(151, vec![Stuck::Work { shard: 0 }])));
        let slow = looks(400, |second, seen| {
            seen.shards[0].has_work = true;
            // One attempt ends every 149 s, and fails.
            seen.shards[0].ended = second / 149;
        });
        assert_eq!(slow, []);
    }

    /// A poll that never ends is found, but one that has not begun waits for its tables.
    #[test]
    fn an_intake_that_asks_nobody_is_found_once_it_has_begun() {
        let at = |begun: u64, stands: u64| {
            looks(400, |second, seen| {
                let intake_rounds = second.min(stands).saturating_sub(begun);
                seen.courier = Some(CourierSeen { intake_rounds, ..CourierSeen::default() });
            })
        };
        assert_eq!(at(400, 400), []);
        assert_eq!(at(300, 400), []);
        assert_eq!(at(10, 100).first(), Some(&(250, vec![Stuck::Intake])));
    }

    /// Outcomes that are never written are found; writes that fail are no reason to restart.
    #[test]
    fn outcomes_that_nobody_writes_are_found() {
        let writes = |every: u64| {
            looks(400, |second, seen| {
                let courier = CourierSeen { has_unwritten: true, ..CourierSeen::default() };
                seen.courier = Some(CourierSeen { writes: second / every, ..courier });
            })
        };
        assert_eq!(writes(100), []);
        assert_eq!(writes(1_000).first(), Some(&(151, vec![Stuck::Outcomes])));
    }

    /// Work that comes after a long rest gets its whole time.
    #[test]
    fn rest_does_not_count_as_standing_still() {
        let found = looks(400, |second, seen| seen.shards[1].has_work = second > 300);
        assert_eq!(found, []);
    }

    /// A process that was stopped as a whole (SIGSTOP, a sleeping machine) is not blamed for it.
    #[test]
    fn a_stopped_process_gets_its_time_again() {
        let mut pulse = Pulse::new(LOOP, 0);
        let seen = seen(1);
        assert_eq!(pulse.look(SECOND, &seen), []);
        let woken = 3600 * SECOND;
        assert_eq!(pulse.look(woken, &seen), []);
        let stuck = vec![Stuck::Loop { shard: 0 }, Stuck::Writer];
        let after = |seconds| (1..=seconds).map(move |second| woken + second * SECOND);
        assert!(after(14).all(|now| pulse.look(now, &seen).is_empty()));
        assert_eq!(pulse.look(woken + 15 * SECOND, &seen), stuck);
    }

    #[test]
    fn a_reason_names_its_part() {
        let said = [Stuck::Loop { shard: 3 }, Stuck::Work { shard: 0 }, Stuck::Writer]
            .map(|stuck| stuck.to_string());
        assert_eq!(said[0], "shard 3 takes no turns");
        assert_eq!(said[1], "shard 0 has work and none of it ends");
        assert_eq!(said[2], "the ledger's writer does not answer");
    }
}

//! When events are to be sent: arrival processes as sequences of moments, from a seed.
//!
//! Pure: no clock, no waiting. Moments are nanoseconds from the beginning of the load. Invariant:
//! they never go back, and none lies at or after the end.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::chance::Chance;
use crate::clock::Nanos;
use crate::scenario::{Arrival, Phases};
use crate::units::floor;

/// Why a recorded schedule cannot be replayed.
#[derive(Debug, Error)]
pub enum ScheduleError {
    /// The file cannot be read.
    #[error("cannot read the schedule {path}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is no moment.
    #[error("{path}:{line}: seconds from the beginning are expected, not before those above")]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1 on.
        line: usize,
    },
}

/// The moments of an open loop.
#[derive(Clone, Debug)]
pub struct Schedule {
    process: Process,
    end: Nanos,
}

#[derive(Clone, Debug)]
enum Process {
    Even { rate: f64, count: u64 },
    Poisson { gap: f64, at: f64, chance: Chance },
    Bursts { rate: f64, burst_rate: f64, quiet: f64, cycle: f64, calm: f64, count: u64 },
    Ramp { from: f64, to: f64, calm: f64, length: f64, count: u64 },
    Replay { moments: std::sync::Arc<[Nanos]>, next: usize },
    Nothing,
}

const SECOND: f64 = 1e9;

impl Schedule {
    /// The schedule of a scenario; an empty one for a closed loop, which has none.
    ///
    /// # Errors
    /// [`ScheduleError`], where it is read from a file.
    pub fn prepare(arrival: &Arrival, phases: &Phases, seed: u64) -> Result<Self, ScheduleError> {
        let seconds = |nanos: Nanos| nanos as f64 / SECOND;
        let calm = seconds(phases.warm_up);
        let process = match arrival {
            Arrival::Constant { rate } => Process::Even { rate: *rate, count: 0 },
            Arrival::Poisson { rate } => {
                let mut chance = Chance::new(seed, 0x6172_7269);
                let gap = 1.0 / rate;
                Process::Poisson { gap, at: chance.exponential(gap), chance }
            }
            Arrival::Bursts { rate, burst_rate, every, length } => Process::Bursts {
                rate: *rate,
                burst_rate: *burst_rate,
                quiet: seconds(every - length),
                cycle: seconds(*every),
                calm,
                count: 0,
            },
            Arrival::Ramp { from, to } => Process::Ramp {
                from: *from,
                to: *to,
                calm,
                length: seconds(phases.measure),
                count: 0,
            },
            Arrival::Replay { file } => Process::Replay { moments: read(file)?.into(), next: 0 },
            Arrival::Closed { .. } => Process::Nothing,
        };
        Ok(Self { process, end: phases.warm_up + phases.measure })
    }
}

impl Iterator for Schedule {
    type Item = Nanos;

    fn next(&mut self) -> Option<Nanos> {
        let moment = match &mut self.process {
            Process::Even { rate, count } => nanos(index(count) / *rate),
            Process::Poisson { gap, at, chance } => {
                let now = *at;
                *at += chance.exponential(*gap);
                nanos(now)
            }
            Process::Bursts { rate, burst_rate, quiet, cycle, calm, count } => {
                nanos(bursts(index(count), *rate, *burst_rate, *quiet, [*cycle, *calm]))
            }
            Process::Ramp { from, to, calm, length, count } => {
                nanos(ramp(index(count), *from, *to, *calm, *length))
            }
            Process::Replay { moments, next } => {
                let moment = *moments.get(*next)?;
                *next += 1;
                moment
            }
            Process::Nothing => return None,
        };
        (moment < self.end).then_some(moment)
    }
}

fn nanos(seconds: f64) -> Nanos {
    // Rounded: 2.01 s in binary is a little less than itself.
    floor((seconds * SECOND).round())
}

/// The number of an event, and the next one's.
fn index(count: &mut u64) -> f64 {
    *count += 1;
    (*count - 1) as f64
}

/// When the event `number` comes: quiet first, then a burst at the end of each cycle.
fn bursts(number: f64, rate: f64, burst_rate: f64, quiet: f64, [cycle, calm]: [f64; 2]) -> f64 {
    let Some(beyond) = Some(number - rate * calm).filter(|beyond| *beyond >= 0.0) else {
        return number / rate;
    };
    let each = rate * quiet + burst_rate * (cycle - quiet);
    let (cycles, rest) = ((beyond / each).floor(), beyond % each);
    let within =
        if rest < rate * quiet { rest / rate } else { quiet + (rest - rate * quiet) / burst_rate };
    calm + cycles * cycle + within
}

/// When the event `number` comes, with a rate that grows linearly over `length`: the root of
/// `from·t + (to − from)/(2·length)·t² = number`.
fn ramp(number: f64, from: f64, to: f64, calm: f64, length: f64) -> f64 {
    let Some(beyond) = Some(number - from * calm).filter(|beyond| *beyond >= 0.0) else {
        return number / from;
    };
    let slope = (to - from) / length;
    // The stable form: no difference of nearly equal numbers, and right for a slope of 0.
    let discriminant = from.mul_add(from, 2.0 * slope * beyond);
    if discriminant < 0.0 {
        // A falling rate reaches 0 before this event comes.
        return f64::INFINITY;
    }
    calm + 2.0 * beyond / (from + discriminant.sqrt())
}

fn read(path: &Path) -> Result<Vec<Nanos>, ScheduleError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ScheduleError::File { path: path.to_owned(), source })?;
    let mut moments: Vec<Nanos> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let seconds = line.parse::<f64>().ok().filter(|s| (0.0..1e9).contains(s));
        let moment = seconds.map(nanos).filter(|moment| moments.last().is_none_or(|l| l <= moment));
        let wrong = || ScheduleError::Line { path: path.to_owned(), line: index + 1 };
        moments.push(moment.ok_or_else(wrong)?);
    }
    Ok(moments)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Nanos = 1_000_000_000;
    const PHASES: Phases = Phases { warm_up: 2 * S, measure: 20 * S, drain: S };

    fn moments(arrival: &Arrival) -> Vec<Nanos> {
        Schedule::prepare(arrival, &PHASES, 11).unwrap().collect()
    }

    fn between(moments: &[Nanos], from: Nanos, to: Nanos) -> usize {
        moments.iter().filter(|moment| (from..to).contains(*moment)).count()
    }

    /// For all processes: moments never go back and end before the end.
    #[test]
    fn moments_are_in_order_and_end() {
        for arrival in [
            Arrival::Constant { rate: 333.0 },
            Arrival::Poisson { rate: 777.0 },
            Arrival::Bursts { rate: 10.0, burst_rate: 500.0, every: 3 * S, length: S },
            Arrival::Ramp { from: 5.0, to: 900.0 },
            Arrival::Ramp { from: 900.0, to: 5.0 },
        ] {
            let moments = moments(&arrival);
            assert!(moments.is_sorted(), "{arrival:?}");
            assert!(moments.len() > 100 && *moments.last().unwrap() < 22 * S, "{arrival:?}");
        }
        assert!(moments(&Arrival::Closed { clients: 3 }).is_empty());
    }

    #[test]
    fn rates_are_kept() {
        let even = moments(&Arrival::Constant { rate: 250.0 });
        assert_eq!((even.len(), even[1]), (5500, 4_000_000));
        let poisson = moments(&Arrival::Poisson { rate: 1000.0 });
        assert!((21_400..22_600).contains(&poisson.len()), "{}", poisson.len());
        // Independent senders: the gaps' deviation is their mean.
        let gaps: Vec<f64> = poisson.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let spread = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((spread.sqrt() / mean - 1.0).abs() < 0.05);
    }

    #[test]
    fn bursts_come_at_the_end_of_each_cycle() {
        let arrival = Arrival::Bursts { rate: 100.0, burst_rate: 1000.0, every: 5 * S, length: S };
        let moments = moments(&arrival);
        assert_eq!(between(&moments, 0, 2 * S), 200, "the warm-up is quiet");
        assert_eq!(between(&moments, 2 * S, 6 * S), 400);
        assert_eq!(between(&moments, 6 * S, 7 * S), 1000);
        assert_eq!(between(&moments, 7 * S, 12 * S), 1400);
    }

    #[test]
    fn a_ramp_ends_at_its_rate() {
        let up = moments(&Arrival::Ramp { from: 100.0, to: 300.0 });
        assert_eq!(between(&up, 0, 2 * S), 200);
        assert!((4000..=4001).contains(&between(&up, 2 * S, 22 * S)), "the mean is 200/s");
        assert!((294..=300).contains(&between(&up, 21 * S, 22 * S)));
    }

    #[test]
    fn a_recorded_schedule_is_replayed_and_a_wrong_one_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("schedule");
        let prepare = |text: &str| {
            std::fs::write(&file, text).unwrap();
            Schedule::prepare(&Arrival::Replay { file: file.clone() }, &PHASES, 0)
        };
        let schedule: Vec<_> = prepare("# seconds\n0\n0.5\n0.5\n21.5\n30\n").unwrap().collect();
        assert_eq!(schedule, [0, S / 2, S / 2, 21 * S + S / 2]);
        for wrong in ["x", "-1", "2\n1", "nan", "1e99"] {
            assert!(matches!(prepare(wrong), Err(ScheduleError::Line { .. })), "{wrong}");
        }
    }
}

//! Many seeds, several at a time, until one fails: what every simulator's command line does.

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Which seeds, and how many at a time.
#[derive(Clone, Copy, Debug)]
pub struct Seeds {
    /// The first one.
    pub from: u64,
    /// How many.
    pub count: u64,
    /// How many at a time.
    pub jobs: usize,
}

/// What seeds have come to.
#[derive(Debug)]
pub struct Sum<T, F> {
    /// How many have run.
    pub seeds: u64,
    /// All that held, added up.
    pub total: T,
    /// The smallest seed that failed, and how: the one to look at first.
    pub failure: Option<(u64, F)>,
}

impl Seeds {
    /// Runs them until one fails, adds up what the others come to, and shows on standard error how
    /// far it is: a line that is written over on a terminal, else one for each twentieth.
    pub fn run<R, F: Send, T: Default + Send>(
        self,
        run: impl Fn(u64) -> Result<R, F> + Sync,
        add: impl Fn(&mut T, R) + Sync,
        describe: impl Fn(&T) -> String + Sync,
    ) -> Sum<T, F> {
        let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let sum = Mutex::new(Sum { seeds: 0, total: T::default(), failure: None });
        let work = || {
            while !stop.load(Ordering::Relaxed) {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= self.count {
                    return;
                }
                let seed = self.from + index;
                let ran = run(seed);
                let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                sum.seeds += 1;
                match ran {
                    Ok(report) => add(&mut sum.total, report),
                    Err(failure) => {
                        if sum.failure.as_ref().is_none_or(|(known, _)| seed < *known) {
                            sum.failure = Some((seed, failure));
                        }
                        stop.store(true, Ordering::Relaxed);
                    }
                }
                self.show(sum.seeds, &describe(&sum.total));
            }
        };
        thread::scope(|scope| {
            for _ in 0..self.jobs {
                scope.spawn(work);
            }
        });
        sum.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    #[expect(clippy::print_stderr, reason = "a command's progress is for the person who runs it")]
    fn show(self, done: u64, what: &str) {
        let line = format!("{done} of {} seeds, {what}", self.count);
        if std::io::stderr().is_terminal() {
            eprint!("\r{line}");
        } else if done == self.count || done.is_multiple_of((self.count / 20).max(1)) {
            eprintln!("{line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(fails: impl Fn(u64) -> bool + Sync) -> Sum<u64, &'static str> {
        let run = |seed| if fails(seed) { Err("failed") } else { Ok(seed) };
        Seeds { from: 10, count: 40, jobs: 3 }.run(
            run,
            |total, seed| *total += seed,
            u64::to_string,
        )
    }

    #[test]
    fn every_seed_runs_once() {
        let sum = run(|_| false);
        assert_eq!((sum.seeds, sum.total), (40, (10..50).sum()));
        assert!(sum.failure.is_none());
    }

    #[test]
    fn the_smallest_failure_is_told() {
        let sum = run(|seed| seed >= 20);
        assert_eq!(sum.failure, Some((20, "failed")));
        assert!(sum.seeds < 40, "nothing new is begun after a failure");
    }
}

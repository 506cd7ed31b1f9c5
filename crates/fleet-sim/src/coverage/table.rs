//! The table of what runs reach: what is expected, how often it was seen, and what was not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::names::{GROUPS, NEVER, RARE};
use crate::plan::FaultKind;

/// How often what was reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    seen: BTreeMap<&'static str, u64>,
    /// Worlds that had a kind of fault, and in how many of them it hit something.
    faults: BTreeMap<FaultKind, (u64, u64)>,
    /// What no list has.
    unlisted: BTreeSet<String>,
}

fn names() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().flat_map(|(_, names)| names.iter().copied())
}

impl Coverage {
    /// Counts something that was reached, so many times.
    pub(crate) fn saw(&mut self, what: &'static str, times: u64) {
        if times == 0 {
            return;
        }
        if let Some(count) = self.seen.get_mut(what) {
            *count += times;
            return;
        }
        if names().any(|name| name == what) {
            self.seen.insert(what, times);
        } else {
            self.unlisted.insert(what.to_owned());
        }
    }

    /// Counts a change from one state to another, whatever the two are.
    pub(crate) fn saw_change(&mut self, what: String) {
        match names().find(|name| *name == what) {
            Some(name) => self.saw(name, 1),
            None => drop(self.unlisted.insert(what)),
        }
    }

    /// What was seen and no list has: a world that comes to it has failed.
    pub(crate) fn unlisted(&self) -> Option<String> {
        let all: Vec<&str> = self.unlisted.iter().map(String::as_str).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }

    /// What is too rare for some thousand worlds to come to.
    pub fn rare() -> impl Iterator<Item = &'static str> {
        RARE.iter().map(|(name, _)| *name)
    }

    /// A world has this kind of fault.
    pub(crate) fn drew(&mut self, kind: FaultKind) {
        self.faults.entry(kind).or_default().0 = 1;
    }

    /// A fault has hit something.
    pub(crate) fn hit(&mut self, kind: FaultKind) {
        self.faults.entry(kind).or_default().1 = 1;
    }

    /// Adds another world's.
    pub fn add(&mut self, other: &Self) {
        for (what, times) in &other.seen {
            *self.seen.entry(what).or_default() += times;
        }
        for (kind, (drawn, hit)) in &other.faults {
            let sum = self.faults.entry(*kind).or_default();
            *sum = (sum.0 + drawn, sum.1 + hit);
        }
        self.unlisted.extend(other.unlisted.iter().cloned());
    }

    /// How often this was seen.
    #[must_use]
    pub fn times(&self, what: &str) -> u64 {
        self.seen.get(what).copied().unwrap_or(0)
    }

    /// In how many worlds there was this kind of fault, and in how many it hit something.
    #[must_use]
    pub fn of_fault(&self, kind: FaultKind) -> (u64, u64) {
        self.faults.get(&kind).copied().unwrap_or_default()
    }

    /// How many states, transitions and faults are looked for, and how many were seen.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize) {
        let known = names().filter(|it| !NEVER.contains(it)).count() + FaultKind::ALL.len();
        let hit = FaultKind::ALL.into_iter().filter(|it| self.of_fault(*it).1 > 0).count();
        (known, names().filter(|it| self.times(it) > 0).count() + hit)
    }

    /// What was not reached and should have been in so many worlds, and what must never be and
    /// was: nothing where a run is worth its time.
    #[must_use]
    pub fn lacks(&self, worlds: u64) -> Vec<String> {
        let mut lacks = Vec::new();
        for what in names() {
            let least =
                RARE.iter().find(|(name, _)| *name == what).map_or(100, |(_, least)| *least);
            match self.times(what) {
                0 if NEVER.contains(&what) || worlds < least => {}
                0 => lacks.push(format!("unreached: {what}")),
                times if NEVER.contains(&what) => lacks.push(format!("{what}, {times} times")),
                _ => {}
            }
        }
        for kind in FaultKind::ALL {
            let (drawn, hit) = self.of_fault(kind);
            if worlds >= 100 && (drawn == 0 || hit == 0) {
                lacks.push(format!("{}: in {drawn} worlds, hit in {hit}", kind.as_str()));
            }
        }
        lacks
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (group, names) in GROUPS {
            writeln!(f, "{group}")?;
            for what in names {
                let times = self.times(what);
                let mark = match (times, NEVER.contains(what)) {
                    (0, true) => "  (must not be)",
                    (0, false) => "  <- unreached",
                    _ => "",
                };
                writeln!(f, "{times:>12} {what}{mark}")?;
            }
        }
        writeln!(f, "faults: worlds that had it, worlds in which it hit something")?;
        for kind in FaultKind::ALL {
            let (drawn, hit) = self.of_fault(kind);
            let mark = if hit == 0 { "  <- unreached" } else { "" };
            writeln!(f, "{drawn:>12} {hit:>8} {}{mark}", kind.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The control: a run that reached nothing lacks everything, and one that reached what must
    /// not be says so.
    #[test]
    fn what_is_unreached_is_named() {
        let nothing = Coverage::default();
        let (known, seen) = nothing.sizes();
        assert_eq!((nothing.lacks(1_000_000).len(), seen), (known, 0));
        assert!(nothing.lacks(1).is_empty(), "one world reaches little");
        let mut wrong = Coverage::default();
        wrong.saw(NEVER[0], 1);
        assert_eq!(wrong.lacks(1), [format!("{}, 1 times", NEVER[0])]);
    }

    /// The control: what no list has is kept by its name.
    #[test]
    fn what_no_list_has_is_told() {
        let mut sum = Coverage::default();
        sum.saw_change("job none to waiting".to_owned());
        assert_eq!((sum.unlisted(), sum.times("job none to waiting")), (None, 1));
        let mut strange = Coverage::default();
        strange.saw_change("job none to nowhere".to_owned());
        strange.saw("answer in verse", 1);
        sum.add(&strange);
        assert_eq!(sum.unlisted().as_deref(), Some("answer in verse, job none to nowhere"));
    }

    /// Every name stands in the table once.
    #[test]
    fn names_are_different() {
        let mut names: Vec<_> = names().collect();
        assert!(Coverage::rare().chain(NEVER).all(|name| names.contains(&name)));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}

//! Whose fault is it that a name cannot be resolved?
//!
//! A resolver that cannot answer (SERVFAIL, REFUSED, silence) looks the same whether it is broken
//! itself or the name's own servers are. The first is our fault and costs no attempt; the second
//! is the endpoint's, and must not be retried for ever. So the resolver counts as down only if
//!
//! - no *other* name was answered within the last minute, and
//! - another name failed as well within that minute, or no resolver could be talked to at all, and
//! - that state has not lasted for a day: by then the names that are asked for are simply broken.
//!
//! Where only one name is ever asked for, its silence is therefore its own fault.

use std::sync::Arc;

/// How far back other names count. Answers are remembered for up to five minutes, so that a quiet
/// process may see none for a while: then the second condition decides.
const WINDOW_US: u64 = 60_000_000;
/// How long nothing but failures can be our fault.
const OUTAGE_US_MAX: u64 = 24 * 3_600 * 1_000_000;

/// What lookups came to lately.
#[derive(Debug, Default)]
pub(crate) struct Health {
    answered: Recent,
    failed: Recent,
    /// The first failure after the last answer.
    failing_since_us: Option<u64>,
}

impl Health {
    /// A lookup was answered, be it with "no such name".
    pub(crate) fn answered(&mut self, name: &Arc<str>, now_us: u64) {
        self.answered.note(name, now_us);
        self.failing_since_us = None;
    }

    /// A lookup got no answer.
    pub(crate) fn failed(&mut self, name: &Arc<str>, now_us: u64) {
        self.failed.note(name, now_us);
        self.failing_since_us.get_or_insert(now_us);
    }

    /// Whether the failure of `name` is the resolver's fault, and so ours.
    pub(crate) fn is_down(&self, name: &str, unreachable: bool, now_us: u64) -> bool {
        let since = now_us.saturating_sub(WINDOW_US);
        let lasting = self
            .failing_since_us
            .is_some_and(|failing| now_us.saturating_sub(failing) >= OUTAGE_US_MAX);
        !lasting
            && !self.answered.knows_other(name, since)
            && (unreachable || self.failed.knows_other(name, since))
    }
}

/// The two latest names that differ: enough to know of one that is not a given name.
#[derive(Debug, Default)]
struct Recent {
    newest: Option<(Arc<str>, u64)>,
    other: Option<(Arc<str>, u64)>,
}

impl Recent {
    fn note(&mut self, name: &Arc<str>, now_us: u64) {
        let before = self.newest.replace((Arc::clone(name), now_us));
        if before.as_ref().is_some_and(|(known, _)| known != name) {
            self.other = before;
        }
    }

    fn knows_other(&self, name: &str, since_us: u64) -> bool {
        let differs = |(known, at): &(Arc<str>, u64)| **known != *name && *at >= since_us;
        self.newest.as_ref().is_some_and(differs) || self.other.as_ref().is_some_and(differs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;
    /// Any time will do; 0 would hide a subtraction that saturates.
    const NOW: u64 = 1_000_000 * SECOND;

    fn name(text: &str) -> Arc<str> {
        text.into()
    }

    #[test]
    fn one_name_alone_is_at_fault_itself() {
        let mut health = Health::default();
        for second in 0..600 {
            health.failed(&name("a"), NOW + second * SECOND);
            assert!(!health.is_down("a", false, NOW + second * SECOND));
        }
    }

    #[test]
    fn several_names_failing_without_any_answer_are_our_fault() {
        let mut health = Health::default();
        health.failed(&name("a"), NOW);
        health.failed(&name("b"), NOW + SECOND);
        health.failed(&name("a"), NOW + 2 * SECOND);
        assert!(health.is_down("a", false, NOW + 2 * SECOND));
        assert!(health.is_down("b", false, NOW + 2 * SECOND));
    }

    #[test]
    fn an_answer_for_another_name_shows_that_the_resolver_works() {
        let mut health = Health::default();
        health.failed(&name("a"), NOW);
        health.failed(&name("b"), NOW);
        health.answered(&name("c"), NOW + SECOND);
        for unreachable in [false, true] {
            assert!(!health.is_down("a", unreachable, NOW + 2 * SECOND));
        }
        health.failed(&name("a"), NOW + 62 * SECOND);
        health.failed(&name("b"), NOW + 62 * SECOND);
        assert!(health.is_down("a", false, NOW + 62 * SECOND), "a minute later it shows nothing");
    }

    #[test]
    fn a_resolver_that_cannot_be_reached_is_our_fault_even_for_one_name() {
        let mut health = Health::default();
        health.answered(&name("a"), NOW);
        health.failed(&name("a"), NOW + SECOND);
        assert!(health.is_down("a", true, NOW + SECOND));
    }

    #[test]
    fn nothing_stays_our_fault_for_more_than_a_day() {
        let mut health = Health::default();
        let mut down = 0;
        for minute in 0..3000 {
            let now = NOW + minute * 60 * SECOND;
            health.failed(&name("a"), now);
            health.failed(&name("b"), now);
            down += u64::from(health.is_down("a", false, now));
        }
        assert_eq!(down, 24 * 60);
    }
}

//! Pauses after failures that are nobody's delivery: they double with each failure in a row.
//!
//! Invariant: failures that come in while a pause lasts belong to the one that began it (a batch
//! fails as one), so they neither lengthen it nor count.

use posthaste_domain::Timestamp;

use crate::Backoff;

/// A pause of something that fails.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pause {
    failures: u32,
    until: Timestamp,
}

impl Pause {
    /// Notes a failure, and says until when to wait.
    pub(crate) fn failed(&mut self, now: Timestamp, backoff: Backoff) -> Timestamp {
        if now >= self.until {
            let doubled = backoff.first_ms.saturating_mul(1 << self.failures.min(32));
            self.until = now.plus_millis(doubled.min(backoff.most_ms).max(1));
            self.failures = self.failures.saturating_add(1);
        }
        self.until
    }

    /// Notes that it works again.
    pub(crate) const fn worked(&mut self) {
        *self = Self { failures: 0, until: Timestamp::ZERO };
    }

    /// When the last pause ended or ends; [`Timestamp::ZERO`] where nothing has failed.
    pub(crate) const fn end(self) -> Timestamp {
        self.until
    }

    /// The end of the pause, where one lasts.
    pub(crate) fn lasts(self, now: Timestamp) -> Option<Timestamp> {
        (now < self.until).then_some(self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { first_ms: 100, most_ms: 350 };

    #[test]
    fn a_pause_doubles_up_to_its_limit_and_a_batch_fails_once() {
        let at = Timestamp::from_millis;
        let mut pause = Pause::default();
        assert_eq!(pause.lasts(at(0)), None);
        assert_eq!(pause.failed(at(0), BACKOFF), at(100));
        assert_eq!(pause.failed(at(99), BACKOFF), at(100));
        assert_eq!(pause.failed(at(100), BACKOFF), at(300));
        assert_eq!(pause.failed(at(300), BACKOFF), at(650));
        assert_eq!(pause.lasts(at(649)), Some(at(650)));
        assert_eq!(pause.lasts(at(650)), None);
        pause.worked();
        assert_eq!(pause.failed(at(700), BACKOFF), at(800));
    }
}

//! Pauses after failures: doubled each time, with jitter, gone with the first success.

use std::time::Duration;

use tokio::time::sleep;

use crate::chance::Chance;

/// How long one part waits after failures in a row.
#[derive(Debug)]
pub(crate) struct Pause {
    first_ms: u64,
    most_ms: u64,
    failures: u32,
}

impl Pause {
    pub(crate) const fn new(first_ms: u64, most_ms: u64) -> Self {
        Self { first_ms, most_ms, failures: 0 }
    }

    /// Something worked.
    pub(crate) const fn worked(&mut self) {
        self.failures = 0;
    }

    /// Whether the last thing failed.
    pub(crate) const fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// Something failed: waits between half and all of the pause, so that daemons spread.
    pub(crate) async fn failed(&mut self, chance: &Chance) {
        sleep(Duration::from_millis(self.next_ms(chance))).await;
    }

    fn next_ms(&mut self, chance: &Chance) -> u64 {
        let doubled = self.first_ms.saturating_mul(1 << self.failures.min(20));
        self.failures = self.failures.saturating_add(1);
        let whole = doubled.min(self.most_ms);
        whole / 2 + chance.below(whole / 2 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_start_over() {
        let chance = Chance::new(3);
        let mut pause = Pause::new(100, 1_000);
        for whole in [100, 200, 400, 800, 1_000, 1_000] {
            let ms = pause.next_ms(&chance);
            assert!((whole / 2..=whole).contains(&ms), "{ms} of {whole}");
        }
        assert!(pause.is_failing());
        pause.worked();
        assert!(!pause.is_failing());
        assert!(pause.next_ms(&chance) <= 100);
    }
}

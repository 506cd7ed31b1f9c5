//! The engine of one shard.

use std::collections::VecDeque;

use posthaste_domain::Timestamp;

use crate::{Effect, Input, Settings, Stats};

/// The engine of one shard.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    seed: u64,
    effects: VecDeque<Effect>,
    draining: bool,
}

impl Engine {
    /// An engine that holds nothing yet. `seed` decides the jitter of retries.
    #[must_use]
    pub fn new(settings: Settings, seed: u64) -> Self {
        Self { settings, seed, effects: VecDeque::new(), draining: false }
    }

    /// Takes in a fact. Afterwards [`Engine::poll_effect`] has what is to be done about it.
    pub fn handle(&mut self, now: Timestamp, input: Input) {
        let _ = (now, &self.settings, self.seed);
        if matches!(input, Input::Drain) {
            self.draining = true;
        }
    }

    /// Lets time pass: to be called when [`Engine::next_wakeup`] has come.
    pub fn on_wakeup(&mut self, now: Timestamp) {
        let _ = now;
    }

    /// The next order, until there is none.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Engine::on_wakeup`] wants to be called, unless an input comes first.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        None
    }

    /// Whether the drain has begun and nothing is in flight or settling any more.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.draining
    }

    /// The engine's figures.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::default()
    }
}

//! What the engine is told, orders, and makes of endpoints.

use std::collections::BTreeMap;

use posthaste_domain::{DeadLetterCause, Resolution, TenantId};
use posthaste_engine::{Effect, Engine, Health, Input};

use super::Coverage;

/// The name under which an input is counted.
pub(crate) const fn input_name(input: &Input) -> &'static str {
    match input {
        Input::Arrived(_) => "input arrived",
        Input::Behind { .. } => "input behind",
        Input::BacklogRead { .. } | Input::BacklogReadFailed { .. } => "input backlog read",
        Input::TimersRead { .. } => "input timers read",
        Input::TimersReadFailed => "input timers read failed",
        Input::PayloadLoaded { .. } => "input payload loaded",
        Input::PayloadLoadFailed { .. } => "input payload load failed",
        Input::OptionsRead { .. } => "input options read",
        Input::OptionsReadFailed { .. } => "input options read failed",
        Input::Lift { .. } => "input lift",
        Input::Attempted { .. } => "input attempted",
        Input::Withdrawn { .. } => "input withdrawn",
        Input::HeldBack { .. } => "input held back",
        Input::TenantGone { .. } => "input tenant gone",
        Input::Settled { .. } => "input settled",
        Input::Superseded { .. } => "input superseded",
        Input::SettleFailed { .. } => "input settle failed",
        Input::Drain => "input drain",
    }
}

/// The name under which an effect is counted.
pub(crate) const fn effect_name(effect: &Effect) -> &'static str {
    match effect {
        Effect::ReadBacklog { .. } => "effect read backlog",
        Effect::ReadTimers { .. } => "effect read timers",
        Effect::ReadOptions { .. } => "effect read options",
        Effect::LoadPayload { .. } => "effect load payload",
        Effect::Attempt { .. } => "effect attempt",
        Effect::Settle { .. } => "effect settle",
    }
}

/// The name under which an outcome is counted.
pub(crate) const fn settlement_name(resolution: Resolution) -> &'static str {
    match resolution {
        Resolution::Delivered => "settle delivered",
        Resolution::Retry { .. } => "settle retry",
        Resolution::DeadLettered { cause } => match cause {
            DeadLetterCause::AttemptsExhausted => "settle dead: attempts exhausted",
            DeadLetterCause::Gone => "settle dead: gone",
            DeadLetterCause::Poison => "settle dead: poison",
            DeadLetterCause::TenantGone => "settle dead: tenant gone",
        },
    }
}

/// How each endpoint of an engine was when somebody last looked.
#[derive(Debug, Default)]
pub(crate) struct Watched(BTreeMap<TenantId, Health>);

impl Watched {
    /// Looks at an engine after a turn.
    pub(crate) fn look(&mut self, engine: &Engine, coverage: &mut Coverage) {
        if self.0.is_empty() && engine.stats().endpoints_troubled == 0 {
            return;
        }
        let troubled = engine.troubled(usize::MAX).into_iter();
        let now: BTreeMap<TenantId, Health> = troubled.map(|it| (it.tenant, it.health)).collect();
        for (tenant, health) in &now {
            coverage.saw(state(*health), 1);
            let before = self.0.get(tenant).copied();
            if before != Some(*health) {
                coverage.saw_change(change(before, Some(*health)));
            }
        }
        for before in self.0.iter().filter(|(tenant, _)| !now.contains_key(*tenant)) {
            coverage.saw_change(change(Some(*before.1), None));
        }
        self.0 = now;
    }
}

const fn state(health: Health) -> &'static str {
    match health {
        Health::Paused => "health paused",
        Health::Tripped => "health tripped",
        Health::Probing => "health probing",
        Health::Ramp => "health ramp",
        Health::GivenUp => "health given up",
    }
}

/// The name of a change. A pause lies over whatever an endpoint is.
fn change(before: Option<Health>, after: Option<Health>) -> String {
    let name = |health: Option<Health>| match health {
        None => "well",
        Some(Health::GivenUp) => "given up",
        Some(health) => health.as_str(),
    };
    match (before, after) {
        (_, Some(Health::Paused)) => "health to paused".to_owned(),
        (Some(Health::Paused), _) => "health from paused".to_owned(),
        _ => format!("health {} to {}", name(before), name(after)),
    }
}

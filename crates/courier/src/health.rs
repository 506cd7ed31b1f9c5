//! What works and what does not, for readiness and for whoever is on call.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use posthaste_ports::PortError;
use tracing::{info, warn};

/// A part that depends on something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Receiving,
    Writing,
    Deleting,
    DeadLettering,
    Sweeping,
    Tenants,
}

impl Part {
    const fn doing(self) -> &'static str {
        match self {
            Self::Receiving => "cannot receive messages",
            Self::Writing => "cannot write rows",
            Self::Deleting => "cannot delete or hide messages",
            Self::DeadLettering => "cannot send to the DLQ",
            Self::Sweeping => "cannot sweep",
            Self::Tenants => "cannot read tenants",
        }
    }

    /// Whether nothing works while this does not. One tenant's record may make no sense, which is
    /// told to the log, and is no reason to take the instance for ill.
    const fn is_vital(self) -> bool {
        !matches!(self, Self::Tenants)
    }
}

/// Which parts do not work, and why. Says so once in the log, and once when it is over.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<BTreeMap<Part, String>>);

impl Health {
    pub(crate) fn note<T>(&self, part: Part, result: &Result<T, PortError>) {
        match result {
            Ok(_) => self.worked(part),
            Err(error) => self.failed(part, error),
        }
    }

    pub(crate) fn worked(&self, part: Part) {
        let mut ill = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ill.remove(&part).is_some() {
            info!(part = ?part, "works again");
        }
    }

    pub(crate) fn failed(&self, part: Part, error: &PortError) {
        let mut ill = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ill.insert(part, error.to_string()).is_none() {
            warn!(%error, "{}, will retry", part.doing());
        }
    }

    pub(crate) fn ailments(&self) -> Vec<String> {
        let ill = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let vital = ill.iter().filter(|(part, _)| part.is_vital());
        vital.map(|(part, error)| format!("{}: {error}", part.doing())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ailment_lasts_until_it_is_over() {
        let health = Health::default();
        health.failed(Part::Writing, &PortError::Transient("refused".to_owned()));
        assert_eq!(health.ailments(), ["cannot write rows: store unavailable: refused"]);
        health.failed(Part::Tenants, &PortError::Permanent("denied".to_owned()));
        health.note(Part::Receiving, &Ok(()));
        assert_eq!(health.ailments().len(), 1);
        health.note(Part::Writing, &Ok(()));
        assert!(health.ailments().is_empty());
    }
}

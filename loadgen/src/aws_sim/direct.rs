//! Calls from within the simulator's process: no wire, no faults, no latency, and not counted.
//!
//! For who prepares what is to be measured: tables and queues, rows and messages.

use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::faults::Decision;
use super::operation::Operation;
use super::state::State;

/// A way into a simulator that its faults do not lie on.
#[derive(Clone, Debug)]
pub struct Direct(Arc<State>);

impl Direct {
    pub(super) const fn new(state: Arc<State>) -> Self {
        Self(state)
    }

    /// Makes a call as a client would: `PutItem`, say, with the body that it has on the wire.
    /// Gives the body of the answer.
    ///
    /// # Errors
    /// The service's refusal, or an operation that there is not.
    pub async fn call(&self, operation: &str, body: &[u8]) -> Result<Vec<u8>> {
        let known = Operation::ALL.iter().find(|known| known.name() == operation);
        let known = known.with_context(|| format!("there is no operation {operation}"))?;
        let (plan, decision) = (self.0.plan(), Decision::none());
        let served = self.0.serve(&plan, *known, body, &decision).await;
        Ok(served.with_context(|| format!("{operation} was refused"))?.body)
    }
}

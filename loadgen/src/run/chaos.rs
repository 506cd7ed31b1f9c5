//! Does to the system what the scenario says, at the moments that it says.

use std::cell::RefCell;
use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::clock::{Clock, Nanos, seconds};
use crate::record::ChaosRecord;
use crate::scenario::{ChaosStep, Stop};
use crate::shared::Shared;
use crate::system::System;

/// What has been done so far.
#[derive(Debug, Default)]
pub(super) struct Done {
    records: RefCell<Vec<ChaosRecord>>,
    /// The moments of the step under way: signal, start.
    under_way: RefCell<Option<[Nanos; 2]>>,
    /// Whether the process is down because of a step.
    down: std::cell::Cell<bool>,
}

impl Done {
    /// Whether an ended process is what the scenario wants.
    pub(super) fn is_down(&self) -> bool {
        self.down.get()
    }

    /// Everything that was done. The first 201 and the first delivery after a start may come
    /// later than anything else, so the last step is completed here.
    pub(super) fn records(&self, shared: &Shared) -> Vec<ChaosRecord> {
        self.complete(shared);
        self.records.borrow().clone()
    }

    /// Adds to the last step what has been seen since.
    fn complete(&self, shared: &Shared) {
        let mut records = self.records.borrow_mut();
        let (Some(record), Some([signal, start])) = (records.last_mut(), *self.under_way.borrow())
        else {
            return;
        };
        let since = |from: Nanos, seen: Option<Nanos>| seen.map(|at| at.saturating_sub(from));
        record.first_accepted_ns = since(start, shared.accepted.seen());
        record.first_delivery_ns = since(start, shared.delivered.seen());
        record.gap_ns = since(signal, shared.accepted.seen());
    }
}

/// Carries out all steps.
///
/// # Errors
/// Where the system does not come back.
pub(super) async fn carry_out(
    steps: &[ChaosStep],
    system: &System,
    shared: &Shared,
    done: &Done,
) -> Result<()> {
    let (clock, window) = (shared.clock, shared.window());
    for step in steps {
        until(&clock, window.from + step.at).await;
        // What the step before has brought is complete now, or it never will be.
        done.complete(shared);
        done.down.set(true);
        shared.set_down(true);
        let signal = clock.now();
        system.stop(step.stop).await?;
        let stopped = clock.now();
        done.records.borrow_mut().push(ChaosRecord {
            signal: match step.stop {
                Stop::Kill => "kill",
                Stop::Terminate => "term",
            }
            .to_owned(),
            at_s: seconds(signal.saturating_sub(window.start)),
            stopped_ns: stopped - signal,
            ..ChaosRecord::default()
        });
        until(&clock, stopped + step.down).await;
        shared.accepted.arm();
        shared.delivered.arm();
        let start = clock.now();
        done.under_way.replace(Some([signal, start]));
        system.start()?;
        done.down.set(false);
        system.ready().await?;
        shared.set_down(false);
        if let Some(record) = done.records.borrow_mut().last_mut() {
            record.ready_ns = Some(clock.now() - start);
        }
    }
    Ok(())
}

/// Waits for a moment.
pub(super) async fn until(clock: &Clock, moment: Nanos) {
    sleep(Duration::from_nanos(moment.saturating_sub(clock.now()))).await;
}

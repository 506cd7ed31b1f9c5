//! What is done to the system under test, by time.

use super::parts::Phases;
use super::reader::{Notes, Section};
use crate::clock::{Nanos, SECOND};

/// How the process is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// SIGKILL: it cannot finish anything.
    Kill,
    /// SIGTERM: it may drain.
    Terminate,
}

/// A stop and the start after it. Only ever done to the process that the run started itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChaosStep {
    /// When, from the beginning of the measure phase.
    pub at: Nanos,
    /// How it is stopped.
    pub stop: Stop,
    /// How long it stays stopped.
    pub down: Nanos,
}

/// Reads the steps, in order of time.
pub(super) fn read(sections: Vec<Section<'_>>, phases: &Phases, notes: &Notes) -> Vec<ChaosStep> {
    let mut steps: Vec<ChaosStep> = Vec::new();
    for (index, mut section) in sections.into_iter().enumerate() {
        let at = section.moment("at", 0, phases.measure);
        let stop = match section.word("signal", &["kill", "term"]) {
            "term" => Stop::Terminate,
            _ => Stop::Kill,
        };
        let down = section.duration("down", 0, 0..=3600 * SECOND);
        section.finish();
        if at > phases.measure {
            notes.add(&format!("chaos.{index}.at"), "lies after the end of the measure phase");
        }
        if steps.last().is_some_and(|before| before.at + before.down >= at) {
            notes.add(&format!("chaos.{index}.at"), "begins before the step above has ended");
        }
        steps.push(ChaosStep { at, stop, down });
    }
    steps
}

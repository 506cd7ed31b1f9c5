//! What the process exits with; scripts and CI rely on it.

/// All is well.
pub const OK: u8 = 0;
/// The command line or a scenario is wrong; nothing was run.
pub const USAGE: u8 = 2;
/// A comparison found that it became worse.
pub const REGRESSION: u8 = 3;
/// A gate of the scenario does not hold.
pub const GATE_FAILED: u8 = 4;
/// The run is no measurement.
pub const INVALID: u8 = 5;
/// A fault of the generator or of the machine: nothing can be said.
pub const FAULT: u8 = 70;
/// Stopped before its end; what was measured until then is written.
pub const INTERRUPTED: u8 = 130;

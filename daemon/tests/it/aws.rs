//! AWS mode with the real process: every row of the protocol's table of crash points, and what
//! else goes wrong between a daemon and AWS.
//!
//! The number in a test's name is the row of the table in ARCHITECTURE.md. Rows 1 to 5 and 30 to 34
//! are about accepting and requeueing, which no daemon does by itself; `crates/aws/tests/stores`
//! has them. Rows 23 (the wall clock steps) and 40 (our egress is down) take clocks and networks
//! that a process on this machine cannot be given; the simulators have them.

mod bad_cases;
mod commands;
mod dying;
mod first_attempt;
mod identity;
mod outages;
mod proxy;
mod stopping;
mod waiting;
mod world;

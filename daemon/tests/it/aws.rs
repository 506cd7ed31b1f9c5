//! AWS mode with the real process: every row of the protocol's table of crash points, and what
//! else goes wrong between a daemon and AWS.
//!
//! The number in a test's name is the row of that table. Rows 1 to 5 and 30 to 34 are about
//! accepting and requeueing, which no daemon does by itself; the tests of `posthaste-aws` have
//! them. Row 23 (the wall clock steps) takes a clock that a process on this machine cannot be
//! given: here is what the others see of it, leases that end an hour too early or too late, and an
//! AWS that takes no signature of another time; the steps themselves are the fleet simulator's. Of
//! row 40, egress is the delivery client's tests'.

mod bad_cases;
mod commands;
mod dying;
mod egress;
mod first_attempt;
mod hostile;
mod identity;
mod machine;
mod names;
mod outages;
mod proxy;
mod stopping;
mod waiting;
mod world;

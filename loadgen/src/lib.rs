//! Measures a webhook system, honestly: an open-loop generator, a sink that verifies every
//! delivery, an account of every event, and a verdict on the measurement itself.
//!
//! It shares only `posthaste-domain` with what it measures: the system is a process behind HTTP.
//! The parts, in the order in which an event meets them:
//!
//! - [`scenario`]: what is asked for, in TOML.
//! - [`schedule`] and [`pacer`]: when each event is due. Pure, in virtual time.
//! - [`publish`]: sends it then, on raw sockets, without waiting for the answers of others.
//! - [`sink`]: receives, checks and answers it as its tenant's receiver would.
//! - [`cloud`]: the simulated AWS that the system works on, where it does.
//! - [`account`]: knows what became of it, with two bits.
//! - [`retries`]: knows whether what failed is tried again in time.
//! - [`record`]: the recording of a run, and its files. What shows or compares runs reads these.
//! - [`run`]: brings all of it together, and judges.
//! - [`live`]: shows it while it goes on.
//! - [`report`]: shows a run to people.
//! - [`compare`]: says whether one is better than another.
//!
//! Beside it stands [`aws_sim`], a simulated SQS and DynamoDB for systems that work on those.

pub mod account;
pub mod aws_sim;
pub mod chance;
pub mod clock;
pub mod cloud;
pub mod compare;
pub mod control;
pub mod exit;
pub mod live;
pub mod pacer;
pub mod payload;
pub mod publish;
pub mod record;
pub mod report;
pub mod retries;
pub mod run;
pub mod scenario;
pub mod schedule;
pub mod shared;
pub mod sink;
pub mod system;
pub mod units;
pub mod wire;

pub mod cli;

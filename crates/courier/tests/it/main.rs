//! A courier between stores in memory: one life, copies, poison, an outage.

#![expect(clippy::unwrap_used, reason = "the support code is a test's as well")]

mod clocks;
mod copies;
mod full;
mod life;
mod outage;
mod rounds;
mod spoilt;
mod stop;
mod support;

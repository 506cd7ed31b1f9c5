//! A courier between stores in memory: one life, copies, poison, an outage.

mod copies;
mod life;
mod outage;
mod stop;
mod support;

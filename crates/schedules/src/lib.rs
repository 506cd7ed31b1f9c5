//! Our cross-thread code under every order in which threads can take their turns.
//!
//! The code is the product's own text, with shuttle's locks, atomics, channels and threads in
//! place of `std`'s and tokio's (`build.rs`, `parts.rs`). Each part has a scenario of a few
//! threads and what must hold at its end, and the wrong variants that the same scenario must
//! catch. Thousands of orders are drawn, half of them at random, half by priorities with a few
//! changes (PCT), from seeds: the same in each run.
//!
//! What this cannot show: shuttle runs atomics as if all were `SeqCst`, so that a wrong
//! `Ordering` is not found here. Ours are counters and flags beside which no other memory is
//! read, or stand beside a lock.

#[cfg(test)]
mod commit;
#[cfg(test)]
mod courier;
#[cfg(test)]
mod inbox;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod names;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod run;
#[cfg(test)]
mod tenant_cache;

#[cfg(test)]
use names::{sync, thread, tokio};

//! The whole HTTP surface over the in-memory store: every route, every answer.
//!
//! Every answer that a test gets has passed the checks that all answers must pass (see
//! `support::Answer`): JSON with one `detail` for every error, `WWW-Authenticate` on 401,
//! `Retry-After` on 429 and 503, `nosniff` always.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod auth;
mod batch;
mod bodies;
mod chaos;
mod dead_letters;
mod delivery;
mod docs;
mod events;
mod gateway;
mod hygiene;
mod ingest;
mod keys;
mod lists;
mod matrix;
mod mutations;
mod quota;
mod receiver;
mod storage;
mod support;
mod tenants;

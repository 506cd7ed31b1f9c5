//! Every parser that meets the outside, as functions that take bytes.
//!
//! Each target reads its bytes as what comes from outside (a URL, a header, a row, a file), and
//! asserts what must hold of the outcome beside that there is one: what is accepted can be
//! written and read again, nothing that is refused gets through another way, a signature that
//! passes was made by us. A panic is a finding. `fuzz/` runs them under libFuzzer;
//! `tests/replay.rs` runs the committed corpora, with changes of its own, wherever the other
//! tests run.
//!
//! Invariant: the same bytes do the same, whatever ran before.

mod address;
mod api;
mod cloud;
mod config;
pub mod control;
pub mod corpus;
mod delivery;
mod gateway;
mod headers;
mod input;
mod ledger;
mod rows;
mod signature;
mod words;

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which its corpus has too.
    pub name: &'static str,
    /// The bytes that come from outside.
    pub run: fn(&[u8]),
}

macro_rules! targets {
    ($($module:ident: $($name:ident),+;)+) => {
        /// All of them.
        pub const TARGETS: &[Target] = &[
            $($(Target { name: stringify!($name), run: $module::$name },)+)+
        ];
    };
}

targets! {
    address: target_url, address;
    words: ids, api_key, secret, timestamp;
    signature: signature;
    headers: custom_headers, retry_options;
    delivery: retry_after, response;
    api: ingest, batch, tenant_body, query, request, receiver;
    gateway: authorizer, gateway_event;
    config: config_file, config_settings, command_line;
    ledger: ledger_record, ledger_key, journal, witness, register;
    cloud: message;
    rows: event_item, tenant_item;
}

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().copied().find(|target| target.name == name)
}

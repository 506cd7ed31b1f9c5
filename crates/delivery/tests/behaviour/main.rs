//! What the client does with everything that endpoints, resolvers and certificates can do to it.
//!
//! All servers are written by hand on raw sockets, on loopback, in this process, so that they can
//! misbehave in any way; no test needs the network.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod endpoints;
mod guard;
mod headers;
mod name_server;
mod options;
mod pieces;
mod rebinding;
mod redirects;
mod requests;
mod resolver;
mod reuse;
mod support;
mod tls;

//! The Lambda fleet: what stands between the Lambda Runtime API and the routers of
//! `posthaste-api`, over the stores of `posthaste-aws`.
//!
//! | binary       | takes                                  | does                        |
//! |--------------|----------------------------------------|-----------------------------|
//! | `authorizer` | API Gateway's TOKEN events             | [`authorize`]               |
//! | `ingest`     | REST v1 proxy events of `hooks.<zone>` | [`serve`] with `/v1`        |
//! | `receiver`   | those of `receiver.<zone>`             | [`serve`] with the receiver |
//! | `requeue`    | an event by hand, or a proxy event     | [`requeue`]                 |
//!
//! Each binary reads the [`environment`], starts [`logging`], assembles what it needs and gives a
//! handler to [`run`]. Refuses to decide anything: what a request means is the routers', what is
//! written is the adapters'. Nothing that comes in panics, and nothing secret is logged: a line has
//! a request's id, its tenant, its route, its status and its time.
//!
//! The fleet as a little web server, for whoever wants to try it or test it from outside:
//!
//! ```text
//! cargo build -p posthaste-lambda --bins
//! cargo run -p posthaste-lambda --example gateway -- target/debug [--aws URL] [--listen ADDRESS]
//! ```
//!
//! Its first line is `listening on http://…`. It calls the authorizer first, as API Gateway does.
//! Without `--aws` it brings a simulated AWS of its own, with an admin key that it prints.

pub mod authorize;
pub mod chance;
pub mod clock;
pub mod environment;
pub mod logging;
pub mod proxy;
pub mod requeue;
pub mod run;
pub mod serve;
pub mod stores;

//! The HTTP API: ingest, tenants, dead letters, the receiver, and their documentation.
//!
//! [`router`] is the whole public surface, over ports. It opens no store, reads no clock, draws no
//! entropy and spawns nothing: collaborators come in with [`Stores`] and [`Deps`], limits with
//! [`Settings`].
//!
//! Invariants: a 201 leaves only after the store has made the event durable; no route shows a
//! tenant another tenant's rows, or anybody a secret that was shown before; every error is
//! `{"detail": "..."}`; nothing that a client sends panics, recurses or grows memory beyond the
//! settings.

mod answer;
mod app;
mod auth;
mod body;
mod constant_time;
mod dead_letters;
mod docs;
mod documented;
mod events;
mod json;
mod openapi;
mod query;
mod quota;
mod receiver;
mod refusal;
mod seal;
mod settings;
mod surface;
mod tenants;
mod wire;

use axum::Router;
use http::Method;

pub use auth::AuthCache;
pub use openapi::{openapi, receiver_openapi};
pub use settings::{Clock, Deps, Entropy, ReceivedWebhook, ReceiverObserver, Settings, Stores};

/// The whole public surface: `/v1` and `/receiver`.
pub fn router(settings: Settings, stores: Stores, deps: Deps) -> Router {
    surface::Surface::whole().serve(app::App::new(settings, stores, deps))
}

/// Every route that [`router`] serves, with its path's parameters in braces.
#[must_use]
pub fn routes() -> Vec<(Method, &'static str)> {
    surface::Surface::whole().routes()
}

//! The HTTP API: ingest, tenants, dead letters, the receiver, and their documentation.
//!
//! [`router`] is the whole public surface, over ports; [`gateway`] is a part of it behind an API
//! gateway, whose [`Authorizer`] has checked the key before. They open no store, read no clock,
//! draw no entropy and spawn nothing: collaborators come in with [`Stores`] and [`Deps`], limits
//! with [`Settings`].
//!
//! Invariants: a 201 leaves only after the store has made the event durable; no route shows a
//! tenant another tenant's rows, or anybody a secret that was shown before; every error is
//! `{"detail": "..."}`; nothing that a client sends panics, recurses or grows memory beyond the
//! settings.

mod answer;
mod app;
mod auth;
mod authorizer;
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

use std::sync::Arc;

use axum::Router;
use http::Method;

pub use auth::{AuthCache, Caller};
pub use authorizer::{Authorized, Authorizer, AuthorizerError, KeyLookup, Principal};
pub use openapi::{openapi, receiver_alone_openapi, receiver_openapi};
pub use settings::{
    Clock, Deps, EndpointHealth, Entropy, ReceivedWebhook, ReceiverObserver, Settings, Stores,
    Trouble,
};

/// The whole public surface: `/v1` and `/receiver`.
pub fn router(settings: Settings, stores: Stores, deps: Deps) -> Router {
    surface::Surface::whole().serve(app::App::new(settings, stores, deps))
}

/// Every route that [`router`] serves, with its path's parameters in braces.
#[must_use]
pub fn routes() -> Vec<(Method, &'static str)> {
    surface::Surface::whole().routes()
}

/// A part of the public surface that has a host of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `/v1`: events, tenants, dead letters.
    Hooks,
    /// The receiver, from the host's root on.
    Receiver,
}

impl Part {
    fn surface(self) -> surface::Surface {
        match self {
            Self::Hooks => surface::Surface::hooks(),
            Self::Receiver => surface::Surface::receiver_alone(),
        }
    }

    /// Every route of this part, with its path's parameters in braces.
    #[must_use]
    pub fn routes(self) -> Vec<(Method, &'static str)> {
        self.surface().routes()
    }
}

/// A part of the surface behind an API gateway. Who sent a request is told by the [`Caller`] among
/// its extensions and by nothing else; `keys` confirms it on routes that change or destroy.
pub fn gateway(
    part: Part,
    settings: Settings,
    stores: Stores,
    deps: Deps,
    keys: Arc<dyn KeyLookup>,
) -> Router {
    part.surface().serve(app::App::new(settings, stores, deps).behind_gateway(keys))
}

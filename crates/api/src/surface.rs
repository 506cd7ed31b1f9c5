//! Every route in one table, and a list of them that tests and documents are held against.

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, on};
use http::Method;

use crate::app::App;
use crate::events::batch::create_batch;
use crate::events::ingest::create_event;
use crate::events::read::{event, list_events, retry_event};
use crate::refusal::Refusal;
use crate::tenants::keys::{create_key, list_keys, revoke_key};
use crate::tenants::{change_tenant, create_tenant, lift_tenant, tenant};
use crate::{dead_letters, docs, receiver};

/// The receiver's routes under a prefix, which has to be a literal.
macro_rules! receiver_under {
    ($surface:expr, $prefix:literal) => {
        $surface
            .route(
                Method::POST,
                concat!($prefix, "/{tenant_id}/webhook"),
                receiver::receive_webhook,
            )
            .route(Method::POST, concat!($prefix, "/enable"), receiver::enable)
            .route(Method::POST, concat!($prefix, "/disable"), receiver::disable)
            .route(Method::GET, concat!($prefix, "/status"), receiver::status)
            .route(Method::GET, concat!($prefix, "/health"), receiver::health)
    };
}

/// Routes under construction.
pub(crate) struct Surface {
    router: Router<Arc<App>>,
    routes: Vec<(Method, &'static str)>,
}

impl Surface {
    /// Everything that is served by one process.
    pub(crate) fn whole() -> Self {
        docs::mount_receiver(receiver_under!(Self::hooks(), "/receiver"))
    }

    /// `/v1`: events, tenants, dead letters.
    pub(crate) fn hooks() -> Self {
        let surface = Self { router: Router::new(), routes: vec![] }
            .route(Method::POST, "/v1/events", create_event)
            .route(Method::GET, "/v1/events", list_events)
            .route(Method::POST, "/v1/events/batch", create_batch)
            .route(Method::GET, "/v1/events/{event_id}", event)
            .route(Method::POST, "/v1/events/{event_id}/retry", retry_event)
            .route(Method::POST, "/v1/tenants", create_tenant)
            .route(Method::GET, "/v1/tenants/{tenant_id}", tenant)
            .route(Method::PATCH, "/v1/tenants/{tenant_id}", change_tenant)
            .route(Method::POST, "/v1/tenants/{tenant_id}/lift", lift_tenant)
            .route(Method::POST, "/v1/tenants/{tenant_id}/keys", create_key)
            .route(Method::GET, "/v1/tenants/{tenant_id}/keys", list_keys)
            .route(Method::DELETE, "/v1/tenants/{tenant_id}/keys/{key_id}", revoke_key)
            .route(Method::GET, "/v1/admin/dlq/messages", dead_letters::list_messages)
            .route(Method::POST, "/v1/admin/dlq/requeue", dead_letters::requeue)
            .route(Method::POST, "/v1/admin/dlq/purge", dead_letters::purge);
        docs::mount(surface)
    }

    /// The receiver on a host of its own.
    pub(crate) fn receiver_alone() -> Self {
        let surface = Self { router: Router::new(), routes: vec![] };
        docs::mount_receiver_alone(receiver_under!(surface, ""))
    }

    /// Adds a route.
    pub(crate) fn route<H, T>(mut self, method: Method, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<App>>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone())
            .expect("every method of the table is one that axum can filter");
        self.router = self.router.route(path, on(filter, handler));
        self.routes.push((method, path));
        self
    }

    /// The routes, in the order of the table.
    pub(crate) fn routes(self) -> Vec<(Method, &'static str)> {
        self.routes
    }

    /// A service; what is not in the table gets 404 or 405.
    pub(crate) fn serve(self, app: App) -> Router {
        self.router
            .fallback(async || Refusal::NotFound("no such route"))
            .method_not_allowed_fallback(async || Refusal::MethodNotAllowed)
            .with_state(Arc::new(app))
    }
}

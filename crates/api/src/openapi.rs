//! The OpenAPI documents, generated from the handlers' own annotations and types.

use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::server::Server;
use utoipa::{Modify, OpenApi};

use crate::refusal::ErrorBody;
use crate::{dead_letters, events, receiver, tenants};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Posthaste",
        description = "Webhook delivery that loses nothing. An event that got a 201 is durable and \
                       is delivered at least once, signed, byte for byte; after its last failed \
                       attempt it waits in the dead-letter queue.\n\n\
                       Every error is `{\"detail\": \"...\"}`.",
    ),
    paths(
        events::ingest::create_event,
        events::batch::create_batch,
        events::read::list_events,
        events::read::event,
        events::read::retry_event,
        tenants::create_tenant,
        tenants::tenant,
        tenants::change_tenant,
        tenants::lift_tenant,
        tenants::keys::create_key,
        tenants::keys::list_keys,
        tenants::keys::revoke_key,
        dead_letters::list_messages,
        dead_letters::requeue,
        dead_letters::purge,
    ),
    components(schemas(ErrorBody, dead_letters::RequeueRequest)),
    modifiers(&Keys),
    tags(
        (name = "events", description = "Post events and see what became of them."),
        (name = "tenants", description = "Who posts, where to, and with which keys."),
        (name = "dead letters", description = "Events whose attempts have all failed."),
    ),
)]
struct Api;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Posthaste receiver",
        description = "Takes signed webhooks and verifies them.\n\n\
                       Every error is `{\"detail\": \"...\"}`.",
    ),
    paths(
        receiver::receive_webhook,
        receiver::enable,
        receiver::disable,
        receiver::status,
        receiver::health,
    ),
    components(schemas(ErrorBody)),
    modifiers(&Keys),
    tags((name = "receiver", description = "The built-in receiver.")),
)]
struct Receiver;

/// The two kinds of keys.
struct Keys;

impl Modify for Keys {
    fn modify(&self, document: &mut Document) {
        let scheme = |description: &str| {
            let mut http = Http::new(HttpAuthScheme::Bearer);
            http.description = Some(description.to_owned());
            SecurityScheme::Http(http)
        };
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("tenant_key", scheme("A tenant's API key (phk_…)."));
        components.add_security_scheme("admin_key", scheme("The operator's admin key."));
    }
}

/// The OpenAPI document of the ingest and admin API (`/v1`).
#[must_use]
pub fn openapi() -> Document {
    served_at("..", Api::openapi())
}

/// The OpenAPI document of the receiver (`/receiver`).
#[must_use]
pub fn receiver_openapi() -> Document {
    served_at("..", Receiver::openapi())
}

/// The same where the receiver has a host of its own: paths begin at its root.
#[must_use]
pub fn receiver_alone_openapi() -> Document {
    let mut document = served_at(".", Receiver::openapi());
    let paths = std::mem::take(&mut document.paths.paths);
    document.paths.paths = paths
        .into_iter()
        .map(|(path, item)| (path.strip_prefix("/receiver").unwrap_or(&path).to_owned(), item))
        .collect();
    document
}

/// The paths begin here, as seen from the document: behind a gateway's default address they are not
/// at the root of the host (`/prod/v1/events`).
fn served_at(here: &str, mut document: Document) -> Document {
    document.servers = Some(vec![Server::new(here)]);
    document
}

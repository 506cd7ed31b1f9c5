//! `POST /v1/events`: the hot path.
//!
//! A 201 is a promise: the store has made the event durable before the answer leaves. The bytes
//! are checked and kept as they came; nothing is parsed into a tree or written again.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode};
use posthaste_domain::EventId;
use posthaste_ports::{Acceptance, Idempotency, NewEvent};
use ring::digest;
use serde::{Serialize, Serializer};
use tracing::error;
use utoipa::ToSchema;

use crate::answer;
use crate::app::App;
use crate::body::refuse_encoding;
use crate::documented::{BodyRefusals, KeyRefusals, QuotaRefusals};
use crate::json::{JsonError, check_object};
use crate::refusal::{ErrorBody, Refusal};
use crate::wire::StatusName;

const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Long enough for any id and a prefix.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// An event that is durable now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventAccepted {
    /// Names the event from now on.
    #[serde(serialize_with = "event_id_text")]
    #[schema(value_type = String, example = "evt_01KAV2W8C0T6Q5N9J4E8D7B3ZX")]
    event_id: EventId,
    status: StatusName,
}

fn event_id_text<S: Serializer>(id: &EventId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

/// Accept an event
///
/// The body is any JSON object; it is stored durably before the answer and delivered byte for
/// byte. With an `Idempotency-Key`, the same key and body within 24 h get the first answer
/// again; the same key with another body is a 409.
#[utoipa::path(
    post,
    path = "/v1/events",
    tag = "events",
    params(("Idempotency-Key" = Option<String>, Header,
        description = "1 to 255 visible ASCII characters.", min_length = 1, max_length = 255)),
    request_body(content = Object, description = "Any JSON object, up to 256 KiB.",
        example = json!({"type": "order.paid", "order": 17})),
    responses(
        (status = 201, description = "The event is durable.", body = EventAccepted),
        (status = 404, description = "The key's tenant does not exist any more.",
            body = ErrorBody),
        (status = 409, description = "The same key came before with another body.",
            body = ErrorBody),
        KeyRefusals,
        BodyRefusals,
        QuotaRefusals,
    ),
    security(("tenant_key" = [])),
)]
pub(crate) async fn create_event(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let tenant = app.tenant(&parts).await?;
    // Before the body: a flood must not cost its reading.
    app.within_quota(&tenant, 1)?;
    let key = idempotency_key(&parts.headers)?;
    refuse_encoding(&parts.headers)?;
    let (payload, _share) = app.read_body(body, app.settings.body_bytes_max).await?;
    check_object(&payload)?;
    let idempotency =
        key.map(|key| Idempotency { key: sha256(&[key.as_bytes()]), body: sha256(&[&payload]) });
    let id = app.event_id(app.clock.now());
    let event = NewEvent { tenant, id, payload, idempotency };
    let answers = app.stores.events.accept(vec![event]).await?;
    let accepted = accepted(answers.first().copied())?;
    Ok(answer::json(StatusCode::CREATED, &accepted))
}

/// What the client hears of one event.
pub(super) fn accepted(acceptance: Option<Acceptance>) -> Result<EventAccepted, Refusal> {
    match acceptance {
        Some(Acceptance::Accepted(event_id) | Acceptance::Replayed(event_id)) => {
            Ok(EventAccepted { event_id, status: StatusName::Pending })
        }
        Some(Acceptance::Conflict) => {
            Err(Refusal::Conflict("this Idempotency-Key came before with another body"))
        }
        Some(Acceptance::UnknownTenant) => Err(Refusal::NotFound("no such tenant")),
        None => {
            error!("the store gave fewer answers than it got events");
            Err(Refusal::Fault)
        }
    }
}

/// The `Idempotency-Key` header, where there is one.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<&HeaderValue>, Refusal> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let lawful = (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&value.len())
        && value.as_bytes().iter().all(u8::is_ascii_graphic)
        && values.next().is_none();
    if lawful {
        Ok(Some(value))
    } else {
        Err(Refusal::bad_value("Idempotency-Key must be 1 to 255 visible ASCII characters, once"))
    }
}

/// SHA-256 of the parts, one after another.
pub(super) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

impl From<JsonError> for Refusal {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::NotObject | JsonError::NotBatch => Self::shape(error.to_string()),
            JsonError::TooMany(_) => Self::TooLarge(error.to_string().into()),
            JsonError::Utf8(_) | JsonError::Empty | JsonError::Syntax(_) | JsonError::TooDeep => {
                Self::bad_value(error.to_string())
            }
        }
    }
}

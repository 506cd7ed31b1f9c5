//! The dead-letter queue: looked at, requeued, purged. A tenant sees its own, the admin all.
//!
//! A view of the rows whose status is DLQ: looking hides and deletes nothing.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use posthaste_ports::{DeadLetter, Scope};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::answer;
use crate::app::App;
use crate::auth::Caller;
use crate::body::{parse_json, refuse_encoding};
use crate::documented::{BodyRefusals, KeyRefusals, QueryRefusals};
use crate::query;
use crate::refusal::{ErrorBody, Refusal};
use crate::seal::Sealer;

/// Messages in one answer at most, as SQS has it; also the default.
const LIMIT_MAX: u32 = 10;
/// Events in one durable step at most; also the default.
const BATCH_MAX: u32 = 10;
/// Events in one requeue at most, and by default.
const MESSAGES_MAX: u32 = 1000;
const MESSAGES_DEFAULT: u32 = 100;
/// What a receipt handle is for, and its layout: round, event id (big-endian), tenant id.
const RECEIPT_PURPOSE: &str = "dlq-receipt/1";
/// The queue's name; there is one.
const QUEUE: &str = "dlq";

/// How many messages.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct MessagesParams {
    /// Messages at most.
    #[param(minimum = 1, maximum = 10, default = 10)]
    limit: Option<u32>,
}

/// Dead letters, each tenant's oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MessagesAnswer {
    messages: Vec<Message>,
}

/// A dead letter.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Message {
    /// The event's id: an event is in the DLQ once.
    #[schema(example = "evt_01KAV2W8C0T6Q5N9J4E8D7B3ZX")]
    message_id: String,
    /// Opaque.
    receipt_handle: String,
    body: MessageBody,
    attributes: MessageAttributes,
}

/// Which event.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MessageBody {
    #[schema(example = "acme")]
    tenant_id: String,
    #[schema(example = "evt_01KAV2W8C0T6Q5N9J4E8D7B3ZX")]
    event_id: String,
}

/// Why it is dead.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MessageAttributes {
    /// `attempts_exhausted`, `gone`, `poison` or `tenant_gone`.
    #[schema(example = "attempts_exhausted")]
    cause: &'static str,
    /// Attempts of its last round.
    attempts: u32,
    /// 0 at first, one more with each retry or requeue by hand.
    round: u32,
    last_error: Option<String>,
    #[schema(example = "2026-11-24T08:56:00.123Z")]
    dead_lettered_at: String,
}

/// How many to requeue. Every field has a default, and so has the body.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RequeueRequest {
    /// Events in one durable step.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 10, default = 10)]
    batch_size: Option<u32>,
    /// Events in all.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 1000, default = 100)]
    max_messages: Option<u32>,
}

/// JSON has one kind of numbers: `10.0` is the integer 10, as the schema has it.
fn whole<'d, D: Deserializer<'d>>(source: D) -> Result<Option<u32>, D::Error> {
    let Some(number) = Option::<f64>::deserialize(source)? else { return Ok(None) };
    let digits = number.to_string();
    digits.parse().map(Some).map_err(|_| D::Error::custom("wanted are whole numbers"))
}

/// What came of a requeue.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RequeueAnswer {
    /// Events in a fresh round, due at once.
    requeued: u64,
    /// Events that were not in the DLQ any more when their turn came.
    failed: u64,
}

/// The DLQ is empty.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PurgeAnswer {
    #[schema(example = "purged")]
    status: &'static str,
    #[schema(example = "dlq")]
    queue: &'static str,
}

/// Look into the DLQ
///
/// The oldest messages. Looking hides and deletes nothing.
#[utoipa::path(
    get,
    path = "/v1/admin/dlq/messages",
    tag = "dead letters",
    params(MessagesParams),
    responses(
        (status = 200, description = "The oldest messages.", body = MessagesAnswer),
        KeyRefusals,
        QueryRefusals,
    ),
    security(("tenant_key" = []), ("admin_key" = [])),
)]
pub(crate) async fn list_messages(
    State(app): State<Arc<App>>,
    parts: Parts,
) -> Result<Response, Refusal> {
    let scope = scope(app.caller(&parts).await?);
    let params: MessagesParams = query::parse(&parts.uri)?;
    let limit = query::limit(params.limit, LIMIT_MAX, LIMIT_MAX)?;
    let letters = app.stores.dead_letters.list(&scope, limit).await?;
    let sealer = app.sealer().await?;
    let messages = letters.into_iter().map(|letter| message(letter, sealer)).collect();
    Ok(answer::json(StatusCode::OK, &MessagesAnswer { messages }))
}

/// Requeue dead letters
///
/// The oldest first. Each starts a fresh round of attempts, due at once; its earlier attempts stay
/// in its log.
#[utoipa::path(
    post,
    path = "/v1/admin/dlq/requeue",
    tag = "dead letters",
    // By name, because an `Option` would allow `null`: the body may be left out, not be nothing.
    request_body(content = ref("#/components/schemas/RequeueRequest")),
    responses(
        (status = 200, description = "How many were requeued.", body = RequeueAnswer),
        KeyRefusals,
        BodyRefusals,
    ),
    security(("tenant_key" = []), ("admin_key" = [])),
)]
pub(crate) async fn requeue(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let scope = scope(app.caller_now(&parts).await?);
    query::refuse_any(&parts.uri)?;
    refuse_encoding(&parts.headers)?;
    let (bytes, _share) = app.read_body(body, app.settings.body_bytes_max).await?;
    let wanted: RequeueRequest =
        if bytes.is_empty() { RequeueRequest::default() } else { parse_json(&bytes)? };
    let batch = within("batchSize", wanted.batch_size, BATCH_MAX, BATCH_MAX)?;
    let max = within("maxMessages", wanted.max_messages, MESSAGES_MAX, MESSAGES_DEFAULT)?;
    let now = app.clock.now();
    let done = app.stores.dead_letters.requeue(&scope, batch, max, now).await?;
    let answer = RequeueAnswer { requeued: done.requeued, failed: done.failed };
    Ok(answer::json(StatusCode::OK, &answer))
}

/// Purge the DLQ
///
/// Every dead letter in sight of the key becomes PURGED, for good.
#[utoipa::path(
    post,
    path = "/v1/admin/dlq/purge",
    tag = "dead letters",
    responses(
        (status = 200, description = "The DLQ is empty.", body = PurgeAnswer),
        (status = 400, description = "There is a query; the route takes none.",
            body = ErrorBody),
        KeyRefusals,
    ),
    security(("tenant_key" = []), ("admin_key" = [])),
)]
pub(crate) async fn purge(State(app): State<Arc<App>>, parts: Parts) -> Result<Response, Refusal> {
    let scope = scope(app.caller_now(&parts).await?);
    query::refuse_any(&parts.uri)?;
    app.stores.dead_letters.purge(&scope, app.clock.now()).await?;
    Ok(answer::json(StatusCode::OK, &PurgeAnswer { status: "purged", queue: QUEUE }))
}

fn scope(caller: Caller) -> Scope {
    match caller {
        Caller::Tenant(tenant) => Scope::Tenant(tenant),
        Caller::Admin => Scope::All,
    }
}

fn within(name: &str, given: Option<u32>, max: u32, default: u32) -> Result<usize, Refusal> {
    let count = given.unwrap_or(default);
    if (1..=max).contains(&count) {
        Ok(count as usize)
    } else {
        Err(Refusal::bad_value(format!("{name} must be 1 to {max}")))
    }
}

fn message(letter: DeadLetter, sealer: &Sealer) -> Message {
    let round = letter.round.to_be_bytes();
    let event = letter.event.as_u128().to_be_bytes();
    let payload = [&round[..], &event, letter.tenant.as_str().as_bytes()].concat();
    Message {
        message_id: letter.event.to_string(),
        receipt_handle: sealer.seal(&[RECEIPT_PURPOSE], &payload),
        body: MessageBody {
            tenant_id: letter.tenant.to_string(),
            event_id: letter.event.to_string(),
        },
        attributes: MessageAttributes {
            cause: letter.cause.as_str(),
            attempts: letter.attempts,
            round: letter.round,
            last_error: letter.error.map(Into::into),
            dead_lettered_at: letter.at.to_rfc3339(),
        },
    }
}

//! How AWS says no: a code, a sentence and, for some errors, more fields.
//!
//! Both services speak AWS JSON 1.0. SQS once spoke another protocol, and clients still know its
//! codes: they come in the header `x-amzn-query-error`, and the SDK for Rust goes by that header.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value as Json;

/// A call that is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{code}: {message}")]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// The error's shape, as `__type` names it.
    pub(super) code: &'static str,
    pub(super) message: Cow<'static, str>,
    /// The code of the older protocol; SQS only.
    pub(super) query_code: Option<&'static str>,
    /// Further fields, such as the item that was found.
    pub(super) more: Option<Box<Json>>,
}

/// What is written into the body.
#[derive(Serialize)]
struct Body<'r> {
    #[serde(rename = "__type")]
    kind: String,
    message: &'r str,
}

impl Refusal {
    pub(super) fn new(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status: 400, code, message: message.into(), query_code: None, more: None }
    }

    pub(super) fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub(super) const fn with_query_code(mut self, code: &'static str) -> Self {
        self.query_code = Some(code);
        self
    }

    pub(super) fn with(mut self, more: Json) -> Self {
        self.more = Some(Box::new(more));
        self
    }

    /// `ValidationException`: DynamoDB does not accept what was asked.
    pub(super) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new("ValidationException", message)
    }

    /// A body that is not what the operation takes.
    pub(super) fn unreadable(error: &serde_json::Error) -> Self {
        let text = error.to_string();
        // Some values are readable, but not allowed; their refusal travels inside serde's error.
        match text.split_once(VALIDATION) {
            Some((_, message)) => {
                let end = message.rfind(" at line ").unwrap_or(message.len());
                Self::invalid(message[..end].to_owned())
            }
            None => Self::new("SerializationException", text),
        }
    }

    /// The body of the answer; `namespace` is the service's model.
    pub(super) fn body(&self, namespace: &str) -> Vec<u8> {
        let kind = format!("{namespace}#{}", self.code);
        let mut body =
            serde_json::to_value(Body { kind, message: &self.message }).unwrap_or_default();
        if let (Json::Object(body), Some(Json::Object(more))) = (&mut body, self.more.as_deref()) {
            body.extend(more.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        serde_json::to_vec(&body).unwrap_or_default()
    }

    /// Whether the caller is told to come more slowly.
    pub(super) fn is_throttle(&self) -> bool {
        const THROTTLES: [&str; 4] = [
            "ProvisionedThroughputExceededException",
            "ThrottlingException",
            "RequestLimitExceeded",
            "RequestThrottled",
        ];
        THROTTLES.contains(&self.code)
    }
}

/// Marks, inside an error of serde, that DynamoDB would call it a `ValidationException`.
pub(super) const VALIDATION: &str = "ValidationException: ";

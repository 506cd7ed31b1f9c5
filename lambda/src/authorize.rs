//! The TOKEN authorizer of API Gateway.
//!
//! ```text
//! {"type": "TOKEN", "authorizationToken": "Bearer …", "methodArn": "arn:…:<api>/<stage>/…"}
//!   ─► {"principalId", "policyDocument", "context": {"tenantId", "status", "plan"}}
//! ```
//! An error with the message `Unauthorized` becomes a 401; every other error a 500, which API
//! Gateway does not remember. There is no way from a fault to an Allow.

use std::borrow::Cow;

use lambda_runtime::Context;
use posthaste_api::{Authorized, Authorizer, AuthorizerError};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tracing::{Span, error, info};

use crate::clock::Stopwatch;
use crate::run::{Answer, Handler, Refused, answer};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event<'e> {
    #[serde(borrow, default)]
    authorization_token: Option<Cow<'e, str>>,
    #[serde(borrow)]
    method_arn: Cow<'e, str>,
}

/// Answers API Gateway.
#[derive(Debug)]
pub struct Authorize(Authorizer);

impl Authorize {
    /// With this authorizer.
    #[must_use]
    pub const fn new(authorizer: Authorizer) -> Self {
        Self(authorizer)
    }
}

impl Handler for Authorize {
    async fn handle(&self, event: &RawValue, _: &Context) -> Result<Answer, Refused> {
        let watch = Stopwatch::start();
        let event: Event<'_> = serde_json::from_str(event.get())
            .map_err(|_| Refused::new("BadEvent", "not the event of a TOKEN authorizer"))?;
        let header = event.authorization_token.as_deref().unwrap_or_default();
        let authorized = self.0.authorize(header, &event.method_arn).await;
        let duration_ms = watch.millis();
        match authorized {
            Ok(Authorized::Allow { principal, resource }) => {
                Span::current().record("tenant", &principal.tenant_id);
                info!(duration_ms, "allowed");
                answer(&json!({
                    "principalId": principal.tenant_id,
                    "policyDocument": policy("Allow", &resource),
                    "context": {
                        "tenantId": principal.tenant_id,
                        "status": principal.status,
                        "plan": principal.plan,
                    },
                }))
            }
            Ok(Authorized::Deny { resource }) => {
                info!(duration_ms, "denied");
                let policy = policy("Deny", &resource);
                answer(&json!({ "principalId": "nobody", "policyDocument": policy }))
            }
            Err(refused @ AuthorizerError::Unauthorized) => {
                info!(duration_ms, "unauthorized");
                Err(Refused::new("Unauthorized", refused.to_string()))
            }
            Err(fault) => {
                let cause = std::error::Error::source(&fault).map(ToString::to_string);
                error!(duration_ms, error = %fault, cause, "no answer");
                Err(Refused::new("Fault", fault.to_string()))
            }
        }
    }
}

fn policy(effect: &str, resource: &str) -> serde_json::Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{ "Action": "execute-api:Invoke", "Effect": effect, "Resource": resource }],
    })
}

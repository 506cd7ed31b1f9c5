//! What stands behind an API gateway: the authorizer's tokens, the proxy's events.

use std::sync::Arc;

use http_body_util::BodyExt as _;
use posthaste_api::{Authorized, Authorizer, Caller, KeyLookup};
use posthaste_domain::{ApiKey, TenantId};
use posthaste_lambda::proxy::{Answered, Event};
use posthaste_ports::{Identity, PortError};
use tokio::runtime::Builder;

use crate::input::{Input, text};

/// Two lines: the `Authorization` header and the `methodArn`; then the reason why no key can be
/// looked up, if there is one. `{own}`, `{revoked}` and `{admin}` are keys.
pub(crate) fn authorizer(data: &[u8]) {
    let mut input = Input(data);
    let (Some(header), Some(arn)) = (text(input.line()), text(input.line())) else { return };
    let fault = !input.is_empty();
    let key = |byte: u8| ApiKey::from_entropy(&[byte; 32]);
    let (own, revoked, admin) = (key(1), key(2), key(3));
    let named = header
        .replace("{own}", own.expose())
        .replace("{revoked}", revoked.expose())
        .replace("{admin}", admin.expose());
    let keys = Keys { own: own.clone(), revoked, fault };
    let authorizer = Authorizer::new(vec![admin.hash()], Arc::new(keys));
    let runtime = Builder::new_current_thread().build().expect("a runtime without I/O");
    let authorized = runtime.block_on(authorizer.authorize(&named, arn));
    let token = named.split_once(' ').map(|(_, token)| token);
    match authorized {
        Ok(Authorized::Allow { principal, resource }) => {
            let expected = match token {
                Some(token) if token == own.expose() && !fault => "acme",
                Some(token) if token == admin.expose() => "__ADMIN__",
                other => panic!("allowed by {}", other.map_or(0, str::len)),
            };
            assert_eq!((principal.tenant_id.as_str(), principal.status), (expected, "active"));
            is_one_stage(&resource, arn);
        }
        Ok(Authorized::Deny { resource }) => {
            assert!(token.is_some_and(|token| token != own.expose()));
            is_one_stage(&resource, arn);
        }
        Err(refused) => assert!(!refused.to_string().contains(own.expose())),
    }
}

/// The policy names the stage that asked, and no other.
fn is_one_stage(resource: &str, arn: &str) {
    let stage = resource.strip_suffix("/*").expect("all methods of a stage");
    assert!(arn.starts_with(stage) && arn[stage.len()..].starts_with('/'), "{resource} of {arn}");
    assert!(!stage.contains(['*', '?']), "{resource}");
    assert_eq!((stage.matches(':').count(), stage.matches('/').count()), (5, 1), "{resource}");
}

struct Keys {
    own: ApiKey,
    revoked: ApiKey,
    fault: bool,
}

#[async_trait::async_trait]
impl KeyLookup for Keys {
    async fn identity_of(&self, key: &str) -> Result<Option<Identity>, PortError> {
        if self.fault {
            return Err(PortError::Transient("the table is throttled".to_owned()));
        }
        let is_own = key == self.own.expose();
        let known = is_own || key == self.revoked.expose();
        let tenant = TenantId::try_new("acme").map_err(|_| PortError::Permanent(String::new()))?;
        Ok(known.then(|| Identity { tenant, active: is_own, plan: "standard".into() }))
    }
}

/// A proxy event of API Gateway.
pub(crate) fn gateway_event(data: &[u8]) {
    let Some(json) = text(data) else { return };
    let Ok(event) = serde_json::from_str::<Event<'_>>(json) else { return };
    let caller = event.caller();
    let whole: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
    let context = &whole["requestContext"]["authorizer"];
    match &caller {
        None => {}
        Some(Caller::Admin) => assert_eq!(context["tenantId"], "__ADMIN__"),
        Some(Caller::Tenant(tenant)) => assert_eq!(context["tenantId"], tenant.as_str()),
    }
    assert!(caller.is_none() || context["status"] == "active");
    let Ok(request) = event.request() else { return };
    assert_eq!(request.extensions().get::<Caller>(), caller.as_ref());
    assert_eq!(whole["httpMethod"], request.method().as_str());
    let target = request.uri().to_string();
    assert!(target.starts_with('/') && target.bytes().all(|byte| byte.is_ascii_graphic()));
    let runtime = Builder::new_current_thread().build().expect("a runtime without I/O");
    let (head, body) = request.into_parts();
    let body = runtime.block_on(body.collect()).expect("a body in memory").to_bytes();
    if whole["isBase64Encoded"] != true {
        let given = whole["body"].as_str().unwrap_or_default();
        assert_eq!(given.as_bytes(), body);
    }
    let mut response = http::Response::new(body);
    *response.headers_mut() = head.headers;
    let answered = serde_json::to_value(Answered::of(response)).expect("an answer is JSON");
    assert_eq!(answered["statusCode"], 200);
}

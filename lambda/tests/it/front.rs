//! What API Gateway does between a client and the functions: HTTP becomes a REST v1 proxy event,
//! the authorizer is asked first where a route wants a key, and the answer becomes HTTP again.
//!
//! Answers of the gateway's own have the API's shape, `{"detail": "..."}`, as the deployed one's
//! have.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use serde_json::{Map, Value, json};

use crate::host::{Function, Invoked};

/// As long as API Gateway waits.
const PATIENCE: Duration = Duration::from_secs(29);
const API: &str = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod";

/// The four functions.
pub(crate) struct Fleet {
    /// The authorizer.
    pub(crate) authorizer: Function,
    /// What serves the hooks.
    pub(crate) ingest: Function,
    /// What serves the receiver's host.
    pub(crate) receiver: Function,
    /// What serves requeues.
    pub(crate) requeue: Function,
    /// Numbers the requests.
    requests: AtomicU64,
}

/// The two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// `hooks.<zone>`.
    Hooks,
    /// `receiver.<zone>`.
    Receiver,
}

impl Fleet {
    pub(crate) fn new(functions: [Function; 4]) -> Self {
        let [authorizer, ingest, receiver, requeue] = functions;
        Self { authorizer, ingest, receiver, requeue, requests: AtomicU64::new(0) }
    }

    /// Answers a request.
    pub(crate) async fn answer(
        &self,
        host: Host,
        request: Request<Bytes>,
    ) -> Response<Full<Bytes>> {
        let context = if needs_key(host, request.method(), request.uri().path()) {
            match self.authorize(&request).await {
                Ok(context) => Some(context),
                Err((status, detail)) => return refusal(status, detail),
            }
        } else {
            None
        };
        let function = match (host, request.uri().path()) {
            (Host::Receiver, _) => &self.receiver,
            (Host::Hooks, "/v1/admin/dlq/requeue") => &self.requeue,
            (Host::Hooks, _) => &self.ingest,
        };
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let event = event(request, context, number);
        match function.invoke(event.to_string(), PATIENCE).await {
            Invoked::Answer(answer) => response(&answer).unwrap_or_else(|| {
                refusal(StatusCode::BAD_GATEWAY, "the function's answer is none")
            }),
            Invoked::Error(_) | Invoked::Ended => {
                refusal(StatusCode::BAD_GATEWAY, "the function failed")
            }
            Invoked::TimedOut => refusal(StatusCode::GATEWAY_TIMEOUT, "the function took too long"),
        }
    }

    /// The authorizer's context, or what the client gets instead.
    async fn authorize(
        &self,
        request: &Request<Bytes>,
    ) -> Result<Value, (StatusCode, &'static str)> {
        let refused = (StatusCode::UNAUTHORIZED, "an API key is needed");
        // The last one counts, as with all headers of which API Gateway wants one value.
        let token = request.headers().get_all("authorization").iter().next_back();
        let token = token.filter(|token| !token.is_empty()).ok_or(refused)?;
        let path = request.uri().path();
        let event = json!({
            "type": "TOKEN",
            "authorizationToken": String::from_utf8_lossy(token.as_bytes()),
            "methodArn": format!("{API}/{}{path}", request.method()),
        });
        let answer = match self.authorizer.invoke(event.to_string(), PATIENCE).await {
            Invoked::Answer(answer) => answer,
            Invoked::Error(error) if message(&error).as_deref() == Some("Unauthorized") => {
                return Err(refused);
            }
            Invoked::Error(_) | Invoked::Ended | Invoked::TimedOut => {
                return Err((StatusCode::INTERNAL_SERVER_ERROR, "keys cannot be checked now"));
            }
        };
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let statement = &answer["policyDocument"]["Statement"][0];
        let resource = format!("{API}/*");
        if statement["Effect"] == "Allow" && statement["Resource"] == resource.as_str() {
            Ok(answer["context"].clone())
        } else {
            Err((StatusCode::FORBIDDEN, "this key may not do this"))
        }
    }
}

/// Which routes stand behind the authorizer (see the README).
fn needs_key(host: Host, method: &Method, path: &str) -> bool {
    match host {
        Host::Hooks => {
            let page = path.strip_prefix("/v1").unwrap_or_default();
            let open = matches!(page, "/docs" | "/redoc" | "/openapi.json")
                || page.starts_with("/docs/assets/");
            !(open && *method == Method::GET)
        }
        Host::Receiver => *method == Method::POST && matches!(path, "/enable" | "/disable"),
    }
}

/// A REST v1 proxy event. The body travels as base64, as with `binaryMediaTypes: ["*/*"]`.
pub(crate) fn event(request: Request<Bytes>, context: Option<Value>, number: u64) -> Value {
    let (head, body) = request.into_parts();
    let mut context = context;
    if let Some(Value::Object(context)) = &mut context {
        context.insert("principalId".to_owned(), context["tenantId"].clone());
        context.insert("integrationLatency".to_owned(), 3.into());
    }
    let (headers, several) = headers(&head.headers);
    let (query, queries) = query(head.uri.query().unwrap_or_default());
    json!({
        "resource": "/{proxy+}",
        "path": head.uri.path(),
        "httpMethod": head.method.as_str(),
        "headers": headers,
        "multiValueHeaders": several,
        "queryStringParameters": query,
        "multiValueQueryStringParameters": queries,
        "pathParameters": { "proxy": head.uri.path().trim_start_matches('/') },
        "stageVariables": null,
        "requestContext": {
            "resourcePath": "/{proxy+}",
            "httpMethod": head.method.as_str(),
            "path": format!("/prod{}", head.uri.path()),
            "accountId": "123456789012",
            "protocol": "HTTP/1.1",
            "stage": "prod",
            "requestId": format!("c6af9ac6-7b61-11e6-9a41-{number:012}"),
            "authorizer": context,
            "identity": { "sourceIp": "192.0.2.1", "userAgent": "tests" },
            "apiId": "a1b2c3d4e5",
        },
        "body": if body.is_empty() { Value::Null } else { STANDARD.encode(body.as_ref()).into() },
        "isBase64Encoded": !body.is_empty(),
    })
}

fn headers(headers: &HeaderMap) -> (Value, Value) {
    let (mut single, mut several) = (Map::new(), Map::new());
    for name in headers.keys() {
        let text = |value: &hyper::header::HeaderValue| {
            Value::from(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let values: Vec<_> = headers.get_all(name).iter().map(text).collect();
        single.insert(name.to_string(), values.last().cloned().unwrap_or_default());
        several.insert(name.to_string(), values.into());
    }
    (single.into(), several.into())
}

/// Decoded, as API Gateway has it.
fn query(text: &str) -> (Value, Value) {
    let (mut single, mut several) = (Map::new(), Map::new());
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decoded(name), decoded(value));
        single.insert(name.clone(), value.clone().into());
        let values = several.entry(name).or_insert_with(|| Value::Array(Vec::new()));
        values.as_array_mut().expect("an array").push(value.into());
    }
    if single.is_empty() { (Value::Null, Value::Null) } else { (single.into(), several.into()) }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        let escape = match rest {
            [b'%', high, low, ..] => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                digit(high)
                    .zip(digit(low))
                    .and_then(|(high, low)| u8::try_from(16 * high + low).ok())
            }
            _ => None,
        };
        bytes.push(escape.unwrap_or(if *byte == b'+' { b' ' } else { *byte }));
        rest = if escape.is_some() { &rest[3..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A function's answer as HTTP; none where it is not of the shape that API Gateway takes.
fn response(answer: &[u8]) -> Option<Response<Full<Bytes>>> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let status = u16::try_from(answer["statusCode"].as_u64()?).ok()?;
    let mut response = Response::builder().status(status);
    for (name, values) in answer["multiValueHeaders"].as_object()? {
        for value in values.as_array()? {
            response = response.header(name, value.as_str()?);
        }
    }
    let body = answer["body"].as_str()?;
    let body = match answer["isBase64Encoded"].as_bool()? {
        true => STANDARD.decode(body).ok()?.into(),
        false => Bytes::from(body.to_owned()),
    };
    response.body(Full::new(body)).ok()
}

fn refusal(status: StatusCode, detail: &str) -> Response<Full<Bytes>> {
    let body = json!({ "detail": detail }).to_string();
    let response = Response::builder().status(status).header("content-type", "application/json");
    let response = match status {
        StatusCode::UNAUTHORIZED => {
            response.header("www-authenticate", "Bearer realm=\"posthaste\"")
        }
        _ => response,
    };
    response.body(Full::new(body.into())).expect("lawful headers")
}

fn message(error: &[u8]) -> Option<String> {
    let error: Value = serde_json::from_slice(error).ok()?;
    Some(error["errorMessage"].as_str()?.to_owned())
}

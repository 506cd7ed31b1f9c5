//! A router behind API Gateway: one proxy event, one answer.
//!
//! An event that takes longer than the function may take gets a 503 before Lambda ends it. What was
//! begun then is what a crash leaves, and a 201 was never given.
//!
//! Logs one line for each event: method, route (as the table of routes has it, since a path may
//! have anything in it), status, milliseconds.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use lambda_runtime::Context;
use posthaste_api::{Caller, Part};
use serde_json::json;
use serde_json::value::RawValue;
use tower::{Service, ServiceExt as _};
use tracing::{Span, error, info};

use crate::clock::{Clock, Stopwatch};
use crate::proxy::{Answered, Event};
use crate::run::{Answer, Handler, Refused, answer};

/// So long before its end an event is given up.
const MARGIN: Duration = Duration::from_millis(500);
/// API Gateway waits no longer than 29 s, however long the function may run.
const GATEWAY_WAIT_MAX: Duration = Duration::from_millis(28_500);
/// Methods and paths that are no route of ours are all called so.
const NO_ROUTE: &str = "none";

/// A part of the API behind a gateway.
#[derive(Clone)]
pub struct Serve<R> {
    router: R,
    routes: Arc<[(Method, &'static str)]>,
    clock: Arc<Clock>,
}

impl<R> Serve<R> {
    /// This part, which this router serves.
    #[must_use]
    pub fn new(part: Part, router: R, clock: Arc<Clock>) -> Self {
        Self { router, routes: part.routes().into(), clock }
    }

    /// As the table of routes has it.
    fn route(&self, method: &Method, path: &str) -> &'static str {
        let fits = |pattern: &str| {
            let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
            loop {
                match (pattern.next(), path.next()) {
                    (None, None) => return true,
                    (Some(part), Some(text)) if part == text || part.starts_with('{') => {}
                    _ => return false,
                }
            }
        };
        let mut routes = self.routes.iter();
        let found = routes.find(|(served, pattern)| served == method && fits(pattern));
        found.map_or(NO_ROUTE, |(_, pattern)| *pattern)
    }

    /// How long an event may take.
    fn time(&self, context: &Context) -> Duration {
        self.clock.until_ms(context.deadline).saturating_sub(MARGIN).min(GATEWAY_WAIT_MAX)
    }
}

impl<R> fmt::Debug for Serve<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve").field("routes", &self.routes.len()).finish_non_exhaustive()
    }
}

impl<R, B> Serve<R>
where
    R: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone,
    R::Error: fmt::Display,
    B: http_body::Body<Data = Bytes>,
    B::Error: fmt::Display,
{
    async fn respond(&self, request: Request<Full<Bytes>>) -> Response<Bytes> {
        let router = self.router.clone();
        let response = match router.oneshot(request).await {
            Ok(response) => response,
            Err(error) => {
                error!(%error, "the router failed");
                return refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal fault");
            }
        };
        let (head, body) = response.into_parts();
        match body.collect().await {
            Ok(body) => Response::from_parts(head, body.to_bytes()),
            Err(error) => {
                error!(%error, "an answer broke off");
                refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal fault")
            }
        }
    }
}

impl<R, B> Handler for Serve<R>
where
    R: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + Sync + 'static,
    R::Error: fmt::Display,
    B: http_body::Body<Data = Bytes>,
    B::Error: fmt::Display,
{
    async fn handle(&self, event: &RawValue, context: &Context) -> Result<Answer, Refused> {
        let watch = Stopwatch::start();
        let event: Event<'_> = serde_json::from_str(event.get()).map_err(|_| {
            Refused::new("BadEvent", "not a proxy event of an API Gateway REST API")
        })?;
        match event.caller() {
            Some(Caller::Tenant(tenant)) => {
                Span::current().record("tenant", tenant.as_str());
            }
            Some(Caller::Admin) => {
                Span::current().record("tenant", "admin");
            }
            None => {}
        }
        let (method, route, response) = match event.request() {
            Err(error) => {
                let response = refusal(StatusCode::BAD_REQUEST, &error.to_string());
                (Method::default(), NO_ROUTE, response)
            }
            Ok(request) => {
                let (method, path) = (request.method().clone(), request.uri().path());
                let route = self.route(&method, path);
                let respond = self.respond(request);
                let response = tokio::time::timeout(self.time(context), respond).await;
                (method, route, response.unwrap_or_else(|_| too_late()))
            }
        };
        let (status, duration_ms) = (response.status().as_u16(), watch.millis());
        // Only methods of the table: a client could name its own.
        let method = if route == NO_ROUTE { NO_ROUTE } else { method.as_str() };
        info!(method, route, status, duration_ms, "answered");
        answer(&Answered::of(response))
    }
}

/// A refusal of the same shape as the routers'.
fn refusal(status: StatusCode, detail: &str) -> Response<Bytes> {
    let mut response = Response::new(json!({ "detail": detail }).to_string().into());
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

fn too_late() -> Response<Bytes> {
    error!("not done in time");
    let mut response = refusal(StatusCode::SERVICE_UNAVAILABLE, "this took too long");
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

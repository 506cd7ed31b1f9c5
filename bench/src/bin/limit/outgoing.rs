//! A signed POST on a kept connection of hyper's client: the same headers as a delivery of
//! Posthaste's has, made with the same functions, and nothing around it.

use std::net::SocketAddr;

use anyhow::ensure;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderName, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use posthaste_bench::fixture;
use posthaste_domain::{EventId, SigningKey, Timestamp, standard_signature, stripe_signature};
use tokio::net::TcpStream;

const STRIPE_SIGNATURE: HeaderName = HeaderName::from_static("stripe-signature");
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const WEBHOOK_ATTEMPT: HeaderName = HeaderName::from_static("webhook-attempt");
/// Room for all headers, so that the map never grows.
const HEADERS: usize = 12;

/// A connection to a sink, with what its requests have in common.
pub(crate) struct Outgoing {
    sender: SendRequest<Full<Bytes>>,
    host: HeaderValue,
    keys: Vec<SigningKey>,
}

impl Outgoing {
    /// Connects. Needs a local task set, on which the connection is driven.
    pub(crate) async fn connect(sink: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(sink).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Its end is seen by whoever sends on it.
        tokio::task::spawn_local(connection);
        let host = HeaderValue::from_str(&sink.to_string())?;
        Ok(Self { sender, host, keys: fixture::keys(1) })
    }

    /// Signs and sends one event; fails unless it is answered with 200.
    pub(crate) async fn send(
        &mut self,
        event: EventId,
        at: Timestamp,
        body: Bytes,
    ) -> anyhow::Result<()> {
        let request = self.request(event, at, body)?;
        self.sender.ready().await?;
        let mut answer = self.sender.send_request(request).await?;
        ensure!(answer.status() == 200, "the sink said {}", answer.status());
        while let Some(frame) = answer.body_mut().frame().await {
            frame?;
        }
        Ok(())
    }

    fn request(
        &self,
        event: EventId,
        at: Timestamp,
        body: Bytes,
    ) -> anyhow::Result<Request<Full<Bytes>>> {
        let mut id = [0; EventId::TEXT_LEN];
        let mut headers = HeaderMap::with_capacity(HEADERS);
        headers.insert(HOST, self.host.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static("limit/1"));
        let stripe = stripe_signature(&self.keys, at, &body);
        headers.insert(STRIPE_SIGNATURE, HeaderValue::try_from(stripe)?);
        headers.insert(WEBHOOK_ID, HeaderValue::from_str(event.encode(&mut id))?);
        headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(at.as_secs()));
        let standard = standard_signature(&self.keys, event, at, &body);
        headers.insert(WEBHOOK_SIGNATURE, HeaderValue::try_from(standard)?);
        headers.insert(WEBHOOK_ATTEMPT, HeaderValue::from_static("1"));
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_static("/hook");
        *request.headers_mut() = headers;
        Ok(request)
    }
}

//! A real HTTP receiver that remembers every request and answers as it is told.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::now;

/// A delivery as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// `webhook-id`.
    pub(crate) event: String,
    /// `webhook-attempt`.
    pub(crate) attempt: u32,
    /// When its body was there.
    pub(crate) at: Instant,
    /// All headers.
    pub(crate) headers: HeaderMap,
    /// The body.
    pub(crate) body: Bytes,
}

/// What to answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// The status code.
    pub(crate) status: u16,
    /// More headers.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// How long to think first.
    pub(crate) delay: Duration,
}

impl Reply {
    /// This status at once.
    pub(crate) const fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), delay: Duration::ZERO }
    }
}

type Rule = dyn Fn(&Received) -> Reply + Send + Sync;

/// The receiver; stops with the test's runtime.
#[derive(Clone)]
pub(crate) struct Sink {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Sink {
    /// Answers 200 to everything.
    pub(crate) async fn healthy() -> Self {
        Self::start(|_| Reply::status(200)).await
    }

    /// Answers what `rule` says.
    pub(crate) async fn start(rule: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self::on(listener, rule)
    }

    /// The same for whoever connects to `listener`.
    pub(crate) fn on(
        listener: TcpListener,
        rule: impl Fn(&Received) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("bound");
        let received = Arc::default();
        let sink = Self { address, received };
        let accepting = sink.clone();
        let rule: Arc<Rule> = Arc::new(rule);
        #[expect(clippy::disallowed_methods, reason = "a test server")]
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (sink, rule) = (accepting.clone(), Arc::clone(&rule));
                stream.set_nodelay(true).expect("a socket");
                tokio::spawn(async move {
                    let service =
                        service_fn(move |request| sink.clone().answer(Arc::clone(&rule), request));
                    // A connection that the daemon drops is no fault.
                    drop(
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service).await,
                    );
                });
            }
        });
        sink
    }

    /// A target URL at this receiver.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// Everything received so far.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().expect("nobody panics").clone()
    }

    /// How many requests came in so far.
    pub(crate) fn count(&self) -> usize {
        self.received.lock().expect("nobody panics").len()
    }

    /// How often each event came in.
    pub(crate) fn by_event(&self) -> BTreeMap<String, Vec<Received>> {
        let mut events: BTreeMap<String, Vec<Received>> = BTreeMap::new();
        for received in self.received() {
            events.entry(received.event.clone()).or_default().push(received);
        }
        events
    }

    async fn answer(
        self,
        rule: Arc<Rule>,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await else {
            return Ok(Response::new(Full::default()));
        };
        let text = |name| head.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let received = Received {
            event: text("webhook-id").to_owned(),
            attempt: text("webhook-attempt").parse().unwrap_or(0),
            at: now(),
            body: body.to_bytes(),
            headers: head.headers.clone(),
        };
        let reply = rule(&received);
        self.received.lock().expect("nobody panics").push(received);
        tokio::time::sleep(reply.delay).await;
        let mut response = Response::builder().status(reply.status);
        for (name, value) in reply.headers {
            response = response.header(name, value);
        }
        Ok(response.body(Full::new(Bytes::from_static(b"seen"))).expect("valid headers"))
    }
}

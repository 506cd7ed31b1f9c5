//! How bodies are read: bounded in size, in time, and in sum; broken ones harm nobody.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use posthaste_api::Settings;
use tokio::sync::mpsc;

use crate::support::World;

/// A body that is fed by a test, and says what its length will be.
struct Fed {
    frames: mpsc::Receiver<Result<Frame<Bytes>, io::Error>>,
    declared: u64,
}

impl HttpBody for Fed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.frames.poll_recv(context)
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        hint.set_lower(self.declared);
        hint
    }
}

type Feeder = mpsc::Sender<Result<Frame<Bytes>, io::Error>>;

fn fed(declared: u64) -> (Feeder, Body) {
    let (feeder, frames) = mpsc::channel(100);
    (feeder, Body::new(Fed { frames, declared }))
}

async fn feed(feeder: &Feeder, text: &'static str) {
    feeder.send(Ok(Frame::data(Bytes::from_static(text.as_bytes())))).await.unwrap();
}

/// A body that must not be read.
pub(crate) struct Unread;

impl HttpBody for Unread {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        panic!("read although it was refused already");
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(10 * 1024 * 1024)
    }
}

/// For all routes with a body: a declared length over the limit is refused before it is read.
#[tokio::test]
async fn a_declared_length_over_the_limit_is_refused_unread() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    for (method, path) in [
        (http::Method::POST, "/v1/events"),
        (http::Method::POST, "/v1/events/batch"),
        (http::Method::PATCH, "/v1/tenants/acme"),
        (http::Method::POST, "/v1/admin/dlq/requeue"),
        (http::Method::POST, "/receiver/acme/webhook"),
    ] {
        let call = world.call(method, path).key(&tenant.key).body(Body::new(Unread));
        assert_eq!(call.send().await.status, 413, "{path}");
    }
    let create = world.post("/v1/tenants").key(&world.admin).body(Body::new(Unread));
    assert_eq!(create.send().await.status, 413);
    // Without a key nobody's body is read at all.
    let call = world.post("/v1/events").body(Body::new(Unread));
    assert_eq!(call.send().await.status, 401);
    assert_eq!(world.store.accepts.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn chunks_are_joined_and_trailers_dropped() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let (feeder, body) = fed(0);
    for chunk in ["{\"a\"", "", ":", "[1,2", "]}"] {
        feed(&feeder, chunk).await;
    }
    feeder.send(Ok(Frame::trailers(HeaderMap::new()))).await.unwrap();
    drop(feeder);
    let answer = world.post("/v1/events").key(&tenant.key).body(body).send().await;
    assert_eq!(answer.status, 201);
    let id = answer.json()["event_id"].as_str().unwrap().to_owned();
    let detail = world.get(&format!("/v1/events/{id}")).key(&tenant.key).send().await;
    assert!(String::from_utf8_lossy(&detail.body).contains("\"payload\":{\"a\":[1,2]},"));
}

/// An undeclared length is refused as soon as the limit is passed, not at the end.
#[tokio::test]
async fn an_undeclared_length_is_refused_at_the_limit() {
    let settings = Settings { body_bytes_max: 10, ..Settings::default() };
    let world = World::with(settings);
    // Made beside the API: its own body would be over this limit.
    let tenant = World::over(Settings::default(), world.store.clone()).tenant("acme").await;
    let (feeder, body) = fed(0);
    feed(&feeder, "{\"a\":").await;
    feed(&feeder, "123456").await;
    // The feeder stays open: the answer does not wait for the end.
    let answer = world.post("/v1/events").key(&tenant.key).body(body).send().await;
    assert_eq!(answer.status, 413);
    drop(feeder);
    assert_eq!(world.store.accepts.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_refused() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let (feeder, body) = fed(0);
    feed(&feeder, "{\"a\":1}").await;
    feeder.send(Err(io::Error::other("reset by peer"))).await.unwrap();
    let answer = world.post("/v1/events").key(&tenant.key).body(body).send().await;
    assert_eq!((answer.status, &answer.detail()[..]), (400, "the body broke off"));
    let list = world.get("/v1/events").key(&tenant.key).send().await;
    assert_eq!(list.json()["total_count"], 0);
}

/// For all bodies that stall, whatever came before: 408 after ten seconds, and the connection is
/// given up.
#[tokio::test(start_paused = true)]
async fn a_stalled_body_times_out() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    for path in ["/v1/events", "/v1/events/batch", "/receiver/acme/webhook"] {
        let (feeder, body) = fed(0);
        feed(&feeder, "{").await;
        let began = tokio::time::Instant::now();
        let answer = world.post(path).key(&tenant.key).body(body).send().await;
        assert_eq!(answer.status, 408, "{path}");
        assert_eq!(answer.header("connection"), "close");
        assert_eq!(began.elapsed(), Duration::from_secs(10));
        drop(feeder);
    }
    assert_eq!(world.store.accepts.load(Ordering::SeqCst), 0);
}

/// The sum of all bodies is bounded: beyond it a request is told to come back, and the others
/// are not disturbed.
#[tokio::test]
async fn bodies_in_sum_are_bounded() {
    let settings = Settings { bodies_bytes_max: 100, ..Settings::default() };
    let world = Arc::new(World::with(settings));
    let tenant = World::over(Settings::default(), world.store.clone()).tenant("acme").await;
    let (feeder, body) = fed(0);
    let call = world.post("/v1/events").key(&tenant.key).body(body);
    let mut slow = tokio::task::JoinSet::new();
    slow.spawn(call.send());
    feed(&feeder, "{\"sixty\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx").await;
    let post = async |bytes: usize| {
        let body = format!("{{\"a\":\"{}\"}}", "x".repeat(bytes));
        world.post("/v1/events").key(&tenant.key).body(body).send().await.status
    };
    // Until the slow body has been read so far, there is room.
    while post(40).await == 201 {
        tokio::task::yield_now().await;
    }
    assert_eq!(post(40).await, 503);
    assert_eq!(post(10).await, 201);
    feed(&feeder, "\"}").await;
    drop(feeder);
    assert_eq!(slow.join_all().await[0].status, 201);
    assert_eq!(post(40).await, 201);
}

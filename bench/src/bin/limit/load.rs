//! The child's side: a sink like the one that `measure` has, and a generator that posts on kept
//! connections, both on a runtime of two threads, as they are there.

use std::io::BufRead as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use posthaste_bench::fixture;
use posthaste_bench::sink::{self, Received};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// As long as one of Posthaste's: a proxy has to read it all the same.
const AUTHORIZATION_VALUE: HeaderValue =
    HeaderValue::from_static("Bearer none-of-yours-0000000000000000000000000000000000000000");

/// What is posted where.
#[derive(Clone)]
struct Order {
    target: SocketAddr,
    events: u64,
    connections: u64,
    payload: Bytes,
}

/// Serves and obeys until the input ends.
pub(crate) fn serve() -> anyhow::Result<()> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build()?;
    let received = Arc::new(Received::default());
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    println!("sink {}", listener.local_addr()?);
    let mut sinks = JoinSet::new();
    sinks.spawn_on(sink::serve(listener, Arc::clone(&received)), runtime.handle());
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["post", target, events, connections, payload] => {
                let order = Order {
                    target: target.parse()?,
                    events: events.parse()?,
                    connections: connections.parse()?,
                    payload: fixture::payload(payload.parse()?),
                };
                let started = Instant::now();
                runtime.block_on(post(&order))?;
                println!("posted {}", started.elapsed().as_micros());
            }
            ["count"] => println!(
                "count {} {}",
                received.requests.load(Ordering::Relaxed),
                received.refused.load(Ordering::Relaxed)
            ),
            _ => bail!("not an order: {line}"),
        }
    }
    Ok(())
}

async fn post(order: &Order) -> anyhow::Result<()> {
    let next = Arc::new(AtomicU64::new(0));
    let mut posters = JoinSet::new();
    for _ in 0..order.connections {
        posters.spawn(post_some(order.clone(), Arc::clone(&next)));
    }
    while let Some(done) = posters.join_next().await {
        done??;
    }
    Ok(())
}

async fn post_some(order: Order, next: Arc<AtomicU64>) -> anyhow::Result<()> {
    let stream = TcpStream::connect(order.target).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let host = HeaderValue::from_str(&order.target.to_string())?;
    while next.fetch_add(1, Ordering::Relaxed) < order.events {
        let request = Request::post("/v1/events")
            .header(HOST, host.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(AUTHORIZATION, AUTHORIZATION_VALUE)
            .body(Full::new(order.payload.clone()))?;
        sender.ready().await?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        ensure!(status == 201, "{status}: {body:?}");
        // As `measure` reads it, to know which event to expect.
        let json: serde_json::Value = serde_json::from_slice(&body)?;
        ensure!(json["event_id"].is_string(), "no event id");
    }
    drop(sender);
    driver.join_next().await.context("no connection")???;
    Ok(())
}

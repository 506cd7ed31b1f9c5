//! Crash point 40, names: our own resolver is down, which is no endpoint's fault.

use std::net::{Ipv4Addr, SocketAddr};

use posthaste_domain::{EventStatus, RowKey};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::world::{Node, World, figure};
use crate::support::daemon::Daemon;
use crate::support::eventually;
use crate::support::sink::Sink;

/// How a query asks for an IPv4 address: type A, class IN.
const IPV4: [u8; 4] = [0, 1, 0, 1];
/// So many tenants, each with a host of its own.
const TENANTS: usize = 4;

/// Answers every question for an IPv4 address with loopback, and every other with nothing.
fn answer(query: &[u8]) -> Vec<u8> {
    let labels = query[12..].iter().position(|byte| *byte == 0).expect("a name ends");
    let end = 12 + labels + 1 + 4;
    let is_ipv4 = query[end - 4..end] == IPV4;
    let mut answer = query[..end].to_vec();
    // A response without an error; one question, at most one answer, nothing else.
    answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_ipv4), 0, 0, 0, 0]);
    if is_ipv4 {
        // The question's name, the same type and class, 60 s, four bytes.
        answer.extend([0xC0, 12]);
        answer.extend(IPV4);
        answer.extend([0, 0, 0, 60, 0, 4]);
        answer.extend(Ipv4Addr::LOCALHOST.octets());
    }
    answer
}

/// A name server; it ends when this is dropped.
async fn name_server(address: SocketAddr) -> JoinSet<()> {
    let socket = UdpSocket::bind(address).await.expect("the port is free again");
    let mut server = JoinSet::new();
    server.spawn(async move {
        let mut query = [0; 1500];
        while let Ok((length, peer)) = socket.recv_from(&mut query).await {
            drop(socket.send_to(&answer(&query[..length]), peer).await);
        }
    });
    server
}

/// Attempts that came to nothing for want of a name.
async fn nameless(daemon: &Daemon) -> f64 {
    daemon.metric("posthaste_attempts_total", "result=\"dns_unavailable\"").await
}

/// 40: nothing answers on the name server's port. What fails for it is the endpoints' fault only as
/// long as it could be: one name alone. With the name server back, everything is delivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_40_our_name_server_is_down() {
    let sink = Sink::healthy().await;
    let world = World::start().await;
    let port = sink.url("hook").rsplit(':').next().expect("a port").to_owned();
    let names: Vec<String> = (0..TENANTS).map(|n| format!("tenant-{n}")).collect();
    for name in &names {
        world.add_tenant(name, &format!("http://{name}.hooks.example:{port}")).await;
    }
    // Holds the port, and hears nobody but the one it is connected to.
    let deaf = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    deaf.connect("127.0.0.2:9").await.expect("nobody is asked");
    let address = deaf.local_addr().expect("bound");
    let node = Node::new(&world).await.with("delivery.resolvers", address).with("engine.shards", 1);
    let daemon = node.start().await;
    let mut events: Vec<RowKey> = Vec::new();
    for name in &names {
        events.push(world.accept_of(name, b"{}").await);
    }
    eventually("names are asked for in vain", async || nameless(&daemon).await >= 6.0).await;
    let mut charged = 0;
    for event in &events {
        charged += world.row(event).await.attempts;
    }
    assert!(charged <= 1, "{charged} attempts charged");
    assert_eq!(sink.count(), 0);
    drop(deaf);
    let _server = name_server(address).await;
    for event in &events {
        world.until_row(event, "delivered", |row| row.status == EventStatus::Delivered).await;
    }
    assert_eq!(sink.by_event().len(), TENANTS);
    let written = figure(&daemon, "outcomes_written").await;
    assert!(written <= TENANTS as u64 + 1, "{written} outcomes of {TENANTS} events");
}

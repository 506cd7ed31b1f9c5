//! Crash point 40, egress: our own network is down, which is no endpoint's fault.

use posthaste_domain::{EventStatus, RowKey};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Duration, timeout};

use super::world::{Node, World, figure};
use crate::support::eventually;
use crate::support::sink::{Reply, Sink};

/// So many tenants, each with an address of its own.
const TENANTS: usize = 12;
/// Silent addresses that are still taken for dead ones.
const TAKEN_FOR_DEAD: usize = 7;

/// Listens at all addresses of this machine, and nobody gets an answer: a full queue drops what
/// comes. With what fills it.
async fn silent() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("0.0.0.0:0".parse().expect("an address")).expect("a free port");
    let listener = socket.listen(1).expect("listening");
    let port = listener.local_addr().expect("bound").port();
    let mut fillers = Vec::new();
    let patience = Duration::from_millis(200);
    while let Ok(Ok(filler)) = timeout(patience, TcpStream::connect(("127.0.0.1", port))).await {
        fillers.push(filler);
        assert!(fillers.len() < 100, "the queue never fills");
    }
    (listener, fillers)
}

/// 40: nothing that is sent comes back. The first few are taken for dead, all the others cost no
/// attempt, however long it takes; with the network back, everything is delivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_40_our_egress_is_down() {
    let (listener, fillers) = silent().await;
    let port = listener.local_addr().expect("bound").port();
    let world = World::start().await;
    let names: Vec<String> = (0..TENANTS).map(|n| format!("tenant-{n}")).collect();
    for (number, name) in (1..).zip(&names) {
        world.add_tenant(name, &format!("http://127.0.1.{number}:{port}/hook")).await;
    }
    let node = Node::new(&world).await.with("delivery.connect-timeout", "100ms");
    let node = node.with("engine.shards", 1);
    let daemon = node.start().await;
    let mut events: Vec<RowKey> = Vec::new();
    for name in &names {
        events.push(world.accept_of(name, b"{}").await);
    }
    let in_vain = "result=\"connect_timeout\"";
    eventually("everybody is tried several times in vain", async || {
        daemon.metric("posthaste_attempts_total", in_vain).await >= 3.0 * TENANTS as f64
    })
    .await;
    let mut charged = 0;
    for event in &events {
        charged += world.row(event).await.attempts;
    }
    assert!(charged as usize <= TAKEN_FOR_DEAD, "{charged} attempts charged");
    let written = figure(&daemon, "outcomes_written").await;
    assert!(written <= TAKEN_FOR_DEAD as u64, "{written} outcomes");
    // A queue this short would drop some of those who come back together, which is no outage.
    rustix::net::listen(&listener, 1_024).expect("a longer queue");
    drop(fillers);
    let sink = Sink::on(listener, |_| Reply::status(200));
    for event in &events {
        world.until_row(event, "delivered", |row| row.status == EventStatus::Delivered).await;
    }
    assert_eq!(sink.by_event().len(), TENANTS);
}

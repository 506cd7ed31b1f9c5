//! Receivers that misbehave, beside one that does not: theirs fail with a name, its own arrive.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::support::daemon::{Daemon, Home, Setup};
use crate::support::eventually;
use crate::support::sink::Sink;

/// A way to misbehave: what is done with a connection once the request's head is there.
type Misbehaviour = fn(&mut TcpStream);

const CASES: [(&str, &str, Misbehaviour); 9] = [
    ("never-answers", "timeout", |stream| hold(stream)),
    ("drips-head", "timeout", |stream| drip(stream, b"HTTP/1.1 200 OK\r\nX-Slow: aaaaaaaaaaaaaaa")),
    ("endless-headers", "protocol_error", |stream| {
        say(stream, b"HTTP/1.1 200 OK\r\n");
        while say(stream, b"X-More: and more and more and more\r\n") {}
    }),
    ("closes-early", "connection_closed", |_| {}),
    ("no-http", "protocol_error", |stream| {
        say(stream, b"SSH-2.0-OpenSSH_9.2\r\n\r\n");
    }),
    ("redirects", "redirect", |stream| {
        say(
            stream,
            b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://169.254.169.254/\r\n\
              Content-Length: 0\r\n\r\n",
        );
    }),
    ("server-error", "server_error", |stream| {
        say(stream, b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n");
    }),
    ("half-a-head", "connection_closed", |stream| {
        say(stream, b"HTTP/1.1 200 OK\r\nContent-Le");
    }),
    ("two-lengths", "protocol_error", |stream| {
        say(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab");
    }),
];

/// For all misbehaving receivers: a named failure within the deadline, nothing lost, and the
/// healthy tenant beside them does not notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn misbehaving_receivers_fail_by_name_and_harm_nobody() {
    let home = Home::new();
    let setup = Setup::default()
        .with("delivery.attempt-timeout", "1s")
        .with("delivery.connect-timeout", "500ms")
        .with("retry.attempts-max", 1);
    let daemon = Daemon::start(&home, &setup).await;
    let healthy = Sink::healthy().await;
    let good = daemon.tenant("healthy", &healthy.url("hook")).await;
    let mut bad = Vec::new();
    for (name, class, misbehave) in CASES {
        let key = daemon.tenant(name, &format!("http://{}/", misbehaving(misbehave))).await;
        let answer = daemon.client(&key).post("/v1/events", "{}").await.expect("an answer");
        assert_eq!(answer.status, 201);
        bad.push((name, class, key));
        daemon.client(&good).post("/v1/events", "{}").await.expect("an answer");
    }
    eventually("the healthy tenant's events arrive", async || healthy.count() == CASES.len()).await;
    for (name, class, key) in bad {
        let letter = dead_letter(&daemon, &key, name).await;
        let event = letter["body"]["eventId"].as_str().expect("an id");
        let detail =
            daemon.client(&key).get(&format!("/v1/events/{event}")).await.expect("an answer");
        let attempt = detail.json()["event"]["attempt_log"][0].take();
        assert_eq!(attempt["error_class"], class, "{name}: {attempt:#}");
        assert!(attempt["duration_ms"].as_u64().unwrap() <= 1500, "{name}: {attempt:#}");
    }
}

/// A 2xx whose body never ends is a delivery: the receiver has said yes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_body_after_a_2xx_is_delivered_and_cut_off() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &Setup::default()).await;
    let target = misbehaving(|stream| {
        say(stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while say(stream, b"5\r\nhello\r\n") {}
    });
    let key = daemon.tenant("endless", &format!("http://{target}/")).await;
    let mut client = daemon.client(&key);
    client.post("/v1/events", "{}").await.expect("an answer");
    eventually("delivered", async || {
        client.get("/v1/events?status=DELIVERED").await.expect("an answer").json()["total_count"]
            == 1
    })
    .await;
}

async fn dead_letter(daemon: &Daemon, key: &str, name: &str) -> Value {
    let mut client = daemon.client(key);
    let mut letter = Value::Null;
    eventually(name, async || {
        let list = client.get("/v1/admin/dlq/messages").await.expect("an answer").json();
        letter = list["messages"][0].clone();
        letter.is_object()
    })
    .await;
    letter
}

/// A server on a thread of its own that treats each connection as told.
fn misbehaving(misbehave: Misbehaviour) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut head = [0; 4096];
                if stream.read(&mut head).is_ok_and(|n| n > 0) {
                    misbehave(&mut stream);
                }
            });
        }
    });
    address
}

/// Whether the other side still takes bytes.
fn say(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    stream.write_all(bytes).is_ok()
}

/// Keeps the connection until the other side gives it up.
fn hold(stream: &mut TcpStream) {
    while stream.read(&mut [0; 256]).is_ok_and(|n| n > 0) {}
}

/// One byte every 100 ms.
fn drip(stream: &mut TcpStream, bytes: &[u8]) {
    for byte in bytes {
        if !say(stream, &[*byte]) {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    hold(stream);
}

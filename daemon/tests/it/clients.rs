//! Clients that misbehave, over real sockets: each gets one clear answer or none, nothing of it is
//! stored, and whoever behaves does not notice.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::support::daemon::{Daemon, Home, Setup};
use crate::support::now;
use crate::support::sink::Sink;

const HEADER_TIMEOUT: Duration = Duration::from_millis(500);
const BODY_TIMEOUT: Duration = Duration::from_millis(700);
/// A busy test machine is late.
const LATE: Duration = Duration::from_secs(5);

/// Sends bytes as they are; gives everything that comes back until the connection ends.
fn exchange(address: SocketAddr, sent: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(LATE * 2)).expect("a socket");
    stream.write_all(sent.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the server ends the connection in time");
    String::from_utf8_lossy(&answer).into_owned()
}

fn statuses(answer: &str) -> Vec<&str> {
    answer.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)).collect()
}

/// For all ways to send a request badly: the status that says so, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_are_refused_and_leave_nothing_behind() {
    let home = Home::new();
    let setup = Setup::default()
        .with("server.header-timeout", format!("{}ms", HEADER_TIMEOUT.as_millis()))
        .with("server.body-timeout", format!("{}ms", BODY_TIMEOUT.as_millis()));
    let daemon = Daemon::start(&home, &setup).await;
    let sink = Sink::healthy().await;
    let key = daemon.tenant("acme", &sink.url("hook")).await;
    let head = format!("POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n");
    let post = |rest: &str| format!("{head}{rest}");
    let cases: [(&str, String, &[&str]); 8] = [
        ("half a head", head.clone(), &[]),
        ("not HTTP", "SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned(), &["400"]),
        ("10 MiB declared, one byte sent", post("Content-Length: 10485760\r\n\r\n{"), &["413"]),
        ("less than declared", post("Content-Length: 9\r\n\r\n{"), &["408"]),
        ("no number", post("Content-Length: nine\r\n\r\n{}"), &["400"]),
        ("two lengths", post("Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"), &["400"]),
        (
            "a request smuggled behind a length",
            post(&format!(
                "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{head}\
                 Content-Length: 2\r\n\r\n{{}}"
            )),
            &["400"],
        ),
        ("a broken chunk", post("Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n"), &["400"]),
    ];
    for (name, sent, expected) in cases {
        let address = daemon.api;
        let start = now();
        let answer = tokio::task::spawn_blocking(move || exchange(address, &sent)).await;
        let answer = answer.expect("no panic");
        assert_eq!(statuses(&answer), expected, "{name}: {answer}");
        let most = HEADER_TIMEOUT.max(BODY_TIMEOUT) + LATE;
        assert!(start.elapsed() <= most, "{name} took {:?}", start.elapsed());
    }
    let mut client = daemon.client(&key);
    let list = client.get("/v1/events").await.expect("an answer").json();
    assert_eq!(list["total_count"], 0, "{list}");
    assert_eq!(sink.count(), 0);
}

/// For all requests that are answered before they are whole: a client reads the answer, and can
/// send on behind the server's end; its connection is not reset.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_in_the_middle_of_a_request_arrives() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &Setup::default()).await;
    let key = daemon.tenant("acme", "https://example.com/").await;
    let post = "POST /v1/events HTTP/1.1\r\nHost: x\r\n";
    for (name, start, status) in [
        (
            "body",
            format!("{post}Authorization: Bearer {key}\r\nContent-Length: 10485760\r\n\r\n{{"),
            "413",
        ),
        ("caller", format!("{post}Content-Length: 10000\r\n\r\n{{"), "401"),
        ("head", format!("{post}X: {}", "x".repeat(1 << 20)), "431"),
    ] {
        let address = daemon.api;
        let talk = tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).expect("a connection");
            stream.set_read_timeout(Some(LATE * 2)).expect("a socket");
            stream.write_all(start.as_bytes()).expect("sent");
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).expect("an orderly end");
            // The first would be answered by a reset, and a later one would fail by it.
            for _ in 0..10 {
                stream.write_all(&[b'x'; 900]).expect("sent behind the answer");
            }
            String::from_utf8_lossy(&answer).into_owned()
        });
        let answer = talk.await.expect("no panic");
        assert_eq!(statuses(&answer), [status], "{name}: {answer}");
    }
}

/// A kept-alive connection lives on beyond the time of a head, and ends when it has been idle for
/// too long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_outlives_the_time_of_a_head() {
    let idle = Duration::from_millis(900);
    let home = Home::new();
    let setup = Setup::default()
        .with("server.header-timeout", "100ms")
        .with("server.idle-timeout", format!("{}ms", idle.as_millis()));
    let daemon = Daemon::start(&home, &setup).await;
    let address = daemon.api;
    let start = now();
    let request = "GET /receiver/health HTTP/1.1\r\nHost: x\r\n\r\n";
    let answer = tokio::task::spawn_blocking(move || exchange(address, request)).await;
    assert_eq!(statuses(&answer.expect("no panic")), ["200"]);
    let lived = start.elapsed();
    assert!(lived >= idle && lived <= idle + LATE, "closed after {lived:?}");
}

/// Connections that are held for nothing keep nobody out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_keep_nobody_out() {
    let home = Home::new();
    let setup = Setup::default()
        .with("server.header-timeout", format!("{}ms", HEADER_TIMEOUT.as_millis()))
        .with("server.connections-max", 50);
    let daemon = Daemon::start(&home, &setup).await;
    let key = daemon.tenant("acme", "https://example.com/").await;
    // As many as are allowed at the same time, each with half a head.
    let held: Vec<TcpStream> = (0..50)
        .map(|_| {
            let mut stream = TcpStream::connect(daemon.api).expect("a connection");
            stream.write_all(b"POST /v1/events HTTP/1.1\r\nHos").expect("sent");
            stream
        })
        .collect();
    let start = now();
    let answer = daemon.client(&key).get("/v1/events").await.expect("an answer");
    assert_eq!(answer.status, 200);
    assert!(start.elapsed() <= HEADER_TIMEOUT + LATE, "waited {:?}", start.elapsed());
    drop(held);
}

//! The pool: when a connection serves again, when it must not, and what happens when it breaks.

use std::rc::Rc;
use std::time::Duration;

use posthaste_delivery::{Client, Settings};
use posthaste_domain::{ErrorClass, Verdict};

use crate::support::{
    Names, OK, Server, Step, TestClock, answering, attempt, client, clock, endpoint, failed,
    not_charged, request, run, send, settings, spawn,
};

const OK_CLOSE: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";

fn client_with_clock(settings: Settings) -> (Client, Rc<TestClock>) {
    let clock = clock();
    (Client::with_resolver(settings, clock.clone(), Names::new()).unwrap(), clock)
}

async fn deliver(client: &Client, server: &Server) {
    let made = attempt(client, &server.url()).await;
    assert_eq!(made.verdict, Verdict::Delivered, "{made:?}");
}

#[test]
fn a_connection_serves_many_attempts() {
    run(async {
        let server = Server::start(answering(OK)).await;
        let client = client(settings());
        for number in 0..20 {
            let made = attempt(&client, &server.url()).await;
            assert_eq!((made.verdict, made.phases.reused), (Verdict::Delivered, number > 0));
        }
        assert_eq!((server.seen.connections.get(), server.seen.request_count()), (1, 20));
        let stats = client.stats();
        assert_eq!((stats.connections_open, stats.connections_idle), (1, 1));
        assert_eq!((stats.connections_opened, stats.connections_reused), (1, 19));
        assert_eq!(stats.requests_resent, 0);
    });
}

/// Chunked answers, answers without a body and failures leave the connection fit for use, too.
#[test]
fn every_whole_answer_leaves_the_connection_open() {
    run(async {
        let answers = [
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nT: x\r\n\r\n",
            "HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops",
            "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: /\r\n\r\n",
            "HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ];
        let script = answers.iter().flat_map(|answer| answering(answer)).collect();
        let server = Server::start(script).await;
        let client = client(settings());
        for _ in 0..2 * answers.len() {
            attempt(&client, &server.url()).await;
        }
        assert_eq!(server.seen.connections.get(), 1);
        assert_eq!(server.seen.request_count(), 2 * answers.len());
    });
}

/// After each of these answers the connection is not used again.
#[test]
fn answers_that_cost_the_connection() {
    run(async {
        let large =
            format!("HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n{}", "x".repeat(70_000));
        for answer in [
            OK_CLOSE,
            "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
            // More than one answer, or bytes after it.
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok!",
            "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok",
            // Both lengths: how answers are smuggled.
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            // Beyond the cap.
            &large,
        ] {
            let server = Server::start(answering(answer)).await;
            let client = client(settings());
            for _ in 0..2 {
                attempt(&client, &server.url()).await;
                assert_eq!(client.stats().connections_open, 0, "{answer:.60}");
            }
            let seen = (server.seen.connections.get(), server.seen.request_count());
            assert_eq!(seen, (2, 2), "{answer:.60}");
        }
    });
}

/// For answers up to the cap the connection stays, one byte more costs it.
#[test]
fn the_body_cap_is_exact() {
    run(async {
        for (bytes, connections) in [(1000, 1), (1001, 2)] {
            let answer =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n{}", "x".repeat(bytes));
            let server = Server::start(answering(&answer)).await;
            let client = client(Settings { response_body_bytes_max: 1000, ..settings() });
            deliver(&client, &server).await;
            deliver(&client, &server).await;
            assert_eq!(server.seen.connections.get(), connections, "{bytes}");
        }
    });
}

/// A connection that its peer closed while it was idle is not used, and nothing is sent twice.
#[test]
fn a_connection_closed_while_idle_is_replaced() {
    run(async {
        for end in [Step::Fin, Step::Rst] {
            let first = vec![Step::Read, send(OK), end];
            let server = Server::with_scripts(vec![first, answering(OK)]).await;
            let client = client(settings());
            deliver(&client, &server).await;
            server.seen.until(|seen| seen.closed.get() == 1).await;
            let made = attempt(&client, &server.url()).await;
            assert_eq!((made.verdict, made.phases.reused), (Verdict::Delivered, false));
            assert_eq!((server.seen.connections.get(), server.seen.request_count()), (2, 2));
            assert_eq!(client.stats().requests_resent, 0);
        }
    });
}

/// A response that is already there before the request belongs to no request: the connection is
/// dropped, and the second attempt gets its own answer.
#[test]
fn a_response_sent_in_advance_is_not_taken() {
    run(async {
        let first = vec![
            Step::Read,
            send(OK),
            Step::Drip(OK.as_bytes().to_vec(), Duration::ZERO),
            Step::Hold,
        ];
        let refusal = answering("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n");
        let server = Server::with_scripts(vec![first, refusal]).await;
        let client = client(settings());
        deliver(&client, &server).await;
        // The client has closed once it has seen the stray bytes.
        while client.stats().connections_open > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            client_sweep(&client);
        }
        let made = attempt(&client, &server.url()).await;
        assert_eq!(made.verdict, failed(ErrorClass::ServerError), "{made:?}");
        assert_eq!(server.seen.connections.get(), 2);
    });
}

/// Looks at the idle connections as an attempt would, without making one.
fn client_sweep(client: &Client) {
    client.maintain();
}

/// A reused connection that breaks without a byte of response: the request goes out once more,
/// the same one, as the same attempt.
#[test]
fn a_request_lost_on_a_reused_connection_is_sent_again() {
    run(async {
        for end in [Step::Fin, Step::Rst] {
            let first = vec![Step::Read, send(OK), Step::Read, end];
            let server = Server::with_scripts(vec![first, answering(OK)]).await;
            let (client, clock) = client_with_clock(settings());
            deliver(&client, &server).await;
            // Time passes between the two, so that a signature made anew would show.
            let seen = Rc::clone(&server.seen);
            let passing = spawn(async move {
                seen.until(|seen| seen.request_count() == 2).await;
                clock.advance(Duration::from_secs(2));
            });
            let made = attempt(&client, &server.url()).await;
            passing.await.unwrap();
            assert!(made.phases.total_us >= 2_000_000, "time did not pass: {:?}", made.phases);
            assert_eq!((made.verdict, made.phases.reused), (Verdict::Delivered, false), "{made:?}");
            assert_eq!((server.seen.connections.get(), server.seen.request_count()), (2, 3));
            assert_eq!(client.stats().requests_resent, 1);
            let requests = server.seen.requests.borrow();
            assert_eq!(requests[1].headers, requests[2].headers);
            assert_eq!(requests[1].body, requests[2].body);
        }
    });
}

#[test]
fn a_request_is_sent_again_only_once() {
    run(async {
        let first = vec![Step::Read, send(OK), Step::Read, Step::Fin];
        let server = Server::with_scripts(vec![first, vec![Step::Read, Step::Fin]]).await;
        let client = client(settings());
        deliver(&client, &server).await;
        let made = attempt(&client, &server.url()).await;
        assert_eq!(made.verdict, failed(ErrorClass::ConnectionClosed), "{made:?}");
        assert_eq!((server.seen.connections.get(), server.seen.request_count()), (2, 3));
    });
}

#[test]
fn a_request_lost_on_a_fresh_connection_is_not_sent_again() {
    run(async {
        let server = Server::start(vec![Step::Read, Step::Fin]).await;
        let client = client(settings());
        let made = attempt(&client, &server.url()).await;
        assert_eq!(made.verdict, failed(ErrorClass::ConnectionClosed), "{made:?}");
        assert_eq!((server.seen.connections.get(), server.seen.request_count()), (1, 1));
    });
}

/// One byte of response is enough to know that the request arrived.
#[test]
fn a_request_that_was_answered_in_part_is_not_sent_again() {
    run(async {
        for part in ["H", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 200 OK\r\nX: "] {
            let first = vec![Step::Read, send(OK), Step::Read, send(part), Step::Fin];
            let server = Server::with_scripts(vec![first, answering(OK)]).await;
            let client = client(settings());
            deliver(&client, &server).await;
            let made = attempt(&client, &server.url()).await;
            assert_eq!(made.verdict, failed(ErrorClass::ConnectionClosed), "{part:?}: {made:?}");
            assert_eq!(server.seen.request_count(), 2, "{part:?}");
            assert_eq!(client.stats().requests_resent, 0);
        }
    });
}

/// Silence is no break: who does not answer may still be at work on the event.
#[test]
fn a_request_that_times_out_on_a_reused_connection_is_not_sent_again() {
    run(async {
        let server = Server::start(vec![Step::Read, send(OK), Step::Read, Step::Hold]).await;
        let short = Settings {
            attempt_timeout_ms: 500,
            connect_timeout_ms: 500,
            dns_timeout_ms: 500,
            ..settings()
        };
        let client = client(short);
        deliver(&client, &server).await;
        let made = attempt(&client, &server.url()).await;
        assert_eq!((made.verdict, made.phases.reused), (failed(ErrorClass::Timeout), true));
        assert_eq!(server.seen.request_count(), 2);
        assert_eq!(client.stats().connections_open, 0);
    });
}

/// Two attempts at the same time take two connections; afterwards both rest, and the one that was
/// used last serves first.
#[test]
fn the_newest_connection_is_reused_first() {
    run(async {
        let server = Server::start(answering(OK)).await;
        let client = Rc::new(client(settings()));
        let beside = (Rc::clone(&client), server.url());
        let other = spawn(async move {
            attempt(&beside.0, &beside.1).await;
        });
        deliver(&client, &server).await;
        other.await.unwrap();
        assert_eq!(client.stats().connections_idle, 2);
        for _ in 0..5 {
            deliver(&client, &server).await;
        }
        let requests = server.seen.requests.borrow();
        let last = requests[2].connection;
        assert!(requests[2..].iter().all(|request| request.connection == last));
        assert_eq!(server.seen.connections.get(), 2);
    });
}

/// Two endpoints of one target share connections; another port, host or scheme does not.
#[test]
fn connections_belong_to_scheme_host_and_port() {
    run(async {
        let server = Server::start(answering(OK)).await;
        let other = Server::start(answering(OK)).await;
        let client = client(settings());
        for path in ["/a", "/b?c=d"] {
            let url = format!("http://{}{path}", server.address);
            assert_eq!(attempt(&client, &url).await.verdict, Verdict::Delivered);
        }
        assert_eq!(server.seen.connections.get(), 1);
        deliver(&client, &other).await;
        assert_eq!((other.seen.connections.get(), client.stats().connections_idle), (1, 2));
    });
}

#[test]
fn idle_connections_grow_old() {
    run(async {
        let server = Server::start(answering(OK)).await;
        let (client, clock) = client_with_clock(settings());
        deliver(&client, &server).await;
        clock.advance(Duration::from_millis(29_000));
        client.maintain();
        assert_eq!(client.stats().connections_open, 1);
        clock.advance(Duration::from_millis(1_001));
        let made = attempt(&client, &server.url()).await;
        assert_eq!((made.verdict, made.phases.reused), (Verdict::Delivered, false));
        clock.advance(Duration::from_secs(31));
        client.maintain();
        assert_eq!(client.stats().connections_open, 0);
    });
}

#[test]
fn maintenance_drops_what_the_peer_closed() {
    run(async {
        let server = Server::start(vec![Step::Read, send(OK), Step::Fin]).await;
        let (client, clock) = client_with_clock(settings());
        deliver(&client, &server).await;
        server.seen.until(|seen| seen.closed.get() == 1).await;
        while client.stats().connections_open > 0 {
            // The FIN is on its way through loopback.
            tokio::task::yield_now().await;
            clock.advance(Duration::from_secs(2));
            assert!(clock_is_before_idle_timeout(&clock), "never dropped");
            client.maintain();
        }
    });
}

fn clock_is_before_idle_timeout(clock: &TestClock) -> bool {
    use posthaste_delivery::Clock as _;
    clock.monotonic_us() < 29_000_000
}

#[test]
fn a_target_keeps_only_so_many_idle_connections() {
    run(async {
        let server = Server::start(answering(OK)).await;
        let client = Rc::new(client(Settings { idle_per_target_max: 3, ..settings() }));
        let mut tasks = Vec::new();
        for _ in 0..10 {
            let (client, url) = (Rc::clone(&client), server.url());
            tasks.push(spawn(async move {
                assert_eq!(attempt(&client, &url).await.verdict, Verdict::Delivered);
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(server.seen.connections.get(), 10);
        let stats = client.stats();
        assert_eq!((stats.connections_open, stats.connections_idle), (3, 3));
    });
}

/// At the limit of open connections the oldest idle ones make room; where all are in use, the
/// attempt is not charged.
#[test]
fn the_limit_of_open_connections_holds() {
    run(async {
        let mut servers = Vec::new();
        for _ in 0..8 {
            servers.push(Server::start(answering(OK)).await);
        }
        let client = Rc::new(client(Settings { connections_max: 4, ..settings() }));
        for server in &servers {
            deliver(&client, server).await;
            assert!(client.stats().connections_open <= 4);
        }
        // The newest is still there.
        let made = attempt(&client, &servers[7].url()).await;
        assert!(made.phases.reused);
        let silent = Server::start(vec![Step::Read, Step::Hold]).await;
        let mut tasks = Vec::new();
        for _ in 0..4 {
            let (client, url) = (Rc::clone(&client), silent.url());
            tasks.push(spawn(async move {
                attempt(&client, &url).await;
            }));
        }
        silent.seen.until(|seen| seen.request_count() == 4).await;
        let made = attempt(&client, &servers[0].url()).await;
        assert_eq!(made.verdict, not_charged(ErrorClass::LocalResource), "{made:?}");
        for task in &tasks {
            task.abort();
        }
        for task in tasks {
            assert!(task.await.unwrap_err().is_cancelled());
        }
        // What was given up is closed, and there is room again.
        deliver(&client, &servers[0]).await;
        assert_eq!(client.stats().connections_open, 1);
    });
}

#[test]
fn a_closed_client_charges_nothing() {
    run(async {
        let server = Server::start(answering(OK)).await;
        let client = client(settings());
        deliver(&client, &server).await;
        client.close();
        assert_eq!(client.stats().connections_open, 0);
        let made = client.attempt(&endpoint(&server.url()), request("{}")).await;
        assert_eq!(made.verdict, not_charged(ErrorClass::ShuttingDown));
        assert_eq!(server.seen.request_count(), 1);
    });
}

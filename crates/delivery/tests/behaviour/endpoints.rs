//! Endpoints that misbehave: each ends as one expected verdict, by the deadline, and the same
//! client goes on serving a good endpoint.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use posthaste_delivery::{Client, Settings};
use posthaste_domain::{Attempt, ErrorClass, Verdict};

use crate::support::{
    OK, Server, Step, answering, attempt, client, endpoint, failed, not_charged, request, run,
    send, settings, spawn,
};

/// One way to answer, and what it must come to.
struct Case {
    name: &'static str,
    script: Vec<Step>,
    verdict: Verdict,
    status: Option<u16>,
}

fn case(
    name: &'static str,
    answer: impl AsRef<[u8]>,
    verdict: Verdict,
    status: Option<u16>,
) -> Case {
    Case { name, script: vec![Step::Read, send(answer), Step::Fin], verdict, status }
}

fn delivered(name: &'static str, answer: impl AsRef<[u8]>) -> Case {
    case(name, answer, Verdict::Delivered, Some(200))
}

fn no_http(name: &'static str, answer: impl AsRef<[u8]>) -> Case {
    case(name, answer, failed(ErrorClass::ProtocolError), None)
}

fn scripted(name: &'static str, script: Vec<Step>, verdict: Verdict, status: Option<u16>) -> Case {
    Case { name, script, verdict, status }
}

/// Runs all cases at once against one client, beside attempts to a good endpoint, and then once
/// more to the good endpoint.
fn check(settings: Settings, cases: Vec<Case>) {
    run(async {
        let limit = Duration::from_millis(settings.attempt_timeout_ms);
        let client = Rc::new(client(settings));
        let good = Server::start(answering(OK)).await;
        let mut tasks = Vec::new();
        for case in cases {
            let (client, good_url) = (Rc::clone(&client), good.url());
            tasks.push(spawn(async move {
                let server = Server::start(case.script).await;
                // Beyond the deadline there is only what a busy machine adds.
                let bound = limit + Duration::from_secs(10);
                let made = tokio::time::timeout(bound, attempt(&client, &server.url())).await;
                let made = made.unwrap_or_else(|_| panic!("{}: no end", case.name));
                assert_eq!(made.verdict, case.verdict, "{}: {made:?}", case.name);
                assert_eq!(made.status_code, case.status, "{}: {made:?}", case.name);
                check_texts(case.name, &made);
                let beside = attempt(&client, &good_url).await;
                assert_eq!(beside.verdict, Verdict::Delivered, "beside {}", case.name);
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(attempt(&client, &good.url()).await.verdict, Verdict::Delivered);
        let stats = client.stats();
        assert_eq!(stats.connections_open, stats.connections_idle, "{stats:?}");
    });
}

/// A failure says why in one line; a delivery says nothing.
fn check_texts(name: &str, attempt: &Attempt) {
    match attempt.verdict {
        Verdict::Delivered => assert_eq!(attempt.error, None, "{name}"),
        _ => {
            let error = attempt.error.as_deref().unwrap_or_default();
            assert!(error.len() > 10 && !error.contains(char::is_control), "{name}: {error:?}");
        }
    }
    assert!(attempt.response.len() <= 1024, "{name}");
}

#[test]
fn heads_that_are_lawful_or_forgiven() {
    check(
        settings(),
        vec![
            delivered("plain", OK),
            delivered("no reason", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"),
            delivered("empty reason", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"),
            delivered("HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nclose ends it"),
            delivered("bare LF", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
            delivered("no length, close ends it", "HTTP/1.1 200 OK\r\n\r\nbody"),
            delivered("two equal lengths", OK.replace("\r\n\r\n", "\r\nContent-Length: 2\r\n\r\n")),
            delivered("set-cookie", OK.replace("\r\n\r\n", "\r\nSet-Cookie: a=b\r\n\r\n")),
            delivered("refresh", OK.replace("\r\n\r\n", "\r\nRefresh: 0; url=http://x/\r\n\r\n")),
            delivered("one 30 KiB field", field(30 * 1024)),
            delivered("100 first", format!("HTTP/1.1 100 Continue\r\n\r\n{OK}")),
            delivered(
                "103 first",
                format!("{}{OK}", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(9)),
            ),
            case(
                "204 with a body",
                "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
                Verdict::Delivered,
                Some(204),
            ),
            delivered(
                "redirect in the body",
                OK.replace("\r\n\r\nok", "0\r\n\r\n<meta http-equiv=refresh>"),
            ),
            case("299", "HTTP/1.1 299 X\r\n\r\n", Verdict::Delivered, Some(299)),
        ],
    );
}

fn field(bytes: usize) -> String {
    OK.replace("\r\n\r\n", &format!("\r\nX-Long: {}\r\n\r\n", "x".repeat(bytes)))
}

#[test]
fn heads_that_are_no_http() {
    let huge_head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1024 * 1024));
    check(
        settings(),
        vec![
            no_http("HTTP/0.9", "<html>hello</html>"),
            no_http("other protocol", "SSH-2.0-OpenSSH_9.6\r\n"),
            no_http("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
            no_http("HTTP/2.0 status", "HTTP/2.0 200 OK\r\n\r\n"),
            no_http("TLS alert", [0x15, 3, 3, 0, 2, 2, 70]),
            no_http("obs-fold", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n"),
            no_http("NUL in a field", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n"),
            no_http("CR in Location", "HTTP/1.1 302 Found\r\nLocation: /a\rX: b\r\n\r\n"),
            no_http("space before colon", "HTTP/1.1 200 OK\r\nX : a\r\n\r\n"),
            no_http("no colon", "HTTP/1.1 200 OK\r\nnothing\r\n\r\n"),
            no_http("status 000", "HTTP/1.1 000 X\r\n\r\n"),
            no_http("status 099", "HTTP/1.1 099 X\r\n\r\n"),
            no_http("status 1e3", "HTTP/1.1 1e3 X\r\n\r\n"),
            no_http("status 20", "HTTP/1.1 20 X\r\n\r\n"),
            no_http("status 2000", "HTTP/1.1 2000 X\r\n\r\n"),
            no_http("status -200", "HTTP/1.1 -200 X\r\n\r\n"),
            no_http(
                "10,000 fields",
                format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(10_000)),
            ),
            no_http("200 fields", format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(200))),
            no_http("head of 1 MiB", huge_head),
            no_http("one 64 KiB field", field(64 * 1024)),
            scripted(
                "no CRLF ever",
                vec![Step::Read, Step::Repeat(vec![b'x'; 1024], usize::MAX)],
                failed(ErrorClass::ProtocolError),
                None,
            ),
            scripted(
                "nothing but CRLF",
                vec![Step::Read, Step::Repeat(b"\r\n".repeat(512), usize::MAX)],
                failed(ErrorClass::ProtocolError),
                None,
            ),
            scripted(
                "100 for ever",
                vec![Step::Read, Step::Repeat(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), 10_000)],
                failed(ErrorClass::ProtocolError),
                None,
            ),
            scripted(
                "103 for ever",
                vec![
                    Step::Read,
                    Step::Repeat(b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n".to_vec(), usize::MAX),
                ],
                failed(ErrorClass::ProtocolError),
                None,
            ),
            case(
                "101",
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
                failed(ErrorClass::ProtocolError),
                Some(101),
            ),
        ],
    );
}

#[test]
fn lengths_that_contradict_or_cannot_be() {
    let length = |value: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {value}\r\n\r\nhello");
    let two = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!";
    let both =
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    check(
        settings(),
        vec![
            no_http("two lengths", two),
            no_http("length -1", length("-1")),
            no_http("length +5", length("+5")),
            no_http("length 5, 6", length("5, 6")),
            no_http("length 0x5", length("0x5")),
            no_http("length empty", length("")),
            no_http("length 2^64", length("18446744073709551616")),
            delivered("length 5, 5", length("5, 5")),
            delivered("length 2^63, then closed", length("9223372036854775808")),
            delivered("length and chunks", both),
            no_http("HTTP/1.0 and chunks", both.replace("/1.1", "/1.0")),
            delivered("chunked not last", {
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\nx"
            }),
        ],
    );
}

/// Once a 2xx head is there the event is delivered, whatever the body does; what is kept of the
/// body is bounded.
#[test]
fn bodies_do_not_undo_a_delivery() {
    let chunked =
        |rest: &str| format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{rest}");
    let endless = |head: &str| {
        let piece = vec![b'x'; 4096];
        vec![Step::Read, send(head), Step::Repeat(piece, usize::MAX)]
    };
    let chunk = b"1000\r\n".iter().chain(&[b'x'; 4096]).chain(b"\r\n").copied().collect();
    let ok = (Verdict::Delivered, Some(200));
    let extension = format!("5;{}\r\nhello\r\n0\r\n\r\n", "e".repeat(1024 * 1024));
    let trailers = format!("5\r\nhello\r\n0\r\nT: {}\r\n\r\n", "t".repeat(1024 * 1024));
    let short = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort";
    check(
        settings(),
        vec![
            delivered("chunk size too large", chunked("FFFFFFFFFFFFFFFF\r\nx")),
            delivered("chunk size beyond 64 bits", chunked("FFFFFFFFFFFFFFFFF\r\nx")),
            delivered("chunk size negative", chunked("-5\r\nhello\r\n0\r\n\r\n")),
            delivered("chunk without its end", chunked("5\r\nhelloworld")),
            delivered("chunk extension of 1 MiB", chunked(&extension)),
            delivered("trailer of 1 MiB", chunked(&trailers)),
            delivered("lawful trailer", chunked("5\r\nhello\r\n0\r\nT: x\r\n\r\n")),
            delivered("body breaks off", short),
            scripted(
                "reset after the head",
                vec![Step::Read, send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), Step::Rst],
                ok.0,
                ok.1,
            ),
            scripted("reset in the body", vec![Step::Read, send(short), Step::Rst], ok.0, ok.1),
            scripted("endless, close ends it", endless("HTTP/1.1 200 OK\r\n\r\n"), ok.0, ok.1),
            scripted(
                "10 GiB",
                endless("HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n"),
                ok.0,
                ok.1,
            ),
            scripted(
                "endless chunks",
                vec![Step::Read, send(chunked("")), Step::Repeat(chunk, usize::MAX)],
                ok.0,
                ok.1,
            ),
        ],
    );
}

#[test]
fn connections_that_break_before_the_head() {
    let closed = failed(ErrorClass::ConnectionClosed);
    check(
        settings(),
        vec![
            scripted("closed at once", vec![Step::Fin], closed, None),
            scripted("reset at once", vec![Step::Rst], closed, None),
            scripted("closed after the request", vec![Step::Read, Step::Fin], closed, None),
            scripted("reset after the request", vec![Step::Read, Step::Rst], closed, None),
            case("closed in the head", "HTTP/1.1 200 OK\r\nContent-Le", closed, None),
            case("closed in the status line", "HTTP/1.1 2", closed, None),
            case("closed after 100", "HTTP/1.1 100 Continue\r\n\r\n", closed, None),
            case("closed after CRLF", "\r\n", closed, None),
        ],
    );
}

#[test]
fn statuses_decide() {
    let answer = |status: &str, header: &str| {
        format!("HTTP/1.1 {status}\r\n{header}\r\nContent-Length: 4\r\n\r\nnope")
    };
    let refused = |class, status| (failed(class), Some(status));
    let retry = |class, ms| Verdict::Failed { class, retry_after_ms: ms };
    let mut cases = Vec::new();
    let mut add = |name, text: String, (verdict, status)| {
        cases.push(case(name, text, verdict, status));
    };
    for (name, header) in [
        ("redirect to metadata", "Location: http://169.254.169.254/latest/"),
        ("redirect to itself", "Location: /hook"),
        ("redirect without scheme", "Location: //127.0.0.1/"),
        ("redirect to a file", "Location: file:///etc/passwd"),
        ("redirect nowhere", "X: y"),
    ] {
        for (line, status) in [
            ("301 Moved", 301),
            ("302 Found", 302),
            ("303 See Other", 303),
            ("307 Temporary Redirect", 307),
            ("308 Permanent Redirect", 308),
        ] {
            add(name, answer(line, header), refused(ErrorClass::Redirect, status));
        }
    }
    add("304", "HTTP/1.1 304 X\r\n\r\n".to_owned(), refused(ErrorClass::Redirect, 304));
    add("400", answer("400 Bad", "X: y"), refused(ErrorClass::ClientError, 400));
    add("404", answer("404 Not", "Retry-After: 9"), refused(ErrorClass::ClientError, 404));
    add("410", answer("410 Gone", "Retry-After: 9"), (Verdict::Gone, Some(410)));
    add("500", answer("500 Oops", "Retry-After: 9"), refused(ErrorClass::ServerError, 500));
    add("600", answer("600 X", "X: y"), refused(ErrorClass::ServerError, 600));
    add("999", answer("999 X", "X: y"), refused(ErrorClass::ServerError, 999));
    for (value, ms) in [
        ("1", Some(1000)),
        ("-1", None),
        ("9999999999", Some(3_600_000)),
        ("Sun, 06 Nov 1994 08:49:37 GMT", None),
        ("Tue, 31 Dec 2999 23:59:59 GMT", Some(3_600_000)),
        ("garbage", None),
    ] {
        let header = format!("Retry-After: {value}");
        let (client, server) = (ErrorClass::ClientError, ErrorClass::ServerError);
        add("429", answer("429 X", &header), (retry(client, ms), Some(429)));
        add("503", answer("503 X", &header), (retry(server, ms), Some(503)));
    }
    check(settings(), cases);
}

/// For endpoints that never come to an end: the attempt is over by its deadline.
#[test]
fn endpoints_that_never_end_meet_the_deadline() {
    let slowly = Duration::from_millis(40);
    let timeout = failed(ErrorClass::Timeout);
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n";
    let settings = Settings {
        attempt_timeout_ms: 400,
        connect_timeout_ms: 400,
        dns_timeout_ms: 400,
        ..settings()
    };
    let dripping_head = [head.as_bytes(), &[b'x'; 50_000]].concat();
    let hundreds = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(20);
    check(
        settings,
        vec![
            scripted("never answers", vec![Step::Read, Step::Hold], timeout, None),
            scripted(
                "drips the head",
                vec![Step::Read, Step::Drip(dripping_head, slowly)],
                timeout,
                None,
            ),
            scripted(
                "drips 1xx heads",
                vec![Step::Read, Step::Drip(hundreds, slowly)],
                timeout,
                None,
            ),
            scripted(
                "drips the body",
                vec![Step::Read, send(head), Step::Drip(vec![b'x'; 50_000], slowly)],
                Verdict::Delivered,
                Some(200),
            ),
            scripted(
                "never ends the body",
                vec![Step::Read, send(head), Step::Hold],
                Verdict::Delivered,
                Some(200),
            ),
            scripted(
                "never ends the body of a failure",
                vec![Step::Read, send(head.replace("200 OK", "500 Oops")), Step::Hold],
                failed(ErrorClass::ServerError),
                Some(500),
            ),
        ],
    );
}

/// A server that accepts and never reads blocks the writing of a large body.
#[test]
fn an_endpoint_that_never_reads_meets_the_deadline() {
    run(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let settings = Settings {
            attempt_timeout_ms: 400,
            connect_timeout_ms: 400,
            dns_timeout_ms: 400,
            ..settings()
        };
        let client = client(settings);
        let body = Bytes::from(vec![b'x'; 32 * 1024 * 1024]);
        let attempt = client.attempt(&endpoint(&url), request(body)).await;
        assert_eq!(attempt.verdict, failed(ErrorClass::Timeout), "{attempt:?}");
        assert!(attempt.error.unwrap().contains("waiting for the response"));
        assert_eq!(client.stats().connections_open, 0);
    });
}

/// An endpoint may answer before it has read the whole request; its answer counts, the connection
/// is not used again.
#[test]
fn an_early_answer_counts_and_costs_the_connection() {
    run(async {
        let early = "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n";
        let server = Server::start(vec![send(early), Step::Hold]).await;
        let client = client(settings());
        let body = Bytes::from(vec![b'x'; 32 * 1024 * 1024]);
        let attempt = client.attempt(&endpoint(&server.url()), request(body)).await;
        assert_eq!(attempt.verdict, failed(ErrorClass::ClientError), "{attempt:?}");
        assert_eq!(client.stats().connections_open, 0);
    });
}

/// The same where the endpoint closes with the request unread, which tears the connection down
/// while we write: what it has answered is not lost by that, and not asked for again.
#[test]
fn an_early_answer_outlives_the_reset() {
    run(async {
        let early = "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n";
        for _ in 0..20 {
            let first = vec![Step::Read, send(OK), Step::Begin, send(early), Step::Rst];
            let server = Server::with_scripts(vec![first, answering(OK)]).await;
            let client = client(settings());
            assert_eq!(attempt(&client, &server.url()).await.verdict, Verdict::Delivered);
            let body = Bytes::from(vec![b'x'; 32 * 1024 * 1024]);
            let attempt = client.attempt(&endpoint(&server.url()), request(body)).await;
            assert_eq!(attempt.verdict, failed(ErrorClass::ClientError), "{attempt:?}");
            assert!(attempt.phases.reused && client.stats().connections_open == 0);
            assert_eq!(client.stats().requests_resent, 0);
        }
    });
}

/// Empty lines before a head, byte by byte: passed over, and never looked at twice.
#[test]
fn empty_lines_come_before_a_head() {
    run(async {
        let lines = "\n\r\n\r".repeat(300);
        let head = format!("{lines}\n{OK}");
        let (dripped, rest) = head.split_at(lines.len() + 20);
        let drip = Step::Drip(dripped.as_bytes().to_vec(), Duration::ZERO);
        let server = Server::start(vec![Step::Read, drip, send(rest)]).await;
        let client = client(settings());
        let made = attempt(&client, &server.url()).await;
        assert_eq!((made.verdict, &*made.response), (Verdict::Delivered, &b"ok"[..]), "{made:?}");
        assert_eq!(client.stats().connections_idle, 1);
    });
}

#[test]
fn a_closed_port_is_a_failed_connect() {
    run(async {
        // Holds the port without listening, so that nobody else can listen there.
        let closed = tokio::net::TcpSocket::new_v4().unwrap();
        closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("http://{}/secret-path?token=1", closed.local_addr().unwrap());
        let client = client(settings());
        let made = attempt(&client, &url).await;
        assert_eq!(made.verdict, failed(ErrorClass::ConnectFailed));
        let text = made.error.unwrap();
        assert!(text.contains("127.0.0.1") && text.contains("refused"), "{text}");
        assert!(!text.contains("secret-path") && !text.contains("token"), "{text}");
    });
}

/// A port of all addresses of this machine at which nobody answers: a full accept queue drops SYNs.
pub(crate) async fn silent_port() -> (u16, impl Sized) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("0.0.0.0:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let port = listener.local_addr().unwrap().port();
    // Fills the queue: nobody accepts.
    let mut fillers = Vec::new();
    while let Ok(Ok(filler)) = tokio::time::timeout(
        Duration::from_millis(200),
        tokio::net::TcpStream::connect(("127.0.0.1", port)),
    )
    .await
    {
        fillers.push(filler);
        assert!(fillers.len() < 100, "the accept queue never fills");
    }
    (port, (listener, fillers))
}

/// All that is tried is silent: from the eighth address on that is our own network's fault, as long
/// as nobody shows itself, be it by an answer on a connection that was there before.
#[test]
fn silence_of_everybody_is_our_fault_until_one_answers() {
    run(async {
        let (port, _silent) = silent_port().await;
        let alive = Server::start(vec![Step::Read, send(OK), Step::Read, send(OK)]).await;
        let client = client(Settings { connect_timeout_ms: 100, ..settings() });
        assert_eq!(attempt(&client, &alive.url()).await.verdict, Verdict::Delivered);
        let (ours, theirs) =
            (not_charged(ErrorClass::ConnectTimeout), failed(ErrorClass::ConnectTimeout));
        for number in (1..=7).chain(1..=7) {
            let made = attempt(&client, &format!("http://127.0.1.{number}:{port}/")).await;
            assert_eq!(made.verdict, theirs, "{number}");
        }
        for number in [8, 1, 9] {
            let made = attempt(&client, &format!("http://127.0.1.{number}:{port}/")).await;
            assert_eq!(made.verdict, ours, "{number}");
            assert!(made.error.unwrap().contains("our own network"));
        }
        let reused = attempt(&client, &alive.url()).await;
        assert_eq!((reused.verdict, reused.phases.reused), (Verdict::Delivered, true));
        let made = attempt(&client, &format!("http://127.0.1.1:{port}/")).await;
        assert_eq!(made.verdict, theirs);
    });
}

#[test]
fn a_connection_that_never_comes_is_a_connect_timeout() {
    run(async {
        let (port, _silent) = silent_port().await;
        let address = format!("127.0.0.1:{port}");
        let client = client(Settings { connect_timeout_ms: 300, ..settings() });
        let made = attempt(&client, &format!("http://{address}/")).await;
        assert_eq!(made.verdict, failed(ErrorClass::ConnectTimeout), "{made:?}");
        assert!(made.phases.connect_us >= 300_000, "{:?}", made.phases);
        assert_eq!(client.stats().connections_open, 0);
    });
}

/// For all answers that want something remembered: the next request is as the first one was.
#[test]
fn nothing_is_remembered_of_an_answer() {
    run(async {
        let wishes = [
            "Set-Cookie: session=1; Path=/",
            "Alt-Svc: h2=\":443\"",
            "Strict-Transport-Security: max-age=99999",
            "Accept-CH: Device-Memory",
            "WWW-Authenticate: Basic realm=x",
            "Content-Location: /elsewhere",
        ];
        let answer = OK.replace("\r\n\r\n", &format!("\r\n{}\r\n\r\n", wishes.join("\r\n")));
        let server = Server::start(answering(&answer)).await;
        let client = client(settings());
        for _ in 0..3 {
            assert_eq!(attempt(&client, &server.url()).await.verdict, Verdict::Delivered);
        }
        let requests = server.seen.requests.borrow();
        let names = |n: usize| -> Vec<_> { requests[n].headers.iter().map(|h| &h.0).collect() };
        assert_eq!((names(1), &requests[1].line), (names(0), &requests[0].line));
        assert_eq!((names(2), &requests[2].line), (names(0), &requests[0].line));
    });
}

/// Compressed bodies are kept as they come and never unpacked.
#[test]
fn nothing_is_decompressed() {
    run(async {
        let packed: Vec<u8> =
            [0x1f, 0x8b, 8, 0].into_iter().chain((0..60).cycle().take(5000)).collect();
        for encoding in ["gzip", "br", "gzip, gzip"] {
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: 5004\r\n\r\n"
            );
            let answer = [head.as_bytes(), &packed].concat();
            let server = Server::start(vec![Step::Read, Step::Send(answer)]).await;
            let made = attempt(&client(settings()), &server.url()).await;
            assert_eq!(made.verdict, Verdict::Delivered);
            assert_eq!(&*made.response, &packed[..1024]);
        }
    });
}

/// No redirect is followed: the place that it names sees nothing.
#[test]
fn a_redirect_reaches_nobody() {
    run(async {
        let elsewhere = Server::start(answering(OK)).await;
        let redirect = format!(
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
            elsewhere.url()
        );
        let server = Server::start(answering(&redirect)).await;
        let client: Client = client(settings());
        let made = attempt(&client, &server.url()).await;
        assert_eq!(made.verdict, failed(ErrorClass::Redirect));
        assert_eq!(
            made.error.as_deref(),
            Some("the endpoint answered 307 Temporary Redirect; redirects are not followed")
        );
        assert_eq!((server.seen.request_count(), elsewhere.seen.connections.get()), (1, 0));
    });
}

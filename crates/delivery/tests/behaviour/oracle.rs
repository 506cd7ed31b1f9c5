//! Another reader of HTTP/1.1, hyper, beside ours: whatever a server sends, both see the same
//! status and the same body, and we keep no connection that it would not keep.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Body as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use posthaste_domain::RESPONSE_KEPT_BYTES_MAX;
use tokio::net::TcpStream;

use crate::support::{Server, Step, attempt, client, proof, run, send, settings, tries};

/// What somebody made of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    status: Option<u16>,
    /// The beginning of the body, where it came to its end.
    body: Option<Vec<u8>>,
    /// Whether the connection may serve again, where it was left open.
    keeps: bool,
}

const NOTHING: Seen = Seen { status: None, body: None, keeps: false };
/// How the first change is chosen; any other number makes other answers.
const SEED: u64 = 7;

/// What the request after an answer gets.
const NEXT: &str = "HTTP/1.1 299 Next\r\nContent-Length: 4\r\n\r\nnext";
/// For so long an answer that has no end is waited for.
const PATIENCE: Duration = Duration::from_millis(3);
/// No answer takes as long.
const HANG: Duration = Duration::from_secs(10);

/// Answers to change.
const ANSWERS: [&str; 18] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
    "HTTP/1.1 500 Oops\r\nServer: nginx\r\nContent-Length: 4\r\nConnection: keep-alive\r\n\r\noops",
    "HTTP/1.1 429 X\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;a=b\r\n!\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA \r\n0123456789\r\n0\r\nX: y\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\n!\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\nzipped",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\nContent-Length: 3\r\n\r\nabc",
    "HTTP/1.1 200 OK\r\nConnection: close, x\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.0 200 OK\r\nConnection: x, Keep-Alive\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.0 200 OK\r\n\r\nuntil it is closed",
    "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 E\r\n\r\nHTTP/1.1 201 A\r\nContent-Length: 1\r\n\r\n.",
    "HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nx",
    "\r\n\nHTTP/1.1 200\nContent-Length: 1\n\n1",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n",
];

/// What a change puts in: what means something to one who reads HTTP.
const PARTS: [&str; 24] = [
    "\r\n",
    "\n",
    "\r",
    "\0",
    " ",
    "\t",
    ":",
    ",",
    ";",
    "0",
    "1",
    "9",
    "f",
    "-",
    "+",
    "\r\n\r\n",
    "HTTP/1.1 ",
    "chunked",
    "close",
    "keep-alive",
    "Content-Length: 1\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "18446744073709551616",
];

/// `SplitMix64`: the same changes in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).unwrap()
    }

    /// An answer with some changes.
    fn answer(&mut self) -> Vec<u8> {
        let mut bytes = ANSWERS[self.below(ANSWERS.len())].as_bytes().to_vec();
        for _ in 0..self.below(4) {
            let at = self.below(bytes.len() + 1);
            let until = (at + self.below(6)).min(bytes.len());
            let part = PARTS[self.below(PARTS.len())].as_bytes();
            match self.below(4) {
                0 => drop(bytes.splice(at..at, part.iter().copied())),
                1 => drop(bytes.splice(at..until, part.iter().copied())),
                2 => drop(bytes.drain(at..until)),
                _ => {
                    let again = bytes[at..until].to_vec();
                    drop(bytes.splice(at..at, again));
                }
            }
        }
        bytes
    }
}

/// A server that sends this in three pieces, and closes.
async fn closing(answer: &[u8], cut: usize) -> Server {
    let (first, rest) = answer.split_at(cut.min(answer.len()));
    let (byte, rest) = rest.split_at(rest.len().min(1));
    let byte = Step::Drip(byte.to_vec(), Duration::ZERO);
    Server::start(vec![Step::Read, send(first), byte, send(rest), Step::Fin]).await
}

/// A server that sends this in one piece, answers the next request for itself, and waits.
async fn waiting(answer: &[u8]) -> Server {
    let next = vec![Step::Read, send(answer), Step::Read, send(NEXT), Step::Hold];
    Server::start(next).await
}

/// What we see.
async fn by_us(server: &Server) -> Seen {
    let client = client(settings());
    let made = attempt(&client, &server.url()).await;
    let keeps = client.stats().connections_idle == 1;
    Seen { status: made.status_code, body: Some(made.response.to_vec()), keeps }
}

/// The same on a connection that is left open, where the next request must get its own answer.
async fn by_us_twice(server: &Server) -> Seen {
    let client = client(settings());
    let made = attempt(&client, &server.url()).await;
    let keeps = client.stats().connections_idle == 1;
    if keeps {
        let next = attempt(&client, &server.url()).await;
        assert_eq!((next.status_code, &*next.response), (Some(299), &b"next"[..]), "{next:?}");
        assert!(next.phases.reused, "{next:?}");
    }
    Seen { status: made.status_code, body: Some(made.response.to_vec()), keeps }
}

/// What hyper sees, and whether the end of the body is known without a close.
async fn by_hyper(server: &Server) -> (Seen, bool) {
    let tcp = TcpStream::connect(server.address).await.unwrap();
    let max = settings().response_head_bytes_max;
    let mut limits = http1::Builder::new();
    limits.max_buf_size(max).max_header_size(max);
    let (mut sender, mut connection) = limits.handshake(TokioIo::new(tcp)).await.unwrap();
    let mut ended = false;
    let request =
        http::Request::post("/hook").header("host", "x").body(Full::new(Bytes::from("{}")));
    let mut response = pin!(sender.send_request(request.unwrap()));
    let mut drive = |context: &mut Context<'_>| {
        if !ended {
            ended = Pin::new(&mut connection).poll(context).is_ready();
        }
        ended
    };
    let response = poll_fn(|context| {
        drive(context);
        response.as_mut().poll(context)
    });
    let Ok(response) = response.await else { return (NOTHING, false) };
    let (head, body) = response.into_parts();
    let encoding = head.headers.get_all("transfer-encoding").iter().next_back();
    let last = encoding.and_then(|it| it.as_bytes().rsplit(|byte| *byte == b',').next());
    let is_chunked = last.is_some_and(|it| it.trim_ascii().eq_ignore_ascii_case(b"chunked"));
    let is_delimited = body.size_hint().exact().is_some() || is_chunked;
    let mut body = pin!(body.collect());
    let body = poll_fn(|context| {
        drive(context);
        body.as_mut().poll(context)
    });
    let body = body.await.ok().map(|body| body.to_bytes());
    let ended = drive(&mut Context::from_waker(Waker::noop()));
    let keeps = body.is_some() && !ended && sender.is_ready();
    let kept = |body: Bytes| body[..body.len().min(RESPONSE_KEPT_BYTES_MAX)].to_vec();
    (Seen { status: Some(head.status.as_u16()), body: body.map(kept), keeps }, is_delimited)
}

/// Says in what we differ, and must not.
fn differ(ours: &Seen, theirs: &Seen, answer: &[u8]) -> Option<&'static str> {
    if ours.status != theirs.status {
        return Some("another status");
    }
    if theirs.body.is_some() && ours.body != theirs.body && ours.status != Some(101) {
        return Some("another body");
    }
    let text = String::from_utf8_lossy(answer).to_ascii_lowercase();
    let has = |name: &str| text.contains(name);
    let is_chunked = has("transfer-encoding");
    // It refuses a trailer that is none, and we read over it.
    let may_have_trailer = text
        .match_indices("0\r\n")
        .any(|(at, end)| text[at + end.len()..].starts_with(|next: char| next != '\r'));
    // We take no line feed alone among chunks, no length beside them, and neither where there must
    // be no body.
    let has_bare_lf = text.replace("\r\n", "").contains('\n');
    let is_strict = match ours.status {
        Some(204 | 304) => is_chunked || has("content-length"),
        _ => is_chunked && (has("content-length") || has_bare_lf),
    };
    match (ours.keeps, theirs.keeps) {
        (true, false) if !(is_chunked && may_have_trailer) => Some("kept"),
        (false, true) if !is_strict => Some("not kept"),
        _ => None,
    }
}

/// One answer, both ways; what became of it: none, an answer, one that left the connection open.
async fn compare(answer: &[u8], cut: usize) -> usize {
    let text = String::from_utf8_lossy(answer);
    let server = closing(answer, cut).await;
    // Whether the close has been noticed is chance.
    let open = |seen| Seen { keeps: false, ..seen };
    let (theirs, is_delimited) = by_hyper(&server).await;
    let (ours, theirs) = (open(by_us(&server).await), open(theirs));
    let found = differ(&ours, &theirs, answer);
    assert_eq!(found, None, "{text:?}: {ours:?}, and hyper {theirs:?}");
    let server = waiting(answer).await;
    if theirs.body.is_none() || !is_delimited {
        // It waits for more, and so should we: who has waited for long enough keeps nothing.
        let ours = tokio::time::timeout(PATIENCE, by_us_twice(&server)).await;
        let found = ours.ok().and_then(|ours| differ(&ours, &theirs, answer));
        assert_ne!(found, Some("kept"), "{text:?}");
        return usize::from(theirs.status.is_some());
    }
    let ((theirs, _), ours) = (by_hyper(&server).await, by_us_twice(&server).await);
    let found = differ(&ours, &theirs, answer);
    assert_eq!(found, None, "left open, {text:?}: {ours:?}, and hyper {theirs:?}");
    1 + usize::from(theirs.keeps)
}

#[test]
fn another_reader_sees_the_same() {
    let count = tries(800, 200_000);
    let mut chance = Chance(SEED);
    let mut kinds = [0; 3];
    let mut left = count;
    while left > 0 {
        // Each run has a minute.
        let answers: Vec<_> =
            (0..left.min(250)).map(|_| (chance.answer(), chance.below(120))).collect();
        left -= answers.len();
        let mut of_run = [0; 3];
        run(async {
            for (answer, cut) in &answers {
                let compared = tokio::time::timeout(HANG, compare(answer, *cut)).await;
                let text = String::from_utf8_lossy(answer);
                let kind = compared.unwrap_or_else(|_| panic!("somebody waits for more: {text:?}"));
                of_run[kind] += 1;
            }
        });
        for (sum, found) in kinds.iter_mut().zip(of_run) {
            *sum += found;
        }
    }
    assert!(kinds.iter().all(|kind| *kind > count / 20), "hardly tried: {kinds:?}");
    let whole = Seen { status: Some(200), body: Some(b"ok".to_vec()), keeps: true };
    let short = Seen { body: Some(b"o".to_vec()), ..whole };
    let closed = Seen { keeps: false, ..whole.clone() };
    assert_eq!(differ(&short, &whole, b""), Some("another body"));
    assert_eq!(differ(&whole, &NOTHING, b""), Some("another status"));
    assert_eq!(differ(&whole, &closed, b""), Some("kept"));
    assert_eq!(differ(&closed, &whole, b""), Some("not kept"));
    let control = format!(
        "{kinds:?} were no answers, answers, and such as left the connection open; a body that is \
         read one byte short, and a connection kept in spite of hyper, are seen"
    );
    proof(27, count, kinds.iter().sum(), &control);
}

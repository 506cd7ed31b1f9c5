//! Another reader of HTTP/1.1, hyper, beside ours: whatever comes, both see the same status, the
//! same body and the same end of it, and we keep no connection that it would not keep.
//!
//! Nothing waits here: hyper reads from memory, and is asked until it wants more than there is.

use std::cell::RefCell;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;

use super::{Look, look};

/// What somebody made of an answer, of which no more comes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    status: Option<u16>,
    /// The body, where it came to its end.
    body: Option<Vec<u8>>,
    /// Whether the connection may serve again.
    keeps: bool,
}

const NOTHING: Seen = Seen { status: None, body: None, keeps: false };
/// How the first change is chosen; any other number makes other answers.
const SEED: u64 = 7;
/// Larger than any head here.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Answers to change.
const ANSWERS: [&str; 19] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
    "HTTP/1.1 500 Oops\r\nServer: nginx\r\nContent-Length: 4\r\nConnection: keep-alive\r\n\r\noops",
    "HTTP/1.1 429 X\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;a=b\r\n!\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA \r\n0123456789\r\n0\r\nX: y\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n0\r\n1\r\n1\r\n00\r\n\r\n",
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

fn by_us(mut answer: &[u8]) -> Seen {
    let (mut head, length) = loop {
        match look(answer) {
            Ok(Look::Interim(length)) => answer = &answer[length..],
            Ok(Look::Head(head, length)) => break (head, length),
            Ok(Look::Partial) | Err(_) => return NOTHING,
        }
    };
    let (rest, mut data) = (&answer[length..], Vec::new());
    let taken = head.body.take(rest, |piece| data.extend_from_slice(piece));
    let ended = taken.is_ok_and(|taken| taken.ended);
    let is_all = taken.is_ok_and(|taken| taken.bytes == rest.len());
    let body = ended.then_some(data);
    Seen { status: Some(head.status.as_u16()), body, keeps: ended && is_all && head.keeps_alive }
}

/// Whether anybody has asked to be polled again.
#[derive(Default)]
struct Asked(AtomicBool);

impl Wake for Asked {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Polls a future, and the connection that it waits for, until both want what is not there.
fn ask<F: Future>(
    future: Pin<&mut F>,
    drive: &mut dyn FnMut(&mut Context<'_>),
) -> Option<F::Output> {
    let asked = Arc::new(Asked::default());
    let waker = Waker::from(Arc::clone(&asked));
    let (mut context, mut future) = (Context::from_waker(&waker), future);
    loop {
        drive(&mut context);
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return Some(output),
            Poll::Pending if !asked.0.swap(false, Ordering::Relaxed) => return None,
            Poll::Pending => {}
        }
    }
}

fn by_hyper(answer: &[u8]) -> Seen {
    let nothing = &mut |_: &mut Context<'_>| {};
    let (near, mut far) = tokio::io::duplex(HEAD_BYTES_MAX);
    let mut limits = http1::Builder::new();
    limits.max_buf_size(HEAD_BYTES_MAX).max_header_size(HEAD_BYTES_MAX);
    let made = ask(pin!(limits.handshake(TokioIo::new(near))), nothing);
    let (mut sender, connection) = made.unwrap().unwrap();
    let (connection, ended) = (Rc::new(RefCell::new(connection)), Rc::new(RefCell::new(false)));
    let mut drive = |context: &mut Context<'_>| {
        if !*ended.borrow() {
            let mut connection = connection.borrow_mut();
            *ended.borrow_mut() = Pin::new(&mut *connection).poll(context).is_ready();
        }
    };
    let request = http::Request::post("/").header("host", "x").body(Full::new(Bytes::from("{}")));
    let mut response = pin!(sender.send_request(request.unwrap()));
    // The request first: what comes before one is no answer to it.
    assert!(ask(response.as_mut(), &mut drive).is_none());
    ask(pin!(far.write_all(answer)), nothing).unwrap().unwrap();
    let Some(Ok(response)) = ask(response, &mut drive) else { return NOTHING };
    let (head, body) = response.into_parts();
    let body = ask(pin!(body.collect()), &mut drive).and_then(Result::ok);
    // Once more, for what came behind it.
    ask(pin!(std::future::pending::<()>()), &mut drive);
    let keeps = body.is_some() && !*ended.borrow() && sender.is_ready();
    let body = body.map(|body| body.to_bytes().to_vec());
    Seen { status: Some(head.status.as_u16()), body, keeps }
}

/// Says in what we differ, and must not.
fn differ(ours: &Seen, theirs: &Seen, answer: &[u8]) -> Option<&'static str> {
    let (head, rest) = answer.split_at(head_length(answer));
    let [head, rest] = [head, rest].map(|it| String::from_utf8_lossy(it).to_ascii_lowercase());
    let is_chunked = head.contains("transfer-encoding");
    // It refuses a trailer that is none, and we read over it; we take no line feed alone among
    // chunks, no length beside them, and neither where there must be no body.
    let has_trailer = is_chunked && last_chunk_has_trailer(&rest);
    let has_bare_lf = is_chunked && rest.replace("\r\n", "").contains('\n');
    let is_strict = is_chunked && head.contains("content-length")
        || has_bare_lf
        || matches!(ours.status, Some(204 | 304))
            && (is_chunked || head.contains("content-length"));
    if ours.status != theirs.status {
        return Some("another status");
    }
    match (&ours.body, &theirs.body) {
        (Some(ours), Some(theirs)) if ours != theirs => return Some("another body"),
        (Some(_), None) if !has_trailer => return Some("ended"),
        (None, Some(_)) if !has_bare_lf => return Some("not ended"),
        _ => {}
    }
    match (ours.keeps, theirs.keeps) {
        (true, false) if !has_trailer => Some("kept"),
        (false, true) if !is_strict => Some("not kept"),
        _ => None,
    }
}

/// How much of an answer is heads.
fn head_length(answer: &[u8]) -> usize {
    match look(answer) {
        Ok(Look::Interim(length)) => length + head_length(&answer[length..]),
        Ok(Look::Head(_, length)) => length,
        Ok(Look::Partial) | Err(_) => 0,
    }
}

/// Whether a line behind one that may end the chunks may be a trailer.
fn last_chunk_has_trailer(body: &str) -> bool {
    let is_last = |line: &str| {
        let size = line.split([';', ' ', '\t']).next().unwrap_or_default();
        !size.is_empty() && size.bytes().all(|byte| byte == b'0')
    };
    let lines: Vec<&str> = body.split("\r\n").collect();
    lines.array_windows().any(|[one, next]| is_last(one) && !next.is_empty())
}

#[test]
fn another_reader_sees_the_same() {
    let is_long = std::env::var_os("PROVE_LONG").is_some_and(|value| value == "1");
    let count = if is_long { 20_000_000 } else { 200_000 };
    let mut chance = Chance(SEED);
    let mut kinds = [0_usize; 4];
    for _ in 0..count {
        let answer = chance.answer();
        let (ours, theirs) = (by_us(&answer), by_hyper(&answer));
        let found = differ(&ours, &theirs, &answer);
        let text = String::from_utf8_lossy(&answer);
        assert_eq!(found, None, "{text:?}: {ours:?}, and hyper {theirs:?}");
        let kind = match theirs {
            Seen { status: None, .. } => 0,
            Seen { body: None, .. } => 1,
            Seen { keeps: false, .. } => 2,
            Seen { keeps: true, .. } => 3,
        };
        kinds[kind] += 1;
    }
    assert!(kinds.iter().all(|kind| *kind > count / 50), "hardly tried: {kinds:?}");
    let control = "what is read one byte short, ended too early or kept too long is seen";
    println!("proof: 27 tried {count} held {} control {control}", kinds.iter().sum::<usize>());
}

/// The judge sees what it is for, and excuses nothing where there is nothing to excuse.
#[test]
fn a_difference_is_seen() {
    let whole = Seen { status: Some(200), body: Some(b"ok".to_vec()), keeps: true };
    let short = Seen { body: Some(b"o".to_vec()), ..whole };
    let open = Seen { body: None, keeps: false, ..whole };
    let closed = Seen { keeps: false, ..whole.clone() };
    for answer in [ANSWERS[0], ANSWERS[5]] {
        let seen = |ours, theirs| differ(ours, theirs, answer.as_bytes());
        assert_eq!(seen(&whole, &whole), None);
        assert_eq!(seen(&short, &whole), Some("another body"));
        assert_eq!(seen(&whole, &NOTHING), Some("another status"));
        assert_eq!(seen(&whole, &open), Some("ended"));
        assert_eq!(seen(&open, &whole), Some("not ended"));
        assert_eq!(seen(&whole, &closed), Some("kept"));
        assert_eq!(seen(&closed, &whole), Some("not kept"));
    }
}

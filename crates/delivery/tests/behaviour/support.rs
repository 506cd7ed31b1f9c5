//! Servers that do as a script says, a clock that can be moved, a resolver that answers by list.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use posthaste_delivery::{
    Answer, Client, Clock, Endpoint, Lookup, LookupError, Request, Resolve, Settings, TlsRoots,
};
use posthaste_domain::{
    AddressPolicy, Attempt, ErrorClass, EventId, SigningSecrets, TargetUrl, Timestamp, Verdict,
    WebhookSecret,
};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// No test may take longer than this, whatever the machine does at the same time.
const TEST_TIME_MAX: Duration = Duration::from_secs(60);

/// What signs in these tests.
pub(crate) const SECRET: &str = "a-secret-of-the-tests";

/// What `scripts/prove` collects: how often a promise was tried and held, and what showed that the
/// test can fail.
#[expect(clippy::print_stdout, reason = "read by scripts/prove")]
pub(crate) fn proof(row: u32, tried: usize, held: usize, control: &str) {
    println!("proof: {row} tried {tried} held {held} control {control}");
}

/// How many tries: `short` in CI, `long` with `PROVE_LONG=1` in the environment.
pub(crate) fn tries(short: usize, long: usize) -> usize {
    if std::env::var_os("PROVE_LONG").is_some_and(|value| value == "1") { long } else { short }
}

/// Runs a test with its servers on one thread, as a shard does.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let limited = async { tokio::time::timeout(TEST_TIME_MAX, test).await };
    tokio::task::LocalSet::new().block_on(&runtime, limited).expect("the test hangs");
}

/// Starts a background task of a test; it ends with the test.
pub(crate) fn spawn<F: Future<Output = ()> + 'static>(task: F) -> tokio::task::JoinHandle<()> {
    tokio::task::spawn_local(task)
}

/// A clock that runs like the real one, and can be moved ahead.
#[derive(Debug)]
pub(crate) struct TestClock {
    start: tokio::time::Instant,
    ahead_us: Cell<u64>,
}

/// When [`TestClock`] starts: 2026-11-24 08:00 UTC.
pub(crate) const EPOCH: Timestamp = Timestamp::from_millis(1_795_507_200_000);

impl TestClock {
    pub(crate) fn advance(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap();
        self.ahead_us.set(self.ahead_us.get() + us);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        EPOCH.plus_millis(self.monotonic_us() / 1000)
    }

    fn wall(&self) -> Timestamp {
        self.now()
    }

    fn monotonic_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap() + self.ahead_us.get()
    }
}

pub(crate) fn clock() -> Rc<TestClock> {
    Rc::new(TestClock { start: tokio::time::Instant::now(), ahead_us: Cell::new(0) })
}

/// Settings for loopback: long deadlines, so that a busy machine does not turn one failure into
/// another.
pub(crate) fn settings() -> Settings {
    Settings {
        address_policy: opening(&["127.0.0.0/8", "::1/128"]),
        attempt_timeout_ms: 20_000,
        connect_timeout_ms: 10_000,
        tls_roots: TlsRoots { native: false, extra_pem: Vec::new() },
        ..Settings::default()
    }
}

pub(crate) fn opening(ranges: &[&str]) -> AddressPolicy {
    let allow = ranges.iter().map(|range| range.parse().unwrap()).collect();
    // The one refused port (HDFS) that the system may give to a server that asks for any.
    AddressPolicy { allow, allow_ports: vec![50070] }
}

/// A client whose resolver knows no name.
pub(crate) fn client(settings: Settings) -> Client {
    Client::with_resolver(settings, clock(), Names::new()).unwrap()
}

pub(crate) fn endpoint(url: &str) -> Endpoint {
    Endpoint::new(&TargetUrl::parse_stored(url).unwrap(), &secrets())
}

pub(crate) fn secrets() -> SigningSecrets {
    SigningSecrets::new(WebhookSecret::try_new(SECRET).unwrap())
}

pub(crate) fn event(number: u64) -> EventId {
    EventId::from_parts(EPOCH, u128::from(number))
}

pub(crate) fn request(payload: impl Into<Bytes>) -> Request {
    Request { event: event(1), number: 1, payload: payload.into(), ready_at: EPOCH }
}

/// One attempt with a small payload.
pub(crate) async fn attempt(client: &Client, url: &str) -> Attempt {
    client.attempt(&endpoint(url), request(r#"{"a":1}"#)).await
}

pub(crate) const fn failed(class: ErrorClass) -> Verdict {
    Verdict::Failed { class, retry_after_ms: None }
}

pub(crate) const fn not_charged(class: ErrorClass) -> Verdict {
    Verdict::NotCharged { class }
}

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What a server does on one connection, step by step.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Read one request.
    Read,
    /// Read the beginning of one.
    Begin,
    /// Write.
    Send(Vec<u8>),
    /// Write so many times, or until the peer is gone.
    Repeat(Vec<u8>, usize),
    /// Write one byte after the other, so far apart.
    Drip(Vec<u8>, Duration),
    /// Do nothing until the peer closes.
    Hold,
    /// Close in order.
    Fin,
    /// Tear the connection down.
    Rst,
}

pub(crate) fn send(text: impl AsRef<[u8]>) -> Step {
    Step::Send(text.as_ref().to_vec())
}

/// Read a request, answer, and leave the connection open for the next.
pub(crate) fn answering(response: &str) -> Vec<Step> {
    vec![Step::Read, send(response)]
}

/// What a server has seen. Shared with its tasks.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) connections: Cell<usize>,
    pub(crate) closed: Cell<usize>,
    pub(crate) requests: RefCell<Vec<Received>>,
    changed: Notify,
}

impl Seen {
    /// Waits until `done` holds; whoever changes anything wakes us.
    pub(crate) async fn until(&self, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            self.changed.notified().await;
        }
    }

    pub(crate) fn request_count(&self) -> usize {
        self.requests.borrow().len()
    }

    fn note(&self, change: impl FnOnce(&Self)) {
        change(self);
        self.changed.notify_waiters();
        self.changed.notify_one();
    }
}

/// A request as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// Request line and headers as they came, with the empty line.
    pub(crate) head: String,
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// On which connection, from 0.
    pub(crate) connection: usize,
}

impl Received {
    /// The value of the header that occurs exactly once.
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut values = self.headers.iter().filter(|(known, _)| known == name);
        let (_, value) = values.next().unwrap_or_else(|| panic!("no header {name}: {self:?}"));
        assert!(values.next().is_none(), "two headers {name}: {self:?}");
        value
    }
}

/// A scripted server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Rc<Seen>,
}

impl Server {
    /// Follows `script` on every connection; what is beyond its end is done again from the
    /// beginning, so that a script that answers one request answers all.
    pub(crate) async fn start(script: Vec<Step>) -> Self {
        Self::with_scripts(vec![script]).await
    }

    /// Follows the first script on the first connection, and so on; the last one serves the rest.
    pub(crate) async fn with_scripts(scripts: Vec<Vec<Step>>) -> Self {
        Self::bind((Ipv4Addr::LOCALHOST, 0).into(), scripts).await
    }

    pub(crate) async fn bind(address: SocketAddr, scripts: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Rc::new(Seen::default());
        let seen_by_server = Rc::clone(&seen);
        spawn(async move {
            for number in 0.. {
                let (tcp, _) = listener.accept().await.unwrap();
                seen_by_server.note(|seen| seen.connections.set(number + 1));
                let script = scripts[number.min(scripts.len() - 1)].clone();
                let seen = Rc::clone(&seen_by_server);
                spawn(async move {
                    serve(tcp, script, &seen, number).await;
                    seen.note(|seen| seen.closed.set(seen.closed.get() + 1));
                });
            }
        });
        Self { address, seen }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }
}

async fn serve(tcp: TcpStream, script: Vec<Step>, seen: &Seen, connection: usize) {
    let resettable = matches!(script.last(), Some(Step::Rst));
    if resettable {
        SockRef::from(&tcp).set_linger(Some(Duration::ZERO)).unwrap();
    }
    follow(tcp, script, seen, connection).await;
}

/// Follows a script on any stream, until the peer is gone or the script says so.
pub(crate) async fn follow<S>(mut stream: S, script: Vec<Step>, seen: &Seen, connection: usize)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut buffer = Vec::new();
    for step in script.iter().cycle() {
        let going_on = match step {
            Step::Read => match read_request(&mut stream, &mut buffer, connection).await {
                Some(request) => {
                    seen.note(|seen| seen.requests.borrow_mut().push(request));
                    true
                }
                None => false,
            },
            Step::Begin => stream.read_buf(&mut buffer).await.is_ok_and(|count| count > 0),
            Step::Send(bytes) => write(&mut stream, bytes).await,
            Step::Repeat(bytes, times) => {
                let mut going_on = true;
                for _ in 0..*times {
                    going_on = write(&mut stream, bytes).await;
                    if !going_on {
                        break;
                    }
                }
                going_on
            }
            Step::Drip(bytes, every) => {
                let mut going_on = true;
                for byte in bytes {
                    tokio::time::sleep(*every).await;
                    going_on = write(&mut stream, &[*byte]).await;
                    if !going_on {
                        break;
                    }
                }
                going_on
            }
            Step::Hold => {
                let mut sink = [0; 4096];
                // Reads nothing more than what tells that the peer is gone.
                while stream.read(&mut sink).await.is_ok_and(|count| count > 0) {}
                false
            }
            Step::Fin => {
                let _peer_may_be_gone = stream.shutdown().await;
                false
            }
            Step::Rst => false,
        };
        if !going_on {
            return;
        }
    }
}

async fn write<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> bool {
    stream.write_all(bytes).await.is_ok() && stream.flush().await.is_ok()
}

/// Reads one request with a `Content-Length`; none where the peer closes.
async fn read_request<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
    connection: usize,
) -> Option<Received> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer.drain(..end).collect()).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let line = lines.next().unwrap().to_owned();
    let headers: Vec<_> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let mut received = Received { line, headers, body: Vec::new(), connection, head };
    let length: usize = received.header("content-length").parse().unwrap();
    while buffer.len() < length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    received.body = buffer.drain(..length).collect();
    Some(received)
}

/// A resolver that answers by list: each name's answers in turn, the last one for ever.
#[derive(Debug, Default)]
pub(crate) struct Names {
    answers: RefCell<HashMap<String, Vec<Result<Answer, LookupError>>>>,
    asked: RefCell<Vec<String>>,
    /// Where it is held, lookups wait until it is let go.
    gate: RefCell<Option<Rc<Notify>>>,
}

impl Names {
    pub(crate) fn new() -> Rc<Self> {
        Rc::default()
    }

    /// Adds the next answer for `name`.
    pub(crate) fn answer(&self, name: &str, addresses: &[&str], ttl_s: u64) {
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        self.result(name, Ok(Answer { addresses, ttl: Duration::from_secs(ttl_s) }));
    }

    pub(crate) fn result(&self, name: &str, result: Result<Answer, LookupError>) {
        self.answers.borrow_mut().entry(name.to_owned()).or_default().push(result);
    }

    pub(crate) fn hold(&self) -> Rc<Notify> {
        let gate = Rc::new(Notify::new());
        *self.gate.borrow_mut() = Some(Rc::clone(&gate));
        gate
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.borrow().clone()
    }
}

impl Resolve for Names {
    fn resolve(&self, name: &str) -> Lookup {
        self.asked.borrow_mut().push(name.to_owned());
        let mut all = self.answers.borrow_mut();
        let result = match all.get_mut(name) {
            Some(answers) if answers.len() > 1 => answers.remove(0),
            Some(answers) => answers[0].clone(),
            None => Err(LookupError::NoAddress { ttl: None }),
        };
        let gate = self.gate.borrow().clone();
        Box::pin(async move {
            if let Some(gate) = gate {
                gate.notified().await;
            }
            result
        })
    }
}

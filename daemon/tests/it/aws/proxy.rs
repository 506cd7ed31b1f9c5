//! What stands between one daemon and AWS: stops a chosen call before it is done, or after it is
//! done and before its answer, so that the daemon can be killed exactly there; loses answers.
//!
//! Each daemon has its own, so that one can be stopped while another works. A call that is stopped
//! when its daemon dies is never made; an answer that is stopped is never given.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::PATIENCE;

/// Calls that are meant: this operation (any, where it is empty), with these words in the request
/// and in the answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calls {
    operation: &'static str,
    request: &'static str,
    /// What the answer has to contain; none: the call is met before it is made.
    answer: Option<&'static str>,
}

impl Calls {
    /// Before they are made.
    pub(crate) const fn before(operation: &'static str, request: &'static str) -> Self {
        Self { operation, request, answer: None }
    }

    /// After they are done, before their answer arrives.
    pub(crate) const fn after(operation: &'static str, request: &'static str) -> Self {
        Self { operation, request, answer: Some("") }
    }

    /// All calls, before they are made.
    pub(crate) const fn all() -> Self {
        Self { operation: "", request: "", answer: None }
    }

    /// Of these, those that are answered so.
    pub(crate) const fn answered(self, answer: &'static str) -> Self {
        Self { answer: Some(answer), ..self }
    }

    fn are(&self, request: &str, answer: Option<&str>) -> bool {
        let is_moment = match (self.answer, answer) {
            (None, None) => true,
            (Some(words), Some(answer)) => answer.contains(words),
            (None, Some(_)) | (Some(_), None) => false,
        };
        let (head, body) = request.split_once("\r\n\r\n").unwrap_or((request, ""));
        let is_operation = self.operation.is_empty() || operation(head) == self.operation;
        is_moment && is_operation && body.contains(self.request)
    }
}

/// The operation that a head names.
fn operation(head: &str) -> &str {
    let target = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("x-amz-target").then_some(value.trim())
    });
    target.and_then(|target| target.rsplit('.').next()).unwrap_or_default()
}

/// What is done with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Treatment {
    /// After so many that pass.
    Hold(usize),
    Lose(usize),
    Count,
    Refuse(&'static str),
}

/// What becomes of a request or an answer.
enum Fate {
    Passes,
    /// The connection ends.
    Ends,
    /// This is the answer.
    Answered(&'static str),
}

/// How far it has come.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    met: usize,
    is_open: bool,
}

struct Rule {
    calls: Calls,
    treatment: Treatment,
    progress: watch::Sender<Progress>,
}

/// A point in a daemon's life.
pub(crate) struct Point(Arc<Rule>);

impl Point {
    /// Waits until the daemon has come there.
    pub(crate) async fn reached(&self) {
        self.reached_times(1).await;
    }

    /// Waits until it has come there so often.
    pub(crate) async fn reached_times(&self, times: usize) {
        let mut progress = self.0.progress.subscribe();
        let met = progress.wait_for(|progress| progress.met >= times);
        let calls = &self.0.calls;
        let met = timeout(PATIENCE, met).await.unwrap_or_else(|_| panic!("not met: {calls:?}"));
        drop(met.expect("the rule is ours"));
    }

    /// How often it has come there.
    pub(crate) fn met(&self) -> usize {
        self.0.progress.borrow().met
    }

    /// Lets pass what was stopped, and everything from now on.
    pub(crate) fn open(&self) {
        self.0.progress.send_modify(|progress| progress.is_open = true);
    }
}

/// A proxy for one daemon.
pub(crate) struct Proxy {
    pub(crate) url: String,
    state: Arc<State>,
    _server: JoinSet<()>,
}

struct State {
    upstream: String,
    rules: Mutex<Vec<Arc<Rule>>>,
}

impl Proxy {
    /// In front of a server at `http://…`.
    pub(crate) async fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let upstream = upstream.strip_prefix("http://").expect("plain HTTP").to_owned();
        let state = Arc::new(State { upstream, rules: Mutex::default() });
        let mut server = JoinSet::new();
        let serving = Arc::clone(&state);
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(serve(client, Arc::clone(&serving)));
            }
        });
        Self { url, state, _server: server }
    }

    /// Stops these calls, each of them, until the point is opened.
    pub(crate) fn hold(&self, calls: Calls) -> Point {
        self.hold_after(0, calls)
    }

    /// Lets so many of these calls pass, and stops each of the others until the point is opened.
    pub(crate) fn hold_after(&self, passed: usize, calls: Calls) -> Point {
        self.rule(calls, Treatment::Hold(passed))
    }

    /// Loses the answers to the first of these calls.
    pub(crate) fn lose(&self, calls: Calls, times: usize) -> Point {
        self.rule(calls, Treatment::Lose(times))
    }

    /// Answers these calls with this refusal, each of them, until the point is opened.
    pub(crate) fn refuse(&self, calls: Calls, body: &'static str) -> Point {
        self.rule(calls, Treatment::Refuse(body))
    }

    /// Counts these calls.
    pub(crate) fn count(&self, calls: Calls) -> Point {
        self.rule(calls, Treatment::Count)
    }

    fn rule(&self, calls: Calls, treatment: Treatment) -> Point {
        let rule = Arc::new(Rule { calls, treatment, progress: watch::Sender::default() });
        self.state.rules.lock().expect("nobody panics").push(Arc::clone(&rule));
        Point(rule)
    }
}

impl State {
    /// Whether a request or an answer goes on.
    async fn fate(&self, request: &str, answer: Option<&str>, client: &TcpStream) -> Fate {
        let rules = self.rules.lock().expect("nobody panics").clone();
        for rule in rules.iter().filter(|rule| rule.calls.are(request, answer)) {
            let mut progress = rule.progress.subscribe();
            if progress.borrow_and_update().is_open {
                continue;
            }
            rule.progress.send_modify(|progress| progress.met += 1);
            let met = rule.progress.borrow().met;
            match rule.treatment {
                Treatment::Count => {}
                Treatment::Hold(passed) if met <= passed => {}
                Treatment::Lose(times) if met > times => {}
                Treatment::Lose(_) => return Fate::Ends,
                Treatment::Refuse(body) => return Fate::Answered(body),
                Treatment::Hold(_) => {
                    tokio::select! {
                        biased;
                        () = gone(client) => return Fate::Ends,
                        opened = progress.wait_for(|progress| progress.is_open) => {
                            if opened.is_err() {
                                return Fate::Ends;
                            }
                        }
                    }
                }
            }
        }
        Fate::Passes
    }
}

/// One connection; it ends with the first call that does not pass.
async fn serve(mut client: TcpStream, state: Arc<State>) {
    client.set_nodelay(true).expect("a socket");
    while let Some(request) = message(&mut client).await {
        let text = String::from_utf8_lossy(&request);
        match state.fate(&text, None, &client).await {
            Fate::Passes => {}
            Fate::Ends => return,
            Fate::Answered(body) => {
                let answer = refusal(body);
                if client.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
                continue;
            }
        }
        let Ok(mut server) = TcpStream::connect(&state.upstream).await else { return };
        if server.write_all(&request).await.is_err() {
            return;
        }
        // A long poll of a daemon that is no more must not take messages.
        let answer = tokio::select! {
            biased;
            answer = message(&mut server) => answer,
            () = gone(&client) => return,
        };
        let Some(answer) = answer else { return };
        let told = String::from_utf8_lossy(&answer);
        let Fate::Passes = state.fate(&text, Some(&told), &client).await else { return };
        if client.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// An answer as AWS refuses a call.
fn refusal(body: &str) -> String {
    format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/x-amz-json-1.0\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Waits until the other side has closed its half of the connection.
async fn gone(stream: &TcpStream) {
    match stream.peek(&mut [0]).await {
        Ok(0) | Err(_) => {}
        // The next request, before the answer to this one: clients of AWS send none.
        Ok(_) => std::future::pending().await,
    }
}

/// Asks once, on a connection of its own; gives the status line and the body.
pub(crate) async fn ask(address: &str, request: &str) -> (String, Vec<u8>) {
    let mut server = TcpStream::connect(address).await.expect("the simulator listens");
    server.write_all(request.as_bytes()).await.expect("sent");
    let answer = message(&mut server).await.expect("an answer");
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    (head.lines().next().unwrap_or_default().to_owned(), answer[end + 4..].to_vec())
}

/// One HTTP message with a `Content-Length`; none at the end of the connection.
pub(crate) async fn message(from: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.map_or(0, |length| length.trim().parse().expect("digits"));
            if bytes.len() >= end + 4 + length {
                return Some(bytes);
            }
        }
        let read = from.read(&mut buffer).await.ok()?;
        if read == 0 {
            return None;
        }
        bytes.extend_from_slice(&buffer[..read]);
    }
}

//! What stands between a client and DynamoDB when things go wrong: counts the calls that pass, and
//! from a chosen one on lets nothing through any more, as if the process had been killed there.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Where a client's life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Never.
    Never,
    /// Before the n-th call is done.
    Before(usize),
    /// After the n-th call is done, before its reply.
    After(usize),
    /// The reply to the n-th call is lost; the client lives on, and sends it again.
    Reply(usize),
    /// The replies to all calls of this operation are lost.
    RepliesTo(&'static str),
}

/// A proxy for one client.
pub(crate) struct Proxy {
    pub(crate) url: String,
    state: Arc<State>,
    _server: JoinSet<()>,
}

struct State {
    upstream: String,
    cut: Mutex<Cut>,
    calls: Mutex<Vec<String>>,
}

/// What becomes of a call.
enum Fate {
    Pass,
    Refuse,
    LoseReply,
}

impl Proxy {
    /// In front of a server at `http://…`.
    pub(crate) async fn start(upstream: &str, cut: Cut) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let upstream = upstream.strip_prefix("http://").unwrap().to_owned();
        let state = Arc::new(State { upstream, cut: Mutex::new(cut), calls: Mutex::default() });
        let mut server = JoinSet::new();
        let serving = Arc::clone(&state);
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                connections.spawn(serve(connection, Arc::clone(&serving)));
            }
        });
        Self { url, state, _server: server }
    }

    /// From now on, by the calls that are counted from now on.
    pub(crate) fn set(&self, cut: Cut) {
        *self.state.cut.lock().unwrap() = cut;
        self.state.calls.lock().unwrap().clear();
    }

    /// The calls that came, by the names of their operations.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.state.calls.lock().unwrap().clone()
    }
}

impl State {
    fn fate(&self, operation: String) -> Fate {
        let mut calls = self.calls.lock().unwrap();
        let cut = *self.cut.lock().unwrap();
        let is_meant = matches!(cut, Cut::RepliesTo(meant) if meant == operation);
        calls.push(operation);
        let number = calls.len();
        match cut {
            Cut::RepliesTo(_) if is_meant => Fate::LoseReply,
            Cut::Before(from) if number >= from => Fate::Refuse,
            Cut::After(from) if number == from => Fate::LoseReply,
            Cut::After(from) if number > from => Fate::Refuse,
            Cut::Reply(of) if number == of => Fate::LoseReply,
            _ => Fate::Pass,
        }
    }
}

/// One connection; it ends with the first call that does not pass.
async fn serve(mut client: TcpStream, state: Arc<State>) {
    while let Some(request) = message(&mut client).await {
        let head = String::from_utf8_lossy(&request).to_lowercase();
        let operation = head
            .lines()
            .find_map(|line| line.strip_prefix("x-amz-target:"))
            .and_then(|target| target.trim().rsplit('.').next())
            .unwrap_or("?")
            .to_owned();
        let fate = state.fate(operation);
        if let Fate::Refuse = fate {
            return;
        }
        let Ok(mut server) = TcpStream::connect(&state.upstream).await else { return };
        if server.write_all(&request).await.is_err() {
            return;
        }
        let Some(answer) = message(&mut server).await else { return };
        if let Fate::LoseReply = fate {
            return;
        }
        if client.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// One HTTP message with a `Content-Length`; none at the end of the connection.
async fn message(from: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
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

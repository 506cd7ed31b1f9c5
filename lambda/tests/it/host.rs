//! The other side of the Lambda Runtime API: starts a function's real binary, hands it events one
//! at a time, and takes its answers.
//!
//! As Lambda has it: a process that ends is replaced with the next event, and one that takes longer
//! than its time is killed. Each process has a Runtime API of its own, so that nothing of one life
//! reaches the next.

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex as AsyncMutex, Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;

const RUNTIME: &str = "/2018-06-01/runtime/";
/// Longer than any function of ours needs to start.
const START: Duration = Duration::from_secs(20);

/// What came of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Invoked {
    /// The function's answer.
    Answer(Bytes),
    /// The function's error: `{"errorType", "errorMessage"}`.
    Error(Bytes),
    /// It ended before it answered.
    Ended,
    /// It had not answered in its time, and was killed.
    TimedOut,
}

/// A function, as Lambda keeps it.
pub(crate) struct Function {
    binary: PathBuf,
    variables: Vec<(String, String)>,
    process: AsyncMutex<Option<Process>>,
    /// Tells a running process to end, in the middle of an event.
    end: Notify,
    log: Arc<Mutex<String>>,
}

/// One life of it.
struct Process {
    child: Child,
    events: mpsc::Sender<Event>,
    /// Grows with each call for the next event.
    asked: watch::Receiver<u64>,
    started: Instant,
    cold: Duration,
    reader: JoinSet<()>,
    _server: JoinSet<()>,
}

struct Event {
    text: Bytes,
    deadline_ms: u128,
    answer: oneshot::Sender<Invoked>,
}

/// One Runtime API.
struct Api {
    events: AsyncMutex<mpsc::Receiver<Event>>,
    open: Mutex<HashMap<String, oneshot::Sender<Invoked>>>,
    asked: watch::Sender<u64>,
}

impl Function {
    /// It is started with the first event.
    pub(crate) fn new(binary: &Path, variables: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self {
            binary: binary.to_owned(),
            variables: variables.iter().map(owned).collect(),
            process: AsyncMutex::new(None),
            end: Notify::new(),
            log: Arc::default(),
        }
    }

    /// Hands it an event, and waits for what comes of it.
    pub(crate) async fn invoke(&self, event: impl Into<Bytes>, within: Duration) -> Invoked {
        let mut process = self.process.lock().await;
        let ended = process.as_mut().is_none_or(|it| !matches!(it.child.try_wait(), Ok(None)));
        if ended {
            *process = None;
            match self.spawn().await {
                Some(started) => *process = Some(started),
                None => return Invoked::Ended,
            }
        }
        let Some(running) = process.as_mut() else { return Invoked::Ended };
        let (answer, answered) = oneshot::channel();
        let deadline = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970") + within;
        let event = Event { text: event.into(), deadline_ms: deadline.as_millis(), answer };
        if running.events.send(event).await.is_err() {
            return Invoked::Ended;
        }
        let invoked = tokio::select! {
            biased;
            answered = answered => answered.unwrap_or(Invoked::Ended),
            _ = running.child.wait() => Invoked::Ended,
            () = self.end.notified() => {
                running.child.kill().await.expect("a process that runs can be killed");
                Invoked::Ended
            }
            () = tokio::time::sleep(within) => Invoked::TimedOut,
        };
        if matches!(invoked, Invoked::Ended | Invoked::TimedOut) {
            *process = None;
        }
        invoked
    }

    /// Starts it, if it does not run, and says how long it took until it asked for an event.
    pub(crate) async fn cold_start(&self) -> Duration {
        let mut process = self.process.lock().await;
        *process = self.spawn().await;
        process.as_ref().expect("it starts").cold
    }

    /// Kills it in the middle of its event, as SIGKILL does.
    pub(crate) fn kill(&self) {
        self.end.notify_one();
    }

    /// Its process, where it runs.
    pub(crate) async fn pid(&self) -> Option<u32> {
        self.process.lock().await.as_ref()?.child.id()
    }

    /// The most memory that its process has had, in KiB; none where it does not run.
    pub(crate) async fn memory_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid().await?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    }

    /// Ends it, and gives everything that it has logged in all its lives.
    pub(crate) async fn stop(&self) -> String {
        if let Some(mut process) = self.process.lock().await.take() {
            process.child.kill().await.expect("a process of ours can be killed");
            while process.reader.join_next().await.is_some() {}
        }
        self.log()
    }

    /// What it has logged so far, as far as it was read.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("nobody panics").clone()
    }

    async fn spawn(&self) -> Option<Process> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let (events, receiver) = mpsc::channel(1);
        let (asked, asks) = watch::channel(0);
        let open = Mutex::default();
        let api = Arc::new(Api { events: AsyncMutex::new(receiver), open, asked });
        let mut server = JoinSet::new();
        server.spawn(serve(listener, api));
        let mut command = Command::new(&self.binary);
        let name = self.binary.file_name().unwrap_or_default();
        command
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", address)
            .env("AWS_LAMBDA_FUNCTION_NAME", name)
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let started = Instant::now();
        let mut child = command.spawn().expect("the binary is built and can be started");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let log = Arc::clone(&self.log);
        let mut reader = JoinSet::new();
        reader.spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let mut log = log.lock().expect("nobody panics");
                log.push_str(&line);
                log.push('\n');
            }
        });
        let cold = started.elapsed();
        let mut process =
            Process { child, events, asked: asks, started, cold, reader, _server: server };
        process.ready().await.then_some(process)
    }
}

impl Process {
    /// Waits until it asks for its first event; false where it ends before.
    async fn ready(&mut self) -> bool {
        let asked = tokio::time::timeout(START, self.asked.wait_for(|asked| *asked > 0));
        let is_ready = tokio::select! {
            biased;
            asked = asked => {
                assert!(asked.is_ok(), "it starts in time");
                true
            }
            _ = self.child.wait() => false,
        };
        self.cold = self.started.elapsed();
        if !is_ready {
            // What it had to say is read to its end.
            while self.reader.join_next().await.is_some() {}
        }
        is_ready
    }
}

async fn serve(listener: TcpListener, api: Arc<Api>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).expect("a socket");
        let api = Arc::clone(&api);
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let api = Arc::clone(&api);
                async move { Ok::<_, Infallible>(api.answer(request).await) }
            });
            let http = hyper::server::conn::http1::Builder::new();
            // A connection that breaks is a process that ended.
            drop(http.serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

impl Api {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let call = path.strip_prefix(RUNTIME).unwrap_or_default();
        if call == "invocation/next" {
            return self.next().await;
        }
        let body = request.into_body().collect().await.map(|body| body.to_bytes());
        let mut parts = call.split('/').skip(1);
        let (Ok(body), Some(id), Some(what)) = (body, parts.next(), parts.next()) else {
            return status(StatusCode::NOT_FOUND);
        };
        let invoked = match what {
            "response" => Invoked::Answer(body),
            "error" => Invoked::Error(body),
            _ => return status(StatusCode::NOT_FOUND),
        };
        let open = self.open.lock().expect("nobody panics").remove(id);
        match open.map(|answer| answer.send(invoked)) {
            Some(Ok(())) => status(StatusCode::ACCEPTED),
            Some(Err(_)) | None => status(StatusCode::BAD_REQUEST),
        }
    }

    async fn next(&self) -> Response<Full<Bytes>> {
        self.asked.send_modify(|asked| *asked += 1);
        let Some(event) = self.events.lock().await.recv().await else {
            return std::future::pending().await;
        };
        let id = format!("8476a536-e9f4-11e8-9739-{:012}", *self.asked.borrow());
        self.open.lock().expect("nobody panics").insert(id.clone(), event.answer);
        Response::builder()
            .header("lambda-runtime-aws-request-id", id)
            .header("lambda-runtime-deadline-ms", event.deadline_ms.to_string())
            .header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:1:function:f")
            .header("content-type", "application/json")
            .body(Full::new(event.text))
            .expect("lawful headers")
    }
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

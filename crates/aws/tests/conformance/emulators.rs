//! Emulators on ports of loopback that the system chooses, each for one test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dynoxide::Database;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::subjects::ACCOUNT;

/// Looks at a port that is about to open, and the pause between: nobody tells when it does.
const LOOKS_MAX: u32 = 600;
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// DynamoDB in this process.
pub(crate) struct Dynoxide {
    pub(crate) url: String,
    _server: JoinSet<()>,
}

impl Dynoxide {
    pub(crate) async fn start() -> Self {
        let database = Database::memory().expect("a database in memory can be opened");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port of loopback");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let mut server = JoinSet::new();
        server.spawn(dynoxide::server::serve_on(listener, database));
        Self { url, _server: server }
    }
}

/// SQS and DynamoDB in a process of their own, which ends with this one.
pub(crate) struct Ministack {
    pub(crate) url: String,
    child: Child,
    _reserved: TcpSocket,
    _home: tempfile::TempDir,
}

/// Ends with its parent, even where that is killed; then what the package's own command does.
const MINISTACK: &str = "\
import ctypes, signal
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
from ministack.app import main
main()
";

impl Ministack {
    pub(crate) async fn start() -> Self {
        let python = python();
        let reserved = reserve();
        let port = reserved.local_addr().expect("it is bound").port();
        let home = tempfile::tempdir().expect("a directory");
        let child = Command::new(&python)
            .args(["-c", MINISTACK])
            .env_clear()
            .env("HOME", home.path())
            .env("PATH", "/usr/bin:/bin")
            .env("BIND_HOST", "127.0.0.1")
            .env("GATEWAY_PORT", port.to_string())
            .env("MINISTACK_ACCOUNT_ID", ACCOUNT)
            .current_dir(home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("python starts");
        let mut ministack = Self {
            url: format!("http://127.0.0.1:{port}"),
            child,
            _reserved: reserved,
            _home: home,
        };
        for _ in 0..LOOKS_MAX {
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return ministack;
            }
            let ended = ministack.child.try_wait().expect("a child can be looked at");
            assert!(ended.is_none(), "ministack ended at once: {ended:?}; run scripts/setup");
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        panic!("ministack does not listen on port {port}");
    }
}

impl Drop for Ministack {
    fn drop(&mut self) {
        // It has nothing to lose. What cannot be killed has ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A port of loopback that the kernel gives to nobody else while the socket lives. Nobody listens
/// there; who names it may, where it allows that the address is used again.
pub(crate) fn reserve() -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("an option of every socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a port of loopback");
    socket
}

/// The Python that has ministack.
fn python() -> PathBuf {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/bin/python");
    let package = Command::new(&python).args(["-c", "import ministack"]).output();
    let is_there = package.is_ok_and(|package| package.status.success());
    assert!(is_there, "ministack is not in .venv: run scripts/setup");
    python
}

//! What systemd is to a service: a socket that hears of its state, and environment variables.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use super::eventually;

/// No datagram of ours is longer.
const DATAGRAM_BYTES_MAX: usize = 8192;

/// A supervisor that only listens.
pub(crate) struct Supervisor {
    address: String,
    heard: Arc<Mutex<Vec<String>>>,
    _folder: TempDir,
}

impl Supervisor {
    /// Listens at a path.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("notify");
        let address = path.to_str().expect("text").to_owned();
        Self::listen(UnixDatagram::bind(path).expect("a socket"), address, folder)
    }

    /// Listens at a name in the abstract space.
    pub(crate) fn start_abstract() -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        // As unique as the folder.
        let name = folder.path().to_str().expect("text").replace('/', "-");
        let address = SocketAddr::from_abstract_name(name.as_bytes()).expect("a name");
        let socket = UnixDatagram::bind_addr(&address).expect("a socket");
        Self::listen(socket, format!("@{name}"), folder)
    }

    fn listen(socket: UnixDatagram, address: String, folder: TempDir) -> Self {
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let hearing = Arc::clone(&heard);
        std::thread::spawn(move || {
            let mut buffer = [0; DATAGRAM_BYTES_MAX];
            while let Ok(length) = socket.recv(&mut buffer) {
                let text = String::from_utf8(buffer[..length].to_vec()).expect("text");
                hearing.lock().expect("nobody panics").extend(text.lines().map(str::to_owned));
            }
        });
        Self { address, heard, _folder: folder }
    }

    /// Has a command supervised, with a watchdog of this patience.
    pub(crate) fn supervise(&self, command: &mut Command, patience: Option<Duration>) {
        command.env("NOTIFY_SOCKET", &self.address);
        if let Some(patience) = patience {
            command.env("WATCHDOG_USEC", patience.as_micros().to_string());
        }
    }

    /// Every line heard so far.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("nobody panics").clone()
    }

    /// How often a line was heard.
    pub(crate) fn count(&self, line: &str) -> usize {
        self.heard().iter().filter(|heard| *heard == line).count()
    }

    /// The status that was heard last.
    pub(crate) fn status(&self) -> String {
        let heard = self.heard();
        let mut statuses = heard.iter().filter_map(|line| line.strip_prefix("STATUS="));
        statuses.next_back().unwrap_or_default().to_owned()
    }

    /// Waits until a line was heard so often.
    pub(crate) async fn hears(&self, line: &str, times: usize) {
        eventually(line, async || self.count(line) >= times).await;
    }
}

//! Posthaste, but every answer of its API comes later: what a comparison must notice.
//!
//! ```text
//! SLOWED_BINARY=target/release/posthaste SLOWED_MS=5 \
//!     loadgen ab --a target/release/posthaste --b target/debug/examples/slowed steady
//! ```
//!
//! It is started as `posthaste serve … --set server.listen=ADDRESS …` would be, and becomes exactly
//! that, on another port, by replacing itself; so whoever started it measures the real process.
//! Before, it leaves behind a forwarder that listens on ADDRESS, and delays. The forwarder ends
//! when the process that it was left behind by does.

use std::env;
use std::error::Error;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, parent_id};
use std::process::{self, Command, ExitCode};
use std::thread;
use std::time::Duration;

use posthaste_loadgen::system::reserve;

const LISTEN: &str = "server.listen=";
/// The first argument of the forwarder.
const FORWARD: &str = "--forward";
/// How often the forwarder looks whether it is still needed.
const LOOK_EVERY: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let done = match arguments.as_slice() {
        [first, listen, target] if first == FORWARD => forward(listen, target),
        _ => become_posthaste(arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            _ = writeln!(io::stderr(), "slowed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Leaves the forwarder behind and becomes the real program. Returns only where that fails.
fn become_posthaste(mut arguments: Vec<String>) -> Result<(), Box<dyn Error>> {
    let binary = env::var("SLOWED_BINARY").map_err(|_| "SLOWED_BINARY is not set")?;
    // Anything but `serve` has no listener to delay.
    if let Some(listen) = arguments.iter_mut().find(|argument| argument.starts_with(LISTEN)) {
        // Nobody else is given this port while the forwarder has the socket.
        let (free, kept) = reserve()?;
        let asked = listen[LISTEN.len()..].to_owned();
        *listen = format!("{LISTEN}{free}");
        let mut forwarder = Command::new(env::current_exe()?);
        forwarder.args([FORWARD, &asked, &free.to_string()]);
        forwarder.stdin(OwnedFd::from(kept)).spawn()?;
    }
    Err(Command::new(binary).args(arguments).exec().into())
}

fn forward(listen: &str, target: &str) -> Result<(), Box<dyn Error>> {
    let delay = env::var("SLOWED_MS").ok().map_or(Ok(5), |text| text.parse())?;
    let delay = Duration::from_millis(delay);
    let target: SocketAddr = target.parse()?;
    let listener = TcpListener::bind(listen)?;
    let parent = parent_id();
    // Orphans have another parent; by then nobody needs this process.
    thread::spawn(move || {
        while parent_id() == parent {
            thread::sleep(LOOK_EVERY);
        }
        end();
    });
    for client in listener.incoming() {
        let client = client?;
        // A daemon that is not up yet refuses, and so does its forwarder, by closing.
        let Ok(server) = TcpStream::connect(target) else { continue };
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from, to) = (client.try_clone()?, server.try_clone()?);
        thread::spawn(move || copy(from, to, Duration::ZERO));
        thread::spawn(move || copy(server, client, delay));
    }
    Ok(())
}

#[expect(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "threads hold connections; nothing is to be saved"
)]
fn end() -> ! {
    process::exit(0)
}

/// Copies what arrives, each piece after the delay, until either side is gone.
fn copy(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let mut piece = [0; 65_536];
    while let Ok(length) = from.read(&mut piece) {
        if length == 0 {
            break;
        }
        if !delay.is_zero() {
            thread::sleep(delay);
        }
        if to.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    // Already gone is as good.
    _ = to.shutdown(Shutdown::Write);
}

//! What systemd hears from us: the protocol of `sd_notify`, over the socket that it names.
//!
//! ```text
//! READY=1                          started, or reloaded
//! RELOADING=1 MONOTONIC_USEC=…     reloading, until READY=1
//! STOPPING=1                       draining
//! STATUS=…                         one line for people
//! WATCHDOG=1                       progress was made
//! EXTEND_TIMEOUT_USEC=…            starting or stopping takes at least this much longer
//! ```
//!
//! Own code instead of a crate: the one that there is (`sd-notify`) waits where the supervisor does
//! not read, which would let a busy process 1 hold a thread of ours; the rest of it is as short as
//! this. Without a socket nothing is opened and nothing is sent.
//!
//! Invariant: never blocks, never fails the process. A datagram that does not get through is lost,
//! and the first one that is lost is logged.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tracing::warn;

/// Where the supervisor listens.
const SOCKET_VARIABLE: &str = "NOTIFY_SOCKET";
/// How long it waits for a sign of life, in microseconds.
const WATCHDOG_VARIABLE: &str = "WATCHDOG_USEC";
/// Of which process.
const WATCHDOG_PID_VARIABLE: &str = "WATCHDOG_PID";
/// No status is longer; systemd cuts what it shows anyway.
const STATUS_BYTES_MAX: usize = 1024;

/// One fact about the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State<'a> {
    /// It serves; or the reload is over.
    Ready,
    /// It reads its configuration again.
    Reloading,
    /// It stops.
    Stopping,
    /// What it does, for people.
    Status(&'a str),
    /// It makes progress.
    Watchdog,
    /// Starting or stopping takes at least this much longer, counted from now.
    Extend(Duration),
}

/// The way to the supervisor, where there is one.
#[derive(Debug)]
pub struct Notifier {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
    has_lost: AtomicBool,
}

impl Notifier {
    /// To whoever started this process, if that is a supervisor. An address that cannot be used is
    /// logged, and then nobody is told anything.
    #[must_use]
    pub fn from_environment() -> Self {
        let address = env::var_os(SOCKET_VARIABLE).filter(|address| !address.is_empty());
        let socket = address.and_then(|address| match open(&address) {
            Ok(socket) => Some(socket),
            Err(error) => {
                warn!(?address, %error, "the supervisor's socket cannot be used");
                None
            }
        });
        let watchdog = socket.is_some().then(|| watchdog(|name| env::var_os(name))).flatten();
        Self { socket, watchdog, has_lost: AtomicBool::new(false) }
    }

    /// Whether anybody listens.
    #[must_use]
    pub const fn is_heard(&self) -> bool {
        self.socket.is_some()
    }

    /// How long the supervisor waits for [`State::Watchdog`] before it ends the process.
    #[must_use]
    pub const fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Tells the supervisor, in one datagram.
    pub fn send(&self, states: &[State<'_>]) {
        let Some((socket, address)) = &self.socket else { return };
        let sent = socket.send_to_addr(datagram(states).as_bytes(), address);
        // A supervisor that is busy hears the next one.
        if let Err(error) = sent
            && error.kind() != ErrorKind::WouldBlock
            && !self.has_lost.swap(true, Ordering::Relaxed)
        {
            warn!(%error, "the supervisor is not told how the process is");
        }
    }
}

/// A socket, and the address to send to: a path, or a name in the abstract space after an `@`.
fn open(address: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match address.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(address)?,
        _ => return Err(io::Error::new(ErrorKind::Unsupported, "neither a path nor an @name")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// How long the supervisor waits, where it watches this very process.
fn watchdog(variable: impl Fn(&str) -> Option<OsString>) -> Option<Duration> {
    let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
    if variable(WATCHDOG_PID_VARIABLE).is_some()
        && number(WATCHDOG_PID_VARIABLE) != Some(u64::from(std::process::id()))
    {
        return None;
    }
    number(WATCHDOG_VARIABLE).filter(|micros| *micros > 0).map(Duration::from_micros)
}

fn datagram(states: &[State<'_>]) -> String {
    let mut text = String::new();
    for state in states {
        let written = match state {
            State::Ready => text.write_str("READY=1\n"),
            State::Reloading => writeln!(text, "RELOADING=1\nMONOTONIC_USEC={}", monotonic_us()),
            State::Stopping => text.write_str("STOPPING=1\n"),
            State::Status(status) => writeln!(text, "STATUS={}", one_line(status)),
            State::Watchdog => text.write_str("WATCHDOG=1\n"),
            State::Extend(time) => writeln!(text, "EXTEND_TIMEOUT_USEC={}", time.as_micros()),
        };
        debug_assert!(written.is_ok(), "writing to a string cannot fail");
    }
    text
}

/// The status without what would end it early, cut at its greatest length.
fn one_line(status: &str) -> String {
    let mut line: String = status.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.truncate(line.floor_char_boundary(STATUS_BYTES_MAX));
    line
}

/// The clock that systemd compares with: not [`crate::clock::Clock`]'s, which begins with us.
fn monotonic_us() -> u128 {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default().as_micros()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening(name: &OsStr) -> (UnixDatagram, Notifier) {
        let (_, address) = open(name).unwrap();
        let server = UnixDatagram::bind_addr(&address).unwrap();
        server.set_nonblocking(true).unwrap();
        let socket = Some(open(name).unwrap());
        (server, Notifier { socket, watchdog: None, has_lost: AtomicBool::new(false) })
    }

    fn received(server: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        let length = server.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// Both kinds of addresses that systemd names reach whoever listens there.
    #[test]
    fn a_path_and_an_abstract_name_are_reached() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("@posthaste-notify-{}", std::process::id());
        for address in [path.as_os_str(), OsStr::new(&name)] {
            let (server, notifier) = listening(address);
            notifier.send(&[State::Ready, State::Status("a\nb")]);
            assert_eq!(received(&server), "READY=1\nSTATUS=a b\n");
        }
    }

    /// A supervisor that never reads costs what it does not read, and no time.
    #[test]
    fn a_supervisor_that_does_not_read_blocks_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let (server, notifier) = listening(folder.path().join("notify").as_os_str());
        for _ in 0..100_000 {
            notifier.send(&[State::Watchdog]);
        }
        assert!(!notifier.has_lost.load(Ordering::Relaxed), "a full socket is no fault");
        assert_eq!(received(&server), "WATCHDOG=1\n");
        drop(server);
        notifier.send(&[State::Watchdog]);
        assert!(notifier.has_lost.load(Ordering::Relaxed), "one that went away is");
    }

    #[test]
    fn a_reload_carries_the_time() {
        let before = monotonic_us();
        let text = datagram(&[State::Reloading]);
        let number = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim_end();
        assert!((before..=monotonic_us()).contains(&number.parse().unwrap()), "{text}");
        let text = datagram(&[State::Extend(Duration::from_millis(1500)), State::Stopping]);
        assert_eq!(text, "EXTEND_TIMEOUT_USEC=1500000\nSTOPPING=1\n");
    }

    #[test]
    fn an_address_of_another_kind_is_refused() {
        for address in ["vsock:2:9", "relative", "@"] {
            let opened = open(OsStr::new(address));
            // The empty abstract name is one that the system would draw.
            assert!(opened.is_err() || address == "@", "{address}");
        }
        assert!(open(OsStr::new(&format!("/{}", "x".repeat(200)))).is_err());
    }

    #[test]
    fn a_watchdog_is_for_the_process_that_it_names() {
        let environment = |pairs: &[(&str, String)]| {
            let pairs = pairs.to_vec();
            watchdog(move |name| {
                pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
            })
        };
        let own = std::process::id();
        let usec = |text: &str| (WATCHDOG_VARIABLE, text.to_owned());
        let pid = |id: u32| (WATCHDOG_PID_VARIABLE, id.to_string());
        let half = Some(Duration::from_millis(500));
        assert_eq!(environment(&[usec("500000")]), half);
        assert_eq!(environment(&[usec("500000"), pid(own)]), half);
        assert_eq!(environment(&[usec("500000"), pid(own + 1)]), None);
        for bad in ["0", "-1", "x", "99999999999999999999999"] {
            assert_eq!(environment(&[usec(bad)]), None, "{bad}");
        }
    }

    #[test]
    fn a_long_status_is_cut_between_characters() {
        let line = one_line(&"é".repeat(STATUS_BYTES_MAX));
        assert_eq!(line.len(), STATUS_BYTES_MAX);
    }
}

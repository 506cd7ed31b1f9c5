//! From vetted addresses to a connection: TCP, then TLS.
//!
//! Addresses are tried one after the other, each with its share of the time that is left, the
//! last with all of it. That is less than happy eyeballs (RFC 8305), which would race families
//! for the sake of a person who waits; a delivery does not, and one connection at a time is kinder
//! to endpoints.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use posthaste_domain::ErrorClass;
use rustls::pki_types::ServerName;
use smallvec::SmallVec;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tracing::debug;

use crate::clock::Clock;
use crate::connection::{Connection, Socket, Stream, Wire};
use crate::egress::{Egress, is_silence};
use crate::failure::{Failure, chain};
use crate::pool::OpenToken;
use crate::progress::{Progress, Stage, micros};

/// How long the peer's machine may leave what we send unacknowledged. One that vanished without a
/// word (a NAT forgot it, it lost power) is noticed well before the attempt's deadline, so that a
/// request on a reused connection still goes out again on a fresh one. Being slow to answer is
/// another matter: the machine acknowledges what its server has not read yet, as long as it has
/// room for it. Where it may not have, it gets the attempt's whole time: see [`LARGE_BYTES`].
#[cfg(target_os = "linux")]
pub(crate) const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(10);

/// A machine takes payloads up to this size whether its server reads them or not, in bytes.
#[cfg(target_os = "linux")]
pub(crate) const LARGE_BYTES: usize = 32 << 10;

/// Makes connections.
pub(crate) struct Connector {
    pub(crate) tls: TlsConnector,
    pub(crate) clock: Rc<dyn Clock>,
    pub(crate) time_max: Duration,
    pub(crate) egress: RefCell<Egress>,
}

/// Where a connection goes.
pub(crate) struct Destination<'a> {
    /// Vetted addresses, in the order of trying.
    pub(crate) addresses: SmallVec<[IpAddr; 4]>,
    pub(crate) port: u16,
    /// Whom the certificate must name; none asks for no TLS.
    pub(crate) server_name: Option<&'a ServerName<'static>>,
}

impl Connector {
    /// Connects to the first address that takes a connection.
    ///
    /// # Errors
    /// The [`Failure`] of the last address, or that of the machine's own lack of resources.
    pub(crate) async fn connect(
        &self,
        destination: Destination<'_>,
        token: OpenToken,
        progress: &mut Progress,
    ) -> Result<Connection, Failure> {
        let started_us = self.clock.monotonic_us();
        let first = destination.addresses.first().copied();
        progress.stage = Stage::Connecting { first, since_us: started_us };
        let connected = self.connect_tcp(&destination, started_us).await;
        progress.stage = Stage::Securing;
        let connected_us = self.clock.monotonic_us();
        progress.phases.connect_us = micros(started_us, connected_us);
        let wire = connected?;
        let stream = match destination.server_name {
            None => Stream::plain(&wire),
            Some(name) => {
                let left = self.time_left(started_us);
                let secured = self.secure(&wire, name.clone(), left).await;
                progress.phases.tls_us = micros(connected_us, self.clock.monotonic_us());
                secured?
            }
        };
        Ok(Connection::new(stream, wire, token))
    }

    async fn connect_tcp(
        &self,
        destination: &Destination<'_>,
        started_us: u64,
    ) -> Result<Rc<Wire>, Failure> {
        let Destination { addresses, port, .. } = destination;
        let mut failure = Failure::charged(ErrorClass::DnsNoAddress, "no address to connect to");
        let mut is_silent = true;
        for (tried, address) in addresses.iter().enumerate() {
            let untried = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
            let share = self.time_left(started_us) / untried;
            let target = SocketAddr::new(*address, *port);
            match tokio::time::timeout(share, TcpStream::connect(target)).await {
                Ok(Ok(tcp)) => {
                    tune(&tcp);
                    self.egress.borrow_mut().shown(self.clock.monotonic_us());
                    return Ok(Wire::new(tcp, *address));
                }
                Ok(Err(error)) => {
                    if let Some(local) = Failure::local_resource(&error, *address) {
                        return Err(local);
                    }
                    is_silent &= is_silence(&error, *address);
                    failure = refused(&error, target);
                }
                Err(_elapsed) => failure = self.timed_out(&format!("{target} did not answer")),
            }
        }
        let (mut egress, now_us) = (self.egress.borrow_mut(), self.clock.monotonic_us());
        match addresses.first() {
            Some(first) if is_silent => {
                if egress.is_down(*first, started_us, now_us) {
                    failure.charged = false;
                    failure.text.push_str("; nobody else answers, so our own network is at fault");
                }
            }
            _ => egress.shown(now_us),
        }
        Err(failure)
    }

    async fn secure(
        &self,
        wire: &Rc<Wire>,
        name: ServerName<'static>,
        left: Duration,
    ) -> Result<Stream, Failure> {
        let handshake = self.tls.connect(name, Socket(Rc::clone(wire)));
        match tokio::time::timeout(left, handshake).await {
            Ok(Ok(stream)) => Ok(Stream::tls(stream)),
            Ok(Err(error)) => Err(Failure::tls(&error)),
            Err(_elapsed) => Err(self.timed_out("the TLS handshake did not end")),
        }
    }

    fn time_left(&self, started_us: u64) -> Duration {
        let spent = self.clock.monotonic_us().saturating_sub(started_us);
        self.time_max.saturating_sub(Duration::from_micros(spent))
    }

    fn timed_out(&self, what: &str) -> Failure {
        let limit = self.time_max.as_millis();
        let text = format!("{what} within the {limit} ms for connecting");
        Failure::charged(ErrorClass::ConnectTimeout, text)
    }
}

/// Options that make things better where they can be set, and are not missed where not.
fn tune(tcp: &TcpStream) {
    let socket = SockRef::from(tcp);
    // Requests go out in one write, so that waiting for more only costs time.
    let set = socket.set_tcp_nodelay(true);
    #[cfg(target_os = "linux")]
    let set = set.and_then(|()| socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX)));
    if let Err(error) = set {
        debug!(%error, "cannot set a socket option");
    }
}

fn refused(error: &io::Error, target: SocketAddr) -> Failure {
    let text = format!("cannot connect to {target}: {}", chain(error));
    Failure::charged(ErrorClass::ConnectFailed, text)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Neither has another sign within the time that a test may take.
    #[test]
    fn a_socket_sends_at_once_and_gives_up_a_vanished_peer() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            tune(&tcp);
            let socket = SockRef::from(&tcp);
            assert!(socket.tcp_nodelay().unwrap());
            #[cfg(target_os = "linux")]
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(UNACKNOWLEDGED_MAX));
        });
    }
}

//! The client's pool with connections that only rest: what it costs to find one and to put it
//! back, with and without the question to its socket.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};

use posthaste_delivery::pool::{Limits, OpenToken, Pool, Pooled};
use posthaste_delivery::{Endpoint, TargetKey};
use posthaste_domain::{SigningSecrets, TargetUrl};

use crate::fixture;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Whether connections have sockets, which are asked at each checkout as the client asks its own:
/// by a look at what came in, one system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sockets {
    /// The pool's own work alone.
    None,
    /// Connected ones, on loopback.
    Asked,
}

/// One resting connection for each of some targets.
#[derive(Debug)]
pub struct Checkouts {
    pool: Pool<Resting>,
    targets: Vec<TargetKey>,
    // The other ends of the sockets.
    peers: Vec<TcpStream>,
}

#[derive(Debug)]
struct Resting {
    socket: Option<TcpStream>,
    _token: OpenToken,
}

impl Pooled for Resting {
    fn address(&self) -> IpAddr {
        LOOPBACK
    }

    fn is_clean(&mut self) -> bool {
        let Some(socket) = &self.socket else { return true };
        socket.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}

impl Checkouts {
    /// A pool with a connection to each of so many targets.
    ///
    /// # Panics
    /// Where the sockets for it cannot be had.
    #[must_use]
    pub fn new(targets: usize, sockets: Sockets) -> Self {
        let limits = Limits { open_max: targets, per_target_max: 1, idle_us_max: u64::MAX };
        let secrets = SigningSecrets::new(fixture::secret(1));
        let target = |n| {
            let url = format!("https://t{n}.example.com/hook");
            let target = TargetUrl::parse_stored(&url).expect("lawful");
            Endpoint::new(&target, &secrets).target_key().clone()
        };
        let mut pool = Pool::new(limits);
        let targets: Vec<TargetKey> = (0..targets).map(target).collect();
        let listener = TcpListener::bind((LOOPBACK, 0)).expect("a listener");
        let mut peers = Vec::new();
        for target in &targets {
            let token = pool.admit().expect("as many are allowed");
            let socket = (sockets == Sockets::Asked).then(|| {
                let (socket, peer) = connected(&listener);
                peers.push(peer);
                socket
            });
            pool.put(target, Resting { socket, _token: token }, 0);
        }
        Self { pool, targets, peers }
    }

    /// Takes the `target`-th target's connection and puts it back.
    ///
    /// # Panics
    /// Where it has none.
    pub fn turn(&mut self, target: usize) {
        let target = &self.targets[target];
        let taken = self.pool.take(target, 1, |address| address == LOOPBACK);
        self.pool.put(target, taken.expect("it rests"), 1);
    }

    /// Closes the other ends of all sockets, so that no connection that has one is fit for use.
    pub fn hang_up(&mut self) {
        self.peers.clear();
    }
}

fn connected(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let socket = TcpStream::connect(listener.local_addr().expect("bound")).expect("a socket");
    let (peer, _) = listener.accept().expect("its other end");
    socket.set_nonblocking(true).expect("a socket that does not wait");
    (socket, peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every target has its connection, after any number of turns; one whose peer has closed is
    /// told from one that is open, so that the socket is asked indeed.
    #[test]
    fn turns_leave_the_pool_as_it_was() {
        for sockets in [Sockets::None, Sockets::Asked] {
            let mut checkouts = Checkouts::new(5, sockets);
            (0..15).for_each(|turn| checkouts.turn(turn % 5));
            assert_eq!((checkouts.pool.open(), checkouts.pool.resting()), (5, 5));
            checkouts.hang_up();
            checkouts.pool.sweep(1);
            let left = if sockets == Sockets::Asked { 0 } else { 5 };
            assert_eq!(checkouts.pool.resting(), left);
        }
    }
}

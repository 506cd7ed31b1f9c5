//! A network namespace in which every address there is belongs to this machine, and somebody who
//! listens on all of them.
//!
//! A test runs itself again in it, by `unshare`. Where that is not possible it says so and is
//! skipped.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

/// Where the public internet is, for these tests: addresses that the guard lets pass.
pub(crate) const PUBLIC: &str = "93.184.216.34";
pub(crate) const PUBLIC_V6: &str = "2606:2800:220:1:248:1893:25c8:1946";
/// A private address, as name servers often have.
pub(crate) const NAME_SERVER: &str = "10.0.0.2";

/// Says to a test that it is inside, and which file it leaves when it has come to its end. Not the
/// daemon's business, hence without its prefix.
const INSIDE: &str = "SSRF_TEST_WORLD";
/// What the preparations end with where they cannot be made.
const SKIPPED: i32 = 77;
/// `$0` is the file that takes the place of `/etc/resolv.conf`.
const PREPARATIONS: &str = r#"
ip link set lo up && ip route add local 0.0.0.0/0 dev lo && ip -6 route add local ::/0 dev lo &&
    mount --bind "$0" /etc/resolv.conf || exit 77
exec "$@""#;

/// Runs a test in a world of its own; `name` is the test's.
#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
pub(crate) fn in_a_world_of_its_own(name: &str, test: impl AsyncFnOnce()) {
    if let Some(done) = std::env::var_os(INSIDE) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(test());
        return std::fs::write(done, name).expect("its folder is there");
    }
    let folder = tempfile::tempdir().expect("a temporary directory");
    let done = folder.path().join("done");
    let resolv_conf = folder.path().join("resolv.conf");
    let text = format!("nameserver {NAME_SERVER}\nsearch corp.example\n");
    std::fs::write(&resolv_conf, text).expect("it is written");
    let binary = std::env::current_exe().expect("this binary");
    for namespaces in [&["--net", "--mount"][..], &["--map-root-user", "--net", "--mount"]] {
        let status = Command::new("unshare")
            .args(namespaces)
            .args(["sh", "-c", PREPARATIONS])
            .arg(&resolv_conf)
            .arg(&binary)
            .args([name, "--exact", "--nocapture"])
            .env(INSIDE, &done)
            .status();
        match status.map(|status| status.code()) {
            // A binary that knows no test of this name ends with 0 too.
            Ok(Some(0)) => {
                return assert!(done.exists(), "no test {name} ran in its world: is it its name?");
            }
            // `unshare` itself ends with 1 where it may not: the next way may do.
            Ok(Some(SKIPPED | 1)) | Err(_) => {}
            Ok(code) => panic!("{name} failed in its world, exit {code:?}: its output is above"),
        }
    }
    println!("SKIPPED: {name}: no network namespace with addresses of its own can be made here");
}

/// Whether an address is one of those that these tests call public.
pub(crate) fn is_public(address: IpAddr) -> bool {
    [PUBLIC, PUBLIC_V6].iter().any(|text| text.parse() == Ok(address))
}

/// A receiver at port 80 of every address. It answers private ones with 200 and public ones with
/// a redirect to the metadata service, and keeps connections open.
pub(crate) struct Everywhere {
    connected: Arc<Mutex<Vec<IpAddr>>>,
}

impl Everywhere {
    pub(crate) fn start() -> Self {
        // Of both stacks, as the system has it by default.
        let listener = TcpListener::bind("[::]:80").expect("a network of our own");
        let connected = Arc::<Mutex<Vec<IpAddr>>>::default();
        let seen = Arc::clone(&connected);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let to = stream.local_addr().expect("connected").ip().to_canonical();
                seen.lock().expect("nobody panics").push(to);
                std::thread::spawn(move || serve(stream, is_public(to)));
            }
        });
        Self { connected }
    }

    /// The addresses that were connected to since the last time.
    pub(crate) fn take(&self) -> Vec<IpAddr> {
        std::mem::take(&mut *self.connected.lock().expect("nobody panics"))
    }
}

/// Answers until the other side goes.
fn serve(mut stream: TcpStream, redirect: bool) {
    let answer = if redirect {
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://169.254.169.254/latest/meta-data/\r\n\
         Content-Length: 0\r\n\r\n"
    } else {
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    };
    let mut buffer = [0; 16 * 1024];
    // Requests here are far smaller than the buffer, and come one at a time.
    let mut request = Vec::new();
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        request.extend_from_slice(&buffer[..count]);
        if request.ends_with(br#"{"a":1}"#) {
            request.clear();
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }
}

//! What an attempt costs: CPU time of the client's thread per attempt, against a sink on a thread
//! of its own in the same process.
//!
//! ```text
//! cargo run --release -p posthaste-delivery --example attempt_cost -- \
//!     [attempts] [in flight] [payload bytes]
//! ```
//! The figure holds for reused loopback connections without TLS. It includes the kernel's share of
//! the client's system calls, which on loopback does the receiver's share of the network as well.

#![expect(clippy::print_stdout, reason = "the figures are what this is for")]
#![expect(clippy::unwrap_used, reason = "a measurement that cannot be set up has no result")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use posthaste_delivery::{Client, Clock, Endpoint, Request, Settings};
use posthaste_domain::{
    AddressPolicy, EventId, SigningSecrets, TargetUrl, Timestamp, Verdict, WebhookSecret,
};
use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

const ATTEMPTS: usize = 200_000;
const IN_FLIGHT: usize = 64;
const PAYLOAD_BYTES: usize = 500;
const EPOCH: Timestamp = Timestamp::from_millis(1_795_507_200_000);

#[derive(Debug)]
struct RunningClock(Instant);

impl Clock for RunningClock {
    fn now(&self) -> Timestamp {
        EPOCH.plus(self.0.elapsed())
    }

    fn wall(&self) -> Timestamp {
        self.now()
    }

    fn monotonic_us(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap()
    }
}

fn main() {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<usize>().unwrap());
    let attempts = numbers.next().unwrap_or(ATTEMPTS);
    let in_flight = numbers.next().unwrap_or(IN_FLIGHT);
    let payload = Bytes::from(vec![b'x'; numbers.next().unwrap_or(PAYLOAD_BYTES)]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let connection = connection.unwrap();
            std::thread::spawn(move || sink(connection));
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (elapsed, cpu) = tokio::task::LocalSet::new()
        .block_on(&runtime, measure(url, attempts, in_flight, payload.clone()));
    let per_attempt = cpu.as_secs_f64() * 1e6 / attempts as f64;
    let per_second = attempts as f64 / elapsed.as_secs_f64();
    println!(
        "{attempts} attempts of {} bytes, {in_flight} in flight: {per_attempt:.1} us CPU an \
         attempt, {per_second:.0} attempts/s",
        payload.len()
    );
}

async fn measure(
    url: String,
    attempts: usize,
    in_flight: usize,
    payload: Bytes,
) -> (Duration, Duration) {
    let allow = vec!["127.0.0.0/8".parse().unwrap()];
    let settings = Settings {
        address_policy: AddressPolicy { allow, ..AddressPolicy::default() },
        idle_per_target_max: in_flight,
        ..Settings::default()
    };
    let client = Rc::new(Client::new(settings, Rc::new(RunningClock(Instant::now()))).unwrap());
    let secrets = SigningSecrets::new(WebhookSecret::try_new("secret-of-the-bench").unwrap());
    let endpoint = Rc::new(Endpoint::new(&TargetUrl::parse_stored(&url).unwrap(), &secrets));
    let round = async |attempts: usize| {
        let mut tasks = Vec::new();
        for _ in 0..in_flight {
            let (client, endpoint) = (Rc::clone(&client), Rc::clone(&endpoint));
            let payload = payload.clone();
            tasks.push(tokio::task::spawn_local(async move {
                for number in 0..attempts / in_flight {
                    let event = EventId::from_parts(EPOCH, number as u128);
                    let request =
                        Request { event, number: 1, payload: payload.clone(), ready_at: EPOCH };
                    let made = client.attempt(&endpoint, request).await;
                    assert_eq!(made.verdict, Verdict::Delivered, "{made:?}");
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    };
    round(attempts / 10).await;
    let (started, cpu) = (Instant::now(), thread_cpu());
    round(attempts).await;
    (started.elapsed(), thread_cpu() - cpu)
}

fn thread_cpu() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

/// Answers each request, as soon as its body is there. Expects whole requests, one at a time.
fn sink(mut connection: TcpStream) {
    let mut buffer = vec![0; 1 << 20];
    let mut filled = 0;
    connection.set_nodelay(true).unwrap();
    loop {
        match connection.read(&mut buffer[filled..]) {
            Ok(0) | Err(_) => return,
            Ok(count) => filled += count,
        }
        let Some(head) = buffer[..filled].windows(4).position(|w| w == b"\r\n\r\n") else {
            continue;
        };
        let text = std::str::from_utf8(&buffer[..head]).unwrap();
        let length = text.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
        if filled >= head + 4 + length.parse::<usize>().unwrap() {
            filled = 0;
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            if connection.write_all(answer).is_err() {
                return;
            }
        }
    }
}

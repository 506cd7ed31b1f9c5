//! What endpoints answer: the whole of it over a socket, and `Retry-After` by itself.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http::HeaderValue;
use posthaste_delivery::{Client, Clock, Endpoint, Request, Settings, TlsRoots, fuzzing};
use posthaste_domain::{
    AddressPolicy, Attempt, EventId, RESPONSE_KEPT_BYTES_MAX, SigningSecrets, TargetUrl, Timestamp,
    Verdict, WebhookSecret,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use crate::input::Input;

const HOUR_MS: u64 = 3_600_000;

/// A `Retry-After` value, after eight bytes of the time of day.
pub(crate) fn retry_after(data: &[u8]) {
    let mut input = Input(data);
    let wall = Timestamp::from_millis(input.number());
    let Ok(value) = HeaderValue::from_bytes(input.0) else { return };
    let waits = fuzzing::retry_after(&value, wall);
    assert!(waits.is_none_or(|waits| (1..=HOUR_MS).contains(&waits)), "{waits:?}");
    let Ok(text) = value.to_str() else { return assert_eq!(waits, None) };
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let zeros = text.trim_start_matches('0');
        let seconds = if zeros.len() > 6 { HOUR_MS } else { zeros.parse().unwrap_or(0) };
        let wanted = (seconds > 0).then_some((seconds * 1000).min(HOUR_MS));
        assert_eq!(waits, wanted, "{text}");
    } else if waits.is_some() {
        assert!(httpdate::parse_http_date(text).is_ok(), "{text:?} is neither number nor date");
    }
}

/// An answer, as it comes from a socket; then the end.
pub(crate) fn response(data: &[u8]) {
    thread_local! {
        static STAGE: RefCell<Option<Stage>> = const { RefCell::new(None) };
    }
    STAGE.with_borrow_mut(|stage| {
        let attempt = stage.get_or_insert_with(Stage::new).attempt(data);
        judge(&attempt, data);
    });
}

fn judge(attempt: &Attempt, sent: &[u8]) {
    assert!(attempt.response.len() <= RESPONSE_KEPT_BYTES_MAX);
    let line = attempt.error.as_deref().unwrap_or_default();
    assert!(!line.contains(|c: char| c.is_control()) && line.len() < 1024, "{line:?}");
    // Empty lines before a head are passed over (RFC 9112, 2.2).
    let is_head = sent.trim_ascii_start().starts_with(b"HTTP/1.");
    match (attempt.verdict, attempt.status_code) {
        (Verdict::Delivered, Some(200..=299)) | (Verdict::Gone, Some(410)) => assert!(is_head),
        (Verdict::Failed { retry_after_ms, .. }, status) => {
            assert!(!matches!(status, Some(200..=299 | 410)), "{attempt:?}");
            assert!(!line.is_empty(), "{attempt:?}");
            assert!(status.is_none() || is_head, "{attempt:?}");
            let waits = retry_after_ms.is_none_or(|waits| (1..=HOUR_MS).contains(&waits));
            assert!(waits && (retry_after_ms.is_none() || matches!(status, Some(429 | 503))));
        }
        (verdict, status) => panic!("{verdict:?} of {status:?}"),
    }
    // What is kept is what came: chunks are joined, so only its beginning can be looked for.
    let first = &attempt.response[..attempt.response.len().min(1)];
    assert!(first.is_empty() || sent.contains(&first[0]));
}

/// A server on loopback and a client, on one thread.
struct Stage {
    runtime: Runtime,
    listener: TcpListener,
    client: Client,
    endpoint: Endpoint,
}

impl Stage {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = runtime.block_on(TcpListener::bind(any)).expect("a port on loopback");
        let port = listener.local_addr().expect("a bound address").port();
        let allow = vec!["127.0.0.0/8".parse().expect("a range")];
        let settings = Settings {
            address_policy: AddressPolicy { allow, allow_ports: vec![port] },
            tls_roots: TlsRoots { native: false, extra_pem: Vec::new() },
            idle_per_target_max: 1,
            ..Settings::default()
        };
        let client = runtime.block_on(async { Client::new(settings, Rc::new(Still)) });
        let url = format!("http://127.0.0.1:{port}/");
        let target = TargetUrl::parse_stored(&url).expect("a target");
        let secret = WebhookSecret::try_new("a-secret-of-the-fuzzer").expect("a secret");
        let endpoint = Endpoint::new(&target, &SigningSecrets::new(secret));
        Self { runtime, listener, client: client.expect("lawful settings"), endpoint }
    }

    fn attempt(&self, answer: &[u8]) -> Attempt {
        let serve = async {
            loop {
                self.answer(answer).await;
            }
        };
        let request = Request {
            event: EventId::MIN,
            number: 1,
            payload: Bytes::from_static(b"{}"),
            ready_at: Timestamp::ZERO,
        };
        let attempt = self.client.attempt(&self.endpoint, request);
        self.runtime.block_on(async {
            tokio::pin!(serve);
            tokio::pin!(attempt);
            tokio::select! {
                attempt = &mut attempt => attempt,
                () = &mut serve => unreachable!("a server serves"),
            }
        })
    }

    /// One connection: the request, the answer, the end.
    async fn answer(&self, answer: &[u8]) {
        let (mut stream, _) = self.listener.accept().await.expect("a connection");
        // Thousands a second leave no time to wait for the last of each.
        stream.set_zero_linger().expect("an option of every socket");
        let mut request = Vec::new();
        let mut chunk = [0; 4096];
        while !request.ends_with(b"\r\n\r\n{}") {
            match stream.read(&mut chunk).await {
                Ok(read @ 1..) => request.extend_from_slice(&chunk[..read]),
                Ok(0) | Err(_) => return,
            }
        }
        // The client may have closed, with what it has read.
        drop(stream.write_all(answer).await);
        drop(stream.shutdown().await);
        // Until the client is done with it, so that nothing is reset.
        while stream.read(&mut chunk).await.is_ok_and(|read| read > 0) {}
    }
}

/// Time that stands still: nothing here waits for it.
#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000)
    }

    fn wall(&self) -> Timestamp {
        self.now()
    }

    fn monotonic_us(&self) -> u64 {
        0
    }
}

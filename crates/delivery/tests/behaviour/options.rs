//! A tenant's own headers and deadline, on the wire.

use std::rc::Rc;

use posthaste_delivery::{Client, Endpoint, Settings};
use posthaste_domain::{
    AddressPolicy, DeliveryOptions, ErrorClass, ExtraHeaders, HeaderError, SigningKey, TimeoutMs,
    Verdict, WebhookSecret, verify_stripe,
};

use crate::endpoints::silent_port;
use crate::name_server::{NameServer, Zone};
use crate::support::{
    EPOCH, Names, OK, SECRET, Server, Step, answering, client, clock, endpoint, failed,
    not_charged, request, run, send, settings,
};

fn with_headers(server: &Server, headers: &[(&str, &str)]) -> Endpoint {
    let headers = ExtraHeaders::try_new(headers.iter().copied()).unwrap();
    let options = DeliveryOptions { headers, ..DeliveryOptions::default() };
    endpoint(&server.url()).with_options(&options)
}

fn with_timeout(server: &Server, ms: u64) -> Endpoint {
    within(&server.url(), ms)
}

fn within(url: &str, ms: u64) -> Endpoint {
    let timeout = Some(TimeoutMs::try_new(ms).unwrap());
    let options = DeliveryOptions { timeout, ..DeliveryOptions::default() };
    endpoint(url).with_options(&options)
}

/// Ours first, as they always are, then the tenant's in the order of their names, byte for byte.
#[test]
fn own_headers_come_after_ours_and_untouched() {
    run(async {
        let server = Server::start(answering(OK)).await;
        let own = [
            ("X-Team", "blue\tand  \"green\" ~!"),
            ("Authorization", "Bearer a-token"),
            ("empty", ""),
            ("!#$%&'*+-.^_`|~09az", "every kind of token character"),
        ];
        let client = client(settings());
        for _ in 0..2 {
            let made = client.attempt(&with_headers(&server, &own), request("{}")).await;
            assert_eq!(made.verdict, Verdict::Delivered, "{:?}", made.error);
        }
        let requests = server.seen.requests.borrow();
        for received in &*requests {
            let names: Vec<_> = received.headers.iter().map(|(name, _)| &**name).collect();
            let expected = [
                "host",
                "content-type",
                "user-agent",
                "stripe-signature",
                "webhook-id",
                "webhook-timestamp",
                "webhook-signature",
                "webhook-attempt",
                "!#$%&'*+-.^_`|~09az",
                "authorization",
                "empty",
                "x-team",
                "content-length",
            ];
            assert_eq!(names, expected);
            for (name, value) in own {
                assert_eq!(received.header(&name.to_ascii_lowercase()), value);
            }
            let key = SigningKey::new(&WebhookSecret::try_new(SECRET).unwrap());
            let header = received.header("stripe-signature");
            assert_eq!(verify_stripe(header, [&key], &received.body, EPOCH), Ok(()));
        }
        assert_eq!(requests.len(), 2);
    });
}

/// As many as there may be, as long as they may be, go out whole.
#[test]
fn the_most_headers_go_out_whole() {
    run(async {
        let server = Server::start(answering(OK)).await;
        let own: Vec<_> =
            (0..ExtraHeaders::COUNT_MAX).map(|n| (format!("x-{n:02}"), "v".repeat(252))).collect();
        let pairs: Vec<_> = own.iter().map(|(name, value)| (&**name, &**value)).collect();
        let made = client(settings()).attempt(&with_headers(&server, &pairs), request("{}")).await;
        assert_eq!(made.verdict, Verdict::Delivered, "{:?}", made.error);
        let requests = server.seen.requests.borrow();
        assert!(own.iter().all(|(name, value)| requests[0].header(name) == value));
    });
}

/// A request that goes out again, because its connection had died, has the tenant's headers too.
#[test]
fn a_resent_request_has_them_too() {
    run(async {
        let answer_and_die = vec![Step::Read, send(OK), Step::Read, Step::Fin];
        let server = Server::with_scripts(vec![answer_and_die, answering(OK)]).await;
        let client = client(settings());
        let endpoint = with_headers(&server, &[("x-team", "blue")]);
        for _ in 0..2 {
            let made = client.attempt(&endpoint, request("{}")).await;
            assert_eq!(made.verdict, Verdict::Delivered, "{:?}", made.error);
        }
        assert_eq!(client.stats().requests_resent, 1);
        let requests = server.seen.requests.borrow();
        assert_eq!(requests.len(), 3);
        assert!(requests.iter().all(|received| received.header("x-team") == "blue"));
    });
}

/// For all headers that a request has of itself: no tenant can have one of that name.
#[test]
fn no_header_of_ours_can_be_a_tenants() {
    run(async {
        let server = Server::start(answering(OK)).await;
        client(settings()).attempt(&endpoint(&server.url()), request("{}")).await;
        let requests = server.seen.requests.borrow();
        assert_eq!(requests[0].headers.len(), 9);
        for (name, _) in &requests[0].headers {
            let refused = ExtraHeaders::try_new([(name.to_ascii_uppercase(), "x")]);
            assert_eq!(refused, Err(HeaderError::Reserved(name.as_str().into())), "{name}");
        }
    });
}

/// A tenant's deadline that is shorter than the client's is kept, and told in the error.
#[test]
fn the_shorter_deadline_holds() {
    run(async {
        let silent = Server::start(vec![Step::Read, Step::Hold]).await;
        let started = tokio::time::Instant::now();
        let made = client(settings()).attempt(&with_timeout(&silent, 1_000), request("{}")).await;
        assert_eq!(made.verdict, failed(ErrorClass::Timeout));
        let error = made.error.unwrap();
        assert!(error.contains("within 1000 ms (waiting for the response)"), "{error}");
        assert!(made.duration_ms >= 1_000, "{}", made.duration_ms);
        // The client's own is 20 s.
        assert!(started.elapsed().as_secs() < 15, "{:?}", started.elapsed());

        let shorter = Settings {
            attempt_timeout_ms: 50,
            connect_timeout_ms: 50,
            dns_timeout_ms: 50,
            ..settings()
        };
        let client = Client::with_resolver(shorter, clock(), Names::new()).unwrap();
        let made = client.attempt(&with_timeout(&silent, 60_000), request("{}")).await;
        assert_eq!(made.verdict, failed(ErrorClass::Timeout));
        let error = made.error.unwrap();
        assert!(error.contains("within 50 ms"), "{error}");
    });
}

#[test]
fn debug_shows_no_value() {
    run(async {
        let server = Server::start(answering(OK)).await;
        let endpoint = with_headers(&server, &[("authorization", "hush-hush")]);
        let moment = posthaste_delivery::Moment { now: EPOCH, wall: EPOCH };
        let agent = http::HeaderValue::from_static("u");
        let sent = request("{}").signed(&endpoint, &agent, moment).unwrap();
        let sent = String::from_utf8(sent).unwrap();
        assert!(sent.contains("\r\nauthorization: hush-hush\r\n"), "{sent}");
        let shown = format!("{endpoint:?}");
        assert!(!shown.contains("hush"), "{shown}");
    });
}

/// A deadline that ends before a lookup does, or a connection: what is our own fault for the others
/// is so for it.
#[test]
fn a_short_deadline_charges_no_fault_of_ours() {
    run(async {
        let names = ["first.example.com", "second.example.com"];
        let servers = NameServer::start(names.map(|name| (name, Zone::Silence)).to_vec()).await;
        let client = servers.client(AddressPolicy::default());
        let attempt = async |name: &str| {
            let endpoint = within(&format!("http://{name}/"), 1_000);
            client.attempt(&endpoint, request("{}")).await.verdict
        };
        // The first may be at fault itself.
        assert_eq!(attempt(names[0]).await, failed(ErrorClass::Timeout));
        for name in [names[1], names[0]] {
            assert_eq!(attempt(name).await, not_charged(ErrorClass::DnsUnavailable), "{name}");
        }
    });
    run(async {
        let (port, _silent) = silent_port().await;
        let client = Rc::new(client(settings()));
        let attempts = (1..=8).map(|number| {
            let endpoint = within(&format!("http://127.0.1.{number}:{port}/"), 1_000);
            let client = Rc::clone(&client);
            tokio::task::spawn_local(async move {
                client.attempt(&endpoint, request("{}")).await.verdict
            })
        });
        let mut verdicts = Vec::new();
        for attempt in attempts.collect::<Vec<_>>() {
            verdicts.push(attempt.await.unwrap());
        }
        let ours = verdicts.iter().filter(|it| **it == not_charged(ErrorClass::ConnectTimeout));
        assert_eq!(ours.count(), 1, "the eighth: {verdicts:?}");
    });
}

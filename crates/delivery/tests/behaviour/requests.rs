//! What arrives at the endpoint: CONTRACT §3, byte for byte.

use bytes::Bytes;
use posthaste_delivery::{Client, Endpoint};
use posthaste_domain::{
    EventId, SigningKey, TargetUrl, Verdict, WebhookSecret, standard_signature, verify_stripe,
};

use crate::support::{
    EPOCH, Names, OK, SECRET, Server, answering, client, clock, endpoint, event, request, run,
    secrets, settings,
};

fn key(secret: &str) -> SigningKey {
    SigningKey::new(&WebhookSecret::try_new(secret).unwrap())
}

#[test]
fn a_request_has_exactly_the_headers_of_the_contract() {
    run(async {
        let server = Server::start(answering(OK)).await;
        let url = format!("http://{}/hook/%20x?token=a|b", server.address);
        let delivered = client(settings()).attempt(&endpoint(&url), request("{}")).await;
        assert_eq!((delivered.verdict, delivered.status_code), (Verdict::Delivered, Some(200)));
        assert_eq!(&*delivered.response, b"ok");
        let requests = server.seen.requests.borrow();
        let received = &requests[0];
        assert_eq!(received.line, "POST /hook/%20x?token=a|b HTTP/1.1");
        let names: Vec<&str> = received.headers.iter().map(|(name, _)| &**name).collect();
        let mut expected = [
            "host",
            "content-type",
            "user-agent",
            "stripe-signature",
            "webhook-id",
            "webhook-timestamp",
            "webhook-signature",
            "webhook-attempt",
            "content-length",
        ];
        expected.sort_unstable();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, expected);
        assert_eq!(names[0], "host");
        assert_eq!(received.header("host"), server.address.to_string());
        assert_eq!(received.header("content-type"), "application/json");
        let version = concat!("posthaste/", env!("CARGO_PKG_VERSION"));
        assert_eq!(received.header("user-agent"), version);
        assert_eq!(received.header("webhook-id"), event(1).to_string());
        assert_eq!(received.header("webhook-attempt"), "1");
        assert_eq!(received.header("content-length"), "2");
    });
}

/// For payloads of any bytes and size: they arrive as they were given, and both signatures fit.
#[test]
fn bodies_arrive_untouched_and_signed() {
    run(async {
        let server = Server::start(answering(OK)).await;
        let client = client(settings());
        let every_byte: Vec<u8> = (0..=255).collect();
        let large: Vec<u8> = (0..400_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let bodies = [b"{ \"a\" : 1.0e2 ,\r\n\"\xc3\xbc\":null}\n".to_vec(), every_byte, large];
        for body in &bodies {
            let attempt = client.attempt(&endpoint(&server.url()), request(body.clone())).await;
            assert_eq!(attempt.verdict, Verdict::Delivered, "{:?}", attempt.error);
        }
        let requests = server.seen.requests.borrow();
        assert_eq!(requests.len(), bodies.len());
        for (received, body) in requests.iter().zip(&bodies) {
            assert!(received.body == *body, "{} bytes", body.len());
            let header = received.header("stripe-signature");
            assert_eq!(verify_stripe(header, [&key(SECRET)], &received.body, EPOCH), Ok(()));
            let id: EventId = received.header("webhook-id").parse().unwrap();
            let seconds: u64 = received.header("webhook-timestamp").parse().unwrap();
            let at = posthaste_domain::Timestamp::from_millis(seconds * 1000);
            let expected = standard_signature([&key(SECRET)], id, at, &received.body);
            assert_eq!(received.header("webhook-signature"), expected);
            assert!(header.starts_with(&format!("t={seconds},v1=")), "{header}");
        }
    });
}

/// While an old secret overlaps, both sign, the newest first; afterwards only the new one does.
#[test]
fn each_live_secret_signs() {
    run(async {
        let server = Server::start(answering(OK)).await;
        let clock = clock();
        let client = Client::with_resolver(settings(), clock.clone(), Names::new()).unwrap();
        let new = WebhookSecret::try_new("the-new-secret").unwrap();
        let rotated = secrets().rotated(new, EPOCH, 60_000);
        let target = TargetUrl::parse_stored(&server.url()).unwrap();
        let endpoint = Endpoint::new(&target, &rotated);
        client.attempt(&endpoint, request("{}")).await;
        clock.advance(std::time::Duration::from_secs(61));
        client.attempt(&endpoint, request("{}")).await;
        let requests = server.seen.requests.borrow();
        let both = requests[0].header("stripe-signature");
        for secret in [SECRET, "the-new-secret"] {
            assert_eq!(verify_stripe(both, [&key(secret)], b"{}", EPOCH), Ok(()), "{secret}");
        }
        assert_eq!(both.matches("v1=").count(), 2);
        assert_eq!(requests[0].header("webhook-signature").matches("v1,").count(), 2);
        let (first, _) = both.split_once(",v1=").unwrap().1.split_once(',').unwrap();
        let one = requests[1].header("stripe-signature");
        assert_eq!(one.matches("v1=").count(), 1);
        let later = EPOCH.plus_millis(61_000);
        assert_eq!(verify_stripe(one, [&key("the-new-secret")], b"{}", later), Ok(()));
        assert!(verify_stripe(one, [&key(SECRET)], b"{}", later).is_err());
        let newest = format!("t={},v1={first}", EPOCH.as_secs());
        assert_eq!(verify_stripe(&newest, [&key("the-new-secret")], b"{}", EPOCH), Ok(()));
    });
}

/// Each attempt is signed afresh with its own time and carries its own number.
#[test]
fn each_attempt_is_signed_afresh() {
    run(async {
        let server = Server::start(answering(OK)).await;
        let clock = clock();
        let client = Client::with_resolver(settings(), clock.clone(), Names::new()).unwrap();
        let endpoint = endpoint(&server.url());
        for number in 1..=3 {
            let mut request = request("{}");
            request.number = number;
            let attempt = client.attempt(&endpoint, request).await;
            assert_eq!((attempt.number, attempt.verdict), (number, Verdict::Delivered));
            clock.advance(std::time::Duration::from_secs(100));
        }
        let requests = server.seen.requests.borrow();
        let seconds = |position: usize| {
            requests[position].header("webhook-timestamp").parse::<u64>().unwrap()
        };
        assert!(seconds(1) - seconds(0) >= 100 && seconds(2) - seconds(1) >= 100);
        let numbers: Vec<_> = requests.iter().map(|r| r.header("webhook-attempt")).collect();
        assert_eq!(numbers, ["1", "2", "3"]);
    });
}

#[test]
fn an_empty_body_is_sent_with_its_length() {
    run(async {
        let server = Server::start(answering(OK)).await;
        let attempt = client(settings()).attempt(&endpoint(&server.url()), request("")).await;
        assert_eq!(attempt.verdict, Verdict::Delivered, "{:?}", attempt.error);
        assert_eq!(server.seen.requests.borrow()[0].header("content-length"), "0");
    });
}

#[test]
fn phases_are_measured() {
    run(async {
        let slow = std::time::Duration::from_millis(30);
        let answer = OK.as_bytes().to_vec();
        let script = vec![
            crate::support::Step::Read,
            crate::support::Step::Drip(answer[..1].to_vec(), slow),
            crate::support::Step::Send(answer[1..].to_vec()),
        ];
        let server = Server::start(script).await;
        let clock = clock();
        let client = Client::with_resolver(settings(), clock.clone(), Names::new()).unwrap();
        clock.advance(std::time::Duration::from_millis(500));
        let attempt = client.attempt(&endpoint(&server.url()), request(Bytes::new())).await;
        let phases = attempt.phases;
        assert!(phases.queue_us >= 500_000, "{phases:?}");
        assert!(phases.connect_us > 0 && phases.tls_us == 0 && phases.dns_us == 0, "{phases:?}");
        assert!(phases.first_byte_us >= 30_000, "{phases:?}");
        assert!(phases.total_us >= phases.first_byte_us + phases.connect_us, "{phases:?}");
        assert_eq!(attempt.duration_ms, phases.total_us.div_ceil(1000));
        assert!(!phases.reused);
        let again = client.attempt(&endpoint(&server.url()), request(Bytes::new())).await;
        assert!(again.phases.reused && again.phases.connect_us == 0, "{:?}", again.phases);
    });
}

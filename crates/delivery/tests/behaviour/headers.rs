//! A tenant's own headers, as an attacker would choose them: refused when they are set, or one line
//! of the request and nothing else. What went out is looked at byte for byte.

use posthaste_delivery::Endpoint;
use posthaste_domain::{DeliveryOptions, ExtraHeaders, Verdict};

use crate::support::{OK, Server, answering, client, endpoint, proof, request, run, settings};

/// Whether a header is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Taken,
    Refused,
}
use Fate::{Refused, Taken};

type Pairs = Vec<(String, String)>;

/// The list, each with what becomes of it (ADR 0013): who names what is HTTP's or ours is refused,
/// and so is what would be more than one line, or more than there may be.
fn cases() -> Vec<(Fate, Pairs)> {
    let one = |fate, name: &str, value: &str| (fate, vec![(name.to_owned(), value.to_owned())]);
    let mut cases = vec![
        one(Refused, "X", "a\r\nY: b"),
        one(Refused, "X", "a\nHost: evil"),
        one(Refused, "X", "a\rb"),
        one(Refused, "X", "\r\n\r\nGET / HTTP/1.1\r\nHost: evil\r\n\r\n"),
        one(Refused, "X", "a\r\n b"),
        one(Refused, "X", "\0"),
        one(Refused, "X", "a\u{7f}"),
        one(Refused, "X", "a\u{85}b"),
        one(Refused, "X", "\u{560d}\u{560a}Y: b"),
        one(Refused, "X: a\r\nY", "b"),
        one(Refused, "X\r\nY", "b"),
        one(Refused, "X Y", "b"),
        one(Refused, " X", "b"),
        one(Refused, "X ", "b"),
        one(Refused, "X:", "b"),
        one(Refused, "", "b"),
        one(Refused, "X\u{e4}", "b"),
        one(Refused, "X\u{212a}", "b"),
        one(Refused, ":authority", "evil"),
        one(Refused, ":path", "/evil"),
        one(Refused, "X", &"v".repeat(64 * 1024)),
        one(Refused, "X", "a\t"),
        one(Refused, "X", "a "),
        one(Refused, "X", " a"),
        one(Refused, "Host", "evil"),
        one(Refused, "hOsT", "evil"),
        one(Refused, "Content-Length", "0"),
        one(Refused, "Transfer-Encoding", "chunked"),
        one(Refused, "TE", "trailers"),
        one(Refused, "Connection", "close, x-y"),
        one(Refused, "Keep-Alive", "timeout=1"),
        one(Refused, "Expect", "100-continue"),
        one(Refused, "Upgrade", "h2c"),
        one(Refused, "HTTP2-Settings", "AAMAAABk"),
        one(Refused, "Proxy-Authorization", "Basic x"),
        one(Refused, "Proxy-Connection", "close"),
        one(Refused, "webhook-signature", "v1,forged"),
        one(Refused, "Webhook-Id", "msg_forged"),
        one(Refused, "webhook-timestamp", "1"),
        one(Refused, "Stripe-Signature", "t=1,v1=forged"),
        one(Refused, "Content-Type", "text/html"),
        one(Refused, "Content-Encoding", "gzip"),
        one(Refused, "X-aws-ec2-metadata-token", "a"),
        one(Refused, "X-aws-ec2-metadata-token-ttl-seconds", "21600"),
        one(Refused, "Metadata-Flavor", "Google"),
        one(Taken, "X-Forwarded-For", "127.0.0.1"),
        one(Taken, "Authorization", "Bearer a-token"),
        one(Taken, "X", "=?utf-8?q?=0d=0a?="),
        one(Taken, "X", "a\tb"),
        one(Taken, "X", "%0d%0aHost: evil"),
        one(Taken, "X", "\\r\\nHost: evil"),
        one(Taken, "X", ""),
        one(Taken, "X-HTTP-Method-Override", "GET"),
        one(Taken, &"n".repeat(1_025), "v"),
        (Refused, vec![("X-A".into(), "1".into()), ("x-a".into(), "2".into())]),
    ];
    let many = |count: usize| (0..count).map(|n| (format!("x-{n}"), "v".into())).collect();
    cases.push((Refused, many(101)));
    cases.push((Refused, many(17)));
    cases.push((Taken, many(16)));
    cases
}

/// The names of the header lines of a request, in order.
fn names_in(head: &str) -> Vec<String> {
    let lines = head.strip_suffix("\r\n\r\n").expect("an empty line ends it").split("\r\n").skip(1);
    lines.map(|line| line.split_once(':').expect("a name").0.to_owned()).collect()
}

/// For all of the list: as said, and what is taken adds its own lines to the request and changes
/// nothing else in it.
#[test]
fn a_header_is_refused_or_one_line() {
    run(async {
        let server = Server::start(answering(OK)).await;
        let client = client(settings());
        client.attempt(&endpoint(&server.url()), request("{}")).await;
        let plain = names_in(&server.seen.requests.borrow()[0].head);
        let (mut taken, mut tried) = (0, 0);
        for (fate, pairs) in cases() {
            tried += 1;
            let made = ExtraHeaders::try_new(pairs.iter().map(|(name, value)| (name, value)));
            assert_eq!(made.is_ok(), fate == Taken, "{pairs:?}: {made:?}");
            let Ok(headers) = made else { continue };
            taken += 1;
            let options = DeliveryOptions { headers, ..DeliveryOptions::default() };
            let endpoint: Endpoint = endpoint(&server.url()).with_options(&options);
            let made = client.attempt(&endpoint, request("{}")).await;
            assert_eq!(made.verdict, Verdict::Delivered, "{pairs:?}: {made:?}");
            let requests = server.seen.requests.borrow();
            let sent = requests.last().unwrap();
            assert!(is_plain_with(&sent.head, &plain, &pairs), "{pairs:?}: {:?}", sent.head);
            assert_eq!(sent.body, b"{}");
            assert_eq!(requests.len(), taken + 1, "one request for one");
        }
        // The control: what would be sent if a value were not looked at.
        let smuggled = "POST / HTTP/1.1\r\nX: a\r\nHost: evil\r\n\r\n";
        assert!(!is_plain_with(smuggled, &[], &[("X".into(), "a\r\nHost: evil".into())]));
        proof(16, tried, tried, "a head with a smuggled line is told apart");
    });
}

/// Whether `head` has the lines of a request without headers of its own, then those of `own` and no
/// other, with nothing in between that anybody could take for the end of a line.
fn is_plain_with(head: &str, plain: &[String], own: &[(String, String)]) -> bool {
    let bare = head.replace("\r\n", "");
    let mut expected: Vec<&str> = plain.iter().map(String::as_str).collect();
    let lower: Vec<_> = own.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    expected.extend(lower.iter().map(String::as_str));
    let mut found = names_in(head);
    let has_all = own.iter().all(|(name, value)| {
        head.contains(&format!("\r\n{}: {value}\r\n", name.to_ascii_lowercase()))
    });
    found.sort_unstable();
    expected.sort_unstable();
    !bare.contains(['\r', '\n', '\0']) && found == expected && has_all
}

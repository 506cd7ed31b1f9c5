//! No redirect is followed, whatever it says and wherever it leads.

use posthaste_delivery::Client;
use posthaste_domain::ErrorClass;

use crate::support::{
    Names, OK, Server, answering, attempt, clock, failed, opening, proof, run, settings,
};

const STATUSES: [&str; 5] =
    ["301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"];

/// The headers of redirects: to our network, to itself, to files, twice, over lines, by other
/// means. `THERE` is another server.
const LEADING: [&str; 20] = [
    "Location: http://THERE/",
    "Location: http://THERE/\r\nLocation: /hook",
    "Location: //THERE/",
    "Location: http://169.254.169.254/latest/meta-data/",
    "Location: http://[fd00:ec2::254]/",
    "Location: http://metadata.google.internal/",
    "Location: hook?",
    "Location: /hook",
    "Location: hook",
    "Location: ?again",
    "Location: //127.0.0.1/",
    "Location: file:///etc/passwd",
    "Location: gopher://THERE/_GET",
    "Location: javascript:fetch('http://THERE/')",
    "Location: http://THERE/\r\n\r\nGET http://THERE/ HTTP/1.1",
    "Location: http://THERE/%0d%0aHost:%20evil",
    "Location: \thttp://THERE/ ",
    "Location:",
    "Refresh: 0; url=http://THERE/",
    "X-Accel-Redirect: http://THERE/\r\nContent-Location: http://THERE/",
];

/// For all redirects of all kinds: one request, no question about a name, nobody else connected
/// to.
#[test]
fn a_redirect_reaches_nobody_whatever_it_says() {
    run(async {
        let there = Server::start(answering(OK)).await;
        let mut tried = 0;
        for status in STATUSES {
            for leading in LEADING {
                let header = leading.replace("THERE", &there.address.to_string());
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n{header}\r\n\r\n");
                let here = Server::start(answering(&answer)).await;
                let names = Names::new();
                let settings = posthaste_delivery::Settings {
                    address_policy: opening(&["127.0.0.0/8", "169.254.169.254/32"]),
                    ..settings()
                };
                let client = Client::with_resolver(settings, clock(), names.clone()).unwrap();
                let made = attempt(&client, &here.url()).await;
                assert_eq!(made.verdict, failed(ErrorClass::Redirect), "{status} {leading}");
                let seen = (here.seen.request_count(), client.stats().connections_opened);
                assert_eq!(seen, (1, 1), "{status} {leading}");
                assert!(names.asked().is_empty(), "{status} {leading}");
                tried += 1;
            }
        }
        assert_eq!(there.seen.connections.get(), 0);
        // The control: who follows is seen there.
        attempt(&crate::support::client(settings()), &there.url()).await;
        assert_eq!(there.seen.connections.get(), 1);
        proof(16, tried, tried, "a request to where the redirects lead is seen there");
    });
}

/// A chain of twenty: each attempt takes its first step and no other.
#[test]
fn a_chain_of_redirects_is_not_begun() {
    run(async {
        let mut next = Server::start(answering(OK)).await;
        let mut chain = Vec::new();
        for _ in 0..20 {
            let answer = format!(
                "HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
                next.url()
            );
            let first = Server::start(answering(&answer)).await;
            chain.push(std::mem::replace(&mut next, first));
        }
        let client = crate::support::client(settings());
        for _ in 0..3 {
            assert_eq!(attempt(&client, &next.url()).await.verdict, failed(ErrorClass::Redirect));
        }
        assert_eq!(next.seen.request_count(), 3);
        assert!(chain.iter().all(|later| later.seen.connections.get() == 0));
    });
}

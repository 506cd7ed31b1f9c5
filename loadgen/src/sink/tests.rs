//! The sink over real sockets: what receivers do wrong, and HTTP/2 frame by frame.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use posthaste_domain::{EventId, WebhookSecret, standard_signature, stripe_signature};

use super::*;
use crate::clock::Clock;
use crate::shared::Workload;

/// A sink that takes anything and behaves as these lines of a scenario say.
fn sink(behaviour: &str) -> (Sink, SocketAddr) {
    trusting(behaviour, Trust::Anything)
}

fn trusting(behaviour: &str, trust: Trust) -> (Sink, SocketAddr) {
    let text = format!("[[tenants]]\nname = \"a\"\n[tenants.sink]\n{behaviour}\n");
    let scenario = Scenario::parse(&text, PathBuf::new(), &[]).unwrap();
    let workload = Workload::prepare(&scenario, 1).unwrap();
    let shared = Arc::new(Shared::new(Clock::start(), workload, &scenario));
    let receiver = Receiver::new(&shared, &scenario, trust);
    let address = "127.0.0.1:0".parse().unwrap();
    let sink = Sink::begin(receiver, &Binding { address, tls: None, endpoints: 1 }, 1).unwrap();
    let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), sink.port);
    (sink, address)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

const POST: &[u8] = b"POST /hook HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}";

/// Everything until the other side closes.
fn rest(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(POST).unwrap();
    let mut bytes = [0; 1024];
    let length = stream.read(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

#[test]
fn connections_are_kept_and_requests_may_come_in_pieces_or_together() {
    let (sink, address) = sink("");
    let mut stream = connect(address);
    assert!(ask(&mut stream).starts_with("HTTP/1.1 200"));
    for byte in POST {
        stream.write_all(&[*byte]).unwrap();
    }
    stream.write_all(&[POST, POST].concat()).unwrap();
    let mut seen = String::new();
    while seen.matches("HTTP/1.1 200").count() < 3 {
        let mut bytes = [0; 1024];
        let length = stream.read(&mut bytes).unwrap();
        assert!(length > 0, "closed after {seen}");
        seen += &String::from_utf8_lossy(&bytes[..length]);
    }
    assert_eq!(crate::shared::lock(&sink.records[0]).requests, 4);
    drop(stream);
    sink.stop().unwrap();
}

#[test]
fn statuses_carry_retry_after_and_huge_bodies() {
    let (sink, address) = sink(
        "attempts = [503]\nretry-after = \"7s\"\nbody-size = \"1MiB\"\nclose-after-answer = true",
    );
    let mut stream = connect(address);
    stream.write_all(POST).unwrap();
    let answer = rest(&mut stream).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{}", &answer[..40]);
    assert!(answer.contains("retry-after: 7\r\n") && answer.contains("connection: close\r\n"));
    assert_eq!(answer.split_once("\r\n\r\n").unwrap().1.len(), 1 << 20);
    sink.stop().unwrap();
}

#[test]
fn a_reset_is_a_reset_and_a_hang_says_nothing() {
    let (resetting, address) = sink("reset = 1.0");
    let mut stream = connect(address);
    stream.write_all(POST).unwrap();
    let error = rest(&mut stream).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    resetting.stop().unwrap();

    let (hanging, address) = sink("hang = 1.0");
    let mut stream = connect(address);
    stream.write_all(POST).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(rest(&mut stream).unwrap(), "", "not a byte until the client ends it");
    assert_eq!(crate::shared::lock(&hanging.records[0]).withheld["hang"], 1);
    hanging.stop().unwrap();
}

#[test]
fn a_connection_can_be_closed_when_it_is_used_again() {
    let (sink, address) = sink("close-on-reuse = 1.0");
    let mut stream = connect(address);
    assert!(ask(&mut stream).starts_with("HTTP/1.1 200"));
    stream.write_all(POST).unwrap();
    assert_eq!(rest(&mut stream).unwrap(), "");
    sink.stop().unwrap();
}

#[test]
fn an_answer_can_drip() {
    let (sink, address) = sink("drip = \"1ms\"");
    let clock = Clock::start();
    let mut stream = connect(address);
    let mut seen = ask(&mut stream).len();
    while seen < 40 {
        seen += stream.read(&mut [0; 64]).unwrap();
    }
    // However late this thread reads: so many bytes cannot have left sooner.
    assert!(clock.now() >= 35 * crate::clock::MILLISECOND);
    drop(stream);
    sink.stop().unwrap();
}

#[test]
fn what_is_not_http_is_shut_out() {
    let (sink, address) = sink("");
    for text in ["HELO\r\n\r\n", "POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n"] {
        let mut stream = connect(address);
        stream.write_all(text.as_bytes()).unwrap();
        assert_eq!(rest(&mut stream).unwrap_or_default(), "");
    }
    assert!(ask(&mut connect(address)).starts_with("HTTP/1.1 200"), "others are served");
    sink.stop().unwrap();
}

#[test]
fn a_sink_with_a_secret_takes_only_what_is_signed_with_it() {
    let key = |byte| SigningKey::new(&WebhookSecret::from_entropy(&[byte; 32]));
    let (sink, address) = trusting("", Trust::Signed(Box::new(key(1))));
    let (now, id) = (crate::clock::calendar(), EventId::from_u128(5));
    let status = |key: &SigningKey| {
        let mut stream = connect(address);
        let (stripe, standard) =
            (stripe_signature([key], now, b"{}"), standard_signature([key], id, now, b"{}"));
        let seconds = now.as_secs();
        let request = format!(
            "POST /hook HTTP/1.1\r\ncontent-length: 2\r\nstripe-signature: {stripe}\r\n\
             webhook-id: {id}\r\nwebhook-timestamp: {seconds}\r\n\
             webhook-signature: {standard}\r\nconnection: close\r\n\r\n{{}}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        rest(&mut stream).unwrap()[9..12].to_owned()
    };
    assert_eq!((status(&key(1)), status(&key(2))), ("200".to_owned(), "400".to_owned()));
    let faulty = crate::shared::lock(&sink.records[0]).faulty.clone();
    assert_eq!(faulty, [(Fault::StripeSignature, 1)].into());
    sink.stop().unwrap();
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header that is neither indexed nor compressed.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut header = vec![0];
    for text in [name, value] {
        header.push(u8::try_from(text.len()).unwrap());
        header.extend(text.as_bytes());
    }
    header
}

/// HTTP/2 without negotiation: the preface, SETTINGS, HEADERS and DATA, written by hand.
#[test]
fn http2_is_spoken_to_who_begins_with_it() {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    let (sink, address) = sink("");
    let mut stream = connect(address);
    let headers = [
        literal(":method", "POST"),
        literal(":scheme", "http"),
        literal(":path", "/hook"),
        literal(":authority", "a"),
    ]
    .concat();
    let request = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(SETTINGS, 0, 0, &[]),
        frame(HEADERS, 4, 1, &headers),
        frame(DATA, 1, 1, b"{}"),
    ];
    stream.write_all(&request.concat()).unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).unwrap();
        if head[3] == HEADERS {
            assert_eq!(payload[0], 0x88, "`:status: 200` is entry 8 of the static table");
            break;
        }
    }
    assert_eq!(crate::shared::lock(&sink.records[0]).requests, 1);
    drop(stream);
    sink.stop().unwrap();
}

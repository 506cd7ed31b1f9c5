//! Answers in pieces: wherever a piece ends, the answer is the same, and the request after it on
//! the same connection gets its own.

use std::time::Duration;

use crate::support::{Server, Step, attempt, client, run, send, settings};

const CHUNKS: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                      2\r\nab\r\n1;x\r\nc\r\n0\r\nT: u\r\n\r\n";
const INTERIM: &str = "HTTP/1.1 103 E\r\nA: b\r\n\r\nHTTP/1.1 100 C\r\n\r\n\
                       HTTP/1.1 201 A\r\nContent-Length: 1\r\n\r\n.";
const BOTH: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n\
                    0\r\n\r\n";

/// Whole answers, each with its status, its body and whether the connection serves again.
const ANSWERS: [(&str, u16, &[u8], bool); 9] = [
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", true),
    ("HTTP/1.1 204 No Content\r\n\r\n", 204, b"", true),
    ("HTTP/1.1 503 X\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nlate", 503, b"late", true),
    (CHUNKS, 200, b"abc", true),
    (INTERIM, 201, b".", true),
    ("\r\n\nHTTP/1.1 200\nContent-Length: 1\n\n1", 200, b"1", true),
    ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", false),
    ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", false),
    (BOTH, 200, b"", false),
];

/// What the request after an answer gets.
const NEXT: &str = "HTTP/1.1 299 Next\r\nContent-Length: 4\r\n\r\nnext";

#[test]
fn an_answer_is_the_same_in_pieces() {
    for (answer, status, body, keeps) in ANSWERS {
        run(async {
            let client = client(settings());
            for cut in 0..answer.len() {
                let (first, rest) = answer.split_at(cut);
                // A piece of its own: it is sent when the runtime has seen the first.
                let (byte, rest) = rest.split_at(1);
                let byte = Step::Drip(byte.as_bytes().to_vec(), Duration::ZERO);
                let script =
                    vec![Step::Read, send(first), byte, send(rest), Step::Read, send(NEXT)];
                let server = Server::start(script).await;
                let made = attempt(&client, &server.url()).await;
                let seen = (made.status_code, &*made.response);
                assert_eq!(seen, (Some(status), body), "{first:?} first: {made:?}");
                let next = attempt(&client, &server.url()).await;
                assert_eq!(next.phases.reused, keeps, "{first:?} first: {next:?}");
                if keeps {
                    let seen = (next.status_code, &*next.response);
                    assert_eq!(seen, (Some(299), &b"next"[..]), "{first:?} first: {next:?}");
                }
            }
        });
    }
}

//! HTTP/1.1 as far as clients of AWS use it: heads are parsed where they lie, bodies are counted.
//!
//! Refuses chunked bodies: clients of these services send none, and a wrong guess would shift
//! every later request of the connection.

use std::io::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use httpdate::HttpDate;

use super::refusal::Refusal;

/// SQS takes 1 MiB, DynamoDB 16 MiB, and JSON with base64 makes more of it.
const BODY_BYTES_MAX: usize = 32 << 20;
const HEAD_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 64;

/// What every answer bears. Clients reckon leases by its date, as DynamoDB's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    /// The number of the request.
    pub(super) request: u64,
    /// The simulator's time in Unix milliseconds; shown to the second.
    pub(super) date_ms: u64,
}

/// A request that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an HTTP/1.1 request that AWS would take")]
pub(super) struct Malformed;

/// The head of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head<'b> {
    pub(super) method: &'b str,
    pub(super) path: &'b str,
    /// `X-Amz-Target`.
    pub(super) target: &'b str,
    /// `Authorization`.
    pub(super) authorization: &'b str,
    pub(super) head_bytes: usize,
    pub(super) body_bytes: usize,
    pub(super) keep: bool,
}

/// Reads a head; `None` where it is not whole yet.
///
/// # Errors
/// [`Malformed`].
pub(super) fn head(bytes: &[u8]) -> Result<Option<Head<'_>>, Malformed> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head_bytes) = parsed.parse(bytes).map_err(|_| Malformed)? else {
        return if bytes.len() > HEAD_BYTES_MAX { Err(Malformed) } else { Ok(None) };
    };
    let mut head = Head {
        method: parsed.method.unwrap_or_default(),
        path: parsed.path.unwrap_or_default(),
        target: "",
        authorization: "",
        head_bytes,
        body_bytes: 0,
        keep: parsed.version == Some(1),
    };
    let mut length = None;
    for header in parsed.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        // Most headers differ in length from those that matter.
        match header.name.len() {
            12 if is("x-amz-target") => head.target = text(header)?,
            13 if is("authorization") => head.authorization = text(header)?,
            14 if is("content-length") => {
                let digits = header.value.iter().all(u8::is_ascii_digit);
                let value = text(header)?.parse().ok();
                let value = value.filter(|&bytes| digits && bytes <= BODY_BYTES_MAX);
                if value.is_none() || length.is_some() {
                    return Err(Malformed);
                }
                length = value;
            }
            17 if is("transfer-encoding") => return Err(Malformed),
            10 if is("connection") && header.value.eq_ignore_ascii_case(b"close") => {
                head.keep = false;
            }
            _ => {}
        }
    }
    head.body_bytes = length.unwrap_or(0);
    Ok(Some(head))
}

fn text<'b>(header: &httparse::Header<'b>) -> Result<&'b str, Malformed> {
    str::from_utf8(header.value).map_err(|_| Malformed)
}

/// Writes an answer with a body of JSON.
pub(super) fn answer(out: &mut Vec<u8>, stamp: Stamp, body: &[u8]) {
    head_of(out, "200 OK", stamp, body.len());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
}

/// Writes a refusal.
pub(super) fn refuse(out: &mut Vec<u8>, stamp: Stamp, refusal: &Refusal, namespace: &str) {
    let body = refusal.body(namespace);
    let status = match refusal.status {
        400 => "400 Bad Request",
        403 => "403 Forbidden",
        404 => "404 Not Found",
        413 => "413 Content Too Large",
        503 => "503 Service Unavailable",
        _ => "500 Internal Server Error",
    };
    head_of(out, status, stamp, body.len());
    if let Some(code) = refusal.query_code {
        let party = if refusal.status < 500 { "Sender" } else { "Receiver" };
        // Writing to memory cannot fail.
        _ = write!(out, "x-amzn-query-error: {code};{party}\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&body);
}

fn head_of(out: &mut Vec<u8>, status: &str, stamp: Stamp, length: usize) {
    let Stamp { request, date_ms } = stamp;
    let date = HttpDate::from(UNIX_EPOCH + Duration::from_millis(date_ms));
    // Writing to memory cannot fail.
    _ = write!(
        out,
        "HTTP/1.1 {status}\r\ncontent-type: application/x-amz-json-1.0\r\n\
         x-amzn-requestid: {request:08x}-0000-4000-8000-000000000000\r\n\
         content-length: {length}\r\ndate: {date}\r\n"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nX-Amz-Target: AmazonSQS.SendMessage\r\n\
        Authorization: AWS4\r\nContent-Length: 2\r\n\r\n{}";

    #[test]
    fn a_head_says_what_is_called() {
        let head = head(WHOLE).unwrap().unwrap();
        assert_eq!((head.method, head.path), ("POST", "/"));
        assert_eq!((head.target, head.authorization), ("AmazonSQS.SendMessage", "AWS4"));
        assert_eq!((head.head_bytes + head.body_bytes, head.keep), (WHOLE.len(), true));
        for end in 0..WHOLE.len() - 2 {
            assert_eq!(super::head(&WHOLE[..end]), Ok(None), "{end}");
        }
    }

    #[test]
    fn a_length_that_can_be_read_in_two_ways_is_refused() {
        for lines in [
            "Content-Length: 2\r\nContent-Length: 2\r\n",
            "Content-Length: +2\r\n",
            "Content-Length: 99999999999\r\n",
            "Transfer-Encoding: chunked\r\n",
        ] {
            let text = format!("POST / HTTP/1.1\r\n{lines}\r\n");
            assert_eq!(head(text.as_bytes()), Err(Malformed), "{lines}");
        }
    }

    proptest::proptest! {
        /// For all bytes: a head or a refusal, never a panic.
        #[test]
        fn any_bytes_can_come(bytes in proptest::collection::vec(0_u8.., 0..300)) {
            _ = head(&bytes);
        }
    }
}

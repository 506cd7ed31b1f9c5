//! HTTP/1.1 as far as the generator and its sink need it: heads are parsed where they lie, bodies
//! are counted, nothing is copied.
//!
//! Refuses what it does not understand (chunked bodies among it) instead of guessing: a wrong
//! guess would shift every later message of the connection. Hostile input costs bounded work and
//! memory and never panics.

use thiserror::Error;

/// A longer head is refused.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// A longer body is refused.
const BODY_BYTES_MAX: usize = 64 << 20;
const HEADERS_MAX: usize = 64;

/// Why a message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// The head is not HTTP/1.1, or has too many headers.
    #[error("not an HTTP/1.1 head")]
    Head,
    /// The head is too long.
    #[error("a head of more than {HEAD_BYTES_MAX} bytes")]
    HeadTooLong,
    /// The length of the body is missing, double, wrong or too large.
    #[error("no usable Content-Length")]
    Length,
}

/// The head of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// The length of the head.
    pub head_bytes: usize,
    /// The length of the body.
    pub body_bytes: usize,
    /// Whether the connection can be used again.
    pub keep: bool,
}

/// Reads the head of an answer; `None` where it is not whole yet.
///
/// # Errors
/// [`Malformed`].
pub fn answer(bytes: &[u8]) -> Result<Option<Answer>, Malformed> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head_bytes) =
        parsed.parse(bytes).map_err(|_| Malformed::Head)?
    else {
        return too_long(bytes);
    };
    let status = parsed.code.ok_or(Malformed::Head)?;
    let mut framing = Framing::new(parsed.version == Some(1));
    for header in parsed.headers.iter() {
        framing.see(header)?;
    }
    let body_bytes = match (status, framing.length) {
        (100..=199 | 204 | 304, _) => 0,
        (_, Some(length)) => length,
        (_, None) => return Err(Malformed::Length),
    };
    Ok(Some(Answer { status, head_bytes, body_bytes, keep: framing.keep }))
}

/// The head of a delivery, as far as the sink looks at it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request<'b> {
    /// The request's path.
    pub path: &'b str,
    /// `Stripe-Signature`.
    pub stripe_signature: &'b str,
    /// `webhook-id`.
    pub id: &'b str,
    /// `webhook-timestamp`.
    pub timestamp: &'b str,
    /// `webhook-signature`.
    pub signature: &'b str,
    /// `webhook-attempt`.
    pub attempt: &'b str,
    /// The length of the head.
    pub head_bytes: usize,
    /// The length of the body.
    pub body_bytes: usize,
    /// Whether the client wants to use the connection again.
    pub keep: bool,
}

impl<'b> Request<'b> {
    /// Takes note of a header.
    pub fn see(&mut self, name: &str, value: &'b str) {
        // Most headers differ in length from those that matter.
        let place = match name.len() {
            16 if name.eq_ignore_ascii_case("stripe-signature") => &mut self.stripe_signature,
            10 if name.eq_ignore_ascii_case("webhook-id") => &mut self.id,
            17 if name.eq_ignore_ascii_case("webhook-timestamp") => &mut self.timestamp,
            17 if name.eq_ignore_ascii_case("webhook-signature") => &mut self.signature,
            15 if name.eq_ignore_ascii_case("webhook-attempt") => &mut self.attempt,
            _ => return,
        };
        *place = value;
    }
}

/// Reads the head of a request; `None` where it is not whole yet.
///
/// # Errors
/// [`Malformed`].
pub fn request(bytes: &[u8]) -> Result<Option<Request<'_>>, Malformed> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head_bytes) =
        parsed.parse(bytes).map_err(|_| Malformed::Head)?
    else {
        return too_long(bytes);
    };
    let mut request =
        Request { path: parsed.path.unwrap_or_default(), head_bytes, ..Request::default() };
    let mut framing = Framing::new(parsed.version == Some(1));
    for header in parsed.headers.iter() {
        framing.see(header)?;
        if let Ok(value) = str::from_utf8(header.value) {
            request.see(header.name, value);
        }
    }
    request.body_bytes = framing.length.unwrap_or(0);
    request.keep = framing.keep;
    Ok(Some(request))
}

fn too_long<T>(bytes: &[u8]) -> Result<Option<T>, Malformed> {
    if bytes.len() > HEAD_BYTES_MAX { Err(Malformed::HeadTooLong) } else { Ok(None) }
}

struct Framing {
    length: Option<usize>,
    keep: bool,
}

impl Framing {
    const fn new(keep: bool) -> Self {
        Self { length: None, keep }
    }

    fn see(&mut self, header: &httparse::Header<'_>) -> Result<(), Malformed> {
        match header.name.len() {
            14 if header.name.eq_ignore_ascii_case("content-length") => {
                let digits = header.value.iter().all(u8::is_ascii_digit);
                let text = str::from_utf8(header.value).unwrap_or_default();
                let length = text.parse().ok().filter(|&n| digits && n <= BODY_BYTES_MAX);
                if length.is_none() || self.length.is_some() {
                    return Err(Malformed::Length);
                }
                self.length = length;
            }
            17 if header.name.eq_ignore_ascii_case("transfer-encoding") => {
                return Err(Malformed::Length);
            }
            10 if header.name.eq_ignore_ascii_case("connection") => {
                self.keep &= !header.value.eq_ignore_ascii_case(b"close");
            }
            _ => {}
        }
        Ok(())
    }
}

/// Writes a number in decimal digits, without allocating.
pub fn push_decimal(into: &mut Vec<u8>, mut number: usize) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10).to_le_bytes()[0];
        number /= 10;
        if number == 0 {
            break;
        }
    }
    into.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_when_its_head_is_whole() {
        let text = b"HTTP/1.1 201 Created\r\nContent-Length: 12\r\nx: y\r\n\r\nbody";
        for end in 0..48 {
            assert_eq!(answer(&text[..end]), Ok(None), "{end}");
        }
        let read = answer(text).unwrap().unwrap();
        assert_eq!((read.status, read.head_bytes, read.body_bytes), (201, 50, 12));
        assert!(read.keep);
        let close = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
        let read = answer(close).unwrap().unwrap();
        assert!(!read.keep && read.body_bytes == 0);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let head = |header: &str| answer(format!("HTTP/1.1 200 OK\r\n{header}\r\n").as_bytes());
        for header in [
            "",
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Transfer-Encoding: chunked\r\n",
        ] {
            assert_eq!(head(header), Err(Malformed::Length), "{header}");
        }
        assert_eq!(answer(b"SMTP ready\r\n\r\n"), Err(Malformed::Head));
        let endless = [b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &vec![b'y'; 70_000]].concat();
        assert_eq!(answer(&endless), Err(Malformed::HeadTooLong));
    }

    #[test]
    fn a_delivery_gives_what_the_sink_needs() {
        let text = "POST /t/7 HTTP/1.1\r\nhost: a\r\nSTRIPE-Signature: s\r\nwebhook-id: i\r\n\
                    webhook-timestamp: 1\r\nwebhook-signature: v\r\nwebhook-attempt: 2\r\n\
                    content-length: 3\r\n\r\n{} ";
        let read = request(text.as_bytes()).unwrap().unwrap();
        assert_eq!((read.path, read.stripe_signature, read.id), ("/t/7", "s", "i"));
        assert_eq!((read.timestamp, read.signature, read.attempt), ("1", "v", "2"));
        assert_eq!((read.body_bytes, read.keep), (3, true));
    }

    #[test]
    fn numbers_are_written_as_display_writes_them() {
        for number in [0, 9, 10, 262_144, usize::MAX] {
            let mut text = Vec::new();
            push_decimal(&mut text, number);
            assert_eq!(text, number.to_string().into_bytes());
        }
    }

    proptest::proptest! {
        /// For all bytes: an answer or a refusal, never a panic.
        #[test]
        fn any_bytes_can_come(bytes in proptest::collection::vec(0_u8.., 0..300)) {
            _ = (answer(&bytes), request(&bytes));
        }
    }
}

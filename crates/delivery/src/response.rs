//! What comes back, as bytes: the head, as `httparse` reads it, and how long its body is (RFC 9112,
//! §6.3). Knows no socket.
//!
//! Invariants: of bytes that are no HTTP/1.x head nothing is believed · one framing holds for a
//! body, and where a head names two, the connection ends with it.

mod chunks;

use std::mem::MaybeUninit;

use http::StatusCode;
use thiserror::Error;

use self::chunks::Chunks;

/// More fields than any server sends; the array for them is on the stack.
const FIELDS_MAX: usize = 100;

/// A look at the beginning of what has come.
#[derive(Debug)]
pub(crate) enum Look<'b> {
    /// A head, and not yet all of it.
    Partial,
    /// An interim head (1xx) of so many bytes; the real one comes after it.
    Interim(usize),
    /// The head of the response, of so many bytes.
    Head(Head<'b>, usize),
}

/// The head of a response.
#[derive(Debug)]
pub(crate) struct Head<'b> {
    pub(crate) status: StatusCode,
    /// The value of the first `Retry-After` field.
    pub(crate) retry_after: Option<&'b [u8]>,
    /// What follows the head.
    pub(crate) body: Body,
    /// Whether the connection may serve again once the body is read.
    pub(crate) keeps_alive: bool,
}

/// Why bytes are no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum HeadError {
    #[error("{0}")]
    Syntax(#[from] httparse::Error),
    #[error("a status code below 100")]
    Status,
    #[error("a Content-Length that is no number, or several")]
    Length,
    #[error("a Transfer-Encoding in HTTP/1.0")]
    Encoding,
}

/// Reads the head that `bytes` begin with.
///
/// # Errors
/// [`HeadError`] where they are not the beginning of one.
pub(crate) fn look(bytes: &[u8]) -> Result<Look<'_>, HeadError> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        bytes,
        &mut fields,
    )?;
    let httparse::Status::Complete(length) = parsed else { return Ok(Look::Partial) };
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(HeadError::Status)?;
    if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Look::Interim(length));
    }
    let fields = Fields::of(response.headers);
    let is_new = response.version == Some(1);
    let (body, is_clear) = fields.body(status, is_new)?;
    let keeps_alive = is_clear && if is_new { !fields.close } else { fields.stays_open() };
    Ok(Look::Head(Head { status, retry_after: fields.retry_after, body, keeps_alive }, length))
}

/// What matters of a head's fields.
#[derive(Default)]
struct Fields<'b> {
    retry_after: Option<&'b [u8]>,
    length: Option<Result<u64, HeadError>>,
    /// The last `Transfer-Encoding` field.
    encoding: Option<&'b [u8]>,
    close: bool,
    keep_alive: bool,
}

impl<'b> Fields<'b> {
    fn of(fields: &[httparse::Header<'b>]) -> Self {
        let mut found = Self::default();
        for field in fields {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            // By their length first: most fields are none of these.
            match field.name.len() {
                10 if is("connection") => {
                    found.close |= has(field.value, b"close");
                    found.keep_alive |= has(field.value, b"keep-alive");
                }
                11 if is("retry-after") => {
                    found.retry_after = found.retry_after.or(Some(field.value));
                }
                14 if is("content-length") => {
                    for value in list(field.value) {
                        let value = digits(value).ok_or(HeadError::Length);
                        let one = *found.length.get_or_insert(value);
                        // Said twice is forgiven, if it is the same.
                        found.length =
                            Some(if one == value { one } else { Err(HeadError::Length) });
                    }
                }
                17 if is("transfer-encoding") => found.encoding = Some(field.value),
                _ => {}
            }
        }
        found
    }

    /// The body, and whether nothing about its framing is in doubt.
    fn body(&self, status: StatusCode, is_new: bool) -> Result<(Body, bool), HeadError> {
        let none = Body::Length(0);
        match (status.as_u16(), self.encoding, self.length) {
            // Nobody asked for another protocol.
            (101, _, _) => Ok((none, false)),
            // Who names a body where none may be may send one, too.
            (204, encoding, length) => {
                Ok((none, encoding.is_none() && matches!(length, None | Some(Ok(0)))))
            }
            // Here a length is that of another answer.
            (304, encoding, length) => {
                Ok((none, encoding.is_none() && matches!(length, None | Some(Ok(_)))))
            }
            (_, Some(_), _) if !is_new => Err(HeadError::Encoding),
            (_, Some(encoding), length) => {
                let is_chunked =
                    list(encoding).last().is_some_and(|it| it.eq_ignore_ascii_case(b"chunked"));
                let body = if is_chunked { Body::Chunks(Chunks::new()) } else { Body::UntilClosed };
                // Both together are how responses are smuggled: what follows the chunks is not to
                // be trusted.
                Ok((body, length.is_none()))
            }
            (_, None, Some(length)) => Ok((Body::Length(length?), true)),
            (_, None, None) => Ok((Body::UntilClosed, true)),
        }
    }

    /// Of HTTP/1.0, where closing is the rule.
    const fn stays_open(&self) -> bool {
        self.keep_alive && !self.close
    }
}

fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

fn has(value: &[u8], token: &[u8]) -> bool {
    list(value).any(|it| it.eq_ignore_ascii_case(token))
}

/// Plain digits: no sign, no space.
fn digits(value: &[u8]) -> Option<u64> {
    let is_plain = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    is_plain.then(|| str::from_utf8(value).ok()?.parse().ok())?
}

/// A body that is still to come.
#[derive(Debug)]
pub(crate) enum Body {
    /// So many bytes more.
    Length(u64),
    /// Chunks, and their end.
    Chunks(Chunks),
    /// Whatever comes.
    UntilClosed,
}

/// What was taken of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// So many bytes were the body's.
    pub(crate) bytes: usize,
    /// Whether the body is at its end.
    pub(crate) ended: bool,
}

/// A chunked body that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a chunk that is none")]
pub(crate) struct Malformed;

impl Body {
    /// Takes in what has come, and passes on what is in it.
    ///
    /// # Errors
    /// [`Malformed`]: where the body ends is not known.
    pub(crate) fn take(
        &mut self,
        piece: &[u8],
        mut each: impl FnMut(&[u8]),
    ) -> Result<Taken, Malformed> {
        match self {
            Self::Length(left) => {
                let bytes =
                    usize::try_from(*left).map_or(piece.len(), |left| left.min(piece.len()));
                *left -= bytes as u64;
                each(&piece[..bytes]);
                Ok(Taken { bytes, ended: *left == 0 })
            }
            Self::Chunks(chunks) => chunks.take(piece, each),
            Self::UntilClosed => {
                each(piece);
                Ok(Taken { bytes: piece.len(), ended: false })
            }
        }
    }
}

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;

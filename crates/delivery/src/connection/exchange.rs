//! A request and its response on a connection: both directions at once, since an endpoint may
//! answer before it has read all of the request.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::StatusCode;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use super::Connection;
use crate::failure::ExchangeError;
use crate::response::{self, Body, Head, Look};

/// One read takes so much at most: a TLS record.
const READ_BYTES: usize = 16 * 1024;
/// Room for a usual head, so that the buffer for it does not grow.
const HEAD_BYTES: usize = 1024;
/// A buffer that one request has made larger than this is not kept.
const HEAD_KEPT_BYTES_MAX: usize = 8 * 1024;

/// Buffers that all exchanges of a client share.
///
/// Invariant: borrowed within a poll only, and while a [`Sink`] is told, which therefore polls no
/// exchange.
pub(crate) struct Buffers {
    input: RefCell<Box<[u8]>>,
    /// A buffer for a head, while no request is being written.
    head: Cell<Vec<u8>>,
}

/// What may be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of a head, 1xx heads included.
    pub(crate) head_bytes_max: usize,
    /// Bytes of a body, beyond which the connection is closed instead.
    pub(crate) body_bytes_max: usize,
}

/// A request that is being written.
pub(crate) struct Outgoing {
    pub(crate) head: Vec<u8>,
    pub(crate) body: Bytes,
    /// Of both together.
    pub(crate) written: usize,
}

/// Who hears of the response while it comes.
pub(crate) trait Sink {
    /// The head is there.
    fn head(&mut self, status: StatusCode, retry_after: Option<&[u8]>);
    /// A piece of the body is.
    fn body(&mut self, piece: &[u8]);
}

/// Why an exchange gave no response.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) error: ExchangeError,
    /// Whether not one byte of a response has come.
    pub(crate) unanswered: bool,
}

/// One exchange. [`Exchange::poll`] ends with whether the connection may serve again, once the
/// sink has heard of a head, or with why there is none.
pub(crate) struct Exchange<'a, S> {
    connection: &'a mut Connection,
    buffers: &'a Buffers,
    limits: Limits,
    sink: S,
    /// Whether nothing had come in before.
    is_clean: bool,
    /// None once it is written.
    outgoing: Option<Outgoing>,
    /// Why the rest of it cannot be written.
    write_error: Option<io::Error>,
    reading: Reading,
}

enum Reading {
    /// What has come of a head that is not complete, and how many bytes were read so far.
    Head { partial: Vec<u8>, received: usize },
    /// The body, and how many bytes of it may still be read.
    Body { body: Body, left: usize, keeps_alive: bool },
}

/// Whether the connection may serve again.
type Ended = bool;

impl Buffers {
    pub(crate) fn new() -> Self {
        let input = vec![0; READ_BYTES].into_boxed_slice();
        Self { input: RefCell::new(input), head: Cell::default() }
    }

    /// An empty buffer for a head.
    pub(crate) fn head(&self) -> Vec<u8> {
        let mut head = self.head.take();
        head.reserve(HEAD_BYTES);
        head
    }

    fn give_back(&self, mut head: Vec<u8>) {
        if head.capacity() <= HEAD_KEPT_BYTES_MAX {
            head.clear();
            self.head.set(head);
        }
    }
}

impl Outgoing {
    fn rest(&self) -> [&[u8]; 2] {
        let head = self.head.get(self.written..).unwrap_or_default();
        let of_body = self.written.saturating_sub(self.head.len());
        [head, self.body.get(of_body..).unwrap_or_default()]
    }
}

impl<'a, S: Sink> Exchange<'a, S> {
    pub(crate) fn new(
        connection: &'a mut Connection,
        buffers: &'a Buffers,
        limits: Limits,
        outgoing: Outgoing,
        sink: S,
    ) -> Self {
        // What comes before the request is no answer to it that another request could follow.
        let early = connection.begin();
        let is_clean = early.is_pending();
        let partial = match early {
            Poll::Ready(Some(byte)) => vec![byte],
            _ => Vec::new(),
        };
        let reading = Reading::Head { received: partial.len(), partial };
        let outgoing = Some(outgoing);
        Self { connection, buffers, limits, sink, is_clean, outgoing, write_error: None, reading }
    }

    /// Writes what is left of the request and reads what there is of the response.
    ///
    /// # Errors
    /// [`Broken`] where there is no response.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Ended, Broken>> {
        if let Poll::Ready(Err(error)) = self.poll_write(context) {
            // What has been answered before can still be read.
            self.outgoing = None;
            self.write_error = Some(error);
        }
        let buffers = self.buffers;
        let mut input = buffers.input.borrow_mut();
        loop {
            if let Reading::Head { received, .. } = &self.reading
                && *received >= self.limits.head_bytes_max
            {
                return Poll::Ready(Err(self.too_large()));
            }
            let mut piece = ReadBuf::new(&mut input);
            match Pin::new(&mut self.connection.stream).poll_read(context, &mut piece) {
                Poll::Pending if self.write_error.is_some() => {
                    if self.connection.has_nothing_to_read() {
                        return Poll::Ready(self.broken(None));
                    }
                    // An answer, or an end, that the runtime has not heard of yet.
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(self.broken(Some(error))),
                Poll::Ready(Ok(())) if piece.filled().is_empty() => {
                    return Poll::Ready(self.broken(None));
                }
                Poll::Ready(Ok(())) => {
                    if let Some(ended) = self.take(piece.filled()).transpose() {
                        return Poll::Ready(ended);
                    }
                }
            }
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(outgoing) = &mut self.outgoing else { return Poll::Ready(Ok(())) };
        let mut stream = Pin::new(&mut self.connection.stream);
        loop {
            let rest = outgoing.rest();
            let written = match rest.map(<[u8]>::is_empty) {
                [true, true] => break,
                [false, false] => {
                    let slices = rest.map(IoSlice::new);
                    ready!(stream.as_mut().poll_write_vectored(context, &slices))?
                }
                [is_body, _] => {
                    let slice = rest[usize::from(is_body)];
                    ready!(stream.as_mut().poll_write(context, slice))?
                }
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            outgoing.written += written;
        }
        ready!(stream.poll_flush(context))?;
        if let Some(Outgoing { head, .. }) = self.outgoing.take() {
            self.buffers.give_back(head);
        }
        Poll::Ready(Ok(()))
    }

    /// Takes in what was read; the end, where it is one.
    fn take(&mut self, piece: &[u8]) -> Result<Option<Ended>, Broken> {
        let Reading::Head { partial, received } = &mut self.reading else {
            return Ok(self.take_body(piece));
        };
        *received += piece.len();
        if partial.is_empty() {
            return self.take_head(piece);
        }
        // A head that comes byte by byte is not parsed as often: only where it may be complete.
        let from = partial.len().saturating_sub(3);
        partial.reserve_exact(piece.len());
        partial.extend_from_slice(piece);
        if !ends_head(&partial[from..]) {
            return Ok(None);
        }
        let joined = std::mem::take(partial);
        self.take_head(&joined)
    }

    fn take_head(&mut self, mut bytes: &[u8]) -> Result<Option<Ended>, Broken> {
        loop {
            match response::look(bytes) {
                Ok(Look::Interim(length)) if length < bytes.len() => bytes = &bytes[length..],
                Ok(Look::Interim(_)) => return Ok(None),
                Ok(Look::Partial) => {
                    if let Reading::Head { partial, .. } = &mut self.reading {
                        *partial = without_empty_lines(bytes).to_vec();
                    }
                    return Ok(None);
                }
                Ok(Look::Head(_, length)) if length > self.limits.head_bytes_max => {
                    return Err(self.too_large());
                }
                Ok(Look::Head(Head { status, retry_after, body, keeps_alive }, length)) => {
                    self.sink.head(status, retry_after);
                    let left = self.limits.body_bytes_max;
                    self.reading = Reading::Body { body, left, keeps_alive };
                    return Ok(self.take_body(&bytes[length..]));
                }
                Err(error) => return Err(self.unreadable(error.into())),
            }
        }
    }

    fn take_body(&mut self, piece: &[u8]) -> Option<Ended> {
        let Reading::Body { body, left, keeps_alive } = &mut self.reading else { return None };
        let sink = &mut self.sink;
        let Ok(taken) = body.take(piece, |data| sink.body(data)) else { return Some(false) };
        let Some(rest) = left.checked_sub(taken.bytes) else { return Some(false) };
        *left = rest;
        let is_whole = self.is_clean && taken.bytes == piece.len() && self.outgoing.is_none();
        taken.ended.then(|| {
            *keeps_alive && is_whole && self.write_error.is_none() && self.connection.is_quiet()
        })
    }

    /// The connection has come to its end.
    fn broken(&mut self, error: Option<io::Error>) -> Result<Ended, Broken> {
        // Once there is a head, that is the answer.
        let Reading::Head { .. } = self.reading else { return Ok(false) };
        let error = error.or_else(|| self.write_error.take());
        Err(self.unreadable(error.map_or(ExchangeError::Closed, ExchangeError::Io)))
    }

    fn too_large(&self) -> Broken {
        self.unreadable(ExchangeError::HeadTooLarge { max: self.limits.head_bytes_max })
    }

    fn unreadable(&self, error: ExchangeError) -> Broken {
        let unanswered = matches!(self.reading, Reading::Head { received: 0, .. });
        Broken { error, unanswered }
    }
}

/// What the parser would pass over each time it looks: the lines are many if somebody wants it so.
fn without_empty_lines(mut bytes: &[u8]) -> &[u8] {
    while let [b'\n', rest @ ..] | [b'\r', b'\n', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

/// Whether an empty line may be in it.
fn ends_head(bytes: &[u8]) -> bool {
    let lines = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    let mut rests = lines.map(|(at, _)| &bytes[at + 1..]);
    rests.any(|rest| matches!(rest, [b'\n', ..] | [b'\r', b'\n', ..]))
}

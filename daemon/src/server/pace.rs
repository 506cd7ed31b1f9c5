//! How long a connection may take: to begin a request, and to send its head.
//!
//! hyper has one deadline for both, which would close a kept-alive connection as soon as a slow
//! head, while proxies keep theirs for a minute and answer 502 where the other end does not. So
//! the deadlines are kept here, below HTTP, by what is read and by whether a request is served:
//!
//! ```text
//! idle ── first byte ──► head ── whole ──► serving ── answered ──► idle
//!  └─ idle_max: closed    └─ head_max: closed  └─ (the API bounds the body)
//! ```
//! A timer is moved only where a deadline is earlier than it stands, so a quick request costs none.
//!
//! At its end a connection lingers where the client may still be sending: an answer that came
//! before the body's end (413, 401, 503) would not be read otherwise. A socket that is closed with
//! bytes unread, or that gets more of them, resets the connection (RFC 9112, 9.6), and a client
//! whose write fails seldom looks for an answer.

use std::io::{self, ErrorKind, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a connection that has sent its last byte waits for the client's.
const LINGER_MAX: Duration = Duration::from_secs(2);
/// What it reads and throws away meanwhile: three of the longest batches that a default takes.
const LINGER_BYTES_MAX: usize = 16 << 20;
/// At a time.
const LINGER_READ: usize = 8192;

/// The two deadlines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// From an answer, or the beginning, to the first byte of a request.
    pub(crate) idle_max: Duration,
    /// From the first byte of a request to its whole head.
    pub(crate) head_max: Duration,
}

/// Whether a request is being served, and whether its body has come; the connection's service tells
/// it, its socket reads it.
///
/// Both run in one task, so no order between threads is needed.
#[derive(Debug)]
pub(super) struct Served {
    start: Instant,
    serving: AtomicBool,
    /// Whether the body of the last request has not been read to its end.
    body_open: AtomicBool,
    /// When the last request was answered, in microseconds after the start; 0 where none was.
    answered_us: AtomicU64,
}

impl Default for Served {
    fn default() -> Self {
        let (serving, body_open) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { start: Instant::now(), serving, body_open, answered_us: AtomicU64::new(0) }
    }
}

/// A request is being served for as long as this lives.
#[derive(Debug)]
pub(super) struct Serving(Arc<Served>);

impl Serving {
    pub(super) fn begin(served: &Arc<Served>) -> Self {
        served.serving.store(true, Ordering::Relaxed);
        Self(Arc::clone(served))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let us = u64::try_from(self.0.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.0.answered_us.store(us.max(1), Ordering::Relaxed);
        self.0.serving.store(false, Ordering::Relaxed);
    }
}

/// A request's body that tells when it has come to its end.
#[derive(Debug)]
pub(super) struct Told<B> {
    inner: B,
    served: Arc<Served>,
}

impl<B: Body> Told<B> {
    pub(super) fn new(inner: B, served: &Arc<Served>) -> Self {
        served.body_open.store(!inner.is_end_stream(), Ordering::Relaxed);
        Self { inner, served: Arc::clone(served) }
    }
}

impl<B: Body + Unpin> Body for Told<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if frame.is_none() || self.inner.is_end_stream() {
            self.served.body_open.store(false, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A socket whose reads fail when the connection has taken too long.
#[derive(Debug)]
pub(super) struct Paced<S> {
    inner: S,
    pace: Pace,
    served: Arc<Served>,
    /// The answer after which `since` was set, as [`Served`] names it.
    seen_us: u64,
    /// Whether a request has begun.
    in_head: bool,
    /// Since when it is idle, or in a head.
    since: Instant,
    timer: Pin<Box<Sleep>>,
    /// Whether the client has sent its last byte.
    ended: bool,
    /// How much was thrown away since we sent ours; none where we have not.
    lingered: Option<usize>,
}

impl<S> Paced<S> {
    pub(super) fn new(inner: S, pace: Pace, served: Arc<Served>) -> Self {
        let since = Instant::now();
        let timer = Box::pin(sleep_until(since + pace.idle_max));
        let (in_head, ended) = (false, false);
        Self { inner, pace, served, seen_us: 0, in_head, since, timer, ended, lingered: None }
    }

    /// Whether the other side's time is running: it does not while a request is served.
    fn is_running(&mut self) -> bool {
        let answered_us = self.served.answered_us.load(Ordering::Relaxed);
        if answered_us != self.seen_us {
            self.seen_us = answered_us;
            self.in_head = false;
            let answered = self.served.start + Duration::from_micros(answered_us);
            // Writing the answer came after it, where it took that long.
            self.since = self.since.max(answered);
        }
        !self.served.serving.load(Ordering::Relaxed)
    }

    /// Bytes have come in.
    fn note_read(&mut self) {
        if self.is_running() && !self.in_head {
            self.in_head = true;
            self.since = Instant::now();
        }
    }

    /// Nothing has come in: an error when the time is over.
    ///
    /// The timer is always left to wake the connection: hyper does not read again when an answer is
    /// done, if a read has said during it that there is nothing.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let running = self.is_running();
        let most = if self.in_head { self.pace.head_max } else { self.pace.idle_max };
        let since = if running { self.since } else { Instant::now() };
        let deadline = since + most;
        if deadline < self.timer.deadline() {
            self.timer.as_mut().reset(deadline);
        }
        loop {
            ready!(self.timer.as_mut().poll(cx));
            if running && self.timer.deadline() >= deadline {
                let what = if self.in_head { "a request's head" } else { "a request" };
                let text = format!("no {what} within {} ms", most.as_millis());
                return Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, text)));
            }
            // It stood for an earlier deadline.
            self.timer.as_mut().reset(deadline);
        }
    }

    /// Whether the client is in the middle of a request that we are done with: of its body, or of a
    /// head that was refused.
    fn may_be_sending(&mut self) -> bool {
        let refused_head = self.is_running() && self.in_head;
        !self.ended && (refused_head || self.served.body_open.load(Ordering::Relaxed))
    }
}

impl<S: AsyncRead + Unpin> Paced<S> {
    /// Reads and throws away until the client's end, or until it is enough.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut waste = [MaybeUninit::uninit(); LINGER_READ];
        loop {
            if self.timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let mut buffer = ReadBuf::uninit(&mut waste);
            let read = ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buffer));
            let lingered = self.lingered.unwrap_or(0) + buffer.filled().len();
            self.lingered = Some(lingered);
            if read.is_err() || buffer.filled().is_empty() || lingered >= LINGER_BYTES_MAX {
                self.ended = true;
                return Poll::Ready(());
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let Poll::Ready(read) = Pin::new(&mut this.inner).poll_read(cx, buffer) else {
            return this.poll_deadline(cx);
        };
        if buffer.filled().len() > before {
            this.note_read();
        } else {
            this.ended = true;
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes));
        // A client that still takes its answer is not idle.
        self.since = Instant::now();
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, parts));
        self.since = Instant::now();
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingered.is_none() {
            ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
            self.lingered = Some(0);
            self.timer.as_mut().reset(Instant::now() + LINGER_MAX);
        }
        if self.may_be_sending() {
            ready!(self.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    const PACE: Pace = Pace { idle_max: Duration::from_secs(75), head_max: Duration::from_secs(5) };

    fn connection() -> (DuplexStream, Paced<DuplexStream>, Arc<Served>) {
        let (client, server) = duplex(1024);
        let served = Arc::new(Served::default());
        (client, Paced::new(server, PACE, Arc::clone(&served)), served)
    }

    /// Reads until the time is over; seconds from now.
    async fn seconds_to_timeout(paced: &mut Paced<DuplexStream>) -> u64 {
        let start = Instant::now();
        let error = loop {
            match paced.read_u8().await {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
        start.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_has_longer_than_a_head() {
        let (_client, mut paced, _) = connection();
        assert_eq!(seconds_to_timeout(&mut paced).await, 75);
        let (mut client, mut paced, _) = connection();
        client.write_all(b"POST /v1/ev").await.unwrap();
        assert_eq!(seconds_to_timeout(&mut paced).await, 5);
    }

    /// For all drips: the head's time counts from its first byte.
    #[tokio::test(start_paused = true)]
    async fn a_head_that_drips_gains_no_time() {
        let (mut client, mut paced, _) = connection();
        let dripping = async {
            for _ in 0..20 {
                // Fails once the other end is gone.
                client.write_all(b"x").await.ok();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            () = dripping => panic!("the drip outlasts the deadline"),
            seconds = seconds_to_timeout(&mut paced) => assert_eq!(seconds, 5),
        }
    }

    /// As hyper reads: nothing asks again after the answer, so what was registered before it must
    /// wake the connection, and the idle time counts from the answer.
    #[tokio::test(start_paused = true)]
    async fn a_read_that_began_before_the_answer_ends_after_it() {
        let (mut client, mut paced, served) = connection();
        client.write_all(b"x").await.unwrap();
        paced.read_u8().await.unwrap();
        let serving = Serving::begin(&served);
        let answering = async {
            tokio::time::sleep(Duration::from_secs(20)).await;
            drop(serving);
        };
        let (seconds, ()) = tokio::join!(seconds_to_timeout(&mut paced), answering);
        assert_eq!(seconds, 20 + 75);
    }

    /// While a request is served nothing runs; afterwards the connection is idle afresh, and the
    /// next head has its own time.
    #[tokio::test(start_paused = true)]
    async fn time_stands_still_while_a_request_is_served() {
        let (mut client, mut paced, served) = connection();
        client.write_all(b"x").await.unwrap();
        paced.read_u8().await.unwrap();
        let serving = Serving::begin(&served);
        let most = Duration::from_secs(600);
        assert!(tokio::time::timeout(most, paced.read_u8()).await.is_err(), "it waits");
        drop(serving);
        tokio::time::sleep(Duration::from_secs(10)).await;
        let read = tokio::time::timeout(Duration::from_secs(60), paced.read_u8()).await;
        assert!(read.is_err(), "idle for less than its time");
        client.write_all(b"x").await.unwrap();
        assert_eq!(seconds_to_timeout(&mut paced).await, 5);
    }

    /// A request whose body has not been read.
    fn body_open(served: &Arc<Served>) {
        Told::new(http_body_util::Full::new(bytes::Bytes::from_static(b"{}")), served);
    }

    /// Lets the connection end; seconds that it took.
    async fn seconds_to_end(paced: &mut Paced<DuplexStream>) -> u64 {
        let start = Instant::now();
        paced.shutdown().await.unwrap();
        start.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_may_be_sending_is_waited_for() {
        let (mut client, mut paced, served) = connection();
        body_open(&served);
        let sending = async {
            // More than the pipe holds: somebody reads it.
            client.write_all(&[b'x'; 5000]).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            client.write_all(&[b'x'; 5000]).await.unwrap();
            drop(client);
        };
        let (seconds, ()) = tokio::join!(seconds_to_end(&mut paced), sending);
        assert_eq!(seconds, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_for_ever_is_not() {
        let (_client, mut paced, served) = connection();
        body_open(&served);
        assert_eq!(seconds_to_end(&mut paced).await, LINGER_MAX.as_secs());
        let (mut client, mut paced, served) = connection();
        body_open(&served);
        let flood = async { while client.write_all(&[b'x'; 1000]).await.is_ok() {} };
        tokio::select! {
            seconds = seconds_to_end(&mut paced) => assert_eq!(seconds, 0, "by its bytes"),
            () = flood => panic!("the end comes when the connection is dropped"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_has_sent_all_is_not_waited_for() {
        // Nothing begun; a body that was read to its end; a client that has ended.
        let (_client, mut paced, _) = connection();
        assert_eq!(seconds_to_end(&mut paced).await, 0);
        let (_client, mut paced, served) = connection();
        let full = http_body_util::Full::new(bytes::Bytes::from_static(b"{}"));
        http_body_util::BodyExt::collect(Told::new(full, &served)).await.unwrap();
        assert_eq!(seconds_to_end(&mut paced).await, 0);
        let (client, mut paced, served) = connection();
        body_open(&served);
        drop(client);
        assert_eq!(paced.read(&mut [0; 1]).await.unwrap(), 0);
        assert_eq!(seconds_to_end(&mut paced).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_head_is_read_on() {
        let (mut client, mut paced, _) = connection();
        client.write_all(b"POST ").await.unwrap();
        paced.read_u8().await.unwrap();
        assert_eq!(seconds_to_end(&mut paced).await, LINGER_MAX.as_secs());
    }
}

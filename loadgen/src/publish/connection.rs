//! One connection of a lane: HTTP/1.1, one request at a time, buffers that are kept.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::lane::{Job, Lane, Seat};
use crate::shared::tune;
use crate::wire;

/// The pause between attempts to reach a system that is down.
const TRY_AGAIN: Duration = Duration::from_millis(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects and sends events until there is nothing to do or the connection ends.
pub(super) async fn run(lane: Rc<Lane>) {
    let Some(mut stream) = connect(&lane).await else { return };
    // After an outage, the others that are needed.
    lane.connect();
    let seat = Rc::new(Seat::default());
    serve(&lane, &seat, &mut stream, &mut Buffers::default()).await;
    if !lane.settings.keep_alive {
        abandon(&stream);
    }
    drop(stream);
    lane.connect();
}

/// A connection; `None` where another one tries for all already, or nothing is sent any more.
async fn connect(lane: &Rc<Lane>) -> Option<TcpStream> {
    let mut tries_for_all = false;
    loop {
        let connecting = timeout(CONNECT_TIMEOUT, TcpStream::connect(lane.settings.address)).await;
        let stream = connecting.ok().and_then(Result::ok).filter(|stream| tune(stream).is_ok());
        if stream.is_some() {
            lane.connected();
            return stream;
        }
        tries_for_all |= lane.failed();
        if !tries_for_all || lane.is_closed() {
            lane.gave_up();
            return None;
        }
        sleep(TRY_AGAIN).await;
    }
}

/// What a connection keeps from event to event.
#[derive(Debug, Default)]
struct Buffers {
    request: Vec<u8>,
    answer: Vec<u8>,
}

/// Sends events on a connection until it ends.
async fn serve(lane: &Rc<Lane>, seat: &Rc<Seat>, stream: &mut TcpStream, buffers: &mut Buffers) {
    loop {
        let job = match lane.next() {
            Some(job) => job,
            None => match idle(lane, seat, stream).await {
                Some(job) => job,
                None => return,
            },
        };
        let limit = Duration::from_nanos(lane.settings.answer_timeout);
        let outcome = timeout(limit, exchange(lane, &job, stream, buffers)).await;
        let outcome = outcome.unwrap_or(Err("timed out"));
        lane.end(&job, outcome.map(|answer| answer.status));
        let keep = outcome.is_ok_and(|answer| answer.keep) && lane.settings.keep_alive;
        if !keep || lane.is_closed() {
            return;
        }
    }
}

/// Waits for an event; `None` where the connection ends before one comes.
async fn idle(lane: &Rc<Lane>, seat: &Rc<Seat>, stream: &TcpStream) -> Option<Job> {
    if lane.is_closed() {
        return None;
    }
    lane.sit(seat);
    poll_fn(|context| {
        if let Some(job) = seat.take() {
            return Poll::Ready(Some(job));
        }
        if lane.is_closed() {
            return Poll::Ready(None);
        }
        seat.wait(context.waker());
        // Anything that comes now is no answer: the server has closed, or is out of step.
        while stream.poll_read_ready(context).is_ready() {
            let blocked = stream.try_read(&mut [0; 1]).err().map(|error| error.kind());
            if blocked != Some(io::ErrorKind::WouldBlock) {
                lane.leave(seat);
                return Poll::Ready(None);
            }
        }
        Poll::Pending
    })
    .await
}

async fn exchange(
    lane: &Lane,
    job: &Job,
    stream: &mut TcpStream,
    buffers: &mut Buffers,
) -> Result<wire::Answer, &'static str> {
    let Buffers { request, answer } = buffers;
    request.clear();
    answer.clear();
    let payloads = &lane.shared.workload.payloads;
    request.extend_from_slice(&lane.settings.heads[job.tenant as usize]);
    wire::push_decimal(request, payloads.length(job.due.sequence));
    request.extend_from_slice(b"\r\n\r\n");
    payloads.write(&lane.shared.workload.tag(job.due.sequence, job.due.at), request);
    stream.write_all(request).await.map_err(|error| reason(&error))?;
    loop {
        answer.reserve(1024);
        let read = stream.read_buf(answer).await.map_err(|error| reason(&error))?;
        if read == 0 {
            return Err("closed");
        }
        if let Some(head) = wire::answer(answer).map_err(|_| "not HTTP")?
            && answer.len() >= head.head_bytes + head.body_bytes
        {
            return Ok(head);
        }
    }
}

fn reason(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionReset => "reset",
        io::ErrorKind::BrokenPipe => "broken pipe",
        _ => "input or output error",
    }
}

/// Ends a connection at once: thousands of cold ones would fill the table of ports with those that
/// linger. The answer has been read, so nothing is lost.
fn abandon(stream: &TcpStream) {
    // Where it cannot be set, the connection lingers.
    _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

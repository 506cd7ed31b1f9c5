//! One connection of the sink: HTTP/1.1 by hand, over TCP or TLS.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::behave::{Circumstances, Deed, decide};
use super::http2;
use super::inbound::{Inbound, Note};
use super::inspect::{self, Inspector};
use super::{Receiver, Trust};
use crate::chance::{Chance, mix};
use crate::clock::{Nanos, calendar};
use crate::payload::Tag;
use crate::retries::{End, Try};
use crate::scenario::Behaviour;
use crate::shared::lock;
use crate::wire::{self, Request};

/// What the client says first when it speaks HTTP/2 without having negotiated it.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";
/// Kept between requests; a large body's memory is given back.
const BUFFER_KEPT_BYTES: usize = 64 * 1024;
/// A huge body is written in pieces of this size.
const PIECE: &[u8] = &[b'.'; 16 * 1024];

/// What the connections of a thread share.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) receiver: Arc<Receiver>,
    pub(crate) record: Arc<Mutex<Inbound>>,
    pub(crate) chance: RefCell<Chance>,
}

/// What to do, and what to note when it is done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decision<'b> {
    pub(super) deed: Deed,
    pub(super) note: Option<Note>,
    pub(super) behaviour: &'b Behaviour,
    /// The attempt, where it is one of this run's.
    tried: Option<Try>,
}

/// Notes when the client went away before it had an answer: when this is dropped, unless the
/// answer leaves. So it holds for HTTP/2 too, where hyper drops what works on a stream.
#[derive(Debug)]
pub(super) struct Unanswered<'l> {
    local: &'l Local,
    tried: Option<Try>,
}

impl Unanswered<'_> {
    /// The answer leaves.
    pub(super) fn answered(mut self) {
        self.tried = None;
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.local.failed(self.tried, End::Seen, None);
    }
}

impl Local {
    /// Looks at a request that has come whole, and decides.
    pub(super) fn judge(
        &self,
        request: &Request<'_>,
        body: &[u8],
        at: Nanos,
        reused: bool,
    ) -> Decision<'_> {
        let receiver = &*self.receiver;
        let attempt = request.attempt.parse().unwrap_or(0);
        let mut record = lock(&self.record);
        record.request(attempt);
        let inspected = self.inspect(request, body, record.requests);
        let tag = match inspected {
            Ok(tag) => tag,
            Err(fault) => {
                *record.faulty.entry(fault).or_default() += 1;
                receiver.shared.account().faulty();
                let deed = Deed::Answer { status: 400, after: 0 };
                let behaviour = &receiver.behaviours[0];
                return Decision { deed, note: None, behaviour, tried: None };
            }
        };
        drop(record);
        let group = receiver.shared.workload.groups[tag.tenant as usize];
        let behaviour = &receiver.behaviours[usize::from(group)];
        let since = at.checked_sub(receiver.shared.window().from);
        let circumstances = Circumstances { since, attempt, reused };
        let deed = decide(behaviour, &mut self.chance.borrow_mut(), circumstances);
        let accepted = matches!(deed, Deed::Answer { status: 200..=299, .. });
        // Without a run there is no account.
        let is_run = matches!(receiver.trust, Trust::Run(_));
        let note = (accepted && is_run).then(|| Note { tag, at, times: self.times(&tag) });
        let tried = is_run.then(|| {
            let Tag { sequence, tenant, due, .. } = tag;
            Try { sequence, tenant, number: attempt, phase: receiver.shared.window().phase(due) }
        });
        if let Some(tried) = tried {
            receiver.shared.tried(tried, at);
        }
        Decision { deed, note, behaviour, tried }
    }

    /// Checks a delivery, or an altered one where that fault is due.
    fn inspect(
        &self,
        request: &Request<'_>,
        body: &[u8],
        number: u64,
    ) -> Result<Tag, inspect::Fault> {
        let keys = match &self.receiver.trust {
            Trust::Run(keys) => keys.get().map_or(&[] as &[_], Vec::as_slice),
            Trust::Signed(key) => return inspect::is_signed(request, key, body, calendar()),
            Trust::Anything => return Ok(inspect::NOBODY),
        };
        let inspector = Inspector { workload: &self.receiver.shared.workload, keys };
        let one_in = self.receiver.faults.alter_one_in;
        if one_in == 0 || !mix(self.receiver.seed ^ 0xA1, number).is_multiple_of(one_in) {
            return inspector.inspect(request, body, calendar());
        }
        let mut altered = body.to_vec();
        if let Some(last) = altered.len().checked_sub(3) {
            altered[last] ^= 1;
        }
        inspector.inspect(request, &altered, calendar())
    }

    /// How often a delivery is counted: once, where no fault is due.
    fn times(&self, tag: &Tag) -> u8 {
        let faults = self.receiver.faults;
        let due = |one_in: u64, salt: u64| {
            one_in > 0 && mix(self.receiver.seed ^ salt, tag.sequence).is_multiple_of(one_in)
        };
        if due(faults.drop_one_in, 0xD0) {
            0
        } else if due(faults.double_one_in, 0xD2) {
            2
        } else {
            1
        }
    }

    /// The answer to a delivery leaves next.
    pub(super) fn accept(&self, decision: &Decision<'_>) {
        if let Some(note) = &decision.note {
            lock(&self.record).delivered(&self.receiver.shared, note);
        }
    }

    /// An answer leaves.
    pub(super) fn answered(&self, decision: &Decision<'_>, status: u16) {
        *lock(&self.record).answers.entry(status).or_default() += 1;
        let behaviour = decision.behaviour;
        // 410 ends an event: nothing follows it.
        if !matches!(status, 200..=299 | 410) && !is_long(behaviour) {
            self.failed(decision.tried, End::Made, behaviour.retry_after(status));
        }
    }

    /// An answer has left that takes its time, so that the client decides when it has enough.
    pub(super) fn answered_at_length(&self, decision: &Decision<'_>, status: u16) {
        let behaviour = decision.behaviour;
        if !matches!(status, 200..=299 | 410) && is_long(behaviour) {
            self.failed(decision.tried, End::Seen, behaviour.retry_after(status));
        }
    }

    /// An attempt ends now, and not well.
    fn failed(&self, tried: Option<Try>, end: fn(Nanos) -> End, retry_after_s: Option<u64>) {
        let Some(tried) = tried else { return };
        let shared = &self.receiver.shared;
        let one_in = self.receiver.faults.early_one_in;
        let salt = self.receiver.seed ^ 0xEA;
        let is_due = one_in > 0 && mix(salt, tried.sequence).is_multiple_of(one_in);
        let step = if is_due { shared.retries().step(tried.number) } else { 0 };
        shared.failed(tried, end(shared.clock.now() + step), retry_after_s);
    }

    /// What to hold as long as the client waits for an answer.
    pub(super) const fn unanswered(&self, decision: &Decision<'_>) -> Unanswered<'_> {
        Unanswered { local: self, tried: decision.tried }
    }

    fn withheld(&self, what: &'static str) {
        *lock(&self.record).withheld.entry(what).or_default() += 1;
    }
}

/// A stream that can be ended without ceremony.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin {
    /// The TCP connection below.
    fn tcp(&self) -> &TcpStream;
}

impl Transport for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

/// Serves a connection to its end.
pub(super) async fn serve<S: Transport + 'static>(local: Rc<Local>, mut stream: S) {
    lock(&local.record).connections += 1;
    let mut buffer = Vec::with_capacity(4096);
    let mut reused = false;
    // How a client ends its connection is its own business.
    while let Ok(Some(arrived)) = read(&local, &mut stream, &mut buffer).await {
        if buffer.starts_with(HTTP2_PREFACE) {
            http2::serve(local, http2::Rewound::new(buffer, stream)).await;
            return;
        }
        if !matches!(one(&local, &mut stream, &mut buffer, arrived, reused).await, Ok(true)) {
            return;
        }
        reused = true;
        if buffer.capacity() > BUFFER_KEPT_BYTES && buffer.is_empty() {
            buffer = Vec::with_capacity(4096);
        }
    }
}

/// A request that has come whole.
#[derive(Clone, Copy, Debug)]
struct Arrived {
    /// When its first byte came.
    at: Nanos,
    /// Where it ends.
    end: usize,
}

/// Reads until a request is whole; `None` at the end of the stream.
async fn read<S: Transport>(
    local: &Local,
    stream: &mut S,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<Arrived>> {
    let clock = local.receiver.shared.clock;
    let mut first = (!buffer.is_empty()).then(|| clock.now());
    let mut end = None;
    loop {
        if let (Some(at), None) = (first, end) {
            if buffer.starts_with(HTTP2_PREFACE) {
                return Ok(Some(Arrived { at, end: 0 }));
            }
            let head = wire::request(buffer).map_err(io::Error::other)?;
            end = head.map(|head| head.head_bytes + head.body_bytes);
        }
        if let (Some(at), Some(end)) = (first, end)
            && buffer.len() >= end
        {
            return Ok(Some(Arrived { at, end }));
        }
        buffer.reserve(end.unwrap_or(0).saturating_sub(buffer.len()).max(4096));
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
        first.get_or_insert_with(|| clock.now());
    }
}

/// Serves one request; gives whether the connection can be used again.
async fn one<S: Transport>(
    local: &Local,
    stream: &mut S,
    buffer: &mut Vec<u8>,
    Arrived { at, end }: Arrived,
    reused: bool,
) -> io::Result<bool> {
    let Some(head) = wire::request(buffer).map_err(io::Error::other)? else { return Ok(false) };
    let keep = head.keep;
    let decision = local.judge(&head, &buffer[head.head_bytes..end], at, reused);
    buffer.drain(..end);
    let Deed::Answer { status, after } = decision.deed else {
        return withhold(local, stream, &decision).await;
    };
    if after > 0 {
        let unanswered = local.unanswered(&decision);
        if !pause(stream, buffer, after).await {
            local.withheld("given up by the client");
            return Ok(false);
        }
        unanswered.answered();
    }
    local.accept(&decision);
    local.answered(&decision, status);
    let keep = keep && !decision.behaviour.close_after_answer;
    let answered = answer(stream, status, decision.behaviour, keep).await;
    local.answered_at_length(&decision, status);
    answered.map(|()| keep)
}

/// Waits; gives whether the client is still there. What it sends meanwhile is kept for later.
async fn pause<S: Transport>(stream: &mut S, buffer: &mut Vec<u8>, length: Nanos) -> bool {
    let pause = sleep(Duration::from_nanos(length));
    tokio::pin!(pause);
    tokio::select! {
        () = &mut pause => return true,
        read = stream.read_buf(buffer) => {
            if !matches!(read, Ok(1..)) {
                return false;
            }
        }
    }
    // The next request is here already: a client that sends in a row is not watched any further.
    pause.await;
    true
}

/// Does something else than answering.
async fn withhold<S: Transport>(
    local: &Local,
    stream: &mut S,
    decision: &Decision<'_>,
) -> io::Result<bool> {
    match decision.deed {
        Deed::Hang => {
            local.withheld("hang");
            let _unanswered = local.unanswered(decision);
            // Until the client has had enough.
            while stream.read(&mut [0; 1024]).await? > 0 {}
        }
        Deed::Reset => {
            local.withheld("reset");
            local.failed(decision.tried, End::Made, None);
            socket2::SockRef::from(stream.tcp()).set_linger(Some(Duration::ZERO))?;
        }
        Deed::Close | Deed::Answer { .. } => {
            local.withheld("close");
            local.failed(decision.tried, End::Made, None);
        }
    }
    Ok(false)
}

/// Whether an answer takes so long that its client may be done before it has left.
const fn is_long(behaviour: &Behaviour) -> bool {
    behaviour.body_bytes > 0 || behaviour.drip > 0
}

const PLAIN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

async fn answer<S: Transport>(
    stream: &mut S,
    status: u16,
    behaviour: &Behaviour,
    keep: bool,
) -> io::Result<()> {
    if status == 200 && keep && behaviour.body_bytes == 0 && behaviour.drip == 0 {
        stream.write_all(PLAIN).await?;
        return stream.flush().await;
    }
    let head = head(status, behaviour, keep);
    if behaviour.drip > 0 {
        for byte in head.as_bytes() {
            stream.write_all(&[*byte]).await?;
            sleep(Duration::from_nanos(behaviour.drip)).await;
        }
    } else {
        stream.write_all(head.as_bytes()).await?;
    }
    let mut left = behaviour.body_bytes;
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE.len());
        stream.write_all(&PIECE[..length]).await?;
        left -= length as u64;
    }
    stream.flush().await
}

fn head(status: u16, behaviour: &Behaviour, keep: bool) -> String {
    let close = if keep { "" } else { "connection: close\r\n" };
    let retry = behaviour.retry_after(status);
    let retry = retry.map_or_else(String::new, |seconds| format!("retry-after: {seconds}\r\n"));
    let length = behaviour.body_bytes;
    format!("HTTP/1.1 {status} Status\r\ncontent-length: {length}\r\n{retry}{close}\r\n")
}

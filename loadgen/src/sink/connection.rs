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
                return Decision { deed, note: None, behaviour: &receiver.behaviours[0] };
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
        Decision { deed, note, behaviour }
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
    pub(super) fn answered(&self, status: u16) {
        *lock(&self.record).answers.entry(status).or_default() += 1;
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
        return withhold(local, stream, decision.deed).await;
    };
    if after > 0 {
        sleep(Duration::from_nanos(after)).await;
    }
    local.accept(&decision);
    local.answered(status);
    let keep = keep && !decision.behaviour.close_after_answer;
    answer(stream, status, decision.behaviour, keep).await?;
    Ok(keep)
}

/// Does something else than answering.
async fn withhold<S: Transport>(local: &Local, stream: &mut S, deed: Deed) -> io::Result<bool> {
    match deed {
        Deed::Hang => {
            local.withheld("hang");
            // Until the client has had enough.
            while stream.read(&mut [0; 1024]).await? > 0 {}
        }
        Deed::Reset => {
            local.withheld("reset");
            socket2::SockRef::from(stream.tcp()).set_linger(Some(Duration::ZERO))?;
        }
        Deed::Close | Deed::Answer { .. } => local.withheld("close"),
    }
    Ok(false)
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
    let retry = match behaviour.retry_after_s {
        Some(seconds) if matches!(status, 429 | 503) => format!("retry-after: {seconds}\r\n"),
        _ => String::new(),
    };
    let length = behaviour.body_bytes;
    format!("HTTP/1.1 {status} Status\r\ncontent-length: {length}\r\n{retry}{close}\r\n")
}

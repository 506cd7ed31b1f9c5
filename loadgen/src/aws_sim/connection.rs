//! One connection of a client: requests one after the other, faults of whole calls, and the
//! simulator's own paths.
//!
//! ```text
//! POST /                 a call of AWS, named by X-Amz-Target
//! GET  /_sim/counters    what was asked so far
//! GET  /_sim/faults      what goes wrong
//! POST /_sim/faults      from now on this goes wrong
//! POST /_sim/reset       nothing was ever here
//! POST /_sim/skip        {"ms": 180000} passes at once
//! ```

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::counters::Fault;
use super::faults::{Fate, Faults};
use super::http::{self, Head};
use super::operation::Operation;
use super::refusal::Refusal;
use super::state::{Served, State};

/// Kept between requests; a large body's memory is given back.
const BUFFER_KEPT_BYTES: usize = 256 * 1024;
const READ_BYTES: usize = 16 * 1024;

/// Serves a connection to its end.
pub(super) async fn serve(state: Arc<State>, stream: TcpStream) {
    let mut connection =
        Connection { state, stream, input: Vec::with_capacity(READ_BYTES), output: Vec::new() };
    // How a client ends its connection is its own business.
    while matches!(connection.one().await, Ok(true)) {}
}

struct Connection {
    state: Arc<State>,
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
}

/// What to do after a request.
enum Next {
    Answer { keep: bool },
    Close,
    Hang,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Skip {
    ms: u64,
}

impl Connection {
    /// Serves one request; gives whether there may be another one.
    async fn one(&mut self) -> io::Result<bool> {
        let Some(end) = self.fill().await? else { return Ok(false) };
        let next = {
            // Taken out, so that the wait for a message can watch the stream meanwhile.
            let input = std::mem::take(&mut self.input);
            let next = self.respond(&input).await;
            self.input = input;
            next?
        };
        self.input.drain(..end);
        if self.input.is_empty() && self.input.capacity() > BUFFER_KEPT_BYTES {
            self.input = Vec::with_capacity(READ_BYTES);
        }
        match next {
            Next::Close => Ok(false),
            Next::Hang => {
                // Until the client has had enough.
                while self.stream.read(&mut [0; 1024]).await? > 0 {}
                Ok(false)
            }
            Next::Answer { keep } => {
                self.stream.write_all(&self.output).await?;
                self.output.clear();
                self.output.shrink_to(BUFFER_KEPT_BYTES);
                Ok(keep)
            }
        }
    }

    /// Reads until a request is whole; gives its length, or nothing at the end.
    async fn fill(&mut self) -> io::Result<Option<usize>> {
        let mut end = None;
        loop {
            if end.is_none() && !self.input.is_empty() {
                let head = http::head(&self.input).map_err(io::Error::other)?;
                end = head.map(|head| head.head_bytes + head.body_bytes);
            }
            if let Some(end) = end
                && self.input.len() >= end
            {
                return Ok(Some(end));
            }
            let missing = end.unwrap_or(0).saturating_sub(self.input.len());
            self.input.reserve(missing.max(READ_BYTES));
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Ok(None);
            }
        }
    }

    async fn respond(&mut self, input: &[u8]) -> io::Result<Next> {
        let Some(head) = http::head(input).map_err(io::Error::other)? else {
            return Ok(Next::Close);
        };
        let body = &input[head.head_bytes..head.head_bytes + head.body_bytes];
        if head.path.starts_with("/_sim/") {
            self.manage(&head, body);
            return Ok(Next::Answer { keep: head.keep });
        }
        let Some(operation) = Operation::of_target(head.target).filter(|_| head.method == "POST")
        else {
            let refusal = Refusal::new("UnknownOperationException", "Unknown operation");
            self.refuse("com.amazon.coral.service", &refusal);
            return Ok(Next::Answer { keep: head.keep });
        };
        self.call(operation, &head, body).await
    }

    async fn call(
        &mut self,
        operation: Operation,
        head: &Head<'_>,
        body: &[u8],
    ) -> io::Result<Next> {
        let state = Arc::clone(&self.state);
        state.counters.request(operation, body.len());
        let plan = state.plan();
        let decision = plan.decide(operation, body);
        let fault = match decision.fate {
            Fate::Hang => Some((Fault::Hang, Next::Hang)),
            Fate::Drop => Some((Fault::Drop, Next::Close)),
            _ => None,
        };
        if let Some((fault, next)) = fault {
            state.fault(fault);
            return Ok(next);
        }
        let half = Duration::from_nanos(decision.latency / 2);
        if decision.latency > 0 {
            sleep(half).await;
        }
        let service = operation.service();
        let outcome = match state.admit(service, head.authorization) {
            Err(refusal) => Err(refusal),
            Ok(()) if operation == Operation::ReceiveMessage => {
                // Who goes away while it waits takes nothing with it.
                let serve = state.serve(&plan, operation, body, &decision);
                tokio::select! {
                    biased;
                    outcome = serve => outcome,
                    () = gone(&self.stream) => return Ok(Next::Close),
                }
            }
            Ok(()) => state.serve(&plan, operation, body, &decision).await,
        };
        state.account(operation, &outcome);
        if decision.latency > 0 {
            sleep(half).await;
        }
        if decision.fate == Fate::Lose {
            state.fault(Fault::Lose);
            return Ok(Next::Close);
        }
        match outcome {
            Ok(Served { body, .. }) => {
                http::answer(&mut self.output, state.stamp(), &body);
            }
            Err(refusal) => self.refuse(service.namespace(), &refusal),
        }
        Ok(Next::Answer { keep: head.keep })
    }

    fn refuse(&mut self, namespace: &str, refusal: &Refusal) {
        http::refuse(&mut self.output, self.state.stamp(), refusal, namespace);
    }

    /// The simulator's own paths.
    fn manage(&mut self, head: &Head<'_>, body: &[u8]) {
        let bad = |error: &dyn std::fmt::Display| Refusal::invalid(error.to_string());
        let answer = match (head.method, head.path) {
            ("GET", "/_sim/counters") => serde_json::to_vec(&self.state.report()).ok().ok_or(None),
            ("GET", "/_sim/faults") => {
                serde_json::to_vec(self.state.plan().faults()).ok().ok_or(None)
            }
            ("POST", "/_sim/faults") => {
                let set = Faults::parse(body).and_then(|faults| self.state.set_faults(faults));
                set.map(|()| b"{}".to_vec()).map_err(|error| Some(bad(&error)))
            }
            ("POST", "/_sim/reset") => {
                self.state.reset();
                Ok(b"{}".to_vec())
            }
            ("POST", "/_sim/skip") => match serde_json::from_slice::<Skip>(body) {
                Ok(Skip { ms }) => {
                    self.state.skip(ms);
                    Ok(b"{}".to_vec())
                }
                Err(error) => Err(Some(bad(&error))),
            },
            _ => Err(None),
        };
        match answer {
            Ok(body) => http::answer(&mut self.output, self.state.stamp(), &body),
            Err(refusal) => {
                let nothing = || Refusal::new("NotFound", "No such path").with_status(404);
                self.refuse("sim", &refusal.unwrap_or_else(nothing));
            }
        }
    }
}

/// Waits until the client has closed its half of the connection.
async fn gone(stream: &TcpStream) {
    loop {
        if stream.readable().await.is_err() {
            return;
        }
        let mut byte = [0];
        match stream.peek(&mut byte).await {
            Ok(0) | Err(_) => return,
            // The next request, before the answer to this one; it waits its turn.
            Ok(_) => std::future::pending().await,
        }
    }
}

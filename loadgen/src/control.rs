//! A small client for what is asked of the system beside the load: tenants, lists, readiness.
//!
//! One kept connection, opened again when it breaks. Not on any measured path.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::wire;

/// No answer of the system takes longer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A client of one server, with or without a key.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    key: Option<String>,
    stream: Option<TcpStream>,
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as JSON.
    ///
    /// # Errors
    /// Where it is none, or the status is not `expected`.
    pub fn json(&self, expected: u16) -> Result<serde_json::Value> {
        let shown = String::from_utf8_lossy(&self.body);
        ensure!(self.status == expected, "the system answered {}: {shown}", self.status);
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {shown}"))
    }
}

impl Client {
    /// A client; it connects when it is first used.
    #[must_use]
    pub const fn new(address: SocketAddr, key: Option<String>) -> Self {
        Self { address, key, stream: None }
    }

    /// `GET path`.
    ///
    /// # Errors
    /// Where there is no answer.
    pub async fn get(&mut self, path: &str) -> Result<Reply> {
        self.send("GET", path, "").await
    }

    /// `POST path` with a JSON body.
    ///
    /// # Errors
    /// Where there is no answer.
    pub async fn post(&mut self, path: &str, body: &str) -> Result<Reply> {
        self.send("POST", path, body).await
    }

    async fn send(&mut self, method: &str, path: &str, body: &str) -> Result<Reply> {
        let (address, length) = (self.address, body.len());
        let key = match &self.key {
            Some(key) => format!("authorization: Bearer {key}\r\n"),
            None => String::new(),
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\n{key}content-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        let reused = self.stream.is_some();
        let outcome = timeout(ANSWER_TIMEOUT, self.exchange(&request)).await;
        let outcome = outcome.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer in time")));
        match outcome {
            Err(_) if reused => {
                // A server may close a kept connection at any time; asking again is harmless for
                // everything that is asked here.
                self.stream = None;
                let again = timeout(ANSWER_TIMEOUT, self.exchange(&request)).await;
                again.context("no answer in time")?
            }
            other => other,
        }
        .inspect_err(|_| self.stream = None)
        .with_context(|| format!("{method} http://{address}{path}"))
    }

    async fn exchange(&mut self, request: &str) -> Result<Reply> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            empty => {
                let stream = TcpStream::connect(self.address).await?;
                stream.set_nodelay(true)?;
                empty.insert(stream)
            }
        };
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::with_capacity(4096);
        loop {
            if let Some(head) = wire::answer(&bytes)? {
                let end = head.head_bytes + head.body_bytes;
                if bytes.len() >= end {
                    if !head.keep {
                        self.stream = None;
                    }
                    let body = bytes[head.head_bytes..end].to_vec();
                    return Ok(Reply { status: head.status, body });
                }
            }
            bytes.reserve(4096);
            ensure!(stream.read_buf(&mut bytes).await? > 0, "the connection was closed");
        }
    }
}

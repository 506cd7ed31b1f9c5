//! Reading request bodies: bounded in size, in time, and in sum over all requests.
//!
//! A body is copied once into an allocation of its own size. The bytes that the server hands us
//! are windows into its read buffers; keeping them (events wait in memory) would keep 8 to 400 KiB
//! alive for an event of 500 bytes, and the server could not use its buffer again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::json::check_object;
use crate::refusal::Refusal;

/// The bytes that all bodies together may still take.
#[derive(Debug)]
pub(crate) struct Budget {
    free: AtomicUsize,
}

impl Budget {
    pub(crate) const fn new(bytes_max: usize) -> Self {
        Self { free: AtomicUsize::new(bytes_max) }
    }

    fn take(&self, bytes: usize) -> bool {
        let take = |free: usize| free.checked_sub(bytes);
        self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

/// A share of the budget, given back when dropped: hold it as long as what it pays for.
#[derive(Debug)]
pub(crate) struct Share<'a> {
    budget: &'a Budget,
    bytes: usize,
}

impl Share<'_> {
    fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        if !self.budget.take(bytes) {
            return Err(Refusal::busy("too many bodies at once"));
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.budget.free.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

impl App {
    /// Reads a whole body of at most `bytes_max` bytes.
    pub(crate) async fn read_body(
        &self,
        body: Body,
        bytes_max: usize,
    ) -> Result<(Bytes, Share<'_>), Refusal> {
        let within = Duration::from_millis(self.settings.body_read_ms_max);
        let share = Share { budget: &self.bodies, bytes: 0 };
        tokio::time::timeout(within, collect(body, bytes_max, share))
            .await
            .unwrap_or(Err(Refusal::Slow))
    }

    /// Reads a body of a known shape: an object, no unknown and no duplicate field.
    pub(crate) async fn read_json<T: DeserializeOwned>(
        &self,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<T, Refusal> {
        refuse_encoding(headers)?;
        let (bytes, _share) = self.read_body(body, self.settings.body_bytes_max).await?;
        parse_json(&bytes)
    }
}

/// Parses a body of a known shape; 400 where it is not JSON, 422 where it has another shape.
pub(crate) fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    check_object(bytes)?;
    serde_json::from_slice(bytes).map_err(|error| {
        if error.is_data() {
            Refusal::shape(error.to_string())
        } else {
            // Lawful JSON that no text can hold, such as a lone surrogate.
            Refusal::bad_value(error.to_string())
        }
    })
}

async fn collect(
    mut body: Body,
    bytes_max: usize,
    mut share: Share<'_>,
) -> Result<(Bytes, Share<'_>), Refusal> {
    // A declared length over the limit is refused before a byte is read.
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(Refusal::body_too_large(bytes_max));
    }
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::bad_value("the body broke off"))?;
        // Trailers say nothing that we need.
        let Ok(chunk) = frame.into_data() else { continue };
        if chunk.len() > bytes_max - bytes.len() {
            return Err(Refusal::body_too_large(bytes_max));
        }
        share.grow(chunk.len())?;
        bytes.extend_from_slice(&chunk);
    }
    Ok((bytes.into_boxed_slice().into(), share))
}

/// Refuses a compressed body: it could not be both checked and delivered byte for byte.
pub(crate) fn refuse_encoding(headers: &HeaderMap) -> Result<(), Refusal> {
    let plain = |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(CONTENT_ENCODING).iter().all(plain) { Ok(()) } else { Err(Refusal::Encoded) }
}

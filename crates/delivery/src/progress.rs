//! How far an attempt has come, kept outside of the future that makes it: when the deadline cuts
//! that future off, what is known so far still becomes a record.
//!
//! Invariant: once a response head is there, the status decides the verdict, whatever happens to
//! the body. An endpoint that answered 2xx has said yes; that its body breaks off, drips or never
//! ends costs the connection, not the delivery.

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use posthaste_domain::{
    Attempt, ErrorClass, PhaseTimings, RESPONSE_KEPT_BYTES_MAX, Timestamp, Verdict,
};
use smallvec::SmallVec;

use crate::failure::{Failure, one_line};
use crate::retry_after;

/// Where an attempt is, for what a time-out says; monotonic times are in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Resolving {
        since_us: u64,
    },
    Connecting {
        /// The first address that is tried.
        first: Option<IpAddr>,
        since_us: u64,
    },
    /// TCP stands, TLS does not yet.
    Securing,
    /// Writing the request and waiting for the response head.
    Waiting,
    /// The head is there.
    Reading,
}

/// What is known of an attempt so far.
pub(crate) struct Progress {
    pub(crate) stage: Stage,
    pub(crate) phases: PhaseTimings,
    started_us: u64,
    status: Option<StatusCode>,
    retry_after_ms: Option<u64>,
    // Invariant: at most RESPONSE_KEPT_BYTES_MAX bytes.
    kept: SmallVec<[u8; 64]>,
}

impl Progress {
    pub(crate) fn new(started_us: u64, queue_us: u32) -> Self {
        Self {
            stage: Stage::Resolving { since_us: started_us },
            phases: PhaseTimings { queue_us, ..PhaseTimings::default() },
            started_us,
            status: None,
            retry_after_ms: None,
            kept: SmallVec::new(),
        }
    }

    /// Takes in a response head: its status, and its `Retry-After`.
    pub(crate) fn head(&mut self, status: StatusCode, retry_after: Option<&[u8]>, wall: Timestamp) {
        self.stage = Stage::Reading;
        self.status = Some(status);
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            let value = retry_after.and_then(|value| HeaderValue::from_bytes(value).ok());
            self.retry_after_ms = value.and_then(|value| retry_after::parse(&value, wall));
        }
    }

    /// Takes in a piece of the response body; keeps the beginning.
    pub(crate) fn body(&mut self, piece: &[u8]) {
        let room = RESPONSE_KEPT_BYTES_MAX - self.kept.len();
        self.kept.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    /// The record. `failure` is why there is no response; `host` stands in its text.
    pub(crate) fn into_attempt(
        mut self,
        number: u32,
        at: Timestamp,
        ended_us: u64,
        failure: Option<(Failure, &str)>,
    ) -> Attempt {
        self.phases.total_us = micros(self.started_us, ended_us);
        let (verdict, error) = match (self.status, failure) {
            (Some(status), _) => self.by_status(status),
            (None, Some((failure, host))) => (failure.verdict(), Some(failure.line(host))),
            (None, None) => {
                debug_assert!(false, "an exchange ends with a head or a failure");
                let class = ErrorClass::ProtocolError;
                let verdict = Verdict::Failed { class, retry_after_ms: None };
                (verdict, Some("no response".into()))
            }
        };
        let kept = &self.kept[..];
        Attempt {
            number,
            at,
            // Up, so that start and duration together are not before the end, from which retries
            // count.
            duration_ms: self.phases.total_us.div_ceil(1000),
            status_code: self.status.map(|status| status.as_u16()),
            verdict,
            error,
            response: if kept.is_empty() { Bytes::new() } else { Bytes::copy_from_slice(kept) },
            phases: self.phases,
        }
    }

    fn by_status(&self, status: StatusCode) -> (Verdict, Option<Box<str>>) {
        let class = match status.as_u16() {
            200..=299 => return (Verdict::Delivered, None),
            410 => return (Verdict::Gone, Some("the endpoint answered 410 Gone".into())),
            // 101 is the only one that gets here: nobody asked for another protocol.
            0..=199 => ErrorClass::ProtocolError,
            300..=399 => ErrorClass::Redirect,
            400..=499 => ErrorClass::ClientError,
            // RFC 9110 has an invalid status treated as a 5xx.
            _ => ErrorClass::ServerError,
        };
        let reason = status.canonical_reason().map_or(String::new(), |text| format!(" {text}"));
        let note = if class == ErrorClass::Redirect { "; redirects are not followed" } else { "" };
        let text = format!("the endpoint answered {}{reason}{note}", status.as_u16());
        (Verdict::Failed { class, retry_after_ms: self.retry_after_ms }, Some(one_line(&text)))
    }
}

/// From `start` to `end`, as phases are recorded: 71 minutes at most.
pub(crate) fn micros(start: u64, end: u64) -> u32 {
    u32::try_from(end.saturating_sub(start)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(status: u16) -> Verdict {
        let mut progress = Progress::new(0, 0);
        let status = StatusCode::from_u16(status).unwrap();
        progress.head(status, Some(b"7"), Timestamp::ZERO);
        progress.into_attempt(1, Timestamp::ZERO, 5, None).verdict
    }

    /// For every status from 101 to 999: one verdict, and `Retry-After` counts on 429 and 503 only.
    #[test]
    fn each_status_has_its_verdict() {
        for status in 101..=999 {
            let failed = |class| Verdict::Failed { class, retry_after_ms: None };
            let expected = match status {
                200..=299 => Verdict::Delivered,
                410 => Verdict::Gone,
                429 => {
                    Verdict::Failed { class: ErrorClass::ClientError, retry_after_ms: Some(7000) }
                }
                503 => {
                    Verdict::Failed { class: ErrorClass::ServerError, retry_after_ms: Some(7000) }
                }
                ..=199 => failed(ErrorClass::ProtocolError),
                300..=399 => failed(ErrorClass::Redirect),
                400..=499 => failed(ErrorClass::ClientError),
                _ => failed(ErrorClass::ServerError),
            };
            assert_eq!(verdict(status), expected, "{status}");
        }
    }

    #[test]
    fn a_failure_after_the_head_does_not_undo_a_delivery() {
        let mut progress = Progress::new(0, 0);
        progress.head(StatusCode::OK, None, Timestamp::ZERO);
        let failure = Failure::charged(ErrorClass::Timeout, "too late");
        let attempt = progress.into_attempt(1, Timestamp::ZERO, 5, Some((failure, "host")));
        assert_eq!((attempt.verdict, attempt.error), (Verdict::Delivered, None));
    }

    #[test]
    fn the_first_kilobyte_of_the_body_is_kept() {
        let mut progress = Progress::new(0, 0);
        progress.head(StatusCode::OK, None, Timestamp::ZERO);
        for piece in [&[1; 1000][..], &[2; 1000], &[3; 1000]] {
            progress.body(piece);
        }
        let response = progress.into_attempt(1, Timestamp::ZERO, 5, None).response;
        assert_eq!(response.len(), 1024);
        assert_eq!((response[999], response[1000], response[1023]), (1, 2, 2));
    }
}

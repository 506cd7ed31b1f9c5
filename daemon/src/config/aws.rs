//! Settings of AWS mode: which queues and tables, and how much is taken from them.

use super::kinds::Switch;
use super::kinds::names::{Name, NameOrNone, UrlOrNone};
use super::kinds::numbers::{Count, HOUR, MIB, SECOND, Size, Time};
use super::reader::Section;

/// `[aws]`: AWS mode.
#[derive(Clone, Debug)]
pub struct Aws {
    /// Whether events come from SQS and live in DynamoDB.
    pub enabled: bool,
    /// What queues and tables begin with.
    pub prefix: String,
    /// The region; none for the usual chain.
    pub region: Option<String>,
    /// Where SQS is; none for the region's own address.
    pub sqs_endpoint: Option<String>,
    /// Where DynamoDB is; none for the region's own address.
    pub dynamodb_endpoint: Option<String>,
    /// Who this is; none for the id that the data directory carries.
    pub instance: Option<String>,
    /// How much at a time.
    pub limits: Limits,
    /// The least pause between sweeps, in milliseconds.
    pub sweep_pause_ms: u64,
    /// Whether leases are given away at a stop.
    pub release_at_stop: bool,
}

impl Aws {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let s = &mut section;
        Self {
            enabled: s.key(
                "enabled",
                Switch,
                "false",
                "Whether events come from SQS and live in DynamoDB. Otherwise everything is in the \
                 data directory. In this mode the data directory is a cache: losing it costs time, \
                 never an event.",
            ),
            prefix: s.key(
                "prefix",
                Name { max: 60 },
                "posthaste",
                "What the names of queues and tables begin with: PREFIX-events, PREFIX-events-dlq, \
                 PREFIX-Events, PREFIX-TenantIdentity, PREFIX-TenantWebhookConfig.",
            ),
            region: s.key(
                "region",
                NameOrNone { max: 40 },
                "none",
                "The region. \"none\" leaves it to AWS_REGION, the profile or the instance, as \
                 credentials are.",
            ),
            sqs_endpoint: s.key(
                "sqs-endpoint",
                UrlOrNone,
                "none",
                "Another address for SQS than the region's own: a VPC endpoint, an emulator.",
            ),
            dynamodb_endpoint: s.key(
                "dynamodb-endpoint",
                UrlOrNone,
                "none",
                "Another address for DynamoDB than the region's own.",
            ),
            instance: s.key(
                "instance",
                NameOrNone { max: 100 },
                "none",
                "By which name a copied data directory is known: it differs from machine to \
                 machine and stays the same on one. Where it changes, the directory is taken for a \
                 copy, and gives up the retries that wait in it. \"none\" takes the host's name.",
            ),
            limits: Limits::read(s),
            sweep_pause_ms: s.key(
                "sweep-pause",
                Time::new(SECOND..=HOUR),
                "15s",
                "The pause between looks for rows whose daemon has gone; each one draws between \
                 this and twice this.",
            ),
            release_at_stop: s.key(
                "release-at-stop",
                Switch,
                "false",
                "Whether a stop gives away the retries that wait here, for instances that are not \
                 coming back. Otherwise they wait for this one.",
            ),
        }
    }
}

/// How much is taken and held at a time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Long polls at a time, at most.
    pub polls: usize,
    /// Messages held at a time.
    pub held_max: usize,
    /// Payload bytes of held messages.
    pub held_bytes_max: u64,
    /// Requests with row writes on their way at a time.
    pub row_writers: usize,
}

impl Limits {
    fn read(s: &mut Section<'_>) -> Self {
        Self {
            polls: s.key(
                "polls",
                Count::new(1..=256),
                "8",
                "Long polls at a time, at most: their number follows how full they come back. Each \
                 brings ten messages a round trip.",
            ),
            held_max: s.key(
                "held-max",
                Count::new(10..=100_000),
                "10000",
                "Messages that are held at a time, waiting, being attempted or settled. SQS allows \
                 120,000 a queue, for all daemons together.",
            ),
            held_bytes_max: s.key(
                "held-memory-max",
                Size::new(MIB..=64 * 1024 * MIB),
                "64MiB",
                "Payloads of held messages. Beyond it nothing is received.",
            ),
            row_writers: s.key(
                "row-writers",
                Count::new(1..=256),
                "8",
                "Requests with status writes on their way at a time; each one carries up to 25.",
            ),
        }
    }
}

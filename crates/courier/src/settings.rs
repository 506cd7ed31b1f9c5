//! What can be set about a courier: plain data, each number with its unit and its reason.

use posthaste_domain::InstanceId;
use posthaste_ports::QUEUE_BATCH_MAX;

/// The settings of a courier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Who this is: the instance whose disk holds the jobs.
    pub instance: InstanceId,
    /// How long a received message is hidden from others, in milliseconds. The queue's own
    /// time-out must be the same.
    pub visibility_ms: u64,
    /// Long polls at a time, at most: there are as many as come back full. One brings at most
    /// [`QUEUE_BATCH_MAX`] messages a round trip.
    pub intake_polls: usize,
    /// How long a poll waits for a message, in milliseconds; SQS takes 20 s at most. A stop takes
    /// as long where nothing comes.
    pub poll_wait_ms: u64,
    /// Messages held at a time; beyond it nothing is received.
    pub held_max: usize,
    /// Messages of one tenant held at a time; further ones are put off.
    pub held_per_tenant_max: usize,
    /// For how long they are put off, in milliseconds.
    pub put_off_ms: u64,
    /// Payload bytes of held messages; beyond it nothing is received.
    pub held_bytes_max: usize,
    /// Requests with row writes on their way at a time.
    pub row_writers: usize,
    /// Row writes in one request; DynamoDB takes 25 statements.
    pub row_batch_max: usize,
    /// How long an outcome waits for others while requests are on their way, in milliseconds.
    pub linger_ms: u64,
    /// The pause between sweeps, in milliseconds; each one draws between this and twice this.
    pub sweep_pause_ms: u64,
    /// Rows that a sweep takes over at most; the rest is the next one's, or another daemon's.
    pub sweep_claims_max: usize,
    /// Decides the order of sweeps and the jitter of pauses.
    pub seed: u64,
}

impl Settings {
    /// The defaults, for an instance.
    #[must_use]
    pub const fn new(instance: InstanceId) -> Self {
        Self {
            instance,
            visibility_ms: posthaste_protocol::VISIBILITY_MS,
            // Eight round trips of 10 ms bring 8,000 messages/s.
            intake_polls: 8,
            // An idle daemon has one poll: a million requests a month, 40 cents.
            poll_wait_ms: 3_000,
            // Two seconds at 5,000/s; SQS allows 120,000 in flight a queue.
            held_max: 10_000,
            held_per_tenant_max: 2_500,
            // Often enough for a receiver that recovers, at two requests for ten messages.
            put_off_ms: 30_000,
            held_bytes_max: 64 << 20,
            // 25 rows in 10 ms and 8 at a time: 20,000 rows/s.
            row_writers: 8,
            row_batch_max: 25,
            linger_ms: 4,
            sweep_pause_ms: 15_000,
            sweep_claims_max: 2_000,
            seed: 0,
        }
    }
}

const _: () = assert!(QUEUE_BATCH_MAX == 10, "one poll's share, in the words above");

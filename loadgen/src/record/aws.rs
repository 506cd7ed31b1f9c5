//! What a run on the simulated AWS asked of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::aws_sim::Count;

/// From the beginning of the load until everything was settled, warm-up included.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AwsRecord {
    /// Events delivered: what everything is shared among.
    pub events: u64,
    /// `queue` where the generator put rows and messages there itself, which is not counted;
    /// `api` where the system did.
    pub ingest: String,
    /// What was asked, an event.
    pub per_event: AwsPerEvent,
    /// What a million deliveries cost.
    pub cost: AwsCost,
    /// What was asked, by operation.
    pub operations: BTreeMap<String, Count>,
    /// How often each fault was done.
    pub faults: BTreeMap<String, u64>,
    /// Events by the status in their rows, at the end.
    pub rows: BTreeMap<String, u64>,
    /// Each time in which a service was throttled.
    pub throttles: Vec<ThrottleRecord>,
    /// Processor time of the simulator in user mode.
    pub simulator_user_ns: u64,
    /// Processor time of the simulator in the kernel.
    pub simulator_system_ns: u64,
    /// How long its threads waited for a processor each time, on average: what calls took on top
    /// of their latency.
    pub simulator_scheduling_delay_ns: u64,
}

/// Requests and units an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AwsPerEvent {
    /// Requests of both services.
    pub requests: f64,
    /// Requests of SQS.
    pub sqs_requests: f64,
    /// Requests of DynamoDB.
    pub dynamodb_requests: f64,
    /// Requests of SQS as billed.
    pub sqs_billed_requests: f64,
    /// Write units of tables.
    pub write_units: f64,
    /// Write units of indexes.
    pub index_write_units: f64,
    /// Read units.
    pub read_units: f64,
}

/// What a million deliveries cost, in US dollars by list price.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AwsCost {
    /// Where and when the prices held.
    pub prices: String,
    /// Until the messages are in the queue; 0 where the generator put them there.
    pub ingest_per_million: f64,
    /// From then on.
    pub delivery_per_million: f64,
    /// The payloads' way to the internet.
    pub egress_per_million: f64,
}

/// A time in which a service told its callers to come more slowly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThrottleRecord {
    /// `sqs` or `dynamodb`.
    pub service: String,
    /// The share of calls or entries.
    pub share: f64,
    /// When it began, from the beginning of the load.
    pub from_s: f64,
    /// When it ended.
    pub to_s: f64,
    /// Deliveries a second meanwhile.
    pub delivered_rate: f64,
    /// The most events that were accepted and not delivered, in the whole run.
    pub backlog_peak: u64,
    /// From its end until an interval is over in which deliveries are as fast as events come.
    pub full_speed_s: Option<f64>,
    /// From its end until no more is left than comes in an interval.
    pub caught_up_s: Option<f64>,
}

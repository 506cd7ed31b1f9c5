//! The recording of a run: what `summary.json` holds, and the HdrHistogram files beside it.
//!
//! ```text
//! <out>/summary.json        everything but the intervals' histograms; schema and version inside
//! <out>/intervals.hlog      one line an interval and kind, tagged publish, end-to-end, lag or
//!                           retry-lateness
//! <out>/publish.hgrm        percentiles of the measure phase, in milliseconds
//! <out>/end-to-end.hgrm
//! <out>/lag.hgrm
//! <out>/retry-lateness.hgrm where there were retries
//! <out>/system.log          what the system under test printed
//! ```
//!
//! A reader of `summary.json` must accept unknown fields, and refuse another [`SCHEMA`]. All
//! durations in it are nanoseconds (`_ns`) or seconds (`_s`), all sizes bytes. Whatever shows or
//! compares runs reads these types and nothing else of this crate.

mod aws;
mod environment;
mod files;
mod latency;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::aws::{AwsCost, AwsPerEvent, AwsRecord, ThrottleRecord};
pub use self::environment::{Environment, load_average};
pub use self::files::{HlogWriter, ReadError, read_summary, write_hgrm, write_summary};
pub use self::latency::{
    Distribution, Latencies, LatencySet, NANOS_MAX, Quantiles, decode, histogram, record,
};
use crate::account::Totals;
use crate::scenario::{Bound, Unit};

/// The version of `summary.json`. Raised when a field changes its meaning or goes away.
pub const SCHEMA: u32 = 1;

/// A run, whole or cut short.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// [`SCHEMA`] of the program that wrote it.
    pub schema: u32,
    /// That program, with its version.
    pub generator_version: String,
    /// Which run.
    pub run: Run,
    /// What was asked for.
    pub scenario: ScenarioRecord,
    /// Where it ran.
    pub environment: Environment,
    /// What it came to.
    pub outcome: Outcome,
    /// What was sent, and how fast.
    pub load: Load,
    /// The measure phase, with whole histograms.
    pub latencies: Latencies,
    /// Each phase.
    pub phases: Vec<PhaseRecord>,
    /// Each group of tenants, in the measure phase.
    pub groups: Vec<GroupRecord>,
    /// How alike tenants were served.
    pub fairness: Fairness,
    /// What was answered, on both sides.
    pub answers: Answers,
    /// Whether what failed was tried again in time. Runs before there was such a thing have none.
    #[serde(default)]
    pub retries: RetryRecord,
    /// Every event, accounted for.
    pub account: Totals,
    /// What the system under test cost.
    pub system: ProcessRecord,
    /// What generator and sink cost.
    pub generator: ProcessRecord,
    /// Whether the figures agree with each other.
    pub little: Little,
    /// What was asked of the simulated AWS, where the system works on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsRecord>,
    /// What was done to the system, and how it took it.
    pub chaos: Vec<ChaosRecord>,
    /// What was left at the end of the load, and how it was worked off.
    pub drain: Drain,
    /// The run over time.
    pub intervals: Vec<Interval>,
}

/// Which run it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// Eight hex digits, in every payload of the run.
    pub id: String,
    /// When it began, as RFC 3339.
    pub started_at: String,
    /// The same, in Unix milliseconds.
    pub started_unix_ms: u64,
    /// How long it took, set-up and settling included.
    pub duration_s: f64,
    /// What its chance came from.
    pub seed: u64,
}

/// What was asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScenarioRecord {
    /// The scenario's name.
    pub name: String,
    /// What it shows.
    pub description: String,
    /// Whether the generator waited for answers.
    pub closed_loop: bool,
    /// The TOML that held, overrides included.
    pub toml: String,
    /// The overrides.
    pub overrides: Vec<String>,
    /// The length of a payload, on average.
    pub payload_bytes_mean: f64,
    /// How many tenants.
    pub tenants: u32,
    /// How many endpoints.
    pub endpoints: u32,
}

/// What a run is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// A measurement, and every gate holds.
    Ok,
    /// A measurement, and a gate does not hold.
    GateFailed,
    /// Not a measurement: see the reasons.
    Invalid,
    /// Stopped before its end.
    Interrupted,
}

impl Verdict {
    /// The process's exit code.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Ok => crate::exit::OK,
            Self::GateFailed => crate::exit::GATE_FAILED,
            Self::Invalid => crate::exit::INVALID,
            Self::Interrupted => crate::exit::INTERRUPTED,
        }
    }
}

/// What the run came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// In a word.
    pub verdict: Verdict,
    /// What the process exits with.
    pub exit_code: u8,
    /// Why it is no measurement; empty where it is one.
    pub invalid: Vec<Invalidity>,
    /// What a reader must know though it spoils nothing.
    pub remarks: Vec<String>,
    /// Each gate.
    pub gates: Vec<GateResult>,
}

/// A kind of reason for which a run is worthless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InvalidKind {
    /// The asked rate was not met.
    Rate,
    /// The account does not add up.
    Account,
    /// Little's law is off: figures contradict each other, or there was no steady state.
    Little,
    /// The generator was late, or had no processor.
    Starved,
    /// Nothing was measured.
    Empty,
    /// The system under test went away, or could not be asked.
    System,
}

/// A reason for which a run is worthless.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Invalidity {
    /// Of what kind.
    pub kind: InvalidKind,
    /// In a sentence, with the figures.
    pub reason: String,
}

/// A gate and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateResult {
    /// The figure.
    pub metric: String,
    /// Its unit.
    pub unit: Unit,
    /// The side of the bound.
    pub bound: Bound,
    /// The bound.
    pub limit: f64,
    /// What was measured; `None` where there was nothing to measure.
    pub actual: Option<f64>,
    /// Whether it holds; without a figure it does not.
    pub passed: bool,
}

/// What was sent in the measure phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Events whose intended time lies in the phase.
    pub asked: u64,
    /// Of these, those that were sent within the phase.
    pub sent_in_time: u64,
    /// Events that had to wait because as many as may be were without an answer.
    pub held_back: u64,
    /// Events a second that were asked for.
    pub asked_rate: f64,
    /// Events a second that were sent.
    pub sent_rate: f64,
    /// Events a second that got a 201.
    pub accepted_rate: f64,
    /// Events a second that the sink accepted.
    pub delivered_rate: f64,
    /// The most events without an answer at one moment.
    pub in_flight_peak: u64,
}

/// A part of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseRecord {
    /// `warm-up`, `measure` or `drain`.
    pub name: String,
    /// When it began, from the beginning of the load.
    pub from_s: f64,
    /// When it ended.
    pub to_s: f64,
    /// Intended → 201, of events whose intended time lies in it.
    pub publish: Quantiles,
    /// Intended → first byte of the accepted delivery, of the same events.
    pub end_to_end: Quantiles,
    /// Intended → handed to a connection.
    pub lag: Quantiles,
    /// How late the same events' retries were.
    #[serde(default)]
    pub retry_lateness: Quantiles,
}

/// Retries, over the whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RetryRecord {
    /// Attempts that followed a failed one.
    pub seen: u64,
    /// Of these, those that came before the schedule or a `Retry-After` lets them.
    pub early: u64,
    /// How early the earliest of them was.
    pub earliest_ns: u64,
    /// Attempts that were made again under their own number: the system did not know how they
    /// ended, because it was stopped or found its connection dead.
    pub repeated: u64,
    /// Attempts beyond the first whose failure before them was not seen: cut off by a stop, or
    /// answered with 400 because what came was not what was sent.
    pub unmatched: u64,
    /// Failed attempts that were not followed, because too many others were.
    pub not_followed: u64,
    /// Failed attempts whose retry had not come when the run ended.
    pub awaited: u64,
    /// Of these, those whose retry should have come.
    pub overdue: u64,
    /// By how much, at most.
    pub overdue_max_ns: u64,
}

/// A group of tenants, in the measure phase.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupRecord {
    /// Its name in the scenario.
    pub name: String,
    /// How many tenants it has.
    pub tenants: u32,
    /// Events accepted of it, all phases.
    pub accepted: u64,
    /// Of these, those delivered.
    pub delivered: u64,
    /// Intended → first byte of the accepted delivery.
    pub end_to_end: Distribution,
}

/// How alike tenants were served, over the whole run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Fairness {
    /// Jain's index of the tenants' mean latencies: 1 when all are alike, 1/n when one has it all.
    pub jain: f64,
    /// Tenants with at least one delivery.
    pub tenants_seen: u32,
    /// The tenants with the longest mean latency, the worst first.
    pub slowest: Vec<TenantRecord>,
    /// The tenants with the most deliveries.
    pub busiest: Vec<TenantRecord>,
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TenantRecord {
    /// Its number.
    pub tenant: u32,
    /// Its group.
    pub group: String,
    /// Events accepted.
    pub accepted: u64,
    /// Events delivered.
    pub delivered: u64,
    /// Its mean end-to-end latency.
    pub mean_ns: u64,
    /// Its longest.
    pub max_ns: u64,
}

/// What was answered, over the whole run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// The system's answers to events, by status.
    pub published: BTreeMap<u16, u64>,
    /// Events without an answer, by what went wrong.
    pub cut_off: BTreeMap<String, u64>,
    /// Connections that could not be made; their events waited.
    pub connect_errors: u64,
    /// Connections that were made to the system.
    pub connections: u64,
    /// The sink's answers to attempts, by status.
    pub delivered: BTreeMap<u16, u64>,
    /// What the sink did instead of answering.
    pub withheld: BTreeMap<String, u64>,
    /// Requests that the sink refused, by what was wrong with them.
    pub faulty: BTreeMap<String, u64>,
    /// Attempts by their number (`webhook-attempt`).
    pub attempts: BTreeMap<u32, u64>,
    /// Connections that were made to the sink.
    pub sink_connections: u64,
}

/// What a process cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessRecord {
    /// Whether there was one to look at.
    pub observed: bool,
    /// Processor time in user mode, from the beginning of the measure phase to the end of the
    /// drain.
    pub user_ns: u64,
    /// The same, in the kernel.
    pub system_ns: u64,
    /// Events that these were spent on: those accepted in the same time.
    pub events: u64,
    /// User time an event.
    pub user_ns_per_event: f64,
    /// System time an event.
    pub system_ns_per_event: f64,
    /// The most memory that it held at one moment.
    pub memory_peak_bytes: u64,
    /// How long its threads waited for a processor on average, each time that they were ready.
    pub scheduling_delay_ns: u64,
    /// Over time, one an interval.
    pub samples: Vec<ProcessSample>,
}

/// A process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessSample {
    /// When, from the beginning of the load.
    pub at_s: f64,
    /// User time since the load began.
    pub user_ns: u64,
    /// System time since the load began.
    pub system_ns: u64,
    /// Resident memory.
    pub resident_bytes: u64,
}

/// Little's law on the way from sending to the 201: L = λ·W.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Little {
    /// Events in flight on average, as counted over time.
    pub in_flight_mean: f64,
    /// Events a second.
    pub rate: f64,
    /// How long one took on average, from the histograms, in seconds.
    pub seconds_mean: f64,
    /// How far `rate * seconds_mean` is from `in_flight_mean`, as a fraction of it.
    pub deviation: f64,
    /// How much of the time in flight of the measure phase's events lies outside of it, and of
    /// others' inside, as a fraction: near 0 in a steady state, large where a queue grew.
    #[serde(default)]
    pub unsteadiness: f64,
    /// Whether there were enough events to judge.
    pub judged: bool,
}

/// A stop and a start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChaosRecord {
    /// `kill` or `term`.
    pub signal: String,
    /// When it was sent, from the beginning of the load.
    pub at_s: f64,
    /// How long the process took to end.
    pub stopped_ns: u64,
    /// From its start to readiness.
    pub ready_ns: Option<u64>,
    /// From its start to the first 201.
    pub first_accepted_ns: Option<u64>,
    /// From its start to the first delivery.
    pub first_delivery_ns: Option<u64>,
    /// From the signal to the first 201 after it: how long senders were without service.
    pub gap_ns: Option<u64>,
}

/// What was left when the load ended; where a backlog was held, when the last of it was there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Drain {
    /// Accepted and not delivered at that moment.
    pub backlog: u64,
    /// Deliveries from then on.
    pub delivered: u64,
    /// How long it took until all were delivered; `None` where they were not.
    pub seconds: Option<f64>,
    /// Deliveries a second, from the end of the load to the last one.
    pub rate: f64,
    /// How long it took until one in a hundred was left; `None` where it was not, or where there
    /// was hardly a backlog.
    #[serde(default)]
    pub seconds_to_99: Option<f64>,
    /// Deliveries a second until then: how fast a backlog goes, without the last stragglers.
    #[serde(default)]
    pub rate_to_99: Option<f64>,
}

/// A piece of the run's time. Events count where they happened, whatever phase they belong to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// When it began, from the beginning of the load.
    pub from_s: f64,
    /// Its length.
    pub length_s: f64,
    /// The phase at its end.
    pub phase: String,
    /// Events handed to connections.
    pub sent: u64,
    /// 201s.
    pub accepted: u64,
    /// Other answers.
    pub refused: u64,
    /// Events without an answer.
    pub cut_off: u64,
    /// Events delivered for the first time.
    pub delivered: u64,
    /// All attempts that reached the sink.
    pub attempts: u64,
    /// Events without an answer at its end.
    pub in_flight: u64,
    /// Events accepted and not delivered at its end.
    pub backlog: u64,
    /// Intended → 201.
    pub publish: Quantiles,
    /// Intended → first byte at the sink.
    pub end_to_end: Quantiles,
    /// Intended → sent.
    pub lag: Quantiles,
    /// How late retries were.
    #[serde(default)]
    pub retry_lateness: Quantiles,
}

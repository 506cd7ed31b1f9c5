//! The sections of a scenario, each with its defaults.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use posthaste_domain::RetrySchedule;
use toml::Value;

use super::behaviour::Behaviour;
use super::reader::{Notes, Section, show};
use crate::clock::{MILLISECOND, Nanos, SECOND};
use crate::units::parse_duration;

const DAY: Nanos = 86_400 * SECOND;

/// How long each part of a run takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phases {
    /// Sent, delivered, accounted for, but not in the result.
    pub warm_up: Nanos,
    /// What the result is about.
    pub measure: Nanos,
    /// How long deliveries are waited for at most, once nothing is sent any more.
    pub drain: Nanos,
}

impl Phases {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let phases = Self {
            warm_up: section.duration("warm-up", 5 * SECOND, 0..=DAY),
            measure: section.duration("measure", 30 * SECOND, SECOND / 10..=30 * DAY),
            drain: section.duration("drain", 60 * SECOND, 0..=DAY),
        };
        section.finish();
        phases
    }
}

/// When events are sent. All but the last one are open loops: they do not wait for answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Arrival {
    /// At even distances.
    Constant {
        /// Events a second.
        rate: f64,
    },
    /// As many independent senders do: exponential gaps.
    Poisson {
        /// Events a second, on average.
        rate: f64,
    },
    /// A constant rate, and a higher one for a while, again and again.
    Bursts {
        /// Events a second between the bursts.
        rate: f64,
        /// Events a second in a burst.
        burst_rate: f64,
        /// From the beginning of one burst to that of the next.
        every: Nanos,
        /// How long a burst lasts.
        length: Nanos,
    },
    /// From one rate to another over the measure phase.
    Ramp {
        /// Events a second at its beginning, and in the warm-up.
        from: f64,
        /// Events a second at its end.
        to: f64,
    },
    /// The moments that a file names, in seconds, one a line.
    Replay {
        /// The file.
        file: PathBuf,
    },
    /// Each client sends when it has the answer to what it sent before: for saturation only.
    Closed {
        /// How many.
        clients: u32,
    },
}

impl Arrival {
    pub(super) fn read(mut section: Section<'_>, folder: &Path) -> Self {
        const PROCESSES: &[&str] = &["constant", "poisson", "bursts", "ramp", "replay", "closed"];
        const RATES: std::ops::RangeInclusive<f64> = 0.001..=10_000_000.0;
        let arrival = match section.word("process", PROCESSES) {
            "poisson" => Self::Poisson { rate: section.decimal("rate", 100.0, RATES) },
            "bursts" => {
                let every = section.duration("every", 10 * SECOND, MILLISECOND..=DAY);
                let length = section.duration("length", SECOND, MILLISECOND..=DAY);
                if length >= every {
                    section.wrong("length", "a burst must be shorter than `every`");
                }
                let rate = section.decimal("rate", 100.0, RATES);
                let burst_rate = section.decimal("burst-rate", 10.0 * rate, RATES);
                Self::Bursts { rate, burst_rate, every, length }
            }
            "ramp" => Self::Ramp {
                from: section.decimal("from", 100.0, RATES),
                to: section.decimal("to", 1000.0, RATES),
            },
            "replay" => {
                let file = section.optional_text("file");
                if file.is_none() {
                    section.wrong("file", "a recorded schedule is needed: seconds, one a line");
                }
                Self::Replay { file: folder.join(file.unwrap_or_default()) }
            }
            "closed" => {
                let clients = section.number("clients", 64, 1..=65_536);
                Self::Closed { clients: u32::try_from(clients).unwrap_or(u32::MAX) }
            }
            _ => Self::Constant { rate: section.decimal("rate", 100.0, RATES) },
        };
        section.finish();
        arrival
    }

    /// The rate that is asked for, where it is one.
    #[must_use]
    pub const fn rate(&self) -> Option<f64> {
        match self {
            Self::Constant { rate } | Self::Poisson { rate } => Some(*rate),
            _ => None,
        }
    }
}

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadPlan {
    /// The length of a made payload.
    pub bytes: u64,
    /// How many different ones are made.
    pub variants: u32,
    /// Real payloads instead: NDJSON or a JSON array of objects.
    pub file: Option<PathBuf>,
}

/// A made payload must have room for the tag that the account reads.
const PAYLOAD_BYTES_MIN: u64 = 128;
const PAYLOAD_BYTES_MAX: u64 = 16 << 20;

impl PayloadPlan {
    pub(super) fn read(mut section: Section<'_>, folder: PathBuf) -> Self {
        let bytes = section.size("size", 512, PAYLOAD_BYTES_MAX);
        if bytes < PAYLOAD_BYTES_MIN {
            section.wrong("size", format!("at least {PAYLOAD_BYTES_MIN}B, for the account's tag"));
        }
        let variants = section.number("variants", 64, 1..=65_536);
        let file = section.optional_text("file").map(|file| folder.join(file));
        section.finish();
        Self { bytes, variants: u32::try_from(variants).unwrap_or(u32::MAX), file }
    }
}

/// Tenants that are alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// What it is called in results.
    pub name: String,
    /// How many tenants.
    pub count: u32,
    /// The group's share of all events, relative to the other groups' shares.
    pub share: f64,
    /// How unequal its tenants are: the exponent of Zipf's law, 0 for equal ones.
    pub zipf: f64,
    /// How many endpoints (host and port) they deliver to.
    pub endpoints: u32,
    /// How these behave.
    pub behaviour: Behaviour,
}

/// Groups have histograms of their own, so there are not many.
const GROUPS_MAX: usize = 32;
const TENANTS_MAX: u64 = 1_000_000;
/// As many as addresses that begin with 127 can be told apart by their last two bytes.
const ENDPOINTS_MAX: u64 = 60_000;

impl Group {
    pub(super) fn read_all(
        sections: Vec<Section<'_>>,
        phases: &Phases,
        notes: &Notes,
    ) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for (index, section) in sections.into_iter().enumerate() {
            let group = Self::read(section, index, phases);
            if groups.iter().any(|other| other.name == group.name) {
                notes.add(&format!("tenants.{index}.name"), "another group has this name");
            }
            groups.push(group);
        }
        if groups.len() > GROUPS_MAX {
            notes.add("tenants", format!("{} groups, {GROUPS_MAX} at most", groups.len()));
        }
        if groups.iter().map(|group| u64::from(group.endpoints)).sum::<u64>() > ENDPOINTS_MAX {
            notes.add("tenants", format!("more than {ENDPOINTS_MAX} endpoints in all"));
        }
        if groups.is_empty() {
            groups.push(Self {
                name: "all".to_owned(),
                count: 1,
                share: 1.0,
                zipf: 0.0,
                endpoints: 1,
                behaviour: Behaviour::default(),
            });
        }
        groups
    }

    fn read(mut section: Section<'_>, index: usize, phases: &Phases) -> Self {
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let name = section.text("name", &format!("group-{index}"));
        let lawful = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 30 || !name.chars().all(lawful) {
            section.wrong("name", "up to 30 of a-z, 0-9 and - are expected");
        }
        let count = small(section.number("count", 1, 1..=TENANTS_MAX));
        let endpoints = small(section.number("endpoints", 1, 1..=ENDPOINTS_MAX));
        if endpoints > count {
            section
                .wrong("endpoints", format!("{endpoints} for {count} tenants: at most one each"));
        }
        let group = Self {
            name,
            count,
            share: section.decimal("share", 1.0, 1e-6..=1e6),
            zipf: section.decimal("zipf", 0.0, 0.0..=5.0),
            endpoints,
            behaviour: Behaviour::read(section.section("sink"), phases),
        };
        section.finish();
        group
    }
}

/// How the generator works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneratorPlan {
    /// Threads that send, each with a runtime of its own; 0 for one for every two processors.
    pub threads: u32,
    /// Events without an answer at one moment; one connection each. Beyond it events wait, and
    /// count as lag.
    pub in_flight_max: u32,
    /// Whether connections are used again.
    pub keep_alive: bool,
    /// How long an answer is waited for.
    pub answer_timeout: Nanos,
    /// Whether generator and sink are served before the system, where this process may ask for
    /// it: on one machine they would otherwise be late whenever the system is busy.
    pub raised_priority: bool,
}

impl GeneratorPlan {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let plan = Self {
            threads: small(section.number("threads", 0, 0..=64)),
            in_flight_max: small(section.number("in-flight-max", 2048, 1..=60_000)),
            keep_alive: section.flag("keep-alive", true),
            answer_timeout: section.duration("answer-timeout", 30 * SECOND, MILLISECOND..=DAY),
            raised_priority: section.flag("raised-priority", true),
        };
        section.finish();
        plan
    }
}

/// What the sink does wrong on purpose, to show that the account notices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Forgets one delivery in so many, though it says 200; 0 for none.
    pub drop_one_in: u64,
    /// Counts one delivery in so many twice.
    pub double_one_in: u64,
    /// Changes a byte of one delivery in so many before it looks at it.
    pub alter_one_in: u64,
    /// Notes one failed attempt in so many as ended a step of the schedule later than it did, so
    /// that its retry seems early.
    pub early_one_in: u64,
}

/// How the sink works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinkPlan {
    /// Threads that receive, each with a runtime of its own; 0 for one for every two processors.
    pub threads: u32,
    /// Whether it speaks TLS, with a certificate made at the start.
    pub tls: bool,
    /// What it does wrong.
    pub faults: Faults,
}

impl SinkPlan {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let threads = section.number("threads", 0, 0..=64);
        let tls = section.flag("tls", false);
        let mut inner = section.section("faults");
        let mut one_in = |key| inner.number(key, 0, 0..=1 << 40);
        let faults = Faults {
            drop_one_in: one_in("drop-one-in"),
            double_one_in: one_in("double-one-in"),
            alter_one_in: one_in("alter-one-in"),
            early_one_in: one_in("early-one-in"),
        };
        inner.finish();
        section.finish();
        Self { threads: u32::try_from(threads).unwrap_or(u32::MAX), tls, faults }
    }
}

/// What is measured.
#[derive(Clone, Debug, PartialEq)]
pub struct SystemPlan {
    /// The program; `--binary` names another one.
    pub binary: PathBuf,
    /// Its arguments, with places for what only the run knows: `{data}`, `{api}`, `{admin}`,
    /// `{admin-key}`. The settings follow them.
    pub arguments: Vec<String>,
    /// What is asked until it answers 200.
    pub ready: String,
    /// How long that may take.
    pub start_timeout: Nanos,
    /// How long a stop by SIGTERM may take before it is a kill.
    pub stop_timeout: Nanos,
    /// Its environment, beyond ours.
    pub environment: BTreeMap<String, String>,
    /// Its settings, each given as `--set KEY=VALUE`.
    pub settings: BTreeMap<String, String>,
    /// When its settings have it try again.
    pub retries: RetrySchedule,
}

/// How `posthaste` is started: loopback only, ports of its own, nothing else changed.
const ARGUMENTS: [&str; 11] = [
    "serve",
    "--data-dir",
    "{data}",
    "--set",
    "server.listen={api}",
    "--set",
    "server.admin-listen={admin}",
    "--set",
    "delivery.allow-networks=127.0.0.0/8",
    "--set",
    "auth.admin-key={admin-key}",
];

impl SystemPlan {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let binary = section.text("binary", "target/release/posthaste").into();
        let mut arguments = section.texts("arguments");
        if arguments.is_empty() {
            arguments = ARGUMENTS.iter().map(|&argument| argument.to_owned()).collect();
        }
        let environment = read_texts(section.section("environment"));
        let settings = read_texts(section.section("settings"));
        let retries = read_retries(&settings).unwrap_or_else(|(key, problem)| {
            section.wrong(&format!("settings.{key}"), problem);
            RetrySchedule::default()
        });
        let plan = Self {
            binary,
            arguments,
            ready: section.text("ready", "http://{admin}/readyz"),
            start_timeout: section.duration("start-timeout", 60 * SECOND, SECOND..=3600 * SECOND),
            stop_timeout: section.duration("stop-timeout", 60 * SECOND, SECOND..=3600 * SECOND),
            environment,
            settings,
            retries,
        };
        section.finish();
        plan
    }
}

/// The schedule of retries that the settings name; what they leave out is as the system has it.
fn read_retries(
    settings: &BTreeMap<String, String>,
) -> Result<RetrySchedule, (&'static str, String)> {
    let usual = RetrySchedule::default();
    let text = |key| settings.get(key).map(String::as_str);
    let delays = match text("retry.delays") {
        None => usual.delays_ms().to_vec(),
        Some(list) => {
            let delay = |one: &str| parse_duration(one.trim()).map(|nanos| nanos / MILLISECOND);
            let expected = "durations with commas between them are expected, such as 1s,5s,30s";
            list.split(',')
                .map(delay)
                .collect::<Option<Vec<_>>>()
                .ok_or_else(|| ("retry.delays", expected.to_owned()))?
        }
    };
    let number = |key: &'static str, expected: &str| (key, format!("{expected} is expected"));
    let jitter = text("retry.jitter").map_or_else(|| Ok(usual.jitter()), str::parse);
    let jitter = jitter.map_err(|_| number("retry.jitter", "a fraction from 0 to 1"))?;
    let attempts = text("retry.attempts-max").map_or_else(|| Ok(usual.attempts_max()), str::parse);
    let attempts = attempts.map_err(|_| number("retry.attempts-max", "a number from 1 to 100"))?;
    RetrySchedule::try_new(&delays, jitter, attempts).map_err(|error| ("retry", error.to_string()))
}

/// A table of texts; numbers and flags become texts.
fn read_texts(mut section: Section<'_>) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    for (key, value) in section.rest() {
        let text = match value {
            Value::String(text) => text,
            Value::Integer(number) => number.to_string(),
            Value::Boolean(flag) => flag.to_string(),
            other => {
                section.wrong(&key, format!("a text is expected, not {}", show(&other)));
                continue;
            }
        };
        texts.insert(key, text);
    }
    texts
}

/// What makes a measurement worthless.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Validity {
    /// The part of the events that must have been sent within the phase that they belong to.
    pub sent_min: f64,
    /// How late the generator may be for one event in a hundred.
    pub lag_p99_max: Nanos,
    /// How long its threads may wait for a processor, on average.
    pub scheduling_delay_max: Nanos,
    /// How far Little's law may be off, as a fraction.
    pub little_max: f64,
    /// How many events may be delivered more than once; `None` for any number.
    pub duplicates_max: Option<u64>,
    /// From when on a delivery is late.
    pub late_after: Nanos,
}

impl Validity {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let validity = Self {
            sent_min: section.decimal("sent-min", 0.99, 0.0..=1.0),
            // A tenth of a typical fsync-bound latency: what the generator adds does not show.
            lag_p99_max: section.duration("lag-p99-max", 5 * MILLISECOND, 0..=DAY),
            scheduling_delay_max: section.duration(
                "scheduling-delay-max",
                5 * MILLISECOND,
                0..=DAY,
            ),
            little_max: section.decimal("little-max", 0.1, 0.0..=10.0),
            duplicates_max: match section.flag("duplicates-allowed", false) {
                true => None,
                false => Some(section.number("duplicates-max", 0, 0..=1 << 40)),
            },
            late_after: section.duration("late-after", 10 * SECOND, 0..=DAY),
        };
        section.finish();
        validity
    }
}

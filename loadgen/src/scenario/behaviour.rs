//! How a group's receivers behave: what they answer, when, and how they go wrong.

use super::parts::Phases;
use super::reader::{Section, as_float, closest, show};
use crate::chance::Chance;
use crate::clock::{MILLISECOND, Nanos, SECOND};
use crate::units::floor;

/// How long a receiver takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Delay {
    /// It answers at once.
    None,
    /// Always the same.
    Fixed(Nanos),
    /// Anything between two bounds, equally likely.
    Uniform(Nanos, Nanos),
    /// Mostly short, sometimes long: exponential with this mean.
    Exponential(Nanos),
    /// What services do: log-normal with this median and this sigma.
    LogNormal(Nanos, f64),
}

/// No answer takes longer than this, whatever chance says.
const DELAY_MAX: Nanos = 3600 * SECOND;

impl Delay {
    /// One delay.
    pub fn draw(self, chance: &mut Chance) -> Nanos {
        let drawn = match self {
            Self::None => 0,
            Self::Fixed(delay) => delay,
            Self::Uniform(least, most) => least + floor(chance.fraction() * (most - least) as f64),
            Self::Exponential(mean) => floor(chance.exponential(mean as f64)),
            Self::LogNormal(median, sigma) => {
                floor(median as f64 * (sigma * chance.normal()).exp())
            }
        };
        drawn.min(DELAY_MAX)
    }
}

/// What a receiver does while it is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutageKind {
    /// Answers with this status.
    Status(u16),
    /// Takes requests and answers when the outage is over.
    Hang,
    /// Resets the connection.
    Reset,
}

/// A time in which a receiver is out. Moments count from the beginning of the measure phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// When it begins.
    pub from: Nanos,
    /// When it is over.
    pub to: Nanos,
    /// What it does meanwhile.
    pub kind: OutageKind,
}

/// All that a receiver does.
#[derive(Clone, Debug, PartialEq)]
pub struct Behaviour {
    /// Status codes other than 200, each with its share of the answers.
    pub statuses: Vec<(u16, f64)>,
    /// Status codes by attempt; the last one holds for all further attempts. Empty: as above.
    pub attempts: Vec<u16>,
    /// How long an answer takes.
    pub delay: Delay,
    /// The share of requests that are never answered.
    pub hang: f64,
    /// The share of connections that are reset instead of an answer.
    pub reset: f64,
    /// The share of requests on a connection used before at which it is closed without an answer.
    pub close_on_reuse: f64,
    /// Whether every answer is the last one of its connection.
    pub close_after_answer: bool,
    /// The pause between the bytes of an answer; 0 for none.
    pub drip: Nanos,
    /// The length of the answers' bodies.
    pub body_bytes: u64,
    /// The `Retry-After` of answers with 429 or 503, in seconds.
    pub retry_after_s: Option<u64>,
    /// When it is out.
    pub outages: Vec<Outage>,
}

impl Behaviour {
    pub(super) fn read(mut section: Section<'_>, phases: &Phases) -> Self {
        let behaviour = Self {
            statuses: read_statuses(&mut section),
            attempts: read_attempts(&mut section),
            delay: read_delay(section.section("delay")),
            hang: section.decimal("hang", 0.0, 0.0..=1.0),
            reset: section.decimal("reset", 0.0, 0.0..=1.0),
            close_on_reuse: section.decimal("close-on-reuse", 0.0, 0.0..=1.0),
            close_after_answer: section.flag("close-after-answer", false),
            drip: section.duration("drip", 0, 0..=60 * SECOND),
            body_bytes: section.size("body-size", 0, 1 << 30),
            retry_after_s: section.has("retry-after").then(|| {
                section.duration("retry-after", SECOND, SECOND..=86_400 * SECOND) / SECOND
            }),
            outages: read_outages(&mut section, phases),
        };
        let shares: f64 = behaviour.statuses.iter().map(|(_, share)| share).sum();
        if shares > 1.0 + 1e-9 {
            section.wrong("statuses", format!("the shares add up to {shares}, more than 1"));
        }
        section.finish();
        behaviour
    }

    /// The `Retry-After` of an answer with this status, in seconds.
    #[must_use]
    pub const fn retry_after(&self, status: u16) -> Option<u64> {
        if matches!(status, 429 | 503) { self.retry_after_s } else { None }
    }
}

impl Default for Behaviour {
    /// A receiver that says yes at once.
    fn default() -> Self {
        Self {
            statuses: Vec::new(),
            attempts: Vec::new(),
            delay: Delay::None,
            hang: 0.0,
            reset: 0.0,
            close_on_reuse: 0.0,
            close_after_answer: false,
            drip: 0,
            body_bytes: 0,
            retry_after_s: None,
            outages: Vec::new(),
        }
    }
}

fn is_status(code: u64) -> Option<u16> {
    u16::try_from(code).ok().filter(|code| (200..=599).contains(code))
}

/// `statuses = { 500 = 0.1 }`.
fn read_statuses(section: &mut Section<'_>) -> Vec<(u16, f64)> {
    let mut inner = section.section("statuses");
    let mut statuses = Vec::new();
    for (key, value) in inner.rest() {
        let code = key.parse().ok().and_then(is_status);
        let share = as_float(&value).filter(|share| (0.0..=1.0).contains(share));
        match (code, share) {
            (Some(code), Some(share)) => statuses.push((code, share)),
            _ => inner.wrong(&key, "STATUS = SHARE is expected, such as 500 = 0.1"),
        }
    }
    statuses
}

/// `attempts = [500, 500, 200]`.
fn read_attempts(section: &mut Section<'_>) -> Vec<u16> {
    let Some(value) = section.take("attempts") else { return Vec::new() };
    let codes = value.as_array().map(|values| {
        let code = |value: &toml::Value| {
            value.as_integer().and_then(|code| is_status(u64::try_from(code).ok()?))
        };
        values.iter().map(code).collect::<Option<Vec<_>>>()
    });
    codes.flatten().unwrap_or_else(|| {
        let given = show(&value);
        section.wrong("attempts", format!("a list of status codes is expected, not {given}"));
        Vec::new()
    })
}

/// `delay = { fixed = "5ms" }` and the like.
fn read_delay(mut section: Section<'_>) -> Delay {
    const KINDS: [&str; 4] = ["fixed", "uniform", "exponential", "log-normal"];
    let given: Vec<&str> = KINDS.into_iter().filter(|kind| section.has(kind)).collect();
    let range = 0..=DELAY_MAX;
    let delay = match given.as_slice() {
        [] => Delay::None,
        ["fixed"] => Delay::Fixed(section.duration("fixed", 0, range)),
        ["exponential"] => Delay::Exponential(section.duration("exponential", 0, range)),
        ["uniform"] => {
            let mut inner = section.section("uniform");
            let least = inner.duration("from", 0, range.clone());
            let most = inner.duration("to", least, range);
            if most < least {
                inner.wrong("to", "lies before from");
            }
            inner.finish();
            Delay::Uniform(least, most.max(least))
        }
        ["log-normal"] => {
            let mut inner = section.section("log-normal");
            let median = inner.duration("median", 10 * MILLISECOND, range);
            let sigma = inner.decimal("sigma", 0.5, 0.0..=5.0);
            inner.finish();
            Delay::LogNormal(median, sigma)
        }
        several => {
            section.wrong("", format!("one of them, not {}", several.join(" and ")));
            section.rest();
            Delay::None
        }
    };
    for key in section.rest().keys() {
        let hint = closest(key, KINDS.into_iter());
        section.wrong(key, format!("one of {} is expected{hint}", KINDS.join(", ")));
    }
    delay
}

fn read_outages(section: &mut Section<'_>, phases: &Phases) -> Vec<Outage> {
    let one = |mut inner: Section<'_>| {
        let from = inner.moment("from", 0, phases.measure);
        let to = inner.moment("to", phases.measure, phases.measure);
        let kind = match inner.word("answer", &["status", "hang", "reset"]) {
            "hang" => OutageKind::Hang,
            "reset" => OutageKind::Reset,
            _ => {
                let code = inner.number("status", 503, 200..=599);
                OutageKind::Status(is_status(code).unwrap_or(503))
            }
        };
        if to <= from {
            inner.wrong("", "ends before it begins: from must lie before to");
        }
        inner.finish();
        Outage { from, to, kind }
    };
    section.sections("outages").into_iter().map(one).collect()
}

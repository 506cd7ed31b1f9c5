//! A system on SQS and DynamoDB: how its simulated AWS behaves, and how events come to it.

use super::parts::Phases;
use super::reader::Section;
use crate::clock::{MILLISECOND, Nanos, SECOND};

/// A round trip that takes longer is a mistake.
const LATENCY_MAX: Nanos = 60 * SECOND;

/// The system works on a simulated SQS and DynamoDB, which the run starts itself.
#[derive(Clone, Debug, PartialEq)]
pub struct AwsPlan {
    /// Who puts events into the table and the queue.
    pub ingest: Ingest,
    /// How long each call of SQS takes.
    pub sqs_latency: Nanos,
    /// How long each call of DynamoDB takes.
    pub dynamodb_latency: Nanos,
    /// Whether messages cannot be received until the load has ended.
    pub backlog: bool,
    /// The share of messages that are given out once more while they are in flight.
    pub duplicated: f64,
    /// The share of messages that come back after their deletion. Their time-out passes at once
    /// when everything else is delivered.
    pub returned: f64,
    /// When calls are told to come more slowly, in order of time.
    pub throttles: Vec<Throttle>,
    /// Threads of the simulator.
    pub threads: u32,
}

/// How an event comes into the table and the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ingest {
    /// The generator puts row and message there itself, in no time and at no cost: what is
    /// measured is from the queue to the sink.
    Queue,
    /// The system does, when the event is sent to its API.
    Api,
}

/// A service of AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// The queues.
    Sqs,
    /// The tables.
    Dynamodb,
}

impl Service {
    /// Its name in scenarios and results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sqs => "sqs",
            Self::Dynamodb => "dynamodb",
        }
    }
}

/// A time in which a service tells callers to come more slowly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Throttle {
    /// Which one.
    pub service: Service,
    /// From when on, from the beginning of the measure phase.
    pub from: Nanos,
    /// Until when.
    pub to: Nanos,
    /// The share of calls, or of entries of DynamoDB's batches, that are refused.
    pub share: f64,
}

impl AwsPlan {
    pub(super) fn read(mut section: Section<'_>, phases: &Phases) -> Self {
        let ingest = match section.word("ingest", &["queue", "api"]) {
            "api" => Ingest::Api,
            _ => Ingest::Queue,
        };
        let threads = section.number("threads", 1, 1..=64);
        let plan = Self {
            ingest,
            sqs_latency: section.duration("sqs-latency", 10 * MILLISECOND, 0..=LATENCY_MAX),
            dynamodb_latency: section.duration(
                "dynamodb-latency",
                5 * MILLISECOND,
                0..=LATENCY_MAX,
            ),
            backlog: section.flag("backlog", false),
            duplicated: section.decimal("duplicated", 0.0, 0.0..=1.0),
            returned: section.decimal("returned", 0.0, 0.0..=1.0),
            throttles: throttles(section.sections("throttles"), phases),
            threads: u32::try_from(threads).unwrap_or(1),
        };
        if plan.backlog && ingest == Ingest::Api {
            section.wrong("backlog", "only what the generator puts there itself can wait");
        }
        section.finish();
        plan
    }
}

fn throttles(sections: Vec<Section<'_>>, phases: &Phases) -> Vec<Throttle> {
    let mut throttles: Vec<Throttle> = Vec::new();
    for mut section in sections {
        let service = match section.word("service", &["dynamodb", "sqs"]) {
            "sqs" => Service::Sqs,
            _ => Service::Dynamodb,
        };
        let from = section.moment("from", 0, phases.measure);
        let to = section.moment("to", phases.measure, phases.measure);
        if from >= to {
            section.wrong("from", "lies not before `to`");
        }
        if throttles.last().is_some_and(|before| before.to > from) {
            section.wrong("from", "begins before the one above has ended");
        }
        let share = section.decimal("share", 0.9, 0.0..=1.0);
        section.finish();
        throttles.push(Throttle { service, from, to, share });
    }
    throttles
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::scenario::{Problems, Scenario};

    fn parse(aws: &str) -> Result<Scenario, Problems> {
        let text = format!("[phases]\nmeasure = \"100s\"\n[aws]\n{aws}");
        Scenario::parse(&text, PathBuf::new(), &[])
    }

    #[test]
    fn a_plan_is_read() {
        let text = "sqs-latency = \"7ms\"\nduplicated = 0.05\n[[aws.throttles]]\nfrom = \"10%\"\n\
                    to = \"70s\"\nshare = 0.5\n[[aws.throttles]]\nservice = \"sqs\"\n\
                    from = \"80s\"";
        let plan = parse(text).unwrap().aws.unwrap();
        assert_eq!((plan.ingest, plan.sqs_latency), (Ingest::Queue, 7 * MILLISECOND));
        let moments = |throttle: &Throttle| (throttle.service, throttle.from, throttle.to);
        let [first, second] = &plan.throttles[..] else { panic!("{plan:?}") };
        assert_eq!(moments(first), (Service::Dynamodb, 10 * SECOND, 70 * SECOND));
        assert_eq!(moments(second), (Service::Sqs, 80 * SECOND, 100 * SECOND));
        assert_eq!(Scenario::parse("", PathBuf::new(), &[]).unwrap().aws, None);
    }

    #[test]
    fn what_contradicts_itself_is_told() {
        for (aws, told) in [
            ("ingest = \"api\"\nbacklog = true", "aws.backlog"),
            ("duplicated = 2", "aws.duplicated"),
            ("[[aws.throttles]]\nfrom = \"50%\"\nto = \"40%\"", "aws.throttles.0.from"),
            ("[[aws.throttles]]\n[[aws.throttles]]\n", "aws.throttles.1.from"),
            ("ingest = \"api\"\nsqs-latenc = \"1s\"", "sqs-latency"),
        ] {
            let problems = parse(aws).unwrap_err().to_string();
            assert!(problems.contains(told), "{aws}: {problems}");
        }
        let closed = "[arrival]\nprocess = \"closed\"\n[aws]\n";
        let problems = Scenario::parse(closed, PathBuf::new(), &[]).unwrap_err().to_string();
        assert!(problems.contains("aws.ingest"), "{problems}");
    }
}

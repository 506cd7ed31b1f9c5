//! The AWS of a run: a simulated SQS and DynamoDB in this process, which the system under test
//! works on.
//!
//! It makes queues and tables before the system starts, puts events there where the scenario wants
//! to measure from the queue on, does what the scenario says to the services, waits until
//! everything is settled (deliveries come before their status writes), and counts what was asked.
//! The simulator's threads are served before the system, as far as this process may ask for it:
//! the real services do not share its processors either.

mod cost;
mod mail;
mod setup;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use tokio::time::{sleep, timeout};

pub use self::cost::{PRICES, Prices, cost};
pub use self::mail::Mail;
use self::setup::{EVENTS_TABLE, QUEUE};
use crate::aws_sim::{AwsSim, Direct, Faults, Report, Settings, Shares};
use crate::clock::{Nanos, SECOND};
use crate::record::{AwsRecord, Interval, ThrottleRecord};
use crate::scenario::{AwsPlan, Ingest, Service, Throttle};
use crate::shared::Shared;
use crate::system::{Threads, own_threads};

/// The region that the system is told. There is no other.
const REGION: &str = "us-east-1";
/// How long a message waits at most before it can be received; longer than any load of a backlog.
const HELD_S: u32 = 900;
/// Longer than the visibility time-out of the queue (180 s).
const SKIP_MS: u64 = 181_000;
/// How long what is delivered may take to be settled.
const SETTLE_MAX: Duration = Duration::from_secs(60);
/// The pause between looks at the queue: nothing tells when the last message is deleted.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// The part of what comes that is called full speed.
const FULL_SPEED: f64 = 0.95;

/// A simulated AWS, running.
#[derive(Debug)]
pub struct Cloud {
    sim: AwsSim,
    direct: Direct,
    plan: AwsPlan,
    /// Whether messages can be received as soon as they are there.
    released: Arc<AtomicBool>,
}

/// What was asked and used until some moment.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    report: Report,
    threads: Threads,
}

/// What the account knows when it is all over.
#[derive(Clone, Copy, Debug)]
pub struct Delivered {
    /// Events delivered.
    pub events: u64,
    /// The length of a payload, on average.
    pub payload_bytes_mean: f64,
}

impl Cloud {
    /// Starts it, with empty queues and tables.
    ///
    /// # Errors
    /// Where no port or thread can be had.
    pub async fn start(plan: &AwsPlan, seed: u64, shared: &Shared) -> Result<Self> {
        let settings = Settings {
            threads: plan.threads,
            seed,
            faults: faults(plan, None),
            ..Settings::default()
        };
        // Threads inherit their priority; this one must keep its own, which the system inherits.
        let start = || {
            shared.raise_priority();
            AwsSim::start(settings)
        };
        let started = std::thread::scope(|scope| scope.spawn(start).join());
        let sim = started.map_err(|_| anyhow::anyhow!("the start of the simulator panicked"))??;
        let direct = sim.direct();
        setup::create(&direct).await?;
        let released = Arc::new(AtomicBool::new(!plan.backlog));
        Ok(Self { sim, direct, plan: plan.clone(), released })
    }

    /// Settings of the system.
    #[must_use]
    pub fn settings(&self) -> Vec<(String, String)> {
        let url = self.sim.url();
        let settings = [
            ("aws.enabled", "true"),
            ("aws.prefix", setup::PREFIX),
            ("aws.region", REGION),
            ("aws.sqs-endpoint", &url),
            ("aws.dynamodb-endpoint", &url),
        ];
        settings.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
    }

    /// What puts events there, where the generator does it itself.
    #[must_use]
    pub fn mail(&self) -> Option<Arc<Mail>> {
        let mail = || Mail::new(self.direct.clone(), Arc::clone(&self.released), HELD_S);
        (self.plan.ingest == Ingest::Queue).then(|| Arc::new(mail()))
    }

    /// Whether messages cannot be received yet.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        !self.released.load(Ordering::SeqCst)
    }

    /// The load has ended: what was held can be received, all of it at once.
    pub fn release(&self) {
        if !self.released.swap(true, Ordering::SeqCst) {
            self.sim.skip_ms(u64::from(HELD_S) * 1_000);
        }
    }

    /// What was asked so far.
    #[must_use]
    pub fn counted(&self) -> Counted {
        Counted { report: self.sim.counters(), threads: own_threads(true) }
    }

    /// Does to the services what the scenario says, at the moments that it says.
    ///
    /// # Errors
    /// Faults that make no sense.
    pub async fn carry_out(&self, shared: &Shared) -> Result<()> {
        let from = shared.window().from;
        let until = async |at: Nanos| {
            let left = (from + at).saturating_sub(shared.clock.now());
            sleep(Duration::from_nanos(left)).await;
        };
        for throttle in &self.plan.throttles {
            until(throttle.from).await;
            self.sim.set_faults(faults(&self.plan, Some(throttle)))?;
            until(throttle.to).await;
            self.sim.set_faults(faults(&self.plan, None))?;
        }
        Ok(())
    }

    /// Waits until every message is deleted, those that come back after their deletion too.
    ///
    /// # Errors
    /// Where that takes too long.
    pub async fn settle(&self) -> Result<()> {
        let returning = || self.sim.counters().faults.get("resurrect").copied().unwrap_or(0);
        self.is_empty_but(returning).await?;
        if returning() > 0 {
            let plan = AwsPlan { duplicated: 0.0, returned: 0.0, ..self.plan.clone() };
            self.sim.set_faults(faults(&plan, None))?;
            self.sim.skip_ms(SKIP_MS);
            self.is_empty_but(|| 0).await?;
        }
        Ok(())
    }

    /// Waits until the queue holds no more than so many messages, which are in flight.
    async fn is_empty_but(&self, flying_max: impl Fn() -> u64) -> Result<()> {
        let empty = async {
            loop {
                let depth = self.depth().await?;
                if depth.waiting == 0 && depth.flying <= flying_max() {
                    return Ok(());
                }
                sleep(LOOK_AGAIN).await;
            }
        };
        match timeout(SETTLE_MAX, empty).await {
            Ok(empty) => empty,
            Err(_) => {
                let Depth { waiting, flying } = self.depth().await?;
                anyhow::bail!(
                    "{waiting} messages wait and {flying} are in flight, {} s after the last \
                     delivery",
                    SETTLE_MAX.as_secs()
                )
            }
        }
    }

    async fn depth(&self) -> Result<Depth> {
        let body = serde_json::json!({
            "QueueUrl": QUEUE,
            "AttributeNames": ["All"],
        });
        let answer = self.direct.call("GetQueueAttributes", body.to_string().as_bytes()).await?;
        let answer: Attributes = serde_json::from_slice(&answer)?;
        let number = |name: &str| {
            let text = answer.attributes.get(&format!("ApproximateNumberOfMessages{name}"));
            text.and_then(|text| text.parse::<u64>().ok()).context("a queue without a depth")
        };
        Ok(Depth { waiting: number("")? + number("Delayed")?, flying: number("NotVisible")? })
    }

    /// Events by what their rows say.
    async fn rows(&self) -> Result<BTreeMap<String, u64>> {
        let (mut rows, mut from) = (BTreeMap::new(), serde_json::Value::Null);
        loop {
            let mut body = serde_json::json!({
                "TableName": EVENTS_TABLE,
                "ProjectionExpression": "#s",
                // Body items have no status.
                "FilterExpression": "attribute_exists(#s)",
                "ExpressionAttributeNames": { "#s": "status" },
            });
            if !from.is_null() {
                body["ExclusiveStartKey"] = from;
            }
            let page = self.direct.call("Scan", body.to_string().as_bytes()).await?;
            let mut page: serde_json::Value = serde_json::from_slice(&page)?;
            for item in page["Items"].as_array().context("a scan without items")? {
                let status = item["status"]["S"].as_str().context("a status that is no text")?;
                *rows.entry(status.to_owned()).or_default() += 1;
            }
            from = page["LastEvaluatedKey"].take();
            if from.is_null() {
                return Ok(rows);
            }
        }
    }

    /// What came of it, from `begun` on.
    ///
    /// # Errors
    /// Where the tables cannot be read.
    pub async fn record(
        &self,
        begun: &Counted,
        delivered: Delivered,
        intervals: &[Interval],
        measured_from: Nanos,
    ) -> Result<AwsRecord> {
        let now = self.counted();
        let operations: BTreeMap<_, _> = now
            .report
            .operations
            .iter()
            .map(|(name, count)| {
                let before = begun.report.operations.get(name).copied().unwrap_or_default();
                (name.clone(), count.since(&before))
            })
            .filter(|(_, count)| count.requests > 0)
            .collect();
        let threads = now.threads.since(&begun.threads);
        Ok(AwsRecord {
            events: delivered.events,
            ingest: match self.plan.ingest {
                Ingest::Queue => "queue",
                Ingest::Api => "api",
            }
            .to_owned(),
            per_event: cost::per_event(&operations, delivered.events),
            cost: cost(&operations, &delivered, &PRICES),
            operations,
            faults: now.report.faults,
            rows: self.rows().await?,
            throttles: self.throttle_records(intervals, measured_from),
            simulator_user_ns: threads.user,
            simulator_system_ns: threads.system,
            simulator_scheduling_delay_ns: threads.waited / threads.times.max(1),
        })
    }

    fn throttle_records(&self, intervals: &[Interval], from: Nanos) -> Vec<ThrottleRecord> {
        let one = |throttle: &Throttle| {
            let moment = |at: Nanos| (from + at) as f64 / SECOND as f64;
            throttled(throttle, [moment(throttle.from), moment(throttle.to)], intervals)
        };
        self.plan.throttles.iter().map(one).collect()
    }

    /// Ends it.
    ///
    /// # Errors
    /// What ended a thread before its time.
    pub fn stop(self) -> Result<()> {
        self.sim.stop()
    }
}

/// How many messages are where.
#[derive(Clone, Copy, Debug)]
struct Depth {
    /// Not in flight.
    waiting: u64,
    flying: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attributes {
    attributes: BTreeMap<String, String>,
}

fn faults(plan: &AwsPlan, throttle: Option<&Throttle>) -> Faults {
    let share = |service| {
        throttle.filter(|throttle| throttle.service == service).map_or(0.0, |one| one.share)
    };
    let latency_ms = |nanos: Nanos| nanos as f64 / 1e6;
    Faults {
        sqs: Shares {
            latency_ms: latency_ms(plan.sqs_latency),
            throttle: share(Service::Sqs),
            duplicate: plan.duplicated,
            resurrect: plan.returned,
            ..Shares::default()
        },
        dynamodb: Shares {
            latency_ms: latency_ms(plan.dynamodb_latency),
            throttle: share(Service::Dynamodb),
            ..Shares::default()
        },
        rules: Vec::new(),
    }
}

/// What deliveries came to while a service was throttled, and how soon after it they were as fast
/// again as events came. Known to an interval.
fn throttled(throttle: &Throttle, [from_s, to_s]: [f64; 2], all: &[Interval]) -> ThrottleRecord {
    let end = |interval: &Interval| interval.from_s + interval.length_s;
    let within = all.iter().filter(|one| one.from_s >= from_s && end(one) <= to_s);
    let (delivered, length) =
        within.fold((0, 0.0), |sum, one| (sum.0 + one.delivered, sum.1 + one.length_s));
    // An interval that lies half within tells nothing.
    let mut after = all.iter().filter(|one| one.from_s >= to_s);
    let is_fast = |one: &&Interval| {
        one.accepted > 0 && one.delivered as f64 >= FULL_SPEED * one.accepted as f64
    };
    let fast = after.clone().find(is_fast);
    let caught_up = after.find(|one| one.backlog <= one.accepted);
    let since = |one: &Interval| end(one) - to_s;
    ThrottleRecord {
        service: throttle.service.name().to_owned(),
        share: throttle.share,
        from_s,
        to_s,
        delivered_rate: crate::units::ratio(delivered as f64, length),
        backlog_peak: all.iter().map(|one| one.backlog).max().unwrap_or(0),
        full_speed_s: fast.map(since),
        caught_up_s: caught_up.map(since),
    }
}

#[cfg(test)]
mod tests;

//! The course of a run.

use std::future::pending;

use anyhow::{Context as _, Result};
use tokio::select;

use super::chaos::{self, until};
use super::collect::{Collector, Ends};
use super::judge::judge;
use super::observe::Observer;
use super::prepare::Stage;
use super::{Finished, Options};
use crate::clock::{MILLISECOND, Nanos, SECOND};
use crate::cloud::{Cloud, Counted, Delivered};
use crate::publish::{Publisher, pacer};
use crate::record::{AwsRecord, InvalidKind, Invalidity, Summary, write_summary};
use crate::scenario::Stop;
use crate::shared::Window;
use crate::system;

/// From the decision to begin to the first event: threads have started by then.
const LEAD: Nanos = 50 * MILLISECOND;
/// How often a summary of what there is so far is written.
const SAVE_EVERY: Nanos = 10 * SECOND;

/// How the load, or the drain after it, came to its end.
#[derive(Debug)]
enum Outcome {
    /// As it should.
    Whole,
    /// Somebody pressed Ctrl-C, or sent SIGTERM.
    Interrupted,
    /// The system went away.
    Broken(String),
}

/// Runs a scenario.
pub(super) async fn conduct(options: Options, observer: &mut dyn Observer) -> Result<Finished> {
    observer.begins(&options.scenario);
    let mut interrupts = Interrupts::listen()?;
    let stage = select! {
        stage = Stage::set(options, observer) => stage?,
        () = interrupts.next() => anyhow::bail!("interrupted before the load began"),
    };
    let mut summary = measure(&stage, observer, &mut interrupts).await?;
    let Stage { sink, system, cloud, folder, .. } = stage;
    if system.ended().is_none() {
        observer.note("stopping the system");
        // Where somebody cannot wait for its drain, dropping it kills it.
        let stopped = select! {
            stopped = system.stop(Stop::Terminate) => stopped,
            () = interrupts.next() => Err(anyhow::anyhow!("interrupted again: killed")),
        };
        match stopped {
            Ok(ended) => observer.note(&format!("the system ended: {ended}")),
            Err(error) => observer.note(&format!("the system did not end well: {error:#}")),
        }
    }
    sink.stop()?;
    cloud.map_or(Ok(()), Cloud::stop)?;
    summary.environment.load_average_after = crate::record::load_average();
    write_summary(&folder, &summary).context("cannot write the summary")?;
    observer.ends(&summary, &folder);
    Ok(Finished { summary, folder })
}

/// Sends, waits, asks, and judges.
async fn measure(
    stage: &Stage,
    observer: &mut dyn Observer,
    interrupts: &mut Interrupts,
) -> Result<Summary> {
    let (shared, phases) = (&stage.shared, stage.scenario.phases);
    let start = shared.clock.now() + LEAD;
    let from = start + phases.warm_up;
    shared.begin(Window { start, from, to: from + phases.measure });
    let closed = stage.scenario.is_closed();
    let lane = |lane| pacer(&stage.schedule, closed, shared, [lane, stage.lanes.into()]);
    let begun = stage.cloud.as_ref().map(Cloud::counted);
    let mut publisher = Publisher::start(shared, &stage.settings, stage.lanes, lane)?;
    let mut collector = Collector::new(stage, publisher.records.clone())?;
    let done = chaos::Done::default();
    let mut course = Course { stage, observer, collector: &mut collector, done: &done };
    let outcome = course.follow(&mut publisher, interrupts).await;
    shared.stop();
    publisher.join()?;
    course.tick();
    let ends = Ends::now(stage, shared.clock.now());
    let mut invalid = Vec::new();
    let mut interrupted = match outcome {
        Outcome::Whole => false,
        Outcome::Interrupted => true,
        Outcome::Broken(reason) => {
            invalid.push(Invalidity { kind: InvalidKind::System, reason });
            false
        }
    };
    if !interrupted && invalid.is_empty() {
        course.observer.note("asking the system for what is not delivered");
        let settled = select! {
            settled = system::settle(&stage.system, &stage.tenants, shared) => settled,
            () = interrupts.next() => {
                interrupted = true;
                Ok(())
            }
        };
        if let Err(error) = settled {
            let reason = format!("the system could not be asked for what it owes: {error:#}");
            invalid.push(Invalidity { kind: InvalidKind::System, reason });
        }
    }
    let mut summary = collector.summary(stage, &ends, done.records(shared));
    if let (Some(cloud), Some(begun)) = (&stage.cloud, &begun) {
        let is_whole = !interrupted && invalid.is_empty();
        match settled((cloud, begun), &summary, stage, is_whole).await {
            Ok(record) => summary.aws = Some(record),
            Err(error) => invalid.push(Invalidity {
                kind: InvalidKind::System,
                reason: format!("not everything is settled: {error:#}"),
            }),
        }
        // A message that came back may have been attempted.
        summary.account = shared.account().totals();
    }
    collector.write_histograms(stage, &stage.folder)?;
    judge(&mut summary, &stage.scenario, invalid, interrupted);
    if summary.account.missing > 0 && !interrupted {
        let some = shared.account().missing(10);
        summary.outcome.remarks.push(format!("the first missing events: {some:?}"));
    }
    Ok(summary)
}

/// What was asked of the cloud when nothing is left to be done there.
async fn settled(
    (cloud, begun): (&Cloud, &Counted),
    summary: &Summary,
    stage: &Stage,
    is_whole: bool,
) -> Result<AwsRecord> {
    if is_whole {
        cloud.settle().await?;
    }
    let delivered = Delivered {
        events: summary.account.delivered,
        payload_bytes_mean: summary.scenario.payload_bytes_mean,
    };
    let measured_from = stage.scenario.phases.warm_up;
    cloud.record(begun, delivered, &summary.intervals, measured_from).await
}

/// A run on its way.
struct Course<'r> {
    stage: &'r Stage,
    observer: &'r mut dyn Observer,
    collector: &'r mut Collector,
    done: &'r chaos::Done,
}

impl Course<'_> {
    /// Follows the load and the drain to their end.
    async fn follow(&mut self, publisher: &mut Publisher, interrupts: &mut Interrupts) -> Outcome {
        let (stage, done) = (self.stage, self.done);
        let (shared, clock) = (&*stage.shared, stage.shared.clock);
        let window = shared.window();
        let chaos = async {
            let system = chaos::carry_out(&stage.scenario.chaos, &stage.system, shared, done);
            let cloud = async {
                match &stage.cloud {
                    Some(cloud) => cloud.carry_out(shared).await,
                    None => Ok(()),
                }
            };
            tokio::try_join!(system, cloud).map(|_| ())
        };
        tokio::pin!(chaos);
        let (mut chaos_over, mut is_sent) = (false, false);
        let mut tick = window.start + stage.scenario.interval;
        let deadline = window.to.saturating_add(stage.scenario.phases.drain);
        let mut announced = None;
        loop {
            let phase = self.announce(announced, clock.now(), &window);
            announced = Some(phase);
            let drained = async { if is_sent { shared.drained().await } else { pending().await } };
            select! {
                () = until(&clock, tick) => {
                    self.tick();
                    tick += stage.scenario.interval;
                    if let Some(ended) = stage.system.ended().filter(|_| !done.is_down()) {
                        let words = stage.system.last_words();
                        return Outcome::Broken(format!("the system ended: {ended}; {words}"));
                    }
                }
                () = until(&clock, phase.end(&window)), if phase != Phase::Drain => {}
                outcome = &mut chaos, if !chaos_over => match outcome {
                    Ok(()) => chaos_over = true,
                    Err(error) => return Outcome::Broken(format!("{error:#}")),
                },
                () = publisher.finished(), if chaos_over && phase == Phase::Drain && !is_sent => {
                    is_sent = true;
                    // What was held waits until now, however late the generator was.
                    if let Some(cloud) = stage.cloud.as_ref().filter(|cloud| cloud.is_holding()) {
                        self.collector.load_ends(stage, clock.now());
                        cloud.release();
                    }
                }
                () = drained => return Outcome::Whole,
                () = until(&clock, deadline) => return Outcome::Whole,
                () = interrupts.next() => return Outcome::Interrupted,
            }
        }
    }

    /// Says which phase it is, where it has changed, and notes what must be noted then.
    fn announce(&mut self, before: Option<Phase>, now: Nanos, window: &Window) -> Phase {
        let phase = Phase::at(now, window);
        if before != Some(phase) {
            self.observer.phase(phase.name());
            match phase {
                Phase::WarmUp => {}
                Phase::Measure => self.collector.measure_begins(self.stage),
                Phase::Drain => self.collector.load_ends(self.stage, window.to),
            }
        }
        phase
    }

    /// An interval is over.
    fn tick(&mut self) {
        let snapshot = self.collector.tick(self.stage);
        self.observer.interval(&snapshot);
        if self.collector.is_save_due(SAVE_EVERY) {
            let ends = Ends::now(self.stage, self.stage.shared.clock.now());
            let records = self.done.records(&self.stage.shared);
            let mut summary = self.collector.summary(self.stage, &ends, records);
            judge(&mut summary, &self.stage.scenario, Vec::new(), true);
            // The final one is what must be written; its failure is told.
            _ = write_summary(&self.stage.folder, &summary);
        }
    }
}

/// The parts of a run, as they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    WarmUp,
    Measure,
    Drain,
}

impl Phase {
    const fn at(now: Nanos, window: &Window) -> Self {
        if now < window.from {
            Self::WarmUp
        } else if now < window.to {
            Self::Measure
        } else {
            Self::Drain
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::WarmUp => "warm-up",
            Self::Measure => "measure",
            Self::Drain => "drain",
        }
    }

    const fn end(self, window: &Window) -> Nanos {
        match self {
            Self::WarmUp => window.from,
            Self::Measure | Self::Drain => window.to,
        }
    }
}

/// Ctrl-C and SIGTERM.
#[derive(Debug)]
struct Interrupts {
    int: tokio::signal::unix::Signal,
    term: tokio::signal::unix::Signal,
}

impl Interrupts {
    fn listen() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { int: signal(SignalKind::interrupt())?, term: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        select! {
            _ = self.int.recv() => {}
            _ = self.term.recv() => {}
        }
    }
}

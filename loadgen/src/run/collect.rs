//! Brings together what lanes, sinks and the kernel have counted: interval by interval, and at the
//! end.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};

use super::observe::Snapshot;
use super::prepare::Stage;
use crate::account::Totals;
use crate::clock::{Nanos, seconds};
use crate::publish::Outbound;
use crate::record::{
    Answers, ChaosRecord, Drain, Environment, Fairness, GroupRecord, HlogWriter, Interval,
    LatencySet, Little, Load, Outcome, PhaseRecord, ProcessRecord, ProcessSample, Quantiles, Run,
    SCHEMA, ScenarioRecord, Summary, TenantRecord, Verdict, histogram, write_hgrm,
};
use crate::shared::lock;
use crate::sink::Inbound;
use crate::system::{Threads, Usage, own_threads, usage_of};
use crate::units::{floor, ratio};

/// Fewer events say nothing about Little's law.
const LITTLE_EVENTS_MIN: u64 = 500;
/// A smaller backlog says nothing about how fast it goes.
const DRAIN_EVENTS_MIN: u64 = 1000;
/// Tenants that are named in a result.
const TENANTS_NAMED: usize = 10;

/// What was used and counted at the end of the drain, before anything else is asked.
#[derive(Clone, Debug)]
pub(super) struct Ends {
    at: Nanos,
    system: Usage,
    own: Usage,
    threads: Threads,
}

impl Ends {
    /// As things stand.
    pub(super) fn now(stage: &Stage, at: Nanos) -> Self {
        Self { at, system: stage.system.usage(), own: own(), threads: own_threads(false) }
    }
}

/// What this process has used, the simulated AWS aside: that is a part of the machine.
fn own() -> Usage {
    let (mut own, aws) = (usage_of("self").unwrap_or_default(), own_threads(true));
    own.user = own.user.saturating_sub(aws.user);
    own.system = own.system.saturating_sub(aws.system);
    own
}

/// One of the two processes that are looked at, by where its figures are kept.
struct Which {
    of_begun: fn(&(Usage, Usage)) -> &Usage,
    of_ends: fn(&Ends) -> &Usage,
    samples: fn(&Collector) -> &[ProcessSample],
}

const SYSTEM: Which = Which {
    of_begun: |begun| &begun.0,
    of_ends: |ends| &ends.system,
    samples: |collector| &collector.system,
};
const GENERATOR: Which = Which {
    of_begun: |begun| &begun.1,
    of_ends: |ends| &ends.own,
    samples: |collector| &collector.own,
};

/// What there was when the load ended.
#[derive(Clone, Copy, Debug)]
struct LoadEnd {
    at: Nanos,
    /// Accepted and not delivered.
    backlog: u64,
    /// Delivered until then.
    delivered: u64,
}

/// Sums of the counts at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    sent: u64,
    accepted: u64,
    answered: u64,
    cut_off: u64,
    in_flight: u64,
    attempts: u64,
    delivered: u64,
}

/// Collects.
#[derive(Debug)]
pub(super) struct Collector {
    lanes: Vec<Arc<Mutex<Outbound>>>,
    sinks: Vec<Arc<Mutex<Inbound>>>,
    hlog: HlogWriter<BufWriter<File>>,
    intervals: Vec<Interval>,
    before: Sums,
    ticked: Nanos,
    saved: Option<Nanos>,
    /// When the load began; what was used then.
    begun: (Usage, Usage),
    /// The same at the beginning of the measure phase.
    measured: Option<Ends>,
    load_end: Option<LoadEnd>,
    system: Vec<ProcessSample>,
    own: Vec<ProcessSample>,
}

impl Collector {
    /// Before the load begins.
    pub(super) fn new(stage: &Stage, lanes: Vec<Arc<Mutex<Outbound>>>) -> Result<Self> {
        let start = stage.shared.window().start;
        let hlog = HlogWriter::create(&stage.folder.join("intervals.hlog"), stage.started);
        Ok(Self {
            lanes,
            sinks: stage.sink.records.clone(),
            hlog: hlog.context("cannot write intervals.hlog")?,
            intervals: Vec::new(),
            before: Sums::default(),
            ticked: start,
            saved: None,
            begun: (stage.system.usage(), own()),
            measured: None,
            load_end: None,
            system: Vec::new(),
            own: Vec::new(),
        })
    }

    /// The measure phase begins.
    pub(super) fn measure_begins(&mut self, stage: &Stage) {
        self.measured = Some(Ends::now(stage, stage.shared.clock.now()));
    }

    /// The load has ended: at its time, or where the backlog was held until all of it was there,
    /// then. The later one counts.
    pub(super) fn load_ends(&mut self, stage: &Stage, at: Nanos) {
        let backlog = stage.shared.account().backlog();
        self.load_end = Some(LoadEnd { at, backlog, delivered: self.sums(stage).delivered });
        stage.shared.watch_drain(backlog / 100);
    }

    /// Whether so much time has passed since this was true last; true at first.
    pub(super) fn is_save_due(&mut self, every: Nanos) -> bool {
        let due = self.saved.is_none_or(|saved| self.ticked - saved >= every);
        if due {
            self.saved = Some(self.ticked);
        }
        due
    }

    fn sums(&self, stage: &Stage) -> Sums {
        let mut sums = Sums::default();
        for lane in &self.lanes {
            let lane = lock(lane);
            sums.sent += lane.sent;
            sums.accepted += lane.answers.get(&201).copied().unwrap_or(0);
            sums.answered += lane.answers.values().sum::<u64>();
            sums.cut_off += lane.cut_off.values().sum::<u64>();
            sums.in_flight += lane.in_flight;
        }
        sums.attempts = self.sinks.iter().map(|sink| lock(sink).requests).sum();
        sums.delivered = stage.shared.account().first_deliveries();
        sums
    }

    /// An interval is over: it is written, and told.
    pub(super) fn tick(&mut self, stage: &Stage) -> Snapshot {
        let (now, window) = (stage.shared.clock.now(), stage.shared.window());
        let set = self.take_interval(stage);
        let sums = self.sums(stage);
        let since = |moment: Nanos| seconds(moment.saturating_sub(window.start));
        let before = std::mem::replace(&mut self.before, sums);
        let refused = |sums: &Sums| sums.answered - sums.accepted;
        let interval = Interval {
            from_s: since(self.ticked),
            length_s: seconds(now.saturating_sub(self.ticked)),
            phase: phase(now, &window).to_owned(),
            sent: sums.sent - before.sent,
            accepted: sums.accepted - before.accepted,
            refused: refused(&sums) - refused(&before),
            cut_off: sums.cut_off - before.cut_off,
            delivered: sums.delivered - before.delivered,
            attempts: sums.attempts - before.attempts,
            in_flight: sums.in_flight,
            backlog: stage.shared.account().backlog(),
            publish: Quantiles::of(&set.publish),
            end_to_end: Quantiles::of(&set.end_to_end),
            lag: Quantiles::of(&set.lag),
            retry_lateness: Quantiles::of(&set.retry_lateness),
        };
        self.ticked = now;
        // A full disk shows in the final files, which must be written.
        _ = self.hlog.add(interval.from_s, interval.length_s, &set);
        let (system, own) = (stage.system.usage(), own());
        self.system.push(sample(since(now), &system.since(&self.begun.0)));
        self.own.push(sample(since(now), &own.since(&self.begun.1)));
        let run = self.set(stage, 1);
        self.intervals.push(interval.clone());
        let progress = ratio(since(now), seconds(stage.scenario.sending())).min(1.0);
        let retries = stage.shared.retries().counts();
        Snapshot {
            interval,
            totals: stage.shared.account().totals(),
            publish: Quantiles::of(&run.publish),
            end_to_end: Quantiles::of(&run.end_to_end),
            lag: Quantiles::of(&run.lag),
            retry_lateness: Quantiles::of(&run.retry_lateness),
            retries,
            progress,
        }
    }

    /// Takes the histograms of the interval out of lanes and sinks.
    fn take_interval(&self, stage: &Stage) -> LatencySet {
        let mut set = LatencySet::new();
        set.retry_lateness = stage.shared.retries().take_interval();
        let take = |from: &mut _| std::mem::replace(from, histogram());
        for lane in &self.lanes {
            let mut lane = lock(lane);
            let (publish, lag) = (take(&mut lane.publish_now), take(&mut lane.lag_now));
            drop(lane);
            set.publish += publish;
            set.lag += lag;
        }
        for sink in &self.sinks {
            let end_to_end = take(&mut lock(sink).now);
            set.end_to_end += end_to_end;
        }
        set
    }

    /// The histograms of the events of a phase: 0 warm-up, 1 measure.
    fn set(&self, stage: &Stage, phase: usize) -> LatencySet {
        let mut set = LatencySet::new();
        set.retry_lateness += stage.shared.retries().lateness(phase);
        for lane in &self.lanes {
            let lane = lock(lane);
            set.publish += &lane.publish[phase];
            set.lag += &lane.lag[phase];
        }
        for sink in &self.sinks {
            set.end_to_end += &lock(sink).end_to_end[phase];
        }
        set
    }

    /// Writes the measure phase's percentiles.
    pub(super) fn write_histograms(&self, stage: &Stage, folder: &Path) -> Result<()> {
        let set = self.set(stage, 1);
        for (name, histogram) in set.named() {
            // Most runs have no retries: a file about none would only be asked about.
            if name == "retry-lateness" && histogram.is_empty() {
                continue;
            }
            let path = folder.join(format!("{name}.hgrm"));
            let write = || {
                let mut file = BufWriter::new(File::create(&path)?);
                write_hgrm(&mut file, histogram)?;
                file.flush()
            };
            write().with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    /// Everything, without a verdict.
    pub(super) fn summary(&self, stage: &Stage, ends: &Ends, chaos: Vec<ChaosRecord>) -> Summary {
        let scenario = &stage.scenario;
        let measure = self.set(stage, 1);
        let account = stage.shared.account().totals();
        let events = measure.publish.len();
        Summary {
            schema: SCHEMA,
            generator_version: format!("posthaste-loadgen {}", env!("CARGO_PKG_VERSION")),
            run: Run {
                id: format!("{:08x}", stage.shared.workload.run),
                started_at: stage.started.to_rfc3339(),
                started_unix_ms: stage.started.as_millis(),
                duration_s: seconds(stage.shared.clock.now()),
                seed: scenario.seed,
            },
            scenario: ScenarioRecord {
                name: scenario.name.clone(),
                description: scenario.description.clone(),
                closed_loop: scenario.is_closed(),
                toml: scenario.source.clone(),
                overrides: scenario.overrides.clone(),
                payload_bytes_mean: stage.shared.workload.payloads.mean_length(),
                tenants: scenario.tenant_count(),
                endpoints: scenario.groups.iter().map(|group| group.endpoints).sum(),
            },
            environment: Environment {
                generator_nice: stage.shared.nice(),
                ..stage.environment.clone()
            },
            outcome: Outcome {
                verdict: Verdict::Interrupted,
                exit_code: Verdict::Interrupted.exit_code(),
                invalid: Vec::new(),
                remarks: Vec::new(),
                gates: Vec::new(),
            },
            load: self.load(stage),
            latencies: measure.latencies(),
            phases: self.phases(stage, ends, &measure),
            groups: self.groups(stage),
            fairness: fairness(stage),
            answers: self.answers(),
            retries: stage.shared.retries().record(ends.at),
            account,
            system: ProcessRecord { scheduling_delay_ns: 0, ..self.process(ends, events, &SYSTEM) },
            generator: self.process(ends, events, &GENERATOR),
            little: self.little(stage, &measure),
            aws: None,
            chaos,
            drain: self.drain(stage, &account),
            intervals: self.intervals.clone(),
        }
    }

    fn load(&self, stage: &Stage) -> Load {
        let mut load = Load::default();
        let (mut accepted, mut delivered) = (0_u64, 0_u64);
        for lane in &self.lanes {
            let lane = lock(lane);
            load.asked += lane.asked + lane.abandoned;
            load.sent_in_time += lane.sent_in_time;
            load.held_back += lane.held_back;
            load.in_flight_peak += lane.in_flight_peak;
            accepted += lane.accepted_in_window;
        }
        for sink in &self.sinks {
            delivered += lock(sink).delivered_in_window;
        }
        let length = seconds(stage.scenario.phases.measure);
        load.asked_rate = ratio(load.asked as f64, length);
        load.sent_rate = ratio(load.sent_in_time as f64, length);
        load.accepted_rate = ratio(accepted as f64, length);
        load.delivered_rate = ratio(delivered as f64, length);
        load
    }

    fn phases(&self, stage: &Stage, ends: &Ends, measure: &LatencySet) -> Vec<PhaseRecord> {
        let window = stage.shared.window();
        let since = |moment: Nanos| seconds(moment.saturating_sub(window.start));
        let phase = |name: &str, from: Nanos, to: Nanos, set: &LatencySet| PhaseRecord {
            name: name.to_owned(),
            from_s: since(from),
            to_s: since(to),
            publish: Quantiles::of(&set.publish),
            end_to_end: Quantiles::of(&set.end_to_end),
            lag: Quantiles::of(&set.lag),
            retry_lateness: Quantiles::of(&set.retry_lateness),
        };
        vec![
            phase("warm-up", window.start, window.from, &self.set(stage, 0)),
            phase("measure", window.from, window.to, measure),
            // Every event is due before the drain, so none belongs to it.
            phase("drain", window.to, ends.at.max(window.to), &LatencySet::new()),
        ]
    }

    fn groups(&self, stage: &Stage) -> Vec<GroupRecord> {
        let counts = stage.shared.account().tenants().to_vec();
        let mut tenants = counts.iter();
        let one = |(index, group): (usize, &crate::scenario::Group)| {
            let mut end_to_end = histogram();
            for sink in &self.sinks {
                end_to_end += &lock(sink).groups[index];
            }
            let own = tenants.by_ref().take(group.count as usize);
            let (accepted, delivered) =
                own.fold((0, 0), |sum, count| (sum.0 + count.accepted, sum.1 + count.settled));
            GroupRecord {
                name: group.name.clone(),
                tenants: group.count,
                accepted,
                delivered,
                end_to_end: crate::record::Distribution::of(&end_to_end),
            }
        };
        stage.scenario.groups.iter().enumerate().map(one).collect()
    }

    fn answers(&self) -> Answers {
        fn add<K: Ord + Clone, N: Ord>(
            to: &mut BTreeMap<N, u64>,
            from: &BTreeMap<K, u64>,
            name: impl Fn(&K) -> N,
        ) {
            for (key, count) in from {
                *to.entry(name(key)).or_default() += count;
            }
        }
        let mut answers = Answers::default();
        for lane in &self.lanes {
            let lane = lock(lane);
            add(&mut answers.published, &lane.answers, |status| *status);
            add(&mut answers.cut_off, &lane.cut_off, |&reason| reason.to_owned());
            answers.connect_errors += lane.connect_errors;
            answers.connections += lane.connections;
        }
        for sink in &self.sinks {
            let sink = lock(sink);
            add(&mut answers.delivered, &sink.answers, |status| *status);
            add(&mut answers.withheld, &sink.withheld, |&what| what.to_owned());
            add(&mut answers.faulty, &sink.faulty, |fault| fault.name().to_owned());
            add(&mut answers.attempts, &sink.attempts, |attempt| *attempt);
            answers.sink_connections += sink.connections;
        }
        answers
    }

    fn process(&self, ends: &Ends, events: u64, which: &Which) -> ProcessRecord {
        let begun = (which.of_begun)(&self.begun);
        let used = (which.of_ends)(ends).since(self.measured.as_ref().map_or(begun, which.of_ends));
        let before = self.measured.as_ref().map_or_else(Threads::default, |ends| ends.threads);
        let Threads { waited, times, .. } = ends.threads.since(&before);
        let peak = (which.of_ends)(ends).peak;
        ProcessRecord {
            observed: peak > 0,
            user_ns: used.user,
            system_ns: used.system,
            events,
            user_ns_per_event: ratio(used.user as f64, events as f64),
            system_ns_per_event: ratio(used.system as f64, events as f64),
            memory_peak_bytes: peak,
            scheduling_delay_ns: waited / times.max(1),
            samples: (which.samples)(self).to_vec(),
        }
    }

    /// L = λ·W, each side from other counts: in flight as counted at every change, and what the
    /// histograms hold. Over the same events, so that those at the phase's ends do not matter.
    fn little(&self, stage: &Stage, measure: &LatencySet) -> Little {
        let (mut counted, mut other, mut in_window) = (0.0, 0, 0.0);
        for lane in &self.lanes {
            let lane = lock(lane);
            counted += lane.measured_in_flight_time;
            other += lane.other_in_flight;
            in_window += lane.in_flight_time;
        }
        let length = stage.scenario.phases.measure as f64;
        let count = measure.publish.len();
        let each = (measure.publish.mean() - measure.lag.mean()).max(0.0);
        let spent = if count == 0 { 0.0 } else { count as f64 * each } + other as f64;
        Little {
            in_flight_mean: counted / length,
            rate: count as f64 / (length / 1e9),
            seconds_mean: ratio(spent, count as f64) / 1e9,
            deviation: ratio((counted - spent).abs(), counted.max(spent)),
            unsteadiness: ratio((counted - in_window).abs(), counted.max(in_window)),
            judged: count >= LITTLE_EVENTS_MIN,
        }
    }

    fn drain(&self, stage: &Stage, account: &Totals) -> Drain {
        let Some(LoadEnd { at: load_end, backlog, delivered: before }) = self.load_end else {
            return Drain::default();
        };
        let last = self.sinks.iter().map(|sink| lock(sink).last_delivery).max().unwrap_or(0);
        let since = |at: Nanos| seconds(at.saturating_sub(load_end));
        let delivered = self.sums(stage).delivered - before;
        let is_done = account.accepted == account.delivered;
        // In a run without a backlog the first delivery after the load would be it.
        let nearly = stage.shared.nearly_drained().filter(|_| backlog >= DRAIN_EVENTS_MIN);
        let nearly = nearly.map(since);
        Drain {
            backlog,
            delivered,
            seconds: is_done.then_some(since(last)),
            rate: ratio(delivered as f64, since(last)),
            seconds_to_99: nearly,
            rate_to_99: nearly.map(|nearly| ratio((backlog - backlog / 100) as f64, nearly)),
        }
    }
}

fn phase(now: Nanos, window: &crate::shared::Window) -> &'static str {
    match now {
        now if now <= window.from => "warm-up",
        now if now <= window.to => "measure",
        _ => "drain",
    }
}

fn sample(at_s: f64, used: &Usage) -> ProcessSample {
    let Usage { user, system, resident, .. } = *used;
    ProcessSample { at_s, user_ns: user, system_ns: system, resident_bytes: resident }
}

fn fairness(stage: &Stage) -> Fairness {
    let account = stage.shared.account();
    let counts = account.tenants();
    let mean = |tenant: u32| {
        let count = &counts[tenant as usize];
        ratio(count.latency_sum as f64, count.delivered as f64)
    };
    let tenants = 0..u32::try_from(counts.len()).unwrap_or(u32::MAX);
    let mut seen: Vec<u32> =
        tenants.filter(|&tenant| counts[tenant as usize].delivered > 0).collect();
    let (sum, squares) = seen.iter().fold((0.0, 0.0), |(sum, squares), &tenant| {
        let mean = mean(tenant);
        (sum + mean, mean.mul_add(mean, squares))
    });
    let record = |&tenant: &u32| {
        let count = &counts[tenant as usize];
        let group = usize::from(stage.shared.workload.groups[tenant as usize]);
        TenantRecord {
            tenant,
            group: stage.scenario.groups[group].name.clone(),
            accepted: count.accepted,
            delivered: count.delivered,
            mean_ns: floor(mean(tenant)),
            max_ns: count.latency_max,
        }
    };
    let tenants_seen = u32::try_from(seen.len()).unwrap_or(u32::MAX);
    seen.sort_by(|&a, &b| mean(b).total_cmp(&mean(a)));
    let slowest = seen.iter().take(TENANTS_NAMED).map(record).collect();
    seen.sort_by_key(|&tenant| std::cmp::Reverse(counts[tenant as usize].delivered));
    let busiest = seen.iter().take(TENANTS_NAMED).map(record).collect();
    let jain = ratio(sum * sum, squares * f64::from(tenants_seen));
    Fairness { jain, tenants_seen, slowest, busiest }
}

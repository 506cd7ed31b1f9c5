//! A scenario: what is sent, when, by whom, to what, what goes wrong meanwhile, and what must hold.
//!
//! Written as TOML. Strict: an unknown key is a problem, with the key that was probably meant, and
//! all problems are told at once. Moments are durations from the beginning of the measure phase or
//! percentages of it, so that `--set phases.measure=5s` shortens a whole scenario.
//!
//! Invariant: a [`Scenario`] that exists can be run; nothing in it contradicts anything else.

mod aws;
mod behaviour;
mod catalog;
mod chaos;
mod explain;
mod gates;
mod parts;
mod reader;
mod set;

use std::path::PathBuf;

use toml::Table;

pub use self::aws::{AwsPlan, Ingest, Service, Throttle};
pub use self::behaviour::{Behaviour, Delay, Outage, OutageKind};
pub use self::catalog::{names, resolve};
pub use self::chaos::{ChaosStep, Stop};
pub use self::explain::explain;
pub use self::gates::{Bound, Gate, Metric, RETRIES_EARLY, STATISTICS, Unit};
pub use self::parts::{
    Arrival, Faults, GeneratorPlan, Group, PayloadPlan, Phases, SinkPlan, SystemPlan, Validity,
};
use self::reader::{Notes, Section};
pub use self::reader::{Problem, Problems};
use crate::clock::{Nanos, SECOND};

/// A run, described.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// What it shows, in a sentence.
    pub description: String,
    /// What all chance in it comes from.
    pub seed: u64,
    /// How long each part takes.
    pub phases: Phases,
    /// When events are sent.
    pub arrival: Arrival,
    /// What is sent.
    pub payload: PayloadPlan,
    /// Who sends, and how their receivers behave. Never empty.
    pub groups: Vec<Group>,
    /// How the generator works.
    pub generator: GeneratorPlan,
    /// How the sink works.
    pub sink: SinkPlan,
    /// What is measured, and how it is started.
    pub system: SystemPlan,
    /// The simulated AWS that it works on, where it does.
    pub aws: Option<AwsPlan>,
    /// What is done to it, by time.
    pub chaos: Vec<ChaosStep>,
    /// What its figures must keep to.
    pub gates: Vec<Gate>,
    /// What makes the measurement itself worthless.
    pub validity: Validity,
    /// How often a line is printed and an interval is recorded.
    pub interval: Nanos,
    /// The TOML that holds, overrides included.
    pub source: String,
    /// The overrides of the command line, as they were given.
    pub overrides: Vec<String>,
}

impl Scenario {
    /// Parses `text`; `folder` is what paths in it are relative to.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str, folder: PathBuf, overrides: &[String]) -> Result<Self, Problems> {
        let mut table: Table = text.parse().map_err(|error: toml::de::Error| {
            Problems::one("", format!("not TOML: {}", error.to_string().trim_end()))
        })?;
        let notes = Notes::default();
        for given in overrides {
            set::apply(&mut table, given, &notes);
        }
        let source = toml::to_string(&table).unwrap_or_else(|_| text.to_owned());
        let scenario = Self::read(table, folder, source, &notes);
        notes.finish().map(|()| Self { overrides: overrides.to_vec(), ..scenario })
    }

    /// Reads every key; what is wrong is noted, and a default stands in its place.
    fn read(table: Table, folder: PathBuf, source: String, notes: &Notes) -> Self {
        let mut top = Section::top(table, notes);
        let name = top.text("name", "unnamed");
        let description = top.text("description", "");
        let seed = top.number("seed", 1, 0..=i64::MAX.unsigned_abs());
        let interval = top.duration("interval", SECOND, SECOND / 10..=3600 * SECOND);
        let phases = Phases::read(top.section("phases"));
        let arrival = Arrival::read(top.section("arrival"), &folder);
        let payload = PayloadPlan::read(top.section("payload"), folder);
        let groups = Group::read_all(top.sections("tenants"), &phases, notes);
        let generator = GeneratorPlan::read(top.section("generator"));
        let sink = SinkPlan::read(top.section("sink"));
        let system = SystemPlan::read(top.section("system"));
        let works_on_aws = top.has("aws");
        let aws = AwsPlan::read(top.section("aws"), &phases);
        let aws = works_on_aws.then_some(aws);
        let is_direct = aws.as_ref().is_some_and(|aws| aws.ingest == Ingest::Queue);
        if is_direct && matches!(arrival, Arrival::Closed { .. }) {
            notes
                .add("aws.ingest", "a queue gives no answers to wait for: a closed loop needs api");
        }
        let chaos = chaos::read(top.sections("chaos"), &phases, notes);
        let gates = gates::read(top.section("gates"), &groups);
        let validity = Validity::read(top.section("validity"));
        top.finish();
        Self {
            name,
            description,
            seed,
            phases,
            arrival,
            payload,
            groups,
            generator,
            sink,
            system,
            aws,
            chaos,
            gates,
            validity,
            interval,
            source,
            overrides: Vec::new(),
        }
    }

    /// All tenants of all groups.
    #[must_use]
    pub fn tenant_count(&self) -> u32 {
        self.groups.iter().map(|group| group.count).sum()
    }

    /// How long events are sent for.
    #[must_use]
    pub const fn sending(&self) -> Nanos {
        self.phases.warm_up + self.phases.measure
    }

    /// Whether it waits for answers before it sends.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.arrival, Arrival::Closed { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, sets: &[&str]) -> Result<Scenario, Problems> {
        let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
        Scenario::parse(text, PathBuf::from("."), &sets)
    }

    const SMALL: &str = "name = \"small\"\n[arrival]\nprocess = \"poisson\"\nrate = 100\n";

    #[test]
    fn what_is_left_out_has_a_default() {
        let scenario = parse(SMALL, &[]).unwrap();
        assert_eq!((scenario.groups.len(), scenario.tenant_count()), (1, 1));
        assert!(!scenario.is_closed());
        assert_eq!(scenario.phases.measure, 30 * SECOND);
    }

    #[test]
    fn all_problems_are_told_at_once_with_suggestions() {
        let wrong = "name = \"x\"\nsede = 4\n[phases]\nmesure = \"5s\"\nwarm-up = \"5\"\n\
                     [arrival]\nprocess = \"poison\"\n[[tenants]]\ncount = 0\n\
                     [tenants.sink]\nhang = 1.5\noutages = [{ from = \"50%\", to = \"20%\" }]\n\
                     [gates]\n\"end-to-end.p98\" = { max = \"5ms\" }\npublish.p99 = 5\n";
        let problems = parse(wrong, &["phases.drain=never", "nonsense"]).unwrap_err();
        let told = problems.to_string();
        for (key, part) in [
            ("sede", "seed"),
            ("phases.mesure", "measure"),
            ("phases.warm-up", "duration"),
            ("phases.drain", "duration"),
            ("arrival.process", "poisson"),
            ("tenants.0.count", "from 1"),
            ("tenants.0.sink.hang", "from 0 to 1"),
            ("tenants.0.sink.outages.0", "before"),
            ("gates.end-to-end.p98", "end-to-end.p99"),
            ("nonsense", "KEY=VALUE"),
        ] {
            let found = told.lines().any(|line| line.contains(key) && line.contains(part));
            assert!(found, "{key}: {part} not in\n{told}");
        }
    }

    #[test]
    fn overrides_reach_every_depth() {
        let sets = [
            "phases.measure=5s",
            "arrival.rate=7",
            "tenants.0.count=3",
            "system.settings.retry.delays=1s,2s",
            "gates.end-to-end.p99.max=1s",
        ];
        let text = format!("{SMALL}[[tenants]]\nname = \"a\"\n");
        let scenario = parse(&text, &sets).unwrap();
        assert_eq!(scenario.phases.measure, 5 * SECOND);
        assert_eq!(scenario.tenant_count(), 3);
        assert_eq!(scenario.system.settings["retry.delays"], "1s,2s");
        assert_eq!(scenario.gates[0].metric.name, "end-to-end.p99");
        assert!(scenario.source.contains("rate = 7"), "what holds is recorded");
    }

    #[test]
    fn the_schedule_of_retries_is_that_of_the_settings() {
        let usual = parse(SMALL, &[]).unwrap().system.retries;
        assert_eq!((usual.base_delay_ms(5), usual.attempts_max()), (960_000, 5));
        let sets = [
            "system.settings.retry.delays=500ms, 2m",
            "system.settings.retry.jitter=0.5",
            "system.settings.retry.attempts-max=9",
        ];
        let retries = parse(SMALL, &sets).unwrap().system.retries;
        assert_eq!(retries.delays_ms(), [500, 120_000]);
        assert_eq!((retries.base_delay_ms(7), retries.attempts_max()), (120_000, 9));
        assert!((retries.jitter() - 0.5).abs() < 1e-9);
        for (wrong, told) in [
            ("system.settings.retry.delays=1", "system.settings.retry.delays: durations"),
            ("system.settings.retry.delays=\"\"", "system.settings.retry.delays: durations"),
            ("system.settings.retry.jitter=x", "system.settings.retry.jitter: a fraction"),
            ("system.settings.retry.attempts-max=x", "attempts-max: a number from 1"),
            ("system.settings.retry.attempts-max=0", "system.settings.retry: 0 attempts"),
        ] {
            let problems = parse(SMALL, &[wrong]).unwrap_err().to_string();
            assert!(problems.contains(told), "{wrong}: {problems}");
        }
    }

    #[test]
    fn moments_follow_the_measure_phase() {
        let text = format!("{SMALL}[phases]\nmeasure = \"40s\"\n[[chaos]]\nat = \"25%\"\n");
        let at = |sets: &[&str]| parse(&text, sets).unwrap().chaos[0].at;
        assert_eq!((at(&[]), at(&["phases.measure=4s"])), (10 * SECOND, SECOND));
    }

    /// Every scenario that comes with the program can be run.
    #[test]
    fn the_catalog_is_right() {
        assert!(names().count() >= 19);
        for name in names() {
            let (text, folder) = resolve(name).unwrap();
            let scenario = Scenario::parse(&text, folder, &[]);
            let scenario = scenario.unwrap_or_else(|problems| panic!("{name}:\n{problems}"));
            assert_eq!(scenario.name, name);
            assert!(!scenario.description.is_empty(), "{name} says nothing");
            assert!(explain(&scenario).len() > 200, "{name} is not explained");
        }
    }
}

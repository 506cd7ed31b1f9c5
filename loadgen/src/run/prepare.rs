//! What a run needs before it can begin: a folder, a workload, a sink, a system with tenants.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use posthaste_domain::Timestamp;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

use super::Options;
use super::observe::Observer;
use crate::chance::mix;
use crate::clock::{Clock, calendar};
use crate::cloud::Cloud;
use crate::publish::{self, Settings};
use crate::record::Environment;
use crate::scenario::Scenario;
use crate::schedule::Schedule;
use crate::shared::{Shared, Workload};
use crate::sink::Sink;
use crate::system::{self, System, Tenants};

/// Everything that has been started.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) scenario: Scenario,
    pub(super) shared: Arc<Shared>,
    pub(super) schedule: Schedule,
    pub(super) sink: Sink,
    pub(super) system: System,
    /// What the system works on, where that is AWS.
    pub(super) cloud: Option<Cloud>,
    pub(super) tenants: Tenants,
    pub(super) settings: Settings,
    pub(super) lanes: u32,
    pub(super) folder: PathBuf,
    pub(super) started: Timestamp,
    pub(super) environment: Environment,
    /// Where the system keeps its data; removed when the run is over.
    _data: TempDir,
}

impl Stage {
    /// Sets everything up.
    pub(super) async fn set(options: Options, observer: &mut dyn Observer) -> Result<Self> {
        let scenario = options.scenario;
        let (clock, started) = (Clock::start(), calendar());
        let run = mix(started.as_millis(), u64::from(std::process::id()));
        let workload = Workload::prepare(&scenario, u32::try_from(run >> 32).unwrap_or(0))?;
        let schedule = Schedule::prepare(&scenario.arrival, &scenario.phases, scenario.seed)?;
        let folder = options.out.unwrap_or_else(|| default_folder(&scenario.name, started));
        let made = fs::create_dir_all(&folder);
        made.with_context(|| format!("cannot make {}", folder.display()))?;
        // Beside the results, not in /tmp: that may be memory, where a sync costs nothing.
        let data = tempfile::Builder::new().prefix("data-").tempdir_in(&folder)?;
        let shared = Arc::new(Shared::new(clock, workload, &scenario));
        let threads = |wanted: u32| if wanted == 0 { half_the_processors() } else { wanted };
        let authority = data.path().join("authority.pem");
        let sink = Sink::start(&shared, &scenario, threads(scenario.sink.threads), &authority)?;
        let mut extra = Vec::new();
        if scenario.sink.tls {
            let authority = authority.display().to_string();
            extra.push(("delivery.extra-root-certificates".to_owned(), authority));
        }
        let cloud = match &scenario.aws {
            Some(plan) => Some(Cloud::start(plan, scenario.seed, &shared).await?),
            None => None,
        };
        extra.extend(cloud.iter().flat_map(Cloud::settings));
        let system = System::prepare(
            &scenario.system,
            options.binary.as_deref(),
            [&data.path().join("data"), &folder.join("system.log")],
            &extra,
        )?;
        let mut environment = Environment::observe(system.binary());
        environment.arguments = system.shown_arguments();
        environment.data_filesystem = filesystem(data.path());
        observer.note(&format!("starting {}", system.binary().display()));
        system.start()?;
        system.ready().await?;
        observer.note(&format!("ready; making {} tenant(s)", scenario.tenant_count()));
        let target = |tenant, endpoint| sink.target(tenant, endpoint);
        let tenants = system::create(&system, &scenario, target).await?;
        sink.know(tenants.signing_keys.clone());
        let mail = cloud.as_ref().and_then(Cloud::mail);
        let settings = Settings { mail, ..settings(&scenario, &system, &tenants) };
        let lanes = threads(scenario.generator.threads).min(settings.in_flight_max);
        Ok(Self {
            scenario,
            shared,
            schedule,
            sink,
            system,
            cloud,
            tenants,
            settings,
            lanes,
            folder,
            started,
            environment,
            _data: data,
        })
    }
}

fn settings(scenario: &Scenario, system: &System, tenants: &Tenants) -> Settings {
    let plan = scenario.generator;
    let head = |key: &String| publish::head(system.api, key, plan.keep_alive);
    let in_flight_max = match scenario.arrival {
        crate::scenario::Arrival::Closed { clients } => clients,
        _ => plan.in_flight_max,
    };
    Settings {
        address: system.api,
        heads: Arc::new(tenants.api_keys.iter().map(head).collect()),
        in_flight_max,
        keep_alive: plan.keep_alive,
        answer_timeout: plan.answer_timeout,
        mail: None,
    }
}

/// One thread for two processors: the system under test shares the machine.
fn half_the_processors() -> u32 {
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(count / 2).unwrap_or(1).max(1)
}

/// Under `target` in a checkout, so that nothing has to be ignored or cleaned up by hand.
fn default_folder(name: &str, started: Timestamp) -> PathBuf {
    let stamp = started.to_rfc3339().replace([':', '.'], "-");
    let base = if Path::new("target").is_dir() { "target/loadgen" } else { "loadgen-results" };
    Path::new(base).join(format!("{stamp}-{name}"))
}

/// The type of the file system that a folder lies on.
fn filesystem(folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let holding = mounts.filter(|(at, _)| folder.starts_with(at));
    holding.max_by_key(|(at, _)| at.len()).map(|(_, kind)| kind.to_owned())
}

/// As many open connections as the system lets this process have.
pub(super) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Where it cannot be raised, it is what it is: connections fail and are counted.
    _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

//! A process that changes jobs as fast as it can, buffered, and is killed: nothing that was
//! answered is missing.
//!
//! The child (this binary, one other test) tells what it was answered by one unbuffered write
//! after each answer, and is killed by `SIGKILL` at a random moment of its work; then its directory
//! is opened and compared, and the next child goes on in it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use posthaste_domain::InstanceId;
use posthaste_embedded::{CacheRecovery, Ledger, Settings, SyncMode};
use posthaste_ports::{Job, JobChange, JobStore as _};

use crate::jobs::job;
use crate::support::{Home, OPENED_AT, Witnessed};

const ROUNDS: u64 = 12;
const TASKS: u64 = 4;
/// Deliveries of each task: few, so that most changes are of jobs that were there.
const JOBS: u64 = 60;
/// Names the directory of the process that is to be killed, and the round.
const PLACE: &str = "POSTHASTE_JOB_CRASH_TEST";

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // SIGKILL, and the wait that frees its name.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn open(place: &Path) -> (Ledger, CacheRecovery) {
    let floor = 0;
    let settings = Settings {
        sync: SyncMode::Buffered,
        // Small ones, so that tables are written out and merged all the time.
        memtable_bytes: 1 << 18,
        free_space_floor_bytes: floor,
        ballast_bytes: 0,
        ..Settings::new(place.join("ledger"))
    };
    let instance = InstanceId::try_new("one").expect("not empty");
    let watched = Arc::new(Witnessed::default());
    Ledger::open_or_quarantine(settings, &instance, OPENED_AT, watched).expect("it opens")
}

#[tokio::test]
async fn every_answered_change_outlives_a_kill() {
    let home = Home::in_memory();
    let place = home.data();
    fs::create_dir(&place).unwrap();
    let mut answers = 0;
    for round in 0..ROUNDS {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "job_crash::the_process_to_kill", "--ignored", "--nocapture"]);
        command.env(PLACE, &place).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut process = Killed(command.spawn().unwrap());
        let mut ticks = BufReader::new(process.0.stdout.take().unwrap()).lines();
        for _ in 0..=(round * 5) % 7 {
            let tick = ticks.find(|line| line.as_ref().is_ok_and(|line| line.ends_with("tick")));
            tick.expect("the process lives").unwrap();
        }
        drop(process);
        answers = compare(&place, round).await;
    }
    assert!(answers > 2_000, "{answers} answers");
}

/// Compares what is there with what was told; gives how much was told.
async fn compare(place: &Path, round: u64) -> usize {
    let told = fs::read_to_string(place.join("told")).expect("readable");
    // Of each delivery: the version that was answered last, and those that were asked for after
    // it, one a life that was cut off.
    let mut jobs: BTreeMap<u64, (Option<u64>, Vec<u64>)> = BTreeMap::new();
    let mut answers = 0;
    for line in told.lines() {
        let mut words = line.split(' ');
        let what = words.next().expect("a word");
        let mut number = || words.next().expect("a number").parse::<u64>().expect("a number");
        let (n, version) = (number(), number());
        let entry = jobs.entry(n).or_default();
        match what {
            "asked" => entry.1.push(version),
            _ => {
                *entry = (Some(version), Vec::new());
                answers += 1;
            }
        }
    }
    let (ledger, recovery) = open(place);
    assert_eq!(recovery.quarantined, None, "round {round}: {:?}", recovery.ledger.notes);
    let torn = |note: &String| note.contains("never acknowledged");
    assert!(recovery.ledger.notes.iter().all(torn), "{:?}", recovery.ledger.notes);
    let keys: Vec<_> = jobs.keys().map(|n| job(*n, 0).key).collect();
    let read = ledger.jobs(&keys).await.expect("readable");
    for ((n, (answered, asked)), job) in jobs.iter().zip(read) {
        let lawful: Vec<_> = answered.iter().chain(asked).collect();
        let expected: Vec<_> = lawful.iter().map(|version| at_version(*n, **version)).collect();
        let never_answered = answered.is_none() && job.is_none();
        assert!(
            never_answered || expected.contains(&job),
            "round {round}: job {n} is {job:?}, lawful are versions {lawful:?}"
        );
    }
    assert_eq!(ledger.stats().damaged_rows, 0);
    ledger.close().await;
    answers
}

/// What a delivery's job is at its `version`-th change; none where that removed it.
fn at_version(n: u64, version: u64) -> Option<Job> {
    if version % 5 == 4 {
        return None;
    }
    // Even numbers wait, odd ones are to be sent.
    let mut now = job(2 * n + version % 2, 100 + usize::try_from(n % 50).expect("small") * 20);
    now.key = job(n, 0).key;
    now.epoch = version;
    Some(now)
}

/// Runs until it is killed. Does nothing where nobody is there to kill it.
#[test]
#[ignore = "the process that another test here starts and kills"]
fn the_process_to_kill() {
    let Ok(place) = std::env::var(PLACE).map(PathBuf::from) else { return };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(async {
        let first = fs::read_to_string(place.join("told")).map_or(0, |told| told.lines().count());
        let ledger = open(&place).0;
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..TASKS {
            let told = OpenOptions::new().create(true).append(true).open(place.join("told"));
            tasks.spawn(change(ledger.clone(), told.unwrap(), task, first as u64));
        }
        tasks.join_all().await;
    });
}

/// Changes a task's own deliveries, several at once; `first` is above all versions so far.
async fn change(ledger: Ledger, mut told: File, task: u64, first: u64) {
    let mut tell = |what: &str, changed: &[(u64, u64)]| {
        let lines: String = changed.iter().map(|(n, v)| format!("{what} {n} {v}\n")).collect();
        told.write_all(lines.as_bytes()).expect("written");
    };
    for step in 0_u64.. {
        let version = first + step;
        let changed: Vec<_> =
            (0..=step % 4).map(|i| (task * JOBS + (step * 7 + i) % JOBS, version)).collect();
        let key = |n| job(n, 0).key;
        let change = |(n, version): &(u64, u64)| match at_version(*n, *version) {
            Some(job) => JobChange::Put(Box::new(job)),
            None => JobChange::Remove(key(*n)),
        };
        tell("asked", &changed);
        ledger.apply(changed.iter().map(change).collect()).await.expect("changed");
        tell("answered", &changed);
        if step % 50 == 49 {
            writeln!(std::io::stdout(), "tick").expect("somebody reads");
        }
    }
}

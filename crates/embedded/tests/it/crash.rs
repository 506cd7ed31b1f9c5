//! A process under load, stopped at random moments: what the kernel has of its directory then is
//! what a `kill -9` leaves. Everything that was answered is there, exactly once.
//!
//! ```text
//! this test                              the process that it starts (itself, one other test)
//!  wait for some answers  ◄── stdout ──   many tasks: accept, settle, retry, requeue
//!  SIGSTOP, copy                          each writes "asked" and "answered" to a file, unbuffered
//!  open the copy, compare with the file
//!  SIGCONT
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use posthaste_domain::{
    DeadLetterCause, EndpointId, EventId, EventStatus, Owed, Resolution, TimerPosition, Timestamp,
};
use posthaste_embedded::{Ledger, Settings};
use posthaste_ports::memory::NullSink;
use posthaste_ports::{EventStore as _, Journal as _, ShardSpec};

use crate::support::{Home, Witnessed, create, event, noise, outcome, owed, tenant_id};

const ROUNDS: usize = 30;
const TASKS: u64 = 12;
/// Names the directory of the process that is to be stopped.
const PLACE: &str = "POSTHASTE_CRASH_TEST";

struct Stopped(Child);

impl Stopped {
    fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        let sent = kill.arg(name).arg(self.0.id().to_string()).status().expect("kill");
        assert!(sent.success());
    }

    /// Stops every thread of it.
    fn stop(&self) {
        self.signal("-STOP");
        let tasks = format!("/proc/{}/task", self.0.id());
        let running = || {
            fs::read_dir(&tasks).expect("tasks").flatten().any(|task| {
                let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
                let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
                !state.is_empty() && !state.starts_with(['T', 't', 'Z'])
            })
        };
        while running() {
            std::thread::yield_now();
        }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test]
async fn every_answer_outlives_the_process() {
    let home = Home::in_memory();
    let place = home.data();
    fs::create_dir(&place).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "crash::the_process_under_load", "--ignored", "--nocapture"]);
    command.env(PLACE, &place).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut process = Stopped(command.spawn().unwrap());
    let mut ticks = BufReader::new(process.0.stdout.take().unwrap()).lines();
    let mut seen = 0;
    for round in 0..ROUNDS {
        // A different number of answers in each round; the moment within one is chance.
        for _ in 0..=(round * 7) % 5 {
            let tick = ticks.find(|line| line.as_ref().is_ok_and(|line| line.ends_with("tick")));
            tick.expect("the process lives").unwrap();
        }
        process.stop();
        let copy = Home::in_memory();
        let mut cp = Command::new("cp");
        cp.args(["-a", "--sparse=always"]).arg(place.join("ledger")).arg(copy.data());
        assert!(cp.status().unwrap().success());
        let told = fs::read_to_string(place.join("told")).unwrap();
        seen = compare(&told, settings(&copy.data())).await;
        process.signal("-CONT");
    }
    drop(process);
    let told = fs::read_to_string(place.join("told")).unwrap();
    let at_last = compare(&told, settings(&place.join("ledger"))).await;
    assert!(seen > 500 && at_last > 500, "{seen} and {at_last} answers");
}

fn settings(dir: &Path) -> Settings {
    let floor = 0;
    Settings {
        // Small ones, so that tables are written out and merged all the time.
        memtable_bytes: 1 << 18,
        free_space_floor_bytes: floor,
        ballast_bytes: 0,
        ..Settings::new(dir)
    }
}

/// Compares what a ledger has with what was told of each event; gives how many were certain.
async fn compare(told: &str, settings: Settings) -> usize {
    let mut events: BTreeMap<EventId, Option<&str>> = BTreeMap::new();
    for line in told.lines() {
        let mut words = line.split(' ');
        let (id, state) = (words.next().expect("an id"), words.next().expect("a state"));
        let id = EventId::from_u128(u128::from_str_radix(id, 16).expect("a number"));
        // Asked: from now on it may be one or the other.
        events.insert(id, Some(state).filter(|state| *state != "asked"));
    }
    let opened = Ledger::open(settings, Arc::new(NullSink), Arc::new(Witnessed::default()));
    let (ledger, recovery) = opened.expect("it opens");
    let torn = recovery.notes.iter().filter(|note| note.contains("never acknowledged")).count();
    assert_eq!(torn, recovery.notes.len(), "{:?}", recovery.notes);
    let mut owed_times: BTreeMap<EventId, usize> = BTreeMap::new();
    for id in owed(&ledger).await {
        *owed_times.entry(id).or_default() += 1;
    }
    let certain = events.iter().filter_map(|(id, state)| state.map(|state| (*id, state)));
    let mut count = 0;
    for (id, state) in certain {
        let detail = ledger.event(&tenant_id("acme"), id, Timestamp::ZERO).await.expect("readable");
        let detail = detail.unwrap_or_else(|| panic!("{id} is lost, it was {state}"));
        assert_eq!(detail.summary.status.as_str(), state, "{id}");
        assert_eq!(detail.payload.len(), payload(id.as_u128()).len(), "{id}");
        let is_owed = matches!(detail.summary.status, EventStatus::Pending | EventStatus::Failed);
        let times = owed_times.get(&id).copied().unwrap_or(0);
        assert_eq!(times, usize::from(is_owed), "{id} is {state}, owed {times} times");
        count += 1;
    }
    assert_eq!(ledger.stats().damaged_rows, 0);
    ledger.close().await;
    count
}

fn payload(entropy: u128) -> Vec<u8> {
    let seed = usize::try_from(entropy & 0xFFFF_FFFF).expect("32 bits");
    noise(seed, 500 + seed % 20_000)
}

/// What each task tells of what it asks and what it is answered.
#[derive(Clone)]
struct Told(Arc<Mutex<(File, u64)>>);

impl Told {
    fn tell(&self, id: EventId, state: &str) {
        let mut told = self.0.lock().expect("nobody panicked");
        // One write, so that it is there whole as soon as this returns.
        told.0.write_all(format!("{:x} {state}\n", id.as_u128()).as_bytes()).expect("written");
        if state != "asked" {
            told.1 += 1;
            if told.1.is_multiple_of(100) {
                writeln!(std::io::stdout(), "tick").expect("somebody reads");
            }
        }
    }
}

/// Runs until it is killed. Does nothing where nobody is there to kill it.
#[test]
#[ignore = "the process that another test here starts and kills"]
fn the_process_under_load() {
    let Ok(place) = std::env::var(PLACE).map(PathBuf::from) else { return };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(async {
        let ledger = settings(&place.join("ledger"));
        let opened = Ledger::open(ledger, Arc::new(NullSink), Arc::new(Witnessed::default()));
        let (ledger, _) = opened.unwrap();
        create(&ledger, "acme").await;
        let told = Told(Arc::new(Mutex::new((File::create(place.join("told")).unwrap(), 0))));
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..TASKS {
            let (ledger, told) = (ledger.clone(), told.clone());
            tasks.spawn(async move {
                for n in 0_u64.. {
                    live(&ledger, &told, task * 1_000_000 + n).await;
                }
            });
        }
        tasks.join_all().await;
    });
}

/// One event's life, which depends on its number.
async fn live(ledger: &Ledger, told: &Told, n: u64) {
    let mut new = event(n, "");
    new.payload = payload(new.id.as_u128()).into();
    let id = new.id;
    told.tell(id, "asked");
    ledger.accept(vec![new]).await.expect("accepted");
    told.tell(id, "PENDING");
    // Far away, and sometimes the same again.
    let mut due = Timestamp::from_millis((1 << 40) + 10 * n);
    for step in 0..n % 7 {
        // Some end here, in every state.
        let Some(owed) = held(ledger, id).await else { return };
        let (resolution, state) = match (n / 7 + step) % 4 {
            0 => (Resolution::Delivered, "DELIVERED"),
            1 => (Resolution::DeadLettered { cause: DeadLetterCause::Gone }, "DLQ"),
            _ => {
                due = due.plus_millis(n % 2);
                (Resolution::Retry { due }, "FAILED")
            }
        };
        let mut settlement = outcome(id, resolution);
        settlement.round = owed.round;
        settlement.owed_as = owed.owed_as;
        settlement.attempts = owed.attempts + 1;
        told.tell(id, "asked");
        ledger.settle(vec![settlement]).await.expect("settled");
        told.tell(id, state);
        if state == "DLQ" || (state == "FAILED" && n.is_multiple_of(3)) {
            told.tell(id, "asked");
            ledger.retry(&tenant_id("acme"), id, Timestamp::ZERO).await.expect("requeued");
            told.tell(id, "PENDING");
        }
    }
}

/// How an event is owed.
async fn held(ledger: &Ledger, id: EventId) -> Option<Owed> {
    let tenant = tenant_id("acme");
    let fresh = ledger.backlog(&tenant, EndpointId::DEFAULT, id, 1).await.expect("readable").owed;
    if let Some(fresh) = fresh.into_iter().find(|owed| owed.key.event == id) {
        return Some(fresh);
    }
    let detail = ledger.event(&tenant, id, Timestamp::ZERO).await.expect("readable")?;
    let from = TimerPosition { due: detail.next_attempt_at?, key: None };
    let shard = ShardSpec { index: 0, count: 1 };
    let until = from.due;
    let page = ledger.timers(shard, from, until, usize::MAX).await.expect("readable");
    page.owed.into_iter().find(|owed| owed.key.event == id)
}

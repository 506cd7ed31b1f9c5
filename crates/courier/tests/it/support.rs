//! A courier, its stores, and a hand in place of the engine.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use posthaste_courier::{Clock, Courier, Disk, Ports, Settings};
use posthaste_domain::{
    Attempt, DeliveryKey, EndpointId, ErrorClass, EventId, InstanceId, Owed, OwedAs, PhaseTimings,
    Resolution, Row, RowKey, Settlement, TenantId, Timestamp, Verdict,
};
use posthaste_ports::memory::{
    Fault, Faults, MemoryJobs, MemoryQueue, MemoryRows, MemoryStore, Operation, RecordingSink,
};
use posthaste_ports::{Arrival, Journal as _, Outgoing, Queue as _, Rows as _, Settled, Written};
use posthaste_protocol::{EventMessage, Owner, VISIBILITY_MS, outcome_write};
use tokio::sync::watch;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep};

pub(crate) const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// Virtual time as the courier tells it, and how far off the table's and the wall's are.
#[derive(Clone)]
struct Time {
    began: Instant,
    table_off_ms: Arc<Mutex<Option<i64>>>,
    wall_off_ms: Arc<AtomicI64>,
}

impl Clock for Time {
    fn now(&self) -> Timestamp {
        START.plus(self.began.elapsed())
    }

    fn wall(&self) -> Timestamp {
        let off_ms = self.wall_off_ms.load(Ordering::Relaxed);
        Timestamp::from_millis(self.now().as_millis().saturating_add_signed(off_ms))
    }

    fn table(&self) -> Option<Timestamp> {
        let now_ms = self.now().as_millis();
        let off_ms = *self.table_off_ms.lock().unwrap();
        off_ms.map(|off_ms| Timestamp::from_millis(now_ms.saturating_add_signed(off_ms)))
    }
}

/// Breaks what it is told to break.
#[derive(Debug, Default)]
pub(crate) struct Breakage {
    broken: Mutex<Vec<Operation>>,
    slow: Mutex<Option<(Operation, u64)>>,
    /// Calls of what is slow, since it is.
    calls: AtomicU64,
}

impl Breakage {
    /// From now on these calls take so long until they are done, and are counted.
    pub(crate) fn slow_down(&self, operation: Operation, by_ms: u64) {
        *self.slow.lock().unwrap() = Some((operation, by_ms));
        self.calls.store(0, Ordering::Relaxed);
    }

    /// Calls of what was slowed down, under way or done.
    pub(crate) fn slow_calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, broken: &[Operation]) {
        *self.broken.lock().unwrap() = broken.to_vec();
    }
}

impl Faults for Breakage {
    fn fault(&self, operation: Operation) -> Fault {
        if self.broken.lock().unwrap().contains(&operation) { Fault::Before } else { Fault::None }
    }

    fn delay_ms(&self, operation: Operation) -> u64 {
        match *self.slow.lock().unwrap() {
            Some((slow, by_ms)) if slow == operation => {
                self.calls.fetch_add(1, Ordering::Relaxed);
                by_ms
            }
            _ => 0,
        }
    }
}

/// Everything around one courier.
pub(crate) struct Bench {
    pub(crate) rows: MemoryRows,
    pub(crate) queue: MemoryQueue,
    pub(crate) dead: MemoryQueue,
    pub(crate) jobs: MemoryJobs,
    pub(crate) broken: Arc<Breakage>,
    pub(crate) courier: Arc<Courier>,
    arrivals: Arc<RecordingSink>,
    parts: JoinSet<()>,
    stop: watch::Sender<bool>,
    posted: AtomicU64,
    time: Time,
}

impl Bench {
    /// A courier at work.
    pub(crate) async fn start() -> Self {
        let table_off_ms = Arc::new(Mutex::new(Some(0)));
        let wall_off_ms = Arc::default();
        let time = Time { began: Instant::now(), table_off_ms, wall_off_ms };
        let told = time.clone();
        let clock: Arc<dyn Fn() -> Timestamp + Send + Sync> = Arc::new(move || told.now());
        let broken = Arc::new(Breakage::default());
        let rows = MemoryRows::with_faults(Arc::clone(&clock), broken.clone());
        let queue = MemoryQueue::with_faults(Arc::clone(&clock), VISIBILITY_MS, broken.clone());
        let dead = MemoryQueue::new(clock, VISIBILITY_MS);
        let (jobs, arrivals) = (MemoryJobs::default(), Arc::new(RecordingSink::default()));
        let ports = Ports {
            rows: Arc::new(rows.clone()),
            queue: Arc::new(queue.clone()),
            dead: Arc::new(dead.clone()),
            jobs: Arc::new(jobs.clone()),
            tenants: Arc::new(MemoryStore::default()),
            arrivals: arrivals.clone(),
            clock: Arc::new(time.clone()),
        };
        let instance = InstanceId::try_new("one").unwrap();
        let courier = Arc::new(Courier::new(Settings::new(instance), ports));
        courier.start(Disk::Own).await.unwrap();
        let (stop, stopped) = watch::channel(false);
        let parts = courier.parts(&stopped).into_iter().collect();
        let posted = AtomicU64::new(0);
        Self { rows, queue, dead, jobs, broken, courier, arrivals, parts, stop, posted, time }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.time.now()
    }

    /// The table's clock shows so much more than the courier's, or has not been heard of.
    pub(crate) fn table_is_ahead(&self, by_ms: Option<i64>) {
        *self.time.table_off_ms.lock().unwrap() = by_ms;
    }

    /// The wall clock shows so much more than the courier's.
    pub(crate) fn wall_is_ahead(&self, by_ms: i64) {
        self.time.wall_off_ms.store(by_ms, Ordering::Relaxed);
    }

    /// An accepted event without a message.
    pub(crate) fn new_row(&self) -> RowKey {
        let number = self.posted.fetch_add(1, Ordering::Relaxed);
        let tenant = TenantId::try_new("acme").unwrap();
        let key = RowKey { tenant, event: EventId::from_parts(START, u128::from(number)) };
        assert!(self.rows.insert(key.clone(), Bytes::from_static(b"{}")));
        key
    }

    /// Accepts an event: its row and its message.
    pub(crate) async fn post(&self) -> RowKey {
        let key = self.new_row();
        self.send(&message(&key, 0, Some("{}"))).await;
        key
    }

    /// An event whose first attempt failed at another instance, which has its retry.
    pub(crate) async fn failed_elsewhere(&self) -> RowKey {
        let key = self.new_row();
        let owed = Owed {
            key: delivery(&key),
            round: 0,
            attempts: 0,
            interrupted: 0,
            owed_as: OwedAs::Fresh,
            payload: None,
        };
        let due = self.now().plus_millis(1_000);
        let settlement = self.settlement(&owed, Resolution::Retry { due });
        let other = InstanceId::try_new("two").unwrap();
        let owner = Owner { instance: &other, epoch: 0 };
        let write = outcome_write(&settlement, owner, (self.now(), 0));
        assert_eq!(self.rows.write(vec![write]).await, [Ok(Written::Done)]);
        key
    }

    pub(crate) async fn send(&self, message: &EventMessage) {
        self.send_body(message.body()).await;
    }

    pub(crate) async fn send_body(&self, body: Bytes) {
        let sent = self.queue.send(vec![Outgoing { body, group: "acme".into() }]).await;
        assert_eq!(sent, [Ok(())]);
    }

    /// What the engine would be told, as soon as there is something.
    pub(crate) async fn arrived(&self) -> Owed {
        let mut arrivals = self.settle_down(|| self.arrivals.take(), |it| !it.is_empty()).await;
        assert_eq!(arrivals.len(), 1, "{arrivals:?}");
        let Arrival { owed, .. } = arrivals.remove(0);
        owed
    }

    pub(crate) fn no_arrivals(&self) -> bool {
        self.arrivals.take().is_empty()
    }

    /// Waits until something is so; virtual time makes it cheap to look.
    pub(crate) async fn until(&self, what: impl Fn(&Self) -> bool) {
        self.settle_down(|| what(self), |it| *it).await;
    }

    async fn settle_down<T>(&self, look: impl Fn() -> T, is_so: impl Fn(&T) -> bool) -> T {
        let end = Instant::now() + Duration::from_secs(3_600);
        loop {
            let seen = look();
            if is_so(&seen) {
                return seen;
            }
            assert!(Instant::now() < end, "not within an hour: {:?}", self.courier.stats());
            sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn row(&self, key: &RowKey) -> Row {
        self.rows.row(key).unwrap()
    }

    /// Settles an attempt as the engine does.
    pub(crate) async fn settle(&self, owed: &Owed, resolution: Resolution) -> Settled {
        let settled = self.courier.settle(vec![self.settlement(owed, resolution)]).await;
        settled.unwrap()[0]
    }

    pub(crate) fn settlement(&self, owed: &Owed, resolution: Resolution) -> Settlement {
        let is_delivered = matches!(resolution, Resolution::Delivered);
        let failed = Verdict::Failed { class: ErrorClass::ServerError, retry_after_ms: None };
        let attempt = Attempt {
            number: owed.attempts + 1,
            at: self.now(),
            duration_ms: 1,
            status_code: None,
            verdict: if is_delivered { Verdict::Delivered } else { failed },
            error: None,
            response: Bytes::new(),
            phases: PhaseTimings::default(),
        };
        Settlement {
            key: owed.key.clone(),
            round: owed.round,
            attempts: owed.attempts + 1,
            owed_as: owed.owed_as,
            interrupted: owed.interrupted,
            at: self.now(),
            attempt: Some(attempt),
            resolution,
        }
    }

    /// The retry that a failure made, as the engine goes on with it.
    pub(crate) fn retry(owed: Owed, due: Timestamp) -> Owed {
        Owed { attempts: owed.attempts + 1, owed_as: OwedAs::Timer(due), ..owed }
    }

    /// Stops it as a daemon does, its parts running to the end.
    pub(crate) async fn stop(&mut self) -> bool {
        self.stop.send_replace(true);
        let is_written = self.courier.finish(1_000).await;
        self.parts.shutdown().await;
        yield_now().await;
        is_written
    }
}

pub(crate) fn message(key: &RowKey, round: u32, payload: Option<&'static str>) -> EventMessage {
    EventMessage {
        key: key.clone(),
        round: Some(round),
        payload: payload.map(|text| Bytes::from_static(text.as_bytes())),
        created_at: None,
        again: false,
    }
}

pub(crate) fn delivery(key: &RowKey) -> DeliveryKey {
    DeliveryKey { tenant: key.tenant.clone(), event: key.event, endpoint: EndpointId::DEFAULT }
}

//! From the queue to the engine (PROTOCOL 4 to 6).

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use posthaste_domain::{DeliveryKey, Owed, OwedAs, Row, RowKey, RowWrite, Timestamp};
use posthaste_ports::{
    Arrival, Job, JobChange, JobState, Message, Outgoing, PortError, QUEUE_BATCH_MAX, Receipt,
    StoredEvent, Written,
};
use posthaste_protocol::{
    AfterRead, Answer, Arriving, EventMessage, Local, OnReceive, Taken, after_claim, after_read,
    on_receive, quarantine_body,
};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::warn;

use crate::courier::{Courier, delivery_key, job_payload};
use crate::dying::Dead;
use crate::health::Part;
use crate::held::Held;
use crate::pause::Pause;
use crate::start::is_stopped;

/// How often whoever waits for room looks whether the disk has some again.
const DISK_LOOK: Duration = Duration::from_secs(1);

/// A message that could be read.
struct Readable {
    message: Message,
    event: EventMessage,
    key: DeliveryKey,
    arriving: Arriving,
    /// Until when nobody else receives it.
    hidden_until: Timestamp,
}

/// What came of claims.
#[derive(Debug, Default)]
pub(crate) struct TakenOver {
    /// For each, in order: whether its row is in somebody's care now, so that a message of it may
    /// go.
    pub(crate) safe: Vec<bool>,
    /// How many are this instance's now.
    pub(crate) adopted: usize,
}

/// A row to be claimed, as it was seen, and the write that claims it.
pub(crate) struct Claim {
    pub(crate) key: RowKey,
    pub(crate) seen: Row,
    pub(crate) payload: Option<Bytes>,
    pub(crate) write: RowWrite,
}

impl Courier {
    /// Receives messages as long as there is room and nobody says stop; several of these run side
    /// by side, numbered from nought, as many as there is work for.
    pub(crate) async fn receive(&self, index: usize, mut stop: watch::Receiver<bool>) {
        // There may be one poll only: it must not sleep for long once the queue works again.
        let mut pause = Pause::new(100, 2_000);
        while !is_stopped(&stop) {
            tokio::select! {
                biased;
                _ = stop.changed() => continue,
                () = self.polls.turn(index) => {}
            }
            self.counters.intake_rounds.add(1);
            if !self.has_room() {
                tokio::select! {
                    biased;
                    _ = stop.changed() => {}
                    () = self.wait_for_room() => {}
                }
                continue;
            }
            // After a failure one that answers at once: whether the queue works again must not be
            // known only when the next message comes.
            let wait_ms = if pause.is_failing() { 0 } else { self.settings.poll_wait_ms };
            let going = self.polls.begin();
            let polled = self.poll(wait_ms, &stop).await;
            drop(going);
            match polled {
                Ok(()) => pause.worked(),
                Err(_) => pause.failed(&self.chance).await,
            }
        }
    }

    /// One poll, to its end whoever says stop: the queue would give what comes next to one that
    /// was abandoned, and nobody would see that until its time-out. [`Courier::finish`] waits.
    async fn poll(&self, wait_ms: u64, stop: &watch::Receiver<bool>) -> Result<(), PortError> {
        let before = self.now();
        self.counters.polls.add(1);
        let polled = self.ports.queue.receive(QUEUE_BATCH_MAX, wait_ms).await;
        self.health.note(Part::Receiving, &polled);
        let messages = polled?;
        self.polls.brought(messages.len());
        if is_stopped(stop) {
            return self.give_back(messages).await;
        }
        self.take(messages, before).await
    }

    /// Shows messages to others, but for those of deliveries that are known here: whoever received
    /// one would attempt what has its outcome, which may not be in the row yet.
    async fn give_back(&self, messages: Vec<Message>) -> Result<(), PortError> {
        let (mut receipts, mut keys, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        for message in messages {
            if let Ok(event) = EventMessage::parse(&message.body) {
                keys.push(delivery_key(&event.key));
                theirs.push(message.receipt);
            } else {
                receipts.push(message.receipt);
            }
        }
        let jobs = self.ports.jobs.jobs(&keys).await?;
        for ((key, receipt), job) in keys.into_iter().zip(theirs).zip(jobs) {
            if matches!(self.local(&key, job.as_ref()), Local::Unknown) {
                receipts.push(receipt);
            }
        }
        if !receipts.is_empty() {
            // Otherwise they come again by themselves, only later.
            drop(self.ports.queue.hide(receipts, 0).await);
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        if self.ports.jobs.is_full() {
            return false;
        }
        let held = self.held();
        held.len() < self.settings.held_max && held.payload_bytes() < self.settings.held_bytes_max
    }

    async fn wait_for_room(&self) {
        let rung = self.room.notified();
        tokio::pin!(rung);
        // Enrolled before the last look, so that no ring is missed.
        rung.as_mut().enable();
        if !self.has_room() {
            // A disk that has room again rings nobody, so that it is looked at now and then.
            drop(timeout(DISK_LOOK, rung).await);
        }
    }

    /// Takes messages in. An error leaves some of them to be received again.
    async fn take(&self, messages: Vec<Message>, before: Timestamp) -> Result<(), PortError> {
        if messages.is_empty() {
            return Ok(());
        }
        self.counters.received.add(messages.len());
        // Hidden since some moment of the call; only its beginning is known to be no later.
        let hidden_until = before.plus_millis(self.settings.visibility_ms);
        let mut readable = Vec::with_capacity(messages.len());
        let mut strays = Vec::new();
        let mut seen = BTreeSet::new();
        for message in messages {
            match EventMessage::parse(&message.body) {
                Ok(event) if seen.insert(event.key.clone()) => {
                    readable.push(Readable::new(message, event, hidden_until));
                }
                // A copy in the same answer: it comes again when the first one has been judged.
                Ok(_) => self.counters.left_alone.add(1),
                Err(error) => strays.push((message, error.to_string())),
            }
        }
        self.quarantine(strays).await;
        let keys: Vec<DeliveryKey> = readable.iter().map(|it| it.key.clone()).collect();
        let jobs = self.ports.jobs.jobs(&keys).await?;
        let (mut fresh, mut unsure) = (Vec::new(), Vec::new());
        for (it, job) in readable.into_iter().zip(jobs) {
            let local = self.local(&it.key, job.as_ref());
            match on_receive(&it.arriving, local) {
                OnReceive::Deliver => fresh.push((it, cut_off(job.as_ref()))),
                OnReceive::ReadRow => unsure.push((it, cut_off(job.as_ref()))),
                OnReceive::Delete => {
                    self.counters.copies_deleted.add(1);
                    self.release([it.message.receipt]);
                }
                OnReceive::Leave => self.counters.left_alone.add(1),
                OnReceive::Renew => {
                    self.counters.copies_renewed.add(1);
                    self.held().renew(&it.key, it.message.receipt, it.hidden_until);
                }
            }
        }
        self.admit(fresh).await;
        self.look(unsure).await
    }

    /// Hands deliveries to the engine, by right of their message.
    async fn admit(&self, fresh: Vec<(Readable, u8)>) {
        let (mut known, mut put_off) = (Vec::with_capacity(fresh.len()), Vec::new());
        for (it, interrupted) in fresh {
            match self.shard_key(&it.key.tenant).await {
                Ok(shard_key) => known.push((it, interrupted, shard_key)),
                Err(_) => put_off.push(it.message.receipt),
            }
        }
        self.take_in(known, &mut put_off);
        self.put_off(put_off).await;
    }

    /// Holds deliveries and tells their shards, in one step: a shard may come upon what is held by
    /// itself, and once it has settled it, it would take an arrival for something new.
    fn take_in(&self, known: Vec<(Readable, u8, u32)>, put_off: &mut Vec<Receipt>) {
        let mut arrivals = Vec::with_capacity(known.len());
        let mut table = self.held();
        for (it, interrupted, shard_key) in known {
            if table.of_tenant(&it.key.tenant) >= self.settings.held_per_tenant_max {
                put_off.push(it.message.receipt);
                continue;
            }
            // Another poll may have brought a copy meanwhile.
            if table.get(&it.key).is_some() {
                self.counters.left_alone.add(1);
                continue;
            }
            let held = Held {
                receipt: it.message.receipt,
                round: it.event.round.unwrap_or(0),
                shard_key,
                interrupted,
                payload: it.event.payload,
                hidden_until: it.hidden_until,
                attempted_until: Timestamp::ZERO,
                is_settling: false,
            };
            let owed = held.owed(it.key.clone());
            table.insert(it.key, held);
            arrivals.push(Arrival { shard_key, owed });
        }
        self.counters.taken.add(arrivals.len());
        if !arrivals.is_empty() {
            self.ports.arrivals.arrived(arrivals);
        }
    }

    /// One tenant has its share of what can be held, or cannot be read for now: the rest comes
    /// again a little later, and leaves room for the others meanwhile.
    async fn put_off(&self, receipts: Vec<Receipt>) {
        if receipts.is_empty() {
            return;
        }
        self.counters.put_off.add(receipts.len());
        // Where that fails, it comes again after the whole time-out.
        drop(self.ports.queue.hide(receipts, self.settings.put_off_ms).await);
    }

    /// Reads the rows of messages that do not say enough, and does what the rows say.
    async fn look(&self, unsure: Vec<(Readable, u8)>) -> Result<(), PortError> {
        if unsure.is_empty() {
            return Ok(());
        }
        let keys: Vec<RowKey> = unsure.iter().map(|(it, _)| it.event.key.clone()).collect();
        self.counters.rows_read.add(keys.len());
        let rows = self.ports.rows.read_each(&keys).await?;
        let (mut fresh, mut claims, mut strays) = (Vec::new(), Vec::new(), Vec::new());
        let now = self.claim_now();
        for ((mut it, cut_off), stored) in unsure.into_iter().zip(rows) {
            let stored = match stored {
                Ok(stored) => stored,
                Err(error) => {
                    self.report_unreadable(&it.event.key, &error);
                    strays.push((it.message, error.to_string()));
                    continue;
                }
            };
            let row = stored.as_ref().map(|stored| &stored.row);
            let me = &self.settings.instance;
            match after_read(&it.arriving, &it.event.key, row, me, now) {
                AfterRead::Deliver { round, interrupted } => {
                    it.event.round = Some(round);
                    it.event.payload =
                        it.event.payload.or_else(|| stored.and_then(|stored| stored.payload));
                    fresh.push((it, interrupted.max(cut_off)));
                }
                AfterRead::Claim(write) => {
                    let StoredEvent { row: seen, payload } = stored.unwrap_or_default();
                    let claim = Claim { key: it.event.key, seen, payload, write };
                    claims.push((claim, it.message.receipt));
                }
                AfterRead::Delete => {
                    self.counters.copies_deleted.add(1);
                    self.release([it.message.receipt]);
                }
                AfterRead::Stray => {
                    strays.push((it.message, "no such event".to_owned()));
                }
                AfterRead::Leave => self.counters.left_alone.add(1),
            }
        }
        self.quarantine(strays).await;
        self.admit(fresh).await;
        let (claims, receipts): (Vec<Claim>, Vec<Receipt>) = claims.into_iter().unzip();
        let taken = self.take_over(claims).await;
        for (is_safe, receipt) in taken.safe.into_iter().zip(receipts) {
            if is_safe {
                self.release([receipt]);
            }
        }
        Ok(())
    }

    /// Claims rows and hands what is theirs to the engine.
    pub(crate) async fn take_over(&self, claims: Vec<Claim>) -> TakenOver {
        if claims.is_empty() {
            return TakenOver::default();
        }
        let answers =
            self.ports.rows.write(claims.iter().map(|claim| claim.write.clone()).collect()).await;
        debug_assert_eq!(answers.len(), claims.len());
        let (mut safe, mut jobs) = (Vec::with_capacity(claims.len()), Vec::new());
        for (claim, answer) in claims.into_iter().zip(answers) {
            let answer = match &answer {
                Ok(Written::Done) => Answer::Done,
                Ok(Written::Refused(row)) => Answer::Refused(row.as_ref()),
                Err(error) => {
                    // Done or not: the message comes again, or the lease ends.
                    self.health.failed(Part::Writing, error);
                    safe.push(false);
                    continue;
                }
            };
            let taken = after_claim(&claim.write, &claim.seen, answer);
            safe.push(match taken {
                Taken::Dropped(why) => why.deletes_message(),
                Taken::Attempt { .. } | Taken::Die { .. } => true,
            });
            jobs.extend(self.claimed_job(claim, taken).await);
        }
        let adopted = self.adopt(jobs).await;
        TakenOver { safe, adopted }
    }

    async fn claimed_job(&self, claim: Claim, taken: Taken) -> Option<Job> {
        let (epoch, lease_until, interrupted, state) = match taken {
            Taken::Attempt { epoch, until, due, attempts, interrupted } => {
                (epoch, until, interrupted, JobState::Waiting { due, attempts })
            }
            Taken::Die { epoch, until, cause, attempts } => {
                (epoch, until, 0, JobState::Dying { cause, attempts, error: None })
            }
            Taken::Dropped(_) => return None,
        };
        let payload = match state {
            JobState::Waiting { .. } => job_payload(claim.payload),
            _ => None,
        };
        // Any shard will do: it finds the job by its own timers, and no other one does.
        let shard_key = self.shard_key(&claim.key.tenant).await.unwrap_or(0);
        let (key, round) = (delivery_key(&claim.key), claim.write.round);
        Some(Job { key, round, shard_key, interrupted, epoch, lease_until, state, payload })
    }

    /// Takes jobs upon itself, and tells whose business they are; says how many.
    async fn adopt(&self, jobs: Vec<Job>) -> usize {
        let adopted = jobs.len();
        if jobs.is_empty() {
            return 0;
        }
        let puts = jobs.iter().map(|job| JobChange::Put(Box::new(job.clone()))).collect();
        if let Err(error) = self.ports.jobs.apply(puts).await {
            warn!(%error, "cannot keep what was taken over, left to the next sweep");
            return 0;
        }
        self.counters.claimed.add(adopted);
        self.remember_taken_over(&jobs);
        let (waiting, dying): (Vec<Job>, Vec<Job>) =
            jobs.into_iter().partition(|job| matches!(job.state, JobState::Waiting { .. }));
        self.dying.push(dying.into_iter().filter_map(Dead::new));
        self.announce(waiting);
        adopted
    }

    /// Tells the shards of jobs that wait; what they know already they pass over.
    pub(crate) fn announce(&self, waiting: Vec<Job>) {
        let mut arrivals = Vec::with_capacity(waiting.len());
        for job in waiting {
            let JobState::Waiting { due, attempts } = job.state else { continue };
            let Job { key, round, shard_key, interrupted, payload, .. } = job;
            let owed_as = OwedAs::Timer(due);
            let owed = Owed { key, round, attempts, interrupted, owed_as, payload };
            arrivals.push(Arrival { shard_key, owed });
        }
        if !arrivals.is_empty() {
            self.ports.arrivals.arrived(arrivals);
        }
    }

    /// Puts messages that can never be delivered into the DLQ, then deletes them.
    async fn quarantine(&self, strays: Vec<(Message, String)>) {
        if strays.is_empty() {
            return;
        }
        for (message, cause) in &strays {
            let receives = message.receives;
            warn!(%cause, receives, "a message that cannot be delivered goes to the DLQ");
        }
        let outgoing = |(message, cause): &(Message, String)| Outgoing {
            body: quarantine_body(cause, &message.body),
            group: "quarantine".into(),
        };
        let results = self.ports.dead.send(strays.iter().map(outgoing).collect()).await;
        debug_assert_eq!(results.len(), strays.len());
        for ((message, _), result) in strays.into_iter().zip(results) {
            self.health.note(Part::DeadLettering, &result);
            // Otherwise it comes again.
            if result.is_ok() {
                self.counters.quarantined.add(1);
                self.release([message.receipt]);
            }
        }
    }
}

impl Readable {
    fn new(message: Message, event: EventMessage, hidden_until: Timestamp) -> Self {
        let key = delivery_key(&event.key);
        let arriving = Arriving {
            round: event.round,
            has_payload: event.payload.is_some(),
            again: event.again,
            receives: message.receives,
        };
        Self { message, event, key, arriving, hidden_until }
    }
}

/// How often crashes cut off a delivery that only the queue holds.
fn cut_off(job: Option<&Job>) -> u8 {
    job.filter(|job| matches!(job.state, JobState::CutOff { .. })).map_or(0, |job| job.interrupted)
}

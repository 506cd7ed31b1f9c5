//! The suite of the ports over the real adapters.
//!
//! What the suite asks of a journal is written through the rows (`journal`), what it asks of a
//! sink is heard from the queue, by an intake that does what a daemon's does with a message that
//! it knows (PROTOCOL 5). Facts about the journal alone are facts about this test's journal, and
//! left out. All others hold.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use posthaste_aws::{DynamoDeadLetters, DynamoEvents, DynamoRows, DynamoTenants};
use posthaste_domain::{
    DeliveryKey, EndpointId, EventId, Owed, OwedAs, RowKey, TenantId, Timestamp,
};
use posthaste_ports::contract::{Lives, Stores, Subject, facts, holds};
use posthaste_ports::memory::MemoryQueue;
use posthaste_ports::{
    Acceptance, Arrival, ArrivalSink, DeadLetter, DeadLetters, EventDetail, EventPage, EventStore,
    ListQuery, NewEvent, PortError, Queue as _, Requeued, Retried, Scope, TenantStore as _,
};
use posthaste_protocol::EventMessage;

use crate::harness::{self, Dynamo, queue, shared};
use crate::journal::{RowsJournal, TtlExpiry};

/// Random histories of each of the four facts that play them: each takes one to two seconds here.
const HISTORIES: u64 = 12;

/// The stores of one client, with an intake behind the queue.
struct Store {
    events: DynamoEvents,
    dead_letters: DynamoDeadLetters,
    intake: Intake,
}

/// A round of an event, as messages name it.
type Round = (RowKey, Option<u32>);

/// Takes what the queue holds, and tells the sink of what it did not know.
#[derive(Clone)]
struct Intake {
    queue: MemoryQueue,
    tenants: DynamoTenants,
    sink: Arc<dyn ArrivalSink>,
    known: Arc<Mutex<BTreeSet<Round>>>,
}

impl Intake {
    async fn drain(&self) -> Result<(), PortError> {
        loop {
            let received = self.queue.receive(10, 0).await?;
            if received.is_empty() {
                return Ok(());
            }
            let mut arrivals = Vec::new();
            for message in &received {
                let message = EventMessage::parse(&message.body).expect("our own message");
                let known = (message.key.clone(), message.round);
                if self.known.lock().unwrap().insert(known) {
                    arrivals.push(self.arrival(message).await?);
                }
            }
            self.queue.delete(received.into_iter().map(|message| message.receipt).collect()).await;
            self.sink.arrived(arrivals);
        }
    }

    async fn arrival(&self, message: EventMessage) -> Result<Arrival, PortError> {
        let RowKey { tenant, event } = message.key;
        let record = self.tenants.tenant(&tenant).await?.expect("its event was accepted");
        let key = DeliveryKey { tenant, event, endpoint: EndpointId::DEFAULT };
        let owed = Owed {
            key,
            round: message.round.expect("our messages say the round"),
            attempts: 0,
            interrupted: 0,
            owed_as: OwedAs::Fresh,
            payload: message.payload,
        };
        Ok(Arrival { shard_key: record.shard_key, owed })
    }
}

#[async_trait]
impl EventStore for Store {
    async fn accept(&self, events: Vec<NewEvent>) -> Result<Vec<Acceptance>, PortError> {
        let answers = self.events.accept(events).await;
        self.intake.drain().await?;
        answers
    }

    async fn event(
        &self,
        tenant: &TenantId,
        id: EventId,
        now: Timestamp,
    ) -> Result<Option<EventDetail>, PortError> {
        self.events.event(tenant, id, now).await
    }

    async fn list(&self, tenant: &TenantId, query: ListQuery) -> Result<EventPage, PortError> {
        self.events.list(tenant, query).await
    }

    async fn retry(
        &self,
        tenant: &TenantId,
        id: EventId,
        at: Timestamp,
    ) -> Result<Retried, PortError> {
        let answer = self.events.retry(tenant, id, at).await;
        self.intake.drain().await?;
        answer
    }
}

#[async_trait]
impl DeadLetters for Store {
    async fn list(&self, scope: &Scope, limit: usize) -> Result<Vec<DeadLetter>, PortError> {
        self.dead_letters.list(scope, limit).await
    }

    async fn requeue(
        &self,
        scope: &Scope,
        batch: usize,
        max: usize,
        at: Timestamp,
    ) -> Result<Requeued, PortError> {
        let done = self.dead_letters.requeue(scope, batch, max, at).await;
        self.intake.drain().await?;
        done
    }

    async fn purge(&self, scope: &Scope, at: Timestamp) -> Result<u64, PortError> {
        self.dead_letters.purge(scope, at).await
    }
}

/// A DynamoDB that is started when it is opened.
struct Aws;

#[async_trait]
impl Subject for Aws {
    async fn open(&mut self, sink: Arc<dyn ArrivalSink>) -> Stores {
        let dynamo = Arc::new(Dynamo::start().await);
        let queue = queue();
        let client = dynamo.client().await;
        let harness::Stores { tenants, events, dead_letters, rows } =
            harness::Stores::new(&client, &shared(&queue));
        let known = Arc::default();
        let intake = Intake { queue, tenants: tenants.clone(), sink, known };
        let store = Arc::new(Store { events, dead_letters, intake });
        Stores {
            tenants: Arc::new(tenants.clone()),
            events: Arc::clone(&store) as _,
            dead_letters: store,
            journal: journal(&dynamo, &rows, &tenants),
            expiry: Arc::new(TtlExpiry { dynamo, rows }),
        }
    }

    fn histories(&self) -> u64 {
        HISTORIES
    }
}

fn journal(dynamo: &Arc<Dynamo>, rows: &DynamoRows, tenants: &DynamoTenants) -> Arc<RowsJournal> {
    Arc::new(RowsJournal {
        dynamo: Arc::clone(dynamo),
        rows: rows.clone(),
        tenants: tenants.clone(),
        one_at_a_time: tokio::sync::Mutex::default(),
    })
}

/// For all facts of an area: they hold.
fn area(area: &str) {
    part(area, |_| true);
}

/// For all facts of an area of these names: they hold.
fn part(area: &str, is_meant: impl Fn(&str) -> bool) {
    let mut wrong = Vec::new();
    let mut checked = 0;
    for (_, fact) in facts().filter(|(of, name)| *of == area && is_meant(name)) {
        checked += 1;
        if let Err(why) = holds(area, fact, Aws, Lives::One) {
            wrong.push(format!("{fact}: {why}"));
        }
    }
    assert!(checked > 0, "there is no area {area}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn tenants() {
    area("tenants");
}

#[test]
fn accepting() {
    area("accepting");
}

#[test]
fn listing() {
    area("listing");
}

#[test]
fn retrying() {
    area("retrying");
}

#[test]
fn dead_letters() {
    area("dead_letters");
}

#[test]
fn expiring() {
    area("expiring");
}

#[test]
fn racing() {
    area("racing");
}

/// Random histories, each step compared with the reference in memory: the longest area, so its
/// facts are tests of their own, which run beside each other.
mod random {
    use super::part;

    const OF_THEIR_OWN: [&str; 3] = [
        "histories_of_failures_agree_with_the_reference",
        "histories_of_dead_letters_agree_with_the_reference",
        "histories_of_tenants_agree_with_the_reference",
    ];

    #[test]
    fn histories() {
        part("random", |fact| !OF_THEIR_OWN.contains(&fact));
    }

    #[test]
    fn histories_of_failures() {
        part("random", |fact| fact == OF_THEIR_OWN[0]);
    }

    #[test]
    fn histories_of_dead_letters() {
        part("random", |fact| fact == OF_THEIR_OWN[1]);
    }

    #[test]
    fn histories_of_tenants() {
        part("random", |fact| fact == OF_THEIR_OWN[2]);
    }
}

//! What AWS's SDK costs a delivered event: the CPU time of this process while it receives messages,
//! writes their rows and deletes them, in the daemon's batches, with no daemon around it.
//!
//! ```text
//! loadgen aws-sim --listen 127.0.0.1:4566 &       # a new one for each run: the rows stay
//! cargo run --release -p posthaste-aws --example sdk_cost -- http://127.0.0.1:4566 [events] [bytes]
//! ```
//! Counts everything below the ports: our items and statements, the SDK, hyper, and the kernel's
//! share of their system calls. Batches are full, as while a backlog drains; calls of one kind go
//! eight at a time.

#![expect(clippy::print_stdout, reason = "the figures are what this is for")]
#![expect(clippy::unwrap_used, reason = "a measurement that cannot be set up has no result")]

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use posthaste_aws::{Client, DynamoRows, Keys, NewRow, Settings, SqsQueue};
use posthaste_domain::{
    Attempt, EventId, PhaseTimings, RowChange, RowKey, RowWrite, TenantId, Timestamp, Verdict,
};
use posthaste_ports::{Outgoing, Queue as _, Receipt, Rows as _, Written};
use posthaste_protocol::EventMessage;
use rustix::time::{ClockId, clock_gettime};

const AT: Timestamp = Timestamp::from_millis(1_795_507_200_000);
const CALLS_AT_ONCE: usize = 8;
const MESSAGES_A_CALL: usize = 10;
const ROWS_A_CALL: usize = 25;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let endpoint = arguments.next().unwrap_or_else(|| "http://127.0.0.1:4566".to_owned());
    let mut numbers = arguments.map(|text| text.parse::<usize>().unwrap());
    let events = numbers.next().unwrap_or(20_000);
    let bytes = numbers.next().unwrap_or(512);
    let client = Client::new(Settings {
        region: Some("us-east-1".to_owned()),
        keys: Some(Keys::new("cost", "cost")),
        ..Settings::with_prefix("cost").at(&endpoint)
    });
    let client = client.await.unwrap();
    client.create().await.unwrap();
    let (queue, rows) = (SqsQueue::main(&client), DynamoRows::new(&client));
    fill(&queue, &rows, events, bytes).await;

    let start = cpu();
    let received = receive(&queue, events).await;
    let received_at = cpu();
    let writes: Vec<RowWrite> = received.iter().map(|(event, _)| delivered(event)).collect();
    write(&rows, writes).await;
    let written_at = cpu();
    delete(&queue, received.into_iter().map(|(_, receipt)| receipt).collect()).await;
    let end = cpu();

    let a_piece = |from: Duration, to: Duration| {
        (to - from).as_secs_f64() * 1e6 / f64::from(u32::try_from(events).unwrap())
    };
    println!(
        "{events} events of {bytes} bytes, CPU us an event: receive {:.1}, write {:.1}, delete \
         {:.1}, in all {:.1}",
        a_piece(start, received_at),
        a_piece(received_at, written_at),
        a_piece(written_at, end),
        a_piece(start, end),
    );
}

async fn fill(queue: &SqsQueue, rows: &DynamoRows, events: usize, bytes: usize) {
    let tenant = TenantId::try_new("cost").unwrap();
    let payload = Bytes::from(format!("\"{}\"", "x".repeat(bytes.saturating_sub(2))));
    let keys = (0..events).map(|number| RowKey {
        tenant: tenant.clone(),
        event: EventId::from_parts(AT, u128::try_from(number).unwrap()),
    });
    let keys: Vec<RowKey> = keys.collect();
    stream::iter(&keys)
        .for_each_concurrent(CALLS_AT_ONCE, async |key| {
            let (key, payload) = (key.clone(), payload.clone());
            rows.insert(&NewRow { key, payload, target_url: None }).await.unwrap();
        })
        .await;
    let message = |key: &RowKey| EventMessage {
        key: key.clone(),
        round: Some(0),
        payload: Some(payload.clone()),
        created_at: Some(AT),
        again: false,
    };
    for keys in keys.chunks(1_000) {
        let group: Box<str> = tenant.as_str().into();
        let outgoing =
            keys.iter().map(|key| Outgoing { body: message(key).body(), group: group.clone() });
        for sent in queue.send(outgoing.collect()).await {
            sent.unwrap();
        }
    }
}

async fn receive(queue: &SqsQueue, events: usize) -> Vec<(RowKey, Receipt)> {
    let calls = stream::iter(0..events.div_ceil(MESSAGES_A_CALL))
        .map(async |_| queue.receive(MESSAGES_A_CALL, 0).await.unwrap());
    let answers: Vec<_> = calls.buffer_unordered(CALLS_AT_ONCE).collect().await;
    let received: Vec<_> = answers
        .into_iter()
        .flatten()
        .map(|message| (EventMessage::parse(&message.body).unwrap().key, message.receipt))
        .collect();
    assert_eq!(received.len(), events, "the queue gives ten at a time, and held nothing else");
    received
}

fn delivered(key: &RowKey) -> RowWrite {
    let attempt = Attempt {
        number: 1,
        at: AT,
        duration_ms: 3,
        status_code: Some(200),
        verdict: Verdict::Delivered,
        error: None,
        response: Bytes::from_static(b"ok"),
        phases: PhaseTimings::default(),
    };
    let change = RowChange::Deliver { attempts: 1, at: AT, attempt: Some(Box::new(attempt)) };
    RowWrite { key: key.clone(), round: 0, change }
}

async fn write(rows: &DynamoRows, writes: Vec<RowWrite>) {
    let batches: Vec<Vec<RowWrite>> = writes.chunks(ROWS_A_CALL).map(<[_]>::to_vec).collect();
    stream::iter(batches)
        .for_each_concurrent(CALLS_AT_ONCE, async |batch| {
            for answer in rows.write(batch).await {
                assert_eq!(answer, Ok(Written::Done));
            }
        })
        .await;
}

async fn delete(queue: &SqsQueue, receipts: Vec<Receipt>) {
    let batches: Vec<Vec<Receipt>> = receipts.chunks(MESSAGES_A_CALL).map(<[_]>::to_vec).collect();
    stream::iter(batches)
        .for_each_concurrent(CALLS_AT_ONCE, async |batch| {
            for answer in queue.delete(batch).await {
                answer.unwrap();
            }
        })
        .await;
}

fn cpu() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap()
}

//! What a call of the simulated AWS costs: calls a second and processor time a call.
//!
//! `cargo run --release -p posthaste-loadgen --example aws_sim_cost [seconds] [connections]`
//!
//! Plain blocking sockets send requests as the SDK forms them, without its cost. Only the
//! simulator's own thread is measured, by the kernel's account of it.

#![expect(clippy::print_stdout, reason = "figures are what it is for")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use posthaste_loadgen::aws_sim::{AwsSim, Settings};
use posthaste_loadgen::clock::{Clock, seconds};

const PAYLOAD_BYTES: usize = 512;
const ROWS: usize = 1_000;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let length_s: u64 = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let connections: usize = arguments.next().map_or(Ok(4), |text| text.parse())?;
    let sim = AwsSim::start(Settings::default())?;
    prepare(&sim)?;
    for (name, items, work) in [
        ("SendBatch(10) + Receive(10) + DeleteBatch(10)", 30, queue_round as Work),
        ("UpdateItem", 1, update_item as Work),
        ("BatchExecuteStatement(25)", 25, statements as Work),
    ] {
        measure(&sim, name, items, (work, length_s, connections))?;
    }
    sim.stop()
}

/// One round of calls on a connection; gives how many calls it made.
type Work = fn(&mut Client, u64) -> Result<u64>;

fn measure(
    sim: &AwsSim,
    name: &str,
    items: u64,
    (work, length_s, connections): (Work, u64, usize),
) -> Result<()> {
    let (calls, rounds, ended) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let clock = Clock::start();
    let before = server_nanos()?;
    let began = clock.now();
    std::thread::scope(|scope| -> Result<()> {
        let clients: Vec<_> = (0..connections)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    let mut client = Client::connect(sim)?;
                    while !ended.load(Ordering::Relaxed) {
                        let round = rounds.fetch_add(1, Ordering::Relaxed);
                        calls.fetch_add(work(&mut client, round)?, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        std::thread::sleep(Duration::from_secs(length_s));
        ended.store(true, Ordering::Relaxed);
        clients.into_iter().try_for_each(|client| {
            client.join().map_err(|_| anyhow::anyhow!("a client panicked"))?
        })
    })?;
    let (took, used) = (seconds(clock.now() - began), server_nanos()? - before);
    let (calls, rounds) = (calls.into_inner() as f64, rounds.into_inner() as f64);
    println!(
        "{name:<46} {:>8.0} calls/s {:>8.0} items/s {:>7.2} us of the server a call",
        calls / took,
        rounds * items as f64 / took,
        used as f64 / calls / 1e3
    );
    Ok(())
}

/// Processor time of the simulator's threads.
fn server_nanos() -> Result<u64> {
    let mut nanos = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let folder = task?.path();
        if std::fs::read_to_string(folder.join("comm"))?.starts_with("aws-sim-") {
            let text = std::fs::read_to_string(folder.join("schedstat"))?;
            let first = text.split_whitespace().next().context("no schedstat")?;
            nanos += first.parse::<u64>()?;
        }
    }
    Ok(nanos)
}

struct Client {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Client {
    fn connect(sim: &AwsSim) -> Result<Self> {
        let stream = TcpStream::connect(sim.address())?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, answer: vec![0; 256 * 1024] })
    }

    /// Sends a call as the SDK does, and gives the answer's body.
    fn call(&mut self, target: &str, body: &str) -> Result<&str> {
        let request = format!(
            "POST / HTTP/1.1\r\nx-amz-target: {target}\r\ncontent-type: application/x-amz-json-1.0\
             \r\ncontent-length: {}\r\nuser-agent: aws-sdk-rust/1.3.10 os/linux lang/rust/1.95\r\n\
             x-amz-user-agent: aws-sdk-rust/1.3.10 ua/2.1 api/sqs/1.119.0 os/linux lang/rust\r\n\
             x-amz-date: 20261126T000000Z\r\nauthorization: AWS4-HMAC-SHA256 Credential=sim/\
             20261126/us-east-1/sqs/aws4_request, SignedHeaders=content-length;content-type;host, \
             Signature=0000000000000000000000000000000000000000000000000000000000000000\r\n\
             amz-sdk-request: attempt=1; max=3\r\namz-sdk-invocation-id: 1f6c2a38\r\n\
             host: 127.0.0.1\r\n\r\n{body}",
            body.len()
        );
        self.stream.write_all(request.as_bytes())?;
        let mut length = 0;
        loop {
            let read = self.stream.read(&mut self.answer[length..])?;
            anyhow::ensure!(read > 0, "the connection was closed");
            length += read;
            let text = &self.answer[..length];
            let Some(end) = text.windows(4).position(|window| window == b"\r\n\r\n") else {
                continue;
            };
            let head = str::from_utf8(&text[..end])?;
            let (_, size) = head.rsplit_once("content-length: ").context("no length")?;
            let size: usize = size.split("\r\n").next().unwrap_or_default().parse()?;
            if length >= end + 4 + size {
                anyhow::ensure!(
                    head.starts_with("HTTP/1.1 200"),
                    "{}",
                    String::from_utf8_lossy(text)
                );
                return Ok(str::from_utf8(&self.answer[end + 4..end + 4 + size])?);
            }
        }
    }
}

fn prepare(sim: &AwsSim) -> Result<()> {
    let mut client = Client::connect(sim)?;
    client.call("AmazonSQS.CreateQueue", r#"{"QueueName":"q"}"#)?;
    let table = r#"{"TableName":"events","BillingMode":"PAY_PER_REQUEST","AttributeDefinitions":[
        {"AttributeName":"t","AttributeType":"S"},{"AttributeName":"e","AttributeType":"S"},
        {"AttributeName":"wk","AttributeType":"N"},{"AttributeName":"due","AttributeType":"N"}],
        "KeySchema":[
        {"AttributeName":"t","KeyType":"HASH"},{"AttributeName":"e","KeyType":"RANGE"}],
        "GlobalSecondaryIndexes":[{"IndexName":"work","KeySchema":[
        {"AttributeName":"wk","KeyType":"HASH"},{"AttributeName":"due","KeyType":"RANGE"}],
        "Projection":{"ProjectionType":"KEYS_ONLY"}}]}"#;
    client.call("DynamoDB_20120810.CreateTable", table)?;
    let payload = "x".repeat(PAYLOAD_BYTES);
    for row in 0..ROWS {
        let item = format!(
            r#"{{"TableName":"events","Item":{{"t":{{"S":"acme"}},"e":{{"S":"evt_{row}"}},
            "status":{{"S":"PENDING"}},"attempts":{{"N":"0"}},"createdAt":{{"S":"1790000000"}},
            "targetUrl":{{"S":"https://example.org/hooks"}},"gen":{{"N":"0"}},
            "payload":{{"S":"{payload}"}}}}}}"#
        );
        client.call("DynamoDB_20120810.PutItem", &item)?;
    }
    Ok(())
}

fn queue_round(client: &mut Client, _: u64) -> Result<u64> {
    let payload = "x".repeat(PAYLOAD_BYTES);
    let entries: Vec<_> = (0..10)
        .map(|id| {
            let body = format!(
                r#"{{\"tenantId\":\"acme\",\"eventId\":\"evt_{id}\",\"payload\":\"{payload}\"}}"#
            );
            format!(r#"{{"Id":"{id}","MessageGroupId":"acme","MessageBody":"{body}"}}"#)
        })
        .collect();
    let send = format!(r#"{{"QueueUrl":"http://sim/0/q","Entries":[{}]}}"#, entries.join(","));
    client.call("AmazonSQS.SendMessageBatch", &send)?;
    let receive = r#"{"QueueUrl":"http://sim/0/q","MaxNumberOfMessages":10,"WaitTimeSeconds":20,
        "MessageSystemAttributeNames":["ApproximateReceiveCount","SentTimestamp"]}"#;
    let received = client.call("AmazonSQS.ReceiveMessage", receive)?;
    let receipts = received.split("\"ReceiptHandle\":\"").skip(1);
    let entries: Vec<_> = receipts
        .filter_map(|rest| rest.split('"').next())
        .enumerate()
        .map(|(id, receipt)| format!(r#"{{"Id":"{id}","ReceiptHandle":"{receipt}"}}"#))
        .collect();
    let delete = format!(r#"{{"QueueUrl":"http://sim/0/q","Entries":[{}]}}"#, entries.join(","));
    client.call("AmazonSQS.DeleteMessageBatch", &delete)?;
    Ok(3)
}

fn update_item(client: &mut Client, round: u64) -> Result<u64> {
    let row = round % ROWS as u64;
    let body = format!(
        r##"{{"TableName":"events","Key":{{"t":{{"S":"acme"}},"e":{{"S":"evt_{row}"}}}},
        "UpdateExpression":"SET #s = :s, attempts = :a, #ttl = :t REMOVE wk, due",
        "ConditionExpression":"attribute_exists(t) AND gen = :g",
        "ExpressionAttributeNames":{{"#s":"status","#ttl":"ttl"}},
        "ExpressionAttributeValues":{{":s":{{"S":"DELIVERED"}},":a":{{"N":"1"}},
        ":t":{{"N":"1790000000"}},":g":{{"N":"0"}}}},
        "ReturnValuesOnConditionCheckFailure":"ALL_OLD"}}"##
    );
    client.call("DynamoDB_20120810.UpdateItem", &body)?;
    Ok(1)
}

fn statements(client: &mut Client, round: u64) -> Result<u64> {
    const TEXT: &str = concat!(
        r#"UPDATE \"events\" SET \"status\"=? SET attempts=? SET \"ttl\"=? "#,
        r"REMOVE wk REMOVE due WHERE t=? AND e=? AND gen=?"
    );
    let statements: Vec<_> = (0..25)
        .map(|number| {
            let row = (round * 25 + number) % ROWS as u64;
            format!(
                r#"{{"Statement":"{TEXT}","ReturnValuesOnConditionCheckFailure":"ALL_OLD",
                "Parameters":[{{"S":"DELIVERED"}},{{"N":"1"}},{{"N":"1790000000"}},
                {{"S":"acme"}},{{"S":"evt_{row}"}},{{"N":"0"}}]}}"#
            )
        })
        .collect();
    let body = format!(r#"{{"Statements":[{}]}}"#, statements.join(","));
    client.call("DynamoDB_20120810.BatchExecuteStatement", &body)?;
    Ok(1)
}
